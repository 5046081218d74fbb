/* SPDX-License-Identifier: MIT */
/* dev_split.c - rings that break the rules of the split layout: links, heads, indices */
#include "rings.h"

#define SIZE 16

static const struct layout layouts[] = {
	{"split", "", 0, SIZE},
	{"split, in order", ",in_order=on", GV_F_IN_ORDER, SIZE},
};

/* Chain 0 again, as it is in the table now. */
static void post(struct gvq *q, unsigned head)
{
	gvq_push_head(q, head);
	gvq_publish(q, q->avail_idx);
	gvq_ring(q);
}

/* --- the chain --- */

static void self_loop(void **state)
{
	struct tb *t = *state;
	struct raw r;

	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	r.d[1].next = 1;
	raw_post(t, &r);
	expect_broken(t);
	ring_end(t);
}

static void pair_loop(void **state)
{
	struct tb *t = *state;
	struct raw r;

	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	r.d[1] = (struct gv_desc){r.data, 0, GV_DESC_NEXT, 2};
	r.d[2] = (struct gv_desc){r.data, 0, GV_DESC_NEXT, 1};
	raw_post(t, &r);
	expect_broken(t);
	ring_end(t);
}

static void next_outside(void **state)
{
	static const unsigned next[] = {SIZE, SIZE + 1, 0x7fff, 0xffff};
	struct tb *t = *state;

	ring_begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(next); i++) {
		struct raw r = raw_chain(t);

		r.d[1].next = (uint16_t)next[i];
		raw_post(t, &r);
		expect_broken(t);
		ring_again(t, GV_F_RING);
	}
	ring_end(t);
}

static void indirect_next_outside(void **state)
{
	struct tb *t = *state;
	struct raw r;

	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	r.d[1].next = 3;
	raw_indirect(t, &r, 0);
	raw_post(t, &r);
	expect_broken(t);
	ring_end(t);
}

static void head_outside(void **state)
{
	static const unsigned head[] = {SIZE, 0x8000, 0xffff};
	struct tb *t = *state;

	ring_begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(head); i++) {
		struct raw r = raw_chain(t);

		raw_add(t, &r);
		t->blk.q[0].avail_idx--;
		/* Behind the table lies what would be a good descriptor: to read it is the mistake.
		 */
		t->blk.q[0].desc[SIZE] = r.d[0];
		post(&t->blk.q[0], head[i]);
		expect_broken(t);
		ring_again(t, GV_F_RING);
	}
	ring_end(t);
}

/* --- the indices --- */

static void index_jumps(void **state)
{
	static const uint16_t jump[] = {SIZE + 1, 0x8000, 0xffff};
	struct tb *t = *state;

	ring_begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(jump); i++) {
		struct gvq *q = &t->blk.q[0];
		struct raw r = raw_chain(t);

		raw_post(t, &r);
		expect_ok(t, &r);
		gpci_msix_take(&t->blk.v.pci, 0);
		gvq_publish(q, (uint16_t)(q->avail_idx + jump[i]));
		gvq_ring(q);
		expect_broken(t);
		ring_again(t, GV_F_RING);
	}
	ring_end(t);
}

static void same_head_twice(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	for (unsigned i = 0; i < SIZE; i++)
		raw_add(t, &r);
	gvq_publish(q, q->avail_idx);
	gvq_ring(q);
	assert_true(guest_wait(&t->g, gvq_used_idx(q) == SIZE || gv_needs_reset(&t->blk.v)));
	ring_end(t);
}

static void used_rewritten(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];

	ring_begin(t, GV_F_RING);
	for (unsigned i = 0; i < 3 * SIZE; i++) {
		struct raw r = raw_chain(t);

		q->used[1] = (uint16_t)(0x7777 * i);
		for (unsigned k = 2; k < 4 * SIZE; k++)
			q->used[k] = 0xdead;
		raw_post(t, &r);
		/* The device counts for itself. */
		assert_true(guest_wait(&t->g, gvq_used_idx(q) == i + 1));
		assert_int_equal(gvq_used(q, (uint16_t)i)->len, 513);
		assert_int_equal(r.mem[16], GBLK_OK);
	}
	ring_end(t);
}

/* A ring full of chains that are refused: what follows is served all the same, and its bell is not
 * forgotten. */
static void full_of_refused(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];

	tb_skip_qemu("it lets DMA reach MMIO");
	ring_begin(t, GV_F_RING);
	for (unsigned round = 0; round < 3; round++) {
		struct raw r = raw_chain(t);

		r.d[1].addr = GUEST_ECAM_BASE;
		for (unsigned i = 0; i < SIZE; i++)
			raw_add(t, &r);
		gvq_kick(q);
		assert_true(guest_wait(&t->g, gvq_used_idx(q) == q->avail_idx));
		q->used_idx = q->avail_idx;
		r = raw_chain(t);
		raw_add(t, &r);
		gvq_kick(q);
		expect_ok(t, &r);
	}
	ring_end(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(self_loop),	  tb_test(pair_loop),
		tb_test(next_outside),	  tb_test(indirect_next_outside),
		tb_test(head_outside),	  tb_test(index_jumps),
		tb_test(same_head_twice), tb_test(used_rewritten),
		tb_test(full_of_refused),
	};

	return rings_run(layouts, ARRAY_SIZE(layouts), tests);
}
