/* SPDX-License-Identifier: MIT */
/* quota.h - a limit for the bytes that a device hands out in each period
 *
 * This is QEMU's rule for the options max-bytes and period: a period begins with the first request
 * after the end of the period before. Bytes that were not used in a period are not added to the
 * next one.
 */
#ifndef RNG_QUOTA_H
#define RNG_QUOTA_H

#include <stdint.h>

struct rng_quota {
	uint64_t max;	 /* bytes in a period */
	uint64_t period; /* length in ns */
	uint64_t left;	 /* bytes that are left in the current period */
	uint64_t end;	 /* time at which it ends, in ns */
};

static inline void rng_quota_init(struct rng_quota *q, uint64_t max, uint64_t period_ns)
{
	*q = (struct rng_quota){.max = max, .period = period_ns};
}

/* Returns the bytes that may be handed out at time `now` (in ns). If that is 0, more are available
 * at q->end. */
static inline uint64_t rng_quota_left(struct rng_quota *q, uint64_t now)
{
	if (now >= q->end) {
		q->left = q->max;
		q->end = now + q->period;
	}
	return q->left;
}

/* Count `n` bytes that were handed out, at most what rng_quota_left() returned. */
static inline void rng_quota_take(struct rng_quota *q, uint64_t n)
{
	q->left -= n;
}

#endif
