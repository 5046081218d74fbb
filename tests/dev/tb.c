/* SPDX-License-Identifier: MIT */
/* tb.c - see tb.h */
#include "tb.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

void guest_panic(const char *fmt, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fail_msg("%s", text);
	abort();
}

bool tb_is_qemu(void)
{
	const char *dm = getenv("GUEST_DM");

	return dm && strstr(dm, "qemu-system");
}

void tb_skip_qemu(const char *why)
{
	if (tb_is_qemu()) {
		print_message("not with QEMU: %s\n", why);
		skip();
	}
}

void tb_filter(void)
{
	if (getenv("TB_FILTER"))
		cmocka_set_test_filter(getenv("TB_FILTER"));
}

int tb_setup(void **state)
{
	struct tb *t = calloc(1, sizeof(*t));

	if (!t)
		return -1;
	t->qmp = -1;
	t->qemu = tb_is_qemu();
	t->ring = getenv("TB_RING");
	t->iothreads = getenv("TB_IOTHREADS") ? (unsigned)atoi(getenv("TB_IOTHREADS")) : 0;
	if (t->ring && strstr(t->ring, "packed=on"))
		t->config.features |= GV_F_PACKED;
	if (t->ring && strstr(t->ring, "in_order=on"))
		t->config.features |= GV_F_IN_ORDER;
	snprintf(t->dir, sizeof(t->dir), "%s/xenpvh-dev-XXXXXX",
		 getenv("TB_DIR") ? getenv("TB_DIR") : "/tmp");
	*state = t;
	return mkdtemp(t->dir) ? 0 : -1;
}

static void remove_files(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *de;

	while (d && (de = readdir(d)))
		unlinkat(dirfd(d), de->d_name, 0);
	if (d)
		closedir(d);
	rmdir(path);
}

int tb_teardown(void **state)
{
	struct tb *t = *state;

	guest_kill(&t->g);
	gblk_close(&t->blk);
	if (t->qmp >= 0)
		close(t->qmp);
	for (unsigned i = 0; i < t->n_args; i++)
		free(t->args[i]);
	for (unsigned i = 0; i < t->disks; i++)
		close(t->disk[i].fd);
	remove_files(t->dir);
	free(t);
	return 0;
}

static void add_arg(struct tb *t, char *text)
{
	if (!text || t->n_args == ARRAY_SIZE(t->args) - 1)
		guest_panic("too many arguments");
	t->args[t->n_args++] = text;
}

void tb_arg(struct tb *t, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		guest_panic("out of memory");
	va_end(ap);
	add_arg(t, text);
}

void tb_device(struct tb *t, const char *fmt, ...)
{
	char *text = NULL;
	bool is_virtio;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		guest_panic("out of memory");
	va_end(ap);
	tb_arg(t, "-device");
	if (t->iothreads && strstr(text, "virtio-blk")) {
		char *more = NULL;

		for (unsigned i = 0; i < t->iothreads; i++) {
			char *longer = NULL;

			if (asprintf(&longer, "%s,iothread-vq-mapping.%u.iothread=tb%u",
				     more ? more : text, i, i) < 0)
				guest_panic("out of memory");
			free(more);
			more = longer;
		}
		free(text);
		text = more;
	}
	is_virtio = strstr(text, "virtio");
	tb_arg(t, "%s%s%s", text, t->ring && is_virtio ? t->ring : "",
	       t->qemu && is_virtio ? ",disable-legacy=on" : "");
	free(text);
}

unsigned tb_disk(struct tb *t, uint64_t size, const char *extra)
{
	unsigned n = t->disks++;

	snprintf(t->disk[n].path, sizeof(t->disk[n].path), "%s/disk%u", t->dir, n);
	t->disk[n].fd = open(t->disk[n].path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	t->disk[n].size = size;
	assert_true(t->disk[n].fd >= 0);
	assert_int_equal(ftruncate(t->disk[n].fd, (off_t)size), 0);
	tb_arg(t, "-drive");
	tb_arg(t, "if=none,id=d%u,format=raw,file=%s%s", n, t->disk[n].path, extra ? extra : "");
	return n;
}

static void qmp_connect(struct tb *t)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/qmp", t->dir);
	t->qmp = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(t->qmp, (struct sockaddr *)&sa, sizeof(sa)))
		guest_panic("could not connect to QMP: %s", strerror(errno));
	tb_qmp_ok(t, "{\"execute\": \"qmp_capabilities\"}");
}

void tb_start(struct tb *t)
{
	tb_arg(t, "-chardev");
	tb_arg(t, "socket,id=mon,path=%s/qmp,server=on,wait=off", t->dir);
	for (unsigned i = 0; i < t->iothreads; i++) {
		tb_arg(t, "-object");
		tb_arg(t, "iothread,id=tb%u", i);
	}
	tb_arg(t, "-mon");
	tb_arg(t, "chardev=mon,mode=control");
	t->config.args = (const char *const *)t->args;
	guest_start(&t->g, &t->config);
}

void tb_stop(struct tb *t)
{
	gblk_close(&t->blk);
	guest_stop(&t->g);
}

unsigned tb_anonymous_kb(struct tb *t)
{
	char path[64], line[128];
	unsigned kb = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)t->g.pid);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "Anonymous: %u", &kb);
	fclose(f);
	return kb;
}

/* --- QMP --- */

/* The next message of the monitor. */
static json_t *qmp_next(struct tb *t)
{
	struct pollfd p = {.fd = t->qmp, .events = POLLIN};
	json_error_t e;
	json_t *j;
	char *nl;
	ssize_t n;

	while (!(nl = memchr(t->qmp_in, '\n', t->qmp_len))) {
		if (poll(&p, 1, GUEST_WAIT_MS) != 1)
			guest_panic("QMP does not answer");
		n = recv(t->qmp, t->qmp_in + t->qmp_len, sizeof(t->qmp_in) - t->qmp_len, 0);
		if (n <= 0)
			guest_panic("QMP has closed");
		t->qmp_len += (size_t)n;
	}
	j = json_loadb(t->qmp_in, (size_t)(nl - t->qmp_in), 0, &e);
	if (!j)
		guest_panic("QMP sent bad JSON: %.*s", (int)(nl - t->qmp_in), t->qmp_in);
	t->qmp_len -= (size_t)(nl + 1 - t->qmp_in);
	memmove(t->qmp_in, nl + 1, t->qmp_len);
	return j;
}

static void qmp_send(struct tb *t, const char *command)
{
	if (t->qmp < 0)
		qmp_connect(t);
	if (send(t->qmp, command, strlen(command), MSG_NOSIGNAL) < 0 ||
	    send(t->qmp, "\n", 1, MSG_NOSIGNAL) < 0)
		guest_panic("QMP has closed");
}

static json_t *qmp_reply(struct tb *t)
{
	json_t *j, *r;

	for (;;) {
		j = qmp_next(t);
		r = json_object_get(j, "return");
		if (r || json_object_get(j, "error"))
			break;
		json_decref(j);
	}
	json_incref(r);
	json_decref(j);
	return r;
}

json_t *tb_qmp(struct tb *t, const char *command)
{
	qmp_send(t, command);
	return qmp_reply(t);
}

void tb_qmp_ok(struct tb *t, const char *command)
{
	json_t *r = tb_qmp(t, command);

	if (!r)
		guest_panic("QMP refused %s", command);
	json_decref(r);
}

static bool is_event(json_t *j, const char *name)
{
	const char *s = json_string_value(json_object_get(j, "event"));

	return s && !strcmp(s, name);
}

void tb_qmp_ok_event(struct tb *t, const char *command, const char *name)
{
	bool answered = false, sent = false;

	qmp_send(t, command);
	while (!answered || !sent) {
		json_t *j = qmp_next(t);

		if (json_object_get(j, "error"))
			guest_panic("QMP refused %s", command);
		answered |= json_object_get(j, "return") != NULL;
		sent |= is_event(j, name);
		json_decref(j);
	}
}

/* The next event of this name; `before` (may be NULL) counts what came before. */
static json_t *wait_event(struct tb *t, const char *name, unsigned *before)
{
	for (;;) {
		json_t *j = qmp_next(t);

		if (is_event(j, name))
			return j;
		json_decref(j);
		if (before)
			++*before;
	}
}

json_t *tb_qmp_event_data(struct tb *t, const char *name)
{
	json_t *j = wait_event(t, name, NULL), *data = json_incref(json_object_get(j, "data"));

	json_decref(j);
	return data;
}

unsigned tb_qmp_event(struct tb *t, const char *name)
{
	unsigned before = 0;

	json_decref(wait_event(t, name, &before));
	return before;
}

/* --- the usual disk --- */

void tb_pattern(void *buf, size_t len, uint32_t seed)
{
	uint32_t x = seed * 2654435761U + 1;
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		p[i] = (uint8_t)x;
	}
}

void tb_blk(struct tb *t, const char *props, unsigned queues, uint64_t features)
{
	tb_disk(t, 8 * MiB, "");
	tb_device(t, "virtio-blk-pci,drive=d0%s", props ? props : "");
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, queues, 0, features);
}

void tb_blk_works(struct tb *t)
{
	struct gblk *b = &t->blk;
	uint8_t want[4096], got[4096];
	uint64_t at = guest_alloc(&t->g, 4096, 4096);
	uint8_t *p = guest_ptr(&t->g, at, 4096);

	for (unsigned i = 0; i < b->queues; i++) {
		uint64_t sector = 8 * (i + 1);

		tb_pattern(want, sizeof(want), i + (uint32_t)at);
		memcpy(p, want, sizeof(want));
		assert_int_equal(gblk_do(b, i, GBLK_OUT, sector, at, 4096), GBLK_OK);
		memset(p, 0, 4096);
		assert_int_equal(gblk_do(b, i, GBLK_IN, sector, at, 4096), GBLK_OK);
		assert_memory_equal(p, want, sizeof(want));
		assert_int_equal(pread(t->disk[0].fd, got, sizeof(got), (off_t)sector * 512),
				 sizeof(got));
		assert_memory_equal(got, want, sizeof(want));
	}
}

void tb_blk_again(struct tb *t)
{
	gblk_restart(&t->blk, t->blk.v.features);
	tb_blk_works(t);
}
