/* SPDX-License-Identifier: MIT */
/* net.h - network back ends (-netdev) as a network device sees them
 *
 * A `struct netdev` is one -netdev: a tap, a datagram or a stream socket. It has one or more queue
 * pairs (`struct netq`); each moves whole Ethernet frames between a descriptor and the iovecs of
 * its caller, which are guest memory: nothing is copied in between where the kernel takes iovecs.
 * One device at a time may use a netdev.
 *
 * Header. A back end with NET_VNET_HDR puts the 12-byte virtio-net header (little endian;
 * `num_buffers` is left alone) before each frame in both directions; for one without, frames begin
 * with the Ethernet header.
 *
 * Back pressure. netq_recv() and netq_send() never block and never drop for want of room: they
 * return -EAGAIN, and the client hears of it when there is something to read (if it wants to) or
 * room to write. What no one wants to read stays with the kernel.
 *
 * Threads. netdev_*() on the control thread (the callbacks are called on the loops while they are
 * served); netq_*() on the loop given to netq_start(), or before that loop runs.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/loop.h"
#include "conf/kvs.h"
#include "conf/opts.h"

struct events;
struct netdev;
struct netdevs;
struct netq;

#define NET_HDR_LEN   12
#define NET_FRAME_MAX (65536 + 4096) /* no back end delivers or takes more, header not counted */
#define NET_BATCH     32	     /* frames sent in one go */
#define NET_PAIRS_MAX 256	     /* what Linux' tun takes */

/* What a back end can do. */
enum {
	NET_VNET_HDR =
		1 << 0,	  /* carries the virtio-net header: checksum and segmentation offloads */
	NET_UFO = 1 << 1, /* UDP fragmentation offload both ways */
	NET_USO = 1 << 2, /* UDP segmentation offload both ways */
};

/* Offloads that the receiver of frames (the guest) takes: netdev_set_offloads(). */
enum {
	NET_RX_CSUM = 1 << 0,
	NET_RX_TSO4 = 1 << 1,
	NET_RX_TSO6 = 1 << 2,
	NET_RX_ECN = 1 << 3,
	NET_RX_UFO = 1 << 4,
	NET_RX_USO4 = 1 << 5,
	NET_RX_USO6 = 1 << 6,
};

/* The device at the other end; embedded in its struct. */
struct net_client {
	const char *name; /* id of the device, for set_link and messages; may be NULL */
	/* Queue's loop: netq_recv() may succeed again (called while netq_listen() is on). */
	void (*readable)(struct net_client *c, struct netq *q);
	/* Queue's loop: netq_send() had returned -EAGAIN and may succeed now. */
	void (*writable)(struct net_client *c, struct netq *q);
	/* Exit loop: set_link was used on this device or its netdev, or the netdev's peer came or
	 * went. */
	void (*link)(struct net_client *c, bool up);
};

/* --- the set of all -netdev --- */

/* `exits` is the loop on which net_client.link is called. NULL: out of memory. */
struct netdevs *netdevs_new(struct loop *exits);
/* Closes all of them: runs down scripts, leaves bridges, removes socket files. No device may be
 * attached any more. */
void netdevs_free(struct netdevs *nds);
/* Open one from `type=...,id=...`. 0 or -errno with `e` (without the origin of `k`). */
int netdev_add(struct netdevs *nds, struct kvs *k, struct err *e);
/* Close one by id; -EBUSY while a device uses it. */
int netdev_del(struct netdevs *nds, const char *id, struct err *e);
/* The types that exist, for help: number `i` from 0 with its one line and its options; NULL at
 * the end. */
const char *netdev_type(unsigned i, const char **help, const struct opt **options);
/* The options that every type has, besides id=. */
extern const struct opt netdev_common_options[];
/* -object filter-dump: copy the frames of a netdev to a file, see dump.h. Its netdev is there, no
 * device uses it yet. 0 or -errno with `e`. */
extern const struct opt net_filter_options[];
int net_filter_add(struct netdevs *nds, struct kvs *k, struct err *e);
/* Bring the link of the device or netdev `name` up or down. -ENODEV with class
 * ERR_DEVICE_NOT_FOUND when there is none. */
int netdev_set_link(struct netdevs *nds, const char *name, bool up, struct err *e);
/* Reserve a MAC address: `mac` as given when it is not all zero, else the next free
 * 52:54:00:12:34:56+n. Give it back with _free(). */
void netdev_mac_alloc(struct netdevs *nds, uint8_t mac[6]);
void netdev_mac_free(struct netdevs *nds, const uint8_t mac[6]);

/* Post NETDEV_STREAM_CONNECTED and NETDEV_STREAM_DISCONNECTED there when a netdev with connections
 * gets a peer or loses it. Before netdev_add(). */
void netdevs_report_to(struct netdevs *nds, struct events *events);

/* --- one netdev, for its device --- */

/* Find netdev `id` and become its only user. NULL with `e` when it is unknown or in use. */
struct netdev *netdev_attach(struct netdevs *nds, const char *id, struct net_client *c,
			     struct err *e);
/* No callback comes after this. Harmless with NULL. */
void netdev_detach(struct netdev *nd);
unsigned netdev_caps(const struct netdev *nd);	/* NET_VNET_HDR, ... */
unsigned netdev_pairs(const struct netdev *nd); /* queue pairs, at least 1 */
struct netq *netdev_queue(struct netdev *nd, unsigned pair);
/* Exit loop: frames may be handed over with these offloads (NET_RX_*). 0 or -errno. */
int netdev_set_offloads(struct netdev *nd, unsigned rx);
/* Exit loop: spread received frames over the first `n` pairs only. 0 or -errno. */
int netdev_set_pairs(struct netdev *nd, unsigned n);

/* How the kernel's vhost-net is to be had; NULL: not at all. */
struct net_vhost {
	const char *fds; /* descriptors a:b:..., one per pair; NULL: open it */
	bool force;	 /* an error when it cannot be had */
};
const struct net_vhost *netdev_vhost(const struct netdev *nd);

/* --- one queue pair --- */

/* Serve `q` on `loop` from now on; the device's pointer for callbacks is `priv`. 0 or -errno. */
int netq_start(struct netq *q, struct loop *loop, void *priv);
void netq_stop(struct netq *q); /* harmless when it was not started */
void *netq_priv(const struct netq *q);
/* The descriptor that frames go through, for vhost. */
int netq_fd(const struct netq *q);
/* Does the client want readable()? Off after netq_start(). */
void netq_listen(struct netq *q, bool on);
/* Receive one frame into `iov`, whose room must be at least NET_FRAME_MAX (+ NET_HDR_LEN).
 * Returns its length, header included; -EAGAIN when there is none; another negative errno when
 * the back end is gone (then nothing comes until it is back). */
ssize_t netq_recv(struct netq *q, const struct iovec *iov, unsigned n);
/* Send one frame. 0 when it is on its way, -EAGAIN when there is no room (writable() will come),
 * another negative errno when this frame cannot be sent. */
int netq_send(struct netq *q, const struct iovec *iov, unsigned n);

/* A frame of a batch; without elements it is passed over. */
struct net_frame {
	const struct iovec *iov;
	unsigned n;
};
/* Send up to NET_BATCH frames in their order. How many of them are done with: on their way, or not
 * possible to send; fewer than `n` when there is no room for the next one (writable() will come).
 */
unsigned netq_send_batch(struct netq *q, const struct net_frame *f, unsigned n);

#endif
