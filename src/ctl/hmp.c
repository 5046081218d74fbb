/* SPDX-License-Identifier: MIT */
/* hmp.c - human-monitor-command: a few questions that people ask, answered in text
 *
 * `xl qemu-monitor-command` sends them, and so do people who know QEMU. Each answer is made from
 * the reply to the QMP command, so the two cannot differ. As in QEMU, "unknown command" is a
 * successful reply, too, and lines end with CR LF.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "dev/dev.h"
#include "net/net.h"
#include "machine/vm.h"

#define EOL "\r\n"

/* Run a QMP handler without arguments and return its answer; the caller owns the reference. */
static json_t *handler_run(struct qmp_call *call, int (*handler)(struct qmp_call *call))
{
	struct qmp_call inner = {.vm = call->vm, .args = json_object()};

	handler(&inner);
	json_decref(inner.args);
	return inner.ret;
}

static const char *member_text(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static long long member_number(json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void info_status(struct qmp_call *call, FILE *out)
{
	json_t *r = handler_run(call, query_status);
	bool running = json_is_true(json_object_get(r, "running"));
	const char *status = member_text(r, "status");

	if (running || !strcmp(status, "paused"))
		fprintf(out, "VM status: %s" EOL, status);
	else
		fprintf(out, "VM status: paused (%s)" EOL, status);
	json_decref(r);
}

static void info_version(struct qmp_call *call, FILE *out)
{
	json_t *r = qmp_version(), *qemu = json_object_get(r, "qemu");

	fprintf(out, "%lld.%lld.%lld (%s)" EOL, member_number(qemu, "major"),
		member_number(qemu, "minor"), member_number(qemu, "micro"),
		member_text(r, "package"));
	json_decref(r);
}

static void info_name(struct qmp_call *call, FILE *out)
{
	json_t *r = handler_run(call, query_name);

	if (*member_text(r, "name"))
		fprintf(out, "%s" EOL, member_text(r, "name"));
	json_decref(r);
}

static void info_uuid(struct qmp_call *call, FILE *out)
{
	json_t *r = handler_run(call, query_uuid);

	fprintf(out, "%s" EOL, member_text(r, "UUID"));
	json_decref(r);
}

static void info_balloon(struct qmp_call *call, FILE *out)
{
	json_t *r = handler_run(call, query_balloon);

	if (r)
		fprintf(out, "balloon: actual=%lld" EOL, member_number(r, "actual") >> 20);
	else
		fputs("Error: No balloon device has been activated" EOL, out);
	json_decref(r);
}

static void info_chardev(struct qmp_call *call, FILE *out)
{
	json_t *r = handler_run(call, query_chardev), *entry;
	size_t i;

	json_array_foreach (r, i, entry)
		fprintf(out, "%s: filename=%s" EOL, member_text(entry, "label"),
			member_text(entry, "filename"));
	json_decref(r);
}

static void info_block(struct qmp_call *call, FILE *out)
{
	json_t *r = handler_run(call, query_block), *entry;
	size_t i;

	json_array_foreach (r, i, entry) {
		json_t *node = json_object_get(entry, "inserted");
		json_t *cache = json_object_get(node, "cache");
		const char *device = member_text(entry, "device");

		fprintf(out, "%s%s(%s): %s (%s%s)" EOL, device, *device ? " " : "",
			member_text(node, "node-name"), member_text(node, "file"),
			member_text(node, "drv"),
			json_is_true(json_object_get(node, "ro")) ? ", read-only" : "");
		if (*member_text(entry, "qdev"))
			fprintf(out, "    Attached to:      %s" EOL, member_text(entry, "qdev"));
		fprintf(out, "    Cache mode:       %s%s%s" EOL,
			json_is_true(json_object_get(cache, "writeback")) ? "writeback"
									  : "writethrough",
			json_is_true(json_object_get(cache, "direct")) ? ", direct" : "",
			json_is_true(json_object_get(cache, "no-flush")) ? ", ignore flushes" : "");
	}
	json_decref(r);
}

static void bar_print(json_t *bar, FILE *out)
{
	unsigned long long at = member_number(bar, "address"), size = member_number(bar, "size");

	fprintf(out, "      BAR%lld: %s bit %smemory", member_number(bar, "bar"),
		json_is_true(json_object_get(bar, "mem_type_64")) ? "64" : "32",
		json_is_true(json_object_get(bar, "prefetch")) ? "prefetchable " : "");
	if (at == UINT64_MAX)
		fprintf(out, " (not mapped), %llu bytes." EOL, size);
	else
		fprintf(out, " at 0x%016llx [0x%016llx]." EOL, at, at + size - 1);
}

static void info_pci(struct qmp_call *call, FILE *out)
{
	json_t *r = handler_run(call, query_pci), *fn, *bar;
	size_t i, n;

	json_array_foreach (json_object_get(json_array_get(r, 0), "devices"), i, fn) {
		json_t *id = json_object_get(fn, "id");

		fprintf(out, "  Bus  %lld, device %3lld, function %lld:" EOL,
			member_number(fn, "bus"), member_number(fn, "slot"),
			member_number(fn, "function"));
		fprintf(out, "    %s: PCI device %04llx:%04llx" EOL,
			member_text(json_object_get(fn, "class_info"), "desc"),
			member_number(id, "vendor"), member_number(id, "device"));
		fprintf(out, "      PCI subsystem %04llx:%04llx" EOL,
			member_number(id, "subsystem-vendor"), member_number(id, "subsystem"));
		json_array_foreach (json_object_get(fn, "regions"), n, bar)
			bar_print(bar, out);
		fprintf(out, "      id \"%s\"" EOL, member_text(fn, "qdev_id"));
	}
	json_decref(r);
}

/* Print a device and the devices on its bus. */
static void dev_print(struct vm *vm, const struct dev *d, FILE *out)
{
	const char *id = dev_id(d);

	fprintf(out, "  dev: %s, id \"%s\"" EOL "    addr = %02x.%x" EOL, d->class->name,
		id ? id : "", d->fn->devfn >> 3, d->fn->devfn & 7);
	if (!d->bus_name)
		return;
	fprintf(out, "    bus: %s" EOL "      type %s" EOL, d->bus_name, d->class->bus);
	list_for_each (it, &vm->env.devices) {
		const struct dev *s = list_entry(it, struct dev, link);

		if (s->sub && s->sub->parent == d->fn)
			fprintf(out, "      dev: %s, id \"%s\"" EOL, s->class->name,
				dev_id(s) ? dev_id(s) : "");
	}
}

static void info_qtree(struct qmp_call *call, FILE *out)
{
	if (call->vm->env.bus)
		fputs("bus: pcie.0" EOL "  type PCIE" EOL, out);
	list_for_each (it, &call->vm->env.devices) {
		const struct dev *d = list_entry(it, struct dev, link);

		if (d->fn)
			dev_print(call->vm, d, out);
	}
}

static const struct {
	const char *topic, *help;
	void (*print)(struct qmp_call *call, FILE *out);
} topics[] = {
	{"balloon", "the guest's memory", info_balloon},
	{"block", "the disks", info_block},
	{"chardev", "the character streams", info_chardev},
	{"name", "the guest's name", info_name},
	{"pci", "the PCI bus", info_pci},
	{"qtree", "the devices", info_qtree},
	{"status", "does it run?", info_status},
	{"uuid", "the guest's UUID", info_uuid},
	{"version", "the version", info_version},
};

static void command_answer(struct qmp_call *call, const char *verb, const char *topic, FILE *out)
{
	if (!strcmp(verb, "info") && *topic) {
		for (unsigned i = 0; i < ARRAY_SIZE(topics); i++)
			if (!strcmp(topics[i].topic, topic)) {
				topics[i].print(call, out);
				return;
			}
	} else if (!strcmp(verb, "info") || !strcmp(verb, "help")) {
		for (unsigned i = 0; i < ARRAY_SIZE(topics); i++)
			fprintf(out, "info %s -- %s" EOL, topics[i].topic, topics[i].help);
		return;
	}
	fprintf(out, "unknown command: '%s%s%s'" EOL, verb, *topic ? " " : "", topic);
}

int human_monitor_command(struct qmp_call *call)
{
	char verb[64] = "", topic[64] = "", *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return err_nomem(&call->err);
	if (sscanf(qmp_string(call, "command-line"), "%63s %63s", verb, topic) > 0)
		command_answer(call, verb, topic, out);
	fclose(out);
	call->ret = json_string(text);
	free(text);
	return call->ret ? 0 : err_set(&call->err, -EINVAL, "the answer is not valid UTF-8");
}
