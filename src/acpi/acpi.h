/* SPDX-License-Identifier: MIT */
/* acpi.h - read the ACPI tables of a PVH guest, and add the PCI Express host bridge where they have
 * none
 *
 * All access goes through gmem_read() and gmem_write(): a test runs it on plain memory. Control
 * thread, guest paused.
 */
#ifndef ACPI_ACPI_H
#define ACPI_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "hv/layout.h"

struct gmem;

/* -machine acpi= */
enum acpi_mode {
	ACPI_AUTO, /* complete the tables where they have no bridge and the guest has not run yet */
	ACPI_ON,   /* the same, and fail where that is not possible */
	ACPI_OFF,  /* leave them alone */
};

/* What the tables say. */
struct acpi_info {
	uint64_t rsdp;	   /* 0: not found */
	uint64_t scribble; /* stock AML overwrites up to ACPI_SCRIBBLE bytes from here; 0: it does
			      not */
	bool ioapic;	   /* there is one, so interrupt lines exist */
	bool bridge;	   /* the DSDT declares a PCI Express host bridge */
	bool has_run;	   /* the guest has evaluated the stock AML already */
	bool completed;	   /* by acpi_complete(), now or in an earlier life of the guest... */
	struct layout layout; /* ... with this layout */
};
#define ACPI_SCRIBBLE 1024

/* Find and read the tables. A guest that has run may have damaged them: everything is checked,
 * nothing is an error; what is not found stays zero. */
void acpi_inspect(struct gmem *gm, struct acpi_info *info);

/* Room that acpi_complete() needs. */
#define ACPI_ROOM 2048

/* A free place of ACPI_ROOM bytes for the new tables: the second half of the RSDP's page. -ENOSPC
 * when that is not free. */
int acpi_place(struct gmem *gm, const struct acpi_info *info, uint64_t *gpa);
/* Where a page could be added for them instead: an address without memory in the area of the
 * tables. 0 or -ENOSPC. */
int acpi_spare_page(struct gmem *gm, const struct acpi_info *info, uint64_t *gpa);

/* Write MCFG, SSDT and a new XSDT to `gpa` (ACPI_ROOM bytes, 64-byte aligned) and point the RSDP to
 * it. `intx`: describe interrupt lines as GSI 16-19. 0 or a negative errno with `e`; the RSDP is
 * written last. */
int acpi_complete(struct gmem *gm, const struct acpi_info *info, const struct layout *layout,
		  bool intx, uint64_t gpa, struct err *e);

#endif
