/* SPDX-License-Identifier: MIT */
/* dev_battery_state.c - registers, status, resets and bells misused, on every device
 *
 * dev_transport.c says in detail what each register does, with a disk; here every device is driven
 * through the states in which it might not expect to be. BATTERY_RESETS=100000 in the environment
 * resets it so often instead of ten thousand times.
 */
#include "battery.h"

/* --- queue registers --- */

static void queue_size(void **state)
{
	static const uint16_t bad[] = {0, 3, 1025, 2048, 32768, 65535};
	struct tb *t = *state;
	struct gvirtio *v = &bat.v;

	bat_begin(t);
	for (unsigned n = 0; n < bat.queues; n++) {
		unsigned max;

		gv_negotiate(v, BAT_ALL);
		gv_common_set(v, GV_QSELECT, 2, n);
		max = gv_common(v, GV_QSIZE, 2);
		assert_in_range(max, BAT_SIZE, 1024);
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
			gv_common_set(v, GV_QSIZE, 2, bad[i]);
			/* A packed ring may have any size but 0. */
			if (bad[i] != 3 || !ring_packed())
				assert_int_equal(gv_common(v, GV_QSIZE, 2), max);
			gv_common_set(v, GV_QSIZE, 2, max);
		}
		gv_common_set(v, GV_QENABLE, 2, 1); /* rings at address 0 */
		gv_start(v);
		guest_store(&t->g, bat.q[n].doorbell, 2, n);
		bat_again(t);
	}
	bat_end(t);
}

static void layout_after_enable(void **state)
{
	static const unsigned reg[] = {GV_QSIZE, GV_QDESC, GV_QAVAIL, GV_QUSED};
	struct tb *t = *state;
	struct gvirtio *v = &bat.v;

	bat_begin(t);
	for (unsigned n = 0; n < bat.queues; n++) {
		gv_common_set(v, GV_QSELECT, 2, n);
		for (unsigned i = 0; i < ARRAY_SIZE(reg); i++) {
			unsigned size = reg[i] == GV_QSIZE ? 2 : 8;
			uint64_t was = guest_load(&t->g, v->common + reg[i], size);

			gv_common_set(v, reg[i], size, reg[i] == GV_QSIZE ? 2 : UINT64_MAX);
			gv_common_set(v, reg[i] + 1, 1, 1);
			assert_int_equal(guest_load(&t->g, v->common + reg[i], size), was);
		}
		gv_common_set(v, GV_QENABLE, 2, 0);
		assert_int_equal(gv_common(v, GV_QENABLE, 2), 1);
		gvq_ring(&bat.q[n]);
	}
	assert_int_equal(gv_status(v), 15);
	bat_end(t);
}

static void absent_queues(void **state)
{
	static const uint16_t absent[] = {64, 1023, 1024, 0x7fff, 0xffff};
	struct tb *t = *state;
	struct gvirtio *v = &bat.v;

	bat_begin(t);
	for (unsigned i = 0; i <= ARRAY_SIZE(absent); i++) {
		gv_common_set(v, GV_QSELECT, 2, i < ARRAY_SIZE(absent) ? absent[i] : bat.queues);
		for (unsigned off = GV_QSIZE; off < 64; off += 2)
			gv_common_set(v, off, 2, 1);
		for (unsigned off = GV_QSIZE; off < 64; off += 2)
			assert_int_equal(gv_common(v, off, 2), 0);
	}
	assert_int_equal(gv_status(v), 15);
	bat_end(t);
}

static void enable_misused(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &bat.v;

	bat_begin(t);
	for (unsigned n = 0; n < bat.queues; n++) {
		struct gvq *q = &bat.q[n];

		/* Before FEATURES_OK. */
		gv_reset(v);
		gvq_program(q);
		gv_common_set(v, GV_QENABLE, 2, 1);
		assert_int_equal(gv_common(v, GV_QENABLE, 2), 0);
		/* With values that are not 1. */
		gv_negotiate(v, BAT_ALL);
		gvq_init(v, q, n, BAT_SIZE);
		gvq_program(q);
		gv_common_set(v, GV_QENABLE, 2, 2);
		gv_common_set(v, GV_QENABLE, 2, 0xffff);
		assert_int_equal(gv_common(v, GV_QENABLE, 2), 0);
		/* The last moment, and later. */
		gv_start(v);
		gv_common_set(v, GV_QENABLE, 2, 1);
		assert_int_equal(gv_common(v, GV_QENABLE, 2), 1);
		gvq_ring(q);
		bat_again(t);
	}
	bat_end(t);
}

/* --- bells --- */

static void bells(void **state)
{
	struct tb *t = *state;
	struct guest *g = &t->g;
	struct gvirtio *v = &bat.v;

	bat_begin(t);
	for (unsigned i = 0; i < v->notify_len; i += 62)
		for (unsigned size = 1; size <= 8; size *= 2)
			guest_store_async(g, v->notify + i, size, 0xffff);
	guest_sync(g);
	bat_alive(t);
	/* In each state on the way to DRIVER_OK. */
	for (unsigned step = 0; step < 4; step++) {
		gv_reset(v);
		if (step >= 1)
			gv_negotiate(v, BAT_ALL);
		if (step >= 2)
			gvq_setup(v, &bat.q[0], 0, BAT_SIZE);
		if (step >= 3)
			gv_start(v);
		for (unsigned i = 0; i < 1000; i++)
			guest_store_async(g, v->notify + v->notify_mult * (i % (bat.queues + 1)), 2,
					  i % (bat.queues + 1));
		guest_sync(g);
		bat_alive(t);
	}
	bat_end(t);
}

/* --- negotiation --- */

static bool accepted(uint64_t bits)
{
	gv_reset(&bat.v);
	gv_set_status(&bat.v, GV_ACKNOWLEDGE | GV_DRIVER);
	gv_write_features(&bat.v, bits);
	gv_set_status(&bat.v, GV_ACKNOWLEDGE | GV_DRIVER | GV_FEATURES_OK);
	return gv_status(&bat.v) & GV_FEATURES_OK;
}

static void features(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &bat.v;
	uint64_t offered;

	bat_begin(t);
	offered = gv_offered(v);
	assert_true(offered & GV_F_VERSION_1);
	assert_true(accepted(offered));
	assert_false(accepted(offered & ~GV_F_VERSION_1));
	for (unsigned bit = 0; bit < 64; bit++)
		if (!(offered >> bit & 1)) {
			assert_false(accepted(GV_F_VERSION_1 | 1ULL << bit));
			assert_false(accepted(offered | 1ULL << bit));
		}
	/* Any single one beside the ring's: a device must not rely on bits that go together. */
	for (unsigned bit = 0; bit < 64; bit++)
		if (offered >> bit & 1 &&
		    accepted(GV_F_VERSION_1 | layout->features | 1ULL << bit)) {
			v->features = GV_F_VERSION_1 | layout->features | 1ULL << bit;
			t->g.next_low = bat.low;
			for (unsigned n = 0; n < bat.queues; n++)
				gvq_setup(v, &bat.q[n], n, BAT_SIZE);
			gv_start(v);
			for (unsigned n = 0; n < bat.queues; n++) {
				struct raw r = raw_chain(t);

				raw_post_to(&bat.q[n], &r);
			}
			bat_alive(t);
		}
	/* Sealed after FEATURES_OK. */
	assert_true(accepted(offered));
	gv_write_features(v, 0);
	gv_common_set(v, GV_GFSELECT, 4, 1);
	assert_int_equal(gv_common(v, GV_GF, 4), offered >> 32);
	bat_end(t);
}

/* --- status and resets --- */

static void status(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &bat.v;

	bat_begin(t);
	for (unsigned i = 0; i < 256; i++) {
		gv_reset(v);
		gv_set_status(v, (uint8_t)i);
		gv_set_status(v, (uint8_t)~i);
		assert_int_equal(gv_status(v) & 0x60, 0);
		gv_set_status(v, 0xff);
		gvq_ring(&bat.q[i % bat.queues]);
	}
	gv_reset(v);
	gv_set_status(v, GV_ACKNOWLEDGE | GV_DRIVER | GV_DRIVER_OK);
	assert_int_equal(gv_status(v) & GV_DRIVER_OK, 0);
	bat_end(t);
}

static void many_resets(void **state)
{
	const char *wanted = getenv("BATTERY_RESETS");
	unsigned resets = wanted ? (unsigned)atoi(wanted) : 10000, before = 0;
	struct tb *t = *state;

	bat_begin(t);
	for (unsigned i = 0; i < resets; i++) {
		if (i == resets / 10)
			before = tb_anonymous_kb(t);
		if (i % 100 == 0)
			bat_set_up(t, BAT_ALL);
		else if (i % 2)
			guest_store_async(&t->g, bat.v.common + GV_STATUS, 1, i & 15);
		guest_store_async(&t->g, bat.v.common + GV_STATUS, 1, 0);
	}
	assert_true(guest_wait(&t->g, !gv_status(&bat.v)));
	if (!TB_SANITIZED)
		assert_in_range(tb_anonymous_kb(t), 1, before + 128);
	bat_end(t);
}

/* Reset the device in one of three ways, and see that it is over. */
static void reset_by(struct tb *t, unsigned how)
{
	unsigned express = gpci_cap(&bat.v.pci, GPCI_CAP_EXPRESS, 0);
	struct gpci *p = &bat.v.pci;

	switch (how) {
	case 0:
		gv_reset(&bat.v);
		break;
	case 1:
		for (unsigned n = 0; n < bat.queues; n++) {
			gv_common_set(&bat.v, GV_QSELECT, 2, n);
			gv_common_set(&bat.v, GV_QRESET, 2, 1);
			assert_true(guest_wait(&t->g, !gv_common(&bat.v, GV_QRESET, 2)));
			assert_int_equal(gv_common(&bat.v, GV_QENABLE, 2), 0);
		}
		break;
	case 2:
		gpci_cfg_set(p, express + 8, 2, gpci_cfg(p, express + 8, 2) | 0x8000);
		for (unsigned n = 0; n < 6; n++)
			if (p->bar[n].size)
				gpci_move_bar(p, n, p->bar[n].addr);
		gpci_cfg_set(p, GPCI_COMMAND, 2, GPCI_COMMAND_MEM | GPCI_COMMAND_MASTER);
		assert_true(guest_wait(&t->g, !gv_status(&bat.v)));
		break;
	}
}

/* After a reset has been reported, nothing of what was in flight touches memory. */
static void in_flight(void **state)
{
	struct tb *t = *state;
	uint8_t *ram;
	uint64_t len;

	bat_begin(t);
	for (unsigned how = 0; how < 3; how++) {
		bat_set_up(t, BAT_ALL);
		for (unsigned n = 0; n < bat.queues; n++) {
			struct gvq *q = &bat.q[n];
			struct raw r = raw_chain(t);

			raw_indirect(t, &r, 0);
			for (unsigned i = 0; i < BAT_SIZE; i++)
				raw_add_to(q, &r);
			if (!ring_packed())
				gvq_publish(q, q->avail_idx);
			gvq_ring(q);
		}
		reset_by(t, how);
		len = t->g.next_low - bat.low;
		ram = guest_ptr(&t->g, bat.low, len);
		memset(ram, 0x5a, len);
		for (unsigned n = 0; n < bat.queues; n++)
			gvq_ring(&bat.q[n]);
		bat_alive(t);
		for (uint64_t i = 0; i < len; i++)
			assert_int_equal(ram[i], 0x5a);
		bat_again(t);
	}
	bat_end(t);
}

/* --- the device's configuration --- */

static void device_config(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &bat.v;

	bat_begin(t);
	if (!v->config) {
		bat_end(t);
		return;
	}
	for (unsigned off = 512; off < v->config_len; off += 8)
		assert_int_equal(gv_config(v, off, 8), 0);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < 128; off++) {
			uint64_t x = gv_config(v, off, size);

			/* An access of any width is its bytes. */
			for (unsigned i = 0; i < size; i++)
				assert_int_equal(gv_config(v, off + i, 1), x >> (8 * i) & 0xff);
			guest_store_async(&t->g, v->config + off, size, UINT64_MAX);
			guest_store_async(&t->g, v->config + off, size, x);
		}
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = v->config_len - 8; off < v->config_len; off++) {
			guest_store_async(&t->g, v->config + off, size, UINT64_MAX);
			guest_load(&t->g, v->config + off, size);
		}
	bat_end(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(queue_size),	tb_test(layout_after_enable),
		tb_test(absent_queues), tb_test(enable_misused),
		tb_test(bells),		tb_test(features),
		tb_test(status),	tb_test(many_resets),
		tb_test(in_flight),	tb_test(device_config),
	};

	return bat_run("battery of states", BAT_BOTH, tests);
}
