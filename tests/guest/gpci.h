/* SPDX-License-Identifier: MIT */
/* gpci.h - the guest's PCI: configuration space through ECAM, BARs, capabilities, MSI-X with
 * messages into RAM */
#ifndef GUEST_GPCI_H
#define GUEST_GPCI_H

#include "guest.h"

#define GPCI_COMMAND	    0x04
#define GPCI_COMMAND_MEM    0x02
#define GPCI_COMMAND_MASTER 0x04
#define GPCI_COMMAND_NOINTX 0x400
#define GPCI_BAR0	    0x10
#define GPCI_CAP_VENDOR	    0x09
#define GPCI_CAP_EXPRESS    0x10
#define GPCI_CAP_MSIX	    0x11

struct gpci_bar {
	uint64_t addr, size; /* size 0: none */
	bool is64, prefetch, io;
};

struct gpci {
	struct guest *g;
	unsigned devfn;
	uint16_t vendor, device;
	struct gpci_bar bar[6];
	/* MSI-X; vectors is 0 when there is none */
	unsigned msix_cap, vectors;
	uint64_t msix_table, msix_pba; /* absolute addresses */
	uint64_t messages;	       /* gpa of one 32-bit word per vector */
};

uint64_t gpci_ecam(unsigned bus, unsigned devfn, unsigned off);
uint32_t gpci_cfg(struct gpci *p, unsigned off, unsigned size);
void gpci_cfg_set(struct gpci *p, unsigned off, unsigned size, uint32_t value);

/* Function `devfn` of bus 0; false when nobody is there. Only identifies it. */
bool gpci_at(struct guest *g, struct gpci *p, unsigned devfn);
/* The `nth` function with these ids. */
bool gpci_find(struct guest *g, struct gpci *p, uint16_t vendor, uint16_t device, unsigned nth);
/* Size the memory BARs and give them addresses, find MSI-X, switch decoding and bus mastering on.
 */
void gpci_setup(struct gpci *p);
/* Size of BAR `n` by the book (all ones, read, restore), with its kind. */
struct gpci_bar gpci_size_bar(struct gpci *p, unsigned n);
/* Program BAR `n`. */
void gpci_move_bar(struct gpci *p, unsigned n, uint64_t addr);
/* Offset of the next capability `id` behind `from` (0: the first); 0 when there is none. Bounded.
 */
unsigned gpci_cap(struct gpci *p, uint8_t id, unsigned from);

/* --- MSI-X --- */

/* Let every vector v write v + 1 to its word of RAM, unmask all, enable. */
void gpci_msix_on(struct gpci *p);
void gpci_msix_control(struct gpci *p, bool enable, bool function_mask);
void gpci_msix_mask(struct gpci *p, unsigned v, bool masked);
void gpci_msix_entry(struct gpci *p, unsigned v, uint64_t addr, uint32_t data);
bool gpci_msix_pending(struct gpci *p, unsigned v);
/* Has vector `v` fired since the last time? Forgets it. */
bool gpci_msix_take(struct gpci *p, unsigned v);

#endif
