/* SPDX-License-Identifier: MIT */
/* unit_net_user.c - -netdev user: what libslirp answers through it, and what it must withstand
 *
 * The guest is this program with a few frames: ARP, DHCP, ping, UDP and the first segments of TCP.
 * The loop is turned by hand. Addresses on the host's side are those of the loopback interface.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/util.h"
#include "net/fifo.h"
#include "net/net.h"
#include "net/offload.h"

#define TURN_MS	  2000
#define GATEWAY	  0x0a000202 /* 10.0.2.2 */
#define GUEST	  0x0a00020f
#define ETH	  14
#define IP	  20
#define TCP_SYN	  2
#define TCP_ACK	  16
#define FRAME_MAX 1514

struct bench {
	struct loop *loop;
	struct netdevs *nds;
	struct net_client client;
	struct netdev *nd;
	struct netq *q;
	unsigned readable;
	char dir[32];
	bool has_hdr;
	uint8_t hdr[NET_HDR_LEN]; /* before the frames that are sent */
	uint8_t in_hdr[NET_HDR_LEN], in[NET_FRAME_MAX];
	ssize_t in_len;
};

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static uint8_t gateway_mac[6];

static void on_readable(struct net_client *c, struct netq *q)
{
	container_of(c, struct bench, client)->readable++;
}

static void on_writable(struct net_client *c, struct netq *q)
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
	b->client = (struct net_client){"nic0", on_readable, on_writable, on_link};
	strcpy(b->dir, "/tmp/xenpvh-user-XXXXXX");
	*state = b;
	return b->loop && b->nds && mkdtemp(b->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	netdev_detach(b->nd);
	netdevs_free(b->nds);
	loop_free(b->loop);
	rmdir(b->dir);
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

static void attach(struct bench *b)
{
	struct err e = {0};

	b->nd = netdev_attach(b->nds, "n0", &b->client, &e);
	assert_non_null(b->nd);
	b->has_hdr = netdev_caps(b->nd) & NET_VNET_HDR;
	b->q = netdev_queue(b->nd, 0);
	assert_int_equal(netq_start(b->q, b->loop, b), 0);
}

static void open_user(struct bench *b, const char *options)
{
	struct err e = {0};

	if (add(b, &e, "user,id=n0%s", options) < 0)
		fail_msg("%s", e.text);
	attach(b);
	assert_true(b->has_hdr);
}

/* --- frames --- */

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static unsigned checksum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

/* In pieces, as a guest does. */
static void transmit(struct bench *b, uint8_t *f, size_t len)
{
	struct iovec iov[] = {{b->hdr, NET_HDR_LEN}, {f, 20}, {f + 20, len - 20}};

	assert_int_equal(netq_send(b->q, iov + !b->has_hdr, 3 - !b->has_hdr), 0);
}

/* An IPv4 frame whose payload of `len` bytes is in place; from 0.0.0.0 to everybody for `to` ~0. */
static void send_ip(struct bench *b, uint8_t *f, unsigned proto, uint32_t to, size_t len)
{
	uint8_t *ip = f + ETH;

	memset(f, 0xff, 6);
	if (to != UINT32_MAX)
		memcpy(f, gateway_mac, 6);
	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, 0x0800);
	memset(ip, 0, IP);
	ip[0] = 0x45;
	put16(ip + 2, (unsigned)(IP + len));
	ip[8] = 64;
	ip[9] = (uint8_t)proto;
	put32(ip + 12, to == UINT32_MAX ? 0 : GUEST);
	put32(ip + 16, to);
	put16(ip + 10, checksum(ip, IP, 0));
	transmit(b, f, ETH + IP + len);
}

static void send_udp(struct bench *b, unsigned from, uint32_t to, unsigned port, const void *data,
		     size_t len)
{
	uint8_t f[FRAME_MAX] = {0}, *udp = f + ETH + IP;

	put16(udp, from);
	put16(udp + 2, port);
	put16(udp + 4, (unsigned)(8 + len));
	memcpy(udp + 8, data, len);
	send_ip(b, f, 17, to, 8 + len);
}

static void send_tcp(struct bench *b, unsigned from, uint32_t to, unsigned port, uint32_t seq,
		     uint32_t ack, unsigned flags, const char *data)
{
	uint8_t f[FRAME_MAX] = {0}, *tcp = f + ETH + IP, pseudo[12] = {0};
	size_t len = 20 + strlen(data);

	put16(tcp, from);
	put16(tcp + 2, port);
	put32(tcp + 4, seq);
	put32(tcp + 8, ack);
	tcp[12] = 5 << 4;
	tcp[13] = (uint8_t)flags;
	put16(tcp + 14, 65535);
	memcpy(tcp + 20, data, strlen(data));
	put32(pseudo, GUEST);
	put32(pseudo + 4, to);
	pseudo[9] = 6;
	put16(pseudo + 10, (unsigned)len);
	put16(tcp + 16, checksum(tcp, len, ~checksum(pseudo, sizeof(pseudo), 0) & 0xffff));
	send_ip(b, f, 6, to, len);
}

/* Next frame in b->in; false when none comes within TURN_MS. */
static bool receive(struct bench *b, int ms)
{
	struct iovec iov[] = {{b->in_hdr, NET_HDR_LEN}, {b->in, sizeof(b->in)}};
	uint64_t end = now_ns() + (uint64_t)ms * 1000000;

	while ((b->in_len = netq_recv(b->q, iov + !b->has_hdr, 2 - !b->has_hdr)) == -EAGAIN) {
		if (now_ns() >= end)
			return false;
		netq_listen(b->q, true);
		loop_turn(b->loop, 20);
	}
	b->in_len -= b->has_hdr ? NET_HDR_LEN : 0;
	assert_true(b->in_len >= ETH);
	return true;
}

/* Next IPv4 frame of protocol `proto`: its payload. ARP questions for the guest are answered. */
static const uint8_t *receive_ip(struct bench *b, unsigned proto)
{
	while (receive(b, TURN_MS)) {
		uint8_t *arp = b->in + ETH;

		if (get16(b->in + 12) == 0x0806 && get16(arp + 6) == 1 &&
		    get32(arp + 24) == GUEST) {
			uint8_t f[60] = {0};

			memcpy(f, b->in + 6, 6);
			memcpy(f + 6, guest_mac, 6);
			put16(f + 12, 0x0806);
			memcpy(f + ETH, arp, 6);
			put16(f + ETH + 6, 2);
			memcpy(f + ETH + 8, guest_mac, 6);
			put32(f + ETH + 14, GUEST);
			memcpy(f + ETH + 18, arp + 8, 10);
			transmit(b, f, sizeof(f));
		} else if (get16(b->in + 12) == 0x0800 && b->in[ETH + 9] == proto) {
			return b->in + ETH + (b->in[ETH] & 15) * 4;
		}
	}
	fail_msg("no IPv4 frame of protocol %u", proto);
	return NULL;
}

/* Ask for the gateway's address on the wire, and so make the guest known. */
static void greet(struct bench *b, uint32_t address)
{
	uint8_t f[60] = {0}, *arp = f + ETH;

	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, 0x0806);
	put16(arp, 1);
	put16(arp + 2, 0x0800);
	arp[4] = 6;
	arp[5] = 4;
	put16(arp + 6, 1);
	memcpy(arp + 8, guest_mac, 6);
	put32(arp + 14, GUEST);
	put32(arp + 24, address);
	transmit(b, f, sizeof(f));
	while (receive(b, TURN_MS))
		if (get16(b->in + 12) == 0x0806 && get16(arp + 6) == 1 &&
		    get32(b->in + ETH + 14) == address) {
			memcpy(gateway_mac, b->in + ETH + 8, 6);
			return;
		}
	fail_msg("the gateway does not answer");
}

/* --- sockets on the host --- */

static int host_socket(int type, unsigned *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, type, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

/* A port that is free at this moment. */
static unsigned free_port(int type)
{
	unsigned port;

	close(host_socket(type, &port));
	return port;
}

static void connect_to(int fd, unsigned port)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port)};

	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
}

/* Turn the loop until `fd` has something to read. */
static ssize_t host_recv(struct bench *b, int fd, void *buf, size_t size)
{
	uint64_t end = now_ns() + TURN_MS * 1000000ULL;
	ssize_t n;

	while ((n = recv(fd, buf, size, MSG_DONTWAIT)) < 0 && now_ns() < end)
		loop_turn(b->loop, 20);
	return n;
}

/* --- tests --- */

static void arp_and_ping(void **state)
{
	struct bench *b = *state;
	uint8_t f[FRAME_MAX] = {0}, *icmp = f + ETH + IP;
	const uint8_t *reply;

	open_user(b, "");
	greet(b, GATEWAY);
	icmp[0] = 8;
	put16(icmp + 4, 0x1234);
	memcpy(icmp + 8, "sixteen bytes...", 16);
	put16(icmp + 2, checksum(icmp, 24, 0));
	send_ip(b, f, 1, GATEWAY, 24);
	reply = receive_ip(b, 1);
	assert_int_equal(reply[0], 0);
	assert_int_equal(get16(reply + 4), 0x1234);
	assert_memory_equal(reply + 8, "sixteen bytes...", 16);
	assert_memory_equal(b->in, guest_mac, 6);
}

static const uint8_t *dhcp_option(const uint8_t *udp, unsigned code)
{
	const uint8_t *p = udp + 8 + 240, *end = udp + get16(udp + 4);

	while (p + 1 < end && *p != 255) {
		if (*p == code)
			return p + 1;
		p += *p ? 2 + p[1] : 1;
	}
	return NULL;
}

/* A discover, and the offer that answers it. */
static const uint8_t *discover(struct bench *b)
{
	uint8_t bootp[300] = {0};

	bootp[0] = bootp[1] = 1;
	bootp[2] = 6;
	put32(bootp + 4, 0xdeadbeef);
	memcpy(bootp + 28, guest_mac, 6);
	put32(bootp + 236, 0x63825363);
	memcpy(bootp + 240, "\x35\x01\x01\xff", 4);
	send_udp(b, 68, UINT32_MAX, 67, bootp, sizeof(bootp));
	return receive_ip(b, 17);
}

static void dhcp_lease(void **state)
{
	struct bench *b = *state;
	const uint8_t *udp, *o;

	open_user(b, ",hostname=guest7,domainname=example.org,dnssearch=a.example,"
		     "dnssearch=b.example,bootfile=kernel,tftp=/nonexistent");
	udp = discover(b);
	assert_int_equal(get16(udp), 67);
	assert_int_equal(get32(udp + 8 + 4), 0xdeadbeef);
	assert_int_equal(get32(udp + 8 + 16), GUEST);
	assert_string_equal((const char *)udp + 8 + 108, "kernel");
	o = dhcp_option(udp, 53);
	assert_true(o && o[1] == 2);
	o = dhcp_option(udp, 3);
	assert_true(o && get32(o + 1) == GATEWAY);
	o = dhcp_option(udp, 6);
	assert_true(o && get32(o + 1) == 0x0a000203);
	o = dhcp_option(udp, 12);
	assert_true(o && o[0] == 6);
	assert_memory_equal(o + 1, "guest7", 6);
	o = dhcp_option(udp, 15);
	assert_true(o && o[0] == 11);
	assert_memory_equal(o + 1, "example.org", 11);
	o = dhcp_option(udp, 119);
	assert_non_null(o);
	assert_memory_equal(o + 1, "\1a\7example\0\1b", 12); /* both domains, in DNS' form */
}

static void other_network(void **state)
{
	struct bench *b = *state;
	const uint8_t *udp, *o;

	open_user(b, ",net=192.168.76.0/24,host=192.168.76.1,dns=192.168.76.9,"
		     "dhcpstart=192.168.76.40");
	udp = discover(b);
	assert_int_equal(get32(udp + 8 + 16), 0xc0a84c28);
	o = dhcp_option(udp, 1);
	assert_true(o && get32(o + 1) == 0xffffff00);
	o = dhcp_option(udp, 3);
	assert_true(o && get32(o + 1) == 0xc0a84c01);
	o = dhcp_option(udp, 6);
	assert_true(o && get32(o + 1) == 0xc0a84c09);
}

/* UDP from the guest to the host's loopback, and the answer back. */
static void udp_to_host(void **state)
{
	struct bench *b = *state;
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	const uint8_t *udp;
	unsigned port;
	int fd = host_socket(SOCK_DGRAM, &port);
	char buf[64];

	open_user(b, "");
	greet(b, GATEWAY);
	send_udp(b, 5000, GATEWAY, port, "question", 8);
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 8);
	assert_memory_equal(buf, "question", 8);
	assert_int_equal(sendto(fd, "answer", 6, 0, (struct sockaddr *)&from, len), 6);
	udp = receive_ip(b, 17);
	assert_int_equal(get16(udp), port);
	assert_int_equal(get16(udp + 2), 5000);
	assert_memory_equal(udp + 8, "answer", 6);
	close(fd);
}

static void restricted(void **state)
{
	struct bench *b = *state;
	unsigned port, forward = free_port(SOCK_DGRAM);
	int fd = host_socket(SOCK_DGRAM, &port), out = socket(AF_INET, SOCK_DGRAM, 0);
	char options[64], buf[64];
	const uint8_t *udp;

	snprintf(options, sizeof(options), ",restrict=on,hostfwd=udp:127.0.0.1:%u-:7", forward);
	open_user(b, options);
	greet(b, GATEWAY);
	send_udp(b, 5000, GATEWAY, port, "question", 8);
	/* A forward works all the same; what was sent before it would have arrived before. */
	connect_to(out, forward);
	assert_int_equal(send(out, "in", 2, 0), 2);
	udp = receive_ip(b, 17);
	assert_int_equal(get16(udp + 2), 7);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
	close(fd);
	close(out);
}

static void forward_udp(void **state)
{
	struct bench *b = *state;
	unsigned port = free_port(SOCK_DGRAM);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char options[64], buf[64];
	const uint8_t *udp;
	uint32_t from;

	snprintf(options, sizeof(options), ",hostfwd=udp:127.0.0.1:%u-10.0.2.15:7", port);
	open_user(b, options);
	greet(b, GATEWAY);
	connect_to(fd, port);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(send(fd, "ping", 4, 0), 4);
		udp = receive_ip(b, 17);
		from = get32(b->in + ETH + 12);
		assert_int_equal(get16(udp + 2), 7);
		assert_memory_equal(udp + 8, "ping", 4);
		send_udp(b, 7, from, get16(udp), "pong", 4);
		assert_int_equal(host_recv(b, fd, buf, sizeof(buf)), 4);
		assert_memory_equal(buf, "pong", 4);
	}
	close(fd);
}

/* A connection of the host to the guest, which answers with one segment. */
static void forward_tcp(void **state)
{
	struct bench *b = *state;
	unsigned port = free_port(SOCK_STREAM), far;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char options[64], buf[64];
	const uint8_t *tcp;
	uint32_t seq, from;

	snprintf(options, sizeof(options), ",hostfwd=tcp:127.0.0.1:%u-:22", port);
	open_user(b, options);
	greet(b, GATEWAY);
	connect_to(fd, port);
	tcp = receive_ip(b, 6);
	from = get32(b->in + ETH + 12);
	far = get16(tcp);
	assert_int_equal(get16(tcp + 2), 22);
	assert_int_equal(tcp[13] & TCP_SYN, TCP_SYN);
	seq = get32(tcp + 4) + 1;
	send_tcp(b, 22, from, far, 1000, seq, TCP_SYN | TCP_ACK, "");
	send_tcp(b, 22, from, far, 1001, seq, TCP_ACK, "hello");
	assert_int_equal(host_recv(b, fd, buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(send(fd, "welcome", 7, 0), 7);
	do
		tcp = receive_ip(b, 6);
	while (get16(b->in + ETH + 2) == IP + (tcp[12] >> 4) * 4U);
	assert_memory_equal(tcp + (tcp[12] >> 4) * 4, "welcome", 7);
	close(fd);
}

/* A connection of the guest to an address that stands for a socket file. */
/* A segment as large as a packet, with its checksum left to the receiver. */
static void large_segment(void **state)
{
	enum { SIZE = 65535 - IP - 20 };
	static uint8_t f[ETH + IP + 20 + SIZE], got[SIZE];
	uint8_t *tcp = f + ETH + IP, pseudo[12] = {0};
	struct bench *b = *state;
	const uint8_t *answer;
	unsigned port;
	int listener = host_socket(SOCK_STREAM, &port), fd;

	assert_int_equal(listen(listener, 1), 0);
	open_user(b, "");
	greet(b, GATEWAY);
	send_tcp(b, 4000, GATEWAY, port, 1, 0, TCP_SYN, "");
	answer = receive_ip(b, 6);
	assert_int_equal(answer[13] & (TCP_SYN | TCP_ACK), TCP_SYN | TCP_ACK);
	put16(tcp, 4000);
	put16(tcp + 2, port);
	put32(tcp + 4, 2);
	put32(tcp + 8, get32(answer + 4) + 1);
	tcp[12] = 5 << 4;
	tcp[13] = TCP_ACK;
	put16(tcp + 14, 65535);
	for (unsigned i = 0; i < SIZE; i++)
		tcp[20 + i] = (uint8_t)(i * 7 + i / 256);
	put32(pseudo, GUEST);
	put32(pseudo + 4, GATEWAY);
	pseudo[9] = 6;
	put16(pseudo + 10, 20 + SIZE);
	put16(tcp + 16, ~checksum(pseudo, sizeof(pseudo), 0) & 0xffff);
	b->hdr[0] = 1; /* VIRTIO_NET_HDR_F_NEEDS_CSUM */
	b->hdr[1] = 1; /* VIRTIO_NET_HDR_GSO_TCPV4 */
	b->hdr[2] = ETH + IP + 20;
	put_le16(b->hdr + 4, 1460);
	b->hdr[6] = ETH + IP;
	b->hdr[8] = 16;
	send_ip(b, f, 6, GATEWAY, 20 + SIZE);
	memset(b->hdr, 0, sizeof(b->hdr));
	fd = accept(listener, NULL, NULL);
	for (size_t n = 0; n < SIZE;) {
		ssize_t part = host_recv(b, fd, got + n, SIZE - n);

		assert_true(part > 0);
		n += (size_t)part;
	}
	assert_memory_equal(got, tcp + 20, SIZE);
	answer = receive_ip(b, 6);
	assert_int_equal(get32(answer + 8), 2 + SIZE);
	close(fd);
	close(listener);
}

/* Next TCP segment for that port. */
static const uint8_t *receive_tcp(struct bench *b, unsigned port)
{
	const uint8_t *tcp;

	do
		tcp = receive_ip(b, 6);
	while (get16(tcp + 2) != port);
	return tcp;
}

/* What the host sends on a connection whose SYN stated 1460, into `got`; the largest segment. */
static size_t download(struct bench *b, unsigned from, uint8_t *got, size_t size)
{
	static uint8_t text[200000];
	uint8_t f[FRAME_MAX] = {0}, *tcp = f + ETH + IP, pseudo[12] = {0};
	size_t done = 0, sent = 0, largest = 0;
	uint32_t peer;
	unsigned port;
	int listener = host_socket(SOCK_STREAM, &port), fd;

	assert_int_equal(listen(listener, 1), 0);
	put16(tcp, from);
	put16(tcp + 2, port);
	put32(tcp + 4, 1);
	tcp[12] = 6 << 4;
	tcp[13] = TCP_SYN;
	put16(tcp + 14, 65535);
	put16(tcp + 20, 0x0204);
	put16(tcp + 22, 1460);
	put32(pseudo, GUEST);
	put32(pseudo + 4, GATEWAY);
	pseudo[9] = 6;
	put16(pseudo + 10, 24);
	put16(tcp + 16, checksum(tcp, 24, ~checksum(pseudo, sizeof(pseudo), 0) & 0xffff));
	send_ip(b, f, 6, GATEWAY, 24);
	peer = get32(receive_tcp(b, from) + 4) + 1;
	send_tcp(b, from, GATEWAY, port, 2, peer, TCP_ACK, "");
	fd = accept(listener, NULL, NULL);
	for (size_t i = 0; i < size; i++)
		text[i] = (uint8_t)(i * 3 + i / 256);
	while (done < size) {
		const uint8_t *in;
		size_t len;
		ssize_t n = send(fd, text + sent, size - sent, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		in = receive_tcp(b, from);
		len = (size_t)b->in_len - (size_t)(in - b->in) - (in[12] >> 4) * 4u;
		if (!len)
			continue;
		assert_int_equal(get32(in + 4), peer + done);
		assert_true(done + len <= size);
		if (b->in_len > FRAME_MAX) {
			assert_int_equal(b->in_hdr[0], 1); /* NEEDS_CSUM */
			assert_int_equal(b->in_hdr[1], 1); /* GSO_TCPV4 */
			assert_int_equal(get_le16(b->in_hdr + 4), 1460);
			net_finish_checksum(b->in_hdr, b->in, (size_t)b->in_len);
		} else {
			assert_int_equal(b->in_hdr[1], 0);
		}
		memcpy(pseudo, b->in + ETH + 12, 8);
		put16(pseudo + 10, (unsigned)(b->in_len - ETH - IP));
		assert_int_equal(checksum(in, (size_t)b->in_len - ETH - IP,
					  ~checksum(pseudo, sizeof(pseudo), 0) & 0xffff),
				 0);
		memcpy(got + done, in + (in[12] >> 4) * 4, len);
		done += len;
		largest = len > largest ? len : largest;
		send_tcp(b, from, GATEWAY, port, 2, (uint32_t)(peer + done), TCP_ACK, "");
	}
	assert_memory_equal(got, text, size);
	close(fd);
	close(listener);
	return largest;
}

/* Larger than the link carries, for a guest that takes them, and for no other. */
static void large_segments_to_the_guest(void **state)
{
	struct bench *b = *state;
	static uint8_t got[200000];

	open_user(b, "");
	greet(b, GATEWAY);
	assert_in_range(download(b, 4000, got, sizeof(got)), 1000, 1460);
	assert_int_equal(netdev_set_offloads(b->nd, NET_RX_CSUM | NET_RX_TSO4), 0);
	assert_in_range(download(b, 4001, got, sizeof(got)), 20000, 32768);
	assert_int_equal(netdev_set_offloads(b->nd, NET_RX_CSUM | NET_RX_TSO6), 0);
	assert_in_range(download(b, 4002, got, sizeof(got)), 1000, 1460);
}

/* Other packets come in pieces that the link carries. */
static void large_datagram_to_the_guest(void **state)
{
	struct bench *b = *state;
	struct sockaddr_in in;
	socklen_t in_len = sizeof(in);
	uint8_t text[4000], got[8 + sizeof(text)];
	unsigned port;
	int fd = host_socket(SOCK_DGRAM, &port);

	open_user(b, "");
	greet(b, GATEWAY);
	assert_int_equal(netdev_set_offloads(b->nd, NET_RX_CSUM | NET_RX_TSO4), 0);
	send_udp(b, 5000, GATEWAY, port, "question", 8);
	while (recvfrom(fd, text, sizeof(text), MSG_DONTWAIT, (struct sockaddr *)&in, &in_len) < 0)
		loop_turn(b->loop, 20);
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 5 + i / 256);
	assert_int_equal(sendto(fd, text, sizeof(text), 0, (struct sockaddr *)&in, in_len),
			 sizeof(text));
	for (size_t done = 0; done < sizeof(got);) {
		const uint8_t *part = receive_ip(b, 17);
		size_t len = get16(b->in + ETH + 2) - IP;

		assert_in_range(b->in_len, ETH + IP + 1, FRAME_MAX);
		assert_int_equal((get16(b->in + ETH + 6) & 0x1fff) * 8, done);
		assert_int_equal(b->in_hdr[0], 0);
		memcpy(got + done, part, len);
		done += len;
		assert_int_equal(!!(b->in[ETH + 6] & 0x20), done < sizeof(got));
	}
	assert_memory_equal(got + 8, text, sizeof(text));
	close(fd);
}

/* Its frames are known to be right, and say so where the guest listens to that. */
static void checked_frames(void **state)
{
	struct bench *b = *state;

	open_user(b, "");
	greet(b, GATEWAY);
	assert_int_equal(b->in_hdr[0], 0);
	assert_int_equal(netdev_set_offloads(b->nd, NET_RX_CSUM | NET_RX_TSO4), 0);
	greet(b, GATEWAY);
	assert_int_equal(b->in_hdr[0], 2); /* VIRTIO_NET_HDR_F_DATA_VALID */
	assert_int_equal(netdev_set_offloads(b->nd, 0), 0);
	greet(b, GATEWAY);
	assert_int_equal(b->in_hdr[0], 0);
}

/* The hub's frames have no header. */
static void on_a_hub(void **state)
{
	struct bench *b = *state;
	struct err e = {0};
	char buf[16];
	unsigned port;
	int fd = host_socket(SOCK_DGRAM, &port);

	assert_int_equal(add(b, &e, "user,id=u0"), 0);
	assert_int_equal(add(b, &e, "hubport,id=p0,hubid=0,netdev=u0"), 0);
	assert_int_equal(add(b, &e, "hubport,id=n0,hubid=0"), 0);
	attach(b);
	assert_false(b->has_hdr);
	greet(b, GATEWAY);
	send_udp(b, 5000, GATEWAY, port, "question", 8);
	assert_int_equal(host_recv(b, fd, buf, sizeof(buf)), 8);
	close(fd);
}

/* The sum of RFC 1071, and a checksum that is left to us. */
static void sums(void **state)
{
	static const uint8_t rfc[] = {0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7};
	uint8_t buf[100], hdr[NET_HDR_LEN] = {1}, before[100];
	uint16_t sum = net_sum(rfc, sizeof(rfc));
	uint32_t seed = 7, pseudo;

	assert_int_equal(get16((uint8_t *)&sum), 0xddf2);
	for (unsigned len = 0; len <= sizeof(buf) - 1; len++) {
		for (unsigned i = 0; i < sizeof(buf); i++)
			buf[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
		sum = net_sum(buf + (len & 1), len);
		assert_int_equal(get16((uint8_t *)&sum),
				 ~checksum(buf + (len & 1), len, 0) & 0xffff);
	}
	hdr[6] = 10;
	hdr[8] = 4;
	pseudo = get16(buf + 14);
	net_finish_checksum(hdr, buf, 33);
	assert_int_equal(checksum(buf + 10, 23, pseudo), 0);
	/* One that comes out as zero is written as its other form. */
	memset(buf, 0, sizeof(buf));
	buf[14] = buf[15] = 0xff;
	net_finish_checksum(hdr, buf, 33);
	assert_int_equal(get16(buf + 14), 0xffff);
	/* A field that is not, or not wholly, in the frame. */
	memcpy(before, buf, sizeof(buf));
	net_finish_checksum(hdr, buf, 15);
	net_finish_checksum(hdr, buf, 0);
	put_le16(hdr + 6, 65535);
	put_le16(hdr + 8, 65535);
	net_finish_checksum(hdr, buf, sizeof(buf));
	hdr[0] = 2;
	hdr[6] = hdr[7] = hdr[8] = hdr[9] = 0;
	net_finish_checksum(hdr, buf, sizeof(buf));
	assert_memory_equal(buf, before, sizeof(buf));
}

static void guest_forward(void **state)
{
	struct bench *b = *state;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;
	char options[192], buf[64];
	const uint8_t *tcp;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", b->dir);
	assert_int_equal(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(listener, 1), 0);
	snprintf(options, sizeof(options), ",guestfwd=tcp:10.0.2.100:80-unix:%s", un.sun_path);
	open_user(b, options);
	greet(b, 0x0a000264);
	send_tcp(b, 4000, 0x0a000264, 80, 1, 0, TCP_SYN, "");
	tcp = receive_ip(b, 6);
	assert_int_equal(tcp[13] & (TCP_SYN | TCP_ACK), TCP_SYN | TCP_ACK);
	send_tcp(b, 4000, 0x0a000264, 80, 2, get32(tcp + 4) + 1, TCP_ACK, "GET");
	fd = accept(listener, NULL, NULL);
	assert_int_equal(host_recv(b, fd, buf, sizeof(buf)), 3);
	assert_memory_equal(buf, "GET", 3);
	unlink(un.sun_path);
	close(fd);
	close(listener);
}

/* The guest takes nothing: the host's datagrams stay in the socket, the loop sleeps, and all is
 * well when the guest is back. */
static void guest_that_does_not_read(void **state)
{
	struct bench *b = *state;
	unsigned port = free_port(SOCK_DGRAM), turns = 0, got = 0;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	static char load[1400];
	char options[64];
	uint64_t before;

	snprintf(options, sizeof(options), ",hostfwd=udp:127.0.0.1:%u-:7", port);
	open_user(b, options);
	greet(b, GATEWAY);
	netq_listen(b->q, false);
	connect_to(fd, port);
	for (unsigned i = 0; i < 2000; i++) {
		send(fd, load, sizeof(load), MSG_DONTWAIT);
		loop_turn(b->loop, 0);
	}
	/* Nothing to do now: a turn lasts as long as it may. */
	before = now_ns();
	while (now_ns() - before < 300000000)
		turns += (loop_turn(b->loop, 100), 1);
	assert_true(turns < 20);
	while (receive(b, 100))
		got++;
	assert_true(got > 300);
	assert_int_equal(send(fd, "last", 4, 0), 4);
	assert_memory_equal(receive_ip(b, 17) + 8, "last", 4);
	close(fd);
}

static unsigned count_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* A guest that opens sockets without end does not get the last descriptors. */
static void guest_that_opens_sockets(void **state)
{
	struct bench *b = *state;
	struct rlimit old, few;
	unsigned port, base;
	int fd = host_socket(SOCK_DGRAM, &port);

	getrlimit(RLIMIT_NOFILE, &old);
	few = (struct rlimit){.rlim_cur = 80, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	open_user(b, "");
	base = count_fds();
	greet(b, GATEWAY);
	for (unsigned i = 0; i < 500; i++) {
		send_udp(b, 5000 + i, GATEWAY, port, "x", 1);
		send_tcp(b, 5000 + i, GATEWAY, port, 1, 0, TCP_SYN, "");
		loop_turn(b->loop, 0);
	}
	assert_true(count_fds() - base <= 40);
	assert_true(count_fds() - base >= 20);
	greet(b, GATEWAY); /* it is alive */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	close(fd);
}

/* Nonsense is dropped, whatever its length. */
static void garbage(void **state)
{
	struct bench *b = *state;
	static uint8_t f[NET_FRAME_MAX];
	uint32_t seed = 1;

	open_user(b, "");
	for (unsigned i = 0; i < 3000; i++) {
		size_t len = i % 7 ? 14 + i % 120 : (i * 131) % sizeof(f);
		struct iovec iov[] = {{b->hdr, NET_HDR_LEN}, {f, MAX(len, (size_t)14)}};

		for (size_t j = 0; j < NET_HDR_LEN; j++)
			b->hdr[j] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
		for (size_t j = 0; j < MIN(iov[1].iov_len, (size_t)200); j++)
			f[j] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
		put16(f + 12, i % 3 == 0 ? 0x0800 : i % 3 == 1 ? 0x86dd : 0x0806);
		f[14] = i % 3 == 1 ? 0x60 : 0x45;
		assert_int_equal(netq_send(b->q, iov, 2), 0);
		if (i % 64 == 0)
			loop_turn(b->loop, 0);
	}
	assert_int_equal(netq_send(b->q, &(struct iovec){b->hdr, NET_HDR_LEN - 1}, 1), -EMSGSIZE);
	memset(b->hdr, 0, sizeof(b->hdr));
	while (receive(b, 20)) {}
	greet(b, GATEWAY);
}

/* Idle, without a forward, it never wakes the loop. */
static void idle(void **state)
{
	struct bench *b = *state;
	uint64_t before;
	unsigned turns = 0;

	open_user(b, ",ipv6=off");
	greet(b, GATEWAY);
	while (receive(b, 50)) {}
	netq_listen(b->q, true);
	before = now_ns();
	while (now_ns() - before < 1500000000)
		turns += (loop_turn(b->loop, 1500), 1);
	assert_true(turns <= 2);
}

static void ring_of_frames(void **state)
{
	struct fifo_ring f;
	uint8_t out[300], in[300];
	unsigned put = 0, got = 0;

	assert_int_equal(fifo_ring_init(&f, 1000), 0);
	assert_true(fifo_ring_empty(&f));
	/* Frames of all lengths, the ring as full as it goes, round and round. */
	while (got < 2000) {
		struct iovec iov[] = {{in, 3}, {in + 3, sizeof(in) - 3}};
		size_t want = put * 7 % 251 + 1;
		bool fits = fifo_ring_room(&f) >= want;

		memset(out, (int)(put & 0xff), sizeof(out));
		if (fifo_ring_put(&f, (struct iovec[]){{out, want / 2}, {out, want - want / 2}},
				  2)) {
			put++;
			continue;
		}
		assert_false(fits); /* what it promised */
		for (unsigned i = 0; i < 1 + got % 3 && !fifo_ring_empty(&f); i++) {
			ssize_t len = fifo_ring_get(&f, iov, 2);

			assert_int_equal(len, got * 7 % 251 + 1);
			for (ssize_t j = 0; j < len; j++)
				assert_int_equal(in[j], got & 0xff);
			got++;
		}
	}
	while (got < put) {
		struct iovec iov = {in, sizeof(in)};

		assert_int_equal(fifo_ring_get(&f, &iov, 1), got * 7 % 251 + 1);
		got++;
	}
	assert_int_equal(f.used, 0);
	assert_int_equal(f.head, 0);
	assert_int_equal(fifo_ring_get(&f, &(struct iovec){in, sizeof(in)}, 1), -EAGAIN);
	assert_false(fifo_ring_put(&f, &(struct iovec){out, 1000}, 1));
	fifo_ring_free(&f);
}

static void bad_options(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"net=10.0.2", "Failed to parse network '10.0.2'"},
		{"net=10.0.2.0/31", "must be in range 4-30"},
		{"net=10.0.2.0/x", "Failed to parse netmask 'x'"},
		{"net=10.0.2.0/255.0.255.0", "Failed to parse netmask"},
		{"host=10.0.3.1", "Host doesn't belong to network"},
		{"dns=gateway", "Failed to parse DNS 'gateway'"},
		{"host=10.0.2.3", "DNS must be different from host"},
		{"dhcpstart=10.0.2.2", "DHCP must be different"},
		{"ipv4=off,ipv6=off", "leave no network"},
		{"ipv6=on,host=10.0.2.9", "IPv4 disabled"},
		{"ipv6=off,ipv6-host=fec0::9", "IPv6 disabled"},
		{"ipv6-net=fec0::/127", "between 0 and 126"},
		{"ipv6-net=fec0::/64,ipv6-prefix=fec0::", "exclude each other"},
		{"ipv6-host=fe80::1", "IPv6 host doesn't belong to network"},
		{"ipv6-prefixlen=200", "'ipv6-prefixlen'"},
		{"hostname=a-name-of-more-than-thirty-two-bytes", "longer than 32 bytes"},
		{"domainname=", "cannot be empty"},
		{"smb=/srv", "'smb' is not supported"},
		{"hostfwd=tcp:22", "Missing : separator"},
		{"hostfwd=sctp::1-:2", "Bad protocol name"},
		{"hostfwd=tcp:host:1-:2", "Bad host address"},
		{"hostfwd=tcp::70000-:2", "Bad host port"},
		{"hostfwd=tcp::1", "Bad host port separator"},
		{"hostfwd=tcp::1-2", "Missing guest address"},
		{"hostfwd=tcp::1-x:2", "Bad guest address"},
		{"hostfwd=tcp::1-:0", "Bad guest port"},
		{"hostfwd=tcp:192.0.2.99:1-:2", "Could not set up host forwarding rule"},
		{"guestfwd=tcp:10.0.2.100:80-cmd:nc", "only -unix:/PATH"},
		{"guestfwd=tcp:10.0.2.100-unix:/x", "Invalid guest forwarding rule"},
		{"guestfwd=tcp:10.0.2.2:80-unix:/x", "conflicting/invalid"},
		{"rate-burst=5", "without 'rate'"},
	};
	struct bench *b = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = {0};

		if (add(b, &e, "user,id=n0,%s", bad[i].text) >= 0)
			fail_msg("'%s' was accepted", bad[i].text);
		if (!strstr(e.text, bad[i].says))
			fail_msg("'%s' says: %s", bad[i].text, e.text);
	}
}

/* libvirt's form: arrays of objects. */
static void options_as_json(void **state)
{
	struct bench *b = *state;
	unsigned first = free_port(SOCK_DGRAM), second;
	struct err e = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	do
		second = free_port(SOCK_DGRAM);
	while (second == first);
	if (add(b, &e,
		"{\"type\": \"user\", \"id\": \"n0\", \"hostfwd\": [{\"str\": "
		"\"udp:127.0.0.1:%u-:7\"}, {\"str\": \"udp:127.0.0.1:%u-:8\"}]}",
		first, second) < 0)
		fail_msg("%s", e.text);
	attach(b);
	greet(b, GATEWAY);
	connect_to(fd, second);
	assert_int_equal(send(fd, "ping", 4, 0), 4);
	assert_int_equal(get16(receive_ip(b, 17) + 2), 8);
	close(fd);
}

/* Without libslirp there is nothing to test; the reason says so. */
static int have_library(void **state)
{
	struct loop *loop = loop_new("test");
	struct netdevs *nds = netdevs_new(loop);
	struct err e = {0};
	struct kvs k;
	int rc = kvs_parse(&k, "-netdev", "user,id=n0", "type", &e);

	if (!rc)
		rc = netdev_add(nds, &k, &e);
	kvs_free(&k);
	netdevs_free(nds);
	loop_free(loop);
	if (rc == -ENOENT) {
		print_message("%s\n", e.text);
		exit(77);
	}
	return 0;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_of_frames),
		cmocka_unit_test(sums),
		T(bad_options),
		T(options_as_json),
		T(arp_and_ping),
		T(dhcp_lease),
		T(other_network),
		T(udp_to_host),
		T(restricted),
		T(forward_udp),
		T(forward_tcp),
		T(large_segment),
		T(large_segments_to_the_guest),
		T(large_datagram_to_the_guest),
		T(checked_frames),
		T(on_a_hub),
		T(guest_forward),
		T(guest_that_does_not_read),
		T(guest_that_opens_sockets),
		T(garbage),
		T(idle),
	};

	return cmocka_run_group_tests_name("net_user", tests, have_library, NULL);
}
