/* SPDX-License-Identifier: MIT */
/* help.c - the help texts, made from the tables of options
 *
 * Prints -help; `-device help`, `-device X,help` and the like; the parts of the manual page that
 * are tables (tools/mkman puts them into docs/xenpvh.1.in); and the words that a shell may propose
 * (tools/mkcompletion).
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "ctl/options.h"
#include "ctl/qmp.h"
#include "dev/dev.h"
#include "machine/objects.h"

#define COLUMNS 78

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

/* `-device help` and `-device X,help`. False when X is unknown: then the error is reported where
 * the device is opened. */
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

/* `-netdev help`, `-netdev tap,help`: the kinds, or the options of one. */
static void help_group(const struct object_group *g, struct kvs *k, FILE *out)
{
	const char *wanted = kvs_get(k, g->key);
	const struct opt *tables[3];
	struct object_kind kind;

	if (wanted && object_kind_find(g, wanted, &kind)) {
		object_tables(g, &kind, tables);
		fprintf(out, "%s options:\n", kind.name);
		opts_help(tables, out);
		return;
	}
	fprintf(out, "%s\n", g->title);
	for (unsigned i = 0; g->kind(i, &kind); i++)
		fprintf(out, "  %-22s%s\n", kind.name, kind.help);
}

/* The group of back ends that an option creates; -virtfs has the options of -fsdev. */
static const struct object_group *option_group(const struct option_row *o)
{
	return object_group_find(strcmp(o->name, "virtfs") ? o->name : "fsdev");
}

bool help_about(const struct option_row *o, struct kvs *k, FILE *out)
{
	const struct object_group *g = option_group(o);
	const struct opt *tables[3] = {o->params, NULL};
	struct object_kind kind;

	if (!strcmp(o->name, "device"))
		return help_device(k, out);
	if (g && g->key) {
		help_group(g, k, out);
		return true;
	}
	if (g && g->kind(0, &kind))
		object_tables(g, &kind, tables);
	fprintf(out, "-%s %s\n", o->name, o->arg);
	opts_help(tables, out);
	return true;
}

/* --- -help --- */

/* Print `text` indented, with line breaks at blanks. */
static void text_wrap(const char *text, unsigned indent, FILE *out)
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

/* A sentence that lists the options without effect; the caller frees it. */
static char *ignored_options_text(void)
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
	char *ignored = ignored_options_text();

	fprintf(out,
		"xenpvh %s: device model for Xen PVH guests\n"
		"usage: xenpvh -xen-domid N [option...]\n",
		XENPVH_VERSION);
	for (const struct option_row *o = option_rows; o->name; o++) {
		if (o->kind == OPTION_SECTION) {
			fprintf(out, "\n%s:\n", o->name);
		} else if (o->help) {
			fprintf(out, "-%s%s%s\n", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
			text_wrap(o->help, 8, out);
		}
	}
	fputc('\n', out);
	text_wrap(ignored ? ignored : "", 0, out);
	free(ignored);
}

/* --- the manual page --- */

/* Print text literally: troff would take a dot at the start of a line for a macro, and treat
 * backslashes and dashes in a special way. */
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

/* Print the head of a paragraph: `strong` in bold, `weak` in italics. */
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

static void man_group(const struct object_group *g, FILE *out)
{
	struct object_kind kind;
	char title[64];

	if (g->key && g->common) {
		snprintf(title, sizeof(title), "-%s, all kinds", g->option);
		man_tables(title, (const struct opt *const[]){g->common, NULL}, out);
	}
	for (unsigned i = 0; g->kind(i, &kind); i++) {
		const struct opt *tables[3] = {kind.options, g->key ? NULL : g->common, NULL};

		snprintf(title, sizeof(title), "-%s%s%s", g->option, g->key ? " " : "",
			 g->key ? kind.name : "");
		man_tables(title, tables, out);
	}
}

static void man_options(FILE *out)
{
	char *ignored = ignored_options_text();

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

/* Print the parts of the manual page, each after a line with its name for tools/mkman. */
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
	for (const struct object_group *g = object_groups; g->option; g++)
		man_group(g, out);
	man_tables("-mon", (const struct opt *const[]){monitor_options, NULL}, out);
}

/* --- completion in a shell --- */

/* Each line is a place on the command line, a tab, and the words that may stand there. Places are
 * "" (an option), "-device" (what its argument may begin with), "-device DRIVER" (what may follow
 * the first comma), "-device DRIVER KEY=" (a value). @file stands for names of files. */

static bool key_is_path(const struct option_row *o, const char *key)
{
	return (o->paths && word_is_among(key, o->paths)) ||
	       (o->names && word_is_among(key, o->names));
}

static bool tables_have_row(const struct opt *const *tables, const char *name)
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

	if (!truth && row->type != OPT_ENUM && !key_is_path(o, row->name))
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
	if (o->id && !tables_have_row(tables, o->id))
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

static void words_of_group(const struct option_row *o, const struct object_group *g, FILE *out)
{
	const struct opt *tables[3];
	struct object_kind kind;

	if (g->key) {
		fprintf(out, "-%s\thelp", o->name);
		for (unsigned i = 0; g->kind(i, &kind); i++)
			fprintf(out, " %s", kind.name);
		fputc('\n', out);
	}
	for (unsigned i = 0; g->kind(i, &kind); i++) {
		object_tables(g, &kind, tables);
		words_of_keys(o, kind.name, tables, out);
	}
}

static void words_of_option(const struct option_row *o, FILE *out)
{
	const struct object_group *g = object_group_find(o->name);

	if (!strcmp(o->name, "device"))
		words_of_devices(o, out);
	else if (g)
		words_of_group(o, g, out);
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
