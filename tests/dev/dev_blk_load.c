/* SPDX-License-Identifier: MIT */
/* dev_blk_load.c - a disk under load: odd framing, four queues at depth 64, each way to the host,
 * resets in between */
#include "tb.h"

#include <fcntl.h>

#define QUEUES 4
#define DEPTH  64
#define REGION (64 * KiB) /* of each request in flight, so that none overlaps another */
#define DISK   (QUEUES * DEPTH * REGION)

static const char *const ways[] = {
	",cache=writeback",	   ",cache=none",
	",cache=directsync",	   ",cache=writethrough,aio=threads",
	",cache=none,aio=threads", ",cache=none,aio=native,discard=unmap",
};

static void start(struct tb *t, const char *drive)
{
	t->config.vcpus = QUEUES;
	tb_disk(t, DISK, drive);
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=%d", QUEUES);
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, QUEUES, 0,
		  GV_F_RING | GBLK_F_FLUSH | GBLK_F_MQ | GBLK_F_DISCARD | GBLK_F_WRITE_ZEROES);
	assert_int_equal(t->blk.queues, QUEUES);
}

/* §2.6.4: a device must not care how a request is cut into descriptors. Here all of it lies in one
 * stretch of memory. */
static void framing(void **state)
{
	/* lengths of the readable and of the writable descriptors, 0 ends */
	static const uint32_t write_cut[][8] = {
		{16 + 4096, 0, 1},   {1, 15, 4096, 0, 1},	   {8, 8 + 512, 3584, 0, 1},
		{15, 2, 4095, 0, 1}, {16, 1000, 2000, 1096, 0, 1},
	};
	static const uint32_t read_cut[][8] = {
		{16, 0, 4097},	   {8, 8, 0, 512, 3585},	  {16, 0, 1, 4095, 1},
		{16, 0, 4000, 97}, {4, 12, 0, 100, 100, 3896, 1},
	};
	struct tb *t = *state;
	uint64_t at;
	uint8_t *p;

	start(t, ",cache=none");
	at = guest_alloc(&t->g, 8192, 4096);
	p = guest_ptr(&t->g, at, 8192);
	for (unsigned i = 0; i < ARRAY_SIZE(write_cut) + ARRAY_SIZE(read_cut); i++) {
		bool in = i >= ARRAY_SIZE(write_cut);
		const uint32_t *cut = in ? read_cut[i - ARRAY_SIZE(write_cut)] : write_cut[i];
		uint64_t from = at, sector = 8 * (i % ARRAY_SIZE(write_cut));
		unsigned side[2] = {0, 0}, now = 0, n = 0;
		struct gseg seg[8];
		uint8_t want[4096];

		memset(p, 0, 8192);
		put_le32(p, in ? GBLK_IN : GBLK_OUT);
		put_le64(p + 8, sector);
		tb_pattern(want, 4096, (uint32_t)sector);
		if (!in)
			memcpy(p + 16, want, 4096);
		p[16 + 4096] = GBLK_PENDING;
		for (unsigned k = 0; k < 8 && n < 8; k++) {
			if (!cut[k]) {
				if (now++)
					break;
				continue;
			}
			seg[n++] = (struct gseg){from, cut[k]};
			from += cut[k];
			side[now]++;
		}
		assert_true(gvq_add(&t->blk.q[0], seg, side[0], side[1], NULL) >= 0);
		gvq_kick(&t->blk.q[0]);
		assert_int_equal(gvq_wait(&t->blk.q[0], NULL), in ? 4097 : 1);
		assert_int_equal(p[16 + 4096], GBLK_OK);
		if (in)
			assert_memory_equal(p + 16, want, 4096);
	}
	tb_stop(t);
}

struct job {
	uint64_t at;
	uint8_t *mem;
	uint64_t sector;
	uint32_t len, seed;
	bool reading;
};

/* Keep every queue full for `rounds` requests of each job: write, then read back and compare. */
static void load(struct tb *t, struct job *jobs, unsigned rounds)
{
	unsigned left = QUEUES * DEPTH * rounds * 2, started[QUEUES * DEPTH] = {0};
	struct gblk *b = &t->blk;
	struct job *of[QUEUES * GBLK_SLOTS] = {NULL};
	bool moved = true;

	while (left) {
		if (!moved)
			assert_true(guest_wait(&t->g,
					       gvq_used_idx(&b->q[0]) != b->q[0].used_idx ||
						       gvq_used_idx(&b->q[1]) != b->q[1].used_idx ||
						       gvq_used_idx(&b->q[2]) != b->q[2].used_idx ||
						       gvq_used_idx(&b->q[3]) != b->q[3].used_idx));
		moved = false;
		for (unsigned i = 0; i < QUEUES * DEPTH; i++) {
			struct job *j = &jobs[i];
			struct gseg seg[3];
			struct gblk_req *r;

			if (started[i] & 1 || started[i] >> 1 == rounds * 2)
				continue;
			j->reading = started[i] >> 1 & 1;
			if (!j->reading) {
				j->seed = j->seed * 1664525 + 1013904223;
				j->len = 512 * (1 + j->seed % (REGION / 512));
				j->sector = (i * REGION +
					     (j->seed >> 8) % (REGION - j->len + 512) / 512 * 512) /
					    512;
				tb_pattern(j->mem, j->len, j->seed);
			} else {
				memset(j->mem, 0, j->len);
			}
			seg[0] = (struct gseg){j->at, j->len / 3};
			seg[1] = (struct gseg){j->at + j->len / 3, j->len / 3};
			seg[2] = (struct gseg){j->at + j->len / 3 * 2, j->len - j->len / 3 * 2};
			r = gblk_add(b, i / DEPTH, j->reading ? GBLK_IN : GBLK_OUT, j->sector, seg,
				     3);
			assert_non_null(r);
			of[r - b->slot] = j;
			started[i]++;
		}
		for (unsigned q = 0; q < QUEUES; q++) {
			struct gblk_req *r;
			uint32_t len;

			gvq_kick(&b->q[q]);
			while ((r = gblk_done(b, q, &len))) {
				struct job *j = of[r - b->slot];
				uint8_t want[REGION];

				assert_int_equal(r->mem[16], GBLK_OK);
				assert_int_equal(len, j->reading ? j->len + 1 : 1);
				tb_pattern(want, j->len, j->seed);
				if (j->reading)
					assert_memory_equal(j->mem, want, j->len);
				started[j - jobs]++;
				left--;
				moved = true;
			}
		}
	}
}

static struct job *make_jobs(struct tb *t)
{
	struct job *jobs = calloc(QUEUES * DEPTH, sizeof(*jobs));

	assert_non_null(jobs);
	for (unsigned i = 0; i < QUEUES * DEPTH; i++) {
		jobs[i].at = guest_alloc(&t->g, REGION, 4096);
		jobs[i].mem = guest_ptr(&t->g, jobs[i].at, REGION);
		jobs[i].seed = i + 1;
	}
	return jobs;
}

static void check_files(struct tb *t, const struct job *jobs)
{
	uint8_t want[REGION], got[REGION];

	for (unsigned i = 0; i < QUEUES * DEPTH; i++) {
		const struct job *j = &jobs[i];

		tb_pattern(want, j->len, j->seed);
		assert_int_equal(pread(t->disk[0].fd, got, j->len, (off_t)j->sector * 512), j->len);
		assert_memory_equal(got, want, j->len);
	}
}

static void loaded(struct tb *t, const char *way)
{
	struct job *jobs;

	start(t, way);
	jobs = make_jobs(t);
	load(t, jobs, 4);
	assert_int_equal(gblk_do(&t->blk, 0, GBLK_FLUSH, 0, 0, 0), GBLK_OK);
	check_files(t, jobs);
	free(jobs);
	tb_stop(t);
}

#define LOADED(n)                            \
	static void loaded_##n(void **state) \
	{                                    \
		loaded(*state, ways[n]);     \
	}
LOADED(0)
LOADED(1)
LOADED(2)
LOADED(3)
LOADED(4)
LOADED(5)

/* Field 5.3 #33: reset with every queue full of reads; afterwards nothing writes to guest memory
 * any more. */
static void reset_in_flight(void **state)
{
	struct tb *t = *state;
	struct job *jobs;

	start(t, ",cache=none");
	jobs = make_jobs(t);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < QUEUES * DEPTH; i++) {
			struct gseg seg = {jobs[i].at, REGION};

			assert_non_null(
				gblk_add(&t->blk, i / DEPTH, GBLK_IN, i * (REGION / 512), &seg, 1));
		}
		for (unsigned q = 0; q < QUEUES; q++)
			gvq_kick(&t->blk.q[q]);
		gv_reset(&t->blk.v);
		for (unsigned i = 0; i < QUEUES * DEPTH; i++)
			memset(jobs[i].mem, 0x5a, REGION);
		gblk_restart(&t->blk, t->blk.v.features);
		tb_blk_works(t);
		for (unsigned i = 0; i < QUEUES * DEPTH; i++)
			assert_true(jobs[i].mem[0] == 0x5a &&
				    !memcmp(jobs[i].mem, jobs[i].mem + 1, REGION - 1));
	}
	free(jobs);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(framing),  tb_test(loaded_0), tb_test(loaded_1), tb_test(loaded_2),
		tb_test(loaded_3), tb_test(loaded_4), tb_test(loaded_5), tb_test(reset_in_flight),
	};

	return cmocka_run_group_tests_name("blk_load", tests, NULL, NULL);
}
