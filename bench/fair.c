/* SPDX-License-Identifier: MIT */
/* fair.c - many disks with many queues, all kept busy: does each get its share?
 *
 * The driver polls, device by device, so that it gives none of them an advantage for longer than
 * one pass.
 */
#include "bench.h"

#include <stdlib.h>

#define DEVICES_MAX 24

struct fleet {
	struct gblk disk[DEVICES_MAX];
	uint64_t done[DEVICES_MAX];
	uint64_t data;
};

static void add(struct fleet *f, struct gblk *d, unsigned queue, struct meter *m)
{
	struct gseg s = {f->data, m->b->len};

	if (!gblk_add(d, queue, GBLK_IN, (m->ops * 7919 + queue) * 8 % d->sectors / 8 * 8, &s, 1))
		guest_panic("disk: the ring is full");
}

static void pass(struct fleet *f, struct meter *m)
{
	struct bench *b = m->b;

	for (unsigned i = 0; i < b->devices; i++) {
		struct gblk *d = &f->disk[i];

		for (unsigned q = 0; q < b->queues; q++) {
			unsigned n = 0;

			while (gblk_done(d, q, NULL))
				n++;
			f->done[i] += n;
			m->ops += n;
			while (n--)
				add(f, d, q, m);
			gvq_kick(&d->q[q]);
		}
	}
}

void bench_fair(struct bench *b)
{
	struct fleet *f = calloc(1, sizeof(*f));
	struct meter m = {.b = b};

	if (!f || b->devices > DEVICES_MAX || b->queues > GBLK_QUEUES)
		guest_panic("at most %u devices of %u queues", DEVICES_MAX, GBLK_QUEUES);
	guest_start(&b->g, &b->config);
	f->data = guest_alloc(&b->g, b->len, 4096);
	for (unsigned i = 0; i < b->devices; i++) {
		struct gblk *d = &f->disk[i];

		gblk_open(&b->g, d, i, b->queues, 0, b->features | GBLK_F_MQ);
		for (unsigned q = 0; q < d->queues; q++) {
			d->q[q].no_interrupts = true;
			for (unsigned n = 0; n < b->depth; n++)
				add(f, d, q, &m);
			gvq_kick(&d->q[q]);
		}
	}
	meter_begin(&m, b);
	while (meter_running(&m)) {
		if (!m.ops)
			for (unsigned i = 0; i < b->devices; i++)
				f->done[i] = 0;
		pass(f, &m);
	}
	meter_end(&m);
	m.least = 1;
	for (unsigned i = 0; i < b->devices; i++) {
		double share = (double)f->done[i] * b->devices / (double)m.ops;

		m.least = MIN(m.least, share);
		gblk_close(&f->disk[i]);
	}
	meter_print(&m);
	free(f);
	guest_stop(&b->g);
}
