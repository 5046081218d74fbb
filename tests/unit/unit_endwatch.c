/* SPDX-License-Identifier: MIT */
/* unit_endwatch.c - the end of the program does not wait for what does not answer
 *
 * Each test ends a child process: its status and its last line tell why it ended.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/endwatch.h"
#include "base/loop.h"

/* Run fn() in a child; its exit status (-1: a signal) and what it logged. */
static int child_status(void (*fn)(void), char *text, size_t size)
{
	int out[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	if (!pid) {
		alarm(120); /* only a hang gets there */
		dup2(out[1], STDERR_FILENO);
		close(out[0]);
		close(out[1]);
		fn();
		_exit(0);
	}
	close(out[1]);
	while (len < size - 1 && (n = read(out[0], text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = 0;
	close(out[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void sleep_for_ever(void)
{
	int never[2];
	char c;

	if (pipe(never) == 0 && read(never[0], &c, 1) < 0)
		_exit(9);
}

static void end_with_a_stage_that_hangs(void)
{
	struct endwatch w = {0};

	endwatch_stage(&w, "the first", 100);
	endwatch_stage(&w, "the second", 1);
	sleep_for_ever();
}

static void stage_that_hangs_ends_the_program(void **state)
{
	char text[256];

	assert_int_equal(child_status(end_with_a_stage_that_hangs, text, sizeof(text)), 1);
	assert_non_null(strstr(text, "the second did not end within 1 s"));
}

/* Nobody reads the log, and there is no room in it. */
static void end_with_a_full_log(void)
{
	char fill[512] = "";
	int log[2];

	if (pipe(log) < 0 || fcntl(log[1], F_SETFL, O_NONBLOCK) < 0)
		_exit(9);
	while (write(log[1], fill, sizeof(fill)) > 0) {}
	fcntl(log[1], F_SETFL, 0);
	dup2(log[1], STDERR_FILENO);
	end_with_a_stage_that_hangs();
}

static void full_log_does_not_hold_up_the_end(void **state)
{
	char text[256];

	assert_int_equal(child_status(end_with_a_full_log, text, sizeof(text)), 1);
	assert_string_equal(text, "");
}

static void end_in_good_order(void)
{
	struct endwatch w = {0};

	endwatch_stage(&w, "the first", 100);
	endwatch_stage(&w, "the second", 100);
	endwatch_stop(&w);
	endwatch_stop(&w);
}

static void good_end_says_nothing(void **state)
{
	char text[256];

	assert_int_equal(child_status(end_in_good_order, text, sizeof(text)), 0);
	assert_string_equal(text, "");
}

static void task_hang(void *arg)
{
	sleep_for_ever();
}

static void nothing(void *arg)
{
}

static struct loop_task hang_task;

static void run_hang_task(struct loop_task *t)
{
	task_hang(NULL);
}

/* The thread that reads signals waits for a loop that is asleep. */
static void call_a_loop_that_hangs(void)
{
	struct loop *l = loop_new("stuck");
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (!l || loop_start(l) < 0)
		_exit(8);
	hang_task.fn = run_hang_task;
	loop_post(l, &hang_task);
	kill(getpid(), SIGTERM);
	loop_call(l, nothing, NULL);
}

static void signal_ends_a_call_that_hangs(void **state)
{
	char text[256];

	assert_int_equal(child_status(call_a_loop_that_hangs, text, sizeof(text)), 1);
	assert_non_null(strstr(text, "loop stuck does not answer"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stage_that_hangs_ends_the_program),
		cmocka_unit_test(full_log_does_not_hold_up_the_end),
		cmocka_unit_test(good_end_says_nothing),
		cmocka_unit_test(signal_ends_a_call_that_hangs),
	};

	return cmocka_run_group_tests_name("endwatch", tests, NULL, NULL);
}
