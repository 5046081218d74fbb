/* SPDX-License-Identifier: MIT */
/* objects.h - the one table of back ends: what the command line can make besides devices
 *
 * A group is an option that makes back ends (-object, -netdev, -chardev, -drive, -blockdev,
 * -fsdev). A kind is what the first key of such an option says (-netdev tap, -object rng-random);
 * a group without such a key has one kind, without a name. Who assembles the machine, the help
 * texts, the manual, the completion of shells and QMP read these tables, so a new kind is one file
 * and one row: for -object in objects.c, for -netdev in net/types.c, for -chardev in
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
	/* Made when everything else is there: it refers to a back end of another group. */
	bool late;
	/* Of a group whose kinds are made in different places; else NULL, and the group has it. */
	int (*add)(struct dev_env *env, struct kvs *k, struct err *e);
};

struct object_group {
	const char *option;	  /* without the dash; NULL ends the table */
	const char *key;	  /* that names the kind; NULL: there is one kind */
	const char *title;	  /* above the list of kinds in `-OPTION help` */
	const struct opt *common; /* what every kind has; NULL: nothing */
	/* Kind number `i` from 0, false at the end. */
	bool (*kind)(unsigned i, struct object_kind *out);
	int (*add)(struct dev_env *env, struct kvs *k, struct err *e);
};

/* In the order in which the groups are made. */
extern const struct object_group object_groups[];

/* By the option's name, NULL when it makes no back ends. */
const struct object_group *object_group_find(const char *option);
/* By name; false when the group has no kind of that name. */
bool object_kind_find(const struct object_group *g, const char *name, struct object_kind *out);
/* The tables of a kind, ending with NULL. */
void object_tables(const struct object_group *g, const struct object_kind *kind,
		   const struct opt *tables[3]);

/* Make one from the keys of its option, if it is `late` as asked; does nothing otherwise. Control
 * thread. 0 or -errno with `e` (without the option). */
int object_add(const struct object_group *g, struct dev_env *env, struct kvs *k, bool late,
	       struct err *e);

#endif
