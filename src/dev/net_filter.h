/* SPDX-License-Identifier: MIT */
/* net_filter.h - which received frames a guest wants: receive modes, MAC table, VLAN table
 *
 * The driver sets the filter over the control queue (Virtio 1.3 §5.1.6.5.1-3). As in QEMU, the
 * table holds NET_FILTER_MACS addresses; if the driver names more, all frames of that kind (unicast
 * or multicast) pass. All functions run on the owner's loop.
 */
#ifndef DEV_NET_FILTER_H
#define DEV_NET_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_FILTER_MACS	 64
#define NET_FILTER_VLANS 4096
#define NET_FILTER_PEEK	 18 /* bytes of a frame that are examined: addresses, type, VLAN tag */

struct net_filter {
	uint8_t mac[6];
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool uni_overflow, multi_overflow;
	unsigned uni, multi; /* entries: unicast ones first */
	uint8_t table[NET_FILTER_MACS][6];
	uint32_t vlans[NET_FILTER_VLANS / 32];
};

/* Set the state after a device reset: all frames pass. */
void net_filter_reset(struct net_filter *f, const uint8_t mac[6]);
/* Does the frame that begins with these `len` bytes (NET_FILTER_PEEK, fewer only if the frame is
 * shorter) pass? */
bool net_filter_pass(const struct net_filter *f, const uint8_t *frame, size_t len);

#endif
