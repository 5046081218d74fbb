/* SPDX-License-Identifier: MIT */
/* opts.h - typed options: one table row per property
 *
 * A row has the name, type, range, default and help text of a property, and the place of its value
 * in a struct. The parser (opts_apply), `-device X,help`, QMP's device-list-properties and the
 * manual page use the same rows. Defaults are written in the syntax of the command line and are
 * parsed in the same way, so that a test finds a wrong one.
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
	OPT_TREE,      /* struct kvs: all pairs below this name in the JSON form, with keys such as
			  "0.key", which the caller checks */
	OPT_IGNORED, /* accepted as QEMU does (any value), has no meaning here; not shown in help */
};

enum { OPT_OFF, OPT_ON, OPT_AUTO };

struct opt {
	const char *name;
	enum opt_type type;
	size_t at;		   /* offsetof() in the struct given to opts_apply() */
	uint64_t min, max;	   /* both 0: the range of the type */
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

/* Set each field that `tables` (a list that ends with NULL) describes in the struct `base`: to the
 * value given in `k`, or else to its default. Ignores keys that are in no table; the caller finds
 * these by kvs_unused() when all of `k` has been read. Frees strings and trees that were set
 * before. Returns 0, or -errno with `e` ("Parameter 'x' expects ..."). */
int opts_apply(const struct opt *const *tables, struct kvs *k, void *base, struct err *e);
/* Free the strings and trees of the struct. */
void opts_release(const struct opt *const *tables, void *base);

/* Store the type as the help text shows it ("bool", "size", "a|b|c", ...) in `buf`. Returns `buf`.
 */
const char *opts_type_name(const struct opt *o, char *buf, size_t size);
/* Print a line `  name=<type>   - help (default: x)` for each row. */
void opts_help(const struct opt *const *tables, FILE *out);

/* Parsers of single values, also for options without a table (-m, -smp, -xen-domid). They return 0
 * or -EINVAL. */
int parse_uint(const char *s, uint64_t *out);
/* Accepts fractions and suffixes as QEMU does. A number without a suffix is in units of
 * `default_unit` bytes. The result is in bytes. */
int parse_size(const char *s, uint64_t default_unit, uint64_t *out);
int parse_bool(const char *s, bool *out);
/* Tells whether `id` follows QEMU's rule: a letter, then letters, digits, '-', '.', '_'. */
bool id_wellformed(const char *id);
/* Check the id that was given by parameter `name`, mostly "id": it must not be NULL, and must be
 * well-formed. Returns 0, or -EINVAL with `e`. */
int id_check(const char *name, const char *id, struct err *e);
/* Set the error for an id that another `what` ("object", "netdev", ...) already has. Returns
 * -EEXIST. */
int id_taken(const char *id, const char *what, struct err *e);

#endif
