/* SPDX-License-Identifier: MIT */
/* help.c - every help text, made from the tables */
#include <string.h>

#include "ctl/options.h"

bool help_about(const struct option_row *o, struct kvs *k, FILE *out)
{
	if (!o->params)
		return false;
	fprintf(out, "-%s %s\n", o->name, o->arg);
	opts_help((const struct opt *const[]){o->params, NULL}, out);
	return true;
}

void help_options(FILE *out)
{
	const char *section = NULL;

	fprintf(out,
		"xenpvh %s: device model for Xen PVH guests\n"
		"usage: xenpvh -xen-domid N [option...]\n",
		XENPVH_VERSION);
	for (const struct option_row *o = option_rows; o->name; o++) {
		if (o->kind == OPTION_SECTION)
			section = o->name;
		if (o->kind == OPTION_SECTION || !o->help)
			continue;
		if (section)
			fprintf(out, "\n%s:\n", section);
		section = NULL;
		fprintf(out, "-%s%s%s\n        %s\n", o->name, o->arg ? " " : "",
			o->arg ? o->arg : "", o->help);
	}
}

void help_mdoc(FILE *out)
{
}
