/* SPDX-License-Identifier: MIT */
/* unit_layout.c - the memory map: as stated, as the domain has it, as chosen */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "base/util.h"
#include "hv/layout.h"

/* The map of a toolstack that knows the machine. */
static const struct layout_conf patched = {
	.ram_low = {0, 2 * GiB},
	.ram_high = {4 * GiB, 2 * GiB},
	.ecam = {824633720832, 256 * MiB},
	.mmio = {4026531840, 32 * MiB},
	.mmio_high = {824902156288, 64 * GiB},
	.mem = 4 * GiB,
};

static void assert_range(struct hv_range r, uint64_t base, uint64_t size)
{
	assert_int_equal(r.base, base);
	assert_int_equal(r.size, size);
}

static void stated_ram_fills_low_first(void **state)
{
	struct layout_conf c = patched;
	struct hv_range ram[2];

	assert_int_equal(layout_stated_ram(&c, ram, NULL), 2);
	assert_range(ram[0], 0, 2 * GiB);
	assert_range(ram[1], 4 * GiB, 2 * GiB);
	c.mem = 1 * GiB;
	assert_int_equal(layout_stated_ram(&c, ram, NULL), 1);
	assert_range(ram[0], 0, 1 * GiB);
	c.mem = 5 * GiB;
	assert_int_equal(layout_stated_ram(&c, ram, NULL), -EINVAL);
}

static void ram_of_a_stock_guest(void **state)
{
	struct layout_conf c = {.mem = 6 * GiB};
	struct hv_range ram[2];

	assert_int_equal(layout_stated_ram(&c, ram, NULL), 2);
	assert_range(ram[0], 0, 0xfc000000);
	assert_range(ram[1], 4 * GiB, 6 * GiB - 0xfc000000);
	c.mem = 0;
	assert_int_equal(layout_stated_ram(&c, ram, NULL), 0);
}

static void ram_of_a_domain(void **state)
{
	static const struct {
		uint64_t mem, top, low, high;
	} d[] = {
		/* Stock: the highest page of a small one is a special page. */
		{256 * MiB, 0xfefff, 256 * MiB, 0},
		{4032 * MiB, 0xfefff, 4032 * MiB, 0},
		{4 * GiB, 0x103fff, 0xfc000000, 64 * MiB},
		{64 * GiB, 0x1003fff, 0xfc000000, 64 * GiB - 0xfc000000},
		/* Other builders: low RAM of 2 GiB, or up to 0xf0000000. */
		{4 * GiB, 0x17ffff, 2 * GiB, 2 * GiB},
		{4 * GiB, 0x10ffff, 0xf0000000, 256 * MiB},
		/* Restored after a balloon has taken the top away: the rest are holes. */
		{6 * GiB, 0x13ffff, 0xfc000000, 6 * GiB - 0xfc000000},
		{6 * GiB, 0xfefff, 0xfc000000, 6 * GiB - 0xfc000000},
		/* Something else lies high up. */
		{1 * GiB, 0x4000000, 1 * GiB, 0},
		{1 * GiB, UINT64_MAX, 1 * GiB, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(d); i++) {
		struct hv_range ram[2];
		unsigned n = layout_domain_ram(d[i].mem, d[i].top, ram);

		assert_int_equal(n, d[i].high ? 2 : 1);
		assert_range(ram[0], 0, d[i].low);
		if (n == 2)
			assert_range(ram[1], 4 * GiB, d[i].high);
	}
}

static void a_map_is_compared_with_the_domain(void **state)
{
	const struct hv_range patched_ram[] = {{0, 2 * GiB}, {4 * GiB, 2 * GiB}};
	const struct hv_range stock_ram[] = {{0, 0xfc000000}, {4 * GiB, 64 * MiB}};
	const struct hv_range less[] = {{0, 2 * GiB}, {4 * GiB, 1 * GiB}};
	struct layout_conf none = {.mem = 4 * GiB};
	struct err e;

	assert_int_equal(layout_check_ram(&patched, patched_ram, 2, &e), 0);
	/* RAM that the map misses, told by its addresses. */
	assert_int_equal(layout_check_ram(&patched, stock_ram, 2, &e), -EINVAL);
	assert_non_null(strstr(e.text, "0x80000000-0xfbffffff"));
	/* RAM that is not there. */
	assert_int_equal(layout_check_ram(&patched, less, 2, &e), -EINVAL);
	assert_non_null(strstr(e.text, "0x140000000-0x17fffffff"));
	/* No map, no comparison. */
	assert_int_equal(layout_check_ram(&none, stock_ram, 2, &e), 0);
}

static void the_automatic_layout_fits_every_guest(void **state)
{
	static const uint64_t sizes[] = {128 * MiB, 512 * MiB, 2 * GiB,	 4032 * MiB,
					 4 * GiB,   6 * GiB,   64 * GiB, 200 * GiB};

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (unsigned bits = 39; bits <= 48; bits++) {
			struct layout_conf c = {.mem = sizes[i]};
			struct hv_range ram[2];
			struct layout l;
			int n = layout_stated_ram(&c, ram, NULL);

			assert_int_equal(layout_resolve(&c, ram, (unsigned)n, bits, &l, NULL), 0);
			assert_range(l.ecam, 0xfd000000, 16 * MiB);
			assert_range(l.mmio, 0xfe000000, 8 * MiB);
			/* The same on every host, so that a guest may move. */
			assert_range(l.mmio_high, 1ULL << 38, 64 * GiB);
		}
	}
}

static void a_narrow_host_has_a_high_window_too(void **state)
{
	const struct hv_range ram[] = {{0, 0xfc000000}, {4 * GiB, 1 * GiB}};
	struct layout_conf c = {0};
	struct layout l;

	assert_int_equal(layout_resolve(&c, ram, 2, 36, &l, NULL), 0);
	assert_true(l.mmio_high.size >= 1 * GiB);
	assert_true(l.mmio_high.base >= 5 * GiB);
	assert_true(l.mmio_high.base + l.mmio_high.size <= 1ULL << 36);
}

static void huge_ram_pushes_the_window_up(void **state)
{
	const struct hv_range ram[] = {{0, 0xfc000000}, {4 * GiB, 300 * GiB}};
	struct layout_conf c = {0};
	struct layout l;

	assert_int_equal(layout_resolve(&c, ram, 2, 39, &l, NULL), 0);
	assert_true(l.mmio_high.size);
	assert_true(l.mmio_high.base >= 304 * GiB);
	assert_true(l.mmio_high.base + l.mmio_high.size <= 1ULL << 39);
}

static void stated_windows_are_taken(void **state)
{
	const struct hv_range ram[] = {{0, 2 * GiB}, {4 * GiB, 2 * GiB}};
	struct layout l;

	assert_int_equal(layout_resolve(&patched, ram, 2, 40, &l, NULL), 0);
	assert_range(l.ecam, patched.ecam.base, patched.ecam.size);
	assert_range(l.mmio, patched.mmio.base, patched.mmio.size);
	assert_range(l.mmio_high, patched.mmio_high.base, patched.mmio_high.size);
}

static void bad_windows_are_refused(void **state)
{
	const struct hv_range ram[] = {{0, 0xfc000000}, {4 * GiB, 64 * MiB}};
	const struct {
		struct layout_conf c;
		const char *says;
	} bad[] = {
		{{.ecam = {0x100000000, 16 * MiB}}, "overlaps the domain's RAM"},
		{{.mmio = {0xf0000000, 32 * MiB}}, "overlaps the domain's RAM"},
		{{.mmio_high = {4 * GiB, 64 * GiB}}, "overlaps the domain's RAM"},
		{{.mmio = {0xfee00000, 0x1000}}, "the local APIC"},
		{{.mmio = {0xfec00000, 0x1000}}, "the IOAPIC"},
		{{.ecam = {0xfc000000, 1 * MiB}}, "the ACPI tables"},
		{{.mmio = {0xfef00000, 0x100000}}, "special pages"},
		{{.ecam = {0x4000000000, 16 * MiB}, .mmio_high = {0x4000000000, 1 * GiB}},
		 "pci-ecam and pci-mmio-high overlap"},
		{{.ecam = {0x7ff8000000, 256 * MiB}}, "39 address bits"},
		{{.ecam = {0xfd000000, 512 * MiB}}, "at most 256M"},
		{{.ecam = {0xfd000000, 4096}}, "multiples of 1M"},
		{{.ecam = {0xfd001000, 1 * MiB}}, "multiples of 1M"},
		{{.mmio_high = {0x4000000001, 1 * GiB}}, "multiples of 4096"},
		{{.mmio = {0x4000000000, 1 * MiB}, .mmio_high = {0x5000000000, 1 * GiB}},
		 "below 4 GiB"},
		{{.mmio_high = {UINT64_MAX - 4095, 4096}}, "largest address"},
		{{.mmio_high = {4096, UINT64_MAX}}, "largest address"},
		{{.mem = UINT64_MAX}, "largest address"},
		{{.mmio = {0xfd000000, 1 * MiB}}, "no room for the ECAM"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct layout l;
		struct err e = {0};

		assert_int_equal(layout_resolve(&bad[i].c, ram, 2, 39, &l, &e), -EINVAL);
		if (!strstr(e.text, bad[i].says))
			fail_msg("case %u: '%s' does not say '%s'", i, e.text, bad[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stated_ram_fills_low_first),
		cmocka_unit_test(ram_of_a_stock_guest),
		cmocka_unit_test(ram_of_a_domain),
		cmocka_unit_test(a_map_is_compared_with_the_domain),
		cmocka_unit_test(the_automatic_layout_fits_every_guest),
		cmocka_unit_test(a_narrow_host_has_a_high_window_too),
		cmocka_unit_test(huge_ram_pushes_the_window_up),
		cmocka_unit_test(stated_windows_are_taken),
		cmocka_unit_test(bad_windows_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
