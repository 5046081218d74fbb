/* SPDX-License-Identifier: MIT */
/* help.c - every help text, made from the tables
 *
 * -help; `-device help`, `-device X,help` and their like; and the parts of the manual page that are tables (tools/mkman puts them into
 * docs/xenpvh.1.in).
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "block/block.h"
#include "ctl/chardev.h"
#include "ctl/options.h"
#include "dev/dev.h"
#include "net/net.h"
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
	{"memory-backend-file", "guest RAM in a file, for -accel qtest (size=, mem-path=)"},
	{"memory-backend-memfd", "guest RAM in anonymous memory, for -accel qtest (size=)"},
};

/* --- `-option help` --- */

static void help_devices(FILE *out)
{
	for (unsigned i = 0; dev_classes[i]; i++) {
		const struct dev_class *c = dev_classes[i];

		fprintf(out, "name \"%s\", bus PCI", c->name);
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

bool help_about(const struct option_row *o, struct kvs *k, FILE *out)
{
	if (!strcmp(o->name, "device"))
		return help_device(k, out);
	if (!strcmp(o->name, "object"))
		return help_object(k, out);
	if (!strcmp(o->name, "netdev"))
		return help_netdev(k, out);
	fprintf(out, "-%s %s\n", o->name, o->arg);
	if (!strcmp(o->name, "drive"))
		opts_help(drive_tables, out);
	else if (!strcmp(o->name, "blockdev"))
		opts_help(node_tables, out);
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

/* Text inside a macro line: no word may look like a macro, and backslashes and quotes stand for themselves. */
static void mdoc_text(const char *text, FILE *out)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text; text++)
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else if (*text == '"')
			fputs("\\(dq", out);
		else
			fputc(*text, out);
}

static void mdoc_line(const char *macro, const char *text, FILE *out)
{
	fprintf(out, ".%s \"", macro);
	mdoc_text(text, out);
	fputs("\"\n", out);
}

static void mdoc_rows(const struct opt *rows, FILE *out)
{
	for (; rows->name; rows++) {
		char type[128];

		if (rows->type == OPT_IGNORED)
			continue;
		mdoc_line("It Cm", rows->name, out);
		mdoc_line("Ns = Ns Ar", opts_type_name(rows, type, sizeof(type)), out);
		if (rows->help) {
			mdoc_text(rows->help, out);
			fputc('\n', out);
		}
		if (rows->def) {
			fputs("(default: ", out);
			mdoc_text(rows->def, out);
			fputs(")\n", out);
		}
	}
}

static void mdoc_tables(const char *title, const struct opt *const *tables, FILE *out)
{
	mdoc_line("Ss", title, out);
	fputs(".Bl -tag -width indent -compact\n", out);
	for (; *tables; tables++)
		mdoc_rows(*tables, out);
	fputs(".El\n", out);
}

static void mdoc_netdevs(FILE *out)
{
	const char *type, *help;
	const struct opt *options;

	for (unsigned i = 0; (type = netdev_type(i, &help, &options)); i++) {
		char title[64];

		snprintf(title, sizeof(title), "-netdev %s", type);
		mdoc_tables(title, (const struct opt *const[]){options, NULL}, out);
	}
}

static void mdoc_options(FILE *out)
{
	char *ignored = without_effect();
	bool list = false;

	for (const struct option_row *o = option_rows; o->name; o++) {
		if (o->kind == OPTION_SECTION) {
			if (list)
				fputs(".El\n", out);
			mdoc_line("Ss", o->name, out);
			fputs(".Bl -tag -width indent\n", out);
			list = true;
		} else if (o->help) {
			mdoc_line("It Fl", o->name, out);
			if (o->arg)
				mdoc_line("Ar", o->arg, out);
			mdoc_text(o->help, out);
			fputc('\n', out);
			if (o->kind != OPTION_LIST && o->params && o->group) {
				fputs(".Bl -tag -width indent -compact\n", out);
				mdoc_rows(o->params, out);
				fputs(".El\n", out);
			}
		}
	}
	if (list)
		fputs(".El\n.Pp\n", out);
	mdoc_text(ignored ? ignored : "", out);
	fputc('\n', out);
	free(ignored);
}

/* Each part follows a line with its name, for tools/mkman. */
void help_mdoc(FILE *out)
{
	fputs("@OPTIONS@\n", out);
	mdoc_options(out);
	fputs("@DEVICES@\n", out);
	for (unsigned i = 0; dev_classes[i]; i++) {
		const struct opt *tables[4];

		dev_class_tables(dev_classes[i], tables);
		mdoc_tables(dev_classes[i]->name, tables, out);
	}
	fputs("@BACKENDS@\n", out);
	mdoc_tables("-drive", drive_tables, out);
	mdoc_tables("-blockdev", node_tables, out);
	mdoc_netdevs(out);
	mdoc_tables("-object rng-random", rng_options("rng-random"), out);
	mdoc_tables("-object rng-builtin", rng_options("rng-builtin"), out);
	mdoc_tables("-chardev", (const struct opt *const[]){chardev_options, NULL}, out);
}
