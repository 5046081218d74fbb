/* SPDX-License-Identifier: MIT */
/* commands.c - the table of QMP commands, the check of their arguments, and the handlers that do
 * not show the machine's state (query*.c has those)
 *
 * Shapes and texts follow QEMU 10's schema (qapi), since that is what libxl, libvirt and people's
 * scripts parse.
 */
#include "ctl/commands.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "base/util.h"
#include "chardev/chardev.h"
#include "ctl/cmdline.h"
#include "ctl/qmp.h"
#include "dev/dev.h"
#include "net/net.h"
#include "machine/objects.h"
#include "machine/vm.h"

/* The version of QEMU whose protocol is implemented: clients derive from it what is supported. */
#define QEMU_MAJOR 10
#define QEMU_MINOR 0
#define QEMU_MICRO 13

#define CPUS_MAX 128

json_t *qmp_version(void)
{
	return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "micro", QEMU_MICRO, "minor",
			 QEMU_MINOR, "major", QEMU_MAJOR, "package", "xenpvh " XENPVH_VERSION);
}

const char *qmp_string(const struct qmp_call *call, const char *name)
{
	return json_string_value(json_object_get(call->args, name));
}

bool qmp_bool(const struct qmp_call *call, const char *name, bool absent)
{
	json_t *value = json_object_get(call->args, name);

	return value ? json_is_true(value) : absent;
}

/* --- about the program --- */

static int query_version(struct qmp_call *call)
{
	call->ret = qmp_version();
	return 0;
}

static int query_commands(struct qmp_call *call)
{
	call->ret = json_array();
	for (const struct qmp_command *c = qmp_commands; c->name; c++)
		json_array_append_new(call->ret, json_pack("{s:s}", "name", c->name));
	return 0;
}

static const char *opt_qemu_type(enum opt_type type)
{
	switch (type) {
	case OPT_BOOL:
		return "boolean";
	case OPT_UINT:
	case OPT_INT:
		return "number";
	case OPT_SIZE:
		return "size";
	default:
		return "string";
	}
}

static bool params_contain(const json_t *params, const char *name)
{
	for (size_t i = 0; i < json_array_size(params); i++) {
		const json_t *p = json_array_get(params, i);

		if (!strcmp(json_string_value(json_object_get(p, "name")), name))
			return true;
	}
	return false;
}

static void params_add_rows(json_t *params, const struct opt *rows)
{
	for (; rows->name; rows++)
		if (!params_contain(params, rows->name))
			json_array_append_new(params, json_pack("{s:s, s:s, s:s*, s:s*}", "name",
								rows->name, "type",
								opt_qemu_type(rows->type), "help",
								rows->help, "default", rows->def));
}

static json_t *group_describe(const char *name, const struct opt *rows)
{
	const struct object_group *g = object_group_find(name);
	json_t *params = json_array();
	struct object_kind kind;

	params_add_rows(params, rows);
	for (unsigned i = 0; g && g->kind(i, &kind); i++)
		params_add_rows(params, kind.options);
	return json_pack("{s:s, s:o}", "option", name, "parameters", params);
}

/* libxl asks for this before it starts a guest: it looks for "chroot" and "user" of "run-with". */
static int query_command_line_options(struct qmp_call *call)
{
	const char *wanted = qmp_string(call, "option"), *name;
	const struct opt *rows;

	call->ret = json_array();
	for (unsigned i = 0; (rows = cmdline_group(i, &name)); i++)
		if (!wanted || !strcmp(wanted, name))
			json_array_append_new(call->ret, group_describe(name, rows));
	if (wanted && !json_array_size(call->ret))
		return err_set(&call->err, -ENOENT, "Invalid option name: %s", wanted);
	return 0;
}

static int query_machines(struct qmp_call *call)
{
	static const struct {
		const char *name, *alias;
		int cpus;
	} machines[] = {{"xenpvh", "xenpv", CPUS_MAX}, {"none", NULL, 1}};

	call->ret = json_array();
	for (unsigned i = 0; i < ARRAY_SIZE(machines); i++)
		json_array_append_new(
			call->ret, json_pack("{s:s, s:s*, s:i, s:b, s:b, s:b, s:b}", "name",
					     machines[i].name, "alias", machines[i].alias,
					     "cpu-max", machines[i].cpus, "hotpluggable-cpus", 0,
					     "numa-mem-supported", 0, "deprecated", 0, "acpi", 0));
	return 0;
}

static int query_target(struct qmp_call *call)
{
	call->ret = json_pack("{s:s}", "arch", "i386");
	return 0;
}

static int query_kvm(struct qmp_call *call)
{
	call->ret = json_pack("{s:b, s:b}", "enabled", 0, "present", 0);
	return 0;
}

static int query_vnc(struct qmp_call *call)
{
	call->ret = json_pack("{s:b}", "enabled", 0);
	return 0;
}

static int change_vnc_password(struct qmp_call *call)
{
	return err_set(&call->err, -ENOTSUP, "Could not set password: there is no VNC display");
}

/* No command can pass file descriptors to the program, so there are no sets of them. */
static int query_fdsets(struct qmp_call *call)
{
	call->ret = json_array();
	return 0;
}

/* --- types --- */

/* The types of QEMU's object model that are neither devices nor kinds of back ends. */
static const struct {
	const char *name, *parent;
	bool abstract;
} types[] = {
	{"device", "object", true},	    {"pci-device", "device", true},
	{"virtio-pci", "pci-device", true}, {"machine", "object", true},
	{"none-machine", "machine", false}, {"xenpvh-machine", "machine", false},
	{"rng-backend", "object", true},    {"memory-backend", "object", true},
	{"netfilter", "object", true},
};

static const char *class_parent(const struct dev_class *c)
{
	return c->on_bus ? "device" : c->virtio ? "virtio-pci" : "pci-device";
}

/* Is the type `name`, a child of `parent`, the type `wanted` or derived from it? */
static bool type_implements(const char *name, const char *parent, const char *wanted)
{
	if (!strcmp(name, wanted) || !strcmp(parent, wanted))
		return true;
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(types[i].name, parent))
			return type_implements(parent, types[i].parent, wanted);
	return false;
}

static void type_append(struct qmp_call *call, const char *name, const char *parent, bool abstract)
{
	const char *wanted = qmp_string(call, "implements");

	if ((abstract && !qmp_bool(call, "abstract", false)) ||
	    (wanted && !type_implements(name, parent, wanted)))
		return;
	json_array_append_new(call->ret,
			      abstract ? json_pack("{s:s, s:b, s:s}", "name", name, "abstract", 1,
						   "parent", parent)
				       : json_pack("{s:s, s:s}", "name", name, "parent", parent));
}

static int qom_list_types(struct qmp_call *call)
{
	struct object_kind kind;

	call->ret = json_array();
	for (unsigned i = 0; dev_classes[i]; i++)
		type_append(call, dev_classes[i]->name, class_parent(dev_classes[i]), false);
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		type_append(call, types[i].name, types[i].parent, types[i].abstract);
	for (const struct object_group *g = object_groups; g->option; g++)
		for (unsigned i = 0; g->kind(i, &kind); i++)
			if (kind.parent)
				type_append(call, kind.name, kind.parent, false);
	return 0;
}

static int device_list_properties(struct qmp_call *call)
{
	const struct dev_class *c = dev_class_find(qmp_string(call, "typename"));
	const struct opt *tables[4];

	if (!c) {
		err_set(&call->err, 0, "Device '%s' not found", qmp_string(call, "typename"));
		call->err.class = ERR_DEVICE_NOT_FOUND;
		return -ENODEV;
	}
	dev_class_tables(c, tables);
	call->ret = json_array();
	for (const struct opt *const *t = tables; *t; t++)
		for (const struct opt *o = *t; o->name; o++) {
			char type[128];

			if (o->type == OPT_IGNORED)
				continue;
			json_array_append_new(
				call->ret,
				json_pack("{s:s, s:s, s:s*, s:s*}", "name", o->name, "type",
					  opts_type_name(o, type, sizeof(type)), "description",
					  o->help, "default-value", o->def));
		}
	return 0;
}

/* --- the run state --- */

static void run_state_changed(void *arg, int rc)
{
	struct qmp_call *call = arg;

	if (rc == -ESHUTDOWN)
		err_set(&call->err, rc, "The device model is ending: it cannot continue");
	else if (rc < 0)
		err_set(&call->err, rc, "%s", strerror(-rc));
	qmp_done(call, rc);
}

static int qmp_stop(struct qmp_call *call)
{
	vm_stop(call->vm, run_state_changed, call);
	return QMP_LATER;
}

static int qmp_cont(struct qmp_call *call)
{
	vm_cont(call->vm, run_state_changed, call);
	return QMP_LATER;
}

static int qmp_quit(struct qmp_call *call)
{
	vm_quit(call->vm, "host-qmp-quit");
	return 0;
}

/* --- devices that come and go --- */

static int device_add(struct qmp_call *call)
{
	char *text = json_dumps(call->args, 0);
	struct kvs k = {0};
	int rc;

	if (!text)
		return err_nomem(&call->err);
	rc = kvs_parse(&k, "device_add", text, "driver", &call->err);
	free(text);
	if (!rc)
		rc = dev_hotplug(&call->vm->env, &k, &call->err);
	kvs_free(&k);
	return rc;
}

static int device_del(struct qmp_call *call)
{
	const char *id = qmp_string(call, "id");
	int rc = dev_unplug(&call->vm->env, id, &call->err);

	if (!rc)
		events_post(call->vm->env.events, "DEVICE_DELETED",
			    json_pack("{s:s, s:o}", "device", id, "path",
				      json_sprintf("/machine/peripheral/%s", id)));
	return rc;
}

static int set_link(struct qmp_call *call)
{
	if (!call->vm->env.netdevs) {
		err_set(&call->err, 0, "Device '%s' not found", qmp_string(call, "name"));
		call->err.class = ERR_DEVICE_NOT_FOUND;
		return -ENODEV;
	}
	return netdev_set_link(call->vm->env.netdevs, qmp_string(call, "name"),
			       qmp_bool(call, "up", true), &call->err);
}

/* --- trace events --- */

/* As in QEMU, a name that no event has is an error unless it is a pattern. */
static int event_check_found(struct qmp_call *call, const char *name, unsigned found)
{
	return found || strchr(name, '*')
		       ? 0
		       : err_set(&call->err, -EINVAL, "unknown event \"%s\"", name);
}

static int trace_event_get_state(struct qmp_call *call)
{
	const char *wanted = qmp_string(call, "name"), *name, *help;
	unsigned found = 0;

	call->ret = json_array();
	for (unsigned i = 0; (name = trace_name(i, &help)); i++)
		if (!fnmatch(wanted, name, 0)) {
			json_array_append_new(call->ret,
					      json_pack("{s:s, s:s}", "name", name, "state",
							trace_on(i) ? "enabled" : "disabled"));
			found++;
		}
	return event_check_found(call, wanted, found);
}

static int trace_event_set_state(struct qmp_call *call)
{
	const char *name = qmp_string(call, "name");

	return event_check_found(call, name, trace_set(name, qmp_bool(call, "enable", false)));
}

/* --- the table --- */

#define ARGS(...)                        \
	.args = (const struct qmp_arg[]) \
	{                                \
		__VA_ARGS__,             \
		{                        \
			NULL             \
		}                        \
	}

/* These arguments are checked; others are allowed, and the handler checks them. */
#define ANY_ARGS(...) .open = true, ARGS(__VA_ARGS__)

const struct qmp_command qmp_commands[] = {
	{"announce-self", announce_self,
	 ARGS({"initial", QMP_INT, true}, {"max", QMP_INT, true}, {"rounds", QMP_INT, true},
	      {"step", QMP_INT, true}, {"interfaces", QMP_ANY}, {"id", QMP_STRING})},
	{"balloon", qmp_balloon, ARGS({"value", QMP_INT, true})},
	{"change-vnc-password", change_vnc_password, ARGS({"password", QMP_STRING, true})},
	{"chardev-send-break", chardev_send_break, ARGS({"id", QMP_STRING, true})},
	{"cont", qmp_cont},
	{"device_add", device_add, ANY_ARGS({"driver", QMP_STRING, true}, {"id", QMP_STRING})},
	{"device_del", device_del, ARGS({"id", QMP_STRING, true})},
	{"device-list-properties", device_list_properties, ARGS({"typename", QMP_STRING, true})},
	{"human-monitor-command", human_monitor_command,
	 ARGS({"command-line", QMP_STRING, true}, {"cpu-index", QMP_INT})},
	{"qmp_capabilities", NULL, ARGS({"enable", QMP_ANY})},
	{"qom-get", qom_get, ARGS({"path", QMP_STRING, true}, {"property", QMP_STRING, true})},
	{"qom-list-types", qom_list_types,
	 ARGS({"implements", QMP_STRING}, {"abstract", QMP_BOOL})},
	{"qom-set", qom_set,
	 ARGS({"path", QMP_STRING, true}, {"property", QMP_STRING, true},
	      {"value", QMP_ANY, true})},
	{"query-balloon", query_balloon},
	{"query-block", query_block},
	{"query-blockstats", query_blockstats, ARGS({"query-nodes", QMP_BOOL})},
	{"query-chardev", query_chardev},
	{"query-chardev-backends", query_chardev_backends},
	{"query-command-line-options", query_command_line_options, ARGS({"option", QMP_STRING})},
	{"query-commands", query_commands},
	{"query-cpus-fast", query_cpus_fast},
	{"query-fdsets", query_fdsets},
	{"query-iothreads", query_iothreads},
	{"query-kvm", query_kvm},
	{"query-machines", query_machines},
	{"query-name", query_name},
	{"query-named-block-nodes", query_named_block_nodes, ARGS({"flat", QMP_BOOL})},
	{"query-pci", query_pci},
	{"query-rx-filter", query_rx_filter, ARGS({"name", QMP_STRING})},
	{"query-status", query_status},
	{"query-target", query_target},
	{"query-uuid", query_uuid},
	{"query-version", query_version},
	{"query-vnc", query_vnc},
	{"quit", qmp_quit},
	{"ringbuf-read", ringbuf_read,
	 ARGS({"device", QMP_STRING, true}, {"size", QMP_INT, true}, {"format", QMP_STRING})},
	{"ringbuf-write", ringbuf_write,
	 ARGS({"device", QMP_STRING, true}, {"data", QMP_STRING, true}, {"format", QMP_STRING})},
	{"set_link", set_link, ARGS({"name", QMP_STRING, true}, {"up", QMP_BOOL, true})},
	{"stop", qmp_stop},
	{"trace-event-get-state", trace_event_get_state, ARGS({"name", QMP_STRING, true})},
	{"trace-event-set-state", trace_event_set_state,
	 ARGS({"name", QMP_STRING, true}, {"enable", QMP_BOOL, true},
	      {"ignore-unavailable", QMP_BOOL})},
	{NULL},
};

/* --- running a command --- */

static const struct qmp_arg *arg_find(const struct qmp_arg *args, const char *name)
{
	for (; args && args->name; args++)
		if (!strcmp(args->name, name))
			return args;
	return NULL;
}

static int args_check(const struct qmp_command *c, struct qmp_call *call)
{
	static const char *const type_names[] = {
		[QMP_STRING] = "string", [QMP_INT] = "integer", [QMP_BOOL] = "boolean"};
	const char *name;
	json_t *value;

	for (const struct qmp_arg *a = c->args; a && a->name; a++) {
		value = json_object_get(call->args, a->name);
		if (!value && a->required)
			return err_set(&call->err, -EINVAL, "Parameter '%s' is missing", a->name);
		if (value && ((a->type == QMP_STRING && !json_is_string(value)) ||
			      (a->type == QMP_INT && !json_is_integer(value)) ||
			      (a->type == QMP_BOOL && !json_is_boolean(value))))
			return err_set(&call->err, -EINVAL,
				       "Invalid parameter type for '%s', expected: %s", a->name,
				       type_names[a->type]);
	}
	json_object_foreach (call->args, name, value)
		if (!c->open && !arg_find(c->args, name))
			return err_set(&call->err, -EINVAL, "Parameter '%s' is unexpected", name);
	return 0;
}

int qmp_run(const char *name, struct qmp_call *call)
{
	for (const struct qmp_command *c = qmp_commands; c->name; c++)
		if (!strcmp(c->name, name)) {
			int rc = args_check(c, call);

			return rc < 0 ? rc : c->run(call);
		}
	err_set(&call->err, 0, "The command %s has not been found", name);
	call->err.class = ERR_COMMAND_NOT_FOUND;
	return -ENOENT;
}
