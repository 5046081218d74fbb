/* SPDX-License-Identifier: MIT */
/* filter.h - the list of system calls that a thread may make from now on
 *
 * A list names calls by number, and may ask for bits of their arguments. What is on no list raises
 * SIGSYS, whose handler (filter_report()) can tell the number; without a handler, and when the
 * handler's own call is refused too, the kernel ends the process. A call of another architecture or
 * of the x32 ABI ends it at once.
 *
 * Filters add up: a call must be on the list of each of them, and children inherit them all.
 */
#ifndef GUARD_FILTER_H
#define GUARD_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* True for arguments whose bits of `mask` are `value` (`unlike`: for all others). A mask of 0 asks
 * for nothing. All 64 bits are compared: mask 0xffffffff for an int, the kernel ignores the rest.
 */
struct filter_test {
	uint64_t mask, value;
	uint8_t arg; /* 0-5 */
	bool unlike;
};

#define FILTER_TESTS 3

/* Allowed when all tests are true; several entries of one number are alternatives. */
struct filter_call {
	int nr; /* SYS_* */
	struct filter_test test[FILTER_TESTS];
};

struct filter_list {
	const struct filter_call *calls;
	unsigned n;
};

#define FILTER_LIST(array)                                  \
	{                                                   \
		(array), sizeof(array) / sizeof((array)[0]) \
	}

/* Words for lists. */
#define FILTER_IS(argument, number)                                                \
	{                                                                          \
		.arg = (argument), .mask = UINT32_MAX, .value = (uint32_t)(number) \
	}
#define FILTER_IS_NOT(argument, number)                                                            \
	{                                                                                          \
		.arg = (argument), .mask = UINT32_MAX, .value = (uint32_t)(number), .unlike = true \
	}
#define FILTER_WITHOUT(argument, bits)            \
	{                                         \
		.arg = (argument), .mask = (bits) \
	}

/* What any code of a C library needs that only computes, keeps time, and reads and writes
 * descriptors it has: no new file, no executable or shared memory, no process, no thread. abort()
 * is in it. With the sanitizers' calls where the program is built with them. */
extern const struct filter_list filter_basic;

/* Allow the calling thread what is on these lists and nothing else, for good. It must have no new
 * privileges. 0 or -errno with `e`. */
int filter_install(const struct filter_list *const lists[], unsigned n, struct err *e);

/* Have SIGSYS write the number of the refused call + 1 to *where, and then end the process by
 * SIGSYS. Process-wide; lists should not allow to change SIGSYS (filter_basic does not). */
void filter_report(volatile uint32_t *where);

#endif
