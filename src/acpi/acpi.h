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
	uint64_t aml_area; /* the toolstack's AML writes to the ACPI_AML_AREA bytes from here; 0: it
			      writes nowhere */
	bool ioapic;	   /* there is one, so interrupt lines exist */
	bool bridge;	   /* the DSDT declares a PCI Express host bridge */
	bool has_run;	   /* the guest has run the toolstack's AML already */
	bool completed;	   /* acpi_complete() has run for this guest, perhaps on another host... */
	struct layout layout; /* ... and this is the layout that it described */
};
#define ACPI_AML_AREA 1024

/* Find and read the tables. A guest that has run may have damaged them: everything is checked, and
 * what is missing or invalid leaves its field in `info` zero; that is no error. */
void acpi_inspect(struct gmem *gm, struct acpi_info *info);

/* Room that acpi_complete() needs. */
#define ACPI_ROOM 2048

/* Find ACPI_ROOM free bytes for the new tables: the second half of the RSDP's page. 0, or -ENOSPC
 * when that is not free. */
int acpi_place(struct gmem *gm, const struct acpi_info *info, uint64_t *gpa);
/* Find a page that can be added to the guest for them instead: one without memory in the area of
 * the tables. 0 or -ENOSPC. */
int acpi_spare_page(struct gmem *gm, const struct acpi_info *info, uint64_t *gpa);

/* Write MCFG, SSDT and a new XSDT to `gpa` (ACPI_ROOM bytes, 64-byte aligned) and point the RSDP to
 * it. `intx`: describe interrupt lines as GSI 16-19. 0 or a negative errno with `e`; the RSDP is
 * written last. */
int acpi_complete(struct gmem *gm, const struct acpi_info *info, const struct layout *layout,
		  bool intx, uint64_t gpa, struct err *e);

#endif
