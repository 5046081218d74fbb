/* SPDX-License-Identifier: MIT */
/* drain.c - write everything to stable storage, for a pause and for the end
 *
 * Control thread, which does not sleep here: each loop says when nothing is in flight on it, then
 * the pool's threads flush the images, and a task of the control loop hands over the result.
 *
 * Who hears of an error of the kernel's write-back. The kernel tells it once for each open file, to
 * whoever synchronizes next, and the guest does not see that this was us. So it is noted in the
 * image (image_sync_failed()), for all disks on it. The calls of this folder that can meet one:
 *
 *	fdatasync, IORING_OP_FSYNC	the guest's flush: fails, and is noted for the other disks
 *	RWF_DSYNC			the guest's write that is to be stable: the same
 *	fdatasync after write-zeroes	the same
 *	fdatasync here			logged, told to the caller, noted for all disks
 *	close				logged: nobody is attached any more
 *
 * Elsewhere: a shared folder's fsync (9p) answers its caller, also for the metadata beside the
 *file; what chardevs and filter-dump write is never synchronized, as nobody waits for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "block/internal.h"

/* One image; the drain holds a reference. */
struct drain_image {
	struct work work;
	struct drain *drain;
	struct image *img;
	int rc;
};

struct drain {
	struct blocks *bs;
	struct loop *control;
	void (*done)(void *arg, int rc);
	void *arg;
	struct list *engine; /* the last one that was asked, or the list's head */
	struct loop_task idle;
	atomic_uint left; /* images that are not flushed yet, and one */
	struct loop_task flushed;
	unsigned n;
	struct drain_image image[];
};

static void drain_flushed(struct loop_task *t)
{
	struct drain *d = container_of(t, struct drain, flushed);
	struct blocks *bs = d->bs;
	int first = 0;

	for (unsigned i = 0; i < d->n; i++) {
		struct drain_image *di = &d->image[i];

		if (di->rc < 0)
			log_err("cannot write the cache of '%s' to disk: %s", di->img->path,
				strerror(-di->rc));
		if (!first)
			first = di->rc;
		image_unref(di->img);
	}
	bs->drain = NULL;
	d->done(d->arg, first);
	free(d);
}

static void drain_put(struct drain *d)
{
	if (atomic_fetch_sub(&d->left, 1) == 1)
		loop_post(d->control, &d->flushed);
}

/* A thread of the pool. */
static void image_flush(struct work *w)
{
	struct drain_image *di = container_of(w, struct drain_image, work);

	if (atomic_load(&di->img->lost)) {
		di->rc = -EIO;
	} else {
		di->rc = image_sync(di->img);
		if (di->rc < 0)
			image_sync_failed(di->img, di->rc, false, NULL);
	}
	drain_put(di->drain);
}

static bool needs_flush(const struct image *img)
{
	return img->kind != IMAGE_NULL && !img->read_only && !img->no_flush;
}

/* Nothing is in flight on the engine that was asked: ask the next one; after the last, flush. */
static void drain_next(struct loop_task *t)
{
	struct drain *d = container_of(t, struct drain, idle);

	d->engine = d->engine->next;
	if (d->engine != &d->bs->engines) {
		engine_when_idle(list_entry(d->engine, struct engine, link), d->control, &d->idle);
		return;
	}
	for (unsigned i = 0; i < d->n; i++)
		workers_submit(d->bs->pool, &d->image[i].work, &d->image[i].work, 1);
	drain_put(d);
}

int blocks_drain(struct blocks *bs, struct loop *control, void (*done)(void *arg, int rc),
		 void *arg)
{
	struct drain *d;
	unsigned n = 0;

	if (bs->drain)
		return -EBUSY;
	/* Without a pool no disk was ever used. */
	if (bs->pool)
		list_for_each (it, &bs->images)
			n += needs_flush(list_entry(it, struct image, link));
	d = calloc(1, sizeof(*d) + n * sizeof(d->image[0]));
	if (!d)
		return -ENOMEM;
	d->bs = bs;
	d->control = control;
	d->done = done;
	d->arg = arg;
	d->engine = &bs->engines;
	d->idle.fn = drain_next;
	d->flushed.fn = drain_flushed;
	list_for_each (it, &bs->images) {
		struct image *img = list_entry(it, struct image, link);

		if (!bs->pool || !needs_flush(img))
			continue;
		img->refs++;
		d->image[d->n++] =
			(struct drain_image){.work.fn = image_flush, .drain = d, .img = img};
	}
	atomic_init(&d->left, n + 1);
	bs->drain = d;
	loop_post(control, &d->idle);
	return 0;
}
