/* SPDX-License-Identifier: MIT */
/* opts.h - typed options: one table row per property
 *
 * A table says name, type, range, default, help and the place in a struct. From the same rows come
 * the parser (opts_apply), `-device X,help`, QMP's device-list-properties and the manual page.
 * Defaults are written in the syntax of the command line and go through the same parser, so that a
 * wrong one is found by a test.
 */
#ifndef CONF_OPTS_H
#define CONF_OPTS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "conf/kvs.h"

enum opt_type {
	OPT_BOOL,      /* bool: on/off/yes/no/true/false/y/n */
	OPT_ONOFFAUTO, /* uint8_t: OPT_OFF, OPT_ON, OPT_AUTO */
	OPT_UINT,      /* uint64_t, decimal or 0x; min..max */
	OPT_INT,       /* int64_t; min..max, both taken as signed */
	OPT_SIZE,      /* uint64_t, suffixes k M G T P E; min..max */
	OPT_STRING,    /* char *, owned by the struct; NULL when absent */
	OPT_ENUM,      /* unsigned: index into `values` */
	OPT_MAC,       /* uint8_t[6] */
	OPT_PCI_ADDR,  /* int: devfn 0..255 from "3" or "3.1" (hex), -1 when absent */
	OPT_TREE,    /* struct kvs: what the JSON form has below this name, as "0.key"; its own keys
			are for the caller to check */
	OPT_IGNORED, /* accepted as QEMU does (any value), has no meaning here; not shown in help */
};

enum { OPT_OFF, OPT_ON, OPT_AUTO };

struct opt {
	const char *name;
	enum opt_type type;
	size_t at;		   /* offsetof() in the struct given to opts_apply() */
	uint64_t min, max;	   /* both 0: no limit but the type's */
	const char *def;	   /* default in command-line syntax; NULL: zero, or absent */
	const char *const *values; /* OPT_ENUM: NULL-terminated names */
	const char *help;	   /* one line, lower case, no full stop */
	bool required;
};

/* A table ends with a row whose name is NULL. */
#define OPT_END              \
	{                    \
		.name = NULL \
	}

/* Set every field of `tables` (NULL-terminated list) in `base` to its default or to the value given
 * in `k`. Does not complain of keys that are in no table: the caller asks kvs_unused() when all is
 * read. Strings and trees already set are freed. 0 or -errno with `e`
 * ("Parameter 'x' expects ..."). */
int opts_apply(const struct opt *const *tables, struct kvs *k, void *base, struct err *e);
/* Free the strings and trees of the struct. */
void opts_release(const struct opt *const *tables, void *base);

/* Type as help shows it: "bool", "size", "a|b|c"... in `buf`. */
const char *opts_type_name(const struct opt *o, char *buf, size_t size);
/* `  name=<type>   - help (default: x)` for each row. */
void opts_help(const struct opt *const *tables, FILE *out);

/* The scalar parsers, for values that stand alone (-m, -smp, -xen-domid). 0 or -EINVAL. */
int parse_uint(const char *s, uint64_t *out);
int parse_size(const char *s, uint64_t default_unit,
	       uint64_t *out); /* fractions and suffixes as QEMU */
int parse_bool(const char *s, bool *out);
/* QEMU's rule for ids: a letter, then letters, digits, '-', '.', '_'. */
bool id_wellformed(const char *id);
/* Check the id that parameter `name` ("id", mostly) gives: it must be there (not NULL) and well
 * formed. 0 or -EINVAL with `e`. */
int id_check(const char *name, const char *id, struct err *e);
/* The error for an id that another `what` ("object", "netdev"...) has: returns -EEXIST. */
int id_taken(const char *id, const char *what, struct err *e);

#endif
