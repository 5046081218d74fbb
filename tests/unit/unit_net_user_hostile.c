/* SPDX-License-Identifier: MIT */
/* unit_net_user_hostile.c - -netdev user: guests that attack libslirp, calls of it that sleep, and
 * workers that die or lie
 *
 * Whatever is done to it, the network answers again, and nothing waits for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"
#include "net/user/user.h"
#include "user_bench.h"

#define SERVER 0x0a000264 /* 10.0.2.100 */

#ifdef __SANITIZE_ADDRESS__
#define ASAN true
#else
#define ASAN false
#endif

static struct user *user_of(struct bench *b)
{
	return (struct user *)b->nd;
}

/* A child of `pid`, 0 for none. */
static pid_t child_of(pid_t pid)
{
	char path[64];
	int child = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = fopen(path, "r");
	if (f && fscanf(f, "%d", &child) != 1)
		child = 0;
	if (f)
		fclose(f);
	return child;
}

/* The worker; waits for one. */
static pid_t worker_pid(struct bench *b)
{
	uint64_t end = now_ns() + 10000000000ULL;
	pid_t keeper, worker = 0;

	while (!worker && now_ns() < end) {
		keeper = child_of(getpid());
		worker = keeper ? child_of(keeper) : 0;
		loop_turn(b->loop, worker ? 0 : 5);
	}
	assert_true(worker > 0);
	return worker;
}

/* Ask until it answers, as a guest does. */
static void answers(struct bench *b, uint32_t address)
{
	uint64_t end = now_ns() + 20000000000ULL;
	uint8_t f[60] = {0}, *arp = f + ETH;

	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	memcpy(f + 12, "\x08\x06\0\1\x08\0\6\4\0\1", 10);
	memcpy(arp + 8, guest_mac, 6);
	put32(arp + 14, GUEST);
	put32(arp + 24, address);
	while (now_ns() < end) {
		transmit(b, f, sizeof(f));
		while (receive(b, 100))
			if (get16(b->in + 12) == 0x0806 && get16(b->in + ETH + 6) == 2 &&
			    get32(b->in + ETH + 14) == address) {
				memcpy(gateway_mac, b->in + ETH + 8, 6);
				return;
			}
	}
	fail_msg("the network does not answer any more");
}

/* --- fragments --- */

struct piece {
	unsigned off, len; /* bytes of the payload */
	bool more;
};

static void send_piece(struct bench *b, unsigned id, struct piece p)
{
	uint8_t f[FRAME_MAX] = {0}, *ip = f + ETH;
	size_t len;

	/* The payload reads as a UDP datagram, and else as what an attacker would choose. */
	memset(ip + IP, 0x41, p.len);
	if (!p.off) {
		put16(ip + IP, 5000);
		put16(ip + IP + 2, 7);
		put16(ip + IP + 4, 3000);
		put16(ip + IP + 6, 0);
	}
	len = put_ip(f, IPPROTO_UDP, GATEWAY, p.len);
	put16(ip + 4, id);
	put16(ip + 6, p.off / 8 | (p.more ? 0x2000 : 0));
	put16(ip + 10, 0);
	put16(ip + 10, checksum(ip, IP, 0));
	transmit(b, f, len);
}

static void fragments_in_every_order(void **state)
{
	static const struct piece all[] = {
		{0, 1000, true}, {1000, 1000, true}, {2000, 1000, false}};
	static const uint8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
					     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	static const struct piece odd[][4] = {
		{{8, 44, false}},					   /* 78 bytes, alone */
		{{1480, 44, false}, {0, 1480, true}},			   /* last first */
		{{1000, 1000, true}, {1000, 1000, true}, {0, 1000, true}}, /* twice */
		{{0, 1400, true}, {8, 400, true}, {1400, 8, false}},	   /* covered */
		{{800, 800, true}, {0, 1400, true}, {400, 800, true}, {1600, 8, false}},
		{{2000, 1000, false}, {1000, 1400, false}, {0, 1000, true}}, /* two lasts */
		{{65520, 8, false}, {65528, 1400, true}, {0, 8, true}},	     /* beyond the end */
		{{8, 8, true}, {8, 0, false}, {0, 8, true}},		     /* empty */
	};
	struct bench *b = *state;
	unsigned id = 1;

	open_user(b, "");
	greet(b, GATEWAY);
	for (unsigned i = 0; i < ARRAY_SIZE(orders); i++) {
		for (unsigned j = 0; j < 3; j++)
			send_piece(b, id, all[orders[i][j]]);
		for (unsigned j = 0; j < 3; j++) /* and each twice */
			for (unsigned k = 0; k < 2; k++)
				send_piece(b, id + 1, all[orders[i][j]]);
		id += 2;
		answers(b, GATEWAY);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
		for (unsigned j = 0; j < 4 && (j == 0 || odd[i][j].len || odd[i][j].off); j++)
			send_piece(b, id, odd[i][j]);
		id++;
		answers(b, GATEWAY);
	}
	/* Wherever it wrote, it was not here. */
	assert_true(b->q && netdev_caps(b->nd) & NET_VNET_HDR);
}

/* --- calls that sleep --- */

static int unix_listener(struct bench *b, char path[108], int backlog)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(path, sizeof(un.sun_path), "%s/s", b->dir);
	strcpy(un.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	/* Whoever the helper is. */
	assert_int_equal(chmod(b->dir, 0755), 0);
	assert_int_equal(chmod(path, 0777), 0);
	return fd;
}

/* Connect from port `from` to the guestfwd=; does the connection last? */
static bool guest_connects(struct bench *b, unsigned from)
{
	uint64_t end = now_ns() + 5000000000ULL;
	const uint8_t *tcp;

	send_tcp(b, from, SERVER, 80, 1, 0, TCP_SYN, "");
	while (now_ns() < end) {
		if (!receive(b, 300))
			return true;
		tcp = b->in + ETH + IP;
		if (get16(b->in + 12) != 0x0800 || b->in[ETH + 9] != 6 || get16(tcp + 2) != from)
			continue;
		if (tcp[13] & 5) /* FIN, RST */
			return false;
		if ((tcp[13] & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK))
			send_tcp(b, from, SERVER, 80, 2, get32(tcp + 4) + 1, TCP_ACK, "");
	}
	return true;
}

/* The program behind a socket does not accept: connections are refused once its queue is full, and
 * the rest of the network goes on. */
static void program_that_does_not_accept(void **state)
{
	struct bench *b = *state;
	char path[108], options[192];
	int fd = unix_listener(b, path, 1);
	unsigned lasting = 0;

	snprintf(options, sizeof(options), ",guestfwd=tcp:10.0.2.100:80-unix:%s", path);
	open_user(b, options);
	greet(b, SERVER);
	for (unsigned i = 0; i < 8; i++) {
		lasting += guest_connects(b, 4000 + i);
		answers(b, GATEWAY);
	}
	assert_in_range(lasting, 1, 3);
	/* The same worker: nothing had to be killed. */
	assert_false(user_of(b)->fresh && user_of(b)->to_net.own == 0);
	unlink(path);
	close(fd);
}

/* A TFTP read request: the kind of what comes back. */
static unsigned tftp_read(struct bench *b, unsigned from, const char *name)
{
	char rrq[64] = {0, 1};
	size_t len = 2;

	len += (size_t)sprintf(rrq + len, "%s", name) + 1;
	len += (size_t)sprintf(rrq + len, "octet") + 1;
	send_udp(b, from, GATEWAY, 69, rrq, len);
	return get16(receive_ip(b, 17) + 8);
}

static void file_put(struct bench *b, char path[64], const char *name, const char *text)
{
	int fd;

	snprintf(path, 64, "%s/%s", b->dir, name);
	fd = open(path, O_CREAT | O_WRONLY, 0644);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, 0644), 0);
	close(fd);
}

static void tftp_of_odd_files(void **state)
{
	enum { DATA = 3, ERROR = 5 };
	struct bench *b = *state;
	char file[64], fifo[64], out[64], options[64];

	chmod(b->dir, 0755);
	file_put(b, file, "file", "hello");
	snprintf(fifo, sizeof(fifo), "%s/fifo", b->dir);
	snprintf(out, sizeof(out), "%s/out", b->dir);
	assert_int_equal(mkfifo(fifo, 0666), 0);
	assert_int_equal(symlink("/etc/passwd", out), 0);
	snprintf(options, sizeof(options), ",tftp=%s", b->dir);
	open_user(b, options);
	greet(b, GATEWAY);
	assert_int_equal(tftp_read(b, 6000, "file"), DATA);
	assert_int_equal(tftp_read(b, 6001, "fifo"), ERROR);
	answers(b, GATEWAY);
	assert_int_equal(tftp_read(b, 6002, "out"), ERROR);
	assert_int_equal(tftp_read(b, 6003, "/file"), DATA);
	unlink(file);
	unlink(fifo);
	unlink(out);
}

/* --- memory --- */

static long resident_mib(pid_t pid)
{
	char path[64], line[128];
	long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmRSS: %ld kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib / 1024;
}

/* Has there been another worker since the last time? Its rings began anew. */
static bool began_anew(struct user *u, uint32_t *last)
{
	bool anew = u->to_net.own < *last;

	*last = u->to_net.own;
	return anew;
}

/* Open a connection of the guest's, as its driver sees it: the peer's next sequence number, 0 when
 * there was none. */
static uint32_t guest_opens(struct bench *b, unsigned from, unsigned port)
{
	uint32_t peer;

	send_tcp(b, from, GATEWAY, port, 1, 0, TCP_SYN, "");
	while (receive(b, 500)) {
		const uint8_t *tcp = b->in + ETH + IP;

		if (get16(b->in + 12) != 0x0800 || b->in[ETH + 9] != 6 || get16(tcp + 2) != from ||
		    !(tcp[13] & TCP_SYN))
			continue;
		peer = get32(tcp + 4) + 1;
		send_tcp(b, from, GATEWAY, port, 2, peer, TCP_ACK, "");
		return peer;
	}
	return 0;
}

/* Bytes behind gaps, on one connection after the other, are kept one by one until the worker has
 * had too much; the next one knows nothing of them. */
static void segments_with_gaps(void **state)
{
	enum { CONNECTIONS = 32, SEGMENTS = 3000 };
	struct bench *b = *state;
	struct user *u;
	unsigned port;
	int listener = host_socket(SOCK_STREAM, &port);
	bool anew = false;
	uint32_t last;
	pid_t worker;
	long most = 0;

	if (ASAN) {
		close(listener);
		skip(); /* there is no limit there */
	}
	assert_int_equal(listen(listener, CONNECTIONS), 0);
	open_user(b, "");
	u = user_of(b);
	greet(b, GATEWAY);
	worker = worker_pid(b);
	last = u->to_net.own;
	for (unsigned i = 0; i < CONNECTIONS * SEGMENTS && !anew; i++) {
		static uint32_t peer;
		unsigned n = i % SEGMENTS, from = 4000 + i / SEGMENTS;

		if (n == 0)
			peer = guest_opens(b, from, port);
		send_tcp(b, from, GATEWAY, port, 4 + 2 * n, peer, TCP_ACK, "x");
		if (n % 256 == 255) {
			while (receive(b, 0)) {}
			loop_turn(b->loop, 0);
			most = MAX(most, resident_mib(worker));
		}
		anew = began_anew(u, &last);
	}
	assert_true(anew);
	assert_in_range(most, 1, 320);
	answers(b, GATEWAY);
	assert_true(worker_pid(b) != worker);
	close(listener);
}

/* Large packets whose rest never comes are kept whole, until the worker ends by itself. */
static void packets_without_their_rest(void **state)
{
	enum { LEN = 60000, ENOUGH = 6500 };
	static uint8_t f[ETH + IP + LEN];
	struct bench *b = *state;
	struct user *u;
	bool anew = false;
	uint32_t last;
	pid_t worker;
	long most = 0;

	if (ASAN)
		skip(); /* what was freed is resident as well there */
	open_user(b, "");
	u = user_of(b);
	greet(b, GATEWAY);
	worker = worker_pid(b);
	last = u->to_net.own;
	for (unsigned i = 0; i < ENOUGH && !anew; i++) {
		put_ip(f, IPPROTO_UDP, GATEWAY, LEN);
		put16(f + ETH + 4, i);
		put16(f + ETH + 6, 0x2000);
		put16(f + ETH + 10, 0);
		put16(f + ETH + 10, checksum(f + ETH, IP, 0));
		transmit(b, f, sizeof(f));
		if (i % 64 == 0)
			most = MAX(most, resident_mib(worker));
		anew = began_anew(u, &last);
	}
	assert_true(anew);
	assert_in_range(most, 100, 320);
	answers(b, GATEWAY);
	assert_true(worker_pid(b) != worker);
}

/* --- workers that die, or stop --- */

static void forward_works(struct bench *b, unsigned port, unsigned n)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char text[16], buf[16];
	const uint8_t *udp;

	snprintf(text, sizeof(text), "ping %u", n);
	assert_true(sendto(fd, text, 8, 0, (struct sockaddr *)&in, sizeof(in)) == 8);
	do
		udp = receive_ip(b, 17);
	while (get16(udp + 2) != 7 || memcmp(udp + 8, text, 8));
	send_udp(b, 7, get32(b->in + ETH + 12), get16(udp), "pong", 4);
	assert_int_equal(host_recv(b, fd, buf, sizeof(buf)), 4);
	close(fd);
}

static void killed_under_load(void **state)
{
	struct bench *b = *state;
	unsigned host, port = free_port(SOCK_DGRAM);
	int sink = host_socket(SOCK_DGRAM, &host);
	char options[64];

	snprintf(options, sizeof(options), ",hostfwd=udp:127.0.0.1:%u-:7", port);
	open_user(b, options);
	greet(b, GATEWAY);
	for (unsigned i = 0; i < 20; i++) {
		pid_t worker = worker_pid(b);

		for (unsigned j = 0; j < 200; j++)
			send_udp(b, 5000 + j % 8, GATEWAY, host, "load", 4);
		assert_int_equal(kill(worker, SIGKILL), 0);
		for (unsigned j = 0; j < 200; j++)
			send_udp(b, 5000 + j % 8, GATEWAY, host, "load", 4);
		answers(b, GATEWAY);
		assert_true(worker_pid(b) != worker);
		forward_works(b, port, i);
	}
	close(sink);
}

/* So many workers died that the next one has to wait. Frames wait with it: nobody is to blame that
 * none are taken, and the guest's network is not given up. */
static void frames_wait_for_a_restart(void **state)
{
	struct bench *b = *state;
	uint64_t end;

	open_user(b, "");
	greet(b, GATEWAY);
	for (unsigned i = 0; i <= HELPER_RESTARTS; i++) {
		pid_t worker = worker_pid(b);

		assert_int_equal(kill(worker, SIGKILL), 0);
		if (i < HELPER_RESTARTS)
			answers(b, GATEWAY);
	}
	/* Longer than a worker that takes no frames is given. */
	end = now_ns() + 6000000000ULL;
	while (now_ns() < end) {
		send_udp(b, 5000, GATEWAY, 7, "wait", 4);
		receive(b, 100);
	}
	assert_false(((struct user *)b->nd)->broken);
}

/* It lives, but takes nothing: it has to go. */
static void worker_that_stops(void **state)
{
	struct bench *b = *state;
	pid_t worker;

	open_user(b, "");
	greet(b, GATEWAY);
	worker = worker_pid(b);
	assert_int_equal(kill(worker, SIGSTOP), 0);
	answers(b, GATEWAY);
	assert_true(worker_pid(b) != worker);
}

/* What a worker that was taken over may write, while we look: it is ended, and another one serves.
 */
static void worker_that_lies(void **state)
{
	static const uint8_t bad[][12] = {
		{4},			       /* unknown flag */
		{1, 0, 0, 0, 0, 0, 60, 0, 60}, /* checksum outside */
		{1, 3},			       /* UFO */
		{0, 1, 54, 0, 0xb4, 5},	       /* segmentation without a checksum */
		{1, 1, 0xff, 0xff, 0xb4, 5},   /* headers longer than the frame */
		{1, 1, 54},		       /* segments of nothing */
	};
	struct bench *b = *state;
	struct user *u;

	open_user(b, "");
	u = user_of(b);
	assert_int_equal(netdev_set_offloads(b->nd, NET_RX_CSUM | NET_RX_TSO4 | NET_RX_TSO6), 0);
	greet(b, GATEWAY);
	for (unsigned i = 0; i < ARRAY_SIZE(bad) + 6; i++) {
		pid_t worker = worker_pid(b);
		uint8_t frame[80] = {0};
		struct netring forge = u->to_guest;

		while (receive(b, 20)) {}
		assert_int_equal(kill(worker, SIGSTOP), 0);
		netring_attach(&forge, &u->shm->to_guest);
		forge.own = forge.other = u->to_guest.own;
		if (i < ARRAY_SIZE(bad)) {
			memcpy(frame, bad[i], 12);
			assert_int_equal(
				netring_put(&forge, &(struct iovec){frame, sizeof(frame)}, 1), 0);
		} else if (i == ARRAY_SIZE(bad)) { /* no Ethernet header */
			assert_int_equal(netring_put(&forge, &(struct iovec){frame, 20}, 1), 0);
		} else if (i == ARRAY_SIZE(bad) + 1) {
			atomic_store(&u->shm->to_guest.tail, u->to_guest.own + 4);
		} else if (i == ARRAY_SIZE(bad) + 2) {
			atomic_store(&u->shm->to_guest.tail, u->to_guest.own - 8);
		} else if (i == ARRAY_SIZE(bad) + 3) {
			memset(u->shm->to_guest.data, 0xff, NETRING_BYTES);
			atomic_store(&u->shm->to_guest.tail, u->to_guest.own + 4096);
		} else if (i == ARRAY_SIZE(bad) + 4) {
			memset(u->shm->to_guest.data, 0, NETRING_BYTES);
			atomic_store(&u->shm->to_guest.tail, u->to_guest.own + NETRING_BYTES);
		} else {
			/* It says that it has taken what was never there. */
			atomic_store(&u->shm->to_net.head, u->to_net.own + 8);
			for (unsigned j = 0; j < 200; j++) {
				static uint8_t large[8000];

				send_iov(b,
					 (struct iovec[]){{b->hdr, NET_HDR_LEN},
							  {large, sizeof(large)}},
					 2);
			}
		}
		eventfd_write(u->own_event, 1);
		answers(b, GATEWAY);
		assert_true(worker_pid(b) != worker);
	}
}

/* However often it rings, that is one look of the loop, and one call of the client's. */
static void flood_of_signals(void **state)
{
	uint8_t frame[NET_HDR_LEN + 60] = {0};
	struct bench *b = *state;
	struct netring forge;
	struct user *u;

	open_user(b, "");
	u = user_of(b);
	greet(b, GATEWAY);
	while (receive(b, 20)) {}
	assert_int_equal(kill(worker_pid(b), SIGSTOP), 0);
	netring_attach(&forge, &u->shm->to_guest);
	forge.own = forge.other = u->to_guest.own;
	b->readable = 0;
	for (unsigned i = 1; i <= 100; i++) {
		assert_int_equal(netring_put(&forge, &(struct iovec){frame, sizeof(frame)}, 1), 0);
		for (unsigned j = 0; j < 100; j++)
			eventfd_write(u->own_event, 1);
		loop_turn(b->loop, 0);
		assert_in_range(b->readable, 0, i);
	}
	assert_true(b->readable > 0);
}

/* Frames of a kind that the guest has never taken: some may be left from before it changed its
 * mind, a ring full of them is no accident. */
static void frames_of_no_wanted_kind(void **state)
{
	uint8_t frame[NET_HDR_LEN + 1000] = {2 /* VIRTIO_NET_HDR_F_DATA_VALID */};
	struct bench *b = *state;
	struct netring forge;
	struct user *u;

	open_user(b, "");
	u = user_of(b);
	greet(b, GATEWAY);
	while (receive(b, 20)) {}
	assert_int_equal(kill(worker_pid(b), SIGSTOP), 0);
	netring_attach(&forge, &u->shm->to_guest);
	forge.own = forge.other = u->to_guest.own;
	for (unsigned i = 0; i < 3 && !u->broken; i++) {
		while (netring_put(&forge, &(struct iovec){frame, sizeof(frame)}, 1) == 0) {}
		assert_false(receive(b, 0));
	}
	assert_true(u->broken);
	answers(b, GATEWAY);
}

/* A worker can reach the memory of its own network and of no other, and none of the descriptors
 * that we write to. */
static void worker_has_its_own_network_only(void **state)
{
	char name[64], own[64] = "", line[512];
	struct bench *b = *state;
	unsigned shared = 0;
	struct err e = {0};
	pid_t keeper, worker;
	ssize_t n;
	FILE *f;

	open_user(b, "");
	greet(b, GATEWAY);
	keeper = child_of(getpid());
	if (add(b, &e, "user,id=n1") < 0)
		fail_msg("%s", e.text);
	/* The newer of the two children. */
	worker = child_of(getpid());
	assert_true(worker > 0 && keeper > 0);
	for (pid_t pid = keeper + 1; worker == keeper && pid < keeper + 1000; pid++) {
		snprintf(line, sizeof(line), "/proc/%d/stat", (int)pid);
		f = fopen(line, "r");
		if (!f)
			continue;
		if (fscanf(f, "%*d %*s %*c %d", (int *)&n) == 1 && (int)n == getpid())
			worker = pid;
		fclose(f);
	}
	assert_true(worker != keeper);
	snprintf(line, sizeof(line), "/proc/%d/maps", (int)worker);
	f = fopen(line, "r");
	while (f && fgets(line, sizeof(line), f))
		shared += !!strstr(line, " rw-s ");
	if (f)
		fclose(f);
	/* The rings, and the word for a refused call. */
	assert_int_equal(shared, 2);
	snprintf(line, sizeof(line), "/proc/self/fd/%d", user_of(b)->wake_fd);
	n = readlink(line, own, sizeof(own) - 1);
	assert_true(n > 0);
	worker = worker_pid(b);
	for (unsigned fd = 0; fd < 64; fd++) {
		snprintf(line, sizeof(line), "/proc/%d/fd/%u", (int)worker, fd);
		n = readlink(line, name, sizeof(name) - 1);
		name[n > 0 ? n : 0] = 0;
		assert_string_not_equal(name, own);
	}
}

/* Without its keeper there will be no worker: the guest's link goes down, its frames are lost, and
 * nothing waits. */
static void keeper_that_dies(void **state)
{
	struct bench *b = *state;
	struct iovec iov[] = {{b->hdr, NET_HDR_LEN}, {b->in, 1000}};
	uint64_t end = now_ns() + 10000000000ULL;

	open_user(b, "");
	greet(b, GATEWAY);
	assert_int_equal(kill(child_of(getpid()), SIGKILL), 0);
	while (atomic_load(&b->nd->carrier) && now_ns() < end)
		loop_turn(b->loop, 20);
	assert_false(atomic_load(&b->nd->carrier));
	for (unsigned i = 0; i < 3000; i++)
		assert_int_equal(netq_send(b->q, iov, 2), 0);
	assert_false(receive(b, 20));
}

/* --- log --- */

static void log_begin(char path[64])
{
	struct err e = {0};

	snprintf(path, 64, "/tmp/xenpvh-user-log-%d", (int)getpid());
	unlink(path);
	assert_int_equal(log_open(path, &e), 0);
}

/* Lines in it, and those of them with `text`. */
static unsigned log_end(const char *path, const char *text, unsigned *said)
{
	unsigned lines = 0;
	char line[1024];
	FILE *f = fopen(path, "r");

	*said = 0;
	while (f && fgets(line, sizeof(line), f)) {
		lines++;
		*said += !!strstr(line, text);
	}
	fclose(f);
	unlink(path);
	return lines;
}

/* The helper has a user of its own: what that cannot reach is said at the start. */
static void what_the_helper_cannot_reach(void **state)
{
	struct bench *b = *state;
	char path[108], options[300], log[64];
	int fd = unix_listener(b, path, 1);
	unsigned said;

	if (geteuid() != 0) {
		unlink(path);
		close(fd);
		skip(); /* it is who we are then */
	}
	log_begin(log);
	chmod(path, 0700);
	chmod(b->dir, 0700);
	snprintf(options, sizeof(options), ",tftp=%s,guestfwd=tcp:10.0.2.100:80-unix:%s", b->dir,
		 path);
	open_user(b, options);
	assert_int_equal(log_end(log, "the helper (a user of its own) cannot", &said), 2);
	assert_int_equal(said, 2);
	unlink(path);
	close(fd);
}

/* A thousand refused connections, each of which libslirp and GLib have something to say about. */
static void log_is_limited(void **state)
{
	struct bench *b = *state;
	char path[108], options[192], log[64];
	int fd = unix_listener(b, path, 1);
	unsigned lines, said;

	log_begin(log);
	snprintf(options, sizeof(options), ",guestfwd=tcp:10.0.2.100:80-unix:%s", path);
	open_user(b, options);
	close(fd); /* refused from now on */
	greet(b, SERVER);
	for (unsigned i = 0; i < 1000; i++) {
		unsigned from = 4000 + i;
		const uint8_t *tcp;

		send_tcp(b, from, SERVER, 80, 1, 0, TCP_SYN, "");
		do
			tcp = receive_ip(b, 6);
		while (get16(tcp + 2) != from || !(tcp[13] & TCP_SYN));
		send_tcp(b, from, SERVER, 80, 2, get32(tcp + 4) + 1, TCP_ACK, "");
		do
			tcp = receive_ip(b, 6);
		while (get16(tcp + 2) != from || !(tcp[13] & 5));
		send_tcp(b, from, SERVER, 80, 2, get32(tcp + 4) + 1, 4, "");
	}
	answers(b, GATEWAY);
	lines = log_end(log, "open_unix", &said);
	unlink(path);
	assert_true(said > 0);
	assert_in_range(lines, 1, 50);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(fragments_in_every_order),
		T(program_that_does_not_accept),
		T(tftp_of_odd_files),
		T(segments_with_gaps),
		T(packets_without_their_rest),
		T(killed_under_load),
		T(frames_wait_for_a_restart),
		T(worker_that_stops),
		T(worker_that_lies),
		T(flood_of_signals),
		T(keeper_that_dies),
		T(frames_of_no_wanted_kind),
		T(worker_has_its_own_network_only),
		T(what_the_helper_cannot_reach),
		T(log_is_limited),
	};

	return cmocka_run_group_tests_name("net_user_hostile", tests, have_library, NULL);
}
