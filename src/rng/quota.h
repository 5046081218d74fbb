/* SPDX-License-Identifier: MIT */
/* quota.h - at most so many bytes in each period
 *
 * QEMU's rule for max-bytes and period: a period begins with the first request after the end of the
 * one before, and what it leaves unused is lost.
 */
#ifndef RNG_QUOTA_H
#define RNG_QUOTA_H

#include <stdint.h>

struct rng_quota {
	uint64_t max;	 /* bytes */
	uint64_t period; /* ns */
	uint64_t left, end;
};

static inline void rng_quota_init(struct rng_quota *q, uint64_t max, uint64_t period_ns)
{
	*q = (struct rng_quota){.max = max, .period = period_ns};
}

/* Bytes that may be given at `now`. With 0, the wait until there are more is q->end - now. */
static inline uint64_t rng_quota_left(struct rng_quota *q, uint64_t now)
{
	if (now >= q->end) {
		q->left = q->max;
		q->end = now + q->period;
	}
	return q->left;
}

/* `n` bytes, at most what rng_quota_left() said, have been given. */
static inline void rng_quota_take(struct rng_quota *q, uint64_t n)
{
	q->left -= n;
}

#endif
