/* SPDX-License-Identifier: MIT */
/* dev_user.c - -netdev user behind a whole device: its helper may do what it likes, the machine
 * goes on
 *
 * The guest has a disk beside its card, on the same loop: it works whatever the network does, and
 * the program ends as it should.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tb.h"

#define ETH   14
#define IP    20
#define BASIC (GV_F_RING | GNET_F_MAC | GNET_F_STATUS | GNET_F_MRG_RXBUF)
#define SYN   2
#define ACK   16

static const uint8_t own[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static uint8_t server[6]; /* the address of the last that answered */

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

static unsigned sum_of(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void start(struct tb *t, const char *options)
{
	if (!dlopen("libslirp.so.0", RTLD_LAZY)) {
		print_message("libslirp is not installed\n");
		skip();
	}
	tb_skip_qemu("libslirp is in the same process there");
	tb_arg(t, "-netdev");
	tb_arg(t, "user,id=n0%s", options);
	tb_device(t, "virtio-net-pci,netdev=n0,id=nic0");
	tb_blk(t, NULL, 1, 0);
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
}

/* Ask for an address until it answers. */
static void answers(struct tb *t, uint32_t address)
{
	uint64_t end = now_ns() + 20000000000ULL;
	uint8_t f[60], in[2048];
	struct gnet_hdr h;

	memset(f, 0xff, 6);
	memcpy(f + 6, own, 6);
	memcpy(f + 12, "\x08\x06\0\1\x08\0\6\4\0\1", 10);
	memcpy(f + 22, own, 6);
	put32(f + 28, 0x0a00020f);
	memset(f + 32, 0, sizeof(f) - 32);
	put32(f + 38, address);
	while (now_ns() < end) {
		gnet_send(&t->net, 0, NULL, f, sizeof(f));
		while (gnet_recv(&t->net, 0, &h, in, sizeof(in), 100) > 0)
			if (in[12] == 8 && in[13] == 6 && in[21] == 2 &&
			    !memcmp(in + 28, f + 38, 4)) {
				memcpy(server, in + 22, 6);
				return;
			}
	}
	fail_msg("the network does not answer");
}

static void send_ip(struct tb *t, uint8_t *f, unsigned proto, uint32_t to, unsigned id,
		    unsigned offset, size_t len)
{
	uint8_t *ip = f + ETH;

	memcpy(f, server, 6);
	memcpy(f + 6, own, 6);
	put16(f + 12, 0x0800);
	memset(ip, 0, IP);
	ip[0] = 0x45;
	put16(ip + 2, (unsigned)(IP + len));
	put16(ip + 4, id);
	put16(ip + 6, offset);
	ip[8] = 64;
	ip[9] = (uint8_t)proto;
	put32(ip + 12, 0x0a00020f);
	put32(ip + 16, to);
	put16(ip + 10, ~sum_of(ip, IP, 0) & 0xffff);
	gnet_send(&t->net, 0, NULL, f, (uint32_t)(ETH + IP + len));
}

/* Fragments with their last one first, and more of the kind: see unit_net_user_hostile.c. */
static void fragments(void **state)
{
	static const struct {
		unsigned units, len, more; /* of 8 bytes */
	} all[] = {{1, 44, 0},	       {185, 44, 0},	    {0, 1480, 0x2000},
		   {100, 800, 0x2000}, {0, 1400, 0x2000},   {200, 8, 0},
		   {250, 1000, 0},     {125, 1000, 0x2000}, {0, 1000, 0x2000}};
	struct tb *t = *state;
	uint8_t f[1514];

	start(t, "");
	answers(t, 0x0a000202);
	for (unsigned id = 0; id < 8; id++) {
		for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
			unsigned j = (i * (1 + id % 2) + id) % ARRAY_SIZE(all);

			memset(f, 0x41 + (int)id, sizeof(f));
			send_ip(t, f, 17, 0x0a000202, id, all[j].units | all[j].more, all[j].len);
			if (i % 3 == 0)
				send_ip(t, f, 17, 0x0a000202, 100 + i, all[j].units | all[j].more,
					all[j].len);
		}
		tb_blk_works(t);
		answers(t, 0x0a000202);
	}
	tb_stop(t);
}

static void send_tcp(struct tb *t, unsigned from, uint32_t seq, uint32_t ack, unsigned flags)
{
	uint8_t f[ETH + IP + 20] = {0}, *tcp = f + ETH + IP, pseudo[12] = {0};

	put16(tcp, from);
	put16(tcp + 2, 80);
	put32(tcp + 4, seq);
	put32(tcp + 8, ack);
	tcp[12] = 5 << 4;
	tcp[13] = (uint8_t)flags;
	put16(tcp + 14, 65535);
	put32(pseudo, 0x0a00020f);
	put32(pseudo + 4, 0x0a000264);
	pseudo[9] = 6;
	put16(pseudo + 10, 20);
	put16(tcp + 16, ~sum_of(tcp, 20, sum_of(pseudo, sizeof(pseudo), 0)) & 0xffff);
	send_ip(t, f, 6, 0x0a000264, from, 0, 20);
}

/* The guest opens more connections to a program than that ever accepts. The machine notices
 * nothing, and the program ends. */
static void program_that_does_not_accept(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct tb *t = *state;
	uint8_t in[2048];
	struct gnet_hdr h;
	char options[200];

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", t->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(chmod(un.sun_path, 0777), 0);
	assert_int_equal(chmod(t->dir, 0755), 0);
	snprintf(options, sizeof(options), ",guestfwd=tcp:10.0.2.100:80-unix:%s", un.sun_path);
	start(t, options);
	answers(t, 0x0a000264);
	for (unsigned i = 0; i < 12; i++) {
		send_tcp(t, 4000 + i, 1, 0, SYN);
		while (gnet_recv(&t->net, 0, &h, in, sizeof(in), 1000) > 0) {
			uint8_t *tcp = in + ETH + IP;

			if (in[13] || in[ETH + 9] != 6 || (tcp[13] & (SYN | ACK)) != (SYN | ACK))
				continue;
			send_tcp(t, 4000 + i, 2,
				 ((uint32_t)tcp[4] << 24 | tcp[5] << 16 | tcp[6] << 8 | tcp[7]) + 1,
				 ACK);
			break;
		}
		tb_blk_works(t);
		assert_int_equal(gv_config(&t->net.v, 0, 1), own[0]);
	}
	answers(t, 0x0a000202);
	tb_stop(t);
	unlink(un.sun_path);
	close(fd);
}

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

/* The worker dies again and again while frames are on their way. */
static void killed_under_load(void **state)
{
	struct tb *t = *state;
	uint8_t f[1514] = {0};

	start(t, "");
	answers(t, 0x0a000202);
	for (unsigned i = 0; i < 20; i++) {
		pid_t worker = child_of(child_of(t->g.pid));

		assert_true(worker > 0);
		for (unsigned j = 0; j < 100; j++) {
			put16(f + ETH + IP, 5000 + j % 8);
			put16(f + ETH + IP + 2, 7);
			put16(f + ETH + IP + 4, 1400);
			send_ip(t, f, 17, 0x0a000202, j, 0, 1400);
			if (j == 50)
				assert_int_equal(kill(worker, SIGKILL), 0);
		}
		tb_blk_works(t);
		answers(t, 0x0a000202);
		assert_int_equal(gv_config(&t->net.v, 6, 2), 1); /* the link was never down */
	}
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(fragments),
		tb_test(program_that_does_not_accept),
		tb_test(killed_under_load),
	};

	return tb_run("user", tests);
}
