/* SPDX-License-Identifier: MIT */
/* unit_slirp_udp.c - datagrams gathered into runs: this program calls sendto() and setsockopt() as
 * libslirp does
 *
 * The receiver has UDP_GRO, with which a run arrives over the loopback interface as it was sent.
 */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/slirp_udp.h"
#include "../own_net.h"

struct bench {
	struct slirp_udp *u;
	int from, to;
	struct sockaddr_storage addr; /* of `to` */
	socklen_t len;
};

/* What one receive call gave. */
struct got {
	ssize_t len;
	int each, hops;
	uint8_t data[70000];
};

static void set(int fd, int level, int name, int value)
{
	assert_int_equal(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

static void open_pair(struct bench *b, int family)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr *sa = family == AF_INET ? (struct sockaddr *)&in : (struct sockaddr *)&in6;

	b->u = calloc(1, sizeof(*b->u));
	assert_non_null(b->u);
	slirp_udp_init(b->u);
	b->from = socket(family, SOCK_DGRAM, 0);
	b->to = socket(family, SOCK_DGRAM, 0);
	assert_int_equal(bind(b->to, sa, family == AF_INET ? sizeof(in) : sizeof(in6)), 0);
	b->len = sizeof(b->addr);
	assert_int_equal(getsockname(b->to, (struct sockaddr *)&b->addr, &b->len), 0);
	set(b->to, IPPROTO_UDP, UDP_GRO, 1);
	if (family == AF_INET)
		set(b->to, IPPROTO_IP, IP_RECVTTL, 1);
	else
		set(b->to, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
}

static void close_pair(struct bench *b)
{
	close(b->from);
	close(b->to);
	free(b->u);
}

static void send_one(struct bench *b, int value, size_t len)
{
	static uint8_t data[70000];

	memset(data, value, len);
	slirp_udp_gather(b->u);
	assert_int_equal(sendto(b->from, data, len, 0, (struct sockaddr *)&b->addr, b->len), len);
	slirp_udp_gather(NULL);
}

static void set_hops(struct bench *b, int level, int name, int hops)
{
	slirp_udp_gather(b->u);
	set(b->from, level, name, hops);
	slirp_udp_gather(NULL);
}

/* False when there is nothing. */
static bool get(struct bench *b, struct got *g)
{
	char ctl[200];
	struct iovec iov = {g->data, sizeof(g->data)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl,
			   .msg_controllen = sizeof(ctl)};

	g->len = recvmsg(b->to, &m, MSG_DONTWAIT);
	g->each = (int)g->len;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&g->each, CMSG_DATA(c), sizeof(int));
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
		    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT))
			memcpy(&g->hops, CMSG_DATA(c), sizeof(int));
	}
	return g->len >= 0;
}

static void expect(struct bench *b, size_t len, int each)
{
	static struct got g;

	assert_true(get(b, &g));
	assert_int_equal(g.len, len);
	assert_int_equal(g.each, each);
}

static void expect_nothing(struct bench *b)
{
	static struct got g;

	assert_false(get(b, &g));
}

/* The first at once, what is like it as one, also when it ends with a shorter one. */
static void runs(void **state)
{
	struct bench b;

	open_pair(&b, AF_INET);
	for (int i = 0; i < 5; i++)
		send_one(&b, i, 200);
	expect(&b, 200, 200);
	expect_nothing(&b);
	send_one(&b, 5, 50);
	send_one(&b, 6, 50); /* the run has ended: another one */
	expect(&b, 850, 200);
	expect_nothing(&b);
	send_one(&b, 7, 51); /* larger */
	expect(&b, 50, 50);
	slirp_udp_end(b.u);
	expect(&b, 51, 51);
	expect_nothing(&b);
	close_pair(&b);
}

/* The next begins anew: nobody is asked to wait for somebody who does not come. */
static void first_again_after_the_end(void **state)
{
	struct bench b;

	open_pair(&b, AF_INET);
	send_one(&b, 1, 10);
	slirp_udp_end(b.u);
	expect(&b, 10, 10);
	send_one(&b, 2, 10);
	expect(&b, 10, 10);
	close_pair(&b);
}

/* Nothing, and more than a frame carries, go by themselves, behind what was before. */
static void sizes(void **state)
{
	struct bench b;

	open_pair(&b, AF_INET);
	send_one(&b, 1, 100);
	send_one(&b, 2, 100);
	send_one(&b, 3, 0);
	expect(&b, 100, 100);
	expect(&b, 100, 100);
	expect(&b, 0, 0);
	send_one(&b, 4, 100);
	send_one(&b, 5, 4000);
	expect(&b, 100, 100);
	expect(&b, 4000, 4000);
	slirp_udp_end(b.u);
	expect_nothing(&b);
	close_pair(&b);
}

/* More than the kernel takes in one call, by number and by bytes, is several. */
static void limits(void **state)
{
	static struct got g;
	const size_t all[] = {1, 1472};
	struct bench b;

	for (unsigned k = 0; k < 2; k++) {
		unsigned seen = 0;

		open_pair(&b, AF_INET);
		set(b.to, SOL_SOCKET, SO_RCVBUF, 1 << 20);
		for (int i = 0; i < 100; i++)
			send_one(&b, i, all[k]);
		slirp_udp_end(b.u);
		while (get(&b, &g)) {
			assert_true(g.len / (ssize_t)all[k] <= SLIRP_UDP_RUN);
			for (size_t at = 0; at < (size_t)g.len; at += all[k])
				assert_int_equal(g.data[at], seen++);
		}
		assert_int_equal(seen, 100);
		close_pair(&b);
	}
}

static void hop_limits(void **state)
{
	static const struct {
		int family, level, name;
	} kinds[] = {{AF_INET, IPPROTO_IP, IP_TTL}, {AF_INET6, IPPROTO_IPV6, IPV6_UNICAST_HOPS}};
	static const int want[] = {60, 60, 60, 5, 5, 60};
	static struct got g;
	struct bench b;

	for (unsigned k = 0; k < 2; k++) {
		unsigned seen = 0;

		open_pair(&b, kinds[k].family);
		for (unsigned i = 0; i < 6; i++) {
			set_hops(&b, kinds[k].level, kinds[k].name, want[i]);
			send_one(&b, (int)i, 30);
		}
		slirp_udp_end(b.u);
		while (get(&b, &g))
			for (ssize_t at = 0; at < g.len; at += 30) {
				assert_int_equal(g.data[at], seen);
				assert_int_equal(g.hops, want[seen++]);
			}
		assert_int_equal(seen, 6);
		close_pair(&b);
	}
}

/* One socket's says nothing about another's. */
static void hop_limits_of_two(void **state)
{
	struct bench a, b;
	struct slirp_udp *own;
	socklen_t len = sizeof(int);
	int hops = 0;

	open_pair(&a, AF_INET);
	open_pair(&b, AF_INET);
	own = b.u;
	b.u = a.u;
	set_hops(&a, IPPROTO_IP, IP_TTL, 9);
	set_hops(&b, IPPROTO_IP, IP_TTL, 9);
	assert_int_equal(getsockopt(b.from, IPPROTO_IP, IP_TTL, &hops, &len), 0);
	assert_int_equal(hops, 9);
	b.u = own;
	close_pair(&b);
	close_pair(&a);
}

/* Two sockets, two destinations: whoever is another ends the run. */
static void flows(void **state)
{
	struct bench a, b;
	struct slirp_udp *unused;
	int own;

	open_pair(&a, AF_INET);
	open_pair(&b, AF_INET);
	for (int i = 0; i < 3; i++)
		send_one(&a, i, 20);
	own = b.from;
	unused = b.u;
	b.u = a.u;
	b.from = a.from; /* another destination */
	send_one(&b, 3, 20);
	expect(&a, 20, 20);
	expect(&a, 40, 20);
	expect(&b, 20, 20);
	b.from = own; /* another socket */
	send_one(&b, 4, 20);
	send_one(&b, 5, 20);
	expect(&b, 20, 20);
	expect_nothing(&b);
	slirp_udp_end(b.u);
	expect(&b, 20, 20);
	b.u = unused;
	close_pair(&b);
	close_pair(&a);
}

/* Errors of the first are the caller's, and it stays the first. */
static void failures(void **state)
{
	static uint8_t data[70000];
	struct bench b;

	open_pair(&b, AF_INET);
	slirp_udp_gather(b.u);
	for (int i = 0; i < 2; i++) {
		errno = 0;
		assert_int_equal(
			sendto(b.from, data, sizeof(data), 0, (struct sockaddr *)&b.addr, b.len),
			-1);
		assert_int_equal(errno, EMSGSIZE);
	}
	assert_int_equal(sendto(-1, data, 1, 0, (struct sockaddr *)&b.addr, b.len), -1);
	assert_int_equal(errno, EBADF);
	slirp_udp_gather(NULL);
	send_one(&b, 1, 10);
	expect(&b, 10, 10);
	close_pair(&b);
}

/* An interface whose packets are smaller than the datagrams takes no run of them. */
static void small_packets(void **state)
{
	struct ifreq ifr = {.ifr_name = "lo"};
	struct bench b;

	open_pair(&b, AF_INET);
	ifr.ifr_mtu = 600;
	assert_int_equal(ioctl(b.from, SIOCSIFMTU, &ifr), 0);
	for (int i = 0; i < 4; i++)
		send_one(&b, i, 1400);
	slirp_udp_end(b.u);
	for (int i = 0; i < 4; i++)
		expect(&b, 1400, 1400);
	expect_nothing(&b);
	ifr.ifr_mtu = 65536;
	assert_int_equal(ioctl(b.from, SIOCSIFMTU, &ifr), 0);
	close_pair(&b);
}

/* Outside of libslirp's calls they are the C library's. */
static void elsewhere(void **state)
{
	struct bench b;

	open_pair(&b, AF_INET);
	send_one(&b, 1, 10);
	send_one(&b, 2, 10);
	assert_int_equal(sendto(b.from, "abc", 3, 0, (struct sockaddr *)&b.addr, b.len), 3);
	expect(&b, 10, 10);
	expect(&b, 3, 3);
	slirp_udp_end(b.u);
	expect(&b, 10, 10);
	close_pair(&b);
}

static int enter(void **state)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	const char *why = own_net(true);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (why) {
		print_message("%s\n", why);
		exit(77);
	}
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs),		 cmocka_unit_test(first_again_after_the_end),
		cmocka_unit_test(sizes),	 cmocka_unit_test(limits),
		cmocka_unit_test(hop_limits),	 cmocka_unit_test(hop_limits_of_two),
		cmocka_unit_test(flows),	 cmocka_unit_test(failures),
		cmocka_unit_test(small_packets), cmocka_unit_test(elsewhere),
	};

	return cmocka_run_group_tests_name("slirp_udp", tests, enter, NULL);
}
