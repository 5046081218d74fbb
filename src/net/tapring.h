/* SPDX-License-Identifier: MIT */
/* tapring.h - several frames to a tap with one system call, by io_uring */
#ifndef NET_TAPRING_H
#define NET_TAPRING_H

#include "net/net.h"

struct tapring;

/* For the non-blocking tap `fd`; to be made and used by one thread. NULL: not to be had here. */
struct tapring *tapring_new(int fd);
void tapring_free(struct tapring *r); /* harmless with NULL */
/* Write `n` (at most NET_BATCH) frames in their order. False when this kernel does not do that at
 * once: they are written all the same, but the ring is of no use. A frame that the kernel refuses
 * is lost. */
bool tapring_send(struct tapring *r, const struct net_frame *f, unsigned n);

#endif
