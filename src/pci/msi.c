/* SPDX-License-Identifier: MIT */
/* msi.c - MSI with one message (PCI Express Base 6.0 §7.7.1), for devices that are not virtio
 *
 * Owns:    the capability, 64-bit addresses, no mask bits; and copies of what the guest wrote
 *          there, which msi_raise() reads on any loop while configuration space belongs to the
 *          exit loop.
 * Limits:  a message that the guest rewrites while it is enabled may go out half old and half new,
 *          to nobody but the guest itself.
 * Fails:   without MSI, or while it is off, nothing is sent; an address that is no interrupt is
 *          the hypervisor's to refuse.
 */
#include "pci/internal.h"

#include "base/util.h"

#define MSI_CAP_LEN	14
#define MSI_CONTROL	2
#define MSI_ADDR	4
#define MSI_DATA	12
#define MSI_CTRL_ENABLE 0x0001
#define MSI_CTRL_64BIT	0x0080

void msi_init(struct pci_fn *fn)
{
	uint8_t at = pci_cap_add(fn, PCI_CAP_ID_MSI, MSI_CAP_LEN);

	fn->msi.cap = at;
	put_le16(&fn->cfg[at + MSI_CONTROL], MSI_CTRL_64BIT);
	put_le16(&fn->wmask[at + MSI_CONTROL], MSI_CTRL_ENABLE);
	put_le32(&fn->wmask[at + MSI_ADDR], ~3U);
	put_le32(&fn->wmask[at + MSI_ADDR + 4], UINT32_MAX);
	put_le16(&fn->wmask[at + MSI_DATA], UINT16_MAX);
}

bool msi_enabled(const struct pci_fn *fn)
{
	return atomic_load(&fn->msi.enabled);
}

void msi_raise(struct pci_fn *fn)
{
	/* A message is a write of the function to memory, which needs bus mastering. */
	if (msi_enabled(fn) && atomic_load(&fn->master))
		hv_msi(pci_bus_hv(fn->bus), atomic_load(&fn->msi.addr), atomic_load(&fn->msi.data));
}

void msi_cfg_written(struct pci_fn *fn)
{
	const uint8_t *cap = &fn->cfg[fn->msi.cap];

	if (!fn->msi.cap)
		return;
	/* Copy the message before the enable bit, so that the first message is complete. */
	atomic_store(&fn->msi.addr, get_le64(cap + MSI_ADDR));
	atomic_store(&fn->msi.data, get_le16(cap + MSI_DATA));
	atomic_store(&fn->msi.enabled, get_le16(cap + MSI_CONTROL) & MSI_CTRL_ENABLE);
}
