/* SPDX-License-Identifier: MIT */
/* dev.c - see dev.h: look-up in the device table, and the making and unmaking of a device */
#include "dev/dev.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "vm.h"

#define DEVICE(x) extern const struct dev_class dev_##x;
#include "dev/list.def"
#undef DEVICE

const struct dev_class *const dev_classes[] = {
#define DEVICE(x) &dev_##x,
#include "dev/list.def"
#undef DEVICE
	NULL,
};

/* What every device on the bus has. */
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

	tables[n++] = pci_options;
	if (c->virtio)
		tables[n++] = vdev_options;
	if (c->options)
		tables[n++] = c->options;
	tables[n] = NULL;
}

struct dev *dev_find(struct vm *vm, const char *id)
{
	list_for_each (it, &vm->devices) {
		struct dev *d = list_entry(it, struct dev, link);

		if (d->fn->id && !strcmp(d->fn->id, id))
			return d;
	}
	return NULL;
}

static struct vdev *vdev_of(struct dev *d)
{
	return d->class->virtio ? container_of(d->fn, struct vdev, fn) : NULL;
}

struct vdev *dev_vdev(struct dev *d)
{
	return vdev_of(d);
}

/* Undo everything, whatever stage it reached. */
static void destroy(struct dev *d, bool realized)
{
	const struct opt *tables[4];

	pci_bus_unplug(d->fn);
	if (realized && d->class->virtio)
		d->class->virtio->unrealize(vdev_of(d));
	else if (realized && d->class->unrealize)
		d->class->unrealize(d->fn);
	if (d->class->virtio)
		vdev_fini(vdev_of(d));
	pci_fn_free(d->fn);
	dev_class_tables(d->class, tables);
	opts_release(tables, d->fn);
	free(d->fn);
	free(d);
}

static int check_options(struct vm *vm, struct dev *d, struct kvs *k, struct err *e)
{
	const char *unused = kvs_unused(k);
	struct pci_fn *fn = d->fn;

	if (unused)
		return err_set(e, -EINVAL, "Property '%s.%s' not found", d->class->name, unused);
	if (fn->id && !id_wellformed(fn->id))
		return err_set(e, -EINVAL,
			       "Parameter 'id' expects an identifier (letters, digits, '-', '.', "
			       "'_', starting with a letter), not '%s'",
			       fn->id);
	if (fn->id && dev_find(vm, fn->id))
		return err_set(e, -EEXIST, "Duplicate ID '%s' for device", fn->id);
	if (fn->bus_name && strcmp(fn->bus_name, "pcie.0") && strcmp(fn->bus_name, "pci.0"))
		return err_set(e, -ENOENT, "Bus '%s' not found (there is only pcie.0)",
			       fn->bus_name);
	return 0;
}

static int realize(struct vm *vm, struct dev *d, struct err *e, bool *realized)
{
	const struct dev_class *c = d->class;
	int rc;

	if (!c->virtio) {
		*realized = true;
		return c->realize(d->fn, vm, e);
	}
	rc = vdev_init(vdev_of(d), c->virtio, c->name, vm->hv, vm->io, e);
	if (rc < 0)
		return rc;
	*realized = true;
	rc = c->virtio->realize(vdev_of(d), vm, e);
	return rc < 0 ? rc : vdev_finish(vdev_of(d), e);
}

int dev_add(struct vm *vm, struct kvs *k, struct err *e)
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
	d = calloc(1, sizeof(*d));
	if (!d || !(d->fn = calloc(1, c->size))) {
		free(d);
		return err_set(e, -ENOMEM, "out of memory");
	}
	d->class = c;
	dev_class_tables(c, tables);
	rc = opts_apply(tables, k, d->fn, e);
	if (rc == 0)
		rc = check_options(vm, d, k, e);
	if (rc == 0)
		rc = realize(vm, d, e, &realized);
	if (rc == 0)
		rc = pci_bus_plug(vm->bus, d->fn, e);
	if (rc < 0) {
		destroy(d, realized);
		return rc;
	}
	list_add_tail(&vm->devices, &d->link);
	return 0;
}

void dev_free_all(struct vm *vm)
{
	struct list *it;

	while ((it = list_pop(&vm->devices)))
		destroy(list_entry(it, struct dev, link), true);
}
