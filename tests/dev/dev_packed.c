/* SPDX-License-Identifier: MIT */
/* dev_packed.c - rings that break the rules of the packed layout, and sizes that
 * only it has */
#include <pthread.h>
#include <stdatomic.h>

#include "rings.h"

#define SIZE 16

static const struct layout layouts[] = {
	{"packed", ",packed=on", GV_F_PACKED, SIZE},
	{"packed, in order", ",packed=on,in_order=on", GV_F_PACKED | GV_F_IN_ORDER, SIZE},
};

static void set_flags(struct gvq *q, unsigned i, unsigned flags)
{
	__atomic_store_n(&q->packed[i].flags, (uint16_t)flags, __ATOMIC_RELEASE);
}

/* Sizes that are no powers of two, over many rounds, direct and through tables. */
static void sizes(void **state)
{
	static const unsigned size[] = {3, 4, 5, 7, 100, 255, 256};
	struct tb *t = *state;

	ring_begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(size) * 2; i++) {
		uint64_t at = guest_alloc(&t->g, 4096, 4096);
		struct gseg seg = {at, 20};
		unsigned sent = 0, done = 0, all = 20 * size[i / 2] + 1;

		t->blk.q[0].size = size[i / 2];
		ring_again(t, i & 1 ? GV_F_RING : 0);
		assert_int_equal(gv_common(&t->blk.v, GV_QSIZE, 2), size[i / 2]);
		while (done < all) {
			while (sent < all && gblk_add(&t->blk, 0, GBLK_GET_ID, 0, &seg, 1))
				sent++;
			gvq_kick(&t->blk.q[0]);
			assert_true(guest_wait(&t->g, used_grew(&t->blk.q[0])));
			for (struct gblk_req *r; (r = gblk_done(&t->blk, 0, NULL)); done++)
				assert_int_equal(r->mem[16], GBLK_OK);
		}
	}
	t->blk.q[0].size = SIZE;
	ring_end(t);
}

/* Everything available for the other wrap counter is nothing to the device, however often the bell
 * rings. */
static void wrong_wrap(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	for (unsigned i = 0; i < SIZE; i++) {
		q->packed[i] = (struct gv_packed){r.hdr, 16, 0, 0};
		set_flags(q, i, GV_DESC_USED);
	}
	for (unsigned i = 0; i < 100; i++)
		gvq_ring(q);
	guest_sync(&t->g);
	assert_false(gv_needs_reset(&t->blk.v));
	/* And what looks used already. */
	for (unsigned i = 0; i < SIZE; i++)
		set_flags(q, i, GV_DESC_USED | GV_DESC_AVAIL);
	gvq_ring(q);
	guest_sync(&t->g);
	assert_false(gv_needs_reset(&t->blk.v));
	/* It has not lost its place. */
	raw_post(t, &r);
	expect_ok(t, &r);
	ring_end(t);
}

/* Descriptors that follow each other round the ring for ever. */
static void endless(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	tb_skip_qemu("it hangs");
	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	for (unsigned i = 0; i < SIZE; i++)
		gvq_place(q, r.hdr, 1, gvq_available(q, GV_DESC_NEXT), 0);
	gvq_ring(q);
	expect_broken(t);
	ring_end(t);
}

/* The rest of a chain is not there yet. */
static void unavailable_within(void **state)
{
	struct tb *t = *state;

	tb_skip_qemu("it takes the rest as it is");
	ring_begin(t, GV_F_RING);
	for (unsigned k = 1; k < 3; k++) {
		struct gvq *q = &t->blk.q[0];
		struct raw r = raw_chain(t);

		raw_add(t, &r);
		set_flags(q, k, r.d[k].flags | GV_DESC_USED);
		gvq_ring(q);
		expect_broken(t);
		ring_again(t, GV_F_RING);
	}
	ring_end(t);
}

/* The id that counts is that of the last descriptor (§2.8.6), whatever it is. */
static void ids(void **state)
{
	static const uint16_t last[] = {7, SIZE, 0x8000, 0xffff};
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];

	tb_skip_qemu("it returns the first one's");
	ring_begin(t, GV_F_RING);
	for (unsigned i = 0; i < ARRAY_SIZE(last); i++) {
		struct raw r = raw_chain(t);
		unsigned at = q->next;
		uint32_t id;

		raw_add(t, &r);
		q->packed[at].id = 0x1111;
		q->packed[(at + 1) % SIZE].id = 0x2222;
		q->packed[(at + 2) % SIZE].id = last[i];
		gvq_ring(q);
		assert_true(guest_wait(&t->g, used_grew(q)));
		used_take(q, 3, &id);
		assert_int_equal(id, last[i]);
		assert_int_equal(r.mem[16], GBLK_OK);
	}
	ring_end(t);
}

/* Many chains of one id: each is used, none twice. */
static void same_id(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct raw r;

	ring_begin(t, GV_F_RING);
	r = raw_chain(t);
	for (unsigned i = 0; i < SIZE / 3; i++)
		raw_add(t, &r);
	gvq_ring(q);
	for (unsigned i = 0; i < SIZE / 3; i++)
		expect_ok(t, &r);
	guest_sync(&t->g);
	assert_false(used_grew(q));
	ring_end(t);
}

/* Where the driver scribbles over used descriptors and the event structures, the device goes by its
 * own count. */
static void scribbled(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];

	ring_begin(t, GV_F_RING);
	for (unsigned i = 0; i < 5 * SIZE; i++) {
		struct raw r = raw_chain(t);

		for (unsigned k = 0; k < SIZE; k++) {
			q->packed[k].id = (uint16_t)(i * k);
			q->packed[k].len = 0xdeadbeef;
		}
		q->used[0] = (uint16_t)(0x7777 * i);
		q->used[1] = (uint16_t)i;
		q->avail[0] = (uint16_t)(0x1357 * i);
		q->avail[1] = (uint16_t)(i % 5);
		raw_post(t, &r);
		expect_ok(t, &r);
	}
	ring_end(t);
}

/* A ring full of chains that are refused: what follows is served all the same, and its bell is not
 * forgotten. */
static void full_of_refused(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct gseg bad = {GUEST_ECAM_BASE, 512}, id = {0, 20};

	tb_skip_qemu("it lets DMA reach MMIO");
	ring_begin(t, GV_F_RING);
	id.addr = guest_alloc(&t->g, 64, 64);
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < SIZE; i++)
			assert_true(gvq_add(q, &bad, 0, 1, NULL) >= 0);
		gvq_kick(q);
		for (unsigned i = 0; i < SIZE; i++)
			assert_int_equal(gvq_wait(q, NULL), 0);
		assert_non_null(gblk_add(&t->blk, 0, GBLK_GET_ID, 0, &id, 1));
		gvq_kick(q);
		assert_true(guest_wait(&t->g, gblk_done(&t->blk, 0, NULL) != NULL));
	}
	ring_end(t);
}

/* Areas as a split ring has them, which it fills as such. */
static void laid_out_as_split(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];

	ring_begin(t, GV_F_RING);
	for (unsigned round = 0; round < 8; round++) {
		struct raw r = raw_chain(t);

		q->avail_at = guest_alloc(&t->g, 4096, 64);
		q->used_at = guest_alloc(&t->g, 4096, 64);
		gv_negotiate(&t->blk.v, GV_F_RING | GV_F_PACKED);
		gvq_program(q);
		gv_common_set(&t->blk.v, GV_QENABLE, 2, 1);
		gv_start(&t->blk.v);
		for (unsigned i = 0; i < r.n; i++)
			gvq_desc(q, i, r.d[i].addr, r.d[i].len, r.d[i].flags, r.d[i].next + round);
		q->avail = guest_ptr(&t->g, q->avail_at, 4096);
		for (unsigned i = 0; i < SIZE; i++)
			q->avail[2 + i] = 0;
		q->avail[1] = (uint16_t)(1 + round * 1000);
		gvq_ring(q);
		guest_sync(&t->g);
	}
	ring_end(t);
}

/* --- a driver that loses its head --- */

static atomic_bool stop_racing;

struct race {
	struct gvq *q;
	struct raw r;
};

/* It races the driver of this program, too, on purpose. */
__attribute__((no_sanitize_thread)) static void *racer(void *arg)
{
	struct race *c = arg;
	uint32_t x = 1;

	while (!atomic_load(&stop_racing)) {
		volatile struct gv_packed *d;

		x = x * 1664525 + 1013904223;
		d = &c->q->packed[x >> 8 & (SIZE - 1)];
		__atomic_store_n(&d->addr, x & 1 << 20 ? c->r.hdr : UINT64_MAX - 7,
				 __ATOMIC_RELAXED);
		__atomic_store_n(&d->len, x & 1 << 21 ? 16 : 1, __ATOMIC_RELAXED);
		__atomic_store_n(&d->flags, (uint16_t)(x >> 16 & 0x8087), __ATOMIC_RELAXED);
		__atomic_store_n(&c->q->avail[1], (uint16_t)(x >> 24 & 3), __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Flags that flip at random while the bell rings: no livelock, as the other disk shows. */
static void racing(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct gblk other;
	unsigned broken = 0;
	struct race c;
	pthread_t thread;
	uint64_t at;

	tb_disk(t, 1 * MiB, "");
	tb_disk(t, 1 * MiB, "");
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=1,addr=2%s", layout->props);
	tb_device(t, "virtio-blk-pci,drive=d1,num-queues=1,addr=3");
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, 1, SIZE, GV_F_RING | layout->features);
	gblk_open(&t->g, &other, 1, 1, 0, GV_F_RING);
	at = guest_alloc(&t->g, 512, 512);
	c.q = q;
	c.r = raw_chain(t);
	atomic_store(&stop_racing, false);
	assert_int_equal(pthread_create(&thread, NULL, racer, &c), 0);
	for (unsigned i = 0; i < 300; i++) {
		for (unsigned k = 0; k < 10; k++)
			gvq_ring(q);
		assert_int_equal(gblk_do(&other, 0, GBLK_IN, 0, at, 512), GBLK_OK);
		if (!gv_needs_reset(&t->blk.v))
			continue;
		broken++;
		gv_negotiate(&t->blk.v, GV_F_RING | layout->features);
		gvq_program(q);
		gv_common_set(&t->blk.v, GV_QENABLE, 2, 1);
		gv_start(&t->blk.v);
	}
	atomic_store(&stop_racing, true);
	pthread_join(thread, NULL);
	print_message("broken %u times\n", broken);
	gblk_close(&other);
	ring_end(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(sizes),
		tb_test(wrong_wrap),
		tb_test(endless),
		tb_test(unavailable_within),
		tb_test(ids),
		tb_test(same_id),
		tb_test(scribbled),
		tb_test(full_of_refused),
		tb_test(laid_out_as_split),
		tb_test(racing),
	};

	return rings_run(layouts, ARRAY_SIZE(layouts), tests);
}
