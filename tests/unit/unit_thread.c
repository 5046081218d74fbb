/* SPDX-License-Identifier: MIT */
/* unit_thread.c - what holds on every thread: its name, its signals, its stack; and that a fault on
 * a loop is reported */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/thread.h"
#include "base/util.h"
#include "base/workers.h"

/* What a thread saw of itself. */
struct seen {
	char steps[4]; /* 'b': begin, 'r': run */
	char name[17];
	sigset_t blocked;
	char *stack; /* its lowest byte */
	size_t size;
};

static void see_step(struct seen *s, char step)
{
	s->steps[strlen(s->steps)] = step;
}

static void on_begin(void *arg)
{
	see_step(arg, 'b');
}

static void look_around(void *arg)
{
	struct seen *s = arg;
	pthread_attr_t attr;
	void *stack;

	see_step(s, 'r');
	prctl(PR_GET_NAME, s->name);
	pthread_sigmask(SIG_SETMASK, NULL, &s->blocked);
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &stack, &s->size);
	s->stack = stack;
	pthread_attr_destroy(&attr);
}

/* What was asked of the process goes to the first thread; what an instruction raised stays. */
static void expect_signals(const struct seen *s)
{
	static const int blocked[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGCHLD, SIGUSR1, SIGALRM};
	static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};

	for (unsigned i = 0; i < ARRAY_SIZE(blocked); i++)
		assert_true(sigismember(&s->blocked, blocked[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(open); i++)
		assert_false(sigismember(&s->blocked, open[i]));
}

static void a_thread(void **state)
{
	struct seen s = {.steps = ""};
	struct thread t = {.name = "unit/thread",
			   .begin = on_begin,
			   .begin_arg = &s,
			   .run = look_around,
			   .run_arg = &s};
	sigset_t before, after;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_int_equal(thread_start(&t), 0);
	thread_join(&t);
	assert_string_equal(s.steps, "br");
	assert_string_equal(s.name, "unit/thread");
	assert_true(s.size >= THREAD_STACK);
	expect_signals(&s);
	/* Whoever starts a thread keeps its own signals. */
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int sig = 1; sig < 32; sig++)
		assert_int_equal(sigismember(&before, sig), sigismember(&after, sig));
	t.begin = NULL;
	s.steps[0] = s.steps[1] = 0;
	assert_int_equal(thread_start(&t), 0);
	thread_join(&t);
	assert_string_equal(s.steps, "r");
}

static void a_loop(void **state)
{
	struct loop *l = loop_new("unit/loop");
	struct seen s = {.steps = ""};

	assert_non_null(l);
	loop_set_begin(l, on_begin, &s);
	assert_int_equal(loop_start(l), 0);
	/* It has begun when loop_start() returns. */
	assert_string_equal(s.steps, "b");
	loop_call(l, look_around, &s);
	loop_join(l);
	loop_free(l);
	assert_string_equal(s.name, "unit/loop");
	expect_signals(&s);
}

struct job {
	struct work work;
	struct seen seen;
};

static void do_job(struct work *w)
{
	look_around(&container_of(w, struct job, work)->seen);
}

static void a_worker(void **state)
{
	struct job j = {.work.fn = do_job};
	struct workers *p = workers_new("unit/worker", 1, on_begin, &j.seen);

	assert_non_null(p);
	workers_submit(p, &j.work, &j.work, 1);
	workers_free(p);
	assert_string_equal(j.seen.steps, "br");
	assert_string_equal(j.seen.name, "unit/worker");
	expect_signals(&j.seen);
}

/* Nothing can be read in the MiB below the stack, though that of another thread may be there. */
static void guard(void **state)
{
	struct loop *l[3];
	struct seen s[3];
	int fd[2];

	assert_int_equal(pipe(fd), 0);
	memset(s, 0, sizeof(s));
	for (unsigned i = 0; i < ARRAY_SIZE(l); i++) {
		l[i] = loop_new("unit/guard");
		assert_non_null(l[i]);
		assert_int_equal(loop_start(l[i]), 0);
		loop_call(l[i], look_around, &s[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(l); i++) {
		/* The kernel reads, so that a sanitizer does not. */
		assert_int_equal(syscall(SYS_write, fd[1], s[i].stack, 1), 1);
		for (size_t below = 4096; below <= MiB; below += 4096) {
			assert_int_equal(syscall(SYS_write, fd[1], s[i].stack - below, 1), -1);
			assert_int_equal(errno, EFAULT);
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(l); i++) {
		loop_join(l[i]);
		loop_free(l[i]);
	}
	close(fd[0]);
	close(fd[1]);
}

/* --- faults --- */

static void store_to_nowhere(void *arg)
{
	*(volatile char *)4096 = 1;
}

/* Deeper than its stack: each call has a page of its own. */
static unsigned recurse(volatile unsigned *depth)
{
	volatile char page[4096];

	page[0] = page[4095] = (char)*depth;
	if (!*depth)
		return 0;
	--*depth;
	return recurse(depth) + (unsigned)page[4095];
}

static void overrun_stack(void *arg)
{
	volatile unsigned depth = 1U << 20;

	recurse(&depth);
}

/* The program once more, for a fault: what happens on a loop, without the handlers that cmocka
 * installs for its tests. */
static int fault_on_loop(const char *how)
{
	struct rlimit none = {0, 0};
	struct loop *l = loop_new("unit/fault");

	setrlimit(RLIMIT_CORE, &none);
	if (!l || loop_start(l) < 0)
		return 77;
	loop_call(l, strcmp(how, "store") ? overrun_stack : store_to_nowhere, NULL);
	return 0;
}

static void expect_fault(const char *how, const char *report)
{
	static char text[1 << 16];
	size_t len = 0;
	int fd[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fd), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fd[1], STDERR_FILENO);
		execl("/proc/self/exe", "unit_thread", how, NULL);
		_exit(127);
	}
	close(fd[1]);
	while (len < sizeof(text) - 1 && (n = read(fd[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = 0;
	close(fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	assert_true(WIFEXITED(status));
	assert_non_null(strstr(text, report));
	assert_non_null(strstr(text, "loop_run"));
#else
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
#endif
}

static void a_fault_is_reported(void **state)
{
	expect_fault("store", "Sanitizer: SEGV");
}

static void an_overrun_is_reported(void **state)
{
#ifdef __SANITIZE_THREAD__
	skip(); /* its own stack of calls overflows first */
#endif
	expect_fault("overrun", "recurse");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread),
		cmocka_unit_test(a_loop),
		cmocka_unit_test(a_worker),
		cmocka_unit_test(guard),
		cmocka_unit_test(a_fault_is_reported),
		cmocka_unit_test(an_overrun_is_reported),
	};

	if (argc > 1)
		return fault_on_loop(argv[1]);
	return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}
