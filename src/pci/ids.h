/* SPDX-License-Identifier: MIT */
/* ids.h - numbers of vendors and devices that more than one function shows; the names are Linux'
 * (include/linux/pci_ids.h)
 *
 * Devices that QEMU invented keep its numbers, so that a guest's drivers know them.
 */
#ifndef PCI_IDS_H
#define PCI_IDS_H

#define PCI_VENDOR_ID_REDHAT	      0x1b36 /* QEMU's bridges and small devices */
#define PCI_VENDOR_ID_REDHAT_QUMRANET 0x1af4 /* virtio (Virtio 1.3 §4.1.2) */

#define PCI_SUBVENDOR_ID_REDHAT_QUMRANET 0x1af4
#define PCI_SUBDEVICE_ID_QEMU		 0x1100

#endif
