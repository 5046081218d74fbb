/* SPDX-License-Identifier: MIT */
/* frames.c - the frames of -netdev user between the rings and libslirp
 *
 * The guest's are handed to libslirp where they lie in the ring (it copies what it keeps). They
 * carry the vnet header: TCP segments may be as large as an IP packet, which libslirp takes as they
 * are, so one system call and one acknowledgement do for many; their checksums are finished here.
 * For the other way libslirp is told of a link with an MTU as large. What it then sends goes to the
 * guest as it is where the guest takes that, and is cut here where not; see segment.h. libslirp
 * pushes frames when it likes; with the ring half full no socket is watched any more (sockets.c):
 * libslirp's peers on the host are held up by their own flow control. What overflows the ring
 * (answers to the guest's own frames while it takes none) is dropped.
 */
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>

#include "net/user/offload.h"
#include "net/user/worker.h"

#define HDR_DATA_VALID 2     /* VIRTIO_NET_HDR_F_DATA_VALID */
#define SEGMENT	       32768 /* TCP_MAXSEG_MAX of libslirp */
#define TURN_FRAMES    64

/* --- to the guest --- */

/* The header and up to two pieces of the frame. */
static void frame_push(struct worker *w, const struct iovec iov[3])
{
	if (netring_put(&w->to_guest, iov, 3) < 0 && !w->frames_lost++)
		log_guest(&w->log, WORKER_MSG, "the guest takes no frames, some are lost");
}

static void piece_push(void *arg, const struct iovec iov[2])
{
	uint8_t hdr[NET_HDR_LEN] = {0};

	frame_push(arg, (struct iovec[]){{hdr, sizeof(hdr)}, iov[0], iov[1]});
}

/* More than the guest's link would carry. */
static void large_push(struct worker *w, const uint8_t *frame, size_t len)
{
	static const unsigned takes[NET_IPS] = {NET_RX_TSO4, NET_RX_TSO6};
	uint8_t hdr[NET_HDR_LEN] = {0}, head[NET_HEADERS_MAX];
	enum net_ip ip;
	size_t n = net_gso_head(frame, len, w->mss, hdr, head, &ip);
	struct iovec iov[] = {{hdr, sizeof(hdr)}, {head, n}, {(void *)(frame + n), len - n}};

	if (!(n && worker_mode(w) & takes[ip]) &&
	    (net_cut(frame, len, w->mss, piece_push, w) ||
	     net_fragment(frame, len, NET_LINK_MTU, piece_push, w)))
		return;
	frame_push(w, iov);
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct worker *w = opaque;
	uint8_t hdr[NET_HDR_LEN] = {worker_mode(w) & NET_RX_CSUM ? HDR_DATA_VALID : 0};

	if (len > ETHER_HDR_LEN + NET_LINK_MTU)
		large_push(w, buf, len);
	else
		frame_push(w, (struct iovec[]){{hdr, sizeof(hdr)}, {(void *)buf, len}, {NULL, 0}});
	return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
	struct worker *w = opaque;

	log_guest(&w->log, WORKER_MSG, "%s", msg);
}

/* --- from the guest --- */

/* With too many sockets open, only what cannot open one is let through: ARP, neighbour discovery,
 * and TCP segments of connections that exist. */
static bool is_harmless(const uint8_t *f, size_t len)
{
	unsigned type = len >= ETHER_HDR_LEN ? f[12] << 8 | f[13] : 0;
	unsigned proto;
	size_t at;

	if (type == ETHERTYPE_ARP)
		return true;
	if (type == ETHERTYPE_IP && len >= ETHER_HDR_LEN + 20) {
		at = ETHER_HDR_LEN + (f[ETHER_HDR_LEN] & 15) * 4U;
		proto = f[ETHER_HDR_LEN + 9];
	} else if (type == ETHERTYPE_IPV6 && len >= ETHER_HDR_LEN + 40) {
		at = ETHER_HDR_LEN + 40;
		proto = f[ETHER_HDR_LEN + 6];
	} else {
		return false;
	}
	if (proto == IPPROTO_TCP)
		return len >= at + 14 && !(f[at + 13] & 2); /* not SYN */
	return proto == IPPROTO_ICMPV6 && len > at && f[at] >= 133 && f[at] <= 137;
}

/* `buf`: header and frame, memory that is ours until the frame is dropped from the ring. */
static void frame_input(struct worker *w, uint8_t *buf, size_t len)
{
	uint8_t *frame = buf + NET_HDR_LEN;
	unsigned raise[NET_IPS];

	len -= NET_HDR_LEN;
	net_finish_checksum(buf, frame, len);
	raise[NET_IPV4] = worker_mode(w) & NET_RX_TSO4 ? SEGMENT : 0;
	raise[NET_IPV6] = worker_mode(w) & NET_RX_TSO6 ? SEGMENT : 0;
	net_note_mss(frame, len, raise, w->mss);
	if (w->open >= w->open_max && !is_harmless(frame, len))
		log_guest(&w->log, WORKER_MSG, "%u sockets are open, the guest gets no more",
			  w->open);
	else
		w->lib.input(w->slirp, frame, (int)len);
}

void frames_take(struct worker *w)
{
	const uint8_t *frame;
	ssize_t len = 0;

	alarm_enter(w);
	w->more = true;
	for (unsigned i = 0; i < TURN_FRAMES && w->more; i++) {
		len = netring_peek(&w->from_guest, &frame);
		if (len == -EPROTO) {
			log_err("the ring of the guest's frames makes no sense");
			loop_stop(w->loop);
			return;
		}
		if (len < 0) {
			w->more = len == -EAGAIN && !netring_sleep(&w->from_guest);
			continue;
		}
		frame_input(w, (uint8_t *)frame, (size_t)len);
		netring_drop(&w->from_guest);
		w->rss_frames++;
	}
}

void frames_init(SlirpCb *callbacks)
{
	callbacks->send_packet = send_packet;
	callbacks->guest_error = guest_error;
}
