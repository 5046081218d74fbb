/* SPDX-License-Identifier: MIT */
/* net_calm.c - see net_calm.h */
#include "dev/net_calm.h"

#define ONE	16u /* a frame, in units of `mean` */
#define COMPANY (2 * ONE)
#define RECENT	500000 /* ns; what was longer ago says nothing about now */
#define MOST	64     /* frames of one look that count */

uint64_t net_calm_pause(struct net_calm *c, uint64_t now, unsigned frames)
{
	unsigned seen = (frames < MOST ? frames : MOST) * ONE;

	/* A quarter of the weight is the latest look's. */
	c->mean = now - c->last < RECENT ? (3 * c->mean + seen) / 4 : 0;
	c->last = now;
	return frames && c->mean >= COMPANY ? NET_CALM_NS : 0;
}
