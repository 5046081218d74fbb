/* SPDX-License-Identifier: MIT */
/* helper.c - see helper.h */
#include "net/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int helper_sockets(int sock[2], struct err *e)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0)
		return err_set(e, -errno, "socketpair: %s", strerror(errno));
	return 0;
}

int helper_run(const char *what, char *const argv[], int fd, struct err *e)
{
	posix_spawnattr_t attr;
	int rc, status;
	sigset_t set;
	pid_t pid;

	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	sigemptyset(&set);
	posix_spawnattr_setsigmask(&attr, &set);
	sigaddset(&set, SIGPIPE);
	posix_spawnattr_setsigdefault(&attr, &set);
	fcntl(fd, F_SETFD, 0);
	rc = posix_spawnp(&pid, argv[0], NULL, &attr, argv, environ);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	posix_spawnattr_destroy(&attr);
	if (rc)
		return err_set(e, -rc, "could not run %s '%s': %s", what, argv[0], strerror(rc));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_set(e, -errno, "%s '%s': %s", what, argv[0], strerror(errno));
	if (WIFSIGNALED(status))
		return err_set(e, -EIO, "%s '%s' was ended by signal %d", what, argv[0],
			       WTERMSIG(status));
	if (WEXITSTATUS(status))
		return err_set(e, -EIO, "%s '%s' failed with exit status %d", what, argv[0],
			       WEXITSTATUS(status));
	return 0;
}

/* The descriptor that was sent on `sock`, -1 when there is none. */
static int receive_fd(int sock)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	struct cmsghdr *c;
	int fd = -1;

	if (recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
		return -1;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		    c->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

int helper_bridge(const char *helper, const char *br, struct err *e)
{
	char fd_arg[32], *br_arg = NULL, *line = NULL;
	int sock[2], fd = -1, rc = helper_sockets(sock, e);

	if (rc < 0)
		return rc;
	snprintf(fd_arg, sizeof(fd_arg), "--fd=%d", sock[1]);
	if (asprintf(&br_arg, "--br=%s", br) < 0)
		br_arg = NULL;
	if (asprintf(&line, "%s --use-vnet %s --br=%s", helper, fd_arg, br) < 0)
		line = NULL;
	if (!br_arg || !line) {
		rc = err_nomem(e);
	} else if (strpbrk(helper, " \t")) {
		char *argv[] = {(char *)"sh", (char *)"-c", line, NULL};

		rc = helper_run("bridge helper", argv, sock[1], e);
	} else {
		char *argv[] = {(char *)helper, (char *)"--use-vnet", fd_arg, br_arg, NULL};

		rc = helper_run("bridge helper", argv, sock[1], e);
	}
	if (!rc) {
		fd = receive_fd(sock[0]);
		if (fd < 0)
			rc = err_set(e, -EIO, "bridge helper '%s' sent no interface", helper);
	}
	free(br_arg);
	free(line);
	close(sock[0]);
	close(sock[1]);
	return rc < 0 ? rc : fd;
}
