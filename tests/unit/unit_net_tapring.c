/* SPDX-License-Identifier: MIT */
/* unit_net_tapring.c - a ring that fails has nothing in flight any more, and loses no frame
 *
 * The "tap" is a pipe; when it is full a write stays in flight until somebody reads, which is when
 * tapring_send() polls for completions. io_uring_submit() and poll() are the linker's --wrap: the
 * first hands over as many writes as a test says, and then fails as it says.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <liburing.h>

#include "base/util.h"
#include "net/tapring.h"

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __real_poll(struct pollfd *p, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *p, nfds_t n, int timeout);

static int fails_with;	  /* 0: it does not */
static unsigned takes;	  /* so many requests first */
static unsigned grace;	  /* so many calls that do not fail */
static unsigned refusals; /* calls that failed */
static void (*on_poll)(void);

int __wrap_io_uring_submit(struct io_uring *ring)
{
	unsigned tail = ring->sq.sqe_tail, queued = io_uring_sq_ready(ring);

	if (!fails_with || grace) {
		grace -= grace ? 1 : 0;
		return __real_io_uring_submit(ring);
	}
	refusals++;
	if (takes) {
		ring->sq.sqe_tail = tail - queued + MIN(takes, queued);
		takes = 0;
		__real_io_uring_submit(ring);
		ring->sq.sqe_tail = tail;
	}
	return fails_with;
}

int __wrap_poll(struct pollfd *p, nfds_t n, int timeout)
{
	if (on_poll)
		on_poll();
	return __real_poll(p, n, timeout);
}

#define FRAMES 6
#define LEN    1000

struct pipe_tap {
	int fd[2];
	uint8_t frame[FRAMES][LEN];
	struct iovec iov[FRAMES];
	struct net_frame f[FRAMES];
	struct tapring *r;
	uint8_t got[64 * KiB + FRAMES * LEN];
	size_t n, full;
};

static struct pipe_tap *tap;

static void tap_drain(void)
{
	struct pollfd p = {.fd = tap->fd[0], .events = POLLIN};
	ssize_t n;

	while (__real_poll(&p, 1, 0) == 1 &&
	       (n = read(tap->fd[0], tap->got + tap->n, sizeof(tap->got) - tap->n)) > 0)
		tap->n += (size_t)n;
}

static int tap_open(void **state)
{
	fails_with = 0;
	takes = grace = refusals = 0;
	on_poll = NULL;
	tap = calloc(1, sizeof(*tap));
	assert_int_equal(pipe2(tap->fd, O_CLOEXEC), 0);
	for (unsigned i = 0; i < FRAMES; i++) {
		memset(tap->frame[i], (int)i + 1, LEN);
		tap->iov[i] = (struct iovec){tap->frame[i], LEN};
		/* The third one is empty: it is not sent. */
		tap->f[i] = (struct net_frame){.iov = &tap->iov[i], .n = i != 2};
	}
	tap->r = tapring_new(tap->fd[1]);
	return 0;
}

static void tap_begin(void)
{
	if (!tap->r)
		skip(); /* no io_uring here */
}

static int tap_close(void **state)
{
	tapring_free(tap->r);
	close(tap->fd[0]);
	close(tap->fd[1]);
	free(tap);
	return 0;
}

/* No room for a frame. */
static void tap_fill(void)
{
	static uint8_t page[4096];
	int flags = fcntl(tap->fd[1], F_GETFL);

	fcntl(tap->fd[1], F_SETFL, flags | O_NONBLOCK);
	while (write(tap->fd[1], page, sizeof(page)) > 0)
		tap->full += sizeof(page);
	fcntl(tap->fd[1], F_SETFL, flags);
}

/* All frames arrived, each once, in their order, with what was in them when they were sent. */
static void tap_check(unsigned frames)
{
	size_t at = tap->full, len = 0;

	memset(tap->frame, 0xee, sizeof(tap->frame)); /* the guest's again */
	tap_drain();
	for (unsigned i = 0; i < frames; i++)
		len += tap->f[i].n * LEN;
	assert_int_equal(tap->n, tap->full + len);
	for (unsigned i = 0; i < frames; i++)
		for (unsigned k = 0; k < LEN && tap->f[i].n; k++, at++)
			assert_int_equal(tap->got[at], i + 1);
}

static void tap_all_well(void **state)
{
	tap_begin();
	assert_true(tapring_send(tap->r, tap->f, FRAMES));
	tap_check(FRAMES);
}

/* It took the write, which waits, and then says that it failed. */
static void tap_fails_in_flight(void **state)
{
	tap_begin();
	tap_fill();
	fails_with = -ENXIO;
	takes = 1;
	on_poll = tap_drain;
	assert_false(tapring_send(tap->r, tap->f, 1));
	assert_int_equal(refusals, 1);
	tap_check(1);
}

/* Of a batch it took two. */
static void tap_fails_in_a_batch(void **state)
{
	tap_begin();
	grace = 1; /* the frame that goes first, alone */
	fails_with = -ENXIO;
	takes = 2;
	assert_false(tapring_send(tap->r, tap->f, FRAMES));
	assert_int_equal(refusals, 1);
	tap_check(FRAMES);
}

/* Some end at once and the last one later: all are counted. */
static void tap_takes_its_time(void **state)
{
	uint8_t page[4096];

	tap_begin();
	tap_fill();
	assert_int_equal(read(tap->fd[0], page, sizeof(page)), sizeof(page));
	tap->full -= sizeof(page);
	on_poll = tap_drain;
	assert_false(tapring_send(tap->r, tap->f, FRAMES));
	tap_check(FRAMES);
}

/* Short of memory, and it stays so. */
static void tap_never_takes(void **state)
{
	tap_begin();
	grace = 1;
	fails_with = -EAGAIN;
	assert_false(tapring_send(tap->r, tap->f, FRAMES));
	assert_true(refusals > 1);
	tap_check(FRAMES);
}

int main(void)
{
#define TAP_TEST(f) cmocka_unit_test_setup_teardown(f, tap_open, tap_close)
	const struct CMUnitTest tests[] = {
		TAP_TEST(tap_all_well),		TAP_TEST(tap_fails_in_flight),
		TAP_TEST(tap_fails_in_a_batch), TAP_TEST(tap_takes_its_time),
		TAP_TEST(tap_never_takes),
	};

	return cmocka_run_group_tests_name("net_tapring", tests, NULL, NULL);
}
