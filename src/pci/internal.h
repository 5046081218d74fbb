/* SPDX-License-Identifier: MIT */
/* internal.h - what the files of this folder tell each other */
#ifndef PCI_INTERNAL_H
#define PCI_INTERNAL_H

#include "pci/pci.h"
#include "pci/regs.h"

/* Exit loop: COMMAND or a BAR of some function changed; build the table of decoded BARs anew. */
void pci_bus_decode(struct pci_bus *bus);
/* Does the function answer memory accesses (COMMAND.MEM)? */
bool pci_decodes(const struct pci_fn *fn);
/* Exit loop: configuration bytes [off, off + len) were written; MSI-X looks whether its control is
 * among them. */
void msix_cfg_written(struct pci_fn *fn, unsigned off, unsigned len);
/* Exit loop: configuration space was written or reset; MSI, where there is one, takes its message
 * from there. */
void msi_cfg_written(struct pci_fn *fn);

#endif
