/* SPDX-License-Identifier: MIT */
/* unit_net.c - the netdev set, the stream and datagram back ends, over socket pairs and socket
 * files
 *
 * The loop is turned by hand, so each step is seen; nothing waits for a clock but where a limit is
 * needed to fail.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "net/frame.h"
#include "net/net.h"

#define TURN_MS 2000 /* only a failing test waits so long */

struct bench {
	struct loop *loop;
	struct netdevs *nds;
	struct net_client client;
	struct netdev *nd;
	struct netq *q;
	unsigned readable, writable;
	bool link;
	char dir[32];
};

static void on_readable(struct net_client *c, struct netq *q)
{
	container_of(c, struct bench, client)->readable++;
}

static void on_writable(struct net_client *c, struct netq *q)
{
	container_of(c, struct bench, client)->writable++;
}

static void on_link(struct net_client *c, bool up)
{
	container_of(c, struct bench, client)->link = up;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	b->loop = loop_new("test");
	b->nds = netdevs_new(b->loop);
	b->client = (struct net_client){"nic0", on_readable, on_writable, on_link};
	b->link = true;
	strcpy(b->dir, "/tmp/xenpvh-net-XXXXXX");
	*state = b;
	return b->loop && b->nds && mkdtemp(b->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	netdev_detach(b->nd);
	netdevs_free(b->nds);
	loop_free(b->loop);
	if (rmdir(b->dir) < 0)
		return -1; /* a socket file was left behind */
	free(b);
	return 0;
}

static int add(struct bench *b, struct err *e, const char *fmt, ...)
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

/* Attach netdev n0 and begin. */
static void attach(struct bench *b)
{
	struct err e;

	b->nd = netdev_attach(b->nds, "n0", &b->client, &e);
	assert_non_null(b->nd);
	b->q = netdev_queue(b->nd, 0);
	assert_int_equal(netq_start(b->q, b->loop, b), 0);
	assert_ptr_equal(netq_priv(b->q), b);
}

static ssize_t recv_frame(struct bench *b, void *buf, size_t size)
{
	static uint8_t rest[NET_FRAME_MAX];
	struct iovec iov[] = {{buf, size}, {rest, sizeof(rest)}};

	return netq_recv(b->q, iov, 2);
}

static int send_frame(struct bench *b, const void *buf, size_t len)
{
	/* In two pieces, as a guest does. */
	struct iovec iov[] = {{(void *)buf, len / 2}, {(char *)buf + len / 2, len - len / 2}};

	return netq_send(b->q, iov, 2);
}

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 7 + seed);
}

static void read_all(int fd, void *buf, size_t len)
{
	for (size_t n = 0; n < len;) {
		ssize_t got = read(fd, (char *)buf + n, len - n);

		assert_true(got > 0);
		n += (size_t)got;
	}
}

/* The stream back end on one end of a socket pair; returns the other one. */
static int stream_pair(struct bench *b)
{
	struct err e = {0};
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	if (add(b, &e, "stream,id=n0,addr.type=fd,addr.str=%d", sv[0]) < 0)
		fail_msg("%s", e.text);
	attach(b);
	return sv[1];
}

/* --- options --- */

static void bad_options(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"vde,id=n0", "accepted: tap, dgram, stream"},
		{"hubport,id=n0", "'hubid' is missing"},
		{"tap", "'id' is missing"},
		{"id=n0", "'type' is missing"},
		{"tap,id=0n", "expects an identifier"},
		{"tap,id=n0,foo=1", "Invalid parameter 'foo'"},
		{"tap,id=n0,queues=0", "'queues' expects integer from 1"},
		{"tap,id=n0,queues=257", "'queues'"},
		{"tap,id=n0,vnet_hdr=maybe", "'vnet_hdr'"},
		{"tap,id=n0,sndbuf=x", "'sndbuf'"},
		{"tap,id=n0,ifname=a-name-that-is-too-long", "1 to 15 characters"},
		{"tap,id=n0,helper=/bin/true,ifname=t0", "ifname= is invalid with helper="},
		{"tap,id=n0,fd=9999", "file descriptor 9999"},
		{"tap,id=n0,fd=x", "'x' is not the number"},
		{"tap,id=n0,fd=3:4", "see fds="},
		{"tap,id=n0,fds=", "expects numbers"},
		{"tap,id=n0,fd=0,fds=0:1", "exclude each other"},
		{"tap,id=n0,fd=0,ifname=t0", "'ifname' cannot be used together"},
		{"tap,id=n0,fd=0,vnet_hdr=on", "'vnet_hdr' cannot be used together"},
		{"stream,id=n0", "'addr.type' is missing"},
		{"stream,id=n0,addr.type=vsock", "accepted: inet, unix, fd"},
		{"stream,id=n0,addr.type=unix", "'addr.path' is missing"},
		{"stream,id=n0,addr.type=unix,addr.path=", "1 to 107 bytes"},
		{"stream,id=n0,addr.type=unix,addr.path=/nonexistent/s",
		 "could not connect to /nonexistent/s"},
		{"stream,id=n0,addr.type=unix,addr.path=/nonexistent/s,server=on",
		 "could not listen on /nonexistent/s"},
		{"stream,id=n0,addr.type=inet,addr.host=127.0.0.1", "'addr.port' is missing"},
		{"stream,id=n0,addr.type=inet,addr.port=1", "'addr.host' is missing"},
		{"stream,id=n0,addr.type=fd,addr.str=one", "number of an open socket"},
		{"stream,id=n0,addr.type=fd,addr.str=9999", "file descriptor 9999"},
		{"stream,id=n0,server=on,reconnect-ms=5,addr.type=unix,addr.path=x", "server=on"},
		{"stream,id=n0,reconnect=1,reconnect-ms=5,addr.type=unix,addr.path=x",
		 "exclude each other"},
		{"dgram,id=n0", "'local.type' or 'remote.type' is missing"},
		{"dgram,id=n0,local.type=unix,local.path=x", "'remote.type' is missing"},
		{"dgram,id=n0,remote.type=unix,remote.path=x", "'local.type' is missing"},
		{"dgram,id=n0,local.type=inet,local.host=127.0.0.1,local.port=0,remote.type=unix,"
		 "remote.path=x",
		 "different kinds"},
		{"dgram,id=n0,remote.type=fd,remote.str=0,local.type=unix,local.path=x",
		 "file descriptor 0"},
	};
	struct bench *b = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = {0};

		if (add(b, &e, "%s", bad[i].text) >= 0)
			fail_msg("'%s' was accepted", bad[i].text);
		if (!strstr(e.text, bad[i].says))
			fail_msg("'%s' says: %s", bad[i].text, e.text);
	}
}

static void socket_of_other_type(void **state)
{
	struct bench *b = *state;
	struct err e = {0};
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	assert_true(add(b, &e, "stream,id=n0,addr.type=fd,addr.str=%d", sv[0]) < 0);
	assert_non_null(strstr(e.text, "is not a stream socket"));
	close(sv[0]);
	close(sv[1]);
}

static void one_user(void **state)
{
	struct bench *b = *state;
	struct net_client other = {.name = "nic1"};
	struct err e = {0};
	int peer = stream_pair(b);

	assert_null(netdev_attach(b->nds, "nope", &other, &e));
	assert_string_equal(e.text, "Property 'netdev' can't find value 'nope'");
	assert_null(netdev_attach(b->nds, "n0", &other, &e));
	assert_string_equal(e.text, "Property 'netdev' can't take value 'n0', it's in use");
	assert_int_equal(add(b, &e, "stream,id=n0,addr.type=fd,addr.str=0"), -EEXIST);
	assert_string_equal(e.text, "Duplicate ID 'n0' for netdev");
	assert_int_equal(netdev_del(b->nds, "n0", &e), -EBUSY);
	netdev_detach(b->nd);
	b->nd = NULL;
	assert_int_equal(netdev_del(b->nds, "n0", &e), 0);
	assert_int_equal(netdev_del(b->nds, "n0", &e), -ENODEV);
	assert_int_equal(e.class, ERR_DEVICE_NOT_FOUND);
	close(peer);
}

static void link_by_either_name(void **state)
{
	struct bench *b = *state;
	struct err e = {0};
	int peer = stream_pair(b);

	assert_int_equal(netdev_set_link(b->nds, "n0", false, &e), 0);
	assert_false(b->link);
	assert_int_equal(netdev_set_link(b->nds, "nic0", true, &e), 0);
	assert_true(b->link);
	assert_int_equal(netdev_set_link(b->nds, "nic1", true, &e), -ENODEV);
	assert_int_equal(e.class, ERR_DEVICE_NOT_FOUND);
	close(peer);
}

static void mac_addresses(void **state)
{
	struct bench *b = *state;
	uint8_t first[6] = {0}, given[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x57}, third[6] = {0};
	uint8_t foreign[6] = {0, 0x16, 0x3e, 1, 2, 3}, again[6] = {0};
	const uint8_t expect_first[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

	netdev_mac_alloc(b->nds, first);
	assert_memory_equal(first, expect_first, 6);
	netdev_mac_alloc(b->nds, given);
	assert_int_equal(given[5], 0x57);
	netdev_mac_alloc(b->nds, foreign);
	assert_int_equal(foreign[1], 0x16);
	netdev_mac_alloc(b->nds, third);
	assert_int_equal(third[5], 0x58); /* 57 is taken */
	netdev_mac_free(b->nds, first);
	netdev_mac_alloc(b->nds, again);
	assert_int_equal(again[5], 0x56);
}

/* --- frames on a stream --- */

static void frames_in_pieces(void **state)
{
	struct bench *b = *state;
	static const size_t sizes[] = {60, 1, NET_FRAME_MAX, 1514};
	uint8_t out[NET_FRAME_MAX], in[NET_FRAME_MAX];
	int peer = stream_pair(b);

	netq_listen(b->q, true);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint32_t prefix = htobe32((uint32_t)sizes[i]);
		size_t step = sizes[i] > 2000 ? 10000 : 7;

		fill(out, sizes[i], i);
		/* The prefix byte by byte, then the frame in parts: nothing comes before its
		 * last byte. */
		for (unsigned j = 0; j < 4; j++) {
			assert_int_equal(write(peer, (char *)&prefix + j, 1), 1);
			assert_int_equal(recv_frame(b, in, sizeof(in)), -EAGAIN);
		}
		for (size_t at = 0; at < sizes[i]; at += step) {
			size_t part = MIN(step, sizes[i] - at);

			if (at)
				assert_int_equal(recv_frame(b, in, sizeof(in)), -EAGAIN);
			assert_int_equal(write(peer, out + at, part), part);
		}
		b->readable = 0;
		loop_turn(b->loop, TURN_MS);
		assert_int_equal(b->readable, 1);
		assert_int_equal(recv_frame(b, in, sizeof(in)), sizes[i]);
		assert_memory_equal(in, out, sizes[i]);
	}
	close(peer);
}

static void many_frames_at_once(void **state)
{
	struct bench *b = *state;
	uint8_t out[100 * 64], in[NET_FRAME_MAX];
	int peer = stream_pair(b);

	for (unsigned i = 0; i < 100; i++) {
		uint32_t prefix = htobe32(60);

		memcpy(out + i * 64, &prefix, 4);
		fill(out + i * 64 + 4, 60, i);
	}
	assert_int_equal(write(peer, out, sizeof(out)), sizeof(out));
	for (unsigned i = 0; i < 100; i++) {
		/* Scattered over pieces, the first of which is short. */
		struct iovec iov[] = {{in, 5}, {in + 5, 10}, {in + 15, sizeof(in) - 15}};

		assert_int_equal(netq_recv(b->q, iov, 3), 60);
		assert_memory_equal(in, out + i * 64 + 4, 60);
	}
	assert_int_equal(recv_frame(b, in, sizeof(in)), -EAGAIN);
	close(peer);
}

static void oversized_frame(void **state)
{
	static const uint32_t lengths[] = {NET_FRAME_MAX + 1, 0x80000000, 0xffffffff};
	struct bench *b = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint32_t prefix = htobe32(lengths[i]);
		int peer = stream_pair(b);
		struct err e;
		char c;

		assert_int_equal(write(peer, &prefix, 4), 4);
		assert_int_equal(recv_frame(b, &c, 1), -EAGAIN);
		/* The peer is cut off, the back end lives on without one. */
		assert_int_equal(read(peer, &c, 1), 0);
		assert_int_equal(send_frame(b, "0123456789abcdef", 16), -ENOTCONN);
		netdev_detach(b->nd);
		b->nd = NULL;
		assert_int_equal(netdev_del(b->nds, "n0", &e), 0);
		close(peer);
	}
}

static void send_is_framed(void **state)
{
	struct bench *b = *state;
	uint8_t out[1514], in[4 + 1514];
	int peer = stream_pair(b);

	fill(out, sizeof(out), 3);
	assert_int_equal(send_frame(b, out, sizeof(out)), 0);
	read_all(peer, in, sizeof(in));
	assert_int_equal(in[0] << 24 | in[1] << 16 | in[2] << 8 | in[3], sizeof(out));
	assert_memory_equal(in + 4, out, sizeof(out));
	close(peer);
}

/* A full socket: the frame that went out in part is completed, the next one waits, and none is
 * torn or lost. */
static void full_socket(void **state)
{
	struct bench *b = *state;
	static uint8_t out[60000], in[4 + 60000];
	int peer = stream_pair(b);
	unsigned sent = 0;

	for (;;) {
		int rc;

		fill(out, sizeof(out), sent);
		rc = send_frame(b, out, sizeof(out));
		if (rc == -EAGAIN)
			break;
		assert_int_equal(rc, 0);
		assert_true(++sent < 1000);
	}
	assert_true(sent > 0);
	assert_int_equal(b->writable, 0);
	for (unsigned i = 0; i < sent; i++) {
		/* Room comes and goes; what is buffered is flushed by the loop. */
		for (size_t n = 0; n < sizeof(in);) {
			ssize_t got = recv(peer, in + n, sizeof(in) - n, MSG_DONTWAIT);

			if (got < 0)
				loop_turn(b->loop, TURN_MS);
			else
				n += (size_t)got;
		}
		fill(out, sizeof(out), i);
		assert_memory_equal(in + 4, out, sizeof(out));
	}
	while (!b->writable)
		loop_turn(b->loop, TURN_MS);
	assert_int_equal(b->writable, 1);
	fill(out, sizeof(out), 77);
	assert_int_equal(send_frame(b, out, sizeof(out)), 0);
	read_all(peer, in, sizeof(in));
	assert_memory_equal(in + 4, out, sizeof(out));
	close(peer);
}

/* A client that waits for room is told when the peer leaves instead. */
static void peer_leaves_while_full(void **state)
{
	struct bench *b = *state;
	static uint8_t out[60000];
	int peer = stream_pair(b), rc;

	while (!(rc = send_frame(b, out, sizeof(out))))
		;
	assert_int_equal(rc, -EAGAIN);
	close(peer);
	for (unsigned i = 0; i < 10 && !b->writable; i++)
		loop_turn(b->loop, TURN_MS);
	assert_int_equal(b->writable, 1);
	assert_int_equal(send_frame(b, out, sizeof(out)), -ENOTCONN);
}

/* Nobody listens: a peer that has left a frame and hung up must not turn the loop. */
static void unwanted_hangup(void **state)
{
	struct bench *b = *state;
	int peer = stream_pair(b);
	char c;

	netq_listen(b->q, true);
	netq_listen(b->q, false);
	assert_int_equal(write(peer, "\0\0\0\1x", 5), 5);
	close(peer);
	for (unsigned i = 0; i < 3; i++)
		loop_turn(b->loop, i ? 20 : 0);
	assert_int_equal(b->readable, 0);
	assert_true(netq_fd(b->q) >= 0);
	netq_listen(b->q, true);
	loop_turn(b->loop, TURN_MS);
	assert_int_equal(b->readable, 1);
	assert_int_equal(recv_frame(b, &c, 1), 1);
	assert_int_equal(recv_frame(b, &c, 1), -EAGAIN);
	assert_int_equal(netq_fd(b->q), -1);
	for (unsigned i = 0; i < 3; i++)
		loop_turn(b->loop, 0);
	assert_int_equal(b->readable, 1);
}

/* --- stream: connections --- */

static int unix_client(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(un.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

static void server_takes_one_after_the_other(void **state)
{
	struct bench *b = *state;
	char path[64], in[64];
	struct err e = {0};
	int first, second;

	snprintf(path, sizeof(path), "%s/s", b->dir);
	assert_int_equal(add(b, &e, "stream,id=n0,server=on,addr.type=unix,addr.path=%s", path), 0);
	attach(b);
	assert_int_equal(send_frame(b, "nobody there yet", 16), -ENOTCONN);
	first = unix_client(path);
	loop_turn(b->loop, TURN_MS);
	assert_int_equal(send_frame(b, "to the first one", 16), 0);
	read_all(first, in, 20);
	assert_memory_equal(in + 4, "to the first one", 16);

	second = unix_client(path); /* waits */
	netq_listen(b->q, true);
	close(first);
	loop_turn(b->loop, TURN_MS);
	assert_int_equal(recv_frame(b, in, sizeof(in)), -EAGAIN);
	loop_turn(b->loop, TURN_MS);
	assert_int_equal(send_frame(b, "to the next one.", 16), 0);
	read_all(second, in, 20);
	assert_memory_equal(in + 4, "to the next one.", 16);
	close(second);
}

static void client_reconnects(void **state)
{
	struct bench *b = *state;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct err e = {0};
	char in[64];
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), peer;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", b->dir);
	/* The server is late, then it drops us, then it takes us again. */
	assert_int_equal(
		add(b, &e, "stream,id=n0,reconnect-ms=1,addr.type=unix,addr.path=%s", un.sun_path),
		0);
	attach(b);
	netq_listen(b->q, true);
	loop_turn(b->loop, 20);
	assert_int_equal(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(listener, 4), 0);
	for (unsigned i = 0; i < 2; i++) {
		while (send_frame(b, "0123456789abcdef", 16) == -ENOTCONN)
			loop_turn(b->loop, 20);
		peer = accept(listener, NULL, NULL);
		read_all(peer, in, 20);
		assert_memory_equal(in + 4, "0123456789abcdef", 16);
		close(peer);
		loop_turn(b->loop, TURN_MS);
		assert_int_equal(recv_frame(b, in, sizeof(in)), -EAGAIN);
	}
	unlink(un.sun_path);
	close(listener);
}

static void stream_over_tcp(void **state)
{
	struct bench *b = *state;
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in4);
	struct err e = {0};
	char in[64];
	int listener = socket(AF_INET, SOCK_STREAM, 0), peer;

	assert_int_equal(bind(listener, (struct sockaddr *)&in4, sizeof(in4)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&in4, &len), 0);
	if (add(b, &e, "stream,id=n0,addr.type=inet,addr.host=127.0.0.1,addr.port=%u",
		ntohs(in4.sin_port)) < 0)
		fail_msg("%s", e.text);
	attach(b);
	peer = accept(listener, NULL, NULL);
	assert_int_equal(send_frame(b, "0123456789abcdef", 16), 0);
	read_all(peer, in, 20);
	assert_memory_equal(in + 4, "0123456789abcdef", 16);
	close(peer);
	close(listener);
}

/* --- datagrams --- */

static void dgram_by_descriptor(void **state)
{
	struct bench *b = *state;
	uint8_t out[1514], in[NET_FRAME_MAX];
	struct err e = {0};
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	assert_int_equal(add(b, &e, "dgram,id=n0,local.type=fd,local.str=%d", sv[0]), 0);
	attach(b);
	netq_listen(b->q, true);
	fill(out, sizeof(out), 9);
	assert_int_equal(write(sv[1], out, sizeof(out)), sizeof(out));
	loop_turn(b->loop, TURN_MS);
	assert_int_equal(b->readable, 1);
	assert_int_equal(recv_frame(b, in, 100), sizeof(out));
	assert_memory_equal(in, out, 100);
	assert_int_equal(send_frame(b, out, sizeof(out)), 0);
	assert_int_equal(read(sv[1], in, sizeof(in)), sizeof(out));
	assert_memory_equal(in, out, sizeof(out));
	close(sv[1]);
}

static int bound_dgram(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	strcpy(un.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

static void dgram_peer_comes_and_goes(void **state)
{
	struct bench *b = *state;
	char local[64], remote[64], in[64];
	struct err e = {0};
	int peer;

	snprintf(local, sizeof(local), "%s/l", b->dir);
	snprintf(remote, sizeof(remote), "%s/r", b->dir);
	assert_int_equal(add(b, &e,
			     "dgram,id=n0,local.type=unix,local.path=%s,remote.type=unix,"
			     "remote.path=%s",
			     local, remote),
			 0);
	attach(b);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(send_frame(b, "0123456789abcdef", 16) < 0);
		peer = bound_dgram(remote);
		assert_int_equal(send_frame(b, "0123456789abcdef", 16), 0);
		assert_int_equal(read(peer, in, sizeof(in)), 16);
		close(peer);
		unlink(remote);
	}
}

/* Frames until there is no room for one more. */
static unsigned fill_up(struct bench *b)
{
	unsigned n = 0;
	int rc;

	while (!(rc = send_frame(b, "0123456789abcdef", 16)))
		n++;
	assert_int_equal(rc, -EAGAIN);
	b->writable = 0;
	return n;
}

/* Nobody looks whether there is room: two turns sleep until they are told to end. */
static void stays_full(struct bench *b)
{
	for (unsigned i = 0; i < 2; i++)
		loop_turn(b->loop, 20);
	assert_int_equal(b->writable, 0);
	assert_int_equal(send_frame(b, "0123456789abcdef", 16), -EAGAIN);
}

static void gets_room(struct bench *b)
{
	while (!b->writable)
		loop_turn(b->loop, TURN_MS);
	assert_int_equal(b->writable, 1);
}

static unsigned take_all(int peer)
{
	char in[64];
	unsigned n = 0;

	while (recv(peer, in, sizeof(in), MSG_DONTWAIT) == 16)
		n++;
	return n;
}

static void add_named(struct bench *b, const char *local, const char *remote)
{
	struct err e = {0};

	assert_int_equal(add(b, &e,
			     "dgram,id=n0,local.type=unix,local.path=%s,remote.type=unix,"
			     "remote.path=%s",
			     local, remote),
			 0);
	attach(b);
}

/* The short queue of an unconnected peer: the back end hears of each frame that is taken, and of
 * the peer's end. */
static void dgram_full(void **state)
{
	struct bench *b = *state;
	char local[64], remote[64], in[64];
	unsigned n;
	int peer, old;

	snprintf(local, sizeof(local), "%s/l", b->dir);
	snprintf(remote, sizeof(remote), "%s/r", b->dir);
	peer = bound_dgram(remote);
	add_named(b, local, remote);
	n = fill_up(b);
	stays_full(b);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(recv(peer, in, sizeof(in), 0), 16);
		gets_room(b);
		assert_int_equal(fill_up(b), 1);
	}
	stays_full(b);
	assert_int_equal(take_all(peer), n);
	gets_room(b);

	/* Another one in its place, whose queue is the one that counts from then on. */
	assert_int_equal(fill_up(b), n);
	old = peer;
	unlink(remote);
	peer = bound_dgram(remote);
	assert_int_equal(take_all(old), n);
	gets_room(b);
	assert_int_equal(fill_up(b), n);
	close(old);
	loop_turn(b->loop, 0);
	fill_up(b);
	stays_full(b);
	assert_int_equal(take_all(peer), n);
	gets_room(b);
	assert_int_equal(fill_up(b), n);

	/* Gone: what is sent is lost, at once. */
	close(peer);
	gets_room(b);
	assert_int_equal(send_frame(b, "0123456789abcdef", 16), -ECONNREFUSED);
	unlink(remote);
}

/* A peer that has connected its socket to ours has no such queue: our own buffer is the limit. */
static void dgram_full_of_its_own(void **state)
{
	struct bench *b = *state;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	char local[64], remote[64];
	struct err e = {0};
	int peer, sv[2];

	snprintf(local, sizeof(local), "%s/l", b->dir);
	snprintf(remote, sizeof(remote), "%s/r", b->dir);
	peer = bound_dgram(remote);
	add_named(b, local, remote);
	strcpy(un.sun_path, local);
	assert_int_equal(connect(peer, (struct sockaddr *)&un, sizeof(un)), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(fill_up(b) > 100);
		stays_full(b);
		assert_true(take_all(peer) > 100);
		gets_room(b);
	}
	close(peer);
	unlink(remote);
	netdev_detach(b->nd);
	b->nd = NULL;
	assert_int_equal(netdev_del(b->nds, "n0", &e), 0);

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	assert_int_equal(add(b, &e, "dgram,id=n0,local.type=fd,local.str=%d", sv[0]), 0);
	attach(b);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(fill_up(b) > 100);
		stays_full(b);
		assert_true(take_all(sv[1]) > 100);
		gets_room(b);
	}
	close(sv[1]);
}

static void dgram_over_udp(void **state)
{
	struct bench *b = *state;
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in4);
	struct err e = {0};
	char in[64];
	int peer = socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(bind(peer, (struct sockaddr *)&in4, sizeof(in4)), 0);
	assert_int_equal(getsockname(peer, (struct sockaddr *)&in4, &len), 0);
	if (add(b, &e,
		"dgram,id=n0,local.type=inet,local.host=127.0.0.1,local.port=0,remote.type=inet,"
		"remote.host=127.0.0.1,remote.port=%u",
		ntohs(in4.sin_port)) < 0)
		fail_msg("%s", e.text);
	attach(b);
	assert_int_equal(send_frame(b, "0123456789abcdef", 16), 0);
	assert_int_equal(recvfrom(peer, in, sizeof(in), 0, (struct sockaddr *)&in4, &len), 16);
	assert_int_equal(sendto(peer, in, 16, 0, (struct sockaddr *)&in4, len), 16);
	netq_listen(b->q, true);
	loop_turn(b->loop, TURN_MS);
	assert_int_equal(recv_frame(b, in, sizeof(in)), 16);
	close(peer);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(bad_options),
		T(socket_of_other_type),
		T(one_user),
		T(link_by_either_name),
		T(mac_addresses),
		T(frames_in_pieces),
		T(many_frames_at_once),
		T(oversized_frame),
		T(send_is_framed),
		T(full_socket),
		T(peer_leaves_while_full),
		T(unwanted_hangup),
		T(server_takes_one_after_the_other),
		T(client_reconnects),
		T(stream_over_tcp),
		T(dgram_by_descriptor),
		T(dgram_peer_comes_and_goes),
		T(dgram_full),
		T(dgram_full_of_its_own),
		T(dgram_over_udp),
	};

	return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
