/* SPDX-License-Identifier: MIT */
/* qmp_input.c - see qmp_input.h
 *
 * This file only finds where a value ends and enforces the limits; jansson parses it. So everything
 * that is balanced comes back as one value or one error, and what is not balanced is caught here as
 * soon as it is seen.
 */
#include "ctl/qmp_input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEEP 4096 /* bytes of buffer that stay allocated between values */

void qmp_input_reset(struct qmp_input *in)
{
	free(in->buf);
	*in = (struct qmp_input){0};
}

/* Ready for the next value. */
static void restart(struct qmp_input *in, bool skip)
{
	char *keep = in->size <= KEEP ? in->buf : NULL;
	size_t size = keep ? in->size : 0;

	if (!keep)
		free(in->buf);
	*in = (struct qmp_input){.buf = keep, .size = size, .skip = skip};
}

static int append(struct qmp_input *in, char c, struct err *e)
{
	if (in->len == QMP_VALUE_MAX)
		return err_set(e, -E2BIG, "JSON token size limit exceeded (%d bytes)",
			       QMP_VALUE_MAX);
	if (in->len == in->size) {
		size_t size = in->size ? in->size * 2 : 512;
		char *buf = realloc(in->buf, size);

		if (!buf)
			return err_nomem(e);
		in->buf = buf;
		in->size = size;
	}
	in->buf[in->len++] = c;
	return 0;
}

static int in_string(struct qmp_input *in, char c, struct err *e)
{
	if ((unsigned char)c < 0x20)
		return err_set(e, -EINVAL, "JSON parse error, control character in a string");
	if (in->escape) {
		in->escape = false;
		if (c != '\'' && append(in, '\\', e) < 0)
			return -EINVAL;
		return append(in, c, e);
	}
	if (c == '\\') {
		in->escape = true;
		return 0;
	}
	if (c == in->quote) {
		in->quote = 0;
		return append(in, '"', e);
	}
	if (c == '"' && append(in, '\\', e) < 0)
		return -EINVAL;
	return append(in, c, e);
}

static int open_group(struct qmp_input *in, char c, struct err *e)
{
	if (in->depth == QMP_DEPTH_MAX)
		return err_set(e, -E2BIG, "JSON nesting depth limit exceeded (%d)", QMP_DEPTH_MAX);
	in->close[in->depth++] = c == '{' ? '}' : ']';
	return append(in, c, e);
}

static int close_group(struct qmp_input *in, char c, struct err *e)
{
	if (!in->depth || in->close[in->depth - 1] != c)
		return err_set(e, -EINVAL, "JSON parse error, unexpected '%c'", c);
	in->depth--;
	return append(in, c, e);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_structure(char c)
{
	return c && strchr("{}[],:", c);
}

/* One byte of a value. */
static int take(struct qmp_input *in, char c, struct err *e)
{
	if (in->quote)
		return in_string(in, c, e);
	if ((unsigned char)c >= 0x7f || ((unsigned char)c < 0x20 && !is_blank(c)))
		return err_set(e, -EINVAL, "JSON parse error, stray byte 0x%02x", (unsigned char)c);
	if (is_structure(c) && ++in->tokens > QMP_TOKEN_MAX)
		return err_set(e, -E2BIG, "JSON token count limit exceeded (%d)", QMP_TOKEN_MAX);
	switch (c) {
	case '{':
	case '[':
		return open_group(in, c, e);
	case '}':
	case ']':
		return close_group(in, c, e);
	case '"':
	case '\'':
		in->quote = c;
		return append(in, '"', e);
	default:
		if (!in->depth && is_structure(c))
			return err_set(e, -EINVAL, "JSON parse error, unexpected '%c'", c);
		in->word = !in->depth;
		return append(in, c, e);
	}
}

static json_t *parse(const struct qmp_input *in, struct err *e)
{
	json_error_t je;
	json_t *value = json_loadb(in->buf, in->len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &je);

	if (!value)
		err_set(e, -EINVAL, "JSON parse error, %s", je.text);
	return value;
}

size_t qmp_input_feed(struct qmp_input *in, const char *buf, size_t len, json_t **value,
		      struct err *e)
{
	*value = NULL;
	e->text[0] = '\0';
	for (size_t i = 0; i < len; i++) {
		char c = buf[i];
		bool idle = !in->len;

		if (in->skip) {
			if (c != '\n' && c != '{')
				continue;
			in->skip = false;
		}
		if (idle && is_blank(c))
			continue;
		/* A bare word ends before what cannot belong to it. */
		if (in->word && (is_blank(c) || is_structure(c) || c == '"' || c == '\'')) {
			*value = parse(in, e);
			restart(in, !*value);
			return i;
		}
		if (take(in, c, e) < 0) {
			restart(in, true);
			return i + 1;
		}
		if (!in->depth && !in->quote && !in->word) {
			*value = parse(in, e);
			restart(in, false);
			return i + 1;
		}
	}
	return len;
}
