/* SPDX-License-Identifier: MIT */
/* ring.h - what the two ring layouts share: the three areas in guest memory, descriptors, buffers
 * of a chain
 *
 * A request travels as a chain of descriptors, each the guest address and the length of one buffer.
 * A queue has three areas in guest memory, which the device pins when the queue is started.
 *
 * Split ring (Virtio 1.3 §2.7): a descriptor table, where `next` links the descriptors of a chain;
 * the available ring, where the driver stores the index of a chain's first descriptor and then
 * advances avail.idx; and the used ring, where the device stores that index with the number of
 * bytes that it wrote, and then advances used.idx.
 *
 * Packed ring (§2.8): one ring of descriptors that both sides write. Two bits in each, compared
 * with a wrap counter that flips at the end of the ring, say whether the driver has made it
 * available or the device has used it. The other two areas hold the event suppression structures.
 *
 * Notification suppression (§2.7.7, §2.7.10, §2.8.10): each side says whether it wants to be
 * notified at all, by a flag, or not before a given position, with VIRTIO_F_EVENT_IDX. Whoever asks
 * for notifications must look at the ring once more afterwards, or it may miss what was added
 * before the other side saw the request.
 *
 * An indirect descriptor (§2.7.5.3) points to a table of descriptors elsewhere in guest memory.
 *
 * split.c and packed.c each fill one `struct ring_ops`. Everything the guest can write is loaded
 * once, with an atomic load, into a local. All functions here run on the queue's loop.
 *
 * There are three verdicts on a chain. A good one goes to the device. One with a buffer outside RAM
 * or with a readable buffer after a writable one is completed with nothing written. One that cannot
 * be followed (nested tables, a loop) breaks the device.
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
	/* Reset the positions, for a ring that the driver has just set up. */
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
	/* See vq_pop(): NULL when no chain is available. */
	struct vchain *(*pop)(struct vqueue *vq);
	/* See vq_unpop(): false, and nothing is changed, when `s` is not the chain popped last. */
	bool (*unpop)(struct vqueue *vq, const struct chain_slot *s);
	/* Write the used entry of a chain. The guest sees it only after publish(). */
	void (*push)(struct vqueue *vq, const struct chain_slot *s, uint32_t written);
	/* Show the guest all entries pushed since the last call. Returns true when the driver wants
	 * an interrupt for them. */
	bool (*publish)(struct vqueue *vq);
	/* Continue at entry `next` of the available ring, where a vhost back end has stopped. NULL:
	 * no back end knows this layout. */
	void (*take_back)(struct vqueue *vq, uint16_t next);
};

extern const struct ring_ops split_ring, packed_ring;

enum verdict { CHAIN_OK, CHAIN_REJECT, CHAIN_BREAK };

/* A descriptor in host byte order, from a ring or from the table of an indirect descriptor. `next`
 * exists in the split layout only, `id` (the buffer id) in the packed one only. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next, id;
};

/* --- ring.c --- */

/* Pin the three areas. Returns -1, with nothing pinned, unless all of them are in RAM. */
int ring_map(struct vqueue *vq);
void ring_unmap(struct vqueue *vq);
/* Call this before any access to the areas. If guest memory was re-mapped or the areas were
 * unpinned since the last call, it pins them again. Returns false, with the device broken, when
 * they are no longer in RAM. */
bool ring_fresh(struct vqueue *vq);
/* Unpin the areas if guest memory was re-mapped since they were pinned; the next ring_fresh() pins
 * them again. */
void ring_unmap_stale(struct vqueue *vq);
/* Append the buffer of one descriptor to the chain. */
enum verdict ring_add_buffer(struct vqueue *vq, struct vchain *c, const struct desc *d);
/* Append the buffers of the table that the indirect descriptor `d` points to, at most `left` of
 * them. With `linked` (split ring) the descriptors are followed by their `next` field, else (packed
 * ring) all of the table are taken in order. */
enum verdict ring_add_table(struct vqueue *vq, struct vchain *c, const struct desc *d,
			    unsigned left, bool linked);
uint8_t *ring_area_slow(const struct ring_area *a, size_t off);

/* Returns the host address of byte `off` of an area. The caller derives `off` from the ring's size,
 * so it lies inside; it is not checked. */
static inline void *ring_area(const struct ring_area *a, size_t off)
{
	return likely(a->segs == 1) ? (uint8_t *)a->seg[0].iov_base + off : ring_area_slow(a, off);
}

/* Load a descriptor with two loads of 64 bits. The guest may change it between them; that is
 * harmless, as each half is read once. The result is stored field by field through `d`: a struct
 * returned by value is assembled in memory from parts and read back whole, and that read stalls. */
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

/* Does the range of entries [old_idx, new_idx), which was just added, contain the entry `event` of
 * which the other side asked to be notified (§2.7.10)? */
static inline bool ring_event_due(uint16_t event, uint16_t new_idx, uint16_t old_idx)
{
	return (uint16_t)(new_idx - event - 1) < (uint16_t)(new_idx - old_idx);
}

#endif
