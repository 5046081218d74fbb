/* SPDX-License-Identifier: MIT */
/* gvsock.c - the sockets driver, see gdrivers.h */
#include <string.h>

#include "base/util.h"
#include "gdrivers.h"

#define TX_MAX (256 * KiB + 64)

_Static_assert(sizeof(struct gvsock_hdr) == 44, "the header has no padding");

void gvsock_post(struct gvsock *s, unsigned n)
{
	while (n--) {
		struct gseg g = {s->rx_at + s->next_rx * s->rx_len, s->rx_len};

		if (gvq_add(&s->rx, &g, 0, 1, (void *)s->next_rx) < 0)
			guest_panic("vsock: no room for an rx buffer");
		s->next_rx = (s->next_rx + 1) % s->rx.size;
	}
	gvq_kick(&s->rx);
}

static void begin(struct gvsock *s, uint64_t want, unsigned buffers)
{
	struct gvirtio *v = &s->v;

	gv_negotiate(v, want | GV_F_VERSION_1);
	gvq_setup(v, &s->rx, 0, 0);
	gvq_setup(v, &s->tx, 1, 0);
	gvq_setup(v, &s->event, 2, 0);
	s->cid = gv_config(v, 0, 8);
	gv_start(v);
	s->next_rx = 0;
	gvsock_post(s, buffers ? buffers : s->rx.size);
}

void gvsock_open(struct guest *g, struct gvsock *s, unsigned nth, uint32_t rx_len, uint64_t want,
		 unsigned buffers)
{
	memset(s, 0, sizeof(*s));
	gv_open(g, &s->v, GV_VSOCK, nth);
	s->rx_len = rx_len;
	s->tx_at = guest_alloc(g, TX_MAX, 64);
	s->rx_at = guest_alloc(g, (uint64_t)rx_len * 128, 64);
	begin(s, want, buffers);
}

void gvsock_restart(struct gvsock *s, uint64_t want, unsigned buffers)
{
	begin(s, want, buffers);
}

void gvsock_put(struct gvsock *s, const struct gvsock_hdr *h, const void *data, uint32_t len)
{
	struct gseg g[2] = {{s->tx_at, sizeof(*h)}, {s->tx_at + sizeof(*h), len}};
	uint8_t *p = guest_ptr(s->v.g, s->tx_at, TX_MAX);

	if (len > TX_MAX - sizeof(*h))
		guest_panic("vsock: %u bytes to send", len);
	memcpy(p, h, sizeof(*h));
	if (len)
		memcpy(p + sizeof(*h), data, len);
	if (gvq_add(&s->tx, g, len ? 2 : 1, 0, NULL) < 0)
		guest_panic("vsock: tx is full");
	gvq_kick(&s->tx);
	gvq_wait(&s->tx, NULL);
}

int gvsock_get(struct gvsock *s, struct gvsock_hdr *h, void *buf, uint32_t size, unsigned ms)
{
	uint32_t len;
	void *cookie;
	uint8_t *p;

	if (!guest_wait_ms(s->v.g, ms, gvq_get(&s->rx, &len, &cookie)))
		return -1;
	p = guest_ptr(s->v.g, s->rx_at + (uintptr_t)cookie * s->rx_len, s->rx_len);
	if (len < sizeof(*h) || len > s->rx_len)
		guest_panic("vsock: %u bytes in a buffer of %u", len, s->rx_len);
	memcpy(h, p, sizeof(*h));
	if (h->len != len - sizeof(*h) || h->len > size)
		guest_panic("vsock: a packet of %u says that it has %u", len, h->len);
	if (h->src_cid != 2 || h->dst_cid != s->cid)
		guest_panic("vsock: a packet from %llu to %llu", (unsigned long long)h->src_cid,
			    (unsigned long long)h->dst_cid);
	if (h->len)
		memcpy(buf, p + sizeof(*h), h->len);
	if (!s->keep)
		gvsock_post(s, 1);
	return (int)h->len;
}

/* --- connections --- */

void gvsock_say(struct gvconn *c, unsigned op, uint32_t flags, const void *data, uint32_t len)
{
	struct gvsock_hdr h = {
		.src_cid = c->s->cid,
		.dst_cid = 2,
		.src_port = c->port,
		.dst_port = c->host_port,
		.len = len,
		.type = c->type,
		.op = (uint16_t)op,
		.flags = flags,
		.buf_alloc = c->alloc,
		.fwd_cnt = c->fwd,
	};

	gvsock_put(c->s, &h, data, len);
	if (op == GVSOCK_RW)
		c->sent += len;
}

int gvsock_hear(struct gvconn *c, struct gvsock_hdr *h, void *buf, uint32_t size, unsigned ms)
{
	int len = gvsock_get(c->s, h, buf, size, ms);

	if (len < 0)
		return len;
	if (h->src_port != c->host_port || h->dst_port != c->port || h->type != c->type)
		guest_panic("vsock: a packet of type %u from port %u to %u", h->type, h->src_port,
			    h->dst_port);
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	if (h->op == GVSOCK_RW) {
		c->got += (uint32_t)len;
		if (c->got - c->fwd > c->alloc)
			guest_panic("vsock: more data than credit");
	}
	return len;
}

void gvsock_expect(struct gvconn *c, unsigned op, struct gvsock_hdr *h)
{
	struct gvsock_hdr mine;
	uint8_t byte[1];

	if (!h)
		h = &mine;
	if (gvsock_hear(c, h, byte, 0, GUEST_WAIT_MS) < 0 || h->op != op)
		guest_panic("vsock: operation %u wanted, %u came", op, h->op);
}

bool gvsock_connect(struct gvsock *s, struct gvconn *c, unsigned type, uint32_t port,
		    uint32_t host_port)
{
	struct gvsock_hdr h;

	*c = (struct gvconn){.s = s, .type = (uint16_t)type, .port = port, .host_port = host_port};
	c->alloc = GVSOCK_ALLOC;
	gvsock_say(c, GVSOCK_REQUEST, 0, NULL, 0);
	if (gvsock_hear(c, &h, NULL, 0, GUEST_WAIT_MS) < 0)
		guest_panic("vsock: no answer to a request");
	if (h.op != GVSOCK_RESPONSE && h.op != GVSOCK_RST)
		guest_panic("vsock: operation %u in answer to a request", h.op);
	return h.op == GVSOCK_RESPONSE;
}

void gvsock_accept(struct gvsock *s, struct gvconn *c, unsigned type, uint32_t port)
{
	struct gvsock_hdr h;

	*c = (struct gvconn){.s = s, .type = (uint16_t)type, .port = port};
	c->alloc = GVSOCK_ALLOC;
	if (gvsock_get(s, &h, NULL, 0, GUEST_WAIT_MS) < 0 || h.op != GVSOCK_REQUEST ||
	    h.dst_port != port || h.type != type)
		guest_panic("vsock: no request for port %u", port);
	c->host_port = h.src_port;
	c->peer_alloc = h.buf_alloc;
	gvsock_say(c, GVSOCK_RESPONSE, 0, NULL, 0);
}

uint32_t gvsock_credit(const struct gvconn *c)
{
	return c->peer_alloc - (c->sent - c->peer_fwd);
}

void gvsock_write(struct gvconn *c, const void *data, uint32_t len, uint32_t packet, uint32_t last)
{
	const uint8_t *from = data;
	struct gvsock_hdr h;

	while (len) {
		uint32_t part = MIN(MIN(len, packet), gvsock_credit(c));

		if (!part) {
			gvsock_expect(c, GVSOCK_CREDIT_UPDATE, &h);
			continue;
		}
		gvsock_say(c, GVSOCK_RW, part == len ? last : 0, from, part);
		from += part;
		len -= part;
	}
}

uint32_t gvsock_read(struct gvconn *c, void *data, uint32_t len)
{
	uint8_t *to = data;
	uint32_t done = 0;
	struct gvsock_hdr h;

	while (done < len) {
		int got = gvsock_hear(c, &h, to + done, len - done, GUEST_WAIT_MS);

		if (got < 0)
			guest_panic("vsock: no data after %u of %u bytes", done, len);
		if (h.op == GVSOCK_CREDIT_REQUEST || h.op == GVSOCK_CREDIT_UPDATE)
			continue;
		if (h.op != GVSOCK_RW)
			guest_panic("vsock: operation %u in place of data", h.op);
		done += (uint32_t)got;
		c->fwd += (uint32_t)got;
		if (c->fwd - c->told > c->alloc / 2) {
			gvsock_say(c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
			c->told = c->fwd;
		}
		if (h.flags & GVSOCK_EOM)
			break;
	}
	return done;
}
