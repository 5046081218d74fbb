/* SPDX-License-Identifier: MIT */
/* netdev.c - the set of -netdev back ends, and what all of them share
 *
 * This file owns the list of netdevs, the MAC addresses that were assigned, and for each queue the
 * watch on its descriptor (types.c makes netdevs from options). The watch exists only while the
 * client listens or waits for room: epoll reports a descriptor in an error state whatever events
 * are asked for, so the loop would spin on a watch that nobody needs. A descriptor that fails for
 * good is not watched again. While the client does not listen, a back end with connections is told
 * once that its peer has left.
 */
#include "net/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/backend.h"
#include "net/dump.h"

#define MOMENT_NS 1000000 /* NETQ_MOMENT */
#define PEER_LEFT (EPOLLRDHUP | EPOLLHUP | EPOLLERR)

struct netdevs {
	struct loop *exits;
	struct list all;
	struct list hubs;      /* hub.c's */
	struct events *events; /* NULL: nobody wants to know */
	uint64_t macs[4];      /* bit n: 52:54:00:12:34:n is taken */
};

/* --- queues --- */

static void netq_handle_event(struct loop_fd *w, uint32_t events);

/* Watch the descriptor for the events that the client and the back end need now. */
static void netq_update_watch(struct netq *q)
{
	uint32_t want = 0;
	int rc = 0;

	if (q->loop && q->fd >= 0 && q->enabled && !q->dead)
		want = (q->listen			    ? EPOLLIN
			: q->nd->class->hang_up && !q->hung ? EPOLLRDHUP
							    : 0) |
		       (q->blocked && !q->unpolled ? EPOLLOUT : 0);
	if (want == q->events)
		return;
	if (!want)
		loop_fd_del(q->loop, &q->watch);
	else if (q->events)
		rc = loop_fd_mod(q->loop, &q->watch, want);
	else
		rc = loop_fd_add(q->loop, &q->watch, q->fd, want, netq_handle_event);
	q->events = rc < 0 ? 0 : want;
	if (rc < 0)
		log_err("netdev %s: cannot wait for its descriptor: %s", q->nd->id, strerror(-rc));
}

void netq_room(struct netq *q)
{
	const struct net_class *class = q->nd->class;

	if (!q->blocked || (class->flush && !class->flush(q)))
		return;
	q->blocked = q->unpolled = false;
	netq_update_watch(q);
	if (q->nd->client)
		q->nd->client->writable(q->nd->client, q);
}

static void netq_handle_event(struct loop_fd *w, uint32_t events)
{
	struct netq *q = container_of(w, struct netq, watch);

	if (q->blocked && (events & ~(EPOLLIN | EPOLLRDHUP)))
		netq_room(q);
	/* netq_room() may have changed what is wanted, or have lost the descriptor. */
	if (q->listen && (q->events & EPOLLIN)) {
		if ((events & ~EPOLLOUT) && q->nd->client)
			q->nd->client->readable(q->nd->client, q);
	} else if ((q->events & EPOLLRDHUP) && (events & PEER_LEFT)) {
		q->hung = true;
		netq_update_watch(q);
		q->nd->class->hang_up(q);
	}
}

static void netq_retry_due(struct loop_timer *t)
{
	netq_room(container_of(t, struct netq, retry));
}

static void netq_ready_due(struct loop_timer *t)
{
	struct netq *q = container_of(t, struct netq, ready);

	if (!q->listen || !q->enabled || q->dead || !q->nd->class->pending(q))
		return;
	if (q->nd->client)
		q->nd->client->readable(q->nd->client, q);
}

void netq_ready(struct netq *q)
{
	if (q->listen)
		loop_timer_set(q->loop, &q->ready, 0);
}

int netdev_alloc_queues(struct netdev *nd, unsigned n, struct err *e)
{
	nd->queue = calloc(n, sizeof(*nd->queue));
	if (!nd->queue)
		return err_nomem(e);
	nd->pairs = n;
	for (unsigned i = 0; i < n; i++) {
		nd->queue[i].nd = nd;
		nd->queue[i].index = i;
		nd->queue[i].fd = -1;
		nd->queue[i].enabled = true;
	}
	return 0;
}

void netq_set_fd(struct netq *q, int fd)
{
	if (q->events)
		loop_fd_del(q->loop, &q->watch);
	q->events = 0;
	q->hung = false;
	q->fd = fd;
	netq_update_watch(q);
	/* A client that waits for room must try again, as without a descriptor no event will
	 * come. */
	if (fd < 0 && q->blocked)
		loop_timer_set(q->loop, &q->retry, 0);
}

void netq_block(struct netq *q, enum netq_room who)
{
	q->blocked = true;
	q->unpolled = who != NETQ_POLL;
	if (who == NETQ_MOMENT)
		loop_timer_set(q->loop, &q->retry, MOMENT_NS);
	netq_update_watch(q);
}

int netq_start(struct netq *q, struct loop *loop, void *priv)
{
	int rc = 0;

	q->loop = loop;
	q->priv = priv;
	q->listen = q->blocked = q->unpolled = q->hung = q->dead = false;
	q->events = 0;
	q->retry.fn = netq_retry_due;
	q->ready.fn = netq_ready_due;
	if (q->nd->class->start)
		rc = q->nd->class->start(q);
	if (rc < 0)
		q->loop = NULL;
	netq_update_watch(q);
	return rc;
}

void netq_stop(struct netq *q)
{
	if (!q->loop)
		return;
	q->listen = q->blocked = q->unpolled = false;
	if (q->events)
		loop_fd_del(q->loop, &q->watch);
	q->events = 0;
	loop_timer_del(&q->retry);
	loop_timer_del(&q->ready);
	dumps_flush(&q->nd->dumps, q->index);
	if (q->nd->class->stop)
		q->nd->class->stop(q);
	q->loop = NULL;
}

void *netq_priv(const struct netq *q)
{
	return q->priv;
}

int netq_fd(const struct netq *q)
{
	return q->fd;
}

void netq_listen(struct netq *q, bool on)
{
	if (q->listen == on)
		return;
	q->listen = on;
	netq_update_watch(q);
	if (on && q->nd->class->pending && q->nd->class->pending(q))
		netq_ready(q);
}

ssize_t netq_recv(struct netq *q, const struct iovec *iov, unsigned n)
{
	ssize_t rc;

	if (q->dead || !q->enabled)
		return -EAGAIN;
	rc = q->nd->class->recv(q, iov, n);
	if (rc < 0 && rc != -EAGAIN) {
		log_err("netdev %s: receiving has failed for good: %s", q->nd->id, strerror(-rc));
		q->dead = true;
		netq_update_watch(q);
	}
	if (rc > 0 && !list_empty(&q->nd->dumps))
		dumps_frame(&q->nd->dumps, q, DUMP_TX, iov, n, (size_t)rc);
	return rc;
}

/* Tells whether the rate limit forbids a frame at `now`. Then the queue is blocked until the timer
 * runs out. */
static bool netq_must_wait(struct netq *q, uint64_t now)
{
	uint64_t ns = pace_wait(&q->nd->pace, now);

	if (!ns)
		return false;
	q->blocked = q->unpolled = true;
	loop_timer_set(q->loop, &q->retry, ns);
	netq_update_watch(q);
	return true;
}

int netq_send(struct netq *q, const struct iovec *iov, unsigned n)
{
	struct netdev *nd = q->nd;
	uint64_t now = nd->pace.rate ? now_ns() : 0;
	int rc;

	if (q->dead || !q->enabled)
		return -ENETDOWN;
	if (q->blocked || (nd->pace.rate && netq_must_wait(q, now)))
		return -EAGAIN;
	rc = nd->class->send(q, iov, n);
	if (rc == -EAGAIN && !q->blocked)
		netq_block(q, NETQ_POLL);
	if (!rc && nd->pace.rate)
		pace_spend(&nd->pace, now, iov_len(iov, n));
	if (!rc && !list_empty(&nd->dumps))
		dumps_frame(&nd->dumps, q, DUMP_RX, iov, n, iov_len(iov, n));
	return rc;
}

unsigned netq_send_batch(struct netq *q, const struct net_frame *f, unsigned n)
{
	const struct net_class *class = q->nd->class;
	/* A rate limit and a dump need to see each frame, so the frames are sent one by one. */
	bool plain = !q->nd->pace.rate && list_empty(&q->nd->dumps);

	if (n > 1 && plain && class->send_batch && !q->dead && q->enabled && !q->blocked) {
		int sent = class->send_batch(q, f, n);

		if (sent >= 0 && (unsigned)sent < n && !q->blocked)
			netq_block(q, NETQ_POLL);
		if (sent >= 0)
			return (unsigned)sent;
	}
	for (unsigned i = 0; i < n; i++)
		if (f[i].n && netq_send(q, f[i].iov, f[i].n) == -EAGAIN)
			return i;
	return n;
}

/* --- the set --- */

struct netdevs *netdevs_new(struct loop *exits)
{
	struct netdevs *nds = calloc(1, sizeof(*nds));

	if (nds) {
		nds->exits = exits;
		list_init(&nds->all);
		list_init(&nds->hubs);
	}
	return nds;
}

/* The call only waits until the tasks that were posted before it have run. */
static void report_wait(void *arg)
{
}

void netdev_free(struct netdev *nd)
{
	/* The analyzer does not see that the one before is off its list.
	 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	const struct opt *tables[] = {nd->class->options, NULL};

	/* A posted link report refers to `nd`: let the exit loop run it first. */
	if (atomic_load(&nd->report.queued))
		loop_call(nd->set->exits, report_wait, NULL);
	if (nd->opened)
		nd->class->close(nd);
	dumps_free(&nd->dumps);
	list_del(&nd->link);
	opts_release(tables, nd);
	free(nd->queue);
	free(nd->id);
	free(nd);
}

void netdevs_free(struct netdevs *nds)
{
	if (!nds)
		return;
	/* The newest first: a hub's port uses a netdev that was created before it. */
	while (!list_empty(&nds->all))
		netdev_free(list_entry(nds->all.prev, struct netdev, link));
	free(nds);
}

struct list *netdevs_hubs(struct netdevs *nds)
{
	return &nds->hubs;
}

struct netdev *netdevs_find(struct netdevs *nds, const char *id)
{
	list_for_each (it, &nds->all) {
		struct netdev *nd = list_entry(it, struct netdev, link);

		if (!strcmp(nd->id, id))
			return nd;
	}
	return NULL;
}

static int netdev_not_found(const char *name, struct err *e)
{
	err_set(e, -ENODEV, "Device '%s' not found", name);
	if (e)
		e->class = ERR_DEVICE_NOT_FOUND;
	return -ENODEV;
}

void netdevs_insert(struct netdevs *nds, struct netdev *nd)
{
	list_add_tail(&nds->all, &nd->link);
}

int netdev_del(struct netdevs *nds, const char *id, struct err *e)
{
	struct netdev *nd = netdevs_find(nds, id);

	if (!nd)
		return netdev_not_found(id, e);
	if (nd->client)
		return err_set(e, -EBUSY, "Netdev '%s' is in use by device '%s'", id,
			       nd->client->name ? nd->client->name : "");
	netdev_free(nd);
	return 0;
}

/* --- link state --- */

struct link_change {
	struct netdev *nd;
	bool up;
};

/* Tells whether the guest is to see a link: `set_link` and the carrier must both be on. */
static bool netdev_is_up(const struct netdev *nd)
{
	return nd->link_up && atomic_load(&((struct netdev *)nd)->carrier);
}

static void netdev_tell_client(struct netdev *nd)
{
	if (nd->client)
		nd->client->link(nd->client, netdev_is_up(nd));
}

/* Run on the exit loop, where the client's link() is called. */
static void netdev_change_link(void *arg)
{
	struct link_change *c = arg;

	c->nd->link_up = c->up;
	netdev_tell_client(c->nd);
}

void netdev_report_link(struct loop_task *t)
{
	netdev_tell_client(container_of(t, struct netdev, report));
}

void netq_set_carrier(struct netq *q, bool up)
{
	struct netdev *nd = q->nd;

	if (atomic_exchange(&nd->carrier, up) == up)
		return;
	if (!q->loop || q->loop == nd->set->exits)
		netdev_tell_client(nd);
	else
		loop_post(nd->set->exits, &nd->report);
}

void netq_connected(struct netq *q, const struct sockaddr *peer, socklen_t len)
{
	struct netdevs *nds = q->nd->set;

	netq_set_carrier(q, peer);
	netdev_report_peer(nds->events, q->nd->id, peer, len);
}

int netdev_set_link(struct netdevs *nds, const char *name, bool up, struct err *e)
{
	struct link_change change = {netdevs_find(nds, name), up};

	if (!change.nd)
		list_for_each (it, &nds->all) {
			struct netdev *nd = list_entry(it, struct netdev, link);

			if (nd->client && nd->client->name && !strcmp(nd->client->name, name))
				change.nd = nd;
		}
	if (!change.nd)
		return netdev_not_found(name, e);
	loop_call(nds->exits, netdev_change_link, &change);
	return 0;
}

/* --- MAC addresses: QEMU's default range, so that a guest sees the same card on both --- */

static const uint8_t mac_prefix[5] = {0x52, 0x54, 0x00, 0x12, 0x34};
#define MAC_FIRST 0x56

void netdev_mac_alloc(struct netdevs *nds, uint8_t mac[6])
{
	static const uint8_t none[6];
	unsigned n = MAC_FIRST;

	if (!memcmp(mac, none, sizeof(none))) {
		while (n < 0xff && (nds->macs[n / 64] >> (n % 64) & 1))
			n++;
		memcpy(mac, mac_prefix, sizeof(mac_prefix));
		mac[5] = n;
	}
	if (!memcmp(mac, mac_prefix, sizeof(mac_prefix)))
		nds->macs[mac[5] / 64] |= 1ULL << (mac[5] % 64);
}

void netdev_mac_free(struct netdevs *nds, const uint8_t mac[6])
{
	if (!memcmp(mac, mac_prefix, sizeof(mac_prefix)))
		nds->macs[mac[5] / 64] &= ~(1ULL << (mac[5] % 64));
}

void netdevs_report_to(struct netdevs *nds, struct events *events)
{
	nds->events = events;
}

/* --- one netdev, for its device --- */

struct netdev *netdev_attach(struct netdevs *nds, const char *id, struct net_client *c,
			     struct err *e)
{
	struct netdev *nd = netdevs_find(nds, id);

	if (!nd) {
		err_set(e, -ENODEV, "Property 'netdev' can't find value '%s'", id);
		return NULL;
	}
	if (nd->client) {
		err_set(e, -EBUSY, "Property 'netdev' can't take value '%s', it's in use", id);
		return NULL;
	}
	nd->client = c;
	if (!netdev_is_up(nd))
		c->link(c, false);
	return nd;
}

void netdev_detach(struct netdev *nd)
{
	if (!nd)
		return;
	for (unsigned i = 0; i < nd->pairs; i++)
		netq_stop(&nd->queue[i]);
	nd->client = NULL;
}

unsigned netdev_caps(const struct netdev *nd)
{
	return nd->caps;
}

unsigned netdev_pairs(const struct netdev *nd)
{
	return nd->pairs;
}

const struct net_vhost *netdev_vhost(const struct netdev *nd)
{
	return nd->has_vhost ? &nd->vhost : NULL;
}

struct netq *netdev_queue(struct netdev *nd, unsigned pair)
{
	return pair < nd->pairs ? &nd->queue[pair] : NULL;
}

int netdev_set_offloads(struct netdev *nd, unsigned rx)
{
	return nd->class->set_offloads ? nd->class->set_offloads(nd, rx) : 0;
}

int netdev_set_pairs(struct netdev *nd, unsigned n)
{
	int rc = 0;

	if (!n || n > nd->pairs)
		return -EINVAL;
	/* Stop watching a queue before the back end disables it: its descriptor reports an error
	 * from then on. */
	for (unsigned i = n; i < nd->pairs; i++) {
		nd->queue[i].enabled = false;
		netq_update_watch(&nd->queue[i]);
	}
	if (nd->class->set_pairs)
		rc = nd->class->set_pairs(nd, n);
	for (unsigned i = 0; i < n && !rc; i++) {
		nd->queue[i].enabled = true;
		netq_update_watch(&nd->queue[i]);
	}
	return rc;
}
