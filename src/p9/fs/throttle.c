/* SPDX-License-Identifier: MIT */
/* throttle.c - see throttle.h */
#include "p9/fs/throttle.h"

#include "base/util.h"

#define NS	 1e9
#define WAIT_MAX 1000000000ULL /* ns; who waits asks again after that */

static bool limit_counts(const struct p9_throttle *t, enum p9_limit l, bool write)
{
	static const bool other[P9_LIMITS][2] = {
		[P9_BPS_READ] = {false, true},
		[P9_BPS_WRITE] = {true, false},
		[P9_IOPS_READ] = {false, true},
		[P9_IOPS_WRITE] = {true, false},
	};

	return t->rate[l] && !other[l][write];
}

static void refill_levels(struct p9_throttle *t, uint64_t now)
{
	double elapsed = t->now && now > t->now ? (double)(now - t->now) / NS : 0;

	t->now = MAX(now, t->now);
	for (unsigned l = 0; l < P9_LIMITS; l++) {
		double rate = (double)t->rate[l];

		t->level[l] = MIN(t->level[l] + rate * elapsed, rate / 10);
	}
}

uint64_t p9_throttle_take(struct p9_throttle *t, uint64_t now, bool write, uint64_t bytes)
{
	double wait = 0;

	pthread_mutex_lock(&t->lock);
	refill_levels(t, now);
	for (unsigned l = 0; l < P9_LIMITS; l++)
		if (limit_counts(t, l, write) && t->level[l] < 0)
			wait = MAX(wait, -t->level[l] / (double)t->rate[l]);
	for (unsigned l = 0; l < P9_LIMITS && !(wait > 0); l++)
		if (limit_counts(t, l, write))
			t->level[l] -= l < P9_IOPS_TOTAL ? (double)bytes : 1;
	pthread_mutex_unlock(&t->lock);
	if (!(wait > 0))
		return 0;
	return wait * NS < (double)WAIT_MAX ? (uint64_t)(wait * NS) + 1 : WAIT_MAX;
}
