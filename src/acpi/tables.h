/* SPDX-License-Identifier: MIT */
/* tables.h - the bytes of our marker, XSDT, MCFG and SSDT (no guest memory here) */
#ifndef ACPI_TABLES_H
#define ACPI_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/layout.h"

#define ACPI_HEADER	  36
#define ACPI_MARKER_ALIGN 64

uint8_t acpi_sum(const void *p, size_t len);
/* The value that makes the sum zero, where the checksum's own byte is zero now. */
uint8_t acpi_checksum(const void *p, size_t len);

/* Fill `room` (zeroed), which will lie at `gpa`: the marker first, then an XSDT with the entries of
 * `old_xsdt` and ours, MCFG, SSDT.
 * `*xsdt`: address of the new one. 0 or -ENOSPC. */
int acpi_tables_build(uint8_t *room, size_t size, uint64_t gpa, const uint8_t *old_xsdt,
		      uint32_t old_len, const struct layout *layout, bool intx, uint64_t *xsdt);

/* The SSDT alone, header included; its length, or 0 when it does not fit. */
size_t acpi_ssdt_build(uint8_t *buf, size_t size, const struct layout *layout, bool intx);

/* Is this, from address `gpa` (ACPI_MARKER_ALIGN bytes are readable), our marker? Then what it
 * says. */
bool acpi_marker_read(const uint8_t *p, uint64_t gpa, struct layout *layout, bool *intx);

#endif
