/* SPDX-License-Identifier: MIT */
/* unit_block_drain.c - an error of write-back reaches the guest, whoever has met it
 *
 * The kernel tells a write-back error once per open file. When the flush of a `stop` meets it, or
 * what another disk on the same image synchronizes, the guest's next flush of each disk has to fail
 * for it. fdatasync() and pwritev2() (pwritev64v2() is its name for large files) are the linker's
 * --wrap here.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "block/block.h"

#define DISK 65536

static atomic_int next_error; /* what the next one that synchronizes fails with, once */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
	int err = atomic_exchange(&next_error, 0);

	if (!err)
		return __real_fdatasync(fd);
	errno = err;
	return -1;
}

ssize_t __real_pwritev64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags);

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	int err = flags & RWF_DSYNC ? atomic_exchange(&next_error, 0) : 0;

	if (!err)
		return __real_pwritev64v2(fd, iov, n, offset, flags);
	errno = err;
	return -1;
}

struct fixture {
	struct loop *loop;
	struct blocks *bs;
	struct block *b[2];
	struct block_queue *q[2];
	char path[64];
};

static void disk_open(struct fixture *f, unsigned i, const char *option, const char *line)
{
	struct block_use use = {
		.user = i ? "second" : "first", .block_size = 512, .share_rw = true};
	char name[] = {'d', (char)('0' + i), 0};
	struct err e = {0};
	struct kvs k;

	assert_int_equal(kvs_parse(&k, option, line, NULL, &e), 0);
	if (blocks_add_node(f->bs, &k, &e) < 0)
		fail_msg("%s: %s", line, e.text);
	kvs_free(&k);
	f->b[i] = block_find(f->bs, name);
	if (!f->b[i])
		return;
	assert_int_equal(block_attach(f->b[i], &use, &e), 0);
	f->q[i] = block_queue_new(f->b[i], f->loop, &e);
	assert_non_null(f->q[i]);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	snprintf(f->path, sizeof(f->path), "/var/tmp/unit_block_drain.XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK), 0);
	close(fd);
	f->loop = loop_new("test");
	f->bs = blocks_new();
	next_error = 0;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 2; i++)
		if (f->b[i]) {
			block_queue_free(f->q[i]);
			block_detach(f->b[i]);
		}
	blocks_free(f->bs);
	loop_free(f->loop);
	unlink(f->path);
	free(f);
	return 0;
}

/* One disk, or two on the same image. */
static void disks_open(struct fixture *f, bool direct, unsigned n)
{
	char line[256];

	snprintf(line, sizeof(line),
		 "driver=file,node-name=file,filename=%s,aio=threads,cache.direct=%s", f->path,
		 direct ? "on" : "off");
	disk_open(f, 0, "-blockdev", line);
	for (unsigned i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "driver=raw,node-name=d%u,file=file", i);
		disk_open(f, i, "-blockdev", line);
	}
}

struct request {
	struct block_req r;
	int ret;
	bool done;
};

static void request_done(struct block_req *r, int ret)
{
	struct request *q = container_of(r, struct request, r);

	q->ret = ret;
	q->done = true;
}

static int request_run(struct fixture *f, unsigned i, struct request *q)
{
	q->r.done = request_done;
	block_submit(f->q[i], &q->r);
	for (int timeout = 0; !q->done; timeout = -1)
		loop_turn(f->loop, timeout);
	return q->ret;
}

static int guest_flush(struct fixture *f, unsigned i)
{
	struct request q = {.r = {.op = BLOCK_FLUSH}};

	return request_run(f, i, &q);
}

/* A write that is to be stable when it is done. */
static int guest_write(struct fixture *f, unsigned i)
{
	static uint8_t data[4096];
	struct iovec iov = {data, sizeof(data)};
	struct request q = {.r = {.op = BLOCK_WRITE,
				  .flags = BLOCK_FUA,
				  .len = sizeof(data),
				  .iov = &iov,
				  .iovcnt = 1}};

	return request_run(f, i, &q);
}

struct drained {
	bool done;
	int rc;
};

static void on_drained(void *arg, int rc)
{
	*(struct drained *)arg = (struct drained){true, rc};
}

static int drain_disks(struct fixture *f)
{
	struct drained d = {0};

	assert_int_equal(blocks_drain(f->bs, f->loop, on_drained, &d), 0);
	while (!d.done)
		loop_turn(f->loop, -1);
	return d.rc;
}

/* Through the page cache the data may be gone: no flush may succeed any more. */
static void error_of_a_stop_is_kept(void **state)
{
	struct fixture *f = *state;

	disks_open(f, false, 1);
	assert_int_equal(guest_flush(f, 0), 0);
	next_error = EIO;
	assert_int_equal(drain_disks(f), -EIO);
	assert_int_equal(guest_flush(f, 0), -EIO);
	assert_int_equal(guest_flush(f, 0), -EIO);
}

/* Past the page cache the guest is told once, and its next flush asks the disk again. */
static void direct_disk_is_told_once(void **state)
{
	struct fixture *f = *state;

	disks_open(f, true, 1);
	next_error = ENOSPC;
	assert_int_equal(drain_disks(f), -ENOSPC);
	assert_int_equal(guest_flush(f, 0), -ENOSPC);
	assert_int_equal(guest_flush(f, 0), 0);
}

/* Both disks on the image: a flush of each fails, once or for good. */
static void both_are_told(struct fixture *f, int rc, bool for_good)
{
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(guest_flush(f, i), rc);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(guest_flush(f, i), for_good ? rc : 0);
}

static void each_disk_is_told_of_a_stop(void **state)
{
	struct fixture *f = *state;

	disks_open(f, true, 2);
	for (unsigned round = 0; round < 3; round++) {
		next_error = EIO;
		assert_int_equal(drain_disks(f), -EIO);
		assert_int_equal(drain_disks(f), 0);
		both_are_told(f, -EIO, false);
	}
}

/* The error that one disk's flush has met is not there for the other's. */
static void each_disk_is_told_of_a_flush(void **state)
{
	struct fixture *f = *state;

	disks_open(f, true, 2);
	next_error = EIO;
	assert_int_equal(guest_flush(f, 0), -EIO);
	assert_int_equal(guest_flush(f, 0), 0);
	assert_int_equal(guest_flush(f, 1), -EIO);
	assert_int_equal(guest_flush(f, 1), 0);
}

/* A stable write meets the errors of the writes before it, too. */
static void each_disk_is_told_of_a_write(void **state)
{
	struct fixture *f = *state;

	disks_open(f, true, 2);
	next_error = EIO;
	assert_int_equal(guest_write(f, 1), -EIO);
	both_are_told(f, -EIO, false);
}

/* Through the page cache it is lost, but for want of room the write alone may have failed. */
static void cached_disks_are_told_of_a_write(void **state)
{
	struct fixture *f = *state;

	disks_open(f, false, 2);
	next_error = ENOSPC;
	assert_int_equal(guest_write(f, 1), -ENOSPC);
	both_are_told(f, -ENOSPC, false);
	next_error = EIO;
	assert_int_equal(guest_write(f, 1), -EIO);
	both_are_told(f, -EIO, true);
}

static void good_stop_leaves_no_error(void **state)
{
	struct fixture *f = *state;

	disks_open(f, false, 1);
	assert_int_equal(drain_disks(f), 0);
	assert_int_equal(guest_flush(f, 0), 0);
}

int main(void)
{
#define DRAIN_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		DRAIN_TEST(error_of_a_stop_is_kept),
		DRAIN_TEST(direct_disk_is_told_once),
		DRAIN_TEST(each_disk_is_told_of_a_stop),
		DRAIN_TEST(each_disk_is_told_of_a_flush),
		DRAIN_TEST(each_disk_is_told_of_a_write),
		DRAIN_TEST(cached_disks_are_told_of_a_write),
		DRAIN_TEST(good_stop_leaves_no_error),
	};

	return cmocka_run_group_tests_name("block_drain", tests, NULL, NULL);
}
