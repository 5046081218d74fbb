/* SPDX-License-Identifier: MIT */
/* unit_qmp_input.c - JSON values out of a stream of bytes */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "ctl/qmp_input.h"

/* All values and errors in `text`, fed in pieces of `piece` bytes, one per line; errors begin with
 * '!'. */
static char *run(const char *text, size_t len, size_t piece)
{
	struct qmp_input in = {0};
	char *out;
	size_t out_len;
	FILE *f = open_memstream(&out, &out_len);

	while (len) {
		size_t n = MIN(piece, len);
		const char *p = text;

		text += n;
		len -= n;
		while (n) {
			struct err e;
			json_t *value;
			size_t used = qmp_input_feed(&in, p, n, &value, &e);

			p += used;
			n -= used;
			if (value) {
				json_dumpf(value, f, JSON_ENCODE_ANY);
				fputc('\n', f);
				json_decref(value);
			} else if (e.text[0]) {
				fprintf(f, "!%s\n", e.text);
			}
		}
	}
	qmp_input_reset(&in);
	fclose(f);
	return out;
}

static void expect_bytes(const char *text, size_t len, const char *want)
{
	static const size_t pieces[] = {1, 2, 3, 7, 4096};

	for (unsigned i = 0; i < ARRAY_SIZE(pieces); i++) {
		char *got = run(text, len, pieces[i]);

		assert_string_equal(got, want);
		free(got);
	}
}

static void expect(const char *text, const char *want)
{
	expect_bytes(text, strlen(text), want);
}

/* The first line that comes out begins with `want`, and afterwards the stream works again. */
static void expect_error(const char *text, const char *want)
{
	char *all, *got;

	if (asprintf(&all, "%s\n{\"z\": 1}\n", text) < 0)
		fail();
	got = run(all, strlen(all), 4096);
	if (strncmp(got, want, strlen(want)))
		fail_msg("'%s' gave '%s'", text, got);
	if (!strstr(got, "\n{\"z\": 1}\n"))
		fail_msg("'%s': the stream did not recover: '%s'", text, got);
	free(got);
	free(all);
}

static void values(void **state)
{
	expect("{}", "{}\n");
	expect(" \r\n{\"a\":1}{\"b\" : [ 2,3 ]}\n", "{\"a\": 1}\n{\"b\": [2, 3]}\n");
	expect("[]{}", "[]\n{}\n");
	expect("{\"a\": \"}{\\\"\"}", "{\"a\": \"}{\\\"\"}\n");
	expect("{\"a\": \"\\u00e4\\\\\"}", "{\"a\": \"\xc3\xa4\\\\\"}\n");
	expect("{\"a\": \"\xc3\xa4\"}", "{\"a\": \"\xc3\xa4\"}\n");
	expect("{'a': 'it\\'s \"so\"', \"b\": \"it's\"}",
	       "{\"a\": \"it's \\\"so\\\"\", \"b\": \"it's\"}\n");
	expect("true 5 \"x\" ", "true\n5\n\"x\"\n");
	expect("5{}", "5\n{}\n");
	expect("{\"a\":", "");
}

static void errors(void **state)
{
	expect_error("{\"a\": }", "!JSON parse error, ");
	expect_error("{\"a\": 1,}", "!JSON parse error, ");
	expect_error("{\"a\": 1, \"a\": 2}", "!JSON parse error, ");
	expect_error("{a: 1}", "!JSON parse error, ");
	expect_error("hello", "!JSON parse error, ");
	expect_error("}", "!JSON parse error, unexpected '}'");
	expect_error("]]]", "!JSON parse error, unexpected ']'\n{");
	expect_error(",", "!JSON parse error, unexpected ','");
	expect_error("{\"a\": [}", "!JSON parse error, unexpected '}'");
	expect_error("{\"a\": \"x\ty\"}", "!JSON parse error, control character");
	expect_error("{\"a\": \"\xff\"}", "!JSON parse error, ");
	expect_error("{\"a\": 99999999999999999999}", "!JSON parse error, ");
	expect_error("{\"a\": \"\\x\"}", "!JSON parse error, ");
	expect_error("{\"a\": \"\\u0000\"}", "!JSON parse error, ");
	expect_error("// comment", "!JSON parse error, ");
}

static void reset_by_a_stray_byte(void **state)
{
	static const char text[] = "{\"a\": [\xff{\"b\": 1}\n{\"c\": \x01\n{\"d\": 2}";

	expect_bytes(text, sizeof(text) - 1,
		     "!JSON parse error, stray byte 0xff\n{\"b\": 1}\n"
		     "!JSON parse error, stray byte 0x01\n{\"d\": 2}\n");
	expect_bytes("\0{}", 3, "!JSON parse error, stray byte 0x00\n{}\n");
}

static char *repeat(const char *what, unsigned n)
{
	size_t len = strlen(what);
	char *text = malloc(len * n + 1);

	for (unsigned i = 0; i < n; i++)
		memcpy(text + i * len, what, len);
	text[len * n] = '\0';
	return text;
}

static void limits(void **state)
{
	char *open = repeat("[", QMP_DEPTH_MAX), *close = repeat("]", QMP_DEPTH_MAX), *text;
	char *got, *many = repeat("1,", QMP_TOKEN_MAX), *big = repeat("a", QMP_VALUE_MAX);

	assert_true(asprintf(&text, "%s%s", open, close) > 0);
	got = run(text, strlen(text), 10);
	assert_true(got[0] == '[');
	free(got);
	free(text);
	assert_true(asprintf(&text, "[%s", open) > 0);
	expect_error(text, "!JSON nesting depth limit exceeded");
	free(text);
	assert_true(asprintf(&text, "[%s1]", many) > 0);
	expect_error(text, "!JSON token count limit exceeded");
	free(text);
	assert_true(asprintf(&text, "{\"a\": \"%s\"}", big) > 0);
	expect_error(text, "!JSON token size limit exceeded");
	free(text);
	free(open);
	free(close);
	free(many);
	free(big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(errors),
		cmocka_unit_test(reset_by_a_stray_byte),
		cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
