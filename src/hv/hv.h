/* SPDX-License-Identifier: MIT */
/* hv.h - the interface between the machine and the hypervisor
 *
 * Two implementations: src/xen (a domain of a real Xen) and src/qtest (one process, RAM from a
 * memory backend, accesses from QEMU's qtest protocol). The machine, PCI and virtio know only this
 * header.
 *
 * An implementation's own function opens it; then the facts in struct hv are valid. The control
 * thread calls hv_claim() for each range, then hv_serve(), hv_restrict(), hv_announce(), and at the
 * end hv_close(). After hv_serve(), exits (accesses of vCPUs to the claimed ranges) arrive on the
 * exit loop: the client's read() and write() are called there, for one access at a time. The vCPU
 * goes on before any task that they deferred runs.
 */
#ifndef HV_HV_H
#define HV_HV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"

/* A page of the guest, which is the unit of Xen's interfaces and of ACPI's and PVH's layout. */
#define PAGE_SHIFT 12
#define PAGE	   (1ULL << PAGE_SHIFT)

struct gmem;
struct hv;

/* Events of the domain, reported on the control loop. A paused or suspended domain has none: it is
 * served as before. */
enum hv_event {
	HV_GONE, /* the domain was destroyed, or the qtest peer has left: the program must end */
};

/* The callbacks of the machine. */
struct hv_client {
	/* Called on the exit loop. `size` is 1, 2, 4 or 8, and the access lies within one claimed
	 * range. */
	uint64_t (*read)(void *ctx, uint64_t addr, unsigned size);
	void (*write)(void *ctx, uint64_t addr, uint64_t data, unsigned size);
	/* Called on the control loop. */
	void (*event)(void *ctx, enum hv_event event);
	void *ctx;
};

struct hv_ops {
	int (*claim)(struct hv *hv, uint64_t base, uint64_t size, struct err *e);
	int (*serve)(struct hv *hv, struct loop *exits, struct loop *control,
		     const struct hv_client *client, struct err *e);
	int (*msi)(struct hv *hv, uint64_t addr, uint32_t data);
	int (*intx)(struct hv *hv, unsigned line, bool level);
	int (*restrict_self)(struct hv *hv, struct err *e);
	int (*announce)(struct hv *hv, struct err *e);
	void (*close)(struct hv *hv);
};

#define HV_RAM_RANGES 4
struct hv_range {
	uint64_t base, size;
};

struct hv {
	const struct hv_ops *ops;
	/* Facts about the domain, constant after open. */
	struct gmem *mem;		    /* its RAM */
	struct hv_range ram[HV_RAM_RANGES]; /* ascending, not overlapping */
	unsigned ram_ranges;
	unsigned vcpus;	     /* their number, offline ones included */
	unsigned paddr_bits; /* width of guest-physical addresses */
	bool has_intx;	     /* there is an IOAPIC, so INTx lines reach the guest */
};

/* Have accesses to [base, base + size) sent to the client; called before hv_serve(). 0 or -errno
 * with `e`. */
static inline int hv_claim(struct hv *hv, uint64_t base, uint64_t size, struct err *e)
{
	return hv->ops->claim(hv, base, size, e);
}

/* Begin to serve exits. `client` must live as long as `hv`. 0 or -errno with `e`. */
static inline int hv_serve(struct hv *hv, struct loop *exits, struct loop *control,
			   const struct hv_client *client, struct err *e)
{
	return hv->ops->serve(hv, exits, control, client, e);
}

/* Any thread: deliver a message-signalled interrupt. It fails when the guest programmed a bad
 * address or the domain has ended, so callers ignore the error. */
static inline int hv_msi(struct hv *hv, uint64_t addr, uint32_t data)
{
	return hv->ops->msi(hv, addr, data);
}

/* Any thread: set the level of INTx line 0-3 of the host bridge. Only if `has_intx`. */
static inline int hv_intx(struct hv *hv, unsigned line, bool level)
{
	return hv->ops->intx(hv, line, level);
}

/* Give up all rights over other domains; that cannot be undone (-xen-domid-restrict). */
static inline int hv_restrict(struct hv *hv, struct err *e)
{
	return hv->ops->restrict_self(hv, e);
}

/* Tell the toolstack that the device model runs. */
static inline int hv_announce(struct hv *hv, struct err *e)
{
	return hv->ops->announce(hv, e);
}

/* The exit loop's thread must have ended. Frees `hv` and its memory. */
static inline void hv_close(struct hv *hv)
{
	hv->ops->close(hv);
}

#endif
