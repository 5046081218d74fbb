/* SPDX-License-Identifier: MIT */
/* virtio_net_int.h - what the files of virtio-net share
 *
 * virtio_net.c: options, features, configuration, link. virtio_net_data.c: receive and transmit
 * queues. virtio_net_ctrl.c: the control queue. virtio_net_vhost.c: queues that the kernel serves.
 * Everything except realize() and unrealize() runs on the exit loop, including all queues.
 */
#ifndef DEV_VIRTIO_NET_INT_H
#define DEV_VIRTIO_NET_INT_H

#include "dev/env.h"
#include "dev/net_moderation.h"
#include "dev/net_filter.h"
#include "net/net.h"
#include "vhost/vhost.h"
#include "virtio/vdev.h"

/* Virtio 1.3 §5.1.3 */
#define NET_F_CSUM		  (1ULL << 0)
#define NET_F_GUEST_CSUM	  (1ULL << 1)
#define NET_F_CTRL_GUEST_OFFLOADS (1ULL << 2)
#define NET_F_MTU		  (1ULL << 3)
#define NET_F_MAC		  (1ULL << 5)
#define NET_F_GUEST_TSO4	  (1ULL << 7)
#define NET_F_GUEST_TSO6	  (1ULL << 8)
#define NET_F_GUEST_ECN		  (1ULL << 9)
#define NET_F_GUEST_UFO		  (1ULL << 10)
#define NET_F_HOST_TSO4		  (1ULL << 11)
#define NET_F_HOST_TSO6		  (1ULL << 12)
#define NET_F_HOST_ECN		  (1ULL << 13)
#define NET_F_HOST_UFO		  (1ULL << 14)
#define NET_F_MRG_RXBUF		  (1ULL << 15)
#define NET_F_STATUS		  (1ULL << 16)
#define NET_F_CTRL_VQ		  (1ULL << 17)
#define NET_F_CTRL_RX		  (1ULL << 18)
#define NET_F_CTRL_VLAN		  (1ULL << 19)
#define NET_F_CTRL_RX_EXTRA	  (1ULL << 20)
#define NET_F_GUEST_ANNOUNCE	  (1ULL << 21)
#define NET_F_MQ		  (1ULL << 22)
#define NET_F_CTRL_MAC_ADDR	  (1ULL << 23)
#define NET_F_GUEST_USO4	  (1ULL << 54)
#define NET_F_GUEST_USO6	  (1ULL << 55)
#define NET_F_HOST_USO		  (1ULL << 56)
#define NET_F_SPEED_DUPLEX	  (1ULL << 63)

/* Offsets in the configuration space, §5.1.4. */
#define NET_CFG_MAC	  0
#define NET_CFG_STATUS	  6
#define NET_CFG_MAX_PAIRS 8
#define NET_CFG_MTU	  10
#define NET_CFG_SPEED	  12
#define NET_CFG_DUPLEX	  16
#define NET_CFG_END	  17

#define NET_S_LINK_UP  1
#define NET_S_ANNOUNCE 2

struct virtio_net;

struct net_pair {
	struct virtio_net *n;
	unsigned index;
	struct netq *q; /* NULL: no back end */
	struct vqueue *rx, *tx;
	/* SPILL_SIZE bytes. The end of a received frame that did not fit into the guest's
	 * buffers; or the whole frame with its header, while it is parked. */
	uint8_t *spill;
	size_t parked;		/* length of the frame that waits for buffers; 0: none */
	struct loop_timer late; /* drops the parked frame */
	struct net_moderation moderation;
	struct loop_timer pause; /* ends `paused` */
	bool paused;		 /* interrupt moderation: the back end is not listened to */
	size_t want;		 /* bytes of buffers to offer to the next frame */
	size_t peak;		 /* longest of the last `seen` frames */
	unsigned seen;
	struct vhost *vhost; /* NULL: frames are moved by virtio_net_data.c */
	bool vhosted;	     /* vhost was started: the kernel may serve the queues */
};

struct virtio_net {
	struct vdev v;
	struct dev_env *env;
	struct net_client client;
	struct netdev *nd; /* NULL: no netdev= */
	bool has_hdr;	   /* the back end passes on the virtio-net header */
	struct net_pair *pair;
	unsigned pairs;	 /* pairs that exist */
	unsigned active; /* pairs that the driver uses */
	struct net_filter filter;
	bool filter_quiet; /* a change was reported, and the filter was not queried since */
	bool link_up;

	/* options */
	char *netdev, *ebpf_fds;
	uint8_t mac[6];
	uint64_t host_mtu, rx_size, tx_size;
	int64_t speed;
	unsigned duplex;
	bool csum, guest_csum, ctrl_guest_offloads, guest_tso4, guest_tso6, guest_ecn, guest_ufo,
		guest_uso4, guest_uso6, host_tso4, host_tso6, host_ecn, host_ufo, host_uso,
		mrg_rxbuf, status, ctrl_vq, ctrl_rx, ctrl_vlan, ctrl_rx_extra, guest_announce, mq,
		ctrl_mac_addr;
	bool failover, rss, hash, rsc_ext;
};

/* --- virtio_net.c --- */
/* Have the back end deliver frames with the offloads of these GUEST_* feature bits. 0 or -errno. */
int net_apply_offloads(struct virtio_net *n, uint64_t features);
/* The driver has changed the filter: send NIC_RX_FILTER_CHANGED, unless it was sent and the filter
 * was not queried since. */
void net_filter_changed(struct virtio_net *n);

/* --- virtio_net_data.c --- */
int net_pair_init(struct net_pair *p, struct virtio_net *n, unsigned index, struct err *e);
void net_pair_fini(struct net_pair *p);
void net_rx(struct net_pair *p);
void net_tx(struct net_pair *p);
/* The receive queue stops: drop the parked frame and stop listening to the back end. */
void net_rx_stop(struct net_pair *p);

/* --- virtio_net_vhost.c --- */
/* Open vhost for all pairs if the netdev asks for it. Returns 0, also when vhost is not available
 * and not required (vhostforce=off); else -errno with `e`. */
int net_vhost_init(struct virtio_net *n, struct err *e);
void net_vhost_fini(struct virtio_net *n);
/* Have the kernel serve the first `pairs` pairs, none of them while the link is down. */
void net_vhost_update(struct virtio_net *n, unsigned pairs);

/* --- virtio_net_ctrl.c --- */
void net_ctrl(struct virtio_net *n, struct vqueue *vq);

#endif
