/* SPDX-License-Identifier: MIT */
/* dev.h - the table of devices
 *
 * Each device has one row (in list.def) and one file. The command line, help, QMP and the manual
 * page read this table. Only two other places know devices by name: the QMP commands about balloons
 * and network cards, and build.c, which makes serial ports of the channels in xl.cfg.
 *
 * Most devices are functions on the PCI bus. A device of a class with `bus` also provides a bus, to
 * which devices of other classes (`on_bus`, with `sub`) are attached, as serial ports are to
 * virtio-serial. Those are not PCI functions: the guest reaches them only through the device that
 * provides the bus. They can be plugged and unplugged while the guest runs if their operations have
 * `hotplug`.
 */
#ifndef DEV_DEV_H
#define DEV_DEV_H

#include "base/field.h"
#include "base/list.h"
#include "conf/kvs.h"
#include "conf/opts.h"
#include "pci/pci.h"
#include "virtio/vdev.h"

struct dev_env;

struct dev;

/* A device on the bus of another one; the first member of its struct. */
struct dev_sub {
	char *id, *bus_name;   /* options */
	const char *kind;      /* the class's name */
	struct pci_fn *parent; /* the device that provides its bus; set before realize() */
};

/* Control thread, before hv_serve() or, with `hotplug`, at any time. */
struct dev_sub_ops {
	int (*realize)(struct dev_sub *s, struct dev_env *env, struct err *e);
	/* Undo realize(), also one that failed half-way. */
	void (*unrealize)(struct dev_sub *s);
	bool hotplug; /* device_add and device_del */
};

struct dev_class {
	const char *name;  /* "virtio-blk-pci" */
	const char *alias; /* "virtio-blk", or NULL */
	const char *desc;  /* one line for -device help */
	size_t size; /* of the device's struct, which begins with struct pci_fn (struct vdev for
			virtio, struct dev_sub on another bus) */
	const struct opt *options;     /* its own rows, offsets in that struct */
	const struct field *saved;     /* what a saved state holds; NULL: nothing of its own */
	const struct vdev_ops *virtio; /* NULL: a plain PCI device, with: */
	int (*realize)(struct pci_fn *fn, struct dev_env *env, struct err *e);
	void (*unrealize)(struct pci_fn *fn); /* may be NULL: nothing to undo */
	const char *bus;	       /* kind of the bus that the device provides, or NULL */
	const char *on_bus;	       /* kind of the bus to which it is attached; NULL: PCI */
	const struct dev_sub_ops *sub; /* when on_bus is set */
};

/* All classes, ending with NULL, in the order of list.def. */
extern const struct dev_class *const dev_classes[];

/* By name or alias, NULL when unknown. */
const struct dev_class *dev_class_find(const char *name);
/* The option tables that apply to `c`, most general first: at most 4 with the final NULL. */
void dev_class_tables(const struct dev_class *c, const struct opt *tables[4]);

/* Create, realize and plug a device from `driver=...,...`. Control thread, before hv_serve(). 0 or
 * -errno with `e`. */
int dev_add(struct dev_env *env, struct kvs *k, struct err *e);
/* The same while the guest runs; only for classes with sub->hotplug. */
int dev_hotplug(struct dev_env *env, struct kvs *k, struct err *e);
/* Unplug and free device `id` while the guest runs. 0 or -errno with `e`. Control thread. */
int dev_unplug(struct dev_env *env, const char *id, struct err *e);
/* Unplug and free all devices, after the exit loop has ended. */
void dev_free_all(struct dev_env *env);

/* A device that was added, in order of -device. */
struct dev {
	struct list link; /* env->devices */
	const struct dev_class *class;
	struct pci_fn *fn;   /* a device on the PCI bus, else NULL */
	struct dev_sub *sub; /* a device on the bus of another one, else NULL */
	char *bus_name;	     /* name of the bus that it provides, "<id>.0"; NULL: none */
};
/* id=, or NULL. */
const char *dev_id(const struct dev *d);
/* The virtio side of a device; NULL for a plain PCI device. */
struct vdev *dev_vdev(struct dev *d);
/* By id; NULL when unknown. */
struct dev *dev_find(struct dev_env *env, const char *id);

#endif
