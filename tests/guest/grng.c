/* SPDX-License-Identifier: MIT */
/* grng.c - the entropy driver, see gdrivers.h */
#include <string.h>

#include "gdrivers.h"

void grng_open(struct guest *g, struct grng *r, unsigned nth)
{
	memset(r, 0, sizeof(*r));
	gv_open(g, &r->v, GV_RNG, nth);
	gv_negotiate(&r->v, GV_F_RING);
	gvq_setup(&r->v, &r->q, 0, 0);
	r->at = guest_alloc(g, 4096, 4096);
	gv_start(&r->v);
}

int grng_read(struct grng *r, void *buf, uint32_t len, unsigned ms)
{
	struct gseg s = {r->at, len};
	uint32_t got;

	if (gvq_add(&r->q, &s, 0, 1, NULL) < 0)
		guest_panic("rng: the queue is full");
	gvq_kick(&r->q);
	if (!guest_wait_ms(r->v.g, ms, gvq_get(&r->q, &got, NULL)))
		return -1;
	if (got > len)
		guest_panic("rng: %u bytes of %u", got, len);
	memcpy(buf, guest_ptr(r->v.g, r->at, len), got);
	return (int)got;
}
