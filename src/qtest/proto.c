/* SPDX-License-Identifier: MIT */
/* proto.c - the commands of QEMU's qtest protocol
 *
 * A command is one line of words separated by one space; numbers are written as for strtoull(…, 0).
 * Each command gets one line of answer. Where QEMU ends because its test client made an error
 * (missing or malformed arguments), the answer here is "FAIL" or "ERR". Runs on the exit loop and
 * allocates nothing; one command carries at most QTEST_DATA_MAX bytes.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/util.h"
#include "qtest/internal.h"

#define WORDS_MAX 6

static bool number_parse(const char *s, uint64_t *out)
{
	char *end;

	if (!s || !isdigit((unsigned char)*s))
		return false;
	errno = 0;
	*out = strtoull(s, &end, 0);
	return !*end && !errno;
}

/* The size of an access in bytes, from the last letter of its command (b, w, l, q); 0 for another
 * letter. */
static unsigned width_by_letter(char c)
{
	return c == 'b' ? 1 : c == 'w' ? 2 : c == 'l' ? 4 : c == 'q' ? 8 : 0;
}

static int hex_digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode "0x..." into `len` bytes; shorter input is padded with zeroes, longer input is cut. False
 * when it is malformed. */
static bool hex_decode(const char *s, uint8_t *buf, size_t len)
{
	size_t n = 0;

	if (s[0] != '0' || s[1] != 'x')
		return false;
	for (s += 2; s[0] && n < len; s += 2) {
		int hi = hex_digit_value(s[0]), lo = s[1] ? hex_digit_value(s[1]) : -1;

		if (hi < 0 || lo < 0)
			return false;
		buf[n++] = (uint8_t)(hi << 4 | lo);
	}
	memset(buf + n, 0, len - n);
	return true;
}

static void cmd_load(struct qtest *q, unsigned size, char **w)
{
	uint64_t addr;

	if (!number_parse(w[1], &addr))
		conn_reply(&q->conn, "ERR invalid argument");
	else
		conn_reply(&q->conn, "OK 0x%016llx", (unsigned long long)qtest_load(q, addr, size));
}

static void cmd_store(struct qtest *q, unsigned size, char **w)
{
	uint64_t addr, value;

	if (!number_parse(w[1], &addr) || !number_parse(w[2], &value)) {
		conn_reply(&q->conn, "ERR invalid argument");
		return;
	}
	qtest_store(q, addr, value, size);
	conn_reply(&q->conn, "OK");
}

/* Parse address and length of a command that transfers bytes. False when they are wrong: then the
 * error has been answered. */
static bool bulk_parse_args(struct qtest *q, char **w, uint64_t *addr, uint64_t *len)
{
	if (!number_parse(w[1], addr) || !number_parse(w[2], len)) {
		conn_reply(&q->conn, "ERR invalid argument");
		return false;
	}
	if (!*len || *len > QTEST_DATA_MAX) {
		conn_reply(&q->conn, "ERR invalid argument size");
		return false;
	}
	return true;
}

static size_t hex_encode(const uint8_t *in, size_t len, char *out)
{
	static const char digit[] = "0123456789abcdef";
	size_t n = 0;

	out[n++] = '0';
	out[n++] = 'x';
	for (size_t i = 0; i < len; i++) {
		out[n++] = digit[in[i] >> 4];
		out[n++] = digit[in[i] & 15];
	}
	return n;
}

static void cmd_read(struct qtest *q, char **w, bool base64)
{
	struct conn *c = &q->conn;
	uint64_t addr, len;
	size_t n;

	if (!bulk_parse_args(q, w, &addr, &len))
		return;
	qtest_load_bytes(q, addr, c->data, len);
	n = base64 ? base64_encode(c->data, len, c->text) : hex_encode(c->data, len, c->text);
	conn_reply_text(c, c->text, n);
}

static void cmd_write(struct qtest *q, char **w, bool base64)
{
	struct conn *c = &q->conn;
	uint64_t addr, len;

	if (!bulk_parse_args(q, w, &addr, &len))
		return;
	if (!w[3] || (!base64 && strlen(w[3]) < 3)) {
		conn_reply(c, "ERR invalid argument size");
		return;
	}
	if (base64 ? base64_decode(w[3], c->data, len) < (ssize_t)len
		   : !hex_decode(w[3], c->data, len)) {
		conn_reply(c, "ERR invalid data");
		return;
	}
	qtest_store_bytes(q, addr, c->data, len);
	conn_reply(c, "OK");
}

static void cmd_memset(struct qtest *q, char **w)
{
	uint64_t addr, len, pattern;

	if (!number_parse(w[1], &addr) || !number_parse(w[2], &len) ||
	    !number_parse(w[3], &pattern)) {
		conn_reply(&q->conn, "ERR invalid argument");
		return;
	}
	if (len > GiB) {
		conn_reply(&q->conn, "ERR invalid argument size");
		return;
	}
	memset(q->conn.data, (int)(pattern & 0xff), QTEST_DATA_MAX);
	for (uint64_t n; len; addr += n, len -= n) {
		n = MIN(len, QTEST_DATA_MAX);
		qtest_store_bytes(q, addr, q->conn.data, n);
	}
	conn_reply(&q->conn, "OK");
}

/* The machine has no I/O ports: reads give ones, writes have no effect. */
static void cmd_port(struct qtest *q, unsigned size, char **w, bool in)
{
	uint64_t port, value;

	if (!number_parse(w[1], &port) || port > 0xffff || (!in && !number_parse(w[2], &value)))
		conn_reply(&q->conn, "ERR invalid argument");
	else if (in)
		conn_reply(&q->conn, "OK 0x%04x", size == 1 ? 0xff : size == 2 ? 0xffff : ~0U);
	else
		conn_reply(&q->conn, "OK");
}

/* No device has a timer on the virtual clock, so a step to the next timer (one without a length)
 * always fails. */
static void cmd_clock(struct qtest *q, char **w, bool step)
{
	uint64_t ns;

	if (step && !w[1])
		conn_reply(&q->conn, "FAIL no timer is armed");
	else if (!number_parse(w[1], &ns) || ns > INT64_MAX / 2)
		conn_reply(&q->conn, "ERR invalid argument");
	else {
		q->clock_ns = step ? MIN(q->clock_ns, INT64_MAX / 2) + (int64_t)ns : (int64_t)ns;
		conn_reply(&q->conn, "OK %lld", (long long)q->clock_ns);
	}
}

/* The size of an access if `word` is `prefix` and one letter for a size ("readl"); else 0. */
static unsigned command_width(const char *word, const char *prefix)
{
	size_t n = strlen(prefix);

	return !strncmp(word, prefix, n) && word[n] && !word[n + 1] ? width_by_letter(word[n]) : 0;
}

void proto_command(struct qtest *q, char *line)
{
	char *w[WORDS_MAX + 1] = {NULL};
	unsigned n = 0, size;
	const char *cmd;

	do {
		w[n++] = line;
		line = strchr(line, ' ');
		if (line)
			*line++ = '\0';
	} while (line && n < WORDS_MAX);
	cmd = w[0];
	if ((size = command_width(cmd, "read")))
		cmd_load(q, size, w);
	else if ((size = command_width(cmd, "write")))
		cmd_store(q, size, w);
	else if (!strcmp(cmd, "read") || !strcmp(cmd, "b64read"))
		cmd_read(q, w, cmd[0] == 'b');
	else if (!strcmp(cmd, "write") || !strcmp(cmd, "b64write"))
		cmd_write(q, w, cmd[0] == 'b');
	else if (!strcmp(cmd, "memset"))
		cmd_memset(q, w);
	else if ((size = command_width(cmd, "in")) && size < 8)
		cmd_port(q, size, w, true);
	else if ((size = command_width(cmd, "out")) && size < 8)
		cmd_port(q, size, w, false);
	else if (!strcmp(cmd, "endianness"))
		conn_reply(&q->conn, "OK little");
	else if (!strcmp(cmd, "clock_step"))
		cmd_clock(q, w, true);
	else if (!strcmp(cmd, "clock_set"))
		cmd_clock(q, w, false);
	else if (!strcmp(cmd, "irq_intercept_in") || !strcmp(cmd, "irq_intercept_out")) {
		conn_want_irqs(&q->conn);
		conn_reply(&q->conn, "OK");
	} else
		conn_reply(&q->conn, "FAIL Unknown command '%.64s'", cmd);
}
