/* SPDX-License-Identifier: MIT */
/* misc.c - what is not a data path: exits, entropy, start-up, size */
#include "bench.h"

#include <stdio.h>

/* One access of the kind that --len selects, as a line of the protocol: configuration space (0), a
 * virtio register (1), the bell of an empty queue (2), or none at all (3): a question of the
 * protocol, so that its own share is known. */
static int access_line(char *out, size_t room, struct gblk *d, unsigned kind)
{
	static const char *const format[] = {"readl 0x%llx\n", "readb 0x%llx\n",
					     "writew 0x%llx 0\n", "endianness\n"};
	const uint64_t addr[] = {gpci_ecam(0, d->v.pci.devfn, 0), d->v.common + GV_STATUS,
				 d->q[0].doorbell, 0};

	if (kind >= ARRAY_SIZE(format))
		guest_panic("exit: --len 0 to %zu", ARRAY_SIZE(format) - 1);
	return snprintf(out, room, format[kind], (unsigned long long)addr[kind]);
}

/* Register accesses: --depth of them at a time, as if so many vCPUs made one each. All travel
 * through the same socket. */
void bench_exit(struct bench *b)
{
	char lines[8192];
	size_t len = 0;
	struct meter m;
	struct gblk d;

	guest_start(&b->g, &b->config);
	gblk_open(&b->g, &d, 0, 1, 0, b->features);
	for (unsigned i = 0; i < b->depth; i++) {
		len += (size_t)access_line(lines + len, sizeof(lines) - len, &d, b->len);
		if (len >= sizeof(lines))
			guest_panic("exit: at most %u at a time", i);
	}
	meter_begin(&m, b);
	while (meter_running(&m)) {
		uint64_t before = now_ns();

		guest_send_lines(&b->g, lines, len, b->depth);
		hist_add(&m.latency, now_ns() - before);
		m.ops += b->depth;
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
