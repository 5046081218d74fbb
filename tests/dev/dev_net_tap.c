/* SPDX-License-Identifier: MIT */
/* dev_net_tap.c - virtio-net on taps: offloads, queues, bursts
 *
 * The program has a network namespace of its own where it may, and is skipped where it may not.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "../own_net.h"
#include "cable.h"

#define BURST 126 /* frames, seven times eighteen */

static const char *no_tap;
static const char *vhost = ""; /* $TB_VHOST: the kernel serves the queues of taps */

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

	cable_frame(f, len, to, len);
	f[12] = 8;
	f[13] = 0;
	memcpy(f + 14, ip, 20);
	memcpy(f + 34, tcp, 20);
	f[16] = (uint8_t)((len - 14) >> 8);
	f[17] = (uint8_t)(len - 14);
}

/* The next IPv4 frame: the kernel sends some IPv6 of its cable_mac. */
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
	make_tcp(out, sizeof(out), cable_mac);
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
	make_tcp(out, sizeof(out), cable_mac);
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

/* The IPv4 frames that have come by now (the kernel sends some IPv6 of its cable_mac), and by which
 * of the four pairs. */
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
		make_tcp(frame, sizeof(frame), cable_mac);
		frame[26 + 3] = (uint8_t)i; /* from 10.0.0.i */
		assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	}
	assert_true(guest_wait(&t->g, (sum += drain(n, used)) == 64));
	assert_true(used[0] + used[1] + used[2] + used[3] > 1);
	/* A driver without MQ finds the control queue behind the only pair. */
	gnet_restart(n, 1, WITH_CTRL);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 0, "\1", 1), OK);
	make_tcp(frame, sizeof(frame), cable_mac);
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
		tb_test(tap_offers),	       tb_test(tap_segmentation),
		tb_test(tap_without_offloads), tb_test(tap_bad_offloads),
		tb_test(tap_queues),	       tb_test(tap_burst),
		tb_test(tap_guest_offloads),
	};

	no_tap = own_net(false);
	if (getenv("TB_VHOST")) {
		vhost = ",vhost=on,vhostforce=on";
		if (!no_tap && access("/dev/vhost-net", R_OK | W_OK) < 0)
			no_tap = "needs /dev/vhost-net";
	}
	return tb_run("net_tap", tests);
}
