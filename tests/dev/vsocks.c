/* SPDX-License-Identifier: MIT */
/* vsocks.c - see vsocks.h */
#include "vsocks.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

struct vs vs;

/* --- the host's side --- */

void vs_address(struct sockaddr_un *sa, const char *suffix)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	snprintf(sa->sun_path, sizeof(sa->sun_path), "%s%s", vs.path, suffix);
}

static int kind(unsigned type)
{
	return (type == GVSOCK_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC;
}

int vs_serve(unsigned type, unsigned port)
{
	int fd = socket(AF_UNIX, kind(type) | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa;
	char suffix[32];

	snprintf(suffix, sizeof(suffix), "_%u%s", port,
		 type == GVSOCK_SEQPACKET ? ".seqpacket" : "");
	vs_address(&sa, suffix);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

int vs_client(unsigned type)
{
	int fd = socket(AF_UNIX, kind(type), 0);
	struct sockaddr_un sa;

	vs_address(&sa, type == GVSOCK_SEQPACKET ? ".seqpacket" : "");
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

void vs_host_send(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

void vs_host_wants(int fd, const void *data, size_t len)
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

void vs_host_wants_end(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	assert_int_equal(poll(&p, 1, GUEST_WAIT_MS), 1);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
}

/* --- both --- */

void vs_start_with(struct tb *t, const char *props, uint32_t rx_len, unsigned buffers)
{
	tb_skip_qemu("it has no such device without the kernel's");
	snprintf(vs.path, sizeof(vs.path), "%s/v", t->dir);
	tb_device(t, "virtio-vsock-pci,guest-cid=%d,uds-path=%s%s", VS_CID, vs.path, props);
	tb_start(t);
	gvsock_open(&t->g, &vs.s, 0, rx_len, GVSOCK_F_SEQPACKET | GV_F_RING, buffers);
}

void vs_start(struct tb *t)
{
	vs_start_with(t, "", VS_RX_LEN, 0);
}

int vs_to_host(struct gvconn *c, unsigned type, int listener, unsigned port)
{
	static uint32_t source = 5000;
	int fd;

	assert_true(gvsock_connect(&vs.s, c, type, source++, port));
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

int vs_from_host(struct gvconn *c, unsigned type, unsigned port)
{
	int fd = vs_client(type), len;
	char text[32];

	len = snprintf(text, sizeof(text), "CONNECT %u\n", port);
	vs_host_send(fd, text, (size_t)len);
	gvsock_accept(&vs.s, c, type, port);
	len = snprintf(text, sizeof(text), "OK %u\n", c->host_port);
	vs_host_wants(fd, text, (size_t)len);
	return fd;
}

bool vs_used(const struct gvq *q)
{
	return gvq_used_idx(q) != q->used_idx;
}

void vs_silence(void)
{
	struct gvsock_hdr h;
	uint8_t buf[VS_RX_LEN];

	guest_sync(vs.s.v.g);
	assert_int_equal(gvsock_get(&vs.s, &h, buf, sizeof(buf), VS_SETTLE_MS), -1);
}

void vs_guest_close(struct gvconn *c, int fd)
{
	struct gvsock_hdr h;

	gvsock_say(c, GVSOCK_SHUTDOWN, GVSOCK_NO_RECV | GVSOCK_NO_SEND, NULL, 0);
	do {
		assert_true(gvsock_hear(c, &h, NULL, 0, GUEST_WAIT_MS) >= 0);
	} while (h.op == GVSOCK_CREDIT_UPDATE);
	assert_int_equal(h.op, GVSOCK_RST);
	vs_host_wants_end(fd);
	close(fd);
}

void vs_host_close(struct gvconn *c, int fd)
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

void vs_works(void)
{
	int listener = vs_serve(GVSOCK_STREAM, 999), fd;
	struct sockaddr_un sa;
	struct gvconn c;
	char buf[8];

	fd = vs_to_host(&c, GVSOCK_STREAM, listener, 999);
	gvsock_write(&c, "hello", 5, VS_RX_LEN, 0);
	vs_host_wants(fd, "hello", 5);
	vs_host_send(fd, "world", 5);
	assert_int_equal(gvsock_read(&c, buf, 5), 5);
	assert_memory_equal(buf, "world", 5);
	vs_guest_close(&c, fd);
	fd = vs_from_host(&c, GVSOCK_STREAM, 22);
	gvsock_write(&c, "hello", 5, VS_RX_LEN, 0);
	vs_host_wants(fd, "hello", 5);
	vs_host_close(&c, fd);
	close(listener);
	vs_address(&sa, "_999");
	unlink(sa.sun_path);
	vs_silence();
}

void vs_works_again(void)
{
	gvsock_restart(&vs.s, GVSOCK_F_SEQPACKET | GV_F_RING, 0);
	vs_works();
}

/* The i-th message, where `left` bytes are to come. */
static size_t message_len(unsigned i, size_t left)
{
	static const uint32_t len[] = {1, 2, 4052, 4053, 100, 30000, 65536, 7, 50000, 3999};

	return MIN(len[i % ARRAY_SIZE(len)], left);
}

void vs_exchange(struct gvconn *c, int fd, size_t total)
{
	uint8_t *out = malloc(total), *in = malloc(total), *got_g = malloc(total + VS_RX_LEN),
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
