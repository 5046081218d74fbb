/* SPDX-License-Identifier: MIT */
/* dev_rng.c - virtio-rng as a driver sees it */
#include <fcntl.h>
#include <sys/stat.h>

#include "tb.h"

static void rng(struct tb *t, const char *props)
{
	tb_device(t, "virtio-rng-pci%s", props);
	tb_start(t);
	grng_open(&t->g, &t->rng, 0);
}

static void works(struct tb *t)
{
	uint8_t buf[64], none[64] = {0};

	assert_int_equal(grng_read(&t->rng, buf, sizeof(buf), GUEST_WAIT_MS), sizeof(buf));
	assert_memory_not_equal(buf, none, sizeof(buf));
}

static void entropy(void **state)
{
	struct tb *t = *state;
	uint8_t buf[4096];

	rng(t, "");
	works(t);
	assert_int_equal(grng_read(&t->rng, buf, sizeof(buf), GUEST_WAIT_MS), sizeof(buf));
	tb_stop(t);
}

static void from_object(void **state)
{
	struct tb *t = *state;

	tb_arg(t, "-object");
	tb_arg(t, "rng-random,id=r0,filename=/dev/urandom");
	rng(t, ",rng=r0");
	works(t);
	tb_stop(t);
}

/* 100 bytes in each period: what is too much is not answered before the next one. */
static void rate_limit(void **state)
{
	struct tb *t = *state;
	uint64_t begin = now_ns(), given = 0, periods;
	uint8_t buf[64];

	rng(t, ",max-bytes=100,period=50");
	for (unsigned i = 0; i < 12; i++) {
		int n = grng_read(&t->rng, buf, sizeof(buf), GUEST_WAIT_MS);

		assert_in_range(n, 1, sizeof(buf));
		given += (uint64_t)n;
	}
	periods = (now_ns() - begin) / 50000000 + 2;
	assert_true(given <= periods * 100);
	assert_true(given > 400);
	tb_stop(t);
}

/* A reset while requests wait for the next period is complete at once, and the device serves
 * again. */
static void reset_while_waiting(void **state)
{
	struct tb *t = *state;
	struct gseg s;
	uint8_t buf[16];

	rng(t, ",max-bytes=16,period=3600000");
	assert_int_equal(grng_read(&t->rng, buf, 16, GUEST_WAIT_MS), 16);
	s = (struct gseg){t->rng.at, 16};
	for (unsigned i = 0; i < 4; i++)
		assert_true(gvq_add(&t->rng.q, &s, 0, 1, NULL) >= 0);
	gvq_kick(&t->rng.q);
	guest_sync(&t->g);
	gv_reset(&t->rng.v);
	assert_int_equal(gvq_used_idx(&t->rng.q), 1);
	tb_stop(t);
}

/* A source without bytes holds nothing up; when some come, they are delivered. */
static void slow_source(void **state)
{
	struct tb *t = *state;
	char path[64], buf[16];
	int fd;

	tb_skip_qemu("it reads such files differently");
	snprintf(path, sizeof(path), "%s/fifo", t->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	tb_arg(t, "-object");
	tb_arg(t, "rng-random,id=r0,filename=%s", path);
	rng(t, ",rng=r0");
	assert_int_equal(grng_read(&t->rng, buf, sizeof(buf), 50), -1);
	assert_int_equal(write(fd, "0123456789", 10), 10);
	assert_int_equal(gvq_wait(&t->rng.q, NULL), 10);
	assert_memory_equal(guest_ptr(&t->g, t->rng.at, 10), "0123456789", 10);
	close(fd);
	tb_stop(t);
}

/* A request of hundreds of megabytes costs no memory and holds nobody up: it gets a share. */
static void huge_request(void **state)
{
	struct tb *t = *state;
	struct gseg s[8]; /* as many as the queue has entries */
	uint32_t len;

	rng(t, "");
	/* The upper half of RAM, where the driver has nothing, again and again. */
	for (unsigned i = 0; i < ARRAY_SIZE(s); i++) {
		s[i].len = (uint32_t)guest_low_end(&t->g) / 2;
		s[i].addr = s[i].len;
	}
	tb_skip_qemu("it fills all that it is asked for");
	assert_true(gvq_add(&t->rng.q, s, 0, ARRAY_SIZE(s), NULL) >= 0);
	gvq_kick(&t->rng.q);
	len = gvq_wait(&t->rng.q, NULL);
	assert_in_range(len, 1, 64 * KiB);
	works(t);
	tb_stop(t);
}

/* Readable where writable is meant, and nothing at all. */
static void odd_requests(void **state)
{
	struct tb *t = *state;
	struct gseg s;

	rng(t, "");
	s = (struct gseg){t->rng.at, 16};
	tb_skip_qemu("it waits for ever");
	assert_true(gvq_add(&t->rng.q, &s, 1, 0, NULL) >= 0);
	gvq_kick(&t->rng.q);
	assert_int_equal(gvq_wait(&t->rng.q, NULL), 0);
	works(t);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(entropy),      tb_test(from_object),
		tb_test(rate_limit),   tb_test(reset_while_waiting),
		tb_test(slow_source),  tb_test(huge_request),
		tb_test(odd_requests),
	};

	return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
