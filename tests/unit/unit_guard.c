/* SPDX-License-Identifier: MIT */
/* unit_guard.c - what is given up is gone: seen in /proc, in a child process */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/guard.h"

static void need_root(void)
{
	if (geteuid() != 0) {
		print_message("skipped: needs root\n");
		skip();
	}
}

/* Run `fn` in a child; it returns 0, or a number that says where it failed. */
static int run_in_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void in_child(int (*fn)(void))
{
	assert_int_equal(run_in_child(fn), 0);
}

/* The value of a line of /proc/thread-self/status, read through a descriptor that was opened
 * before. */
static bool status_is(int fd, const char *name, const char *value)
{
	char text[8192], *line;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return false;
	text[n] = 0;
	line = strstr(text, name);
	return line && !strncmp(line + strlen(name), value, strlen(value));
}

static bool nothing_left(int fd)
{
	static const char *const sets[] = {"CapInh:\t", "CapPrm:\t", "CapEff:\t", "CapBnd:\t",
					   "CapAmb:\t"};

	for (unsigned i = 0; i < 5; i++)
		if (!status_is(fd, sets[i], "0000000000000000\n"))
			return false;
	return status_is(fd, "NoNewPrivs:\t", "1\n");
}

static void *thread_nothing_left(void *arg)
{
	int fd = open("/proc/thread-self/status", O_RDONLY);

	return fd >= 0 && nothing_left(fd) ? arg : NULL;
}

static int stay_root(void)
{
	int fd = open("/proc/self/status", O_RDONLY), mark;
	struct guard g;
	pthread_t t;
	void *ok;

	if (guard_prepare(&g, NULL, NULL, NULL) || guard_seal(&g, NULL))
		return 1;
	if (!nothing_left(fd) || geteuid() != 0)
		return 2;
	if (pthread_create(&t, NULL, thread_nothing_left, &mark) || pthread_join(t, &ok) ||
	    ok != &mark)
		return 3;
	/* Root's files are still root's, others' are not. */
	return setuid(1) == 0 ? 4 : 0;
}

/* Root may keep some; nobody else may. */
static int keep_some(void)
{
	int fd = open("/proc/self/status", O_RDONLY);
	struct guard g;

	if (guard_prepare(&g, NULL, NULL, NULL))
		return 1;
	guard_keep(&g, 1 << 0 | 1 << 3); /* CAP_CHOWN, CAP_FOWNER */
	if (guard_seal(&g, NULL))
		return 2;
	return status_is(fd, "CapPrm:\t", "0000000000000009\n") &&
			       status_is(fd, "CapEff:\t", "0000000000000009\n") &&
			       status_is(fd, "CapBnd:\t", "0000000000000009\n") &&
			       status_is(fd, "CapInh:\t", "0000000000000000\n")
		       ? 0
		       : 3;
}

static int keep_nothing(void)
{
	int fd = open("/proc/self/status", O_RDONLY);
	struct guard g;

	if (guard_prepare(&g, "nobody", NULL, NULL))
		return 1;
	guard_keep(&g, 1 << 0 | 1 << 3);
	return guard_seal(&g, NULL) || !nothing_left(fd) ? 2 : 0;
}

static int become_nobody(void)
{
	int fd = open("/proc/self/status", O_RDONLY);
	struct guard g;

	if (guard_prepare(&g, "nobody", NULL, NULL) || guard_seal(&g, NULL))
		return 1;
	if (!status_is(fd, "Uid:\t", "65534\t65534\t65534\t65534\n") || !nothing_left(fd))
		return 2;
	return setuid(0) == 0 || seteuid(0) == 0 ? 3 : 0;
}

static int become_numbers(void)
{
	int fd = open("/proc/self/status", O_RDONLY);
	struct guard g;

	if (guard_prepare(&g, "4711:4712", NULL, NULL) || guard_seal(&g, NULL))
		return 1;
	return status_is(fd, "Uid:\t", "4711\t4711\t4711\t4711\n") &&
			       status_is(fd, "Gid:\t", "4712\t4712\t4712\t4712\n") &&
			       status_is(fd, "Groups:\t", " \n") && nothing_left(fd)
		       ? 0
		       : 2;
}

static int the_toolstacks_user(void)
{
	struct guard g;

	if (guard_prepare(&g, NULL, NULL, NULL))
		return 1;
	guard_user(&g, 5000);
	if (guard_seal(&g, NULL) || getuid() != 5000 || getgid() != 5000)
		return 2;
	/* A user that was asked for comes first. */
	if (guard_prepare(&g, "4711:4712", NULL, NULL))
		return 3;
	guard_user(&g, 5000);
	return g.uid == 4711 ? 0 : 4;
}

static int enter_chroot(void)
{
	char dir[] = "/tmp/unit_guard.XXXXXX", path[64];
	struct guard g;
	struct stat st;
	int rc = 0;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/inside", dir);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	if (guard_prepare(&g, NULL, dir, NULL) || unlink(path) || rmdir(dir))
		return 2;
	/* The directory was opened before: it may even be gone by its name. */
	if (guard_seal(&g, NULL))
		return 3;
	if (stat("/etc", &st) == 0 || stat("../../etc", &st) == 0 || chroot(".") == 0)
		rc = 4;
	return rc;
}

static int lift_limits(void)
{
	struct rlimit r = {4096, 4096};
	struct guard g;

	if (setrlimit(RLIMIT_FSIZE, &r) || guard_prepare(&g, "4711:4712", NULL, NULL) ||
	    guard_seal(&g, NULL))
		return 1;
	return getrlimit(RLIMIT_FSIZE, &r) == 0 && r.rlim_cur == RLIM_INFINITY ? 0 : 2;
}

static void a_root_process_keeps_no_capability(void **state)
{
	need_root();
	in_child(stay_root);
}

static void what_is_kept(void **state)
{
	need_root();
	in_child(keep_some);
	in_child(keep_nothing);
}

static void a_user_cannot_go_back(void **state)
{
	need_root();
	in_child(become_nobody);
	in_child(become_numbers);
	in_child(the_toolstacks_user);
}

static void chroot_hides_the_rest(void **state)
{
	need_root();
	in_child(enter_chroot);
}

/* Even root may lack the right to lift a limit, in a container. */
static int may_lift_limits(void)
{
	struct rlimit none = {4096, 4096}, all = {RLIM_INFINITY, RLIM_INFINITY};

	return setrlimit(RLIMIT_FSIZE, &none) || setrlimit(RLIMIT_FSIZE, &all);
}

static void file_size_is_not_limited(void **state)
{
	need_root();
	if (run_in_child(may_lift_limits) != 0) {
		print_message("skipped: needs CAP_SYS_RESOURCE\n");
		skip();
	}
	in_child(lift_limits);
}

static void bad_users_and_directories_are_told(void **state)
{
	static const char *const users[] = {
		"no-such-user", "", "12", "12:", ":12", "12:x", "-1:0", "99999999999:0"};
	struct guard g;
	struct err e;

	for (unsigned i = 0; i < sizeof(users) / sizeof(users[0]); i++)
		assert_int_equal(guard_prepare(&g, users[i], NULL, &e), -EINVAL);
	assert_int_equal(guard_prepare(&g, NULL, "/no/such/dir", &e), -ENOENT);
	assert_non_null(strstr(e.text, "/no/such/dir"));
	assert_int_equal(guard_prepare(&g, NULL, "/etc/passwd", &e), -ENOTDIR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_root_process_keeps_no_capability),
		cmocka_unit_test(what_is_kept),
		cmocka_unit_test(a_user_cannot_go_back),
		cmocka_unit_test(chroot_hides_the_rest),
		cmocka_unit_test(file_size_is_not_limited),
		cmocka_unit_test(bad_users_and_directories_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
