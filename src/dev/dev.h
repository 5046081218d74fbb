/* SPDX-License-Identifier: MIT */
/* dev.h - the table of devices
 *
 * One row (in list.def) and one file per device. The command line, help, QMP and the manual page
 * are driven by this table. Two others know a device by name: QMP's queries about balloons and nets,
 * which have commands of their own there, and the ports that become of xl.cfg's channels (build.c).
 *
 * Most devices are functions on the PCI bus. A class may also be a bus (`bus`): then others
 * (`on_bus`, with `sub`) sit on it, the way a port sits on virtio-serial. They are no PCI
 * functions; what the guest sees of them is what their parent shows. They can come and go while the
 * guest runs, where their operations say so.
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

/* A device on the bus of another one: first in its struct. */
struct dev_sub {
	char *id, *bus_name;   /* options */
	const char *kind;      /* the class's name */
	struct pci_fn *parent; /* whose bus it sits on; set before realize() */
};

/* Control thread, before hv_serve() or, with `hotplug`, at any time. */
struct dev_sub_ops {
	int (*realize)(struct dev_sub *s, struct dev_env *env, struct err *e);
	/* Undo realize(), also a half-done one. */
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
	const char *bus;	       /* kind of the bus that each such device is, or NULL */
	const char *on_bus;	       /* kind of the bus that it sits on; NULL: PCI */
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
/* The same while the guest runs: only what can be plugged then. */
int dev_hotplug(struct dev_env *env, struct kvs *k, struct err *e);
/* Take device `id` away while the guest runs. 0 or -errno with `e`. Control thread. */
int dev_unplug(struct dev_env *env, const char *id, struct err *e);
/* Unplug and free everything (nothing is served any more). */
void dev_free_all(struct dev_env *env);

/* A device that was added, in order of -device. */
struct dev {
	struct list link; /* env->devices */
	const struct dev_class *class;
	struct pci_fn *fn;   /* NULL: not on PCI, then: */
	struct dev_sub *sub; /* NULL: on PCI */
	char *bus_name;	     /* of the bus that it is: "<id>.0"; NULL: none */
};
/* id=, or NULL. */
const char *dev_id(const struct dev *d);
/* The virtio side of a device; NULL for a plain PCI device. */
struct vdev *dev_vdev(struct dev *d);
/* By id; NULL when unknown. */
struct dev *dev_find(struct dev_env *env, const char *id);

#endif
