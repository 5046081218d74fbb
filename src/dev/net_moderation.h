/* SPDX-License-Identifier: MIT */
/* net_moderation.h - interrupt moderation: a short pause before received frames are read again
 *
 * If a back end's queue is emptied faster than it fills, the thread sleeps and is woken for every
 * two or three frames, which costs more than the frames do, for us and for the sender. So while
 * several frames arrive together, the queue is not read for NET_MODERATION_NS after it was found
 * empty, as a network card moderates its interrupts. Frames that arrive singly (request and answer)
 * are not delayed.
 */
#ifndef DEV_NET_MODERATION_H
#define DEV_NET_MODERATION_H

#include <stdint.h>

/* The longest delay of a frame, ns. The kernel's timer slack, 50 us by default, is added to it. */
#define NET_MODERATION_NS 20000

/* The owner zeroes it before the first use. */
struct net_moderation {
	uint64_t last; /* ns, when the queue was found empty */
	unsigned mean; /* moving average of the frames per read of the queue, in sixteenths */
};

/* To be called when the queue was found empty at `now` (ns) after `frames` frames. Returns for how
 * many ns not to read it; 0: listen to it at once. */
uint64_t net_moderation_pause(struct net_moderation *c, uint64_t now, unsigned frames);

#endif
