/* SPDX-License-Identifier: MIT */
/* gblk.c - the disk driver, see gdrivers.h */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "gdrivers.h"

static void begin(struct gblk *b, unsigned size, uint64_t want)
{
	struct gvirtio *v = &b->v;

	gv_negotiate(v, want | GV_F_VERSION_1);
	for (unsigned i = 0; i < b->queues; i++)
		gvq_setup(v, &b->q[i], i, size);
	for (unsigned i = 0; i < b->queues * GBLK_SLOTS; i++)
		b->slot[i].busy = false;
	gv_start(v);
	b->sectors = gv_config(v, 0, 8);
}

void gblk_open(struct guest *g, struct gblk *b, unsigned nth, unsigned queues, unsigned size,
	       uint64_t want)
{
	memset(b, 0, sizeof(*b));
	gv_open(g, &b->v, GV_BLK, nth);
	b->queues = MIN(MIN(queues, GBLK_QUEUES), gv_common(&b->v, GV_NUM_QUEUES, 2));
	b->slot = calloc(b->queues * GBLK_SLOTS, sizeof(*b->slot));
	if (!b->slot)
		guest_panic("out of memory");
	for (unsigned i = 0; i < b->queues * GBLK_SLOTS; i++) {
		b->slot[i].at = guest_alloc(g, 32, 32);
		b->slot[i].mem = guest_ptr(g, b->slot[i].at, 32);
		b->slot[i].q = &b->q[i / GBLK_SLOTS];
	}
	begin(b, size, want);
}

void gblk_restart(struct gblk *b, uint64_t want)
{
	begin(b, b->q[0].size, want);
}

void gblk_close(struct gblk *b)
{
	free(b->slot);
	b->slot = NULL;
}

struct gblk_req *gblk_add(struct gblk *b, unsigned qi, uint32_t type, uint64_t sector,
			  const struct gseg *seg, unsigned segs)
{
	struct gblk_req *r = &b->slot[qi * GBLK_SLOTS], *end = r + GBLK_SLOTS;
	bool in = type == GBLK_IN || type == GBLK_GET_ID;
	struct gseg s[GVQ_INDIRECT + 2];

	while (r < end && r->busy)
		r++;
	if (r == end || segs > GVQ_INDIRECT)
		return NULL;
	put_le32(r->mem, type);
	put_le32(r->mem + 4, 0);
	put_le64(r->mem + 8, sector);
	r->mem[16] = GBLK_PENDING;
	s[0] = (struct gseg){r->at, 16};
	memcpy(s + 1, seg, segs * sizeof(*seg));
	s[1 + segs] = (struct gseg){r->at + 16, 1};
	if (gvq_add(&b->q[qi], s, in ? 1 : 1 + segs, in ? segs + 1 : 1, r) < 0)
		return NULL;
	r->busy = true;
	return r;
}

struct gblk_req *gblk_done(struct gblk *b, unsigned qi, uint32_t *len)
{
	void *cookie;
	struct gblk_req *r;

	if (!gvq_get(&b->q[qi], len, &cookie))
		return NULL;
	r = cookie;
	r->busy = false;
	return r;
}

uint8_t gblk_do(struct gblk *b, unsigned qi, uint32_t type, uint64_t sector, uint64_t gpa,
		uint32_t len)
{
	struct gseg seg = {gpa, len};
	struct gblk_req *r = gblk_add(b, qi, type, sector, &seg, len ? 1 : 0), *d;

	if (!r)
		guest_panic("disk queue %u is full", qi);
	gvq_kick(&b->q[qi]);
	if (!guest_wait(b->v.g, (d = gblk_done(b, qi, NULL)) != NULL))
		guest_panic("disk request type %u, sector %llu: no answer (status 0x%x)", type,
			    (unsigned long long)sector, gv_status(&b->v));
	if (d != r)
		guest_panic("disk: another request was answered");
	return r->mem[16];
}

uint8_t gblk_range(struct gblk *b, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	uint64_t at = guest_alloc(b->v.g, 16, 16);
	uint8_t *p = guest_ptr(b->v.g, at, 16);

	put_le64(p, sector);
	put_le32(p + 8, sectors);
	put_le32(p + 12, flags);
	return gblk_do(b, 0, type, 0, at, 16);
}
