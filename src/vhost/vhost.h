/* SPDX-License-Identifier: MIT */
/* vhost.h - virtqueues served by the kernel (Linux vhost: net, vsock)
 *
 * A `struct vhost` is one descriptor of /dev/vhost-*, with some queues of a virtio device bound to
 * it. vhost_start() gives the kernel the negotiated features and a table of all guest memory, and
 * hands the queues over whenever they run (queue.h says when that is); the kernel takes chains and
 * interrupts by eventfds. A doorbell is a write to one, an interrupt is read here, on the exit
 * loop, and sent by MSI-X as ever, so masks and pending bits hold.
 *
 * What makes the kernel stop, and who goes on:
 *   - stop, reset, pause, bus mastering off: nobody, until the queue runs again;
 *   - guest memory has changed (ballooning): the device's own kick(), if it has one for this queue,
 *     until nothing has changed for a while; then all memory is mapped anew;
 *   - a chain that the kernel cannot make sense of: the same. The core judges the chain as it
 *     judges any, and it breaks the device or completes the chain.
 *
 * Exit loop, or before it runs; the queues must belong to that loop.
 */
#ifndef VHOST_VHOST_H
#define VHOST_VHOST_H

#include "base/err.h"
#include "virtio/vdev.h"

struct vhost;

struct vhost_ops {
	/* Queue `index` is set up: let the kernel work on it, or take it away (then it must be at
	 * rest when this returns). 0 or -errno. NULL where the kernel knows all queues or none: */
	int (*queue)(struct vhost *vh, unsigned index, bool on);
	/* All queues are set up, or one of them is about to go. */
	int (*all)(struct vhost *vh, bool on);
	/* The kernel gave up queue `index`, and all queues were taken back. A device whose kick()
	 * cannot serve them should break. May be NULL. */
	void (*failed)(struct vhost *vh, unsigned index);
};

/* Can all guest memory be mapped, as vhost needs it? Maps it, so that a guest that runs does not
 * wait for that later. 0, or -errno with `e`. */
int vhost_memory_ok(struct hv *hv, struct err *e);
/* Open `path` (/dev/vhost-net, ...), or take over the descriptor that was passed as number
 * `passed` (NULL: none). Returns the descriptor, or -errno with `e`. */
int vhost_open(const char *path, const char *passed, struct err *e);

/* Own `fd`, for `queues` queues of `v`; the fd is closed also on failure. NULL with `e`. */
struct vhost *vhost_new(int fd, struct vdev *v, unsigned queues, const struct vhost_ops *ops,
			void *ctx, struct err *e);
/* The queues have stopped, or nothing is served any more. Harmless with NULL. */
void vhost_free(struct vhost *vh);
/* Which queue of the device is the kernel's queue `index`. Before the start. */
void vhost_bind(struct vhost *vh, unsigned index, struct vqueue *vq);
void *vhost_ctx(const struct vhost *vh);
int vhost_fd(const struct vhost *vh);
/* What the kernel offers, VIRTIO_F_* and the device's. */
uint64_t vhost_features(const struct vhost *vh);

/* The driver has negotiated. `features`: those for the kernel to act on, with VIRTIO_F_VERSION_1;
 * ones that it does not offer are refused. Maps all guest memory and lets the queues be handed
 * over. 0, or -errno with `e`: then the device's kick() serves them. */
int vhost_start(struct vhost *vh, uint64_t features, struct err *e);
/* Take the queues back and let go of guest memory. Harmless when it is not started. */
void vhost_stop(struct vhost *vh);

#endif
