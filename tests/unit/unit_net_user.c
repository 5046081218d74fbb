/* SPDX-License-Identifier: MIT */
/* unit_net_user.c - -netdev user: what libslirp answers through it, and its options */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"
#include "user_bench.h"

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
	/* The helper is a user of its own. */
	assert_int_equal(chmod(b->dir, 0755), 0);
	assert_int_equal(chmod(un.sun_path, 0777), 0);
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

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(bad_options),	  T(options_as_json), T(arp_and_ping), T(dhcp_lease),
		T(other_network), T(udp_to_host),     T(restricted),   T(forward_udp),
		T(forward_tcp),	  T(checked_frames),  T(on_a_hub),     T(guest_forward),
		T(idle),
	};

	return cmocka_run_group_tests_name("net_user", tests, have_library, NULL);
}
