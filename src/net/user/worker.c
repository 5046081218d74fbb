/* SPDX-License-Identifier: MIT */
/* user.c - -netdev user: a network of the guest's own, behind sockets of this process
 *
 * libslirp is the other end of the cable: a gateway with DHCP, DNS and TFTP servers whose TCP, UDP
 * and ping traffic becomes ordinary sockets, without rights on the host. It is not made for
 * threads, so all of one network lives on the loop of its one queue (the exit loop unless the
 * device is given another one).
 *
 * Frames. The guest's are copied into one piece of our own before libslirp parses them, so that a
 * guest cannot change one under it. They carry the vnet header: TCP segments may be as large as an
 * IP packet, which libslirp takes as they are, so one system call and one acknowledgement do for
 * many; their checksums are finished here. For the other way libslirp is told of a link with an MTU
 * as large. What it then sends goes to the guest as it is where the guest takes that, and is cut
 * here where not; see segment.h. libslirp pushes frames when it likes; they wait in a ring until
 * the guest has buffers. With the ring half full no socket is watched any more: libslirp's
 * peers on the host are held up by their own flow control. What overflows the ring
 * (answers to the guest's own frames while it takes none) is dropped and counted. The datagrams of
 * a batch of frames leave in runs; see slirp_udp.h.
 *
 * Sockets stay registered with the loop; see sockets.c. A guest that opens connections without
 * end is stopped at a limit well below that of descriptors.
 */
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "net/user/offload.h"
#include "net/user/worker.h"

#define HDR_DATA_VALID 2     /* VIRTIO_NET_HDR_F_DATA_VALID */
#define SEGMENT	       32768 /* TCP_MAXSEG_MAX of libslirp */
#define SOCKETS_MAX    4096

static struct netq *queue(struct user *u)
{
	return &u->nd.queue[0];
}

/* The header and up to two pieces of the frame. */
static void push(struct user *u, const struct iovec iov[3])
{
	bool first = fifo_ring_empty(&u->in);

	if (!fifo_ring_put(&u->in, iov, 3)) {
		if (!u->frames_lost++)
			log_guest(&u->log, u->nd.id, "the guest takes no frames, some are lost");
	} else if (first) {
		netq_ready(queue(u));
	}
}

static void push_piece(void *arg, const struct iovec iov[2])
{
	uint8_t hdr[NET_HDR_LEN] = {0};

	push(arg, (struct iovec[]){{hdr, sizeof(hdr)}, iov[0], iov[1]});
}

/* More than the guest's link would carry. */
static void send_large(struct user *u, const uint8_t *frame, size_t len)
{
	static const unsigned takes[NET_IPS] = {NET_RX_TSO4, NET_RX_TSO6};
	uint8_t hdr[NET_HDR_LEN] = {0}, head[NET_HEADERS_MAX];
	enum net_ip ip;
	size_t n = net_gso_head(frame, len, u->mss, hdr, head, &ip);
	struct iovec iov[] = {{hdr, sizeof(hdr)}, {head, n}, {(void *)(frame + n), len - n}};

	if (!(n && atomic_load(&u->rx) & takes[ip]) &&
	    (net_cut(frame, len, u->mss, push_piece, u) ||
	     net_fragment(frame, len, NET_LINK_MTU, push_piece, u)))
		return;
	push(u, iov);
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct user *u = opaque;
	uint8_t hdr[NET_HDR_LEN] = {atomic_load(&u->rx) & NET_RX_CSUM ? HDR_DATA_VALID : 0};

	if (len > ETHER_HDR_LEN + NET_LINK_MTU)
		send_large(u, buf, len);
	else
		push(u, (struct iovec[]){{hdr, sizeof(hdr)}, {(void *)buf, len}, {NULL, 0}});
	return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
	struct user *u = opaque;

	log_guest(&u->log, u->nd.id, "%s", msg);
}

/* --- frames --- */

static ssize_t user_recv(struct netq *q, const struct iovec *iov, unsigned n)
{
	struct user *u = (struct user *)q->nd;
	ssize_t len = fifo_ring_get(&u->in, iov, n);

	if (fifo_ring_empty(&u->in))
		u->frames_lost = 0;
	if (u->choked && u->in.used <= USER_RING_LOW)
		user_loop_soon(u);
	return len;
}

static bool user_pending(struct netq *q)
{
	return !fifo_ring_empty(&((struct user *)q->nd)->in);
}

/* The protocol of the IP packet in a frame, and where that begins; -1 for no IP. */
static int proto_of(const uint8_t *f, size_t len, size_t *at)
{
	unsigned type = len >= ETHER_HDR_LEN ? f[12] << 8 | f[13] : 0;

	if (type == ETHERTYPE_IP && len >= ETHER_HDR_LEN + 20) {
		*at = ETHER_HDR_LEN + (f[ETHER_HDR_LEN] & 15) * 4U;
		return f[ETHER_HDR_LEN + 9];
	}
	if (type == ETHERTYPE_IPV6 && len >= ETHER_HDR_LEN + 40) {
		*at = ETHER_HDR_LEN + 40;
		return f[ETHER_HDR_LEN + 6];
	}
	return -1;
}

/* With too many sockets open, only what cannot open one is let through: ARP, neighbour discovery,
 * and TCP segments of connections that exist. */
static bool is_harmless(const uint8_t *f, size_t len)
{
	size_t at;

	switch (proto_of(f, len, &at)) {
	case IPPROTO_TCP:
		return len >= at + 14 && !(f[at + 13] & 2); /* not SYN */
	case IPPROTO_ICMPV6:
		return len > at && f[at] >= 133 && f[at] <= 137;
	default:
		return len >= ETHER_HDR_LEN && (f[12] << 8 | f[13]) == ETHERTYPE_ARP;
	}
}

/* One frame of the guest's; `udp`: where its datagram may wait, NULL for nowhere. */
static int input(struct user *u, const struct iovec *iov, unsigned n, struct slirp_udp *udp)
{
	uint8_t *at = u->out, *frame = at + NET_HDR_LEN;
	size_t len = iov_len(iov, n), l4;
	unsigned raise[NET_IPS];
	int proto;

	if (len < NET_HDR_LEN || len > NET_HDR_LEN + NET_FRAME_MAX)
		return -EMSGSIZE;
	for (unsigned i = 0; i < n; at += iov[i++].iov_len)
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
	len -= NET_HDR_LEN;
	net_finish_checksum(u->out, frame, len);
	raise[NET_IPV4] = atomic_load(&u->rx) & NET_RX_TSO4 ? SEGMENT : 0;
	raise[NET_IPV6] = atomic_load(&u->rx) & NET_RX_TSO6 ? SEGMENT : 0;
	net_note_mss(frame, len, raise, u->mss);
	if (u->open >= u->open_max && !is_harmless(frame, len)) {
		log_guest(&u->log, u->nd.id, "the guest has %u sockets open, no more are opened",
			  u->open);
		return 0;
	}
	proto = proto_of(frame, len, &l4);
	if (proto >= 0 && frame[12] == ETHERTYPE_IP >> 8 && is_piece(frame + ETHER_HDR_LEN) &&
	    !pieces_take(&u->pieces, frame + ETHER_HDR_LEN, len - ETHER_HDR_LEN, now_ns())) {
		log_guest(&u->log, u->nd.id,
			  "the guest sends too many IP fragments, some are lost");
		return 0;
	}
	if (udp && proto == IPPROTO_UDP)
		slirp_udp_gather(udp);
	u->lib.input(u->slirp, frame, (int)len);
	slirp_udp_gather(NULL);
	user_loop_soon(u);
	return 0;
}

static int user_send(struct netq *q, const struct iovec *iov, unsigned n)
{
	return input((struct user *)q->nd, iov, n, NULL);
}

static int user_send_batch(struct netq *q, const struct net_frame *f, unsigned n)
{
	struct user *u = (struct user *)q->nd;

	for (unsigned i = 0; i < n; i++)
		if (f[i].n)
			input(u, f[i].iov, f[i].n, &u->udp);
	slirp_udp_end(&u->udp);
	return (int)n;
}

static int user_set_offloads(struct netdev *nd, unsigned rx)
{
	struct user *u = (struct user *)nd;

	/* What waits may be of a kind that is not wanted any more. */
	if (atomic_exchange(&u->rx, rx) & ~rx) {
		while (fifo_ring_peek(&u->in))
			fifo_ring_drop(&u->in);
		user_loop_soon(u);
	}
	return 0;
}

/* --- life --- */

static int user_open(struct netdev *nd, struct kvs *k, struct err *e)
{
	struct user *u = (struct user *)nd;
	SlirpConfig cfg = {0};
	struct rlimit files;
	int rc;

	slirp_udp_init(&u->udp);
	u->callbacks.send_packet = send_packet;
	u->callbacks.guest_error = guest_error;
	user_loop_init(u, &u->callbacks);
	u->open_max = SOCKETS_MAX;
	u->mss[NET_IPV4] = NET_MSS4_DEFAULT;
	u->mss[NET_IPV6] = NET_MSS6_DEFAULT;
	if (!getrlimit(RLIMIT_NOFILE, &files) && files.rlim_cur / 4 < SOCKETS_MAX)
		u->open_max = (unsigned)(files.rlim_cur / 4);
	rc = netdev_alloc_queues(nd, 1, e);
	nd->caps = NET_VNET_HDR;
	u->out = malloc(NET_HDR_LEN + NET_FRAME_MAX);
	if (!rc && (!u->out || fifo_ring_init(&u->in, USER_RING) < 0))
		rc = err_set(e, -ENOMEM, "%s", strerror(ENOMEM));
	if (!rc)
		rc = user_config(u, k, &cfg, e);
	if (!rc)
		rc = slirp_lib_load(&u->lib, e);
	if (!rc) {
		u->slirp = u->lib.new(&cfg, &u->callbacks, u);
		if (!u->slirp)
			rc = err_set(e, -EINVAL, "libslirp does not take these options");
	}
	free(cfg.vdnssearch);
	return rc < 0 ? rc : user_forwards(u, k, e);
}

static void user_close(struct netdev *nd)
{
	struct user *u = (struct user *)nd;

	if (u->slirp)
		u->lib.cleanup(u->slirp);
	user_loop_free(u);
	fifo_ring_free(&u->in);
	free(u->out);
}

static int user_start(struct netq *q)
{
	user_loop_start((struct user *)q->nd);
	return 0;
}

static void user_stop(struct netq *q)
{
	user_loop_stop((struct user *)q->nd);
}

const struct net_class net_user = {
	.type = "user",
	.help = "a network of its own behind sockets of this process (libslirp)",
	.options = user_options,
	.size = sizeof(struct user),
	.lists = true,
	.open = user_open,
	.close = user_close,
	.start = user_start,
	.stop = user_stop,
	.recv = user_recv,
	.send = user_send,
	.send_batch = user_send_batch,
	.pending = user_pending,
	.set_offloads = user_set_offloads,
};
