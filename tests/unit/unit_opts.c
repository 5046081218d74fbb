/* SPDX-License-Identifier: MIT */
/* unit_opts.c - typed options and the scalar parsers */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "conf/opts.h"

struct thing {
	bool flag;
	uint8_t tri;
	uint64_t count, size;
	int64_t offset;
	char *name;
	unsigned kind;
	uint8_t mac[6];
	int addr;
	struct kvs tree;
};

static const char *const kinds[] = {"raw", "host", NULL};

static const struct opt rows[] = {
	{"flag", OPT_BOOL, offsetof(struct thing, flag), .def = "on", .help = "a flag"},
	{"tri", OPT_ONOFFAUTO, offsetof(struct thing, tri), .def = "auto", .help = "three states"},
	{"count", OPT_UINT, offsetof(struct thing, count), 1, 16, "4", .help = "a number"},
	{"size", OPT_SIZE, offsetof(struct thing, size), .help = "a size"},
	{"offset", OPT_INT, offsetof(struct thing, offset), (uint64_t)-5, 5, .help = "signed"},
	{"kind", OPT_ENUM, offsetof(struct thing, kind), .values = kinds, .def = "host",
	 .help = "a choice"},
	{"legacy", OPT_IGNORED},
	OPT_END,
};
static const struct opt more_rows[] = {
	{"name", OPT_STRING, offsetof(struct thing, name), .required = true, .help = "a name"},
	{"mac", OPT_MAC, offsetof(struct thing, mac), .help = "an address"},
	{"addr", OPT_PCI_ADDR, offsetof(struct thing, addr), .help = "a place"},
	{"tree", OPT_TREE, offsetof(struct thing, tree), .help = "a list of things"},
	OPT_END,
};
static const struct opt *const tables[] = {rows, more_rows, NULL};

static int apply(struct thing *t, const char *text, struct err *e)
{
	struct kvs k;
	int rc;

	memset(t, 0, sizeof(*t));
	memset(e, 0, sizeof(*e));
	assert_int_equal(kvs_parse(&k, "-x", text, NULL, e), 0);
	rc = opts_apply(tables, &k, t, e);
	if (!rc)
		assert_null(kvs_unused(&k));
	kvs_free(&k);
	return rc;
}

static void refuse(const char *text, const char *want)
{
	struct thing t;
	struct err e;

	if (!apply(&t, text, &e))
		fail_msg("'%s' was accepted", text);
	if (!strstr(e.text, want))
		fail_msg("'%s' gave '%s', wanted '%s'", text, e.text, want);
	opts_release(tables, &t);
}

static void defaults(void **state)
{
	struct thing t;
	struct err e;

	assert_int_equal(apply(&t, "name=n", &e), 0);
	assert_true(t.flag);
	assert_int_equal(t.tri, OPT_AUTO);
	assert_int_equal(t.count, 4);
	assert_int_equal(t.size, 0);
	assert_int_equal(t.offset, 0);
	assert_int_equal(t.kind, 1);
	assert_int_equal(t.addr, -1);
	assert_string_equal(t.name, "n");
	opts_release(tables, &t);
	assert_null(t.name);
}

/* What is below a name goes to it alone, in order, and counts as used. */
static void tree(void **state)
{
	struct thing t;
	struct err e;

	assert_int_equal(
		apply(&t,
		      "{\"name\": \"n\", \"tree\": [{\"a\": 1, \"b\": [2, 3]}, {\"a\": \"x\"}]}",
		      &e),
		0);
	assert_int_equal(t.tree.n, 4);
	assert_string_equal(kvs_get(&t.tree, "0.a"), "1");
	assert_string_equal(kvs_get(&t.tree, "0.b.0"), "2");
	assert_string_equal(kvs_get(&t.tree, "0.b.1"), "3");
	assert_string_equal(kvs_unused(&t.tree), "1.a");
	assert_string_equal(t.name, "n");
	opts_release(tables, &t);
	assert_int_equal(t.tree.n, 0);
	refuse("name=n,tree=x", "Parameter 'tree' does not accept value 'x' (accepted: JSON)");
}

static void given(void **state)
{
	static const uint8_t mac[6] = {0x00, 0x16, 0x3e, 0x5c, 0x81, 0xff};
	struct thing t;
	struct err e;

	assert_int_equal(apply(&t,
			       "flag=no,tri=y,count=0x10,size=1.5k,offset=-5,kind=raw,name=,"
			       "mac=00:16:3e:5c:81:FF,addr=1f.7,legacy=whatever",
			       &e),
			 0);
	assert_false(t.flag);
	assert_int_equal(t.tri, OPT_ON);
	assert_int_equal(t.count, 16);
	assert_int_equal(t.size, 1536);
	assert_int_equal(t.offset, -5);
	assert_int_equal(t.kind, 0);
	assert_memory_equal(t.mac, mac, 6);
	assert_int_equal(t.addr, 0xff);
	assert_string_equal(t.name, "");
	opts_release(tables, &t);
	assert_int_equal(apply(&t, "name=n,addr=3", &e), 0);
	assert_int_equal(t.addr, 3 << 3);
	opts_release(tables, &t);
}

static void bad(void **state)
{
	refuse("", "Parameter 'name' is missing");
	refuse("name=n,flag=maybe", "Parameter 'flag' expects 'on' or 'off'");
	refuse("name=n,tri=maybe", "Parameter 'tri' does not accept value 'maybe'");
	refuse("name=n,count=0", "from 1 to 16");
	refuse("name=n,count=17", "from 1 to 16");
	refuse("name=n,count=abc", "Parameter 'count' expects integer");
	refuse("name=n,offset=6", "from -5 to 5");
	refuse("name=n,offset=-6", "from -5 to 5");
	refuse("name=n,size=12Q", "Parameter 'size' expects size");
	refuse("name=n,size=-5", "Parameter 'size' expects size");
	refuse("name=n,kind=qcow2", "(accepted: raw|host)");
	refuse("name=n,mac=00:16:3e:zz:00:01", "Parameter 'mac' does not accept");
	refuse("name=n,mac=00:16:3e:00:01", "Parameter 'mac' does not accept");
	refuse("name=n,mac=00:16:3e:00:01:02:03", "Parameter 'mac' does not accept");
	refuse("name=n,addr=40.0", "Parameter 'addr' does not accept value '40.0'");
	refuse("name=n,addr=20", "Parameter 'addr' does not accept");
	refuse("name=n,addr=1.8", "Parameter 'addr' does not accept");
	refuse("name=n,addr=", "Parameter 'addr' does not accept");
	refuse("name=n,addr=1.", "Parameter 'addr' does not accept");
}

static void numbers(void **state)
{
	static const char *const wrong[] = {"",	  " 1",	 "-1", "+1",  "1 ",
					    "0x", "0xg", "1a", "1.5", "18446744073709551616"};
	uint64_t v;

	assert_int_equal(parse_uint("18446744073709551615", &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(parse_uint("0xABcd", &v), 0);
	assert_int_equal(v, 0xabcd);
	assert_int_equal(parse_uint("010", &v), 0);
	assert_int_equal(v, 10);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_true(parse_uint(wrong[i], &v) < 0);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t unit, want;
	} good[] = {
		{"4096", MiB, 4096 * MiB},
		{"4096", 1, 4096},
		{"1k", 1, 1024},
		{"2G", MiB, 2 * GiB},
		{"1.5G", 1, 3 * GiB / 2},
		{"512b", MiB, 512},
		{"0x100", 1, 256},
		{"0.5", MiB, MiB / 2},
		{"1t", 1, 1024 * GiB},
		{"15E", 1, 15ULL << 60},
		{"18446744073709551615", 1, UINT64_MAX},
	};
	static const char *const wrong[] = {"",
					    "12X",
					    "1kk",
					    "-5",
					    " 5",
					    "1.5b",
					    "16E",
					    "0x1k",
					    "1e3",
					    "k",
					    "18446744073709551616"};
	uint64_t v;

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parse_size(good[i].text, good[i].unit, &v), 0);
		assert_true(v == good[i].want);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		if (!parse_size(wrong[i], 1, &v))
			fail_msg("'%s' was accepted", wrong[i]);
}

static void ids(void **state)
{
	assert_true(id_wellformed("a"));
	assert_true(id_wellformed("net0.x-y_z"));
	assert_false(id_wellformed(""));
	assert_false(id_wellformed("1bad"));
	assert_false(id_wellformed("a b"));
	assert_false(id_wellformed("_a"));
}

static void help(void **state)
{
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	opts_help(tables, out);
	fclose(out);
	assert_non_null(strstr(text, "  flag=<bool>"));
	assert_non_null(strstr(text, " - a flag (default: on)\n"));
	assert_non_null(strstr(text, "kind=<raw|host>"));
	assert_null(strstr(text, "legacy"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults), cmocka_unit_test(given),   cmocka_unit_test(tree),
		cmocka_unit_test(bad),	    cmocka_unit_test(numbers), cmocka_unit_test(sizes),
		cmocka_unit_test(ids),	    cmocka_unit_test(help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
