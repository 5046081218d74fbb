/* SPDX-License-Identifier: MIT */
/* dev_9p_load.c - virtio-9p with many requests in flight: order, flushes, resets, limits */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "share.h"

#define PLAIN ",security_model=passthrough"

/* --- many at a time --- */

static struct g9p_req *slow_read(struct g9p *p, unsigned ms)
{
	struct g9p_req *r = g9p_prepare(p, G9P_READ, "dqd", 1, (uint64_t)ms, 64);

	g9p_queue(r, NULL, 0, 0);
	return r;
}

static void open_slow(struct share *s)
{
	assert_int_equal(g9p_walk(&s->p, ROOT, 1, "SLOW"), 0);
	assert_int_equal(g9p_lopen(&s->p, 1, O9_RDONLY), 0);
}

static void many_tags(void **state)
{
	struct share s;
	struct g9p_req *r[60];
	uint32_t n = 1000;

	share_synth(&s, state);
	open_slow(&s);
	assert_int_equal(g9p_walk(&s.p, ROOT, 2, "DATA"), 0);
	assert_int_equal(g9p_lopen(&s.p, 2, O9_RDONLY), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
		r[i] = i % 2 ? g9p_prepare(&s.p, G9P_READ, "dqd", 2, (uint64_t)i * 1000, 1000)
			     : NULL;
		if (r[i])
			g9p_queue(r[i], NULL, 0, 0);
		else
			r[i] = slow_read(&s.p, i);
	}
	g9p_kick(&s.p);
	for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
		assert_int_equal(g9p_wait(r[i]), 0);
		assert_int_equal(get_le32(r[i]->in + 7), i % 2 ? 1000 : 0);
		for (unsigned b = 0; i % 2 && b < 1000; b++)
			assert_int_equal(r[i]->in[11 + b], (uint8_t)((i * 1000 + b) * 7));
	}
	/* A slow one holds no quick one up, unless they must come back in order. */
	if (s.t->config.features & GV_F_IN_ORDER) {
		tb_stop(s.t);
		return;
	}
	r[0] = slow_read(&s.p, 1000);
	assert_int_equal(g9p_read(&s.p, 2, 0, &n), 0);
	assert_false(r[0]->done);
	assert_int_equal(g9p_wait(r[0]), 0);
	tb_stop(s.t);
}

static void flushes(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_req *busy[8], *queued, *f, *ff;

	share_synth(&s, state);
	open_slow(&s);
	/* One that is being served: it ends, and then the flush, and the flush of the flush. */
	busy[0] = slow_read(p, 200);
	g9p_kick(p);
	/* Workers take what came first, first: with this answered, which the loop never does
	 * itself, that one has been begun. */
	assert_int_equal(g9p_do(p, G9P_STATFS, "d", ROOT), 0);
	f = g9p_prepare(p, G9P_FLUSH, "w", busy[0]->tag);
	g9p_queue(f, NULL, 0, 0);
	ff = g9p_prepare(p, G9P_FLUSH, "w", f->tag);
	g9p_queue(ff, NULL, 0, 0);
	g9p_kick(p);
	assert_int_equal(g9p_wait(ff), 0);
	assert_true(busy[0]->done && f->done);
	assert_true(busy[0]->order < f->order && f->order < ff->order);
	assert_int_equal(g9p_wait(busy[0]), 0);
	assert_int_equal(g9p_wait(f), 0);
	if (s.t->config.features & GV_F_IN_ORDER) {
		tb_stop(s.t);
		return;
	}
	/* One that waits behind all workers comes back at once, with nothing. */
	for (unsigned i = 0; i < ARRAY_SIZE(busy); i++)
		busy[i] = slow_read(p, 1000);
	queued = slow_read(p, 1000);
	g9p_kick(p);
	assert_int_equal(g9p_do(p, G9P_FLUSH, "w", queued->tag), 0);
	assert_true(queued->done);
	assert_int_equal(queued->written, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(busy); i++)
		assert_false(busy[i]->done);
	for (unsigned i = 0; i < ARRAY_SIZE(busy); i++)
		assert_int_equal(g9p_wait(busy[i]), 0);
	queued->busy = false;
	/* So does one that the device finds together with its flush. */
	for (unsigned i = 0; i < ARRAY_SIZE(busy); i++)
		busy[i] = slow_read(p, 300);
	queued = slow_read(p, 300);
	f = g9p_prepare(p, G9P_FLUSH, "w", queued->tag);
	g9p_queue(f, NULL, 0, 0);
	g9p_kick(p);
	assert_int_equal(g9p_wait(f), 0);
	assert_true(queued->done);
	assert_int_equal(queued->written, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(busy); i++)
		assert_int_equal(g9p_wait(busy[i]), 0);
	queued->busy = false;
	/* What is not there is flushed already; so is a flush of itself. */
	assert_int_equal(g9p_do(p, G9P_FLUSH, "w", 999), 0);
	f = g9p_prepare(p, G9P_FLUSH, "w", 0);
	put_le16(f->out + 7, f->tag);
	g9p_queue(f, NULL, 0, 0);
	g9p_kick(p);
	assert_int_equal(g9p_wait(f), 0);
	tb_stop(s.t);
}

static void reset_in_flight(void **state)
{
	struct share s;

	share_synth(&s, state);
	for (unsigned round = 0; round < 3; round++) {
		open_slow(&s);
		for (unsigned i = 0; i < 40; i++)
			slow_read(&s.p, 300);
		g9p_queue(g9p_prepare(&s.p, G9P_FLUSH, "w", 5), NULL, 0, 0);
		g9p_queue(g9p_prepare(&s.p, G9P_FLUSH, "w", 30), NULL, 0, 0);
		g9p_kick(&s.p);
		guest_sync(&s.t->g);
		gv_reset(&s.p.v);
		g9p_restart(&s.p);
		/* The fids are gone with it. */
		assert_int_equal(g9p_version(&s.p, 8192), 0);
		assert_int_not_equal(g9p_clunk(&s.p, 1), 0);
		g9p_mount(&s.p, ROOT);
	}
	share_again(&s);
	tb_stop(s.t);
}

/* 1 MiB a second, and a tenth of it in advance: two of them take their time. */
static void limits(void **state)
{
	struct share s;
	uint64_t begin;
	uint32_t n;

	tb_skip_qemu("it counts differently");
	share_start(&s, state, PLAIN ",throttling.bps-total=1M,throttling.iops-read=100");
	share_create(&s, "f", "x");
	assert_int_equal(g9p_walk(&s.p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_lopen(&s.p, 1, O9_RDWR), 0);
	begin = now_ns();
	for (unsigned i = 0; i < 3; i++) {
		n = 512 * KiB;
		assert_int_equal(g9p_write(&s.p, 1, i * 512 * KiB, &n), 0);
	}
	/* The first two are in debt before the third. */
	assert_true(now_ns() - begin > 850 * 1000000ULL);
	begin = now_ns();
	for (unsigned i = 0; i < 51; i++) {
		n = 1;
		assert_int_equal(g9p_read(&s.p, 1, 0, &n), 0);
	}
	assert_true(now_ns() - begin > 390 * 1000000ULL);
	/* A reset does not wait for the limit. */
	g9p_queue(g9p_prepare(&s.p, G9P_READ, "dqd", 1, 0ULL, 1 << 20), NULL, 0, 0);
	g9p_queue(g9p_prepare(&s.p, G9P_READ, "dqd", 1, 0ULL, 1 << 20), NULL, 0, 0);
	g9p_queue(g9p_prepare(&s.p, G9P_READ, "dqd", 1, 0ULL, 1 << 20), NULL, 0, 0);
	g9p_kick(&s.p);
	guest_sync(&s.t->g);
	begin = now_ns();
	gv_reset(&s.p.v);
	assert_true(now_ns() - begin < 500 * 1000000ULL);
	g9p_restart(&s.p);
	g9p_mount(&s.p, ROOT);
	tb_stop(s.t);
}

/* Descriptors run out before fids do: an error, and all is well when some are given back. */
static void few_files(void **state)
{
	struct rlimit old, few = {800, 800};
	struct share s;
	unsigned n = 0;
	int rc = 0;

	tb_skip_qemu("it closes files and opens them again");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	share_start(&s, state, PLAIN);
	setrlimit(RLIMIT_NOFILE, &old);
	share_create(&s, "f", "text");
	while (!rc && n < 1000) {
		rc = g9p_walk(&s.p, ROOT, 1 + n, "f");
		n += !rc;
	}
	assert_int_equal(rc, ENFILE);
	/* Half of them are for others; the root has one. */
	assert_in_range(n, 390, 400);
	assert_int_equal(g9p_lopen(&s.p, 1, O9_RDONLY), ENFILE);
	/* What was refused is not there. */
	assert_int_equal(g9p_do(&s.p, G9P_MKDIR, "dsdd", ROOT, "d", 0755, 0), ENFILE);
	assert_int_equal(g9p_do(&s.p, G9P_SYMLINK, "dssd", ROOT, "l", "x", 0), ENFILE);
	assert_int_equal(g9p_do(&s.p, G9P_MKNOD, "dsdddd", ROOT, "n", S_IFIFO | 0600, 0, 0, 0),
			 ENFILE);
	assert_int_equal(access(share_file(&s, "d"), F_OK), -1);
	assert_int_equal(faccessat(AT_FDCWD, share_file(&s, "l"), F_OK, AT_SYMLINK_NOFOLLOW), -1);
	assert_int_equal(access(share_file(&s, "n"), F_OK), -1);
	/* Another fid for a file that is known costs nothing. */
	assert_int_equal(g9p_walk(&s.p, 1, 2000, ""), 0);
	assert_int_equal(g9p_clunk(&s.p, 2), 0);
	assert_int_equal(g9p_lopen(&s.p, 1, O9_RDONLY), 0);
	share_again(&s);
	tb_stop(s.t);
}

/* --- what is in memory --- */

static void open_file(struct share *s)
{
	assert_int_equal(g9p_walk(&s->p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_lopen(&s->p, 1, O9_RDONLY), 0);
}

/* How often the server's workers have gone to sleep so far. */
static unsigned long sleeps(struct share *s)
{
	char path[300], line[128];
	unsigned long sum = 0, n;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", s->t->g.pid);
	tasks = opendir(path);
	assert_non_null(tasks);
	for (struct dirent *d; (d = readdir(tasks));) {
		bool ours = false;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", s->t->g.pid, d->d_name);
		f = d->d_name[0] == '.' ? NULL : fopen(path, "r");
		while (f && fgets(line, sizeof(line), f)) {
			ours |= !strcmp(line, "Name:\txenpvh/9p\n");
			if (ours && sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1)
				sum += n;
		}
		if (f)
			fclose(f);
	}
	closedir(tasks);
	return sum;
}

static bool has_nowait(struct share *s)
{
	char byte;
	int fd = open(share_file(s, "f"), O_RDONLY);
	ssize_t n = preadv2(fd, &(struct iovec){&byte, 1}, 1, 0, RWF_NOWAIT);
	struct statfs st;

	assert_int_equal(fstatfs(fd, &st), 0);
	close(fd);
	return n == 1 || st.f_type == TMPFS_MAGIC;
}

static bool keeps_inodes(struct share *s)
{
	static const long known[] = {EXT4_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, 0x58465342};
	struct statfs st;

	assert_int_equal(statfs(s->path, &st), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (st.f_type == known[i])
			return true;
	return false;
}

/* Reads of what the host has in memory need no worker: none wakes up. */
static void reads_from_memory(void **state)
{
	struct share s;
	unsigned long before;
	uint32_t n = 5000;

	tb_skip_qemu("it always asks a worker");
	share_start(&s, state, PLAIN);
	tb_pattern(s.p.data, n, 3);
	assert_int_equal(g9p_walk(&s.p, ROOT, 1, ""), 0);
	assert_int_equal(g9p_lcreate(&s.p, 1, "f", O9_RDWR, 0600), 0);
	assert_int_equal(g9p_write(&s.p, 1, 0, &n), 0);
	if (!has_nowait(&s)) {
		print_message("reading without sleeping is not supported by the file system of the "
			      "tests\n");
		tb_stop(s.t);
		skip();
	}
	before = sleeps(&s);
	assert_true(before > 0);
	for (unsigned i = 0; i < 200; i++) {
		uint8_t want[5000];

		tb_pattern(want, sizeof(want), 3);
		n = 4096;
		memset(s.p.data, 0, 4096);
		assert_int_equal(g9p_read(&s.p, 1, i * 10, &n), 0);
		assert_int_equal(n, MIN(4096, 5000 - i * 10));
		assert_memory_equal(s.p.data, want + i * 10, n);
		n = 100;
		assert_int_equal(g9p_read(&s.p, 1, 5000 + i, &n), 0);
		assert_int_equal(n, 0);
	}
	/* A worker that had just done the write may have gone to sleep only now. */
	assert_in_range(sleeps(&s) - before, 0, 8);
	/* What is no such read is a worker's, and an error. */
	n = 10;
	assert_int_equal(g9p_read(&s.p, ROOT, 0, &n), EBADF);
	assert_int_equal(g9p_read(&s.p, 99, 0, &n), EBADF);
	assert_int_equal(g9p_read(&s.p, 1, UINT64_MAX, &n), EINVAL);
	assert_int_equal(g9p_walk(&s.p, ROOT, 2, ""), 0);
	assert_int_equal(g9p_lopen(&s.p, 2, O9_RDONLY), 0);
	assert_int_equal(g9p_read(&s.p, 2, 0, &n), EISDIR);
	assert_int_equal(g9p_walk(&s.p, ROOT, 3, "f"), 0);
	assert_int_equal(g9p_lopen(&s.p, 3, O9_WRONLY), 0);
	n = 10;
	assert_int_equal(g9p_read(&s.p, 3, 0, &n), EBADF);
	tb_stop(s.t);
}

/* Bulk data with many requests in one batch: a few need no worker, of many the rest goes to them;
 * what comes is what is asked for either way, and a flush in between finds its target. */
static void batches(void **state)
{
	enum { PIECE = 400000, MANY = 14 };
	static uint8_t data[PIECE + MANY * 1000];
	struct gseg buffer[MANY];
	struct g9p_req *r[MANY], *flush;
	unsigned long before = 0;
	struct share s;
	FILE *f;

	tb_skip_qemu("it always asks a worker");
	share_start(&s, state, PLAIN);
	tb_pattern(data, sizeof(data), 5);
	f = fopen(share_file(&s, "f"), "w");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, sizeof(data), f), sizeof(data));
	assert_int_equal(fclose(f), 0);
	if (!has_nowait(&s)) {
		print_message("reading without sleeping is not supported by the file system of the "
			      "tests\n");
		tb_stop(s.t);
		skip();
	}
	assert_int_equal(g9p_version(&s.p, 1 << 20), 0);
	assert_int_equal(g9p_do(&s.p, G9P_ATTACH, "ddssd", ROOT, ~0u, "", "", 0), 0);
	open_file(&s);
	for (unsigned i = 0; i < MANY; i++)
		buffer[i] = (struct gseg){guest_alloc(&s.t->g, PIECE, 4096), PIECE};
	for (unsigned round = 0; round < 60; round++) {
		unsigned n = round < 40 ? 5 : MANY;

		for (unsigned i = 0; i < n; i++) {
			memset(guest_ptr(&s.t->g, buffer[i].addr, PIECE), 0, PIECE);
			r[i] = g9p_prepare(&s.p, G9P_READ, "dqd", 1, i * 1000ULL, PIECE);
			g9p_queue(r[i], &buffer[i], 0, 1);
		}
		flush = round == 59 ? g9p_prepare(&s.p, G9P_FLUSH, "w", r[n - 1]->tag) : NULL;
		if (flush)
			g9p_queue(flush, NULL, 0, 0);
		g9p_kick(&s.p);
		for (unsigned i = 0; i < n - !!flush; i++) {
			assert_int_equal(g9p_wait(r[i]), 0);
			assert_int_equal(get_le32(r[i]->in + 7), PIECE);
			assert_memory_equal(guest_ptr(&s.t->g, buffer[i].addr, PIECE),
					    data + i * 1000, PIECE);
		}
		if (flush) {
			assert_int_equal(g9p_wait(flush), 0);
			assert_true(r[n - 1]->done);
		}
		if (round == 0)
			before = sleeps(&s);
		if (round == 39)
			assert_in_range(sleeps(&s) - before, 0, 8);
	}
	assert_true(sleeps(&s) - before > 8);
	share_again(&s);
	tb_stop(s.t);
}

/* So do writes where the host's file system knows how to; what the guest reads is what it wrote,
 * whoever was busy. */
static void writes_to_memory(void **state)
{
	static uint8_t want[300000];
	struct share s;
	unsigned long before;
	struct statfs st;
	uint32_t n;

	tb_skip_qemu("it always asks a worker");
	share_start(&s, state, PLAIN);
	assert_int_equal(statfs(s.path, &st), 0);
	assert_int_equal(g9p_walk(&s.p, ROOT, 1, ""), 0);
	assert_int_equal(g9p_lcreate(&s.p, 1, "f", O9_RDWR, 0600), 0);
	tb_pattern(want, sizeof(want), 9);
	before = sleeps(&s);
	for (unsigned i = 0; i < 100; i++) {
		n = 1 + i * 2999;
		memcpy(s.p.data, want + (sizeof(want) - n), n);
		assert_int_equal(g9p_write(&s.p, 1, sizeof(want) - n, &n), 0);
		assert_int_equal(n, 1 + i * 2999);
	}
	if (st.f_type == TMPFS_MAGIC)
		assert_in_range(sleeps(&s) - before, 0, 8);
	n = sizeof(want);
	assert_int_equal(g9p_read(&s.p, 1, 0, &n), 0);
	assert_int_equal(n, sizeof(want));
	n = 1 + 99 * 2999;
	assert_memory_equal(s.p.data + sizeof(want) - n, want + sizeof(want) - n, n);
	/* One that appends, and one that only reads. */
	assert_int_equal(g9p_walk(&s.p, ROOT, 2, "f"), 0);
	assert_int_equal(g9p_lopen(&s.p, 2, O9_WRONLY | O9_APPEND), 0);
	n = 10;
	assert_int_equal(g9p_write(&s.p, 2, 0, &n), 0);
	assert_int_equal(share_stat(&s, "f").st_size, sizeof(want) + 10);
	assert_int_equal(g9p_walk(&s.p, ROOT, 3, "f"), 0);
	assert_int_equal(g9p_lopen(&s.p, 3, O9_RDONLY), 0);
	n = 10;
	assert_int_equal(g9p_write(&s.p, 3, 0, &n), EBADF);
	tb_stop(s.t);
}

/* A look at a file that the host knows needs none either; so does one at a file that is not there,
 * once that is known. */
static void looks_from_memory(void **state)
{
	struct share s;
	struct g9p_attr a;
	unsigned long before;

	tb_skip_qemu("it always asks a worker");
	share_start(&s, state, PLAIN);
	if (!keeps_inodes(&s)) {
		print_message(
			"the file system of the tests is none that is known to keep inodes\n");
		tb_stop(s.t);
		skip();
	}
	assert_int_equal(mkdir(share_file(&s, "d"), 0700), 0);
	share_put(&s, "d/f", "0123456789");
	for (unsigned i = 0; i < 100; i++) {
		if (i == 2)
			before = sleeps(&s);
		assert_int_equal(g9p_walk(&s.p, ROOT, 1, "d/f"), 0);
		assert_int_equal(g9p_getattr(&s.p, 1, &a), 0);
		assert_int_equal(a.size, 10);
		assert_int_equal(a.ino, share_stat(&s, "d/f").st_ino);
		assert_int_equal(g9p_walk(&s.p, ROOT, 2, "d"), 0);
		assert_int_equal(g9p_walk(&s.p, 2, 4, ".."), 0);
		assert_int_equal(g9p_getattr(&s.p, 4, &a), 0);
		assert_int_equal(a.ino, share_stat(&s, "").st_ino);
		assert_int_equal(g9p_clunk(&s.p, 4), 0);
		assert_int_equal(g9p_walk(&s.p, 2, 2, "f"), 0);
		assert_int_equal(g9p_walk(&s.p, ROOT, 2, "d"), EINVAL);
		assert_int_equal(g9p_clunk(&s.p, 2), 0);
		assert_int_equal(g9p_clunk(&s.p, 2), EBADF);
		assert_int_equal(g9p_walk(&s.p, ROOT, 3, "absent"), ENOENT);
		assert_int_equal(g9p_walk(&s.p, 1, 3, "x"), ENOTDIR);
		assert_int_equal(g9p_walk(&s.p, ROOT, 3, "d/absent"), -1);
		assert_int_equal(g9p_clunk(&s.p, 1), 0);
	}
	assert_in_range(sleeps(&s) - before, 0, 8);
	/* What the host does meanwhile is seen. */
	share_put(&s, "absent", "");
	assert_int_equal(g9p_walk(&s.p, ROOT, 1, "absent"), 0);
	unlink(share_file(&s, "absent"));
	assert_int_equal(g9p_getattr(&s.p, 1, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(g9p_walk(&s.p, ROOT, 2, "absent"), ENOENT);
	assert_int_equal(g9p_clunk(&s.p, 1), 0);
	tb_stop(s.t);
}

static unsigned count_fds(struct share *s)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", s->t->g.pid);
	d = opendir(path);
	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* A fid that alone holds a long way of directories, and one whose directory is gone: all of it
 * ends with the fid. */
static void ways_end(void **state)
{
	struct share s;
	char name[256] = "";
	unsigned before;

	tb_skip_qemu("it holds no descriptors");
	share_start(&s, state, PLAIN);
	before = count_fds(&s);
	assert_int_equal(g9p_walk(&s.p, ROOT, 1, ""), 0);
	for (unsigned i = 0; i < 60; i++) {
		strcat(name, "d/");
		assert_int_equal(mkdir(share_file(&s, name), 0700), 0);
		assert_int_equal(g9p_walk(&s.p, 1, 1, "d"), 0);
	}
	assert_in_range(count_fds(&s), before + 60, before + 65);
	assert_int_equal(g9p_clunk(&s.p, 1), 0);
	assert_true(guest_wait(&s.t->g, count_fds(&s) <= before));
	share_put(&s, "d/f", "text");
	assert_int_equal(link(share_file(&s, "d/f"), share_file(&s, "other")), 0);
	assert_int_equal(rename(share_file(&s, "d/d"), share_file(&s, "e")), 0);
	assert_int_equal(g9p_walk(&s.p, ROOT, 1, "d/f"), 0);
	assert_int_equal(g9p_do(&s.p, G9P_UNLINKAT, "dsd", ROOT, "d", 0x200), ENOTEMPTY);
	unlink(share_file(&s, "d/f"));
	assert_int_equal(g9p_do(&s.p, G9P_UNLINKAT, "dsd", ROOT, "d", 0x200), 0);
	assert_int_equal(g9p_clunk(&s.p, 1), 0);
	assert_true(guest_wait(&s.t->g, count_fds(&s) <= before));
	share_again(&s);
	tb_stop(s.t);
}

/* Files that go away while the guest walks to them, in the same batch. */
static void looks_at_the_end(void **state)
{
	struct share s;
	struct g9p_req *r[3];
	int rc;

	tb_skip_qemu("it serves one after the other");
	share_start(&s, state, PLAIN);
	for (unsigned i = 0; i < 200; i++) {
		share_put(&s, "f", "text");
		r[0] = g9p_prepare(&s.p, G9P_UNLINKAT, "dsd", ROOT, "f", 0);
		r[1] = g9p_prepare(&s.p, G9P_WALK, "ddws", ROOT, 1, 1, "f");
		r[2] = g9p_prepare(&s.p, i % 2 ? G9P_CLUNK : G9P_GETATTR, i % 2 ? "d" : "dq", 1,
				   0x7ffULL);
		for (unsigned k = 0; k < ARRAY_SIZE(r); k++) {
			g9p_queue(r[k], NULL, 0, 0);
			if (i % 3 == 0)
				g9p_kick(&s.p);
		}
		g9p_kick(&s.p);
		assert_int_equal(g9p_wait(r[0]), 0);
		rc = g9p_wait(r[1]);
		assert_true(rc == 0 || rc == ENOENT);
		rc = g9p_wait(r[2]);
		assert_true(rc == 0 || rc == EBADF);
		g9p_clunk(&s.p, 1);
	}
	share_again(&s);
	tb_stop(s.t);
}

/* A read, and in the same batch what ends its fid, or its session. */
static void reads_at_the_end(void **state)
{
	struct share s;
	struct g9p_req *r, *end;
	int rc;

	tb_skip_qemu("it serves one after the other");
	share_start(&s, state, PLAIN);
	share_create(&s, "f", "text");
	for (unsigned i = 0; i < 200; i++) {
		open_file(&s);
		end = g9p_prepare(&s.p, G9P_CLUNK, "d", 1);
		g9p_queue(end, NULL, 0, 0);
		r = g9p_prepare(&s.p, G9P_READ, "dqd", 1, 0ULL, 64);
		g9p_queue(r, NULL, 0, 0);
		g9p_kick(&s.p);
		assert_int_equal(g9p_wait(end), 0);
		rc = g9p_wait(r);
		if (rc == 0)
			assert_memory_equal(r->in + 11, "text", 4);
		else
			assert_int_equal(rc, EBADF);
	}
	for (unsigned i = 0; i < 20; i++) {
		open_file(&s);
		r = g9p_prepare(&s.p, G9P_READ, "dqd", 1, 0ULL, 64);
		g9p_queue(r, NULL, 0, 0);
		end = g9p_prepare(&s.p, G9P_VERSION, "ds", 8192, "9P2000.L");
		g9p_queue(end, NULL, 0, 0);
		g9p_kick(&s.p);
		assert_int_equal(g9p_wait(end), 0);
		assert_int_equal(g9p_wait(r), 0);
		assert_memory_equal(r->in + 11, "text", 4);
		g9p_mount(&s.p, ROOT);
	}
	share_again(&s);
	tb_stop(s.t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		share_test(many_tags),	      share_test(flushes),
		share_test(reset_in_flight),  share_test(limits),
		share_test(few_files),	      share_test(reads_from_memory),
		share_test(writes_to_memory), share_test(looks_from_memory),
		share_test(looks_at_the_end), share_test(ways_end),
		share_test(reads_at_the_end), share_test(batches),
	};

	return tb_run("9p-load", tests);
}
