/* SPDX-License-Identifier: MIT */
/* queue.h - virtqueues: the only way from a device to guest memory
 *
 * A device pops a chain, works on its iovecs (checked, pinned host memory), and pushes it back with
 * the number of bytes that it wrote. It never sees a descriptor, a flag, an index or a guest
 * address. Everything the guest wrote is read once into locals; the walk is bounded by the queue's
 * size; a ring that breaks the rules breaks its device (vdev_break()) and nothing else.
 *
 * Used entries are batched: vq_push() only fills the ring, and at the end of the loop's turn the
 * core publishes the used index once and sends at most one interrupt for the batch. Notifications
 * from the guest are on only while the device has seen the queue empty (vq_pop() returned NULL).
 *
 * A queue can be handed over to a vhost back end (struct vq_server), which works on the ring in
 * guest memory directly. The core starts it when the queue runs, and stops it for a stop, a pause,
 * or when the driver switches bus mastering off; the queue then continues at the position that the
 * back end has reached. While it serves, doorbells go straight to its eventfd.
 *
 * Owner: all functions run on the queue's loop, except those marked "any thread".
 *
 * Virtio 1.3 §2.6 (virtqueues), §2.7 (split), §2.7.5.3 (indirect), §2.7.7 and §2.7.10 (notification
 * suppression).
 */
#ifndef VIRTIO_QUEUE_H
#define VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/loop.h"

struct vdev;
struct vqueue;

#define VQ_SIZE_MAX 1024

/* One request of the guest. iov[0 .. n_out) is what the device may read, iov[n_out .. n_out + n_in)
 * what it may write; vchain_pull() and vchain_put() move the cursors. The struct belongs to the
 * queue and is valid until vq_push(), vq_unpop() or vq_drop(). */
struct vchain {
	struct vqueue *vq;
	struct iovec *iov;
	uint16_t n_out, n_in;
	uint64_t out_len, in_len; /* bytes in all, before any pull or put */
	uint64_t pulled, put;	  /* bytes consumed so far */
	uint32_t head;		  /* for split.c and packed.c: names the chain in the used ring */
	struct vchain *next;	  /* for the device while it holds the chain, e.g. to link waiting
				     chains */
};

/* Returns the next available chain, or NULL: the queue is empty (the guest will notify the device
 * of the next one), stopped, or broken, or this turn's budget is used up (the core calls kick()
 * again in the next turn). */
struct vchain *vq_pop(struct vqueue *vq);
/* Complete a chain: the first `written` bytes of the writable part are valid (capped at in_len).
 * `c` is invalid afterwards. */
void vq_push(struct vqueue *vq, struct vchain *c, uint32_t written);
/* Return the chain that was popped last to the ring, as if it had not been popped. Several are
 * returned newest first. If a younger chain has been used already (for instance because it was
 * malformed) the ring cannot take `c` back, and it is completed with nothing written. */
void vq_unpop(struct vqueue *vq, struct vchain *c);
/* Free a chain without completing it: only while the queue is being stopped (quiesce()). */
void vq_drop(struct vqueue *vq, struct vchain *c);
/* Show the guest the chains that were pushed so far. The core does that by itself at the end of the
 * turn; a device calls it earlier when the rest of the turn takes so long that the driver should
 * not wait for it. */
void vq_publish(struct vqueue *vq);
/* Any thread: have the device's kick() called on the queue's loop (as after a doorbell). */
void vq_kick(struct vqueue *vq);

/* Is the queue enabled, DRIVER_OK set and nothing stopping it? */
bool vq_ready(const struct vqueue *vq);
unsigned vq_index(const struct vqueue *vq);
struct vdev *vq_dev(const struct vqueue *vq);
struct loop *vq_loop(const struct vqueue *vq);
/* Chains popped and not pushed yet. */
unsigned vq_inflight(const struct vqueue *vq);
/* A pointer that belongs to the device. */
void vq_set_priv(struct vqueue *vq, void *priv);
void *vq_priv(const struct vqueue *vq);

/* --- a queue that a vhost back end serves --- */

/* The host addresses of a queue's ring. */
struct vq_where {
	unsigned num;
	uint16_t next; /* position in the available ring */
	void *desc, *avail, *used;
};

/* A vhost back end; embedded in its object. Its functions are called on the queue's loop. */
struct vq_server {
	/* Serve the ring at `w`. 0, or -errno: then the device's kick() continues to serve it. */
	int (*start)(struct vq_server *s, const struct vq_where *w);
	/* Stop. When this returns, the back end no longer touches guest memory, and all chains
	 * that it has taken are used. Returns the next position in the available ring. */
	uint16_t (*stop)(struct vq_server *s);
	int kick_fd; /* eventfd for doorbells */
};

/* Have `vq` served by `s` (NULL: by the device's kick() again) whenever it runs, that is while it
 * is neither stopped nor paused and its function may do DMA. quiesce() is called before each
 * hand-over, kick() after the queue was taken back. If chains are in flight or the ring is packed,
 * the device continues to serve it. Returns whether `s` serves it now. */
bool vq_serve_by(struct vqueue *vq, struct vq_server *s);
/* Any thread: the back end has used chains and the guest wants an interrupt. */
void vq_interrupt(struct vqueue *vq);

/* --- access to a chain, by copy --- */

/* Copy the next `len` readable bytes into `buf`. False (nothing consumed) when fewer are left. */
bool vchain_pull(struct vchain *c, void *buf, size_t len);
/* Copy `len` bytes to the next writable ones. False (nothing written) when fewer are left. */
bool vchain_put(struct vchain *c, const void *buf, size_t len);
/* Copy `len` bytes to the writable part at absolute offset `off`; does not move the cursor. False
 * when out of range. */
bool vchain_put_at(struct vchain *c, uint64_t off, const void *buf, size_t len);

/* --- access to a chain, in place --- */

/* Fill `iov` (`max` elements) with the unconsumed readable or writable part: at most `limit` bytes,
 * starting `skip` bytes behind the cursor, which does not move. Returns the number of elements, or
 * -E2BIG when `max` is too small. */
int vchain_out(const struct vchain *c, uint64_t skip, uint64_t limit, struct iovec *iov,
	       unsigned max);
int vchain_in(const struct vchain *c, uint64_t skip, uint64_t limit, struct iovec *iov,
	      unsigned max);

#endif
