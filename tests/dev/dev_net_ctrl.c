/* SPDX-License-Identifier: MIT */
/* dev_net_ctrl.c - the control queue of virtio-net: the link, and what the driver is told of it */
#include <errno.h>

#include "cable.h"

/* --- control queue --- */

static void receive_modes(void **state)
{
	static const uint8_t other[6] = {0x52, 0x54, 0, 9, 9, 9}, group[6] = {1, 0, 0x5e, 0, 0, 1};
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct tb *t = *state;
	const uint8_t on = 1, off = 0;
	uint8_t to_other[80], to_group[80], to_all[80], in[2048];
	struct gnet_hdr h;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;

	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	cable_frame(to_other, 80, other, 1);
	cable_frame(to_group, 80, group, 2);
	cable_frame(to_all, 80, all, 3);
	assert_int_equal(send(fd, to_other, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 0, &off, 1), OK); /* promiscuous no more */
	cable_lost(t, fd, to_other, 80);
	cable_lost(t, fd, to_group, 80);
	assert_int_equal(send(fd, to_all, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 1, &on, 1), OK); /* all multicast */
	assert_int_equal(send(fd, to_group, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 5, &on, 1), OK); /* no broadcast */
	cable_lost(t, fd, to_all, 80);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 2, &on, 1), OK); /* all unicast */
	assert_int_equal(send(fd, to_other, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	close(fd);
	tb_stop(t);
}

/* The lists of MAC_TABLE_SET, `uni` and `multi` addresses long. */
static uint8_t set_table(struct gnet *n, unsigned uni, unsigned multi, const uint8_t *first)
{
	uint8_t data[4000] = {0};
	unsigned len = 8 + 6 * (uni + multi);

	put_le32(data, uni);
	put_le32(data + 4 + 6 * uni, multi);
	if (uni)
		memcpy(data + 4, first, 6);
	else if (multi)
		memcpy(data + 8, first, 6);
	return gnet_ctrl(n, CLASS_MAC, 0, data, len);
}

static void mac_table(void **state)
{
	static const uint8_t other[6] = {0x52, 0x54, 0, 9, 9, 9}, group[6] = {1, 0, 0x5e, 0, 0, 1};
	static const uint8_t renamed[6] = {0x52, 0x54, 0, 7, 7, 7};
	struct tb *t = *state;
	const uint8_t off = 0;
	uint8_t to_other[80], to_group[80], in[2048], data[64] = {0};
	struct gnet_hdr h;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;

	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	cable_frame(to_other, 80, other, 1);
	cable_frame(to_group, 80, group, 2);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 0, &off, 1), OK);
	assert_int_equal(set_table(n, 1, 0, other), OK);
	assert_int_equal(send(fd, to_other, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	cable_lost(t, fd, to_group, 80);
	assert_int_equal(set_table(n, 0, 1, group), OK);
	cable_lost(t, fd, to_other, 80);
	assert_int_equal(send(fd, to_group, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	/* More than the table holds: all of that kind. */
	assert_int_equal(set_table(n, 65, 0, cable_mac), OK);
	assert_int_equal(send(fd, to_other, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	cable_lost(t, fd, to_group, 80);
	assert_int_equal(set_table(n, 60, 5, cable_mac), OK);
	assert_int_equal(send(fd, to_group, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	cable_lost(t, fd, to_other, 80);

	/* Lists that lie change nothing. */
	put_le32(data, 0xffffffff);
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 0, data, sizeof(data)), REFUSED);
	put_le32(data, 0x2aaaaaab); /* times 6 wraps in 32 bits */
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 0, data, sizeof(data)), REFUSED);
	put_le32(data, 0);
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 0, data, 4), REFUSED);
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 0, data, 9), REFUSED);
	cable_lost(t, fd, to_other, 80);

	/* The card's cable_mac address. */
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 1, renamed, 5), REFUSED);
	assert_int_equal(gnet_ctrl(n, CLASS_MAC, 1, renamed, 6), OK);
	assert_int_equal(gv_config(&n->v, 5, 1), 7);
	cable_frame(to_other, 80, renamed, 1);
	assert_int_equal(send(fd, to_other, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	gnet_restart(n, 1, WITH_CTRL);
	assert_int_equal(gv_config(&n->v, 5, 1), cable_mac[5]);
	cable_exchange(t, fd, 100, 1);
	close(fd);
	tb_stop(t);
}

static void vlan_filter(void **state)
{
	struct tb *t = *state;
	const uint8_t off = 0;
	uint8_t tagged[80], in[2048], id[2];
	struct gnet_hdr h;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;

	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	assert_int_equal(gnet_ctrl(n, CLASS_RX, 0, &off, 1), OK);
	cable_frame(tagged, 80, cable_mac, 1);
	tagged[12] = 0x81;
	tagged[13] = 0;
	tagged[14] = 0x6f;
	tagged[15] = 0xff;
	cable_lost(t, fd, tagged, 80);
	put_le16(id, 4095);
	assert_int_equal(gnet_ctrl(n, CLASS_VLAN, 0, id, 2), OK);
	assert_int_equal(send(fd, tagged, 80, 0), 80);
	assert_int_equal(gnet_recv(n, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 80);
	assert_int_equal(gnet_ctrl(n, CLASS_VLAN, 1, id, 2), OK);
	cable_lost(t, fd, tagged, 80);
	put_le16(id, 4096);
	assert_int_equal(gnet_ctrl(n, CLASS_VLAN, 0, id, 2), REFUSED);
	close(fd);
	tb_stop(t);
}

static void bad_commands(void **state)
{
	static const struct {
		uint8_t class, cmd;
		unsigned len;
	} bad[] = {
		{CLASS_RX, 0, 0},	{CLASS_RX, 0, 2},
		{CLASS_RX, 6, 1},	{CLASS_MAC, 2, 6},
		{CLASS_VLAN, 2, 2},	{CLASS_VLAN, 0, 1},
		{CLASS_ANNOUNCE, 0, 0}, {CLASS_MQ, 0, 2},
		{CLASS_OFFLOADS, 0, 8}, {6, 0, 1},
		{255, 255, 1},
	};
	struct tb *t = *state;
	const uint8_t data[16] = {1};
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;
	struct gseg s;

	tb_skip_qemu("it breaks on some of them");
	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(gnet_ctrl(n, bad[i].class, bad[i].cmd, data, bad[i].len), REFUSED);
	/* No room for an answer; only room for an answer; one byte of a command. */
	s = (struct gseg){n->ctrl_at, 2};
	assert_true(gvq_add(&n->ctrl, &s, 1, 0, NULL) >= 0);
	gvq_kick(&n->ctrl);
	assert_int_equal(gvq_wait(&n->ctrl, NULL), 0);
	s.len = 1;
	assert_true(gvq_add(&n->ctrl, &s, 0, 1, NULL) >= 0);
	gvq_kick(&n->ctrl);
	assert_int_equal(gvq_wait(&n->ctrl, NULL), 1);
	assert_int_equal(*(uint8_t *)guest_ptr(&t->g, n->ctrl_at, 1), REFUSED);
	cable_exchange(t, fd, 100, 1);
	close(fd);
	tb_stop(t);
}

/* --- link --- */

static void link_state(void **state)
{
	struct tb *t = *state;
	uint8_t frame[100];
	int fd = cable(t, SOCK_DGRAM, "");
	unsigned generation;

	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	cable_exchange(t, fd, 100, 1);
	generation = gv_common(&t->net.v, GV_GENERATION, 1);
	tb_qmp_ok(
		t,
		"{\"execute\": \"set_link\", \"arguments\": {\"name\": \"nic0\", \"up\": false}}");
	assert_int_equal(gv_config(&t->net.v, 6, 2), 0);
	assert_int_not_equal(gv_common(&t->net.v, GV_GENERATION, 1), generation);
	/* Both ways frames are lost, buffers are not. */
	cable_frame(frame, sizeof(frame), cable_mac, 2);
	gnet_send(&t->net, 0, NULL, frame, sizeof(frame));
	assert_int_equal(recv(fd, frame, sizeof(frame), MSG_DONTWAIT), -1);
	tb_qmp_ok(t,
		  "{\"execute\": \"set_link\", \"arguments\": {\"name\": \"n0\", \"up\": true}}");
	assert_int_equal(gv_config(&t->net.v, 6, 2), 1);
	cable_exchange(t, fd, 100, 3);
	close(fd);
	tb_stop(t);
}

static void announcement(void **state)
{
	static const char command[] =
		"{\"execute\": \"announce-self\", \"arguments\": {\"initial\": 50, \"max\": 550, "
		"\"rounds\": 1, \"step\": 50}}";
	const uint64_t want = WITH_CTRL | GNET_F_ANNOUNCE;
	struct tb *t = *state;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;

	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	tb_qmp_ok(t, command); /* this driver would not know what is meant */
	assert_int_equal(gv_config(&n->v, 6, 2), 1);
	gnet_restart(n, 1, want);
	tb_qmp_ok(t, command);
	assert_true(guest_wait(&t->g, gv_config(&n->v, 6, 2) == 3));
	assert_int_equal(gnet_ctrl(n, CLASS_ANNOUNCE, 0, NULL, 0), OK);
	assert_int_equal(gv_config(&n->v, 6, 2), 1);
	assert_int_equal(gnet_ctrl(n, CLASS_ANNOUNCE, 0, NULL, 0), REFUSED);
	close(fd);
	tb_stop(t);
}

static bool filter_is(struct tb *t, const char *key, const char *value)
{
	json_t *all = tb_qmp(
		t, "{\"execute\": \"query-rx-filter\", \"arguments\": {\"name\": \"nic0\"}}");
	const char *s = json_string_value(json_object_get(json_array_get(all, 0), key));
	bool same = s && !strcmp(s, value);

	json_decref(all);
	return same;
}

/* The event comes, and again only after somebody has looked. */
static void filter_event(void **state)
{
	struct tb *t = *state;
	int fd = cable(t, SOCK_DGRAM, "");
	struct gnet *n = &t->net;
	const uint8_t mac[6] = {0x52, 0x54, 0, 7, 7, 7}, on = 1;

	gnet_open(&t->g, n, 0, 1, 2048, WITH_CTRL);
	assert_true(filter_is(t, "main-mac", "52:54:00:12:34:56"));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(gnet_ctrl(n, CLASS_MAC, 1, mac, 6), OK);
		assert_int_equal(gnet_ctrl(n, CLASS_RX, 1, &on, 1), OK);
		tb_qmp_event(t, "NIC_RX_FILTER_CHANGED");
		assert_true(filter_is(t, "main-mac", "52:54:00:07:07:07"));
	}
	assert_true(filter_is(t, "multicast", "all"));
	close(fd);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(receive_modes), tb_test(mac_table),  tb_test(vlan_filter),
		tb_test(bad_commands),	tb_test(link_state), tb_test(announcement),
		tb_test(filter_event),
	};

	return tb_run("net_ctrl", tests);
}
