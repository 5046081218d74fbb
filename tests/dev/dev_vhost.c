/* SPDX-License-Identifier: MIT */
/* dev_vhost.c - queues that the kernel serves: that it does, that it stops when it must, and who
 * goes on
 *
 * A tap in a network namespace of our own with the kernel's vhost-net behind the card. Where there
 * is no /dev/vhost-net only the ways to do without are tested. Ordinary frames through vhost are
 * also in dev_net_tap, which runs with TB_VHOST=1 too.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "../own_net.h"
#include "tb.h"

#define BASIC	(GV_F_RING | GNET_F_MAC | GNET_F_STATUS | GNET_F_MRG_RXBUF)
#define MANY	100 /* frames */
#define RX_ROOM 2048

static const char *no_tap, *no_vhost;
static const uint8_t own[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static const uint8_t host[6] = {2, 0, 0, 0, 0, 1};

static int tap_only(struct tb *t, const char *netdev, const char *props)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	struct timeval tv = {.tv_sec = GUEST_WAIT_MS / 1000};
	struct ifreq ifr = {.ifr_name = "t0"};
	int fd;

	if (no_tap) {
		print_message("%s\n", no_tap);
		skip();
	}
	tb_arg(t, "-netdev");
	tb_arg(t, "tap,id=n0,ifname=t0,script=no,downscript=no%s", netdev);
	tb_device(t, "virtio-net-pci,netdev=n0,id=nic0%s", props);
	tb_start(t);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP));
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags |= IFF_UP;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	ll.sll_ifindex = (int)if_nametoindex("t0");
	assert_int_equal(bind(fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

/* With vhost, or not at all. */
static int tap(struct tb *t, const char *netdev, const char *props)
{
	char with[128];

	if (no_vhost) {
		print_message("%s\n", no_vhost);
		skip();
	}
	snprintf(with, sizeof(with), ",vhost=on,vhostforce=on%s", netdev);
	return tap_only(t, with, props);
}

static void make_frame(uint8_t *f, size_t len, const uint8_t to[6], uint32_t seed)
{
	tb_pattern(f, len, seed);
	memcpy(f, to, 6);
	memcpy(f + 6, "\x02\0\0\0\0\2", 6);
	f[12] = 8; /* as IPv4: the kernel sends some IPv6 of its own */
	f[13] = 0;
}

static void to_host(struct tb *t, int fd, uint32_t seed)
{
	uint8_t out[1000], in[2000];

	make_frame(out, sizeof(out), host, seed);
	gnet_send(&t->net, 0, NULL, out, sizeof(out));
	assert_int_equal(recv(fd, in, sizeof(in), 0), sizeof(out));
	assert_memory_equal(in, out, sizeof(out));
}

/* Does the guest get this frame? */
static bool from_tap(struct tb *t, const uint8_t *frame, size_t len, unsigned ms)
{
	uint8_t in[RX_ROOM];
	struct gnet_hdr h;
	int n;

	do
		n = gnet_recv(&t->net, 0, &h, in, sizeof(in), ms);
	while (n > 14 && (in[12] != 8 || in[13] != 0));
	if (n < 0)
		return false;
	assert_int_equal(n, len);
	assert_memory_equal(in, frame, len);
	assert_int_equal(h.num_buffers, 1);
	return true;
}

static bool to_guest(struct tb *t, int fd, uint32_t seed, unsigned ms)
{
	uint8_t out[1000];

	make_frame(out, sizeof(out), own, seed);
	assert_int_equal(send(fd, out, sizeof(out), 0), sizeof(out));
	return from_tap(t, out, sizeof(out), ms);
}

static void both_ways(struct tb *t, int fd)
{
	for (unsigned i = 0; i < 10; i++) {
		to_host(t, fd, i);
		assert_true(to_guest(t, fd, i, GUEST_WAIT_MS));
	}
}

static void master(struct tb *t, bool on)
{
	gpci_cfg_set(&t->net.v.pci, GPCI_COMMAND, 2,
		     GPCI_COMMAND_MEM | GPCI_COMMAND_NOINTX | (on ? GPCI_COMMAND_MASTER : 0));
}

/* read() and write() calls of the device model so far; what the kernel's own thread does is not
 * among them. */
static unsigned long calls(struct tb *t)
{
	unsigned long sum = 0, n;
	char path[64], key[32];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/io", (int)t->g.pid);
	f = fopen(path, "r");
	if (!f)
		skip();
	while (fscanf(f, "%31[^:]: %lu\n", key, &n) == 2)
		if (!strcmp(key, "syscr") || !strcmp(key, "syscw"))
			sum += n;
	fclose(f);
	return sum;
}

/* Send MANY frames with one bell; the system calls that took. */
static unsigned long burst(struct tb *t, int fd)
{
	struct gvq *q = &t->net.tx[0];
	uint64_t at = guest_alloc(&t->g, 4096, 4096);
	struct gseg s = {at, GNET_HDR + 100};
	unsigned long before = calls(t);
	uint8_t in[2000];

	make_frame((uint8_t *)guest_ptr(&t->g, at, 4096) + GNET_HDR, 100, host, 1);
	q->no_interrupts = true;
	for (unsigned i = 0; i < MANY; i++)
		assert_true(gvq_add(q, &s, 1, 0, NULL) >= 0);
	gvq_kick(q);
	for (unsigned i = 0; i < MANY; i++)
		gvq_wait(q, NULL);
	q->no_interrupts = false;
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(recv(fd, in, sizeof(in), 0), 100);
	return calls(t) - before;
}

/* Does the kernel serve the queues? By itself it may take a moment to take them back. */
static bool by_kernel(struct tb *t, int fd)
{
	return burst(t, fd) < MANY / 4;
}

/* --- the kernel does it --- */

static void counts(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");
	unsigned long n;

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	n = burst(t, fd);
	print_message("%.2f read and write calls per frame\n", (double)n / MANY);
	assert_true(n <= MANY / 10);
	both_ways(t, fd);
	close(fd);
	tb_stop(t);
}

static void without_events(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC & ~(GV_F_EVENT_IDX | GV_F_INDIRECT));
	both_ways(t, fd);
	assert_true(by_kernel(t, fd));
	close(fd);
	tb_stop(t);
}

static void without_header(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, ",vnet_hdr=off", "");

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	both_ways(t, fd);
	assert_true(by_kernel(t, fd));
	close(fd);
	tb_stop(t);
}

/* Vectors are masked as ever, and none is lost. */
static void masked(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");
	uint8_t frame[100];
	unsigned v;

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	assert_true(to_guest(t, fd, 1, GUEST_WAIT_MS));
	v = t->net.rx[0].vector;
	gpci_msix_mask(&t->net.v.pci, v, true);
	gvq_interrupts_on(&t->net.rx[0]);
	while (gpci_msix_take(&t->net.v.pci, v))
		;
	make_frame(frame, sizeof(frame), own, 2);
	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	assert_true(guest_wait(&t->g, gpci_msix_pending(&t->net.v.pci, v)));
	assert_false(gpci_msix_take(&t->net.v.pci, v));
	gpci_msix_mask(&t->net.v.pci, v, false);
	assert_true(guest_wait(&t->g, gpci_msix_take(&t->net.v.pci, v)));
	close(fd);
	tb_stop(t);
}

/* --- it stops --- */

/* What comes from now on must not reach the buffers that the driver once gave. */
static void reset_stops(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");
	uint8_t *at, frame[1000];

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	both_ways(t, fd);
	gv_reset(&t->net.v);
	at = guest_ptr(&t->g, t->net.rx_at[0], (uint64_t)t->net.rx[0].size * RX_ROOM);
	memset(at, 0xaa, (size_t)t->net.rx[0].size * RX_ROOM);
	make_frame(frame, sizeof(frame), own, 3);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	gv_status(&t->net.v);
	for (size_t i = 0; i < (size_t)t->net.rx[0].size * RX_ROOM; i++)
		assert_int_equal(at[i], 0xaa);
	/* The tap has kept them for the next driver, as it does without vhost. */
	gnet_restart(&t->net, 1, BASIC);
	to_host(t, fd, 4);
	assert_true(by_kernel(t, fd));
	close(fd);
	tb_stop(t);
}

static void queue_reset(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");
	struct gvirtio *v = &t->net.v;

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	both_ways(t, fd);
	gv_common_set(v, GV_QSELECT, 2, 1);
	gv_common_set(v, GV_QRESET, 2, 1);
	assert_int_equal(gv_common(v, GV_QRESET, 2), 0);
	assert_int_equal(gv_common(v, GV_QENABLE, 2), 0);
	assert_true(to_guest(t, fd, 5, GUEST_WAIT_MS));
	gvq_setup(v, &t->net.tx[0], 1, 0);
	both_ways(t, fd);
	assert_true(by_kernel(t, fd));
	close(fd);
	tb_stop(t);
}

static void no_mastering(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");
	uint8_t frame[1000];
	uint16_t used;

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	both_ways(t, fd);
	master(t, false);
	used = gvq_used_idx(&t->net.rx[0]);
	make_frame(frame, sizeof(frame), own, 6);
	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(gv_status(&t->net.v) & GV_NEEDS_RESET, 0);
	assert_int_equal(gvq_used_idx(&t->net.rx[0]), used);
	master(t, true);
	assert_true(guest_wait(&t->g, gvq_used_idx(&t->net.rx[0]) != used));
	to_host(t, fd, 7);
	assert_true(by_kernel(t, fd));
	close(fd);
	tb_stop(t);
}

static void paused(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");
	uint8_t frame[1000];
	uint16_t used;

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	both_ways(t, fd);
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	used = gvq_used_idx(&t->net.rx[0]);
	make_frame(frame, sizeof(frame), own, 8);
	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	gv_status(&t->net.v);
	assert_int_equal(gvq_used_idx(&t->net.rx[0]), used);
	tb_qmp_ok(t, "{\"execute\": \"cont\"}");
	assert_true(guest_wait(&t->g, gvq_used_idx(&t->net.rx[0]) != used));
	to_host(t, fd, 9);
	assert_true(by_kernel(t, fd));
	close(fd);
	tb_stop(t);
}

static void link_down(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");
	uint8_t frame[1000], in[2000];

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	both_ways(t, fd);
	tb_qmp_ok(t, "{\"execute\": \"set_link\", \"arguments\": {\"name\": \"nic0\", \"up\": "
		     "false}}");
	make_frame(frame, sizeof(frame), host, 10);
	gnet_send(&t->net, 0, NULL, frame, sizeof(frame));
	assert_int_equal(recv(fd, in, sizeof(in), MSG_DONTWAIT), -1);
	tb_qmp_ok(t, "{\"execute\": \"set_link\", \"arguments\": {\"name\": \"nic0\", \"up\": "
		     "true}}");
	both_ways(t, fd);
	assert_true(by_kernel(t, fd));
	close(fd);
	tb_stop(t);
}

/* --- a hostile driver --- */

static void again(struct tb *t, int fd)
{
	gnet_restart(&t->net, 1, BASIC);
	both_ways(t, fd);
	assert_true(by_kernel(t, fd));
}

/* The kernel gives up, the core judges: done with, nothing sent; then the kernel has it again. */
static void outside_ram(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");
	struct gseg s[2] = {{GUEST_ECAM_BASE, 100}, {UINT64_MAX - 4096, 1000}};

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	for (unsigned i = 0; i < ARRAY_SIZE(s); i++) {
		assert_true(gvq_add(&t->net.tx[0], &s[i], 1, 0, NULL) >= 0);
		gvq_kick(&t->net.tx[0]);
		assert_int_equal(gvq_wait(&t->net.tx[0], NULL), 0);
	}
	both_ways(t, fd);
	assert_false(gv_needs_reset(&t->net.v));
	assert_true(guest_wait(&t->g, by_kernel(t, fd)));
	again(t, fd);
	close(fd);
	tb_stop(t);
}

static void rx_outside_ram(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");
	struct gvq *q = &t->net.rx[0];
	uint8_t frame[1000];

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	for (unsigned i = 0; i < q->size; i++)
		q->desc[i].addr = GUEST_ECAM_BASE + i * 4096;
	make_frame(frame, sizeof(frame), own, 11);
	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	/* Every buffer comes back empty, but those that the kernel had filled before. */
	assert_true(guest_wait(&t->g, gvq_used_idx(q) == q->size));
	assert_int_equal(gvq_used(q, (uint16_t)(q->size - 1))->len, 0);
	assert_false(gv_needs_reset(&t->net.v));
	/* The tap has kept it for the next driver. */
	gnet_restart(&t->net, 1, BASIC);
	assert_true(from_tap(t, frame, sizeof(frame), GUEST_WAIT_MS));
	both_ways(t, fd);
	assert_true(by_kernel(t, fd));
	close(fd);
	tb_stop(t);
}

static void broken_ring(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", "");
	struct gvq *q = &t->net.tx[0];

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	/* A loop. */
	gvq_desc(q, 0, t->net.tx_at, 100, GV_DESC_NEXT, 1);
	gvq_desc(q, 1, t->net.tx_at, 100, GV_DESC_NEXT, 0);
	gvq_push_head(q, 0);
	gvq_publish(q, 1);
	gvq_ring(q);
	assert_true(gv_wait_broken(&t->net.v));
	again(t, fd);
	/* An index out of reach. */
	gvq_publish(q, (uint16_t)(gvq_used_idx(q) + 5000));
	gvq_ring(q);
	assert_true(gv_wait_broken(&t->net.v));
	again(t, fd);
	/* A head that is none. */
	gvq_push_head(q, 60000);
	gvq_publish(q, (uint16_t)(gvq_used_idx(q) + 1));
	gvq_ring(q);
	assert_true(gv_wait_broken(&t->net.v));
	again(t, fd);
	close(fd);
	tb_stop(t);
}

/* --- without --- */

static void other_ring(void **state)
{
	struct tb *t = *state;
	int fd = tap(t, "", ",packed=on");

	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC | GV_F_PACKED);
	both_ways(t, fd);
	close(fd);
	tb_stop(t);
}

static void falls_back(void **state)
{
	struct tb *t = *state;
	int null = open("/dev/null", O_RDWR), fd;
	char netdev[64], *log;

	tb_skip_qemu("another text");
	t->config.keep_fds[0] = null;
	snprintf(netdev, sizeof(netdev), ",vhost=on,vhostfd=%d", null);
	fd = tap_only(t, netdev, "");
	gnet_open(&t->g, &t->net, 0, 1, RX_ROOM, BASIC);
	both_ways(t, fd);
	log = guest_log(&t->g);
	assert_non_null(strstr(log, "netdev 'n0' without vhost, frames are moved in user space"));
	free(log);
	close(fd);
	close(null);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(counts),       tb_test(without_events), tb_test(without_header),
		tb_test(masked),       tb_test(reset_stops),	tb_test(queue_reset),
		tb_test(no_mastering), tb_test(paused),		tb_test(link_down),
		tb_test(outside_ram),  tb_test(rx_outside_ram), tb_test(broken_ring),
		tb_test(other_ring),   tb_test(falls_back),
	};

	no_tap = own_net(false);
	if (access("/dev/vhost-net", R_OK | W_OK) < 0)
		no_vhost = "needs /dev/vhost-net";
	return tb_run("vhost", tests);
}
