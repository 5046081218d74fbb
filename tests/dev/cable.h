/* SPDX-License-Identifier: MIT */
/* cable.h - what the tests of virtio-net have in common: the other end of the cable is a socket of
 * the test */
#ifndef DEV_CABLE_H
#define DEV_CABLE_H

#include <sys/socket.h>

#include "tb.h"

#define CABLE_TYPE 0x88b5 /* of the frames */
#define BASIC	   (GV_F_RING | GNET_F_MAC | GNET_F_STATUS | GNET_F_MRG_RXBUF)
#define WITH_CTRL                                                                            \
	(BASIC | GNET_F_CTRL_VQ | GNET_F_CTRL_RX | GNET_F_CTRL_RX_EXTRA | GNET_F_CTRL_VLAN | \
	 GNET_F_CTRL_MAC)

/* Commands of the control queue, and its answers. */
#define CLASS_RX       0
#define CLASS_MAC      1
#define CLASS_VLAN     2
#define CLASS_ANNOUNCE 3
#define CLASS_MQ       4
#define CLASS_OFFLOADS 5
#define OK	       0
#define REFUSED	       1

extern const uint8_t cable_mac[6]; /* the card's */

/* A machine with one card on one end of a socket pair; returns the other end. */
int cable(struct tb *t, int type, const char *props);
/* `len` bytes from the host, of a type of ours. */
void cable_frame(uint8_t *f, size_t len, const uint8_t to[6], uint32_t seed);
/* Host to guest and back, on the datagram cable. */
void cable_exchange(struct tb *t, int fd, unsigned len, uint32_t seed);
/* A frame that the guest does not get, shown by the next one, which it gets. */
void cable_lost(struct tb *t, int fd, const uint8_t *frame, unsigned len);

#endif
