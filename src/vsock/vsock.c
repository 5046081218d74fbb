/* SPDX-License-Identifier: MIT */
/* vsock.c - the table of a guest's connections, and packets in and out, see vsock.h
 *
 * A connection is identified by its two ports. Connections that have a packet for the guest are in
 * a queue, and each sends one packet when it is its turn, so that a busy one does not delay others.
 * The packets without payload that a connection has to send are a set of bits (pending_ops), so an
 * answer to a packet of a known connection needs no memory. An RST for an unknown connection does:
 * these are queued in vsock::reply, and while that is full no packet of the guest is processed
 * (Virtio 1.3 §5.10.6.1 allows this).
 *
 * A time limit has the same length for all connections. So each kind of limit is a list that is
 * sorted by deadline without any search, and one timer serves all lists.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "vsock/internal.h"

static const uint64_t wait_ns[WAITS] = {
	[WAIT_HELLO] = 60 * 1000000000ULL,
	[WAIT_RESPONSE] = 2 * 1000000000ULL,
	[WAIT_CLOSE] = 8 * 1000000000ULL,
};

/* --- the table --- */

static uint64_t ports_hash(const struct vsock *s, uint32_t host_port, uint32_t guest_port)
{
	uint32_t ports[2] = {host_port, guest_port};

	return hash_bytes(&s->key, ports, sizeof(ports));
}

struct conn *conn_find(struct vsock *s, uint32_t host_port, uint32_t guest_port)
{
	struct hash_entry *e = hash_table_first(&s->table, ports_hash(s, host_port, guest_port));

	for (; e; e = hash_table_next(e)) {
		struct conn *c = container_of(e, struct conn, entry);

		if (c->host_port == host_port && c->guest_port == guest_port)
			return c;
	}
	return NULL;
}

void conn_insert(struct conn *c)
{
	hash_table_add(&c->s->table, &c->entry, ports_hash(c->s, c->host_port, c->guest_port));
}

struct conn *conn_new(struct vsock *s, int fd, uint16_t type)
{
	struct conn *c = s->conns < s->cfg.max ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		close(fd);
		return NULL;
	}
	c->s = s;
	c->fd = fd;
	c->w.fd = -1;
	c->type = type;
	list_init(&c->ready);
	list_init(&c->waiting);
	list_add_tail(&s->all, &c->all);
	if (++s->conns == s->cfg.max)
		host_listen(s);
	return c;
}

void conn_free(struct conn *c)
{
	struct vsock *s = c->s;

	loop_fd_del(s->loop, &c->w);
	if (c->fd >= 0)
		close(c->fd);
	conn_ring_free(c);
	list_del(&c->all);
	hash_table_del(&s->table, &c->entry);
	list_del(&c->ready);
	list_del(&c->waiting);
	free(c);
	if (s->conns-- == s->cfg.max)
		host_listen(s);
}

void conn_ready(struct conn *c)
{
	struct vsock *s = c->s;

	if (!list_empty(&c->ready))
		return;
	list_add_tail(&s->ready, &c->ready);
	s->cfg.wake(s->cfg.arg);
}

/* --- time limits --- */

static void timer_arm(struct vsock *s, uint64_t at)
{
	uint64_t now = loop_now(s->loop);

	if (s->timer_at && s->timer_at <= at)
		return;
	s->timer_at = at;
	loop_timer_set(s->loop, &s->timer, at > now ? at - now : 0);
}

void conn_wait(struct conn *c, enum wait what)
{
	list_del(&c->waiting);
	c->deadline = loop_now(c->s->loop) + wait_ns[what];
	list_add_tail(&c->s->waits[what], &c->waiting);
	timer_arm(c->s, c->deadline);
}

void conn_wait_end(struct conn *c)
{
	list_del(&c->waiting);
}

static void timer_expired(struct loop_timer *t)
{
	struct vsock *s = container_of(t, struct vsock, timer);
	uint64_t now = loop_now(s->loop);

	s->timer_at = 0;
	for (unsigned i = 0; i < WAITS; i++) {
		while (!list_empty(&s->waits[i])) {
			struct conn *c = list_entry(s->waits[i].next, struct conn, waiting);

			if (c->deadline > now) {
				timer_arm(s, c->deadline);
				break;
			}
			list_del(&c->waiting);
			conn_kill(c);
		}
	}
}

/* --- packets --- */

static void reply_queue_rst(struct vsock *s, const struct vsock_hdr *h)
{
	struct vsock_hdr *r = &s->reply[(s->reply_at + s->replies) % VSOCK_REPLIES];

	if (h->op == VSOCK_OP_RST)
		return;
	*r = (struct vsock_hdr){
		.src_port = h->dst_port,
		.dst_port = h->src_port,
		.type = h->type,
		.op = VSOCK_OP_RST,
	};
	s->replies++;
	s->cfg.wake(s->cfg.arg);
}

/* The guest connects to a port of the host. Returns false if it is to be refused. */
static bool guest_connect(struct vsock *s, const struct vsock_hdr *h)
{
	struct conn *c;
	int fd;

	/* A REQUEST with fwd_cnt != 0 is invalid: the guest has received nothing yet. */
	if (h->fwd_cnt || s->conns == s->cfg.max)
		return false;
	fd = host_connect(s, h->dst_port, h->type);
	if (fd < 0)
		return false;
	c = conn_new(s, fd, h->type);
	if (!c)
		return false;
	c->host_port = h->dst_port;
	c->guest_port = h->src_port;
	conn_insert(c);
	conn_accept(c, h);
	return true;
}

bool vsock_packet(struct vsock *s, const struct vsock_hdr *h, const struct iovec *iov, unsigned n,
		  bool seqpacket)
{
	struct conn *c;

	if (s->replies == VSOCK_REPLIES)
		return false;
	/* A packet with a foreign address is dropped: an RST could not be addressed to its sender.
	 */
	if (h->src_cid != s->cfg.guest_cid || h->dst_cid != VSOCK_CID_HOST)
		return true;
	if (h->type != VSOCK_STREAM && (h->type != VSOCK_SEQPACKET || !seqpacket)) {
		reply_queue_rst(s, h);
		return true;
	}
	c = conn_find(s, h->dst_port, h->src_port);
	if (c)
		conn_packet(c, h, iov, n);
	else if (h->op != VSOCK_OP_REQUEST || !guest_connect(s, h))
		reply_queue_rst(s, h);
	return true;
}

bool vsock_pending(const struct vsock *s)
{
	return s->replies || !list_empty(&s->ready);
}

bool vsock_next(struct vsock *s, struct vsock_hdr *h, struct iovec *iov, unsigned n)
{
	bool found = s->replies;
	struct list *it;

	if (found) {
		*h = s->reply[s->reply_at];
		s->reply_at = (s->reply_at + 1) % VSOCK_REPLIES;
		s->replies--;
	}
	while (!found && (it = list_pop(&s->ready)))
		found = conn_next(list_entry(it, struct conn, ready), h, iov, n);
	h->src_cid = VSOCK_CID_HOST;
	h->dst_cid = s->cfg.guest_cid;
	return found;
}

/* --- life --- */

void vsock_reset(struct vsock *s)
{
	s->replies = 0;
	list_for_each (it, &s->all) {
		struct conn *c = list_entry(it, struct conn, all);

		if (c->state != CONN_HELLO)
			conn_reset(c);
	}
}

struct vsock *vsock_open(const struct vsock_config *cfg, struct err *e)
{
	struct vsock *s = calloc(1, sizeof(*s));
	int rc = s ? hash_key_make(&s->key) : -ENOMEM;

	if (rc == 0)
		rc = hash_table_init(&s->table);
	if (rc < 0) {
		err_set(e, rc, "%s", strerror(-rc));
		free(s);
		return NULL;
	}
	s->cfg = *cfg;
	list_init(&s->all);
	list_init(&s->ready);
	for (unsigned i = 0; i < WAITS; i++)
		list_init(&s->waits[i]);
	s->timer.fn = timer_expired;
	if (host_open(s, e) < 0) {
		vsock_free(s);
		return NULL;
	}
	return s;
}

int vsock_start(struct vsock *s, struct loop *loop)
{
	s->loop = loop;
	return host_listen(s);
}

void vsock_free(struct vsock *s)
{
	if (!s)
		return;
	host_close(s);
	list_for_each (it, &s->all)
		conn_free(list_entry(it, struct conn, all));
	loop_timer_del(&s->timer);
	hash_table_fini(&s->table);
	free(s);
}
