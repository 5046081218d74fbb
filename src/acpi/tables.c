/* SPDX-License-Identifier: MIT */
/* tables.c - marker, XSDT, MCFG and SSDT
 *
 * The SSDT declares two devices in \_SB. One reserves the ECAM: Linux uses an ECAM only if a device
 * reserves it. The other one is the host bridge. Its _CBA gives the address of the ECAM, too, since
 * Linux ignores an MCFG above 4 GiB on a guest without DMI; its _CRS lists the windows; its _OSC
 * grants what the operating system asks for of native hot-plug, PME, AER and the PCI Express
 * capability; and it has a _PRT if there are interrupt lines.
 *
 * ACPI 6.5 5.2.6 (header), 5.2.8 (XSDT), 6.2.11 (_OSC), 6.2.13 (_PRT); PCI Firmware 3.3 4.1.2
 * (MCFG), 4.5.1 (_OSC).
 */
#include "acpi/tables.h"

#include <errno.h>
#include <string.h>

#include "acpi/aml.h"
#include "base/util.h"

#define OEM_ID	     "XENPVH"
#define OEM_TABLE_ID "PCIEHOST"
#define CREATOR_ID   "XPVH"
#define TABLE_ALIGN  16
#define MCFG_SIZE    60
#define GSI_BASE     16

/* The marker, at the start of our tables. It stays in the guest's memory when the guest moves to
 * another host: whoever changes a field changes the version. */
#define MARKER_MAGIC   "XenPVH-PCI-ACPI\n"
#define MARKER_VERSION 1
enum {
	MARKER_AT_VERSION = 16,
	MARKER_AT_FLAGS = 18,
	MARKER_AT_SUM = 19,
	MARKER_AT_BUSES = 20, /* u16 */
	MARKER_AT_MMIO = 24,  /* u32 base, u32 size */
	MARKER_AT_ECAM = 32,  /* u64 base */
	MARKER_AT_HIGH = 40,  /* u64 base, u64 size */
	MARKER_AT_SELF = 56,  /* u64: its own address; a copy elsewhere is not taken for a marker */
	MARKER_SIZE = 64,
};
#define MARKER_INTX 1

uint8_t acpi_sum(const void *p, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)p)[i]);
	return sum;
}

uint8_t acpi_checksum(const void *p, size_t len)
{
	return (uint8_t)-acpi_sum(p, len);
}

static void table_finish(uint8_t *t, const char *signature, uint8_t revision, size_t len)
{
	memcpy(t, signature, 4);
	put_le32(t + 4, (uint32_t)len);
	t[8] = revision;
	memcpy(t + 10, OEM_ID, 6);
	memcpy(t + 16, OEM_TABLE_ID, 8);
	put_le32(t + 24, 1);
	memcpy(t + 28, CREATOR_ID, 4);
	put_le32(t + 32, 1);
	t[9] = 0;
	t[9] = acpi_checksum(t, len);
}

static uint16_t layout_buses(const struct layout *l)
{
	return (uint16_t)(l->ecam.size / LAYOUT_ECAM_BUS);
}

static void mcfg_build(uint8_t *t, const struct layout *l)
{
	put_le64(t + 44, l->ecam.base);
	t[55] = (uint8_t)(layout_buses(l) - 1); /* segment 0, first bus 0 */
	table_finish(t, "MCFG", 1, MCFG_SIZE);
}

static void ssdt_ecam(struct aml *a, const struct layout *l)
{
	size_t dev = aml_device(a, "PECM");
	struct aml_template crs;

	aml_name_eisaid(a, "_HID", "PNP0C02");
	aml_name_int(a, "_UID", 0);
	crs = aml_template_begin(a, "_CRS");
	aml_memory64_consumer(a, l->ecam.base, l->ecam.size);
	aml_template_end(a, crs);
	aml_end(a, dev);
}

/* Method (_OSC, 4): Arg0 UUID, Arg1 revision, Arg3 the capabilities buffer, which is changed in
 * place and returned. */
static void ssdt_osc(struct aml *a)
{
	const uint8_t granted = 0x1f; /* hot-plug, SHPC, PME, AER, capability structure */
	size_t osc = aml_method(a, "_OSC", 4), block;

	aml_op(a, AML_CREATE_DWORD_FIELD);
	aml_arg(a, 3);
	aml_int(a, 0);
	aml_name(a, "STAT");

	/* If the UUID is not the one of PCI host bridges: set "unrecognised UUID" and return. */
	block = aml_if(a);
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	aml_arg(a, 0);
	aml_uuid(a, "33db4d5b-1ff7-401c-9657-7441c03dd766");
	aml_op(a, AML_OR);
	aml_name(a, "STAT");
	aml_int(a, 0x04);
	aml_name(a, "STAT");
	aml_op(a, AML_RETURN);
	aml_arg(a, 3);
	aml_end(a, block);

	/* If the revision is not 1: set "unrecognised revision", and answer as for revision 1. */
	block = aml_if(a);
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	aml_arg(a, 1);
	aml_int(a, 1);
	aml_op(a, AML_OR);
	aml_name(a, "STAT");
	aml_int(a, 0x08);
	aml_name(a, "STAT");
	aml_end(a, block);

	/* Grant what is known; if more was asked for, set "capabilities masked". */
	aml_op(a, AML_CREATE_DWORD_FIELD);
	aml_arg(a, 3);
	aml_int(a, 8);
	aml_name(a, "CTRL");
	aml_op(a, AML_AND);
	aml_name(a, "CTRL");
	aml_int(a, granted);
	aml_local(a, 0);
	block = aml_if(a);
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	aml_local(a, 0);
	aml_name(a, "CTRL");
	aml_op(a, AML_OR);
	aml_name(a, "STAT");
	aml_int(a, 0x10);
	aml_name(a, "STAT");
	aml_end(a, block);
	aml_op(a, AML_STORE);
	aml_local(a, 0);
	aml_name(a, "CTRL");
	aml_op(a, AML_RETURN);
	aml_arg(a, 3);
	aml_end(a, osc);
}

/* The target of the expression before it: element `index` of the package in Local`package`. */
static void package_store(struct aml *a, unsigned package, unsigned index)
{
	aml_op(a, AML_INDEX);
	aml_local(a, package);
	aml_int(a, index);
	aml_no_target(a);
}

/* Method (_PRT): 32 slots of 4 pins, built in a loop: slot s, pin p -> GSI 16 + (s + p) % 4. */
static void ssdt_prt(struct aml *a)
{
	enum { RESULT, I, SLOT, ROW };
	const unsigned rows = 32 * 4;
	size_t prt = aml_method(a, "_PRT", 0), loop, mark;

	aml_op(a, AML_STORE);
	mark = aml_package(a, rows);
	aml_end(a, mark);
	aml_local(a, RESULT);
	aml_op(a, AML_STORE);
	aml_int(a, 0);
	aml_local(a, I);

	loop = aml_while(a);
	aml_op(a, AML_LLESS);
	aml_local(a, I);
	aml_int(a, rows);

	aml_op(a, AML_SHIFT_RIGHT);
	aml_local(a, I);
	aml_int(a, 2);
	aml_local(a, SLOT);

	aml_op(a, AML_STORE);
	mark = aml_package(a, 4);
	for (unsigned i = 0; i < 4; i++)
		aml_int(a, 0);
	aml_end(a, mark);
	aml_local(a, ROW);

	/* Element 0, the address: slot << 16 and 0xffff, which means any function. */
	aml_op(a, AML_OR);
	aml_op(a, AML_SHIFT_LEFT);
	aml_local(a, SLOT);
	aml_int(a, 16);
	aml_no_target(a);
	aml_int(a, 0xffff);
	package_store(a, ROW, 0);
	/* Element 1: the pin. */
	aml_op(a, AML_AND);
	aml_local(a, I);
	aml_int(a, 3);
	package_store(a, ROW, 1);
	/* Element 2, the source, stays 0: then element 3 is a GSI. */
	aml_op(a, AML_ADD);
	aml_op(a, AML_AND);
	aml_op(a, AML_ADD);
	aml_local(a, I);
	aml_local(a, SLOT);
	aml_no_target(a);
	aml_int(a, 3);
	aml_no_target(a);
	aml_int(a, GSI_BASE);
	package_store(a, ROW, 3);

	aml_op(a, AML_STORE);
	aml_local(a, ROW);
	aml_op(a, AML_INDEX);
	aml_local(a, RESULT);
	aml_local(a, I);
	aml_no_target(a);
	aml_op(a, AML_INCREMENT);
	aml_local(a, I);
	aml_end(a, loop);

	aml_op(a, AML_RETURN);
	aml_local(a, RESULT);
	aml_end(a, prt);
}

static void ssdt_bridge(struct aml *a, const struct layout *l, bool intx)
{
	size_t dev = aml_device(a, "PCI0");
	struct aml_template crs;

	aml_name_eisaid(a, "_HID", "PNP0A08");
	aml_name_eisaid(a, "_CID", "PNP0A03");
	aml_name_int(a, "_UID", 0);
	aml_name_int(a, "_SEG", 0);
	aml_name_int(a, "_BBN", 0);
	aml_name_int(a, "_CCA", 1);
	aml_name_int(a, "_CBA", l->ecam.base);
	crs = aml_template_begin(a, "_CRS");
	aml_bus_window(a, 0, (uint16_t)(layout_buses(l) - 1));
	if (l->mmio.size)
		aml_memory32_window(a, (uint32_t)l->mmio.base, (uint32_t)l->mmio.size);
	if (l->mmio_high.size)
		aml_memory64_window(a, l->mmio_high.base, l->mmio_high.size);
	aml_template_end(a, crs);
	ssdt_osc(a);
	if (intx)
		ssdt_prt(a);
	aml_end(a, dev);
}

size_t acpi_ssdt_build(uint8_t *buf, size_t size, const struct layout *layout, bool intx)
{
	struct aml a = {.buf = buf, .size = size, .len = ACPI_HEADER};
	size_t scope = aml_scope(&a, "\\_SB");

	ssdt_ecam(&a, layout);
	ssdt_bridge(&a, layout, intx);
	aml_end(&a, scope);
	if (a.len > size)
		return 0;
	/* Revision 2: integers are 64 bits wide. */
	table_finish(buf, "SSDT", 2, a.len);
	return a.len;
}

static void marker_write(uint8_t *p, uint64_t gpa, const struct layout *l, bool intx)
{
	memcpy(p, MARKER_MAGIC, 16);
	put_le16(p + MARKER_AT_VERSION, MARKER_VERSION);
	p[MARKER_AT_FLAGS] = intx ? MARKER_INTX : 0;
	put_le16(p + MARKER_AT_BUSES, layout_buses(l));
	put_le32(p + MARKER_AT_MMIO, (uint32_t)l->mmio.base);
	put_le32(p + MARKER_AT_MMIO + 4, (uint32_t)l->mmio.size);
	put_le64(p + MARKER_AT_ECAM, l->ecam.base);
	put_le64(p + MARKER_AT_HIGH, l->mmio_high.base);
	put_le64(p + MARKER_AT_HIGH + 8, l->mmio_high.size);
	put_le64(p + MARKER_AT_SELF, gpa);
	p[MARKER_AT_SUM] = 0;
	p[MARKER_AT_SUM] = acpi_checksum(p, MARKER_SIZE);
}

bool acpi_marker_read(const uint8_t *p, uint64_t gpa, struct layout *l, bool *intx)
{
	if (memcmp(p, MARKER_MAGIC, 16) != 0 || acpi_sum(p, MARKER_SIZE) != 0 ||
	    get_le16(p + MARKER_AT_VERSION) != MARKER_VERSION ||
	    get_le64(p + MARKER_AT_SELF) != gpa)
		return false;
	*intx = p[MARKER_AT_FLAGS] & MARKER_INTX;
	l->ecam.base = get_le64(p + MARKER_AT_ECAM);
	l->ecam.size = get_le16(p + MARKER_AT_BUSES) * LAYOUT_ECAM_BUS;
	l->mmio.base = get_le32(p + MARKER_AT_MMIO);
	l->mmio.size = get_le32(p + MARKER_AT_MMIO + 4);
	l->mmio_high.base = get_le64(p + MARKER_AT_HIGH);
	l->mmio_high.size = get_le64(p + MARKER_AT_HIGH + 8);
	return true;
}

int acpi_tables_build(uint8_t *room, size_t size, uint64_t gpa, const uint8_t *old_xsdt,
		      uint32_t old_len, const struct layout *layout, bool intx, uint64_t *xsdt)
{
	size_t xsdt_at = ACPI_MARKER_ALIGN, xsdt_len = old_len + 2 * 8;
	size_t mcfg_at = ALIGN_UP(xsdt_at + xsdt_len, TABLE_ALIGN);
	size_t ssdt_at = ALIGN_UP(mcfg_at + MCFG_SIZE, TABLE_ALIGN);
	uint8_t *t = room + xsdt_at;

	if (ssdt_at >= size || !acpi_ssdt_build(room + ssdt_at, size - ssdt_at, layout, intx))
		return -ENOSPC;
	marker_write(room, gpa, layout, intx);
	mcfg_build(room + mcfg_at, layout);
	/* The XSDT keeps the OEM's names in its header, so that the guest's log does not change. */
	memcpy(t, old_xsdt, old_len);
	put_le64(t + old_len, gpa + mcfg_at);
	put_le64(t + old_len + 8, gpa + ssdt_at);
	put_le32(t + 4, (uint32_t)xsdt_len);
	t[9] = 0;
	t[9] = acpi_checksum(t, xsdt_len);
	*xsdt = gpa + xsdt_at;
	return 0;
}
