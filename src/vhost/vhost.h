/* SPDX-License-Identifier: MIT */
/* vhost.h - virtqueues served by the kernel (Linux vhost: net, vsock)
 *
 * A `struct vhost` is one descriptor of /dev/vhost-*, with some queues of a virtio device bound to
 * it. vhost_start() gives the kernel the negotiated features and a table of all guest memory; from
 * then on the queues are handed over to the kernel whenever they run (virtio/queue.h says when that
 * is). Kernel and program notify each other with eventfds: a doorbell of the driver is written to
 * one, and for an interrupt the exit loop reads another one and sends MSI-X as for any queue, so
 * that masks and pending bits have their effect.
 *
 * What takes a queue back from the kernel, and who serves it then:
 *   - stop, reset, pause, bus mastering off: nobody, until the queue runs again;
 *   - a change of guest memory (ballooning): the device's own kick(), if it has one for this queue,
 *     until nothing has changed for a while; then all memory is mapped again and the queue is
 *     handed over;
 *   - a chain that the kernel rejects: the same. virtio/ checks the chain like any other one, and
 *     breaks the device or completes the chain.
 *
 * All functions are called on the exit loop, or before it runs; the queues must belong to it.
 */
#ifndef VHOST_VHOST_H
#define VHOST_VHOST_H

#include "base/err.h"
#include "virtio/vdev.h"

struct vhost;

struct vhost_ops {
	/* Start queue `index`, which has been set up, or stop it; then the kernel must not use it
	 * any more when this returns. 0 or -errno. NULL if the kernel starts and stops only all
	 * queues together: */
	int (*queue)(struct vhost *vh, unsigned index, bool on);
	/* Start all queues when all have been set up; stop them before one is taken back. */
	int (*all)(struct vhost *vh, bool on);
	/* The kernel has reported an error of queue `index`, and all queues were taken back. A
	 * device whose kick() cannot serve them should break. May be NULL. */
	void (*failed)(struct vhost *vh, unsigned index);
};

/* Check that all guest memory can be mapped, as vhost needs it. The mappings stay, so that the
 * guest need not wait for them when it runs. 0, or -errno with `e`. */
int vhost_memory_ok(struct hv *hv, struct err *e);
/* Open `path` (/dev/vhost-net, ...), or take over the descriptor that was passed as number
 * `passed` (NULL: none). Returns the descriptor, or -errno with `e`. */
int vhost_open(const char *path, const char *passed, struct err *e);

/* Make a vhost for `queues` queues of `v`, which owns `fd` from now on: on failure `fd` is closed,
 * too. NULL with `e` on failure. */
struct vhost *vhost_new(int fd, struct vdev *v, unsigned queues, const struct vhost_ops *ops,
			void *ctx, struct err *e);
/* Stop, close and free. `vh` may be NULL. */
void vhost_free(struct vhost *vh);
/* Bind queue `vq` of the device to the kernel's queue `index`; called before the start. */
void vhost_bind(struct vhost *vh, unsigned index, struct vqueue *vq);
void *vhost_ctx(const struct vhost *vh);
int vhost_fd(const struct vhost *vh);
/* The features that the kernel offers: VIRTIO_F_* and those of the kind of device. */
uint64_t vhost_features(const struct vhost *vh);

/* Called when the driver has negotiated. `features` are those that the kernel has to implement,
 * with VIRTIO_F_VERSION_1; it must offer all of them. Maps all guest memory and hands the queues
 * over, each one as soon as it runs. 0, or -errno with `e`: then the device's kick() serves
 * them. */
int vhost_start(struct vhost *vh, uint64_t features, struct err *e);
/* Take the queues back and release guest memory. Harmless when it was not started. */
void vhost_stop(struct vhost *vh);

#endif
