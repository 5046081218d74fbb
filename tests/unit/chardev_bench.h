/* SPDX-License-Identifier: MIT */
/* chardev_bench.h - a chardev "c" with a front end that keeps what it gets, and a peer
 *
 * The loop is turned by hand until what is expected has happened; the clock is only the limit at
 * which a test fails (and what a pty's poll and a reconnect wait for).
 */
#ifndef UNIT_CHARDEV_BENCH_H
#define UNIT_CHARDEV_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/loop.h"
#include "base/util.h"
#include "chardev/chardev.h"

#define LIMIT_NS  10000000000ULL
#define FRONT_MAX (64 * 1024)
#define PRESSED	  (1536 * 1024) /* more than any kernel buffer here takes */

struct bench {
	struct loop *loop;
	struct chardevs *cs;
	struct chardev *cd;
	struct chardev_user user;
	unsigned opened, closed, writable;
	char in[FRONT_MAX];
	size_t in_len;
	bool pause_when_received;
	char dir[40];
};

#define ADD(b, ...)                               \
	do {                                      \
		struct err e_ = {0};              \
		if (add(b, &e_, __VA_ARGS__) < 0) \
			fail_msg("%s", e_.text);  \
	} while (0)

/* Turn the loop until `condition` holds. */
#define UNTIL(b, condition)                                                           \
	do {                                                                          \
		uint64_t end_ = now_ns() + LIMIT_NS;                                  \
		while (!(condition)) {                                                \
			if (now_ns() > end_)                                          \
				fail_msg("line %d: never: %s", __LINE__, #condition); \
			loop_turn((b)->loop, 100);                                    \
		}                                                                     \
	} while (0)

int setup(void **state);
int teardown(void **state);
int add(struct bench *b, struct err *e, const char *fmt, ...);
/* Become the front end of chardev c. */
void attach(struct bench *b);
/* Turn it as often as it takes to see that nothing more happens. */
void settle(struct bench *b);
const char *name(struct bench *b, char buf[CHARDEV_NAME_MAX]);
void peer_writes(int fd, const char *text);
/* Wait for some bytes of a blocking descriptor. */
size_t peer_reads_some(int fd, char *buf, size_t size);
void peer_reads(int fd, const char *text);
void front_has(struct bench *b, const char *text);
void front_writes(struct bench *b, const char *text);
void both_ways(struct bench *b, int in, int out);
int unix_peer(const char *path, bool abstract);
int unix_listener(const char *path);
/* Byte `i` of what press() writes. */
char pattern(size_t i);
/* A reader that does not read: writes get short, writable() comes with the room, no byte is lost.
 */
void press(struct bench *b, int reader);

#endif
