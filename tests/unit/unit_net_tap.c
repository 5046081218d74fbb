/* SPDX-License-Identifier: MIT */
/* unit_net_tap.c - the tap back end on real taps and bridges, in a network namespace of its own
 *
 * Needs root (CAP_SYS_ADMIN for the namespace, CAP_NET_ADMIN in it) and /dev/net/tun; skipped
 * otherwise.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "../own_net.h"
#include "base/util.h"
#include "net/net.h"

#define TURN_MS	 2000
#define OUR_TYPE 0x88b5 /* for local experiments: nothing else in the namespace sends it */

static int control; /* a socket for ioctls */
static const char *why_not;

struct bench {
	struct loop *loop;
	struct netdevs *nds;
	struct net_client client;
	struct netdev *nd;
	unsigned readable;
	char dir[32];
};

static void on_readable(struct net_client *c, struct netq *q)
{
	container_of(c, struct bench, client)->readable++;
}

static void on_nothing(struct net_client *c, struct netq *q)
{
}

static void on_link(struct net_client *c, bool up)
{
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	b->loop = loop_new("test");
	b->nds = netdevs_new(b->loop);
	b->client = (struct net_client){"nic0", on_readable, on_nothing, on_link};
	strcpy(b->dir, "/tmp/xenpvh-tap-XXXXXX");
	*state = b;
	return b->loop && b->nds && mkdtemp(b->dir) ? 0 : -1;
}

static void close_all(struct bench *b)
{
	netdev_detach(b->nd);
	b->nd = NULL;
	netdevs_free(b->nds);
	b->nds = NULL;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	close_all(b);
	loop_free(b->loop);
	rmdir(b->dir);
	free(b);
	return 0;
}

static void need_taps(void)
{
	if (why_not) {
		print_message("%s\n", why_not);
		skip();
	}
}

static int try_add(struct bench *b, struct err *e, const char *fmt, ...)
{
	char text[512];
	struct kvs k;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rc = kvs_parse(&k, "-netdev", text, "type", e);
	if (!rc)
		rc = netdev_add(b->nds, &k, e);
	kvs_free(&k);
	return rc;
}

#define add(b, ...)                                   \
	do {                                          \
		struct err e_;                        \
                                                      \
		if (try_add(b, &e_, __VA_ARGS__) < 0) \
			fail_msg("%s", e_.text);      \
	} while (0)

static void attach(struct bench *b)
{
	struct err e;

	b->nd = netdev_attach(b->nds, "n0", &b->client, &e);
	assert_non_null(b->nd);
	for (unsigned i = 0; i < netdev_pairs(b->nd); i++)
		assert_int_equal(netq_start(netdev_queue(b->nd, i), b->loop, b), 0);
}

/* --- interfaces --- */

static short flags_of(const char *name)
{
	struct ifreq ifr = {0};

	strcpy(ifr.ifr_name, name);
	assert_int_equal(ioctl(control, SIOCGIFFLAGS, &ifr), 0);
	return ifr.ifr_flags;
}

static void bring_up(const char *name)
{
	struct ifreq ifr = {0};

	strcpy(ifr.ifr_name, name);
	ifr.ifr_flags = flags_of(name) | IFF_UP;
	assert_int_equal(ioctl(control, SIOCSIFFLAGS, &ifr), 0);
}

static int port_ioctl(const char *bridge, const char *name, unsigned long request)
{
	struct ifreq ifr = {.ifr_ifindex = (int)if_nametoindex(name)};

	strcpy(ifr.ifr_name, bridge);
	return ioctl(control, request, &ifr);
}

/* Taking it out works only if it is in; then it is put back. */
static bool is_port(const char *bridge, const char *name)
{
	if (port_ioctl(bridge, name, SIOCBRDELIF) < 0)
		return false;
	assert_int_equal(port_ioctl(bridge, name, SIOCBRADDIF), 0);
	return true;
}

static void make_bridge(const char *name)
{
	assert_int_equal(ioctl(control, SIOCBRADDBR, name), 0);
}

static void remove_bridge(const char *name)
{
	struct ifreq ifr = {0};

	strcpy(ifr.ifr_name, name);
	ioctl(control, SIOCSIFFLAGS, &ifr);
	assert_int_equal(ioctl(control, SIOCBRDELBR, name), 0);
}

static int open_tap(const char *name, int flags)
{
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	strcpy(ifr.ifr_name, name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

static void make_persistent(const char *name, int on)
{
	int fd = open_tap(name, 0);

	assert_int_equal(ioctl(fd, TUNSETPERSIST, on), 0);
	close(fd);
}

/* A socket that sees and sends raw frames on the host's side of the interface. */
static int packet_socket(const char *name, int type)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET,
				 .sll_protocol = htons((uint16_t)type),
				 .sll_ifindex = (int)if_nametoindex(name)};
	struct timeval tv = {.tv_sec = 2};
	int fd = socket(AF_PACKET, SOCK_RAW, htons((uint16_t)type));

	assert_int_equal(bind(fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

static void make_frame(uint8_t *f, size_t len, int type)
{
	memset(f, 0xff, 6);
	memcpy(f + 6, "\x02\0\0\0\0\1", 6);
	f[12] = (uint8_t)(type >> 8);
	f[13] = (uint8_t)type;
	for (size_t i = 14; i < len; i++)
		f[i] = (uint8_t)i;
}

/* --- tests --- */

static void created_and_gone(void **state)
{
	struct bench *b = *state;

	need_taps();
	add(b, "tap,id=n0,ifname=vif3.0-emu,script=no,downscript=no");
	assert_true(if_nametoindex("vif3.0-emu"));
	close_all(b);
	assert_false(if_nametoindex("vif3.0-emu"));
}

static void name_taken(void **state)
{
	struct bench *b = *state;
	struct err e;
	int fd;

	need_taps();
	fd = open_tap("t0", 0);
	assert_int_equal(try_add(b, &e, "tap,id=n0,ifname=t0,script=no"), -EBUSY);
	assert_non_null(strstr(e.text, "(t0): Device or resource busy"));
	close(fd);
}

static void joins_the_bridge(void **state)
{
	struct bench *b = *state;

	need_taps();
	make_bridge("xenbr0");
	add(b, "tap,id=net0,ifname=vif3.0-emu,br=xenbr0,script=no,downscript=no");
	assert_true(is_port("xenbr0", "vif3.0-emu"));
	assert_true(flags_of("vif3.0-emu") & IFF_UP);
	close_all(b);
	assert_false(if_nametoindex("vif3.0-emu"));
	remove_bridge("xenbr0");
}

static void no_such_bridge(void **state)
{
	struct bench *b = *state;

	need_taps();
	add(b, "tap,id=n0,ifname=t0,br=nobr0,script=no");
	assert_false(flags_of("t0") & IFF_UP);
}

/* What was there before is left as it was found. */
static void existing_tap_is_restored(void **state)
{
	struct bench *b = *state;

	need_taps();
	make_bridge("br0");
	make_persistent("t0", 1);
	add(b, "tap,id=n0,ifname=t0,br=br0,script=no");
	assert_true(is_port("br0", "t0"));
	assert_true(flags_of("t0") & IFF_UP);
	close_all(b);
	assert_true(if_nametoindex("t0"));
	assert_false(is_port("br0", "t0"));
	assert_false(flags_of("t0") & IFF_UP);
	make_persistent("t0", 0);
	remove_bridge("br0");
}

static void other_bridge_is_respected(void **state)
{
	struct bench *b = *state;

	need_taps();
	make_bridge("br0");
	make_bridge("br1");
	make_persistent("t0", 1);
	assert_int_equal(port_ioctl("br1", "t0", SIOCBRADDIF), 0);
	add(b, "tap,id=n0,ifname=t0,br=br0,script=no");
	assert_false(is_port("br0", "t0"));
	close_all(b);
	assert_true(is_port("br1", "t0"));
	make_persistent("t0", 0);
	remove_bridge("br0");
	remove_bridge("br1");
}

static void write_script(const char *dir, const char *name, const char *body)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	fprintf(f, "#!/bin/sh\n%s\n", body);
	fclose(f);
	chmod(path, 0700);
}

static void expect_line(const char *dir, const char *name, const char *line)
{
	char path[64], text[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	assert_string_equal(text, line);
	fclose(f);
	unlink(path);
}

static void scripts(void **state)
{
	struct bench *b = *state;
	char path[64];
	struct err e;

	need_taps();
	write_script(b->dir, "up", "echo up $# $1 > ${0%/*}/up.log");
	write_script(b->dir, "down", "echo down $# $1 > ${0%/*}/down.log");
	write_script(b->dir, "bad", "exit 3");
	assert_true(try_add(b, &e, "tap,id=n0,ifname=t0,script=%s/bad", b->dir) < 0);
	assert_non_null(strstr(e.text, "exit status 3"));
	assert_true(try_add(b, &e, "tap,id=n0,ifname=t0,script=%s/none", b->dir) < 0);
	assert_non_null(strstr(e.text, "/none': No such file"));
	add(b, "tap,id=n0,ifname=t0,script=%s/up,downscript=%s/down", b->dir, b->dir);
	expect_line(b->dir, "up.log", "up 1 t0\n");
	close_all(b);
	expect_line(b->dir, "down.log", "down 1 t0\n");
	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", b->dir,
			 (const char *[]){"up", "down", "bad"}[i]);
		unlink(path);
	}
}

/* Frames both ways, with and without the header. */
static void frames(void **state)
{
	static const char *const options[] = {"", ",vnet_hdr=off"};
	struct bench *b = *state;
	struct err e;

	need_taps();
	for (unsigned i = 0; i < 2; i++) {
		const size_t hdr = i ? 0 : NET_HDR_LEN;
		uint8_t out[NET_HDR_LEN + 100] = {0}, in[NET_HDR_LEN + NET_FRAME_MAX];
		struct iovec iov_out[] = {{out, hdr + 20}, {out + hdr + 20, 80}};
		struct iovec iov_in[] = {{in, 30}, {in + 30, sizeof(in) - 30}};
		struct netq *q;
		int fd;

		add(b, "tap,id=n0,ifname=t0,script=no%s", options[i]);
		attach(b);
		assert_int_equal(!!(netdev_caps(b->nd) & NET_VNET_HDR), !i);
		q = netdev_queue(b->nd, 0);
		make_frame(out + hdr, 100, OUR_TYPE);
		/* Down: the frame is lost, nothing else. */
		assert_int_equal(netq_send(q, iov_out, 2), -EIO);
		bring_up("t0");
		fd = packet_socket("t0", OUR_TYPE);
		assert_int_equal(netq_send(q, iov_out, 2), 0);
		assert_int_equal(recv(fd, in, sizeof(in), 0), 100);
		assert_memory_equal(in, out + hdr, 100);

		/* The kernel's own multicast may come first. */
		assert_int_equal(send(fd, out + hdr, 100, 0), 100);
		netq_listen(q, true);
		b->readable = 0;
		loop_turn(b->loop, TURN_MS);
		assert_int_equal(b->readable, 1);
		for (;;) {
			ssize_t n = netq_recv(q, iov_in, 2);

			assert_true(n > 0);
			if ((in[hdr + 12] << 8 | in[hdr + 13]) != OUR_TYPE)
				continue;
			assert_int_equal(n, hdr + 100);
			assert_memory_equal(in + hdr, out + hdr, 100);
			break;
		}
		close(fd);
		netdev_detach(b->nd);
		b->nd = NULL;
		assert_int_equal(netdev_del(b->nds, "n0", &e), 0);
	}
}

/* A TCP segment of 10,000 bytes goes through the interface in one piece. */
static void segmentation_is_left_to_the_kernel(void **state)
{
	static const uint8_t ip_tcp[40] = {
		0x45,
		0,
		(40 + 10000) >> 8,
		(40 + 10000) & 0xff,
		0,
		1,
		0x40,
		0,
		64,
		6,
		0,
		0, /* IP */
		10,
		0,
		0,
		2,
		10,
		0,
		0,
		1,
		0x10,
		0,
		0x20,
		0,
		0,
		0,
		0,
		1,
		0,
		0,
		0,
		1,
		0x50,
		0x10,
		0xff,
		0xff,
		0,
		0,
		0,
		0, /* TCP */
	};
	/* NEEDS_CSUM, TCPv4, header length 54, segments of 1448, checksum at 34 + 16 */
	static const uint8_t hdr[NET_HDR_LEN] = {1, 1, 54, 0, 1448 & 0xff, 1448 >> 8, 34, 0, 16, 0};
	struct bench *b = *state;
	static uint8_t out[54 + 10000], in[20000];
	struct iovec iov[] = {
		{(void *)hdr, sizeof(hdr)}, {out, 1000}, {out + 1000, sizeof(out) - 1000}};
	int fd;

	need_taps();
	add(b, "tap,id=n0,ifname=t0,script=no");
	attach(b);
	assert_int_equal(
		netdev_set_offloads(b->nd, NET_RX_CSUM | NET_RX_TSO4 | NET_RX_TSO6 | NET_RX_ECN),
		0);
	make_frame(out, sizeof(out), ETH_P_IP);
	memcpy(out + 14, ip_tcp, sizeof(ip_tcp));
	bring_up("t0");
	fd = packet_socket("t0", ETH_P_IP);
	assert_int_equal(netq_send(netdev_queue(b->nd, 0), iov, 3), 0);
	assert_int_equal(recv(fd, in, sizeof(in), 0), sizeof(out));
	/* A header that lies about the frame is refused by the kernel too. */
	iov[2].iov_len = 0;
	iov[1].iov_len = 20;
	assert_int_equal(netq_send(netdev_queue(b->nd, 0), iov, 3), -EINVAL);
	close(fd);
}

static void offloads_by_what_the_kernel_has(void **state)
{
	struct bench *b = *state;

	need_taps();
	add(b, "tap,id=n0,ifname=t0,script=no");
	attach(b);
	for (unsigned rx = 0; rx < 128; rx++) {
		bool uso = rx & (NET_RX_USO4 | NET_RX_USO6);

		if ((rx & NET_RX_UFO && !(netdev_caps(b->nd) & NET_UFO)) ||
		    (uso && !(netdev_caps(b->nd) & NET_USO)))
			continue;
		assert_int_equal(netdev_set_offloads(b->nd, rx), 0);
	}
}

/* 64 flows from the host into the tap. */
static void send_flows(int fd)
{
	for (unsigned i = 0; i < 64; i++) {
		uint8_t f[14 + 28] = {0};
		static const uint8_t ip_udp[] = {0x45, 0, 0,  28, 0, 1, 0,  0, 64, 17,
						 0,    0, 10, 0,  0, 1, 10, 0, 0,  2};

		make_frame(f, 14, ETH_P_IP);
		memcpy(f + 14, ip_udp, sizeof(ip_udp));
		f[34] = 0x30;
		f[35] = (uint8_t)i; /* source port */
		f[37] = 9;
		f[39] = 8;
		assert_int_equal(send(fd, f, sizeof(f), 0), sizeof(f));
	}
}

/* How many of them are there at queue `i`? */
static unsigned count_flows(struct bench *b, unsigned i)
{
	uint8_t in[NET_HDR_LEN + NET_FRAME_MAX];
	struct iovec iov = {in, sizeof(in)};
	unsigned n = 0;
	ssize_t got;

	while ((got = netq_recv(netdev_queue(b->nd, i), &iov, 1)) > 0)
		n += (in[NET_HDR_LEN + 12] << 8 | in[NET_HDR_LEN + 13]) == ETH_P_IP &&
		     in[NET_HDR_LEN + 14 + 9] == 17;
	assert_int_equal(got, -EAGAIN);
	return n;
}

static void several_queues(void **state)
{
	struct bench *b = *state;
	unsigned used = 0, sum = 0;
	int fd;

	need_taps();
	add(b, "tap,id=n0,ifname=t0,script=no,queues=4");
	attach(b);
	assert_int_equal(netdev_pairs(b->nd), 4);
	bring_up("t0");
	fd = packet_socket("t0", ETH_P_IP); /* or the kernel sees no flows */

	for (unsigned i = 0; i < 4; i++)
		netq_listen(netdev_queue(b->nd, i), true);
	assert_int_equal(netdev_set_pairs(b->nd, 1), 0);
	send_flows(fd);
	assert_int_equal(count_flows(b, 0), 64);
	/* Those that are out of use do not disturb the loop. */
	b->readable = 0;
	loop_turn(b->loop, 0);
	assert_int_equal(b->readable, 0);

	assert_int_equal(netdev_set_pairs(b->nd, 4), 0);
	send_flows(fd);
	for (unsigned i = 0; i < 4; i++) {
		unsigned n = count_flows(b, i);

		used += n > 0;
		sum += n;
	}
	assert_int_equal(sum, 64);
	assert_true(used > 1);
	assert_int_equal(netdev_set_pairs(b->nd, 5), -EINVAL);
	assert_int_equal(netdev_set_pairs(b->nd, 0), -EINVAL);
	close(fd);
}

static void descriptors_of_others(void **state)
{
	struct bench *b = *state;
	struct err e;
	int a, c, plain;

	need_taps();
	a = open_tap("t0", IFF_MULTI_QUEUE | IFF_VNET_HDR);
	c = open_tap("t0", IFF_MULTI_QUEUE | IFF_VNET_HDR);
	plain = open("/dev/null", O_RDWR);
	assert_int_equal(try_add(b, &e, "tap,id=bad,fd=%d", plain), -EINVAL);
	assert_non_null(strstr(e.text, "is not an open tap"));
	close(plain);
	add(b, "tap,id=n0,fds=%d:%d", a, c);
	attach(b);
	assert_int_equal(netdev_pairs(b->nd), 2);
	assert_true(netdev_caps(b->nd) & NET_VNET_HDR);
	assert_int_equal(netdev_set_pairs(b->nd, 1), 0);
	assert_int_equal(netdev_set_pairs(b->nd, 2), 0);
	close_all(b);
	assert_false(if_nametoindex("t0"));
}

/* The interface is deleted while we listen: one message, no spinning. */
static void deleted_under_us(void **state)
{
	struct bench *b = *state;
	uint8_t in[NET_HDR_LEN + NET_FRAME_MAX];
	struct iovec iov = {in, sizeof(in)};
	struct netq *q;
	ssize_t rc;
	int fd;

	need_taps();
	fd = open_tap("t0", IFF_VNET_HDR);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
	add(b, "tap,id=n0,ifname=t0,script=no");
	attach(b);
	q = netdev_queue(b->nd, 0);
	netq_listen(q, true);
	if (system("ip link del t0 2>/dev/null")) {
		print_message("no ip(8)\n");
		make_persistent("t0", 0);
		skip();
	}
	loop_turn(b->loop, TURN_MS);
	assert_int_equal(b->readable, 1);
	rc = netq_recv(q, &iov, 1);
	assert_true(rc < 0 && rc != -EAGAIN);
	for (unsigned i = 0; i < 3; i++)
		loop_turn(b->loop, 0);
	assert_int_equal(b->readable, 1);
	assert_int_equal(netq_recv(q, &iov, 1), -EAGAIN);
	assert_int_equal(netq_send(q, &iov, 1), -ENETDOWN);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(created_and_gone),
		T(name_taken),
		T(joins_the_bridge),
		T(no_such_bridge),
		T(existing_tap_is_restored),
		T(other_bridge_is_respected),
		T(scripts),
		T(frames),
		T(segmentation_is_left_to_the_kernel),
		T(offloads_by_what_the_kernel_has),
		T(several_queues),
		T(descriptors_of_others),
		T(deleted_under_us),
	};

	why_not = own_net(false);
	control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return cmocka_run_group_tests_name("net_tap", tests, NULL, NULL);
}
