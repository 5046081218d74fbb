/* SPDX-License-Identifier: MIT */
/* regs.h - offsets and bits of configuration space (PCI Express Base 6.0 §7.5, §7.7) that this
 * program uses */
#ifndef PCI_REGS_H
#define PCI_REGS_H

#define PCI_VENDOR     0x00
#define PCI_DEVICE     0x02
#define PCI_COMMAND    0x04
#define PCI_STATUS     0x06
#define PCI_REVISION   0x08
#define PCI_CLASS      0x09
#define PCI_CACHE_LINE 0x0c
#define PCI_HEADER     0x0e
#define PCI_BAR0       0x10
#define PCI_SUBVENDOR  0x2c
#define PCI_SUBDEVICE  0x2e
#define PCI_CAP_PTR    0x34
#define PCI_INT_LINE   0x3c
#define PCI_INT_PIN    0x3d
#define PCI_HEADER_END 0x40

#define PCI_HEADER_MULTI 0x80

#define PCI_CMD_IO	     0x0001
#define PCI_CMD_MEM	     0x0002
#define PCI_CMD_MASTER	     0x0004
#define PCI_CMD_SERR	     0x0100
#define PCI_CMD_INTX_DISABLE 0x0400

#define PCI_STATUS_INTX 0x0008
#define PCI_STATUS_CAPS 0x0010

#define PCI_BAR_64	 0x4
#define PCI_BAR_PREFETCH 0x8

#define PCI_CAP_ID_MSI	   0x05
#define PCI_CAP_ID_VENDOR  0x09
#define PCI_CAP_ID_EXPRESS 0x10
#define PCI_CAP_ID_MSIX	   0x11

#define MSIX_CAP_LEN	  12
#define MSIX_CONTROL	  2 /* offset in the capability */
#define MSIX_CTRL_ENABLE  0x8000
#define MSIX_CTRL_MASKALL 0x4000

#endif
