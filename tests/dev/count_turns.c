/* SPDX-License-Identifier: MIT */
/* count_turns.c - preloaded into the device model: counts the turns of its loops
 *
 * Each turn is one call of epoll_wait() or epoll_pwait2(). The counter is one 64-bit word at the
 * begin of the file that COUNT_TURNS names; the test maps the same file.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t before_main;
static uint64_t *counter = &before_main;

__attribute__((constructor)) static void open_counter(void)
{
	const char *path = getenv("COUNT_TURNS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	if (p != MAP_FAILED)
		counter = p;
}

static void count_turn(void)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* The kernel wants to know the size of a set of signals, whether or not there is one. */
int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	count_turn();
	return (int)syscall(SYS_epoll_pwait, epfd, events, max, timeout, NULL, (size_t)8);
}

int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
		 const sigset_t *mask)
{
	count_turn();
	return (int)syscall(SYS_epoll_pwait2, epfd, events, max, timeout, mask, (size_t)8);
}
