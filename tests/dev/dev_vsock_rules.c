/* SPDX-License-Identifier: MIT */
/* dev_vsock_rules.c - virtio-vsock and a guest that breaks the rules */
#include <sys/socket.h>

#include "vsocks.h"

#define REPLIES 128 /* that wait for receive buffers */

static struct gvsock_hdr header(unsigned op, uint32_t port, uint32_t host_port)
{
	return (struct gvsock_hdr){.src_cid = VS_CID,
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

	vs_start(t);
	for (unsigned op = 0; op < 12; op++) {
		h = header(op, 1, 80);
		gvsock_put(&vs.s, &h, NULL, 0);
		if (op == GVSOCK_RST)
			vs_silence();
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
	close(vs_serve(GVSOCK_SEQPACKET, 80));
	h = header(GVSOCK_REQUEST, 1, 80);
	h.type = GVSOCK_SEQPACKET;
	gvsock_put(&vs.s, &h, NULL, 0);
	wants_rst(&h);
	vs_works_again();
	tb_stop(t);
}

/* Of somebody else, for somebody else: nobody hears of it. */
static void wrong_cids(void **state)
{
	static const uint64_t cid[] = {0,
				       1,
				       2,
				       VS_CID,
				       VS_CID + 1,
				       UINT32_MAX,
				       (1ULL << 32) | 2,
				       (1ULL << 32) | VS_CID,
				       UINT64_MAX};
	struct tb *t = *state;
	int listener;

	vs_start(t);
	listener = vs_serve(GVSOCK_STREAM, 80);
	for (unsigned i = 0; i < ARRAY_SIZE(cid); i++) {
		struct gvsock_hdr h = header(GVSOCK_REQUEST, 1, 80);

		if (cid[i] != VS_CID) {
			h.src_cid = cid[i];
			gvsock_put(&vs.s, &h, NULL, 0);
		}
		if (cid[i] != 2) {
			h = header(GVSOCK_REQUEST, 1, 80);
			h.dst_cid = cid[i];
			gvsock_put(&vs.s, &h, NULL, 0);
		}
	}
	vs_silence();
	assert_int_equal(accept4(listener, NULL, NULL, SOCK_CLOEXEC), -1);
	close(listener);
	vs_works_again();
	tb_stop(t);
}

/* On a connection that is up, each of these ends it on both sides, and no other. */
static void broken_rules(void **state)
{
	static uint8_t data[VS_BUFFER + 1];
	struct gvconn c, other;
	struct tb *t = *state;
	int fd, other_fd;

	vs_start(t);
	other_fd = vs_from_host(&other, GVSOCK_STREAM, 6);
	for (unsigned i = 0; i < 10; i++) {
		unsigned op = GVSOCK_CREDIT_UPDATE, len = 0;
		bool seq = i == 7;

		fd = vs_from_host(&c, seq ? GVSOCK_SEQPACKET : GVSOCK_STREAM, 5);
		switch (i) {
		case 0: /* more than was ever received */
			c.fwd = 1;
			break;
		case 1:
			c.fwd = UINT32_MAX;
			break;
		case 2: /* and back */
			vs_host_send(fd, "data", 4);
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
			gvsock_say(&c, GVSOCK_RW, 0, data, VS_BUFFER / 2);
			op = GVSOCK_RW;
			len = VS_BUFFER / 2;
			break;
		case 8:
			op = GVSOCK_RW;
			len = VS_BUFFER + 1;
			break;
		case 9:
			gvsock_say(&c, GVSOCK_SHUTDOWN, GVSOCK_NO_SEND, NULL, 0);
			op = GVSOCK_RW;
			len = 1;
			break;
		}
		gvsock_say(&c, op, 0, data, len);
		gvsock_expect(&c, GVSOCK_RST, NULL);
		vs_host_wants_end(fd);
		close(fd);
	}
	/* A packet of the other type. */
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
	c.type = GVSOCK_SEQPACKET;
	gvsock_say(&c, GVSOCK_RW, GVSOCK_EOM, "x", 1);
	c.type = GVSOCK_STREAM;
	gvsock_expect(&c, GVSOCK_RST, NULL);
	close(fd);
	gvsock_write(&other, "fine", 4, 4, 0);
	vs_host_wants(other_fd, "fine", 4);
	close(other_fd);
	vs_works_again();
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

	vs_start(t);
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
	do {
		gvsock_say(&c, GVSOCK_RW, 0, data, sizeof(data));
		assert_true(n++ < 4 * MiB / sizeof(data));
		h.op = 0;
		while (h.op != GVSOCK_RST && gvsock_hear(&c, &h, NULL, 0, 0) >= 0)
			;
	} while (h.op != GVSOCK_RST);
	assert_true(n > VS_BUFFER / sizeof(data));
	close(fd);
	vs_works_again();
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

	vs_start(t);
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
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
	vs_silence();
	/* A byte at a time. */
	for (unsigned i = 0; i < ARRAY_SIZE(s); i++)
		s[i] = (struct gseg){vs.s.tx_at + i, 1};
	assert_int_equal(sizeof(h) + 6, ARRAY_SIZE(s));
	assert_true(gvq_add(&vs.s.tx, s, ARRAY_SIZE(s), 0, NULL) >= 0);
	gvq_kick(&vs.s.tx);
	gvq_wait(&vs.s.tx, NULL);
	vs_host_wants(fd, "pieces", 6);
	/* More in the chain than the header says. */
	s[0] = (struct gseg){vs.s.tx_at, 4096};
	assert_true(gvq_add(&vs.s.tx, s, 1, 0, NULL) >= 0);
	gvq_kick(&vs.s.tx);
	gvq_wait(&vs.s.tx, NULL);
	vs_host_wants(fd, "pieces", 6);
	/* A length with nothing behind it, and the largest one. */
	h.len = UINT32_MAX;
	gvsock_put(&vs.s, &h, NULL, 0);
	vs_silence();
	close(fd);
	vs_works_again();
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

	vs_start_with(t, "", VS_RX_LEN, 0);
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
	fd = vs_client(GVSOCK_STREAM);
	close(fd);
	vs.s.keep = false;
	vs_works_again();
	tb_stop(t);
}

/* Answers pile up to a bound; then packets wait, and go on when there are buffers. */
static void no_room_for_answers(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gseg s;
	uint8_t *p;

	vs_start(t);
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
	assert_false(guest_wait_ms(&t->g, VS_SETTLE_MS, vs_used(&vs.s.tx)));
	for (unsigned i = 0; i < REPLIES + 2; i++) {
		assert_int_equal(gvsock_get(&vs.s, &h, NULL, 0, GUEST_WAIT_MS), 0);
		assert_int_equal(h.op, GVSOCK_RST);
		assert_int_equal(h.dst_port, i);
		gvsock_post(&vs.s, 1);
	}
	gvq_wait(&vs.s.tx, NULL);
	vs.s.keep = false;
	vs_works_again();
	tb_stop(t);
}

/* Connections that are broken while there are no buffers count until the guest has its RST. */
static void broken_without_buffers(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	int listener;

	vs_start_with(t, ",max-connections=8", VS_RX_LEN, 0);
	listener = vs_serve(GVSOCK_STREAM, 80);
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
			vs_host_wants_end(fd);
		close(fd);
	}
	close(listener);
	vs.s.keep = false;
	vs_works_again();
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

	vs_start(t);
	fd = vs_from_host(&c, GVSOCK_SEQPACKET, 5);
	vs_host_send(fd, data, GVSOCK_ALLOC);
	assert_int_equal(gvsock_read(&c, data, GVSOCK_ALLOC), GVSOCK_ALLOC);
	/* An empty one is not there for the guest. */
	vs_host_send(fd, data, 0);
	vs_host_send(fd, "x", 1);
	assert_int_equal(gvsock_read(&c, data, 1), 1);
	vs_host_send(fd, data, GVSOCK_ALLOC + 1);
	do {
		assert_true(gvsock_hear(&c, &h, NULL, 0, GUEST_WAIT_MS) >= 0);
	} while (h.op == GVSOCK_CREDIT_UPDATE);
	assert_int_equal(h.op, GVSOCK_RST);
	close(fd);
	vs_works_again();
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(unknown_connection),  tb_test(wrong_cids),
		tb_test(broken_rules),	      tb_test(beyond_credit),
		tb_test(odd_chains),	      tb_test(odd_buffers),
		tb_test(no_room_for_answers), tb_test(broken_without_buffers),
		tb_test(message_too_large),
	};

	return tb_run("vsock_rules", tests);
}
