/* SPDX-License-Identifier: MIT */
/* unit_net_filter.c - which frames pass the receive filter */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "dev/net_filter.h"

static const uint8_t own[6] = {0x52, 0x54, 0, 1, 2, 3};
static const uint8_t other[6] = {0x52, 0x54, 0, 1, 2, 4};
static const uint8_t group[6] = {0x33, 0x33, 0, 0, 0, 1};
static const uint8_t everyone[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* A frame to `mac`, tagged with `vlan` unless that is negative. */
static bool pass(const struct net_filter *f, const uint8_t *mac, int vlan)
{
	uint8_t frame[NET_FILTER_PEEK] = {0};

	memcpy(frame, mac, 6);
	if (vlan >= 0) {
		frame[12] = 0x81;
		frame[14] = (uint8_t)(0xe0 | vlan >> 8); /* priority bits do not matter */
		frame[15] = (uint8_t)vlan;
	} else {
		frame[12] = 0x08;
	}
	return net_filter_pass(f, frame, sizeof(frame));
}

static struct net_filter fresh(void)
{
	struct net_filter f;

	net_filter_reset(&f, own);
	f.promisc = false;
	return f;
}

static void everything_after_reset(void **state)
{
	struct net_filter f;

	memset(&f, 0xff, sizeof(f));
	net_filter_reset(&f, own);
	assert_true(pass(&f, own, -1));
	assert_true(pass(&f, other, 5));
	assert_true(pass(&f, group, -1));
	assert_true(pass(&f, everyone, -1));
}

static void own_address_only(void **state)
{
	struct net_filter f = fresh();

	assert_true(pass(&f, own, -1));
	assert_false(pass(&f, other, -1));
	assert_false(pass(&f, group, -1));
	assert_true(pass(&f, everyone, -1));
}

static void modes(void **state)
{
	struct net_filter f = fresh();

	f.allmulti = true;
	assert_true(pass(&f, group, -1));
	assert_false(pass(&f, other, -1));
	f.nomulti = true; /* "no" wins over "all" */
	assert_false(pass(&f, group, -1));
	f.alluni = true;
	assert_true(pass(&f, other, -1));
	f.nouni = true;
	assert_false(pass(&f, other, -1));
	assert_false(pass(&f, own, -1));
	f.nobcast = true;
	assert_false(pass(&f, everyone, -1));
	f.promisc = true; /* and promiscuous over everything */
	assert_true(pass(&f, everyone, -1));
	assert_true(pass(&f, own, -1));
}

static void table(void **state)
{
	struct net_filter f = fresh();

	memcpy(f.table[0], other, 6);
	memcpy(f.table[1], group, 6);
	f.uni = f.multi = 1;
	assert_true(pass(&f, other, -1));
	assert_true(pass(&f, group, -1));
	/* An entry counts only for its own kind, and only while it is counted. */
	f.uni = 2;
	f.multi = 0;
	assert_false(pass(&f, group, -1));
	f.uni = 0;
	assert_false(pass(&f, other, -1));
}

static void overflow_means_all(void **state)
{
	struct net_filter f = fresh();

	f.uni_overflow = true;
	assert_true(pass(&f, other, -1));
	assert_false(pass(&f, group, -1));
	f.uni_overflow = false;
	f.multi_overflow = true;
	assert_false(pass(&f, other, -1));
	assert_true(pass(&f, group, -1));
}

static void vlans(void **state)
{
	struct net_filter f = fresh();

	memset(f.vlans, 0, sizeof(f.vlans));
	assert_true(pass(&f, own, -1));
	assert_false(pass(&f, own, 0));
	assert_false(pass(&f, own, 4095));
	f.vlans[4095 / 32] |= 1U << 31;
	f.vlans[0] |= 1;
	assert_true(pass(&f, own, 0));
	assert_true(pass(&f, own, 4095));
	assert_false(pass(&f, own, 1));
	assert_false(pass(&f, other, 0));
}

static void short_frames(void **state)
{
	struct net_filter f = fresh();
	uint8_t frame[NET_FILTER_PEEK] = {0};

	memcpy(frame, own, 6);
	frame[12] = 0x81;
	memset(f.vlans, 0, sizeof(f.vlans));
	for (size_t len = 0; len < 14; len++)
		assert_false(net_filter_pass(&f, frame, len));
	/* Too short for a tag, so it has none. */
	assert_true(net_filter_pass(&f, frame, 17));
	assert_false(net_filter_pass(&f, frame, 18));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_after_reset),
		cmocka_unit_test(own_address_only),
		cmocka_unit_test(modes),
		cmocka_unit_test(table),
		cmocka_unit_test(overflow_means_all),
		cmocka_unit_test(vlans),
		cmocka_unit_test(short_frames),
	};

	return cmocka_run_group_tests_name("net_filter", tests, NULL, NULL);
}
