/* SPDX-License-Identifier: MIT */
/* vq_bench.h - a virtqueue without a machine, for the unit tests of rings
 *
 * The hypervisor is a fake whose memory is populated in granules of one page, so that every ring
 * and every buffer lies in several mappings, and that can be invalidated at any moment, as Xen does
 * when the guest balloons. The device answers each chain by writing its readable part, inverted,
 * into its writable part; it can hold chains back.
 */
#ifndef UNIT_VQ_BENCH_H
#define UNIT_VQ_BENCH_H

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
	unsigned publish_after; /* so many chains, in the middle of a turn; 0: only at its end */
	uint16_t seen;		/* the used index then */
	/* the guest's ring */
	uint64_t desc, avail, used;
	uint16_t avail_idx;
};

static struct bench b;

/* --- the fake hypervisor --- */

static inline void *fake_map(void *ctx, void *at, uint64_t gfn, unsigned pages, uint64_t *holes)
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

static inline void fake_unmap(void *ctx, void *at, unsigned pages, bool reserve)
{
	if (reserve)
		mmap(at, pages * PAGE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	else
		munmap(at, pages * PAGE);
	b.mapped--;
}

static const struct gmem_ops mem_ops = {fake_map, fake_unmap};

static inline int fake_msi(struct hv *hv, uint64_t addr, uint32_t data)
{
	b.msis++;
	return 0;
}

static const struct hv_ops hv_ops = {.msi = fake_msi};

/* --- the device --- */

static inline void answer(struct vqueue *vq, struct vchain *c)
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

static inline uint16_t used_idx(void);

static inline void dev_kick(struct vqueue *vq)
{
	struct vchain *c;

	while ((c = vq_pop(vq))) {
		if (!b.hold) {
			answer(vq, c);
			if (b.publish_after && !--b.publish_after) {
				vq_publish(vq);
				b.seen = used_idx();
			}
			continue;
		}
		c->next = b.held;
		b.held = c;
		b.n_held++;
	}
}

static inline void release(void)
{
	while (b.held) {
		struct vchain *c = b.held;

		b.held = c->next;
		answer(b.v.vq[0], c);
	}
	b.n_held = 0;
}

static inline int dev_realize(struct vdev *v, struct dev_env *env, struct err *e)
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

static inline void turn(void)
{
	for (unsigned i = 0; i < 4; i++)
		loop_turn(b.loop, 0);
}

static inline void reg(unsigned off, unsigned size, uint64_t x)
{
	pci_bus_write(b.bus, BAR + off, x, size);
}

static inline uint8_t status(void)
{
	return (uint8_t)pci_bus_read(b.bus, BAR + 0x14, 1);
}

/* Reset, negotiate, put the ring at three places that begin in the middle of a page. */
static inline void start_sized(uint64_t features, unsigned size)
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
	if (features & VIRTIO_F_RING_PACKED)
		b.avail += 2; /* its two other areas are aligned to 4 */
	reg(0x16, 2, 0);
	reg(0x18, 2, size);
	reg(0x20, 8, b.desc);
	reg(0x28, 8, b.avail);
	reg(0x30, 8, b.used);
	reg(0x1c, 2, 1);
	assert_int_equal(pci_bus_read(b.bus, BAR + 0x1c, 2), 1);
	reg(0x14, 1, 15);
	turn();
}

static inline void start(uint64_t features)
{
	start_sized(features, SIZE);
}

static inline int setup(void **state)
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
	b.v.opt_packed = b.v.opt_in_order = true;
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

static inline int teardown(void **state)
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

static inline void put_desc(unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	uint8_t *d = b.ram + b.desc + 16 * i;

	put_le64(d, addr);
	put_le32(d + 8, len);
	put_le16(d + 12, (uint16_t)flags);
	put_le16(d + 14, (uint16_t)next);
}

static inline void post(unsigned head)
{
	put_le16(b.ram + b.avail + 4 + 2 * (b.avail_idx++ % SIZE), (uint16_t)head);
	put_le16(b.ram + b.avail + 2, b.avail_idx);
	reg(0x3000, 2, 0);
}

static inline uint16_t used_idx(void)
{
	return get_le16(b.ram + b.used + 2);
}

static inline uint32_t used_len(uint16_t at)
{
	return get_le32(b.ram + b.used + 4 + 8 * (at % SIZE) + 4);
}

/* Where the data of the chain at descriptor `i` lies: 200 places, each across pages. */
#define OUT    (1000 * PAGE + 100)
#define IN     (2000 * PAGE + 4000)
#define STRIDE (4 * PAGE)

static inline uint8_t *out_of(unsigned i)
{
	return b.ram + OUT + i % 200 * STRIDE;
}

static inline uint8_t *in_of(unsigned i)
{
	return b.ram + IN + i % 200 * STRIDE;
}

/* Chain `i`, `i` + 1: `len` bytes out, filled with `seed`, and `len` bytes in. */
static inline void echo(unsigned i, uint32_t len, uint8_t seed)
{
	memset(out_of(i), seed, len);
	memset(in_of(i), 0, len);
	put_desc(i, (uint64_t)(out_of(i) - b.ram), len, 1, i + 1);
	put_desc(i + 1, (uint64_t)(in_of(i) - b.ram), len, 2, 0);
}

static inline void expect_echo(unsigned i, uint32_t len, uint8_t seed)
{
	uint8_t want = (uint8_t)~seed;

	for (uint32_t k = 0; k < len; k++)
		if (in_of(i)[k] != want)
			fail_msg("byte %u of %u is %02x", k, len, in_of(i)[k]);
}

#define FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_RESET)

#endif
