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

/* Get ready for the next value; with `skip`, drop the rest of the line first. */
static void input_restart(struct qmp_input *in, bool skip)
{
	char *keep = in->size <= KEEP ? in->buf : NULL;
	size_t size = keep ? in->size : 0;

	if (!keep)
		free(in->buf);
	*in = (struct qmp_input){.buf = keep, .size = size, .skip = skip};
}

static int value_append(struct qmp_input *in, char c, struct err *e)
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

static int string_take_byte(struct qmp_input *in, char c, struct err *e)
{
	if ((unsigned char)c < 0x20)
		return err_set(e, -EINVAL, "JSON parse error, control character in a string");
	if (in->escape) {
		in->escape = false;
		if (c != '\'' && value_append(in, '\\', e) < 0)
			return -EINVAL;
		return value_append(in, c, e);
	}
	if (c == '\\') {
		in->escape = true;
		return 0;
	}
	if (c == in->quote) {
		in->quote = 0;
		return value_append(in, '"', e);
	}
	if (c == '"' && value_append(in, '\\', e) < 0)
		return -EINVAL;
	return value_append(in, c, e);
}

static int group_open(struct qmp_input *in, char c, struct err *e)
{
	if (in->depth == QMP_DEPTH_MAX)
		return err_set(e, -E2BIG, "JSON nesting depth limit exceeded (%d)", QMP_DEPTH_MAX);
	in->close[in->depth++] = c == '{' ? '}' : ']';
	return value_append(in, c, e);
}

static int group_close(struct qmp_input *in, char c, struct err *e)
{
	if (!in->depth || in->close[in->depth - 1] != c)
		return err_set(e, -EINVAL, "JSON parse error, unexpected '%c'", c);
	in->depth--;
	return value_append(in, c, e);
}

static bool byte_is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool byte_is_structure(char c)
{
	return c && strchr("{}[],:", c);
}

/* Append the byte `c` to the value, and track quotes and nesting. 0, or a negative errno with `e`
 * when it cannot stand there or exceeds a limit. */
static int value_take_byte(struct qmp_input *in, char c, struct err *e)
{
	if (in->quote)
		return string_take_byte(in, c, e);
	if ((unsigned char)c >= 0x7f || ((unsigned char)c < 0x20 && !byte_is_blank(c)))
		return err_set(e, -EINVAL, "JSON parse error, stray byte 0x%02x", (unsigned char)c);
	if (byte_is_structure(c) && ++in->tokens > QMP_TOKEN_MAX)
		return err_set(e, -E2BIG, "JSON token count limit exceeded (%d)", QMP_TOKEN_MAX);
	switch (c) {
	case '{':
	case '[':
		return group_open(in, c, e);
	case '}':
	case ']':
		return group_close(in, c, e);
	case '"':
	case '\'':
		in->quote = c;
		return value_append(in, '"', e);
	default:
		if (!in->depth && byte_is_structure(c))
			return err_set(e, -EINVAL, "JSON parse error, unexpected '%c'", c);
		in->word = !in->depth;
		return value_append(in, c, e);
	}
}

static json_t *value_parse(const struct qmp_input *in, struct err *e)
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
		if (idle && byte_is_blank(c))
			continue;
		/* A bare word (a number, true, ...) ends before a byte that cannot be part of it;
		 * that byte is not consumed. */
		if (in->word &&
		    (byte_is_blank(c) || byte_is_structure(c) || c == '"' || c == '\'')) {
			*value = value_parse(in, e);
			input_restart(in, !*value);
			return i;
		}
		if (value_take_byte(in, c, e) < 0) {
			input_restart(in, true);
			return i + 1;
		}
		if (!in->depth && !in->quote && !in->word) {
			*value = value_parse(in, e);
			input_restart(in, false);
			return i + 1;
		}
	}
	return len;
}
