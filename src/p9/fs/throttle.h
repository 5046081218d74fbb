/* SPDX-License-Identifier: MIT */
/* throttle.h - limits of bytes and requests per second (throttling.*)
 *
 * Each limit is a token bucket, filled at its rate. A request may go when none of the buckets that
 * count it is below zero; its whole cost is then taken from them, even if that puts them below
 * zero, so that a request larger than a bucket is served too. A bucket holds at most the tokens of
 * a tenth of a second, as QEMU's do.
 */
#ifndef P9_FS_THROTTLE_H
#define P9_FS_THROTTLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum p9_limit {
	P9_BPS_TOTAL,
	P9_BPS_READ,
	P9_BPS_WRITE,
	P9_IOPS_TOTAL,
	P9_IOPS_READ,
	P9_IOPS_WRITE,
	P9_LIMITS
};

struct p9_throttle {
	pthread_mutex_t lock;
	uint64_t rate[P9_LIMITS]; /* per second; 0: no limit */
	double level[P9_LIMITS];
	uint64_t now; /* ns, the time for which the levels hold */
};

/* May a request of `bytes` go at time `now`? Returns 0 and takes its cost, or returns how many ns
 * it has to wait. Any thread. */
uint64_t p9_throttle_take(struct p9_throttle *t, uint64_t now, bool write, uint64_t bytes);

#endif
