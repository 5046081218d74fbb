/* SPDX-License-Identifier: MIT */
/* pci.h - PCI functions, the root bus, and the address map that leads exits to them
 *
 * PCI in short (sections are of PCI Express Base 6.0). A bus has 32 slots (device numbers) of 8
 * functions each, and a function is what a driver sees as a device.
 *
 * - Configuration space (§7.5): each function has 4 KiB of registers. The first 64 bytes, the
 *   header, say what it is (vendor, device, class) and have COMMAND, which switches memory
 *   accesses, bus mastering (DMA and MSI) and interrupt lines on and off. A linked list of
 *   capabilities follows. All these registers lie in one range of physical addresses, the ECAM
 *   (§7.2.2): the address of a register contains its bus, slot, function and offset.
 * - Base address registers, BARs (§7.5.1.2.1): a function's own registers are in up to six ranges
 *   of memory. The guest finds the size of a range by writing all ones to its BAR and reading it
 *   back, and then writes the address where it wants the range. The function answers there (it
 *   "decodes" the BAR) while COMMAND allows memory accesses.
 * - Interrupts: INTx is a level on one of four lines, which functions share. MSI (§7.7.1) is one
 *   write to memory, whose address and data the guest stores in a capability. MSI-X (§7.7.2) has a
 *   table of such messages, the vectors, in a BAR, with a mask bit for each; while a vector is
 *   masked, its interrupt waits as a bit in the pending bit array (PBA).
 *
 * struct pci_fn is one function: its configuration space (values plus a mask of writable bits), its
 * BARs, its MSI message and its MSI-X table. struct pci_bus is the root bus: its functions, the
 * host bridge at 00.0, and the table of decoded BARs. ECAM and BAR accesses are answered on the
 * exit loop only, so configuration space, BAR addresses and the address map need no lock. What
 * other threads need (whether the function may do DMA, sending a vector) is atomic.
 */
#ifndef PCI_PCI_H
#define PCI_PCI_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "hv/hv.h"

#define PCI_CFG_SIZE	    4096
#define PCI_CFG_HEADER	    256 /* what a function stores; the extended space reads as zero */
#define PCI_BARS	    6
#define PCI_MSIX_MAX	    2048
#define PCI_DEVFN(slot, fn) (((slot) << 3) | (fn))

struct pci_bus;
struct pci_fn;
struct msix;

/* The handlers of a memory BAR (exit loop). An access has 1, 2, 4 or 8 bytes and lies inside the
 * BAR; it may be unaligned. */
struct pci_bar_ops {
	uint64_t (*read)(struct pci_fn *fn, uint64_t off, unsigned size);
	void (*write)(struct pci_fn *fn, uint64_t off, uint64_t data, unsigned size);
};

struct pci_bar {
	const struct pci_bar_ops *ops; /* NULL: no BAR here */
	uint64_t size;		       /* a power of two, at least 16 */
	bool is64, prefetch;
};

/* The constant identity of a function. */
struct pci_ident {
	uint16_t vendor, device, subvendor, subdevice;
	uint32_t class; /* 24 bits: class, subclass, interface */
	uint8_t revision;
};

/* The MSI capability as the guest programmed it; any thread may read it. */
struct pci_msi {
	uint8_t cap; /* offset of the capability, 0: none */
	atomic_bool enabled;
	_Atomic uint64_t addr;
	atomic_uint data;
};

struct pci_fn {
	struct pci_bus *bus; /* NULL: not plugged */
	char *id;	     /* -device id=, for messages and QMP; may be NULL */
	const char *kind;    /* device type name, "virtio-blk-pci" */
	char *bus_name;	     /* -device bus= */
	bool multifunction;
	int devfn; /* slot and function; -1 before plugging: the first free slot */
	uint8_t cfg[PCI_CFG_HEADER];
	uint8_t wmask[PCI_CFG_HEADER]; /* bits that the guest may write */
	uint8_t cap_next;	       /* first free byte for a capability */
	struct pci_bar bar[PCI_BARS];
	uint8_t express; /* offset of the PCI Express capability, 0: none */
	struct pci_msi msi;
	struct msix *msix;	   /* NULL: none */
	atomic_bool master;	   /* COMMAND.MASTER, readable by any thread */
	atomic_bool intx_off;	   /* COMMAND.INTX_DISABLE */
	atomic_bool intx_asserted; /* the level that the device has set */
	bool intx_driven;	   /* it counts in the line's level; under the bus' line lock */
	/* Called after a configuration write to [off, off + len) was stored. May be NULL. */
	void (*cfg_written)(struct pci_fn *fn, unsigned off, unsigned len);
	/* Called before a configuration read of [off, off + len), so that the function can update
	 * registers that change by themselves. May be NULL. */
	void (*cfg_reading)(struct pci_fn *fn, unsigned off, unsigned len);
	/* Called for a function-level reset: the device must return to its state after plugging.
	 * The caller has reset configuration space, BARs included. May be NULL. */
	void (*reset)(struct pci_fn *fn);
	struct log_rate rate;
};

/* --- building a function (control thread, before it is plugged) --- */

/* Fill in a header of type 0 with `ident`, and make the writable bits of COMMAND, the cache line
 * size and the interrupt line writable. */
void pci_fn_init(struct pci_fn *fn, const char *kind, const struct pci_ident *ident);
/* Free what pci_fn_init() and the functions below allocated, but not `fn`. */
void pci_fn_free(struct pci_fn *fn);

/* Append a capability of `len` bytes (header included); returns its offset. The capabilities of a
 * function must fit into PCI_CFG_HEADER bytes; that is not checked. */
uint8_t pci_cap_add(struct pci_fn *fn, uint8_t cap_id, uint8_t len);
/* Append the PCI Express capability, version 2, of a root complex integrated endpoint with
 * function-level reset. */
void pci_cap_express(struct pci_fn *fn);
/* Declare BAR `n` (and `n` + 1 when `is64`) of `size` bytes, a power of two from 16 on. */
void pci_bar_add(struct pci_fn *fn, unsigned n, uint64_t size, bool is64, bool prefetch,
		 const struct pci_bar_ops *ops);

/* --- the bus --- */

struct pci_bus *pci_bus_new(struct hv *hv, uint64_t ecam_base, uint64_t ecam_size);
void pci_bus_free(struct pci_bus *bus); /* the functions must be gone */
/* Put `fn` at fn->devfn, or at the first free slot when that is -1. 0, or a negative errno with `e`
 * (-EBUSY, -ENOSPC, ...). On the exit loop, or before hv_serve(). */
int pci_bus_plug(struct pci_bus *bus, struct pci_fn *fn, struct err *e);
void pci_bus_unplug(struct pci_fn *fn);
struct pci_fn *pci_bus_fn(struct pci_bus *bus, unsigned devfn); /* NULL when empty */
struct hv *pci_bus_hv(struct pci_bus *bus);

/* The 1b36:0008 host bridge at 00.0, as QEMU's GPEX shows it. */
int pci_host_bridge_add(struct pci_bus *bus, struct err *e);

/* Handle an exit (exit loop) at any address in a claimed range. Bytes that no function decodes read
 * as ones; writes to them are dropped. */
uint64_t pci_bus_read(struct pci_bus *bus, uint64_t addr, unsigned size);
void pci_bus_write(struct pci_bus *bus, uint64_t addr, uint64_t data, unsigned size);

/* Access the configuration space of a function (exit loop) with any width. QMP's query-pci uses
 * pci_cfg_read(), too, through loop_call(). */
uint64_t pci_cfg_read(struct pci_fn *fn, unsigned off, unsigned size);
void pci_cfg_write(struct pci_fn *fn, unsigned off, uint64_t data, unsigned size);
/* The address that the guest has programmed for BAR `n`, decoded or not; UINT64_MAX when it has not
 * programmed one. */
uint64_t pci_bar_addr(const struct pci_fn *fn, unsigned n);

/* --- interrupts --- */

/* Add MSI-X with `vectors` entries (1..2048) in a 64-bit BAR of its own, number `bar`: the table is
 * at offset 0, the PBA in the second half. 0 or -ENOMEM. */
int msix_init(struct pci_fn *fn, unsigned bar, unsigned vectors);
void msix_free(struct pci_fn *fn);
void msix_reset(struct pci_fn *fn);
unsigned msix_vectors(const struct pci_fn *fn);
/* Any thread: has the guest enabled MSI-X? */
bool msix_enabled(const struct pci_fn *fn);
/* Any thread: send vector `v`, or set its pending bit if the vector or the whole function is
 * masked. A vector beyond the table is ignored. */
void msix_raise(struct pci_fn *fn, unsigned v);

/* Add MSI with one message. It takes 16 bytes of the space for capabilities. */
void msi_init(struct pci_fn *fn);
/* Any thread: has the guest enabled MSI? */
bool msi_enabled(const struct pci_fn *fn);
/* Any thread: send the message; nothing while MSI is off. */
void msi_raise(struct pci_fn *fn);

/* Any thread: assert or deassert the function's INTA. It is routed to line (slot + pin) % 4, which
 * other functions share. The line does not change if the platform has no INTx (then the interrupt
 * pin register reads 0) or COMMAND disables it. */
void pci_intx_set(struct pci_fn *fn, bool level);

#endif
