/* SPDX-License-Identifier: MIT */
/* unit_iov.c - every part of a scattered array, against the array joined */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/iov.h"
#include "base/util.h"

#define TOTAL 9 /* bytes: 2, none, 3, 1, none, 3 */

/* "abcdefghi" with gaps of '.' between the elements. */
struct scattered {
	char mem[14];
	struct iovec iov[6];
};

static void scatter(struct scattered *s)
{
	memcpy(s->mem, "ab.cde.f.ghi..", sizeof(s->mem));
	s->iov[0] = (struct iovec){s->mem, 2};
	s->iov[1] = (struct iovec){NULL, 0};
	s->iov[2] = (struct iovec){s->mem + 3, 3};
	s->iov[3] = (struct iovec){s->mem + 7, 1};
	s->iov[4] = (struct iovec){s->mem + 8, 0};
	s->iov[5] = (struct iovec){s->mem + 9, 3};
}

/* Bytes of [skip, skip + len) that are there. */
static size_t there(size_t skip, size_t len)
{
	return skip > TOTAL ? 0 : MIN(len, TOTAL - skip);
}

#define FOR_PARTS(skip, len)                               \
	for (size_t skip = 0; skip <= TOTAL + 1; (skip)++) \
		for (size_t len = 0; len <= TOTAL + 2; (len)++)

static void to_buf(void **state)
{
	struct scattered s;

	scatter(&s);
	assert_int_equal(iov_len(s.iov, 6), TOTAL);
	assert_int_equal(iov_len(s.iov, 0), 0);
	FOR_PARTS (skip, len) {
		char got[TOTAL + 3] = "";
		size_t n = there(skip, len);

		assert_int_equal(iov_to_buf(s.iov, 6, skip, got, len), n);
		assert_memory_equal(got, &"abcdefghi"[MIN(skip, TOTAL)], n);
		assert_int_equal(got[n], 0);
	}
}

static void from_buf(void **state)
{
	FOR_PARTS (skip, len) {
		char want[TOTAL + 1] = "abcdefghi", got[TOTAL];
		size_t n = there(skip, len);
		struct scattered s;

		scatter(&s);
		assert_int_equal(iov_from_buf(s.iov, 6, skip, "123456789012", len), n);
		memcpy(want + MIN(skip, TOTAL), "123456789012", n);
		iov_to_buf(s.iov, 6, 0, got, TOTAL);
		assert_memory_equal(got, want, TOTAL);
		/* And nothing beside it. */
		assert_true(s.mem[2] == '.' && s.mem[6] == '.' && s.mem[8] == '.' &&
			    s.mem[12] == '.');
	}
}

static void slice(void **state)
{
	struct scattered s;

	scatter(&s);
	FOR_PARTS (skip, len) {
		for (unsigned max = 0; max <= 5; max++) {
			struct iovec out[5];
			char got[TOTAL];
			uint64_t bytes = 99;
			unsigned n = iov_slice(s.iov, 6, skip, len, out, max, &bytes);

			assert_true(n <= max);
			assert_int_equal(iov_len(out, n), bytes);
			for (unsigned i = 0; i < n; i++)
				assert_true(out[i].iov_len);
			/* Four elements hold something. */
			if (max >= 4)
				assert_int_equal(bytes, there(skip, len));
			else if (n < max)
				assert_int_equal(bytes, there(skip, len));
			iov_to_buf(out, n, 0, got, bytes);
			assert_memory_equal(got, &"abcdefghi"[MIN(skip, TOTAL)], bytes);
		}
	}
}

static void zeroes(void **state)
{
	FOR_PARTS (skip, len) {
		char want[TOTAL + 1] = "abcdefghi", got[TOTAL];
		size_t n = there(skip, len);
		struct scattered s;

		scatter(&s);
		assert_int_equal(iov_is_zero(s.iov, 6, skip, len), n == 0);
		iov_zero(s.iov, 6, skip, len);
		assert_true(iov_is_zero(s.iov, 6, skip, len));
		memset(want + MIN(skip, TOTAL), 0, n);
		iov_to_buf(s.iov, 6, 0, got, TOTAL);
		assert_memory_equal(got, want, TOTAL);
		if (n && skip)
			assert_false(iov_is_zero(s.iov, 6, skip - 1, n + 1));
		if (n && skip + n < TOTAL)
			assert_false(iov_is_zero(s.iov, 6, skip, n + 1));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(to_buf),
		cmocka_unit_test(from_buf),
		cmocka_unit_test(slice),
		cmocka_unit_test(zeroes),
	};

	return cmocka_run_group_tests_name("iov", tests, NULL, NULL);
}
