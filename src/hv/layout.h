/* SPDX-License-Identifier: MIT */
/* layout.h - where RAM, ECAM and the two MMIO windows lie in the guest's physical address space
 *
 * These functions only compute, from what -machine and -m state and from the facts in struct hv.
 * The control thread uses them before it claims any range.
 */
#ifndef HV_LAYOUT_H
#define HV_LAYOUT_H

#include <stdint.h>

#include "base/err.h"
#include "hv/hv.h"

/* The ranges that -machine and -m state. One of size 0 was not given. */
struct layout_conf {
	struct hv_range ram_low, ram_high, ecam, mmio, mmio_high;
	uint64_t mem; /* -m in bytes; 0: not given */
};

/* The ranges that the machine uses. `mmio` or `mmio_high` may be absent (size 0), but not both. */
struct layout {
	struct hv_range ecam;	   /* 1 MiB for each bus, from bus 0 */
	struct hv_range mmio;	   /* 32-bit window */
	struct hv_range mmio_high; /* 64-bit window */
};

/* Configuration space of one bus: 4 KiB for each of its 256 functions. */
#define LAYOUT_ECAM_BUS 0x100000ULL

/* libxl ends the low RAM of a PVH guest here, and puts the ACPI tables here: at most 18 pages. */
#define LAYOUT_LOW_RAM_END 0xfc000000ULL
#define LAYOUT_ACPI_BASE   0xfc000000ULL
#define LAYOUT_ACPI_SIZE   0x13000ULL
#define LAYOUT_HIGH_RAM	   0x100000000ULL

/* The RAM that the command line states, split like QEMU does: -m fills ram-low first, and the rest
 * goes to ram-high. Without ram-*, it is split like libxl does for a PVH guest of -m. Returns the
 * number of ranges (at most 2), 0 when none is stated, or -EINVAL with `e`. */
int layout_stated_ram(const struct layout_conf *conf, struct hv_range ram[2], struct err *e);

/* The RAM of a domain that may have `mem` bytes and whose highest page is `top` (a frame number).
 * Returns the number of ranges. */
unsigned layout_domain_ram(uint64_t mem, uint64_t top, struct hv_range ram[2]);

/* Check that ram-* and -m on the command line describe this RAM, if there is a ram-*. 0 or -EINVAL
 * with `e`. */
int layout_check_ram(const struct layout_conf *conf, const struct hv_range *ram, unsigned ranges,
		     struct err *e);

/* Compute the windows: use those that the command line states, place the others where nothing else
 * is, and check all against RAM, each other and the width of an address. 0 or -EINVAL with `e`. */
int layout_resolve(const struct layout_conf *conf, const struct hv_range *ram, unsigned ranges,
		   unsigned paddr_bits, struct layout *out, struct err *e);

#endif
