/* SPDX-License-Identifier: MIT */
/* kernel.h - the ioctls of vhost, one function for each
 *
 * They have a file of their own because the kernel's headers and ours define the same names for the
 * features of virtio. All return 0 or -errno and may be called by any thread; `index` is a queue of
 * the descriptor.
 */
#ifndef VHOST_KERNEL_H
#define VHOST_KERNEL_H

#include <stdint.h>

#include "mem/gmem.h"
#include "virtio/queue.h"

/* A feature beside those of virtio: vhost-net adds and removes the virtio header of each frame,
 * since the tap's frames have none. */
#define VHOST_NET_HDR (1ULL << 27)

int kvhost_own(int fd);
int kvhost_get_features(int fd, uint64_t *features);
int kvhost_set_features(int fd, uint64_t features);
int kvhost_set_memory(int fd, const struct gmem_region *r, unsigned n);
/* Set number of entries, position and addresses of the ring. */
int kvhost_set_ring(int fd, unsigned index, const struct vq_where *w);
/* Stop the ring: waits until the kernel's thread does not use it any more, and gets the position of
 * the next chain. */
int kvhost_get_base(int fd, unsigned index, uint16_t *next);
/* Eventfds for doorbells, interrupts and failure; -1: none. */
int kvhost_set_fds(int fd, unsigned index, int kick, int call, int err);

/* vhost-net: start the queue on this tap; -1: stop it. */
int kvhost_net_backend(int fd, unsigned index, int tap);
/* vhost-vsock: set the guest's CID; start or stop all queues. */
int kvhost_vsock_cid(int fd, uint64_t cid);
int kvhost_vsock_run(int fd, bool on);

#endif
