/* SPDX-License-Identifier: MIT */
/* unit_hash.c - the keyed hash, and tables whose chains stay short whatever the keys are */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/util.h"

/* Values of another implementation: `openssl mac -macopt size:8 -macopt c-rounds:1 -macopt
 * d-rounds:3 SIPHASH`, key and data 0, 1, 2, ... */
static void vectors(void **state)
{
	static const struct {
		size_t len;
		uint64_t hash;
	} known[] = {
		{0, 0xabac0158050fc4dc}, {1, 0xc9f49bf37d57ca93},  {7, 0xd3927d989bb11140},
		{8, 0x369095118d299a8e}, {15, 0xd320d86d2a519956}, {24, 0xf464aeb267349c8c},
	};
	struct hash_key key = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};
	uint8_t data[32];

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		assert_true(hash_bytes(&key, data, known[i].len) == known[i].hash);
}

static void keys_differ(void **state)
{
	struct hash_key a, b;

	assert_int_equal(hash_key_make(&a), 0);
	assert_int_equal(hash_key_make(&b), 0);
	assert_memory_not_equal(&a, &b, sizeof(a));
	assert_true(hash_bytes(&a, "x", 1) != hash_bytes(&b, "x", 1));
}

struct item {
	struct hash_entry entry;
	unsigned value;
};

static void tables(void **state)
{
	enum { N = 1000 };
	struct item *items = calloc(N, sizeof(*items));
	struct hash_table t;
	size_t from = 0;
	unsigned left = 0;

	assert_int_equal(hash_table_init(&t), 0);
	assert_null(hash_table_first(&t, 5));
	hash_table_del(&t, &items[0].entry); /* in no table */
	for (unsigned i = 0; i < N; i++) {
		items[i].value = i;
		/* Two of each hash, and all in few chains. */
		hash_table_add(&t, &items[i].entry, (uint64_t)(i / 2) << 20);
	}
	assert_int_equal(t.n, N);
	assert_int_equal(hash_table_longest(&t), N);
	for (unsigned i = 0; i < N; i += 2) {
		struct hash_entry *e = hash_table_first(&t, (uint64_t)(i / 2) << 20);
		unsigned sum = 0;

		for (; e; e = hash_table_next(e))
			sum += container_of(e, struct item, entry)->value;
		assert_int_equal(sum, 2 * i + 1);
	}
	for (unsigned i = 0; i < N; i += 3) {
		hash_table_del(&t, &items[i].entry);
		hash_table_del(&t, &items[i].entry);
	}
	for (struct hash_entry *e; (e = hash_table_pop(&t, &from)); left++)
		assert_int_not_equal(container_of(e, struct item, entry)->value % 3, 0);
	assert_int_equal(left, N - (N + 2) / 3);
	assert_int_equal(t.n, 0);
	hash_table_fini(&t);
	free(items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors),
		cmocka_unit_test(keys_differ),
		cmocka_unit_test(tables),
	};

	return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
