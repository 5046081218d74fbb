/* SPDX-License-Identifier: MIT */
/* ring.h - what the two ring layouts share: the three areas in guest memory, descriptors, buffers
 * of a chain
 *
 * split.c and packed.c each fill one `struct ring_ops`. Everything the guest can write is loaded
 * once, with an atomic load, into a local. Queue's loop only.
 *
 * Three verdicts on a chain: good; one that points outside RAM or is put together wrongly in itself
 * is completed with nothing written; one that makes no sense (nesting, a loop) breaks the device.
 */
#ifndef VIRTIO_RING_H
#define VIRTIO_RING_H

#include "base/util.h"
#include "virtio/internal.h"

#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4
#define DESC_SIZE     16

struct ring_ops {
	/* Bytes of the descriptor, driver and device areas of a ring of `n` entries, and how the
	 * last two are aligned. */
	uint64_t (*driver_size)(unsigned n);
	uint64_t (*device_size)(unsigned n);
	unsigned driver_align, device_align;
	/* May a ring have `n` entries (at most VQ_SIZE_MAX)? */
	bool (*size_ok)(unsigned n);
	/* A ring that was just set up. */
	void (*start)(struct vqueue *vq);
	/* Has the driver made a chain available that was not popped yet? Only reads the ring. */
	bool (*has_chain)(struct vqueue *vq);
	/* Tell the driver that it need not notify (§2.7.10, §2.8.10): the loop polls the ring. */
	void (*disable_notify)(struct vqueue *vq);
	/* Ask the driver for a notification, then read the ring once more, because the driver may
	 * have added a chain before it saw the request. Returns true when the ring is still empty,
	 * so that the caller may wait; false when there is a chain, for which no notification need
	 * come. (Linux' function of this name returns the opposite.) */
	bool (*enable_notify)(struct vqueue *vq);
	/* See vq_pop(), vq_unpop(); NULL when there is no chain now, false when it was not the
	 * last one taken. */
	struct vchain *(*pop)(struct vqueue *vq);
	bool (*unpop)(struct vqueue *vq, const struct chain_slot *s);
	/* Put a chain in the used state; the guest sees it with publish(). */
	void (*push)(struct vqueue *vq, const struct chain_slot *s, uint32_t written);
	/* True when the guest wants an interrupt for what was published. */
	bool (*publish)(struct vqueue *vq);
	/* Go on where a server has stopped, with entry `next`. NULL: no server knows this layout.
	 */
	void (*take_back)(struct vqueue *vq, uint16_t next);
};

extern const struct ring_ops split_ring, packed_ring;

enum verdict { CHAIN_OK, CHAIN_REJECT, CHAIN_BREAK };

/* A descriptor. In the split layout its last quarter holds flags and `next`, in the packed one the
 * buffer id and flags; so it is in the tables that indirect descriptors point to. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next, id;
};

/* --- ring.c --- */

/* Pin the areas; -1 when they are not (all) in memory. */
int ring_map(struct vqueue *vq);
void ring_unmap(struct vqueue *vq);
/* To be asked before the areas are touched. Guest memory may have been re-mapped, or they were let
 * go: pin the areas anew. False: they are gone, and the device is broken. */
bool ring_fresh(struct vqueue *vq);
/* Do not keep the areas pinned when guest memory has been re-mapped; ring_fresh() pins them. */
void ring_let_go(struct vqueue *vq);
/* Append the buffer of one descriptor to the chain. */
enum verdict ring_add_buffer(struct vqueue *vq, struct vchain *c, const struct desc *d);
/* Append those of the table that `d` points to, in the layout of the queue: at most `left`,
 * following `next` when it is `linked` (split), else all in order (packed). */
enum verdict ring_add_table(struct vqueue *vq, struct vchain *c, const struct desc *d,
			    unsigned left, bool linked);
uint8_t *ring_area_slow(const struct ring_area *a, size_t off);

/* Where byte `off` of an area is. Offsets come from the ring's size alone, so they are always
 * inside. */
static inline void *ring_area(const struct ring_area *a, size_t off)
{
	return likely(a->segs == 1) ? (uint8_t *)a->seg[0].iov_base + off : ring_area_slow(a, off);
}

/* Two loads: the guest may change a descriptor between them, but each half is then a constant for
 * us. Field by field into `d`: a struct returned by value is put together from parts in memory and
 * read back whole, which stalls. */
static inline void ring_load_desc(const uint64_t *p, bool packed, struct desc *d)
{
	uint64_t rest;

	d->addr = le64toh(__atomic_load_n(&p[0], __ATOMIC_RELAXED));
	rest = le64toh(__atomic_load_n(&p[1], __ATOMIC_RELAXED));
	d->len = (uint32_t)rest;
	d->flags = (uint16_t)(packed ? rest >> 48 : rest >> 32);
	d->next = packed ? 0 : (uint16_t)(rest >> 48);
	d->id = packed ? (uint16_t)(rest >> 32) : 0;
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

/* Has a position in (old_idx, new_idx] been reached that the other side asked to hear of (§2.7.10)? */
static inline bool ring_event_due(uint16_t event, uint16_t new_idx, uint16_t old_idx)
{
	return (uint16_t)(new_idx - event - 1) < (uint16_t)(new_idx - old_idx);
}

#endif
