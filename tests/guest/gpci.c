/* SPDX-License-Identifier: MIT */
/* gpci.c - see gpci.h */
#include "gpci.h"

#include "base/util.h"

uint64_t gpci_ecam(unsigned bus, unsigned devfn, unsigned off)
{
	return GUEST_ECAM_BASE + ((uint64_t)bus << 20 | devfn << 12 | off);
}

uint32_t gpci_cfg(struct gpci *p, unsigned off, unsigned size)
{
	return (uint32_t)guest_load(p->g, gpci_ecam(0, p->devfn, off), size);
}

void gpci_cfg_set(struct gpci *p, unsigned off, unsigned size, uint32_t value)
{
	guest_store(p->g, gpci_ecam(0, p->devfn, off), size, value);
}

bool gpci_at(struct guest *g, struct gpci *p, unsigned devfn)
{
	uint32_t id;

	*p = (struct gpci){.g = g, .devfn = devfn};
	id = gpci_cfg(p, 0, 4);
	p->vendor = (uint16_t)id;
	p->device = (uint16_t)(id >> 16);
	return p->vendor != 0xffff;
}

bool gpci_find(struct guest *g, struct gpci *p, uint16_t vendor, uint16_t device, unsigned nth)
{
	for (unsigned devfn = 0; devfn < 256; devfn++)
		if (gpci_at(g, p, devfn) && p->vendor == vendor && p->device == device && !nth--)
			return true;
	return false;
}

struct gpci_bar gpci_size_bar(struct gpci *p, unsigned n)
{
	unsigned off = GPCI_BAR0 + 4 * n;
	uint32_t was = gpci_cfg(p, off, 4), was_high = 0;
	struct gpci_bar b = {0};
	uint64_t mask;

	gpci_cfg_set(p, off, 4, ~0U);
	mask = gpci_cfg(p, off, 4);
	b.io = mask & 1;
	b.is64 = (mask & 7) == 4;
	b.prefetch = !b.io && mask & 8;
	b.addr = was & ~15U;
	mask &= b.io ? ~3ULL : ~15ULL;
	if (b.is64) {
		was_high = gpci_cfg(p, off + 4, 4);
		gpci_cfg_set(p, off + 4, 4, ~0U);
		mask |= (uint64_t)gpci_cfg(p, off + 4, 4) << 32;
		gpci_cfg_set(p, off + 4, 4, was_high);
		b.addr |= (uint64_t)was_high << 32;
	} else if (mask) {
		mask |= 0xffffffff00000000ULL;
	}
	gpci_cfg_set(p, off, 4, was);
	b.size = mask ? ~mask + 1 : 0;
	return b;
}

void gpci_move_bar(struct gpci *p, unsigned n, uint64_t addr)
{
	gpci_cfg_set(p, GPCI_BAR0 + 4 * n, 4, (uint32_t)addr);
	if (p->bar[n].is64)
		gpci_cfg_set(p, GPCI_BAR0 + 4 * n + 4, 4, (uint32_t)(addr >> 32));
	p->bar[n].addr = addr;
}

unsigned gpci_cap(struct gpci *p, uint8_t id, unsigned from)
{
	unsigned at = gpci_cfg(p, from ? from + 1 : 0x34, 1);

	if (!(gpci_cfg(p, 6, 2) & 0x10))
		return 0;
	for (unsigned n = 0; at && n < 48; n++) {
		if (gpci_cfg(p, at, 1) == id)
			return at;
		at = gpci_cfg(p, at + 1, 1);
	}
	if (at)
		guest_panic("capability list without end at %02x", p->devfn);
	return 0;
}

void gpci_setup(struct gpci *p)
{
	struct guest *g = p->g;
	uint32_t table, pba;

	gpci_cfg_set(p, GPCI_COMMAND, 2, 0);
	for (unsigned n = 0; n < 6; n++) {
		struct gpci_bar *b = &p->bar[n];

		*b = gpci_size_bar(p, n);
		if (b->size && !b->io) {
			g->next_bar = ALIGN_UP(g->next_bar, MAX(b->size, 4096));
			if (g->next_bar + b->size > GUEST_MMIO_BASE + GUEST_MMIO_SIZE)
				guest_panic("no room for BAR %u of %02x", n, p->devfn);
			gpci_move_bar(p, n, g->next_bar);
			g->next_bar += b->size;
		}
		n += b->is64;
	}
	gpci_cfg_set(p, GPCI_COMMAND, 2, GPCI_COMMAND_MEM | GPCI_COMMAND_MASTER);
	p->msix_cap = gpci_cap(p, GPCI_CAP_MSIX, 0);
	if (!p->msix_cap)
		return;
	p->vectors = (gpci_cfg(p, p->msix_cap + 2, 2) & 0x7ff) + 1;
	table = gpci_cfg(p, p->msix_cap + 4, 4);
	pba = gpci_cfg(p, p->msix_cap + 8, 4);
	if ((table & 7) > 5 || (pba & 7) > 5)
		guest_panic("MSI-X structures in BAR %u and %u", table & 7, pba & 7);
	p->msix_table = p->bar[table & 7].addr + (table & ~7U);
	p->msix_pba = p->bar[pba & 7].addr + (pba & ~7U);
	p->messages = guest_alloc(g, 4 * p->vectors, 64);
}

void gpci_msix_entry(struct gpci *p, unsigned v, uint64_t addr, uint32_t data)
{
	guest_store(p->g, p->msix_table + 16 * v, 4, (uint32_t)addr);
	guest_store(p->g, p->msix_table + 16 * v + 4, 4, addr >> 32);
	guest_store(p->g, p->msix_table + 16 * v + 8, 4, data);
}

void gpci_msix_mask(struct gpci *p, unsigned v, bool masked)
{
	guest_store(p->g, p->msix_table + 16 * v + 12, 4, masked);
}

void gpci_msix_control(struct gpci *p, bool enable, bool function_mask)
{
	gpci_cfg_set(p, p->msix_cap + 2, 2, (uint32_t)enable << 15 | (uint32_t)function_mask << 14);
}

void gpci_msix_on(struct gpci *p)
{
	for (unsigned v = 0; v < p->vectors; v++) {
		gpci_msix_entry(p, v, p->messages + 4 * v, v + 1);
		gpci_msix_mask(p, v, false);
	}
	gpci_msix_control(p, true, false);
}

bool gpci_msix_pending(struct gpci *p, unsigned v)
{
	return guest_load(p->g, p->msix_pba + v / 8, 1) >> (v % 8) & 1;
}

bool gpci_msix_take(struct gpci *p, unsigned v)
{
	uint32_t *word = guest_ptr(p->g, p->messages + 4 * v, 4);
	uint32_t seen = __atomic_exchange_n(word, 0, __ATOMIC_ACQ_REL);

	if (seen && seen != v + 1)
		guest_panic("vector %u delivered 0x%x", v, seen);
	return seen;
}
