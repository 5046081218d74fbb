/* SPDX-License-Identifier: MIT */
/* dev_blk_requests.c - what a disk says of itself, each type of request, and those that it must
 * refuse */
#include "tb.h"

#define DISK	(8 * MiB)
#define SECTORS (DISK / 512)
#define ALL                                                                           \
	(GV_F_RING | GBLK_F_FLUSH | GBLK_F_CONFIG_WCE | GBLK_F_RO | GBLK_F_BLK_SIZE | \
	 GBLK_F_DISCARD | GBLK_F_WRITE_ZEROES)

static void start(struct tb *t, const char *drive, const char *props)
{
	tb_disk(t, DISK, drive);
	tb_device(t, "virtio-blk-pci,drive=d0%s", props);
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, ALL);
}

/* §5.2.4 and §5.2.3; the values are those that QEMU shows for such a disk. */
static void identity(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &t->blk.v;

	start(t, "", "");
	assert_int_equal(v->offered, 0x0000010130006e54ULL | t->config.features);
	assert_int_equal(gv_config(v, 0, 8), SECTORS);
	assert_int_equal(gv_config(v, 8, 4), 0);	/* size_max */
	assert_int_equal(gv_config(v, 12, 4), 254);	/* seg_max */
	assert_int_equal(gv_config(v, 16, 2), 16);	/* cylinders */
	assert_int_equal(gv_config(v, 18, 1), 16);	/* heads */
	assert_int_equal(gv_config(v, 19, 1), 63);	/* sectors */
	assert_int_equal(gv_config(v, 20, 4), 512);	/* blk_size */
	assert_int_equal(gv_config(v, 24, 4), 0);	/* topology */
	assert_int_equal(gv_config(v, 28, 4), 0);	/* opt_io_size */
	assert_int_equal(gv_config(v, 32, 1), 1);	/* writeback */
	assert_int_equal(gv_config(v, 34, 2), 1);	/* num_queues */
	assert_int_equal(gv_config(v, 36, 4), 4194303); /* max_discard_sectors */
	assert_int_equal(gv_config(v, 40, 4), 1);
	assert_int_equal(gv_config(v, 44, 4), 1);
	assert_int_equal(gv_config(v, 48, 4), 4194303); /* max_write_zeroes_sectors */
	assert_int_equal(gv_config(v, 52, 4), 1);
	assert_int_equal(gv_config(v, 56, 1), 1); /* may unmap */
	tb_stop(t);
}

static void properties(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &t->blk.v;

	t->config.vcpus = 3;
	start(t, ",cache=writethrough",
	      ",logical_block_size=4096,physical_block_size=16384,min_io_size=8192,opt_io_size="
	      "65536,"
	      "config-wce=off,discard=off,write-zeroes=off,queue-size=64,cyls=100,heads=4,secs=32");
	assert_int_equal(v->offered, 0x0000010130001454ULL | t->config.features);
	assert_int_equal(gv_config(v, 12, 4), 62);
	assert_int_equal(gv_config(v, 16, 2), 100);
	assert_int_equal(gv_config(v, 18, 1), 4);
	assert_int_equal(gv_config(v, 19, 1), 32);
	assert_int_equal(gv_config(v, 20, 4), 4096);
	assert_int_equal(gv_config(v, 24, 1), 2);
	assert_int_equal(gv_config(v, 26, 2), 2);
	assert_int_equal(gv_config(v, 28, 4), 16);
	assert_int_equal(gv_config(v, 32, 1), 0);
	assert_int_equal(gv_config(v, 34, 2), 3);
	tb_stop(t);
}

static void serial(void **state)
{
	struct tb *t = *state;
	uint64_t at;
	uint8_t *p;

	start(t, "", ",serial=0123456789abcdefghijklmn");
	at = guest_alloc(&t->g, 64, 64);
	p = guest_ptr(&t->g, at, 64);
	memset(p, 0x5a, 64);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_GET_ID, 0, at, 20), GBLK_OK);
	assert_memory_equal(p, "0123456789abcdefghij\x5a", 21);
	memset(p, 0x5a, 64);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_GET_ID, 0, at, 4), GBLK_OK);
	assert_memory_equal(p, "0123\x5a", 5);
	tb_stop(t);
}

/* Is the image still what it was, all zeroes? */
static void check_untouched(struct tb *t)
{
	static uint8_t got[DISK];

	assert_int_equal(pread(t->disk[0].fd, got, DISK, 0), DISK);
	assert_true(!got[0] && !memcmp(got, got + 1, DISK - 1));
}

static void refused(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t len;
		uint8_t status;
	} bad[] = {
		{GBLK_OUT, SECTORS, 512, GBLK_IOERR},
		{GBLK_OUT, SECTORS - 1, 1024, GBLK_IOERR},
		{GBLK_OUT, 0, 100, GBLK_IOERR},
		{GBLK_OUT, 0, 513, GBLK_IOERR},
		{GBLK_OUT, UINT64_MAX, 512, GBLK_IOERR},
		{GBLK_OUT, 1ULL << 55, 512, GBLK_IOERR}, /* times 512 is 0 */
		{GBLK_OUT, (1ULL << 55) - 1, 1024, GBLK_IOERR},
		{GBLK_IN, SECTORS, 512, GBLK_IOERR},
		{GBLK_IN, 0, 511, GBLK_IOERR},
		{GBLK_IN, 1ULL << 55, 512, GBLK_IOERR},
		{2, 0, 512, GBLK_UNSUPP}, /* SCSI command */
		{5, 0, 512, GBLK_UNSUPP},
		{0x80000004, 0, 0, GBLK_UNSUPP},
		{UINT32_MAX, 0, 512, GBLK_UNSUPP},
		{14, 0, 16, GBLK_UNSUPP}, /* secure erase */
	};
	struct tb *t = *state;
	uint64_t at;

	start(t, "", "");
	at = guest_alloc(&t->g, 4096, 4096);
	memset(guest_ptr(&t->g, at, 4096), 0xff, 4096);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		uint8_t s = gblk_do(&t->blk, 0, bad[i].type, bad[i].sector, at, bad[i].len);

		/* QEMU ignores the lowest and the highest bit, and looks into the SCSI command. */
		if (tb_is_qemu() &&
		    (bad[i].type == 5 || bad[i].type == 0x80000004 || bad[i].type == 2))
			continue;
		if (s != bad[i].status)
			fail_msg("type %u sector %llx len %u: status %u", bad[i].type,
				 (unsigned long long)bad[i].sector, bad[i].len, s);
	}
	check_untouched(t);
	tb_blk_works(t);
	tb_stop(t);
}

static void ranges(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t sectors, flags;
		uint8_t status;
	} range[] = {
		{GBLK_DISCARD, 8, 8, 0, GBLK_OK},
		{GBLK_DISCARD, 0, 8, 1, GBLK_UNSUPP}, /* unmap is for write-zeroes */
		{GBLK_DISCARD, 0, 8, 2, GBLK_UNSUPP},
		{GBLK_DISCARD, SECTORS, 8, 0, GBLK_IOERR},
		{GBLK_DISCARD, SECTORS - 4, 8, 0, GBLK_IOERR},
		{GBLK_DISCARD, 0, UINT32_MAX, 0, GBLK_IOERR},
		{GBLK_DISCARD, 0, 4194304, 0, GBLK_IOERR},
		{GBLK_DISCARD, UINT64_MAX, 8, 0, GBLK_IOERR},
		{GBLK_DISCARD, 1ULL << 55, 8, 0, GBLK_IOERR},
		{GBLK_WRITE_ZEROES, 16, 8, 0, GBLK_OK},
		{GBLK_WRITE_ZEROES, 24, 8, 1, GBLK_OK},
		{GBLK_WRITE_ZEROES, 0, 8, 2, GBLK_UNSUPP},
		{GBLK_WRITE_ZEROES, 0, 8, 0x80000001, GBLK_UNSUPP},
		{GBLK_WRITE_ZEROES, SECTORS - 4, 8, 0, GBLK_IOERR},
		{GBLK_WRITE_ZEROES, 0, UINT32_MAX, 1, GBLK_IOERR},
		{GBLK_WRITE_ZEROES, UINT64_MAX - 7, 8, 1, GBLK_IOERR},
	};
	struct tb *t = *state;
	uint8_t want[64 * 512], got[64 * 512];
	uint64_t at;

	start(t, ",discard=unmap", "");
	at = guest_alloc(&t->g, sizeof(want), 4096);
	tb_pattern(want, sizeof(want), 7);
	memcpy(guest_ptr(&t->g, at, sizeof(want)), want, sizeof(want));
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_OUT, 0, at, sizeof(want)), GBLK_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(range); i++) {
		uint8_t s = gblk_range(&t->blk, range[i].type, range[i].sector, range[i].sectors,
				       range[i].flags);

		if (s != range[i].status)
			fail_msg("type %u sector %llx sectors %u flags %x: status %u",
				 range[i].type, (unsigned long long)range[i].sector,
				 range[i].sectors, range[i].flags, s);
	}
	memset(want + 8 * 512, 0, 24 * 512); /* a file's discarded blocks read as zeroes */
	assert_int_equal(pread(t->disk[0].fd, got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, want, sizeof(got));

	/* Two segments, and half of one. */
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_DISCARD, 0, at, 32), GBLK_UNSUPP);
	if (!tb_is_qemu()) /* which breaks the device */
		assert_int_equal(gblk_do(&t->blk, 0, GBLK_DISCARD, 0, at, 8), GBLK_IOERR);
	tb_stop(t);
}

static void not_negotiated(void **state)
{
	struct tb *t = *state;

	tb_disk(t, DISK, "");
	tb_device(t, "virtio-blk-pci,drive=d0,discard=off,write-zeroes=off");
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, ALL);
	assert_int_equal(t->blk.v.config_len >= 36, 1);
	if (!tb_is_qemu()) {
		assert_int_equal(gblk_range(&t->blk, GBLK_DISCARD, 0, 8, 0), GBLK_UNSUPP);
		assert_int_equal(gblk_range(&t->blk, GBLK_WRITE_ZEROES, 0, 8, 0), GBLK_UNSUPP);
	}
	tb_blk_works(t);
	tb_stop(t);
}

static void read_only(void **state)
{
	struct tb *t = *state;
	uint64_t at;

	start(t, ",readonly=on", "");
	assert_true(t->blk.v.offered & GBLK_F_RO);
	at = guest_alloc(&t->g, 4096, 4096);
	memset(guest_ptr(&t->g, at, 4096), 0xff, 4096);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_OUT, 0, at, 4096), GBLK_IOERR);
	if (!tb_is_qemu()) /* it calls a discard that it ignores a success */
		assert_int_equal(gblk_range(&t->blk, GBLK_DISCARD, 0, 8, 0), GBLK_IOERR);
	assert_int_equal(gblk_range(&t->blk, GBLK_WRITE_ZEROES, 0, 8, 0), GBLK_IOERR);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_IN, 0, at, 4096), GBLK_OK);
	assert_int_equal(*(uint8_t *)guest_ptr(&t->g, at, 1), 0);
	check_untouched(t);
	tb_stop(t);
}

/* Blocks of 4096 bytes: the sector still counts 512, but must name whole blocks. */
static void large_blocks(void **state)
{
	struct tb *t = *state;
	uint64_t at;

	start(t, ",cache=none", ",logical_block_size=4096,physical_block_size=4096");
	at = guest_alloc(&t->g, 8192, 4096);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_OUT, 8, at, 4096), GBLK_OK);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_OUT, 1, at, 4096), GBLK_IOERR);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_OUT, 8, at, 512), GBLK_IOERR);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_OUT, SECTORS - 8, at, 8192), GBLK_IOERR);
	tb_blk_works(t);
	tb_stop(t);
}

/* The chain itself is short: no status byte, or no whole header. */
static void short_chains(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->blk.q[0];
	struct gseg seg[2];
	uint64_t at;
	uint8_t *p;

	start(t, "", "");
	at = guest_alloc(&t->g, 4096, 4096);
	p = guest_ptr(&t->g, at, 4096);
	put_le32(p, GBLK_OUT);
	memset(p + 16, 0xff, 512);
	p[2048] = GBLK_PENDING;

	if (!tb_is_qemu()) { /* which breaks the device on this one too */
		seg[0] = (struct gseg){at, 15};
		seg[1] = (struct gseg){at + 2048, 1};
		assert_true(gvq_add(q, seg, 1, 1, NULL) >= 0);
		gvq_kick(q);
		assert_int_equal(gvq_wait(q, NULL), 1);
		assert_int_equal(p[2048], GBLK_IOERR);
	}
	seg[0] = (struct gseg){at, 16 + 512};
	assert_true(gvq_add(q, seg, 1, 0, NULL) >= 0);
	gvq_kick(q);
	assert_true(gv_wait_broken(&t->blk.v));
	check_untouched(t);
	tb_blk_again(t);

	/* Writable bytes only. */
	seg[0] = (struct gseg){at, 512};
	assert_true(gvq_add(&t->blk.q[0], seg, 0, 1, NULL) >= 0);
	gvq_kick(&t->blk.q[0]);
	if (tb_is_qemu()) {
		assert_true(gv_wait_broken(&t->blk.v));
	} else {
		gvq_wait(&t->blk.q[0], NULL);
		assert_int_equal(p[511], GBLK_IOERR);
	}
	tb_blk_again(t);
	tb_stop(t);
}

/* §5.2.5: the driver may switch the write cache; a reset brings back the default. */
static void write_cache(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &t->blk.v;

	start(t, "", "");
	assert_int_equal(gv_config(v, 32, 1), 1);
	guest_store(&t->g, v->config + 32, 1, 0);
	assert_int_equal(gv_config(v, 32, 1), 0);
	tb_blk_works(t);
	guest_store(&t->g, v->config, 8, 0); /* the capacity is not the driver's */
	assert_int_equal(gv_config(v, 0, 8), SECTORS);
	gblk_restart(&t->blk, ALL);
	assert_int_equal(gv_config(v, 32, 1), 1);
	/* A driver that can neither flush nor switch. */
	gblk_restart(&t->blk, GV_F_RING);
	assert_int_equal(gv_config(v, 32, 1), 0);
	tb_blk_works(t);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(identity),    tb_test(properties),   tb_test(serial),
		tb_test(refused),     tb_test(ranges),	     tb_test(not_negotiated),
		tb_test(read_only),   tb_test(large_blocks), tb_test(short_chains),
		tb_test(write_cache),
	};

	return cmocka_run_group_tests_name("blk_requests", tests, NULL, NULL);
}
