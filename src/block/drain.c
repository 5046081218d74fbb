/* SPDX-License-Identifier: MIT */
/* drain.c - write everything to stable storage, for a pause and for the end
 *
 * The control thread starts a drain and does not wait for it. It asks one engine after the other to
 * post a task when no request is in flight on it. Then the workers flush the images, and the last
 * one posts a task to the control loop, which reports the result.
 *
 * Errors of the kernel's write-back: the kernel reports one once for each open file, to the next
 * call that synchronizes the file. If that call is not the guest's flush, the guest would never
 * learn of it. So the error is noted in the image (image_sync_failed()), for all disks on it. The
 * calls of this folder that can return one:
 *
 *	fdatasync, IORING_OP_FSYNC	the guest's flush fails; noted for the other disks
 *	RWF_DSYNC			the guest's write with BLOCK_FUA fails; noted
 *	fdatasync after write-zeroes	the guest's request with BLOCK_FUA fails; noted
 *	fdatasync here			logged, returned to the caller, noted for all disks
 *	close				logged only, as no device is attached any more
 *
 * In other folders: fsync in a shared folder (9p) returns the error to its caller, also for the
 * metadata beside the file. The output of chardevs and of filter-dump is never synchronized, as
 * nobody waits for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "block/internal.h"

/* One image to flush. The drain holds a reference to the image. */
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
	struct list *engine; /* the one that was asked last, or the head of bs->engines */
	struct loop_task idle;
	atomic_uint left; /* images that are not flushed yet, plus 1 until all are submitted */
	struct loop_task flushed;
	unsigned n;
	struct drain_image image[];
};

/* All images are flushed: log the errors, call done() and free the drain. On the control loop. */
static void drain_finish(struct loop_task *t)
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

/* Count one image as flushed; the last one ends the drain. Called on any thread. */
static void drain_image_done(struct drain *d)
{
	if (atomic_fetch_sub(&d->left, 1) == 1)
		loop_post(d->control, &d->flushed);
}

/* Run by a worker, as it sleeps: flush one image. After an earlier loss the kernel is not asked, as
 * it would report success. */
static void worker_flush(struct work *w)
{
	struct drain_image *di = container_of(w, struct drain_image, work);

	if (atomic_load(&di->img->lost)) {
		di->rc = -EIO;
	} else {
		di->rc = image_sync(di->img);
		if (di->rc < 0)
			image_sync_failed(di->img, di->rc, false, NULL);
	}
	drain_image_done(di->drain);
}

/* Tells whether the image has a cache that this process may have to write. */
static bool image_needs_flush(const struct image *img)
{
	return img->kind != IMAGE_NULL && !img->read_only && !img->no_flush;
}

/* Nothing is in flight on the engine that was asked: ask the next one, and flush the images after
 * the last. On the control loop. */
static void drain_ask_next(struct loop_task *t)
{
	struct drain *d = container_of(t, struct drain, idle);

	d->engine = d->engine->next;
	if (d->engine != &d->bs->engines) {
		engine_when_idle(list_entry(d->engine, struct engine, link), d->control, &d->idle);
		return;
	}
	for (unsigned i = 0; i < d->n; i++)
		workers_submit(d->bs->pool, &d->image[i].work, &d->image[i].work, 1);
	drain_image_done(d);
}

int blocks_drain(struct blocks *bs, struct loop *control, void (*done)(void *arg, int rc),
		 void *arg)
{
	struct drain *d;
	unsigned n = 0;

	if (bs->drain)
		return -EBUSY;
	/* Without a pool no queue was ever created, so no image has unwritten data. */
	if (bs->pool)
		list_for_each (it, &bs->images)
			n += image_needs_flush(list_entry(it, struct image, link));
	d = calloc(1, sizeof(*d) + n * sizeof(d->image[0]));
	if (!d)
		return -ENOMEM;
	d->bs = bs;
	d->control = control;
	d->done = done;
	d->arg = arg;
	d->engine = &bs->engines;
	d->idle.fn = drain_ask_next;
	d->flushed.fn = drain_finish;
	list_for_each (it, &bs->images) {
		struct image *img = list_entry(it, struct image, link);

		if (!bs->pool || !image_needs_flush(img))
			continue;
		img->refs++;
		d->image[d->n++] =
			(struct drain_image){.work.fn = worker_flush, .drain = d, .img = img};
	}
	atomic_init(&d->left, n + 1);
	bs->drain = d;
	loop_post(control, &d->idle);
	return 0;
}
