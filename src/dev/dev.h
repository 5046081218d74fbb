/* SPDX-License-Identifier: MIT */
/* dev.h - the table of devices
 *
 * One row (in list.def) and one file per device. The command line, help, QMP and the manual page
 * are driven by this table; nothing else in the program knows a device by name.
 */
#ifndef DEV_DEV_H
#define DEV_DEV_H

#include "base/field.h"
#include "base/list.h"
#include "conf/kvs.h"
#include "conf/opts.h"
#include "pci/pci.h"
#include "virtio/vdev.h"

struct vm;

struct dev_class {
	const char *name;  /* "virtio-blk-pci" */
	const char *alias; /* "virtio-blk", or NULL */
	const char *desc;  /* one line for -device help */
	size_t size; /* of the device's struct, which begins with struct pci_fn (struct vdev for
			virtio) */
	const struct opt *options;     /* its own rows, offsets in that struct */
	const struct field *saved;     /* what a saved state holds; NULL: nothing of its own */
	const struct vdev_ops *virtio; /* NULL: a plain PCI device, with: */
	int (*realize)(struct pci_fn *fn, struct vm *vm, struct err *e);
	void (*unrealize)(struct pci_fn *fn); /* may be NULL: nothing to undo */
};

/* All classes, ending with NULL, in the order of list.def. */
extern const struct dev_class *const dev_classes[];

/* By name or alias, NULL when unknown. */
const struct dev_class *dev_class_find(const char *name);
/* The option tables that apply to `c`, most general first: at most 4 with the final NULL. */
void dev_class_tables(const struct dev_class *c, const struct opt *tables[4]);

/* Create, realize and plug a device from `driver=...,...`. Control thread, before hv_serve(). 0 or
 * -errno with `e`. */
int dev_add(struct vm *vm, struct kvs *k, struct err *e);
/* Unplug and free everything (nothing is served any more). */
void dev_free_all(struct vm *vm);

/* A device that was added, in order of -device. */
struct dev {
	struct list link; /* vm->devices */
	const struct dev_class *class;
	struct pci_fn *fn;
};
/* The virtio side of a device; NULL for a plain PCI device. */
struct vdev *dev_vdev(struct dev *d);
/* By id; NULL when unknown. */
struct dev *dev_find(struct vm *vm, const char *id);

#endif
