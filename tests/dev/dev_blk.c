/* SPDX-License-Identifier: MIT */
/* dev_blk.c - virtio-blk as a driver sees it, its data checked on the host's file; and what it must
 * refuse */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "tb.h"

#define ALL_FEATURES                                                                   \
	(GV_F_RING | GBLK_F_FLUSH | GBLK_F_MQ | GBLK_F_DISCARD | GBLK_F_WRITE_ZEROES | \
	 GBLK_F_BLK_SIZE | GBLK_F_TOPOLOGY | GBLK_F_SEG_MAX | GBLK_F_CONFIG_WCE)
#define SECTORS (8 * MiB / 512)

static void read_write(void **state)
{
	struct tb *t = *state;

	tb_blk(t, "", 1, GV_F_RING);
	assert_int_equal(t->blk.sectors, SECTORS);
	tb_blk_works(t);
	tb_blk_again(t);
	tb_stop(t);
}

static void config(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &t->blk.v;

	t->config.vcpus = 4;
	tb_blk(t,
	       ",logical_block_size=4096,physical_block_size=8192,min_io_size=16384,"
	       "opt_io_size=65536,queue-size=128",
	       4, ALL_FEATURES);
	assert_int_equal(v->offered & GBLK_F_RO, 0);
	assert_true(v->offered & GBLK_F_FLUSH);
	assert_true(v->offered & GBLK_F_MQ);
	assert_int_equal(t->blk.queues, 4); /* as many as vCPUs */
	assert_int_equal(gv_config(v, 0, 8), SECTORS);
	assert_int_equal(gv_config(v, 12, 4), 126); /* queue size less header and status */
	assert_int_equal(gv_config(v, 20, 4), 4096);
	assert_int_equal(gv_config(v, 24, 1), 1);
	assert_int_equal(gv_config(v, 26, 2), 4);
	assert_int_equal(gv_config(v, 28, 4), 16);
	assert_int_equal(gv_config(v, 34, 2), 4);
	assert_int_equal(gv_config(v, 40, 4), 1);
	assert_int_equal(gv_config(v, 44, 4), 8);
	assert_int_equal(gv_config(v, 52, 4), 1);
	assert_int_equal(gv_config(v, 56, 1), 1);
	tb_blk_works(t);
	tb_stop(t);
}

/* Random writes of 1 to 64 sectors in up to 16 segments of odd lengths, on all queues at once; the
 * file must be a mirror of ours. */
static void mirror(void **state)
{
	static uint8_t want[8 * MiB], got[8 * MiB];
	struct tb *t = *state;
	struct gblk *b = &t->blk;
	unsigned pending = 0;
	uint32_t x = 12345;
	uint64_t at;
	uint8_t *mem;

	t->config.ram = 128 * MiB;
	tb_blk(t, ",num-queues=4", 4, ALL_FEATURES);
	at = guest_alloc(&t->g, 8 * MiB, 4096);
	mem = guest_ptr(&t->g, at, 8 * MiB);
	tb_pattern(mem, 8 * MiB, 7);
	/* Each request has a 32 KiB slice of the disk to itself within one round. */
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned slice = 0; slice < 256; slice++) {
			struct gseg seg[16];
			unsigned segs = 0, sectors, first;
			uint32_t left;

			x = x * 1664525 + 1013904223;
			sectors = 1 + (x >> 8) % 64;
			first = slice * 64 + (x >> 20) % (65 - sectors);
			left = sectors * 512;
			/* Source: anywhere in the pattern, unaligned. */
			uint64_t from = (x >> 4) % (8 * MiB - 32768);

			memcpy(want + first * 512, mem + from, left);
			while (left) {
				uint32_t n = segs == 15 ? left : MIN(left, 1 + (x >> segs) % 9000);

				seg[segs++] = (struct gseg){at + from, n};
				from += n;
				left -= n;
			}
			while (!gblk_add(b, slice % 4, GBLK_OUT, first, seg, segs)) {
				struct gblk_req *r;

				gvq_kick(&b->q[slice % 4]);
				if (!guest_wait(&t->g, (r = gblk_done(b, slice % 4, NULL)) != NULL))
					fail_msg("queue %u is stuck", slice % 4);
				assert_int_equal(r->mem[16], GBLK_OK);
				pending--;
			}
			pending++;
		}
		for (unsigned q = 0; q < 4; q++)
			gvq_kick(&b->q[q]);
		for (unsigned q = 0; pending; q = (q + 1) % 4) {
			struct gblk_req *r = gblk_done(b, q, NULL);
			struct guest_timer timer = {0};

			while (!r && q == 3 && !timer.spins)
				assert_true(guest_tick(&t->g, &timer, GUEST_WAIT_MS));
			if (!r)
				continue;
			assert_int_equal(r->mem[16], GBLK_OK);
			pending--;
		}
	}
	assert_int_equal(gblk_do(b, 0, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
	assert_int_equal(pread(t->disk[0].fd, got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, want, sizeof(want));
	/* And read through the device, 128 KiB at a time. */
	for (uint64_t off = 0; off < 8 * MiB; off += 128 * KiB) {
		assert_int_equal(
			gblk_do(b, off / (128 * KiB) % 4, GBLK_IN, off / 512, at, 128 * KiB),
			GBLK_OK);
		assert_memory_equal(mem, want + off, 128 * KiB);
	}
	tb_stop(t);
}

/* The length in the used ring: data and status of a read, the status of a write; only data that is
 * valid. */
static void used_lengths(void **state)
{
	struct tb *t = *state;
	struct gblk *b = &t->blk;
	uint64_t at;
	struct gseg seg;
	uint32_t len;

	tb_blk(t, ",num-queues=1", 1, ALL_FEATURES);
	at = guest_alloc(&t->g, 4096, 4096);
	seg = (struct gseg){at, 4096};
	assert_non_null(gblk_add(b, 0, GBLK_IN, 0, &seg, 1));
	gvq_kick(&b->q[0]);
	assert_true(guest_wait(&t->g, gblk_done(b, 0, &len) != NULL));
	assert_int_equal(len, 4097);
	assert_non_null(gblk_add(b, 0, GBLK_OUT, 0, &seg, 1));
	gvq_kick(&b->q[0]);
	assert_true(guest_wait(&t->g, gblk_done(b, 0, &len) != NULL));
	/* QEMU says 1; what a driver may rely on is that nothing before the status is claimed. */
	assert_in_range(len, 0, 1);
	tb_stop(t);
}

static void get_id(void **state)
{
	struct tb *t = *state;
	uint64_t at;
	char *id;

	tb_blk(t, ",serial=0123456789abcdef", 1, ALL_FEATURES);
	at = guest_alloc(&t->g, 64, 64);
	id = guest_ptr(&t->g, at, 64);
	memset(id, 'x', 64);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_GET_ID, 0, at, 20), GBLK_OK);
	assert_string_equal(id, "0123456789abcdef");
	assert_int_equal(id[20], 'x');
	/* A short buffer gets its part and no more. */
	memset(id, 'x', 64);
	gblk_do(&t->blk, 0, GBLK_GET_ID, 0, at, 4);
	assert_int_equal(id[4], 'x');
	tb_stop(t);
}

static uint64_t blocks_of(struct tb *t)
{
	struct stat st;

	assert_int_equal(fstat(t->disk[0].fd, &st), 0);
	return (uint64_t)st.st_blocks;
}

static void fill_disk(struct tb *t)
{
	static uint8_t chunk[1 * MiB];

	memset(chunk, 0xaa, sizeof(chunk));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(pwrite(t->disk[0].fd, chunk, sizeof(chunk), (off_t)(i * MiB)),
				 sizeof(chunk));
	fsync(t->disk[0].fd);
}

static void expect_bytes(struct tb *t, uint64_t off, uint64_t len, uint8_t byte)
{
	static uint8_t buf[8 * MiB];

	assert_int_equal(pread(t->disk[0].fd, buf, len, (off_t)off), (ssize_t)len);
	for (uint64_t i = 0; i < len; i++)
		if (buf[i] != byte)
			fail_msg("byte %llu is 0x%02x, not 0x%02x", (unsigned long long)(off + i),
				 buf[i], byte);
}

static void discard_and_zeroes(void **state)
{
	struct tb *t = *state;
	struct gblk *b = &t->blk;
	uint64_t full;

	tb_disk(t, 8 * MiB, ",discard=unmap");
	tb_device(t, "virtio-blk-pci,drive=d0");
	fill_disk(t);
	full = blocks_of(t);
	tb_start(t);
	gblk_open(&t->g, b, 0, 1, 0, ALL_FEATURES);
	assert_true(b->v.offered & GBLK_F_DISCARD);
	assert_true(b->v.offered & GBLK_F_WRITE_ZEROES);
	/* Discard: the blocks are gone on the host. */
	assert_int_equal(gblk_range(b, GBLK_DISCARD, 2048, 2048, 0), GBLK_OK);
	assert_true(blocks_of(t) <= full - 2000);
	expect_bytes(t, 0, 1 * MiB, 0xaa);
	expect_bytes(t, 1 * MiB, 1 * MiB, 0);
	expect_bytes(t, 2 * MiB, 1 * MiB, 0xaa);
	/* Zeroes, kept allocated; and given back. */
	full = blocks_of(t);
	assert_int_equal(gblk_range(b, GBLK_WRITE_ZEROES, 4096, 1, 0), GBLK_OK);
	assert_int_equal(gblk_range(b, GBLK_WRITE_ZEROES, 4104, 1016, 0), GBLK_OK);
	/* The file system may need a block of its own to note it. */
	assert_in_range(blocks_of(t), full, full + 16);
	expect_bytes(t, 2 * MiB, 512, 0);
	expect_bytes(t, 2 * MiB + 512, 7 * 512, 0xaa);
	expect_bytes(t, 2 * MiB + 4096, 1016 * 512, 0);
	assert_int_equal(gblk_range(b, GBLK_WRITE_ZEROES, 8192, 2048, 1), GBLK_OK);
	assert_true(blocks_of(t) <= full - 2000);
	expect_bytes(t, 4 * MiB, 1 * MiB, 0);
	expect_bytes(t, 5 * MiB, 3 * MiB, 0xaa);
	tb_blk_works(t);
	tb_stop(t);
}

static void read_only(void **state)
{
	struct tb *t = *state;
	struct gblk *b = &t->blk;
	uint64_t at;

	tb_disk(t, 8 * MiB, ",readonly=on");
	fill_disk(t);
	tb_device(t, "virtio-blk-pci,drive=d0");
	tb_start(t);
	gblk_open(&t->g, b, 0, 1, 0, ALL_FEATURES);
	assert_true(b->v.offered & GBLK_F_RO);
	at = guest_alloc(&t->g, 4096, 4096);
	assert_int_equal(gblk_do(b, 0, GBLK_IN, 0, at, 4096), GBLK_OK);
	assert_int_equal(*(uint8_t *)guest_ptr(&t->g, at, 1), 0xaa);
	memset(guest_ptr(&t->g, at, 4096), 0x11, 4096);
	assert_int_equal(gblk_do(b, 0, GBLK_OUT, 0, at, 4096), GBLK_IOERR);
	if (!t->qemu) /* which says OK, and does nothing */
		assert_int_not_equal(gblk_range(b, GBLK_DISCARD, 0, 8, 0), GBLK_OK);
	assert_int_not_equal(gblk_range(b, GBLK_WRITE_ZEROES, 0, 8, 0), GBLK_OK);
	assert_int_equal(gblk_do(b, 0, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
	expect_bytes(t, 0, 8 * MiB, 0xaa);
	tb_stop(t);
}

/* Requests that must not reach the disk; afterwards not a byte of it has changed. */
static void refused(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{GBLK_IN, SECTORS, 512},
		{GBLK_OUT, SECTORS, 512},
		{GBLK_IN, SECTORS - 1, 1024},
		{GBLK_OUT, SECTORS - 7, 4096},
		{GBLK_IN, UINT64_MAX, 512},
		{GBLK_OUT, UINT64_MAX, 512},
		{GBLK_IN, UINT64_MAX / 512, 512},
		{GBLK_OUT, UINT64_MAX / 512 + 1, 512},
		{GBLK_OUT, (1ULL << 55) - 1, 1024},
		{GBLK_OUT, 1ULL << 55, 512},
		{GBLK_OUT, 1ULL << 63, 512},
		{GBLK_IN, 0, 511},
		{GBLK_OUT, 0, 513},
		{GBLK_OUT, 0, 1},
	};
	struct tb *t = *state;
	struct gblk *b = &t->blk;
	uint64_t at;

	tb_disk(t, 8 * MiB, ",discard=unmap");
	fill_disk(t);
	tb_device(t, "virtio-blk-pci,drive=d0");
	tb_start(t);
	gblk_open(&t->g, b, 0, 1, 0, ALL_FEATURES);
	at = guest_alloc(&t->g, 8192, 4096);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		if (gblk_do(b, 0, bad[i].type, bad[i].sector, at, bad[i].len) != GBLK_IOERR)
			fail_msg("case %u was not refused", i);
	/* Types that do not exist, or not here. QEMU ignores bit 0 and bit 31 of most types. */
	for (uint32_t type = 2; type < 40 && !t->qemu; type++)
		if (type != GBLK_FLUSH && type != GBLK_GET_ID && type != GBLK_DISCARD &&
		    type != GBLK_WRITE_ZEROES)
			assert_int_equal(gblk_do(b, 0, type, 0, at, 512), GBLK_UNSUPP);
	if (!t->qemu)
		assert_int_equal(gblk_do(b, 0, 0x80000000, 0, at, 512), GBLK_UNSUPP);
	/* Ranges: across the end, wrapping, over the limit, unknown flags, unmap flag of a discard.
	 */
	for (unsigned i = 0; i < 2; i++) {
		uint32_t type = i ? GBLK_WRITE_ZEROES : GBLK_DISCARD;

		assert_int_equal(gblk_range(b, type, SECTORS - 1, 2, 0), GBLK_IOERR);
		assert_int_equal(gblk_range(b, type, UINT64_MAX, 2, 0), GBLK_IOERR);
		assert_int_equal(gblk_range(b, type, UINT64_MAX / 512, 8, 0), GBLK_IOERR);
		assert_int_equal(gblk_range(b, type, 0, 0xffffffff, 0), GBLK_IOERR);
		assert_int_equal(gblk_range(b, type, 0, 4194304, 0), GBLK_IOERR);
		assert_int_equal(gblk_range(b, type, 0, 8, 2), GBLK_UNSUPP);
		assert_int_equal(gblk_range(b, type, 0, 8, 0x80000000), GBLK_UNSUPP);
		if (t->qemu)
			continue; /* it breaks the device for what follows */
		/* Half a segment, two of them. */
		assert_int_not_equal(gblk_do(b, 0, type, 0, at, 8), GBLK_OK);
		assert_int_not_equal(gblk_do(b, 0, type, 0, at, 32), GBLK_OK);
	}
	assert_int_equal(gblk_range(b, GBLK_DISCARD, 0, 8, 1), GBLK_UNSUPP);
	expect_bytes(t, 0, 8 * MiB, 0xaa);
	tb_blk_works(t);
	tb_blk_again(t);
	tb_stop(t);
}

/* Headers and status bytes that are cut, split, missing. */
static void odd_shapes(void **state)
{
	struct tb *t = *state;
	struct gblk *b = &t->blk;
	struct gvq *q = &b->q[0];
	uint64_t at;
	uint8_t *mem;

	tb_blk(t, ",num-queues=1", 1, GV_F_RING);
	at = guest_alloc(&t->g, 4096, 4096);
	mem = guest_ptr(&t->g, at, 4096);
	/* The header in 16 pieces of one byte, data and status in one piece: §5.2.6 leaves the
	 * framing to the driver. */
	put_le32(mem, GBLK_IN);
	memset(mem + 512, 0xee, 1024);
	for (unsigned i = 0; i < 16; i++)
		gvq_desc(q, i, at + i, 1, GV_DESC_NEXT, i + 1);
	gvq_desc(q, 16, at + 512, 513, GV_DESC_WRITE, 0);
	gvq_push_head(q, 0);
	gvq_publish(q, q->avail_idx);
	gvq_ring(q);
	assert_true(guest_wait(&t->g, gvq_used_idx(q) == 1));
	assert_int_equal(mem[512], 0);
	assert_int_equal(mem[512 + 511], 0);
	assert_int_equal(mem[512 + 512], GBLK_OK);
	assert_int_equal(gvq_used(q, 0)->len, 513);
	gblk_restart(b, GV_F_RING);
	/* Data split within sectors, and a status after an empty buffer. */
	gvq_desc(q, 0, at, 16, GV_DESC_NEXT, 1);
	gvq_desc(q, 1, at + 512, 100, GV_DESC_WRITE | GV_DESC_NEXT, 2);
	gvq_desc(q, 2, at + 612, 412, GV_DESC_WRITE | GV_DESC_NEXT, 3);
	gvq_desc(q, 3, at + 2048, 1, GV_DESC_WRITE, 0);
	memset(mem + 512, 0xee, 1024);
	mem[2048] = 0xff;
	gvq_push_head(q, 0);
	gvq_publish(q, q->avail_idx);
	gvq_ring(q);
	assert_true(guest_wait(&t->g, gvq_used_idx(q) == 1));
	assert_int_equal(mem[2048], GBLK_OK);
	assert_int_equal(mem[1023], 0);
	assert_int_equal(mem[1024], 0xee);
	/* A header of 15 bytes; of none; a request with nothing to write the status to. */
	for (unsigned i = 0; i < 3; i++) {
		gblk_restart(b, GV_F_RING);
		gvq_desc(q, 0, at, i == 0 ? 15 : 16,
			 i == 1 ? GV_DESC_WRITE | GV_DESC_NEXT : GV_DESC_NEXT, 1);
		gvq_desc(q, 1, at + 512, 1, i == 2 ? 0 : GV_DESC_WRITE, 0);
		mem[512] = 0xff;
		gvq_push_head(q, 0);
		gvq_publish(q, q->avail_idx);
		gvq_ring(q);
		assert_true(guest_wait(&t->g, gvq_used_idx(q) == 1 || gv_needs_reset(&b->v)));
		assert_int_not_equal(mem[512], GBLK_OK);
	}
	tb_blk_again(t);
	tb_stop(t);
}

/* The write cache as the driver sets it. */
static void write_cache(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &t->blk.v;

	tb_blk(t, ",config-wce=on", 1, ALL_FEATURES);
	assert_true(v->features & GBLK_F_CONFIG_WCE);
	assert_int_equal(gv_config(v, 32, 1), 1);
	guest_store(&t->g, v->config + 32, 1, 0);
	assert_int_equal(gv_config(v, 32, 1), 0);
	tb_blk_works(t);
	guest_store(&t->g, v->config + 32, 1, 1);
	assert_int_equal(gv_config(v, 32, 1), 1);
	tb_blk_works(t);
	tb_blk_again(t);
	tb_stop(t);
}

/* The ways to the kernel, with memory that is aligned to nothing. */
static void one_way(struct tb *t, const char *extra)
{
	uint64_t at;
	uint8_t *mem, got[4096], want[4096];

	tb_disk(t, 8 * MiB, extra);
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=2");
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, 2, 0, ALL_FEATURES);
	tb_blk_works(t);
	at = guest_alloc(&t->g, 8192, 4096) + 3;
	mem = guest_ptr(&t->g, at, 4096);
	tb_pattern(want, sizeof(want), 99);
	memcpy(mem, want, sizeof(want));
	assert_int_equal(gblk_do(&t->blk, 1, GBLK_OUT, 801, at, 4096), GBLK_OK);
	memset(mem, 0, 4096);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_IN, 801, at, 4096), GBLK_OK);
	assert_memory_equal(mem, want, 4096);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
	assert_int_equal(pread(t->disk[0].fd, got, 4096, 801 * 512), 4096);
	assert_memory_equal(got, want, 4096);
	tb_blk_again(t);
	tb_stop(t);
}

static void by_threads(void **state)
{
	one_way(*state, ",cache=writeback,aio=threads");
}

static void by_io_uring(void **state)
{
	one_way(*state, ",cache=writeback,aio=io_uring");
}

static void direct_native(void **state)
{
	one_way(*state, ",cache=none,aio=native");
}

static void direct_threads(void **state)
{
	one_way(*state, ",cache=directsync,aio=threads");
}

static void writethrough(void **state)
{
	one_way(*state, ",cache=writethrough");
}

/* SIGTERM in the middle of writes: what a flush has acknowledged is on the disk. Each write carries
 * its number. */
static void term_loses_nothing(void **state)
{
	struct tb *t = *state;
	struct gblk *b = &t->blk;
	uint32_t flushed = 0, number = 0;
	uint64_t at;
	uint8_t *mem;
	char *text;
	int status;

	tb_blk(t, ",num-queues=1", 1, ALL_FEATURES);
	at = guest_alloc(&t->g, 512 * 64, 4096);
	mem = guest_ptr(&t->g, at, 512 * 64);
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 32; i++, number++) {
			struct gseg seg = {at + 512 * (number % 64), 512};

			put_le32(mem + 512 * (number % 64), number + 1);
			assert_non_null(gblk_add(b, 0, GBLK_OUT, number % SECTORS, &seg, 1));
		}
		gvq_kick(&b->q[0]);
		if (round == 39)
			break; /* these are in flight when the signal comes */
		for (unsigned i = 0; i < 32; i++) {
			struct gblk_req *r;

			assert_true(guest_wait(&t->g, (r = gblk_done(b, 0, NULL)) != NULL));
			assert_int_equal(r->mem[16], GBLK_OK);
		}
		assert_int_equal(gblk_do(b, 0, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
		flushed = number;
	}
	assert_int_equal(kill(t->g.pid, SIGTERM), 0);
	status = guest_reap(&t->g);
	text = guest_log(&t->g);
	if (status)
		fail_msg("status 0x%x: %s", (unsigned)status, text);
	free(text);
	for (uint32_t i = 0; i < flushed; i++) {
		uint8_t got[4];

		assert_int_equal(pread(t->disk[0].fd, got, 4, (off_t)i * 512), 4);
		assert_int_equal(get_le32(got), i + 1);
	}
	guest_stop(&t->g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(read_write),	     tb_test(config),	      tb_test(mirror),
		tb_test(used_lengths),	     tb_test(get_id),	      tb_test(discard_and_zeroes),
		tb_test(read_only),	     tb_test(refused),	      tb_test(odd_shapes),
		tb_test(write_cache),	     tb_test(by_threads),     tb_test(by_io_uring),
		tb_test(direct_native),	     tb_test(direct_threads), tb_test(writethrough),
		tb_test(term_loses_nothing),
	};

	return tb_run("blk", tests);
}
