/* SPDX-License-Identifier: MIT */
/* split.c - the split virtqueue (Virtio 1.3 §2.7): the only code that reads descriptors
 *
 * Everything the guest can write is loaded once, with an atomic load, into a local. The walk of a chain takes at most as many
 * steps as the ring has entries. Three verdicts: a good chain; a chain that points outside RAM or
 * is put together wrongly in itself is completed with nothing written and counted against the guest; a ring that makes no
 * sense (index, loop, nesting) breaks the device.
 */
#include "virtio/internal.h"

#include <errno.h>

#include "base/util.h"

#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4
#define DESC_SIZE     16

#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY	   1

/* Offsets in the available and in the used area. */
#define RING_FLAGS    0
#define RING_IDX      2
#define RING_ENTRIES  4
#define AVAIL_ENTRY   2
#define USED_ENTRY    8
#define AVAIL_SIZE(n) (RING_ENTRIES + AVAIL_ENTRY * (n) + 2)
#define USED_SIZE(n)  (RING_ENTRIES + USED_ENTRY * (n) + 2)

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static uint8_t *area_slow(const struct ring_area *a, size_t off)
{
	unsigned i = 0;

	while (off >= a->seg[i].iov_len)
		off -= a->seg[i++].iov_len;
	return (uint8_t *)a->seg[i].iov_base + off;
}

/* Offsets come from the ring's size alone, so they are always inside. */
static inline void *area(const struct ring_area *a, size_t off)
{
	return likely(a->segs == 1) ? (uint8_t *)a->seg[0].iov_base + off : area_slow(a, off);
}

static inline uint16_t load16(void *p, int order)
{
	return le16toh(__atomic_load_n((uint16_t *)p, order));
}

static inline void store16(void *p, uint16_t v, int order)
{
	__atomic_store_n((uint16_t *)p, htole16(v), order);
}

static inline void store32(void *p, uint32_t v)
{
	__atomic_store_n((uint32_t *)p, htole32(v), __ATOMIC_RELAXED);
}

static int pin_area(struct vqueue *vq, struct ring_area *a, uint64_t gpa, uint64_t len)
{
	int n = gmem_pin(vq->v->hv->mem, gpa, len, a->seg, RING_SEGMENTS);

	a->segs = n > 0 ? (unsigned)n : 0;
	return n > 0 ? 0 : -1;
}

static void unpin_area(struct vqueue *vq, struct ring_area *a)
{
	gmem_unpin(vq->v->hv->mem, a->seg, a->segs);
	a->segs = 0;
}

int split_map(struct vqueue *vq)
{
	vq->gen = gmem_generation(vq->v->hv->mem);
	if (pin_area(vq, &vq->desc_area, vq->desc, (uint64_t)DESC_SIZE * vq->num) == 0 &&
	    pin_area(vq, &vq->avail_area, vq->avail, AVAIL_SIZE(vq->num)) == 0 &&
	    pin_area(vq, &vq->used_area, vq->used, USED_SIZE(vq->num)) == 0)
		return 0;
	split_unmap(vq);
	return -1;
}

void split_unmap(struct vqueue *vq)
{
	unpin_area(vq, &vq->desc_area);
	unpin_area(vq, &vq->avail_area);
	unpin_area(vq, &vq->used_area);
}

/* Guest memory was re-mapped under us: pin the ring anew. False: it is gone, and with it the device. */
static bool fresh(struct vqueue *vq)
{
	if (likely(vq->gen == gmem_generation(vq->v->hv->mem)))
		return true;
	split_unmap(vq);
	if (split_map(vq) == 0)
		return true;
	vdev_break(vq->v, "queue %u: the ring is no longer in memory", vq->index);
	return false;
}

bool vq_areas_ok(const struct vqueue *vq)
{
	struct gmem *gm = vq->v->hv->mem;
	uint64_t n = vq->size;

	return !(vq->desc % 16) && !(vq->avail % 2) && !(vq->used % 4) &&
	       gmem_is_ram(gm, vq->desc, DESC_SIZE * n) &&
	       gmem_is_ram(gm, vq->avail, AVAIL_SIZE(n)) && gmem_is_ram(gm, vq->used, USED_SIZE(n));
}

/* Two loads: the guest may change a descriptor between them, but each half is then a constant for us. */
static inline struct desc load_desc(const uint64_t *p)
{
	uint64_t addr = le64toh(__atomic_load_n(&p[0], __ATOMIC_RELAXED));
	uint64_t rest = le64toh(__atomic_load_n(&p[1], __ATOMIC_RELAXED));

	return (struct desc){addr, (uint32_t)rest, (uint16_t)(rest >> 32), (uint16_t)(rest >> 48)};
}

enum verdict { CHAIN_OK, CHAIN_REJECT, CHAIN_BREAK };

/* Append the buffer of one descriptor to the chain. */
static enum verdict add_buffer(struct vqueue *vq, struct vchain *c, const struct desc *d)
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

/* The descriptors of an indirect table, copied to the chain one by one. `left`: how many the chain may still have. */
static enum verdict add_indirect(struct vqueue *vq, struct vchain *c, const struct desc *d,
				 unsigned left)
{
	unsigned entries = d->len / DESC_SIZE, i = 0;
	enum verdict verdict = CHAIN_BREAK;
	struct gmem *gm = vq->v->hv->mem;
	/* Drivers align their tables; where one does not, a descriptor may lie across two mappings. */
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
			in = load_desc(area(&table, (size_t)i * DESC_SIZE));
		} else {
			if (gmem_read(gm, d->addr + (uint64_t)i * DESC_SIZE, raw, sizeof(raw)) < 0)
				break;
			in = load_desc(raw);
		}
		if (in.flags & DESC_INDIRECT)
			break;
		verdict = add_buffer(vq, c, &in);
		if (verdict != CHAIN_OK || !(in.flags & DESC_NEXT))
			goto out;
		verdict = CHAIN_BREAK; /* unless the chain ends well */
		i = in.next;
		if (i >= entries)
			break;
	}
out:
	gmem_unpin(gm, table.seg, table.segs);
	return verdict;
}

static enum verdict walk(struct vqueue *vq, struct vchain *c, unsigned head)
{
	unsigned i = head;

	for (unsigned n = 0; n < vq->num; n++) {
		struct desc d = load_desc(area(&vq->desc_area, (size_t)i * DESC_SIZE));
		enum verdict verdict;

		if (d.flags & DESC_INDIRECT) {
			if (!vq->indirect || d.flags & DESC_NEXT)
				return CHAIN_BREAK;
			return add_indirect(vq, c, &d, vq->num - n);
		}
		verdict = add_buffer(vq, c, &d);
		if (verdict != CHAIN_OK || !(d.flags & DESC_NEXT))
			return verdict;
		i = d.next;
		if (i >= vq->num)
			return CHAIN_BREAK;
	}
	return CHAIN_BREAK; /* longer than the ring: a loop */
}

/* The queue was seen empty: ask for a notification, then look once more, because the guest may have added a chain before it saw
 * that we ask. */
static bool still_empty(struct vqueue *vq)
{
	if (vq->event_idx) {
		store16(area(&vq->used_area, RING_ENTRIES + USED_ENTRY * (size_t)vq->num),
			vq->last_avail, __ATOMIC_RELAXED);
	} else if (vq->notify_off) {
		store16(area(&vq->used_area, RING_FLAGS), 0, __ATOMIC_RELAXED);
		vq->notify_off = false;
	}
	/* Pairs with the driver's barrier between its store of avail.idx and its load of the flags or the event. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	vq->avail_idx = load16(area(&vq->avail_area, RING_IDX), __ATOMIC_ACQUIRE);
	return vq->avail_idx == vq->last_avail;
}

static bool has_chain(struct vqueue *vq)
{
	if (vq->avail_idx != vq->last_avail)
		return true;
	/* Pairs with the driver's barrier between filling an entry and storing avail.idx. */
	vq->avail_idx = load16(area(&vq->avail_area, RING_IDX), __ATOMIC_ACQUIRE);
	if (vq->avail_idx == vq->last_avail && still_empty(vq))
		return false;
	if (!vq->event_idx && !vq->notify_off) {
		store16(area(&vq->used_area, RING_FLAGS), USED_NO_NOTIFY, __ATOMIC_RELAXED);
		vq->notify_off = true;
	}
	return true;
}

struct vchain *split_pop(struct vqueue *vq)
{
	/* A guest that fills its ring with bad chains is done after one turn of it. */
	for (unsigned tries = 0; tries < vq->num; tries++) {
		struct vchain *c;
		uint16_t head;

		if (!fresh(vq) || !has_chain(vq))
			return NULL;
		if ((uint16_t)(vq->avail_idx - vq->last_avail) > vq->num) {
			vdev_break(vq->v,
				   "queue %u: available index %u is %u ahead of %u, the size is %u",
				   vq->index, vq->avail_idx,
				   (uint16_t)(vq->avail_idx - vq->last_avail), vq->last_avail,
				   vq->num);
			return NULL;
		}
		head = load16(
			area(&vq->avail_area,
			     RING_ENTRIES + AVAIL_ENTRY * (size_t)(vq->last_avail & (vq->num - 1))),
			__ATOMIC_RELAXED);
		if (head >= vq->num) {
			vdev_break(vq->v, "queue %u: descriptor %u of %u", vq->index, head,
				   vq->num);
			return NULL;
		}
		c = vq_chain_get(vq);
		if (!c) {
			vdev_break(vq->v, "queue %u: more chains in flight than the ring holds",
				   vq->index);
			return NULL;
		}
		c->head = head;
		vq->last_avail++;
		switch (walk(vq, c, head)) {
		case CHAIN_OK:
			return c;
		case CHAIN_REJECT:
			vq_push(vq, c, 0);
			break;
		case CHAIN_BREAK:
			vq_chain_put(c);
			vdev_break(vq->v, "queue %u: malformed chain at descriptor %u", vq->index,
				   head);
			return NULL;
		}
	}
	return NULL;
}

void split_push(struct vqueue *vq, uint32_t head, uint32_t written)
{
	size_t at = RING_ENTRIES + USED_ENTRY * (size_t)(vq->used_idx & (vq->num - 1));

	store32(area(&vq->used_area, at), head);
	store32(area(&vq->used_area, at + 4), written);
	vq->used_idx++;
}

bool split_publish(struct vqueue *vq)
{
	uint16_t old = vq->published, new = vq->used_idx, event;

	if (old == new || !fresh(vq))
		return false;
	/* Pairs with the driver's barrier between its load of used.idx and of the entries. */
	store16(area(&vq->used_area, RING_IDX), new, __ATOMIC_RELEASE);
	vq->published = new;
	/* Pairs with the driver's barrier between asking for an interrupt and its last look at used.idx. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!vq->event_idx)
		return !(load16(area(&vq->avail_area, RING_FLAGS), __ATOMIC_RELAXED) &
			 AVAIL_NO_INTERRUPT);
	event = load16(area(&vq->avail_area, RING_ENTRIES + AVAIL_ENTRY * (size_t)vq->num),
		       __ATOMIC_RELAXED);
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}
