/* SPDX-License-Identifier: MIT */
/* dev_vsock_limits.c - virtio-vsock with slow readers, small buffers, and many connections */
#include <dirent.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "vsocks.h"

/* --- credit --- */

/* A host that does not read: the guest may send what the socket takes and a buffer more. */
static void host_is_slow(void **state)
{
	struct tb *t = *state;
	uint8_t *data = malloc(4 * MiB);
	size_t sent = 0, got = 0;
	struct gvsock_hdr h;
	struct gvconn c;
	int fd;

	vs_start(t);
	tb_pattern(data, 4 * MiB, 3);
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
	for (;;) {
		uint32_t part = MIN(gvsock_credit(&c), 16384);

		if (!part && gvsock_hear(&c, &h, NULL, 0, VS_SETTLE_MS) < 0)
			break;
		if (part)
			gvsock_say(&c, GVSOCK_RW, 0, data + sent, part);
		sent += part;
		assert_true(sent < 4 * MiB);
	}
	assert_true(sent >= VS_BUFFER);
	assert_int_equal(c.sent - c.peer_fwd, VS_BUFFER);
	while (got < sent) {
		ssize_t n = recv(fd, data + 2 * MiB, 100000, 0);

		assert_true(n > 0);
		assert_memory_equal(data + got, data + 2 * MiB, n);
		got += (size_t)n;
	}
	gvsock_expect(&c, GVSOCK_CREDIT_UPDATE, NULL);
	assert_true(gvsock_credit(&c) >= VS_BUFFER / 2);
	vs_exchange(&c, fd, VS_BULK / 4);
	/* Asked for, it is said. */
	gvsock_say(&c, GVSOCK_CREDIT_REQUEST, 0, NULL, 0);
	gvsock_expect(&c, GVSOCK_CREDIT_UPDATE, NULL);
	assert_int_equal(gvsock_credit(&c), VS_BUFFER);
	vs_guest_close(&c, fd);
	free(data);
	tb_stop(t);
}

/* Many connections whose hosts do not read, and then do: what waited for them takes no memory any
 * more, although the connections stay. */
static void buffers_given_back(void **state)
{
	struct tb *t = *state;
	static struct gvconn c[64];
	static uint8_t data[16384];
	unsigned before, full, after;
	size_t sent[ARRAY_SIZE(c)] = {0};
	struct gvsock_hdr h;
	int fd[ARRAY_SIZE(c)];

	vs_start(t);
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
		fd[i] = vs_from_host(&c[i], GVSOCK_STREAM, 20000 + i);
	before = tb_anonymous_kb(t);
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		uint32_t part;

		while ((part = MIN(gvsock_credit(&c[i]), sizeof(data))) ||
		       gvsock_hear(&c[i], &h, NULL, 0, VS_SETTLE_MS) >= 0) {
			if (part)
				gvsock_say(&c[i], GVSOCK_RW, 0, data, part);
			sent[i] += part;
		}
	}
	full = tb_anonymous_kb(t);
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		while (sent[i]) {
			ssize_t n = recv(fd[i], data, MIN(sent[i], sizeof(data)), 0);

			assert_true(n > 0);
			sent[i] -= (size_t)n;
		}
		gvsock_expect(&c[i], GVSOCK_CREDIT_UPDATE, NULL);
	}
	after = tb_anonymous_kb(t);
	print_message("%u KiB before, %u with all buffers full, %u afterwards\n", before, full,
		      after);
	if (!VS_SANITIZED) {
		assert_true(full - before >= ARRAY_SIZE(c) * VS_BUFFER / KiB);
		assert_true(after - before <= (full - before) / 2);
	}
	vs_exchange(&c[0], fd[0], VS_BULK / 4);
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
		vs_guest_close(&c[i], fd[i]);
	tb_stop(t);
}

/* The same with messages: what waits keeps its boundaries. */
static void host_is_slow_messages(void **state)
{
	struct tb *t = *state;
	uint8_t data[3000], buf[4000];
	unsigned sent = 0, got = 0;
	struct gvsock_hdr h;
	struct gvconn c;
	int fd;

	vs_start(t);
	fd = vs_from_host(&c, GVSOCK_SEQPACKET, 5);
	for (;; sent++) {
		uint32_t len = 1 + sent * 37 % 2900;

		while (gvsock_credit(&c) < len && gvsock_hear(&c, &h, NULL, 0, VS_SETTLE_MS) >= 0)
			;
		if (gvsock_credit(&c) < len)
			break;
		tb_pattern(data, len, sent);
		/* every other one in two packets */
		if (sent & 1 && len > 1) {
			gvsock_say(&c, GVSOCK_RW, 0, data, len / 2);
			gvsock_say(&c, GVSOCK_RW, GVSOCK_EOM, data + len / 2, len - len / 2);
		} else {
			gvsock_say(&c, GVSOCK_RW, GVSOCK_EOM, data, len);
		}
	}
	assert_true(sent > 50);
	for (; got < sent; got++) {
		uint32_t len = 1 + got * 37 % 2900;

		tb_pattern(data, len, got);
		assert_int_equal(recv(fd, buf, sizeof(buf), 0), len);
		assert_memory_equal(buf, data, len);
	}
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
	vs_guest_close(&c, fd);
	tb_stop(t);
}

/* A guest with little room gets no byte more, is asked once, and gets the rest when it has room. */
static void guest_is_slow(void **state)
{
	struct tb *t = *state;
	uint8_t data[5000], buf[5000];
	struct gvsock_hdr h;
	struct gvconn c;
	int fd;

	vs_start(t);
	tb_pattern(data, sizeof(data), 4);
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
	c.alloc = 1000;
	gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	vs_host_send(fd, data, sizeof(data));
	assert_int_equal(gvsock_hear(&c, &h, buf, sizeof(buf), GUEST_WAIT_MS), 1000);
	gvsock_expect(&c, GVSOCK_CREDIT_REQUEST, NULL);
	vs_silence();
	/* No answer but none. */
	gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	vs_silence();
	c.fwd = 400;
	gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	assert_int_equal(gvsock_hear(&c, &h, buf + 1000, sizeof(buf), GUEST_WAIT_MS), 400);
	gvsock_expect(&c, GVSOCK_CREDIT_REQUEST, NULL);
	/* Less room than was promised. */
	c.alloc = 10;
	gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	vs_silence();
	c.alloc = GVSOCK_ALLOC;
	c.fwd = 1400;
	gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	assert_int_equal(gvsock_hear(&c, &h, buf + 1400, 3600, GUEST_WAIT_MS), 3600);
	assert_memory_equal(buf, data, sizeof(data));
	c.fwd = 5000;
	vs_guest_close(&c, fd);
	tb_stop(t);
}

/* Without receive buffers everything waits, and nothing is lost. */
static void few_buffers(void **state)
{
	struct tb *t = *state;
	uint8_t data[20000], buf[20000];
	struct gvsock_hdr h;
	struct gvconn c;
	size_t got = 0;
	int fd;

	vs_start_with(t, "", VS_RX_LEN, 1);
	tb_pattern(data, sizeof(data), 5);
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
	vs.s.keep = true;
	vs_host_send(fd, data, sizeof(data));
	while (got < sizeof(data)) {
		int n = gvsock_hear(&c, &h, buf + got, (uint32_t)(sizeof(buf) - got),
				    GUEST_WAIT_MS);

		assert_true(n >= 0);
		got += (size_t)n;
		assert_false(vs_used(&vs.s.rx));
		gvsock_post(&vs.s, 1);
	}
	assert_memory_equal(buf, data, sizeof(data));
	c.fwd = (uint32_t)got;
	vs.s.keep = false;
	vs_guest_close(&c, fd);
	tb_stop(t);
}

/* Room for one byte of data in each buffer; a message comes all the same. */
static void tiny_buffers(void **state)
{
	struct tb *t = *state;
	uint8_t data[300], buf[300];
	struct gvconn c;
	int fd;

	vs_start_with(t, "", 45, 0);
	tb_pattern(data, sizeof(data), 6);
	for (unsigned type = GVSOCK_STREAM; type <= GVSOCK_SEQPACKET; type++) {
		fd = vs_from_host(&c, type, 5);
		vs_host_send(fd, data, sizeof(data));
		assert_int_equal(gvsock_read(&c, buf, sizeof(buf)), sizeof(buf));
		assert_memory_equal(buf, data, sizeof(data));
		vs_guest_close(&c, fd);
	}
	tb_stop(t);
}

/* Milliseconds of CPU that the device model has used. */
static unsigned long cpu_ms(struct tb *t)
{
	unsigned long user = 0, system = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", t->g.pid);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_int_equal(fscanf(f,
				"%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				&user, &system),
			 2);
	fclose(f);
	return (user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

/* Sockets with something to say that nobody can hear now cost no time. */
static void waiting_is_idle(void **state)
{
	static uint8_t data[MiB];
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gvconn c[4];
	unsigned long before;
	int fd[4], client_fd;

	vs_start_with(t, ",max-connections=5", VS_RX_LEN, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = vs_from_host(&c[i], GVSOCK_STREAM, i);
	/* Data without credit; the same and a peer that has gone; a peer that sends no more; a
	 * guest that takes no more. */
	c[0].alloc = c[1].alloc = 0;
	gvsock_say(&c[0], GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	gvsock_say(&c[1], GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	vs_host_send(fd[0], "x", 1);
	gvsock_expect(&c[0], GVSOCK_CREDIT_REQUEST, NULL);
	vs_host_send(fd[1], "x", 1);
	gvsock_expect(&c[1], GVSOCK_CREDIT_REQUEST, NULL);
	close(fd[1]);
	shutdown(fd[2], SHUT_WR);
	gvsock_expect(&c[2], GVSOCK_SHUTDOWN, NULL);
	vs_host_send(fd[3], "x", 1);
	assert_int_equal(gvsock_hear(&c[3], &h, data, 1, GUEST_WAIT_MS), 1);
	gvsock_say(&c[3], GVSOCK_SHUTDOWN, GVSOCK_NO_RECV, NULL, 0);
	/* One client more than there may be, and one that does not say where to. */
	client_fd = vs_client(GVSOCK_STREAM);
	close(vs_client(GVSOCK_STREAM));
	vs_silence();
	before = cpu_ms(t);
	assert_false(guest_wait_ms(&t->g, 500, vs_used(&vs.s.rx)));
	assert_in_range(cpu_ms(t) - before, 0, 100);
	close(client_fd);
	close(fd[0]);
	close(fd[2]);
	close(fd[3]);
	vs_works_again();
	tb_stop(t);
}

/* --- numbers --- */

static unsigned open_files(struct tb *t)
{
	unsigned n = 0;
	char path[64];
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", t->g.pid);
	d = opendir(path);
	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned resident_kib(struct tb *t)
{
	unsigned kib = 0;
	char path[64], line[128];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", t->g.pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %u", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

/* One connection after the other, both ways, ended by either side: no descriptor and no memory is
 * left of them. $VSOCK_CONNECTIONS says how many. */
static void in_sequence(void **state)
{
	unsigned n = getenv("VSOCK_CONNECTIONS") ? (unsigned)atoi(getenv("VSOCK_CONNECTIONS"))
		     : VS_SANITIZED		 ? 3000
						 : 20000;
	unsigned files = 0, kib = 0;
	struct tb *t = *state;
	struct gvconn c;
	int listener;
	uint64_t begin;

	vs_start(t);
	listener = vs_serve(GVSOCK_STREAM, 80);
	begin = now_ns();
	for (unsigned i = 0; i < n; i++) {
		int fd;
		char b;

		if (i == n / 10) {
			files = open_files(t);
			kib = resident_kib(t);
		}
		fd = i & 1 ? vs_to_host(&c, GVSOCK_STREAM, listener, 80)
			   : vs_from_host(&c, GVSOCK_STREAM, i);
		gvsock_say(&c, GVSOCK_RW, 0, "x", 1);
		assert_int_equal(recv(fd, &b, 1, 0), 1);
		if (i & 2)
			vs_guest_close(&c, fd);
		else
			vs_host_close(&c, fd);
	}
	print_message("%u connections, %.0f us each\n", n, (double)(now_ns() - begin) / 1e3 / n);
	vs_works();
	/* The host's side of the last is closed with its packet. */
	assert_true(guest_wait(&t->g, open_files(t) <= files));
	if (!VS_SANITIZED) /* a sanitizer keeps freed memory on purpose */
		assert_in_range(resident_kib(t), 0, kib + 256);
	close(listener);
	tb_stop(t);
}

/* Packets of many connections come as they come. */
static void in_parallel(void **state)
{
	enum { N = 300 };
	static struct gvconn c[N];
	static int fd[N];
	struct tb *t = *state;
	unsigned seen[N] = {0}, heard = 0;
	int listener;

	vs_start(t);
	listener = vs_serve(GVSOCK_STREAM, 80);
	for (unsigned i = 0; i < N; i++)
		fd[i] = i & 1 ? vs_to_host(&c[i], GVSOCK_STREAM, listener, 80)
			      : vs_from_host(&c[i], GVSOCK_STREAM, 20000 + i);
	for (unsigned i = 0; i < N; i++)
		vs_host_send(fd[i], &i, sizeof(i));
	while (heard < N) {
		struct gvsock_hdr h;
		unsigned value;

		assert_int_equal(gvsock_get(&vs.s, &h, &value, sizeof(value), GUEST_WAIT_MS), 4);
		assert_int_equal(h.op, GVSOCK_RW);
		assert_in_range(value, 0, N - 1);
		assert_int_equal(h.dst_port, c[value].port);
		assert_int_equal(h.src_port, c[value].host_port);
		assert_int_equal(seen[value]++, 0);
		heard++;
		gvsock_say(&c[value], GVSOCK_RW, 0, &value, sizeof(value));
	}
	for (unsigned i = 0; i < N; i++)
		vs_host_wants(fd[i], &i, sizeof(i));
	gv_reset(&vs.s.v);
	for (unsigned i = 0; i < N; i++) {
		vs_host_wants_end(fd[i]);
		close(fd[i]);
	}
	close(listener);
	vs_works_again();
	tb_stop(t);
}

/* With as many as there may be, the guest is refused and the host waits. */
static void at_the_limit(void **state)
{
	struct gvconn c[4], more;
	struct tb *t = *state;
	int listener, fd[4], late;

	vs_start_with(t, ",max-connections=4", VS_RX_LEN, 0);
	listener = vs_serve(GVSOCK_STREAM, 80);
	for (unsigned i = 0; i < 4; i++)
		fd[i] = vs_to_host(&c[i], GVSOCK_STREAM, listener, 80);
	assert_false(gvsock_connect(&vs.s, &more, GVSOCK_STREAM, 1, 80));
	late = vs_client(GVSOCK_STREAM);
	vs_host_send(late, "CONNECT 5\n", 10);
	vs_silence();
	vs_guest_close(&c[0], fd[0]);
	gvsock_accept(&vs.s, &more, GVSOCK_STREAM, 5);
	vs_host_close(&more, late);
	for (unsigned i = 1; i < 4; i++)
		vs_guest_close(&c[i], fd[i]);
	close(listener);
	vs_works();
	tb_stop(t);
}

/* Without descriptors it is the same, and costs no time; when there are some again all goes on. */
static void no_descriptors(void **state)
{
	struct rlimit old, none;
	struct gvconn c, more;
	struct tb *t = *state;
	unsigned long before;
	int listener, fd, late;

	vs_start(t);
	listener = vs_serve(GVSOCK_STREAM, 80);
	fd = vs_to_host(&c, GVSOCK_STREAM, listener, 80);
	assert_int_equal(prlimit(t->g.pid, RLIMIT_NOFILE, NULL, &old), 0);
	none = (struct rlimit){0, old.rlim_max};
	assert_int_equal(prlimit(t->g.pid, RLIMIT_NOFILE, &none, NULL), 0);
	assert_false(gvsock_connect(&vs.s, &more, GVSOCK_STREAM, 1, 80));
	late = vs_client(GVSOCK_STREAM);
	vs_host_send(late, "CONNECT 5\n", 10);
	before = cpu_ms(t);
	assert_false(guest_wait_ms(&t->g, 500, vs_used(&vs.s.rx)));
	assert_in_range(cpu_ms(t) - before, 0, 100);
	vs_exchange(&c, fd, VS_BULK / 8);
	assert_int_equal(prlimit(t->g.pid, RLIMIT_NOFILE, &old, NULL), 0);
	gvsock_accept(&vs.s, &more, GVSOCK_STREAM, 5);
	vs_host_close(&more, late);
	vs_guest_close(&c, fd);
	close(listener);
	vs_works();
	tb_stop(t);
}

/* A process that may have few descriptors does not give them all to connections. */
static void few_descriptors(void **state)
{
	struct rlimit old, few = {80, 80};
	struct gvconn c[10], more;
	struct tb *t = *state;
	int listener, fd[10];
	char *text;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	vs_start(t);
	setrlimit(RLIMIT_NOFILE, &old);
	listener = vs_serve(GVSOCK_STREAM, 80);
	for (unsigned i = 0; i < 10; i++)
		fd[i] = vs_to_host(&c[i], GVSOCK_STREAM, listener, 80);
	assert_false(gvsock_connect(&vs.s, &more, GVSOCK_STREAM, 1, 80));
	text = guest_log(&t->g);
	assert_non_null(strstr(text, "10 connections at a time, not 1024"));
	free(text);
	for (unsigned i = 0; i < 10; i++)
		vs_guest_close(&c[i], fd[i]);
	close(listener);
	vs_works();
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(host_is_slow),		tb_test(buffers_given_back),
		tb_test(host_is_slow_messages), tb_test(guest_is_slow),
		tb_test(few_buffers),		tb_test(tiny_buffers),
		tb_test(waiting_is_idle),	tb_test(in_sequence),
		tb_test(in_parallel),		tb_test(at_the_limit),
		tb_test(no_descriptors),	tb_test(few_descriptors),
	};

	return tb_run("vsock_limits", tests);
}
