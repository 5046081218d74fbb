/* SPDX-License-Identifier: MIT */
/* p9.c - a folder of the host by 9P: bulk data, and what a build or a `find` asks for
 *
 * The folder (that of -fsdev) has a file `data` of DATA_SIZE bytes, and a folder `many` of ENTRIES
 * files; bench/run makes them. --len is the msize of the session. Bulk data go through the file
 * from front to back, --depth requests at a time, each as large as Linux makes them; everything
 * else is one message at a time.
 */
#include "bench.h"
#include "g9p.h"

#include <stdlib.h>
#include <string.h>

#define DATA_SIZE (32 * MiB)
#define ENTRIES	  1000
#define IO_HEADER 24 /* what Linux keeps of msize for the header of a read or a write */
#define O_RDWR_L  2  /* as Linux numbers them */
#define O_DIR_L	  0200000

enum { ROOT = 1, FILE_FID, DIR_FID, TEMP_FID };

struct share {
	struct bench *b;
	struct meter m;
	struct g9p p;
	uint32_t count; /* of one read or write */
	uint64_t off;
};

static void must(int rc, const char *what)
{
	if (rc)
		guest_panic("9p: %s: %s", what, rc < 0 ? "no answer" : strerror(rc));
}

static void mount(struct share *s, struct bench *b)
{
	s->b = b;
	s->count = b->len - IO_HEADER;
	guest_start(&b->g, &b->config);
	g9p_open(&b->g, &s->p, 0);
	must(g9p_version(&s->p, b->len), "version");
	if (s->p.msize != b->len)
		guest_panic("9p: msize %u, not %u", s->p.msize, b->len);
	must(g9p_do(&s->p, G9P_ATTACH, "ddssd", ROOT, ~0u, "", "", 0), "attach");
}

/* Measure `op`; kicks and interrupts are those of the queue. */
static void measure(struct share *s, void (*op)(struct share *s))
{
	struct gvq *q = &s->p.q;

	meter_begin(&s->m, s->b);
	while (meter_running(&s->m)) {
		uint64_t before = now_ns(), kicks = q->kicks;

		op(s);
		s->m.kicks += q->kicks - kicks;
		s->m.irqs += gpci_msix_take(&s->p.v.pci, q->vector);
		hist_add(&s->m.latency, now_ns() - before);
		s->m.ops++;
	}
	meter_end(&s->m);
	meter_print(&s->m);
	guest_stop(&s->b->g);
}

/* --- bulk --- */

static struct g9p_req *start_io(struct share *s, const struct gseg *buffer, bool write)
{
	struct g9p_req *r =
		g9p_prepare(&s->p, write ? G9P_WRITE : G9P_READ, "dqd", FILE_FID, s->off, s->count);

	if (write)
		put_le32(r->out, r->len + s->count);
	s->off += s->count;
	if (s->off + s->count > DATA_SIZE)
		s->off = 0;
	g9p_queue(r, buffer, write, !write);
	return r;
}

static void bulk(struct bench *b, bool write)
{
	static struct share s;
	struct gseg *buffer;
	struct g9p_req **req;
	struct meter *m = &s.m;
	struct gvq *q = &s.p.q;

	buffer = calloc(b->depth, sizeof(*buffer));
	req = calloc(b->depth, sizeof(*req));
	if (!buffer || !req)
		guest_panic("out of memory");
	mount(&s, b);
	must(g9p_walk(&s.p, ROOT, FILE_FID, "data"), "walk");
	must(g9p_lopen(&s.p, FILE_FID, O_RDWR_L), "open");
	for (unsigned i = 0; i < b->depth; i++) {
		buffer[i] = (struct gseg){guest_alloc(&b->g, s.count, 4096), s.count};
		req[i] = start_io(&s, &buffer[i], write);
	}
	g9p_kick(&s.p);
	meter_begin(m, b);
	while (meter_running(m)) {
		struct guest_timer t = {0};
		uint64_t kicks = q->kicks;

		m->irqs += gpci_msix_take(&s.p.v.pci, q->vector);
		g9p_poll(&s.p);
		for (unsigned i = 0; i < b->depth; i++) {
			if (!req[i]->done)
				continue;
			must(g9p_wait(req[i]), "data");
			if (get_le32(req[i]->in + 7) != s.count)
				guest_panic("9p: %u of %u bytes", get_le32(req[i]->in + 7),
					    s.count);
			m->ops++;
			m->bytes += s.count;
			req[i] = start_io(&s, &buffer[i], write);
		}
		g9p_kick(&s.p);
		m->kicks += q->kicks - kicks;
		guest_tick(&b->g, &t, 1000);
	}
	meter_end(m);
	meter_print(m);
	for (unsigned i = 0; i < b->depth; i++)
		must(g9p_wait(req[i]), "data");
	free(buffer);
	free(req);
	guest_stop(&b->g);
}

void bench_p9_read(struct bench *b)
{
	bulk(b, false);
}

void bench_p9_write(struct bench *b)
{
	bulk(b, true);
}

/* --- names --- */

static void stat_one(struct share *s)
{
	struct g9p_attr a;

	must(g9p_walk(&s->p, ROOT, TEMP_FID, "data"), "walk");
	must(g9p_getattr(&s->p, TEMP_FID, &a), "getattr");
	must(g9p_clunk(&s->p, TEMP_FID), "clunk");
}

void bench_p9_stat(struct bench *b)
{
	static struct share s;

	mount(&s, b);
	measure(&s, stat_one);
}

static void create_one(struct share *s)
{
	must(g9p_walk(&s->p, ROOT, TEMP_FID, ""), "walk");
	must(g9p_lcreate(&s->p, TEMP_FID, "new", O_RDWR_L, 0644), "create");
	must(g9p_clunk(&s->p, TEMP_FID), "clunk");
	must(g9p_do(&s->p, G9P_UNLINKAT, "dsd", ROOT, "new", 0), "unlink");
}

void bench_p9_create(struct bench *b)
{
	static struct share s;

	mount(&s, b);
	measure(&s, create_one);
}

/* The answer goes to the memory for data, so that it may be long. */
static void list_all(struct share *s)
{
	uint64_t from = 0;
	unsigned entries = 0;

	for (;;) {
		struct g9p_req *r = g9p_prepare(&s->p, G9P_READDIR, "dqd", DIR_FID, from, s->count);
		struct gseg data = {s->p.data_at, s->count};
		const uint8_t *at = s->p.data;
		uint32_t left;

		g9p_queue(r, &data, 0, 1);
		g9p_kick(&s->p);
		must(g9p_wait(r), "readdir");
		left = get_le32(r->in + 7);
		if (!left)
			break;
		/* qid, offset, type, name */
		while (left >= 24) {
			uint32_t len = 24u + get_le16(at + 22);

			from = get_le64(at + 13);
			at += len;
			left -= MIN(left, len);
			entries++;
		}
	}
	if (entries != ENTRIES + 2)
		guest_panic("9p: %u entries", entries);
}

void bench_p9_readdir(struct bench *b)
{
	static struct share s;

	mount(&s, b);
	must(g9p_walk(&s.p, ROOT, DIR_FID, "many"), "walk");
	must(g9p_lopen(&s.p, DIR_FID, O_DIR_L), "open");
	measure(&s, list_all);
}
