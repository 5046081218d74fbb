/* SPDX-License-Identifier: MIT */
/* internal.h - functions that the files of this folder share */
#ifndef PCI_INTERNAL_H
#define PCI_INTERNAL_H

#include "pci/pci.h"
#include "pci/regs.h"

/* Exit loop: COMMAND or a BAR of a function has changed: build the table of decoded BARs again. */
void pci_bus_decode(struct pci_bus *bus);
/* Does COMMAND let the function answer memory accesses? */
bool pci_decodes(const struct pci_fn *fn);
/* Exit loop: configuration bytes [off, off + len) were written. If the control register of MSI-X is
 * among them, act on it. */
void msix_cfg_written(struct pci_fn *fn, unsigned off, unsigned len);
/* Exit loop: configuration space was written or reset. If there is MSI, copy its registers to
 * fn->msi. */
void msi_cfg_written(struct pci_fn *fn);

#endif
