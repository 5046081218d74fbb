/* SPDX-License-Identifier: MIT */
/* pace.c - see pace.h */
#include "net/pace.h"

#include "base/util.h"

/* Time that `bytes` take at the allowed rate, ns. */
static uint64_t span(const struct pace *p, uint64_t bytes)
{
	return (uint64_t)((unsigned __int128)bytes * 1000000000 / p->rate);
}

uint64_t pace_wait(const struct pace *p, uint64_t now)
{
	uint64_t ahead = atomic_load(&((struct pace *)p)->ahead), limit;

	limit = now + span(p, p->burst);
	return ahead > limit ? ahead - limit : 0;
}

void pace_spend(struct pace *p, uint64_t now, size_t bytes)
{
	uint64_t old = atomic_load(&p->ahead), after;

	do {
		after = MAX(old, now) + span(p, bytes);
	} while (!atomic_compare_exchange_weak(&p->ahead, &old, after));
}
