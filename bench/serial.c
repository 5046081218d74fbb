/* SPDX-License-Identifier: MIT */
/* serial.c - a stream through a serial port, to and from a Unix socket (--path) where we are the
 * client
 *
 * From the guest: --depth chains of --len bytes are kept on the ring, and reclaimed by polling. To
 * it: the socket is kept full, the driver has a ring full of page-sized buffers and works by
 * interrupts. An operation is --len bytes of the stream, however they were cut.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT	 1
#define SEND_MAX 16 /* then the guest has its turn */
#define FEATURE	 (GSERIAL_F_MULTIPORT | GV_F_RING)

struct stream {
	struct bench *b;
	struct meter m;
	struct gserial s;
	struct gserial_port *p;
	int host;
};

static void open_port(struct stream *t, struct bench *b)
{
	t->b = b;
	t->p = &t->s.port[PORT];
	guest_start(&b->g, &b->config);
	gserial_open(&b->g, &t->s, 0, PORT + 1, FEATURE);
	if (!gserial_wait(&t->s, t->p->there))
		guest_panic("serial: no port");
	gserial_control(&t->s, PORT, GSERIAL_PORT_OPEN, 1);
	t->host = bench_connect(b->path);
	if (!gserial_wait(&t->s, t->p->host_open))
		guest_panic("serial: nobody at the other end");
}

static void done(struct stream *t)
{
	meter_end(&t->m);
	t->m.ops = t->m.bytes / t->b->len;
	meter_print(&t->m);
	close(t->host);
	guest_stop(&t->b->g);
}

void bench_serial_tx(struct bench *b)
{
	static struct stream t;
	static char drop[65536];
	struct gvq *q;
	struct gseg s;

	open_port(&t, b);
	q = &t.p->out;
	s = (struct gseg){guest_alloc(&b->g, b->len, 4096), b->len};
	q->no_interrupts = true;
	meter_begin(&t.m, b);
	while (meter_running(&t.m)) {
		struct guest_timer timer = {0};
		uint64_t kicks = q->kicks;
		bool more = false;
		ssize_t n;

		while (gvq_get(q, NULL, NULL))
			;
		while (q->size - q->free_count < b->depth && gvq_add(q, &s, 1, 0, NULL) >= 0)
			more = true;
		if (more)
			gvq_kick(q);
		t.m.kicks += q->kicks - kicks;
		while ((n = recv(t.host, drop, sizeof(drop), MSG_DONTWAIT)) > 0)
			t.m.bytes += (uint64_t)n;
		t.m.irqs += gpci_msix_take(&t.s.v.pci, q->vector);
		guest_tick(&b->g, &timer, 1000);
	}
	done(&t);
}

static void take_input(struct stream *t, struct gvq *q)
{
	uint32_t len;
	void *cookie;

	while (gvq_get(q, &len, &cookie)) {
		struct gseg s = {t->p->in_at + (uintptr_t)cookie * GSERIAL_CHUNK, GSERIAL_CHUNK};

		t->m.bytes += len;
		if (gvq_add(q, &s, 0, 1, cookie) < 0)
			guest_panic("serial: no room for an input buffer");
	}
}

void bench_serial_rx(struct bench *b)
{
	static struct stream t;
	struct gvq *q;
	char *data = calloc(1, b->len);

	if (!data)
		guest_panic("out of memory");
	open_port(&t, b);
	q = &t.p->in;
	gserial_post(&t.s, PORT, MIN(q->size, GSERIAL_SLOTS), GSERIAL_CHUNK);
	meter_begin(&t.m, b);
	while (meter_running(&t.m)) {
		struct guest_timer timer = {0};
		uint64_t kicks = q->kicks;

		for (unsigned i = 0; i < SEND_MAX; i++)
			if (send(t.host, data, b->len, MSG_DONTWAIT | MSG_NOSIGNAL) <= 0)
				break;
		if (gpci_msix_take(&t.s.v.pci, q->vector)) {
			t.m.irqs++;
			q->no_interrupts = true;
			do {
				take_input(&t, q);
				gvq_kick(q);
			} while (gvq_interrupts_on(q));
		}
		t.m.kicks += q->kicks - kicks;
		guest_tick(&b->g, &timer, 1000);
	}
	free(data);
	done(&t);
}
