/* SPDX-License-Identifier: MIT */
/* unit_acpi.c - tables of a stock guest, completed in plain memory
 *
 * A small libxl: FADT, MADT, DSDT, XSDT and an RSDP alone in the page behind them, at the places
 * that Xen 4.17 and 4.20 give them, and the damage that their AML does when the guest runs it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "acpi/acpi.h"
#include "acpi/tables.h"
#include "base/util.h"
#include "mem/gmem.h"

#define LOW_RAM	  (2 * MiB)
#define DSDT_SIZE 512
#define VCPUS	  2

static const struct layout windows = {
	.ecam = {0xfd000000, 16 * MiB},
	.mmio = {0xfe000000, 8 * MiB},
	.mmio_high = {1ULL << 38, 64 * GiB},
};

/* A guest: its memory and the places of its tables. */
struct guest {
	int fd;
	struct gmem *gm;
	uint64_t madt, xsdt, rsdp;
};

static void poke(struct guest *g, uint64_t gpa, const void *p, size_t n)
{
	assert_int_equal(gmem_write(g->gm, gpa, p, n), 0);
}

static void peek(struct guest *g, uint64_t gpa, void *p, size_t n)
{
	assert_int_equal(gmem_read(g->gm, gpa, p, n), 0);
}

static void write_table(struct guest *g, uint64_t gpa, const char *signature, uint8_t *t,
			uint32_t n)
{
	memcpy(t, signature, 4);
	put_le32(t + 4, n);
	memcpy(t + 10, "Xen\0\0\0HVM\0\0\0\0\0", 14);
	t[9] = 0;
	t[9] = acpi_checksum(t, n);
	poke(g, gpa, t, n);
}

static void write_madt(struct guest *g, bool ioapic)
{
	uint8_t t[44 + 12 + 8 * VCPUS] = {0};
	uint32_t n = 44;

	if (ioapic) {
		t[n] = 1;
		t[n + 1] = 12;
		n += 12;
	}
	for (unsigned i = 0; i < VCPUS; i++, n += 8) {
		t[n + 1] = 8;
		t[n + 4] = 1;
	}
	write_table(g, g->madt, "APIC", t, n);
}

static void write_rsdp(struct guest *g)
{
	uint8_t r[36] = "RSD PTR ";

	r[15] = 2;
	put_le32(r + 20, sizeof(r));
	put_le64(r + 24, g->xsdt);
	r[8] = acpi_checksum(r, 20);
	r[32] = acpi_checksum(r, sizeof(r));
	poke(g, g->rsdp, r, sizeof(r));
}

static void write_dsdt(struct guest *g, bool bridge)
{
	uint8_t t[DSDT_SIZE] = {0};

	if (bridge)
		memcpy(t + 200, "\x0c\x41\xd0\x0a\x08", 5);
	write_table(g, LAYOUT_ACPI_BASE + PAGE, "DSDT", t, sizeof(t));
}

/* `madt`, `rsdp`: addresses; the XSDT lies before the MADT. */
static struct guest guest_new(uint64_t madt, uint64_t rsdp)
{
	const struct hv_range ram[] = {{0, LOW_RAM}, {LAYOUT_ACPI_BASE, LAYOUT_ACPI_SIZE}};
	struct guest g = {.madt = madt, .xsdt = madt - 0x100, .rsdp = rsdp};
	uint8_t x[36 + 16] = {0}, lapic[4], dirt[PAGE];
	struct err e;

	g.fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(g.fd, LOW_RAM + LAYOUT_ACPI_SIZE), 0);
	g.gm = gmem_new_file(ram, 2, g.fd, &e);
	assert_non_null(g.gm);
	/* What lies behind the RSDP was never written by anybody. */
	memset(dirt, 0xa5, sizeof(dirt));
	if (rsdp >= LAYOUT_ACPI_BASE)
		poke(&g, rsdp, dirt, sizeof(dirt));
	write_dsdt(&g, false);
	write_madt(&g, false);
	put_le64(x + 36, madt - 0x200); /* FADT: never read */
	put_le64(x + 44, madt);
	write_table(&g, g.xsdt, "XSDT", x, sizeof(x));
	write_rsdp(&g);
	put_le32(lapic, (uint32_t)madt + 44);
	poke(&g, LAYOUT_ACPI_BASE + 16, lapic, 4);
	return g;
}

static struct guest xen_4_20(void)
{
	return guest_new(0xfc0057f0, 0xfc006000);
}

static struct guest xen_4_17(void)
{
	return guest_new(0xfc007e70, 0xfc008000);
}

static void guest_free(struct guest *g)
{
	gmem_free(g->gm);
	close(g->fd);
}

/* What the stock AML does at boot, however few vCPUs there are. */
static void run_stock_aml(struct guest *g)
{
	uint8_t lapic[4], b;

	peek(g, LAYOUT_ACPI_BASE + 16, lapic, 4);
	for (unsigned cpu = 0; cpu < 128; cpu++) {
		uint64_t at = get_le32(lapic) + 8 * cpu + 4;

		peek(g, at, &b, 1);
		b |= 1;
		poke(g, at, &b, 1);
	}
}

static void complete(struct guest *g)
{
	struct acpi_info info;
	struct err e = {0};
	uint64_t at;

	acpi_inspect(g->gm, &info);
	assert_int_equal(info.rsdp, g->rsdp);
	assert_false(info.completed || info.bridge || info.ioapic || info.has_run);
	assert_int_equal(acpi_place(g->gm, &info, &at), 0);
	assert_int_equal(acpi_complete(g->gm, &info, &windows, false, at, &e), 0);
}

static void assert_table(struct guest *g, uint64_t gpa, const char *signature, uint8_t *t,
			 uint32_t max)
{
	peek(g, gpa, t, 36);
	assert_memory_equal(t, signature, 4);
	assert_true(get_le32(t + 4) <= max);
	peek(g, gpa, t, get_le32(t + 4));
	assert_int_equal(acpi_sum(t, get_le32(t + 4)), 0);
}

static void the_new_tables_are_reachable(void **state)
{
	struct guest all[] = {xen_4_20(), xen_4_17()};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		struct guest *g = &all[i];
		uint8_t rsdp[36], x[256], t[2048];
		unsigned mcfg = 0, ssdt = 0;
		uint32_t len;

		complete(g);
		peek(g, g->rsdp, rsdp, sizeof(rsdp));
		assert_int_equal(acpi_sum(rsdp, 20), 0);
		assert_int_equal(acpi_sum(rsdp, 36), 0);
		assert_table(g, get_le64(rsdp + 24), "XSDT", x, sizeof(x));
		len = get_le32(x + 4);
		assert_int_equal(len, 36 + 4 * 8);
		assert_int_equal(get_le64(x + 36), g->madt - 0x200);
		assert_int_equal(get_le64(x + 44), g->madt);
		for (unsigned j = 52; j < len; j += 8) {
			peek(g, get_le64(x + j), t, 4);
			if (!memcmp(t, "MCFG", 4)) {
				assert_table(g, get_le64(x + j), "MCFG", t, 60);
				assert_int_equal(get_le64(t + 44), 0xfd000000);
				assert_int_equal(get_le16(t + 52), 0); /* segment */
				assert_int_equal(t[54], 0);
				assert_int_equal(t[55], 15);
				mcfg++;
			} else {
				assert_table(g, get_le64(x + j), "SSDT", t, sizeof(t));
				ssdt++;
			}
		}
		assert_int_equal(mcfg, 1);
		assert_int_equal(ssdt, 1);
		guest_free(g);
	}
}

static void nothing_else_changes(void **state)
{
	struct guest g = xen_4_17();
	static uint8_t before[LAYOUT_ACPI_SIZE], after[LAYOUT_ACPI_SIZE];
	uint64_t rsdp = g.rsdp - LAYOUT_ACPI_BASE;

	peek(&g, LAYOUT_ACPI_BASE, before, sizeof(before));
	complete(&g);
	peek(&g, LAYOUT_ACPI_BASE, after, sizeof(after));
	for (uint64_t i = 0; i < sizeof(before); i++) {
		bool pointer = i == rsdp + 8 || (i >= rsdp + 24 && i <= rsdp + 32);
		bool room = i >= rsdp + PAGE / 2 && i < rsdp + PAGE;

		if (!pointer && !room && before[i] != after[i])
			fail_msg("byte 0x%llx changed", (unsigned long long)(LAYOUT_ACPI_BASE + i));
	}
	guest_free(&g);
}

static void the_guest_can_run_its_aml(void **state)
{
	struct guest all[] = {xen_4_20(), xen_4_17()};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		struct guest *g = &all[i];
		uint64_t page = ALIGN_DOWN(g->rsdp, (uint64_t)PAGE);
		uint8_t before[PAGE / 2], after[PAGE / 2];
		struct acpi_info info;

		complete(g);
		peek(g, page + PAGE / 2, before, sizeof(before));
		run_stock_aml(g);
		peek(g, page + PAGE / 2, after, sizeof(after));
		assert_memory_equal(before, after, sizeof(before));

		/* The restored guest is recognised, with its windows, whatever became of the RSDP.
		 */
		acpi_inspect(g->gm, &info);
		assert_true(info.completed);
		assert_true(info.has_run);
		assert_memory_equal(&info.layout, &windows, sizeof(windows));
		guest_free(g);
	}
}

static void a_guest_that_has_run_is_noticed(void **state)
{
	struct guest g = xen_4_20();
	struct acpi_info info;

	run_stock_aml(&g);
	acpi_inspect(g.gm, &info);
	assert_true(info.has_run);
	assert_false(info.completed);
	guest_free(&g);
}

static void the_platform_is_found_out(void **state)
{
	struct guest g = xen_4_20();
	struct acpi_info info;

	write_madt(&g, true);
	write_dsdt(&g, true);
	acpi_inspect(g.gm, &info);
	assert_true(info.ioapic);
	assert_true(info.bridge);
	guest_free(&g);
}

static void interrupt_lines_survive_in_the_marker(void **state)
{
	struct guest g = xen_4_20();
	struct acpi_info info;
	struct err e;
	uint64_t at;

	write_madt(&g, true);
	acpi_inspect(g.gm, &info);
	assert_int_equal(acpi_place(g.gm, &info, &at), 0);
	assert_int_equal(acpi_complete(g.gm, &info, &windows, true, at, &e), 0);
	write_madt(&g, false);
	acpi_inspect(g.gm, &info);
	assert_true(info.completed);
	assert_true(info.ioapic);
	guest_free(&g);
}

static void the_place_is_refused_when_it_is_not_free(void **state)
{
	struct guest old = guest_new(0xfc0057f0, 0xfffc0),
		     tight = guest_new(0xfc007800, 0xfc008000);
	struct guest used = xen_4_20();
	struct acpi_info info;
	uint8_t entry[8];
	uint64_t at;

	/* An old guest's RSDP lies in low RAM, which it may use for something else. */
	acpi_inspect(old.gm, &info);
	assert_int_equal(info.rsdp, 0xfffc0);
	assert_int_equal(acpi_place(old.gm, &info, &at), -ENOSPC);
	/* The AML writes to the second half of the page. */
	put_le32(entry, 0xfc0087f8);
	poke(&tight, LAYOUT_ACPI_BASE + 16, entry, 4);
	acpi_inspect(tight.gm, &info);
	assert_int_equal(acpi_place(tight.gm, &info, &at), -ENOSPC);
	/* A table is there. */
	put_le64(entry, used.rsdp + PAGE - 512);
	poke(&used, used.xsdt + 36, entry, 8);
	acpi_inspect(used.gm, &info);
	assert_int_equal(acpi_place(used.gm, &info, &at), -ENOSPC);
	guest_free(&old);
	guest_free(&tight);
	guest_free(&used);
}

static void garbage_is_survived(void **state)
{
	struct guest g = xen_4_20();
	struct acpi_info info;
	unsigned seed = 1;

	for (unsigned round = 0; round < 300; round++) {
		for (unsigned i = 0; i < 200; i++) {
			uint8_t b = (uint8_t)rand_r(&seed);

			poke(&g, LAYOUT_ACPI_BASE + (unsigned)rand_r(&seed) % LAYOUT_ACPI_SIZE, &b,
			     1);
		}
		/* Signatures with lengths that lie. */
		uint8_t t[8] = "APIC";

		put_le32(t + 4, (uint32_t)rand_r(&seed));
		poke(&g, LAYOUT_ACPI_BASE + PAGE + ((unsigned)rand_r(&seed) % 0x11000 & ~15u), t,
		     8);
		acpi_inspect(g.gm, &info);
	}
	guest_free(&g);
}

/* --- the SSDT, judged by ACPICA --- */

/* Output of a command run on the SSDT in $1; skips the test where the tool is not there. */
static char *run_tool(const char *tool, const char *format, bool intx)
{
	char dir[] = "/tmp/unit_acpi.XXXXXX", path[64], command[512];
	static char out[128 * 1024];
	uint8_t ssdt[ACPI_ROOM] = {0};
	size_t len = acpi_ssdt_build(ssdt, sizeof(ssdt), &windows, intx), n;
	FILE *f;

	snprintf(command, sizeof(command), "command -v %s >/dev/null", tool);
	if (system(command) != 0) {
		print_message("skipped: %s (package acpica-tools) is not installed\n", tool);
		skip();
	}
	assert_true(len > 0);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/ssdt.aml", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(ssdt, 1, len, f), len);
	fclose(f);
	snprintf(command, sizeof(command), format, dir);
	f = popen(command, "r");
	assert_non_null(f);
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = 0;
	assert_int_equal(pclose(f), 0);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	assert_int_equal(system(command), 0);
	return out;
}

static void assert_says(const char *text, const char *what)
{
	if (!text || !strstr(text, what))
		fail_msg("'%s' is not in: %s", what, text ? text : "nothing");
}

static void the_ssdt_can_be_disassembled_and_compiled_again(void **state)
{
	/* iasl complains of nothing, and gives back what went in. */
	char *out = run_tool("iasl",
			     "cd %s && cp ssdt.aml old && iasl -d ssdt.aml 2>&1 && cat ssdt.dsl && "
			     "iasl -ve ssdt.dsl 2>&1",
			     true);

	assert_says(out, "Device (PCI0)");
	assert_says(out, "Name (_CBA, 0xFD000000)");
	assert_says(out, "0x0000004000000000, // Range Minimum");
	assert_says(out, "0x0000001000000000, // Length");
	assert_says(out, "0xFE7FFFFF,         // Range Maximum");
	assert_says(out, "0x000F,             // Range Maximum");
	assert_says(out,
		    "ResourceConsumer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite");
	assert_says(out, "0 Errors");
}

/* _OSC with this UUID (hex bytes), revision and control field; the first and third DWord of the
 * answer. */
static void osc(const char *uuid, const char *revision, const char *control, const char *answer)
{
	char format[256];

	snprintf(format, sizeof(format),
		 "cd %%s && acpiexec -b 'evaluate \\_SB.PCI0._OSC (%s) %s 3 "
		 "(00 00 00 00 1F 00 00 00 %s)' ssdt.aml 2>&1",
		 uuid, revision, control);
	assert_says(run_tool("acpiexec", format, false), answer);
}

#define PCI_UUID   "5B 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 66"
#define OTHER_UUID "5B 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 67"

static void osc_grants_what_it_knows(void **state)
{
	osc(PCI_UUID, "1", "1F 00 00 00", "00 00 00 00 1F 00 00 00 1F 00 00 00");
	osc(PCI_UUID, "1", "01 00 00 00", "00 00 00 00 1F 00 00 00 01 00 00 00");
	/* More than it knows: masked, and said so. */
	osc(PCI_UUID, "1", "FF 01 00 00", "10 00 00 00 1F 00 00 00 1F 00 00 00");
	/* Another revision, another interface. */
	osc(PCI_UUID, "2", "1F 00 00 00", "08 00 00 00 1F 00 00 00 1F 00 00 00");
	osc(OTHER_UUID, "1", "1F 00 00 00", "04 00 00 00 1F 00 00 00 1F 00 00 00");
}

static void interrupt_routes_are_swizzled(void **state)
{
	char *out = run_tool("acpiexec",
			     "cd %s && acpiexec -b 'evaluate \\_SB.PCI0._PRT' ssdt.aml 2>&1", true);

	assert_says(out, "Contains 128 Elements");
	/* Slot 31, pin 3: line (31 + 3) % 4 = 2, GSI 18. */
	assert_says(out,
		    "[Integer] = 00000000001FFFFF\n      [Integer] = 0000000000000003\n"
		    "      [Integer] = 0000000000000000\n      [Integer] = 0000000000000012\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_new_tables_are_reachable),
		cmocka_unit_test(nothing_else_changes),
		cmocka_unit_test(the_guest_can_run_its_aml),
		cmocka_unit_test(a_guest_that_has_run_is_noticed),
		cmocka_unit_test(the_platform_is_found_out),
		cmocka_unit_test(interrupt_lines_survive_in_the_marker),
		cmocka_unit_test(the_place_is_refused_when_it_is_not_free),
		cmocka_unit_test(garbage_is_survived),
		cmocka_unit_test(the_ssdt_can_be_disassembled_and_compiled_again),
		cmocka_unit_test(osc_grants_what_it_knows),
		cmocka_unit_test(interrupt_routes_are_swizzled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
