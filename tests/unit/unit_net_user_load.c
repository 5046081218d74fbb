/* SPDX-License-Identifier: MIT */
/* unit_net_user_load.c - -netdev user: large packets both ways, and guests that do what they should
 * not
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/resource.h>

#include "net/user/offload.h"
#include "user_bench.h"

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

/* A batch of frames arrives in order, whole. */
static void datagrams_in_batches(void **state)
{
	enum { ALL = 11, LEN = 100 };
	static uint8_t f[ALL][FRAME_MAX];
	struct iovec iov[ALL][2];
	struct net_frame frame[ALL];
	struct bench *b = *state;
	char text[LEN], buf[2000];
	unsigned port;
	int fd = host_socket(SOCK_DGRAM, &port);

	open_user(b, "");
	greet(b, GATEWAY);
	for (unsigned i = 0; i < ALL; i++) {
		memset(text, 'a' + (int)i, sizeof(text));
		iov[i][0] = (struct iovec){b->hdr, NET_HDR_LEN};
		iov[i][1] = (struct iovec){f[i], put_udp(f[i], 5000, GATEWAY, port, text, LEN - i)};
		frame[i] = (struct net_frame){iov[i], i == 4 ? 0 : 2};
	}
	assert_int_equal(netq_send_batch(b->q, frame, ALL), ALL);
	for (unsigned i = 0; i < ALL; i++) {
		if (i == 4)
			continue;
		assert_int_equal(host_recv(b, fd, buf, sizeof(buf)), LEN - i);
		assert_int_equal(buf[0], 'a' + i);
	}
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
	close(fd);
}

/* What the host refuses to send is reported to the guest, for each datagram of a batch. */
static void refused_datagrams(void **state)
{
	enum { N = 3, TO_ALL = 0x7fffffff }; /* 127.255.255.255: broadcast, refused */
	static uint8_t f[N][FRAME_MAX];
	struct iovec iov[N][2];
	struct net_frame frame[N];
	struct bench *b = *state;

	open_user(b, "");
	greet(b, GATEWAY);
	for (unsigned i = 0; i < N; i++) {
		iov[i][0] = (struct iovec){b->hdr, NET_HDR_LEN};
		iov[i][1] = (struct iovec){f[i], put_udp(f[i], 5000, TO_ALL, 7, &i, 4)};
		frame[i] = (struct net_frame){iov[i], 2};
	}
	assert_int_equal(netq_send_batch(b->q, frame, N), N);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(receive_ip(b, IPPROTO_ICMP)[0], 3); /* unreachable */
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
	/* Not faster than the helper can take them. */
	for (unsigned i = 0; i < 2000; i++) {
		send(fd, load, sizeof(load), MSG_DONTWAIT);
		if (i % 20 == 0)
			loop_turn(b->loop, 5);
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

enum { SOCKETS = 2048, OF_PEERS = SOCKETS / 4 * 3 }; /* limits of the helper */

/* As many descriptors as may be had. */
static void raise_files(rlim_t need)
{
	struct rlimit r;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
	r.rlim_cur = r.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
	if (r.rlim_max < need)
		skip();
}

/* One datagram each, from ports that were not used before, until none comes through within a
 * second: how many did. */
static unsigned open_flows(struct bench *b, int fd, unsigned host, unsigned from, unsigned n)
{
	char buf[16];
	unsigned got = 0;

	for (unsigned i = 0; i < n; i++) {
		send_udp(b, from + i, GATEWAY, host, "x", 1);
		if (i % 16 == 15 || i == n - 1) {
			loop_turn(b->loop, 0);
			while (got <= i && host_recv(b, fd, buf, sizeof(buf)) == 1)
				got++;
			if (got <= i)
				break;
		}
	}
	return got;
}

/* A guest that opens sockets without end does not get the last descriptors, and is told of it. */
static void guest_that_opens_sockets(void **state)
{
	struct bench *b = *state;
	unsigned port;
	int fd = host_socket(SOCK_DGRAM, &port);

	raise_files(SOCKETS + 100);
	open_user(b, "");
	greet(b, GATEWAY);
	assert_in_range(open_flows(b, fd, port, 5000, SOCKETS + 200), SOCKETS - 16, SOCKETS);
	greet(b, GATEWAY); /* it is alive */
	close(fd);
}

/* Those who connect to a forwarded port cannot take the guest's last sockets either. */
static void peers_that_open_sockets(void **state)
{
	enum { CLIENTS = OF_PEERS + 100 };
	struct bench *b = *state;
	unsigned host, port = free_port(SOCK_STREAM);
	static int clients[CLIENTS];
	int fd = host_socket(SOCK_DGRAM, &host);
	char options[64];

	raise_files(SOCKETS + CLIENTS + 100);
	snprintf(options, sizeof(options), ",hostfwd=tcp:127.0.0.1:%u-:7", port);
	open_user(b, options);
	greet(b, GATEWAY);
	netq_listen(b->q, true);
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct sockaddr_in in = {.sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
					 .sin_port = htons((uint16_t)port)};

		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		/* While they are accepted, none is left to come later. */
		while (connect(clients[i], (struct sockaddr *)&in, sizeof(in)) < 0 &&
		       errno != EISCONN && i < OF_PEERS)
			receive(b, 1);
	}
	while (receive(b, 50)) {}
	assert_in_range(open_flows(b, fd, host, 5000, SOCKETS), SOCKETS - OF_PEERS - 16,
			SOCKETS - OF_PEERS + 100);
	for (unsigned i = 0; i < CLIENTS; i++)
		close(clients[i]);
	close(fd);
}

/* And a guest with many sockets of its own can be reached. */
static void forward_beside_many_sockets(void **state)
{
	struct bench *b = *state;
	unsigned host, port = free_port(SOCK_STREAM);
	int client = socket(AF_INET, SOCK_STREAM, 0), fd = host_socket(SOCK_DGRAM, &host);
	const uint8_t *tcp;
	char options[64];

	raise_files(SOCKETS + 100);
	snprintf(options, sizeof(options), ",hostfwd=tcp:127.0.0.1:%u-:7", port);
	open_user(b, options);
	greet(b, GATEWAY);
	assert_int_equal(open_flows(b, fd, host, 5000, OF_PEERS + 100), OF_PEERS + 100);
	connect_to(client, port);
	tcp = receive_ip(b, 6);
	assert_int_equal(get16(tcp + 2), 7);
	assert_int_equal(tcp[13] & TCP_SYN, TCP_SYN);
	close(client);
	close(fd);
}

/* Frames for a driver that takes offloads are not left to one that does not. */
static void offloads_taken_away(void **state)
{
	struct bench *b = *state;
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	char buf[16];
	unsigned port;
	int fd = host_socket(SOCK_DGRAM, &port);

	open_user(b, "");
	greet(b, GATEWAY);
	assert_int_equal(netdev_set_offloads(b->nd, NET_RX_CSUM | NET_RX_TSO4), 0);
	send_udp(b, 5000, GATEWAY, port, "question", 8);
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&in, &len), 8);
	assert_int_equal(sendto(fd, "answer", 6, 0, (struct sockaddr *)&in, len), 6);
	netq_listen(b->q, true);
	b->readable = 0;
	while (!b->readable)
		loop_turn(b->loop, TURN_MS);
	assert_int_equal(netdev_set_offloads(b->nd, 0), 0);
	assert_false(receive(b, 50));
	greet(b, GATEWAY);
	close(fd);
}

/* libslirp's clocks run also while the guest takes nothing: a connection that is not answered is
 * asked for again, and given up. */
static void clocks_of_a_guest_that_does_not_read(void **state)
{
	struct bench *b = *state;
	unsigned port, udp = free_port(SOCK_DGRAM), asked = 0;
	int fd = socket(AF_INET, SOCK_DGRAM, 0), listener = host_socket(SOCK_STREAM, &port);
	static char load[1400];
	char options[64];
	uint64_t end;

	snprintf(options, sizeof(options), ",hostfwd=udp:127.0.0.1:%u-:7", udp);
	open_user(b, options);
	greet(b, GATEWAY);
	assert_int_equal(listen(listener, 1), 0);
	send_tcp(b, 4000, GATEWAY, port, 1, 0, TCP_SYN, "");
	assert_int_equal(receive_ip(b, 6)[13] & (TCP_SYN | TCP_ACK), TCP_SYN | TCP_ACK);
	netq_listen(b->q, false);
	connect_to(fd, udp);
	for (unsigned i = 0; i < 1000; i++) {
		send(fd, load, sizeof(load), MSG_DONTWAIT);
		if (i % 20 == 0)
			loop_turn(b->loop, 5);
	}
	end = now_ns() + 8000000000ULL;
	while (now_ns() < end)
		loop_turn(b->loop, 500);
	while (receive(b, 100))
		asked += get16(b->in + 12) == 0x0800 && b->in[ETH + 9] == 6;
	assert_true(asked > 0);
	close(fd);
	close(listener);
}

/* Nonsense is dropped, whatever its length. */
static void garbage(void **state)
{
	struct bench *b = *state;
	static uint8_t f[NET_FRAME_MAX];
	uint32_t seed = 1;

	open_user(b, "");
	greet(b, GATEWAY);
	for (unsigned i = 0; i < 3000; i++) {
		size_t len = i % 7 ? 14 + i % 120 : (i * 131) % sizeof(f);
		struct iovec iov[] = {{b->hdr, NET_HDR_LEN}, {f, MAX(len, (size_t)14)}};

		for (size_t j = 0; j < NET_HDR_LEN; j++)
			b->hdr[j] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
		for (size_t j = 0; j < MIN(iov[1].iov_len, (size_t)200); j++)
			f[j] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
		put16(f + 12, i % 3 == 0 ? 0x0800 : i % 3 == 1 ? 0x86dd : 0x0806);
		f[14] = i % 3 == 1 ? 0x60 : 0x45;
		assert_int_equal(send_iov(b, iov, 2), 0);
	}
	assert_int_equal(netq_send(b->q, &(struct iovec){b->hdr, NET_HDR_LEN - 1}, 1), -EMSGSIZE);
	memset(b->hdr, 0, sizeof(b->hdr));
	while (receive(b, 20)) {}
	greet(b, GATEWAY);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(large_segment),
		T(large_segments_to_the_guest),
		T(large_datagram_to_the_guest),
		T(datagrams_in_batches),
		T(refused_datagrams),
		T(guest_that_does_not_read),
		T(clocks_of_a_guest_that_does_not_read),
		T(offloads_taken_away),
		T(guest_that_opens_sockets),
		T(peers_that_open_sockets),
		T(forward_beside_many_sockets),
		T(garbage),
	};

	return cmocka_run_group_tests_name("net_user_load", tests, have_library, NULL);
}
