/* SPDX-License-Identifier: MIT */
/* offload.h - what the guest leaves to whoever gets its frames (private to this folder)
 *
 * With the vnet header a driver hands over TCP segments larger than its link's MTU, and packets
 * whose checksum is begun only. The kernel takes both behind a tap; for a back end that takes large
 * segments but no header the checksum is finished here.
 */
#ifndef NET_USER_OFFLOAD_H
#define NET_USER_OFFLOAD_H

#include <stddef.h>
#include <stdint.h>

/* The Internet checksum's sum (RFC 1071) of `len` bytes, in the machine's byte order of 16-bit
 * words: folded, not complemented. */
uint16_t net_sum(const uint8_t *p, size_t len);
/* Where the header (NET_HDR_LEN bytes) says VIRTIO_NET_HDR_F_NEEDS_CSUM (Virtio 1.3 §5.1.6.2):
 * write the checksum into the frame, whose field holds that of the pseudo header. Positions outside
 * of the frame are ignored. */
void net_finish_checksum(const uint8_t *hdr, uint8_t *frame, size_t len);

#endif
