/* SPDX-License-Identifier: MIT */
/* unit_net_user_random.c - random frames of a guest at -netdev user: nothing but the guest's own
 * network is ever disturbed, and that comes back
 *
 * Frames have the form of what libslirp parses (fragments, TCP in every state, UDP to its own
 * servers, ICMP, neighbour discovery, extension headers), with random fields. The test is in a
 * network namespace without a way out, so it does not matter where they ask to go.
 *
 * USER_RANDOM_S: how many seconds (3); the worker may die meanwhile, and is there again at the end.
 */
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>

#include "user_bench.h"

static uint64_t seed = 88172645463325252ULL;

static unsigned draw(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 11) % below;
}

static void fill(uint8_t *p, size_t len)
{
	while (len--)
		*p++ = (uint8_t)draw(256);
}

/* One of the sizes at which something begins or ends, or any. */
static size_t draw_length(size_t max)
{
	static const size_t edges[] = {0, 1, 7, 8, 20, 28, 44, 60, 576, 1480, 1500, 9000, 65000};
	size_t len = draw(2) ? edges[draw(ARRAY_SIZE(edges))] : draw((unsigned)max + 1);

	return MIN(len, max);
}

static void put_l4(uint8_t *p, unsigned proto, size_t len)
{
	static const uint16_t ports[] = {7, 53, 67, 68, 69, 547, 5000};

	fill(p, len);
	if (proto == IPPROTO_ICMP && len)
		p[0] = draw(2) ? 8 : (uint8_t)draw(20);
	if (proto == IPPROTO_ICMPV6 && len)
		p[0] = (uint8_t)(draw(2) ? 128 + draw(10) : draw(256));
	if ((proto != IPPROTO_TCP && proto != IPPROTO_UDP) || len < 8)
		return;
	put16(p, 1000 + draw(40));
	put16(p + 2, ports[draw(ARRAY_SIZE(ports))]);
	if (proto == IPPROTO_UDP)
		put16(p + 4, draw(3) ? (unsigned)len : draw(65536));
	else if (len >= 20)
		p[12] = (uint8_t)(draw(4) ? 0x50 : draw(256));
	if (proto == IPPROTO_TCP && len >= 20 && draw(2))
		p[13] = (uint8_t)(1 << draw(6));
}

static size_t put_ipv4(uint8_t *f, size_t max)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP};
	static const uint32_t to[] = {GATEWAY, GATEWAY + 1, 0x0a000264, ~0U, 0xe0000001, GUEST};
	unsigned proto = draw(16) ? protos[draw(3)] : draw(256);
	size_t head = draw(8) ? 20 : 20 + 4 * draw(11), len = draw_length(max - head);

	fill(f, head);
	f[0] = (uint8_t)(0x40 | head / 4);
	put16(f + 2, draw(8) ? (unsigned)(head + len) : draw(65536));
	put16(f + 4, draw(6));
	put16(f + 6, draw(2) ? 0 : draw(3) ? draw(300) | (draw(2) ? 0x2000 : 0) : draw(65536));
	f[9] = (uint8_t)proto;
	put32(f + 12, draw(8) ? GUEST : (uint32_t)draw(~0U));
	put32(f + 16, to[draw(ARRAY_SIZE(to))]);
	put_l4(f + head, proto, len);
	put16(f + 10, 0);
	put16(f + 10, draw(16) ? checksum(f, head, 0) : draw(65536));
	return head + len;
}

static size_t put_ipv6(uint8_t *f, size_t max)
{
	static const uint8_t next[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6, 0, 43, 44, 60};
	size_t len = draw_length(max - 40);
	unsigned proto = draw(16) ? next[draw(ARRAY_SIZE(next))] : draw(256);

	fill(f, 40);
	f[0] = 0x60;
	put16(f + 4, draw(8) ? (unsigned)len : draw(65536));
	f[6] = (uint8_t)proto;
	memset(f + 8, 0, 32);
	f[8] = f[24] = 0xfe;
	f[9] = f[25] = draw(2) ? 0xc0 : 0x80;
	f[23] = 15;
	f[39] = (uint8_t)(2 + draw(3));
	if (draw(3) == 0) {
		f[24] = 0xff;
		f[25] = 2;
	}
	put_l4(f + 40, proto, len);
	return 40 + len;
}

static void send_random(struct bench *b)
{
	static uint8_t f[NET_FRAME_MAX];
	size_t max = draw(8) ? 1500 : 60000, len;
	struct iovec iov[] = {{b->hdr, NET_HDR_LEN}, {f, 0}};

	memset(b->hdr, 0, NET_HDR_LEN);
	if (draw(8) == 0)
		fill(b->hdr, NET_HDR_LEN);
	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	switch (draw(8)) {
	case 0:
		put16(f + 12, 0x0806);
		len = draw_length(60);
		fill(f + ETH, len);
		if (len >= 8 && draw(2))
			memcpy(f + ETH, "\0\1\x08\0\6\4\0\1", 8);
		break;
	case 1:
	case 2:
		put16(f + 12, 0x86dd);
		len = put_ipv6(f + ETH, max);
		break;
	default:
		put16(f + 12, 0x0800);
		len = put_ipv4(f + ETH, max);
	}
	iov[1].iov_len = ETH + len;
	netq_send(b->q, iov, 2);
}

/* Ask for the gateway until it answers. A worker that died too often is started again after a
 * minute at most. */
static void wait_for_network(struct bench *b)
{
	uint64_t end = now_ns() + 120000000000ULL;
	uint8_t f[60] = {0}, *arp = f + ETH;

	memset(b->hdr, 0, NET_HDR_LEN);
	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	memcpy(f + 12, "\x08\x06\0\1\x08\0\6\4\0\1", 10);
	memcpy(arp + 8, guest_mac, 6);
	put32(arp + 14, GUEST);
	put32(arp + 24, GATEWAY);
	while (now_ns() < end) {
		netq_send(b->q, (struct iovec[]){{b->hdr, NET_HDR_LEN}, {f, sizeof(f)}}, 2);
		while (receive(b, 100))
			if (get16(b->in + 12) == 0x0806 && get16(b->in + ETH + 6) == 2)
				return;
	}
	fail_msg("the network does not come back");
}

static void random_frames(void **state)
{
	const char *seconds = getenv("USER_RANDOM_S");
	uint64_t end = now_ns() + (seconds ? strtoull(seconds, NULL, 10) : 3) * 1000000000ULL;
	struct bench *b = *state;
	uint64_t frames = 0;

	open_user(b, "");
	wait_for_network(b);
	while (now_ns() < end) {
		for (unsigned i = 0; i < 64; i++, frames++)
			send_random(b);
		while (receive(b, 0)) {}
		if (frames % 16384 == 0)
			wait_for_network(b);
	}
	wait_for_network(b);
	print_message("%llu frames\n", (unsigned long long)frames);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(random_frames, setup, teardown),
	};
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	if (unshare(CLONE_NEWNET) < 0) {
		puts("1..1\nok 1 - random_frames # SKIP needs root: no network namespace");
		return 77;
	}
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
	return cmocka_run_group_tests_name("net_user_random", tests, have_library, NULL);
}
