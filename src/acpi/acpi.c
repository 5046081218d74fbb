/* SPDX-License-Identifier: MIT */
/* acpi.c - the guest's ACPI tables: what they say, and the PCI Express host bridge added to them
 *
 * ACPI in short (sections are of ACPI 6.5). An operating system learns from tables in memory what
 * hardware there is. The boot protocol of PVH gives it the address of the RSDP (5.2.5), which has
 * the address of the XSDT (5.2.8), a list of addresses of all other tables. Each table begins with
 * a signature, its length and a checksum (5.2.6). Those that matter here are:
 *
 * - MADT (5.2.12): the interrupt controllers, a local APIC for each vCPU and IOAPICs, if any.
 * - MCFG (PCI Firmware 3.3, 4.1.2): where the ECAM is, that is PCI configuration space.
 * - DSDT and SSDTs (5.2.11): programs in the ACPI Machine Language (AML, chapter 20). The operating
 *   system loads the DSDT and then each SSDT; they declare devices in one common namespace. A PCI
 *   Express host bridge is the device PNP0A08. Its _CRS lists the windows in which BARs can be
 *   placed; with its _OSC (6.2.11) the operating system asks which features of PCI Express it may
 *   control itself.
 *
 * A toolstack that knows nothing of virtio-pci builds tables without a PCI bridge; completing them
 * means adding one. That works since a guest reads the tables only when it boots, and the toolstack
 * does not let it run before the device model is ready; since the namespace is common, so that a
 * further SSDT can add a device and the DSDT need not be changed; and since the RSDP can stay where
 * it is: only the address in it changes.
 *
 * libxl puts the tables into pages from 0xfc000000: first a page that its AML reads, then the
 * tables, then a page that holds the RSDP alone (or, for old guests, the RSDP at 0xfffc0). We write
 * a marker, a new XSDT (the old entries and two more), MCFG and SSDT into the second half of the
 * RSDP's page, and as the last step point the RSDP to that XSDT.
 *
 * One thing has to be avoided: the toolstack's AML, run by the guest at boot, sets bit 0 of a byte
 * in each of 128 entries of 8 bytes from the MADT's first local APIC on, even if the MADT has fewer
 * entries. On Xen 4.17 that damages the RSDP of a guest that has run. So nothing is placed in that
 * kilobyte; a guest that was completed before (one that is restored, say) is recognised by the
 * marker alone, and its tables are found by their signatures, never by following the RSDP. The same
 * damage shows that a guest has run.
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

/* A copy of the area of the tables, up to the last page that exists; missing pages before it are
 * zero in the copy. */
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

/* Find the table with this signature at an aligned offset and wholly inside the area; NULL when
 * there is none. */
static const uint8_t *table_find(const struct area *a, const char *signature, uint32_t *len)
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

static uint64_t rsdp_find(struct gmem *gm, const struct area *a)
{
	uint8_t legacy[RSDP_SIZE];

	for (uint64_t off = 0; off + RSDP_SIZE <= a->size; off += 16)
		if (rsdp_valid(a->bytes + off))
			return LAYOUT_ACPI_BASE + off;
	if (gmem_read(gm, LEGACY_RSDP, legacy, sizeof(legacy)) == 0 && rsdp_valid(legacy))
		return LEGACY_RSDP;
	return 0;
}

static void madt_inspect(const uint8_t *madt, uint32_t len, struct acpi_info *info)
{
	for (uint32_t at = MADT_FIRST; at + 2 <= len && madt[at + 1] >= 2; at += madt[at + 1])
		if (madt[at] == MADT_IOAPIC)
			info->ioapic = true;
}

static bool dsdt_has_bridge(const uint8_t *dsdt, uint32_t len)
{
	static const uint8_t pnp0a08[] = {0x41, 0xd0, 0x0a, 0x08};

	return memmem(dsdt, len, pnp0a08, sizeof(pnp0a08)) != NULL;
}

/* Has the guest run the toolstack's AML? Then it has set the "enabled" bit of the first entry
 * behind the local APICs, where there were zeroes. */
static bool stock_aml_has_run(const struct area *a, const struct acpi_info *info)
{
	uint64_t off = info->aml_area - LAYOUT_ACPI_BASE;

	if (!info->aml_area || info->ioapic)
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
	info->rsdp = rsdp_find(gm, &a);
	lapic = get_le32(a.bytes + INFO_MADT);
	if (lapic >= LAYOUT_ACPI_BASE + PAGE && lapic < LAYOUT_ACPI_BASE + LAYOUT_ACPI_SIZE)
		info->aml_area = lapic;
	t = table_find(&a, "APIC", &len);
	if (t)
		madt_inspect(t, len, info);
	t = table_find(&a, "DSDT", &len);
	if (t)
		info->bridge = dsdt_has_bridge(t, len);
	for (uint64_t off = 0; off < a.size && !info->completed; off += ACPI_MARKER_ALIGN)
		info->completed = acpi_marker_read(a.bytes + off, LAYOUT_ACPI_BASE + off,
						   &info->layout, &info->ioapic);
	info->has_run = stock_aml_has_run(&a, info);
	free(a.bytes);
}

static bool ranges_overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* Copy the XSDT that the RSDP leads to into `xsdt`; returns its length, 0 when it is invalid. */
static uint32_t xsdt_read(struct gmem *gm, const struct acpi_info *info, uint8_t xsdt[XSDT_BYTES],
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

/* libxl puts the RSDP at the start of a page that holds nothing else. The rest of that page may
 * have any contents (nobody has written it, and Xen need not have scrubbed it), so zeroes cannot
 * tell whether it is free: no table may lie in the page. */
int acpi_place(struct gmem *gm, const struct acpi_info *info, uint64_t *gpa)
{
	uint64_t page = info->rsdp, at = page + PAGE - ACPI_ROOM, table;
	uint8_t xsdt[XSDT_BYTES];
	uint32_t len = xsdt_read(gm, info, xsdt, &table);

	if (!len || page % PAGE || page < LAYOUT_ACPI_BASE ||
	    ranges_overlap(page, PAGE, table, len) ||
	    (info->aml_area && ranges_overlap(at, ACPI_ROOM, info->aml_area, ACPI_AML_AREA)))
		return -ENOSPC;
	for (uint32_t i = ACPI_HEADER; i < len; i += 8)
		if (ranges_overlap(page, PAGE, get_le64(xsdt + i), ACPI_HEADER))
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
		    !(info->aml_area && ranges_overlap(at, PAGE, info->aml_area, ACPI_AML_AREA))) {
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
	uint32_t len = xsdt_read(gm, info, old, &xsdt);
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
