/* SPDX-License-Identifier: MIT */
/* unit_kvs.c - key=value lists, plain and JSON */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/kvs.h"

/* The list as `key=value` lines joined by '|', so that a test reads as one line. */
static char *joined(const struct kvs *k)
{
	char *text = calloc(1, 4096);

	for (unsigned i = 0; i < k->n; i++) {
		if (i)
			strcat(text, "|");
		strcat(text, k->v[i].key);
		strcat(text, "=");
		strcat(text, k->v[i].value);
	}
	return text;
}

static void expect(const char *text, const char *implied, const char *want)
{
	struct err e = {0};
	struct kvs k;
	char *got;

	assert_int_equal(kvs_parse(&k, "-x", text, implied, &e), 0);
	got = joined(&k);
	assert_string_equal(got, want);
	free(got);
	kvs_free(&k);
}

static void refuse(const char *text, const char *want)
{
	struct err e = {0};
	struct kvs k;

	assert_true(kvs_parse(&k, "-x", text, "type", &e) < 0);
	if (!strstr(e.text, want))
		fail_msg("'%s' gave '%s', wanted '%s'", text, e.text, want);
	kvs_free(&k);
}

static void plain(void **state)
{
	expect("", NULL, "");
	expect("a=1,b=2", NULL, "a=1|b=2");
	expect("tap,id=n0", "type", "type=tap|id=n0");
	expect("type=tap,id=n0", "type", "type=tap|id=n0");
	expect("tap,id=n0,", "type", "type=tap|id=n0");
	expect("a=", NULL, "a=");
	expect("a=b=c", NULL, "a=b=c");
	expect("a=1,a=2", NULL, "a=1|a=2");
}

static void commas(void **state)
{
	expect("file=/a,,b,id=d", NULL, "file=/a,b|id=d");
	expect("file=/a,,,id=d", NULL, "file=/a,|id=d");
	expect("file=,,,,", NULL, "file=,,");
	expect("a,,b,id=d", "file", "file=a,b|id=d");
}

static void words(void **state)
{
	expect("socket,server,nowait", "backend", "backend=socket|server=on|wait=off");
	expect("x", NULL, "x=on");
	expect("no", NULL, "no=on");
	expect("virtio-blk-pci,help", "driver", "driver=virtio-blk-pci|help=on");
}

static void json(void **state)
{
	expect("{}", NULL, "");
	expect("{\"driver\": \"x\", \"n\": 5, \"b\": true, \"c\": false, \"m\": -1}", NULL,
	       "driver=x|n=5|b=on|c=off|m=-1");
	expect("{\"file\": {\"driver\": \"file\", \"filename\": \"/a,b\"}, \"l\": [1, [\"z\"]]}",
	       NULL, "file.driver=file|file.filename=/a,b|l.0=1|l.1.0=z");
	expect("{\"x\": 1.5}", NULL, "x=1.5");
}

static void bad(void **state)
{
	char *deep = calloc(1, 200), *big = malloc(70000), *many = calloc(1, 6000);

	refuse("a=1,=2", "Invalid parameter ''");
	refuse("{", "JSON parse error");
	refuse("{\"a\": 1} x", "JSON parse error");
	refuse("{\"a\": 1, \"a\": 2}", "duplicate");
	refuse("{\"a\": null}", "'a' does not accept value 'null'");
	refuse("{\"\": 1}", "Invalid parameter ''");
	for (int i = 0; i < 20; i++)
		strcat(deep, "{\"a\":");
	strcat(deep, "1");
	for (int i = 0; i < 20; i++)
		strcat(deep, "}");
	refuse(deep, "nesting depth");
	memset(big, 'a', 69999);
	big[69999] = '\0';
	refuse(big, "Too long");
	for (int i = 0; i < 1500; i++)
		strcat(many, "a=,");
	refuse(many, "Too long");
	free(deep);
	free(big);
	free(many);
}

static void lookup(void **state)
{
	struct err e = {0};
	struct kvs k;

	assert_int_equal(kvs_parse(&k, "-device", "d,a=1,b=2,a=3", "driver", &e), 0);
	assert_string_equal(k.origin, "-device d,a=1,b=2,a=3");
	assert_string_equal(kvs_unused(&k), "driver");
	assert_string_equal(kvs_get(&k, "driver"), "d");
	assert_string_equal(kvs_get(&k, "a"), "3");
	assert_string_equal(kvs_unused(&k), "b");
	assert_null(kvs_get(&k, "c"));
	assert_string_equal(kvs_get(&k, "b"), "2");
	assert_null(kvs_unused(&k));
	assert_int_equal(kvs_add(&k, "c", "4"), 0);
	assert_string_equal(kvs_get(&k, "c"), "4");
	kvs_free(&k);
	kvs_free(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain), cmocka_unit_test(commas), cmocka_unit_test(words),
		cmocka_unit_test(json),	 cmocka_unit_test(bad),	   cmocka_unit_test(lookup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
