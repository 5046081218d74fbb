/* SPDX-License-Identifier: MIT */
/* net_moderation.c - interrupt moderation of received frames (net_moderation.h) */
#include "dev/net_moderation.h"

#define ONE    16u	 /* one frame, in units of `mean` */
#define BUSY   (2 * ONE) /* from this average on the queue pauses */
#define RECENT 500000	 /* ns; an average older than that is discarded */
#define MOST   64	 /* frames of one read that count at most */

uint64_t net_moderation_pause(struct net_moderation *c, uint64_t now, unsigned frames)
{
	unsigned seen = (frames < MOST ? frames : MOST) * ONE;

	/* The latest read has a weight of one quarter. */
	c->mean = now - c->last < RECENT ? (3 * c->mean + seen) / 4 : 0;
	c->last = now;
	return frames && c->mean >= BUSY ? NET_MODERATION_NS : 0;
}
