/* SPDX-License-Identifier: MIT */
/* cable.c - see cable.h */
#include "cable.h"

#include <fcntl.h>

const uint8_t cable_mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

int cable(struct tb *t, int type, const char *props)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, type, 0, sv), 0);
	fcntl(sv[1], F_SETFD, FD_CLOEXEC);
	t->config.keep_fds[0] = sv[0];
	tb_arg(t, "-netdev");
	if (type == SOCK_STREAM)
		tb_arg(t, "stream,id=n0,addr.type=fd,addr.str=%d", sv[0]);
	else
		tb_arg(t, "dgram,id=n0,local.type=fd,local.str=%d", sv[0]);
	tb_device(t, "virtio-net-pci,netdev=n0,id=nic0%s", props);
	tb_start(t);
	close(sv[0]);
	return sv[1];
}

void cable_frame(uint8_t *f, size_t len, const uint8_t to[6], uint32_t seed)
{
	tb_pattern(f, len, seed);
	memcpy(f, to, 6);
	memcpy(f + 6, "\x02\0\0\0\0\1", 6);
	f[12] = CABLE_TYPE >> 8;
	f[13] = CABLE_TYPE & 0xff;
}

void cable_exchange(struct tb *t, int fd, unsigned len, uint32_t seed)
{
	static uint8_t out[65536], in[65536];
	struct gnet_hdr h;

	cable_frame(out, len, cable_mac, seed);
	assert_int_equal(send(fd, out, len, 0), len);
	memset(&h, 0xee, sizeof(h));
	assert_int_equal(gnet_recv(&t->net, 0, &h, in, sizeof(in), GUEST_WAIT_MS), len);
	assert_memory_equal(in, out, len);
	assert_int_equal(h.flags, 0);
	assert_int_equal(h.gso_type, 0);
	assert_int_equal(h.num_buffers, (len + GNET_HDR + t->net.rx_len - 1) / t->net.rx_len);

	cable_frame(out, len, (const uint8_t[6]){2, 0, 0, 0, 0, 1}, seed + 1);
	gnet_send(&t->net, 0, NULL, out, len);
	assert_int_equal(recv(fd, in, sizeof(in), 0), len);
	assert_memory_equal(in, out, len);
}

void cable_lost(struct tb *t, int fd, const uint8_t *frame, unsigned len)
{
	assert_int_equal(send(fd, frame, len, 0), len);
	cable_exchange(t, fd, 64, len);
}
