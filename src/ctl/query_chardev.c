/* SPDX-License-Identifier: MIT */
/* query_chardev.c - QMP's commands about character streams
 *
 * libxl reads from query-chardev which pty a channel of the guest has. ringbuf-write and
 * ringbuf-read are the other end of a ringbuf; they carry its bytes as text (utf8) or base64. JSON
 * strings are Unicode, so with utf8 a byte that is not part of valid UTF-8 is shown as U+FFFD; a
 * client that needs every byte asks for base64.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/util.h"
#include "chardev/chardev.h"
#include "ctl/commands.h"
#include "machine/vm.h"

static struct chardev *call_find_chardev(struct qmp_call *call, const char *id)
{
	return call->vm->env.chardevs ? chardev_find(call->vm->env.chardevs, id) : NULL;
}

int query_chardev(struct qmp_call *call)
{
	struct chardevs *cs = call->vm->env.chardevs;

	call->ret = json_array();
	for (struct chardev *cd = NULL; cs && (cd = chardev_next(cs, cd));) {
		char name[CHARDEV_NAME_MAX];

		json_array_append_new(
			call->ret, json_pack("{s:s, s:s, s:b}", "label", chardev_id(cd), "filename",
					     chardev_filename(cd, name, sizeof(name)),
					     "frontend-open", chardev_frontend_open(cd)));
	}
	return 0;
}

int query_chardev_backends(struct qmp_call *call)
{
	const struct opt *options;
	const char *name, *help;

	call->ret = json_array();
	for (unsigned i = 0; (name = chardev_kind(i, &help, &options)); i++)
		json_array_append_new(call->ret, json_pack("{s:s}", "name", name));
	return 0;
}

int chardev_send_break(struct qmp_call *call)
{
	const char *id = qmp_string(call, "id");

	if (!call_find_chardev(call, id))
		return err_set(&call->err, -ENODEV, "Chardev '%s' not found", id);
	return err_set(&call->err, -ENOTSUP,
		       "Chardev '%s' has no front end that knows a break signal", id);
}

/* --- ringbuf --- */

static struct chardev *call_find_ringbuf(struct qmp_call *call)
{
	const char *id = qmp_string(call, "device");
	struct chardev *cd = call_find_chardev(call, id);

	if (!cd)
		err_set(&call->err, -ENODEV, "Device '%s' not found", id);
	else if (chardev_ringbuf_count(cd) < 0)
		err_set(&call->err, -EINVAL, "%s is not a ringbuf device", id);
	else
		return cd;
	return NULL;
}

static int format_parse(struct qmp_call *call, bool *base64)
{
	const char *format = qmp_string(call, "format");

	*base64 = format && !strcmp(format, "base64");
	if (format && !*base64 && strcmp(format, "utf8"))
		return err_set(&call->err, -EINVAL,
			       "Parameter 'format' does not accept value '%s' (accepted: base64, "
			       "utf8)",
			       format);
	return 0;
}

int ringbuf_write(struct qmp_call *call)
{
	const json_t *data = json_object_get(call->args, "data");
	size_t len = json_string_length(data);
	struct chardev *cd;
	uint8_t *buf;
	ssize_t n;
	bool base64;

	if (format_parse(call, &base64) < 0 || !(cd = call_find_ringbuf(call)))
		return -EINVAL;
	if (!base64)
		return chardev_ringbuf_write(cd, (const uint8_t *)json_string_value(data), len);
	buf = malloc(len + 1);
	if (!buf)
		return err_nomem(&call->err);
	n = base64_decode(json_string_value(data), buf, len);
	if (n >= 0)
		chardev_ringbuf_write(cd, buf, (size_t)n);
	free(buf);
	return n < 0 ? err_set(&call->err, -EINVAL, "Base64 data contains invalid characters") : 0;
}

/* Length of the UTF-8 sequence at `s`, 0 when it is none (also: too long for its value, a
 * surrogate, beyond U+10FFFF). */
static size_t utf8_length(const uint8_t *s, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = *s < 0x80 ? 1 : *s >> 5 == 6 ? 2 : *s >> 4 == 14 ? 3 : *s >> 3 == 30 ? 4 : 0;
	uint32_t c;

	if (n <= 1 || n > len)
		return n == 1;
	c = *s & (0x7f >> n);
	for (size_t i = 1; i < n; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

/* Copy `s` to `out`, with U+FFFD for each invalid byte; returns the length, at most 3 * len. */
static size_t bytes_to_utf8(const uint8_t *s, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len;) {
		size_t l = utf8_length(s + i, len - i);

		memcpy(out + n, l ? (const char *)s + i : "\xef\xbf\xbd", l ? l : 3);
		n += l ? l : 3;
		i += l ? l : 1;
	}
	return n;
}

int ringbuf_read(struct qmp_call *call)
{
	json_int_t size = json_integer_value(json_object_get(call->args, "size"));
	struct chardev *cd;
	uint8_t *buf;
	size_t there;
	char *text;
	bool base64;

	if (format_parse(call, &base64) < 0 || !(cd = call_find_ringbuf(call)))
		return -EINVAL;
	if (size <= 0)
		return err_set(&call->err, -EINVAL, "size must be greater than zero");
	there = MIN((size_t)size, (size_t)chardev_ringbuf_count(cd));
	buf = malloc(there + 1);
	text = malloc(there * 3 + 4);
	if (buf && text) {
		size_t n = (size_t)chardev_ringbuf_read(cd, buf, there);

		n = base64 ? base64_encode(buf, n, text) : bytes_to_utf8(buf, n, text);
		call->ret = json_stringn(text, n);
	}
	free(buf);
	free(text);
	return call->ret ? 0 : err_nomem(&call->err);
}
