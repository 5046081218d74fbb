/* SPDX-License-Identifier: MIT */
/* query.c - QMP's query-*: the state of the machine in QEMU's shapes
 *
 * Control thread. With `-machine none`, as libxl starts the program to ask what it supports, there
 * are no devices: then the lists are empty.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "block/block.h"
#include "ctl/cmdline.h"
#include "ctl/commands.h"
#include "dev/dev.h"
#include "iothread/iothread.h"
#include "pci/pci.h"
#include "machine/vm.h"

int query_status(struct qmp_call *call)
{
	static const char *const names[] = {
		[RUN_PRELAUNCH] = "prelaunch",
		[RUN_RUNNING] = "running",
		[RUN_PAUSED] = "paused",
		[RUN_SHUTDOWN] = "shutdown",
	};
	enum run_state state = call->vm->state;

	call->ret =
		json_pack("{s:s, s:b}", "status", names[state], "running", state == RUN_RUNNING);
	return 0;
}

int query_name(struct qmp_call *call)
{
	call->ret = json_pack("{s:s*}", "name", call->vm->cmd->name);
	return 0;
}

int query_uuid(struct qmp_call *call)
{
	const char *uuid = call->vm->cmd->uuid;

	call->ret =
		json_pack("{s:s}", "UUID", uuid ? uuid : "00000000-0000-0000-0000-000000000000");
	return 0;
}

int query_cpus_fast(struct qmp_call *call)
{
	unsigned cpus = call->vm->env.hv ? call->vm->env.hv->vcpus : 0;

	call->ret = json_array();
	for (unsigned i = 0; i < cpus; i++)
		json_array_append_new(call->ret, json_pack("{s:i, s:i, s:o, s:s}", "cpu-index", i,
							   "thread-id", (int)getpid(), "qom-path",
							   json_sprintf("/machine/cpu[%u]", i),
							   "target", "i386"));
	return 0;
}

int query_iothreads(struct qmp_call *call)
{
	struct iothreads *all = call->vm->env.iothreads;

	call->ret = json_array();
	for (struct iothread *t = NULL; all && (t = iothread_next(all, t));) {
		struct iothread_info i;

		iothread_info(t, &i);
		json_array_append_new(call->ret,
				      json_pack("{s:s, s:i, s:I, s:I, s:I, s:I}", "id", i.id,
						"thread-id", i.thread_id, "poll-max-ns",
						(json_int_t)i.poll_max_ns, "poll-grow",
						(json_int_t)i.poll_grow, "poll-shrink",
						(json_int_t)i.poll_shrink, "aio-max-batch",
						(json_int_t)i.aio_max_batch));
	}
	return 0;
}

/* --- block --- */

/* The device that uses a disk, as a path of QEMU's object model; NULL when several without an id
 * answer to that name. */
static json_t *dev_qom_path(struct vm *vm, const char *user)
{
	unsigned anonymous = 0, found = 0, place = 0;

	list_for_each (it, &vm->env.devices) {
		const struct dev *d = list_entry(it, struct dev, link);

		if (dev_id(d) && !strcmp(dev_id(d), user))
			return json_sprintf("/machine/peripheral/%s/virtio-backend", user);
		if (dev_id(d))
			continue;
		if (!strcmp(d->class->name, user)) {
			place = anonymous;
			found++;
		}
		anonymous++;
	}
	return found == 1
		       ? json_sprintf("/machine/peripheral-anon/device[%u]/virtio-backend", place)
		       : NULL;
}

static void entry_set_dev(json_t *entry, struct vm *vm, const char *user)
{
	json_t *path = user ? dev_qom_path(vm, user) : NULL;

	if (path)
		json_object_set_new(entry, "qdev", path);
}

static json_t *node_describe(const struct block_info *i)
{
	json_t *image = json_pack("{s:I, s:s, s:s, s:I, s:b}", "virtual-size", (json_int_t)i->size,
				  "filename", i->filename, "format", i->driver, "actual-size",
				  (json_int_t)i->allocated, "dirty-flag", 0);

	return json_pack(
		"{s:i, s:b, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:s, s:b, s:s, s:s,"
		" s:b, s:o, s:{s:b, s:b, s:b}}",
		"iops_rd", 0, "active", 1, "detect_zeroes", i->detect_zeroes, "iops_wr", 0,
		"bps_rd", 0, "bps_wr", 0, "iops", 0, "bps", 0, "write_threshold", 0,
		"backing_file_depth", 0, "encrypted", 0, "node-name", i->node_name, "ro",
		i->read_only, "drv", i->driver, "file", i->filename, "locked", 0, "image", image,
		"cache", "no-flush", i->no_flush, "direct", i->direct, "writeback", i->writeback);
}

int query_block(struct qmp_call *call)
{
	struct blocks *bs = call->vm->env.blocks;

	call->ret = json_array();
	for (struct block *b = NULL; bs && (b = block_next(bs, b));) {
		struct block_info i;
		json_t *entry;

		block_info(b, &i);
		if (!i.id && !i.user)
			continue; /* a -blockdev that no device uses */
		entry = json_pack("{s:s, s:b, s:b, s:s, s:o}", "device", i.id ? i.id : "", "locked",
				  0, "removable", 0, "type", "unknown", "inserted",
				  node_describe(&i));
		if (i.user)
			json_object_set_new(entry, "io-status", json_string("ok"));
		entry_set_dev(entry, call->vm, i.user);
		json_array_append_new(call->ret, entry);
	}
	return 0;
}

int query_named_block_nodes(struct qmp_call *call)
{
	struct blocks *bs = call->vm->env.blocks;

	call->ret = json_array();
	for (struct block *b = NULL; bs && (b = block_next(bs, b));) {
		struct block_info i;

		block_info(b, &i);
		json_array_append_new(call->ret, node_describe(&i));
	}
	return 0;
}

/* Like QEMU, this counts a request that writes zeroes as a write. */
static json_t *block_stats_describe(const struct block_stats *s)
{
	static const struct {
		const char *name;
		enum block_op op;
	} kinds[] = {
		{"rd", BLOCK_READ},
		{"wr", BLOCK_WRITE},
		{"flush", BLOCK_FLUSH},
		{"unmap", BLOCK_DISCARD},
	};
	json_t *out = json_pack("{s:b, s:b, s:[], s:I, s:I}", "account_failed", 1,
				"account_invalid", 1, "timed_stats", "wr_highest_offset",
				(json_int_t)s->highest, "idle_time_ns", (json_int_t)s->idle_ns);

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		enum block_op op = kinds[i].op, also = BLOCK_WRITE_ZEROES;
		bool sum = op == BLOCK_WRITE;
		const struct {
			const char *form;
			uint64_t value;
		} fields[] = {
			{"%s_operations", s->ops[op] + (sum ? s->ops[also] : 0)},
			{"%s_bytes", s->bytes[op] + (sum ? s->bytes[also] : 0)},
			{"%s_total_time_ns", s->ns[op] + (sum ? s->ns[also] : 0)},
			{"failed_%s_operations", s->failed[op] + (sum ? s->failed[also] : 0)},
			{"invalid_%s_operations", 0},
			{"%s_merged", 0},
		};

		for (unsigned f = 0; f < ARRAY_SIZE(fields); f++) {
			char name[64];

			if (op == BLOCK_FLUSH && !strcmp(fields[f].form, "%s_bytes"))
				continue;
			snprintf(name, sizeof(name), fields[f].form, kinds[i].name);
			json_object_set_new(out, name, json_integer(fields[f].value));
		}
	}
	return out;
}

int query_blockstats(struct qmp_call *call)
{
	struct blocks *bs = call->vm->env.blocks;

	call->ret = json_array();
	for (struct block *b = NULL; bs && (b = block_next(bs, b));) {
		struct block_stats stats;
		struct block_info i;
		json_t *entry;

		block_info(b, &i);
		if (!i.id && !i.user && !qmp_bool(call, "query-nodes", false))
			continue;
		block_stats(b, &stats);
		entry = json_pack("{s:s, s:s, s:o}", "device", i.id ? i.id : "", "node-name",
				  i.node_name, "stats", block_stats_describe(&stats));
		entry_set_dev(entry, call->vm, i.user);
		json_array_append_new(call->ret, entry);
	}
	return 0;
}

/* --- PCI --- */

static const char *pci_class_name(unsigned code, char *buf, size_t size)
{
	static const struct {
		unsigned code;
		const char *name;
	} names[] = {{0x0100, "SCSI controller"},
		     {0x0180, "Storage controller"},
		     {0x0200, "Ethernet controller"},
		     {0x0280, "Network controller"},
		     {0x0600, "Host bridge"},
		     {0x0604, "PCI bridge"},
		     {0x0780, "Communication controller"},
		     {0x1005, "Random number generator"}};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].code == code)
			return names[i].name;
	snprintf(buf, size, "Class %04x", code);
	return buf;
}

static json_t *bars_describe(const struct pci_fn *fn)
{
	json_t *out = json_array();

	for (unsigned n = 0; n < PCI_BARS; n++) {
		const struct pci_bar *bar = &fn->bar[n];

		if (bar->ops)
			json_array_append_new(
				out, json_pack("{s:i, s:s, s:I, s:I, s:b, s:b}", "bar", n, "type",
					       "memory", "size", (json_int_t)bar->size, "address",
					       (json_int_t)pci_bar_addr(fn, n), "prefetch",
					       bar->prefetch, "mem_type_64", bar->is64));
	}
	return out;
}

static json_t *function_describe(struct pci_fn *fn)
{
	unsigned code = pci_cfg_read(fn, 0x0a, 2);
	char buf[32];

	return json_pack(
		"{s:i, s:i, s:i, s:s, s:i, s:i, s:{s:i, s:s}, s:{s:i, s:i, s:i, s:i}, s:o}", "bus",
		0, "slot", fn->devfn >> 3, "function", fn->devfn & 7, "qdev_id",
		fn->id ? fn->id : "", "irq", (int)pci_cfg_read(fn, 0x3c, 1), "irq_pin",
		(int)pci_cfg_read(fn, 0x3d, 1), "class_info", "class", (int)code, "desc",
		pci_class_name(code, buf, sizeof(buf)), "id", "device",
		(int)pci_cfg_read(fn, 0x02, 2), "vendor", (int)pci_cfg_read(fn, 0x00, 2),
		"subsystem", (int)pci_cfg_read(fn, 0x2e, 2), "subsystem-vendor",
		(int)pci_cfg_read(fn, 0x2c, 2), "regions", bars_describe(fn));
}

/* Runs on the exit loop, which owns the configuration space. */
static void bus_describe(void *arg)
{
	struct qmp_call *call = arg;
	json_t *devices = json_array();

	for (unsigned devfn = 0; devfn < 256; devfn++) {
		struct pci_fn *fn = pci_bus_fn(call->vm->env.bus, devfn);

		if (fn)
			json_array_append_new(devices, function_describe(fn));
	}
	call->ret = json_pack("[{s:i, s:o}]", "bus", 0, "devices", devices);
}

int query_pci(struct qmp_call *call)
{
	if (call->vm->env.bus)
		loop_call(call->vm->env.io, bus_describe, call);
	else
		call->ret = json_array();
	return 0;
}
