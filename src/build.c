/* SPDX-License-Identifier: MIT */
/* build.c - see build.h
 *
 * QEMU's order: objects, chardevs, disks and nets first whatever their place on the command line,
 * then devices in the order given. An error names the option that it comes from.
 */
#include "build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "block/block.h"
#include "chardev/chardev.h"
#include "ctl/cmdline.h"
#include "ctl/qmp.h"
#include "dev/dev.h"
#include "iothread/iothread.h"
#include "machine/exits.h"
#include "machine/memory.h"
#include "machine/objects.h"
#include "net/net.h"
#include "p9/p9.h"
#include "pci/pci.h"
#include "qtest/qtest.h"
#include "rng/rng.h"
#include "xen/xen.h"

/* --- attach --- */

/* The backend that -machine memory-backend= names, in `m`; or the size of -m. */
static int find_memory(const struct cmdline *c, struct memory_backend *m, struct err *e)
{
	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; c->memory_backend && i < c->objects.n; i++) {
		struct kvs *k = &c->objects.v[i];
		const char *type = kvs_get(k, "qom-type"), *id = kvs_get(k, "id");
		struct object_kind kind;
		int rc;

		if (!type || !object_kind_find(object_group_find("object"), type, &kind) ||
		    kind.options != memory_backend_options || !id || strcmp(id, c->memory_backend))
			continue;
		rc = memory_backend_read(m, k, e);
		if (rc < 0)
			err_prefix(e, "%s", k->origin);
		return rc;
	}
	if (c->memory_backend)
		return err_set(e, -ENOENT, "-machine memory-backend=%s: no -object of that id",
			       c->memory_backend);
	m->size = c->map.mem ? c->map.mem : 128 * MiB;
	return 0;
}

static int attach_qtest(struct vm *vm, struct layout *layout, struct err *e)
{
	const struct cmdline *c = vm->cmd;
	struct layout_conf conf = c->map;
	struct memory_backend mem;
	struct qtest_config q = {.peer = c->qtest, .log = c->qtest_log, .vcpus = 1};
	int rc = find_memory(c, &mem, e);

	if (rc < 0)
		goto out;
	if (c->cpus || c->max_cpus)
		q.vcpus = (unsigned)MAX(c->cpus, c->max_cpus);
	q.mem_path = mem.path;
	q.mem_size = mem.size;
	if (conf.ram_low.size || conf.ram_high.size) {
		rc = layout_stated_ram(&conf, q.ram, e);
		if (rc < 0)
			goto out;
		q.ram_ranges = (unsigned)rc;
	}
	vm->env.hv = hv_qtest_open(&q, e);
	if (!vm->env.hv) {
		rc = -EINVAL;
		goto out;
	}
	if (!conf.ecam.size)
		conf.ecam = (struct hv_range){QTEST_ECAM_BASE, QTEST_ECAM_SIZE};
	if (!conf.mmio.size)
		conf.mmio = (struct hv_range){QTEST_MMIO_BASE, QTEST_MMIO_SIZE};
	if (!conf.mmio_high.size)
		conf.mmio_high = (struct hv_range){QTEST_MMIO_HIGH_BASE, QTEST_MMIO_HIGH_SIZE};
	rc = layout_resolve(&conf, vm->env.hv->ram, vm->env.hv->ram_ranges, vm->env.hv->paddr_bits,
			    layout, e);
out:
	memory_backend_release(&mem);
	return rc;
}

static int attach_xen(struct vm *vm, struct layout *layout, struct err *e)
{
	const struct cmdline *c = vm->cmd;

	if (c->domid < 0)
		return err_set(
			e, -EINVAL,
			"-xen-domid is missing: say which domain to serve (or -accel qtest)");
	vm->env.hv = hv_xen_open((unsigned)c->domid, &c->map,
				 c->domid_restrict || c->user || c->chroot, e);
	if (!vm->env.hv)
		return -EINVAL;
	return hv_xen_layout(vm->env.hv, &c->map, layout, e);
}

int build_attach(struct vm *vm, struct err *e)
{
	int rc = vm->cmd->accel == ACCEL_QTEST ? attach_qtest(vm, &vm->layout, e)
					       : attach_xen(vm, &vm->layout, e);

	if (rc < 0)
		return rc;
	vm->env.bus = pci_bus_new(vm->env.hv, vm->layout.ecam.base, vm->layout.ecam.size);
	vm->env.io = loop_new("xenpvh/io");
	if (!vm->env.bus || !vm->env.io)
		return err_nomem(e);
	loop_set_polling(vm->env.io, vm->cmd->exit_poll_ns, 0, 0);
	return pci_host_bridge_add(vm->env.bus, e);
}

/* --- open --- */

/* Make what the options of group `g` say, of those that are `late` or not. */
static int make_group(struct vm *vm, const struct object_group *g, bool late, struct err *e)
{
	const struct kvs_list *list = cmdline_list(vm->cmd, g->option);

	for (unsigned i = 0; i < list->n; i++) {
		int rc = object_add(g, &vm->env, &list->v[i], late, e);

		if (rc < 0) {
			err_prefix(e, "%s", list->v[i].origin);
			return rc;
		}
	}
	return 0;
}

int build_monitors(struct vm *vm, struct err *e)
{
	int rc;

	vm->env.chardevs = chardevs_new();
	if (!vm->env.chardevs)
		return err_nomem(e);
	rc = make_group(vm, object_group_find("chardev"), false, e);
	if (rc < 0) {
		chardevs_free(vm->env.chardevs, true);
		vm->env.chardevs = NULL;
		return rc;
	}
	vm->monitors = monitors_open(vm, e);
	return vm->monitors ? 0 : -EINVAL;
}

/* All groups but the chardevs, which are there for the monitors already. */
static int make_objects(struct vm *vm, struct err *e)
{
	const struct object_group *chardevs = object_group_find("chardev");
	int rc = 0;

	for (unsigned late = 0; late <= 1; late++)
		for (const struct object_group *g = object_groups; rc == 0 && g->option; g++)
			if (g != chardevs)
				rc = make_group(vm, g, late, e);
	return rc;
}

static int make_devices(struct vm *vm, struct err *e)
{
	const struct kvs_list *list = &vm->cmd->devices;

	for (unsigned i = 0; i < list->n; i++) {
		int rc = dev_add(&vm->env, &list->v[i], e);

		if (rc < 0) {
			err_prefix(e, "%s", list->v[i].origin);
			return rc;
		}
	}
	return 0;
}

/* --- channels: libxl's chardevs become ports --- */

#define CHANNEL_DEVICE "libxl-channels"
#define CHANNEL_BUS    "libxl-channels.0"

static bool is_used_chardev(const struct cmdline *c, const char *id)
{
	for (unsigned i = 0; i < c->devices.n; i++) {
		const char *chardev = kvs_get(&c->devices.v[i], "chardev");

		if (chardev && !strcmp(chardev, id))
			return true;
	}
	return false;
}

/* Add a device that the command line does not have: "driver", then pairs of key and value up to
 * NULL. */
static int add_own(struct vm *vm, const char *driver, const char *const *pairs, struct err *e)
{
	struct kvs k = {0};
	int rc = kvs_add(&k, "driver", driver);

	for (; rc == 0 && *pairs; pairs += 2)
		rc = kvs_add(&k, pairs[0], pairs[1]);
	rc = rc < 0 ? err_set(e, rc, "%s", strerror(-rc)) : dev_add(&vm->env, &k, e);
	kvs_free(&k);
	return rc;
}

/* Each `channel` of xl.cfg that no -device has taken becomes a serial port of that name, on a bus
 * of its own. */
static int add_channels(struct vm *vm, struct err *e)
{
	const char *name;
	unsigned devid;
	int rc = 0;

	if (vm->cmd->accel != ACCEL_XEN)
		return 0;
	for (unsigned i = 0; rc == 0 && (name = hv_xen_channel(vm->env.hv, i, &devid)); i++) {
		char id[32];

		snprintf(id, sizeof(id), "libxl-channel%u", devid);
		if (!chardev_find(vm->env.chardevs, id) || is_used_chardev(vm->cmd, id))
			continue;
		if (!dev_find(&vm->env, CHANNEL_DEVICE))
			rc = add_own(vm, "virtio-serial-pci",
				     (const char *const[]){"id", CHANNEL_DEVICE, NULL}, e);
		if (rc == 0)
			rc = add_own(vm, "virtserialport",
				     (const char *const[]){"id", id, "bus", CHANNEL_BUS, "chardev",
							   id, "name", name, NULL},
				     e);
		if (rc < 0)
			err_prefix(e, "channel '%s'", name);
	}
	return rc;
}

int build_devices(struct vm *vm, struct err *e)
{
	int rc;

	vm->env.rngs = rngs_new();
	vm->env.iothreads = iothreads_new();
	vm->env.blocks = blocks_new();
	vm->env.netdevs = netdevs_new(vm->env.io);
	vm->env.fsdevs = fsdevs_new();
	if (!vm->env.rngs || !vm->env.iothreads || !vm->env.blocks || !vm->env.netdevs ||
	    !vm->env.fsdevs)
		return err_nomem(e);
	netdevs_report_to(vm->env.netdevs, vm->env.events);
	rc = make_objects(vm, e);
	if (rc == 0)
		rc = make_devices(vm, e);
	return rc < 0 ? rc : add_channels(vm, e);
}

/* --- serve --- */

int build_serve(struct vm *vm, struct err *e)
{
	int rc = 0;

	if (vm->cmd->accel == ACCEL_XEN)
		rc = hv_xen_acpi(vm->env.hv, &vm->layout, vm->cmd->acpi, e);
	return rc < 0 ? rc : exits_serve(vm, e);
}

int build_seal(struct vm *vm, struct guard *g, struct err *e)
{
	int rc = 0;

	if (vm->cmd->domid_restrict && vm->cmd->accel == ACCEL_XEN) {
		uid_t uid;

		if (hv_xen_kill_uid(vm->env.hv, &uid))
			guard_user(g, uid);
		rc = hv_restrict(vm->env.hv, e);
	}
	guard_keep(g, fsdevs_capabilities(vm->env.fsdevs));
	if (rc == 0)
		rc = guard_seal(g, e);
	if (rc < 0)
		return rc;
	/* Capabilities belong to a thread: the others begin without any. Exits come last, when all
	 * that they hand work to runs. */
	rc = iothreads_start(vm->env.iothreads, e);
	if (rc < 0)
		return rc;
	rc = loop_start(vm->env.io);
	if (rc < 0)
		return err_set(e, rc, "could not start a thread: %s", strerror(-rc));
	return hv_announce(vm->env.hv, e);
}

/* --- the end --- */

#define LIMIT_THREADS_S 10
#define LIMIT_CLOSE_S	60 /* scripts of taps are run, workers end what they are at */

void build_undo(struct vm *vm)
{
	vm_end_stage(vm, "the threads of the loops", LIMIT_THREADS_S);
	if (vm->env.io)
		loop_join(vm->env.io);
	iothreads_join(vm->env.iothreads);
	vm_end_stage(vm, "closing devices and back ends", LIMIT_CLOSE_S);
	dev_free_all(&vm->env);
	fsdevs_free(vm->env.fsdevs);
	netdevs_free(vm->env.netdevs);
	blocks_free(vm->env.blocks);
	rngs_free(vm->env.rngs);
	iothreads_free(vm->env.iothreads);
	/* The probe run must leave its socket file: the real run is about to replace it. */
	monitors_free(vm->monitors, vm->env.events);
	chardevs_free(vm->env.chardevs, vm->cmd->machine != MACHINE_NONE);
	pci_bus_free(vm->env.bus);
	if (vm->env.hv)
		hv_close(vm->env.hv);
	loop_free(vm->env.io);
}
