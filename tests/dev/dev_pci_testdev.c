/* SPDX-License-Identifier: MIT */
/* dev_pci_testdev.c - pci-testdev: what is counted, and the BAR that is only large */
#include "tb.h"

static struct gpci p;

static void testdev(struct tb *t, const char *props)
{
	tb_device(t, "pci-testdev%s", props);
	tb_start(t);
	assert_true(gpci_find(&t->g, &p, 0x1b36, 0x0005, 0));
	gpci_setup(&p);
}

static uint64_t reg(unsigned off, unsigned size)
{
	return guest_load(p.g, p.bar[0].addr + off, size);
}

static void set(unsigned off, unsigned size, uint64_t value)
{
	guest_store(p.g, p.bar[0].addr + off, size, value);
}

static void works(void)
{
	uint32_t off, data;

	set(0, 1, 0);
	off = (uint32_t)reg(4, 4);
	data = (uint32_t)reg(8, 4);
	assert_int_equal(reg(12, 4), 0);
	for (unsigned i = 0; i < 100; i++)
		set(off, 1, data);
	assert_int_equal(reg(12, 4), 100);
}

/* The header, as QEMU's is laid out. */
static void header(void **state)
{
	static const char *const names[] = {"mmio-no-eventfd", "mmio-wildcard-eventfd",
					    "mmio-datamatch-eventfd"};
	struct tb *t = *state;

	testdev(t, "");
	assert_int_equal(gpci_cfg(&p, 8, 4), 0x00ff0000);
	assert_int_equal(p.bar[0].size, 4096);
	assert_int_equal(p.bar[2].size, 0);
	for (unsigned off = 0; off < 64; off += 4)
		assert_int_equal(reg(off, 4), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		char name[24];

		set(0, 1, i);
		assert_int_equal(reg(0, 1), i);
		assert_int_equal(reg(1, 1), 1);
		for (unsigned k = 0; k < sizeof(name); k++)
			name[k] = (char)reg(16 + k, 1);
		assert_string_equal(name, names[i]);
	}
	works();
	tb_stop(t);
}

/* Counts after: its data, other data, its data in two bytes, its data one byte behind. */
static void counts(void **state)
{
	static const unsigned want[][4] = {{1, 1, 2, 2}, {1, 2, 3, 3}, {1, 1, 1, 1}};
	struct tb *t = *state;

	tb_skip_qemu("its eventfds take some of the writes");
	testdev(t, "");
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		uint32_t off, data;

		set(0, 1, i);
		off = (uint32_t)reg(4, 4);
		data = (uint32_t)reg(8, 4);
		for (unsigned k = 0; k < 4; k++) {
			set(off + (k == 3), k == 2 ? 2 : 1, k == 1 ? data + 1 : data);
			assert_int_equal(reg(12, 4), want[i][k]);
		}
		/* To choose is to begin anew. */
		set(0, 1, i);
		assert_int_equal(reg(12, 4), 0);
	}
	works();
	tb_stop(t);
}

static void membar(void **state)
{
	struct tb *t = *state;

	testdev(t, ",membar=64K");
	assert_int_equal(p.bar[2].size, 64 * KiB);
	assert_true(p.bar[2].is64 && p.bar[2].prefetch);
	guest_store(&t->g, p.bar[2].addr, 8, 0);
	guest_load(&t->g, p.bar[2].addr + 64 * KiB - 8, 8);
	works();
	tb_stop(t);
}

/* Any width anywhere. */
static void hostile(void **state)
{
	struct tb *t = *state;

	testdev(t, "");
	for (unsigned test = 0; test < 256; test += 5) {
		set(0, 1, test);
		for (unsigned size = 1; size <= 8; size *= 2)
			for (unsigned off = 0; off < 48; off++)
				reg(off, size);
		set(4, 4, 0xffffffff);
		set(1, 8, UINT64_MAX);
		set(4095, 1, 0xff);
		set(4092, 8, UINT64_MAX);
	}
	set(0, 4, 0x100); /* no test, whatever its first byte says */
	if (!t->qemu)
		assert_int_equal(reg(16, 4), 0);
	works();
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(header),
		tb_test(counts),
		tb_test(membar),
		tb_test(hostile),
	};

	return tb_run("pci-testdev", tests);
}
