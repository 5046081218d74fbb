/* SPDX-License-Identifier: MIT */
/* unit_heir.c - the last thing is done, whether we end it or are killed */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/heir.h"

#define CAP 12 /* CAP_NET_ADMIN */

/* A FIFO: the test reads what the child reports. */
struct scene {
	char dir[32], path[64];
	int fd;
};

static void scene_open(struct scene *s)
{
	strcpy(s->dir, "/tmp/unit_heir.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/fifo", s->dir);
	assert_int_equal(mkfifo(s->path, 0600), 0);
	/* A writer of our own: a read waits for the child's. */
	s->fd = open(s->path, O_RDWR | O_CLOEXEC);
	assert_true(s->fd >= 0);
}

static void scene_close(struct scene *s)
{
	close(s->fd);
	unlink(s->path);
	rmdir(s->dir);
}

/* In the child: its capabilities and the first free descriptor. */
static void report(void *arg)
{
	struct scene *s = arg;
	char text[8192], *caps;
	int fd = open("/proc/self/status", O_RDONLY), out = open(s->path, O_WRONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = 0;
	caps = strstr(text, "CapEff:\t");
	dprintf(out, "%.16s %d", caps ? caps + 8 : "?", fd);
}

static void read_report(struct scene *s, const char *want)
{
	char text[64] = "";

	assert_true(read(s->fd, text, sizeof(text) - 1) > 0);
	assert_string_equal(text, want);
}

static void it_acts_when_told_to(void **state)
{
	struct heir h = {0};
	struct scene s;
	struct err e;

	scene_open(&s);
	assert_int_equal(heir_start(&h, CAP, report, &s, &e), 0);
	heir_end(&h);
	read_report(&s, geteuid() == 0 ? "0000000000001000 3" : "0000000000000000 3");
	heir_end(&h);
	scene_close(&s);
}

static void it_acts_when_we_are_killed(void **state)
{
	int status;
	struct scene s;
	pid_t pid;

	scene_open(&s);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct heir h = {0};
		struct err e;

		if (heir_start(&h, CAP, report, &s, &e) < 0)
			_exit(1);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	read_report(&s, geteuid() == 0 ? "0000000000001000 3" : "0000000000000000 3");
	scene_close(&s);
}

static void sleep_for_ever(void *arg)
{
	for (;;)
		pause();
}

/* A script that hangs, say: it is killed, and the end goes on. */
static void it_does_not_hold_up_the_end(void **state)
{
	struct heir h = {0};
	struct err e;
	pid_t pid;

	assert_int_equal(heir_start(&h, CAP, sleep_for_ever, NULL, &e), 0);
	pid = h.pid;
	heir_end(&h);
	assert_int_equal(waitpid(pid, NULL, 0), -1); /* it was waited for */
}

/* One that ends by itself is not killed: its status was taken, whatever the limit is. */
static void quick_child_is_waited_for(void **state)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	child_end(pid, "the child", 100);
	assert_int_equal(waitpid(pid, NULL, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_acts_when_told_to),
		cmocka_unit_test(it_acts_when_we_are_killed),
		cmocka_unit_test(it_does_not_hold_up_the_end),
		cmocka_unit_test(quick_child_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
