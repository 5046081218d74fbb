/* SPDX-License-Identifier: MIT */
/* objects.h - the table of back ends, the objects besides devices that options can make
 *
 * A group is an option that makes back ends (-object, -netdev, -chardev, -drive, -blockdev,
 * -fsdev). The first key of such an option selects the kind (-netdev tap, -object rng-random); a
 * group without such a key has one kind, without a name. The code that assembles the machine, the
 * help texts, the manual, the completion of shells and QMP read these tables, so a new kind needs
 * one file and one row: for -object in objects.c, for -netdev in net/types.c, for -chardev in
 * chardev/chardev.c.
 */
#ifndef MACHINE_OBJECTS_H
#define MACHINE_OBJECTS_H

#include <stdbool.h>

#include "conf/kvs.h"
#include "conf/opts.h"
#include "dev/env.h"

struct object_kind {
	const char *name; /* NULL: the only kind of its group */
	const char *help; /* one line */
	const struct opt *options;
	const char *parent; /* its parent in QEMU's object model; NULL: no type there */
	/* Objects of this kind refer to back ends of other groups, so they are made after those. */
	bool late;
	/* Makes an object of this kind; NULL when add() of the group makes all its kinds. */
	int (*add)(struct dev_env *env, struct kvs *k, struct err *e);
};

struct object_group {
	const char *option;	  /* without the dash; NULL ends the table */
	const char *key;	  /* the key whose value is the kind; NULL: there is one kind */
	const char *title;	  /* above the list of kinds in `-OPTION help` */
	const struct opt *common; /* the options that all kinds have; NULL: none */
	/* Fill `out` with kind number `i`, from 0; false at the end. */
	bool (*kind)(unsigned i, struct object_kind *out);
	int (*add)(struct dev_env *env, struct kvs *k, struct err *e);
};

/* In the order in which the groups are made. */
extern const struct object_group object_groups[];

/* Find the group of an option by its name without the dash; NULL when it makes no back ends. */
const struct object_group *object_group_find(const char *option);
/* Find a kind of a group by its name; false when there is none. */
bool object_kind_find(const struct object_group *g, const char *name, struct object_kind *out);
/* Fill `tables` with the tables of the kind's options; they end with NULL. */
void object_tables(const struct object_group *g, const struct object_kind *kind,
		   const struct opt *tables[3]);

/* Make an object from the keys of its option if its kind's `late` equals `late`; else do nothing.
 * Control thread. 0 or -errno with `e` (the caller adds the option). */
int object_add(const struct object_group *g, struct dev_env *env, struct kvs *k, bool late,
	       struct err *e);

#endif
