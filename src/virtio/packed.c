/* SPDX-License-Identifier: MIT */
/* packed.c - the packed virtqueue (Virtio 1.3 §2.8)
 *
 * One ring of descriptors, written by both sides. A descriptor is available when its AVAIL bit
 * equals the driver's wrap counter and its USED bit does not; it is used when both equal the
 * device's wrap counter. A chain occupies consecutive places of the ring. The device returns all of
 * them with one used descriptor in the first place that it has not filled yet, and skips as many
 * places as the chain had; it therefore remembers the number.
 *
 * The used descriptors of a batch are written at once, except the flags of the first one, which are
 * written last. The driver reads the flags in ring order, so it sees the whole batch or none of it.
 *
 * Bound: the chains that were popped and not yet published occupy together at most as many places
 * as the ring has. A guest whose flags make more available has lost track of its wrap counter, and
 * its device breaks.
 *
 * Fields of struct vqueue: last_avail and avail_wrap (next place to pop), used_idx and used_wrap
 * (next place to fill), batch_first (place of the first used descriptor of the batch), batch
 * (places filled since), taken (places of the chains that were popped and are not published).
 */
#include "virtio/ring.h"

#define DESC_AVAIL 0x0080
#define DESC_USED  0x8000

/* Event suppression structure, and its flags (§2.8.14). */
#define EVENT_SIZE    4
#define EVENT_OFF     0
#define EVENT_FLAGS   2
#define EVENT_ENABLE  0
#define EVENT_DISABLE 1
#define EVENT_DESC    2
#define EVENT_WRAP    0x8000

/* Places of the second half of a packed descriptor. */
#define AT_LEN	 8
#define AT_ID	 12
#define AT_FLAGS 14

static uint64_t packed_event_size(unsigned n)
{
	return EVENT_SIZE;
}

static bool packed_size_ok(unsigned n)
{
	return n > 0;
}

static void packed_start(struct vqueue *vq)
{
	vq->last_avail = vq->used_idx = vq->batch_first = vq->batch = vq->taken = 0;
	vq->avail_wrap = vq->used_wrap = true;
	vq->notify_off = false;
}

static uint8_t *packed_desc_at(struct vqueue *vq, unsigned i)
{
	return ring_area(&vq->desc_area, (size_t)i * DESC_SIZE);
}

static void packed_advance(struct vqueue *vq, uint16_t *at, bool *wrap, unsigned by)
{
	unsigned next = *at + by;

	if (next >= vq->num) {
		next -= vq->num;
		*wrap = !*wrap;
	}
	*at = (uint16_t)next;
}

static bool desc_is_available(uint16_t flags, bool wrap)
{
	return !!(flags & DESC_AVAIL) == wrap && !!(flags & DESC_USED) != wrap;
}

/* The load pairs with the driver's barrier between writing a chain and writing the flags of its
 * first descriptor. */
static bool packed_has_chain(struct vqueue *vq)
{
	return desc_is_available(
		load16(packed_desc_at(vq, vq->last_avail) + AT_FLAGS, __ATOMIC_ACQUIRE),
		vq->avail_wrap);
}

static void packed_set_notify(struct vqueue *vq, uint16_t flags)
{
	store16(ring_area(&vq->used_area, EVENT_FLAGS), flags, __ATOMIC_RELAXED);
	vq->notify_off = flags == EVENT_DISABLE;
}

static bool packed_enable_notify(struct vqueue *vq)
{
	if (vq->event_idx) {
		store16(ring_area(&vq->used_area, EVENT_OFF),
			vq->last_avail | (vq->avail_wrap ? EVENT_WRAP : 0), __ATOMIC_RELAXED);
		/* The driver reads flags and offset in this order. */
		__atomic_thread_fence(__ATOMIC_RELEASE);
		packed_set_notify(vq, EVENT_DESC);
	} else if (vq->notify_off) {
		packed_set_notify(vq, EVENT_ENABLE);
	}
	/* Pairs with the driver's barrier between making a descriptor available and reading this
	 * structure. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !packed_has_chain(vq);
}

static void packed_disable_notify(struct vqueue *vq)
{
	packed_set_notify(vq, EVENT_DISABLE);
}

static enum verdict packed_load_chain(struct vqueue *vq, struct chain_slot *s)
{
	bool wrap = vq->avail_wrap;
	uint16_t at = vq->last_avail;

	while (s->places < vq->num) {
		struct desc d;
		enum verdict verdict;

		ring_load_desc((const uint64_t *)packed_desc_at(vq, at), true, &d);
		if (!desc_is_available(d.flags, wrap))
			return CHAIN_BREAK; /* §2.8.6: the first one is made available last */
		s->c.head = d.id;	    /* §2.8.6: the last one's buffer id is the chain's */
		s->places++;
		if (d.flags & DESC_INDIRECT) {
			if (!vq->indirect || d.flags & DESC_NEXT || s->places > 1)
				return CHAIN_BREAK;
			return ring_add_table(vq, &s->c, &d, vq->num, false);
		}
		verdict = ring_add_buffer(vq, &s->c, &d);
		/* A chain with a bad buffer is completed too, so the walk goes on to its end: the
		 * number of places and the buffer id are needed. */
		if (verdict != CHAIN_OK)
			s->rejected = true;
		if (!(d.flags & DESC_NEXT))
			return s->rejected ? CHAIN_REJECT : CHAIN_OK;
		packed_advance(vq, &at, &wrap, 1);
	}
	return CHAIN_BREAK;
}

static struct vchain *packed_pop(struct vqueue *vq)
{
	for (unsigned tries = 0; tries < vq->num; tries++) {
		enum verdict verdict;
		struct chain_slot *s;
		struct vchain *c;

		if (!ring_fresh(vq) || (!packed_has_chain(vq) && packed_enable_notify(vq)))
			return NULL;
		if (!vq->event_idx && !vq->notify_off)
			packed_set_notify(vq, EVENT_DISABLE);
		c = vq_chain_get(vq);
		if (!c) {
			vdev_break(vq->v, "queue %u: more chains in flight than the ring holds",
				   vq->index);
			return NULL;
		}
		s = container_of(c, struct chain_slot, c);
		verdict = packed_load_chain(vq, s);
		if (verdict == CHAIN_BREAK || vq->taken + s->places > vq->num) {
			vdev_break(vq->v, "queue %u: malformed chain at descriptor %u", vq->index,
				   vq->last_avail);
			vq_chain_put(c);
			return NULL;
		}
		s->at = vq->last_avail;
		vq->taken += s->places;
		packed_advance(vq, &vq->last_avail, &vq->avail_wrap, s->places);
		if (verdict == CHAIN_OK)
			return c;
		vq_push(vq, c, 0);
	}
	/* More chains may be available, for which no notification will come: continue in the next
	 * turn of the loop. */
	vq_kick(vq);
	return NULL;
}

static bool packed_unpop(struct vqueue *vq, const struct chain_slot *s)
{
	if (vq->last_avail != (s->at + s->places) % vq->num)
		return false;
	if (s->at + s->places >= vq->num)
		vq->avail_wrap = !vq->avail_wrap;
	vq->last_avail = s->at;
	vq->taken -= (uint16_t)s->places;
	return true;
}

static uint16_t packed_used_flags(const struct vqueue *vq, bool wrote)
{
	return (vq->used_wrap ? DESC_AVAIL | DESC_USED : 0) | (wrote ? DESC_WRITE : 0);
}

static void packed_push(struct vqueue *vq, const struct chain_slot *s, uint32_t written)
{
	uint8_t *d = packed_desc_at(vq, vq->used_idx);
	uint16_t flags = packed_used_flags(vq, written);

	store32(d + AT_LEN, written);
	store16(d + AT_ID, (uint16_t)s->c.head, __ATOMIC_RELAXED);
	if (vq->batch) {
		/* No barrier is needed between the id and the flags: the driver gets here only
		 * after it has seen the flags of the batch's first descriptor, stored last. */
		store16(d + AT_FLAGS, flags, __ATOMIC_RELAXED);
	} else {
		vq->batch_first = vq->used_idx;
		vq->first_flags = flags;
	}
	vq->batch += (uint16_t)s->places;
	packed_advance(vq, &vq->used_idx, &vq->used_wrap, s->places);
}

static bool packed_publish(struct vqueue *vq)
{
	uint16_t new_idx = vq->used_idx, old_idx = (uint16_t)(vq->used_idx - vq->batch), flags;
	uint16_t off;

	if (!vq->batch || !ring_fresh(vq))
		return false;
	vq->taken -= vq->batch;
	vq->batch = 0;
	/* Pairs with the driver's barrier between the flags and the rest of a used descriptor. */
	store16(packed_desc_at(vq, vq->batch_first) + AT_FLAGS, vq->first_flags, __ATOMIC_RELEASE);
	/* Pairs with the driver's barrier between writing its event structure and reading the ring
	 * once more. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	flags = load16(ring_area(&vq->avail_area, EVENT_FLAGS), __ATOMIC_ACQUIRE);
	if (flags != EVENT_DESC || !vq->event_idx)
		return flags != EVENT_DISABLE;
	off = load16(ring_area(&vq->avail_area, EVENT_OFF), __ATOMIC_RELAXED);
	/* If the batch has wrapped around the end of the ring, `old_idx` is negative (modulo 2^16).
	 * An event with the other wrap counter lies in the same previous round: subtract the ring's
	 * length from it, too. */
	if (!!(off & EVENT_WRAP) != vq->used_wrap)
		off = (uint16_t)((off & ~EVENT_WRAP) - vq->num);
	else
		off &= (uint16_t)~EVENT_WRAP;
	return ring_event_due(off, new_idx, old_idx);
}

const struct ring_ops packed_ring = {
	.driver_size = packed_event_size,
	.device_size = packed_event_size,
	.driver_align = 4,
	.device_align = 4,
	.size_ok = packed_size_ok,
	.start = packed_start,
	.has_chain = packed_has_chain,
	.disable_notify = packed_disable_notify,
	.enable_notify = packed_enable_notify,
	.pop = packed_pop,
	.unpop = packed_unpop,
	.push = packed_push,
	.publish = packed_publish,
};
