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
 * A queue can be handed over to a server, the kernel's vhost, that works on the ring in guest
 * memory directly. The core knows where it may run, and takes the queue back at the position it has
 * reached for a stop, a pause, or when bus mastering goes; doorbells go straight to the server's
 * eventfd.
 *
 * Owner: all functions run on the queue's loop, but vq_kick(), which any thread may call.
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
 * what it may write; pull and put move the cursors. The struct belongs to the queue and is valid
 * until push, unpop or drop. */
struct vchain {
	struct vqueue *vq;
	struct iovec *iov;
	uint16_t n_out, n_in;
	uint64_t out_len, in_len; /* bytes in all, before any pull or put */
	uint64_t pulled, put;	  /* bytes consumed so far */
	uint32_t head;		  /* the ring's own */
	struct vchain *next;	  /* free for the device while it holds the chain; a list of waiting
				     chains, say */
};

/* Next available chain, or NULL: the queue is empty (the guest will notify when it is not),
 * stopped, or broken, or this turn's budget is used up (the core calls kick() again in the next
 * turn). */
struct vchain *vq_pop(struct vqueue *vq);
/* Done: `written` bytes of the writable part are valid (at most in_len). The chain is gone
 * afterwards. */
void vq_push(struct vqueue *vq, struct vchain *c, uint32_t written);
/* Give the chain that was popped last back to the ring, as if it had not been popped. Newest first.
 * Where a younger one was used already (one that was refused while this one was held, say) the ring
 * cannot take it back: it is pushed with nothing written. */
void vq_unpop(struct vqueue *vq, struct vchain *c);
/* Forget a chain without an entry in the used ring: only while the queue is being stopped
 * (quiesce). */
void vq_drop(struct vqueue *vq, struct vchain *c);
/* Show the guest what was pushed so far, as the core does by itself at the end of a turn: for a
 * device whose work on the rest takes so long that the driver may well go on meanwhile. Queue's
 * loop. */
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
/* Free for the device. */
void vq_set_priv(struct vqueue *vq, void *priv);
void *vq_priv(const struct vqueue *vq);

/* --- a queue that somebody else serves: the kernel (vhost) --- */

/* Where the ring of a queue is, in host memory. */
struct vq_where {
	unsigned num;
	uint16_t next; /* position in the available ring */
	void *desc, *avail, *used;
};

/* The server; embedded in its object. Called on the queue's loop. */
struct vq_server {
	/* Serve from here on. 0, or -errno: then the device's kick() does it. */
	int (*start)(struct vq_server *s, const struct vq_where *w);
	/* No more. When this returns, the server touches guest memory no more, and what it has
	 * taken is used. Returns the next position in the available ring. */
	uint16_t (*stop)(struct vq_server *s);
	int kick_fd; /* eventfd for doorbells */
};

/* Have `vq` served by `s` (NULL: by the device's kick() again) whenever it runs: not while it is
 * stopped or paused, or while its function may not do DMA. quiesce() is called before, kick()
 * afterwards. Only while no chain is in flight, and not with a packed ring: else the device goes on
 * to serve. Returns whether `s` serves it now. Queue's loop. */
bool vq_serve_by(struct vqueue *vq, struct vq_server *s);
/* Any thread: the server has used chains and the guest wants an interrupt. */
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

/* The unconsumed readable or writable part as an iovec: at most `max` elements, at most `limit`
 * bytes from `skip` bytes behind the cursor on. Returns the number of elements, -E2BIG when `max`
 * is too small. Does not move the cursor. */
int vchain_out(const struct vchain *c, uint64_t skip, uint64_t limit, struct iovec *iov,
	       unsigned max);
int vchain_in(const struct vchain *c, uint64_t skip, uint64_t limit, struct iovec *iov,
	      unsigned max);

#endif
