/* SPDX-License-Identifier: MIT */
/* throttle.h - limits of bytes and requests per second (throttling.*)
 *
 * One bucket for each limit. A request may go when no bucket that counts it is in debt; then its
 * cost is taken at once, whatever it is, so that a request larger than a bucket is served too. A
 * bucket saves up at most what a tenth of a second brings, as QEMU's do.
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
	uint64_t now; /* ns, when the levels were right */
};

/* Any thread: ns to wait from `now` on, or 0 and the cost is taken. */
uint64_t p9_throttle_take(struct p9_throttle *t, uint64_t now, bool write, uint64_t bytes);

#endif
