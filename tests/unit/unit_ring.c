/* SPDX-License-Identifier: MIT */
/* unit_ring.c - a virtqueue on memory that is mapped page by page, has holes, and changes under it
 *
 * The device tests drive rings in memory that is mapped for good; here it is not (vq_bench.h).
 */
#include <sys/eventfd.h>

#include "virtio/internal.h"
#include "vq_bench.h"

/* --- the tests --- */

/* Every slot of a ring that lies across pages, with buffers across pages. */
static void across_pages(void **state)
{
	start(FEATURES);
	for (unsigned i = 0; i < 2 * SIZE; i++) {
		unsigned head = i % (SIZE - 1);

		echo(head, 6000, (uint8_t)i);
		post(head);
		turn();
		assert_int_equal(used_idx(), i + 1);
		assert_int_equal(used_len((uint16_t)i), 6000);
		expect_echo(head, 6000, (uint8_t)i);
	}
}

/* The guest's memory changes between requests: rings and buffers are mapped anew. */
static void invalidated(void **state)
{
	start(FEATURES);
	for (unsigned i = 0; i < 100; i++) {
		gmem_invalidate(b.hv.mem);
		echo(2 * (i % 50), 5000, (uint8_t)i);
		post(2 * (i % 50));
		turn();
		assert_int_equal(used_idx(), i + 1);
		expect_echo(2 * (i % 50), 5000, (uint8_t)i);
	}
	assert_int_equal(status(), 15);
}

/* ... and while requests are in flight: they end on the memory that they were given, the ring goes
 * on on the new one. */
static void invalidated_in_flight(void **state)
{
	start(FEATURES);
	for (unsigned round = 0; round < 20; round++) {
		b.hold = true;
		for (unsigned i = 0; i < 20; i++) {
			echo(2 * i, 5000, (uint8_t)(round + i));
			post(2 * i);
		}
		turn();
		assert_int_equal(b.n_held, 20);
		for (unsigned i = 0; i < 5; i++)
			gmem_invalidate(b.hv.mem);
		b.hold = false;
		echo(100, 5000, 0x77);
		post(100);
		turn();
		release();
		turn();
		assert_int_equal(used_idx(), (uint16_t)((round + 1) * 21));
		for (unsigned i = 0; i < 20; i++)
			expect_echo(2 * i, 5000, (uint8_t)(round + i));
		expect_echo(100, 5000, 0x77);
	}
}

/* A buffer with a ballooned page is refused; the next one is served. */
static void hole_in_a_buffer(void **state)
{
	start(FEATURES);
	b.gone[(OUT + 5000) / PAGE] = 1;
	echo(0, 6000, 1);
	echo(2, 6000, 2);
	memset(b.ram + IN, 0xee, 6000);
	post(0);
	post(2);
	turn();
	assert_int_equal(used_idx(), 2);
	assert_int_equal(used_len(0), 0);
	assert_int_equal(used_len(1), 6000);
	assert_int_equal(b.ram[IN], 0xee);
	expect_echo(2, 6000, 2);
	assert_int_equal(status(), 15);
	memset(b.gone, 0, sizeof(b.gone));
	gmem_invalidate(b.hv.mem);
	echo(0, 6000, 3);
	post(0);
	turn();
	expect_echo(0, 6000, 3);
}

/* The ring itself is ballooned out: the device breaks, the next set-up works. */
static void hole_in_the_ring(void **state)
{
	const uint64_t *at[] = {&b.desc, &b.avail, &b.used};

	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		start(FEATURES);
		echo(0, 100, 5);
		post(0);
		turn();
		assert_int_equal(used_idx(), 1);
		b.gone[(*at[i] + 2000) / PAGE] = 1;
		gmem_invalidate(b.hv.mem);
		post(0);
		turn();
		assert_int_equal(status(), 15 | 0x40);
		b.gone[(*at[i] + 2000) / PAGE] = 0;
		gmem_invalidate(b.hv.mem);
		start(FEATURES);
		echo(0, 100, 6);
		post(0);
		turn();
		expect_echo(0, 100, 6);
	}
}

/* The same while chains are in flight: they end without touching a ring that is gone. */
static void ring_goes_in_flight(void **state)
{
	start(FEATURES);
	b.hold = true;
	for (unsigned i = 0; i < 10; i++) {
		echo(2 * i, 5000, (uint8_t)i);
		post(2 * i);
	}
	turn();
	assert_int_equal(b.n_held, 10);
	b.gone[(b.used + 1500) / PAGE] = b.gone[b.used / PAGE] = 1;
	gmem_invalidate(b.hv.mem);
	release();
	turn();
	assert_int_equal(status(), 15 | 0x40);
	b.hold = false;
	memset(b.gone, 0, sizeof(b.gone));
	gmem_invalidate(b.hv.mem);
	start(FEATURES);
	echo(0, 100, 6);
	post(0);
	turn();
	expect_echo(0, 100, 6);
}

/* An indirect table at any alignment, across pages, with the longest chain that the ring allows. */
static bool mapped_becomes(unsigned n)
{
	for (unsigned i = 0; b.mapped != n && i < 20; i++)
		loop_turn(b.loop, 1000);
	return b.mapped == n;
}

/* Nothing stays mapped over a change of the guest's memory but what is in flight, and the queue
 * goes on. */
static void idle_ring_let_go(void **state)
{
	gmem_give_back(b.hv.mem, b.loop);
	start(FEATURES);
	for (unsigned i = 0; i < 4; i++) {
		echo(0, 5000, (uint8_t)i);
		post(0);
		turn();
		assert_int_equal(used_idx(), 3 * i + 1);
		expect_echo(0, 5000, (uint8_t)i);
		assert_true(b.mapped);
		gmem_invalidate(b.hv.mem);
		assert_true(mapped_becomes(0));
		b.hold = true;
		echo(0, 100, 0x11);
		echo(2, 100, 0x22);
		post(0);
		post(2);
		turn();
		gmem_invalidate(b.hv.mem);
		/* A page read, and two written as the data begin 96 bytes before its end; twice. */
		assert_true(mapped_becomes(6));
		b.hold = false;
		release();
		turn();
		assert_int_equal(used_idx(), 3 * i + 3);
		expect_echo(2, 100, 0x22);
	}
	assert_int_equal(status(), 15);
}

/* A ring that was let go with chains in flight, and is not there when they end. */
static void ring_let_go_in_flight(void **state)
{
	gmem_give_back(b.hv.mem, b.loop);
	start(FEATURES);
	b.hold = true;
	echo(0, 100, 1);
	echo(2, 100, 2);
	post(0);
	post(2);
	turn();
	assert_int_equal(b.n_held, 2);
	b.gone[(b.used + 1500) / PAGE] = b.gone[b.used / PAGE] = 1;
	gmem_invalidate(b.hv.mem);
	assert_true(mapped_becomes(6));
	b.hold = false;
	release();
	turn();
	assert_int_equal(status(), 15 | 0x40);
	memset(b.gone, 0, sizeof(b.gone));
	start(FEATURES);
	echo(0, 100, 6);
	post(0);
	turn();
	expect_echo(0, 100, 6);
}

/* --- the memory of chains --- */

#define LONG  500	    /* segments */
#define TABLE (3000 * PAGE) /* of all of them */

/* Descriptors 0 .. SIZE - 1 are such chains. */
static void put_long_chains(void)
{
	for (unsigned i = 0; i < LONG; i++) {
		uint8_t *d = b.ram + TABLE + 16 * i;

		put_le64(d, 3100 * PAGE + 8 * i);
		put_le32(d + 8, 8);
		put_le16(d + 12, i + 1 < LONG ? 3 : 2);
		put_le16(d + 14, (uint16_t)(i + 1));
	}
	for (unsigned i = 0; i < SIZE; i++)
		put_desc(i, TABLE, 16 * LONG, 4, 0);
}

static long private_kib(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	char line[128];
	long kib = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "Private_Dirty: %ld", &kib);
	fclose(f);
	assert_true(kib);
	return kib;
}

static void hold_all(void)
{
	put_long_chains();
	b.hold = true;
	for (unsigned i = 0; i < SIZE; i++)
		post(i);
	turn();
	assert_int_equal(b.n_held, SIZE);
	assert_int_equal(b.v.vq[0]->pool.blocks, SIZE);
	b.hold = false;
}

static bool blocks_go(void)
{
	for (unsigned i = 0; b.v.vq[0]->pool.blocks && i < 20; i++)
		loop_turn(b.loop, 1000);
	return !b.v.vq[0]->pool.blocks;
}

/* All chains of a queue are as long as can be, once: what they needed is given back when the queue
 * is idle, and when it was reset. */
static void long_chains_given_back(void **state)
{
	const struct chain_pool *p = &b.v.vq[0]->pool;
	long before, held, after;

	start(FEATURES);
	echo(0, 100, 1);
	post(0);
	turn();
	before = private_kib();
	start(FEATURES);
	hold_all();
	held = private_kib();
	release();
	turn();
	assert_int_equal(used_idx(), SIZE);
	assert_int_equal(p->n_free, SIZE);
	assert_true(blocks_go());
	assert_int_equal(p->used, 0);
	after = private_kib();
	print_message("%ld KiB before, %ld with all chains, %ld afterwards\n", before, held, after);
#ifndef __SANITIZE_ADDRESS__
	assert_true(held - before >= 3 * 1024);
	assert_true(after - before <= 1024);
#endif
	/* It works on. */
	echo(0, 100, 2);
	post(0);
	turn();
	expect_echo(0, 100, 2);

	start(FEATURES);
	hold_all();
	reg(0x14, 1, 0);
	release();
	turn();
	assert_int_equal(status(), 0);
	assert_true(blocks_go());
	assert_int_equal(p->used, 0);
}

/* What is in use all the time stays, however often the pool is looked through. */
static void long_chains_kept(void **state)
{
	struct chain_pool *p = &b.v.vq[0]->pool;
	unsigned looks = 0;
	uint64_t deadline;

	start(FEATURES);
	put_long_chains();
	post(0);
	turn();
	assert_int_equal(p->blocks, 1);
	deadline = p->timer.deadline;
	for (unsigned i = 1; looks < 2 && i < 1000000; i++) {
		post(0);
		loop_turn(b.loop, 1);
		assert_int_equal(p->blocks, 1);
		looks += p->timer.deadline != deadline;
		deadline = p->timer.deadline;
	}
	assert_int_equal(looks, 2);
	assert_true(blocks_go());
}

static void indirect_across_pages(void **state)
{
	for (unsigned shift = 0; shift < 16; shift += 4) {
		uint64_t table = 50 * PAGE - 1600 + shift;

		start(FEATURES);
		memset(b.ram + OUT, 0x21, 256 * 16);
		memset(b.ram + IN, 0, 256 * 16);
		for (unsigned i = 0; i < SIZE; i++) {
			uint8_t *d = b.ram + table + 16 * i;
			uint64_t data = i < 256 ? OUT + 16 * i : IN + 16 * (i - 256);

			put_le64(d, data);
			put_le32(d + 8, 16);
			put_le16(d + 12, (uint16_t)((i + 1 < SIZE ? 1 : 0) | (i < 256 ? 0 : 2)));
			put_le16(d + 14, (uint16_t)(i + 1));
		}
		put_desc(7, table, 16 * SIZE, 4, 0);
		post(7);
		turn();
		assert_int_equal(used_idx(), 1);
		assert_int_equal(used_len(0), 256 * 16);
		expect_echo(0, 256 * 16, 0x21);
	}
}

/* More chains in flight than entries: only by posting one head twice; a slot is never used for two
 *. */
static void too_many(void **state)
{
	start(FEATURES);
	b.hold = true;
	echo(0, 64, 9);
	for (unsigned i = 0; i < SIZE; i++) {
		post(0);
		if (i % 64 == 63)
			turn();
	}
	for (unsigned i = 0; i < 8; i++)
		turn();
	assert_int_equal(b.n_held, SIZE);
	assert_int_equal(status(), 15);
	post(0);
	turn();
	assert_int_equal(status(), 15 | 0x40);
	b.hold = false;
	release();
	start(FEATURES);
	echo(0, 64, 9);
	post(0);
	turn();
	expect_echo(0, 64, 9);
}

/* A reset waits for what is in flight, and then nothing comes any more. */
static void reset_in_flight(void **state)
{
	start(FEATURES);
	b.hold = true;
	echo(0, 64, 1);
	echo(2, 64, 2);
	post(0);
	post(2);
	turn();
	reg(0x14, 1, 0);
	turn();
	assert_int_not_equal(status(), 0);
	/* Nothing restarts it meanwhile. */
	reg(0x14, 1, 3);
	reg(0x1c, 2, 1);
	reg(0x14, 1, 0);
	turn();
	assert_int_not_equal(status(), 0);
	release();
	turn();
	assert_int_equal(status(), 0);
	assert_int_equal(used_idx(), 0);
	/* What is enabled again is another ring. */
	b.hold = false;
	start(FEATURES);
	echo(0, 64, 3);
	post(0);
	turn();
	assert_int_equal(used_idx(), 1);
}

/* Giving a chain back to the ring: it is popped again, in order, unchanged. */
static void unpop_newest_first(void **state)
{
	struct vqueue *vq;
	struct vchain *c[5];

	start(FEATURES);
	vq = b.v.vq[0];
	b.hold = true;
	for (unsigned i = 0; i < 5; i++) {
		echo(2 * i, 64 + i, (uint8_t)i);
		post(2 * i);
	}
	/* Before the kick has run: the pops are ours. */
	for (unsigned i = 0; i < 5; i++) {
		c[i] = vq_pop(vq);
		assert_non_null(c[i]);
		assert_int_equal(c[i]->out_len, 64 + i);
	}
	assert_null(vq_pop(vq));
	assert_int_equal(vq_inflight(vq), 5);
	for (unsigned i = 5; i-- > 2;)
		vq_unpop(vq, c[i]);
	assert_int_equal(vq_inflight(vq), 2);
	for (unsigned i = 2; i < 5; i++) {
		c[i] = vq_pop(vq);
		assert_non_null(c[i]);
		assert_int_equal(c[i]->out_len, 64 + i);
	}
	for (unsigned i = 0; i < 5; i++)
		answer(vq, c[i]);
	b.hold = false;
	turn();
	assert_int_equal(used_idx(), 5);
	for (unsigned i = 0; i < 5; i++)
		expect_echo(2 * i, 64 + i, (uint8_t)i);
}

/* A batch costs one interrupt. */
static void one_interrupt(void **state)
{
	unsigned msix = 0;

	for (unsigned at = b.v.fn.cfg[0x34]; at; at = b.v.fn.cfg[at + 1])
		if (b.v.fn.cfg[at] == 0x11)
			msix = at;
	assert_true(msix);
	start(FEATURES);
	pci_cfg_write(&b.v.fn, 0x10, BAR + 0x100000, 4);
	pci_cfg_write(&b.v.fn, msix + 2, 0x8000, 2);
	for (unsigned v = 0; v < 2; v++)
		pci_bus_write(b.bus, BAR + 0x100000 + 16 * v + 12, 0, 4);
	reg(0x1a, 2, 1);
	for (unsigned i = 0; i < 50; i++) {
		echo(2 * i, 64, (uint8_t)i);
		post(2 * i);
	}
	turn();
	assert_int_equal(used_idx(), 50);
	assert_int_equal(b.msis, 1);
}

/* What is done is shown before the turn is over, when the device says so. */
static void published_midway(void **state)
{
	start(FEATURES);
	for (unsigned i = 0; i < 20; i++) {
		echo(2 * i, 64, (uint8_t)i);
		post(2 * i);
	}
	b.publish_after = 7;
	turn();
	assert_int_equal(b.seen, 7);
	assert_int_equal(used_idx(), 20);
	for (unsigned i = 0; i < 20; i++)
		expect_echo(2 * i, 64, (uint8_t)i);
}

/* --- a server --- */

struct fake {
	struct vq_server s; /* first */
	struct vq_where where;
	unsigned starts, stops;
	uint16_t next;
	int refuse;
};

static int fake_start(struct vq_server *s, const struct vq_where *w)
{
	struct fake *f = (struct fake *)s;

	if (f->refuse)
		return f->refuse;
	f->where = *w;
	f->next = w->next;
	f->starts++;
	return 0;
}

static uint16_t fake_stop(struct vq_server *s)
{
	struct fake *f = (struct fake *)s;

	f->stops++;
	return f->next;
}

/* What the kernel would do: use all that is there, with nothing written. */
static void fake_serve(struct fake *f)
{
	uint8_t *used = f->where.used;

	while (f->next != get_le16((uint8_t *)f->where.avail + 2)) {
		uint16_t idx = get_le16(used + 2);

		memset(used + 4 + 8 * (idx % SIZE), 0, 8);
		put_le16(used + 2, (uint16_t)(idx + 1));
		f->next++;
	}
}

static bool rung(struct fake *f)
{
	eventfd_t n;

	return !eventfd_read(f->s.kick_fd, &n);
}

static void fake_init(struct fake *f)
{
	*f = (struct fake){.s = {fake_start, fake_stop, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)}};
}

static void nothing(void *arg)
{
}

static void one_by_device(unsigned head)
{
	uint16_t before = used_idx();

	echo(head, 5000, (uint8_t)head);
	post(head);
	turn();
	assert_int_equal(used_idx(), (uint16_t)(before + 1));
	expect_echo(head, 5000, (uint8_t)head);
}

/* Over to the server and back, also while the ring goes round: no chain is lost or done twice. */
static void handed_over(void **state)
{
	struct fake f;

	fake_init(&f);
	start(FEATURES);
	for (unsigned round = 1; round <= SIZE; round++) {
		one_by_device(round % 200);
		assert_true(vq_serve_by(b.v.vq[0], &f.s));
		assert_int_equal(f.starts, round);
		assert_int_equal(f.where.num, SIZE);
		assert_int_equal(f.where.next, b.avail_idx);
		assert_true(rung(&f)); /* for what came before */
		for (unsigned i = 0; i < 3; i++) {
			echo(2 * i, 100, 1);
			post(2 * i);
			assert_true(rung(&f));
		}
		turn();
		assert_int_equal(used_idx(), (uint16_t)(b.avail_idx - 3)); /* the device does not */
		fake_serve(&f);
		echo(8, 5000, 8);
		post(8);
		/* The last one is the device's. */
		assert_false(vq_serve_by(b.v.vq[0], NULL));
		assert_int_equal(f.stops, round);
		turn();
		assert_int_equal(used_idx(), b.avail_idx);
		expect_echo(8, 5000, 8);
		rung(&f);
	}
	assert_int_equal(status(), 15);
	close(f.s.kick_fd);
}

/* It serves only while it may: not when mastering is off, paused, or reset. */
static void taken_back(void **state)
{
	struct fake f;

	fake_init(&f);
	start(FEATURES);
	vq_serve_by(b.v.vq[0], &f.s);
	pci_cfg_write(&b.v.fn, 0x04, 2, 2);
	assert_int_equal(f.stops, 1);
	pci_cfg_write(&b.v.fn, 0x04, 6, 2);
	assert_int_equal(f.starts, 2);
	vdev_pause(&b.v, nothing, NULL);
	assert_int_equal(f.stops, 2);
	vdev_resume(&b.v);
	assert_int_equal(f.starts, 3);
	reg(0x16, 2, 0);
	reg(0x3a, 2, 1);
	assert_int_equal(f.stops, 3);
	assert_int_equal(pci_bus_read(b.bus, BAR + 0x3a, 2), 0);
	reg(0x14, 1, 0);
	assert_int_equal(f.stops, 3);
	/* The next driver's queue is served again, from the begin. */
	start(FEATURES);
	assert_int_equal(f.starts, 4);
	assert_int_equal(f.where.next, 0);
	reg(0x14, 1, 0);
	assert_int_equal(f.stops, 4);
	close(f.s.kick_fd);
}

/* When it does not want to, or cannot, the device goes on. */
static void not_handed_over(void **state)
{
	struct fake f;

	fake_init(&f);
	f.refuse = -EINVAL;
	start(FEATURES);
	assert_false(vq_serve_by(b.v.vq[0], &f.s));
	one_by_device(0);
	f.refuse = 0;
	/* Chains are in flight. */
	b.hold = true;
	echo(2, 100, 1);
	post(2);
	turn();
	assert_false(vq_serve_by(b.v.vq[0], &f.s));
	b.hold = false;
	release();
	turn();
	one_by_device(4);
	/* A ring that it does not know. */
	start(FEATURES | VIRTIO_F_RING_PACKED);
	assert_false(vq_serve_by(b.v.vq[0], &f.s));
	assert_int_equal(f.starts, 0);
	vq_serve_by(b.v.vq[0], NULL);
	close(f.s.kick_fd);
}

int main(void)
{
#define RING_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		RING_TEST(across_pages),	  RING_TEST(invalidated),
		RING_TEST(invalidated_in_flight), RING_TEST(long_chains_given_back),
		RING_TEST(long_chains_kept),	  RING_TEST(idle_ring_let_go),
		RING_TEST(ring_let_go_in_flight), RING_TEST(hole_in_a_buffer),
		RING_TEST(hole_in_the_ring),	  RING_TEST(ring_goes_in_flight),
		RING_TEST(indirect_across_pages), RING_TEST(too_many),
		RING_TEST(reset_in_flight),	  RING_TEST(unpop_newest_first),
		RING_TEST(one_interrupt),	  RING_TEST(published_midway),
		RING_TEST(handed_over),		  RING_TEST(taken_back),
		RING_TEST(not_handed_over),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
