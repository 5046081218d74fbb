/* SPDX-License-Identifier: MIT */
/* unit_net_dump.c - filter-dump and the rate limit: what happens to frames on the way through
 *
 * The file is read by a parser of its own, and by tcpdump where there is one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "../own_net.h"
#include "net/pace.h"
#include "net_bench.h"

/* Netdev n0 on one end of a pair of datagram sockets; returns the other one. */
static int cable(struct bench *b, const char *options)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	add_netdev(b, "dgram,id=n0,local.type=fd,local.str=%d%s", sv[0], options);
	return sv[1];
}

static const char *dump_path(struct bench *b)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/pcap", b->dir);
	return path;
}

static void add_dump(struct bench *b, const char *options)
{
	struct err e = {0};

	if (try_object(b, &e, "filter-dump,id=d,netdev=n0,file=%s%s", dump_path(b), options) < 0)
		fail_msg("%s", e.text);
}

/* --- reading the file, as libpcap's manual describes it --- */

struct capture {
	uint8_t data[300000];
	size_t len, at;
	uint32_t snaplen;
};

static uint32_t word(const struct capture *c, size_t at)
{
	uint32_t v;

	assert_true(at + sizeof(v) <= c->len);
	memcpy(&v, c->data + at, sizeof(v));
	return v;
}

static struct capture *open_capture(struct bench *b)
{
	static struct capture c;
	int fd = open(dump_path(b), O_RDONLY);

	assert_true(fd >= 0);
	c.len = (size_t)read(fd, c.data, sizeof(c.data));
	close(fd);
	assert_int_equal(word(&c, 0), 0xa1b2c3d4);
	assert_int_equal(word(&c, 4), 2 | 4 << 16);
	assert_int_equal(word(&c, 8), 0);
	c.snaplen = word(&c, 16);
	assert_int_equal(word(&c, 20), 1); /* Ethernet */
	c.at = 24;
	return &c;
}

/* Next record, NULL at the end. */
static const uint8_t *next_record(struct capture *c, uint32_t *kept, uint32_t *len)
{
	const uint8_t *frame;
	struct timespec now;

	if (c->at == c->len)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &now);
	assert_true(now.tv_sec - word(c, c->at) < 60);
	assert_true(word(c, c->at + 4) < 1000000);
	*kept = word(c, c->at + 8);
	*len = word(c, c->at + 12);
	frame = c->data + c->at + 16;
	c->at += 16 + *kept;
	assert_true(c->at <= c->len);
	return frame;
}

/* --- dumps --- */

static void both_ways(void **state)
{
	struct bench *b = *state;
	int peer = cable(b, "");
	char in[2000], out[1514];
	uint32_t kept, len;
	struct capture *c;

	add_dump(b, "");
	attach(b);
	memset(out, 0x5a, sizeof(out));
	assert_int_equal(send_frame(b, out, sizeof(out)), 0);
	assert_int_equal(write(peer, "to the guest.....", 17), 17);
	assert_int_equal(recv_frame(b, in, 5), 17); /* in pieces */
	netdev_detach(b->nd);
	b->nd = NULL;
	c = open_capture(b);
	assert_int_equal(c->snaplen, 65536);
	assert_memory_equal(next_record(c, &kept, &len), out, sizeof(out));
	assert_int_equal(kept, sizeof(out));
	assert_int_equal(len, sizeof(out));
	assert_memory_equal(next_record(c, &kept, &len), "to the guest.....", 17);
	assert_null(next_record(c, &kept, &len));
	unlink(dump_path(b));
	close(peer);
}

static void one_way_and_cut(void **state)
{
	static const struct {
		const char *queue, *frame;
	} ways[] = {{"rx", "what the guest sent"}, {"tx", "what it received..."}};
	struct bench *b = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		int peer = cable(b, "");
		char options[64], in[64];
		uint32_t kept, len;
		struct capture *c;
		struct err e;

		snprintf(options, sizeof(options), ",queue=%s,maxlen=6", ways[i].queue);
		add_dump(b, options);
		attach(b);
		assert_int_equal(send_frame(b, ways[0].frame, 19), 0);
		assert_int_equal(write(peer, ways[1].frame, 19), 19);
		assert_int_equal(recv_frame(b, in, sizeof(in)), 19);
		netdev_detach(b->nd);
		b->nd = NULL;
		c = open_capture(b);
		assert_int_equal(c->snaplen, 6);
		assert_memory_equal(next_record(c, &kept, &len), ways[i].frame, 6);
		assert_int_equal(kept, 6);
		assert_int_equal(len, 19);
		assert_null(next_record(c, &kept, &len));
		assert_int_equal(netdev_del(b->nds, "n0", &e), 0);
		close(peer);
	}
	unlink(dump_path(b));
}

/* It is in the file soon, without another frame; and more than fits the buffer at once. */
static void written_in_time(void **state)
{
	struct bench *b = *state;
	static char big[60000];
	int peer = cable(b, "");
	uint32_t kept, len;
	struct capture *c;
	struct stat st;
	uint64_t end = now_ns() + TURN_MS * 1000000ULL;

	add_dump(b, "");
	attach(b);
	assert_int_equal(send_frame(b, "a short frame", 13), 0);
	do {
		loop_turn(b->loop, 50);
		assert_int_equal(stat(dump_path(b), &st), 0);
	} while (st.st_size == 24 && now_ns() < end);
	assert_int_equal(st.st_size, 24 + 16 + 13);
	for (unsigned i = 0; i < 4; i++) {
		memset(big, (int)i, sizeof(big));
		assert_int_equal(send_frame(b, big, sizeof(big)), 0);
		assert_int_equal(read(peer, big, sizeof(big)), i ? sizeof(big) : 13);
	}
	assert_int_equal(stat(dump_path(b), &st), 0);
	assert_true(st.st_size > 24 + 16 + 13);
	netdev_detach(b->nd);
	b->nd = NULL;
	c = open_capture(b);
	next_record(c, &kept, &len);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(*next_record(c, &kept, &len), i);
		assert_int_equal(kept, sizeof(big));
	}
	assert_null(next_record(c, &kept, &len));
	if (!access("/usr/bin/tcpdump", X_OK)) {
		char command[128];

		snprintf(command, sizeof(command), "tcpdump -nr %s >/dev/null 2>&1", dump_path(b));
		assert_int_equal(system(command), 0);
	}
	unlink(dump_path(b));
	close(peer);
}

/* A disk that is full ends the dump, and nothing else. */
static void full_disk(void **state)
{
	struct bench *b = *state;
	struct err e = {0};
	char buf[64];
	int peer = cable(b, "");

	assert_true(try_object(b, &e, "filter-dump,id=d,netdev=n0,file=/dev/full") < 0);
	assert_non_null(strstr(e.text, "not a regular file"));
	add_dump(b, "");
	attach(b);
	assert_int_equal(send_frame(b, "one", 3), 0);
	assert_int_equal(read(peer, buf, sizeof(buf)), 3);
	/* The limit of this process stands for the disk's end. */
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){24, RLIM_INFINITY}), 0);
	loop_turn(b->loop, 200);
	loop_turn(b->loop, 200);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}),
			 0);
	assert_int_equal(send_frame(b, "two", 3), 0);
	assert_int_equal(read(peer, buf, sizeof(buf)), 3);
	netdev_detach(b->nd);
	b->nd = NULL;
	assert_true(open_capture(b)->len == 24);
	unlink(dump_path(b));
	close(peer);
}

static void bad_filters(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"filter-dump,netdev=n0,file=x", "'id' is missing"},
		{"filter-dump,id=d,file=x", "'netdev' is missing"},
		{"filter-dump,id=d,netdev=n0", "dump filter needs 'file' property set!"},
		{"filter-dump,id=d,netdev=nope,file=x", "expects a network backend id"},
		{"filter-dump,id=d,netdev=n0,file=/nonexistent/x", "can't open /nonexistent/x"},
		{"filter-dump,id=d,netdev=n0,file=x,maxlen=0", "'maxlen'"},
		{"filter-dump,id=d,netdev=n0,file=x,queue=up", "accepted: all|rx|tx"},
		{"filter-dump,id=d,netdev=n0,file=x,foo=1", "Property 'filter-dump.foo' not found"},
	};
	struct bench *b = *state;
	int peer = cable(b, "");

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = {0};

		if (try_object(b, &e, "%s", bad[i].text) >= 0)
			fail_msg("'%s' was accepted", bad[i].text);
		if (!strstr(e.text, bad[i].says))
			fail_msg("'%s' says: %s", bad[i].text, e.text);
	}
	assert_int_equal(access("x", F_OK), -1);
	close(peer);
}

/* --- the rate limit --- */

static void bucket(void **state)
{
	struct pace p = {.rate = 1000, .burst = 500};

	/* A burst, and the frame that crosses it; then one second for each 1000 bytes. */
	assert_int_equal(pace_wait(&p, 1000), 0);
	pace_spend(&p, 1000, 500);
	assert_int_equal(pace_wait(&p, 1000), 0);
	pace_spend(&p, 1000, 1000);
	assert_int_equal(pace_wait(&p, 1000), 1000000000);
	assert_int_equal(pace_wait(&p, 1000 + 999999999), 1);
	assert_int_equal(pace_wait(&p, 1000 + 1000000000), 0);
	/* A long pause earns no more than the burst. */
	pace_spend(&p, 3600000000000, 1500);
	assert_int_equal(pace_wait(&p, 3600000000000), 1000000000);
	/* No overflow where a day is short. */
	p = (struct pace){.rate = 1, .burst = 1ULL << 40};
	pace_spend(&p, 0, 70000);
	assert_int_equal(pace_wait(&p, 0), 0);
}

static void limited(void **state)
{
	struct bench *b = *state;
	int peer = cable(b, ",rate=100k,rate-burst=10k");
	static char frame[1000], in[1000];
	uint64_t begin = now_ns();
	unsigned sent = 0;

	attach(b);
	/* The burst, and the frame that crosses it, at once. */
	while (!send_frame(b, frame, sizeof(frame)))
		sent++;
	assert_in_range(sent, 11, 14);
	assert_int_equal(b->writable, 0);
	/* 20 kB more take a fifth of a second; none is lost. */
	for (unsigned more = 0; more < 20;) {
		loop_turn(b->loop, TURN_MS);
		while (!send_frame(b, frame, sizeof(frame))) {
			more++;
			sent++;
		}
	}
	assert_true(b->writable > 0);
	assert_in_range((now_ns() - begin) / 1000000, 170, 1500);
	for (unsigned i = 0; i < sent; i++)
		assert_int_equal(recv(peer, in, sizeof(in), MSG_DONTWAIT), sizeof(in));
	assert_int_equal(recv(peer, in, sizeof(in), MSG_DONTWAIT), -1);
	/* The other direction has no limit. */
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(send(peer, in, sizeof(in), 0), sizeof(in));
		assert_int_equal(recv_frame(b, in, sizeof(in)), sizeof(in));
	}
	close(peer);
}

static bool have_taps(void)
{
	const char *why_not = own_net(true);

	if (why_not)
		print_message("%s\n", why_not);
	return !why_not;
}

/* What the kernel moves is seen by neither. */
static void not_with_vhost(void **state)
{
	struct bench *b = *state;
	struct err e = {0};

	if (!have_taps())
		skip();
	assert_true(try_netdev(b, &e,
			       "tap,id=n0,ifname=v0,script=no,downscript=no,vhost=on,rate=1M") < 0);
	assert_non_null(strstr(e.text, "'rate' cannot be used together with vhost=on"));
	add_netdev(b, "tap,id=n0,ifname=v0,script=no,downscript=no,vhost=on");
	assert_true(try_object(b, &e, "filter-dump,id=d,netdev=n0,file=%s", dump_path(b)) < 0);
	assert_non_null(strstr(e.text, "Vhost is not supported"));
}

/* The vnet header of a tap is no part of the frame. */
static void vnet_header(void **state)
{
	struct bench *b = *state;
	uint8_t frame[NET_HDR_LEN + 60] = {0};
	uint32_t kept, len;
	struct capture *c;

	if (!have_taps())
		skip();
	add_netdev(b, "tap,id=n0,ifname=t0,script=no,downscript=no");
	add_dump(b, ",queue=rx");
	attach(b);
	memset(frame + NET_HDR_LEN, 0x77, 60);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifr = {.ifr_name = "t0", .ifr_flags = IFF_UP};
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
	assert_int_equal(send_frame(b, frame, sizeof(frame)), 0);
	netdev_detach(b->nd);
	b->nd = NULL;
	c = open_capture(b);
	assert_memory_equal(next_record(c, &kept, &len), frame + NET_HDR_LEN, 60);
	assert_int_equal(len, 60);
	unlink(dump_path(b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(both_ways),	T(one_way_and_cut), T(written_in_time),
		T(full_disk),	T(bad_filters),	    T(limited),
		T(vnet_header), T(not_with_vhost),  cmocka_unit_test(bucket),
	};

	return cmocka_run_group_tests_name("net_dump", tests, NULL, NULL);
}
