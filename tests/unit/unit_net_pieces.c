/* SPDX-License-Identifier: MIT */
/* unit_net_pieces.c - what libslirp may be keeping of packets that are not complete */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "net/user/offload.h"
#include "net/pieces.h"

#define HEADER 20
#define MORE   0x2000

static const uint64_t second = 1000000000ULL;

/* May it pass? `data` bytes from offset `off` on of packet `id`. */
static bool take(struct pieces *p, unsigned id, unsigned off, unsigned data, bool more,
		 uint64_t now)
{
	static uint8_t ip[65535];
	unsigned word = off / 8 | (more ? MORE : 0), total = HEADER + data, sum;

	memset(ip, 0, HEADER);
	ip[0] = 0x45;
	ip[2] = (uint8_t)(total >> 8);
	ip[3] = (uint8_t)total;
	ip[4] = (uint8_t)(id >> 8);
	ip[5] = (uint8_t)id;
	ip[6] = (uint8_t)(word >> 8);
	ip[7] = (uint8_t)word;
	ip[8] = 64;
	ip[9] = 17;
	memcpy(ip + 12, (uint8_t[]){10, 0, 2, 15, 10, 0, 2, 2}, 8);
	sum = ~net_sum(ip, HEADER) & 0xffff;
	memcpy(ip + 10, &(uint16_t){(uint16_t)sum}, 2);
	return !is_piece(ip) || pieces_take(p, ip, total, now);
}

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct pieces));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* 8 KiB in six pieces, more of them than may be kept: nothing is in the way, as they are complete.
 */
static void complete(void **state)
{
	struct pieces *p = *state;

	for (unsigned i = 0; i < 200000; i++)
		for (unsigned off = 0; off < 8192; off += 1480)
			assert_true(take(p, i & 0xffff, off, MIN(1480U, 8192 - off),
					 off + 1480 < 8192, second));
	assert_int_equal(p->kept, 0);
}

/* Several on their way at the same time. */
static void between_each_other(void **state)
{
	struct pieces *p = *state;

	for (unsigned off = 0; off < 4440; off += 1480)
		for (unsigned id = 0; id < PIECES_OPEN; id++)
			assert_true(take(p, id, off, 1480, off < 2960, second));
	assert_int_equal(p->kept, 0);
}

/* Whole packets are none of this. */
static void whole(void **state)
{
	struct pieces *p = *state;

	assert_true(take(p, 1, 0, 1480, false, second));
	assert_int_equal(p->kept, 0);
}

/* How many get through before one is dropped. */
static unsigned count(struct pieces *p, uint64_t now, unsigned data)
{
	unsigned n = 0;

	while (take(p, n & 0xffff, 0, data, true, now))
		n++;
	return n;
}

/* First pieces of packets that never come: so many, and as many again when those have gone. */
static void incomplete(void **state)
{
	struct pieces *p = *state;

	assert_in_range(count(p, second, 8), 8000, 12000);
	assert_false(take(p, 1, 0, 8, true, 50 * second));
	assert_true(take(p, 1, 0, 1480, false, 50 * second)); /* a whole packet */
	assert_in_range(count(p, 62 * second, 8), 8000, 12000);
	assert_in_range(count(p, 123 * second, 60000), 1500, 2000);
}

/* A packet of which more has come may be kept for that, however complete it looks: also the next
 * one by that name, in this period and in the next. */
static void odd(void **state)
{
	struct pieces *p = *state;
	uint64_t before;

	assert_true(take(p, 7, 8000, 8, true, second));
	before = p->kept;
	assert_true(take(p, 7, 0, 8, true, second));
	assert_true(take(p, 7, 8, 8, false, second));
	assert_true(p->kept > before);
	before = p->kept;
	assert_true(take(p, 7, 0, 8, true, 62 * second));
	assert_true(take(p, 7, 8, 8, false, 62 * second));
	assert_true(p->kept > 0);
	/* Long gone. */
	before = 0;
	assert_true(take(p, 9, 0, 8, true, 130 * second));
	assert_true(take(p, 9, 8, 8, false, 191 * second));
	assert_true(take(p, 7, 0, 8, true, 252 * second));
	before = p->kept;
	assert_true(take(p, 7, 8, 8, false, 252 * second));
	assert_true(p->kept < before);
}

/* What libslirp would not take completes nothing. */
static void unsound(void **state)
{
	struct pieces *p = *state;
	uint8_t ip[HEADER + 8] = {0x45, 0, 0, HEADER + 8, 0, 5, 0, 1, 64, 17};

	assert_true(take(p, 5, 0, 8, true, second));
	/* Its last piece, with a wrong checksum. */
	memcpy(ip + 12, (uint8_t[]){10, 0, 2, 15, 10, 0, 2, 2}, 8);
	assert_true(pieces_take(p, ip, sizeof(ip), second));
	assert_true(take(p, 5, 8, 8, false, second));
	assert_true(p->kept > 3 * 4096);
	/* In the middle of a packet an odd size. */
	assert_true(take(p, 6, 0, 12, true, second));
	assert_true(take(p, 6, 8, 8, false, second));
	assert_true(p->kept > 5 * 4096);
	/* Cut short: it says more than there is. */
	ip[3] = HEADER + 9;
	assert_true(pieces_take(p, ip, sizeof(ip), second));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(complete), T(between_each_other), T(whole), T(incomplete), T(odd), T(unsound),
	};

	return cmocka_run_group_tests_name("net_pieces", tests, NULL, NULL);
}
