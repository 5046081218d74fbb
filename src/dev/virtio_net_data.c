/* SPDX-License-Identifier: MIT */
/* virtio_net_data.c - the receive and transmit queues of virtio-net (Virtio 1.3 §5.1.6.2-4)
 *
 * Receive. net_rx() pops as many chains as the next frame is likely to need, and one readv() puts
 * header and frame directly into them. The iovec ends with a buffer of this process (`spill`), so
 * that a frame that is longer than expected is not truncated. Such a frame is parked in `spill` and
 * copied to the guest when there are enough chains for it. `num_buffers` is filled in, used chains
 * are pushed, and the remaining ones are returned to the ring before net_rx() ends: no chain is
 * held. While the guest has no buffers, the back end is not listened to: frames wait in its queue,
 * and the guest's next notification has them received. Under load the back end is not listened to
 * for a short time after each call (net_moderation.h), so that the next call finds several frames.
 *
 * Transmit. Headers are copied and checked; then the back end gets up to NET_BATCH frames at once,
 * from the guest's memory. When the back end is full, net_tx() ends and the chains that were not
 * sent are returned to the ring; net_writable() continues. A frame that cannot be sent is dropped,
 * as a network card does.
 *
 * A guest can change a frame while it is being filtered or sent, which harms only itself. The
 * header that is sent is the copy that was checked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"
#include "base/util.h"
#include "dev/virtio_net_int.h"

#define FRAMES_PER_TURN 64
#define LATE_NS		(100 * 1000000ULL) /* a parked frame is dropped after this time */
#define RX_IOV		256
#define RX_CHAINS	256
#define TX_IOV		1023
#define WANT_MIN	(NET_HDR_LEN + 1518)
#define WANT_WINDOW	256 /* frames after which `want` may shrink */
#define SPILL_SIZE	(NET_HDR_LEN + NET_FRAME_MAX)
#define ETH_HEADER	14

/* §5.1.6: struct virtio_net_hdr, little endian */
struct net_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
_Static_assert(sizeof(struct net_hdr) == NET_HDR_LEN, "the header has no padding");

#define HDR_NEEDS_CSUM 1
#define GSO_NONE       0
#define GSO_TCPV4      1
#define GSO_UDP	       3
#define GSO_TCPV6      4
#define GSO_UDP_L4     5
#define GSO_ECN	       0x80

/* --- receive --- */

/* Receive chains that were popped and hold no frame yet, oldest first. */
struct gather {
	struct vchain *chain[RX_CHAINS];
	unsigned first, n; /* chain[first .. n) */
	uint64_t room;
};

/* Pop chains until there is room for `want` bytes. Without mergeable buffers a frame must fit into
 * one chain, so at most one is popped. */
static void gather_take_chains(struct net_pair *p, struct gather *g, size_t want)
{
	bool mergeable = vdev_has(&p->n->v, NET_F_MRG_RXBUF);
	struct vchain *c;

	if (g->first == g->n || g->n == RX_CHAINS) {
		memmove(g->chain, g->chain + g->first, (g->n - g->first) * sizeof(struct vchain *));
		g->n -= g->first;
		g->first = 0;
	}
	while (g->room < want && g->n < RX_CHAINS && (mergeable || g->first == g->n) &&
	       (c = vq_pop(p->rx))) {
		if (!c->in_len) {
			vq_push(p->rx, c, 0);
			continue;
		}
		g->chain[g->n++] = c;
		g->room += c->in_len;
	}
}

/* Return the chains to the ring, newest first. The chains that were pushed meanwhile are older, so
 * these are still the last ones that were popped. */
static void give_back(struct net_pair *p, struct gather *g)
{
	while (g->n > g->first)
		vq_unpop(p->rx, g->chain[--g->n]);
}

/* Copy to offset `off` of the gathered chains; the caller has checked that there is room. */
static void gather_put(struct gather *g, uint64_t off, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	for (unsigned i = g->first; i < g->n && len; i++) {
		struct vchain *c = g->chain[i];
		size_t part;

		if (off >= c->in_len) {
			off -= c->in_len;
			continue;
		}
		part = MIN(len, c->in_len - off);
		vchain_put_at(c, off, from, part);
		from += part;
		len -= part;
		off = 0;
	}
}

/* The first `len` bytes of the gathered chains hold a header and a frame: fill in the header and
 * push the chains. */
static void rx_deliver(struct net_pair *p, struct gather *g, size_t len)
{
	const struct net_hdr none = {0};
	uint8_t le[2], flags = 0;
	uint64_t covered = 0;
	unsigned k = 0;

	while (covered < len && g->first + k < g->n)
		covered += g->chain[g->first + k++]->in_len;
	if (!p->n->has_hdr)
		gather_put(g, 0, &none, sizeof(none));
	else if (!vdev_has(&p->n->v, NET_F_GUEST_CSUM))
		gather_put(g, offsetof(struct net_hdr, flags), &flags, sizeof(flags));
	put_le16(le, k);
	gather_put(g, offsetof(struct net_hdr, num_buffers), le, sizeof(le));
	while (k--) {
		struct vchain *c = g->chain[g->first++];
		uint64_t part = MIN(c->in_len, len);

		g->room -= c->in_len;
		len -= part;
		vq_push(p->rx, c, part);
	}
}

/* Adapt `want` to the length of a frame: it grows at once, and shrinks after WANT_WINDOW frames. */
static void rx_learn_size(struct net_pair *p, size_t len)
{
	p->peak = MAX(p->peak, len);
	p->want = MAX(p->want, len);
	if (++p->seen == WANT_WINDOW) {
		p->want = MAX(p->peak, (size_t)WANT_MIN);
		p->peak = p->seen = 0;
	}
}

/* Read one frame into the gathered chains. Returns its length with the header, or 0 when the filter
 * drops it, or the error of netq_recv(). If the frame did not fit, it is in p->spill and p->parked
 * is set. */
static ssize_t rx_receive(struct net_pair *p, struct gather *g)
{
	struct virtio_net *n = p->n;
	const size_t hdr = n->has_hdr ? 0 : NET_HDR_LEN; /* room to leave for the header */
	struct iovec iov[RX_IOV + 1];
	uint8_t head[NET_FILTER_PEEK];
	unsigned used = 0;
	size_t room = 0, len;
	ssize_t rc;

	for (unsigned i = g->first; i < g->n && room < SPILL_SIZE; i++) {
		struct vchain *c = g->chain[i];
		uint64_t part = MIN(c->in_len, SPILL_SIZE - room);
		uint64_t skip = room < hdr ? MIN(hdr - room, part) : 0;
		int k = part > skip ? vchain_in(c, skip, part - skip, iov + used, RX_IOV - used)
				    : 0;

		if (k < 0)
			break;
		used += (unsigned)k;
		room += part;
	}
	rc = (ssize_t)MAX(room, hdr);
	iov[used] = (struct iovec){p->spill + rc, SPILL_SIZE - (size_t)rc};
	rc = netq_recv(p->q, iov, used + 1);
	if (rc < 0)
		return rc;
	len = hdr + (size_t)rc;
	rx_learn_size(p, len);
	if (!n->link_up || len < NET_HDR_LEN + ETH_HEADER ||
	    !net_filter_pass(&n->filter, head,
			     iov_to_buf(iov, used + 1, NET_HDR_LEN - hdr, head,
					MIN(sizeof(head), len - NET_HDR_LEN))))
		return 0;
	if (len > room) {
		/* Copy the part that is in the guest's buffers in front of the part in `spill`. */
		if (room > hdr)
			iov_to_buf(iov, used, 0, p->spill + hdr, room - hdr);
		memset(p->spill, 0, hdr);
		p->parked = len;
	}
	return (ssize_t)len;
}

/* Deliver the parked frame, or drop it if it can never be delivered. Returns false when it must
 * wait for more buffers. */
static bool rx_unpark(struct net_pair *p, struct gather *g)
{
	bool hopeless;

	gather_take_chains(p, g, p->parked);
	if (g->room >= p->parked) {
		gather_put(g, 0, p->spill, p->parked);
		rx_deliver(p, g, p->parked);
		p->parked = 0;
		return true;
	}
	/* More chains do not help if the frame must fit into one, or if RX_CHAINS are too few. */
	hopeless = g->n - g->first == RX_CHAINS ||
		   (g->n > g->first && !vdev_has(&p->n->v, NET_F_MRG_RXBUF));
	if (hopeless)
		p->parked = 0;
	return hopeless;
}

/* The back end has no frame after these `frames` frames. Returns true to listen to it at once;
 * false if that is done at the end of a pause, whose timer runs. */
static bool listen_now(struct net_pair *p, unsigned frames)
{
	uint64_t ns;

	/* A notification of the guest does not end a pause. */
	if (p->paused && !frames)
		return false;
	ns = net_moderation_pause(&p->moderation, loop_now(vq_loop(p->rx)), frames);
	p->paused = ns;
	if (ns)
		loop_timer_set(vq_loop(p->rx), &p->pause, ns);
	return !ns;
}

static void pause_over(struct loop_timer *t)
{
	struct net_pair *p = container_of(t, struct net_pair, pause);

	p->paused = false;
	vq_kick(p->rx);
}

void net_rx(struct net_pair *p)
{
	struct gather g;
	bool listen = false;

	if (!p->q || !vq_ready(p->rx))
		return;
	g.first = g.n = 0;
	g.room = 0;
	for (unsigned i = 0; i < FRAMES_PER_TURN; i++) {
		ssize_t len;

		if (p->parked && !rx_unpark(p, &g)) {
			loop_timer_set(vq_loop(p->rx), &p->late, LATE_NS);
			goto out;
		}
		loop_timer_del(&p->late);
		gather_take_chains(p, &g, p->want);
		if (g.first == g.n)
			goto out;
		len = rx_receive(p, &g);
		if (len < 0) {
			listen = len == -EAGAIN && listen_now(p, i);
			goto out;
		}
		if (len && !p->parked)
			rx_deliver(p, &g, (size_t)len);
	}
	listen = true;
	vq_kick(p->rx);
out:
	give_back(p, &g);
	netq_listen(p->q, listen);
}

/* The guest had time to add buffers for the parked frame and did not: drop the frame. */
static void rx_run_timer(struct loop_timer *t)
{
	struct net_pair *p = container_of(t, struct net_pair, late);

	p->parked = 0;
	vq_kick(p->rx);
}

void net_rx_stop(struct net_pair *p)
{
	p->parked = 0;
	p->paused = false;
	loop_timer_del(&p->late);
	loop_timer_del(&p->pause);
	p->want = WANT_MIN;
	p->peak = p->seen = 0;
	if (p->q)
		netq_listen(p->q, false);
}

/* --- transmit --- */

/* Check the driver's header for a frame of `len` bytes, and clear the fields that have no meaning
 * in it. Returns false when it is invalid. */
static bool header_ok(const struct virtio_net *n, struct net_hdr *h, uint64_t len)
{
	static const struct {
		uint8_t type;
		uint64_t feature;
	} gso[] = {
		{GSO_TCPV4, NET_F_HOST_TSO4},
		{GSO_TCPV6, NET_F_HOST_TSO6},
		{GSO_UDP, NET_F_HOST_UFO},
		{GSO_UDP_L4, NET_F_HOST_USO},
	};
	uint8_t type = h->gso_type & (uint8_t)~GSO_ECN;

	h->flags &= HDR_NEEDS_CSUM;
	h->num_buffers = 0;
	if (h->flags && (!vdev_has(&n->v, NET_F_CSUM) ||
			 (uint64_t)le16toh(h->csum_start) + le16toh(h->csum_offset) + 2 > len))
		return false;
	if (h->gso_type == GSO_NONE) {
		h->gso_size = h->hdr_len = 0;
		return true;
	}
	if (!h->gso_size || le16toh(h->hdr_len) > len)
		return false;
	if (h->gso_type & GSO_ECN &&
	    (!vdev_has(&n->v, NET_F_HOST_ECN) || (type != GSO_TCPV4 && type != GSO_TCPV6)))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(gso); i++)
		if (type == gso[i].type)
			return vdev_has(&n->v, gso[i].feature);
	return false;
}

/* Frames to be sent with one call, in the order of their chains. */
struct outgoing {
	struct vchain *chain[NET_BATCH];
	struct net_frame frame[NET_BATCH]; /* empty: the chain has no valid frame */
	struct net_hdr hdr[NET_BATCH];
	struct iovec iov[TX_IOV];
	unsigned n, used; /* chains, elements of `iov` */
};

/* Send all frames, and publish the used chains at once, so that the driver can refill them while
 * the next batch is being sent. Returns false when the back end had no room for some; their chains
 * were returned to the ring. */
static bool send_all(struct net_pair *p, struct outgoing *o)
{
	unsigned sent = p->q ? netq_send_batch(p->q, o->frame, o->n) : o->n;
	bool all = sent == o->n;

	for (unsigned i = 0; i < sent; i++)
		vq_push(p->tx, o->chain[i], 0);
	while (o->n > sent)
		vq_unpop(p->tx, o->chain[--o->n]);
	o->n = o->used = 0;
	vq_publish(p->tx);
	return all;
}

/* Pull the header of a chain. Returns the length of the frame without it, or 0 when the frame is to
 * be dropped. */
static uint64_t outgoing_length(struct net_pair *p, struct vchain *c, struct net_hdr *h)
{
	struct virtio_net *n = p->n;
	uint64_t len;

	if (!p->q || !n->link_up || !vchain_pull(c, h, sizeof(*h)))
		return 0;
	len = c->out_len - sizeof(*h);
	if (len < ETH_HEADER || len > NET_FRAME_MAX)
		return 0;
	if (header_ok(n, h, len))
		return len;
	log_guest(&n->v.fn.rate, vdev_name(&n->v), "a frame with an impossible header was dropped");
	return 0;
}

/* Append a chain; `len` 0: its frame is dropped. Returns false when its segments do not fit into
 * this batch. */
static bool tx_append(struct net_pair *p, struct outgoing *o, struct vchain *c, uint64_t len)
{
	struct iovec *iov = &o->iov[o->used];
	int k = 0;

	if (len) {
		k = TX_IOV - o->used > 1 ? vchain_out(c, 0, len, iov + 1, TX_IOV - o->used - 1)
					 : -E2BIG;
		if (k < 0 && o->n)
			return false;
	}
	if (k > 0 && p->n->has_hdr) {
		iov[0] = (struct iovec){&o->hdr[o->n], sizeof(o->hdr[0])};
		o->frame[o->n] = (struct net_frame){iov, (unsigned)k + 1};
	} else {
		o->frame[o->n] = (struct net_frame){iov + 1, k > 0 ? (unsigned)k : 0};
	}
	o->used += k > 0 ? (unsigned)k + 1 : 0;
	o->chain[o->n++] = c;
	return true;
}

void net_tx(struct net_pair *p)
{
	struct outgoing o;
	struct vchain *c;

	o.n = o.used = 0;
	while ((c = vq_pop(p->tx))) {
		uint64_t len = outgoing_length(p, c, &o.hdr[o.n]);

		if (!tx_append(p, &o, c, len)) {
			/* It is popped again as the first chain of the next batch. */
			vq_unpop(p->tx, c);
			if (!send_all(p, &o))
				return;
		}
		if (o.n == NET_BATCH && !send_all(p, &o))
			return;
	}
	if (o.n)
		send_all(p, &o);
}

/* --- set-up --- */

int net_pair_init(struct net_pair *p, struct virtio_net *n, unsigned index, struct err *e)
{
	p->n = n;
	p->index = index;
	p->late.fn = rx_run_timer;
	p->pause.fn = pause_over;
	p->want = WANT_MIN;
	p->q = n->nd ? netdev_queue(n->nd, index) : NULL;
	p->spill = malloc(SPILL_SIZE);
	p->rx = vdev_queue_add(&n->v, n->rx_size, NULL);
	p->tx = p->rx ? vdev_queue_add(&n->v, n->tx_size, NULL) : NULL;
	if (!p->tx || !p->spill)
		return err_nomem(e);
	return 0;
}

void net_pair_fini(struct net_pair *p)
{
	loop_timer_del(&p->late);
	loop_timer_del(&p->pause);
	free(p->spill);
}
