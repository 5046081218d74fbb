/* SPDX-License-Identifier: MIT */
/* heir.c - see heir.h */
#include "base/heir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/child.h"
#include "base/rights.h"

static void run(int fd, unsigned capability, void (*fn)(void *arg), void *arg)
{
	char c;

	prctl(PR_SET_NAME, "xenpvh-heir");
	rights_close_others(&fd, 1);
	/* What is not allowed here was not allowed before either. */
	rights_drop_bounds(1ULL << capability);
	rights_drop_capabilities(1ULL << capability, NULL);
	rights_no_new(NULL);
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
	child_end(h->pid, "the child that undoes what was done to the host's network", HEIR_END_S);
	h->pid = 0;
}
