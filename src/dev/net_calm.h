/* SPDX-License-Identifier: MIT */
/* net_calm.h - when to look for received frames again: a short pause under load
 *
 * A queue that is emptied faster than it is filled makes its thread sleep and be woken for every
 * two or three frames, which costs more than the frames do, on both sides. So while frames come in
 * company, the queue is left alone for NET_CALM_NS after it was found empty, as a card's interrupt
 * moderation does. Frames that come one by one (an answer for each question) are not delayed.
 */
#ifndef DEV_NET_CALM_H
#define DEV_NET_CALM_H

#include <stdint.h>

/* What a frame may wait at most; the kernel's timer slack, 50 us by default, comes on top. */
#define NET_CALM_NS 20000

/* Zeroed: nothing was seen yet. */
struct net_calm {
	uint64_t last; /* ns, when the queue was found empty */
	unsigned mean; /* frames per look, in sixteenths, of the last ones */
};

/* The queue was found empty at `now` (ns) after `frames` frames. How long to leave it alone; 0: not
 * at all. */
uint64_t net_calm_pause(struct net_calm *c, uint64_t now, unsigned frames);

#endif
