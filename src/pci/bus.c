/* SPDX-License-Identifier: MIT */
/* bus.c - the root bus: slots, the address map, ECAM, and the four interrupt lines
 *
 * The address of an exit is either in the ECAM window (bus, device, function and register are in
 * the address) or in a BAR. `map` has the decoded BARs sorted by address. It is built again
 * whenever a guest changes COMMAND or a BAR, which it does at boot and rarely after that. The entry
 * that was hit last is tried first.
 *
 * A BAR that the guest places over the ECAM window or over a BAR of a function in a lower slot is
 * not decoded, and the other one goes on working. A BAR never hides RAM, because only the windows
 * are claimed from the hypervisor.
 *
 * Threads: everything runs on the exit loop except pci_intx_set(), which takes the line lock.
 */
#include "pci/internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/trace.h"
#include "base/util.h"
#include "hv/layout.h"
#include "pci/ids.h"

#define FUNCTIONS  256
#define INTX_LINES 4

struct decoded {
	uint64_t base, size;
	struct pci_fn *fn;
	const struct pci_bar_ops *ops;
};

struct pci_bus {
	struct hv *hv;
	uint64_t ecam_base, ecam_size;
	struct pci_fn host; /* the bridge at 00.0 */
	struct pci_fn *fns[FUNCTIONS];
	struct decoded
		*map; /* sorted, disjoint; room for every BAR of every function that is plugged */
	unsigned mapped, map_room;
	unsigned last; /* index of the last hit */
	pthread_mutex_t line_lock;
	unsigned line[INTX_LINES]; /* for each line, the number of functions that assert it */
};

struct pci_bus *pci_bus_new(struct hv *hv, uint64_t ecam_base, uint64_t ecam_size)
{
	struct pci_bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return NULL;
	bus->hv = hv;
	bus->ecam_base = ecam_base;
	bus->ecam_size = ecam_size;
	pthread_mutex_init(&bus->line_lock, NULL);
	return bus;
}

void pci_bus_free(struct pci_bus *bus)
{
	if (!bus)
		return;
	pthread_mutex_destroy(&bus->line_lock);
	free(bus->map);
	free(bus);
}

struct hv *pci_bus_hv(struct pci_bus *bus)
{
	return bus->hv;
}

struct pci_fn *pci_bus_fn(struct pci_bus *bus, unsigned devfn)
{
	return devfn < FUNCTIONS ? bus->fns[devfn] : NULL;
}

int pci_bus_plug(struct pci_bus *bus, struct pci_fn *fn, struct err *e)
{
	struct decoded *map;

	if (fn->devfn < 0) {
		for (int slot = 0; slot < FUNCTIONS && fn->devfn < 0; slot += 8) {
			bool empty = true;

			for (int i = 0; i < 8; i++)
				empty = empty && !bus->fns[slot + i];
			if (empty)
				fn->devfn = slot;
		}
		if (fn->devfn < 0)
			return err_set(e, -ENOSPC,
				       "PCI: no slot/function available for %s, all in use",
				       fn->kind);
	} else if (bus->fns[fn->devfn]) {
		const struct pci_fn *other = bus->fns[fn->devfn];

		return err_set(e, -EBUSY,
			       "PCI: slot %d function %d not available for %s, in use by %s,id=%s",
			       fn->devfn >> 3, fn->devfn & 7, fn->kind, other->kind,
			       other->id ? other->id : "(null)");
	} else if (fn->devfn & 7 && bus->fns[fn->devfn & ~7] &&
		   !bus->fns[fn->devfn & ~7]->multifunction) {
		return err_set(e, -EINVAL,
			       "PCI: single function device can't be populated in function %x.%d: "
			       "function 0 needs multifunction=on",
			       fn->devfn >> 3, fn->devfn & 7);
	}
	/* A guest looks for further functions only if function 0 has this bit. */
	if (fn->multifunction)
		fn->cfg[PCI_HEADER] |= PCI_HEADER_MULTI;
	map = realloc(bus->map, (bus->map_room + PCI_BARS) * sizeof(*map));
	if (!map)
		return err_nomem(e);
	bus->map = map;
	bus->map_room += PCI_BARS;
	bus->fns[fn->devfn] = fn;
	fn->bus = bus;
	return 0;
}

void pci_bus_unplug(struct pci_fn *fn)
{
	struct pci_bus *bus = fn->bus;

	if (!bus)
		return;
	pci_intx_set(fn, false);
	bus->fns[fn->devfn] = NULL;
	bus->map_room -= PCI_BARS;
	pci_bus_decode(bus);
	fn->bus = NULL;
}

static bool ranges_overlap(uint64_t base, uint64_t size, uint64_t other, uint64_t other_size)
{
	return base < other + other_size && other < base + size;
}

static void bar_decode(struct pci_bus *bus, struct pci_fn *fn, unsigned n)
{
	const struct pci_bar *b = &fn->bar[n];
	uint64_t addr = pci_bar_addr(fn, n);
	unsigned at = 0;

	if (!b->ops || addr == UINT64_MAX ||
	    ranges_overlap(addr, b->size, bus->ecam_base, bus->ecam_size))
		return;
	while (at < bus->mapped && bus->map[at].base < addr)
		at++;
	if ((at > 0 &&
	     ranges_overlap(addr, b->size, bus->map[at - 1].base, bus->map[at - 1].size)) ||
	    (at < bus->mapped &&
	     ranges_overlap(addr, b->size, bus->map[at].base, bus->map[at].size)))
		return;
	memmove(&bus->map[at + 1], &bus->map[at], (bus->mapped - at) * sizeof(*bus->map));
	bus->map[at] = (struct decoded){addr, b->size, fn, b->ops};
	bus->mapped++;
	trace(bar_move, fn->id ? fn->id : fn->kind, "BAR %u: 0x%llx bytes at 0x%llx", n,
	      (unsigned long long)b->size, (unsigned long long)addr);
}

void pci_bus_decode(struct pci_bus *bus)
{
	bus->mapped = bus->last = 0;
	for (unsigned f = 0; f < FUNCTIONS; f++)
		if (bus->fns[f] && pci_decodes(bus->fns[f]))
			for (unsigned n = 0; n < PCI_BARS; n++)
				bar_decode(bus, bus->fns[f], n);
}

/* The decoded BAR that contains `addr`, or NULL. */
static struct decoded *bar_find(struct pci_bus *bus, uint64_t addr)
{
	unsigned lo = 0, hi = bus->mapped;

	if (bus->last < bus->mapped && addr - bus->map[bus->last].base < bus->map[bus->last].size)
		return &bus->map[bus->last];
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (addr < bus->map[mid].base) {
			hi = mid;
		} else if (addr - bus->map[mid].base >= bus->map[mid].size) {
			lo = mid + 1;
		} else {
			bus->last = mid;
			return &bus->map[mid];
		}
	}
	return NULL;
}

static struct pci_fn *ecam_find_fn(struct pci_bus *bus, uint64_t off)
{
	return off < LAYOUT_ECAM_BUS ? bus->fns[off / PCI_CFG_SIZE] : NULL;
}

static uint64_t value_ones(unsigned size)
{
	return size == 8 ? UINT64_MAX : (1ULL << (8 * size)) - 1;
}

uint64_t pci_bus_read(struct pci_bus *bus, uint64_t addr, unsigned size)
{
	uint64_t off = addr - bus->ecam_base, v = 0;
	struct decoded *d;

	if (off < bus->ecam_size && off % PCI_CFG_SIZE + size <= PCI_CFG_SIZE) {
		struct pci_fn *fn = ecam_find_fn(bus, off);

		return fn ? pci_cfg_read(fn, off % PCI_CFG_SIZE, size) : value_ones(size);
	}
	d = bar_find(bus, addr);
	if (d && addr - d->base + size <= d->size)
		return d->ops->read(d->fn, addr - d->base, size) & value_ones(size);
	if (size == 1)
		return 0xff;
	/* The access crosses the end of a function or of a BAR: handle each byte separately. */
	for (unsigned i = 0; i < size; i++)
		v |= pci_bus_read(bus, addr + i, 1) << (8 * i);
	return v;
}

void pci_bus_write(struct pci_bus *bus, uint64_t addr, uint64_t data, unsigned size)
{
	uint64_t off = addr - bus->ecam_base;
	struct decoded *d;

	if (off < bus->ecam_size && off % PCI_CFG_SIZE + size <= PCI_CFG_SIZE) {
		struct pci_fn *fn = ecam_find_fn(bus, off);

		if (fn)
			pci_cfg_write(fn, off % PCI_CFG_SIZE, data, size);
		return;
	}
	d = bar_find(bus, addr);
	if (d && addr - d->base + size <= d->size) {
		d->ops->write(d->fn, addr - d->base, data, size);
		return;
	}
	for (unsigned i = 0; size > 1 && i < size; i++)
		pci_bus_write(bus, addr + i, (uint8_t)(data >> (8 * i)), 1);
}

void pci_intx_set(struct pci_fn *fn, bool level)
{
	struct pci_bus *bus = fn->bus;
	unsigned line;
	bool drive;

	atomic_store(&fn->intx_asserted, level);
	if (!bus || !bus->hv->has_intx)
		return;
	/* Pin A of slot n is line n % 4, as the _PRT of the bridge tells the guest. */
	line = (unsigned)(fn->devfn >> 3) % INTX_LINES;
	drive = level && !atomic_load(&fn->intx_off);
	pthread_mutex_lock(&bus->line_lock);
	if (drive != fn->intx_driven) {
		fn->intx_driven = drive;
		bus->line[line] += drive ? 1 : -1u;
		if (bus->line[line] == (drive ? 1 : 0))
			hv_intx(bus->hv, line, drive);
	}
	pthread_mutex_unlock(&bus->line_lock);
}

static const struct pci_ident host_bridge = {
	.vendor = PCI_VENDOR_ID_REDHAT,
	.device = 0x0008,
	.subvendor = PCI_SUBVENDOR_ID_REDHAT_QUMRANET,
	.subdevice = PCI_SUBDEVICE_ID_QEMU,
	.class = 0x060000,
};

int pci_host_bridge_add(struct pci_bus *bus, struct err *e)
{
	pci_fn_init(&bus->host, "gpex-root", &host_bridge);
	bus->host.devfn = 0;
	return pci_bus_plug(bus, &bus->host, e);
}
