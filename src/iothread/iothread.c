/* SPDX-License-Identifier: MIT */
/* iothread.c - see iothread.h */
#include "iothread/iothread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/util.h"

struct iothread {
	struct list link;
	char *id;
	char name[16]; /* of the thread; the kernel's limit is 15 characters */
	struct loop *loop;
	int tid;
	uint64_t poll_max_ns, poll_grow, poll_shrink, aio_max_batch;
	uint64_t pool_min, pool_max;
};

struct iothreads {
	struct list all;
};

#define AT(field) offsetof(struct iothread, field)

/* clang-format off */
const struct opt iothread_options[] = {
	{.name = "poll-max-ns", .type = OPT_UINT, .at = AT(poll_max_ns), .def = "32768", .max = INT64_MAX,
	 .help = "before it sleeps, look at the rings for at most so long"},
	{.name = "poll-grow", .type = OPT_UINT, .at = AT(poll_grow), .def = "0", .max = INT64_MAX,
	 .help = "factor by which it looks longer while that helps (0: 2)"},
	{.name = "poll-shrink", .type = OPT_UINT, .at = AT(poll_shrink), .def = "0", .max = INT64_MAX,
	 .help = "divisor by which it looks shorter when nothing came (0: not at all any more)"},
	{.name = "aio-max-batch", .type = OPT_UINT, .at = AT(aio_max_batch), .def = "0", .max = INT64_MAX,
	 .help = "at most so many requests go to the kernel together (0: all of a turn of the loop)"},
	{.name = "thread-pool-min", .type = OPT_UINT, .at = AT(pool_min), .def = "0", .max = INT64_MAX,
	 .help = "accepted; workers are shared by all loops and come when they are needed"},
	{.name = "thread-pool-max", .type = OPT_UINT, .at = AT(pool_max), .def = "64", .max = INT64_MAX,
	 .help = "accepted, as thread-pool-min"},
	OPT_END,
};
/* clang-format on */
static const struct opt *const tables[] = {iothread_options, NULL};

struct iothreads *iothreads_new(void)
{
	struct iothreads *all = calloc(1, sizeof(*all));

	if (all)
		list_init(&all->all);
	return all;
}

static void iothread_free(struct iothread *t)
{
	loop_free(t->loop);
	opts_release(tables, t);
	free(t->id);
	free(t);
}

void iothreads_free(struct iothreads *all)
{
	struct list *it;

	while (all && (it = list_pop(&all->all)))
		iothread_free(list_entry(it, struct iothread, link));
	free(all);
}

static struct iothread *iothread_find(struct iothreads *all, const char *id)
{
	list_for_each (it, &all->all) {
		struct iothread *t = list_entry(it, struct iothread, link);

		if (!strcmp(t->id, id))
			return t;
	}
	return NULL;
}

struct iothread *iothread_next(struct iothreads *all, const struct iothread *t)
{
	struct list *next = t ? t->link.next : all->all.next;

	return next == &all->all ? NULL : list_entry(next, struct iothread, link);
}

struct loop *iothread_loop_by_id(struct iothreads *all, const char *id, struct err *e)
{
	struct iothread *t = iothread_find(all, id);

	if (!t) {
		err_set(e, -ENOENT, "IOThread object \"%s\" does not exist", id);
		return NULL;
	}
	return t->loop;
}

static void iothread_begin(void *arg)
{
	struct iothread *t = arg;

	t->tid = gettid();
}

/* Set up a new object. On failure the caller frees it. */
static int iothread_init(struct iothread *t, const char *id, struct kvs *k, struct err *e)
{
	const char *odd;
	int rc = opts_apply(tables, k, t, e);

	if (rc < 0)
		return rc;
	odd = kvs_unused(k);
	if (odd)
		return err_set(e, -EINVAL, "Property 'iothread.%s' not found", odd);
	t->id = strdup(id);
	snprintf(t->name, sizeof(t->name), "xenpvh/%s", id);
	t->loop = t->id ? loop_new(t->name) : NULL;
	if (!t->loop)
		return err_set(e, -errno, "event loop: %s", strerror(errno));
	loop_set_polling(t->loop, t->poll_max_ns, t->poll_grow, t->poll_shrink);
	loop_set_batch(t->loop, t->aio_max_batch);
	loop_set_begin(t->loop, iothread_begin, t);
	return 0;
}

int iothread_add(struct iothreads *all, struct kvs *k, struct err *e)
{
	const char *id = kvs_get(k, "id");
	struct iothread *t;
	int rc;

	kvs_get(k, "qom-type");
	rc = id_check("id", id, e);
	if (rc < 0)
		return rc;
	if (iothread_find(all, id))
		return id_taken(id, "object", e);
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_nomem(e);
	rc = iothread_init(t, id, k, e);
	if (rc < 0) {
		iothread_free(t);
		return rc;
	}
	list_add_tail(&all->all, &t->link);
	return 0;
}

int iothreads_start(struct iothreads *all, struct err *e)
{
	list_for_each (it, &all->all) {
		struct iothread *t = list_entry(it, struct iothread, link);
		int rc = loop_start(t->loop);

		if (rc < 0)
			return err_set(e, rc, "iothread '%s': could not start a thread: %s", t->id,
				       strerror(-rc));
	}
	return 0;
}

void iothreads_join(struct iothreads *all)
{
	if (!all)
		return;
	list_for_each (it, &all->all)
		loop_join(list_entry(it, struct iothread, link)->loop);
}

void iothread_info(const struct iothread *t, struct iothread_info *out)
{
	*out = (struct iothread_info){t->id,	    t->tid,	    t->poll_max_ns,
				      t->poll_grow, t->poll_shrink, t->aio_max_batch};
}
