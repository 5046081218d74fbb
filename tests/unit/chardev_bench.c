/* SPDX-License-Identifier: MIT */
/* chardev_bench.c - see chardev_bench.h */
#include "chardev_bench.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

static void on_opened(struct chardev_user *u)
{
	container_of(u, struct bench, user)->opened++;
}

static void on_closed(struct chardev_user *u)
{
	container_of(u, struct bench, user)->closed++;
}

static void on_received(struct chardev_user *u, const char *buf, size_t len)
{
	struct bench *b = container_of(u, struct bench, user);

	assert_in_range(len, 1, CHARDEV_READ_MAX);
	assert_true(b->in_len + len <= sizeof(b->in));
	memcpy(b->in + b->in_len, buf, len);
	b->in_len += len;
	if (b->pause_when_received)
		chardev_pause(b->cd, true);
}

static void on_writable(struct chardev_user *u)
{
	container_of(u, struct bench, user)->writable++;
}

int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	b->loop = loop_new("test");
	b->cs = chardevs_new();
	b->user = (struct chardev_user){on_opened, on_closed, on_received, on_writable};
	strcpy(b->dir, "/tmp/xenpvh-chardev-XXXXXX");
	*state = b;
	return b->loop && b->cs && mkdtemp(b->dir) ? 0 : -1;
}

int teardown(void **state)
{
	struct bench *b = *state;

	if (b->cd)
		chardev_detach(b->cd);
	chardevs_free(b->cs, true);
	loop_free(b->loop);
	if (rmdir(b->dir) < 0)
		return -1; /* something was left behind */
	free(b);
	return 0;
}

int add(struct bench *b, struct err *e, const char *fmt, ...)
{
	char text[512];
	struct kvs k;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rc = kvs_parse(&k, "-chardev", text, "backend", e);
	if (!rc)
		rc = chardev_add(b->cs, &k, e);
	kvs_free(&k);
	return rc;
}

void attach(struct bench *b)
{
	struct err e = {0};

	b->cd = chardev_find(b->cs, "c");
	assert_non_null(b->cd);
	if (chardev_attach(b->cd, &b->user, b->loop, &e) < 0)
		fail_msg("%s", e.text);
}

void settle(struct bench *b)
{
	for (unsigned i = 0; i < 10; i++)
		loop_turn(b->loop, 0);
}

const char *name(struct bench *b, char buf[CHARDEV_NAME_MAX])
{
	return chardev_filename(chardev_find(b->cs, "c"), buf, CHARDEV_NAME_MAX);
}

void peer_writes(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

size_t peer_reads_some(int fd, char *buf, size_t size)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	assert_int_equal(poll(&p, 1, LIMIT_NS / 1000000), 1);
	n = read(fd, buf, size);
	assert_true(n > 0);
	return (size_t)n;
}

void peer_reads(int fd, const char *text)
{
	size_t len = strlen(text);
	char buf[256];

	for (size_t n = 0; n < len;)
		n += peer_reads_some(fd, buf + n, len - n);
	assert_memory_equal(buf, text, len);
}

void front_has(struct bench *b, const char *text)
{
	UNTIL(b, b->in_len >= strlen(text));
	assert_int_equal(b->in_len, strlen(text));
	assert_memory_equal(b->in, text, b->in_len);
	b->in_len = 0;
}

void front_writes(struct bench *b, const char *text)
{
	assert_int_equal(chardev_write(b->cd, text, strlen(text)), strlen(text));
}

void both_ways(struct bench *b, int in, int out)
{
	peer_writes(in, "to the guest");
	front_has(b, "to the guest");
	front_writes(b, "from the guest");
	peer_reads(out, "from the guest");
}

int unix_peer(const char *path, bool abstract)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path + abstract, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, len), 0);
	return fd;
}

int unix_listener(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(a.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

char pattern(size_t i)
{
	return (char)(i ^ i >> 8 ^ i >> 16);
}

/* Read all that is there, check it against the pattern from byte `at` on; returns its length. */
static size_t drain(int reader, size_t at)
{
	static char buf[65536];
	size_t got = 0;

	for (ssize_t n; (n = read(reader, buf, sizeof(buf))) > 0; got += (size_t)n)
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != pattern(at + got + (size_t)i))
				fail_msg("byte %zu is wrong", at + got + (size_t)i);
	return got;
}

void press(struct bench *b, int reader)
{
	static char out[PRESSED];
	size_t put = 0, got = 0;
	unsigned shorts = 0;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = pattern(i);
	fcntl(reader, F_SETFL, fcntl(reader, F_GETFL) | O_NONBLOCK);
	while (put < sizeof(out)) {
		unsigned before = b->writable;

		put += chardev_write(b->cd, out + put, sizeof(out) - put);
		if (put == sizeof(out))
			break;
		settle(b);
		if (b->writable != before)
			continue; /* the kernel of a pty moves bytes on in its own time */
		shorts++;
		got += drain(reader, got);
		UNTIL(b, b->writable > before);
	}
	UNTIL(b, (got += drain(reader, got)) == sizeof(out));
	assert_true(shorts > 0);
}
