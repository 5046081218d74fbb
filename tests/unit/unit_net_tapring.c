/* SPDX-License-Identifier: MIT */
/* unit_net_tapring.c - a ring that is given up has nothing in flight any more
 *
 * The "tap" is a stream socket that is full, so a write stays in flight until somebody reads.
 * io_uring_submit() is the linker's --wrap: it hands the write over and then reports an error.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <liburing.h>

#include "net/tapring.h"

#define FRAME 1000

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool returned; /* tapring_send() has */
	int fd;
	size_t filled; /* bytes that are in the socket before the frame */
	uint8_t got[FRAME];
} b = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int __wrap_io_uring_submit(struct io_uring *ring)
{
	__real_io_uring_submit(ring);
	return -EIO;
}

/* Reads once tapring_send() has returned, or when it has not for a while: it is waiting then. */
static void *thread_read(void *arg)
{
	struct timespec end;
	uint8_t buf[4096];

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += 300000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	pthread_mutex_lock(&b.lock);
	while (!b.returned && pthread_cond_timedwait(&b.changed, &b.lock, &end) == 0) {}
	pthread_mutex_unlock(&b.lock);
	for (size_t left = b.filled; left;) {
		ssize_t n = read(b.fd, buf, left < sizeof(buf) ? left : sizeof(buf));

		if (n <= 0)
			return NULL;
		left -= (size_t)n;
	}
	for (size_t at = 0; at < FRAME;) {
		ssize_t n = read(b.fd, b.got + at, FRAME - at);

		if (n <= 0)
			return NULL;
		at += (size_t)n;
	}
	return NULL;
}

static void nothing_is_in_flight_afterwards(void **state)
{
	uint8_t frame[FRAME], want[FRAME], fill[4096] = {0};
	struct iovec iov = {frame, FRAME};
	struct net_frame f = {&iov, 1};
	struct tapring *r;
	pthread_t reader;
	int s[2];
	ssize_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	while ((n = send(s[0], fill, sizeof(fill), MSG_DONTWAIT)) > 0)
		b.filled += (size_t)n;
	b.fd = s[1];
	r = tapring_new(s[0]);
	if (!r)
		skip(); /* no io_uring here */
	memset(frame, 0x11, FRAME);
	memset(want, 0x11, FRAME);
	assert_int_equal(pthread_create(&reader, NULL, thread_read, NULL), 0);
	assert_false(tapring_send(r, &f, 1));
	/* The guest has its memory back and writes something else there. */
	memset(frame, 0xee, FRAME);
	pthread_mutex_lock(&b.lock);
	b.returned = true;
	pthread_cond_signal(&b.changed);
	pthread_mutex_unlock(&b.lock);
	pthread_join(reader, NULL);
	assert_memory_equal(b.got, want, FRAME);
	tapring_free(r);
	close(s[0]);
	close(s[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_in_flight_afterwards)};

	return cmocka_run_group_tests_name("net_tapring", tests, NULL, NULL);
}
