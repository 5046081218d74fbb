/* SPDX-License-Identifier: MIT */
/* ring.c - pinning the areas of a ring, and collecting the buffers of a chain (ring.h) */
#include "virtio/ring.h"

#include <errno.h>

uint8_t *ring_area_slow(const struct ring_area *a, size_t off)
{
	unsigned i = 0;

	while (off >= a->seg[i].iov_len)
		off -= a->seg[i++].iov_len;
	return (uint8_t *)a->seg[i].iov_base + off;
}

static int area_pin(struct vqueue *vq, struct ring_area *a, uint64_t gpa, uint64_t len)
{
	int n = gmem_pin(vq->v->hv->mem, gpa, len, a->seg, RING_SEGMENTS);

	a->segs = n > 0 ? (unsigned)n : 0;
	return n > 0 ? 0 : -1;
}

static void area_unpin(struct vqueue *vq, struct ring_area *a)
{
	gmem_unpin(vq->v->hv->mem, a->seg, a->segs);
	a->segs = 0;
}

int ring_map(struct vqueue *vq)
{
	vq->gen = gmem_generation(vq->v->hv->mem);
	if (area_pin(vq, &vq->desc_area, vq->desc, (uint64_t)DESC_SIZE * vq->num) == 0 &&
	    area_pin(vq, &vq->avail_area, vq->avail, vq->ring->driver_size(vq->num)) == 0 &&
	    area_pin(vq, &vq->used_area, vq->used, vq->ring->device_size(vq->num)) == 0)
		return 0;
	ring_unmap(vq);
	return -1;
}

void ring_unmap(struct vqueue *vq)
{
	area_unpin(vq, &vq->desc_area);
	area_unpin(vq, &vq->avail_area);
	area_unpin(vq, &vq->used_area);
	vq->gen = 0;
}

void ring_unmap_stale(struct vqueue *vq)
{
	if (vq->gen != gmem_generation(vq->v->hv->mem))
		ring_unmap(vq);
}

bool ring_fresh(struct vqueue *vq)
{
	if (likely(vq->gen == gmem_generation(vq->v->hv->mem)))
		return true;
	ring_unmap(vq);
	if (ring_map(vq) == 0)
		return true;
	vdev_break(vq->v, "queue %u: the ring is no longer in memory", vq->index);
	return false;
}

bool vq_areas_ok(const struct vqueue *vq)
{
	const struct ring_ops *ring = vdev_ring(vq->v);
	struct gmem *gm = vq->v->hv->mem;
	unsigned n = vq->size;

	return ring->size_ok(n) && !(vq->desc % 16) && !(vq->avail % ring->driver_align) &&
	       !(vq->used % ring->device_align) &&
	       gmem_is_ram(gm, vq->desc, (uint64_t)DESC_SIZE * n) &&
	       gmem_is_ram(gm, vq->avail, ring->driver_size(n)) &&
	       gmem_is_ram(gm, vq->used, ring->device_size(n));
}

enum verdict ring_add_buffer(struct vqueue *vq, struct vchain *c, const struct desc *d)
{
	unsigned have = c->n_out + c->n_in, room;
	bool in = d->flags & DESC_WRITE;
	int n;

	if (!in && c->n_in)
		return CHAIN_REJECT; /* readable after writable */
	if (in ? !add_ok(c->in_len, d->len, &c->in_len) : !add_ok(c->out_len, d->len, &c->out_len))
		return CHAIN_REJECT;
	if (c->in_len + c->out_len > UINT32_MAX)
		return CHAIN_REJECT;
	room = container_of(c, struct chain_slot, c)->block ? IOV_BLOCK : CHAIN_INLINE_IOV;
	n = gmem_pin(vq->v->hv->mem, d->addr, d->len, &c->iov[have], room - have);
	if (n == -E2BIG && room == CHAIN_INLINE_IOV && vq_chain_grow(c))
		n = gmem_pin(vq->v->hv->mem, d->addr, d->len, &c->iov[have], IOV_BLOCK - have);
	if (n < 0)
		return CHAIN_REJECT;
	if (in)
		c->n_in += (uint16_t)n;
	else
		c->n_out += (uint16_t)n;
	return CHAIN_OK;
}

enum verdict ring_add_table(struct vqueue *vq, struct vchain *c, const struct desc *d,
			    unsigned left, bool linked)
{
	unsigned entries = d->len / DESC_SIZE, i = 0;
	enum verdict verdict = CHAIN_BREAK;
	struct gmem *gm = vq->v->hv->mem;
	/* Drivers align their tables; where one does not, a descriptor may lie across two mappings.
	 */
	bool aligned = !(d->addr % DESC_SIZE);
	struct ring_area table;
	int n;

	if (!d->len || d->len % DESC_SIZE || entries > VQ_SIZE_MAX)
		return CHAIN_BREAK;
	n = gmem_pin(gm, d->addr, d->len, table.seg, RING_SEGMENTS);
	if (n < 0)
		return CHAIN_REJECT;
	table.segs = (unsigned)n;
	while (left--) {
		struct desc in;
		uint64_t raw[2];

		if (likely(aligned)) {
			ring_load_desc(ring_area(&table, (size_t)i * DESC_SIZE), !linked, &in);
		} else {
			if (gmem_read(gm, d->addr + (uint64_t)i * DESC_SIZE, raw, sizeof(raw)) < 0)
				break;
			ring_load_desc(raw, !linked, &in);
		}
		if (in.flags & DESC_INDIRECT)
			break;
		verdict = ring_add_buffer(vq, c, &in);
		if (verdict != CHAIN_OK || (linked && !(in.flags & DESC_NEXT)))
			goto out;
		i = linked ? in.next : i + 1;
		if (i == entries && !linked)
			goto out;
		verdict = CHAIN_BREAK; /* stands if the loop ends before the chain does */
		if (i >= entries)
			break;
	}
out:
	gmem_unpin(gm, table.seg, table.segs);
	return verdict;
}
