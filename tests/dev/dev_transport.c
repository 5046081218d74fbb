/* SPDX-License-Identifier: MIT */
/* dev_transport.c - virtio registers: negotiation, status, queue set-up, bells, resets, and misuse
 * of each
 *
 * Virtio 1.3 §2.1, §2.2, §3.1, §4.1.4. The disk is the device, because a read in flight and a
 * buffer that changes show what a reset leaves behind.
 */
#include <fcntl.h>

#include "tb.h"

static struct gvirtio *begin(struct tb *t, unsigned queues)
{
	char props[32];

	snprintf(props, sizeof(props), ",num-queues=%u", queues);
	tb_blk(t, props, queues, GV_F_RING);
	return &t->blk.v;
}

static void end(struct tb *t)
{
	tb_blk_again(t);
	tb_stop(t);
}

/* --- negotiation --- */

static void features(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = begin(t, 1);
	uint64_t offered = gv_offered(v);

	assert_true(offered & GV_F_VERSION_1);
	assert_true(offered & GV_F_INDIRECT);
	assert_true(offered & GV_F_EVENT_IDX);
	assert_true(offered & GV_F_RING_RESET);
	/* Not by default: packed, in order, notification data, platform access. */
	assert_int_equal(offered & (1ULL << 34 | 1ULL << 35 | 1ULL << 38 | 1ULL << 33), 0);
	for (uint32_t i = 2; i < 10; i++) {
		gv_common_set(v, GV_DFSELECT, 4, i);
		assert_int_equal(gv_common(v, GV_DF, 4), 0);
	}
	gv_common_set(v, GV_DFSELECT, 4, 0xffffffff);
	assert_int_equal(gv_common(v, GV_DF, 4), 0);
	end(t);
}

static bool accepted(struct gvirtio *v, uint64_t bits)
{
	gv_reset(v);
	gv_set_status(v, GV_ACKNOWLEDGE | GV_DRIVER);
	gv_write_features(v, bits);
	gv_set_status(v, GV_ACKNOWLEDGE | GV_DRIVER | GV_FEATURES_OK);
	return gv_status(v) & GV_FEATURES_OK;
}

static void features_refused(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v;
	uint64_t offered;

	tb_skip_qemu("it accepts any set of features");
	v = begin(t, 1);
	offered = gv_offered(v);
	assert_true(accepted(v, offered));
	assert_true(accepted(v, GV_F_VERSION_1));
	assert_false(accepted(v, offered & ~GV_F_VERSION_1));
	assert_false(accepted(v, 0));
	for (unsigned bit = 0; bit < 64; bit++)
		assert_int_equal(accepted(v, GV_F_VERSION_1 | 1ULL << bit), offered >> bit & 1);
	/* Refused is not the end: another try without reset. */
	assert_false(accepted(v, ~0ULL));
	gv_write_features(v, GV_F_VERSION_1);
	gv_set_status(v, GV_ACKNOWLEDGE | GV_DRIVER | GV_FEATURES_OK);
	assert_true(gv_status(v) & GV_FEATURES_OK);
	/* Sealed from then on. */
	gv_write_features(v, offered);
	gv_common_set(v, GV_GFSELECT, 4, 0);
	assert_int_equal(gv_common(v, GV_GF, 4), 0);
	gv_common_set(v, GV_GFSELECT, 4, 7);
	gv_common_set(v, GV_GF, 4, 0xffffffff);
	assert_int_equal(gv_common(v, GV_GF, 4), 0);
	/* DRIVER_OK without FEATURES_OK does not start the device. */
	gv_reset(v);
	gv_set_status(v, GV_ACKNOWLEDGE | GV_DRIVER | GV_DRIVER_OK);
	assert_int_equal(gv_status(v) & GV_DRIVER_OK, 0);
	end(t);
}

/* --- status --- */

static void status(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = begin(t, 1);

	assert_int_equal(gv_status(v), 15);
	gv_reset(v);
	/* Any order, any bits: never more than reads back, never a crash. */
	for (unsigned i = 0; i < 256; i++) {
		gv_reset(v);
		gv_set_status(v, (uint8_t)i);
		gv_set_status(v, (uint8_t)~i);
		gv_status(v);
		gv_set_status(v, 0xff);
	}
	gv_reset(v);
	if (!t->qemu) { /* which stores what is written */
		/* NEEDS_RESET is the device's; bits are not taken back. */
		gv_set_status(v, GV_ACKNOWLEDGE | GV_NEEDS_RESET | 0x20);
		assert_int_equal(gv_status(v), GV_ACKNOWLEDGE);
		gv_set_status(v, GV_DRIVER);
		assert_int_equal(gv_status(v), GV_ACKNOWLEDGE | GV_DRIVER);
	}
	end(t);
}

static void many_resets(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = begin(t, 2);
	uint64_t low = t->g.next_low;
	unsigned before = 0, after;

	for (unsigned i = 0; i < 600; i++) {
		if (i == 100)
			before = tb_anonymous_kb(t);
		t->g.next_low = low;
		gblk_restart(&t->blk, GV_F_RING);
		if (i % 8 == 0)
			assert_int_equal(gblk_do(&t->blk, 1, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
	}
	for (unsigned i = 0; i < 100000; i++)
		guest_store_async(&t->g, v->common + GV_STATUS, 1, 0);
	guest_sync(&t->g);
	after = tb_anonymous_kb(t);
	print_message("anonymous memory: %u KiB after 100 resets, %u KiB after 100600\n", before,
		      after);
	if (!TB_SANITIZED) /* a sanitizer keeps freed memory on purpose */
		assert_in_range(after, 1, before + 256);
	end(t);
}

/* --- queue set-up --- */

static void queue_size(void **state)
{
	static const uint16_t bad[] = {0, 3, 255, 257, 1025, 2048, 32768, 65535};
	struct tb *t = *state;
	struct gvirtio *v = begin(t, 1);
	unsigned max;

	gv_negotiate(v, GV_F_RING);
	gv_common_set(v, GV_QSELECT, 2, 0);
	max = gv_common(v, GV_QSIZE, 2);
	assert_true(is_pow2(max));
	assert_in_range(max, 128, 1024);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		unsigned now;

		gv_common_set(v, GV_QSIZE, 2, bad[i]);
		now = gv_common(v, GV_QSIZE, 2);
		/* QEMU takes any size up to 1024 because packed rings may have it. */
		if (!t->qemu)
			assert_true(is_pow2(now) && now <= max);
	}
	for (unsigned size = max; size; size /= 2) {
		gv_common_set(v, GV_QSIZE, 2, size);
		assert_int_equal(gv_common(v, GV_QSIZE, 2), size);
	}
	/* A reset brings the maximum back. */
	gv_reset(v);
	assert_int_equal(gv_common(v, GV_QSIZE, 2), max);
	/* A ring of two entries and requests of two descriptors. */
	gv_negotiate(v, GV_F_RING & ~GV_F_INDIRECT);
	gvq_setup(v, &t->blk.q[0], 0, 2);
	gv_start(v);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(gblk_do(&t->blk, 0, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
	gvq_init(v, &t->blk.q[0], 0, max);
	end(t);
}

/* CVE-2026-5747's class: the layout is fixed once the queue runs. */
static void layout_after_enable(void **state)
{
	static const unsigned reg[] = {GV_QSIZE, GV_QDESC, GV_QAVAIL, GV_QUSED};
	struct tb *t = *state;
	struct gvirtio *v;

	tb_skip_qemu("it takes a new size while the queue runs");
	v = begin(t, 1);
	gv_common_set(v, GV_QSELECT, 2, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(reg); i++) {
		unsigned size = reg[i] == GV_QSIZE ? 2 : 8;
		uint64_t was = guest_load(&t->g, v->common + reg[i], size);

		gv_common_set(v, reg[i], size, reg[i] == GV_QSIZE ? 2 : UINT64_MAX);
		assert_int_equal(guest_load(&t->g, v->common + reg[i], size), was);
		gv_common_set(v, reg[i], 1, 1);
		gv_common_set(v, reg[i] + 1, 1, 1);
		assert_int_equal(guest_load(&t->g, v->common + reg[i], size), was);
		tb_blk_works(t);
	}
	gv_common_set(v, GV_QENABLE, 2, 0);
	assert_int_equal(gv_common(v, GV_QENABLE, 2), 1);
	tb_blk_works(t);
	end(t);
}

static void absent_queue(void **state)
{
	static const uint16_t absent[] = {1, 2, 64, 1023, 1024, 0x7fff, 0xffff};
	struct tb *t = *state;
	struct gvirtio *v = begin(t, 1);

	assert_int_equal(gv_common(v, GV_NUM_QUEUES, 2), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
		gv_common_set(v, GV_QSELECT, 2, absent[i]);
		for (unsigned off = GV_QSIZE; off < 64; off += 2)
			gv_common_set(v, off, 2, 1);
		assert_int_equal(gv_common(v, GV_QSIZE, 2), 0);
		assert_int_equal(gv_common(v, GV_QENABLE, 2), 0);
		if (!t->qemu)
			for (unsigned off = GV_QDESC; off < 64; off += 4)
				assert_int_equal(gv_common(v, off, 4), 0);
	}
	assert_int_equal(gv_status(v), 15);
	tb_blk_works(t);
	end(t);
}

static void enable_misused(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v;
	struct gvq *q = &t->blk.q[0];

	tb_skip_qemu("it enables whenever it is told to");
	v = begin(t, 1);
	/* Before FEATURES_OK. */
	gv_reset(v);
	gv_common_set(v, GV_QSELECT, 2, 0);
	gv_common_set(v, GV_QENABLE, 2, 1);
	assert_int_equal(gv_common(v, GV_QENABLE, 2), 0);
	/* With values that are not 1. */
	gv_negotiate(v, GV_F_RING);
	gvq_init(v, q, 0, 0);
	gvq_program(q);
	gv_common_set(v, GV_QENABLE, 2, 2);
	assert_int_equal(gv_common(v, GV_QENABLE, 2), 0);
	gv_common_set(v, GV_QENABLE, 2, 0xffff);
	assert_int_equal(gv_common(v, GV_QENABLE, 2), 0);
	/* After DRIVER_OK: allowed, it runs at once. */
	gv_start(v);
	gv_common_set(v, GV_QENABLE, 2, 1);
	assert_int_equal(gv_common(v, GV_QENABLE, 2), 1);
	tb_blk_works(t);
	/* Without addresses: rings at 0, one upon the other, are the guest's own trouble. */
	gv_negotiate(v, GV_F_RING);
	gv_common_set(v, GV_QSELECT, 2, 0);
	gv_common_set(v, GV_QENABLE, 2, 1);
	gv_start(v);
	for (unsigned i = 0; i < 100; i++)
		gvq_ring(q);
	end(t);
}

/* --- widths: every field by bytes, halves, and both together --- */

static void widths(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v;
	uint64_t a = 0x1122334455667780ULL;

	tb_skip_qemu("it serves the widths of §4.1.3.1 only");
	v = begin(t, 1);
	gv_negotiate(v, GV_F_RING);
	gv_common_set(v, GV_QSELECT, 2, 0);
	/* 64-bit fields as 32-bit halves (§4.1.3.1), as bytes, as one. */
	gv_common_set(v, GV_QDESC, 4, (uint32_t)a);
	gv_common_set(v, GV_QDESC + 4, 4, a >> 32);
	assert_int_equal(guest_load(&t->g, v->common + GV_QDESC, 8), a);
	for (unsigned i = 0; i < 8; i++)
		gv_common_set(v, GV_QAVAIL + i, 1, a >> (8 * i) & 0xff);
	assert_int_equal(guest_load(&t->g, v->common + GV_QAVAIL, 8), a);
	gv_common_set(v, GV_QUSED, 8, a);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(gv_common(v, GV_QUSED + i, 1), a >> (8 * i) & 0xff);
	assert_int_equal(guest_load(&t->g, v->common + GV_QAVAIL + 4, 8), (a << 32) | (a >> 32));
	/* Two fields in one access. */
	gv_common_set(v, GV_QSIZE, 4, 1U << 16 | 64);
	assert_int_equal(gv_common(v, GV_QSIZE, 2), 64);
	assert_int_equal(gv_common(v, GV_QVECTOR, 2), 1);
	assert_int_equal(gv_common(v, GV_STATUS, 4) & 0xff, 11);
	/* Behind the structure, and across its end. */
	assert_int_equal(guest_load(&t->g, v->common + 64, 8), 0);
	assert_int_equal(guest_load(&t->g, v->common + 60, 8), 0);
	guest_store(&t->g, v->common + 0xfff, 2, 0xffff);
	end(t);
}

/* Row 34. The disk's configuration is 60 bytes at most, its last defined byte at 56. */
static void device_config(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = begin(t, 1);
	uint8_t image[64];

	assert_int_equal(gv_config(v, 0, 8), 8 * MiB / 512);
	if (!t->qemu) { /* which answers ones for any access that is not all inside */
		for (unsigned i = 0; i < sizeof(image); i++)
			image[i] = (uint8_t)gv_config(v, i, 1);
		for (unsigned size = 1; size <= 8; size *= 2)
			for (unsigned off = 0; off + size <= sizeof(image); off++) {
				uint64_t x = gv_config(v, off, size);

				for (unsigned i = 0; i < size; i++)
					assert_int_equal(x >> (8 * i) & 0xff, image[off + i]);
			}
		for (unsigned off = 64; off < 4096; off += 8)
			assert_int_equal(gv_config(v, off, 8), 0);
	}
	/* Capacity is not the driver's to change; nor is anything behind the end. */
	for (unsigned off = 0; off < 32; off++)
		guest_store(&t->g, v->config + off, 1, 0xff);
	guest_store(&t->g, v->config + 60, 8, UINT64_MAX);
	guest_store(&t->g, v->config + 4095, 2, 0xffff);
	assert_int_equal(gv_config(v, 0, 8), 8 * MiB / 512);
	end(t);
}

/* --- bells --- */

static void bells(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = begin(t, 2);
	struct guest *g = &t->g;

	/* Queues that do not exist, odd places, widths. */
	for (unsigned i = 0; i < v->notify_len; i += 62)
		for (unsigned size = 1; size <= 8; size *= 2)
			guest_store_async(g, v->notify + i, size, 0xffff);
	guest_sync(g);
	assert_int_equal(guest_load(g, v->notify, 4), 0);
	/* Before DRIVER_OK, on a queue that is not enabled, without features. */
	gv_reset(v);
	for (unsigned i = 0; i < 100; i++)
		guest_store_async(g, v->notify + 4 * (i % 3), 2, i % 3);
	gv_negotiate(v, GV_F_RING);
	gvq_setup(v, &t->blk.q[0], 0, 0);
	for (unsigned i = 0; i < 100; i++)
		guest_store_async(g, v->notify + 4 * (i % 3), 2, i % 3);
	gv_start(v);
	/* The second queue stays off; a hundred thousand bells for it and for the first, empty one.
	 */
	for (unsigned i = 0; i < 100000; i++)
		guest_store_async(g, v->notify + 4 * (i & 1), 2, i & 1);
	guest_sync(g);
	t->blk.queues = 1;
	tb_blk_works(t);
	t->blk.queues = 2;
	end(t);
}

/* --- vectors --- */

static void vectors(void **state)
{
	static const uint16_t bad[] = {3, 4, 128, 2047, 2048, 0x7fff, 0xfffe, 0xffff};
	struct tb *t = *state;
	struct gvirtio *v = &t->blk.v;

	/* Every request has an interrupt: with event indexes there is none when the driver has seen
	 * the request, by polling, before the device looks where the driver stands. */
	tb_blk(t, ",num-queues=2", 2, GV_F_RING & ~GV_F_EVENT_IDX);
	assert_int_equal(v->pci.vectors, 3);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		gv_common_set(v, GV_QSELECT, 2, i & 1);
		gv_common_set(v, GV_QVECTOR, 2, bad[i]);
		assert_int_equal(gv_common(v, GV_QVECTOR, 2), GV_NO_VECTOR);
		gv_common_set(v, GV_MSIX_CONFIG, 2, bad[i]);
		assert_int_equal(gv_common(v, GV_MSIX_CONFIG, 2), GV_NO_VECTOR);
	}
	/* Without a vector requests are done, silently. */
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
	/* Two queues may share one, and it may change while the queue runs. */
	for (unsigned i = 0; i < 2; i++) {
		gv_common_set(v, GV_QSELECT, 2, i);
		gv_common_set(v, GV_QVECTOR, 2, 2);
		assert_int_equal(gv_common(v, GV_QVECTOR, 2), 2);
	}
	gpci_msix_take(&v->pci, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(gblk_do(&t->blk, i, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
		assert_true(guest_wait(&t->g, gpci_msix_take(&v->pci, 2)));
	}
	end(t);
}

/* --- resets with I/O in flight --- */

#define BUF	 (64 * KiB)
#define REQUESTS 128

static unsigned fill_queue(struct tb *t, uint64_t at)
{
	unsigned n = 0;

	while (n < REQUESTS) {
		struct gseg seg = {at + n * BUF, BUF};

		if (!gblk_add(&t->blk, 0, GBLK_IN, (n * 128) % (8 * MiB / 512), &seg, 1))
			break;
		n++;
	}
	gvq_kick(&t->blk.q[0]);
	return n;
}

enum how { BY_STATUS, BY_QUEUE, BY_FLR };

static void do_reset(struct gvirtio *v, enum how how)
{
	unsigned cap;

	switch (how) {
	case BY_STATUS:
		gv_reset(v);
		break;
	case BY_QUEUE:
		gv_common_set(v, GV_QSELECT, 2, 0);
		gv_common_set(v, GV_QRESET, 2, 1);
		assert_true(guest_wait(v->g, gv_common(v, GV_QRESET, 2) == 0));
		assert_int_equal(gv_common(v, GV_QENABLE, 2), 0);
		break;
	case BY_FLR:
		cap = gpci_cap(&v->pci, GPCI_CAP_EXPRESS, 0);
		gpci_cfg_set(&v->pci, cap + 8, 2, 0x8000);
		for (unsigned n = 0; n < 6; n++)
			if (v->pci.bar[n].size)
				gpci_move_bar(&v->pci, n, v->pci.bar[n].addr);
		gpci_cfg_set(&v->pci, GPCI_COMMAND, 2, GPCI_COMMAND_MEM | GPCI_COMMAND_MASTER);
		assert_true(guest_wait(v->g, gv_status(v) == 0));
		break;
	}
}

/* A disk that takes its time: not in the page cache. */
static void slow_disk(struct tb *t, const char *aio)
{
	static uint8_t chunk[256 * KiB];
	char extra[64];

	snprintf(extra, sizeof(extra), ",cache=none,aio=%s", aio);
	t->config.ram = 256 * MiB;
	tb_disk(t, 8 * MiB, extra);
	tb_pattern(chunk, sizeof(chunk), 1);
	for (unsigned i = 0; i < 8 * MiB / sizeof(chunk); i++)
		assert_int_equal(
			pwrite(t->disk[0].fd, chunk, sizeof(chunk), (off_t)(i * sizeof(chunk))),
			sizeof(chunk));
	assert_int_equal(fsync(t->disk[0].fd), 0);
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=1");
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, GV_F_RING);
}

static void in_flight(struct tb *t, enum how how, const char *aio)
{
	struct gvq *q = &t->blk.q[0];
	uint64_t at, low;
	uint8_t *buf;
	unsigned early = 0;

	slow_disk(t, aio);
	at = guest_alloc(&t->g, REQUESTS * BUF, 4096);
	buf = guest_ptr(&t->g, at, REQUESTS * BUF);
	low = t->g.next_low;
	for (unsigned round = 0; round < 30; round++) {
		volatile uint16_t *used_ring;
		uint16_t used;

		assert_int_equal(fill_queue(t, at), REQUESTS);
		/* At different moments: from before the queue was looked at, to after some were
		 * done. */
		for (unsigned i = 0; i < round % 8; i++)
			gv_status(&t->blk.v);
		do_reset(&t->blk.v, how);
		/* From here on neither the buffers nor the ring may change. */
		used = gvq_used_idx(q);
		used_ring = q->used;
		early += used < REQUESTS;
		memset(buf, 0x5a, REQUESTS * BUF);
		t->g.next_low = low + 16 * MiB * (round & 1);
		gblk_restart(&t->blk, GV_F_RING);
		for (unsigned i = 0; i < 20; i++)
			tb_blk_works(t);
		assert_int_equal(used_ring[1], used);
		for (uint64_t i = 0; i < REQUESTS * BUF; i += 512)
			if (buf[i] != 0x5a)
				fail_msg("round %u: request %llu was written after the reset",
					 round, (unsigned long long)(i / BUF));
	}
	print_message("in %u of 30 rounds requests were still in flight\n", early);
	end(t);
}

static void reset_by_status(void **state)
{
	in_flight(*state, BY_STATUS, "threads");
}

static void reset_by_queue(void **state)
{
	tb_skip_qemu("its disk goes on writing after a queue's reset");
	in_flight(*state, BY_QUEUE, "threads");
}

static void reset_by_flr(void **state)
{
	tb_skip_qemu("no FLR on the root bus");
	in_flight(*state, BY_FLR, "io_uring");
}

/* One queue is reset and comes back with another layout while the other one works on. */
static void one_queue_of_two(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v;

	tb_skip_qemu("it resets a queue without the feature, too");
	v = begin(t, 2);
	for (unsigned i = 0; i < 20; i++) {
		do_reset(v, BY_QUEUE);
		assert_int_equal(gblk_do(&t->blk, 1, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
		gvq_setup(v, &t->blk.q[0], 0, 4U << i % 5);
		tb_blk_works(t);
	}
	/* Not without the feature, and only by a one. */
	gblk_restart(&t->blk, GV_F_INDIRECT);
	gv_common_set(v, GV_QSELECT, 2, 0);
	gv_common_set(v, GV_QRESET, 2, 1);
	assert_int_equal(gv_common(v, GV_QENABLE, 2), 1);
	tb_blk_works(t);
	gblk_restart(&t->blk, GV_F_RING);
	gv_common_set(v, GV_QRESET, 2, 2);
	assert_int_equal(gv_common(v, GV_QENABLE, 2), 1);
	end(t);
}

/* A disk that is broken by one queue is silent on all, and its neighbour does not notice. */
static void broken_alone(void **state)
{
	struct tb *t = *state;
	struct gblk other;

	tb_disk(t, 8 * MiB, "");
	tb_disk(t, 8 * MiB, "");
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=2");
	tb_device(t, "virtio-blk-pci,drive=d1,num-queues=1");
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, 2, 0, GV_F_RING);
	gblk_open(&t->g, &other, 1, 1, 0, GV_F_RING);
	for (unsigned i = 0; i < 50; i++) {
		gvq_publish(&t->blk.q[0], 5000);
		gvq_ring(&t->blk.q[0]);
		assert_true(gv_wait_broken(&t->blk.v));
		assert_int_equal(gblk_do(&other, 0, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
		gblk_restart(&t->blk, GV_F_RING);
	}
	gblk_close(&other);
	end(t);
}

/* A guest that breaks its device for ever does not fill the log. */
static void quiet_log(void **state)
{
	struct tb *t = *state;
	unsigned lines = 0;
	char *text;

	tb_skip_qemu("it logs each time");
	begin(t, 1);
	for (unsigned i = 0; i < 200; i++) {
		gvq_publish(&t->blk.q[0], 5000);
		gvq_ring(&t->blk.q[0]);
		assert_true(gv_wait_broken(&t->blk.v));
		gblk_restart(&t->blk, GV_F_RING);
	}
	text = guest_log(&t->g);
	for (char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	assert_in_range(lines, 1, 40);
	assert_non_null(strstr(text, "available index"));
	free(text);
	end(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(features),	  tb_test(features_refused),
		tb_test(status),	  tb_test(many_resets),
		tb_test(queue_size),	  tb_test(layout_after_enable),
		tb_test(absent_queue),	  tb_test(enable_misused),
		tb_test(widths),	  tb_test(device_config),
		tb_test(bells),		  tb_test(vectors),
		tb_test(reset_by_status), tb_test(reset_by_queue),
		tb_test(reset_by_flr),	  tb_test(one_queue_of_two),
		tb_test(broken_alone),	  tb_test(quiet_log),
	};

	return tb_run("transport", tests);
}
