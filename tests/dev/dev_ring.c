/* SPDX-License-Identifier: MIT */
/* dev_ring.c - rings of both layouts, in order and not: what a driver may rely on, and chains that
 * break each rule
 *
 * What only one layout knows is in dev_split.c and dev_packed.c, and in dev_order.c what only
 * in-order use knows.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "rings.h"

/* The packed ring's size need not be a power of two. */
static const struct layout layouts[] = {
	{"ring, split", "", 0, 16},
	{"ring, packed", ",packed=on", GV_F_PACKED, 16},
	{"ring, packed, 13 entries", ",packed=on", GV_F_PACKED, 13},
	{"ring, split in order", ",in_order=on", GV_F_IN_ORDER, 16},
	{"ring, packed in order", ",packed=on,in_order=on", GV_F_PACKED | GV_F_IN_ORDER, 16},
};

/* --- what a driver may rely on --- */

static void hand_made(void **state)
{
	struct tb *t = *state;
	struct raw r;
	uint32_t id;

	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	raw_post(t, &r);
	assert_true(guest_wait(&t->g, used_grew(&t->blk.q[0])));
	assert_int_equal(used_take(&t->blk.q[0], 3, &id), 513);
	assert_int_equal(id, 0);
	assert_int_equal(r.mem[16], GBLK_OK);
	assert_int_equal(r.mem[512], 0);
	ring_end(t);
}

/* Indices pass 65535 several times, with and without event-idx, direct and indirect. */
static void wrap_with(struct tb *t, uint64_t features)
{
	uint64_t at = guest_alloc(&t->g, 4096, 4096);
	struct gseg seg = {at, 20};
	unsigned done = 0, sent = 0;

	ring_again(t, features);
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

	ring_begin(t, GV_F_RING);
	wrap_with(t, GV_F_RING);
	wrap_with(t, 0);
	wrap_with(t, GV_F_EVENT_IDX);
	wrap_with(t, GV_F_INDIRECT);
	ring_end(t);
}

/* An interrupt comes when used_event is passed, and not before. */
static void used_event(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];

	ring_begin(t, GV_F_RING);
	for (unsigned i = 0; i < 4; i++) {
		struct raw r = raw_chain(t);

		raw_post(t, &r);
		expect_ok(t, &r);
		if (i == 0 || i == 3) {
			assert_true(guest_wait(&t->g, gpci_msix_take(&t->blk.v.pci, q->vector)));
			gvq_ask(q, ring_packed() ? 6 : 2); /* tell me of the fourth */
		} else {
			/* The next answer of the device comes after anything it has sent. */
			gv_status(&t->blk.v);
			assert_false(gpci_msix_take(&t->blk.v.pci, q->vector));
		}
	}
	ring_end(t);
}

static void no_interrupt_flag(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	ring_begin(t, GV_F_INDIRECT);
	q->avail[ring_packed()] = 1; /* the flags of either layout */
	r = raw_chain(t);
	raw_post(t, &r);
	expect_ok(t, &r);
	gv_status(&t->blk.v);
	assert_false(gpci_msix_take(&t->blk.v.pci, q->vector));
	q->avail[ring_packed()] = 0;
	r = raw_chain(t);
	raw_post(t, &r);
	expect_ok(t, &r);
	assert_true(guest_wait(&t->g, gpci_msix_take(&t->blk.v.pci, q->vector)));
	ring_end(t);
}

/* Rings and data above 4 GiB. */
static void high_memory(void **state)
{
	struct tb *t = *state;
	uint64_t low;

	t->config.ram = 4 * GiB;
	ring_begin(t, GV_F_RING);
	low = t->g.next_low;
	t->g.next_low = t->g.next_high;
	ring_again(t, GV_F_RING);
	assert_true(t->blk.q[0].desc_at >= GUEST_HIGH_BASE);
	tb_blk_works(t);
	t->g.next_high = t->g.next_low;
	t->g.next_low = low;
	ring_end(t);
}

/* --- hostile: the chain --- */

static void as_long_as_the_ring(void **state)
{
	struct tb *t = *state;
	struct raw r;

	ring_begin(t, GV_F_RING);
	/* From the ring's first place, and then from another one. */
	for (unsigned i = 0; i < 3; i++) {
		r = raw_long(t, layout->size - 2);
		raw_post(t, &r);
		expect_ok(t, &r);
		r = raw_chain(t);
		raw_post(t, &r);
		expect_ok(t, &r);
	}
	/* The same through a table. */
	r = raw_long(t, layout->size - 2);
	raw_indirect(t, &r, 0);
	raw_post(t, &r);
	expect_ok(t, &r);
	/* One more is too long (§2.7.5.3.1). QEMU has a limit of 1024 there, whatever the ring's
	 * size. */
	if (!t->qemu) {
		r = raw_long(t, layout->size - 1);
		raw_indirect(t, &r, 0);
		raw_post(t, &r);
		expect_broken(t);
	}
	ring_end(t);
}

static void indirect_not_negotiated(void **state)
{
	struct tb *t = *state;
	struct raw r;

	tb_skip_qemu("it follows indirect descriptors whether negotiated or not");
	ring_begin(t, GV_F_EVENT_IDX);
	r = raw_chain(t);
	raw_indirect(t, &r, 0);
	raw_post(t, &r);
	expect_broken(t);
	ring_end(t);
}

static void indirect_nested(void **state)
{
	struct tb *t = *state;
	struct raw r;

	tb_skip_qemu("it ignores the flag inside a table");
	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	r.d[1].flags |= GV_DESC_INDIRECT;
	raw_indirect(t, &r, 0);
	raw_post(t, &r);
	expect_broken(t);
	ring_end(t);
}

static void indirect_with_next(void **state)
{
	struct tb *t = *state;
	struct raw r;

	tb_skip_qemu("it ignores NEXT beside INDIRECT");
	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	raw_indirect(t, &r, 0);
	r.d[0].flags |= GV_DESC_NEXT;
	r.d[0].next = 1;
	r.d[1] = (struct gv_desc){r.status, 1, GV_DESC_WRITE, 0};
	r.n = 2;
	raw_post(t, &r);
	expect_broken(t);
	/* A table after a descriptor is the end of a chain in the split ring alone (§2.7.5.3.1,
	 * §2.8.19). */
	ring_again(t, GV_F_RING);
	r = raw_chain(t);
	raw_indirect(t, &r, 0);
	r.d[1] = r.d[0];
	r.d[0] = (struct gv_desc){r.hdr, 0, GV_DESC_NEXT, 1};
	r.n = 2;
	raw_post(t, &r);
	if (ring_packed())
		expect_broken(t);
	else
		expect_ok(t, &r);
	ring_end(t);
}

static void indirect_length(void **state)
{
	static const uint32_t len[] = {0, 1, 15, 17, 47, 0xffffffff, 0xfffffff0, 16 * 65536};
	struct tb *t = *state;

	ring_begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(len); i++) {
		struct raw r = raw_chain(t);

		/* QEMU checks the multiple only, and that the table is there. */
		if (t->qemu && len[i] >= 16 && len[i] % 16 == 0)
			continue;
		raw_indirect(t, &r, 0);
		r.d[0].len = len[i];
		raw_post(t, &r);
		expect_broken(t);
		ring_again(t, GV_F_RING);
	}
	ring_end(t);
}

/* The table need not be aligned (a driver that keeps to 16 is what QEMU and Linux have, not what
 * §2.8 says). */
static void indirect_unaligned(void **state)
{
	struct tb *t = *state;
	struct raw r;

	ring_begin(t, GV_F_RING);
	for (unsigned i = 2; i < 16; i += 2) {
		r = raw_chain(t);
		raw_indirect(t, &r, guest_alloc(&t->g, 4096, 4096) + i);
		raw_post(t, &r);
		expect_ok(t, &r);
	}
	ring_end(t);
}

static void indirect_table_beyond_ram(void **state)
{
	struct tb *t = *state;
	struct raw r;

	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	r.n = 2;
	raw_indirect(t, &r, guest_low_end(&t->g) - 32);
	r.d[0].len = 48;
	raw_post(t, &r);
	expect_refused(t, &r);
	ring_end(t);
}

static void readable_after_writable(void **state)
{
	struct tb *t = *state;
	struct raw r;

	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	r.d[2].flags = 0;
	raw_post(t, &r);
	expect_refused(t, &r);
	ring_end(t);
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
	ring_begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct raw r = raw_chain(t);
		uint64_t addr = i ? bad[i].addr : guest_low_end(&t->g) - 256;

		r.d[1].addr = addr;
		r.d[1].len = i ? bad[i].len : 512;
		raw_post(t, &r);
		expect_refused(t, &r);
		assert_false(gv_needs_reset(&t->blk.v));
	}
	/* The same as header and as status. */
	for (unsigned i = 0; i < 3; i += 2) {
		struct raw r = raw_chain(t);

		r.d[i].addr = UINT64_MAX - 3;
		raw_post(t, &r);
		expect_refused(t, &r);
	}
	ring_end(t);
}

static void empty_buffers(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	ring_begin(t, GV_F_RING);
	/* An empty one among others. */
	r = raw_long(t, 2);
	r.d[1].len = 0;
	raw_post(t, &r);
	assert_true(guest_wait(&t->g, used_grew(q) || gv_needs_reset(&t->blk.v)));
	ring_again(t, GV_F_RING);
	/* Nothing but empty ones. */
	r = raw_chain(t);
	for (unsigned i = 0; i < 3; i++) {
		r.d[i].len = 0;
		r.d[i].flags &= GV_DESC_NEXT;
	}
	raw_post(t, &r);
	expect_refused(t, &r);
	ring_end(t);
}

/* Two buffers of 3 GiB: more than a used length can say. */
static void over_4g(void **state)
{
	struct tb *t = *state;
	struct raw r;

	tb_skip_qemu("it answers, with a length cut to 32 bits");
	t->config.ram = 6 * GiB;
	ring_begin(t, GV_F_RING);
	r = raw_long(t, 2);
	r.d[1].addr = r.d[2].addr = GUEST_HIGH_BASE;
	r.d[1].len = r.d[2].len = 3U << 30;
	raw_post(t, &r);
	expect_refused(t, &r);
	ring_end(t);
}

/* --- hostile: races --- */

static atomic_bool stop_racing;

struct race {
	struct gvq *q;
	uint8_t *mem;
	uint64_t data;
};

/* It races the driver of this program, too, on purpose. */
__attribute__((no_sanitize_thread)) static void *racer(void *arg)
{
	struct race *c = arg;

	for (uint32_t n = 0; !atomic_load(&stop_racing); n++) {
		volatile struct gv_desc *d = &c->q->desc[n % layout->size];
		uint64_t addr = n & 32 ? c->data : UINT64_MAX - 100;
		uint32_t len = n & 64 ? n & 128 ? 512 : 16 : n & 256 ? 1 : 0xfffffe00;

		__atomic_store_n(&d->addr, addr, __ATOMIC_RELAXED);
		__atomic_store_n(&d->len, len, __ATOMIC_RELAXED);
		if (!ring_packed())
			__atomic_store_n(&d->flags, n & 512 ? GV_DESC_WRITE : GV_DESC_NEXT,
					 __ATOMIC_RELAXED);
		__atomic_store_n((uint32_t *)c->mem,
				 n & 16	  ? GBLK_IN
				 : n & 32 ? GBLK_DISCARD
					  : 0xffffu,
				 __ATOMIC_RELAXED);
		__atomic_store_n((uint64_t *)c->mem + 1, n & 64 ? 0 : UINT64_MAX, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Where a broken device begins anew it does so on the same memory, under the racer's hands. */
static void racing(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	unsigned broken = 0;
	pthread_t thread;
	struct race c;
	struct raw r;
	uint8_t byte;

	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	c = (struct race){q, r.mem, r.data};
	atomic_store(&stop_racing, false);
	assert_int_equal(pthread_create(&thread, NULL, racer, &c), 0);
	for (unsigned i = 0; i < 500; i++) {
		uint32_t id;

		raw_post(t, &r);
		if (!guest_wait(&t->g, used_grew(q) || gv_needs_reset(&t->blk.v)))
			break;
		if (used_grew(q)) {
			used_take(q, r.n, &id);
			continue;
		}
		broken++;
		gv_negotiate(&t->blk.v, GV_F_RING | layout->features);
		q->avail_idx = q->used_idx = q->next = q->last = 0;
		q->next_wrap = q->last_wrap = true;
		if (ring_packed()) {
			for (unsigned k = 0; k < q->size; k++)
				__atomic_store_n(&q->packed[k].flags, 0, __ATOMIC_RELAXED);
		} else {
			q->avail[1] = q->used[1] = 0;
		}
		gvq_program(q);
		gv_common_set(&t->blk.v, GV_QENABLE, 2, 1);
		gv_start(&t->blk.v);
	}
	atomic_store(&stop_racing, true);
	pthread_join(thread, NULL);
	print_message("broken %u times\n", broken);
	assert_int_equal(pread(t->disk[0].fd, &byte, 1, 0), 1);
	ring_end(t);
}

/* --- hostile: where the areas lie --- */

/* Set queue 0 up with these areas; true when the device took them and answers a request there. */
static bool areas_work(struct tb *t, uint64_t desc, uint64_t avail, uint64_t used)
{
	struct gvirtio *v = &t->blk.v;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	gv_negotiate(v, GV_F_RING | layout->features);
	gvq_init(v, q, 0, layout->size);
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
	gvq_locate(q);
	r = raw_chain(t);
	raw_post(t, &r);
	if (!guest_wait(&t->g, used_grew(q) || gv_needs_reset(v)) || gv_needs_reset(v))
		return false;
	assert_int_equal(r.mem[16], GBLK_OK);
	return true;
}

static void areas(void **state)
{
	struct tb *t = *state;
	uint64_t ram_end, bad[8];
	unsigned size = layout->size;
	/* Bytes of the driver's and the device's area, up to a multiple of their alignment. */
	unsigned avail = ring_packed() ? 4 : 6 + 2 * size, used = ring_packed() ? 4 : 8 + 8 * size;

	tb_skip_qemu("it accepts the addresses and complains later");
	ring_begin(t, GV_F_RING);
	ram_end = guest_low_end(&t->g);
	/* To the last byte of RAM, and one step (of their alignment) more. */
	assert_true(areas_work(t, ram_end - 16 * size, 0, 0));
	assert_false(areas_work(t, ram_end - 16 * size + 16, 0, 0));
	assert_true(areas_work(t, 0, ram_end - avail, 0));
	assert_false(areas_work(t, 0, ram_end - avail + (ring_packed() ? 4 : 2), 0));
	assert_true(areas_work(t, 0, 0, ram_end - used));
	assert_false(areas_work(t, 0, 0, ram_end - used + 4));
	/* Unaligned. */
	assert_false(areas_work(t, 2 * MiB + 8, 0, 0));
	assert_false(areas_work(t, 0, 2 * MiB + (ring_packed() ? 2 : 1), 0));
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
	ring_end(t);
}

/* All areas in one place: the guest confuses itself and nobody else. */
static void overlapping_areas(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &t->blk.v;
	struct gvq *q = &t->blk.q[0];
	uint64_t at;

	ring_begin(t, GV_F_RING);
	at = guest_alloc(&t->g, 4096, 4096);
	for (unsigned i = 0; i < 8; i++) {
		gv_negotiate(v, GV_F_RING | layout->features);
		gvq_init(v, q, 0, layout->size);
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
	ring_end(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(hand_made),
		tb_test(wrap),
		tb_test(used_event),
		tb_test(no_interrupt_flag),
		tb_test(high_memory),
		tb_test(as_long_as_the_ring),
		tb_test(indirect_not_negotiated),
		tb_test(indirect_nested),
		tb_test(indirect_with_next),
		tb_test(indirect_length),
		tb_test(indirect_unaligned),
		tb_test(indirect_table_beyond_ram),
		tb_test(readable_after_writable),
		tb_test(bad_buffers),
		tb_test(empty_buffers),
		tb_test(over_4g),
		tb_test(racing),
		tb_test(areas),
		tb_test(overlapping_areas),
	};

	return rings_run(layouts, ARRAY_SIZE(layouts), tests);
}
