/* SPDX-License-Identifier: MIT */
/* objects.c - see objects.h */
#include "machine/objects.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "block/block.h"
#include "chardev/chardev.h"
#include "iothread/iothread.h"
#include "machine/memory.h"
#include "net/net.h"
#include "p9/p9.h"
#include "rng/rng.h"

/* --- -object --- */

static int rng_object_add(struct dev_env *env, struct kvs *k, struct err *e)
{
	return rng_add(env->rngs, k, e);
}

static int iothread_object_add(struct dev_env *env, struct kvs *k, struct err *e)
{
	return iothread_add(env->iothreads, k, e);
}

static int dump_object_add(struct dev_env *env, struct kvs *k, struct err *e)
{
	return net_filter_add(env->netdevs, k, e);
}

static int memory_object_check(struct dev_env *env, struct kvs *k, struct err *e)
{
	return memory_backend_check(k, e);
}

static const struct object_kind object_kinds[] = {
	{"rng-random", "entropy from a file or device", rng_random_options, "rng-backend",
	 .add = rng_object_add},
	{"rng-builtin", "entropy from the kernel's generator", rng_builtin_options, "rng-backend",
	 .add = rng_object_add},
	{"iothread", "a loop with a thread of its own, for queues", iothread_options, "object",
	 .add = iothread_object_add},
	{"filter-dump", "frames of a -netdev into a file in pcap's format", net_filter_options,
	 "netfilter", .late = true, .add = dump_object_add},
	{"memory-backend-file", "guest RAM in a file, for -accel qtest", memory_backend_options,
	 "memory-backend", .add = memory_object_check},
	{"memory-backend-memfd", "guest RAM in anonymous memory, for -accel qtest",
	 memory_backend_options, "memory-backend", .add = memory_object_check},
	{"memory-backend-ram", "as memory-backend-memfd", memory_backend_options, "memory-backend",
	 .add = memory_object_check},
	{"memory-backend-shm", "as memory-backend-memfd", memory_backend_options, "memory-backend",
	 .add = memory_object_check},
};

static bool object_kind_at(unsigned i, struct object_kind *out)
{
	if (i >= ARRAY_SIZE(object_kinds))
		return false;
	*out = object_kinds[i];
	return true;
}

/* --- the groups whose kinds are listed by their own folder --- */

static bool netdev_kind_at(unsigned i, struct object_kind *out)
{
	*out = (struct object_kind){0};
	out->name = netdev_type(i, &out->help, &out->options);
	return out->name;
}

static int netdev_group_add(struct dev_env *env, struct kvs *k, struct err *e)
{
	return netdev_add(env->netdevs, k, e);
}

static bool chardev_kind_at(unsigned i, struct object_kind *out)
{
	*out = (struct object_kind){0};
	out->name = chardev_kind(i, &out->help, &out->options);
	return out->name;
}

static int chardev_group_add(struct dev_env *env, struct kvs *k, struct err *e)
{
	return chardev_add(env->chardevs, k, e);
}

/* --- the groups with one kind --- */

static bool drive_kind_at(unsigned i, struct object_kind *out)
{
	*out = (struct object_kind){.options = block_drive_options};
	return !i;
}

static int drive_group_add(struct dev_env *env, struct kvs *k, struct err *e)
{
	return blocks_add_drive(env->blocks, k, e);
}

static bool blockdev_kind_at(unsigned i, struct object_kind *out)
{
	*out = (struct object_kind){.options = block_node_options};
	return !i;
}

static int blockdev_group_add(struct dev_env *env, struct kvs *k, struct err *e)
{
	return blocks_add_node(env->blocks, k, e);
}

static bool fsdev_kind_at(unsigned i, struct object_kind *out)
{
	*out = (struct object_kind){.options = fsdev_options};
	return !i;
}

static int fsdev_group_add(struct dev_env *env, struct kvs *k, struct err *e)
{
	return fsdev_add(env->fsdevs, k, e);
}

/* --- the table --- */

const struct object_group object_groups[] = {
	{"chardev", "backend", "Available chardev backend types:", chardev_options, chardev_kind_at,
	 chardev_group_add},
	{"object", "qom-type", "List of user creatable objects:", .kind = object_kind_at},
	{"blockdev", .kind = blockdev_kind_at, .add = blockdev_group_add},
	{"drive", .common = block_node_options, .kind = drive_kind_at, .add = drive_group_add},
	{"netdev", "type", "Available netdev backend types:", netdev_common_options, netdev_kind_at,
	 netdev_group_add},
	{"fsdev", .kind = fsdev_kind_at, .add = fsdev_group_add},
	{NULL},
};

const struct object_group *object_group_find(const char *option)
{
	for (const struct object_group *g = object_groups; g->option; g++)
		if (!strcmp(g->option, option))
			return g;
	return NULL;
}

bool object_kind_find(const struct object_group *g, const char *name, struct object_kind *out)
{
	for (unsigned i = 0; g->kind(i, out); i++)
		if (out->name && !strcmp(out->name, name))
			return true;
	return false;
}

void object_tables(const struct object_group *g, const struct object_kind *kind,
		   const struct opt *tables[3])
{
	unsigned n = 0;

	if (kind->options)
		tables[n++] = kind->options;
	if (g->common)
		tables[n++] = g->common;
	tables[n] = NULL;
}

int object_add(const struct object_group *g, struct dev_env *env, struct kvs *k, bool late,
	       struct err *e)
{
	struct object_kind kind;
	const char *name;

	if (g->add)
		return late ? 0 : g->add(env, k, e);
	name = kvs_get(k, g->key);
	if (!name)
		return err_set(e, -EINVAL, "Parameter '%s' is missing", g->key);
	if (!object_kind_find(g, name, &kind))
		return err_set(e, -EINVAL,
			       "Parameter '%s' does not accept value '%s' (-%s help lists them)",
			       g->key, name, g->option);
	return kind.late == late ? kind.add(env, k, e) : 0;
}
