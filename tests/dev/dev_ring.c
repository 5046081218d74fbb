/* SPDX-License-Identifier: MIT */
/* dev_ring.c - split rings: what a driver may rely on, and rings that break each rule
 *
 * A hostile ring has two outcomes. Broken: DEVICE_NEEDS_RESET, a configuration interrupt, and silence until the reset.
 * Refused: the chain comes back with nothing written, or the device breaks; where the chain alone is wrong either
 * will do. Every test ends with a reset and ordinary I/O on the same device.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "tb.h"

#define SIZE 16

/* A machine with a disk whose only queue has SIZE entries. */
static void begin(struct tb *t, uint64_t features)
{
	tb_disk(t, 8 * MiB, "");
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=1");
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, 1, SIZE, features);
}

static void end(struct tb *t)
{
	gblk_restart(&t->blk, GV_F_RING);
	tb_blk_works(t);
	tb_stop(t);
}

/* Memory for a hand-made read request: header at 0, status at 16, data at 512. */
struct raw {
	uint64_t hdr, status, data;
	uint8_t *mem;
};

static struct raw raw_request(struct tb *t)
{
	uint64_t at = guest_alloc(&t->g, 8192, 4096);
	struct raw r = {at, at + 16, at + 512, guest_ptr(&t->g, at, 8192)};

	put_le32(r.mem, GBLK_IN);
	r.mem[16] = GBLK_PENDING;
	memset(r.mem + 512, 0xee, 512);
	return r;
}

/* The well-formed chain 0, 1, 2 that reads sector 0. */
static struct raw raw_chain(struct tb *t)
{
	struct gvq *q = &t->blk.q[0];
	struct raw r = raw_request(t);

	gvq_desc(q, 0, r.hdr, 16, GV_DESC_NEXT, 1);
	gvq_desc(q, 1, r.data, 512, GV_DESC_NEXT | GV_DESC_WRITE, 2);
	gvq_desc(q, 2, r.status, 1, GV_DESC_WRITE, 0);
	return r;
}

static void post(struct gvq *q, unsigned head)
{
	gvq_push_head(q, head);
	gvq_publish(q, q->avail_idx);
	gvq_ring(q);
}

static bool used_grew(struct gvq *q)
{
	return gvq_used_idx(q) != q->used_idx;
}

static void expect_broken(struct tb *t)
{
	assert_true(gv_wait_broken(&t->blk.v));
	assert_true(guest_wait(&t->g, gpci_msix_take(&t->blk.v.pci, 0)));
	assert_false(used_grew(&t->blk.q[0]));
	/* It stays silent. */
	gvq_ring(&t->blk.q[0]);
	guest_sync(&t->g);
	assert_false(used_grew(&t->blk.q[0]));
}

static void expect_refused(struct tb *t, const struct raw *r)
{
	struct gvq *q = &t->blk.q[0];

	assert_true(guest_wait(&t->g, used_grew(q) || gv_needs_reset(&t->blk.v)));
	if (used_grew(q)) {
		assert_int_equal(gvq_used(q, q->used_idx)->len, 0);
		q->used_idx++;
	}
	if (r) {
		assert_int_equal(r->mem[16], GBLK_PENDING);
		for (unsigned i = 0; i < 512; i++)
			assert_int_equal(r->mem[512 + i], 0xee);
	}
}

static void expect_ok(struct tb *t, const struct raw *r)
{
	struct gvq *q = &t->blk.q[0];

	assert_true(guest_wait(&t->g, used_grew(q)));
	q->used_idx++;
	assert_int_equal(r->mem[16], GBLK_OK);
	assert_int_equal(r->mem[512], 0);
}

/* --- what a driver may rely on --- */

static void hand_made(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	begin(t, GV_F_RING);
	r = raw_chain(t);
	post(q, 0);
	expect_ok(t, &r);
	assert_int_equal(gvq_used(q, 0)->id, 0);
	assert_int_equal(gvq_used(q, 0)->len, 513);
	end(t);
}

/* Indices pass 65535 several times, with and without event-idx, direct and indirect. */
static void wrap_with(struct tb *t, uint64_t features)
{
	uint64_t at = guest_alloc(&t->g, 4096, 4096);
	struct gseg seg = {at, 20};
	unsigned done = 0, sent = 0;

	gblk_restart(&t->blk, features);
	while (done < 70000) {
		while (sent < 70000 && gblk_add(&t->blk, 0, GBLK_GET_ID, 0, &seg, 1))
			sent++;
		gvq_kick(&t->blk.q[0]);
		assert_true(guest_wait(&t->g, used_grew(&t->blk.q[0])));
		for (struct gblk_req *r; (r = gblk_done(&t->blk, 0, NULL)); done++)
			assert_int_equal(r->mem[16], GBLK_OK);
	}
}

static void wrap(void **state)
{
	struct tb *t = *state;

	begin(t, GV_F_RING);
	wrap_with(t, GV_F_RING);
	wrap_with(t, 0);
	wrap_with(t, GV_F_EVENT_IDX);
	wrap_with(t, GV_F_INDIRECT);
	end(t);
}

/* An interrupt comes when used_event is passed, and not before. */
static void used_event(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];

	begin(t, GV_F_RING);
	for (unsigned i = 0; i < 4; i++) {
		struct raw r = raw_chain(t);

		post(q, 0);
		expect_ok(t, &r);
		if (i == 0 || i == 3) {
			assert_true(guest_wait(&t->g, gpci_msix_take(&t->blk.v.pci, q->vector)));
			*gvq_used_event(q) = 3; /* tell me of the fourth */
		} else {
			/* The next answer of the device comes after anything it has sent. */
			gv_status(&t->blk.v);
			assert_false(gpci_msix_take(&t->blk.v.pci, q->vector));
		}
	}
	end(t);
}

static void no_interrupt_flag(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	begin(t, GV_F_INDIRECT);
	q->avail[0] = 1;
	r = raw_chain(t);
	post(q, 0);
	expect_ok(t, &r);
	gv_status(&t->blk.v);
	assert_false(gpci_msix_take(&t->blk.v.pci, q->vector));
	q->avail[0] = 0;
	r = raw_chain(t);
	post(q, 0);
	expect_ok(t, &r);
	assert_true(guest_wait(&t->g, gpci_msix_take(&t->blk.v.pci, q->vector)));
	end(t);
}

/* Rings and data above 4 GiB. */
static void high_memory(void **state)
{
	struct tb *t = *state;
	uint64_t low;

	t->config.ram = 4 * GiB;
	begin(t, GV_F_RING);
	low = t->g.next_low;
	t->g.next_low = t->g.next_high;
	gblk_restart(&t->blk, GV_F_RING);
	assert_true(t->blk.q[0].desc_at >= GUEST_HIGH_BASE);
	tb_blk_works(t);
	t->g.next_high = t->g.next_low;
	t->g.next_low = low;
	end(t);
}

/* --- hostile: the chain (rows 1-4, 7-13, 21, 22) --- */

static void self_loop(void **state)
{
	struct tb *t = *state;
	struct raw r;

	begin(t, GV_F_RING);
	r = raw_chain(t);
	gvq_desc(&t->blk.q[0], 1, r.data, 512, GV_DESC_NEXT | GV_DESC_WRITE, 1);
	post(&t->blk.q[0], 0);
	expect_broken(t);
	end(t);
}

static void pair_loop(void **state)
{
	struct tb *t = *state;
	struct raw r;

	begin(t, GV_F_RING);
	r = raw_chain(t);
	gvq_desc(&t->blk.q[0], 1, r.data, 0, GV_DESC_NEXT, 2);
	gvq_desc(&t->blk.q[0], 2, r.data, 0, GV_DESC_NEXT, 1);
	post(&t->blk.q[0], 0);
	expect_broken(t);
	end(t);
}

static void next_outside(void **state)
{
	static const unsigned next[] = {SIZE, SIZE + 1, 0x7fff, 0xffff};
	struct tb *t = *state;

	begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(next); i++) {
		struct raw r = raw_chain(t);

		gvq_desc(&t->blk.q[0], 1, r.data, 512, GV_DESC_NEXT | GV_DESC_WRITE, next[i]);
		post(&t->blk.q[0], 0);
		expect_broken(t);
		gblk_restart(&t->blk, GV_F_RING);
	}
	end(t);
}

static void head_outside(void **state)
{
	static const unsigned head[] = {SIZE, 0x8000, 0xffff};
	struct tb *t = *state;

	begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(head); i++) {
		struct raw r = raw_chain(t);

		/* Behind the table lies what would be a good descriptor: to read it is the mistake. */
		t->blk.q[0].desc[SIZE] = (struct gv_desc){r.hdr, 16, GV_DESC_NEXT, 1};
		post(&t->blk.q[0], head[i]);
		expect_broken(t);
		gblk_restart(&t->blk, GV_F_RING);
	}
	end(t);
}

/* A chain with `n` data segments, written as `table` (NULL: as descriptors of the ring). */
static void long_chain(struct tb *t, const struct raw *r, volatile struct gv_desc *d, unsigned n)
{
	d[0] = (struct gv_desc){r->hdr, 16, GV_DESC_NEXT, 1};
	for (unsigned i = 1; i <= n; i++)
		d[i] = (struct gv_desc){r->data + 512 * (i - 1), 512, GV_DESC_NEXT | GV_DESC_WRITE,
					(uint16_t)(i + 1)};
	d[n + 1] = (struct gv_desc){r->status, 1, GV_DESC_WRITE, 0};
}

static void as_long_as_the_ring(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	uint64_t table;
	struct raw r;

	begin(t, GV_F_RING);
	r = raw_request(t);
	long_chain(t, &r, q->desc, SIZE - 2);
	post(q, 0);
	expect_ok(t, &r);
	/* The same through a table. */
	table = guest_alloc(&t->g, 16 * 64, 16);
	r = raw_request(t);
	long_chain(t, &r, guest_ptr(&t->g, table, 16 * 64), SIZE - 2);
	gvq_desc(q, 0, table, 16 * SIZE, GV_DESC_INDIRECT, 0);
	post(q, 0);
	expect_ok(t, &r);
	/* One more is too long (§2.7.5.3.1). QEMU has a limit of 1024 there, whatever the ring's size. */
	if (!t->qemu) {
		r = raw_request(t);
		long_chain(t, &r, guest_ptr(&t->g, table, 16 * 64), SIZE - 1);
		gvq_desc(q, 0, table, 16 * (SIZE + 1), GV_DESC_INDIRECT, 0);
		post(q, 0);
		expect_broken(t);
	}
	end(t);
}

static void indirect_not_negotiated(void **state)
{
	struct tb *t = *state;
	uint64_t table;
	struct raw r;

	tb_skip_qemu("it follows indirect descriptors whether negotiated or not");
	begin(t, GV_F_EVENT_IDX);
	table = guest_alloc(&t->g, 16 * 8, 16);
	r = raw_request(t);
	long_chain(t, &r, guest_ptr(&t->g, table, 16 * 8), 1);
	gvq_desc(&t->blk.q[0], 0, table, 16 * 3, GV_DESC_INDIRECT, 0);
	post(&t->blk.q[0], 0);
	expect_broken(t);
	end(t);
}

static void indirect_nested(void **state)
{
	struct tb *t = *state;
	volatile struct gv_desc *d;
	uint64_t table;
	struct raw r;

	tb_skip_qemu("it ignores the flag inside a table");
	begin(t, GV_F_RING);
	table = guest_alloc(&t->g, 16 * 8, 16);
	d = guest_ptr(&t->g, table, 16 * 8);
	r = raw_request(t);
	long_chain(t, &r, d, 1);
	d[1].flags |= GV_DESC_INDIRECT;
	gvq_desc(&t->blk.q[0], 0, table, 16 * 3, GV_DESC_INDIRECT, 0);
	post(&t->blk.q[0], 0);
	expect_broken(t);
	end(t);
}

static void indirect_with_next(void **state)
{
	struct tb *t = *state;
	uint64_t table;
	struct raw r;

	tb_skip_qemu("it ignores NEXT beside INDIRECT");
	begin(t, GV_F_RING);
	table = guest_alloc(&t->g, 16 * 8, 16);
	r = raw_request(t);
	long_chain(t, &r, guest_ptr(&t->g, table, 16 * 8), 1);
	gvq_desc(&t->blk.q[0], 0, table, 16 * 3, GV_DESC_INDIRECT | GV_DESC_NEXT, 1);
	gvq_desc(&t->blk.q[0], 1, r.status, 1, GV_DESC_WRITE, 0);
	post(&t->blk.q[0], 0);
	expect_broken(t);
	end(t);
}

static void indirect_length(void **state)
{
	static const uint32_t len[] = {0, 1, 15, 17, 47, 0xffffffff, 0xfffffff0, 16 * 65536};
	struct tb *t = *state;

	begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(len); i++) {
		uint64_t table = guest_alloc(&t->g, 16 * 8, 16);
		struct raw r = raw_request(t);

		/* QEMU checks the multiple only, and that the table is there. */
		if (t->qemu && len[i] >= 16 && len[i] % 16 == 0)
			continue;
		long_chain(t, &r, guest_ptr(&t->g, table, 16 * 8), 1);
		gvq_desc(&t->blk.q[0], 0, table, len[i], GV_DESC_INDIRECT, 0);
		post(&t->blk.q[0], 0);
		expect_broken(t);
		gblk_restart(&t->blk, GV_F_RING);
	}
	end(t);
}

static void indirect_next_outside(void **state)
{
	struct tb *t = *state;
	volatile struct gv_desc *d;
	uint64_t table;
	struct raw r;

	begin(t, GV_F_RING);
	table = guest_alloc(&t->g, 16 * 8, 16);
	d = guest_ptr(&t->g, table, 16 * 8);
	r = raw_request(t);
	long_chain(t, &r, d, 1);
	d[1].next = 3;
	gvq_desc(&t->blk.q[0], 0, table, 16 * 3, GV_DESC_INDIRECT, 0);
	post(&t->blk.q[0], 0);
	expect_broken(t);
	end(t);
}

static void indirect_table_beyond_ram(void **state)
{
	struct tb *t = *state;
	uint64_t table;
	struct raw r;

	begin(t, GV_F_RING);
	table = guest_low_end(&t->g) - 32;
	r = raw_request(t);
	long_chain(t, &r, t->blk.q[0].desc + 8, 0);
	*(volatile struct gv_desc *)guest_ptr(&t->g, table, 16) =
		(struct gv_desc){r.hdr, 16, GV_DESC_NEXT, 1};
	*(volatile struct gv_desc *)guest_ptr(&t->g, table + 16, 16) =
		(struct gv_desc){r.data, 512, GV_DESC_NEXT | GV_DESC_WRITE, 2};
	gvq_desc(&t->blk.q[0], 0, table, 48, GV_DESC_INDIRECT, 0);
	post(&t->blk.q[0], 0);
	expect_refused(t, &r);
	end(t);
}

static void readable_after_writable(void **state)
{
	struct tb *t = *state;
	struct raw r;

	begin(t, GV_F_RING);
	r = raw_chain(t);
	gvq_desc(&t->blk.q[0], 2, r.status, 1, 0, 0);
	post(&t->blk.q[0], 0);
	expect_refused(t, &r);
	end(t);
}

/* Buffers that are not RAM: beyond it, across its end, in a BAR, in the ECAM, near 2^64. */
static void bad_buffers(void **state)
{
	struct tb *t = *state;
	const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{0, 0}, /* replaced: across the end of low RAM */
		{0x90000000, 512},
		{UINT64_MAX - 255, 512},
		{UINT64_MAX, 1},
		{UINT64_MAX - 511, 512},
		{1ULL << 52, 512},
		{0xfee00000, 512},
		{GUEST_ECAM_BASE, 512},
		{GUEST_MMIO_BASE, 512},
		{GUEST_HIGH_BASE - 256, 512},
	};

	tb_skip_qemu("it lets DMA reach what is not RAM, and counts it as written");
	begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct raw r = raw_chain(t);
		uint64_t addr = i ? bad[i].addr : guest_low_end(&t->g) - 256;

		gvq_desc(&t->blk.q[0], 1, addr, i ? bad[i].len : 512, GV_DESC_NEXT | GV_DESC_WRITE,
			 2);
		post(&t->blk.q[0], 0);
		expect_refused(t, &r);
		assert_false(gv_needs_reset(&t->blk.v));
	}
	/* The same as header and as status. */
	for (unsigned i = 0; i < 3; i += 2) {
		struct raw r = raw_chain(t);

		gvq_desc(&t->blk.q[0], i, UINT64_MAX - 3, i ? 1 : 16,
			 i ? GV_DESC_WRITE : GV_DESC_NEXT, 1);
		post(&t->blk.q[0], 0);
		expect_refused(t, &r);
	}
	end(t);
}

static void empty_buffers(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	begin(t, GV_F_RING);
	/* An empty one among others. */
	r = raw_chain(t);
	gvq_desc(q, 1, r.data, 0, GV_DESC_NEXT | GV_DESC_WRITE, 3);
	gvq_desc(q, 3, r.data, 512, GV_DESC_NEXT | GV_DESC_WRITE, 2);
	post(q, 0);
	assert_true(guest_wait(&t->g, used_grew(q) || gv_needs_reset(&t->blk.v)));
	gblk_restart(&t->blk, GV_F_RING);
	/* Nothing but empty ones. */
	r = raw_chain(t);
	for (unsigned i = 0; i < 3; i++)
		gvq_desc(q, i, r.data, 0, i < 2 ? GV_DESC_NEXT : 0, i + 1);
	post(q, 0);
	expect_refused(t, &r);
	end(t);
}

/* Two buffers of 3 GiB: more than a used length can say. */
static void over_4g(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	tb_skip_qemu("it answers, with a length cut to 32 bits");
	t->config.ram = 6 * GiB;
	begin(t, GV_F_RING);
	r = raw_chain(t);
	gvq_desc(q, 1, GUEST_HIGH_BASE, 3U << 30, GV_DESC_NEXT | GV_DESC_WRITE, 3);
	gvq_desc(q, 3, GUEST_HIGH_BASE, 3U << 30, GV_DESC_NEXT | GV_DESC_WRITE, 2);
	post(q, 0);
	expect_refused(t, &r);
	end(t);
}

/* --- hostile: the indices (rows 5, 6, 14, 15) --- */

static void index_jumps(void **state)
{
	static const uint16_t jump[] = {SIZE + 1, 0x8000, 0xffff};
	struct tb *t = *state;

	begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(jump); i++) {
		struct gvq *q = &t->blk.q[0];
		struct raw r = raw_chain(t);

		post(q, 0);
		expect_ok(t, &r);
		gpci_msix_take(&t->blk.v.pci, 0);
		gvq_publish(q, (uint16_t)(q->avail_idx + jump[i]));
		gvq_ring(q);
		expect_broken(t);
		gblk_restart(&t->blk, GV_F_RING);
	}
	end(t);
}

static void same_head_twice(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];

	begin(t, GV_F_RING);
	raw_chain(t);
	for (unsigned i = 0; i < SIZE; i++)
		gvq_push_head(q, 0);
	gvq_publish(q, q->avail_idx);
	gvq_ring(q);
	assert_true(guest_wait(&t->g, gvq_used_idx(q) == SIZE || gv_needs_reset(&t->blk.v)));
	end(t);
}

static void used_rewritten(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	begin(t, GV_F_RING);
	for (unsigned i = 0; i < 3 * SIZE; i++) {
		r = raw_chain(t);
		q->used[1] = (uint16_t)(0x7777 * i);
		for (unsigned k = 2; k < 4 * SIZE; k++)
			q->used[k] = 0xdead;
		q->used_idx = (uint16_t)(0x7777 * i);
		post(q, 0);
		/* The device counts for itself. */
		assert_true(guest_wait(&t->g, gvq_used_idx(q) == i + 1));
		assert_int_equal(gvq_used(q, (uint16_t)i)->len, 513);
		assert_int_equal(r.mem[16], GBLK_OK);
	}
	end(t);
}

/* --- hostile: races (rows 16, 17) --- */

static atomic_bool stop_racing;

struct race {
	struct gvq *q;
	struct raw r;
};

static void *racer(void *arg)
{
	struct race *c = arg;
	volatile struct gv_desc *d = c->q->desc;
	uint32_t n = 0;

	while (!atomic_load(&stop_racing)) {
		n++;
		d[1].addr = n & 1 ? c->r.data : UINT64_MAX - 100;
		d[1].len = n & 2 ? 512 : 0xfffffe00;
		d[0].len = n & 4 ? 16 : 3;
		d[2].flags = n & 8 ? GV_DESC_WRITE : GV_DESC_NEXT;
		put_le32(c->r.mem, n & 16 ? GBLK_IN : n & 32 ? GBLK_DISCARD : 0xffff);
		put_le64(c->r.mem + 8, n & 64 ? 0 : UINT64_MAX);
	}
	return NULL;
}

static void racing(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct race c = {.q = q};
	pthread_t thread;
	unsigned broken = 0;
	uint8_t byte;

	begin(t, GV_F_RING);
	atomic_store(&stop_racing, false);
	c.r = raw_chain(t);
	assert_int_equal(pthread_create(&thread, NULL, racer, &c), 0);
	for (unsigned i = 0; i < 500; i++) {
		uint16_t before = gvq_used_idx(q);

		post(q, 0);
		if (!guest_wait(&t->g, gvq_used_idx(q) != before || gv_needs_reset(&t->blk.v)))
			break;
		if (gv_needs_reset(&t->blk.v)) {
			struct gvq old = *q;

			/* Begin anew on the same memory, under the racer's hands. */
			broken++;
			gv_negotiate(&t->blk.v, GV_F_RING);
			*q = old;
			q->avail_idx = q->used_idx = 0;
			q->avail[1] = q->used[1] = 0;
			gvq_program(q);
			gv_common_set(&t->blk.v, GV_QENABLE, 2, 1);
			gv_start(&t->blk.v);
		}
	}
	atomic_store(&stop_racing, true);
	pthread_join(thread, NULL);
	print_message("broken %u times\n", broken);
	assert_int_equal(pread(t->disk[0].fd, &byte, 1, 0), 1);
	end(t);
}

/* --- hostile: where the areas lie (rows 18-20) --- */

/* Set queue 0 up with these areas; true when the device took them and answers a request there. */
static bool areas_work(struct tb *t, uint64_t desc, uint64_t avail, uint64_t used)
{
	struct gvirtio *v = &t->blk.v;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	gv_negotiate(v, GV_F_RING);
	gvq_init(v, q, 0, SIZE);
	q->desc_at = desc ? desc : q->desc_at;
	q->avail_at = avail ? avail : q->avail_at;
	q->used_at = used ? used : q->used_at;
	gvq_program(q);
	gv_common_set(v, GV_QENABLE, 2, 1);
	if (!gv_common(v, GV_QENABLE, 2)) {
		gv_set_status(v, 15);
		gvq_ring(q);
		return false;
	}
	gv_start(v);
	if (gv_needs_reset(v))
		return false;
	q->desc = guest_ptr(&t->g, q->desc_at, 16 * SIZE);
	q->avail = guest_ptr(&t->g, q->avail_at, 6 + 2 * SIZE);
	q->used = guest_ptr(&t->g, q->used_at, 6 + 8 * SIZE);
	r = raw_chain(t);
	post(q, 0);
	if (!guest_wait(&t->g, gvq_used_idx(q) == 1 || gv_needs_reset(v)) || gv_needs_reset(v))
		return false;
	assert_int_equal(r.mem[16], GBLK_OK);
	return true;
}

static void areas(void **state)
{
	struct tb *t = *state;
	uint64_t ram_end, bad[8];

	tb_skip_qemu("it accepts the addresses and complains later");
	begin(t, GV_F_RING);
	ram_end = guest_low_end(&t->g);
	/* To the last byte of RAM, and one step (of their alignment) more. */
	assert_true(areas_work(t, ram_end - 16 * SIZE, 0, 0));
	assert_false(areas_work(t, ram_end - 16 * SIZE + 16, 0, 0));
	assert_true(areas_work(t, 0, ram_end - (6 + 2 * SIZE), 0));
	assert_false(areas_work(t, 0, ram_end - (6 + 2 * SIZE) + 2, 0));
	assert_true(areas_work(t, 0, 0, ram_end - (8 + 8 * SIZE)));
	assert_false(areas_work(t, 0, 0, ram_end - (8 + 8 * SIZE) + 4));
	/* Unaligned. */
	assert_false(areas_work(t, 2 * MiB + 8, 0, 0));
	assert_false(areas_work(t, 0, 2 * MiB + 1, 0));
	assert_false(areas_work(t, 0, 0, 2 * MiB + 2));
	/* Not RAM. */
	bad[0] = ram_end;
	bad[1] = 0xfee00000;
	bad[2] = GUEST_ECAM_BASE;
	bad[3] = t->blk.v.common;
	bad[4] = 1ULL << 52;
	bad[5] = 1ULL << 63;
	bad[6] = UINT64_MAX - 15;
	bad[7] = 0x90000000;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(areas_work(t, bad[i], 0, 0));
		assert_false(areas_work(t, 0, bad[i], 0));
		assert_false(areas_work(t, 0, 0, bad[i]));
	}
	end(t);
}

/* All areas in one place: the guest confuses itself and nobody else. */
static void overlapping_areas(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &t->blk.v;
	struct gvq *q = &t->blk.q[0];
	uint64_t at;

	begin(t, GV_F_RING);
	at = guest_alloc(&t->g, 4096, 4096);
	for (unsigned i = 0; i < 8; i++) {
		gv_negotiate(v, GV_F_RING);
		gvq_init(v, q, 0, SIZE);
		q->desc_at = at;
		q->avail_at = at + (i & 1 ? 2 : 0);
		q->used_at = at + (i & 2 ? 4 : 0);
		tb_pattern(guest_ptr(&t->g, at, 4096), 4096, i);
		gvq_program(q);
		gv_common_set(v, GV_QENABLE, 2, 1);
		gv_start(v);
		for (unsigned k = 0; k < 50; k++)
			gvq_ring(q);
		guest_sync(&t->g);
	}
	end(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(hand_made),
		tb_test(wrap),
		tb_test(used_event),
		tb_test(no_interrupt_flag),
		tb_test(high_memory),
		tb_test(self_loop),
		tb_test(pair_loop),
		tb_test(next_outside),
		tb_test(head_outside),
		tb_test(as_long_as_the_ring),
		tb_test(indirect_not_negotiated),
		tb_test(indirect_nested),
		tb_test(indirect_with_next),
		tb_test(indirect_length),
		tb_test(indirect_next_outside),
		tb_test(indirect_table_beyond_ram),
		tb_test(readable_after_writable),
		tb_test(bad_buffers),
		tb_test(empty_buffers),
		tb_test(over_4g),
		tb_test(index_jumps),
		tb_test(same_head_twice),
		tb_test(used_rewritten),
		tb_test(racing),
		tb_test(areas),
		tb_test(overlapping_areas),
	};

	return tb_run("ring", tests);
}
