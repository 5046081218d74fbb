/* SPDX-License-Identifier: MIT */
/* unit_block_uring.c - a disk whose ring fails for good: each request is done once all the same
 *
 * io_uring_submit() is the linker's --wrap: it hands over as many requests as a test says, and then
 * fails.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <liburing.h>

#include "base/util.h"
#include "block/internal.h"

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

static int fails_with;	  /* 0: it does not */
static unsigned takes;	  /* so many requests first */
static unsigned refusals; /* calls that failed */

int __wrap_io_uring_submit(struct io_uring *ring)
{
	unsigned tail = ring->sq.sqe_tail, queued = io_uring_sq_ready(ring);

	if (!fails_with)
		return __real_io_uring_submit(ring);
	refusals++;
	if (takes) {
		ring->sq.sqe_tail = tail - queued + MIN(takes, queued);
		takes = 0;
		__real_io_uring_submit(ring);
		ring->sq.sqe_tail = tail;
	}
	return fails_with;
}

#define WRITES 40
#define BLOCK  4096

struct write {
	struct block_req r;
	struct iovec iov;
	unsigned done;
	int rc;
};

static void write_done(struct block_req *r, int rc)
{
	struct write *w = container_of(r, struct write, r);

	w->done++;
	w->rc = rc;
}

static void disk_writes(struct loop *l, struct block_queue *q, int fd, uint8_t seed)
{
	static uint8_t data[WRITES][BLOCK], back[BLOCK];
	static struct write w[WRITES];

	for (unsigned i = 0; i < WRITES; i++) {
		memset(data[i], (int)(seed + i), BLOCK);
		w[i] = (struct write){.iov = {data[i], BLOCK}};
		w[i].r = (struct block_req){.op = BLOCK_WRITE,
					    .offset = i * BLOCK,
					    .len = BLOCK,
					    .iov = &w[i].iov,
					    .iovcnt = 1,
					    .done = write_done};
		block_submit(q, &w[i].r);
	}
	for (int timeout = 0; block_inflight(q); timeout = -1)
		loop_turn(l, timeout);
	for (unsigned i = 0; i < WRITES; i++) {
		assert_int_equal(w[i].done, 1);
		assert_int_equal(w[i].rc, 0);
		assert_int_equal(pread(fd, back, BLOCK, (off_t)i * BLOCK), BLOCK);
		assert_memory_equal(back, data[i], BLOCK);
	}
}

/* It takes some of the requests and then no more, for good: each is done once, by the ring or by
 * the workers. */
static void disk_with(unsigned taken, const char *direct)
{
	struct block_use use = {.user = "test", .block_size = BLOCK};
	char path[] = "/var/tmp/unit_rings.XXXXXX", text[256];
	struct loop *l = loop_new("test");
	struct blocks *bs = blocks_new();
	struct block_queue *q;
	struct kvs k = {0};
	struct block *b;
	struct err e;
	int fd = mkstemp(path);

	fails_with = 0;
	refusals = 0;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, WRITES * BLOCK), 0);
	snprintf(text, sizeof(text), "driver=file,node-name=f,filename=%s,cache.direct=%s", path,
		 direct);
	assert_int_equal(kvs_parse(&k, "-blockdev", text, NULL, &e), 0);
	assert_int_equal(blocks_add_node(bs, &k, &e), 0);
	kvs_free(&k);
	b = block_find(bs, "f");
	assert_int_equal(block_attach(b, &use, &e), 0);
	q = block_queue_new(b, l, &e);
	disk_writes(l, q, fd, 1);
	takes = taken;
	fails_with = -ENXIO;
	disk_writes(l, q, fd, 100);
	assert_int_equal(refusals, 1);
	disk_writes(l, q, fd, 200);
	assert_int_equal(refusals, 1); /* it is not asked again */
	block_queue_free(q);
	block_detach(b);
	blocks_free(bs);
	loop_free(l);
	close(fd);
	unlink(path);
}

static void disk_takes_nothing(void **state)
{
	disk_with(0, "off");
	disk_with(0, "on");
}

static void disk_takes_some(void **state)
{
	disk_with(7, "off");
	disk_with(7, "on");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disk_takes_nothing),
		cmocka_unit_test(disk_takes_some),
	};

	return cmocka_run_group_tests_name("block_uring", tests, NULL, NULL);
}
