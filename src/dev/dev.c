/* SPDX-License-Identifier: MIT */
/* dev.c - look-up in the device table; creating, plugging and freeing devices (dev.h) */
#include "dev/dev.h"

#include <errno.h>
#include <stdlib.h>

#include "base/trace.h"
#include "base/util.h"
#include "dev/env.h"

#define DEVICE_ON(bus, x) DEVICE(x)
#define DEVICE(x)	  extern const struct dev_class dev_##x;
#include "dev/list.def"
#undef DEVICE

const struct dev_class *const dev_classes[] = {
#define DEVICE(x) &dev_##x,
#include "dev/list.def"
#undef DEVICE
	NULL,
};

/* Options of every device on the PCI bus. */
static const struct opt pci_options[] = {
	{.name = "id",
	 .type = OPT_STRING,
	 .at = offsetof(struct pci_fn, id),
	 .help = "name of the device, for QMP and messages"},
	{.name = "addr",
	 .type = OPT_PCI_ADDR,
	 .at = offsetof(struct pci_fn, devfn),
	 .help = "slot, or slot.function, in hexadecimal (default: the first free slot)"},
	{.name = "bus",
	 .type = OPT_STRING,
	 .at = offsetof(struct pci_fn, bus_name),
	 .help = "pcie.0 (alias pci.0), the only bus"},
	{.name = "multifunction",
	 .type = OPT_BOOL,
	 .at = offsetof(struct pci_fn, multifunction),
	 .def = "off",
	 .help = "function 0 of a slot with several functions"},
	{.name = "bootindex", .type = OPT_IGNORED},
	{.name = "romfile", .type = OPT_IGNORED},
	{.name = "rombar", .type = OPT_IGNORED},
	{.name = "romsize", .type = OPT_IGNORED},
	{.name = "acpi-index", .type = OPT_IGNORED},
	{.name = "x-pcie-lnksta-dllla", .type = OPT_IGNORED},
	{.name = "x-pcie-extcap-init", .type = OPT_IGNORED},
	{.name = "x-pcie-ext-tag", .type = OPT_IGNORED},
	{.name = "x-pcie-ari-nextfn-1", .type = OPT_IGNORED},
	{.name = "x-pcie-pm-no-soft-reset", .type = OPT_IGNORED},
	{.name = "x-pcie-err-unc-mask", .type = OPT_IGNORED},
	{.name = "x-max-bounce-buffer-size", .type = OPT_IGNORED},
	OPT_END,
};

/* Options of every device on the bus of another device. */
static const struct opt sub_options[] = {
	{.name = "id",
	 .type = OPT_STRING,
	 .at = offsetof(struct dev_sub, id),
	 .help = "name of the device, for QMP and messages"},
	{.name = "bus",
	 .type = OPT_STRING,
	 .at = offsetof(struct dev_sub, bus_name),
	 .help = "bus to sit on: ID.0 of the device with that id (default: the first of its kind)"},
	OPT_END,
};

const struct dev_class *dev_class_find(const char *name)
{
	for (unsigned i = 0; dev_classes[i]; i++)
		if (!strcmp(dev_classes[i]->name, name) ||
		    (dev_classes[i]->alias && !strcmp(dev_classes[i]->alias, name)))
			return dev_classes[i];
	return NULL;
}

void dev_class_tables(const struct dev_class *c, const struct opt *tables[4])
{
	unsigned n = 0;

	tables[n++] = c->on_bus ? sub_options : pci_options;
	if (c->virtio)
		tables[n++] = vdev_options;
	if (c->options)
		tables[n++] = c->options;
	tables[n] = NULL;
}

const char *dev_id(const struct dev *d)
{
	return d->fn ? d->fn->id : d->sub->id;
}

struct dev *dev_find(struct dev_env *env, const char *id)
{
	list_for_each (it, &env->devices) {
		struct dev *d = list_entry(it, struct dev, link);

		if (dev_id(d) && !strcmp(dev_id(d), id))
			return d;
	}
	return NULL;
}

struct vdev *dev_vdev(struct dev *d)
{
	return d->class->virtio ? container_of(d->fn, struct vdev, fn) : NULL;
}

/* Undo all steps of dev_add_one() that were done, and free the device. `realized`: realize() was
 * called, even if it failed. */
static void dev_destroy(struct dev *d, bool realized)
{
	void *base = d->fn ? (void *)d->fn : d->sub;
	const struct opt *tables[4];

	if (d->fn)
		pci_bus_unplug(d->fn);
	if (realized && d->sub)
		d->class->sub->unrealize(d->sub);
	else if (realized && d->class->virtio && d->class->virtio->unrealize)
		d->class->virtio->unrealize(dev_vdev(d));
	else if (realized && !d->class->virtio && d->class->unrealize)
		d->class->unrealize(d->fn);
	if (d->class->virtio)
		vdev_fini(dev_vdev(d));
	if (d->fn)
		pci_fn_free(d->fn);
	dev_class_tables(d->class, tables);
	opts_release(tables, base);
	free(d->bus_name);
	free(base);
	free(d);
}

static int check_options(struct dev_env *env, struct dev *d, struct kvs *k, struct err *e)
{
	const char *unused = kvs_unused(k), *id = dev_id(d);
	const char *bus = d->fn ? d->fn->bus_name : NULL;
	int rc;

	if (unused)
		return err_set(e, -EINVAL, "Property '%s.%s' not found", d->class->name, unused);
	rc = id ? id_check("id", id, e) : 0;
	if (rc < 0)
		return rc;
	if (id && dev_find(env, id))
		return id_taken(id, "device", e);
	if (bus && strcmp(bus, "pcie.0") && strcmp(bus, "pci.0"))
		return err_set(e, -ENOENT, "Bus '%s' not found (there is only pcie.0)", bus);
	return 0;
}

/* --- buses other than PCI --- */

/* Name the bus as QEMU does: "<id>.0"; without an id the kind of bus and a number that counts such
 * devices. */
static int name_bus(struct dev_env *env, struct dev *d)
{
	unsigned anonymous = 0;
	int rc;

	list_for_each (it, &env->devices) {
		struct dev *o = list_entry(it, struct dev, link);

		if (o->class->bus && !strcmp(o->class->bus, d->class->bus) && !dev_id(o))
			anonymous++;
	}
	rc = dev_id(d) ? asprintf(&d->bus_name, "%s.0", dev_id(d))
		       : asprintf(&d->bus_name, "%s.%u", d->class->bus, anonymous);
	if (rc < 0)
		d->bus_name = NULL;
	return rc < 0 ? -ENOMEM : 0;
}

static int find_bus(struct dev_env *env, struct dev *d, struct err *e)
{
	const char *kind = d->class->on_bus, *wanted = d->sub->bus_name;

	list_for_each (it, &env->devices) {
		struct dev *o = list_entry(it, struct dev, link);
		bool fits = o->class->bus && !strcmp(o->class->bus, kind);

		if (!o->bus_name || (wanted ? strcmp(o->bus_name, wanted) : !fits))
			continue;
		if (!fits)
			return err_set(e, -EINVAL, "Device '%s' can't go on %s bus", d->class->name,
				       o->class->bus);
		d->sub->parent = o->fn;
		return 0;
	}
	if (wanted && (!strcmp(wanted, "pcie.0") || !strcmp(wanted, "pci.0")))
		return err_set(e, -EINVAL, "Device '%s' can't go on PCI bus", d->class->name);
	if (wanted)
		return err_set(e, -ENOENT, "Bus '%s' not found", wanted);
	return err_set(e, -ENOENT, "No '%s' bus found for device '%s'", kind, d->class->name);
}

static int realize_sub(struct dev_env *env, struct dev *d, struct err *e, bool *realized)
{
	int rc = find_bus(env, d, e);

	if (rc < 0)
		return rc;
	d->sub->kind = d->class->name;
	*realized = true;
	return d->class->sub->realize(d->sub, env, e);
}

/* --- coming and going --- */

static int dev_realize(struct dev_env *env, struct dev *d, struct err *e, bool *realized)
{
	const struct dev_class *c = d->class;
	int rc;

	if (d->sub)
		return realize_sub(env, d, e, realized);
	if (!c->virtio) {
		*realized = true;
		return c->realize(d->fn, env, e);
	}
	rc = vdev_init(dev_vdev(d), c->virtio, c->name, env->hv, env->io, e);
	if (rc < 0)
		return rc;
	*realized = true;
	rc = c->virtio->realize(dev_vdev(d), env, e);
	return rc < 0 ? rc : vdev_finish(dev_vdev(d), e);
}

static struct dev *dev_new(const struct dev_class *c)
{
	struct dev *d = calloc(1, sizeof(*d));
	void *base = calloc(1, c->size);

	if (!d || !base) {
		free(d);
		free(base);
		return NULL;
	}
	d->class = c;
	if (c->on_bus)
		d->sub = base;
	else
		d->fn = base;
	return d;
}

static int dev_add_one(struct dev_env *env, struct kvs *k, bool hot, struct err *e)
{
	const char *name = kvs_get(k, "driver");
	const struct opt *tables[4];
	const struct dev_class *c;
	bool realized = false;
	struct dev *d;
	int rc;

	if (!name)
		return err_set(e, -EINVAL, "Parameter 'driver' is missing");
	c = dev_class_find(name);
	if (!c)
		return err_set(e, -ENOENT,
			       "'%s' is not a valid device model name (-device help lists them)",
			       name);
	if (hot && !(c->sub && c->sub->hotplug))
		return err_set(e, -ENOTSUP, "Bus '%s' does not support hotplugging",
			       c->on_bus ? c->on_bus : "pcie.0");
	d = dev_new(c);
	if (!d)
		return err_nomem(e);
	dev_class_tables(c, tables);
	rc = opts_apply(tables, k, d->fn ? (void *)d->fn : d->sub, e);
	if (rc == 0)
		rc = check_options(env, d, k, e);
	if (rc == 0)
		rc = dev_realize(env, d, e, &realized);
	if (rc == 0 && d->fn)
		rc = pci_bus_plug(env->bus, d->fn, e);
	if (rc == 0 && c->bus && name_bus(env, d) < 0)
		rc = err_nomem(e);
	if (rc < 0) {
		dev_destroy(d, realized);
		return rc;
	}
	list_add_tail(&env->devices, &d->link);
	trace(device_plug, dev_id(d), "%s", c->name);
	return 0;
}

int dev_add(struct dev_env *env, struct kvs *k, struct err *e)
{
	return dev_add_one(env, k, false, e);
}

int dev_hotplug(struct dev_env *env, struct kvs *k, struct err *e)
{
	return dev_add_one(env, k, true, e);
}

int dev_unplug(struct dev_env *env, const char *id, struct err *e)
{
	struct dev *d = dev_find(env, id);

	if (!d) {
		err_set(e, -ENODEV, "Device '%s' not found", id);
		e->class = ERR_DEVICE_NOT_FOUND;
		return -ENODEV;
	}
	if (!d->sub || !d->class->sub->hotplug)
		return err_set(e, -ENOTSUP, "Bus '%s' does not support hotplugging",
			       d->sub ? d->class->on_bus : "pcie.0");
	list_del(&d->link);
	trace(device_unplug, id, "%s", d->class->name);
	dev_destroy(d, true);
	return 0;
}

/* The newest is freed first: a device on the bus of another one was added after it. */
void dev_free_all(struct dev_env *env)
{
	struct list back = LIST_INIT(back), *it;

	while ((it = list_pop(&env->devices)))
		list_add_head(&back, it);
	while ((it = list_pop(&back)))
		dev_destroy(list_entry(it, struct dev, link), true);
}
