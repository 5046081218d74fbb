/* SPDX-License-Identifier: MIT */
/* unit_net_links.c - -netdev socket, the link and the events of streams, and the back ends that
 * other programs make: bridge and passt
 *
 * This program is also the bridge helper of its tests, when it is called as one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "../own_net.h"
#include "net_bench.h"

static const char text[] = "0123456789abcdef";
#define LEN 16

static void read_all(int fd, void *buf, size_t len)
{
	for (size_t n = 0; n < len;) {
		ssize_t got = read(fd, (char *)buf + n, len - n);

		assert_true(got > 0);
		n += (size_t)got;
	}
}

/* A frame out and one in, on a stream. */
static void exchange(struct bench *b, int peer)
{
	uint8_t in[64];

	assert_int_equal(send_frame(b, text, LEN), 0);
	read_all(peer, in, 4 + LEN);
	assert_memory_equal(in, "\0\0\0\x10", 4);
	assert_memory_equal(in + 4, text, LEN);
	assert_int_equal(write(peer, in, 4 + LEN), 4 + LEN);
	netq_listen(b->q, true);
	b->readable = 0;
	while (!b->readable)
		loop_turn(b->loop, TURN_MS);
	assert_int_equal(recv_frame(b, in, sizeof(in)), LEN);
	assert_memory_equal(in, text, LEN);
}

/* An IPv4 socket on the loopback interface, bound to some port. */
static int bound(int type, unsigned *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, type, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

static struct sockaddr_in loopback(unsigned port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				    .sin_port = htons((uint16_t)port)};
}

/* --- -netdev socket --- */

static void socket_connect(void **state)
{
	struct bench *b = *state;
	unsigned port;
	int listener = bound(SOCK_STREAM, &port), peer;

	assert_int_equal(listen(listener, 1), 0);
	add_netdev(b, "socket,id=n0,connect=127.0.0.1:%u", port);
	attach(b);
	peer = accept(listener, NULL, NULL);
	exchange(b, peer);
	close(peer);
	close(listener);
}

static void socket_listen(void **state)
{
	struct bench *b = *state;
	struct sockaddr_in to;
	unsigned port;
	int peer = bound(SOCK_STREAM, &port);

	close(peer);
	peer = socket(AF_INET, SOCK_STREAM, 0);
	add_netdev(b, "socket,id=n0,listen=127.0.0.1:%u", port);
	attach(b);
	to = loopback(port);
	assert_int_equal(connect(peer, (struct sockaddr *)&to, sizeof(to)), 0);
	while (!b->connected)
		loop_turn(b->loop, TURN_MS);
	exchange(b, peer);
	close(peer);
}

static void socket_udp(void **state)
{
	struct bench *b = *state;
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	unsigned port;
	int peer = bound(SOCK_DGRAM, &port);
	char in[64];

	add_netdev(b, "socket,id=n0,udp=127.0.0.1:%u,localaddr=127.0.0.1:0", port);
	attach(b);
	assert_int_equal(send_frame(b, text, LEN), 0);
	assert_int_equal(recvfrom(peer, in, sizeof(in), 0, (struct sockaddr *)&from, &len), LEN);
	assert_int_equal(sendto(peer, in, LEN, 0, (struct sockaddr *)&from, len), LEN);
	assert_int_equal(recv_frame(b, in, sizeof(in)), LEN);
	assert_memory_equal(in, text, LEN);
	close(peer);
}

static void socket_mcast(void **state)
{
	struct bench *b = *state;
	struct sockaddr_in group = loopback(0);
	struct ip_mreqn mreq = {.imr_address.s_addr = htonl(INADDR_LOOPBACK)};
	unsigned port;
	int peer = bound(SOCK_DGRAM, &port), on = 1;
	char in[64];

	close(peer);
	peer = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	inet_aton("230.1.2.3", &group.sin_addr);
	group.sin_port = htons((uint16_t)port);
	mreq.imr_multiaddr = group.sin_addr;
	assert_int_equal(bind(peer, (struct sockaddr *)&group, sizeof(group)), 0);
	assert_int_equal(setsockopt(peer, IPPROTO_IP, IP_ADD_MEMBERSHIP, &mreq, sizeof(mreq)), 0);
	assert_int_equal(setsockopt(peer, IPPROTO_IP, IP_MULTICAST_IF, &mreq, sizeof(mreq)), 0);
	add_netdev(b, "socket,id=n0,mcast=230.1.2.3:%u,localaddr=127.0.0.1", port);
	attach(b);
	assert_int_equal(send_frame(b, text, LEN), 0);
	assert_int_equal(read(peer, in, sizeof(in)), LEN);
	assert_int_equal(recv_frame(b, in, sizeof(in)), LEN); /* all members hear it */
	assert_int_equal(
		sendto(peer, "from another one", 16, 0, (struct sockaddr *)&group, sizeof(group)),
		16);
	assert_int_equal(recv_frame(b, in, sizeof(in)), 16);
	assert_memory_equal(in, "from another one", 16);
	close(peer);
}

static void socket_by_descriptor(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
	struct bench *b = *state;
	char in[64];

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		struct err e;
		int sv[2];

		assert_int_equal(socketpair(AF_UNIX, types[i], 0, sv), 0);
		add_netdev(b, "socket,id=n0,fd=%d,rate=1M", sv[0]);
		attach(b);
		if (types[i] == SOCK_STREAM) {
			exchange(b, sv[1]);
		} else {
			assert_int_equal(send_frame(b, text, LEN), 0);
			assert_int_equal(read(sv[1], in, sizeof(in)), LEN);
		}
		netdev_detach(b->nd);
		b->nd = NULL;
		assert_int_equal(netdev_del(b->nds, "n0", &e), 0);
		close(sv[1]);
	}
}

static void bad_options(void **state)
{
	static const char *const one =
		"exactly one of listen=, connect=, mcast= or udp= is required";
	const struct {
		const char *text, *says;
	} bad[] = {
		{"socket,id=n0", one},
		{"socket,id=n0,listen=:1,connect=:2", one},
		{"socket,id=n0,fd=0,connect=:2", one},
		{"socket,id=n0,listen=:1,localaddr=127.0.0.1:0",
		 "localaddr= is only valid with mcast= or udp="},
		{"socket,id=n0,udp=127.0.0.1:1", "localaddr= is mandatory with udp="},
		{"socket,id=n0,connect=127.0.0.1", "doesn't contain ':' separating host from port"},
		{"socket,id=n0,connect=127.0.0.1:http", "port number 'http' is invalid"},
		{"socket,id=n0,listen=127.0.0.1:65536", "port number '65536' is invalid"},
		{"socket,id=n0,mcast=127.0.0.1:1", "does not contain a multicast address"},
		{"socket,id=n0,mcast=230.0.0.1:1,localaddr=lo",
		 "localaddr 'lo' is not a valid IPv4 address"},
		{"socket,id=n0,fd=9999", "Can't use file descriptor 9999"},
		{"socket,id=n0,fd=x", "'x' is not the number of a file descriptor"},
		{"socket,id=n0,foo=1", "Invalid parameter 'foo' for netdev type 'socket'"},
		{"socket,id=n0,listen=:1,rate=x", "'rate' expects size"},
		{"bridge,id=n0,helper=/nonexistent", "could not run bridge helper '/nonexistent'"},
		{"bridge,id=n0,helper=/bin/false", "failed with exit status 1"},
		{"bridge,id=n0,helper=/bin/true", "sent no interface"},
		{"bridge,id=n0,helper=exit 7;", "failed with exit status 7"},
		{"bridge,id=n0,ifname=x", "Invalid parameter 'ifname' for netdev type 'bridge'"},
		{"passt,id=n0,path=/nonexistent", "could not run network helper '/nonexistent'"},
		{"passt,id=n0,path=/bin/false", "failed with exit status 1"},
		{"passt,id=n0,vhost-user=on", "vhost-user=on is not supported"},
		{"passt,id=n0,udp=maybe", "'udp' expects 'on' or 'off'"},
		{"passt,id=n0,foo=1", "Invalid parameter 'foo' for netdev type 'passt'"},
	};
	struct bench *b = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = {0};

		if (try_netdev(b, &e, "%s", bad[i].text) >= 0)
			fail_msg("'%s' was accepted", bad[i].text);
		if (!strstr(e.text, bad[i].says))
			fail_msg("'%s' says: %s", bad[i].text, e.text);
	}
}

/* --- a network namespace of our own --- */

static bool have_namespace(void)
{
	static const char *why_not;
	static bool tried;

	if (!tried)
		why_not = own_net(true);
	tried = true;
	if (why_not)
		print_message("%s\n", why_not);
	return !why_not;
}

/* --- hubs --- */

/* A hub with the client at n0, and two datagram sockets: what enters at one leaves at the others.
 */
static void hub_of_three(void **state)
{
	struct bench *b = *state;
	static char big[60000];
	int peer[2], sv[2], rc;
	char in[64];

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
		peer[i] = sv[1];
		add_netdev(b, "dgram,id=s%u,local.type=fd,local.str=%d", i, sv[0]);
		add_netdev(b, "hubport,id=p%u,hubid=7,netdev=s%u", i, i);
	}
	add_netdev(b, "hubport,id=n0,hubid=7");
	add_netdev(b, "hubport,id=other,hubid=8");
	attach(b);
	netq_listen(b->q, true);
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(send_frame(b, text, LEN), 0);
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(recv(peer[i], in, sizeof(in), MSG_DONTWAIT), LEN);
			assert_memory_equal(in, text, LEN);
		}
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(write(peer[i], i ? "second" : "first", 6), 6);
			b->readable = 0;
			while (!b->readable)
				loop_turn(b->loop, TURN_MS);
			assert_int_equal(recv_frame(b, in, sizeof(in)), 6);
			assert_int_equal(recv(peer[!i], in, sizeof(in), MSG_DONTWAIT), 6);
			assert_memory_equal(in, i ? "second" : "first", 6);
			assert_int_equal(recv(peer[i], in, sizeof(in), MSG_DONTWAIT), -1);
		}
	}
	/* One peer does not read: the other one still gets all; neither does: the sender waits. */
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(send_frame(b, big, sizeof(big)), 0);
		loop_turn(b->loop, 0);
		assert_int_equal(recv(peer[0], big, sizeof(big), MSG_DONTWAIT), sizeof(big));
	}
	while (!(rc = send_frame(b, big, sizeof(big)))) {}
	assert_int_equal(rc, -EAGAIN);
	b->writable = 0;
	for (unsigned i = 0; i < 10; i++)
		loop_turn(b->loop, 5);
	assert_int_equal(b->writable, 0);
	while (recv(peer[0], big, sizeof(big), MSG_DONTWAIT) > 0)
		loop_turn(b->loop, 20);
	while (!b->writable)
		loop_turn(b->loop, TURN_MS);
	assert_int_equal(send_frame(b, big, sizeof(big)), 0);
	close(peer[0]);
	close(peer[1]);
}

/* The client does not read: the back ends' frames stay with the kernel, and the loop sleeps. */
static void hub_that_is_full(void **state)
{
	struct bench *b = *state;
	static char big[50000];
	unsigned sent = 0, got = 0, turns = 0;
	int sv[2], idle = 0;
	uint64_t before;

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	add_netdev(b, "dgram,id=s0,local.type=fd,local.str=%d", sv[0]);
	add_netdev(b, "hubport,id=p0,hubid=0,netdev=s0");
	add_netdev(b, "hubport,id=n0,hubid=0");
	attach(b);
	while (idle < 20) {
		ssize_t rc = send(sv[1], big, sizeof(big), MSG_DONTWAIT);

		sent += rc > 0;
		idle = rc > 0 ? 0 : idle + 1;
		loop_turn(b->loop, 1);
	}
	assert_true(sent > 3);
	before = now_ns();
	while (now_ns() - before < 100000000)
		turns += (loop_turn(b->loop, 10), 1);
	assert_true(turns <= 10); /* each of them slept all its time */
	for (unsigned i = 0; i < 200 && got < sent; i++) {
		while (recv_frame(b, big, sizeof(big)) == sizeof(big))
			got++;
		loop_turn(b->loop, 10);
	}
	assert_int_equal(got, sent);
	close(sv[1]);
}

/* More frames come at once than a turn takes, and then nothing that would wake it. */
static void hub_with_a_stream(void **state)
{
	enum { FRAMES = 500, EACH = 60 };
	struct bench *b = *state;
	static uint8_t out[FRAMES * (4 + EACH)];
	uint8_t in[EACH];
	unsigned got = 0;
	int sv[2];

	b->told = NULL;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	add_netdev(b, "stream,id=s0,addr.type=fd,addr.str=%d", sv[0]);
	add_netdev(b, "hubport,id=p0,hubid=0,netdev=s0");
	add_netdev(b, "hubport,id=n0,hubid=0");
	attach(b);
	netq_listen(b->q, true);
	for (unsigned i = 0; i < FRAMES; i++) {
		memset(out + i * (4 + EACH), 0, 4);
		out[i * (4 + EACH) + 3] = EACH;
		memset(out + i * (4 + EACH) + 4, (int)(i & 0xff), EACH);
	}
	assert_int_equal(write(sv[1], out, sizeof(out)), sizeof(out));
	for (uint64_t end = now_ns() + TURN_MS * 1000000ULL; got < FRAMES && now_ns() < end;) {
		loop_turn(b->loop, 20);
		for (; recv_frame(b, in, sizeof(in)) == EACH; got++)
			assert_int_equal(in[0], got & 0xff);
	}
	assert_int_equal(got, FRAMES);
	close(sv[1]);
}

/* With its link down a back end at a port is not there. */
static void hub_with_a_link_down(void **state)
{
	struct bench *b = *state;
	struct err e = {0};
	char in[64];
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	add_netdev(b, "dgram,id=s0,local.type=fd,local.str=%d", sv[0]);
	add_netdev(b, "hubport,id=p0,hubid=0,netdev=s0");
	add_netdev(b, "hubport,id=n0,hubid=0");
	attach(b);
	netq_listen(b->q, true);
	for (unsigned up = 0; up < 2; up++) {
		assert_int_equal(netdev_set_link(b->nds, "s0", up, &e), 0);
		assert_true(b->link); /* the client's own is another one */
		assert_int_equal(send_frame(b, text, LEN), 0);
		assert_int_equal(recv(sv[1], in, sizeof(in), MSG_DONTWAIT), up ? LEN : -1);
		assert_int_equal(write(sv[1], text, LEN), LEN);
		for (unsigned i = 0; i < 3; i++)
			loop_turn(b->loop, 0);
		assert_int_equal(recv_frame(b, in, sizeof(in)), up ? LEN : -EAGAIN);
	}
	close(sv[1]);
}

/* A tap is taken with its vnet header and without. */
static void hub_with_a_tap(void **state)
{
	struct bench *b = *state;

	if (!have_namespace())
		skip();
	add_netdev(b, "tap,id=t0,ifname=hubtap0,script=no,downscript=no");
	add_netdev(b, "hubport,id=p0,hubid=0,netdev=t0");
	add_netdev(b, "tap,id=t1,ifname=hubtap1,script=no,downscript=no,vnet_hdr=off");
	add_netdev(b, "hubport,id=p1,hubid=0,netdev=t1");
	add_netdev(b, "hubport,id=n0,hubid=0");
	attach(b);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(send_frame(b, text, LEN), 0);
}

/* --- the link of a stream --- */

static void link_of_a_server(void **state)
{
	struct bench *b = *state;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct err e;
	char in[64];

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", b->dir);
	add_netdev(b, "stream,id=n0,server=on,addr.type=unix,addr.path=%s", un.sun_path);
	attach(b);
	assert_false(b->link);
	/* The operator's wish does not make a cable of nothing. */
	assert_int_equal(netdev_set_link(b->nds, "n0", true, &e), 0);
	assert_false(b->link);
	for (unsigned i = 1; i <= 2; i++) {
		int peer = socket(AF_UNIX, SOCK_STREAM, 0);

		assert_int_equal(connect(peer, (struct sockaddr *)&un, sizeof(un)), 0);
		while (!b->link)
			loop_turn(b->loop, TURN_MS);
		assert_int_equal(b->connected, i);
		assert_string_equal(b->peer, un.sun_path);
		exchange(b, peer);
		close(peer);
		loop_turn(b->loop, TURN_MS);
		assert_int_equal(recv_frame(b, in, sizeof(in)), -EAGAIN);
		assert_false(b->link);
		assert_int_equal(b->disconnected, i);
	}
}

/* Nobody listens, as before the guest's driver is up. A peer that leaves is noticed all the same
 * and the next one is taken; one that has left a frame is noticed when that was taken. */
static void peer_leaves_unheard(void **state)
{
	struct bench *b = *state;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	uint8_t in[64], frame[4 + LEN] = {0, 0, 0, LEN};

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", b->dir);
	add_netdev(b, "stream,id=n0,server=on,addr.type=unix,addr.path=%s", un.sun_path);
	attach(b);
	for (unsigned i = 1; i <= 6; i++) {
		int peer = socket(AF_UNIX, SOCK_STREAM, 0);
		bool half = i & 1, leaves_frame = i > 2, torn = i > 4;

		assert_int_equal(connect(peer, (struct sockaddr *)&un, sizeof(un)), 0);
		while (!b->link)
			loop_turn(b->loop, TURN_MS);
		assert_int_equal(b->connected, i);
		/* With its path, as QEMU says it. */
		assert_string_equal(b->peer, un.sun_path);
		if (leaves_frame)
			assert_int_equal(write(peer, frame, sizeof(frame) - torn),
					 sizeof(frame) - torn);
		if (torn) {
			/* Read as far as it goes, it is no frame and waits for nobody. */
			assert_int_equal(recv_frame(b, in, sizeof(in)), -EAGAIN);
		}
		if (half)
			shutdown(peer, SHUT_WR);
		else
			close(peer);
		loop_turn(b->loop, TURN_MS);
		if (leaves_frame && !torn) {
			assert_int_equal(b->disconnected, i - 1);
			loop_turn(b->loop, 20); /* it sleeps */
			assert_int_equal(recv_frame(b, in, sizeof(in)), LEN);
			assert_int_equal(recv_frame(b, in, sizeof(in)), -EAGAIN);
		}
		assert_int_equal(b->disconnected, i);
		assert_false(b->link);
		if (half)
			close(peer);
	}
}

/* A client whose peer leaves so early connects again. */
static void client_comes_back_unheard(void **state)
{
	struct bench *b = *state;
	unsigned port;
	int listener = bound(SOCK_STREAM, &port), peer;

	assert_int_equal(listen(listener, 1), 0);
	add_netdev(b, "stream,id=n0,addr.type=inet,addr.host=127.0.0.1,addr.port=%u,reconnect-ms=1",
		   port);
	/* Before the queue is served, and then twice while nobody listens. */
	for (unsigned i = 1; i <= 3; i++) {
		peer = accept(listener, NULL, NULL);
		close(peer);
		if (i == 1)
			attach(b);
		for (unsigned turns = 0; b->connected == i && turns < 20; turns++)
			loop_turn(b->loop, TURN_MS);
		assert_int_equal(b->connected, i + 1);
		assert_int_equal(b->disconnected, i);
	}
	close(listener);
}

static void link_of_a_client(void **state)
{
	struct bench *b = *state;
	struct err e;
	unsigned port;
	int listener = bound(SOCK_STREAM, &port), peer;
	char in[64], where[32];

	assert_int_equal(listen(listener, 1), 0);
	add_netdev(b, "stream,id=n0,addr.type=inet,addr.host=127.0.0.1,addr.port=%u,reconnect-ms=1",
		   port);
	assert_int_equal(b->connected, 1);
	snprintf(where, sizeof(where), "127.0.0.1:%u", port);
	assert_string_equal(b->peer, where);
	attach(b);
	assert_true(b->link);
	/* Down by the operator's wish, it stays down through a reconnection. */
	assert_int_equal(netdev_set_link(b->nds, "nic0", false, &e), 0);
	netq_listen(b->q, true);
	for (unsigned i = 1; i <= 3; i++) {
		peer = accept(listener, NULL, NULL);
		close(peer);
		loop_turn(b->loop, TURN_MS);
		assert_int_equal(recv_frame(b, in, sizeof(in)), -EAGAIN);
		assert_int_equal(b->disconnected, i);
		while (b->connected == i)
			loop_turn(b->loop, TURN_MS);
		assert_false(b->link);
	}
	assert_int_equal(netdev_set_link(b->nds, "nic0", true, &e), 0);
	assert_true(b->link);
	close(listener);
}

/* --- bridge --- */

/* What qemu-bridge-helper does, without a bridge. */
static int act_as_helper(int argc, char **argv)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	const char *br = NULL;
	int sock = -1, fd = open("/dev/net/tun", O_RDWR);

	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--use-vnet"))
			ifr.ifr_flags |= IFF_VNET_HDR;
		else if (!strncmp(argv[i], "--fd=", 5))
			sock = atoi(argv[i] + 5);
		else if (!strncmp(argv[i], "--br=", 5))
			br = argv[i] + 5;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s-tap", br ? br : "none");
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return 2;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : 3;
}

static void bridge_helper(void **state)
{
	static const char *const forms[] = {"bridge,id=n0,br=xenbr7,helper=%s",
					    "tap,id=n0,br=xenbr7,helper=%s",
					    "bridge,id=n0,br=xenbr7,helper=env A=b %s"};
	struct bench *b = *state;
	char self[256] = {0}, line[512];
	struct err e;

	if (!have_namespace())
		skip();
	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
		snprintf(line, sizeof(line), forms[i], self);
		add_netdev(b, "%s", line);
		attach(b);
		assert_true(if_nametoindex("xenbr7-tap") > 0);
		assert_true(netdev_caps(b->nd) & NET_VNET_HDR);
		netdev_detach(b->nd);
		b->nd = NULL;
		assert_int_equal(netdev_del(b->nds, "n0", &e), 0);
		assert_int_equal(if_nametoindex("xenbr7-tap"), 0);
	}
}

/* --- passt --- */

#define GATEWAY 0x0a070001

/* passt wants an interface with a default route; a tap that nobody serves will do. */
static bool have_passt(void)
{
	static bool done;

	if (access("/usr/bin/passt", X_OK) < 0) {
		print_message("passt is not installed\n");
		return false;
	}
	if (!have_namespace())
		return false;
	if (!done && system("ip link set lo up && ip tuntap add p0 mode tap && "
			    "ip addr add 10.7.0.2/24 dev p0 && ip link set p0 up && "
			    "ip route add default via 10.7.0.1 dev p0")) {
		print_message("no interface with a route for passt\n");
		return false;
	}
	done = true;
	return true;
}

/* Ask for the gateway's address on the wire until it is told. */
static void ask_gateway(struct bench *b)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
	uint8_t f[60] = {0}, in[2000];
	uint64_t end = now_ns() + TURN_MS * 1000000ULL;
	ssize_t len;

	memset(f, 0xff, 6);
	memcpy(f + 6, mac, 6);
	memcpy(f + 12, "\x08\x06\0\1\x08\0\6\4\0\1", 10);
	memcpy(f + 22, mac, 6);
	memcpy(f + 28, "\x0a\7\0\5", 4);
	memcpy(f + 38, "\x0a\7\0\1", 4);
	assert_int_equal(send_frame(b, f, sizeof(f)), 0);
	netq_listen(b->q, true);
	while ((len = recv_frame(b, in, sizeof(in))) < 0 || memcmp(in + 12, "\x08\x06", 2)) {
		assert_true(now_ns() < end);
		loop_turn(b->loop, 50);
	}
	assert_true(len >= 42);
	assert_memory_equal(in + 20, "\0\2", 2);
	assert_memory_equal(in + 28, "\x0a\7\0\1", 4);
	assert_memory_equal(in, mac, 6);
}

static void passt_started(void **state)
{
	struct bench *b = *state;

	if (!have_passt())
		skip();
	add_netdev(b, "passt,id=n0,mtu=1400,ipv6=off,udp=off");
	attach(b);
	assert_true(b->link);
	ask_gateway(b);
}

static pid_t start_passt(const char *path)
{
	pid_t pid = fork();

	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		dup2(null, 2);
		execlp("passt", "passt", "--foreground", "--socket", path, "--ipv4-only", NULL);
		_exit(127);
	}
	return pid;
}

/* A passt that somebody else runs: it may come late, end, and come back. */
static void passt_comes_and_goes(void **state)
{
	struct bench *b = *state;
	char path[64], in[64];

	if (!have_passt())
		skip();
	assert_int_equal(chmod(b->dir, 0777), 0); /* it runs as nobody */
	snprintf(path, sizeof(path), "%s/s", b->dir);
	add_netdev(b, "stream,id=n0,server=off,addr.type=unix,addr.path=%s,reconnect-ms=20", path);
	attach(b);
	assert_false(b->link);
	for (unsigned i = 1; i <= 2; i++) {
		uint64_t end = now_ns() + 5 * TURN_MS * 1000000ULL;
		pid_t pid = start_passt(path);

		while (!b->link) {
			assert_true(now_ns() < end);
			loop_turn(b->loop, 50);
		}
		ask_gateway(b);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		while (b->disconnected < i) {
			loop_turn(b->loop, TURN_MS);
			while (recv_frame(b, in, sizeof(in)) >= 0) {}
		}
		assert_false(b->link);
		unlink(path);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(socket_connect),
		T(socket_listen),
		T(socket_udp),
		T(socket_mcast),
		T(socket_by_descriptor),
		T(bad_options),
		T(hub_of_three),
		T(hub_with_a_stream),
		T(hub_with_a_link_down),
		T(hub_that_is_full),
		T(link_of_a_server),
		T(peer_leaves_unheard),
		T(client_comes_back_unheard),
		T(link_of_a_client),
		T(hub_with_a_tap),
		T(bridge_helper),
		T(passt_started),
		T(passt_comes_and_goes),
	};

	if (argc > 1)
		return act_as_helper(argc, argv);
	return cmocka_run_group_tests_name("net_links", tests, NULL, NULL);
}
