/* SPDX-License-Identifier: MIT */
/* unit_net_user_load.c - -netdev user: large packets both ways, datagrams in runs, and guests that
 * do what they should not */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/udp.h>
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

/* The next datagrams of `fd`, in `each` bytes apiece where they came as a run; all of them. */
static size_t next_run(int fd, char *buf, size_t size, unsigned *each)
{
	char ctl[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {buf, size};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl,
			   .msg_controllen = sizeof(ctl)};
	ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	assert_true(n >= 0);
	*each = (unsigned)n;
	if (c && c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
		memcpy(each, CMSG_DATA(c), sizeof(int));
	return (size_t)n;
}

/* A batch of frames: eight datagrams of a flow and its shorter last one, two of another. The flow
 * makes a first datagram and one run, as its receiver, which takes runs, can tell. */
static void datagrams_in_runs(void **state)
{
	enum { FLOW = 9, ALL = FLOW + 2, LEN = 100, LAST = 40 };
	static uint8_t f[ALL][FRAME_MAX];
	struct iovec iov[ALL][2];
	struct net_frame frame[ALL];
	struct bench *b = *state;
	char text[LEN], buf[2000];
	unsigned port, each;
	int fd = host_socket(SOCK_DGRAM, &port);

	assert_int_equal(setsockopt(fd, IPPROTO_UDP, UDP_GRO, &(int){1}, sizeof(int)), 0);
	open_user(b, "");
	greet(b, GATEWAY);
	for (unsigned i = 0; i < ALL; i++) {
		size_t len = i == FLOW - 1 ? LAST : LEN;

		memset(text, 'a' + (int)i, sizeof(text));
		len = put_udp(f[i], i < FLOW ? 5000 : 5001, GATEWAY, port, text, len);
		iov[i][0] = (struct iovec){b->hdr, NET_HDR_LEN};
		iov[i][1] = (struct iovec){f[i], len};
		frame[i] = (struct net_frame){iov[i], 2};
	}
	assert_int_equal(netq_send_batch(b->q, frame, ALL), ALL);
	assert_int_equal(next_run(fd, buf, sizeof(buf), &each), LEN);
	assert_int_equal(each, LEN);
	assert_int_equal(buf[0], 'a');
	assert_int_equal(next_run(fd, buf, sizeof(buf), &each), (FLOW - 2) * LEN + LAST);
	assert_int_equal(each, LEN);
	for (unsigned i = 1; i < FLOW; i++)
		assert_int_equal(buf[(i - 1) * LEN], 'a' + i);
	for (unsigned i = FLOW; i < ALL; i++) {
		assert_int_equal(next_run(fd, buf, sizeof(buf), &each), LEN);
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

/* At most `n` descriptors; what it was before. */
static struct rlimit limit_files(rlim_t n)
{
	struct rlimit old, few;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = (struct rlimit){.rlim_cur = n, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	return old;
}

/* A guest that opens sockets without end does not get the last descriptors. */
static void guest_that_opens_sockets(void **state)
{
	struct bench *b = *state;
	struct rlimit old;
	unsigned port, base;
	int fd = host_socket(SOCK_DGRAM, &port);

	old = limit_files(80);
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

/* Those who connect to a forwarded port cannot take the guest's last sockets either. */
static void peers_that_open_sockets(void **state)
{
	struct bench *b = *state;
	struct rlimit old;
	unsigned host, port = free_port(SOCK_STREAM);
	int clients[40], fd = host_socket(SOCK_DGRAM, &host);
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port)};
	char options[64], buf[16];

	snprintf(options, sizeof(options), ",hostfwd=tcp:127.0.0.1:%u-:7", port);
	old = limit_files(160);
	open_user(b, options);
	greet(b, GATEWAY);
	for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(clients[i], (struct sockaddr *)&in, sizeof(in));
		loop_turn(b->loop, 10);
	}
	for (unsigned i = 0; i < 5; i++)
		send_udp(b, 5000 + i, GATEWAY, host, "x", 1);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(host_recv(b, fd, buf, sizeof(buf)), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(clients); i++)
		close(clients[i]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	close(fd);
}

/* And a guest with many sockets of its own can be reached. */
static void forward_beside_many_sockets(void **state)
{
	struct bench *b = *state;
	struct rlimit old;
	unsigned host, port = free_port(SOCK_STREAM);
	int client = socket(AF_INET, SOCK_STREAM, 0), fd = host_socket(SOCK_DGRAM, &host);
	const uint8_t *tcp;
	char options[64], buf[16];

	snprintf(options, sizeof(options), ",hostfwd=tcp:127.0.0.1:%u-:7", port);
	old = limit_files(160);
	open_user(b, options);
	greet(b, GATEWAY);
	for (unsigned i = 0; i < 34; i++) {
		send_udp(b, 5000 + i, GATEWAY, host, "x", 1);
		assert_int_equal(host_recv(b, fd, buf, sizeof(buf)), 1);
	}
	connect_to(client, port);
	tcp = receive_ip(b, 6);
	assert_int_equal(get16(tcp + 2), 7);
	assert_int_equal(tcp[13] & TCP_SYN, TCP_SYN);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
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
		loop_turn(b->loop, 0);
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

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(large_segment),
		T(large_segments_to_the_guest),
		T(large_datagram_to_the_guest),
		T(datagrams_in_runs),
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
