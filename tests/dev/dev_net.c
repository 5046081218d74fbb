/* SPDX-License-Identifier: MIT */
/* dev_net.c - virtio-net as a driver sees it, and what it must refuse
 *
 * The other end of the cable is a socket of the test, or the host's side of a tap. The program has
 * a network namespace of its own where it may; the tests that need a tap are skipped where it may
 * not.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../own_net.h"
#include "tb.h"

#define CLASS_RX       0
#define CLASS_MAC      1
#define CLASS_VLAN     2
#define CLASS_ANNOUNCE 3
#define CLASS_MQ       4
#define CLASS_OFFLOADS 5
#define OK	       0
#define REFUSED	       1

#define OUR_TYPE 0x88b5
#define BURST	 126 /* frames, seven times eighteen */
#define BASIC	 (GV_F_RING | GNET_F_MAC | GNET_F_STATUS | GNET_F_MRG_RXBUF)
#define WITH_CTRL                                                                            \
	(BASIC | GNET_F_CTRL_VQ | GNET_F_CTRL_RX | GNET_F_CTRL_RX_EXTRA | GNET_F_CTRL_VLAN | \
	 GNET_F_CTRL_MAC)

static const char *no_tap;
static const char *vhost = ""; /* $TB_VHOST: the kernel serves the queues of taps */
static const uint8_t own[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

/* --- the other end --- */

/* A machine with one card on one end of a socket pair; returns the other end. */
static int cable(struct tb *t, int type, const char *props)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, type, 0, sv), 0);
	fcntl(sv[1], F_SETFD, FD_CLOEXEC);
	t->config.keep_fds[0] = sv[0];
	tb_arg(t, "-netdev");
	if (type == SOCK_STREAM)
		tb_arg(t, "stream,id=n0,addr.type=fd,addr.str=%d", sv[0]);
	else
		tb_arg(t, "dgram,id=n0,local.type=fd,local.str=%d", sv[0]);
	tb_device(t, "virtio-net-pci,netdev=n0,id=nic0%s", props);
	tb_start(t);
	close(sv[0]);
	return sv[1];
}

static void make_frame(uint8_t *f, size_t len, const uint8_t to[6], uint32_t seed)
{
	tb_pattern(f, len, seed);
	memcpy(f, to, 6);
	memcpy(f + 6, "\x02\0\0\0\0\1", 6);
	f[12] = OUR_TYPE >> 8;
	f[13] = OUR_TYPE & 0xff;
}

/* Host to guest and back, on the datagram cable. */
static void exchange(struct tb *t, int fd, unsigned len, uint32_t seed)
{
	static uint8_t out[65536], in[65536];
	struct gnet_hdr h;

	make_frame(out, len, own, seed);
	assert_int_equal(send(fd, out, len, 0), len);
	memset(&h, 0xee, sizeof(h));
	assert_int_equal(gnet_recv(&t->net, 0, &h, in, sizeof(in), GUEST_WAIT_MS), len);
	assert_memory_equal(in, out, len);
	assert_int_equal(h.flags, 0);
	assert_int_equal(h.gso_type, 0);
	assert_int_equal(h.num_buffers, (len + GNET_HDR + t->net.rx_len - 1) / t->net.rx_len);

	make_frame(out, len, (const uint8_t[6]){2, 0, 0, 0, 0, 1}, seed + 1);
	gnet_send(&t->net, 0, NULL, out, len);
	assert_int_equal(recv(fd, in, sizeof(in), 0), len);
	assert_memory_equal(in, out, len);
}

/* A frame that the guest does not get, shown by the next one, which it gets. */
static void lost(struct tb *t, int fd, const uint8_t *frame, unsigned len)
{
	assert_int_equal(send(fd, frame, len, 0), len);
	exchange(t, fd, 64, len);
}

/* --- what is offered --- */

static void identity(void **state)
{
	struct tb *t = *state;
	int fd = cable(t, SOCK_DGRAM, "");

	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	/* As QEMU offers it for a back end without the header. */
	assert_int_equal(t->net.v.offered, 0x0000010130bf8024 | t->config.features);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(gv_config(&t->net.v, i, 1), own[i]);
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
			exchange(t, fd, sizes[i], round * 100 + i);
	/* Many small ones after large ones, and the other way round: the room that is offered
	 * follows. */
	for (unsigned i = 0; i < 600; i++)
		exchange(t, fd, 64, i);
	exchange(t, fd, 65000, 1);
	close(fd);
	tb_stop(t);
}

static void small_buffers(void **state)
{
	struct tb *t = *state;
	int fd = cable(t, SOCK_DGRAM, "");

	gnet_open(&t->g, &t->net, 0, 1, 128, BASIC);
	exchange(t, fd, 1514, 1);
	exchange(t, fd, 9014, 2);
	exchange(t, fd, 256 * 128 - GNET_HDR, 3); /* all of the ring */
	exchange(t, fd, 60, 4);
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
	make_frame(out, sizeof(out), own, 5);
	lost(t, fd, out, sizeof(out));
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
	exchange(t, fd, 1514, 1);
	make_frame(out, sizeof(out), own, 5);
	lost(t, fd, out, sizeof(out));
	exchange(t, fd, 2048 - GNET_HDR, 2);
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
		make_frame(out + 4, 100, own, sent);
		if (send(fd, out, sizeof(out), MSG_DONTWAIT) == sizeof(out))
			sent++;
		else
			guest_wait_ms(&t->g, 1, false);
	} while (sent < 300 || gvq_used_idx(&t->net.rx[0]) < t->net.rx[0].size);
	for (unsigned i = 0; i < sent; i++) {
		assert_int_equal(gnet_recv(&t->net, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 100);
		make_frame(out, 100, own, i);
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

		make_frame(guest_ptr(&t->g, gpa + GNET_HDR, LEN), LEN, own, i);
		assert_true(gvq_add(q, s, 2, 0, NULL) >= 0);
	}
	gvq_kick(q);
	guest_sync(&t->g);
	for (unsigned i = 0; i < N; i++) {
		read_all(fd, in, sizeof(in));
		make_frame(want, LEN, own, i);
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

/* --- control queue --- */

static void receive_modes(void **state)
{
	static const uint8_t other[6] = {0x52, 0x54, 0, 9, 9, 9}, group[6] = {1, 0, 0x5e, 0, 0, 1};
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct tb *t = *state;
	const uint8_t on = 1, off = 0;
	uint8_t to_other[80], to_group[80], to_all[80], in[2048];
	struct gnet_hdr h;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;

	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	make_frame(to_other, 80, other, 1);
	make_frame(to_group, 80, group, 2);
	make_frame(to_all, 80, all, 3);
	assert_int_equal(send(fd, to_other, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 0, &off, 1), OK); /* promiscuous no more */
	lost(t, fd, to_other, 80);
	lost(t, fd, to_group, 80);
	assert_int_equal(send(fd, to_all, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 1, &on, 1), OK); /* all multicast */
	assert_int_equal(send(fd, to_group, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 5, &on, 1), OK); /* no broadcast */
	lost(t, fd, to_all, 80);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 2, &on, 1), OK); /* all unicast */
	assert_int_equal(send(fd, to_other, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	close(fd);
	tb_stop(t);
}

/* The lists of MAC_TABLE_SET, `uni` and `multi` addresses long. */
static uint8_t set_table(struct gnet *n, unsigned uni, unsigned multi, const uint8_t *first)
{
	uint8_t data[4000] = {0};
	unsigned len = 8 + 6 * (uni + multi);

	put_le32(data, uni);
	put_le32(data + 4 + 6 * uni, multi);
	if (uni)
		memcpy(data + 4, first, 6);
	else if (multi)
		memcpy(data + 8, first, 6);
	return gnet_ctrl(n, CLASS_MAC, 0, data, len);
}

static void mac_table(void **state)
{
	static const uint8_t other[6] = {0x52, 0x54, 0, 9, 9, 9}, group[6] = {1, 0, 0x5e, 0, 0, 1};
	static const uint8_t renamed[6] = {0x52, 0x54, 0, 7, 7, 7};
	struct tb *t = *state;
	const uint8_t off = 0;
	uint8_t to_other[80], to_group[80], in[2048], data[64] = {0};
	struct gnet_hdr h;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;

	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	make_frame(to_other, 80, other, 1);
	make_frame(to_group, 80, group, 2);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 0, &off, 1), OK);
	assert_int_equal(set_table(n, 1, 0, other), OK);
	assert_int_equal(send(fd, to_other, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	lost(t, fd, to_group, 80);
	assert_int_equal(set_table(n, 0, 1, group), OK);
	lost(t, fd, to_other, 80);
	assert_int_equal(send(fd, to_group, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	/* More than the table holds: all of that kind. */
	assert_int_equal(set_table(n, 65, 0, own), OK);
	assert_int_equal(send(fd, to_other, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	lost(t, fd, to_group, 80);
	assert_int_equal(set_table(n, 60, 5, own), OK);
	assert_int_equal(send(fd, to_group, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	lost(t, fd, to_other, 80);

	/* Lists that lie change nothing. */
	put_le32(data, 0xffffffff);
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 0, data, sizeof(data)), REFUSED);
	put_le32(data, 0x2aaaaaab); /* times 6 wraps in 32 bits */
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 0, data, sizeof(data)), REFUSED);
	put_le32(data, 0);
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 0, data, 4), REFUSED);
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 0, data, 9), REFUSED);
	lost(t, fd, to_other, 80);

	/* The card's own address. */
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 1, renamed, 5), REFUSED);
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 1, renamed, 6), OK);
	assert_int_equal(gv_config(&n->v, 5, 1), 7);
	make_frame(to_other, 80, renamed, 1);
	assert_int_equal(send(fd, to_other, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	gnet_restart(n, 1, WITH_CTRL);
	assert_int_equal(gv_config(&n->v, 5, 1), own[5]);
	exchange(t, fd, 100, 1);
	close(fd);
	tb_stop(t);
}

static void vlan_filter(void **state)
{
	struct tb *t = *state;
	const uint8_t off = 0;
	uint8_t tagged[80], in[2048], id[2];
	struct gnet_hdr h;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;

	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 0, &off, 1), OK);
	make_frame(tagged, 80, own, 1);
	tagged[12] = 0x81;
	tagged[13] = 0;
	tagged[14] = 0x6f;
	tagged[15] = 0xff;
	lost(t, fd, tagged, 80);
	put_le16(id, 4095);
	assert_int_equal(gnet_ctrl(n, CLASS_VLAN, 0, id, 2), OK);
	assert_int_equal(send(fd, tagged, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	assert_int_equal(gnet_ctrl(n, CLASS_VLAN, 1, id, 2), OK);
	lost(t, fd, tagged, 80);
	put_le16(id, 4096);
	assert_int_equal(gnet_ctrl(n, CLASS_VLAN, 0, id, 2), REFUSED);
	close(fd);
	tb_stop(t);
}

static void bad_commands(void **state)
{
	static const struct {
		uint8_t class, cmd;
		unsigned len;
	} bad[] = {
		{CLASS_RX, 0, 0},	{CLASS_RX, 0, 2},
		{CLASS_RX, 6, 1},	{CLASS_MAC, 2, 6},
		{CLASS_VLAN, 2, 2},	{CLASS_VLAN, 0, 1},
		{CLASS_ANNOUNCE, 0, 0}, {CLASS_MQ, 0, 2},
		{CLASS_OFFLOADS, 0, 8}, {6, 0, 1},
		{255, 255, 1},
	};
	struct tb *t = *state;
	const uint8_t data[16] = {1};
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;
	struct gseg s;

	tb_skip_qemu("it breaks on some of them");
	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(gnet_ctrl(n, bad[i].class, bad[i].cmd, data, bad[i].len), REFUSED);
	/* No room for an answer; only room for an answer; one byte of a command. */
	s = (struct gseg){n->ctrl_at, 2};
	assert_true(gvq_add(&n->ctrl, &s, 1, 0, NULL) >= 0);
	gvq_kick(&n->ctrl);
	assert_int_equal(gvq_wait(&n->ctrl, NULL), 0);
	s.len = 1;
	assert_true(gvq_add(&n->ctrl, &s, 0, 1, NULL) >= 0);
	gvq_kick(&n->ctrl);
	assert_int_equal(gvq_wait(&n->ctrl, NULL), 1);
	assert_int_equal(*(uint8_t *)guest_ptr(&t->g, n->ctrl_at, 1), REFUSED);
	exchange(t, fd, 100, 1);
	close(fd);
	tb_stop(t);
}

/* --- link --- */

static void link_state(void **state)
{
	struct tb *t = *state;
	uint8_t frame[100];
	int fd = cable(t, SOCK_DGRAM, "");
	unsigned generation;

	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	exchange(t, fd, 100, 1);
	generation = gv_common(&t->net.v, GV_GENERATION, 1);
	tb_qmp_ok(
		t,
		"{\"execute\": \"set_link\", \"arguments\": {\"name\": \"nic0\", \"up\": false}}");
	assert_int_equal(gv_config(&t->net.v, 6, 2), 0);
	assert_int_not_equal(gv_common(&t->net.v, GV_GENERATION, 1), generation);
	/* Both ways frames are lost, buffers are not. */
	make_frame(frame, sizeof(frame), own, 2);
	gnet_send(&t->net, 0, NULL, frame, sizeof(frame));
	assert_int_equal(recv(fd, frame, sizeof(frame), MSG_DONTWAIT), -1);
	tb_qmp_ok(t,
		  "{\"execute\": \"set_link\", \"arguments\": {\"name\": \"n0\", \"up\": true}}");
	assert_int_equal(gv_config(&t->net.v, 6, 2), 1);
	exchange(t, fd, 100, 3);
	close(fd);
	tb_stop(t);
}

static void announcement(void **state)
{
	static const char command[] =
		"{\"execute\": \"announce-self\", \"arguments\": {\"initial\": 50, \"max\": 550, "
		"\"rounds\": 1, \"step\": 50}}";
	const uint64_t want = WITH_CTRL | GNET_F_ANNOUNCE;
	struct tb *t = *state;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;

	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	tb_qmp_ok(t, command); /* this driver would not know what is meant */
	assert_int_equal(gv_config(&n->v, 6, 2), 1);
	gnet_restart(n, 1, want);
	tb_qmp_ok(t, command);
	assert_true(guest_wait(&t->g, gv_config(&n->v, 6, 2) == 3));
	assert_int_equal(gnet_ctrl(n, CLASS_ANNOUNCE, 0, NULL, 0), OK);
	assert_int_equal(gv_config(&n->v, 6, 2), 1);
	assert_int_equal(gnet_ctrl(n, CLASS_ANNOUNCE, 0, NULL, 0), REFUSED);
	close(fd);
	tb_stop(t);
}

static bool filter_is(struct tb *t, const char *key, const char *value)
{
	json_t *all = tb_qmp(
		t, "{\"execute\": \"query-rx-filter\", \"arguments\": {\"name\": \"nic0\"}}");
	const char *s = json_string_value(json_object_get(json_array_get(all, 0), key));
	bool same = s && !strcmp(s, value);

	json_decref(all);
	return same;
}

/* The event comes, and again only after somebody has looked. */
static void filter_event(void **state)
{
	struct tb *t = *state;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;
	const uint8_t mac[6] = {0x52, 0x54, 0, 7, 7, 7}, on = 1;

	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	assert_true(filter_is(t, "main-mac", "52:54:00:12:34:56"));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(gnet_ctrl(n, CLASS_MAC, 1, mac, 6), OK);
		assert_int_equal(gnet_ctrl(n, CLASS_RX, 1, &on, 1), OK);
		tb_qmp_event(t, "NIC_RX_FILTER_CHANGED");
		assert_true(filter_is(t, "main-mac", "52:54:00:07:07:07"));
	}
	assert_true(filter_is(t, "multicast", "all"));
	close(fd);
	tb_stop(t);
}

/* --- a hostile driver (5.3 #46 and more) --- */

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
	exchange(t, fd, 100, 1);
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
	make_frame(out, 200, own, 1);
	assert_int_equal(send(fd, out, 200, 0), 200);
	assert_true(guest_wait(&t->g, gvq_used_idx(&n->rx[0]) == 212));
	at = n->rx_at[0];
	assert_int_equal(*(uint8_t *)guest_ptr(&t->g, at + 10, 1), 212);
	assert_memory_equal(guest_ptr(&t->g, at + 12, 200), out, 200);
	assert_int_equal(send(fd, out, 4000, 0), 4000);
	assert_false(gv_needs_reset(&n->v));
	n->rx_len = 2048;
	gnet_restart(n, 1, BASIC);
	exchange(t, fd, 1514, 1);
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
	exchange(t, fd, 100, 1);
	close(fd);
	tb_stop(t);
}

static void reset_with_frames_waiting(void **state)
{
	struct tb *t = *state;
	uint8_t frame[100], in[200];
	int fd = cable(t, SOCK_DGRAM, "");

	tb_skip_qemu("a reset empties its own queue");
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	for (unsigned i = 0; i < 20; i++) {
		uint16_t used;

		make_frame(frame, sizeof(frame), own, i);
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

/* --- taps --- */

static void need_tap(void)
{
	if (no_tap) {
		print_message("%s\n", no_tap);
		skip();
	}
}

/* A machine on tap t0, up; returns a packet socket on the host's side. */
static int tap(struct tb *t, const char *netdev, const char *props)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	struct timeval tv = {.tv_sec = GUEST_WAIT_MS / 1000};
	struct ifreq ifr = {.ifr_name = "t0"};
	int fd;

	need_tap();
	tb_arg(t, "-netdev");
	tb_arg(t, "tap,id=n0,ifname=t0,script=no,downscript=no%s%s", netdev, vhost);
	tb_device(t, "virtio-net-pci,netdev=n0,id=nic0%s", props);
	tb_start(t);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP));
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags |= IFF_UP;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	ll.sll_ifindex = (int)if_nametoindex("t0");
	assert_int_equal(bind(fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

static void tap_offers(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");
	uint64_t uso = 7ULL << 54;

	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	/* As QEMU with a tap; an older kernel has no UDP segmentation. */
	assert_int_equal(t->net.v.offered | uso, 0x01c0010130bfffa7 | t->config.features);
	close(fd);
	tb_stop(t);
}

/* A TCP frame to or from the guest, `len` bytes in all, checksum left to the card. */
static void make_tcp(uint8_t *f, unsigned len, const uint8_t to[6])
{
	static const uint8_t ip[20] = {0x45, 0, 0,  0, 0, 1, 0x40, 0, 64, 6,
				       0,    0, 10, 0, 0, 2, 10,   0, 0,  1};
	static const uint8_t tcp[20] = {0x10, 0, 0x20, 0, 0,	0,    0,    1,
					0,    0, 0,    1, 0x50, 0x10, 0xff, 0xff};

	make_frame(f, len, to, len);
	f[12] = 8;
	f[13] = 0;
	memcpy(f + 14, ip, 20);
	memcpy(f + 34, tcp, 20);
	f[16] = (uint8_t)((len - 14) >> 8);
	f[17] = (uint8_t)(len - 14);
}

/* The next IPv4 frame: the kernel sends some IPv6 of its own. */
static int recv_ip(struct tb *t, struct gnet_hdr *h, uint8_t *buf, uint32_t size)
{
	int n;

	do
		n = gnet_recv(&t->net, 0, h, buf, size, GUEST_WAIT_MS);
	while (n > 14 && (buf[12] != 8 || buf[13] != 0));
	return n;
}

static void tap_segmentation(void **state)
{
	struct tb *t = *state;
	static uint8_t out[54 + 60000], in[70000];
	struct gnet_hdr h = {1, 1, 54, 1448, 34, 16, 0};
	int fd = tap(t, "", "");
	struct {
		uint8_t flags, gso_type;
		uint16_t hdr_len, gso_size, csum_start, csum_offset;
	} pkt_hdr = {1, 1, 54, 1448, 34, 16};
	int on = 1;
	struct iovec iov[2] = {{&pkt_hdr, 10}, {out, sizeof(out)}};

	gnet_open(&t->g, &t->net, 0, 1, 2048,
		  BASIC | GNET_F_CSUM | GNET_F_GUEST_CSUM | GNET_F_GUEST_TSO4 | GNET_F_HOST_TSO4);
	/* Out: 60,000 bytes leave in one piece. */
	make_tcp(out, sizeof(out), (const uint8_t[6]){2, 0, 0, 0, 0, 1});
	gnet_send(&t->net, 0, &h, out, sizeof(out));
	assert_int_equal(recv(fd, in, sizeof(in), 0), sizeof(out));
	assert_memory_equal(in + 54, out + 54, sizeof(out) - 54);
	/* In: so they come. */
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	make_tcp(out, sizeof(out), own);
	assert_int_equal(writev(fd, iov, 2), 10 + sizeof(out));
	assert_int_equal(recv_ip(t, &h, in, sizeof(in)), sizeof(out));
	assert_memory_equal(in + 54, out + 54, sizeof(out) - 54);
	assert_int_equal(h.gso_type, 1);
	assert_int_equal(h.gso_size, 1448);
	assert_int_equal(h.flags & 1, 1);
	assert_int_equal(h.num_buffers, (sizeof(out) + GNET_HDR + 2047) / 2048);
	close(fd);
	tb_stop(t);
}

/* A driver that takes no offloads gets checksummed frames of the interface's size, with a header
 * of zeroes. */
static void tap_without_offloads(void **state)
{
	struct tb *t = *state;
	static uint8_t out[54 + 4000], in[70000];
	struct gnet_hdr h;
	int fd = tap(t, "", ""), on = 1;
	struct {
		uint8_t flags, gso_type;
		uint16_t hdr_len, gso_size, csum_start, csum_offset;
	} pkt_hdr = {1, 1, 54, 1448, 34, 16};
	struct iovec iov[2] = {{&pkt_hdr, 10}, {out, sizeof(out)}};
	unsigned sum = 0;

	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	make_tcp(out, sizeof(out), own);
	assert_int_equal(writev(fd, iov, 2), 10 + sizeof(out));
	while (sum < 4000) {
		int n = recv_ip(t, &h, in, sizeof(in));

		assert_in_range(n, 55, 1514);
		assert_int_equal(h.flags, 0);
		assert_int_equal(h.gso_type, 0);
		assert_int_equal(h.num_buffers, 1);
		sum += (unsigned)n - 54;
	}
	assert_int_equal(sum, 4000);
	close(fd);
	tb_stop(t);
}

static void tap_bad_offloads(void **state)
{
	static const struct gnet_hdr bad[] = {
		{1, 1, 54, 0, 34, 16, 0},	/* segments of nothing */
		{1, 1, 60000, 1448, 34, 16, 0}, /* header beyond the frame */
		{1, 3, 54, 1448, 34, 16, 0},	/* UFO, not negotiated */
		{1, 0x81, 54, 1448, 34, 16, 0}, /* ECN, not negotiated */
		{1, 2, 54, 1448, 34, 16, 0},	/* no such type */
		{1, 0, 0, 0, 999, 0, 0},	/* checksum beyond the frame */
		{1, 0, 0, 0, 0xffff, 0xffff, 0},
	};
	struct tb *t = *state;
	uint8_t frame[1000], in[2000];
	int fd = tap(t, "", "");
	struct gnet_hdr good = {1, 0, 0, 0, 34, 16, 0};

	tb_skip_qemu("it leaves all that to the kernel");
	if (*vhost) {
		close(fd);
		skip(); /* so do we then */
	}
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC | GNET_F_CSUM | GNET_F_HOST_TSO4);
	make_tcp(frame, sizeof(frame), (const uint8_t[6]){2, 0, 0, 0, 0, 1});
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		gnet_send(&t->net, 0, &bad[i], frame, sizeof(frame));
	assert_int_equal(recv(fd, in, sizeof(in), MSG_DONTWAIT), -1);
	gnet_send(&t->net, 0, &good, frame, sizeof(frame));
	assert_int_equal(recv(fd, in, sizeof(in), 0), sizeof(frame));
	assert_false(gv_needs_reset(&t->net.v));
	close(fd);
	tb_stop(t);
}

static uint8_t set_pairs(struct gnet *n, unsigned pairs)
{
	uint8_t le[2];

	put_le16(le, (uint16_t)pairs);
	return gnet_ctrl(n, CLASS_MQ, 0, le, 2);
}

/* The IPv4 frames that have come by now (the kernel sends some IPv6 of its own), and by which of
 * the four pairs. */
static unsigned drain(struct gnet *n, bool used[4])
{
	uint8_t in[2000];
	struct gnet_hdr h;
	unsigned sum = 0;

	for (unsigned i = 0; i < 4; i++)
		while (gnet_recv(n, i, &h, in, sizeof(in), 0) > 0) {
			sum += in[12] == 8 && in[13] == 0;
			used[i] = true;
		}
	return sum;
}

static void tap_queues(void **state)
{
	const uint64_t want = BASIC | GNET_F_CTRL_VQ | GNET_F_MQ;
	struct tb *t = *state;
	struct gnet *n = &t->net;
	uint8_t frame[200], in[2000];
	struct gnet_hdr h;
	unsigned sum = 0;
	bool used[4] = {false};
	int fd = tap(t, ",queues=4", ",mq=on");

	gnet_open(&t->g, n, 0, 4, 2048, want);
	assert_int_equal(gv_config(&n->v, 8, 2), 4);
	assert_int_equal(set_pairs(n, 0), REFUSED);
	assert_int_equal(set_pairs(n, 5), REFUSED);
	assert_int_equal(set_pairs(n, 0x8001), REFUSED);
	assert_int_equal(set_pairs(n, 4), OK);
	for (unsigned i = 0; i < 4; i++) {
		make_tcp(frame, sizeof(frame), (const uint8_t[6]){2, 0, 0, 0, 0, 1});
		gnet_send(n, i, NULL, frame, sizeof(frame));
		assert_int_equal(recv(fd, in, sizeof(in), 0), sizeof(frame));
	}
	/* Flows that the guest has not answered are spread over all pairs. */
	for (unsigned i = 0; i < 64; i++) {
		make_tcp(frame, sizeof(frame), own);
		frame[26 + 3] = (uint8_t)i; /* from 10.0.0.i */
		assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	}
	assert_true(guest_wait(&t->g, (sum += drain(n, used)) == 64));
	assert_true(used[0] + used[1] + used[2] + used[3] > 1);
	/* A driver without MQ finds the control queue behind the only pair. */
	gnet_restart(n, 1, WITH_CTRL);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 0, "\1", 1), OK);
	make_tcp(frame, sizeof(frame), own);
	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(recv_ip(t, &h, in, sizeof(in)), sizeof(frame));
	close(fd);
	tb_stop(t);
}

/* write() calls of the device model so far; UINT64_MAX where nobody counts. */
static uint64_t write_calls(struct tb *t)
{
	char path[64], line[64];
	uint64_t n = UINT64_MAX;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/io", (int)t->g.pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "syscw: ", 7))
			n = strtoull(line + 7, NULL, 10);
	if (f)
		fclose(f);
	return n;
}

/* Frames queued together leave in their order, whatever is between them, and not by one call each.
 */
static void tap_burst(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &t->net.tx[0];
	uint64_t at, before;
	uint8_t in[2000];
	unsigned want = 0;
	int fd = tap(t, "", "");

	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	at = guest_alloc(&t->g, BURST * 512, 4096);
	for (unsigned round = 0; round < 3; round++) {
		before = write_calls(t);
		for (unsigned i = 0; i < BURST; i++) {
			uint8_t *p = guest_ptr(&t->g, at + i * 512, 512);
			/* Each ninth has a header that is refused, or no frame at all. */
			struct gseg s[2] = {{at + i * 512, GNET_HDR + 20},
					    {at + i * 512 + GNET_HDR + 20, i % 18 == 8 ? 0 : 80}};

			memset(p, 0, GNET_HDR);
			make_tcp(p + GNET_HDR, 100, (const uint8_t[6]){2, 0, 0, 0, 0, 1});
			put_le16(p + GNET_HDR + 60, (uint16_t)i);
			p[1] = i % 18 == 17 && !*vhost ? 7 : 0;
			if (!s[1].len)
				s[0].len = GNET_HDR;
			assert_true(gvq_add(q, s, s[1].len ? 2 : 1, 0, NULL) >= 0);
		}
		gvq_kick(q);
		for (unsigned i = 0; i < BURST; i++)
			gvq_wait(q, NULL);
		for (unsigned i = 0; i < BURST; i++) {
			if (i % 18 == 8 || (i % 18 == 17 && !*vhost))
				continue;
			assert_int_equal(recv(fd, in, sizeof(in), 0), 100);
			assert_int_equal(get_le16(in + 60), i);
			want++;
		}
		assert_int_equal(recv(fd, in, sizeof(in), MSG_DONTWAIT), -1);
		/* The first batch may be the one by which the kernel is tried. */
		if (round && before != UINT64_MAX && !t->qemu)
			assert_true(write_calls(t) - before < BURST / 4);
	}
	assert_int_equal(want, 3 * (BURST - BURST / 18 - (*vhost ? 0 : BURST / 18)));
	close(fd);
	tb_stop(t);
}

static void tap_guest_offloads(void **state)
{
	struct tb *t = *state;
	struct gnet *n = &t->net;
	uint8_t le[8];
	int fd = tap(t, "", "");

	gnet_open(&t->g, n, 0, 1, 2048,
		  WITH_CTRL | GNET_F_GUEST_CSUM | GNET_F_GUEST_TSO4 | GNET_F_GUEST_OFFLOADS);
	put_le64(le, GNET_F_GUEST_CSUM);
	assert_int_equal(gnet_ctrl(n, CLASS_OFFLOADS, 0, le, 8), OK);
	put_le64(le, GNET_F_GUEST_CSUM | GNET_F_GUEST_TSO4);
	assert_int_equal(gnet_ctrl(n, CLASS_OFFLOADS, 0, le, 8), OK);
	put_le64(le, GNET_F_GUEST_CSUM | GNET_F_GUEST_TSO6); /* not negotiated */
	assert_int_equal(gnet_ctrl(n, CLASS_OFFLOADS, 0, le, 8), REFUSED);
	put_le64(le, UINT64_MAX);
	assert_int_equal(gnet_ctrl(n, CLASS_OFFLOADS, 0, le, 8), REFUSED);
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
		tb_test(receive_modes),
		tb_test(mac_table),
		tb_test(vlan_filter),
		tb_test(bad_commands),
		tb_test(link_state),
		tb_test(announcement),
		tb_test(filter_event),
		tb_test(bad_headers),
		tb_test(tiny_buffers),
		tb_test(wrong_direction),
		tb_test(reset_with_frames_waiting),
		tb_test(tap_offers),
		tb_test(tap_segmentation),
		tb_test(tap_without_offloads),
		tb_test(tap_bad_offloads),
		tb_test(tap_queues),
		tb_test(tap_burst),
		tb_test(tap_guest_offloads),
	};

	no_tap = own_net(false);
	if (getenv("TB_VHOST")) {
		vhost = ",vhost=on,vhostforce=on";
		if (!no_tap && access("/dev/vhost-net", R_OK | W_OK) < 0)
			no_tap = "needs /dev/vhost-net";
	}
	return tb_run("net", tests);
}
