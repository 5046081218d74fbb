/* SPDX-License-Identifier: MIT */
/* dev_battery.c - rings that break the rules, on every queue of every device
 *
 * The disk's own tests (dev_ring.c, dev_split.c, dev_packed.c) say in detail what a ring does; here
 * the same misuses meet each device's way to take chains, hold them and give them back.
 */
#include "battery.h"

/* --- verdicts --- */

static bool eager(const struct gvq *q)
{
	return bat.s->eager >> q->index & 1;
}

/* Something has happened to the queue, where the device looks at it at all. */
static void expect_answer(struct tb *t, struct gvq *q)
{
	guest_sync(&t->g);
	if (eager(q))
		assert_true(guest_wait(&t->g, used_grew(q) || gv_needs_reset(&bat.v)));
}

static void expect_untouched(const struct raw *r)
{
	assert_int_equal(r->mem[16], GBLK_PENDING);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(r->mem[512 + i], 0xee);
}

/* The chain came back with nothing written, or the device broke. */
static void refused(struct tb *t, struct gvq *q, const struct raw *r)
{
	uint32_t id;

	expect_answer(t, q);
	if (used_grew(q))
		assert_int_equal(used_take(q, r->n, &id), 0);
	expect_untouched(r);
	bat_alive(t);
}

/* The device broke, said so, and is silent. */
static void broke(struct tb *t, struct gvq *q)
{
	guest_sync(&t->g);
	if (eager(q)) {
		assert_true(gv_wait_broken(&bat.v));
		assert_true(guest_wait(&t->g, gpci_msix_take(&bat.v.pci, 0)));
	}
	assert_false(used_grew(q));
	for (unsigned i = 0; i < bat.queues; i++)
		gvq_ring(&bat.q[i]);
	bat_alive(t);
	assert_false(used_grew(q));
}

/* Run `misuse` on each queue of a fresh device, and see that it comes back. */
static void each_queue(struct tb *t, void (*misuse)(struct tb *t, struct gvq *q))
{
	bat_begin(t);
	for (unsigned i = 0; i < bat.queues; i++) {
		bat_set_up(t, BAT_ALL);
		misuse(t, &bat.q[i]);
		bat_again(t);
	}
	bat_end(t);
}

/* --- the chain --- */

static void self_linked(struct tb *t, struct gvq *q)
{
	struct raw r = raw_chain(t);

	r.d[1].next = 1;
	raw_post_to(q, &r);
	broke(t, q);
	expect_untouched(&r);
}

static void two_cycle(struct tb *t, struct gvq *q)
{
	struct raw r = raw_chain(t);

	r.d[2] = (struct gv_desc){r.data, 0, GV_DESC_NEXT | GV_DESC_WRITE, 1};
	raw_post_to(q, &r);
	broke(t, q);
	expect_untouched(&r);
}

static void next_outside(struct tb *t, struct gvq *q)
{
	static const uint16_t next[] = {BAT_SIZE, BAT_SIZE + 1, 0x7fff, 0xffff};

	for (unsigned i = 0; i < ARRAY_SIZE(next); i++) {
		struct raw r = raw_chain(t);

		r.d[1].next = next[i];
		raw_post_to(q, &r);
		broke(t, q);
		expect_untouched(&r);
		bat_set_up(t, BAT_ALL);
	}
}

static void head_outside(struct tb *t, struct gvq *q)
{
	static const uint16_t head[] = {BAT_SIZE, 0x8000, 0xffff};

	for (unsigned i = 0; i < ARRAY_SIZE(head); i++) {
		struct raw r = raw_chain(t);

		raw_add_to(q, &r);
		q->avail_idx--;
		q->desc[BAT_SIZE] = r.d[0]; /* behind the table */
		gvq_push_head(q, head[i]);
		gvq_publish(q, q->avail_idx);
		gvq_ring(q);
		broke(t, q);
		bat_set_up(t, BAT_ALL);
	}
}

/* --- the indices --- */

static void index_jumps(struct tb *t, struct gvq *q)
{
	static const uint16_t jump[] = {BAT_SIZE + 1, 0x8000, 0xffff};

	for (unsigned i = 0; i < ARRAY_SIZE(jump); i++) {
		gvq_publish(q, jump[i]);
		gvq_ring(q);
		broke(t, q);
		bat_set_up(t, BAT_ALL);
	}
}

/* --- length --- */

/* A chain of as many descriptors as the ring has entries is one. */
static void whole_ring(struct tb *t, struct gvq *q)
{
	for (unsigned kind = 0; kind < 3; kind++) {
		struct raw r = raw_long(t, BAT_SIZE - 2);

		for (unsigned i = 0; kind && i < r.n; i++) {
			r.d[i].flags &= GV_DESC_NEXT;
			r.d[i].flags |= kind == 2 ? GV_DESC_WRITE : 0;
		}
		raw_post_to(q, &r);
		expect_answer(t, q);
		bat_alive(t);
		bat_set_up(t, BAT_ALL);
	}
}

static void longer_than_the_ring(struct tb *t, struct gvq *q)
{
	struct raw r = raw_long(t, BAT_SIZE - 1);

	raw_indirect(t, &r, 0);
	raw_post_to(q, &r);
	broke(t, q);
	expect_untouched(&r);
}

/* --- indirect descriptors --- */

static void indirect_not_negotiated(struct tb *t, struct gvq *q)
{
	struct raw r;

	bat_set_up(t, BAT_ALL & ~GV_F_INDIRECT);
	r = raw_chain(t);
	raw_indirect(t, &r, 0);
	raw_post_to(q, &r);
	broke(t, q);
	expect_untouched(&r);
}

static void indirect_nested(struct tb *t, struct gvq *q)
{
	struct raw r = raw_chain(t);

	r.d[1].flags |= GV_DESC_INDIRECT;
	raw_indirect(t, &r, 0);
	raw_post_to(q, &r);
	broke(t, q);
	expect_untouched(&r);
}

static void indirect_with_next(struct tb *t, struct gvq *q)
{
	struct raw r = raw_chain(t);

	raw_indirect(t, &r, 0);
	r.d[0].flags |= GV_DESC_NEXT;
	r.d[0].next = 1;
	r.d[1] = (struct gv_desc){r.status, 1, GV_DESC_WRITE, 0};
	r.n = 2;
	raw_post_to(q, &r);
	broke(t, q);
	expect_untouched(&r);
}

static void indirect_length(struct tb *t, struct gvq *q)
{
	static const uint32_t len[] = {0, 1, 15, 17, 47, 0xffffffff, 0xfffffff0, 16 * 65536};

	for (unsigned i = 0; i < ARRAY_SIZE(len); i++) {
		struct raw r = raw_chain(t);

		raw_indirect(t, &r, 0);
		r.d[0].len = len[i];
		raw_post_to(q, &r);
		broke(t, q);
		expect_untouched(&r);
		bat_set_up(t, BAT_ALL);
	}
}

static void indirect_beyond_ram(struct tb *t, struct gvq *q)
{
	const uint64_t end = guest_low_end(&t->g);
	struct raw r = raw_chain(t);

	r.n = 2;
	raw_indirect(t, &r, end - 32);
	r.d[0].len = 48;
	raw_post_to(q, &r);
	refused(t, q, &r);
	bat_set_up(t, BAT_ALL);
	for (unsigned i = 0; i < 3; i++) {
		static const uint64_t at[] = {GUEST_ECAM_BASE, 0x90000000, UINT64_MAX - 15};

		r = raw_chain(t);
		r.d[0] = (struct gv_desc){at[i], 48, GV_DESC_INDIRECT, 0};
		r.n = 1;
		raw_post_to(q, &r);
		refused(t, q, &r);
		bat_set_up(t, BAT_ALL);
	}
}

/* --- buffers --- */

static void readable_after_writable(struct tb *t, struct gvq *q)
{
	struct raw r = raw_chain(t);

	r.d[2].flags = 0;
	raw_post_to(q, &r);
	refused(t, q, &r);
}

static void bad_buffers(struct tb *t, struct gvq *q)
{
	const uint64_t bad[] = {
		guest_low_end(&t->g) - 256,
		0x90000000,
		UINT64_MAX - 511,
		UINT64_MAX - 255,
		1ULL << 52,
		0xfee00000,
		GUEST_ECAM_BASE,
		bat.v.common,
		GUEST_HIGH_BASE - 256,
	};

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(bad); i++) {
		struct raw r = raw_chain(t);

		r.d[i & 1].addr = bad[i / 2];
		r.d[i & 1].len = 512;
		raw_post_to(q, &r);
		refused(t, q, &r);
		/* What is wrong with one chain is no reason to break. */
		assert_false(gv_needs_reset(&bat.v));
		bat_set_up(t, BAT_ALL);
	}
}

static void empty_buffers(struct tb *t, struct gvq *q)
{
	for (unsigned some = 0; some < 4; some++) {
		struct raw r = raw_chain(t);

		for (unsigned i = 0; i < 3; i++)
			if (some == 3 || i == some)
				r.d[i].len = 0;
		raw_post_to(q, &r);
		expect_answer(t, q);
		bat_alive(t);
		bat_set_up(t, BAT_ALL);
	}
}

/* --- rings that lie --- */

/* One chain again and again, as often as the ring has room (packed: with one id). */
static void same_chain(struct tb *t, struct gvq *q)
{
	struct raw r = raw_chain(t);

	for (unsigned i = 0; i < BAT_SIZE / (ring_packed() ? r.n : 1); i++)
		raw_add_to(q, &r);
	if (!ring_packed())
		gvq_publish(q, q->avail_idx);
	gvq_ring(q);
	expect_answer(t, q);
	bat_alive(t);
}

/* The device counts for itself, whatever stands where it writes. */
static void used_rewritten(struct tb *t, struct gvq *q)
{
	for (unsigned i = 0; i < 3 * BAT_SIZE && !gv_needs_reset(&bat.v); i++) {
		struct raw r = raw_chain(t);

		q->used[1] = (uint16_t)(0x7777 * i);
		for (unsigned k = 2; k < 2 + 4 * BAT_SIZE; k++)
			q->used[k] = 0xdead;
		raw_post_to(q, &r);
		guest_sync(&t->g);
		if (eager(q))
			assert_true(guest_wait(&t->g,
					       gvq_used_idx(q) == i + 1 || gv_needs_reset(&bat.v)));
		else if (i + 1 == BAT_SIZE)
			break;
	}
	bat_alive(t);
}

/* A full ring whose flags are made up: no turn of the device is without end. */
static void made_up_flags(struct tb *t, struct gvq *q)
{
	for (unsigned i = 0; i < 16; i++) {
		struct raw r = raw_chain(t);
		uint16_t flags[BAT_SIZE];

		tb_pattern(flags, sizeof(flags), i + 1);
		for (unsigned k = 0; k < BAT_SIZE; k++) {
			q->packed[k].addr = r.data;
			q->packed[k].len = 16;
			q->packed[k].id = (uint16_t)(flags[k] >> 4);
			q->packed[k].flags = i < 8 ? flags[k] : flags[k] | GV_DESC_AVAIL;
		}
		for (unsigned k = 0; k < 20; k++)
			gvq_ring(q);
		bat_alive(t);
		bat_set_up(t, BAT_ALL);
	}
}

static void unavailable_within(struct tb *t, struct gvq *q)
{
	struct raw r = raw_chain(t);

	raw_add_to(q, &r);
	q->packed[1].flags ^= GV_DESC_AVAIL;
	gvq_ring(q);
	guest_sync(&t->g);
	bat_alive(t);
	assert_false(used_grew(q));
	expect_untouched(&r);
}

/* What the driver writes is a split ring's. */
static void laid_out_as_split(struct tb *t, struct gvq *q)
{
	struct raw r = raw_chain(t);

	for (unsigned i = 0; i < r.n; i++)
		gvq_desc(q, i, r.d[i].addr, r.d[i].len, r.d[i].flags, r.d[i].next);
	q->avail[0] = 0;
	q->avail[1] = 1;
	for (unsigned i = 0; i < 20; i++)
		gvq_ring(q);
	bat_alive(t);
}

static void overlapping_areas(struct tb *t, struct gvq *q)
{
	for (unsigned i = 0; i < 8; i++) {
		uint64_t at;

		t->g.next_low = bat.low;
		at = guest_alloc(&t->g, 4096, 4096);
		gv_negotiate(&bat.v, BAT_ALL);
		gvq_init(&bat.v, q, q->index, BAT_SIZE);
		q->desc_at = at;
		q->avail_at = at + (i & 1 ? 4 : 0);
		q->used_at = at + (i & 2 ? 4 : 0);
		tb_pattern(guest_ptr(&t->g, at, 4096), 4096, i);
		gvq_program(q);
		gv_common_set(&bat.v, GV_QENABLE, 2, 1);
		gv_start(&bat.v);
		for (unsigned k = 0; k < 20; k++)
			gvq_ring(q);
		bat_alive(t);
	}
}

/* --- where the areas lie --- */

static bool enabled_with(struct tb *t, struct gvq *q, uint64_t desc, uint64_t avail, uint64_t used)
{
	bool enabled;

	t->g.next_low = bat.low;
	gv_negotiate(&bat.v, BAT_ALL);
	gvq_init(&bat.v, q, q->index, BAT_SIZE);
	q->desc_at = desc ? desc : q->desc_at;
	q->avail_at = avail ? avail : q->avail_at;
	q->used_at = used ? used : q->used_at;
	gvq_program(q);
	gv_common_set(&bat.v, GV_QENABLE, 2, 1);
	enabled = gv_common(&bat.v, GV_QENABLE, 2);
	gv_start(&bat.v);
	gvq_ring(q);
	bat_alive(t);
	return enabled && !gv_needs_reset(&bat.v);
}

static void areas(struct tb *t, struct gvq *q)
{
	const uint64_t end = guest_low_end(&t->g);
	const uint64_t bad[] = {end,	      0x90000000,     0xfee00000, GUEST_ECAM_BASE,
				bat.v.common, 1ULL << 52,     1ULL << 63, UINT64_MAX - 15,
				2 * MiB + 1,  GUEST_HIGH_BASE};
	/* Bytes of the driver's and of the device's area, up to their alignment. */
	unsigned avail = ring_packed() ? 4 : 6 + 2 * BAT_SIZE;
	unsigned used = ring_packed() ? 4 : 8 + 8 * BAT_SIZE;

	assert_true(enabled_with(t, q, end - 16 * BAT_SIZE, 0, 0));
	assert_false(enabled_with(t, q, end - 16 * BAT_SIZE + 16, 0, 0));
	assert_true(enabled_with(t, q, 0, end - avail, 0));
	assert_false(enabled_with(t, q, 0, end - avail + 4, 0));
	assert_true(enabled_with(t, q, 0, 0, end - used));
	assert_false(enabled_with(t, q, 0, 0, end - used + 4));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(enabled_with(t, q, bad[i], 0, 0));
		assert_false(enabled_with(t, q, 0, bad[i], 0));
		assert_false(enabled_with(t, q, 0, 0, bad[i]));
	}
}

/* --- each misuse as a test --- */

#define EACH_QUEUE(misuse)                    \
	static void on_##misuse(void **state) \
	{                                     \
		each_queue(*state, misuse);   \
	}

EACH_QUEUE(whole_ring)
EACH_QUEUE(longer_than_the_ring)
EACH_QUEUE(indirect_not_negotiated)
EACH_QUEUE(indirect_nested)
EACH_QUEUE(indirect_with_next)
EACH_QUEUE(indirect_length)
EACH_QUEUE(indirect_beyond_ram)
EACH_QUEUE(readable_after_writable)
EACH_QUEUE(bad_buffers)
EACH_QUEUE(empty_buffers)
EACH_QUEUE(same_chain)
EACH_QUEUE(overlapping_areas)
EACH_QUEUE(areas)
EACH_QUEUE(self_linked)
EACH_QUEUE(two_cycle)
EACH_QUEUE(next_outside)
EACH_QUEUE(head_outside)
EACH_QUEUE(index_jumps)
EACH_QUEUE(used_rewritten)
EACH_QUEUE(made_up_flags)
EACH_QUEUE(unavailable_within)
EACH_QUEUE(laid_out_as_split)

int main(void)
{
	const struct CMUnitTest both[] = {
		tb_test(on_whole_ring),
		tb_test(on_longer_than_the_ring),
		tb_test(on_indirect_not_negotiated),
		tb_test(on_indirect_nested),
		tb_test(on_indirect_with_next),
		tb_test(on_indirect_length),
		tb_test(on_indirect_beyond_ram),
		tb_test(on_readable_after_writable),
		tb_test(on_bad_buffers),
		tb_test(on_empty_buffers),
		tb_test(on_same_chain),
		tb_test(on_overlapping_areas),
		tb_test(on_areas),
	};
	const struct CMUnitTest split[] = {
		tb_test(on_self_linked),  tb_test(on_two_cycle),   tb_test(on_next_outside),
		tb_test(on_head_outside), tb_test(on_index_jumps), tb_test(on_used_rewritten),
	};
	const struct CMUnitTest packed[] = {
		tb_test(on_made_up_flags),
		tb_test(on_unavailable_within),
		tb_test(on_laid_out_as_split),
	};

	return bat_complete() + bat_run("battery", BAT_BOTH, both) +
	       bat_run("battery", BAT_SPLIT, split) + bat_run("battery", BAT_PACKED, packed);
}
