/* SPDX-License-Identifier: MIT */
/* vsock.c - a stream between guest and host through virtio-vsock, and connections
 *
 * We are also the program of the host: it listens where the device connects the guest's
 * connections to, --path with the port behind it. From the guest, packets of --len bytes, as much
 * as there is credit for; to the guest, the socket is kept full and the driver has page-sized
 * buffers, as Linux has. Data are counted where they arrive; an operation is --len bytes.
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST_PORT 1000
#define RX_BUFFER 4096
#define ALLOC	  (256 * KiB) /* what Linux gives a socket */
#define SLOTS	  128
#define SEND_MAX  16 /* then the guest has its turn */

struct vs {
	struct bench *b;
	struct meter m;
	struct gvsock s;
	struct gvconn c;
	int listener, host;
	uint64_t at; /* headers of the packets in flight, then their data, the same for all */
	unsigned next;
};

static void open_socket(struct vs *v, struct bench *b)
{
	char path[256];

	v->b = b;
	guest_start(&b->g, &b->config);
	gvsock_open(&b->g, &v->s, 0, RX_BUFFER, GV_F_RING, 0);
	snprintf(path, sizeof(path), "%s_%d", b->path, HOST_PORT);
	v->listener = bench_listen(path);
}

static void open_stream(struct vs *v, struct bench *b)
{
	open_socket(v, b);
	if (!gvsock_connect(&v->s, &v->c, GVSOCK_STREAM, 5000, HOST_PORT))
		guest_panic("vsock: refused");
	v->host = accept(v->listener, NULL, NULL);
	if (v->host < 0)
		guest_panic("accept: %s", strerror(errno));
	v->c.alloc = ALLOC;
	v->at = guest_alloc(&b->g, SLOTS * 64 + b->len, 64);
}

static void done(struct vs *v)
{
	meter_end(&v->m);
	if (v->m.bytes)
		v->m.ops = v->m.bytes / v->b->len;
	meter_print(&v->m);
	close(v->listener);
	guest_stop(&v->b->g);
}

/* Put a packet on the ring; a header is free again long before its turn comes, as there are no more
 * chains than slots. */
static void put(struct vs *v, uint16_t op, uint32_t len)
{
	uint64_t at = v->at + v->next++ % SLOTS * 64;
	struct gseg s[2] = {{at, sizeof(struct gvsock_hdr)}, {v->at + SLOTS * 64, len}};
	struct gvsock_hdr h = {
		.src_cid = v->s.cid,
		.dst_cid = 2,
		.src_port = v->c.port,
		.dst_port = v->c.host_port,
		.len = len,
		.type = GVSOCK_STREAM,
		.op = op,
		.buf_alloc = v->c.alloc,
		.fwd_cnt = v->c.fwd,
	};

	memcpy(guest_ptr(&v->b->g, at, sizeof(h)), &h, sizeof(h));
	if (gvq_add(&v->s.tx, s, len ? 2 : 1, 0, NULL) < 0)
		guest_panic("vsock: tx is full");
	v->c.told = v->c.fwd;
	v->c.sent += len;
}

/* Take all packets that have come, as a driver does upon an interrupt. */
static void take(struct vs *v)
{
	struct gvq *q = &v->s.rx;
	uint32_t len;
	void *cookie;

	if (!gpci_msix_take(&v->s.v.pci, q->vector))
		return;
	v->m.irqs++;
	q->no_interrupts = true;
	do {
		while (gvq_get(q, &len, &cookie)) {
			struct gseg s = {v->s.rx_at + (uintptr_t)cookie * RX_BUFFER, RX_BUFFER};
			const struct gvsock_hdr *h = guest_ptr(&v->b->g, s.addr, RX_BUFFER);

			v->c.peer_alloc = h->buf_alloc;
			v->c.peer_fwd = h->fwd_cnt;
			if (h->op == GVSOCK_RW) {
				v->c.fwd += h->len;
				v->m.bytes += h->len;
			}
			if (gvq_add(q, &s, 0, 1, cookie) < 0)
				guest_panic("vsock: no room for an rx buffer");
		}
		gvq_kick(q);
	} while (gvq_interrupts_on(q));
}

void bench_vsock_tx(struct bench *b)
{
	static struct vs v;
	static char drop[65536];
	struct gvq *q = &v.s.tx;

	open_stream(&v, b);
	q->no_interrupts = true;
	meter_begin(&v.m, b);
	while (meter_running(&v.m)) {
		struct guest_timer t = {0};
		uint64_t kicks = q->kicks + v.s.rx.kicks;
		ssize_t n;

		while (gvq_get(q, NULL, NULL))
			;
		take(&v);
		while (gvsock_credit(&v.c) >= b->len && q->size - q->free_count < b->depth)
			put(&v, GVSOCK_RW, b->len);
		gvq_kick(q);
		while ((n = recv(v.host, drop, sizeof(drop), MSG_DONTWAIT)) > 0)
			v.m.bytes += (uint64_t)n;
		v.m.kicks += q->kicks + v.s.rx.kicks - kicks;
		guest_tick(&b->g, &t, 1000);
	}
	done(&v);
}

void bench_vsock_rx(struct bench *b)
{
	static struct vs v;
	struct gvq *q = &v.s.tx;
	char *data = calloc(1, b->len);

	if (!data)
		guest_panic("out of memory");
	open_stream(&v, b);
	q->no_interrupts = true;
	put(&v, GVSOCK_CREDIT_UPDATE, 0);
	meter_begin(&v.m, b);
	while (meter_running(&v.m)) {
		struct guest_timer t = {0};
		uint64_t kicks = q->kicks + v.s.rx.kicks;

		for (unsigned i = 0; i < SEND_MAX; i++)
			if (send(v.host, data, b->len, MSG_DONTWAIT | MSG_NOSIGNAL) <= 0)
				break;
		while (gvq_get(q, NULL, NULL))
			;
		take(&v);
		if (v.c.fwd - v.c.told > ALLOC / 2)
			put(&v, GVSOCK_CREDIT_UPDATE, 0);
		gvq_kick(q);
		v.m.kicks += q->kicks + v.s.rx.kicks - kicks;
		guest_tick(&b->g, &t, 1000);
	}
	free(data);
	done(&v);
}

/* The guest connects, the host's program accepts, the guest closes. */
void bench_vsock_connect(struct bench *b)
{
	static struct vs v;
	uint32_t port = 5000;

	open_socket(&v, b);
	meter_begin(&v.m, b);
	while (meter_running(&v.m)) {
		uint64_t before = now_ns(), kicks = v.s.tx.kicks + v.s.rx.kicks;

		if (!gvsock_connect(&v.s, &v.c, GVSOCK_STREAM, port++, HOST_PORT))
			guest_panic("vsock: refused");
		v.host = accept(v.listener, NULL, NULL);
		gvsock_say(&v.c, GVSOCK_SHUTDOWN, GVSOCK_NO_RECV | GVSOCK_NO_SEND, NULL, 0);
		gvsock_expect(&v.c, GVSOCK_RST, NULL);
		close(v.host);
		v.m.kicks += v.s.tx.kicks + v.s.rx.kicks - kicks;
		v.m.irqs += gpci_msix_take(&v.s.v.pci, v.s.rx.vector);
		hist_add(&v.m.latency, now_ns() - before);
		v.m.ops++;
	}
	done(&v);
}
