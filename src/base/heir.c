/* SPDX-License-Identifier: MIT */
/* heir.c - see heir.h */
#include "base/heir.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What is not allowed here was not allowed before either. */
static void keep_only(unsigned capability)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {{0}};

	for (unsigned c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (c != capability)
			prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	caps[capability / 32].effective = caps[capability / 32].permitted = 1U << capability % 32;
	syscall(SYS_capset, &head, caps);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void run(int fd, unsigned capability, void (*fn)(void *arg), void *arg)
{
	char c;

	prctl(PR_SET_NAME, "xenpvh-heir");
	if (fd > 3)
		close_range(3, (unsigned)fd - 1, 0);
	close_range((unsigned)fd + 1, ~0U, 0);
	keep_only(capability);
	/* Nothing is ever written: it returns at the end of the file. */
	while (read(fd, &c, 1) < 0 && errno == EINTR)
		;
	fn(arg);
	_exit(0);
}

int heir_start(struct heir *h, unsigned capability, void (*fn)(void *arg), void *arg, struct err *e)
{
	int pipe_fd[2];

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return err_set(e, -errno, "pipe: %s", strerror(errno));
	h->pid = fork();
	if (h->pid < 0) {
		int rc = err_set(e, -errno, "fork: %s", strerror(errno));

		h->pid = 0;
		close(pipe_fd[0]);
		close(pipe_fd[1]);
		return rc;
	}
	if (!h->pid)
		run(pipe_fd[0], capability, fn, arg);
	close(pipe_fd[0]);
	h->fd = pipe_fd[1];
	return 0;
}

void heir_end(struct heir *h)
{
	if (!h->pid)
		return;
	close(h->fd);
	while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
		;
	h->pid = 0;
}
