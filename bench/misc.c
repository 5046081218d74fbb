/* SPDX-License-Identifier: MIT */
/* misc.c - what is not a data path: exits, entropy, start-up, size */
#include "bench.h"

#include <stdio.h>

/* Register accesses, one at a time, as a vCPU makes them: --len selects configuration space (0), a virtio register (1), the bell of
 * an empty queue (2), or none at all (3): a question of the protocol, so that its own share is known. */
void bench_exit(struct bench *b)
{
	struct meter m;
	struct gblk d;

	guest_start(&b->g, &b->config);
	gblk_open(&b->g, &d, 0, 1, 0, b->features);
	meter_begin(&m, b);
	while (meter_running(&m)) {
		uint64_t before = now_ns();

		if (b->len == 0)
			gpci_cfg(&d.v.pci, 0, 4);
		else if (b->len == 1)
			gv_common(&d.v, GV_STATUS, 1);
		else if (b->len == 2)
			guest_store(&b->g, d.q[0].doorbell, 2, 0);
		else
			guest_ask(&b->g, "endianness");
		hist_add(&m.latency, now_ns() - before);
		m.ops++;
	}
	meter_end(&m);
	meter_print(&m);
	gblk_close(&d);
	guest_stop(&b->g);
}

void bench_rng(struct bench *b)
{
	struct meter m;
	struct grng r;

	guest_start(&b->g, &b->config);
	grng_open(&b->g, &r, 0);
	meter_begin(&m, b);
	while (meter_running(&m)) {
		uint64_t before = now_ns();
		uint8_t buf[4096];

		if (grng_read(&r, buf, b->len, GUEST_WAIT_MS) <= 0)
			guest_panic("rng: nothing came");
		m.irqs += gpci_msix_take(&r.v.pci, r.q.vector);
		hist_add(&m.latency, now_ns() - before);
		m.ops++;
	}
	meter_end(&m);
	meter_print(&m);
	guest_stop(&b->g);
}

/* From fork to the first answer, and what the process is then. */
void bench_start(struct bench *b)
{
	struct meter m = {.b = b};
	uint64_t begin = now_ns();

	guest_start(&b->g, &b->config);
	m.wall = now_ns() - begin;
	m.cpu = dm_cpu(b);
	m.ops = 1;
	meter_print(&m);
	guest_stop(&b->g);
}
