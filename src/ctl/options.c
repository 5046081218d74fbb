/* SPDX-License-Identifier: MIT */
/* options.c - what each option of the command line is called, takes and means
 *
 * The table at the end has a row for each option; above it is the code of those that need some.
 * QEMU's options that have no meaning for this machine have rows, too: they are accepted without
 * effect where libxl or people send them out of habit and that does no harm, and refused with a
 * reason where the user would believe that they work.
 */
#include "ctl/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "base/util.h"
#include "chardev/chardev.h"
#include "ctl/qmp.h"
#include "p9/p9.h"

#define AT(member) offsetof(struct cmdline, member)

/* --- -machine, -accel --- */

static const char *const acpi_modes[] = {
	[ACPI_AUTO] = "auto", [ACPI_ON] = "on", [ACPI_OFF] = "off", NULL};

/* machine_parse() reads `type` and `accel` itself. */
static const struct opt machine_params[] = {
	{"type", OPT_IGNORED},
	{"accel", OPT_IGNORED},
	{"acpi", OPT_ENUM, AT(acpi), .values = acpi_modes, .def = "auto",
	 .help = "complete the guest's ACPI tables with the PCI host bridge"},
	{"ram-low-base", OPT_SIZE, AT(map.ram_low.base), .help = "start of the low RAM"},
	{"ram-low-size", OPT_SIZE, AT(map.ram_low.size), .help = "most RAM that lies there"},
	{"ram-high-base", OPT_SIZE, AT(map.ram_high.base), .help = "start of the high RAM"},
	{"ram-high-size", OPT_SIZE, AT(map.ram_high.size), .help = "most RAM that lies there"},
	{"pci-ecam-base", OPT_SIZE, AT(map.ecam.base), .help = "start of the ECAM"},
	{"pci-ecam-size", OPT_SIZE, AT(map.ecam.size), .help = "1 MiB for each bus"},
	{"pci-mmio-base", OPT_SIZE, AT(map.mmio.base), .help = "start of the 32-bit window"},
	{"pci-mmio-size", OPT_SIZE, AT(map.mmio.size), .help = "size of the 32-bit window"},
	{"pci-mmio-high-base", OPT_SIZE, AT(map.mmio_high.base),
	 .help = "start of the 64-bit window"},
	{"pci-mmio-high-size", OPT_SIZE, AT(map.mmio_high.size),
	 .help = "size of the 64-bit window"},
	{"pci-intx-irq-base", OPT_UINT, AT(intx_irq_base), 16, 16, "16",
	 .help = "first of the four interrupt lines: where Xen has them"},
	{"exit-poll-ns", OPT_UINT, AT(exit_poll_ns), 0, 1000000, "0",
	 .help = "look for the guest's next exit for at most so long before sleeping; for a "
		 "control domain "
		 "with a CPU to spare"},
	{"memory-backend", OPT_STRING, AT(memory_backend),
	 .help = "id of the -object that is the guest's RAM (with -accel qtest)"},
	{"dump-guest-core", OPT_IGNORED},
	{"graphics", OPT_IGNORED},
	{"mem-merge", OPT_IGNORED},
	{"suppress-vmdesc", OPT_IGNORED},
	{"usb", OPT_IGNORED},
	OPT_END,
};

static int accel_select(struct cmdline *c, const char *name, struct err *e)
{
	if (!strcmp(name, "xen"))
		c->accel = ACCEL_XEN;
	else if (!strcmp(name, "qtest"))
		c->accel = ACCEL_QTEST;
	else
		return err_set(e, -EINVAL, "invalid accelerator %s (accepted: xen, qtest)", name);
	return 0;
}

static int machine_parse(struct cmdline *c, const struct option_row *o, const char *arg,
			 struct err *e)
{
	const char *type, *accel;
	struct kvs k;
	int rc = options_parse_keys(o, arg, &k, e);

	if (rc)
		return rc;
	type = kvs_get(&k, "type");
	accel = kvs_get(&k, "accel");
	if (type && (!strcmp(type, "xenpvh") || !strcmp(type, "xenpv")))
		c->machine = MACHINE_XENPVH;
	else if (type && !strcmp(type, "none"))
		c->machine = MACHINE_NONE;
	else if (type)
		rc = err_set(e, -EINVAL,
			     "unsupported machine type: \"%s\" (accepted: xenpvh, xenpv, none)",
			     type);
	if (!rc && accel)
		rc = accel_select(c, accel, e);
	if (!rc)
		rc = options_apply_given(machine_params, &k, c, e);
	if (!rc && kvs_unused(&k))
		rc = err_set(e, -EINVAL, "Property 'xenpvh-machine.%s' not found", kvs_unused(&k));
	kvs_free(&k);
	return rc;
}

static const struct opt accel_params[] = {
	{"accel", OPT_IGNORED},
	OPT_END,
};

static int accel_parse(struct cmdline *c, const struct option_row *o, const char *arg,
		       struct err *e)
{
	const char *name;
	struct kvs k;
	int rc = options_parse_keys(o, arg, &k, e);

	if (rc)
		return rc;
	name = kvs_get(&k, "accel");
	rc = name ? accel_select(c, name, e) : err_set(e, -EINVAL, "Parameter 'accel' is missing");
	if (!rc)
		rc = options_check_unused(&k, e);
	kvs_free(&k);
	return rc;
}

/* --- -m, -smp, -xen-domid, -name, -uuid --- */

/* memory_parse() reads `size`, the first row, itself: its default unit is MiB. */
static const struct opt memory_params[] = {
	{"size", OPT_SIZE, AT(map.mem), .help = "size of the guest's RAM (default unit: MiB)"},
	{"maxmem", OPT_SIZE, AT(max_mem), .help = "most RAM that it can ever have"},
	{"slots", OPT_IGNORED},
	OPT_END,
};

static int memory_parse(struct cmdline *c, const struct option_row *o, const char *arg,
			struct err *e)
{
	const char *size;
	struct kvs k;
	int rc = options_parse_keys(o, arg, &k, e);

	if (rc)
		return rc;
	size = kvs_get(&k, "size");
	if (size && (parse_size(size, MiB, &c->map.mem) < 0 || !c->map.mem))
		rc = err_set(
			e, -EINVAL,
			"Parameter 'size' expects a positive number below 2^64 (in MiB, or with "
			"suffix k, M, G, T, P, E)");
	if (!rc)
		rc = options_apply_given(memory_params + 1, &k, c, e);
	if (!rc)
		rc = options_check_unused(&k, e);
	kvs_free(&k);
	return rc;
}

#define CPUS_MAX 4096

static const struct opt smp_params[] = {
	{"cpus", OPT_UINT, AT(cpus), 1, CPUS_MAX, .help = "vCPUs"},
	{"maxcpus", OPT_UINT, AT(max_cpus), 1, CPUS_MAX, .help = "the offline ones too"},
	{"drawers", OPT_IGNORED},
	{"books", OPT_IGNORED},
	{"sockets", OPT_IGNORED},
	{"dies", OPT_IGNORED},
	{"clusters", OPT_IGNORED},
	{"modules", OPT_IGNORED},
	{"cores", OPT_IGNORED},
	{"threads", OPT_IGNORED},
	OPT_END,
};

#define DOMID_MAX 0x7fef /* the numbers above have a special meaning to Xen */

static int domid_parse(struct cmdline *c, const struct option_row *o, const char *arg,
		       struct err *e)
{
	uint64_t n;

	if (parse_uint(arg, &n) < 0 || n < 1 || n > DOMID_MAX)
		return err_set(e, -EINVAL, "expects the number of a domain, 1 to %d", DOMID_MAX);
	c->domid = n;
	return 0;
}

static const struct opt name_params[] = {
	{"guest", OPT_STRING, AT(name), .help = "the guest's name"},
	{"debug-threads", OPT_IGNORED},
	{"process", OPT_IGNORED},
	OPT_END,
};

static int uuid_parse(struct cmdline *c, const struct option_row *o, const char *arg, struct err *e)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	bool good = strlen(arg) == strlen(form);

	for (unsigned i = 0; good && form[i]; i++)
		good = form[i] == '-' ? arg[i] == '-' : isxdigit((unsigned char)arg[i]);
	if (!good)
		return err_set(e, -EINVAL,
			       "failed to parse UUID string: wrong format (accepted: %s)", form);
	if (options_set_string(&c->uuid, arg, e) < 0)
		return -ENOMEM;
	for (char *p = c->uuid; *p; p++)
		*p = tolower((unsigned char)*p);
	return 0;
}

/* --- logging and confinement --- */

static const struct opt msg_params[] = {
	{"timestamp", OPT_BOOL, AT(log_stamp), .help = "begin each line with the time"},
	{"guest-name", OPT_IGNORED},
	OPT_END,
};

/* Enable the trace events whose names match `pattern`; for -trace and -d trace:. */
static int trace_enable(const char *pattern, struct err *e)
{
	return trace_set(pattern, true)
		       ? 0
		       : err_set(e, -EINVAL,
				 "'%s' is no event's name or pattern (-trace help lists them)",
				 pattern);
}

/* The items of -d. In QEMU they are names of subsystems; here they are levels. QEMU's common items
 * guest_errors and unimp are accepted without effect, since such messages are always logged. */
static int log_items_parse(struct cmdline *c, const struct option_row *o, const char *arg,
			   struct err *e)
{
	char *items = strdup(arg), *rest = items;
	int rc = items ? 0 : err_nomem(e);

	for (char *item; !rc && (item = strsep(&rest, ","));)
		if (!strcmp(item, "debug"))
			c->log_level = LOG_DEBUG;
		else if (!strcmp(item, "info"))
			c->log_level = MAX(c->log_level, LOG_INFO);
		else if (!strncmp(item, "trace:", 6))
			rc = trace_enable(item + 6, e);
		else if (strcmp(item, "guest_errors") && strcmp(item, "unimp"))
			rc = err_set(e, -EINVAL,
				     "'%s' is no log item (accepted: info, debug, trace:EVENT, "
				     "guest_errors, unimp)",
				     item);
	free(items);
	return rc;
}

static const struct opt trace_params[] = {
	{"enable", OPT_IGNORED, .help = "an event's name; * stands for any text"},
	OPT_END,
};

static int trace_parse(struct cmdline *c, const struct option_row *o, const char *arg,
		       struct err *e)
{
	const char *name, *help;
	struct kvs k;
	int rc;

	if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
		for (unsigned i = 0; (name = trace_name(i, &help)); i++)
			printf("  %-20s%s\n", name, help);
		return 1;
	}
	rc = options_parse_keys(o, arg, &k, e);
	if (rc)
		return rc;
	name = kvs_get(&k, "enable");
	rc = name ? trace_enable(name, e) : err_set(e, -EINVAL, "Parameter 'enable' is missing");
	if (!rc)
		rc = options_check_unused(&k, e);
	kvs_free(&k);
	return rc;
}

static const struct opt run_with_params[] = {
	{"chroot", OPT_STRING, AT(chroot), .help = "make this directory the root after start"},
	{"user", OPT_STRING, AT(user), .help = "become this user (name or uid:gid) after start"},
	{"async-teardown", OPT_IGNORED},
	OPT_END,
};

static const struct opt sandbox_params[] = {
	{"enable", OPT_IGNORED},
	{"obsolete", OPT_IGNORED},
	{"elevateprivileges", OPT_IGNORED},
	{"spawn", OPT_IGNORED},
	{"resourcecontrol", OPT_IGNORED},
	OPT_END,
};

/* --- monitors --- */

/* Write into `text` the value of -chardev that the SPEC of -qmp stands for: "unix:PATH,..." and
 * "tcp:HOST:PORT,..." are sockets; any other SPEC is a -chardev value without an address ("stdio").
 */
static int qmp_spec_to_chardev(const char *spec, char *text, size_t size, struct err *e)
{
	const char *port;
	int len;

	if (!strncmp(spec, "unix:", 5)) {
		len = snprintf(text, size, "socket,path=%s", spec + 5);
	} else if (!strncmp(spec, "tcp:", 4)) {
		size_t host;

		spec += 4;
		port = *spec == '[' ? strstr(spec, "]:") : NULL;
		port = port ? port + 1 : spec + strcspn(spec, ":,");
		if (*port != ':')
			return err_set(e, -EINVAL, "tcp: expects HOST:PORT[,...]");
		host = (size_t)(port - spec);
		if (*spec == '[') {
			spec++;
			host -= 2;
		}
		len = snprintf(text, size, "socket,host=%.*s,port=%s", (int)host, spec, port + 1);
	} else if (spec[strcspn(spec, ":,")] == ':') {
		return err_set(e, -EINVAL,
			       "accepted are unix:PATH[,server=on,wait=off], "
			       "tcp:HOST:PORT[,server=on,wait=off], stdio, pty, null, chardev:ID, "
			       "none");
	} else {
		len = snprintf(text, size, "%s", spec);
	}
	return (size_t)len < size ? 0 : err_set(e, -E2BIG, "too long");
}

/* Append the -chardev and the -mon that -qmp SPEC stands for. */
static int qmp_spec_append(struct cmdline *c, const char *spec, bool pretty, struct err *e)
{
	char text[4096], id[256];
	struct kvs k;
	int rc;

	if (!strcmp(spec, "none"))
		return 0;
	if (!strncmp(spec, "chardev:", 8)) {
		snprintf(id, sizeof(id), "%.255s", spec + 8);
	} else {
		snprintf(id, sizeof(id), "compat_monitor%u", c->mons.n);
		rc = qmp_spec_to_chardev(spec, text, sizeof(text), e);
		if (rc < 0)
			return rc;
		rc = kvs_parse(&k, "-qmp", text, "backend", e);
		if (!rc && !kvs_get(&k, "id") && kvs_add(&k, "id", id) < 0)
			rc = err_nomem(e);
		if (rc < 0) {
			kvs_free(&k);
			return rc;
		}
		snprintf(id, sizeof(id), "%.255s", kvs_get(&k, "id"));
		rc = options_append(option_find("-chardev"), &c->chardevs, &k, e);
		if (rc < 0)
			return rc;
	}
	snprintf(text, sizeof(text), "chardev=%s,mode=control,pretty=%s", id,
		 pretty ? "on" : "off");
	rc = kvs_parse(&k, "-qmp", text, NULL, e);
	if (rc < 0) {
		kvs_free(&k);
		return rc;
	}
	return options_append(option_find("-mon"), &c->mons, &k, e);
}

static int qmp_parse(struct cmdline *c, const struct option_row *o, const char *arg, struct err *e)
{
	return qmp_spec_append(c, arg, false, e);
}

static int qmp_pretty_parse(struct cmdline *c, const struct option_row *o, const char *arg,
			    struct err *e)
{
	return qmp_spec_append(c, arg, true, e);
}

/* --- -virtfs --- */

/* Copy the keys of -virtfs that are for the -fsdev into `fs`, and fill `dev` with the -device. */
static int virtfs_split(struct kvs *k, struct kvs *fs, struct kvs *dev, struct err *e)
{
	const char *tag = kvs_get(k, "mount_tag"), *id = kvs_get(k, "id");
	int rc = 0;

	if (!kvs_get(k, "fsdriver") || !tag)
		return err_set(e, -EINVAL, "usage: -virtfs fsdriver,mount_tag=tag");
	if (!id)
		id = tag;
	for (unsigned i = 0; i < k->n && !rc; i++)
		if (strcmp(k->v[i].key, "mount_tag") && strcmp(k->v[i].key, "id"))
			rc = kvs_add(fs, k->v[i].key, k->v[i].value);
	if (rc || kvs_add(fs, "id", id) || kvs_add(dev, "driver", "virtio-9p-pci") ||
	    kvs_add(dev, "fsdev", id) || kvs_add(dev, "mount_tag", tag) ||
	    !(fs->origin = strdup(k->origin)) || !(dev->origin = strdup(k->origin)))
		return err_nomem(e);
	return 0;
}

/* Append the -fsdev and the -device that -virtfs stands for. */
static int virtfs_parse(struct cmdline *c, const struct option_row *o, const char *arg,
			struct err *e)
{
	struct kvs k, fs = {0}, dev = {0};
	int rc = options_parse_keys(o, arg, &k, e);

	if (rc)
		return rc;
	rc = virtfs_split(&k, &fs, &dev, e);
	kvs_free(&k);
	if (rc < 0) {
		kvs_free(&fs);
		kvs_free(&dev);
		return rc;
	}
	rc = options_append(option_find("-fsdev"), &c->fsdevs, &fs, e);
	if (rc == 0)
		return options_append(option_find("-device"), &c->devices, &dev, e);
	kvs_free(&dev);
	return rc;
}

/* --- the program itself --- */

static int help_print(struct cmdline *c, const struct option_row *o, const char *arg, struct err *e)
{
	help_options(stdout);
	return 1;
}

static int help_man_print(struct cmdline *c, const struct option_row *o, const char *arg,
			  struct err *e)
{
	help_man(stdout);
	return 1;
}

static int help_words_print(struct cmdline *c, const struct option_row *o, const char *arg,
			    struct err *e)
{
	help_words(stdout);
	return 1;
}

static int version_print(struct cmdline *c, const struct option_row *o, const char *arg,
			 struct err *e)
{
	printf("xenpvh version %s\n", XENPVH_VERSION);
	return 1;
}

#define SECTION(title)                                \
	{                                             \
		.name = title, .kind = OPTION_SECTION \
	}

const struct option_row option_rows[] = {
	SECTION("Standard options"),
	{"machine", "[type=]TYPE[,PROP=VALUE...]", OPTION_CALL, .call = machine_parse,
	 .params = machine_params, .group = "machine", .implied = "type",
	 .help = "xenpvh (or xenpv, the same), or none: only monitors. Without a memory map the "
		 "windows are "
		 "chosen to suit the guest. Properties: -machine help"},
	{"M", "TYPE", OPTION_CALL, .call = machine_parse, .params = machine_params,
	 .implied = "type"},
	{"accel", "xen|qtest", OPTION_CALL, .call = accel_parse, .params = accel_params,
	 .implied = "accel", .help = "the hypervisor: Xen (default), or a test program"},
	{"xen-domid", "N", OPTION_CALL, .call = domid_parse, .help = "the guest's domain"},
	{"xen-attach", NULL, OPTION_IGNORED, .help = "the domain exists already (always so here)"},
	{"xen-domid-restrict", NULL, OPTION_FLAG, AT(domid_restrict),
	 .help = "after start, give up all rights over other domains"},
	{"m", "[size=]SIZE[,maxmem=SIZE]", OPTION_CALL, .call = memory_parse,
	 .params = memory_params, .group = "memory", .implied = "size",
	 .help = "RAM that the toolstack gave the guest, in MiB unless a suffix says otherwise"},
	{"smp", "[cpus=]N[,maxcpus=N]", OPTION_PARAMS, .params = smp_params, .group = "smp-opts",
	 .implied = "cpus", .help = "number of vCPUs, for -accel qtest; of a domain Xen is asked"},
	{"name", "[guest=]NAME", OPTION_PARAMS, .params = name_params, .group = "name",
	 .implied = "guest", .help = "the guest's name, for query-name"},
	{"uuid", "UUID", OPTION_CALL, .call = uuid_parse, .help = "for query-uuid"},
	{"S", NULL, OPTION_FLAG, AT(paused),
	 .help = "report the state \"prelaunch\"; the guest is served all the same"},
	{"no-shutdown", NULL, OPTION_IGNORED,
	 .help = "stay when the guest shuts down: the domain's end decides (always so here)"},

	SECTION("Devices and their back ends"),
	{"device", "DRIVER[,PROP=VALUE...]", OPTION_LIST, AT(devices), .implied = "driver",
	 .id = "id", .paths = "uds-path",
	 .help = "add a device. -device help lists them, -device DRIVER,help their properties"},
	{"drive", "[file=FILE][,id=ID][,format=raw][,if=none][,...]", OPTION_LIST, AT(drives),
	 .id = "id", .names = "file|filename",
	 .help = "a disk for -device virtio-blk-pci,drive=ID"},
	{"blockdev", "[driver=]DRIVER,node-name=NAME[,...]", OPTION_LIST, AT(blockdevs),
	 .implied = "driver", .names = "filename", .paths = "path",
	 .help = "a disk by its node, also as JSON"},
	{"netdev", "TYPE,id=ID[,...]", OPTION_LIST, AT(netdevs), .implied = "type", .id = "id",
	 .id_required = true, .paths = "path|tftp", .names = "script|downscript|helper",
	 .help = "a network for -device virtio-net-pci,netdev=ID"},
	{"fsdev", "local|synth,id=ID[,path=DIR,security_model=MODEL][,...]", OPTION_LIST,
	 AT(fsdevs), .params = fsdev_options, .group = "fsdev", .implied = "fsdriver", .id = "id",
	 .id_required = true, .paths = "path",
	 .help = "a folder for -device virtio-9p-pci,fsdev=ID,mount_tag=TAG"},
	{"virtfs", "local,path=DIR,mount_tag=TAG,security_model=MODEL[,id=ID][,...]", OPTION_CALL,
	 .call = virtfs_parse, .implied = "fsdriver", .help = "-fsdev and -device in one"},
	{"object", "TYPE,id=ID[,PROP=VALUE...]", OPTION_LIST, AT(objects), .implied = "qom-type",
	 .id = "id", .id_required = true, .paths = "filename|mem-path|file",
	 .help = "a source of entropy, a thread, a copy of a net's frames, or the RAM for "
		 "-accel qtest"},

	SECTION("Character streams and monitors"),
	{"chardev", "KIND,id=ID[,...]", OPTION_LIST, AT(chardevs), .params = chardev_options,
	 .group = "chardev", .implied = "backend", .id = "id", .id_required = true,
	 .paths = "path|input-path|logfile",
	 .help = "a character stream for a monitor, a console or a serial port. -chardev help "
		 "lists "
		 "the kinds, -chardev KIND,help their options"},
	{"mon", "[chardev=]ID[,mode=control][,pretty=on|off]", OPTION_LIST, AT(mons),
	 .params = monitor_options, .group = "mon", .implied = "chardev", .id = "id",
	 .help = "a QMP monitor on that stream"},
	{"qmp", "unix:PATH|tcp:HOST:PORT[,server=on,wait=off]|stdio|chardev:ID|none", OPTION_CALL,
	 .call = qmp_parse, .help = "-chardev and -mon in one"},
	{"qmp-pretty", "SPEC", OPTION_CALL, .call = qmp_pretty_parse,
	 .help = "the same with indented replies"},
	{"monitor", "none", OPTION_ONLY, .accepted = "none|null",
	 .help = "there is no human monitor; QMP's human-monitor-command answers the common ones"},

	SECTION("Confinement, logging, process"),
	{"run-with", "[chroot=DIR][,user=USER]", OPTION_PARAMS, .params = run_with_params,
	 .group = "run-with", .help = "give up the file system and root's rights after start"},
	{"chroot", "DIR", OPTION_PATH, AT(chroot), .help = "-run-with chroot=DIR"},
	{"runas", "USER", OPTION_STRING, AT(user), .help = "-run-with user=USER"},
	{"sandbox", "on|off[,...]", OPTION_PARAMS, .params = sandbox_params, .group = "sandbox",
	 .implied = "enable", .help = "accepted for compatibility"},
	{"D", "FILE", OPTION_PATH, AT(log_file),
	 .help = "append the log to FILE instead of stderr"},
	{"d", "ITEM[,ITEM...]", OPTION_CALL, .call = log_items_parse,
	 .help = "log more: info, debug, trace:EVENT"},
	{"trace", "[enable=]EVENT", OPTION_CALL, .call = trace_parse, .params = trace_params,
	 .group = "trace", .implied = "enable",
	 .help = "log each event of that name, also as a pattern (device_*). -trace help lists "
		 "them; QMP's trace-event-set-state switches them while the guest runs"},
	{"msg", "timestamp=on|off", OPTION_PARAMS, .params = msg_params, .group = "msg",
	 .help = "form of the log's lines"},
	{"pidfile", "FILE", OPTION_PATH, AT(pidfile), .help = "write the process id to FILE"},
	{"qtest", "unix:PATH[,server=on]", OPTION_STRING, AT(qtest),
	 .help = "where the test program is (with -accel qtest)"},
	{"qtest-log", "FILE|none", OPTION_STRING, AT(qtest_log),
	 .help = "log of that conversation"},
	{"h", NULL, OPTION_CALL, .call = help_print, .help = "this text"},
	{"help", NULL, OPTION_CALL, .call = help_print},
	{"help-man", NULL, OPTION_CALL, .call = help_man_print},
	{"help-words", NULL, OPTION_CALL, .call = help_words_print},
	{"version", NULL, OPTION_CALL, .call = version_print, .help = "version of the program"},

	SECTION("Accepted for compatibility"),
	{"nodefaults", NULL, OPTION_IGNORED},
	{"no-user-config", NULL, OPTION_IGNORED},
	{"nographic", NULL, OPTION_IGNORED},
	{"no-reboot", NULL, OPTION_IGNORED},
	{"boot", "SPEC", OPTION_IGNORED},
	{"cpu", "MODEL", OPTION_IGNORED},
	{"k", "LAYOUT", OPTION_IGNORED},
	{"rtc", "SPEC", OPTION_IGNORED},
	{"usb", NULL, OPTION_IGNORED},
	{"usbdevice", "DEVICE", OPTION_IGNORED},
	{"vnc", "none", OPTION_ONLY, .accepted = "none", .help = "xenpvh has no display"},
	{"display", "none", OPTION_ONLY, .accepted = "none", .help = "xenpvh has no display"},
	{"vga", "none", OPTION_ONLY, .accepted = "none", .help = "xenpvh has no display"},
	{"serial", "none", OPTION_ONLY, .accepted = "none|null",
	 .help = "the guest's console is the toolstack's"},
	{"parallel", "none", OPTION_ONLY, .accepted = "none|null",
	 .help = "the machine has no parallel port"},
	{"net", "none", OPTION_ONLY, .accepted = "none", .help = "use -netdev and -device"},
	{"nic", "none", OPTION_ONLY, .accepted = "none", .help = "use -netdev and -device"},
	{"incoming", "SPEC", OPTION_REFUSED,
	 .help = "there is no device state to receive; a restored guest starts without it"},
	{"daemonize", NULL, OPTION_REFUSED,
	 .help = "it stays in the foreground, where libxl and service managers want it"},
	{NULL},
};
