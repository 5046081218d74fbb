/* SPDX-License-Identifier: MIT */
/* dev_vsock.c - virtio-vsock as a driver sees it, and as programs of the host see it */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tb.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define CID	  7
#define BUFFER	  (128 * KiB) /* the device's, of a connection */
#define REPLIES	  128
#define RX_LEN	  4096
#define BULK	  (1 * MiB)
#define SETTLE_MS 50 /* for "nothing comes": a wrong packet has long come by then */

struct vs {
	struct gvsock s;
	char path[64];
};
static struct vs vs;

/* --- the host's side --- */

static void address(struct sockaddr_un *sa, const char *suffix)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	snprintf(sa->sun_path, sizeof(sa->sun_path), "%s%s", vs.path, suffix);
}

static int kind(unsigned type)
{
	return (type == GVSOCK_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC;
}

/* Listen where the guest's connections to `port` go. */
static int serve(unsigned type, unsigned port)
{
	int fd = socket(AF_UNIX, kind(type) | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa;
	char suffix[32];

	snprintf(suffix, sizeof(suffix), "_%u%s", port,
		 type == GVSOCK_SEQPACKET ? ".seqpacket" : "");
	address(&sa, suffix);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

static int client(unsigned type)
{
	int fd = socket(AF_UNIX, kind(type), 0);
	struct sockaddr_un sa;

	address(&sa, type == GVSOCK_SEQPACKET ? ".seqpacket" : "");
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void host_send(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

/* Exactly `len` bytes, or one message of that length. */
static void host_wants(int fd, const void *data, size_t len)
{
	uint8_t *buf = malloc(len + 1);
	socklen_t size = sizeof(int);
	size_t done = 0;
	int sock;

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_TYPE, &sock, &size), 0);

	while (done < len) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t got;

		assert_int_equal(poll(&p, 1, GUEST_WAIT_MS), 1);
		got = recv(fd, buf + done, len - done + (sock == SOCK_SEQPACKET), MSG_DONTWAIT);
		assert_true(got > 0);
		done += (size_t)got;
	}
	assert_int_equal(done, len);
	assert_memory_equal(buf, data, len);
	free(buf);
}

static void host_wants_end(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	assert_int_equal(poll(&p, 1, GUEST_WAIT_MS), 1);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
}

/* --- both --- */

static void vsock_with(struct tb *t, const char *props, uint32_t rx_len, unsigned buffers)
{
	tb_skip_qemu("it has no such device without the kernel's");
	snprintf(vs.path, sizeof(vs.path), "%s/v", t->dir);
	tb_device(t, "virtio-vsock-pci,guest-cid=%d,uds-path=%s%s", CID, vs.path, props);
	tb_start(t);
	gvsock_open(&t->g, &vs.s, 0, rx_len, GVSOCK_F_SEQPACKET | GV_F_RING, buffers);
}

static void vsock(struct tb *t)
{
	vsock_with(t, "", RX_LEN, 0);
}

/* Connect to a listening socket of the host; the host's end of it. */
static int to_host(struct gvconn *c, unsigned type, int listener, unsigned port)
{
	static uint32_t source = 5000;
	int fd;

	assert_true(gvsock_connect(&vs.s, c, type, source++, port));
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* The host connects to the guest's port; its end of it. */
static int from_host(struct gvconn *c, unsigned type, unsigned port)
{
	int fd = client(type), len;
	char text[32];

	len = snprintf(text, sizeof(text), "CONNECT %u\n", port);
	host_send(fd, text, (size_t)len);
	gvsock_accept(&vs.s, c, type, port);
	len = snprintf(text, sizeof(text), "OK %u\n", c->host_port);
	host_wants(fd, text, (size_t)len);
	return fd;
}

/* Has the device used more than was taken? */
static bool used(const struct gvq *q)
{
	return gvq_used_idx(q) != q->used_idx;
}

/* No packet comes. */
static void silence(void)
{
	struct gvsock_hdr h;
	uint8_t buf[RX_LEN];

	guest_sync(vs.s.v.g);
	assert_int_equal(gvsock_get(&vs.s, &h, buf, sizeof(buf), SETTLE_MS), -1);
}

/* The guest closes in good order. */
static void guest_close(struct gvconn *c, int fd)
{
	struct gvsock_hdr h;

	gvsock_say(c, GVSOCK_SHUTDOWN, GVSOCK_NO_RECV | GVSOCK_NO_SEND, NULL, 0);
	do {
		assert_true(gvsock_hear(c, &h, NULL, 0, GUEST_WAIT_MS) >= 0);
	} while (h.op == GVSOCK_CREDIT_UPDATE);
	assert_int_equal(h.op, GVSOCK_RST);
	host_wants_end(fd);
	close(fd);
}

/* The host closes in good order. */
static void host_close(struct gvconn *c, int fd)
{
	struct gvsock_hdr h;
	uint32_t flags = 0;

	close(fd);
	while (flags != (GVSOCK_NO_RECV | GVSOCK_NO_SEND)) {
		assert_true(gvsock_hear(c, &h, NULL, 0, GUEST_WAIT_MS) >= 0);
		if (h.op == GVSOCK_CREDIT_UPDATE || h.op == GVSOCK_CREDIT_REQUEST)
			continue;
		assert_int_equal(h.op, GVSOCK_SHUTDOWN);
		flags = h.flags;
	}
	gvsock_say(c, GVSOCK_RST, 0, NULL, 0);
}

/* Ordinary connections both ways. */
static void works(void)
{
	int listener = serve(GVSOCK_STREAM, 999), fd;
	struct gvconn c;
	char buf[8];

	fd = to_host(&c, GVSOCK_STREAM, listener, 999);
	gvsock_write(&c, "hello", 5, RX_LEN, 0);
	host_wants(fd, "hello", 5);
	host_send(fd, "world", 5);
	assert_int_equal(gvsock_read(&c, buf, 5), 5);
	assert_memory_equal(buf, "world", 5);
	guest_close(&c, fd);
	fd = from_host(&c, GVSOCK_STREAM, 22);
	gvsock_write(&c, "hello", 5, RX_LEN, 0);
	host_wants(fd, "hello", 5);
	host_close(&c, fd);
	close(listener);
	snprintf(buf, sizeof(buf), "_999");
	{
		struct sockaddr_un sa;

		address(&sa, buf);
		unlink(sa.sun_path);
	}
	silence();
}

/* Reset the driver, then that. */
static void works_again(void)
{
	gvsock_restart(&vs.s, GVSOCK_F_SEQPACKET | GV_F_RING, 0);
	works();
}

/* The i-th message, where `left` bytes are to come. */
static size_t message_len(unsigned i, size_t left)
{
	static const uint32_t len[] = {1, 2, 4052, 4053, 100, 30000, 65536, 7, 50000, 3999};

	return MIN(len[i % ARRAY_SIZE(len)], left);
}

/* `total` bytes each way at the same time, whatever comes first; on seqpacket connections as
 * messages, whose boundaries are checked. */
static void exchange(struct gvconn *c, int fd, size_t total)
{
	uint8_t *out = malloc(total), *in = malloc(total), *got_g = malloc(total + RX_LEN),
		*got_h = malloc(total + 70000);
	size_t g_sent = 0, h_sent = 0, g_got = 0, h_got = 0, g_end, h_end, part;
	bool seq = c->type == GVSOCK_SEQPACKET;
	unsigned g_msg = 0, h_msg = 0, g_read = 0, h_read = 0;
	size_t g_begin = 0;
	uint64_t end = now_ns() + 60 * 1000000000ULL;
	struct gvsock_hdr h;

	tb_pattern(out, total, 1);
	tb_pattern(in, total, 2);
	g_end = seq ? message_len(0, total) : total;
	while (g_got < total || h_got < total) {
		ssize_t n;

		assert_true(now_ns() < end);
		/* guest to host */
		part = MIN(MIN(g_end - g_sent, (size_t)gvsock_credit(c)), (size_t)50000);
		if (part) {
			bool last = seq && part == g_end - g_sent;

			gvsock_say(c, GVSOCK_RW, last ? GVSOCK_EOM : 0, out + g_sent,
				   (uint32_t)part);
			g_sent += part;
			if (last)
				g_end = g_sent + message_len(++g_msg, total - g_sent);
		}
		n = recv(fd, got_h + h_got, seq ? 70000 : total - h_got, MSG_DONTWAIT);
		if (n > 0) {
			if (seq)
				assert_int_equal(n, message_len(h_read++, total - h_got));
			h_got += (size_t)n;
		}
		/* host to guest */
		h_end = seq ? message_len(h_msg, total - h_sent) : total - h_sent;
		n = h_end ? send(fd, in + h_sent, h_end, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
		if (n > 0) {
			h_sent += (size_t)n;
			h_msg++;
		}
		while (gvsock_hear(c, &h, got_g + g_got, (uint32_t)(total - g_got), 0) >= 0) {
			if (h.op != GVSOCK_RW) {
				assert_in_range(h.op, GVSOCK_CREDIT_UPDATE, GVSOCK_CREDIT_REQUEST);
				continue;
			}
			g_got += h.len;
			c->fwd += h.len;
			if (seq && h.flags & GVSOCK_EOM) {
				assert_int_equal(g_got - g_begin,
						 message_len(g_read++, total - g_begin));
				g_begin = g_got;
			}
			if (c->fwd - c->told > c->alloc / 2) {
				gvsock_say(c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
				c->told = c->fwd;
			}
		}
	}
	assert_memory_equal(got_h, out, total);
	assert_memory_equal(got_g, in, total);
	if (seq) {
		assert_int_equal(g_begin, total);
		assert_int_equal(g_read, h_msg);
		assert_int_equal(h_read, g_msg);
	}
	free(out);
	free(in);
	free(got_g);
	free(got_h);
}

/* --- the normal path --- */

static void identity(void **state)
{
	struct tb *t = *state;
	struct stat st;
	char path[80];

	vsock(t);
	assert_int_equal(gpci_cfg(&vs.s.v.pci, 0x08, 4) >> 8, 0x078000);
	assert_int_equal(gv_common(&vs.s.v, GV_NUM_QUEUES, 2), 3);
	assert_int_equal(vs.s.cid, CID);
	assert_true(vs.s.v.features & GVSOCK_F_SEQPACKET);
	assert_int_equal(vs.s.rx.size, 128);
	assert_int_equal(vs.s.tx.size, 128);
	assert_int_equal(vs.s.event.size, 128);
	snprintf(path, sizeof(path), "%s.seqpacket", vs.path);
	assert_int_equal(stat(vs.path, &st), 0);
	assert_int_equal(stat(path, &st), 0);
	works();
	tb_stop(t);
	assert_int_equal(stat(vs.path, &st), -1);
	assert_int_equal(stat(path, &st), -1);
}

static void guest_connects(struct tb *t, unsigned type)
{
	struct gvconn c;
	int listener, fd;

	vsock(t);
	listener = serve(type, 80);
	fd = to_host(&c, type, listener, 80);
	assert_int_equal(c.peer_alloc, BUFFER);
	exchange(&c, fd, BULK);
	guest_close(&c, fd);
	fd = to_host(&c, type, listener, 80);
	exchange(&c, fd, BULK / 8);
	host_close(&c, fd);
	close(listener);
	silence();
	tb_stop(t);
}

static void host_connects(struct tb *t, unsigned type)
{
	struct gvconn c;
	int fd;

	vsock(t);
	fd = from_host(&c, type, 1234);
	assert_int_equal(c.peer_alloc, BUFFER);
	exchange(&c, fd, BULK);
	guest_close(&c, fd);
	fd = from_host(&c, type, 1234);
	exchange(&c, fd, BULK / 8);
	host_close(&c, fd);
	silence();
	tb_stop(t);
}

static void stream_to_host(void **state)
{
	guest_connects(*state, GVSOCK_STREAM);
}

static void stream_from_host(void **state)
{
	host_connects(*state, GVSOCK_STREAM);
}

static void seqpacket_to_host(void **state)
{
	guest_connects(*state, GVSOCK_SEQPACKET);
}

static void seqpacket_from_host(void **state)
{
	host_connects(*state, GVSOCK_SEQPACKET);
}

/* On a thread of its own; with resets while data is on its way. */
static void on_iothread(void **state)
{
	struct tb *t = *state;
	struct gvconn c;
	int fd;

	tb_arg(t, "-object");
	tb_arg(t, "iothread,id=io0");
	vsock_with(t, ",iothread=io0", RX_LEN, 0);
	fd = from_host(&c, GVSOCK_STREAM, 5);
	exchange(&c, fd, BULK);
	host_close(&c, fd);
	for (unsigned i = 0; i < 20; i++) {
		uint8_t data[5000] = {0};

		fd = from_host(&c, GVSOCK_STREAM, 5);
		host_send(fd, data, sizeof(data));
		gvsock_say(&c, GVSOCK_RW, 0, data, sizeof(data));
		gvsock_restart(&vs.s, GV_F_RING, 0);
		host_wants(fd, data, sizeof(data));
		assert_true(recv(fd, data, 1, 0) <= 0);
		close(fd);
	}
	works_again();
	tb_stop(t);
}

/* What a client sends behind its line, at once or in pieces, is the guest's. */
static void hello_in_pieces(void **state)
{
	static const char text[] = "cONNECT 77\nearly bird";
	struct tb *t = *state;
	struct gvconn c;
	char buf[32];
	int fd;

	vsock(t);
	for (unsigned step = 1; step < 30; step += 7) {
		fd = client(GVSOCK_STREAM);
		for (unsigned at = 0; at < sizeof(text) - 1; at += step) {
			host_send(fd, text + at, MIN(step, sizeof(text) - 1 - at));
			guest_load(&t->g, vs.s.v.common, 4);
		}
		gvsock_accept(&vs.s, &c, GVSOCK_STREAM, 77);
		assert_int_equal(gvsock_read(&c, buf, 10), 10);
		assert_memory_equal(buf, "early bird", 10);
		host_close(&c, fd);
	}
	silence();
	tb_stop(t);
}

static void hello_wrong(void **state)
{
	static const char *const bad[] = {
		"GET / HTTP/1.1\r\n",
		"CONNECT\n",
		"CONNECT x\n",
		"CONNECT -1\n",
		"CONNECT 4294967295\n",
		"CONNECT 99999999999\n",
		"\n",
		"CONNECT 1 2\n",
		"CONNECT 0000000000000000000000000000000000000001\n",
	};
	struct tb *t = *state;
	int fd;

	vsock(t);
	for (unsigned type = GVSOCK_STREAM; type <= GVSOCK_SEQPACKET; type++) {
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
			struct pollfd p;
			char byte;

			fd = client(type);
			host_send(fd, bad[i], strlen(bad[i]));
			p = (struct pollfd){.fd = fd, .events = POLLIN};
			assert_int_equal(poll(&p, 1, GUEST_WAIT_MS), 1);
			assert_true(recv(fd, &byte, 1, 0) <= 0);
			close(fd);
		}
	}
	fd = client(GVSOCK_STREAM);
	host_send(fd, "CONN", 4);
	close(fd);
	silence();
	works();
	tb_stop(t);
}

static void refused(void **state)
{
	struct tb *t = *state;
	struct sockaddr_un sa;
	struct gvconn c;
	int fd;

	vsock(t);
	assert_false(gvsock_connect(&vs.s, &c, GVSOCK_STREAM, 1, 80));
	address(&sa, "_81");
	fd = open(sa.sun_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_false(gvsock_connect(&vs.s, &c, GVSOCK_STREAM, 1, 81));
	close(fd);
	/* A stream socket for a seqpacket one, and the other way round. */
	fd = serve(GVSOCK_STREAM, 82);
	assert_false(gvsock_connect(&vs.s, &c, GVSOCK_SEQPACKET, 1, 82));
	close(fd);
	assert_false(gvsock_connect(&vs.s, &c, GVSOCK_STREAM, 1, UINT32_MAX));
	/* By the guest: the client's end of file, without an OK. */
	fd = client(GVSOCK_STREAM);
	host_send(fd, "CONNECT 9\n", 10);
	{
		struct gvsock_hdr h;

		assert_int_equal(gvsock_get(&vs.s, &h, NULL, 0, GUEST_WAIT_MS), 0);
		assert_int_equal(h.op, GVSOCK_REQUEST);
		c = (struct gvconn){.s = &vs.s, .type = h.type, .port = 9, .host_port = h.src_port};
	}
	gvsock_say(&c, GVSOCK_RST, 0, NULL, 0);
	host_wants_end(fd);
	close(fd);
	works();
	tb_stop(t);
}

/* A guest that does not answer: the client is told after two seconds, and so is the guest. Where
 * there is no driver, only the client. */
static void no_answer(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	uint64_t begin;
	int fd;

	vsock(t);
	fd = client(GVSOCK_STREAM);
	begin = now_ns();
	host_send(fd, "CONNECT 9\n", 10);
	assert_int_equal(gvsock_get(&vs.s, &h, NULL, 0, GUEST_WAIT_MS), 0);
	assert_int_equal(h.op, GVSOCK_REQUEST);
	host_wants_end(fd);
	assert_in_range((now_ns() - begin) / 1000000, 1900, 8000);
	close(fd);
	assert_int_equal(gvsock_get(&vs.s, &h, NULL, 0, GUEST_WAIT_MS), 0);
	assert_int_equal(h.op, GVSOCK_RST);
	gv_reset(&vs.s.v);
	fd = client(GVSOCK_STREAM);
	host_send(fd, "CONNECT 9\n", 10);
	host_wants_end(fd);
	close(fd);
	works_again();
	tb_stop(t);
}

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

	vsock(t);
	tb_pattern(data, 4 * MiB, 3);
	fd = from_host(&c, GVSOCK_STREAM, 5);
	for (;;) {
		uint32_t part = MIN(gvsock_credit(&c), 16384);

		if (!part && gvsock_hear(&c, &h, NULL, 0, SETTLE_MS) < 0)
			break;
		if (part)
			gvsock_say(&c, GVSOCK_RW, 0, data + sent, part);
		sent += part;
		assert_true(sent < 4 * MiB);
	}
	assert_true(sent >= BUFFER);
	assert_int_equal(c.sent - c.peer_fwd, BUFFER);
	while (got < sent) {
		ssize_t n = recv(fd, data + 2 * MiB, 100000, 0);

		assert_true(n > 0);
		assert_memory_equal(data + got, data + 2 * MiB, n);
		got += (size_t)n;
	}
	gvsock_expect(&c, GVSOCK_CREDIT_UPDATE, NULL);
	assert_true(gvsock_credit(&c) >= BUFFER / 2);
	exchange(&c, fd, BULK / 4);
	/* Asked for, it is said. */
	gvsock_say(&c, GVSOCK_CREDIT_REQUEST, 0, NULL, 0);
	gvsock_expect(&c, GVSOCK_CREDIT_UPDATE, NULL);
	assert_int_equal(gvsock_credit(&c), BUFFER);
	guest_close(&c, fd);
	free(data);
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

	vsock(t);
	fd = from_host(&c, GVSOCK_SEQPACKET, 5);
	for (;; sent++) {
		uint32_t len = 1 + sent * 37 % 2900;

		while (gvsock_credit(&c) < len && gvsock_hear(&c, &h, NULL, 0, SETTLE_MS) >= 0)
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
	guest_close(&c, fd);
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

	vsock(t);
	tb_pattern(data, sizeof(data), 4);
	fd = from_host(&c, GVSOCK_STREAM, 5);
	c.alloc = 1000;
	gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	host_send(fd, data, sizeof(data));
	assert_int_equal(gvsock_hear(&c, &h, buf, sizeof(buf), GUEST_WAIT_MS), 1000);
	gvsock_expect(&c, GVSOCK_CREDIT_REQUEST, NULL);
	silence();
	/* No answer but none. */
	gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	silence();
	c.fwd = 400;
	gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	assert_int_equal(gvsock_hear(&c, &h, buf + 1000, sizeof(buf), GUEST_WAIT_MS), 400);
	gvsock_expect(&c, GVSOCK_CREDIT_REQUEST, NULL);
	/* Less room than was promised. */
	c.alloc = 10;
	gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	silence();
	c.alloc = GVSOCK_ALLOC;
	c.fwd = 1400;
	gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	assert_int_equal(gvsock_hear(&c, &h, buf + 1400, 3600, GUEST_WAIT_MS), 3600);
	assert_memory_equal(buf, data, sizeof(data));
	c.fwd = 5000;
	guest_close(&c, fd);
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

	vsock_with(t, "", RX_LEN, 1);
	tb_pattern(data, sizeof(data), 5);
	fd = from_host(&c, GVSOCK_STREAM, 5);
	vs.s.keep = true;
	host_send(fd, data, sizeof(data));
	while (got < sizeof(data)) {
		int n = gvsock_hear(&c, &h, buf + got, (uint32_t)(sizeof(buf) - got),
				    GUEST_WAIT_MS);

		assert_true(n >= 0);
		got += (size_t)n;
		assert_false(used(&vs.s.rx));
		gvsock_post(&vs.s, 1);
	}
	assert_memory_equal(buf, data, sizeof(data));
	c.fwd = (uint32_t)got;
	vs.s.keep = false;
	guest_close(&c, fd);
	tb_stop(t);
}

/* Room for one byte of data in each buffer; a message comes all the same. */
static void tiny_buffers(void **state)
{
	struct tb *t = *state;
	uint8_t data[300], buf[300];
	struct gvconn c;
	int fd;

	vsock_with(t, "", 45, 0);
	tb_pattern(data, sizeof(data), 6);
	for (unsigned type = GVSOCK_STREAM; type <= GVSOCK_SEQPACKET; type++) {
		fd = from_host(&c, type, 5);
		host_send(fd, data, sizeof(data));
		assert_int_equal(gvsock_read(&c, buf, sizeof(buf)), sizeof(buf));
		assert_memory_equal(buf, data, sizeof(data));
		guest_close(&c, fd);
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

	vsock_with(t, ",max-connections=5", RX_LEN, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = from_host(&c[i], GVSOCK_STREAM, i);
	/* Data without credit; the same and a peer that has gone; a peer that sends no more; a
	 * guest that takes no more. */
	c[0].alloc = c[1].alloc = 0;
	gvsock_say(&c[0], GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	gvsock_say(&c[1], GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
	host_send(fd[0], "x", 1);
	gvsock_expect(&c[0], GVSOCK_CREDIT_REQUEST, NULL);
	host_send(fd[1], "x", 1);
	gvsock_expect(&c[1], GVSOCK_CREDIT_REQUEST, NULL);
	close(fd[1]);
	shutdown(fd[2], SHUT_WR);
	gvsock_expect(&c[2], GVSOCK_SHUTDOWN, NULL);
	host_send(fd[3], "x", 1);
	assert_int_equal(gvsock_hear(&c[3], &h, data, 1, GUEST_WAIT_MS), 1);
	gvsock_say(&c[3], GVSOCK_SHUTDOWN, GVSOCK_NO_RECV, NULL, 0);
	/* One client more than there may be, and one that does not say where to. */
	client_fd = client(GVSOCK_STREAM);
	close(client(GVSOCK_STREAM));
	silence();
	before = cpu_ms(t);
	assert_false(guest_wait_ms(&t->g, 500, used(&vs.s.rx)));
	assert_in_range(cpu_ms(t) - before, 0, 100);
	close(client_fd);
	close(fd[0]);
	close(fd[2]);
	close(fd[3]);
	works_again();
	tb_stop(t);
}

/* --- shutdown --- */

static void guest_shuts_down(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gvconn c;
	char buf[8];
	int fd;

	vsock(t);
	/* It will send no more: end of file for the host, which still sends. */
	fd = from_host(&c, GVSOCK_STREAM, 5);
	gvsock_say(&c, GVSOCK_RW, 0, "last", 4);
	gvsock_say(&c, GVSOCK_SHUTDOWN, GVSOCK_NO_SEND, NULL, 0);
	host_wants(fd, "last", 4);
	host_wants_end(fd);
	host_send(fd, "answer", 6);
	assert_int_equal(gvsock_read(&c, buf, 6), 6);
	close(fd);
	assert_true(gvsock_hear(&c, &h, NULL, 0, GUEST_WAIT_MS) == 0);
	assert_int_equal(h.op, GVSOCK_SHUTDOWN);
	gvsock_say(&c, GVSOCK_SHUTDOWN, GVSOCK_NO_RECV | GVSOCK_NO_SEND, NULL, 0);
	do {
		assert_true(gvsock_hear(&c, &h, NULL, 0, GUEST_WAIT_MS) == 0);
	} while (h.op == GVSOCK_SHUTDOWN);
	assert_int_equal(h.op, GVSOCK_RST);
	/* It will receive no more: the host cannot send, but still gets. */
	fd = from_host(&c, GVSOCK_STREAM, 5);
	gvsock_say(&c, GVSOCK_SHUTDOWN, GVSOCK_NO_RECV, NULL, 0);
	assert_true(guest_wait(&t->g, send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0));
	gvsock_say(&c, GVSOCK_RW, 0, "still", 5);
	host_wants(fd, "still", 5);
	guest_close(&c, fd);
	works();
	tb_stop(t);
}

static void host_shuts_down(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gvconn c;
	char buf[8];
	int fd;

	vsock(t);
	for (unsigned type = GVSOCK_STREAM; type <= GVSOCK_SEQPACKET; type++) {
		fd = from_host(&c, type, 5);
		host_send(fd, "last", 4);
		shutdown(fd, SHUT_WR);
		assert_int_equal(gvsock_read(&c, buf, 4), 4);
		gvsock_expect(&c, GVSOCK_SHUTDOWN, &h);
		assert_int_equal(h.flags, GVSOCK_NO_SEND);
		gvsock_say(&c, GVSOCK_RW, GVSOCK_EOM, "answer", 6);
		host_wants(fd, "answer", 6);
		guest_close(&c, fd);
	}
	works();
	tb_stop(t);
}

/* The guest has closed, and its last data is not lost on a slow reader. */
static void tail_of_data(void **state)
{
	struct tb *t = *state;
	uint8_t *data = malloc(BUFFER);
	struct gvsock_hdr h;
	struct gvconn c;
	size_t sent = 0;
	int fd;

	vsock(t);
	tb_pattern(data, BUFFER, 7);
	fd = from_host(&c, GVSOCK_STREAM, 5);
	while (gvsock_credit(&c) || gvsock_hear(&c, &h, NULL, 0, SETTLE_MS) >= 0) {
		uint32_t part = MIN(gvsock_credit(&c), 4096);

		if (part)
			gvsock_say(&c, GVSOCK_RW, 0, data + sent % BUFFER, part);
		sent += part;
		assert_int_equal(sent % 4096, 0);
	}
	gvsock_say(&c, GVSOCK_SHUTDOWN, GVSOCK_NO_RECV | GVSOCK_NO_SEND, NULL, 0);
	gvsock_expect(&c, GVSOCK_RST, NULL);
	/* Its ports are free again, the old connection does not mix with a new one. */
	gvsock_say(&c, GVSOCK_RW, 0, "x", 1);
	gvsock_expect(&c, GVSOCK_RST, NULL);
	gvsock_restart(&vs.s, GV_F_RING, 0);
	for (size_t got = 0; got < sent; got += 4096)
		host_wants(fd, data + got % BUFFER, MIN(4096, sent - got));
	host_wants_end(fd);
	close(fd);
	free(data);
	works();
	tb_stop(t);
}

/* The host has closed, and the guest does not react: it is over after eight seconds. */
static void no_reaction(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gvconn c;
	uint64_t begin;
	int fd;

	vsock(t);
	fd = from_host(&c, GVSOCK_STREAM, 5);
	close(fd);
	begin = now_ns();
	do {
		gvsock_expect(&c, GVSOCK_SHUTDOWN, &h);
	} while (h.flags != (GVSOCK_NO_RECV | GVSOCK_NO_SEND));
	assert_true(guest_wait_ms(&t->g, 12000, used(&vs.s.rx)));
	gvsock_expect(&c, GVSOCK_RST, NULL);
	assert_in_range((now_ns() - begin) / 1000000, 7900, 12000);
	works();
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
		     : SANITIZED		 ? 3000
						 : 20000;
	unsigned files = 0, kib = 0;
	struct tb *t = *state;
	struct gvconn c;
	int listener;
	uint64_t begin;

	vsock(t);
	listener = serve(GVSOCK_STREAM, 80);
	begin = now_ns();
	for (unsigned i = 0; i < n; i++) {
		int fd;
		char b;

		if (i == n / 10) {
			files = open_files(t);
			kib = resident_kib(t);
		}
		fd = i & 1 ? to_host(&c, GVSOCK_STREAM, listener, 80)
			   : from_host(&c, GVSOCK_STREAM, i);
		gvsock_say(&c, GVSOCK_RW, 0, "x", 1);
		assert_int_equal(recv(fd, &b, 1, 0), 1);
		if (i & 2)
			guest_close(&c, fd);
		else
			host_close(&c, fd);
	}
	print_message("%u connections, %.0f us each\n", n, (double)(now_ns() - begin) / 1e3 / n);
	works();
	/* The host's side of the last is closed with its packet. */
	assert_true(guest_wait(&t->g, open_files(t) <= files));
	if (!SANITIZED) /* a sanitizer keeps freed memory on purpose */
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

	vsock(t);
	listener = serve(GVSOCK_STREAM, 80);
	for (unsigned i = 0; i < N; i++)
		fd[i] = i & 1 ? to_host(&c[i], GVSOCK_STREAM, listener, 80)
			      : from_host(&c[i], GVSOCK_STREAM, 20000 + i);
	for (unsigned i = 0; i < N; i++)
		host_send(fd[i], &i, sizeof(i));
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
		host_wants(fd[i], &i, sizeof(i));
	gv_reset(&vs.s.v);
	for (unsigned i = 0; i < N; i++) {
		host_wants_end(fd[i]);
		close(fd[i]);
	}
	close(listener);
	works_again();
	tb_stop(t);
}

/* With as many as there may be, the guest is refused and the host waits. */
static void at_the_limit(void **state)
{
	struct gvconn c[4], more;
	struct tb *t = *state;
	int listener, fd[4], late;

	vsock_with(t, ",max-connections=4", RX_LEN, 0);
	listener = serve(GVSOCK_STREAM, 80);
	for (unsigned i = 0; i < 4; i++)
		fd[i] = to_host(&c[i], GVSOCK_STREAM, listener, 80);
	assert_false(gvsock_connect(&vs.s, &more, GVSOCK_STREAM, 1, 80));
	late = client(GVSOCK_STREAM);
	host_send(late, "CONNECT 5\n", 10);
	silence();
	guest_close(&c[0], fd[0]);
	gvsock_accept(&vs.s, &more, GVSOCK_STREAM, 5);
	host_close(&more, late);
	for (unsigned i = 1; i < 4; i++)
		guest_close(&c[i], fd[i]);
	close(listener);
	works();
	tb_stop(t);
}

/* --- reset, pause --- */

static void reset_in_flight(void **state)
{
	struct tb *t = *state;
	static uint8_t data[MiB];
	struct gvconn c;
	int fd, waiting;

	vsock(t);
	for (unsigned i = 0; i < 10; i++) {
		fd = from_host(&c, GVSOCK_STREAM, 5);
		waiting = client(GVSOCK_STREAM);
		host_send(waiting, "CONNECT 6\n", 10);
		fcntl(fd, F_SETFL, O_NONBLOCK);
		assert_true(send(fd, data, sizeof(data), MSG_NOSIGNAL) > 0);
		for (unsigned k = 0; k < 4; k++)
			gvsock_say(&c, GVSOCK_RW, 0, data, 20000);
		gvsock_restart(&vs.s, GV_F_RING, 0);
		while (recv(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
			;
		assert_true(
			guest_wait(&t->g, send(fd, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE));
		close(fd);
		host_wants_end(waiting);
		close(waiting);
		/* Nothing of it is known any more. */
		gvsock_say(&c, GVSOCK_RW, 0, data, 1);
		gvsock_expect(&c, GVSOCK_RST, NULL);
	}
	works_again();
	tb_stop(t);
}

/* While QMP says stop, data waits. */
static void paused(void **state)
{
	struct tb *t = *state;
	struct gvconn c;
	char buf[8];
	int fd;

	vsock(t);
	fd = from_host(&c, GVSOCK_STREAM, 5);
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	host_send(fd, "waits", 5);
	silence();
	tb_qmp_ok(t, "{\"execute\": \"cont\"}");
	assert_int_equal(gvsock_read(&c, buf, 5), 5);
	guest_close(&c, fd);
	tb_stop(t);
}

/* --- a guest that breaks the rules --- */

static struct gvsock_hdr header(unsigned op, uint32_t port, uint32_t host_port)
{
	return (struct gvsock_hdr){.src_cid = CID,
				   .dst_cid = 2,
				   .src_port = port,
				   .dst_port = host_port,
				   .type = GVSOCK_STREAM,
				   .op = (uint16_t)op,
				   .buf_alloc = GVSOCK_ALLOC};
}

/* The packet is answered by RST, with ports turned round. */
static void wants_rst(const struct gvsock_hdr *sent)
{
	struct gvsock_hdr h;

	assert_int_equal(gvsock_get(&vs.s, &h, NULL, 0, GUEST_WAIT_MS), 0);
	assert_int_equal(h.op, GVSOCK_RST);
	assert_int_equal(h.type, sent->type);
	assert_int_equal(h.src_port, sent->dst_port);
	assert_int_equal(h.dst_port, sent->src_port);
}

static void unknown_connection(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;

	vsock(t);
	for (unsigned op = 0; op < 12; op++) {
		h = header(op, 1, 80);
		gvsock_put(&vs.s, &h, NULL, 0);
		if (op == GVSOCK_RST)
			silence();
		else
			wants_rst(&h);
	}
	for (unsigned type = 0; type < 5; type += 1 + (type == 0) * 2) {
		h = header(GVSOCK_REQUEST, 1, 80);
		h.type = (uint16_t)type;
		gvsock_put(&vs.s, &h, NULL, 0);
		wants_rst(&h);
	}
	/* Seqpacket without its feature. */
	gvsock_restart(&vs.s, GV_F_RING, 0);
	close(serve(GVSOCK_SEQPACKET, 80));
	h = header(GVSOCK_REQUEST, 1, 80);
	h.type = GVSOCK_SEQPACKET;
	gvsock_put(&vs.s, &h, NULL, 0);
	wants_rst(&h);
	works_again();
	tb_stop(t);
}

/* Of somebody else, for somebody else: nobody hears of it. */
static void wrong_cids(void **state)
{
	static const uint64_t cid[] = {
		0,	   1, 2, CID, CID + 1, UINT32_MAX, (1ULL << 32) | 2, (1ULL << 32) | CID,
		UINT64_MAX};
	struct tb *t = *state;
	int listener;

	vsock(t);
	listener = serve(GVSOCK_STREAM, 80);
	for (unsigned i = 0; i < ARRAY_SIZE(cid); i++) {
		struct gvsock_hdr h = header(GVSOCK_REQUEST, 1, 80);

		if (cid[i] != CID) {
			h.src_cid = cid[i];
			gvsock_put(&vs.s, &h, NULL, 0);
		}
		if (cid[i] != 2) {
			h = header(GVSOCK_REQUEST, 1, 80);
			h.dst_cid = cid[i];
			gvsock_put(&vs.s, &h, NULL, 0);
		}
	}
	silence();
	assert_int_equal(accept4(listener, NULL, NULL, SOCK_CLOEXEC), -1);
	close(listener);
	works_again();
	tb_stop(t);
}

/* On a connection that is up, each of these ends it on both sides, and no other. */
static void broken_rules(void **state)
{
	static uint8_t data[BUFFER + 1];
	struct gvconn c, other;
	struct tb *t = *state;
	int fd, other_fd;

	vsock(t);
	other_fd = from_host(&other, GVSOCK_STREAM, 6);
	for (unsigned i = 0; i < 10; i++) {
		unsigned op = GVSOCK_CREDIT_UPDATE, len = 0, flags = 0;
		bool seq = i == 7;

		fd = from_host(&c, seq ? GVSOCK_SEQPACKET : GVSOCK_STREAM, 5);
		switch (i) {
		case 0: /* more than was ever received */
			c.fwd = 1;
			break;
		case 1:
			c.fwd = UINT32_MAX;
			break;
		case 2: /* and back */
			host_send(fd, "data", 4);
			assert_int_equal(gvsock_read(&c, data, 4), 4);
			gvsock_say(&c, op, 0, NULL, 0);
			c.fwd = 3;
			break;
		case 3:
			op = 0;
			break;
		case 4:
			op = 8;
			break;
		case 5:
			op = GVSOCK_REQUEST;
			break;
		case 6: /* twice */
			op = GVSOCK_RESPONSE;
			break;
		case 7: /* a message without an end */
			gvsock_say(&c, GVSOCK_RW, 0, data, BUFFER / 2);
			op = GVSOCK_RW;
			len = BUFFER / 2;
			break;
		case 8:
			op = GVSOCK_RW;
			len = BUFFER + 1;
			break;
		case 9:
			gvsock_say(&c, GVSOCK_SHUTDOWN, GVSOCK_NO_SEND, NULL, 0);
			op = GVSOCK_RW;
			len = 1;
			break;
		}
		gvsock_say(&c, op, flags, data, len);
		gvsock_expect(&c, GVSOCK_RST, NULL);
		host_wants_end(fd);
		close(fd);
	}
	/* A packet of the other type. */
	fd = from_host(&c, GVSOCK_STREAM, 5);
	c.type = GVSOCK_SEQPACKET;
	gvsock_say(&c, GVSOCK_RW, GVSOCK_EOM, "x", 1);
	c.type = GVSOCK_STREAM;
	gvsock_expect(&c, GVSOCK_RST, NULL);
	close(fd);
	gvsock_write(&other, "fine", 4, 4, 0);
	host_wants(other_fd, "fine", 4);
	close(other_fd);
	works_again();
	tb_stop(t);
}

/* Data that a slow host has not taken, and more than the buffer: it ends there. */
static void beyond_credit(void **state)
{
	static uint8_t data[16384];
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gvconn c;
	unsigned n = 0;
	int fd;

	vsock(t);
	fd = from_host(&c, GVSOCK_STREAM, 5);
	do {
		gvsock_say(&c, GVSOCK_RW, 0, data, sizeof(data));
		assert_true(n++ < 4 * MiB / sizeof(data));
		h.op = 0;
		while (h.op != GVSOCK_RST && gvsock_hear(&c, &h, NULL, 0, 0) >= 0)
			;
	} while (h.op != GVSOCK_RST);
	assert_true(n > BUFFER / sizeof(data));
	close(fd);
	works_again();
	tb_stop(t);
}

/* Packets that are no packets: dropped. Headers in pieces: taken. */
static void odd_chains(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gseg s[50];
	struct gvconn c;
	uint8_t *p;
	int fd;

	vsock(t);
	fd = from_host(&c, GVSOCK_STREAM, 5);
	p = guest_ptr(&t->g, vs.s.tx_at, 4096);
	h = header(GVSOCK_RW, 5, c.host_port);
	h.len = 6;
	memcpy(p, &h, sizeof(h));
	memcpy(p + sizeof(h), "pieces", 6);
	/* Less than a header; a header that says more than there is. */
	for (unsigned len = 1; len < sizeof(h) + 6; len += 7) {
		s[0] = (struct gseg){vs.s.tx_at, len};
		assert_true(gvq_add(&vs.s.tx, s, 1, 0, NULL) >= 0);
		gvq_kick(&vs.s.tx);
		gvq_wait(&vs.s.tx, NULL);
	}
	/* Writable in place of readable. */
	assert_true(gvq_add(&vs.s.tx, s, 0, 1, NULL) >= 0);
	gvq_kick(&vs.s.tx);
	gvq_wait(&vs.s.tx, NULL);
	silence();
	/* A byte at a time. */
	for (unsigned i = 0; i < ARRAY_SIZE(s); i++)
		s[i] = (struct gseg){vs.s.tx_at + i, 1};
	assert_int_equal(sizeof(h) + 6, ARRAY_SIZE(s));
	assert_true(gvq_add(&vs.s.tx, s, ARRAY_SIZE(s), 0, NULL) >= 0);
	gvq_kick(&vs.s.tx);
	gvq_wait(&vs.s.tx, NULL);
	host_wants(fd, "pieces", 6);
	/* More in the chain than the header says. */
	s[0] = (struct gseg){vs.s.tx_at, 4096};
	assert_true(gvq_add(&vs.s.tx, s, 1, 0, NULL) >= 0);
	gvq_kick(&vs.s.tx);
	gvq_wait(&vs.s.tx, NULL);
	host_wants(fd, "pieces", 6);
	/* A length with nothing behind it, and the largest one. */
	h.len = UINT32_MAX;
	gvsock_put(&vs.s, &h, NULL, 0);
	silence();
	close(fd);
	works_again();
	tb_stop(t);
}

/* Receive buffers that are too small for a packet, and a readable one, come back empty. */
static void odd_buffers(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gseg s;
	uint64_t at;
	int fd;

	vsock_with(t, "", RX_LEN, 0);
	gvsock_restart(&vs.s, GV_F_RING, 1);
	vs.s.keep = true;
	h = header(GVSOCK_RW, 1, 1);
	gvsock_put(&vs.s, &h, NULL, 0);
	assert_int_equal(gvsock_get(&vs.s, &h, NULL, 0, GUEST_WAIT_MS), 0);
	at = guest_alloc(&t->g, 64, 64);
	for (unsigned i = 0; i < 3; i++) {
		s = (struct gseg){at, i == 2 ? 64 : i ? 44 : 1};
		assert_true(gvq_add(&vs.s.rx, &s, i == 2, i != 2, NULL) >= 0);
	}
	gvq_kick(&vs.s.rx);
	h = header(GVSOCK_RW, 1, 1);
	gvsock_put(&vs.s, &h, NULL, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(gvq_wait(&vs.s.rx, NULL), 0);
	fd = client(GVSOCK_STREAM);
	close(fd);
	vs.s.keep = false;
	works_again();
	tb_stop(t);
}

/* Answers pile up to a bound; then packets wait, and go on when there are buffers. */
static void no_room_for_answers(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gseg s;
	uint8_t *p;

	vsock(t);
	gvsock_restart(&vs.s, GV_F_RING, 1);
	vs.s.keep = true;
	for (unsigned i = 0; i < REPLIES + 1; i++) {
		h = header(GVSOCK_RW, i, 80);
		gvsock_put(&vs.s, &h, NULL, 0);
	}
	/* One went into the buffer, the others wait, and this one has to. */
	p = guest_ptr(&t->g, vs.s.tx_at, sizeof(h));
	h = header(GVSOCK_RW, REPLIES + 1, 80);
	memcpy(p, &h, sizeof(h));
	s = (struct gseg){vs.s.tx_at, sizeof(h)};
	assert_true(gvq_add(&vs.s.tx, &s, 1, 0, NULL) >= 0);
	gvq_kick(&vs.s.tx);
	assert_false(guest_wait_ms(&t->g, SETTLE_MS, used(&vs.s.tx)));
	for (unsigned i = 0; i < REPLIES + 2; i++) {
		assert_int_equal(gvsock_get(&vs.s, &h, NULL, 0, GUEST_WAIT_MS), 0);
		assert_int_equal(h.op, GVSOCK_RST);
		assert_int_equal(h.dst_port, i);
		gvsock_post(&vs.s, 1);
	}
	gvq_wait(&vs.s.tx, NULL);
	vs.s.keep = false;
	works_again();
	tb_stop(t);
}

/* Connections that are broken while there are no buffers count until the guest has its RST. */
static void broken_without_buffers(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	int listener;

	vsock_with(t, ",max-connections=8", RX_LEN, 0);
	listener = serve(GVSOCK_STREAM, 80);
	gvsock_restart(&vs.s, GV_F_RING, 1);
	vs.s.keep = true;
	for (unsigned i = 0; i < 60; i++) {
		h = header(GVSOCK_REQUEST, i, 80);
		gvsock_put(&vs.s, &h, NULL, 0);
		h = header(99, i, 80);
		gvsock_put(&vs.s, &h, NULL, 0);
	}
	for (unsigned i = 0; i < 60; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		assert_int_equal(fd >= 0, i < 8);
		if (fd >= 0)
			host_wants_end(fd);
		close(fd);
	}
	close(listener);
	vs.s.keep = false;
	works_again();
	tb_stop(t);
}

/* The host's message is too large for the guest to ever hold. */
static void message_too_large(void **state)
{
	static uint8_t data[GVSOCK_ALLOC + 1];
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gvconn c;
	int fd;

	vsock(t);
	fd = from_host(&c, GVSOCK_SEQPACKET, 5);
	host_send(fd, data, GVSOCK_ALLOC);
	assert_int_equal(gvsock_read(&c, data, GVSOCK_ALLOC), GVSOCK_ALLOC);
	/* An empty one is not there for the guest. */
	host_send(fd, data, 0);
	host_send(fd, "x", 1);
	assert_int_equal(gvsock_read(&c, data, 1), 1);
	host_send(fd, data, GVSOCK_ALLOC + 1);
	do {
		assert_true(gvsock_hear(&c, &h, NULL, 0, GUEST_WAIT_MS) >= 0);
	} while (h.op == GVSOCK_CREDIT_UPDATE);
	assert_int_equal(h.op, GVSOCK_RST);
	close(fd);
	works_again();
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(identity),
		tb_test(stream_to_host),
		tb_test(stream_from_host),
		tb_test(seqpacket_to_host),
		tb_test(seqpacket_from_host),
		tb_test(on_iothread),
		tb_test(hello_in_pieces),
		tb_test(hello_wrong),
		tb_test(refused),
		tb_test(no_answer),
		tb_test(host_is_slow),
		tb_test(host_is_slow_messages),
		tb_test(guest_is_slow),
		tb_test(few_buffers),
		tb_test(tiny_buffers),
		tb_test(waiting_is_idle),
		tb_test(guest_shuts_down),
		tb_test(host_shuts_down),
		tb_test(tail_of_data),
		tb_test(no_reaction),
		tb_test(in_sequence),
		tb_test(in_parallel),
		tb_test(at_the_limit),
		tb_test(reset_in_flight),
		tb_test(paused),
		tb_test(unknown_connection),
		tb_test(wrong_cids),
		tb_test(broken_rules),
		tb_test(beyond_credit),
		tb_test(odd_chains),
		tb_test(odd_buffers),
		tb_test(no_room_for_answers),
		tb_test(broken_without_buffers),
		tb_test(message_too_large),
	};

	return tb_run("vsock", tests);
}
