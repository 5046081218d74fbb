/* SPDX-License-Identifier: MIT */
/* disk.c - random reads or writes of a disk: `queues` queues with `depth` requests in flight on
 * each
 *
 * The driver does what Linux's does with a deep queue: on an interrupt it empties the used ring
 * with interrupts off, turns them on again, puts as many requests on the ring as it took, and rings
 * the bell once if the device wants it.
 */
#include "bench.h"

#include <stdlib.h>

struct request {
	uint64_t at, data; /* header and status; buffer */
	uint8_t *mem;
	uint64_t since; /* 0: not in flight */
	struct request *next;
};

struct disk {
	struct bench *b;
	struct meter m;
	struct gblk blk;
	struct request *request; /* depth per queue */
	uint64_t random, due;
};

static uint64_t next_random(struct disk *d)
{
	d->random ^= d->random << 13;
	d->random ^= d->random >> 7;
	d->random ^= d->random << 17;
	return d->random;
}

static void add(struct disk *d, struct gvq *q, struct request *r)
{
	unsigned sectors = d->b->len / 512;
	struct gseg s[3] = {{r->at, 16}, {r->data, d->b->len}, {r->at + 16, 1}};

	put_le32(r->mem, d->b->write ? GBLK_OUT : GBLK_IN);
	put_le64(r->mem + 8, next_random(d) % (d->blk.sectors / sectors) * sectors);
	r->mem[16] = GBLK_PENDING;
	r->since = now_ns();
	if (gvq_add(q, s, d->b->write ? 2 : 1, d->b->write ? 1 : 2, r) < 0)
		guest_panic("disk: the ring is full");
}

static void make_requests(struct disk *d)
{
	struct bench *b = d->b;
	unsigned n = b->queues * b->depth;

	d->request = calloc(n, sizeof(*d->request));
	if (!d->request)
		guest_panic("out of memory");
	for (unsigned i = 0; i < n; i++) {
		struct request *r = &d->request[i];

		r->at = guest_alloc(&b->g, 32, 32);
		r->mem = guest_ptr(&b->g, r->at, 32);
		r->data = guest_alloc(&b->g, b->len, 4096);
	}
}

/* Take what is done; interrupts on; then start as many again, unless they are paced. */
static void drain(struct disk *d, struct gvq *q)
{
	struct request *again = NULL;
	uint64_t kicks = q->kicks;
	uint32_t len;
	void *cookie;

	q->no_interrupts = true;
	do {
		while (gvq_get(q, &len, &cookie)) {
			struct request *r = cookie;

			if (r->mem[16] != GBLK_OK)
				guest_panic("disk: status %u", r->mem[16]);
			hist_add(&d->m.latency, now_ns() - r->since);
			d->m.ops++;
			r->since = 0;
			r->next = again;
			again = r;
		}
	} while (gvq_interrupts_on(q));
	while (again && !d->b->rate) {
		struct request *r = again;

		again = r->next;
		add(d, q, r);
	}
	gvq_kick(q);
	d->m.kicks += q->kicks - kicks;
}

/* Paced: a burst of `depth` requests at a time; those of the last one that are still out are not
 * started again. */
static void burst(struct disk *d, struct gvq *q)
{
	uint64_t now = now_ns(), kicks = q->kicks;

	if (now < d->due)
		return;
	for (unsigned i = 0; i < d->b->depth; i++)
		if (!d->request[i].since)
			add(d, q, &d->request[i]);
	gvq_kick(q);
	d->m.kicks += q->kicks - kicks;
	d->due = MAX(d->due + (uint64_t)(1e9 * d->b->depth / d->b->rate), now);
}

static void load(struct disk *d)
{
	struct bench *b = d->b;

	for (unsigned i = 0; i < b->queues && !b->rate; i++) {
		for (unsigned n = 0; n < b->depth; n++)
			add(d, &d->blk.q[i], &d->request[i * b->depth + n]);
		gvq_kick(&d->blk.q[i]);
	}
	meter_begin(&d->m, b);
	while (meter_running(&d->m)) {
		struct guest_timer t = {0};

		for (unsigned i = 0; i < b->queues; i++)
			if (gpci_msix_take(&d->blk.v.pci, d->blk.q[i].vector)) {
				d->m.irqs++;
				drain(d, &d->blk.q[i]);
			}
		if (b->rate)
			burst(d, &d->blk.q[0]);
		guest_tick(&b->g, &t, 1000);
	}
	meter_end(&d->m);
}

void bench_disk(struct bench *b)
{
	struct disk d = {.b = b, .random = 88172645463325252ULL};
	unsigned long anon;

	guest_start(&b->g, &b->config);
	b->idle = dm_pss(b, &anon);
	gblk_open(&b->g, &d.blk, 0, b->queues, 0, b->features | GBLK_F_MQ | GBLK_F_FLUSH);
	if (d.blk.queues != b->queues)
		guest_panic("disk: %u queues, not %u", d.blk.queues, b->queues);
	make_requests(&d);
	load(&d);
	meter_print(&d.m);
	gblk_close(&d.blk);
	free(d.request);
	guest_stop(&b->g);
}
