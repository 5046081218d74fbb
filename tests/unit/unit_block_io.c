/* SPDX-License-Identifier: MIT */
/* unit_block_io.c - I/O on images: every way to the kernel, buffered and direct, whole and odd
 * pieces, ends, limits
 *
 * Each test runs for aio=threads, io_uring and native with and without O_DIRECT on a file in
 * /var/tmp (a tmpfs would not show the direct paths), and compares with a plain copy of the disk in
 * memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "block/internal.h"

#define DISK (4 * MiB)

static const char *const ways[] = {
	"aio=threads",
	"aio=io_uring",
	"aio=threads,cache=none",
	"aio=io_uring,cache=none",
	"aio=native,cache=none",
	"aio=io_uring,cache=writethrough",
	"aio=threads,cache=directsync",
};

struct fixture {
	struct loop *loop;
	struct blocks *bs;
	struct block *b;
	struct block_queue *q;
	const char *dir; /* NULL: /var/tmp */
	char path[64];
	uint8_t *model; /* what the disk should hold */
	uint64_t random;
};

struct request {
	struct block_req r;
	int ret;
	bool done;
	struct iovec iov[16];
};

static uint64_t draw(struct fixture *f, uint64_t below)
{
	/* xorshift64: the same sequence in each run */
	f->random ^= f->random << 13;
	f->random ^= f->random >> 7;
	f->random ^= f->random << 17;
	return f->random % below;
}

static void open_disk(struct fixture *f, const char *opts, unsigned block)
{
	struct block_use use = {.user = "test", .block_size = block};
	struct err e = {0};
	struct kvs k = {0};
	char line[256];

	snprintf(line, sizeof(line), "if=none,id=d,file=%s,format=raw,%s", f->path, opts);
	f->bs = blocks_new();
	assert_int_equal(kvs_parse(&k, "-drive", line, NULL, &e), 0);
	if (blocks_add_drive(f->bs, &k, &e) < 0)
		fail_msg("%s: %s", line, e.text);
	kvs_free(&k);
	f->b = block_find(f->bs, "d");
	assert_int_equal(block_attach(f->b, &use, &e), 0);
	f->q = block_queue_new(f->b, f->loop, &e);
	assert_non_null(f->q);
}

static void close_disk(struct fixture *f)
{
	block_queue_free(f->q);
	block_detach(f->b);
	blocks_free(f->bs);
}

static void new_file(struct fixture *f, uint64_t size)
{
	int fd;

	snprintf(f->path, sizeof(f->path), "%s/unit_block_io.XXXXXX", f->dir ? f->dir : "/var/tmp");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	for (uint64_t i = 0; i < size; i++)
		f->model[i] = (uint8_t)draw(f, 256);
	assert_int_equal(write(fd, f->model, size), size);
	/* So that the host's blocks are allocated now and not later. */
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->random = 88172645463325252ULL;
	f->loop = loop_new("test");
	f->model = calloc(1, DISK);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	if (f->path[0])
		unlink(f->path);
	loop_free(f->loop);
	free(f->model);
	free(f);
	return 0;
}

static void on_done(struct block_req *r, int ret)
{
	struct request *q = container_of(r, struct request, r);

	assert_false(q->done);
	q->ret = ret;
	q->done = true;
}

static void start(struct fixture *f, struct request *q, enum block_op op, uint64_t offset,
		  uint64_t len, unsigned flags)
{
	q->done = false;
	q->r.op = op;
	q->r.offset = offset;
	q->r.len = len;
	q->r.flags = flags;
	q->r.done = on_done;
	block_submit(f->q, &q->r);
}

static int wait_for(struct fixture *f, struct request *q)
{
	/* The end of the first turn hands over what was submitted. */
	for (int timeout = 0; !q->done; timeout = -1)
		loop_turn(f->loop, timeout);
	return q->ret;
}

static int run(struct fixture *f, enum block_op op, uint64_t offset, uint64_t len, unsigned flags)
{
	struct request q = {0};

	start(f, &q, op, offset, len, flags);
	return wait_for(f, &q);
}

/* Cut `buf` into elements of odd lengths, behind `skip` bytes that are not part of it. */
static void scatter(struct fixture *f, struct request *q, uint8_t *buf, uint64_t len, uint64_t skip,
		    unsigned pieces)
{
	uint64_t left = len + skip;
	uint8_t *p = buf - skip;
	unsigned n = 0;

	while (left && n + 1 < pieces) {
		uint64_t take = 1 + draw(f, left);

		q->iov[n++] = (struct iovec){p, take};
		p += take;
		left -= take;
	}
	if (left)
		q->iov[n++] = (struct iovec){p, left};
	q->r.iov = q->iov;
	q->r.iovcnt = n;
	q->r.skip = skip;
}

static int rw(struct fixture *f, enum block_op op, uint64_t offset, uint8_t *buf, uint64_t len,
	      unsigned pieces, uint64_t skip)
{
	struct request q = {0};

	scatter(f, &q, buf, len, skip, pieces);
	start(f, &q, op, offset, len, 0);
	return wait_for(f, &q);
}

static void check_disk(struct fixture *f, uint64_t size)
{
	uint8_t *now = malloc(size);

	assert_int_equal(rw(f, BLOCK_READ, 0, now, size, 1, 0), 0);
	for (uint64_t i = 0; i < size; i++)
		if (now[i] != f->model[i])
			fail_msg("byte %llu is %02x, not %02x", (unsigned long long)i, now[i],
				 f->model[i]);
	free(now);
}

/* What the file itself holds, whatever the program thinks. */
static void check_file(struct fixture *f, uint64_t size)
{
	uint8_t *now = malloc(size);
	int fd = open(f->path, O_RDONLY);

	assert_int_equal(pread(fd, now, size, 0), size);
	assert_memory_equal(now, f->model, size);
	close(fd);
	free(now);
}

static void random_io(struct fixture *f, uint64_t block)
{
	uint8_t *buf = malloc(MiB + 64);

	for (unsigned i = 0; i < 300; i++) {
		uint64_t len = (1 + draw(f, i % 10 ? 16 : MiB / block)) * block;
		uint64_t offset = draw(f, (DISK - len) / block + 1) * block;
		unsigned pieces = 1 + draw(f, 12), skip = draw(f, 2) ? 0 : 16;
		uint8_t *data = buf + 16;

		if (draw(f, 2)) {
			memset(data, (int)i, len);
			data[0] = data[len - 1] = (uint8_t)~i;
			memcpy(f->model + offset, data, len);
			assert_int_equal(rw(f, BLOCK_WRITE, offset, data, len, pieces, skip), 0);
		} else {
			memset(data, 0xee, len);
			assert_int_equal(rw(f, BLOCK_READ, offset, data, len, pieces, skip), 0);
			assert_memory_equal(data, f->model + offset, len);
		}
	}
	free(buf);
}

static void read_write_flush(void **state)
{
	struct fixture *f = *state;

	new_file(f, DISK);
	for (unsigned w = 0; w < ARRAY_SIZE(ways); w++) {
		struct block_stats s;

		open_disk(f, ways[w], 512);
		random_io(f, 512);
		assert_int_equal(run(f, BLOCK_FLUSH, 0, 0, 0), 0);
		check_disk(f, DISK);
		block_stats(f->b, &s);
		assert_int_equal(s.ops[BLOCK_READ] + s.ops[BLOCK_WRITE], 301);
		assert_int_equal(s.ops[BLOCK_FLUSH], 1);
		assert_true(s.bytes[BLOCK_READ] > DISK && s.highest <= DISK);
		assert_int_equal(block_inflight(f->q), 0);
		close_disk(f);
		check_file(f, DISK);
	}
}

/* A host that wants 4096-byte blocks under a guest with 512-byte ones. */
static void coarse_host(void **state)
{
	struct fixture *f = *state;

	new_file(f, DISK);
	for (unsigned w = 2; w < 4; w++) {
		open_disk(f, ways[w], 512);
		f->b->img->align = 4096;
		f->b->img->rmw = true;
		random_io(f, 512);
		check_disk(f, DISK);
		close_disk(f);
		check_file(f, DISK);
	}
}

/* 64 neighbours of 512 bytes in flight at once, all parts of the same few host blocks: none may
 * undo another. */
static void coarse_host_neighbours(void **state)
{
	struct fixture *f = *state;
	struct request *q = calloc(64, sizeof(*q));
	uint8_t *buf = malloc(64 * 512);

	new_file(f, DISK);
	open_disk(f, "aio=threads,cache=none", 512);
	f->b->img->align = 4096;
	f->b->img->rmw = true;
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < 64; i++) {
			memset(buf + i * 512, (int)(round * 64 + i), 512);
			q[i].iov[0] = (struct iovec){buf + i * 512, 512};
			q[i].r.iov = q[i].iov;
			q[i].r.iovcnt = 1;
			start(f, &q[i], BLOCK_WRITE, 1024 + i * 512, 512, 0);
		}
		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(wait_for(f, &q[i]), 0);
		memcpy(f->model + 1024, buf, 64 * 512);
		check_disk(f, DISK);
	}
	close_disk(f);
	free(q);
	free(buf);
}

/* More in flight than the bounce arena holds: they wait, and all are served. */
static void many_in_flight(void **state)
{
	struct fixture *f = *state;
	const unsigned count = 40;
	const uint64_t len = 384 * KiB;

	new_file(f, DISK);
	for (unsigned w = 0; w < ARRAY_SIZE(ways); w++) {
		struct request *q = calloc(count, sizeof(*q));
		uint8_t *buf = malloc(count * len);

		open_disk(f, ways[w], 512);
		for (unsigned i = 0; i < count; i++) {
			q[i].iov[0] = (struct iovec){buf + i * len, len};
			q[i].r.iov = q[i].iov;
			q[i].r.iovcnt = 1;
			start(f, &q[i], BLOCK_READ, i * 64 * KiB, len, 0);
		}
		assert_int_equal(block_inflight(f->q), count);
		for (unsigned i = 0; i < count; i++) {
			assert_int_equal(wait_for(f, &q[i]), 0);
			assert_memory_equal(buf + i * len, f->model + i * 64 * KiB, len);
		}
		close_disk(f);
		free(buf);
		free(q);
	}
}

/* A file that ends within a sector: the rest reads as zeroes and can be written. */
static void end_of_file(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[8192];

	for (unsigned w = 0; w < ARRAY_SIZE(ways); w++) {
		memset(f->model, 0, DISK);
		new_file(f, 64 * KiB + 700);
		open_disk(f, ways[w], 512);
		assert_int_equal(block_size(f->b), 64 * KiB + 1024);
		memset(buf, 0xee, sizeof(buf));
		assert_int_equal(rw(f, BLOCK_READ, 60 * KiB, buf, 5120, 3, 0), 0);
		assert_memory_equal(buf, f->model + 60 * KiB, 5120);
		memset(buf, 0xaa, 512);
		memset(f->model + 64 * KiB + 512, 0xaa, 512);
		assert_int_equal(rw(f, BLOCK_WRITE, 64 * KiB + 512, buf, 512, 1, 0), 0);
		check_disk(f, 64 * KiB + 1024);
		assert_int_equal(rw(f, BLOCK_READ, 64 * KiB + 512, buf, 1024, 1, 0), -EIO);
		close_disk(f);
		unlink(f->path);
	}
}

static uint64_t blocks_of(struct fixture *f)
{
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	return (uint64_t)st.st_blocks;
}

/* Bytes given back since; the file system's own bookkeeping may take some of it. */
#define SLACK (64 * KiB)
static uint64_t freed(struct fixture *f, uint64_t before)
{
	uint64_t now = blocks_of(f);

	return now < before ? (before - now) * 512 : 0;
}

static void write_zeroes(void **state)
{
	struct fixture *f = *state;

	for (unsigned w = 0; w < ARRAY_SIZE(ways); w++) {
		/* 0: as the host does it; 1: no fallocate at all; 2: the same on coarse blocks */
		for (unsigned how = 0; how < 3; how++) {
			char opts[80];
			uint64_t before;

			new_file(f, DISK);
			snprintf(opts, sizeof(opts), "%s,discard=unmap", ways[w]);
			open_disk(f, opts, 512);
			if (how) {
				atomic_store(&f->b->img->no_punch, true);
				atomic_store(&f->b->img->no_zero_range, true);
			}
			if (how == 2 && f->b->img->direct) {
				f->b->img->align = 4096;
				f->b->img->rmw = true;
			}
			before = blocks_of(f);
			memset(f->model + 512, 0, MiB + 512);
			assert_int_equal(run(f, BLOCK_WRITE_ZEROES, 512, MiB + 512, 0), 0);
			memset(f->model + 2 * MiB, 0, MiB);
			assert_int_equal(run(f, BLOCK_WRITE_ZEROES, 2 * MiB, MiB,
					     BLOCK_MAY_UNMAP | BLOCK_FUA),
					 0);
			if (!how)
				assert_true(freed(f, before) >= MiB - SLACK);
			assert_int_equal(run(f, BLOCK_FLUSH, 0, 0, 0), 0);
			check_disk(f, DISK);
			close_disk(f);
			check_file(f, DISK);
			unlink(f->path);
		}
	}
}

/* With discard=unmap space is given back; by default nothing happens. */
static void discard(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	new_file(f, DISK);
	open_disk(f, "discard=unmap", 512);
	before = blocks_of(f);
	assert_int_equal(run(f, BLOCK_DISCARD, MiB, MiB, 0), 0);
	assert_true(freed(f, before) >= MiB - SLACK);
	close_disk(f);
	unlink(f->path);

	new_file(f, DISK);
	open_disk(f, "discard=ignore", 512);
	before = blocks_of(f);
	assert_int_equal(run(f, BLOCK_DISCARD, MiB, MiB, 0), 0);
	assert_int_equal(run(f, BLOCK_WRITE_ZEROES, 0, 0, BLOCK_MAY_UNMAP), 0);
	assert_int_equal(blocks_of(f), before);
	check_disk(f, DISK);
	close_disk(f);
}

static void detect_zeroes(void **state)
{
	struct fixture *f = *state;
	uint8_t *zero = calloc(1, MiB);
	uint64_t before;

	new_file(f, DISK);
	open_disk(f, "detect-zeroes=unmap,discard=unmap", 512);
	before = blocks_of(f);
	assert_int_equal(rw(f, BLOCK_WRITE, MiB, zero, MiB, 5, 0), 0);
	assert_true(freed(f, before) >= MiB - SLACK);
	zero[MiB - 1] = 1;
	assert_int_equal(rw(f, BLOCK_WRITE, 2 * MiB, zero, MiB, 1, 0), 0);
	memset(f->model + MiB, 0, 2 * MiB - 1);
	f->model[3 * MiB - 1] = 1;
	check_disk(f, DISK);
	close_disk(f);
	free(zero);
}

static void refused(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512] = {0};

	new_file(f, DISK);
	open_disk(f, "readonly=on", 512);
	assert_int_equal(rw(f, BLOCK_WRITE, 0, buf, 512, 1, 0), -EPERM);
	assert_int_equal(run(f, BLOCK_DISCARD, 0, 512, 0), -EPERM);
	assert_int_equal(run(f, BLOCK_WRITE_ZEROES, 0, 512, 0), -EPERM);
	assert_int_equal(run(f, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(rw(f, BLOCK_READ, DISK, buf, 512, 1, 0), -EIO);
	assert_int_equal(rw(f, BLOCK_READ, UINT64_MAX - 511, buf, 512, 1, 0), -EIO);
	assert_int_equal(rw(f, BLOCK_READ, DISK - 512, buf, 512, 1, 0), 0);
	check_disk(f, DISK);
	close_disk(f);
}

struct drained {
	bool done;
	int rc;
};

static void on_drained(void *arg, int rc)
{
	*(struct drained *)arg = (struct drained){true, rc};
}

/* As the control thread does, whose loop is `control`. */
static int drain_disks(struct blocks *bs, struct loop *control)
{
	struct drained d = {0};

	assert_int_equal(blocks_drain(bs, control, on_drained, &d), 0);
	assert_int_equal(blocks_drain(bs, control, on_drained, &d), -EBUSY);
	while (!d.done)
		loop_turn(control, -1);
	return d.rc;
}

/* After a flush has failed the page cache may have dropped data: none may succeed again. */
static void failed_flush(void **state)
{
	struct fixture *f = *state;

	new_file(f, DISK);
	open_disk(f, "aio=threads", 512);
	assert_int_equal(run(f, BLOCK_FLUSH, 0, 0, 0), 0);
	atomic_store(&f->b->img->lost, true);
	assert_int_equal(run(f, BLOCK_FLUSH, 0, 0, 0), -EIO);
	assert_int_equal(drain_disks(f->bs, f->loop), -EIO);
	close_disk(f);
}

static void null_disk(void **state)
{
	struct fixture *f = *state;
	struct block_use use = {.user = "test", .block_size = 512};
	struct err e = {0};
	struct kvs k = {0};
	uint8_t buf[4096];

	f->bs = blocks_new();
	assert_int_equal(kvs_parse(&k, "-blockdev",
				   "driver=null-co,node-name=d,size=1M,read-zeroes=on", NULL, &e),
			 0);
	assert_int_equal(blocks_add_node(f->bs, &k, &e), 0);
	kvs_free(&k);
	f->b = block_find(f->bs, "d");
	assert_int_equal(block_attach(f->b, &use, &e), 0);
	f->q = block_queue_new(f->b, f->loop, &e);
	memset(buf, 0xee, sizeof(buf));
	assert_int_equal(rw(f, BLOCK_READ, 0, buf, 4096, 4, 0), 0);
	assert_int_equal(buf[0] | buf[4095], 0);
	assert_int_equal(rw(f, BLOCK_WRITE, MiB - 4096, buf, 4096, 1, 0), 0);
	assert_int_equal(rw(f, BLOCK_READ, MiB, buf, 512, 1, 0), -EIO);
	assert_int_equal(run(f, BLOCK_FLUSH, 0, 0, 0), 0);
	close_disk(f);
}

struct burst {
	struct loop_task task;
	struct fixture *f;
	struct request q[64];
	uint8_t *buf;
};

static void start_burst(struct loop_task *t)
{
	struct burst *b = container_of(t, struct burst, task);

	for (unsigned i = 0; i < 64; i++) {
		memset(b->buf + i * 4096, (int)i + 1, 4096);
		b->q[i].iov[0] = (struct iovec){b->buf + i * 4096, 4096};
		b->q[i].r.iov = b->q[i].iov;
		b->q[i].r.iovcnt = 1;
		start(b->f, &b->q[i], BLOCK_WRITE, i * 4096, 4096, 0);
	}
}

/* A drain returns when all that was in flight on another thread's loop is done. */
static void drain(void **state)
{
	struct fixture *f = *state;
	struct loop *control = loop_new("control");

	new_file(f, DISK);
	for (unsigned w = 0; w < ARRAY_SIZE(ways); w++) {
		struct burst *b = calloc(1, sizeof(*b));

		b->f = f;
		b->task.fn = start_burst;
		b->buf = malloc(64 * 4096);
		open_disk(f, ways[w], 512);
		assert_int_equal(loop_start(f->loop), 0);
		loop_post(f->loop, &b->task);
		/* The drain comes behind the burst: both are posted. */
		assert_int_equal(drain_disks(f->bs, control), 0);
		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(b->q[i].ret, 0);
		memcpy(f->model, b->buf, 64 * 4096);
		check_file(f, DISK);
		loop_join(f->loop);
		close_disk(f);
		free(b->buf);
		free(b);
	}
	loop_free(control);
}

/* The same on the loop's own thread. */
static void drain_alone(void **state)
{
	struct fixture *f = *state;
	struct burst *b = calloc(1, sizeof(*b));

	new_file(f, DISK);
	open_disk(f, "cache=none", 512);
	b->f = f;
	b->buf = malloc(64 * 4096);
	start_burst(&b->task);
	assert_int_equal(block_inflight(f->q), 64);
	assert_int_equal(drain_disks(f->bs, f->loop), 0);
	assert_int_equal(block_inflight(f->q), 0);
	for (unsigned i = 0; i < 64; i++)
		assert_true(b->q[i].done);
	close_disk(f);
	free(b->buf);
	free(b);
}

/* The arena of bounce buffers gives out what it has, and takes it back in any order. */
static void bounce(void **state)
{
	struct fixture *f = *state;
	struct bounce a = {0};
	char *p[BOUNCE_PAGES + 1] = {NULL};
	unsigned n = 0;

	assert_int_equal(bounce_init(&a), 0);
	while ((p[n] = bounce_get(&a, 1)))
		n++;
	assert_int_equal(n, BOUNCE_PAGES);
	for (unsigned i = 0; i < n; i += 2)
		bounce_put(&a, p[i], 1);
	assert_null(bounce_get(&a, BOUNCE_PAGE + 1)); /* half is free, but no two neighbours */
	bounce_put(&a, p[301], 1);
	p[301] = bounce_get(&a, 3 * BOUNCE_PAGE);
	assert_ptr_equal(p[301], p[300]);
	bounce_put(&a, p[301], 3 * BOUNCE_PAGE);
	for (unsigned i = 1; i < n; i += 2)
		if (i != 301)
			bounce_put(&a, p[i], 1);
	assert_int_equal(a.free, BOUNCE_PAGES);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t len = 1 + draw(f, BOUNCE_MAX);
		char *x = bounce_get(&a, len), *y = bounce_get(&a, len);

		assert_true(x && y && (y >= x + len || x >= y + len));
		assert_int_equal((uintptr_t)x % BOUNCE_PAGE, 0);
		bounce_put(&a, x, len);
		bounce_put(&a, y, len);
	}
	bounce_fini(&a);
}

/* Small reads of one turn, from none to more than are tried at once, among them misses, the end of
 * the file, and what comes back short. */
static void few_at_once(void **state)
{
	static uint8_t buf[2 * QUICK_MAX][4096];
	static struct request q[2 * QUICK_MAX];
	struct fixture *f = *state;
	const uint64_t file = MiB + 512 * 3; /* the last page is cut */
	int fd;

	new_file(f, file);
	memset(f->model + file, 0, 4096);
	open_disk(f, "aio=io_uring", 512);
	fd = open(f->path, O_RDONLY);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM),
			 0); /* no more than is asked for */
	for (unsigned n = 1; n <= 2 * QUICK_MAX; n = n < 8 ? n + 1 : n * 2) {
		/* The cache has every other page of the second half, and all of the first. */
		assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
		for (uint64_t at = 0; at < file; at += at < file / 2 ? 4096 : 8192)
			assert_true(pread(fd, buf[0], 1, (off_t)at) == 1);
		for (unsigned i = 0; i < n; i++) {
			uint64_t len = 512 * (1 + draw(f, 8));
			uint64_t at = draw(f, (block_size(f->b) - len) / 512 + 1) * 512;

			q[i] = (struct request){.iov[0] = {buf[i], len}};
			q[i].r.iov = q[i].iov;
			q[i].r.iovcnt = 1;
			memset(buf[i], 0xee, len);
			start(f, &q[i], BLOCK_READ, at, len, 0);
		}
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(wait_for(f, &q[i]), 0);
			assert_memory_equal(buf[i], f->model + q[i].r.offset, q[i].r.len);
		}
		assert_int_equal(block_inflight(f->q), 0);
	}
	close(fd);
	close_disk(f);
}

/* The same file on tmpfs, where it stays in memory. */
static void few_in_memory(void **state)
{
	if (access("/dev/shm", W_OK)) {
		print_message("no /dev/shm\n");
		skip();
	}
	((struct fixture *)*state)->dir = "/dev/shm";
	few_at_once(state);
}

/* For the rest of this process the kernel has no io_uring: the workers serve such disks. Must come
 * last. */
static void without_io_uring(void **state)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {ARRAY_SIZE(rules), rules};

	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	read_write_flush(state);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bounce),
		TEST(read_write_flush),
		TEST(coarse_host),
		TEST(coarse_host_neighbours),
		TEST(many_in_flight),
		TEST(end_of_file),
		TEST(write_zeroes),
		TEST(discard),
		TEST(detect_zeroes),
		TEST(refused),
		TEST(failed_flush),
		TEST(null_disk),
		TEST(drain),
		TEST(drain_alone),
		TEST(few_at_once),
		TEST(few_in_memory),
		TEST(without_io_uring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
