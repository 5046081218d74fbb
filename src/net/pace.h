/* SPDX-License-Identifier: MIT */
/* pace.h - a rate limit: so many bytes a second, so many at once
 *
 * A token bucket, kept as one number: the time at which everything sent so far would have left at
 * the allowed rate. Frames may go while that time is no further ahead than the burst takes; the
 * frame that crosses the line still goes whole, so every size passes at every rate. One number also
 * makes it safe for queues on several loops to share a limit.
 */
#ifndef NET_PACE_H
#define NET_PACE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct pace {
	uint64_t rate;		/* bytes a second; 0: no limit */
	uint64_t burst;		/* bytes */
	_Atomic uint64_t ahead; /* CLOCK_MONOTONIC, ns */
};

/* How long a frame has to wait at time `now`, in ns; 0: it may go. */
uint64_t pace_wait(const struct pace *p, uint64_t now);
/* `bytes` went at time `now`. */
void pace_spend(struct pace *p, uint64_t now, size_t bytes);

#endif
