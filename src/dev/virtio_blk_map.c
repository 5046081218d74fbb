/* SPDX-License-Identifier: MIT */
/* virtio_blk_map.c - which loop each queue of a disk runs on: iothread= and iothread-vq-mapping=
 *
 * The mapping is a list, [{"iothread": "io0", "vqs": [0, 1]}, ...]. If no entry has "vqs", the
 * queues are distributed over the iothreads in turn. Runs on the control thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/env.h"
#include "dev/virtio_blk.h"
#include "iothread/iothread.h"

/* Assign loop `l` to the queues that entry `i` of the mapping names. Returns their number, or
 * -errno with `e`. */
static int blk_assign_loop(struct blk *d, unsigned i, const char *id, struct loop *l,
			   struct loop **loops, struct err *e)
{
	const char *text;
	char key[64];
	unsigned n;

	for (n = 0;; n++) {
		uint64_t vq;

		snprintf(key, sizeof(key), "%u.vqs.%u", i, n);
		text = kvs_get(&d->mapping, key);
		if (!text)
			return (int)n;
		if (parse_uint(text, &vq) < 0 || vq >= d->num_queues)
			return err_set(e, -EINVAL,
				       "iothread-vq-mapping: vq %s of IOThread \"%s\" must be less "
				       "than num-queues, which is %llu",
				       text, id, (unsigned long long)d->num_queues);
		if (loops[vq])
			return err_set(e, -EINVAL, "iothread-vq-mapping: vq %s is assigned twice",
				       text);
		loops[vq] = l;
	}
}

static int check_all(struct blk *d, struct loop **loops, unsigned entries, unsigned with_vqs,
		     struct err *e)
{
	const char *unused = kvs_unused(&d->mapping);

	if (unused)
		return err_set(e, -EINVAL, "Property 'iothread-vq-mapping.%s' not found", unused);
	if (with_vqs && with_vqs < entries)
		return err_set(e, -EINVAL,
			       "iothread-vq-mapping: either all items must have vqs or none");
	for (unsigned q = 0; with_vqs && q < d->num_queues; q++)
		if (!loops[q])
			return err_set(e, -EINVAL, "iothread-vq-mapping: vq %u is missing", q);
	return 0;
}

static int by_mapping(struct blk *d, struct dev_env *env, struct loop **loops, struct err *e)
{
	struct loop **each = calloc(d->mapping.n, sizeof(struct loop *));
	unsigned n, with_vqs = 0;
	int rc = 0;

	if (!each)
		return err_nomem(e);
	for (n = 0;; n++) {
		const char *id;
		char key[64];

		snprintf(key, sizeof(key), "%u.iothread", n);
		id = kvs_get(&d->mapping, key);
		if (!id)
			break;
		each[n] = iothread_loop_by_id(env->iothreads, id, e);
		rc = each[n] ? 0 : -ENOENT;
		for (unsigned i = 0; i < n && !rc; i++)
			if (each[i] == each[n])
				rc = err_set(e, -EINVAL,
					     "iothread-vq-mapping: IOThread \"%s\" is there twice",
					     id);
		if (!rc)
			rc = blk_assign_loop(d, n, id, each[n], loops, e);
		if (rc < 0)
			goto out;
		with_vqs += rc > 0;
	}
	rc = check_all(d, loops, n, with_vqs, e);
	for (unsigned q = 0; !rc && n && !with_vqs && q < d->num_queues; q++)
		loops[q] = each[q % n];
out:
	free(each);
	return rc;
}

int blk_map_queues(struct blk *d, struct dev_env *env, struct loop **loops, struct err *e)
{
	struct loop *l = env->io;

	if (d->iothread && d->mapping.n)
		return err_set(e, -EINVAL,
			       "iothread and iothread-vq-mapping cannot be given at the same time");
	if (d->mapping.n)
		return by_mapping(d, env, loops, e);
	if (d->iothread)
		l = iothread_loop_by_id(env->iothreads, d->iothread, e);
	for (unsigned q = 0; q < d->num_queues; q++)
		loops[q] = l;
	return l ? 0 : -ENOENT;
}
