/* SPDX-License-Identifier: MIT */
/* user_bench.c - see user_bench.h */
#include "user_bench.h"

#include <errno.h>
#include <netinet/in.h>

const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
uint8_t gateway_mac[6];

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

int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	b->loop = loop_new("test");
	b->nds = netdevs_new(b->loop);
	b->client = (struct net_client){"nic0", on_readable, on_writable, on_link};
	strcpy(b->dir, "/tmp/xenpvh-user-XXXXXX");
	*state = b;
	return b->loop && b->nds && mkdtemp(b->dir) ? 0 : -1;
}

int teardown(void **state)
{
	struct bench *b = *state;

	netdev_detach(b->nd);
	netdevs_free(b->nds);
	loop_free(b->loop);
	rmdir(b->dir);
	free(b);
	return 0;
}

int add(struct bench *b, struct err *e, const char *fmt, ...)
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

void attach(struct bench *b)
{
	struct err e = {0};

	b->nd = netdev_attach(b->nds, "n0", &b->client, &e);
	assert_non_null(b->nd);
	b->has_hdr = netdev_caps(b->nd) & NET_VNET_HDR;
	b->q = netdev_queue(b->nd, 0);
	assert_int_equal(netq_start(b->q, b->loop, b), 0);
}

void open_user(struct bench *b, const char *options)
{
	struct err e = {0};

	if (add(b, &e, "user,id=n0%s", options) < 0)
		fail_msg("%s", e.text);
	attach(b);
	assert_true(b->has_hdr);
}

void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

unsigned checksum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

int send_iov(struct bench *b, const struct iovec *iov, unsigned n)
{
	uint64_t end = now_ns() + TURN_MS * 1000000ULL;
	int rc;

	while ((rc = netq_send(b->q, iov, n)) == -EAGAIN && now_ns() < end)
		loop_turn(b->loop, 20);
	return rc;
}

void transmit(struct bench *b, uint8_t *f, size_t len)
{
	struct iovec iov[] = {{b->hdr, NET_HDR_LEN}, {f, 20}, {f + 20, len - 20}};

	assert_int_equal(send_iov(b, iov + !b->has_hdr, 3 - !b->has_hdr), 0);
}

size_t put_ip(uint8_t *f, unsigned proto, uint32_t to, size_t len)
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
	return ETH + IP + len;
}

void send_ip(struct bench *b, uint8_t *f, unsigned proto, uint32_t to, size_t len)
{
	transmit(b, f, put_ip(f, proto, to, len));
}

size_t put_udp(uint8_t *f, unsigned from, uint32_t to, unsigned port, const void *data, size_t len)
{
	uint8_t *udp = f + ETH + IP;

	put16(udp, from);
	put16(udp + 2, port);
	put16(udp + 4, (unsigned)(8 + len));
	put16(udp + 6, 0);
	memcpy(udp + 8, data, len);
	return put_ip(f, IPPROTO_UDP, to, 8 + len);
}

void send_udp(struct bench *b, unsigned from, uint32_t to, unsigned port, const void *data,
	      size_t len)
{
	uint8_t f[FRAME_MAX];

	transmit(b, f, put_udp(f, from, to, port, data, len));
}

void send_tcp(struct bench *b, unsigned from, uint32_t to, unsigned port, uint32_t seq,
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

bool receive(struct bench *b, int ms)
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

const uint8_t *receive_ip(struct bench *b, unsigned proto)
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

void greet(struct bench *b, uint32_t address)
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

int host_socket(int type, unsigned *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, type, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

unsigned free_port(int type)
{
	unsigned port;

	close(host_socket(type, &port));
	return port;
}

void connect_to(int fd, unsigned port)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port)};

	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
}

ssize_t host_recv(struct bench *b, int fd, void *buf, size_t size)
{
	uint64_t end = now_ns() + TURN_MS * 1000000ULL;
	ssize_t n;

	while ((n = recv(fd, buf, size, MSG_DONTWAIT)) < 0 && now_ns() < end)
		loop_turn(b->loop, 20);
	return n;
}

int have_library(void **state)
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
