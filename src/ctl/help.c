/* SPDX-License-Identifier: MIT */
/* help.c - every help text, made from the tables
 *
 * -help; `-device help`, `-device X,help` and their like; and the parts of the manual page that are
 * tables (tools/mkman puts them into docs/xenpvh.1.in).
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "block/block.h"
#include "chardev/chardev.h"
#include "ctl/options.h"
#include "ctl/qmp.h"
#include "dev/dev.h"
#include "iothread/iothread.h"
#include "net/net.h"
#include "p9/p9.h"
#include "rng/rng.h"

#define COLUMNS 78

static const struct opt *const drive_tables[] = {block_drive_options, block_node_options, NULL};
static const struct opt *const node_tables[] = {block_node_options, NULL};

/* What -object takes, and the tables where they are public. */
static const struct {
	const char *type, *help;
} object_types[] = {
	{"rng-random", "entropy from a file or device"},
	{"rng-builtin", "entropy from the kernel's generator"},
	{"iothread", "a loop with a thread of its own, for queues of disks"},
	{"memory-backend-file", "guest RAM in a file, for -accel qtest (size=, mem-path=)"},
	{"memory-backend-memfd", "guest RAM in anonymous memory, for -accel qtest (size=)"},
};

/* --- `-option help` --- */

static void help_devices(FILE *out)
{
	for (unsigned i = 0; dev_classes[i]; i++) {
		const struct dev_class *c = dev_classes[i];

		fprintf(out, "name \"%s\", bus %s", c->name, c->on_bus ? c->on_bus : "PCI");
		if (c->alias)
			fprintf(out, ", alias \"%s\"", c->alias);
		fprintf(out, ", desc \"%s\"\n", c->desc);
	}
}

/* `-device X,help`; an unknown X is left to the one who opens devices. */
static bool help_device(struct kvs *k, FILE *out)
{
	const char *driver = kvs_get(k, "driver");
	const struct dev_class *c = driver ? dev_class_find(driver) : NULL;
	const struct opt *tables[4];

	if (!driver || !strcmp(driver, "help") || !strcmp(driver, "?")) {
		help_devices(out);
		return true;
	}
	if (!c)
		return false;
	dev_class_tables(c, tables);
	fprintf(out, "%s options:\n", c->name);
	opts_help(tables, out);
	return true;
}

static bool help_object(struct kvs *k, FILE *out)
{
	const char *type = kvs_get(k, "qom-type");

	if (type && rng_is_type(type)) {
		fprintf(out, "%s options:\n", type);
		opts_help(rng_options(type), out);
		return true;
	}
	if (type && iothread_is_type(type)) {
		fprintf(out, "%s options:\n", type);
		opts_help((const struct opt *const[]){iothread_options, NULL}, out);
		return true;
	}
	fputs("List of user creatable objects:\n", out);
	for (unsigned i = 0; i < ARRAY_SIZE(object_types); i++)
		fprintf(out, "  %-24s%s\n", object_types[i].type, object_types[i].help);
	return true;
}

static bool help_netdev(struct kvs *k, FILE *out)
{
	const char *wanted = kvs_get(k, "type"), *type, *help;
	const struct opt *options;

	for (unsigned i = 0; wanted && (type = netdev_type(i, &help, &options)); i++)
		if (!strcmp(type, wanted)) {
			fprintf(out, "%s options:\n", type);
			opts_help((const struct opt *const[]){options, NULL}, out);
			return true;
		}
	fputs("Available netdev backend types:\n", out);
	for (unsigned i = 0; (type = netdev_type(i, &help, &options)); i++)
		fprintf(out, "  %-10s%s\n", type, help);
	return true;
}

static bool help_chardev(struct kvs *k, FILE *out)
{
	const char *wanted = kvs_get(k, "backend"), *kind, *help;
	const struct opt *options;

	for (unsigned i = 0; wanted && (kind = chardev_kind(i, &help, &options)); i++)
		if (!strcmp(kind, wanted)) {
			fprintf(out, "%s options:\n", kind);
			opts_help((const struct opt *const[]){chardev_options, options, NULL}, out);
			return true;
		}
	fputs("Available chardev backend types:\n", out);
	for (unsigned i = 0; (kind = chardev_kind(i, &help, &options)); i++)
		fprintf(out, "  %-10s%s\n", kind, help);
	return true;
}

bool help_about(const struct option_row *o, struct kvs *k, FILE *out)
{
	if (!strcmp(o->name, "device"))
		return help_device(k, out);
	if (!strcmp(o->name, "object"))
		return help_object(k, out);
	if (!strcmp(o->name, "netdev"))
		return help_netdev(k, out);
	if (!strcmp(o->name, "chardev"))
		return help_chardev(k, out);
	fprintf(out, "-%s %s\n", o->name, o->arg);
	if (!strcmp(o->name, "drive"))
		opts_help(drive_tables, out);
	else if (!strcmp(o->name, "blockdev"))
		opts_help(node_tables, out);
	else if (!strcmp(o->name, "virtfs"))
		opts_help((const struct opt *const[]){fsdev_options, NULL}, out);
	else if (o->params)
		opts_help((const struct opt *const[]){o->params, NULL}, out);
	return true;
}

/* --- -help --- */

/* Print `text` indented, with line breaks at blanks. */
static void wrap(const char *text, unsigned indent, FILE *out)
{
	unsigned column = 0;

	while (*text) {
		unsigned len = strcspn(text, " ");

		if (column && column + 1 + len > COLUMNS) {
			fputc('\n', out);
			column = 0;
		}
		column += column ? fprintf(out, " %.*s", (int)len, text)
				 : fprintf(out, "%*s%.*s", indent, "", (int)len, text);
		text += len + (text[len] == ' ');
	}
	fputc('\n', out);
}

/* The options that are accepted and mean nothing, as one sentence; the caller frees it. */
static char *without_effect(void)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fputs("Without effect, since libxl or habit sends them and nothing here depends on them:",
	      out);
	for (const struct option_row *o = option_rows; o->name; o++)
		if (o->kind == OPTION_IGNORED && !o->help)
			fprintf(out, " -%s", o->name);
	fclose(out);
	return text;
}

void help_options(FILE *out)
{
	char *ignored = without_effect();

	fprintf(out,
		"xenpvh %s: device model for Xen PVH guests\n"
		"usage: xenpvh -xen-domid N [option...]\n",
		XENPVH_VERSION);
	for (const struct option_row *o = option_rows; o->name; o++) {
		if (o->kind == OPTION_SECTION) {
			fprintf(out, "\n%s:\n", o->name);
		} else if (o->help) {
			fprintf(out, "-%s%s%s\n", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
			wrap(o->help, 8, out);
		}
	}
	fputc('\n', out);
	wrap(ignored ? ignored : "", 0, out);
	free(ignored);
}

/* --- the manual page --- */

/* Text as it is: no line may look like a macro, backslashes and dashes stand for themselves. */
static void man_text(const char *text, FILE *out)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text; text++)
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else
			fputc(*text, out);
}

/* The head of a paragraph: `strong` in bold, `weak` in italics. */
static void man_tag(const char *strong, const char *between, const char *weak, FILE *out)
{
	fputs(".TP\n\\fB", out);
	man_text(strong, out);
	fputs("\\fR", out);
	if (*weak) {
		fprintf(out, "%s\\fI", between);
		man_text(weak, out);
		fputs("\\fR", out);
	}
	fputc('\n', out);
}

static void man_section(const char *title, FILE *out)
{
	fputs(".SS ", out);
	man_text(title, out);
	fputc('\n', out);
}

static void man_rows(const struct opt *rows, FILE *out)
{
	for (; rows->name; rows++) {
		char type[128];

		if (rows->type == OPT_IGNORED)
			continue;
		man_tag(rows->name, "=", opts_type_name(rows, type, sizeof(type)), out);
		man_text(rows->help ? rows->help : "", out);
		if (rows->def) {
			fputs(" (default: ", out);
			man_text(rows->def, out);
			fputc(')', out);
		}
		fputc('\n', out);
	}
}

static void man_tables(const char *title, const struct opt *const *tables, FILE *out)
{
	man_section(title, out);
	fputs(".PD 0\n", out);
	for (; *tables; tables++)
		man_rows(*tables, out);
	fputs(".PD\n", out);
}

static void man_netdevs(FILE *out)
{
	const char *type, *help;
	const struct opt *options;

	for (unsigned i = 0; (type = netdev_type(i, &help, &options)); i++) {
		char title[64];

		snprintf(title, sizeof(title), "-netdev %s", type);
		man_tables(title, (const struct opt *const[]){options, NULL}, out);
	}
}

static void man_chardevs(FILE *out)
{
	const char *kind, *help;
	const struct opt *options;

	man_tables("-chardev", (const struct opt *const[]){chardev_options, NULL}, out);
	for (unsigned i = 0; (kind = chardev_kind(i, &help, &options)); i++) {
		char title[64];

		snprintf(title, sizeof(title), "-chardev %s", kind);
		man_tables(title, (const struct opt *const[]){options, NULL}, out);
	}
}

static void man_options(FILE *out)
{
	char *ignored = without_effect();

	for (const struct option_row *o = option_rows; o->name; o++) {
		char dashed[64];

		if (o->kind == OPTION_SECTION)
			man_section(o->name, out);
		if (o->kind == OPTION_SECTION || !o->help)
			continue;
		snprintf(dashed, sizeof(dashed), "-%s", o->name);
		man_tag(dashed, " ", o->arg ? o->arg : "", out);
		man_text(o->help, out);
		fputc('\n', out);
		if (o->kind != OPTION_LIST && o->group) {
			fputs(".RS\n.PD 0\n", out);
			man_rows(o->params, out);
			fputs(".PD\n.RE\n", out);
		}
	}
	fputs(".PP\n", out);
	man_text(ignored ? ignored : "", out);
	fputc('\n', out);
	free(ignored);
}

/* Each part follows a line with its name, for tools/mkman. */
void help_man(FILE *out)
{
	fputs("@OPTIONS@\n", out);
	man_options(out);
	fputs("@DEVICES@\n", out);
	for (unsigned i = 0; dev_classes[i]; i++) {
		const struct opt *tables[4];

		dev_class_tables(dev_classes[i], tables);
		man_tables(dev_classes[i]->name, tables, out);
	}
	fputs("@BACKENDS@\n", out);
	man_tables("-drive", drive_tables, out);
	man_tables("-blockdev", node_tables, out);
	man_netdevs(out);
	man_tables("-fsdev", (const struct opt *const[]){fsdev_options, NULL}, out);
	man_tables("-object rng-random", rng_options("rng-random"), out);
	man_tables("-object rng-builtin", rng_options("rng-builtin"), out);
	man_tables("-object iothread", (const struct opt *const[]){iothread_options, NULL}, out);
	man_chardevs(out);
	man_tables("-mon", (const struct opt *const[]){monitor_options, NULL}, out);
}
