/* SPDX-License-Identifier: MIT */
/* split.c - the split virtqueue (Virtio 1.3 §2.7)
 *
 * ring.h describes the layout. The walk of a chain takes at most as many steps as the ring has
 * entries. An available index that is further ahead than the ring is long, a first descriptor
 * outside the table, or a chain that cannot be followed breaks the device.
 */
#include "virtio/ring.h"

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

static uint64_t split_driver_size(unsigned n)
{
	return AVAIL_SIZE((uint64_t)n);
}

static uint64_t split_device_size(unsigned n)
{
	return USED_SIZE((uint64_t)n);
}

static bool split_size_ok(unsigned n)
{
	return is_pow2(n);
}

static void split_start(struct vqueue *vq)
{
	vq->last_avail = vq->avail_idx = vq->used_idx = vq->published = 0;
	vq->notify_off = false;
}

static void split_take_back(struct vqueue *vq, uint16_t next)
{
	vq->last_avail = vq->avail_idx = next;
	/* The back end has stored its used index in the ring. A guest that has overwritten it harms
	 * only its own ring. */
	vq->used_idx = vq->published =
		load16(ring_area(&vq->used_area, RING_IDX), __ATOMIC_RELAXED);
	/* The back end may have set the flag, so enable_notify() has to clear it. */
	vq->notify_off = true;
}

static enum verdict split_load_chain(struct vqueue *vq, struct vchain *c, unsigned head)
{
	unsigned i = head;

	for (unsigned n = 0; n < vq->num; n++) {
		struct desc d;
		enum verdict verdict;

		ring_load_desc(ring_area(&vq->desc_area, (size_t)i * DESC_SIZE), false, &d);
		if (d.flags & DESC_INDIRECT) {
			if (!vq->indirect || d.flags & DESC_NEXT)
				return CHAIN_BREAK;
			return ring_add_table(vq, c, &d, vq->num - n, true);
		}
		verdict = ring_add_buffer(vq, c, &d);
		if (verdict != CHAIN_OK || !(d.flags & DESC_NEXT))
			return verdict;
		i = d.next;
		if (i >= vq->num)
			return CHAIN_BREAK;
	}
	return CHAIN_BREAK; /* longer than the ring: a loop */
}

static bool split_enable_notify(struct vqueue *vq)
{
	if (vq->event_idx) {
		store16(ring_area(&vq->used_area, RING_ENTRIES + USED_ENTRY * (size_t)vq->num),
			vq->last_avail, __ATOMIC_RELAXED);
	} else if (vq->notify_off) {
		store16(ring_area(&vq->used_area, RING_FLAGS), 0, __ATOMIC_RELAXED);
		vq->notify_off = false;
	}
	/* Pairs with the driver's barrier between its store of avail.idx and its load of the flags
	 * or the event. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	vq->avail_idx = load16(ring_area(&vq->avail_area, RING_IDX), __ATOMIC_ACQUIRE);
	return vq->avail_idx == vq->last_avail;
}

/* For split_pop(): is there a chain? If not, notifications are on afterwards; if so, they are off,
 * unless event indices are used, where an index that is passed asks for nothing more. */
static bool split_prepare_pop(struct vqueue *vq)
{
	if (vq->avail_idx != vq->last_avail)
		return true;
	/* Pairs with the driver's barrier between filling an entry and storing avail.idx. */
	vq->avail_idx = load16(ring_area(&vq->avail_area, RING_IDX), __ATOMIC_ACQUIRE);
	if (vq->avail_idx == vq->last_avail && split_enable_notify(vq))
		return false;
	if (!vq->event_idx && !vq->notify_off) {
		store16(ring_area(&vq->used_area, RING_FLAGS), USED_NO_NOTIFY, __ATOMIC_RELAXED);
		vq->notify_off = true;
	}
	return true;
}

static bool split_has_chain(struct vqueue *vq)
{
	return load16(ring_area(&vq->avail_area, RING_IDX), __ATOMIC_RELAXED) != vq->last_avail;
}

/* An event index cannot say "never". The index just behind the current one is reached only after
 * 65535 more chains, and the loop polls the ring long before that. */
static void split_disable_notify(struct vqueue *vq)
{
	if (vq->event_idx) {
		store16(ring_area(&vq->used_area, RING_ENTRIES + USED_ENTRY * (size_t)vq->num),
			(uint16_t)(vq->last_avail - 1), __ATOMIC_RELAXED);
	} else {
		store16(ring_area(&vq->used_area, RING_FLAGS), USED_NO_NOTIFY, __ATOMIC_RELAXED);
		vq->notify_off = true;
	}
}

static struct vchain *split_pop(struct vqueue *vq)
{
	/* The bound keeps a guest that fills its ring with bad chains from holding the loop. */
	for (unsigned tries = 0; tries < vq->num; tries++) {
		struct vchain *c;
		uint16_t head;

		if (!ring_fresh(vq) || !split_prepare_pop(vq))
			return NULL;
		if ((uint16_t)(vq->avail_idx - vq->last_avail) > vq->num) {
			vdev_break(vq->v,
				   "queue %u: available index %u is %u ahead of %u, the size is %u",
				   vq->index, vq->avail_idx,
				   (uint16_t)(vq->avail_idx - vq->last_avail), vq->last_avail,
				   vq->num);
			return NULL;
		}
		head = load16(ring_area(&vq->avail_area,
					RING_ENTRIES + AVAIL_ENTRY * (size_t)(vq->last_avail &
									      (vq->num - 1))),
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
		container_of(c, struct chain_slot, c)->at = vq->last_avail++;
		switch (split_load_chain(vq, c, head)) {
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
	/* More chains may be available, for which no notification will come: continue in the next
	 * turn of the loop. */
	vq_kick(vq);
	return NULL;
}

static bool split_unpop(struct vqueue *vq, const struct chain_slot *s)
{
	if (vq->last_avail != (uint16_t)(s->at + 1))
		return false;
	vq->last_avail = s->at;
	return true;
}

static void split_push(struct vqueue *vq, const struct chain_slot *s, uint32_t written)
{
	size_t at = RING_ENTRIES + USED_ENTRY * (size_t)(vq->used_idx & (vq->num - 1));

	store32(ring_area(&vq->used_area, at), s->c.head);
	store32(ring_area(&vq->used_area, at + 4), written);
	vq->used_idx++;
}

static bool split_publish(struct vqueue *vq)
{
	uint16_t old_idx = vq->published, new_idx = vq->used_idx, event;

	if (old_idx == new_idx || !ring_fresh(vq))
		return false;
	/* Pairs with the driver's barrier between its load of used.idx and of the entries. */
	store16(ring_area(&vq->used_area, RING_IDX), new_idx, __ATOMIC_RELEASE);
	vq->published = new_idx;
	/* Pairs with the driver's barrier between asking for an interrupt and loading used.idx once
	 * more. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!vq->event_idx)
		return !(load16(ring_area(&vq->avail_area, RING_FLAGS), __ATOMIC_RELAXED) &
			 AVAIL_NO_INTERRUPT);
	event = load16(ring_area(&vq->avail_area, RING_ENTRIES + AVAIL_ENTRY * (size_t)vq->num),
		       __ATOMIC_RELAXED);
	return ring_event_due(event, new_idx, old_idx);
}

const struct ring_ops split_ring = {
	.driver_size = split_driver_size,
	.device_size = split_device_size,
	.driver_align = 2,
	.device_align = 4,
	.size_ok = split_size_ok,
	.start = split_start,
	.has_chain = split_has_chain,
	.disable_notify = split_disable_notify,
	.enable_notify = split_enable_notify,
	.pop = split_pop,
	.unpop = split_unpop,
	.push = split_push,
	.publish = split_publish,
	.take_back = split_take_back,
};
