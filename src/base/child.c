/* SPDX-License-Identifier: MIT */
/* child.c - see child.h */
#include "base/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

/* A killed process is gone as soon as no system call holds it. */
#define KILLED_MS 1000

/* False: it has not ended in `ms`. */
static bool child_wait(pid_t pid, int pidfd, uint64_t ms)
{
	uint64_t now = now_ns(), end = now + ms * 1000000;
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int n = 0;

	/* A kernel without pidfd_open(), before 5.3: no limit. */
	while (pidfd >= 0 && n <= 0 && now < end) {
		n = poll(&p, 1, (int)((end - now + 999999) / 1000000));
		now = now_ns();
	}
	if (pidfd >= 0 && n <= 0)
		return false;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return true;
}

void child_end(pid_t pid, const char *what, unsigned seconds)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (!child_wait(pid, pidfd, seconds * 1000ULL)) {
		bool killed = !kill(pid, SIGKILL);

		log_warn("%s (process %d) does not end within %u seconds: %s%s", what, (int)pid,
			 seconds,
			 killed ? "killed" : "left behind: ", killed ? "" : strerror(errno));
		if (killed && !child_wait(pid, pidfd, KILLED_MS))
			log_warn("%s (process %d) was killed and has not ended yet", what,
				 (int)pid);
	}
	if (pidfd >= 0)
		close(pidfd);
}
