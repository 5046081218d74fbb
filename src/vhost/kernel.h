/* SPDX-License-Identifier: MIT */
/* kernel.h - vhost's ioctls, one function each
 *
 * Apart from everything else because the kernel's headers and ours give the same names to the
 * features of virtio. All return 0 or -errno, any thread; `index` is a queue of the descriptor.
 */
#ifndef VHOST_KERNEL_H
#define VHOST_KERNEL_H

#include <stdint.h>

#include "mem/gmem.h"
#include "virtio/queue.h"

/* Beside the features of virtio: vhost-net makes and eats the header of a frame, the tap has none.
 */
#define VHOST_NET_HDR (1ULL << 27)

int kvhost_own(int fd);
int kvhost_get_features(int fd, uint64_t *features);
int kvhost_set_features(int fd, uint64_t features);
int kvhost_set_memory(int fd, const struct gmem_region *r, unsigned n);
/* The ring is where `w` says. */
int kvhost_set_ring(int fd, unsigned index, const struct vq_where *w);
/* The position that was reached; waits until the kernel has left the ring. */
int kvhost_get_base(int fd, unsigned index, uint16_t *next);
/* Eventfds for doorbells, interrupts and failure; -1: none. */
int kvhost_set_fds(int fd, unsigned index, int kick, int call, int err);

/* vhost-net: begin to work with this tap; -1: end. */
int kvhost_net_backend(int fd, unsigned index, int tap);
/* vhost-vsock: the guest's address; begin or end to work. */
int kvhost_vsock_cid(int fd, uint64_t cid);
int kvhost_vsock_run(int fd, bool on);

#endif
