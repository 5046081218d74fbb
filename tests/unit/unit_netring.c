/* SPDX-License-Identifier: MIT */
/* unit_netring.c - the ring between the device model and the helper of -netdev user: frames cross
 * whole, nobody sleeps too long, and nothing that the other side writes leads out of it
 *
 * The shared memory is of its exact size, so that the address sanitizer sees a step beyond.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/util.h"
#include "net/user/netring.h"

struct pair {
	struct netring_shm *shm;
	struct netring put, take;
	int rings_taker, rings_putter; /* eventfds */
};

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->shm = aligned_alloc(64, sizeof(*p->shm));
	memset(p->shm, 0, sizeof(*p->shm));
	netring_reset(p->shm);
	netring_attach(&p->put, p->shm);
	netring_attach(&p->take, p->shm);
	p->rings_taker = eventfd(0, 0);
	p->rings_putter = eventfd(0, 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	close(p->rings_taker);
	close(p->rings_putter);
	free(p->shm);
	free(p);
	return 0;
}

/* Lengths from the shortest to the longest. */
static size_t length_of(unsigned i)
{
	return i % 50 ? NETRING_MIN + i * 131 % 3000 : NETRING_MIN + i * 7 % NET_FRAME_MAX;
}

static int put_frame(struct pair *p, unsigned i)
{
	static uint8_t f[NETRING_MAX];
	size_t len = length_of(i);

	memset(f, (int)(i & 0xff), len);
	return netring_put(&p->put, (struct iovec[]){{f, len / 3}, {f + len / 3, len - len / 3}},
			   2);
}

static void check_frame(const uint8_t *f, ssize_t len, unsigned i)
{
	assert_int_equal(len, length_of(i));
	assert_int_equal(f[0], i & 0xff);
	assert_int_equal(f[len - 1], i & 0xff);
	assert_int_equal(f[len / 3], i & 0xff);
}

static void full_and_empty(void **state)
{
	struct pair *p = *state;
	unsigned put = 0, got = 0;
	const uint8_t *f;
	ssize_t len;

	while (got < 20000) {
		while (put_frame(p, put) == 0)
			put++;
		/* At most the longest frame and what is skipped were missing. */
		assert_true(netring_used(&p->put) >
			    (ssize_t)(NETRING_BYTES - 2 * NETRING_MAX - 64));
		for (unsigned n = got % 97 ? got % 300 : UINT32_MAX;
		     n && (len = netring_peek(&p->take, &f)) >= 0; n--) {
			check_frame(f, len, got++);
			netring_drop(&p->take);
		}
	}
	while ((len = netring_peek(&p->take, &f)) >= 0) {
		check_frame(f, len, got++);
		netring_drop(&p->take);
	}
	assert_int_equal(len, -EAGAIN);
	assert_int_equal(got, put);
}

/* A pair of which each puts one and takes it stays where it began. */
static void stays_warm(void **state)
{
	struct pair *p = *state;
	const uint8_t *f, *highest = NULL;
	ssize_t len;

	for (unsigned i = 1; i < 20000; i++) {
		assert_true(netring_sleep(&p->take));
		assert_int_equal(put_frame(p, i), 0);
		assert_true(netring_wakes_taker(&p->put));
		assert_false(netring_wakes_taker(&p->put));
		len = netring_peek(&p->take, &f);
		check_frame(f, len, i);
		highest = MAX(highest, f);
		netring_drop(&p->take);
	}
	assert_true(highest < p->shm->data + NETRING_BYTES / 4 + 16);
}

/* What comes between the last look and the request to be woken is seen by another look. */
static void looks_once_more(void **state)
{
	struct pair *p = *state;
	const uint8_t *f;
	unsigned n = 0;

	assert_int_equal(netring_peek(&p->take, &f), -EAGAIN);
	assert_int_equal(put_frame(p, 1), 0);
	assert_false(netring_wakes_taker(&p->put));
	assert_false(netring_sleep(&p->take));
	assert_true(netring_peek(&p->take, &f) > 0);
	netring_drop(&p->take);
	while (put_frame(p, n) == 0)
		n++;
	while (netring_peek(&p->take, &f) > 0)
		netring_drop(&p->take);
	assert_false(netring_wakes_putter(&p->take, true));
	assert_false(netring_wait_room(&p->put));
	while (put_frame(p, n) == 0)
		n++;
	assert_true(netring_wait_room(&p->put));
	assert_true(netring_peek(&p->take, &f) > 0);
	netring_drop(&p->take);
	assert_false(netring_wakes_putter(&p->take, true)); /* not for so little */
	while (netring_peek(&p->take, &f) > 0)
		netring_drop(&p->take);
	assert_true(netring_wakes_putter(&p->take, true));
}

static void *put_all(void *arg)
{
	struct pair *p = arg;
	eventfd_t n;

	for (unsigned i = 0; i < 100000; i++) {
		while (put_frame(p, i) == -EAGAIN) {
			if (netring_wakes_taker(&p->put))
				eventfd_write(p->rings_taker, 1);
			if (netring_wait_room(&p->put))
				eventfd_read(p->rings_putter, &n);
		}
		if (netring_wakes_taker(&p->put))
			eventfd_write(p->rings_taker, 1);
	}
	return NULL;
}

/* Two threads that sleep whenever they can: neither is forgotten. */
static void nobody_sleeps_on(void **state)
{
	struct pair *p = *state;
	const uint8_t *f;
	pthread_t thread;
	eventfd_t n;
	ssize_t len;

	assert_int_equal(pthread_create(&thread, NULL, put_all, p), 0);
	for (unsigned i = 0; i < 100000;) {
		len = netring_peek(&p->take, &f);
		if (len == -EAGAIN) {
			if (netring_wakes_putter(&p->take, true))
				eventfd_write(p->rings_putter, 1);
			if (netring_sleep(&p->take))
				eventfd_read(p->rings_taker, &n);
			continue;
		}
		check_frame(f, len, i++);
		netring_drop(&p->take);
		if (netring_wakes_putter(&p->take, false))
			eventfd_write(p->rings_putter, 1);
	}
	pthread_join(thread, NULL);
}

static const uint32_t extremes[] = {
	0,
	1,
	4,
	7,
	8,
	11,
	12,
	13,
	16,
	24,
	1500,
	NETRING_MAX - 1,
	NETRING_MAX,
	NETRING_MAX + 1,
	NETRING_BYTES / 2,
	NETRING_BYTES - 16,
	NETRING_BYTES - 8,
	NETRING_BYTES - 4,
	NETRING_BYTES,
	NETRING_BYTES + 8,
	0x7ffffff8,
	0x80000000,
	0xfffffff0,
	UINT32_MAX - 7,
	UINT32_MAX - 1,
	UINT32_MAX,
};

static void length_set(struct pair *p, uint32_t at, uint32_t len)
{
	memcpy(p->shm->data + at % NETRING_BYTES, &len, sizeof(len));
}

/* Take until it ends one way or the other, looking at every byte: whatever it is, it is inside, and
 * no more than the ring holds. */
static unsigned take_all(struct pair *p)
{
	unsigned n = 0, sum = 0, have;
	const uint8_t *f;
	ssize_t len;

	while ((len = netring_peek(&p->take, &f)) >= 0) {
		assert_in_range(len, NETRING_MIN, NETRING_MAX);
		assert_true(f >= p->shm->data && f + len <= p->shm->data + NETRING_BYTES);
		for (ssize_t i = 0; i < len; i++)
			sum += f[i];
		have = p->take.other - p->take.own;
		assert_true(have <= NETRING_BYTES);
		netring_drop(&p->take);
		/* Not beyond what it was told. */
		assert_true(p->take.other - p->take.own < have);
		assert_true(++n <= NETRING_BYTES / 16);
	}
	assert_true(len == -EAGAIN || len == -EPROTO);
	return n + 0 * sum;
}

/* Every pair of extremes in the putter's position and in the length, from places all over. */
static void hostile_to_the_taker(void **state)
{
	static const uint32_t from[] = {
		0,	    8,	       NETRING_BYTES / 2, NETRING_BYTES - 24, NETRING_BYTES - 8,
		0x7ffffff8, 0xfffffff8};
	struct pair *p = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(from); i++)
		for (unsigned j = 0; j < ARRAY_SIZE(extremes); j++)
			for (unsigned k = 0; k < 2 * ARRAY_SIZE(extremes); k++) {
				uint32_t tail = extremes[k / 2] + (k % 2 ? from[i] : 0);

				netring_attach(&p->take, p->shm);
				p->take.own = p->take.other = from[i];
				length_set(p, from[i], extremes[j]);
				atomic_store(&p->shm->tail, tail);
				take_all(p);
				/* And what is behind a skip. */
				netring_attach(&p->take, p->shm);
				p->take.own = p->take.other = from[i];
				length_set(p, from[i], NETRING_SKIP);
				length_set(p, 0, extremes[j]);
				take_all(p);
			}
}

static void hostile_to_the_putter(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(extremes); i++)
		for (unsigned j = 0; j < ARRAY_SIZE(extremes); j++) {
			int rc = 0;

			netring_attach(&p->put, p->shm);
			p->put.own = p->put.other = ALIGN_DOWN(extremes[i], 8u);
			atomic_store(&p->shm->head, extremes[j]);
			atomic_store(&p->shm->want_frames, extremes[j]);
			for (unsigned k = 0; !rc; k++) {
				rc = put_frame(p, k);
				assert_true(k < NETRING_BYTES / 16);
				if (k % 7 == 0)
					netring_wakes_taker(&p->put);
			}
			assert_true(rc == -EAGAIN || rc == -EPROTO);
			rc = (int)netring_used(&p->put);
			assert_true(rc == -EPROTO || (rc >= 0 && rc <= (int)NETRING_BYTES));
			netring_wait_room(&p->put);
		}
}

struct scribbler {
	struct pair *p;
	atomic_bool stop;
};

/* The other side, while we run. */
static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	struct netring_shm *shm = s->p->shm;
	uint32_t seed = 1;

	while (!atomic_load(&s->stop)) {
		uint32_t v;

		seed = seed * 1103515245 + 12345;
		v = extremes[(seed >> 16) % ARRAY_SIZE(extremes)] + (seed >> 8) % 64 * 8;
		switch (seed >> 28) {
		case 0 ... 3:
			atomic_store(&shm->tail, v);
			break;
		case 4 ... 7:
			atomic_store(&shm->head, v);
			break;
		case 8:
			atomic_store(&shm->want_frames, v);
			break;
		case 9:
			atomic_store(&shm->want_room, v);
			break;
		default:
			__atomic_store_n(
				(uint32_t *)(void *)(shm->data +
						     (seed >> 4) % (NETRING_BYTES / 8) * 8),
				v, __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

static void hostile_meanwhile(void **state)
{
	struct pair *p = *state;
	struct scribbler s = {.p = p};
	unsigned frames = 0;
	pthread_t thread;

	/* Frames for it to find, wherever it is sent. */
	for (unsigned at = 0; at < NETRING_BYTES; at += 64)
		length_set(p, at, 60);
	assert_int_equal(pthread_create(&thread, NULL, scribble, &s), 0);
	for (unsigned i = 0; i < 100000; i++) {
		uint32_t at = i * 4808u % NETRING_BYTES;

		netring_attach(&p->take, p->shm);
		p->take.own = p->take.other = at & ~7u;
		frames += take_all(p);
		netring_sleep(&p->take);
		netring_wakes_putter(&p->take, i % 2);
		netring_attach(&p->put, p->shm);
		p->put.own = p->put.other = at & ~7u;
		put_frame(p, i % 40 + 1);
		netring_wakes_taker(&p->put);
	}
	atomic_store(&s.stop, true);
	pthread_join(thread, NULL);
	assert_true(frames > 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(full_and_empty),    T(stays_warm),	       T(looks_once_more),
		T(nobody_sleeps_on),  T(hostile_to_the_taker), T(hostile_to_the_putter),
		T(hostile_meanwhile),
	};

	return cmocka_run_group_tests_name("netring", tests, NULL, NULL);
}
