/* SPDX-License-Identifier: MIT */
/* gnet.c - the network driver, see gdrivers.h */
#include <string.h>

#include "base/util.h"
#include "gdrivers.h"

#define TX_MAX	 (70 * KiB)
#define CTRL_MAX 4096

static void post_rx(struct gnet *n, unsigned pair, uintptr_t slot)
{
	struct gseg s = {n->rx_at[pair] + slot * n->rx_len, n->rx_len};

	if (gvq_add(&n->rx[pair], &s, 0, 1, (void *)slot) < 0)
		guest_panic("net: no room for an rx buffer");
}

static void begin(struct gnet *n, unsigned pairs, uint64_t want)
{
	struct gvirtio *v = &n->v;
	unsigned max_pairs = 1;

	gv_negotiate(v, want | GV_F_VERSION_1);
	n->pairs = pairs;
	n->has_ctrl = v->features & GNET_F_CTRL_VQ;
	if (v->features & GNET_F_MQ)
		max_pairs = (unsigned)gv_config(v, 8, 2);
	if (pairs > max_pairs)
		guest_panic("net: %u pairs wanted, %u there", pairs, max_pairs);
	for (unsigned i = 0; i < pairs; i++) {
		gvq_setup(v, &n->rx[i], 2 * i, 0);
		gvq_setup(v, &n->tx[i], 2 * i + 1, 0);
	}
	if (n->has_ctrl)
		gvq_setup(v, &n->ctrl, 2 * max_pairs, 0);
	gv_start(v);
	for (unsigned i = 0; i < pairs; i++) {
		n->rx_at[i] = guest_alloc(v->g, (uint64_t)n->rx_len * n->rx[i].size, 64);
		for (unsigned s = 0; s < n->rx[i].size; s++)
			post_rx(n, i, s);
		gvq_kick(&n->rx[i]);
	}
}

void gnet_open(struct guest *g, struct gnet *n, unsigned nth, unsigned pairs, uint32_t rx_len,
	       uint64_t want)
{
	memset(n, 0, sizeof(*n));
	gv_open(g, &n->v, GV_NET, nth);
	n->rx_len = rx_len;
	n->tx_at = guest_alloc(g, TX_MAX, 64);
	n->ctrl_at = guest_alloc(g, CTRL_MAX, 64);
	begin(n, pairs, want);
}

void gnet_restart(struct gnet *n, unsigned pairs, uint64_t want)
{
	begin(n, pairs, want);
}

void gnet_send(struct gnet *n, unsigned pair, const struct gnet_hdr *h, const void *frame,
	       uint32_t len)
{
	struct gnet_hdr none = {0};
	struct gseg s[2] = {{n->tx_at, GNET_HDR}, {n->tx_at + GNET_HDR, len}};
	uint8_t *p = guest_ptr(n->v.g, n->tx_at, TX_MAX);

	_Static_assert(sizeof(none) == GNET_HDR, "the header of Virtio 1.x");
	memcpy(p, h ? h : &none, GNET_HDR);
	memcpy(p + GNET_HDR, frame, len);
	if (gvq_add(&n->tx[pair], s, 2, 0, NULL) < 0)
		guest_panic("net: tx is full");
	gvq_kick(&n->tx[pair]);
	gvq_wait(&n->tx[pair], NULL);
}

int gnet_recv(struct gnet *n, unsigned pair, struct gnet_hdr *h, void *buf, uint32_t size,
	      unsigned ms)
{
	struct gvq *q = &n->rx[pair];
	uint32_t len, total = 0;
	unsigned left = 1;
	void *cookie;

	if (!guest_wait_ms(n->v.g, ms, gvq_get(q, &len, &cookie)))
		return -1;
	for (bool first = true;; first = false) {
		uintptr_t slot = (uintptr_t)cookie;
		uint8_t *p = guest_ptr(n->v.g, n->rx_at[pair] + slot * n->rx_len, n->rx_len);
		uint32_t skip = first ? GNET_HDR : 0;

		if (len > n->rx_len || len < skip)
			guest_panic("net: %u bytes in a buffer of %u", len, n->rx_len);
		if (first) {
			memcpy(h, p, GNET_HDR);
			if (n->v.features & GNET_F_MRG_RXBUF)
				left = h->num_buffers;
		}
		if (total + len - skip > size)
			guest_panic("net: frame longer than %u", size);
		memcpy((uint8_t *)buf + total, p + skip, len - skip);
		total += len - skip;
		post_rx(n, pair, slot);
		if (!--left)
			break;
		len = gvq_wait(q, &cookie);
	}
	gvq_kick(q);
	return (int)total;
}

uint8_t gnet_ctrl(struct gnet *n, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	struct gseg s[3] = {{n->ctrl_at, 2}, {n->ctrl_at + 64, len}, {n->ctrl_at + 2, 1}};
	uint8_t *p = guest_ptr(n->v.g, n->ctrl_at, CTRL_MAX);

	if (len > CTRL_MAX - 64)
		guest_panic("net: control data of %u bytes", len);
	p[0] = class;
	p[1] = cmd;
	p[2] = 0xee;
	if (len)
		memcpy(p + 64, data, len);
	else
		s[1] = s[2];
	if (gvq_add(&n->ctrl, s, len ? 2 : 1, 1, NULL) < 0)
		guest_panic("net: the control queue is full");
	gvq_kick(&n->ctrl);
	gvq_wait(&n->ctrl, NULL);
	return p[2];
}
