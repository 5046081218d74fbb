/* SPDX-License-Identifier: MIT */
/* unit_rng.c - entropy objects, their sources, and the rate limit */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "rng/quota.h"
#include "rng/rng.h"

static int setup(void **state)
{
	*state = rngs_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	rngs_free(*state);
	return 0;
}

static int add(struct rngs *rngs, const char *text, struct err *e)
{
	struct kvs k;
	int rc = kvs_parse(&k, "-object", text, "qom-type", e);

	if (!rc)
		rc = rng_add(rngs, &k, e);
	kvs_free(&k);
	return rc;
}

static void bad_options(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"rng-random", "'id' is missing"},
		{"rng-random,id=1", "expects an identifier"},
		{"rng-egd,id=r", "does not accept value 'rng-egd'"},
		{"rng-random,id=r,filename=/nonexistent",
		 "Could not open '/nonexistent': No such file"},
		{"rng-random,id=r,file=x", "'rng-random.file' not found"},
		{"rng-builtin,id=r,filename=/dev/zero", "'rng-builtin.filename' not found"},
		{"rng-builtin,id=there", "Duplicate ID 'there'"},
	};
	struct err e = {0};

	assert_int_equal(add(*state, "rng-builtin,id=there", &e), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		e.text[0] = '\0';
		if (add(*state, bad[i].text, &e) >= 0)
			fail_msg("'%s' was accepted", bad[i].text);
		if (!strstr(e.text, bad[i].says))
			fail_msg("'%s' says: %s", bad[i].text, e.text);
	}
}

static void unknown_object(void **state)
{
	struct rng_src s;
	struct err e;

	assert_int_equal(rng_src_open(&s, *state, "nope", &e), -ENODEV);
	assert_string_equal(e.text, "Property 'rng' can't find value 'nope'");
	assert_int_equal(s.fd, -1);
}

/* Read into three pieces; a piece left as it was would be a miracle of 2^-256. */
static void expect_random(struct rng_src *s)
{
	uint8_t buf[3][32] = {{0}}, none[32] = {0};
	struct iovec iov[3] = {{buf[0], 32}, {buf[1], 32}, {buf[2], 32}};

	assert_int_equal(rng_src_read(s, iov, 3), 96);
	for (unsigned i = 0; i < 3; i++)
		assert_memory_not_equal(buf[i], none, 32);
	assert_memory_not_equal(buf[0], buf[1], 32);
}

static void sources(void **state)
{
	static const char *const ids[] = {NULL, "b", "r"};
	struct rng_src s;
	struct err e;

	assert_int_equal(add(*state, "rng-builtin,id=b", &e), 0);
	assert_int_equal(add(*state, "rng-random,id=r", &e), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		assert_int_equal(rng_src_open(&s, *state, ids[i], &e), 0);
		expect_random(&s);
		rng_src_close(&s);
		rng_src_close(&s);
	}
}

/* A source that has nothing says so and never blocks; two users have a descriptor each; the
 * writer's end is the end. */
static void slow_source(void **state)
{
	char dir[] = "/tmp/xenpvh-rng-XXXXXX", path[64], text[128], buf[64];
	struct iovec iov = {buf, sizeof(buf)};
	struct rng_src a, b;
	struct err e;
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR);
	snprintf(text, sizeof(text), "rng-random,id=f,filename=%s", path);
	assert_int_equal(add(*state, text, &e), 0);
	assert_int_equal(rng_src_open(&a, *state, "f", &e), 0);
	assert_int_equal(rng_src_open(&b, *state, "f", &e), 0);
	assert_true(a.fd >= 0 && b.fd >= 0 && a.fd != b.fd);
	assert_int_equal(rng_src_read(&a, &iov, 1), -EAGAIN);
	assert_int_equal(write(fd, "12345", 5), 5);
	assert_int_equal(rng_src_read(&a, &iov, 1), 5);
	assert_memory_equal(buf, "12345", 5);
	assert_int_equal(rng_src_read(&b, &iov, 1), -EAGAIN);
	close(fd);
	assert_int_equal(rng_src_read(&b, &iov, 1), 0);
	rng_src_close(&a);
	rng_src_close(&b);
	unlink(path);
	rmdir(dir);
}

static void rate_limit(void **state)
{
	struct rng_quota q;

	rng_quota_init(&q, 100, 1000);
	assert_int_equal(rng_quota_left(&q, 5000), 100);
	rng_quota_take(&q, 60);
	assert_int_equal(rng_quota_left(&q, 5500), 40);
	rng_quota_take(&q, 40);
	assert_int_equal(rng_quota_left(&q, 5999), 0);
	assert_int_equal(q.end - 5999, 1);
	/* A new period, and what is not used is not saved. */
	assert_int_equal(rng_quota_left(&q, 6000), 100);
	assert_int_equal(rng_quota_left(&q, 9000), 100);
	rng_quota_take(&q, 100);
	assert_int_equal(rng_quota_left(&q, 9999), 0);
	assert_int_equal(rng_quota_left(&q, 10000), 100);
}

static void no_limit(void **state)
{
	struct rng_quota q;

	rng_quota_init(&q, INT64_MAX, 65536 * 1000000ULL);
	for (uint64_t now = 1; now < 1000; now++) {
		assert_true(rng_quota_left(&q, now) > 1ULL << 40);
		rng_quota_take(&q, 65536);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(bad_options), T(unknown_object), T(sources),
		T(slow_source), T(rate_limit),	   T(no_limit),
	};

	return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
