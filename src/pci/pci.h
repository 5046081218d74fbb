/* SPDX-License-Identifier: MIT */
/* pci.h - PCI functions, the root bus, and the address map that leads exits to them
 *
 * struct pci_fn is one function: its configuration space (values plus a mask of writable bits), its
 * BARs, its MSI message and its MSI-X table. struct pci_bus is the root bus: 32 slots of 8
 * functions, the host bridge at 00.0, and the table of decoded BARs. ECAM accesses and BAR accesses
 * are answered on the exit loop only; so configuration space, BAR addresses and the address map
 * need no lock. What other threads ask (may this function do DMA? send this vector) is atomic.
 *
 * PCI Express Base 6.0 §7.5 (configuration space), §7.7.1 (MSI), §7.7.2 (MSI-X); Xen's and Linux'
 * habits where the issue leaves room.
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

/* A memory BAR. Accesses are 1, 2, 4 or 8 bytes, lie inside the BAR, may be unaligned. */
struct pci_bar_ops {
	uint64_t (*read)(struct pci_fn *fn, uint64_t off, unsigned size);
	void (*write)(struct pci_fn *fn, uint64_t off, uint64_t data, unsigned size);
};

struct pci_bar {
	const struct pci_bar_ops *ops; /* NULL: no BAR here */
	uint64_t size;		       /* a power of two, at least 16 */
	bool is64, prefetch;
};

/* Identity of a function, fixed. */
struct pci_ident {
	uint16_t vendor, device, subvendor, subdevice;
	uint32_t class; /* 24 bits: class, subclass, interface */
	uint8_t revision;
};

/* What the guest programmed; readable by any thread. */
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
	int devfn; /* -1 before it is plugged: first free slot */
	uint8_t cfg[PCI_CFG_HEADER];
	uint8_t wmask[PCI_CFG_HEADER]; /* bits that the guest may write */
	uint8_t cap_next;	       /* first free byte for a capability */
	struct pci_bar bar[PCI_BARS];
	uint8_t express; /* offset of the PCI Express capability, 0: none */
	struct pci_msi msi;
	struct msix *msix;	   /* NULL: none */
	atomic_bool master;	   /* COMMAND.MASTER, readable by any thread */
	atomic_bool intx_off;	   /* COMMAND.INTX_DISABLE */
	atomic_bool intx_asserted; /* what the device wants */
	bool intx_driven;	   /* what the line got, under the bus's line lock */
	/* Called after a configuration write to [off, off + len) was stored. May be NULL. */
	void (*cfg_written)(struct pci_fn *fn, unsigned off, unsigned len);
	/* Called before a configuration read, so that a window can be refreshed. May be NULL. */
	void (*cfg_reading)(struct pci_fn *fn, unsigned off, unsigned len);
	/* Bus reset or function-level reset: back to the state after plug, BARs cleared by the
	 * caller. May be NULL. */
	void (*reset)(struct pci_fn *fn);
	struct log_rate rate;
};

/* --- building a function (control thread, before it is plugged) --- */

/* Header type 0 with `ident`, COMMAND's writable bits, cache line and interrupt line. */
void pci_fn_init(struct pci_fn *fn, const char *kind, const struct pci_ident *ident);
void pci_fn_free(struct pci_fn *fn); /* what init and the calls below allocated; not `fn` */

/* Append a capability of `len` bytes (header included); returns its offset. Callers know that it
 * fits. */
uint8_t pci_cap_add(struct pci_fn *fn, uint8_t cap_id, uint8_t len);
/* PCI Express capability of a root complex integrated endpoint, version 2, with function-level
 * reset. */
void pci_cap_express(struct pci_fn *fn);
/* Declare BAR `n` (and `n` + 1 when 64 bit). */
void pci_bar_add(struct pci_fn *fn, unsigned n, uint64_t size, bool is64, bool prefetch,
		 const struct pci_bar_ops *ops);

/* --- the bus --- */

struct pci_bus *pci_bus_new(struct hv *hv, uint64_t ecam_base, uint64_t ecam_size);
void pci_bus_free(struct pci_bus *bus); /* the functions must be gone */
/* Put `fn` at fn->devfn, or at the first free slot when that is -1. -EBUSY or -ENOSPC with `e`.
 * Exit loop or before hv_serve(). */
int pci_bus_plug(struct pci_bus *bus, struct pci_fn *fn, struct err *e);
void pci_bus_unplug(struct pci_fn *fn);
struct pci_fn *pci_bus_fn(struct pci_bus *bus, unsigned devfn); /* NULL when empty */
struct hv *pci_bus_hv(struct pci_bus *bus);

/* The 1b36:0008 host bridge at 00.0, as QEMU's GPEX shows it. */
int pci_host_bridge_add(struct pci_bus *bus, struct err *e);

/* Exits (exit loop): any address in a claimed range. Unclaimed bytes read as ones; writes there are
 * dropped. */
uint64_t pci_bus_read(struct pci_bus *bus, uint64_t addr, unsigned size);
void pci_bus_write(struct pci_bus *bus, uint64_t addr, uint64_t data, unsigned size);

/* Configuration space by function and offset (exit loop), all widths; also used by QMP's query-pci
 * through loop_call(). */
uint64_t pci_cfg_read(struct pci_fn *fn, unsigned off, unsigned size);
void pci_cfg_write(struct pci_fn *fn, unsigned off, uint64_t data, unsigned size);
/* Address at which BAR `n` is programmed (decoded or not); UINT64_MAX when it is not. */
uint64_t pci_bar_addr(const struct pci_fn *fn, unsigned n);

/* --- interrupts --- */

/* MSI-X with `vectors` entries (1..2048) in BAR `bar` of its own (64 bit): table at 0, PBA in the
 * second half. 0 or -ENOMEM. */
int msix_init(struct pci_fn *fn, unsigned bar, unsigned vectors);
void msix_free(struct pci_fn *fn);
void msix_reset(struct pci_fn *fn);
unsigned msix_vectors(const struct pci_fn *fn);
/* Any thread: is MSI-X on in the control register? */
bool msix_enabled(const struct pci_fn *fn);
/* Any thread: send vector `v`, or set its pending bit while it or the function is masked. A bad
 * vector is ignored. */
void msix_raise(struct pci_fn *fn, unsigned v);

/* MSI with one message. Needs 16 bytes of capabilities. */
void msi_init(struct pci_fn *fn);
/* Any thread: is MSI on? */
bool msi_enabled(const struct pci_fn *fn);
/* Any thread: send the message; nothing while MSI is off. */
void msi_raise(struct pci_fn *fn);

/* Any thread: assert or deassert the function's INTA, routed to line (slot + pin) % 4 and shared
 * with other functions. Does nothing where the platform has no INTx (then interrupt pin reads 0) or
 * COMMAND says no. */
void pci_intx_set(struct pci_fn *fn, bool level);

#endif
