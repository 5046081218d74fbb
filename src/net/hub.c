/* SPDX-License-Identifier: MIT */
/* hub.c - -netdev hubport: cables that meet in a hub
 *
 * A frame that enters a hub at one port leaves it at all others. At a port is a device of the
 * guest, or (netdev=) another back end. What leaves waits in a ring of that port, so one that does
 * not take its frames loses them while the others get theirs; only when no port has room, the
 * sender waits until one has. With its link down (QMP's set_link) a back end at a port loses what
 * it is given and what it receives. Frames carry no vnet header here: a back end with one gets an
 * empty header, and is not asked for anything but whole frames with their checksums.
 *
 * All ports of a hub are on one loop, that of the first device's queue; other back ends are served
 * there while a device is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/backend.h"
#include "net/fifo.h"

#define RING_SIZE (256 * 1024)
#define BURST	  64 /* frames of a back end in one turn */

struct hub {
	struct list link; /* netdevs_hubs() */
	uint64_t id;
	struct list ports;
	struct loop *loop; /* NULL: no device is served */
	unsigned devices;  /* how many are served */
	bool awaited;	   /* some port waits until another one has room */
};

struct port {
	struct netdev nd;
	struct hub *hub;
	struct list link;     /* hub.ports */
	struct fifo_ring out; /* frames that leave the hub here */
	struct netdev *lower; /* the back end at this port; NULL: for a device */
	struct net_client client;
	bool down;		 /* the back end's link */
	size_t hdr;		 /* bytes of the vnet header before its frames */
	bool waits;		 /* the back end's frames wait for room */
	struct loop_timer again; /* to look at them again */
	uint8_t *frame;		 /* one of them, behind its header */

	/* options */
	uint64_t hubid;
	char *netdev;
};

static const struct opt port_options[] = {
	{.name = "hubid",
	 .type = OPT_UINT,
	 .max = INT32_MAX,
	 .at = offsetof(struct port, hubid),
	 .required = true,
	 .help = "number of the hub"},
	{.name = "netdev",
	 .type = OPT_STRING,
	 .at = offsetof(struct port, netdev),
	 .help = "connect this netdev instead of a device"},
	OPT_END,
};

static struct netq *lower_queue(struct port *p)
{
	return netdev_queue(p->lower, 0);
}

/* --- who waits for room --- */

/* Does a device or a back end receive at this port? */
static bool is_connected(const struct port *p)
{
	return p->lower ? p->hub->loop != NULL : p->nd.client && p->nd.queue[0].loop;
}

/* Would hub_forward() find a port for any frame of `from`, or nobody whom it is for? */
static bool hub_has_room(const struct port *from)
{
	bool full = false;

	list_for_each (it, &from->hub->ports) {
		const struct port *p = list_entry(it, struct port, link);

		if (p == from || !is_connected(p))
			continue;
		if (fifo_ring_room(&p->out) >= NET_FRAME_MAX)
			return true;
		full = true;
	}
	return !full;
}

/* A ring was emptied a little, or a port came or went: tell those who wait. */
static void hub_wake(struct hub *h)
{
	if (!h->awaited)
		return;
	h->awaited = false;
	list_for_each (it, &h->ports) {
		struct port *p = list_entry(it, struct port, link);

		if (!p->waits && !p->nd.queue[0].blocked)
			continue;
		if (!hub_has_room(p)) {
			h->awaited = true;
			continue;
		}
		if (p->waits && h->loop)
			loop_timer_set(h->loop, &p->again, 0);
		p->waits = false;
		netq_room(&p->nd.queue[0]);
	}
}

/* --- frames --- */

/* Send the back end the frames that wait for it, as many as it takes. */
static void port_drain(struct port *p)
{
	uint8_t hdr[NET_HDR_LEN] = {0};
	struct iovec iov[2] = {{hdr, sizeof(hdr)}};
	const struct iovec *frame;

	while ((frame = fifo_ring_peek(&p->out))) {
		iov[1] = *frame;
		if (!p->down &&
		    netq_send(lower_queue(p), p->hdr ? iov : frame, p->hdr ? 2 : 1) == -EAGAIN)
			break;
		fifo_ring_drop(&p->out);
	}
	hub_wake(p->hub);
}

/* Pass on a frame that enters at `from`. -EAGAIN: no port has room for it. */
static int hub_forward(struct port *from, const struct iovec *iov, unsigned n)
{
	unsigned took = 0, full = 0;

	list_for_each (it, &from->hub->ports) {
		struct port *p = list_entry(it, struct port, link);
		bool first;

		if (p == from || !is_connected(p))
			continue;
		first = fifo_ring_empty(&p->out);
		if (!fifo_ring_put(&p->out, iov, n)) {
			full++;
			continue;
		}
		took++;
		if (p->lower)
			port_drain(p);
		else if (first)
			netq_ready(&p->nd.queue[0]);
	}
	return full && !took ? -EAGAIN : 0;
}

static ssize_t port_recv(struct netq *q, const struct iovec *iov, unsigned n)
{
	struct port *p = (struct port *)q->nd;
	ssize_t rc = fifo_ring_get(&p->out, iov, n);

	hub_wake(p->hub);
	return rc;
}

static bool port_pending(struct netq *q)
{
	return !fifo_ring_empty(&((struct port *)q->nd)->out);
}

static int port_send(struct netq *q, const struct iovec *iov, unsigned n)
{
	struct port *p = (struct port *)q->nd;
	int rc = iov_len(iov, n) > NET_FRAME_MAX ? -EMSGSIZE : hub_forward(p, iov, n);

	if (rc == -EAGAIN) {
		p->hub->awaited = true;
		netq_block(q, NETQ_TOLD);
	}
	return rc;
}

/* --- the back end at a port --- */

static void lower_readable(struct net_client *c, struct netq *q)
{
	struct port *p = container_of(c, struct port, client);

	for (unsigned i = 0; i < BURST; i++) {
		struct iovec iov = {p->frame, p->hdr + NET_FRAME_MAX};
		ssize_t len;

		if (!p->down && !hub_has_room(p)) {
			netq_listen(q, false);
			p->waits = p->hub->awaited = true;
			return;
		}
		len = netq_recv(q, &iov, 1);
		if (len < 0)
			return;
		iov = (struct iovec){p->frame + p->hdr, (size_t)len - p->hdr};
		if (len > (ssize_t)p->hdr && !p->down)
			hub_forward(p, &iov, 1);
	}
	/* A back end that keeps received frames itself reports them only once. */
	loop_timer_set(p->hub->loop, &p->again, 0);
}

static void lower_again(struct loop_timer *t)
{
	struct port *p = container_of(t, struct port, again);

	netq_listen(lower_queue(p), true);
	lower_readable(&p->client, lower_queue(p));
}

static void lower_writable(struct net_client *c, struct netq *q)
{
	port_drain(container_of(c, struct port, client));
}

/* The other ports are not told: a hub passes frames on, and no state of a link. */
static void lower_link(struct net_client *c, bool up)
{
	struct port *p = container_of(c, struct port, client);

	p->down = !up;
	if (p->down && p->hub->loop)
		port_drain(p);
}

static int lower_start(struct port *p)
{
	int rc = netq_start(lower_queue(p), p->hub->loop, p);

	if (!rc)
		netq_listen(lower_queue(p), true);
	return rc;
}

/* --- life --- */

static void port_stop(struct netq *q)
{
	struct port *gone = (struct port *)q->nd;
	struct hub *h = gone->hub;

	/* Frames that it has not taken would be old when the next device comes. */
	while (fifo_ring_peek(&gone->out))
		fifo_ring_drop(&gone->out);
	hub_wake(h);
	if (--h->devices)
		return;
	list_for_each (it, &h->ports) {
		struct port *p = list_entry(it, struct port, link);

		if (!p->lower)
			continue;
		netq_stop(lower_queue(p));
		loop_timer_del(&p->again);
		p->waits = false;
	}
	h->loop = NULL;
}

static int port_start(struct netq *q)
{
	struct port *p = (struct port *)q->nd;
	struct hub *h = p->hub;
	int rc = 0;

	if (p->lower || (h->loop && h->loop != q->loop)) {
		log_err("netdev %s: %s", p->nd.id,
			p->lower ? "it has a netdev= and so takes no device"
				 : "all devices of a hub must be on one loop");
		return -EXDEV;
	}
	if (h->devices++) {
		hub_wake(h);
		return 0;
	}
	h->loop = q->loop;
	list_for_each (it, &h->ports) {
		struct port *other = list_entry(it, struct port, link);

		if (other->lower && !rc)
			rc = lower_start(other);
	}
	if (rc < 0)
		port_stop(q);
	return rc;
}

static struct hub *find_hub(struct list *hubs, uint64_t id)
{
	struct hub *h;

	list_for_each (it, hubs) {
		h = list_entry(it, struct hub, link);
		if (h->id == id)
			return h;
	}
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->id = id;
	list_init(&h->ports);
	list_add_tail(hubs, &h->link);
	return h;
}

static int port_open(struct netdev *nd, struct kvs *k, struct err *e)
{
	struct port *p = (struct port *)nd;
	int rc = netdev_alloc_queues(nd, 1, e);

	list_init(&p->link);
	if (rc < 0)
		return rc;
	p->frame = malloc(NET_HDR_LEN + NET_FRAME_MAX);
	p->hub = find_hub(netdevs_hubs(nd->set), p->hubid);
	if (!p->frame || !p->hub || fifo_ring_init(&p->out, RING_SIZE) < 0)
		return err_nomem(e);
	list_add_tail(&p->hub->ports, &p->link);
	if (!p->netdev)
		return 0;
	p->again.fn = lower_again;
	p->client = (struct net_client){nd->id, lower_readable, lower_writable, lower_link};
	p->lower = netdev_attach(nd->set, p->netdev, &p->client, e);
	if (!p->lower)
		return -EINVAL;
	p->hdr = netdev_caps(p->lower) & NET_VNET_HDR ? NET_HDR_LEN : 0;
	rc = netdev_set_offloads(p->lower, 0);
	if (!rc)
		rc = netdev_set_pairs(p->lower, 1);
	return rc < 0 ? err_set(e, rc, "netdev '%s': %s", p->netdev, strerror(-rc)) : 0;
}

static void port_close(struct netdev *nd)
{
	struct port *p = (struct port *)nd;

	netdev_detach(p->lower);
	list_del(&p->link);
	if (p->hub && list_empty(&p->hub->ports)) {
		list_del(&p->hub->link);
		free(p->hub);
	}
	fifo_ring_free(&p->out);
	free(p->frame);
}

const struct net_class net_hubport = {
	.type = "hubport",
	.help = "a port of a hub, for a device or another netdev",
	.options = port_options,
	.size = sizeof(struct port),
	.open = port_open,
	.close = port_close,
	.start = port_start,
	.stop = port_stop,
	.recv = port_recv,
	.send = port_send,
	.pending = port_pending,
};
