/* SPDX-License-Identifier: MIT */
/* unit_helper.c - helper processes: what they cannot do, how they end, and how they come back
 *
 * A scene is one helper whose worker runs `body` of the scene; both sides share a page and an
 * eventfd. The test turns the loop until what it waits for has happened. What a worker is not
 * allowed is tried by the worker itself, once with a list of system calls that lets it through to
 * the other walls, and once with a list that does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rights.h"
#include "base/util.h"
#include "helper/helper.h"

#define WAIT_S 20

#ifdef __SANITIZE_ADDRESS__
#define ASAN true
#else
#define ASAN false
#endif

struct shared {
	atomic_uint born; /* workers that reached their body */
	atomic_int result;
};

struct scene {
	int (*body)(struct scene *s);
	struct shared *shared;
	int bell; /* an eventfd that the worker has as well */
	struct loop *loop;
	struct loop_fd bell_watch;
	unsigned rung;
	struct helper *h;
	/* of ended() */
	unsigned ends;
	char how[64];
	bool again;
	unsigned born_at_end;
	int log; /* stderr of this process goes there */
	int saved_stderr;
	char dir[32];
};

static void need_root(void)
{
	if (geteuid() != 0) {
		print_message("skipped: needs root\n");
		skip();
	}
}

/* Without root: a host may not allow that. */
static void need_spaces(void)
{
	int status = 1;
	pid_t pid;

	if (geteuid() == 0)
		return;
	pid = fork();
	if (pid == 0)
		_exit(unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ||
		      mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		      mount("none", "/", "tmpfs", 0, NULL) < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status) {
		print_message("skipped: needs root or user namespaces\n");
		skip();
	}
}

/* --- roles --- */

static int prepare_nothing(void *arg, struct err *e)
{
	return 0;
}

static int run_body(void *arg)
{
	struct scene *s = arg;

	atomic_fetch_add(&s->shared->born, 1);
	return s->body(s);
}

static void bell_ring(struct scene *s)
{
	uint64_t one = 1;

	if (write(s->bell, &one, sizeof(one)) < 0)
		_exit(99);
}

/* Only sockets of the internet. */
static const struct filter_call narrow_calls[] = {
	{SYS_socket, {FILTER_IS(0, AF_INET)}},
	{SYS_socket, {FILTER_IS(0, AF_INET6)}},
};
static const struct helper_role narrow = {
	.name = "test",
	.prepare = prepare_nothing,
	.run = run_body,
	.calls = FILTER_LIST(narrow_calls),
	.memory = 64 * MiB,
	.files = 32,
};

/* What the other walls have to stop. */
static const struct filter_call wide_calls[] = {
	{SYS_openat},  {SYS_open},     {SYS_getdents64}, {SYS_setuid},	{SYS_setresuid},
	{SYS_mount},   {SYS_execve},   {SYS_ptrace},	 {SYS_kill},	{SYS_getppid},
	{SYS_chroot},  {SYS_clone},    {SYS_setgid},	 {SYS_connect}, {SYS_socket},
	{SYS_setns},   {SYS_umount2},  {SYS_mkdir},	 {SYS_unlink},	{SYS_prctl},
	{SYS_capset},  {SYS_wait4},    {SYS_setgroups},	 {SYS_mknod},	{SYS_sethostname},
	{SYS_mkdirat}, {SYS_unlinkat}, {SYS_mknodat},	 {SYS_pause},	{SYS_set_robust_list},
};
static const struct helper_role wide = {
	.name = "wide",
	.prepare = prepare_nothing,
	.run = run_body,
	.calls = FILTER_LIST(wide_calls),
	.memory = 64 * MiB,
	.files = 32,
};

/* --- scene --- */

static void on_bell(struct loop_fd *w, uint32_t events)
{
	struct scene *s = container_of(w, struct scene, bell_watch);
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) == sizeof(n))
		s->rung += (unsigned)n;
}

static void on_ended(void *ctx, const char *how, bool again)
{
	struct scene *s = ctx;

	s->ends++;
	s->again = again;
	s->born_at_end = atomic_load(&s->shared->born);
	snprintf(s->how, sizeof(s->how), "%s", how);
}

/* No worker yet. */
static void scene_prepare(struct scene *s, int (*body)(struct scene *s))
{
	memset(s, 0, sizeof(*s));
	s->body = body;
	s->shared = mmap(NULL, sizeof(*s->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(s->shared != MAP_FAILED);
	s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->loop = loop_new("test");
	assert_non_null(s->loop);
	s->bell_watch.fd = -1;
	assert_int_equal(loop_fd_add(s->loop, &s->bell_watch, s->bell, EPOLLIN, on_bell), 0);
}

static void scene_start_files(struct scene *s, const struct helper_role *role,
			      struct helper_files *files)
{
	struct err e = {0};

	files->fds = &s->bell;
	files->nfds = 1;
	if (helper_start(&s->h, role, files, "net0", s, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(helper_serve(s->h, s->loop, on_ended, s), 0);
}

static void scene_open(struct scene *s, const struct helper_role *role,
		       int (*body)(struct scene *s))
{
	struct helper_files files = {0};

	scene_prepare(s, body);
	scene_start_files(s, role, &files);
}

static void scene_free(struct scene *s)
{
	loop_fd_del(s->loop, &s->bell_watch);
	loop_free(s->loop);
	close(s->bell);
	munmap(s->shared, sizeof(*s->shared));
}

static void scene_close(struct scene *s)
{
	if (s->h)
		helper_unserve(s->h);
	helper_end(s->h);
	scene_free(s);
	/* It has left no process. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void turn_until(struct scene *s, const unsigned *count, unsigned want)
{
	uint64_t until = now_ns() + WAIT_S * 1000000000ULL;

	while (*count < want && now_ns() < until)
		loop_turn(s->loop, 100);
	assert_int_equal(*count, want);
}

/* What this process logs goes to a file, until log_release() gives it as text. */
static void log_hold(struct scene *s)
{
	s->log = memfd_create("log", MFD_CLOEXEC);
	s->saved_stderr = dup(2);
	assert_true(s->log >= 0 && dup2(s->log, 2) == 2);
}

static void log_release(struct scene *s, char *text, size_t size)
{
	ssize_t n = pread(s->log, text, size - 1, 0);

	dup2(s->saved_stderr, 2);
	close(s->saved_stderr);
	close(s->log);
	assert_true(n >= 0);
	text[n] = 0;
}

static unsigned count_of(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
		n++;
	return n;
}

/* The value of a line of /proc/PID/status. */
static void status_get(pid_t pid, const char *name, char *value, size_t size)
{
	char path[64], line[256];
	FILE *f;

	*value = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		size_t n = strlen(name);

		if (strncmp(line, name, n) || line[n] != ':')
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(value, size, "%s", line + n + 1 + strspn(line + n + 1, "\t "));
	}
	if (f)
		fclose(f);
}

/* The one child of `parent`, as this process sees it. */
static pid_t child_of(pid_t parent)
{
	pid_t found = 0;
	struct dirent *d;
	DIR *dir = opendir("/proc");
	char value[64];

	while (dir && (d = readdir(dir))) {
		pid_t pid = (pid_t)atoi(d->d_name);

		if (pid <= 0)
			continue;
		status_get(pid, "PPid", value, sizeof(value));
		if (*value && atoi(value) == parent)
			found = pid;
	}
	if (dir)
		closedir(dir);
	return found;
}

static void assert_ends(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	assert_true(pidfd >= 0);
	assert_int_equal(poll(&p, 1, WAIT_S * 1000), 1);
	close(pidfd);
}

/* --- bodies --- */

static int ring_and_wait(struct scene *s)
{
	bell_ring(s);
	for (;;)
		poll(NULL, 0, -1);
	return 0;
}

static int return_at_once(struct scene *s)
{
	return 5;
}

/* --- start --- */

static int prepare_fails(void *arg, struct err *e)
{
	return err_set(e, -EADDRINUSE, "port 2222 is taken");
}

static int prepare_dies(void *arg, struct err *e)
{
	fprintf(stderr, "a library's last words\n");
	_exit(7);
}

static void a_failed_start_is_told(void **state)
{
	struct helper_role role = narrow;
	struct helper_files files = {0};
	char text[4096];
	struct scene s;
	struct err e;

	scene_prepare(&s, return_at_once);
	role.prepare = prepare_fails;
	assert_int_equal(helper_start(&s.h, &role, &files, "net0", &s, &e), -EADDRINUSE);
	assert_string_equal(e.text, "port 2222 is taken");

	role.prepare = prepare_dies;
	log_hold(&s);
	assert_int_equal(helper_start(&s.h, &role, &files, "net0", &s, &e), -EIO);
	log_release(&s, text, sizeof(text));
	assert_non_null(strstr(e.text, "exit status 7"));
	assert_non_null(strstr(text, "net0: helper says: a library's last words\n"));

	files.binds = (const char *const[]){"/no/such/folder"};
	files.nbinds = 1;
	if (geteuid() == 0) {
		assert_int_equal(helper_start(&s.h, &narrow, &files, "net0", &s, &e), -ENOENT);
		assert_non_null(strstr(e.text, "/no/such/folder"));
	}
	s.h = NULL;
	scene_close(&s);
}

static void our_other_children_stay_in_our_space(void **state)
{
	char ours[64] = "", theirs[64] = "";
	struct scene s;
	int status;
	pid_t pid;

	scene_open(&s, &narrow, ring_and_wait);
	assert_true(readlink("/proc/self/ns/pid", ours, sizeof(ours) - 1) > 0);
	pid = fork();
	if (pid == 0)
		_exit(readlink("/proc/self/ns/pid", theirs, sizeof(theirs) - 1) <= 0 ||
		      strcmp(ours, theirs));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	scene_close(&s);
}

/* --- ends of a worker --- */

/* Not by the test library's handler of SIGSEGV; with ASan by what only that finds. */
static void fault(void)
{
	volatile size_t past = 8;
	char *p = calloc(1, 8);

	if (ASAN && p)
		p[past] = 1;
	free(p);
	signal(SIGSEGV, SIG_DFL);
	*(volatile int *)NULL = 1;
}

static int end_in_turn(struct scene *s)
{
	unsigned round = atomic_load(&s->shared->born);

	if (round == 1)
		return 3;
	if (round == 2)
		fault();
	if (round == 3)
		abort();
	return ring_and_wait(s);
}

static void a_worker_that_ended_is_followed_by_another(void **state)
{
	char text[4096];
	struct scene s;
	pid_t worker;

	scene_prepare(&s, end_in_turn);
	log_hold(&s);
	scene_start_files(&s, &narrow, &(struct helper_files){0});
	turn_until(&s, &s.ends, 1);
	assert_string_equal(s.how, "exit status 3");
	assert_true(s.again);
	turn_until(&s, &s.ends, 2);
	/* The sanitizer's report needs system calls of its own. */
	assert_string_equal(s.how, ASAN ? "exit status 1" : "signal 11 (Segmentation fault)");
	/* Nobody else was there when it was told. */
	assert_int_equal(s.born_at_end, 2);
	turn_until(&s, &s.ends, 3);
	assert_string_equal(s.how, "signal 6 (Aborted)");
	assert_int_equal(s.born_at_end, 3);

	turn_until(&s, &s.rung, 1);
	worker = child_of(child_of(getpid()));
	assert_true(worker > 0);
	assert_int_equal(kill(worker, SIGKILL), 0);
	turn_until(&s, &s.ends, 4);
	assert_string_equal(s.how, "signal 9 (Killed)");

	/* Found hostile: killed once, however often it is asked for. */
	turn_until(&s, &s.rung, 2);
	helper_kill_worker(s.h, "its ring makes no sense");
	helper_kill_worker(s.h, "its ring makes no sense");
	turn_until(&s, &s.rung, 3);
	assert_int_equal(s.ends, 5);
	assert_int_equal(atomic_load(&s.shared->born), 6);
	scene_close(&s);
	log_release(&s, text, sizeof(text));
	assert_non_null(strstr(text, "net0: its helper process ended (exit status 3)"));
	assert_int_equal(count_of(text, "is killed: its ring makes no sense"), 1);
}

static void restarts_are_limited(void **state)
{
	char text[16384];
	struct scene s;

	scene_prepare(&s, return_at_once);
	log_hold(&s);
	scene_start_files(&s, &narrow, &(struct helper_files){0});
	turn_until(&s, &s.ends, HELPER_RESTARTS + 1);
	/* It waits, now on another loop as well. */
	for (unsigned i = 0; i < 5; i++) {
		loop_turn(s.loop, 20);
		helper_unserve(s.h);
		assert_int_equal(helper_serve(s.h, s.loop, on_ended, &s), 0);
	}
	assert_int_equal(s.ends, HELPER_RESTARTS + 1);
	assert_int_equal(atomic_load(&s.shared->born), HELPER_RESTARTS + 1);
	scene_close(&s);
	log_release(&s, text, sizeof(text));
	assert_int_equal(count_of(text, "the next one waits for"), 1);
	assert_true(count_of(text, "\n") <= LOG_GUEST_BURST + 1);
}

static void an_end_while_unserved_is_not_lost(void **state)
{
	struct scene s;
	pid_t worker;

	scene_open(&s, &narrow, ring_and_wait);
	turn_until(&s, &s.rung, 1);
	helper_unserve(s.h);
	worker = child_of(child_of(getpid()));
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(s.ends, 0);
	assert_int_equal(helper_serve(s.h, s.loop, on_ended, &s), 0);
	turn_until(&s, &s.rung, 2);
	assert_int_equal(s.ends, 1);
	scene_close(&s);
}

/* --- ends of the others --- */

/* In a process of its own: a helper whose worker rings; then it waits to be killed. */
static void parent_run(int out, bool sealed) __attribute__((noreturn));
static void parent_run(int out, bool sealed)
{
	struct scene s;
	pid_t pids[2];

	scene_open(&s, &narrow, ring_and_wait);
	turn_until(&s, &s.rung, 1);
	pids[0] = child_of(getpid());
	pids[1] = child_of(pids[0]);
	if (sealed && (rights_become(4711, 4711, NULL, 0, NULL) < 0 ||
		       rights_drop_capabilities(0, NULL) < 0 || kill(pids[0], 0) == 0))
		_exit(1);
	if (write(out, pids, sizeof(pids)) != sizeof(pids))
		_exit(1);
	for (;;)
		pause();
}

static void parent_dies(bool sealed, bool stopped)
{
	int out[2], status, keeper, worker;
	pid_t parent, pids[2];

	assert_int_equal(pipe(out), 0);
	parent = fork();
	assert_true(parent >= 0);
	if (!parent) {
		close(out[0]);
		parent_run(out[1], sealed);
	}
	close(out[1]);
	assert_int_equal(read(out[0], pids, sizeof(pids)), sizeof(pids));
	close(out[0]);
	keeper = pidfd_open(pids[0], 0);
	worker = pidfd_open(pids[1], 0);
	if (stopped) {
		/* Not our child, so it cannot be waited for: look until it is stopped. */
		char value[64] = "";

		assert_int_equal(kill(pids[0], SIGSTOP), 0);
		for (uint64_t until = now_ns() + WAIT_S * 1000000000ULL;
		     *value != 'T' && now_ns() < until; sched_yield())
			status_get(pids[0], "State", value, sizeof(value));
		assert_int_equal(*value, 'T');
	}
	assert_int_equal(kill(parent, SIGKILL), 0);
	assert_int_equal(waitpid(parent, &status, 0), parent);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_ends(keeper);
	assert_ends(worker);
}

static void nothing_outlives_the_device_model(void **state)
{
	parent_dies(false, false);
	if (geteuid() == 0) {
		parent_dies(true, false);
		parent_dies(true, true);
	}
}

static void the_keepers_end_is_noticed(void **state)
{
	char text[4096];
	struct scene s;
	int worker;

	scene_prepare(&s, ring_and_wait);
	log_hold(&s);
	scene_start_files(&s, &narrow, &(struct helper_files){0});
	turn_until(&s, &s.rung, 1);
	worker = pidfd_open(child_of(child_of(getpid())), 0);
	assert_int_equal(kill(child_of(getpid()), SIGKILL), 0);
	turn_until(&s, &s.ends, 1);
	assert_false(s.again);
	assert_ends(worker);
	/* Harmless now. */
	helper_kill_worker(s.h, "nothing");
	helper_unserve(s.h);
	assert_int_equal(helper_serve(s.h, s.loop, on_ended, &s), 0);
	scene_close(&s);
	log_release(&s, text, sizeof(text));
	assert_int_equal(s.ends, 1);
	assert_int_equal(count_of(text, "cannot be started again: the keeper ended (signal 9"), 1);
}

static void a_stopped_keeper_does_not_hold_us_up(void **state)
{
	struct scene s;
	siginfo_t si;
	pid_t keeper;

	scene_open(&s, &narrow, ring_and_wait);
	turn_until(&s, &s.rung, 1);
	keeper = child_of(getpid());
	assert_int_equal(kill(keeper, SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)keeper, &si, WSTOPPED | WNOWAIT), 0);
	scene_close(&s);
}

/* --- confinement, seen from outside --- */

static void status_is(pid_t pid, const char *name, const char *want)
{
	char value[256];

	status_get(pid, name, value, sizeof(value));
	assert_string_equal(value, want);
}

/* How many entries, but for . and .. */
static unsigned entries_of(pid_t pid, const char *what)
{
	char path[64];
	struct dirent *d;
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	dir = opendir(path);
	assert_non_null(dir);
	while ((d = readdir(dir)))
		n += strcmp(d->d_name, ".") && strcmp(d->d_name, "..");
	closedir(dir);
	return n;
}

static bool same_space(pid_t pid, const char *space)
{
	char path[64], ours[64] = "", theirs[64] = "";

	snprintf(path, sizeof(path), "/proc/self/ns/%s", space);
	assert_true(readlink(path, ours, sizeof(ours) - 1) > 0);
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, space);
	assert_true(readlink(path, theirs, sizeof(theirs) - 1) > 0);
	return !strcmp(ours, theirs);
}

static void fd_is(pid_t pid, int fd, const char *want)
{
	char path[64], target[128] = "";

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
	assert_true(readlink(path, target, sizeof(target) - 1) > 0);
	assert_memory_equal(target, want, strlen(want));
}

static void process_is_confined(pid_t pid, pid_t keeper)
{
	static const char *const spaces[] = {"mnt", "ipc", "uts", "cgroup", "pid"};
	unsigned id = 0x70000000u + (unsigned)keeper;
	char ids[64];

	snprintf(ids, sizeof(ids), "%u\t%u\t%u\t%u", id, id, id, id);
	status_is(pid, "Uid", ids);
	status_is(pid, "Gid", ids);
	status_is(pid, "Groups", "");
	status_is(pid, "CapInh", "0000000000000000");
	status_is(pid, "CapPrm", "0000000000000000");
	status_is(pid, "CapEff", "0000000000000000");
	status_is(pid, "CapBnd", "0000000000000000");
	status_is(pid, "CapAmb", "0000000000000000");
	status_is(pid, "NoNewPrivs", "1");
	status_is(pid, "Seccomp", "2");
	for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++)
		assert_false(same_space(pid, spaces[i]));
	assert_true(same_space(pid, "net"));
	assert_int_equal(entries_of(pid, "root"), 0);
	fd_is(pid, 0, "/dev/null");
	fd_is(pid, 1, "pipe:");
	fd_is(pid, 2, "pipe:");
}

static void both_are_confined(void **state)
{
	pid_t keeper, worker;
	struct scene s;
	int fd;

	need_root();
	fd = open("/etc/passwd", O_RDONLY); /* not named, not close-on-exec: not there */
	scene_open(&s, &narrow, ring_and_wait);
	turn_until(&s, &s.rung, 1);
	keeper = child_of(getpid());
	worker = child_of(keeper);
	assert_true(keeper > 0 && worker > 0);
	process_is_confined(keeper, keeper);
	process_is_confined(worker, keeper);
	/* 0-2 and the bell; the keeper its socket as well and, a moment after the fork, a pidfd. */
	assert_int_equal(entries_of(worker, "fd"), 4);
	fd_is(worker, s.bell, "anon_inode:[eventfd]");
	assert_in_range(entries_of(keeper, "fd"), 5, 6);
	close(fd);
	scene_close(&s);
}

static void a_network_of_its_own_if_asked_for(void **state)
{
	struct helper_role role = narrow;
	struct scene s;

	need_root();
	role.own_network = true;
	scene_open(&s, &role, ring_and_wait);
	turn_until(&s, &s.rung, 1);
	assert_false(same_space(child_of(child_of(getpid())), "net"));
	scene_close(&s);
}

/* Without root there is less, but there is always this. */
static void both_are_filtered_whoever_we_are(void **state)
{
	pid_t keeper, worker;
	char status[64];
	struct stat st;
	struct scene s;

	scene_open(&s, &narrow, ring_and_wait);
	turn_until(&s, &s.rung, 1);
	keeper = child_of(getpid());
	worker = child_of(keeper);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(status, sizeof(status), "/proc/%d/status", (int)(i ? worker : keeper));
		assert_int_equal(access(status, R_OK), 0);
		status_is(i ? worker : keeper, "NoNewPrivs", "1");
		status_is(i ? worker : keeper, "Seccomp", "2");
		status_is(i ? worker : keeper, "CapEff", "0000000000000000");
		/* Who is not dumpable belongs to root there, and cannot be traced by its equals. */
		assert_int_equal(stat(status, &st), 0);
		assert_int_not_equal(st.st_uid,
				     geteuid() ? geteuid() : 0x70000000u + (unsigned)keeper);
	}
	scene_close(&s);
}

/* --- confinement, tried from inside --- */

/* Number of the first attempt that succeeded; 0: none. */
static int try_all(struct scene *s)
{
	struct __user_cap {
		uint32_t version;
		int pid;
	} head = {0x20080522, 0};
	uint32_t caps[6] = {1u << 21, 1u << 21};
	int n = 0, status;
	pid_t pid;

#define FAILS(call, error)                                             \
	do {                                                           \
		n++;                                                   \
		if ((call) >= 0 || errno != (error)) {                 \
			fprintf(stderr, "attempt %d: %s\n", n, #call); \
			return n;                                      \
		}                                                      \
	} while (0)
	FAILS(open("/etc/passwd", O_RDONLY), ENOENT);
	FAILS(open("/proc/self/status", O_RDONLY), ENOENT);
	FAILS(open("/../../etc/passwd", O_RDONLY), ENOENT);
	FAILS(open("/file", O_WRONLY | O_CREAT, 0600), EROFS);
	FAILS(mkdir("/folder", 0700), EROFS);
	FAILS(setuid(0), EPERM);
	FAILS(setgid(0), EPERM);
	FAILS(syscall(SYS_setgroups, 0, NULL), EPERM);
	FAILS(setresuid(0, 0, 0), EPERM);
	FAILS(syscall(SYS_capset, &head, caps), EPERM);
	FAILS(mount("none", "/", "tmpfs", 0, NULL), EPERM);
	FAILS(umount2("/", MNT_DETACH), EPERM);
	FAILS(chroot("/"), EPERM);
	FAILS(sethostname("x", 1), EPERM);
	FAILS(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL), EPERM);
	/* Nobody else is in its space; a signal to the first process of it does nothing. */
	FAILS(kill(2 + getpid(), SIGKILL), ESRCH);
	FAILS(kill(-1, SIGKILL), ESRCH);
	kill(getppid(), SIGKILL);
	kill(getppid(), SIGSTOP);
	FAILS(execve("/bin/sh", (char *[]){NULL}, (char *[]){NULL}), ENOENT);
	pid = fork();
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, &status, 0);
	errno = pid < 0 ? errno : 0;
	FAILS(pid, EAGAIN);
	return 0;
#undef FAILS
}

static void the_other_walls_hold(void **state)
{
	struct scene s;

	need_root();
	scene_open(&s, &wide, try_all);
	turn_until(&s, &s.ends, 1);
	assert_string_equal(s.how, "exit status 0");
	/* The keeper was sent two signals, and is there. */
	turn_until(&s, &s.ends, 2);
	assert_string_equal(s.how, "exit status 0");
	scene_close(&s);
}

/* Started in a root directory that is a plain folder of a file system. */
static int in_a_folder(void)
{
	struct scene s;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/mnt", "tmpfs", 0, NULL) < 0 || mkdir("/mnt/in", 0755) < 0 ||
	    mkdir("/mnt/in/proc", 0755) < 0 || mkdir("/mnt/in/dev", 0755) < 0 ||
	    mount("/proc", "/mnt/in/proc", NULL, MS_BIND, NULL) < 0 ||
	    mount("/dev", "/mnt/in/dev", NULL, MS_BIND, NULL) < 0 || chroot("/mnt/in") < 0 ||
	    chdir("/") < 0)
		return 1;
	scene_open(&s, &wide, try_all);
	turn_until(&s, &s.ends, 1);
	scene_close(&s);
	return strcmp(s.how, "exit status 0") ? 2 : 0;
}

static void a_chroot_is_left_behind_as_well(void **state)
{
	int status;
	pid_t pid;

	need_root();
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(in_a_folder());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#define UNKNOWN 0x3ffffff0

static int forbidden(struct scene *s)
{
	switch (atomic_load(&s->shared->born)) {
	case 1:
		return socket(AF_UNIX, SOCK_DGRAM, 0) > 0;
	case 2:
		return (int)syscall(SYS_execve, "/", NULL, NULL);
	case 3:
		return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	case 4:
		return kill((pid_t)syscall(SYS_getpid), SIGKILL); /* the keeper may */
	case 5:
		return setuid(0);
	case 6:
		return mount("none", "/", "tmpfs", 0, NULL);
	case 7:
		return fork(); /* the keeper may */
	case 8:
		return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0) == MAP_FAILED;
	case 9:
		return mprotect(s->shared, 4096, PROT_READ | PROT_EXEC);
	case 10:
		return memfd_create("x", 0);
	case 11:
		return unshare(CLONE_NEWUSER);
	case 12:
		/* The report itself cannot be switched off. */
		return signal(SIGSYS, SIG_IGN) == SIG_ERR;
	case 13:
		return (int)syscall(SYS_io_uring_setup, 1, NULL);
	case 14:
		return (int)syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0);
	case 15:
		return (int)syscall(UNKNOWN);
	case 16:
		return pidfd_open(getpid(), 0); /* the keeper may */
	case 17:
		/* abort() of somebody else; the keeper may, too */
		return (int)syscall(SYS_tgkill, getpid() + 1, getpid() + 1, SIGABRT);
	default:
		return 0;
	}
}

static const int forbidden_nr[] = {SYS_socket,
				   SYS_execve,
				   SYS_ptrace,
				   SYS_kill,
				   SYS_setuid,
				   SYS_mount,
				   SYS_clone,
				   SYS_mmap,
				   SYS_mprotect,
				   SYS_memfd_create,
				   SYS_unshare,
				   SYS_rt_sigaction,
				   SYS_io_uring_setup,
				   SYS_process_vm_readv,
				   UNKNOWN,
				   SYS_pidfd_open,
				   SYS_tgkill};

static void a_forbidden_call_ends_it_and_is_named(void **state)
{
	char text[4096], want[64];
	struct scene s;

	scene_prepare(&s, forbidden);
	log_hold(&s);
	scene_start_files(&s, &narrow, &(struct helper_files){0});
	for (unsigned i = 0; i < ARRAY_SIZE(forbidden_nr); i++) {
		snprintf(want, sizeof(want), "a system call outside of its list: %d",
			 forbidden_nr[i]);
		turn_until(&s, &s.ends, i + 1);
		if (strcmp(s.how, want))
			print_message("want %s\n", want);
		assert_string_equal(s.how, want);
	}
	turn_until(&s, &s.ends, ARRAY_SIZE(forbidden_nr) + 1);
	assert_string_equal(s.how, "exit status 0");
	scene_close(&s);
	log_release(&s, text, sizeof(text));
	snprintf(want, sizeof(want), "(a system call outside of its list: %d)", SYS_socket);
	assert_int_equal(count_of(text, want), 1);
}

static int other_abis(struct scene *s)
{
	long rc = 0;

	if (atomic_load(&s->shared->born) == 1)
		return (int)syscall(0x40000000 + SYS_getpid) & 0;
	/* getpid() of i386; without that in the kernel it is a fault. */
	__asm__ volatile("int $0x80" : "+a"(rc) : : "memory");
	return 0;
}

static void other_abis_end_it(void **state)
{
	struct scene s;

	scene_open(&s, &narrow, other_abis);
	for (unsigned i = 1; i <= 2; i++) {
		turn_until(&s, &s.ends, i);
		assert_string_not_equal(s.how, "exit status 0");
	}
	scene_close(&s);
}

static int lawful(struct scene *s)
{
	int in = socket(AF_INET, SOCK_STREAM, 0), in6 = socket(AF_INET6, SOCK_DGRAM, 0);
	struct timespec ts;
	char *p = malloc(MiB);
	struct stat st;

	if (in < 0 || (in6 < 0 && errno != EAFNOSUPPORT) || !p || fstat(0, &st) < 0)
		return 1;
	memset(p, 1, MiB);
	free(p);
	clock_gettime(CLOCK_REALTIME, &ts);
	/* Who writes to what is closed hears of it and goes on. */
	return write(in, "x", 1) == 1 || errno != EPIPE;
}

static void lawful_code_runs(void **state)
{
	struct scene s;

	scene_open(&s, &narrow, lawful);
	turn_until(&s, &s.ends, 1);
	assert_string_equal(s.how, "exit status 0");
	scene_close(&s);
}

/* --- amounts --- */

static int hog(struct scene *s)
{
	unsigned blocks = 0;
	bool read_only = atomic_load(&s->shared->born) == 2;

	for (;; blocks++) {
		char *p = read_only ? mmap(NULL, MiB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
				    : malloc(MiB);

		if (!p || p == MAP_FAILED)
			break;
		if (read_only)
			atomic_fetch_add(&s->shared->result, *(volatile char *)p);
		else
			memset(p, 1, MiB);
		if (blocks > 1024)
			return 1;
	}
	/* It had what the role says, and address space for twice as much. */
	if (read_only)
		return blocks > narrow.memory / MiB * 2 ? 2 : 0;
	return blocks < narrow.memory / MiB / 2 || blocks > narrow.memory / MiB ? 3 : 0;
}

static void a_memory_hog_harms_only_itself(void **state)
{
	struct scene s;

	if (ASAN) {
		print_message("skipped: no limit of memory in builds with ASan\n");
		skip();
	}
	scene_open(&s, &narrow, hog);
	for (unsigned i = 1; i <= 2; i++) {
		turn_until(&s, &s.ends, i);
		assert_string_equal(s.how, "exit status 0");
	}
	scene_close(&s);
}

static int open_many(struct scene *s)
{
	unsigned n = 0;

	while (socket(AF_INET, SOCK_DGRAM, 0) >= 0 && n < 1000)
		n++;
	return errno == EMFILE && n <= narrow.files ? 0 : 1;
}

static void descriptors_are_limited(void **state)
{
	struct scene s;

	scene_open(&s, &narrow, open_many);
	turn_until(&s, &s.ends, 1);
	assert_string_equal(s.how, "exit status 0");
	scene_close(&s);
}

static int flood(struct scene *s)
{
	static const char lines[] = "a line\nanother line\n\x1b[31mred\n";

	for (unsigned i = 0; i < 20000; i++)
		if (write(2, lines, sizeof(lines) - 1) < 0 && errno != EAGAIN)
			return 1;
	return ring_and_wait(s);
}

static void a_flood_of_lines_is_bounded(void **state)
{
	static char text[65536];
	struct scene s;

	scene_prepare(&s, flood);
	log_hold(&s);
	scene_start_files(&s, &narrow, &(struct helper_files){0});
	/* It is not held up by a pipe that nobody empties. */
	turn_until(&s, &s.rung, 1);
	scene_close(&s);
	log_release(&s, text, sizeof(text));
	assert_true(count_of(text, "\n") <= LOG_GUEST_BURST + 2);
	assert_int_equal(count_of(text, "net0: helper says: another line\n"), 3);
	assert_int_equal(count_of(text, "\x1b"), 0);
	assert_true(count_of(text, "helper says: ?[31mred\n") > 0);
}

static int long_line(struct scene *s)
{
	for (unsigned i = 0; i < 1000; i++)
		if (write(2, "0123456789", 10) < 0)
			return 1;
	if (write(2, "\nnext\n", 6) < 0)
		return 1;
	return ring_and_wait(s);
}

static void a_long_line_is_cut(void **state)
{
	char text[4096];
	struct scene s;

	scene_prepare(&s, long_line);
	log_hold(&s);
	scene_start_files(&s, &narrow, &(struct helper_files){0});
	turn_until(&s, &s.rung, 1);
	scene_close(&s);
	log_release(&s, text, sizeof(text));
	assert_int_equal(count_of(text, "0123456789"), 20);
	assert_int_equal(count_of(text, "helper says: next\n"), 1);
}

/* --- files --- */

static int use_files(struct scene *s)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	char path[64], text[16] = "";
	int fd;

	fd = open("/etc/services", O_RDONLY);
	if (fd < 0 || read(fd, text, 1) != 1)
		return 1;
	snprintf(path, sizeof(path), "%s/boot", s->dir);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) != 6 || strcmp(text, "kernel"))
		return 2;
	if (open(path, O_RDWR) >= 0 || unlink(path) == 0)
		return 3;
	snprintf(to.sun_path, sizeof(to.sun_path), "%s/sock", s->dir);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return 4;
	/* Only the way to them. */
	return open("/etc/passwd", O_RDONLY) >= 0 || open("/tmp/.", O_RDONLY | O_TMPFILE, 0) >= 0
		       ? 5
		       : 0;
}

static void named_files_are_there(void **state)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct helper_files files = {0};
	char path[64];
	struct scene s;
	int fd, sock;

	need_spaces();
	scene_prepare(&s, use_files);
	strcpy(s.dir, "/tmp/unit_helper.XXXXXX");
	assert_non_null(mkdtemp(s.dir));
	assert_int_equal(chmod(s.dir, 0755), 0);
	snprintf(path, sizeof(path), "%s/boot", s.dir);
	fd = open(path, O_WRONLY | O_CREAT, 0644);
	assert_int_equal(fchmod(fd, 0666), 0);
	assert_int_equal(write(fd, "kernel", 6), 6);
	close(fd);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/sock", s.dir);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(sock, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(sock, 1), 0);
	assert_int_equal(chmod(at.sun_path, 0777), 0);

	files.copies = (const char *const[]){"/etc/services", "/etc/no-such-file"};
	files.ncopies = 2;
	files.binds = (const char *const[]){s.dir};
	files.nbinds = 1;
	scene_start_files(&s, &wide, &files);
	turn_until(&s, &s.ends, 1);
	assert_string_equal(s.how, "exit status 0");
	scene_close(&s);
	close(sock);
	unlink(path);
	unlink(at.sun_path);
	rmdir(s.dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failed_start_is_told),
		cmocka_unit_test(our_other_children_stay_in_our_space),
		cmocka_unit_test(a_worker_that_ended_is_followed_by_another),
		cmocka_unit_test(restarts_are_limited),
		cmocka_unit_test(an_end_while_unserved_is_not_lost),
		cmocka_unit_test(nothing_outlives_the_device_model),
		cmocka_unit_test(the_keepers_end_is_noticed),
		cmocka_unit_test(a_stopped_keeper_does_not_hold_us_up),
		cmocka_unit_test(both_are_confined),
		cmocka_unit_test(a_network_of_its_own_if_asked_for),
		cmocka_unit_test(both_are_filtered_whoever_we_are),
		cmocka_unit_test(the_other_walls_hold),
		cmocka_unit_test(a_chroot_is_left_behind_as_well),
		cmocka_unit_test(a_forbidden_call_ends_it_and_is_named),
		cmocka_unit_test(other_abis_end_it),
		cmocka_unit_test(lawful_code_runs),
		cmocka_unit_test(a_memory_hog_harms_only_itself),
		cmocka_unit_test(descriptors_are_limited),
		cmocka_unit_test(a_flood_of_lines_is_bounded),
		cmocka_unit_test(a_long_line_is_cut),
		cmocka_unit_test(named_files_are_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
