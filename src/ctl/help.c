/* SPDX-License-Identifier: MIT */
/* help.c - every help text, made from the tables
 *
 * -help; `-device help`, `-device X,help` and their like; and the parts of the manual page that are
 * tables (tools/mkman puts them into docs/xenpvh.1.in); and the words that a shell may propose
 * (tools/mkcompletion).
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
	{"iothread", "a loop with a thread of its own, for queues"},
	{"filter-dump", "frames of a -netdev into a file in pcap's format"},
	{"memory-backend-file", "guest RAM in a file, for -accel qtest (size=, mem-path=)"},
	{"memory-backend-memfd",
	 "guest RAM in anonymous memory, for -accel qtest (size=); -ram and -shm are the same"},
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
	if (type && net_filter_is_type(type)) {
		fprintf(out, "%s options:\n", type);
		opts_help((const struct opt *const[]){net_filter_options, NULL}, out);
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
			opts_help((const struct opt *const[]){options, netdev_common_options, NULL},
				  out);
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
	man_tables("-netdev, all types", (const struct opt *const[]){netdev_common_options, NULL},
		   out);
	man_tables("-object filter-dump", (const struct opt *const[]){net_filter_options, NULL},
		   out);
	man_tables("-object iothread", (const struct opt *const[]){iothread_options, NULL}, out);
	man_chardevs(out);
	man_tables("-mon", (const struct opt *const[]){monitor_options, NULL}, out);
}

/* --- completion in a shell --- */

/* Each line is a place on the command line, a tab, and the words that may stand there. Places are
 * "" (an option), "-device" (what its argument may begin with), "-device DRIVER" (what may follow
 * the first comma), "-device DRIVER KEY=" (a value). @file stands for names of files. */

static bool is_path(const struct option_row *o, const char *key)
{
	return (o->paths && word_among(key, o->paths)) || (o->names && word_among(key, o->names));
}

static bool has_row(const struct opt *const *tables, const char *name)
{
	for (; *tables; tables++)
		for (const struct opt *row = *tables; row->name; row++)
			if (!strcmp(row->name, name))
				return true;
	return false;
}

static void words_of_value(const char *place, const struct option_row *o, const struct opt *row,
			   FILE *out)
{
	bool truth = row->type == OPT_BOOL || row->type == OPT_ONOFFAUTO;

	if (!truth && row->type != OPT_ENUM && !is_path(o, row->name))
		return;
	fprintf(out, "%s %s=\t", place, row->name);
	if (truth)
		fputs(row->type == OPT_BOOL ? "on off" : "on off auto", out);
	else if (row->type == OPT_ENUM)
		for (const char *const *v = row->values; *v; v++)
			fprintf(out, "%s%s", v == row->values ? "" : " ", *v);
	else
		fputs("@file", out);
	fputc('\n', out);
}

static void words_of_keys(const struct option_row *o, const char *first,
			  const struct opt *const *tables, FILE *out)
{
	char place[128];

	snprintf(place, sizeof(place), "-%s%s%s", o->name, first ? " " : "", first ? first : "");
	fprintf(out, "%s\t", place);
	for (const struct opt *const *t = tables; *t; t++)
		for (const struct opt *row = *t; row->name; row++)
			if (row->type != OPT_IGNORED &&
			    !(first && o->implied && !strcmp(o->implied, row->name)))
				fprintf(out, "%s= ", row->name);
	if (o->id && !has_row(tables, o->id))
		fprintf(out, "%s=", o->id);
	fputc('\n', out);
	for (const struct opt *const *t = tables; *t; t++)
		for (const struct opt *row = *t; row->name; row++)
			if (row->type != OPT_IGNORED)
				words_of_value(place, o, row, out);
}

static void words_of_devices(const struct option_row *o, FILE *out)
{
	const struct opt *tables[4];

	fprintf(out, "-%s\thelp", o->name);
	for (unsigned i = 0; dev_classes[i]; i++)
		fprintf(out, " %s", dev_classes[i]->name);
	fputc('\n', out);
	for (unsigned i = 0; dev_classes[i]; i++) {
		dev_class_tables(dev_classes[i], tables);
		words_of_keys(o, dev_classes[i]->name, tables, out);
	}
}

/* Back ends that come in kinds, with options of their own beside the `common` ones. */
static void words_of_kinds(const struct option_row *o,
			   const char *(*kind)(unsigned i, const char **help,
					       const struct opt **options),
			   const struct opt *common, FILE *out)
{
	const char *name, *help;
	const struct opt *options;

	fprintf(out, "-%s\thelp", o->name);
	for (unsigned i = 0; (name = kind(i, &help, &options)); i++)
		fprintf(out, " %s", name);
	fputc('\n', out);
	for (unsigned i = 0; (name = kind(i, &help, &options)); i++)
		words_of_keys(o, name, (const struct opt *const[]){options, common, NULL}, out);
}

static void words_of_objects(const struct option_row *o, FILE *out)
{
	fprintf(out, "-%s\thelp", o->name);
	for (unsigned i = 0; i < ARRAY_SIZE(object_types); i++)
		fprintf(out, " %s", object_types[i].type);
	fputc('\n', out);
	for (unsigned i = 0; i < ARRAY_SIZE(object_types); i++) {
		const char *type = object_types[i].type;

		if (rng_is_type(type))
			words_of_keys(o, type, rng_options(type), out);
		else if (iothread_is_type(type))
			words_of_keys(o, type, (const struct opt *const[]){iothread_options, NULL},
				      out);
		else if (net_filter_is_type(type))
			words_of_keys(o, type,
				      (const struct opt *const[]){net_filter_options, NULL}, out);
	}
}

static void words_of_option(const struct option_row *o, FILE *out)
{
	if (!strcmp(o->name, "device"))
		words_of_devices(o, out);
	else if (!strcmp(o->name, "netdev"))
		words_of_kinds(o, netdev_type, netdev_common_options, out);
	else if (!strcmp(o->name, "chardev"))
		words_of_kinds(o, chardev_kind, chardev_options, out);
	else if (!strcmp(o->name, "object"))
		words_of_objects(o, out);
	else if (!strcmp(o->name, "drive"))
		words_of_keys(o, NULL, drive_tables, out);
	else if (!strcmp(o->name, "blockdev"))
		words_of_keys(o, NULL, node_tables, out);
	else if (o->params)
		words_of_keys(o, NULL, (const struct opt *const[]){o->params, NULL}, out);
	else if (o->kind == OPTION_PATH)
		fprintf(out, "-%s\t@file\n", o->name);
	else if (o->accepted)
		fprintf(out, "-%s\t%.*s\n", o->name, (int)strcspn(o->accepted, "|"), o->accepted);
}

void help_words(FILE *out)
{
	fputc('\t', out);
	for (const struct option_row *o = option_rows; o->name; o++)
		if (o->kind != OPTION_SECTION && o->kind != OPTION_REFUSED && o->help)
			fprintf(out, "-%s ", o->name);
	fputc('\n', out);
	for (const struct option_row *o = option_rows; o->name; o++)
		if (o->kind != OPTION_SECTION && o->arg)
			words_of_option(o, out);
}
