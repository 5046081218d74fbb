/* SPDX-License-Identifier: MIT */
/* netdev.c - the set of -netdev back ends, and what all of them share
 *
 * Owns the list of netdevs, the table of types, the MAC addresses given out, and for each queue the
 * watch on its descriptor. The watch exists only while the client listens or waits for room: a
 * descriptor in an error state is reported by epoll whatever is asked for, so an unwanted watch
 * would spin. A descriptor that fails for good is not watched again.
 */
#include "net/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/backend.h"

#define RETRY_NS 1000000 /* net_class.poll_send */

struct netdevs {
	struct loop *exits;
	struct list all;
	void (*filter_fn)(void *arg, const char *device);
	void *filter_arg;
	uint64_t macs[4]; /* bit n: 52:54:00:12:34:n is taken */
};

static const struct net_class *const classes[] = {&net_tap, &net_dgram, &net_stream};

/* --- queues --- */

static void watch_event(struct loop_fd *w, uint32_t events);

/* Bring the watch in line with what is wanted. */
static void watch_update(struct netq *q)
{
	bool timed = q->blocked && q->nd->class->poll_send;
	uint32_t want = 0;
	int rc = 0;

	if (q->loop && q->fd >= 0 && q->enabled && !q->dead)
		want = (q->listen ? EPOLLIN : 0) | (q->blocked && !timed ? EPOLLOUT : 0);
	if (want == q->events)
		return;
	if (!want)
		loop_fd_del(q->loop, &q->watch);
	else if (q->events)
		rc = loop_fd_mod(q->loop, &q->watch, want);
	else
		rc = loop_fd_add(q->loop, &q->watch, q->fd, want, watch_event);
	q->events = rc < 0 ? 0 : want;
	if (rc < 0)
		log_err("netdev %s: cannot wait for its descriptor: %s", q->nd->id, strerror(-rc));
}

/* There may be room again. */
static void room(struct netq *q)
{
	const struct net_class *class = q->nd->class;

	if (class->flush && !class->flush(q))
		return;
	q->blocked = false;
	watch_update(q);
	if (q->nd->client)
		q->nd->client->writable(q->nd->client, q);
}

static void watch_event(struct loop_fd *w, uint32_t events)
{
	struct netq *q = container_of(w, struct netq, watch);

	if (q->blocked && (events & ~EPOLLIN))
		room(q);
	/* room() may have changed what is wanted, or have lost the descriptor. */
	if (q->listen && (q->events & EPOLLIN) && (events & ~EPOLLOUT) && q->nd->client)
		q->nd->client->readable(q->nd->client, q);
}

static void retry_due(struct loop_timer *t)
{
	struct netq *q = container_of(t, struct netq, retry);

	if (q->blocked)
		room(q);
}

int netdev_alloc_queues(struct netdev *nd, unsigned n, struct err *e)
{
	nd->queue = calloc(n, sizeof(*nd->queue));
	if (!nd->queue)
		return err_set(e, -ENOMEM, "%s", strerror(ENOMEM));
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
	q->fd = fd;
	watch_update(q);
	/* Whoever waits for room hears that there is nobody to wait for. */
	if (fd < 0 && q->blocked)
		loop_timer_set(q->loop, &q->retry, 0);
}

void netq_block(struct netq *q)
{
	q->blocked = true;
	if (q->nd->class->poll_send)
		loop_timer_set(q->loop, &q->retry, RETRY_NS);
	watch_update(q);
}

int netq_start(struct netq *q, struct loop *loop, void *priv)
{
	int rc = 0;

	q->loop = loop;
	q->priv = priv;
	q->listen = q->blocked = q->dead = false;
	q->events = 0;
	q->retry.fn = retry_due;
	if (q->nd->class->start)
		rc = q->nd->class->start(q);
	if (rc < 0)
		q->loop = NULL;
	return rc;
}

void netq_stop(struct netq *q)
{
	if (!q->loop)
		return;
	q->listen = q->blocked = false;
	watch_update(q);
	loop_timer_del(&q->retry);
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
	watch_update(q);
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
		watch_update(q);
	}
	return rc;
}

int netq_send(struct netq *q, const struct iovec *iov, unsigned n)
{
	int rc;

	if (q->dead || !q->enabled)
		return -ENETDOWN;
	if (q->blocked)
		return -EAGAIN;
	rc = q->nd->class->send(q, iov, n);
	if (rc == -EAGAIN)
		netq_block(q);
	return rc;
}

unsigned netq_send_batch(struct netq *q, const struct net_frame *f, unsigned n)
{
	const struct net_class *class = q->nd->class;

	if (n > 1 && class->send_batch && !q->dead && q->enabled && !q->blocked &&
	    class->send_batch(q, f, n))
		return n;
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
	}
	return nds;
}

static void netdev_free(struct netdev *nd)
{
	const struct opt *tables[] = {nd->class->options, NULL};

	if (nd->opened)
		nd->class->close(nd);
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
	list_for_each (it, &nds->all)
		netdev_free(list_entry(it, struct netdev, link));
	free(nds);
}

static struct netdev *find(struct netdevs *nds, const char *id)
{
	list_for_each (it, &nds->all) {
		struct netdev *nd = list_entry(it, struct netdev, link);

		if (!strcmp(nd->id, id))
			return nd;
	}
	return NULL;
}

const char *netdev_type(unsigned i, const char **help, const struct opt **options)
{
	if (i >= ARRAY_SIZE(classes))
		return NULL;
	*help = classes[i]->help;
	*options = classes[i]->options;
	return classes[i]->type;
}

static int not_found(const char *name, struct err *e)
{
	err_set(e, -ENODEV, "Device '%s' not found", name);
	if (e)
		e->class = ERR_DEVICE_NOT_FOUND;
	return -ENODEV;
}

static const struct net_class *find_class(const char *type, struct err *e)
{
	char known[128] = "";

	for (unsigned i = 0; i < ARRAY_SIZE(classes); i++) {
		size_t len = strlen(known);

		if (!strcmp(classes[i]->type, type))
			return classes[i];
		snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "", classes[i]->type);
	}
	err_set(e, -EINVAL, "Parameter 'type' does not accept value '%s' (accepted: %s)", type,
		known);
	return NULL;
}

int netdev_add(struct netdevs *nds, struct kvs *k, struct err *e)
{
	const char *type = kvs_get(k, "type"), *id = kvs_get(k, "id"), *odd;
	const struct opt *tables[] = {NULL, NULL};
	const struct net_class *class;
	struct netdev *nd;
	int rc;

	if (!type)
		return err_set(e, -EINVAL, "Parameter 'type' is missing");
	class = find_class(type, e);
	if (!class)
		return -EINVAL;
	if (!id)
		return err_set(e, -EINVAL, "Parameter 'id' is missing");
	if (!id_wellformed(id))
		return err_set(e, -EINVAL,
			       "Parameter 'id' expects an identifier (letters, digits, '-', '.', "
			       "'_', starting with a letter), not '%s'",
			       id);
	if (find(nds, id))
		return err_set(e, -EEXIST, "Duplicate ID '%s' for netdev", id);

	nd = calloc(1, class->size);
	if (!nd || !(nd->id = strdup(id))) {
		free(nd);
		return err_set(e, -ENOMEM, "%s", strerror(ENOMEM));
	}
	nd->class = class;
	nd->set = nds;
	nd->link_up = true;
	list_init(&nd->link);
	tables[0] = class->options;
	rc = opts_apply(tables, k, nd, e);
	odd = kvs_unused(k);
	if (!rc && odd)
		rc = err_set(e, -EINVAL, "Invalid parameter '%s' for netdev type '%s'", odd, type);
	if (!rc) {
		nd->opened = true;
		rc = class->open(nd, k, e);
	}
	if (rc < 0) {
		netdev_free(nd);
		return rc;
	}
	list_add_tail(&nds->all, &nd->link);
	return 0;
}

int netdev_del(struct netdevs *nds, const char *id, struct err *e)
{
	struct netdev *nd = find(nds, id);

	if (!nd)
		return not_found(id, e);
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

static void change_link(void *arg)
{
	struct link_change *c = arg;

	c->nd->link_up = c->up;
	if (c->nd->client)
		c->nd->client->link(c->nd->client, c->up);
}

int netdev_set_link(struct netdevs *nds, const char *name, bool up, struct err *e)
{
	struct link_change change = {find(nds, name), up};

	if (!change.nd)
		list_for_each (it, &nds->all) {
			struct netdev *nd = list_entry(it, struct netdev, link);

			if (nd->client && nd->client->name && !strcmp(nd->client->name, name))
				change.nd = nd;
		}
	if (!change.nd)
		return not_found(name, e);
	loop_call(nds->exits, change_link, &change);
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

/* --- events --- */

void netdevs_on_rx_filter(struct netdevs *nds, void (*fn)(void *arg, const char *device), void *arg)
{
	nds->filter_fn = fn;
	nds->filter_arg = arg;
}

void netdevs_rx_filter_changed(struct netdevs *nds, const char *device)
{
	if (nds->filter_fn)
		nds->filter_fn(nds->filter_arg, device);
}

/* --- one netdev, for its device --- */

struct netdev *netdev_attach(struct netdevs *nds, const char *id, struct net_client *c,
			     struct err *e)
{
	struct netdev *nd = find(nds, id);

	if (!nd) {
		err_set(e, -ENODEV, "Property 'netdev' can't find value '%s'", id);
		return NULL;
	}
	if (nd->client) {
		err_set(e, -EBUSY, "Property 'netdev' can't take value '%s', it's in use", id);
		return NULL;
	}
	nd->client = c;
	if (!nd->link_up)
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

const char *netdev_id(const struct netdev *nd)
{
	return nd->id;
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
	/* Let go of a queue before the back end takes it out of use: its descriptor reports an
	 * error from then on. */
	for (unsigned i = n; i < nd->pairs; i++) {
		nd->queue[i].enabled = false;
		watch_update(&nd->queue[i]);
	}
	if (nd->class->set_pairs)
		rc = nd->class->set_pairs(nd, n);
	for (unsigned i = 0; i < n && !rc; i++) {
		nd->queue[i].enabled = true;
		watch_update(&nd->queue[i]);
	}
	return rc;
}
