/* SPDX-License-Identifier: MIT */
/* tables.h - the contents of our marker, XSDT, MCFG and SSDT
 *
 * These functions work on buffers of ours; acpi.c copies them to and from the guest's memory.
 */
#ifndef ACPI_TABLES_H
#define ACPI_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/layout.h"

#define ACPI_HEADER	  36
#define ACPI_MARKER_ALIGN 64

uint8_t acpi_sum(const void *p, size_t len);
/* The checksum byte that makes the sum of all `len` bytes zero; that byte must be zero now. */
uint8_t acpi_checksum(const void *p, size_t len);

/* Fill `room`, which must be zeroed and will be copied to guest address `gpa`: the marker first,
 * then an XSDT with the entries of `old_xsdt` and ours, then MCFG and SSDT. Sets `*xsdt` to the
 * address of the new XSDT. 0, or -ENOSPC when they need more than `size` bytes. */
int acpi_tables_build(uint8_t *room, size_t size, uint64_t gpa, const uint8_t *old_xsdt,
		      uint32_t old_len, const struct layout *layout, bool intx, uint64_t *xsdt);

/* The SSDT alone, header included; its length, or 0 when it does not fit. */
size_t acpi_ssdt_build(uint8_t *buf, size_t size, const struct layout *layout, bool intx);

/* Is this our marker, read from guest address `gpa` (`p` has ACPI_MARKER_ALIGN bytes)? Then it
 * fills `layout` and `intx` from it. */
bool acpi_marker_read(const uint8_t *p, uint64_t gpa, struct layout *layout, bool *intx);

#endif
