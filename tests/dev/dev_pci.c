/* SPDX-License-Identifier: MIT */
/* dev_pci.c - the bus and configuration space: what is there, what can be written, what an address
 * reaches
 *
 * The golden masks come from the specification (PCI Express Base §7.5, Virtio §4.1) and from what
 * drivers expect of QEMU's devices, not from what the program answers.
 */
#include "tb.h"

#define HOST_BRIDGE 0

/* An rng in slot 1, a disk in slot 2. */
static void begin(struct tb *t)
{
	tb_disk(t, 8 * MiB, "");
	tb_device(t, "virtio-rng-pci");
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=1");
	tb_start(t);
}

static uint64_t ecam(struct tb *t, unsigned bus, unsigned devfn, unsigned off, unsigned size)
{
	return guest_load(&t->g, gpci_ecam(bus, devfn, off), size);
}

static uint64_t ones(unsigned size)
{
	return size == 8 ? UINT64_MAX : (1ULL << (8 * size)) - 1;
}

static void present(void **state)
{
	struct tb *t = *state;
	struct gpci p;

	begin(t);
	assert_true(gpci_at(&t->g, &p, HOST_BRIDGE));
	assert_int_equal(p.vendor, 0x1b36);
	assert_int_equal(p.device, 0x0008);
	assert_int_equal(gpci_cfg(&p, 8, 4), 0x06000000);
	assert_int_equal(gpci_cfg(&p, 0x2c, 4), 0x11001af4);
	assert_int_equal(gpci_cfg(&p, 6, 2) & 0x10, 0);
	assert_true(gpci_at(&t->g, &p, 1 << 3));
	assert_int_equal(p.vendor, VIRTIO_VENDOR);
	assert_int_equal(p.device, VIRTIO_ID(GV_RNG));
	assert_int_equal(gpci_cfg(&p, 8, 4), 0x00ff0001);
	assert_int_equal(gpci_cfg(&p, 0x2c, 4), 0x11001af4);
	assert_int_equal(gpci_cfg(&p, 0x0e, 1), 0);
	assert_int_equal(gpci_cfg(&p, 6, 2), 0x0010);
	assert_int_equal(gpci_cfg(&p, GPCI_COMMAND, 2), 0);
	assert_true(gpci_at(&t->g, &p, 2 << 3));
	assert_int_equal(p.device, VIRTIO_ID(GV_BLK));
	assert_int_equal(gpci_cfg(&p, 8, 4), 0x01000001);
	for (unsigned devfn = 1; devfn < 256; devfn++)
		if (devfn != 1 << 3 && devfn != 2 << 3)
			assert_false(gpci_at(&t->g, &p, devfn));
	for (unsigned bus = 1; bus < 256; bus += 17)
		assert_int_equal(ecam(t, bus, 0, 0, 4), 0xffffffff);
	tb_stop(t);
}

/* Row 36: the bits that change when everything is written with ones, and then with zeroes. */
static void masks(struct tb *t, unsigned devfn, const uint8_t golden[256])
{
	struct gpci p;

	assert_true(gpci_at(&t->g, &p, devfn));
	for (unsigned off = 0; off < 256; off++) {
		uint8_t was = (uint8_t)gpci_cfg(&p, off, 1), up, down;

		/* A one in bit 7 of Device Control's high byte would be a function-level reset. */
		gpci_cfg_set(&p, off, 1, golden[off] == 0x7f ? 0x7f : 0xff);
		up = (uint8_t)gpci_cfg(&p, off, 1);
		gpci_cfg_set(&p, off, 1, 0);
		down = (uint8_t)gpci_cfg(&p, off, 1);
		if ((up ^ down) != golden[off])
			fail_msg(
				"devfn 0x%02x offset 0x%02x: writable bits 0x%02x, expected 0x%02x",
				devfn, off, up ^ down, golden[off]);
		gpci_cfg_set(&p, off, 1, was);
	}
	for (unsigned off = 256; off < 4096; off += 4) {
		uint32_t was = gpci_cfg(&p, off, 4);

		gpci_cfg_set(&p, off, 4, ~was);
		assert_int_equal(gpci_cfg(&p, off, 4), was);
	}
}

static void golden_header(uint8_t m[256])
{
	memset(m, 0, 256);
	/* IO, MEM, MASTER; SERR, INTX_DISABLE */
	m[0x04] = 0x07;
	m[0x05] = 0x05;
	m[0x0c] = 0xff; /* cache line size */
	m[0x3c] = 0xff; /* interrupt line */
}

static void golden_virtio(struct tb *t, uint8_t m[256], struct gpci *p)
{
	unsigned cap;

	golden_header(m);
	for (unsigned n = 0; n < 6; n++) {
		struct gpci_bar b = gpci_size_bar(p, n);
		uint64_t mask = ~(b.size - 1);

		if (!b.size)
			continue;
		for (unsigned i = 0; i < (b.is64 ? 8 : 4); i++)
			m[GPCI_BAR0 + 4 * n + i] = (uint8_t)(mask >> (8 * i));
		n += b.is64;
	}
	cap = gpci_cap(p, GPCI_CAP_MSIX, 0);
	m[cap + 3] = 0xc0;
	cap = gpci_cap(p, GPCI_CAP_EXPRESS, 0);
	if (cap) {
		/* Device control; bit 15 starts a function level reset and reads as zero. */
		m[cap + 8] = 0xff;
		m[cap + 9] = 0x7f;
	}
	for (cap = gpci_cap(p, GPCI_CAP_VENDOR, 0); cap; cap = gpci_cap(p, GPCI_CAP_VENDOR, cap))
		if (gpci_cfg(p, cap + 3, 1) == 5) {
			m[cap + 4] = 0xff;
			memset(&m[cap + 8], 0xff, 12);
		}
}

static void config_masks(void **state)
{
	struct tb *t = *state;
	uint8_t golden[256];
	struct gpci p;

	tb_skip_qemu("its host bridge has writable bytes behind the header");
	begin(t);
	golden_header(golden);
	masks(t, HOST_BRIDGE, golden);
	for (unsigned slot = 1; slot <= 2; slot++) {
		assert_true(gpci_at(&t->g, &p, slot << 3));
		golden_virtio(t, golden, &p);
		masks(t, slot << 3, golden);
	}
	gblk_open(&t->g, &t->blk, 0, 1, 0, GV_F_RING);
	tb_blk_works(t);
	tb_stop(t);
}

/* Every BAR is sized, aligned to its size, 64 bit where it says so, and the structures lie inside.
 */
static void bars(void **state)
{
	struct tb *t = *state;
	struct gvirtio v;

	begin(t);
	gv_open(&t->g, &v, GV_BLK, 0);
	assert_int_equal(v.pci.bar[4].size, 0x4000);
	assert_true(v.pci.bar[4].is64);
	assert_true(v.pci.bar[4].prefetch);
	assert_int_equal(v.common, v.pci.bar[4].addr);
	assert_int_equal(v.isr, v.pci.bar[4].addr + 0x1000);
	assert_int_equal(v.config, v.pci.bar[4].addr + 0x2000);
	assert_int_equal(v.notify, v.pci.bar[4].addr + 0x3000);
	assert_int_equal(v.notify_mult, 4);
	assert_true(v.cfg_cap);
	for (unsigned n = 0; n < 6; n++)
		if (v.pci.bar[n].size) {
			assert_true(is_pow2(v.pci.bar[n].size));
			assert_false(v.pci.bar[n].io);
		}
	assert_int_equal(v.pci.vectors, 2);
	tb_stop(t);
}

/* Row 35: every width at every alignment, across functions, beyond the last byte. */
static void ecam_widths(void **state)
{
	static const unsigned sizes[] = {1, 2, 4, 8};
	struct tb *t = *state;
	uint8_t image[2 * 4096];

	begin(t);
	for (unsigned i = 0; i < sizeof(image); i++)
		image[i] = (uint8_t)guest_load(&t->g, gpci_ecam(0, 1 << 3, 0) + i, 1);
	/* The function behind it is not there. */
	for (unsigned i = 4096; i < sizeof(image); i++)
		assert_int_equal(image[i], 0xff);
	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++)
		for (unsigned off = 0; off < 4100; off += off < 80 || off > 4080 ? 1 : 61) {
			uint64_t v = ecam(t, 0, 1 << 3, off, sizes[s]);

			for (unsigned i = 0; i < sizes[s]; i++)
				if ((uint8_t)(v >> (8 * i)) != image[off + i])
					fail_msg("offset %u, size %u: %llx", off, sizes[s],
						 (unsigned long long)v);
		}
	/* The last bytes of the window; and what lies behind it. */
	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++)
		assert_int_equal(
			guest_load(&t->g, GUEST_ECAM_BASE + GUEST_ECAM_SIZE - sizes[s], sizes[s]),
			ones(sizes[s]));
	guest_store(&t->g, GUEST_ECAM_BASE + GUEST_ECAM_SIZE - 1, 2, 0);
	/* A write across two functions changes writable bits of the first, and reaches nobody
	 * behind. */
	guest_store(&t->g, gpci_ecam(0, 1 << 3, 4092), 8, 0);
	/* A straddling write to registers: 8 bytes from COMMAND - 2. */
	guest_store(&t->g, gpci_ecam(0, 1 << 3, 2), 8, 0x0000000000060000ULL);
	assert_int_equal(ecam(t, 0, 1 << 3, 4, 2), 6);
	assert_int_equal(ecam(t, 0, 1 << 3, 0, 4), VIRTIO_ID(GV_RNG) << 16 | VIRTIO_VENDOR);
	/* Odd: the high byte of COMMAND and the low one of STATUS. */
	guest_store(&t->g, gpci_ecam(0, 1 << 3, 5), 2, 0xff04);
	assert_int_equal(ecam(t, 0, 1 << 3, 4, 2), 0x0406);
	tb_stop(t);
}

/* `addr=` and the first free slot; a taken slot is a clear error. */
static void slots(void **state)
{
	struct tb *t = *state;
	struct gpci p;

	tb_device(t, "virtio-rng-pci,addr=2");
	tb_device(t, "virtio-rng-pci,addr=0x1f");
	tb_device(t, "virtio-rng-pci");
	tb_device(t, "virtio-rng-pci");
	tb_device(t, "virtio-rng-pci,addr=4.0,multifunction=on");
	tb_device(t, "virtio-rng-pci,addr=4.5");
	tb_start(t);
	for (unsigned devfn = 8; devfn < 256; devfn++) {
		bool want = devfn == 1 << 3 || devfn == 2 << 3 || devfn == 3 << 3 ||
			    devfn == 4 << 3 || devfn == (4 << 3 | 5) || devfn == 0x1f << 3;

		assert_int_equal(gpci_at(&t->g, &p, devfn), want);
	}
	assert_true(gpci_at(&t->g, &p, 4 << 3));
	assert_int_equal(gpci_cfg(&p, 0x0e, 1), 0x80);
	tb_stop(t);
}

/* --- what an address reaches --- */

#define NUM_QUEUES 0x12

static bool answers_at(struct tb *t, uint64_t bar)
{
	return guest_load(&t->g, bar + NUM_QUEUES, 2) == 1;
}

static void moving_bars(void **state)
{
	static const uint64_t nowhere[] = {0, 0x100000, 0xfee00000, 0xfffffffffffff000ULL,
					   0xffffc000};
	struct tb *t = *state;
	struct gvirtio v;
	uint64_t home, other;
	uint8_t *ram;

	tb_skip_qemu("microvm has its 64-bit window elsewhere");
	begin(t);
	gv_open(&t->g, &v, GV_RNG, 0);
	gblk_open(&t->g, &t->blk, 0, 1, 0, GV_F_RING);
	home = v.pci.bar[4].addr;
	assert_true(answers_at(t, home));
	/* There and back; what was there before is empty. */
	other = GUEST_MMIO_BASE + 0x8000000;
	gpci_move_bar(&v.pci, 4, other);
	assert_true(answers_at(t, other));
	assert_int_equal(guest_load(&t->g, home + NUM_QUEUES, 2), 0xffff);
	gpci_move_bar(&v.pci, 4, home);
	assert_true(answers_at(t, home));
	assert_int_equal(guest_load(&t->g, other + NUM_QUEUES, 2), 0xffff);
	/* Over RAM, the ECAM, nothing, the end of the address space: RAM and ECAM are never
	 * shadowed. */
	ram = guest_ptr(&t->g, 0x100000, 0x4000);
	memset(ram, 0x5a, 0x4000);
	for (unsigned i = 0; i < ARRAY_SIZE(nowhere); i++) {
		gpci_move_bar(&v.pci, 4, nowhere[i]);
		assert_int_equal(guest_load(&t->g, 0x100000 + NUM_QUEUES, 2), 0x5a5a);
		assert_int_equal(guest_load(&t->g, home + NUM_QUEUES, 2), 0xffff);
	}
	gpci_move_bar(&v.pci, 4, GUEST_ECAM_BASE);
	assert_int_equal(ecam(t, 0, 0, 0, 4), 0x00081b36);
	gpci_move_bar(&v.pci, 4, gpci_ecam(0, 1 << 3, 0));
	assert_int_equal(ecam(t, 0, 1 << 3, 0, 2), VIRTIO_VENDOR);
	/* Over another function's BAR: exactly one of the two answers, and both come back. */
	gpci_move_bar(&v.pci, 4, t->blk.v.pci.bar[4].addr);
	assert_true(answers_at(t, t->blk.v.pci.bar[4].addr));
	gpci_move_bar(&v.pci, 4, home);
	assert_true(answers_at(t, home));
	tb_blk_works(t);
	/* A high address. */
	gpci_move_bar(&v.pci, 4, 0x8000000000ULL);
	assert_true(answers_at(t, 0x8000000000ULL));
	gpci_move_bar(&v.pci, 4, home);
	/* Inside the BAR: unaligned, across its end. */
	assert_int_equal(guest_load(&t->g, home + 0x3fff, 1), 0);
	assert_int_equal(guest_load(&t->g, home + 0x3ffc, 8) & 0xffffffff, 0);
	tb_stop(t);
}

/* Row 37, during I/O: the disk's own BAR wanders while requests are in flight. */
static void moving_during_io(void **state)
{
	struct tb *t = *state;
	struct gblk *b = &t->blk;
	uint64_t at, home;
	struct gseg seg;
	unsigned done = 0, sent = 0;

	begin(t);
	gblk_open(&t->g, b, 0, 1, 0, GV_F_RING);
	at = guest_alloc(&t->g, 65536, 4096);
	seg = (struct gseg){at, 65536};
	home = b->v.pci.bar[4].addr;
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 16 && gblk_add(b, 0, GBLK_IN, 0, &seg, 1); i++)
			sent++;
		gvq_kick(&b->q[0]);
		gpci_move_bar(&b->v.pci, 4, home + 0x4000000);
		gpci_move_bar(&b->v.pci, 4, home);
		while (gblk_done(b, 0, NULL))
			done++;
	}
	while (done < sent) {
		assert_true(guest_wait(&t->g, gblk_done(b, 0, NULL) != NULL));
		done++;
	}
	tb_blk_works(t);
	tb_stop(t);
}

static void decode_off(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct gpci *p = &t->blk.v.pci;
	struct gseg seg;
	uint16_t before;

	begin(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, GV_F_RING);
	seg = (struct gseg){guest_alloc(&t->g, 512, 512), 512};
	gpci_cfg_set(p, GPCI_COMMAND, 2, GPCI_COMMAND_MASTER);
	assert_int_equal(guest_load(&t->g, t->blk.v.common, 4), 0xffffffff);
	assert_int_equal(guest_load(&t->g, p->msix_table, 4), 0xffffffff);
	guest_store(&t->g, p->msix_table, 4, 0xdead0000);
	guest_store(&t->g, t->blk.v.common + GV_STATUS, 1, 0);
	/* The bell is not heard. */
	before = gvq_used_idx(q);
	assert_non_null(gblk_add(&t->blk, 0, GBLK_IN, 0, &seg, 1));
	gvq_publish(q, q->avail_idx);
	q->kicked_idx = q->avail_idx;
	gvq_ring(q);
	guest_sync(&t->g);
	gpci_cfg(p, 0, 4);
	assert_int_equal(gvq_used_idx(q), before);
	gpci_cfg_set(p, GPCI_COMMAND, 2, GPCI_COMMAND_MASTER | GPCI_COMMAND_MEM);
	assert_int_equal(gv_status(&t->blk.v), 15);
	assert_int_equal(guest_load(&t->g, p->msix_table, 4), (uint32_t)p->messages);
	gvq_ring(q);
	assert_true(guest_wait(&t->g, gblk_done(&t->blk, 0, NULL) != NULL));
	tb_blk_works(t);
	tb_blk_again(t);
	tb_stop(t);
}

/* Without bus mastering the device neither reads nor writes memory, and sends no message; with it,
 * it goes on. */
static void master_off(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct gpci *p = &t->blk.v.pci;
	struct gseg seg;
	uint16_t before;
	uint8_t *data;

	tb_skip_qemu("it stops the device for good when mastering is switched off");
	begin(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, GV_F_RING);
	seg = (struct gseg){guest_alloc(&t->g, 512, 512), 512};
	data = guest_ptr(&t->g, seg.addr, 512);
	memset(data, 0xee, 512);
	gpci_msix_take(p, q->vector);
	before = gvq_used_idx(q);
	gpci_cfg_set(p, GPCI_COMMAND, 2, GPCI_COMMAND_MEM);
	assert_non_null(gblk_add(&t->blk, 0, GBLK_IN, 0, &seg, 1));
	gvq_publish(q, q->avail_idx);
	q->kicked_idx = q->avail_idx;
	gvq_ring(q);
	for (unsigned i = 0; i < 100; i++)
		gv_status(&t->blk.v);
	assert_int_equal(gvq_used_idx(q), before);
	assert_int_equal(data[0], 0xee);
	assert_false(gpci_msix_take(p, q->vector));
	gpci_cfg_set(p, GPCI_COMMAND, 2, GPCI_COMMAND_MEM | GPCI_COMMAND_MASTER);
	assert_true(guest_wait(&t->g, gblk_done(&t->blk, 0, NULL) != NULL));
	assert_int_equal(data[0], 0);
	tb_blk_works(t);
	tb_blk_again(t);
	tb_stop(t);
}

/* --- MSI-X --- */

static uint8_t one_request(struct tb *t)
{
	return gblk_do(&t->blk, 0, GBLK_FLUSH, 0, 0, 0);
}

static void msix_masking(void **state)
{
	struct tb *t = *state;
	struct gpci *p = &t->blk.v.pci;
	unsigned v;

	tb_skip_qemu("its pending bit hides in an eventfd");
	begin(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, 0);
	v = t->blk.q[0].vector;
	one_request(t);
	assert_true(guest_wait(&t->g, gpci_msix_take(p, v)));
	assert_false(gpci_msix_pending(p, v));
	/* Masked: pending; unmasked: delivered once. */
	gpci_msix_mask(p, v, true);
	one_request(t);
	assert_true(guest_wait(&t->g, gpci_msix_pending(p, v)));
	assert_false(gpci_msix_take(p, v));
	gpci_msix_mask(p, v, false);
	assert_true(guest_wait(&t->g, gpci_msix_take(p, v)));
	assert_false(gpci_msix_pending(p, v));
	/* The same by the function's mask; other vectors are not touched. */
	gpci_msix_control(p, true, true);
	one_request(t);
	assert_true(guest_wait(&t->g, gpci_msix_pending(p, v)));
	assert_false(gpci_msix_pending(p, 0));
	assert_false(gpci_msix_take(p, v));
	gpci_msix_control(p, true, false);
	assert_true(guest_wait(&t->g, gpci_msix_take(p, v)));
	assert_false(gpci_msix_take(p, 0));
	/* Toggling the mask delivers a pending message once, and none when nothing is pending. */
	gpci_msix_mask(p, v, true);
	one_request(t);
	assert_true(guest_wait(&t->g, gpci_msix_pending(p, v)));
	for (unsigned i = 0; i < 1000; i++) {
		gpci_msix_mask(p, v, false);
		gpci_msix_mask(p, v, true);
		assert_int_equal(gpci_msix_take(p, v), i == 0);
	}
	gpci_msix_mask(p, v, false);
	/* Off: nothing. */
	gpci_msix_control(p, false, false);
	one_request(t);
	gv_status(&t->blk.v);
	assert_false(gpci_msix_take(p, v));
	tb_blk_again(t);
	tb_stop(t);
}

/* A message is a write to wherever the guest says: nothing there must hurt. */
static void msix_anywhere(void **state)
{
	static const uint64_t at[] = {0,
				      3,
				      0xfee00000,
				      0xfeefffff,
				      UINT64_MAX,
				      UINT64_MAX - 3,
				      1ULL << 63,
				      GUEST_ECAM_BASE + 4,
				      GUEST_MMIO_BASE,
				      0x90000000};
	struct tb *t = *state;
	struct gpci *p = &t->blk.v.pci;
	unsigned v;

	begin(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, 0);
	v = t->blk.q[0].vector;
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		gpci_msix_entry(p, v, at[i], 0xffffffff);
		assert_int_equal(one_request(t), GBLK_OK);
	}
	/* Its own doorbell and status: a device does not talk to itself. */
	gpci_msix_entry(p, v, t->blk.v.common + GV_STATUS, 0);
	assert_int_equal(one_request(t), GBLK_OK);
	if (!t->qemu) /* which does let it */
		assert_int_equal(gv_status(&t->blk.v), 15);
	tb_blk_again(t);
	tb_stop(t);
}

static void msix_table(void **state)
{
	struct tb *t = *state;
	struct gpci *p = &t->blk.v.pci;
	struct guest *g = &t->g;
	uint64_t bar_end;

	begin(t);
	gblk_open(g, &t->blk, 0, 1, 0, 0);
	/* Only the mask bit of the last word sticks, the address is a multiple of 4. */
	guest_store(g, p->msix_table + 12, 4, 0xffffffff);
	if (!t->qemu) /* which stores the reserved bits too */
		assert_int_equal(guest_load(g, p->msix_table + 12, 4), 1);
	guest_store(g, p->msix_table, 8, 0x1122334455667788ULL);
	assert_int_equal(guest_load(g, p->msix_table, 8), 0x1122334455667788ULL);
	if (!t->qemu) /* which reads zero across words */
		assert_int_equal(guest_load(g, p->msix_table + 3, 2), 0x4455);
	if (!t->qemu)
		assert_int_equal(guest_load(g, p->msix_table + 4, 1), 0x44);
	/* The pending bits are read only; so is everything behind. */
	guest_store(g, p->msix_pba, 8, UINT64_MAX);
	assert_int_equal(guest_load(g, p->msix_pba, 4), 0);
	bar_end = p->bar[gpci_cfg(p, p->msix_cap + 4, 1) & 7].addr +
		  p->bar[gpci_cfg(p, p->msix_cap + 4, 1) & 7].size;
	guest_store(g, bar_end - 4, 4, 0xffffffff);
	if (!t->qemu)
		assert_int_equal(guest_load(g, bar_end - 4, 4), 0);
	guest_store(g, bar_end - 1, 8, UINT64_MAX);
	guest_load(g, bar_end - 3, 8);
	tb_blk_again(t);
	tb_stop(t);
}

/* Function-level reset: registers back to what they were, nothing assigned, and the device works
 * again. */
static void flr(void **state)
{
	struct tb *t = *state;
	struct gpci *p = &t->blk.v.pci;
	unsigned cap;

	tb_skip_qemu("it has no PCI Express capability on the root bus");
	begin(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, GV_F_RING);
	cap = gpci_cap(p, GPCI_CAP_EXPRESS, 0);
	assert_true(cap);
	assert_true(gpci_cfg(p, cap + 4, 4) & 1U << 28);
	for (unsigned i = 0; i < 20; i++) {
		struct gseg seg = {guest_alloc(&t->g, 65536, 4096), 65536};

		for (unsigned k = 0; k < 16; k++)
			gblk_add(&t->blk, 0, GBLK_IN, 0, &seg, 1);
		gvq_kick(&t->blk.q[0]);
		gpci_cfg_set(p, cap + 8, 2, 0x8000);
		assert_int_equal(gpci_cfg(p, GPCI_COMMAND, 2), 0);
		assert_int_equal(gpci_cfg(p, GPCI_BAR0 + 16, 4), 0xc);
		assert_int_equal(gpci_cfg(p, p->msix_cap + 2, 2) & 0xc000, 0);
		assert_int_equal(gpci_cfg(p, cap + 8, 2), 0);
		/* In place again, without forgetting where its rings were meant to be. */
		for (unsigned n = 0; n < 6; n++)
			if (p->bar[n].size)
				gpci_move_bar(p, n, p->bar[n].addr);
		gpci_cfg_set(p, GPCI_COMMAND, 2, GPCI_COMMAND_MEM | GPCI_COMMAND_MASTER);
		assert_true(guest_wait(&t->g, gv_status(&t->blk.v) == 0));
		gblk_restart(&t->blk, GV_F_RING);
	}
	tb_blk_works(t);
	tb_stop(t);
}

/* --- access through configuration space (Virtio §4.1.4.9) --- */

static void cfg_window(struct gvirtio *v, uint8_t bar, uint32_t off, uint32_t len)
{
	gpci_cfg_set(&v->pci, v->cfg_cap + 4, 1, bar);
	gpci_cfg_set(&v->pci, v->cfg_cap + 8, 4, off);
	gpci_cfg_set(&v->pci, v->cfg_cap + 12, 4, len);
}

static void cfg_access(void **state)
{
	static const struct {
		uint8_t bar;
		uint32_t off, len;
	} bad[] = {
		{7, 0, 4},	    {255, 0, 4},	{5, 0, 4},	{4, 0x4000, 4},
		{4, 0xfffffffc, 4}, {4, 0xffffffff, 1}, {4, 0, 0},	{4, 0, 3},
		{4, 0, 8},	    {4, 0, 0xffffffff}, {4, 0x3ffe, 4}, {4, 1, 4},
	};
	struct tb *t = *state;
	struct gvirtio *v = &t->blk.v;

	tb_skip_qemu("it aborts when the BAR is mapped, and takes any BAR for this one");
	begin(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, GV_F_RING);
	cfg_window(v, 4, GV_STATUS, 1);
	assert_int_equal(gpci_cfg(&v->pci, v->cfg_cap + 16, 1), 15);
	cfg_window(v, 4, GV_NUM_QUEUES, 2);
	assert_int_equal(gpci_cfg(&v->pci, v->cfg_cap + 16, 2), 1);
	cfg_window(v, 4, GV_QSELECT, 2);
	gpci_cfg_set(&v->pci, v->cfg_cap + 16, 2, 0x1234);
	assert_int_equal(gv_common(v, GV_QSELECT, 2), 0x1234);
	cfg_window(v, 4, 0x2000, 4);
	assert_int_equal(gpci_cfg(&v->pci, v->cfg_cap + 16, 4), 8 * MiB / 512);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		cfg_window(v, bad[i].bar, bad[i].off, bad[i].len);
		gpci_cfg_set(&v->pci, v->cfg_cap + 16, 4, 0);
		gpci_cfg(&v->pci, v->cfg_cap + 16, 4);
		assert_int_equal(gv_status(v), 15);
		assert_int_equal(gv_common(v, GV_QSELECT, 2), 0x1234);
	}
	/* A bell rung through the window. */
	cfg_window(v, 4, 0x3000, 2);
	gpci_cfg_set(&v->pci, v->cfg_cap + 16, 2, 0);
	/* It also works while the BAR is not decoded. */
	gpci_cfg_set(&v->pci, GPCI_COMMAND, 2, GPCI_COMMAND_MASTER);
	cfg_window(v, 4, GV_STATUS, 1);
	assert_int_equal(gpci_cfg(&v->pci, v->cfg_cap + 16, 1), 15);
	gpci_cfg_set(&v->pci, GPCI_COMMAND, 2, GPCI_COMMAND_MASTER | GPCI_COMMAND_MEM);
	tb_blk_works(t);
	tb_blk_again(t);
	tb_stop(t);
}

/* Without MSI-X: the line of slot 2 is number 2, it follows the ISR, and INTX_DISABLE takes it
 * down. */
static void intx(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &t->blk.v;

	tb_skip_qemu("its lines end in an IOAPIC of microvm's own numbering");
	begin(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, 0);
	assert_int_equal(gpci_cfg(&v->pci, 0x3d, 1), 1);
	gpci_msix_control(&v->pci, false, false);
	assert_string_equal(guest_ask(&t->g, "irq_intercept_in ioapic"), "OK");
	one_request(t);
	assert_true(guest_wait(&t->g, (gv_status(v), t->g.irq[2])));
	assert_true(gpci_cfg(&v->pci, 6, 2) & 8);
	gpci_cfg_set(&v->pci, GPCI_COMMAND, 2,
		     GPCI_COMMAND_MEM | GPCI_COMMAND_MASTER | GPCI_COMMAND_NOINTX);
	assert_true(guest_wait(&t->g, (gv_status(v), !t->g.irq[2])));
	gpci_cfg_set(&v->pci, GPCI_COMMAND, 2, GPCI_COMMAND_MEM | GPCI_COMMAND_MASTER);
	assert_true(guest_wait(&t->g, (gv_status(v), t->g.irq[2])));
	assert_int_equal(guest_load(&t->g, v->isr, 1), 1);
	assert_true(guest_wait(&t->g, (gv_status(v), !t->g.irq[2])));
	assert_int_equal(guest_load(&t->g, v->isr, 1), 0);
	tb_blk_again(t);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(present),
		tb_test(config_masks),
		tb_test(bars),
		tb_test(ecam_widths),
		tb_test(slots),
		tb_test(moving_bars),
		tb_test(moving_during_io),
		tb_test(decode_off),
		tb_test(master_off),
		tb_test(msix_masking),
		tb_test(msix_anywhere),
		tb_test(msix_table),
		tb_test(flr),
		tb_test(cfg_access),
		tb_test(intx),
	};

	return tb_run("pci", tests);
}
