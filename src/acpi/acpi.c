/* SPDX-License-Identifier: MIT */
/* acpi.c - the guest's ACPI tables: what they say, and the PCI Express host bridge added to them
 *
 * A toolstack that knows nothing of virtio-pci builds tables without a PCI bridge. libxl puts them
 * into pages from 0xfc000000: first a page that its AML reads, then the tables, then a page that
 * holds the RSDP alone (or, for old guests, the RSDP at 0xfffc0). We write a marker, a new XSDT
 * (the old entries and two more), MCFG and SSDT into the second half of the RSDP's page and point
 * the RSDP to that XSDT, as the last step.
 *
 * The trap: the stock AML, run by the guest at boot, sets bit 0 of a byte in each of 128 entries of
 * 8 bytes from the MADT's first local APIC on, however many there are. On Xen 4.17 that damages the
 * RSDP of a guest that has run. So nothing is placed in that kilobyte, and a guest that was
 * completed before (restored, say) is recognised by the marker alone, and its tables by their
 * signatures, never by following the RSDP. The same damage tells that a guest has run.
 *
 * The marker also keeps the layout: a restored guest keeps its windows, whatever the new host would
 * choose.
 */
#include "acpi/acpi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acpi/tables.h"
#include "base/util.h"
#include "mem/gmem.h"

#define LEGACY_RSDP 0xfffc0ULL
#define INFO_MADT   16 /* offset in the first page: address of the MADT's first local APIC */
#define RSDP_SIZE   36
#define XSDT_BYTES  (ACPI_HEADER + 8 * 32) /* as much as we are willing to copy */
#define MADT_FIRST  44			   /* offset of the first structure */
#define TABLE_ALIGN 16
#define LAPIC_SIZE  8
#define LAPIC_FLAGS 4
#define LAPIC_COUNT 128

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1 };

/* A copy of the area up to the last page that is there; one before it that is not reads as zero. */
struct area {
	uint8_t *bytes;
	uint64_t size;
};

static bool area_read(struct gmem *gm, struct area *a)
{
	a->bytes = calloc(1, LAYOUT_ACPI_SIZE);
	if (!a->bytes)
		return false;
	a->size = PAGE * gmem_read_pages(gm, LAYOUT_ACPI_BASE, a->bytes, LAYOUT_ACPI_SIZE / PAGE);
	if (a->size)
		return true;
	free(a->bytes);
	return false;
}

/* The table with this signature at an aligned place, all of it in the area; NULL when there is
 * none. */
static const uint8_t *find_table(const struct area *a, const char *signature, uint32_t *len)
{
	for (uint64_t off = PAGE; off + ACPI_HEADER <= a->size; off += TABLE_ALIGN) {
		const uint8_t *t = a->bytes + off;

		if (memcmp(t, signature, 4) != 0)
			continue;
		*len = get_le32(t + 4);
		if (*len >= ACPI_HEADER && range_ok(off, *len, a->size))
			return t;
	}
	return NULL;
}

static bool rsdp_valid(const uint8_t *p)
{
	return memcmp(p, "RSD PTR ", 8) == 0 && p[15] >= 2 && acpi_sum(p, 20) == 0 &&
	       get_le32(p + 20) >= RSDP_SIZE;
}

static uint64_t find_rsdp(struct gmem *gm, const struct area *a)
{
	uint8_t legacy[RSDP_SIZE];

	for (uint64_t off = 0; off + RSDP_SIZE <= a->size; off += 16)
		if (rsdp_valid(a->bytes + off))
			return LAYOUT_ACPI_BASE + off;
	if (gmem_read(gm, LEGACY_RSDP, legacy, sizeof(legacy)) == 0 && rsdp_valid(legacy))
		return LEGACY_RSDP;
	return 0;
}

static void inspect_madt(const uint8_t *madt, uint32_t len, struct acpi_info *info)
{
	for (uint32_t at = MADT_FIRST; at + 2 <= len && madt[at + 1] >= 2; at += madt[at + 1])
		if (madt[at] == MADT_IOAPIC)
			info->ioapic = true;
}

static bool has_bridge(const uint8_t *dsdt, uint32_t len)
{
	static const uint8_t pnp0a08[] = {0x41, 0xd0, 0x0a, 0x08};

	return memmem(dsdt, len, pnp0a08, sizeof(pnp0a08)) != NULL;
}

/* Has the stock AML run? Then the first entry behind the local APICs (where zeroes were) is marked
 * as present. */
static bool scribbled(const struct area *a, const struct acpi_info *info)
{
	uint64_t off = info->scribble - LAYOUT_ACPI_BASE;

	if (!info->scribble || info->ioapic)
		return false;
	for (unsigned i = 0; i < LAPIC_COUNT && off + LAPIC_SIZE <= a->size; i++, off += LAPIC_SIZE)
		if (a->bytes[off] != MADT_LAPIC || a->bytes[off + 1] != LAPIC_SIZE)
			return a->bytes[off + LAPIC_FLAGS] & 1;
	return false;
}

void acpi_inspect(struct gmem *gm, struct acpi_info *info)
{
	struct area a;
	const uint8_t *t;
	uint32_t len;
	uint64_t lapic;

	memset(info, 0, sizeof(*info));
	if (!area_read(gm, &a))
		return;
	info->rsdp = find_rsdp(gm, &a);
	lapic = get_le32(a.bytes + INFO_MADT);
	if (lapic >= LAYOUT_ACPI_BASE + PAGE && lapic < LAYOUT_ACPI_BASE + LAYOUT_ACPI_SIZE)
		info->scribble = lapic;
	t = find_table(&a, "APIC", &len);
	if (t)
		inspect_madt(t, len, info);
	t = find_table(&a, "DSDT", &len);
	if (t)
		info->bridge = has_bridge(t, len);
	for (uint64_t off = 0; off < a.size && !info->completed; off += ACPI_MARKER_ALIGN)
		info->completed = acpi_marker_read(a.bytes + off, LAYOUT_ACPI_BASE + off,
						   &info->layout, &info->ioapic);
	info->has_run = scribbled(&a, info);
	free(a.bytes);
}

static bool hit(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* The XSDT that the RSDP leads to, in `xsdt`; its length, 0 when there is no good one. */
static uint32_t read_xsdt(struct gmem *gm, const struct acpi_info *info, uint8_t xsdt[XSDT_BYTES],
			  uint64_t *gpa)
{
	uint8_t rsdp[RSDP_SIZE];
	uint32_t len;

	if (gmem_read(gm, info->rsdp, rsdp, sizeof(rsdp)) < 0)
		return 0;
	*gpa = get_le64(rsdp + 24);
	if (gmem_read(gm, *gpa, xsdt, ACPI_HEADER) < 0 || memcmp(xsdt, "XSDT", 4) != 0)
		return 0;
	len = get_le32(xsdt + 4);
	if (len < ACPI_HEADER || len > XSDT_BYTES || len % 8 != ACPI_HEADER % 8 ||
	    gmem_read(gm, *gpa, xsdt, len) < 0)
		return 0;
	return len;
}

/* libxl puts the RSDP at the begin of a page that holds nothing else. The rest of that page is not
 * even zero: nobody has written it, and Xen need not have scrubbed it. */
int acpi_place(struct gmem *gm, const struct acpi_info *info, uint64_t *gpa)
{
	uint64_t page = info->rsdp, at = page + PAGE - ACPI_ROOM, table;
	uint8_t xsdt[XSDT_BYTES];
	uint32_t len = read_xsdt(gm, info, xsdt, &table);

	if (!len || page % PAGE || page < LAYOUT_ACPI_BASE || hit(page, PAGE, table, len) ||
	    (info->scribble && hit(at, ACPI_ROOM, info->scribble, ACPI_SCRIBBLE)))
		return -ENOSPC;
	for (uint32_t i = ACPI_HEADER; i < len; i += 8)
		if (hit(page, PAGE, get_le64(xsdt + i), ACPI_HEADER))
			return -ENOSPC;
	*gpa = at;
	return 0;
}

int acpi_spare_page(struct gmem *gm, const struct acpi_info *info, uint64_t *gpa)
{
	uint8_t probe;

	for (uint64_t at = LAYOUT_ACPI_BASE + LAYOUT_ACPI_SIZE - PAGE; at > LAYOUT_ACPI_BASE;
	     at -= PAGE)
		if (gmem_read(gm, at, &probe, 1) < 0 &&
		    !(info->scribble && hit(at, PAGE, info->scribble, ACPI_SCRIBBLE))) {
			*gpa = at;
			return 0;
		}
	return -ENOSPC;
}

int acpi_complete(struct gmem *gm, const struct acpi_info *info, const struct layout *layout,
		  bool intx, uint64_t gpa, struct err *e)
{
	uint8_t rsdp[RSDP_SIZE], old[XSDT_BYTES], room[ACPI_ROOM] = {0};
	uint64_t xsdt;
	uint32_t len = read_xsdt(gm, info, old, &xsdt);
	int rc;

	if (!len || gmem_read(gm, info->rsdp, rsdp, sizeof(rsdp)) < 0)
		return err_set(e, -EINVAL, "the domain's XSDT cannot be read");
	rc = acpi_tables_build(room, sizeof(room), gpa, old, len, layout, intx, &xsdt);
	if (rc)
		return err_set(e, rc, "the ACPI tables of the PCI bridge do not fit");
	put_le64(rsdp + 24, xsdt);
	rsdp[8] = rsdp[32] = 0;
	rsdp[8] = acpi_checksum(rsdp, 20);
	rsdp[32] = acpi_checksum(rsdp, RSDP_SIZE);
	if (gmem_write(gm, gpa, room, sizeof(room)) < 0 ||
	    gmem_write(gm, info->rsdp, rsdp, sizeof(rsdp)) < 0)
		return err_set(e, -EFAULT, "the ACPI tables cannot be written");
	return 0;
}
