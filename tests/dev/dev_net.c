/* SPDX-License-Identifier: MIT */
/* dev_net.c - virtio-net as a driver sees it, and what it must refuse */
#include <arpa/inet.h>
#include <errno.h>

#include "cable.h"

/* --- what is offered --- */

static void identity(void **state)
{
	struct tb *t = *state;
	int fd = cable(t, SOCK_DGRAM, "");

	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	/* As QEMU offers it for a back end without the header. */
	assert_int_equal(t->net.v.offered, 0x0000010130bf8024 | t->config.features);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(gv_config(&t->net.v, i, 1), cable_mac[i]);
	assert_int_equal(gv_config(&t->net.v, 6, 2), 1);
	close(fd);
	tb_stop(t);
}

static void properties(void **state)
{
	struct tb *t = *state;
	int fd = cable(t, SOCK_DGRAM,
		       ",mac=00:16:3e:5c:81:78,host_mtu=9000,speed=10000,duplex=full,mrg_rxbuf=off,"
		       "ctrl_rx=off,rx_queue_size=1024,tx_queue_size=512");

	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC | GNET_F_MTU | 1ULL << 63);
	/* A feature goes with the one that it needs; QEMU still offers it. */
	assert_int_equal(t->net.v.offered & (GNET_F_MRG_RXBUF | GNET_F_CTRL_RX |
					     (t->qemu ? 0 : GNET_F_CTRL_RX_EXTRA)),
			 0);
	assert_int_equal(gv_config(&t->net.v, 0, 4), 0x5c3e1600);
	assert_int_equal(gv_config(&t->net.v, 10, 2), 9000);
	assert_int_equal(gv_config(&t->net.v, 12, 4), 10000);
	assert_int_equal(gv_config(&t->net.v, 16, 1), 1);
	assert_int_equal(t->net.rx[0].size, t->qemu ? t->net.rx[0].size : 1024);
	assert_int_equal(t->net.tx[0].size, t->qemu ? t->net.tx[0].size : 512);
	close(fd);
	tb_stop(t);
}

/* --- frames --- */

static void frames(void **state)
{
	static const unsigned sizes[] = {60, 61, 1514, 1518, 9014, 60000};
	struct tb *t = *state;
	int fd = cable(t, SOCK_DGRAM, "");

	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
			cable_exchange(t, fd, sizes[i], round * 100 + i);
	/* Many small ones after large ones, and the other way round: the room that is offered
	 * follows. */
	for (unsigned i = 0; i < 600; i++)
		cable_exchange(t, fd, 64, i);
	cable_exchange(t, fd, 65000, 1);
	close(fd);
	tb_stop(t);
}

static void small_buffers(void **state)
{
	struct tb *t = *state;
	int fd = cable(t, SOCK_DGRAM, "");

	gnet_open(&t->g, &t->net, 0, 1, 128, BASIC);
	cable_exchange(t, fd, 1514, 1);
	cable_exchange(t, fd, 9014, 2);
	cable_exchange(t, fd, 256 * 128 - GNET_HDR, 3); /* all of the ring */
	cable_exchange(t, fd, 60, 4);
	close(fd);
	tb_stop(t);
}

/* What can never fit is dropped after a while, and the next frame comes through. */
static void larger_than_the_ring(void **state)
{
	struct tb *t = *state;
	static uint8_t out[40000];
	int fd = cable(t, SOCK_DGRAM, "");

	tb_skip_qemu("it waits for ever");
	gnet_open(&t->g, &t->net, 0, 1, 128, BASIC);
	cable_frame(out, sizeof(out), cable_mac, 5);
	cable_lost(t, fd, out, sizeof(out));
	close(fd);
	tb_stop(t);
}

static void without_mergeable_buffers(void **state)
{
	struct tb *t = *state;
	static uint8_t out[4000];
	int fd = cable(t, SOCK_DGRAM, "");

	tb_skip_qemu("num_buffers is 0 there, and a long frame is cut");
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC & ~GNET_F_MRG_RXBUF);
	cable_exchange(t, fd, 1514, 1);
	cable_frame(out, sizeof(out), cable_mac, 5);
	cable_lost(t, fd, out, sizeof(out));
	cable_exchange(t, fd, 2048 - GNET_HDR, 2);
	close(fd);
	tb_stop(t);
}

/* A guest that does not take its frames loses none: they wait where they are. */
static void slow_guest(void **state)
{
	struct tb *t = *state;
	uint8_t out[4 + 100], in[2048];
	struct gnet_hdr h;
	int fd = cable(t, SOCK_STREAM, "");
	unsigned sent = 0;

	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	/* Until the ring is full and the socket too. */
	do {
		uint32_t prefix = htonl(100);

		memcpy(out, &prefix, 4);
		cable_frame(out + 4, 100, cable_mac, sent);
		if (send(fd, out, sizeof(out), MSG_DONTWAIT) == sizeof(out))
			sent++;
		else
			guest_wait_ms(&t->g, 1, false);
	} while (sent < 300 || gvq_used_idx(&t->net.rx[0]) < t->net.rx[0].size);
	for (unsigned i = 0; i < sent; i++) {
		assert_int_equal(gnet_recv(&t->net, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 100);
		cable_frame(out, 100, cable_mac, i);
		assert_memory_equal(in, out, 100);
	}
	close(fd);
	tb_stop(t);
}

static void read_all(int fd, void *buf, size_t len)
{
	for (size_t n = 0; n < len;) {
		ssize_t got = read(fd, (char *)buf + n, len - n);

		assert_true(got > 0);
		n += (size_t)got;
	}
}

/* A host that does not take the guest's frames stops the queue, nothing else, and gets all of
 * them later. */
static void slow_host(void **state)
{
	enum { LEN = 30000, N = 200 };
	struct tb *t = *state;
	static uint8_t in[4 + LEN], want[LEN];
	int fd = cable(t, SOCK_STREAM, "");
	struct gvq *q = &t->net.tx[0];
	unsigned done = 0;
	uint64_t at;

	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	at = guest_alloc(&t->g, (uint64_t)N * 32768, 4096);
	for (unsigned i = 0; i < N; i++) {
		uint64_t gpa = at + i * 32768;
		struct gseg s[2] = {{gpa, GNET_HDR}, {gpa + GNET_HDR, LEN}};

		cable_frame(guest_ptr(&t->g, gpa + GNET_HDR, LEN), LEN, cable_mac, i);
		assert_true(gvq_add(q, s, 2, 0, NULL) >= 0);
	}
	gvq_kick(q);
	guest_sync(&t->g);
	for (unsigned i = 0; i < N; i++) {
		read_all(fd, in, sizeof(in));
		cable_frame(want, LEN, cable_mac, i);
		assert_memory_equal(in + 4, want, LEN);
		if (!i)
			assert_true(gvq_used_idx(q) < N);
	}
	while (done < N) {
		gvq_wait(q, NULL);
		done++;
	}
	close(fd);
	tb_stop(t);
}

/* --- a hostile driver --- */

/* Send a raw chain and wait until it is taken. */
static void raw_tx(struct tb *t, const void *data, unsigned len)
{
	struct gseg s = {t->net.tx_at, len};

	memcpy(guest_ptr(&t->g, t->net.tx_at, len + 1), data, len);
	assert_true(gvq_add(&t->net.tx[0], &s, 1, 0, NULL) >= 0);
	gvq_kick(&t->net.tx[0]);
	gvq_wait(&t->net.tx[0], NULL);
}

static void bad_headers(void **state)
{
	struct tb *t = *state;
	uint8_t frame[GNET_HDR + 100] = {0}, in[200];
	struct gnet_hdr *h = (struct gnet_hdr *)frame;
	int fd = cable(t, SOCK_DGRAM, "");

	tb_skip_qemu("it breaks on short headers");
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	for (unsigned len = 1; len < GNET_HDR + 14; len++)
		raw_tx(t, frame, len);
	/* Offloads that were never offered. */
	for (unsigned gso = 1; gso < 256; gso++) {
		h->gso_type = (uint8_t)gso;
		h->gso_size = (uint16_t)(gso * 257);
		raw_tx(t, frame, sizeof(frame));
	}
	h->gso_type = 0;
	h->flags = 1;
	h->csum_start = 0xffff;
	h->csum_offset = 0xffff;
	raw_tx(t, frame, sizeof(frame));
	assert_int_equal(recv(fd, in, sizeof(in), MSG_DONTWAIT), -1);
	assert_false(gv_needs_reset(&t->net.v));
	cable_exchange(t, fd, 100, 1);
	close(fd);
	tb_stop(t);
}

static void tiny_buffers(void **state)
{
	struct tb *t = *state;
	static uint8_t out[4000];
	uint64_t at;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;

	tb_skip_qemu("it breaks on buffers without room for the header");
	/* Of one byte each: 256 of them hold a frame of up to 244 bytes. */
	gnet_open(&t->g, n, 0, 1, 1, BASIC);
	cable_frame(out, 200, cable_mac, 1);
	assert_int_equal(send(fd, out, 200, 0), 200);
	assert_true(guest_wait(&t->g, gvq_used_idx(&n->rx[0]) == 212));
	at = n->rx_at[0];
	assert_int_equal(*(uint8_t *)guest_ptr(&t->g, at + 10, 1), 212);
	assert_memory_equal(guest_ptr(&t->g, at + 12, 200), out, 200);
	assert_int_equal(send(fd, out, 4000, 0), 4000);
	assert_false(gv_needs_reset(&n->v));
	n->rx_len = 2048;
	gnet_restart(n, 1, BASIC);
	cable_exchange(t, fd, 1514, 1);
	close(fd);
	tb_stop(t);
}

/* Receive buffers that the device may only read, transmit buffers that it may only write. */
static void wrong_direction(void **state)
{
	struct tb *t = *state;
	struct gnet *n = &t->net;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gseg s;

	tb_skip_qemu("it breaks");
	gnet_open(&t->g, n, 0, 1, 2048, BASIC);
	s = (struct gseg){n->tx_at, 100};
	assert_true(gvq_add(&n->tx[0], &s, 0, 1, NULL) >= 0);
	gvq_kick(&n->tx[0]);
	assert_int_equal(gvq_wait(&n->tx[0], NULL), 0);
	cable_exchange(t, fd, 100, 1);
	close(fd);
	tb_stop(t);
}

static void reset_with_frames_waiting(void **state)
{
	struct tb *t = *state;
	uint8_t frame[100], in[200];
	int fd = cable(t, SOCK_DGRAM, "");

	tb_skip_qemu("a reset empties its cable_mac queue");
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	for (unsigned i = 0; i < 20; i++) {
		uint16_t used;

		cable_frame(frame, sizeof(frame), cable_mac, i);
		for (unsigned j = 0; j < 5; j++)
			assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
		gv_reset(&t->net.v);
		/* After the reset nothing arrives any more. */
		used = gvq_used_idx(&t->net.rx[0]);
		assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
		gv_config(&t->net.v, 0, 4);
		assert_int_equal(gvq_used_idx(&t->net.rx[0]), used);
		gnet_restart(&t->net, 1, BASIC);
		while (gvq_used_idx(&t->net.rx[0]) == 0)
			assert_true(guest_wait(&t->g, gvq_used_idx(&t->net.rx[0]) > 0));
		while (recv(fd, in, sizeof(in), MSG_DONTWAIT) > 0)
			;
	}
	close(fd);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(identity),
		tb_test(properties),
		tb_test(frames),
		tb_test(small_buffers),
		tb_test(larger_than_the_ring),
		tb_test(without_mergeable_buffers),
		tb_test(slow_guest),
		tb_test(slow_host),
		tb_test(bad_headers),
		tb_test(tiny_buffers),
		tb_test(wrong_direction),
		tb_test(reset_with_frames_waiting),
	};

	return tb_run("net", tests);
}
