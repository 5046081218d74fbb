/* SPDX-License-Identifier: MIT */
/* dev_netback.c - net back ends behind a whole device: what the guest and the monitor see of them
 *
 * The back ends themselves are tested in tests/unit; here it is that link, events, limits and dumps
 * reach the ends of the program.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tb.h"

#define OFFLOADS                                                                   \
	(GNET_F_CSUM | GNET_F_GUEST_CSUM | GNET_F_GUEST_TSO4 | GNET_F_GUEST_TSO6 | \
	 GNET_F_HOST_TSO4 | GNET_F_HOST_TSO6)
#define BASIC (GV_F_RING | GNET_F_MAC | GNET_F_STATUS | GNET_F_MRG_RXBUF)

static const uint8_t own[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

static void make_frame(uint8_t *f, size_t len, uint32_t seed)
{
	tb_pattern(f, len, seed);
	memcpy(f, own, 6);
	memcpy(f + 6, "\x02\0\0\0\0\1\x88\xb5", 8);
}

static int connect_unix(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(un.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

/* The guest's link is that of the stream's peer, and the monitor hears of it. */
static void stream_link(void **state)
{
	struct tb *t = *state;
	uint8_t out[104] = {0}, in[200];
	struct gnet_hdr h;
	char path[64];

	tb_skip_qemu("QEMU's link does not follow a stream");
	snprintf(path, sizeof(path), "%s/net", t->dir);
	tb_arg(t, "-netdev");
	tb_arg(t, "stream,id=n0,server=on,addr.type=unix,addr.path=%s", path);
	tb_device(t, "virtio-net-pci,netdev=n0,id=nic0");
	tb_start(t);
	tb_qmp_ok(t, "{\"execute\": \"query-status\"}"); /* events come from here on */
	/* A peer comes and goes before there is a driver. */
	close(connect_unix(path));
	tb_qmp_event(t, "NETDEV_STREAM_CONNECTED");
	tb_qmp_event(t, "NETDEV_STREAM_DISCONNECTED");
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	assert_int_equal(gv_config(&t->net.v, 6, 2), 0);
	for (unsigned i = 0; i < 2; i++) {
		int fd = connect_unix(path);
		json_t *data = tb_qmp_event_data(t, "NETDEV_STREAM_CONNECTED");

		assert_string_equal(json_string_value(json_object_get(data, "netdev-id")), "n0");
		assert_string_equal(
			json_string_value(json_object_get(json_object_get(data, "addr"), "type")),
			"unix");
		assert_string_equal(
			json_string_value(json_object_get(json_object_get(data, "addr"), "path")),
			path);
		json_decref(data);
		assert_int_equal(gv_config(&t->net.v, 6, 2), 1);
		out[3] = 100;
		make_frame(out + 4, 100, i);
		assert_int_equal(send(fd, out, sizeof(out), 0), sizeof(out));
		assert_int_equal(gnet_recv(&t->net, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 100);
		assert_memory_equal(in, out + 4, 100);
		gnet_send(&t->net, 0, NULL, out + 4, 100);
		assert_int_equal(recv(fd, in, 104, MSG_WAITALL), 104);
		assert_memory_equal(in, out, 104);
		close(fd);
		data = tb_qmp_event_data(t, "NETDEV_STREAM_DISCONNECTED");
		assert_string_equal(json_string_value(json_object_get(data, "netdev-id")), "n0");
		json_decref(data);
		assert_int_equal(gv_config(&t->net.v, 6, 2), 0);
	}
	tb_stop(t);
}

/* An ARP question to -netdev user, its answer, and both in the dump. */
static void user_and_dump(void **state)
{
	struct tb *t = *state;
	uint8_t f[60] = {0}, in[2000], pcap[500];
	struct gnet_hdr h;
	char path[64];
	ssize_t len;
	int fd;

	if (!dlopen("libslirp.so.0", RTLD_LAZY)) {
		print_message("libslirp is not installed\n");
		skip();
	}
	snprintf(path, sizeof(path), "%s/pcap", t->dir);
	tb_arg(t, "-netdev");
	tb_arg(t, "user,id=n0,ipv6=off");
	tb_arg(t, "-object");
	tb_arg(t, "filter-dump,id=d0,netdev=n0,file=%s", path);
	tb_device(t, "virtio-net-pci,netdev=n0,id=nic0");
	tb_start(t);
	/* Large segments both ways. */
	gv_open(&t->g, &t->net.v, GV_NET, 0);
	assert_int_equal(gv_offered(&t->net.v) & OFFLOADS,
			 t->qemu ? 0
				 : GNET_F_CSUM | GNET_F_GUEST_CSUM | GNET_F_HOST_TSO4 |
					   GNET_F_HOST_TSO6 | GNET_F_GUEST_TSO4 |
					   GNET_F_GUEST_TSO6);
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	memset(f, 0xff, 6);
	memcpy(f + 6, own, 6);
	memcpy(f + 12, "\x08\x06\0\1\x08\0\6\4\0\1", 10);
	memcpy(f + 22, own, 6);
	memcpy(f + 28, "\x0a\0\2\x0f", 4);
	memcpy(f + 38, "\x0a\0\2\2", 4);
	gnet_send(&t->net, 0, NULL, f, sizeof(f));
	assert_int_equal(gnet_recv(&t->net, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 64);
	assert_memory_equal(in, own, 6);
	assert_memory_equal(in + 20, "\0\2", 2);
	assert_memory_equal(in + 28, "\x0a\0\2\2", 4);
	tb_stop(t);
	fd = open(path, O_RDONLY);
	len = read(fd, pcap, sizeof(pcap));
	close(fd);
	assert_int_equal(len, 24 + 16 + 60 + 16 + 64);
	assert_int_equal(get_le32(pcap), 0xa1b2c3d4);
	assert_int_equal(get_le32(pcap + 24 + 12), 60);
	assert_memory_equal(pcap + 24 + 16, f, 60);
	assert_int_equal(get_le32(pcap + 24 + 16 + 60 + 8), 64);
	assert_memory_equal(pcap + 24 + 16 + 60 + 16, in, 64);
	unlink(path);
}

/* Frames beyond the limit wait in the guest's queue, and none is lost. */
static void rate(void **state)
{
	struct tb *t = *state;
	static uint8_t f[1000], in[1000];
	uint64_t begin;
	int sv[2];

	tb_skip_qemu("QEMU has no rate limit");
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	fcntl(sv[1], F_SETFD, FD_CLOEXEC);
	t->config.keep_fds[0] = sv[0];
	tb_arg(t, "-netdev");
	tb_arg(t, "dgram,id=n0,local.type=fd,local.str=%d,rate=100k,rate-burst=4k", sv[0]);
	tb_device(t, "virtio-net-pci,netdev=n0");
	tb_start(t);
	close(sv[0]);
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	begin = now_ns();
	for (unsigned i = 0; i < 24; i++) {
		make_frame(f, sizeof(f), i);
		gnet_send(&t->net, 0, NULL, f, sizeof(f));
		assert_int_equal(recv(sv[1], in, sizeof(in), 0), sizeof(in));
		assert_memory_equal(in, f, sizeof(f));
	}
	/* 24000 bytes, of which 4096 and one frame go at once. */
	assert_true(now_ns() - begin > 150000000);
	close(sv[1]);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(stream_link),
		tb_test(user_and_dump),
		tb_test(rate),
	};

	return tb_run("netback", tests);
}
