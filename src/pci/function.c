/* SPDX-License-Identifier: MIT */
/* function.c - configuration space of one PCI function
 *
 * `cfg` has the values of the registers, `wmask` the bits that the guest may change. A write, of
 * any width and alignment, is a masked store. After it, the few registers with an effect are
 * checked: COMMAND and the BARs (the bus builds its map again) and the control registers of MSI and
 * MSI-X; then the device's own cfg_written() is called. A function-level reset (FLR) is recognised
 * before the store. Everything runs on the exit loop.
 *
 * Every function is an integrated endpoint of the root complex with 4 KiB of configuration space.
 * The extended part, behind the first 256 bytes, is empty and reads as zero.
 */
#include "pci/internal.h"

#include <stdlib.h>

#include "base/trace.h"
#include "base/util.h"

/* PCI Express capability, version 2 (§7.5.3): offsets in it and the bits used. */
#define EXP_LEN		60
#define EXP_FLAGS	2
#define EXP_DEVCAP	4
#define EXP_DEVCTL	8
#define EXP_DEVCTL2	40
#define EXP_TYPE_RC_END (9 << 4)
#define EXP_DEVCAP_RBER (1u << 15)
#define EXP_DEVCAP_FLR	(1u << 28)
#define EXP_DEVCTL_MASK 0x7fff
#define EXP_DEVCTL_FLR	0x8000

void pci_fn_init(struct pci_fn *fn, const char *kind, const struct pci_ident *id)
{
	fn->kind = kind;
	fn->cap_next = PCI_HEADER_END;
	put_le16(&fn->cfg[PCI_VENDOR], id->vendor);
	put_le16(&fn->cfg[PCI_DEVICE], id->device);
	fn->cfg[PCI_REVISION] = id->revision;
	fn->cfg[PCI_CLASS] = (uint8_t)id->class;
	put_le16(&fn->cfg[PCI_CLASS + 1], (uint16_t)(id->class >> 8));
	put_le16(&fn->cfg[PCI_SUBVENDOR], id->subvendor);
	put_le16(&fn->cfg[PCI_SUBDEVICE], id->subdevice);

	/* The I/O bit can be set although there are no ports: drivers read back what they wrote. */
	put_le16(&fn->wmask[PCI_COMMAND],
		 PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER | PCI_CMD_SERR | PCI_CMD_INTX_DISABLE);
	fn->wmask[PCI_CACHE_LINE] = 0xff;
	fn->wmask[PCI_INT_LINE] = 0xff;
}

void pci_fn_free(struct pci_fn *fn)
{
	msix_free(fn);
}

uint8_t pci_cap_add(struct pci_fn *fn, uint8_t cap_id, uint8_t len)
{
	uint8_t at = fn->cap_next;

	fn->cfg[at] = cap_id;
	fn->cfg[at + 1] = fn->cfg[PCI_CAP_PTR];
	fn->cfg[PCI_CAP_PTR] = at;
	fn->cfg[PCI_STATUS] |= PCI_STATUS_CAPS;
	fn->cap_next = (uint8_t)ALIGN_UP(at + len, 4);
	return at;
}

void pci_cap_express(struct pci_fn *fn)
{
	uint8_t at = pci_cap_add(fn, PCI_CAP_ID_EXPRESS, EXP_LEN);

	fn->express = at;
	put_le16(&fn->cfg[at + EXP_FLAGS], EXP_TYPE_RC_END | 2);
	put_le32(&fn->cfg[at + EXP_DEVCAP], EXP_DEVCAP_RBER | EXP_DEVCAP_FLR);
	put_le16(&fn->wmask[at + EXP_DEVCTL], EXP_DEVCTL_MASK);
}

void pci_bar_add(struct pci_fn *fn, unsigned n, uint64_t size, bool is64, bool prefetch,
		 const struct pci_bar_ops *ops)
{
	uint8_t *cfg = &fn->cfg[PCI_BAR0 + 4 * n], *wmask = &fn->wmask[PCI_BAR0 + 4 * n];

	fn->bar[n] = (struct pci_bar){ops, size, is64, prefetch};
	cfg[0] = (is64 ? PCI_BAR_64 : 0) | (prefetch ? PCI_BAR_PREFETCH : 0);
	put_le32(wmask, (uint32_t) ~(size - 1));
	if (is64)
		put_le32(wmask + 4, (uint32_t)(~(size - 1) >> 32));
}

uint64_t pci_bar_addr(const struct pci_fn *fn, unsigned n)
{
	const struct pci_bar *b = &fn->bar[n];
	uint64_t addr;

	if (!b->ops)
		return UINT64_MAX;
	addr = get_le32(&fn->cfg[PCI_BAR0 + 4 * n]) & ~0xfu;
	if (b->is64)
		addr |= (uint64_t)get_le32(&fn->cfg[PCI_BAR0 + 4 * n + 4]) << 32;
	/* A BAR has zero before an address is assigned, and all ones while its size is probed. */
	if (!addr || addr > UINT64_MAX - b->size || (!b->is64 && addr + b->size > 1ULL << 32))
		return UINT64_MAX;
	return addr;
}

bool pci_decodes(const struct pci_fn *fn)
{
	return get_le16(&fn->cfg[PCI_COMMAND]) & PCI_CMD_MEM;
}

uint64_t pci_cfg_read(struct pci_fn *fn, unsigned off, unsigned size)
{
	uint64_t v = 0;

	if (fn->cfg_reading)
		fn->cfg_reading(fn, off, size);
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = off + i < PCI_CFG_HEADER ? fn->cfg[off + i] : 0;

		if (off + i == PCI_STATUS && atomic_load(&fn->intx_asserted))
			byte |= PCI_STATUS_INTX;
		v |= (uint64_t)byte << (8 * i);
	}
	return v;
}

static bool bytes_overlap(unsigned off, unsigned size, unsigned at, unsigned len)
{
	return off < at + len && at < off + size;
}

/* Function-level reset (§6.6.2): all registers that the guest has written get their initial values
 * again. */
static void function_reset(struct pci_fn *fn)
{
	put_le16(&fn->cfg[PCI_COMMAND], 0);
	for (unsigned i = PCI_CACHE_LINE; i < PCI_CFG_HEADER; i++)
		fn->cfg[i] &= (uint8_t)~fn->wmask[i];
	atomic_store(&fn->master, false);
	atomic_store(&fn->intx_off, false);
	msi_cfg_written(fn);
	msix_reset(fn);
	pci_intx_set(fn, false);
	if (fn->reset)
		fn->reset(fn);
	pci_bus_decode(fn->bus);
}

void pci_cfg_write(struct pci_fn *fn, unsigned off, uint64_t data, unsigned size)
{
	uint16_t old_cmd = get_le16(&fn->cfg[PCI_COMMAND]), cmd;

	trace(config_write, fn->id ? fn->id : fn->kind, "0x%03x, %u bytes: 0x%llx", off, size,
	      (unsigned long long)data);
	if (fn->express && off <= fn->express + EXP_DEVCTL + 1u &&
	    off + size > fn->express + EXP_DEVCTL + 1u &&
	    data >> (8 * (fn->express + EXP_DEVCTL + 1u - off)) & (EXP_DEVCTL_FLR >> 8)) {
		function_reset(fn);
		return;
	}
	for (unsigned i = 0; i < size && off + i < PCI_CFG_HEADER; i++) {
		uint8_t mask = fn->wmask[off + i], byte = (uint8_t)(data >> (8 * i));

		fn->cfg[off + i] = (fn->cfg[off + i] & ~mask) | (byte & mask);
	}
	cmd = get_le16(&fn->cfg[PCI_COMMAND]);
	if (cmd != old_cmd) {
		atomic_store(&fn->master, cmd & PCI_CMD_MASTER);
		atomic_store(&fn->intx_off, cmd & PCI_CMD_INTX_DISABLE);
		if ((cmd ^ old_cmd) & PCI_CMD_INTX_DISABLE)
			pci_intx_set(fn, atomic_load(&fn->intx_asserted));
	}
	if ((cmd ^ old_cmd) & PCI_CMD_MEM ||
	    (bytes_overlap(off, size, PCI_BAR0, 4 * PCI_BARS) && cmd & PCI_CMD_MEM))
		pci_bus_decode(fn->bus);
	msi_cfg_written(fn);
	if (fn->msix)
		msix_cfg_written(fn, off, size);
	if (fn->cfg_written)
		fn->cfg_written(fn, off, size);
}
