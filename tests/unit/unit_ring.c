/* SPDX-License-Identifier: MIT */
/* unit_ring.c - a virtqueue on memory that is mapped page by page, has holes, and changes under it
 *
 * The device tests drive rings in memory that is mapped for good. Here the hypervisor is a fake whose memory is populated in granules of
 * one page, so that every ring and every buffer lies in several mappings, and that can be invalidated at any moment, as Xen
 * does when the guest balloons. The device under test answers each chain by writing its readable part, inverted, into
 * its writable part; it can hold chains back.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "mem/gmem.h"
#include "virtio/vdev.h"

#define PAGE	  4096ULL
#define RAM_PAGES 4096
#define SIZE	  512
#define BAR	  0xc0000000ULL
#define ECAM	  0xe0000000ULL

struct bench {
	struct vdev v; /* first */
	struct hv hv;
	struct loop *loop;
	struct pci_bus *bus;
	int fd;
	uint8_t *ram;		 /* all of it, for the guest */
	uint8_t gone[RAM_PAGES]; /* ballooned out */
	unsigned mapped;
	unsigned msis;
	bool hold;
	struct vchain *held;
	unsigned n_held;
	/* the guest's ring */
	uint64_t desc, avail, used;
	uint16_t avail_idx;
};

static struct bench b;

/* --- the fake hypervisor --- */

static void *fake_map(void *ctx, void *at, uint64_t gfn, unsigned pages, uint64_t *holes)
{
	uint8_t *p = mmap(at, pages * PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | (at ? MAP_FIXED : 0), b.fd, (off_t)(gfn * PAGE));

	assert_ptr_not_equal(p, MAP_FAILED);
	for (unsigned i = 0; i < pages; i++)
		if (b.gone[gfn + i]) {
			holes[i / 64] |= 1ULL << (i % 64);
			assert_int_equal(mprotect(p + i * PAGE, PAGE, PROT_NONE), 0);
		}
	b.mapped++;
	return p;
}

static void fake_unmap(void *ctx, void *at, unsigned pages, bool reserve)
{
	if (reserve)
		mmap(at, pages * PAGE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	else
		munmap(at, pages * PAGE);
	b.mapped--;
}

static const struct gmem_ops mem_ops = {fake_map, fake_unmap};

static int fake_msi(struct hv *hv, uint64_t addr, uint32_t data)
{
	b.msis++;
	return 0;
}

static const struct hv_ops hv_ops = {.msi = fake_msi};

/* --- the device --- */

static void answer(struct vqueue *vq, struct vchain *c)
{
	uint8_t buf[8192];
	size_t n = MIN(MIN(c->out_len, c->in_len), sizeof(buf));

	assert_true(vchain_pull(c, buf, n));
	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)~buf[i];
	assert_true(vchain_put(c, buf, n));
	assert_false(vchain_pull(c, buf, c->out_len - n + 1));
	assert_false(vchain_put(c, buf, c->in_len - n + 1));
	vq_push(vq, c, (uint32_t)n);
}

static void dev_kick(struct vqueue *vq)
{
	struct vchain *c;

	while ((c = vq_pop(vq))) {
		if (!b.hold) {
			answer(vq, c);
			continue;
		}
		c->next = b.held;
		b.held = c;
		b.n_held++;
	}
}

static void release(void)
{
	while (b.held) {
		struct vchain *c = b.held;

		b.held = c->next;
		answer(b.v.vq[0], c);
	}
	b.n_held = 0;
}

static int dev_realize(struct vdev *v, struct vm *vm, struct err *e)
{
	return 0;
}

static const struct vdev_ops dev_ops = {
	.virtio_id = 4,
	.pci_class = 0x00ff00,
	.realize = dev_realize,
	.kick = dev_kick,
};

/* --- the guest --- */

static void turn(void)
{
	for (unsigned i = 0; i < 4; i++)
		loop_turn(b.loop, 0);
}

static void reg(unsigned off, unsigned size, uint64_t x)
{
	pci_bus_write(b.bus, BAR + off, x, size);
}

static uint8_t status(void)
{
	return (uint8_t)pci_bus_read(b.bus, BAR + 0x14, 1);
}

/* Reset, negotiate, put the ring at three places that begin in the middle of a page. */
static void start(uint64_t features)
{
	reg(0x14, 1, 0);
	turn();
	assert_int_equal(status(), 0);
	reg(0x14, 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		reg(0x08, 4, i);
		reg(0x0c, 4, (uint32_t)(features >> (32 * i)));
	}
	reg(0x14, 1, 11);
	assert_int_equal(status(), 11);
	b.desc = 16 * PAGE + 2048 + 16;
	b.avail = 32 * PAGE - 258;
	b.used = 40 * PAGE - 1020;
	b.avail_idx = 0;
	memset(b.ram, 0, 64 * PAGE);
	reg(0x16, 2, 0);
	reg(0x18, 2, SIZE);
	reg(0x20, 8, b.desc);
	reg(0x28, 8, b.avail);
	reg(0x30, 8, b.used);
	reg(0x1c, 2, 1);
	assert_int_equal(pci_bus_read(b.bus, BAR + 0x1c, 2), 1);
	reg(0x14, 1, 15);
	turn();
}

static int setup(void **state)
{
	static const struct hv_range ram = {0, RAM_PAGES * PAGE};
	struct err e;

	memset(&b, 0, sizeof(b));
	b.fd = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(b.fd, RAM_PAGES * PAGE), 0);
	b.ram = mmap(NULL, RAM_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, b.fd, 0);
	b.hv.ops = &hv_ops;
	b.hv.ram[0] = ram;
	b.hv.ram_ranges = 1;
	b.hv.mem = gmem_new(&ram, 1, 1, &mem_ops, NULL, &e);
	b.loop = loop_new("test");
	b.bus = pci_bus_new(&b.hv, ECAM, 256 * MiB);
	assert_int_equal(pci_host_bridge_add(b.bus, &e), 0);
	b.v.opt_vectors = UINT32_MAX;
	b.v.opt_indirect = b.v.opt_event_idx = b.v.opt_ring_reset = true;
	b.v.fn.devfn = -1;
	assert_int_equal(vdev_init(&b.v, &dev_ops, "test", &b.hv, b.loop, &e), 0);
	assert_non_null(vdev_queue_add(&b.v, 1024, NULL));
	assert_int_equal(vdev_finish(&b.v, &e), 0);
	assert_int_equal(pci_bus_plug(b.bus, &b.v.fn, &e), 0);
	pci_cfg_write(&b.v.fn, 0x20, BAR, 4);
	pci_cfg_write(&b.v.fn, 0x24, 0, 4);
	pci_cfg_write(&b.v.fn, 0x04, 6, 2);
	return 0;
}

static int teardown(void **state)
{
	b.hold = false;
	release();
	reg(0x14, 1, 0);
	turn();
	assert_int_equal(status(), 0);
	pci_bus_unplug(&b.v.fn);
	vdev_fini(&b.v);
	pci_fn_free(&b.v.fn);
	pci_bus_free(b.bus);
	loop_free(b.loop);
	gmem_free(b.hv.mem);
	assert_int_equal(b.mapped, 0);
	munmap(b.ram, RAM_PAGES * PAGE);
	close(b.fd);
	return 0;
}

static void put_desc(unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	uint8_t *d = b.ram + b.desc + 16 * i;

	put_le64(d, addr);
	put_le32(d + 8, len);
	put_le16(d + 12, (uint16_t)flags);
	put_le16(d + 14, (uint16_t)next);
}

static void post(unsigned head)
{
	put_le16(b.ram + b.avail + 4 + 2 * (b.avail_idx++ % SIZE), (uint16_t)head);
	put_le16(b.ram + b.avail + 2, b.avail_idx);
	reg(0x3000, 2, 0);
}

static uint16_t used_idx(void)
{
	return get_le16(b.ram + b.used + 2);
}

static uint32_t used_len(uint16_t at)
{
	return get_le32(b.ram + b.used + 4 + 8 * (at % SIZE) + 4);
}

/* Where the data of the chain at descriptor `i` lies: 200 places, each across pages. */
#define OUT    (1000 * PAGE + 100)
#define IN     (2000 * PAGE + 4000)
#define STRIDE (4 * PAGE)

static uint8_t *out_of(unsigned i)
{
	return b.ram + OUT + i % 200 * STRIDE;
}

static uint8_t *in_of(unsigned i)
{
	return b.ram + IN + i % 200 * STRIDE;
}

/* Chain `i`, `i` + 1: `len` bytes out, filled with `seed`, and `len` bytes in. */
static void echo(unsigned i, uint32_t len, uint8_t seed)
{
	memset(out_of(i), seed, len);
	memset(in_of(i), 0, len);
	put_desc(i, (uint64_t)(out_of(i) - b.ram), len, 1, i + 1);
	put_desc(i + 1, (uint64_t)(in_of(i) - b.ram), len, 2, 0);
}

static void expect_echo(unsigned i, uint32_t len, uint8_t seed)
{
	uint8_t want = (uint8_t)~seed;

	for (uint32_t k = 0; k < len; k++)
		if (in_of(i)[k] != want)
			fail_msg("byte %u of %u is %02x", k, len, in_of(i)[k]);
}

#define FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_RESET)

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

/* ... and while requests are in flight: they end on the memory that they were given, the ring goes on on the new one. */
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

/* A buffer with a ballooned page is refused; the next one is served (row 22). */
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

/* More chains in flight than entries: only by posting one head twice; a slot is never used for two (row 14). */
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

/* A reset waits for what is in flight, and then nothing comes any more (row 33). */
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
static void rewind_newest_first(void **state)
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
		vq_rewind(vq, c[i]);
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

int main(void)
{
#define RING_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		RING_TEST(across_pages),	  RING_TEST(invalidated),
		RING_TEST(invalidated_in_flight), RING_TEST(hole_in_a_buffer),
		RING_TEST(hole_in_the_ring),	  RING_TEST(ring_goes_in_flight),
		RING_TEST(indirect_across_pages), RING_TEST(too_many),
		RING_TEST(reset_in_flight),	  RING_TEST(rewind_newest_first),
		RING_TEST(one_interrupt),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
