/* SPDX-License-Identifier: MIT */
/* layout.h - where RAM, ECAM and the two MMIO windows lie in the guest's physical address space
 *
 * Pure arithmetic on what -machine states and on what the hypervisor knows. Used on the control
 * thread before anything is claimed; fails with one clear line.
 */
#ifndef HV_LAYOUT_H
#define HV_LAYOUT_H

#include <stdint.h>

#include "base/err.h"
#include "hv/hv.h"

/* What -machine and -m state. A range of size 0 was not given. */
struct layout_conf {
	struct hv_range ram_low, ram_high, ecam, mmio, mmio_high;
	uint64_t mem; /* -m in bytes; 0: not given */
};

/* What is used. Only `mmio` and `mmio_high` may be absent (size 0), and not both. */
struct layout {
	struct hv_range ecam;	   /* 1 MiB for each bus, from bus 0 */
	struct hv_range mmio;	   /* 32-bit window */
	struct hv_range mmio_high; /* 64-bit window */
};

/* Configuration space of one bus: 4 KiB for each of its 256 functions. */
#define LAYOUT_ECAM_BUS 0x100000ULL

/* Where libxl ends the low RAM of a PVH guest and where it puts the ACPI tables: at most 18 pages
 * from here. */
#define LAYOUT_LOW_RAM_END 0xfc000000ULL
#define LAYOUT_ACPI_BASE   0xfc000000ULL
#define LAYOUT_ACPI_SIZE   0x13000ULL
#define LAYOUT_HIGH_RAM	   0x100000000ULL

/* The RAM that the line states, as QEMU splits it: -m fills ram-low first, the rest goes to
 * ram-high. Without ram-*, as libxl builds a PVH guest of -m. Returns the number of ranges (at most
 * 2), 0 when nothing is stated, or -EINVAL. */
int layout_stated_ram(const struct layout_conf *conf, struct hv_range ram[2], struct err *e);

/* The RAM of a domain that may have `mem` bytes and whose highest page is `top` (a frame number).
 * Returns the number of ranges. */
unsigned layout_domain_ram(uint64_t mem, uint64_t top, struct hv_range ram[2]);

/* Does the map of the line describe this RAM? Does nothing when the line has no ram-*. 0 or -EINVAL
 * with `e`. */
int layout_check_ram(const struct layout_conf *conf, const struct hv_range *ram, unsigned ranges,
		     struct err *e);

/* The windows: those of the line, the others chosen in the holes; checked against RAM, each other
 * and the width of an address. 0 or -EINVAL with `e`. */
int layout_resolve(const struct layout_conf *conf, const struct hv_range *ram, unsigned ranges,
		   unsigned paddr_bits, struct layout *out, struct err *e);

#endif
