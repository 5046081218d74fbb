/* SPDX-License-Identifier: MIT */
/* virtio_vsock.h - what the two socket devices, virtio_vsock.c and vhost_vsock.c, have in common */
#ifndef DEV_VIRTIO_VSOCK_H
#define DEV_VIRTIO_VSOCK_H

#include <stdint.h>

#include "base/err.h"

#define VSOCK_VIRTIO_ID	  19
#define VSOCK_PCI_CLASS	  0x078000
#define VSOCK_QUEUE_SIZE  128
#define VSOCK_F_SEQPACKET (1ULL << 1)

/* struct virtio_vsock_config, little endian */
#define VSOCK_CFG_CID 0 /* 64 bits */
#define VSOCK_CFG_LEN 8

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };

/* Is `cid` a valid address for a guest (3 to 2^32 - 2)? 0, or -EINVAL with `e`. */
int vsock_check_cid(uint64_t cid, struct err *e);

#endif
