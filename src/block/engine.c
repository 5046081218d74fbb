/* SPDX-License-Identifier: MIT */
/* engine.c - what one loop needs for disk I/O, shared by all disks on it
 *
 * Requests of a turn are collected, in the ring or in a list for the pool, and handed over by the
 * loop's hook at the end of the turn: one system call, or one lock, for all of them. What completes
 * at once (the page cache had it) is reaped right there. Results of the pool come back through a
 * lock-free list and one posted task, however many they are. A turn with no more than a few small
 * buffered reads asks the page cache by a plain system call instead, which costs less than the
 * ring; when that would sleep, the ring gets them. A file on tmpfs is always read so: the ring
 * would hand each read to a thread of the kernel, which costs more than the copy.
 *
 * Made on the control thread; then everything runs on the loop, but engine_worker_done().
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "block/internal.h"

/* Completions may free room in the bounce arena: whoever waits longest gets it first. */
static void serve_waiting(struct engine *en)
{
	while (!list_empty(&en->waiting)) {
		struct block_req *r = list_entry(en->waiting.next, struct block_req, link);

		list_del(&r->link);
		if (request_retry(r))
			continue;
		list_add_head(&en->waiting, &r->link);
		return;
	}
}

void engine_io_done(struct engine *en, struct block_req *r)
{
	request_continue(r);
	if (unlikely(!list_empty(&en->waiting)))
		serve_waiting(en);
}

static void take_worker_results(struct loop_task *t)
{
	struct engine *en = container_of(t, struct engine, done_task);
	struct mpsc_node *n = mpsc_take(&en->done);

	while (n) {
		struct block_req *r = container_of(n, struct block_req, done_link);

		n = n->next;
		engine_io_done(en, r);
	}
}

void engine_worker_done(struct engine *en, struct block_req *r)
{
	mpsc_push(&en->done, &r->done_link);
	loop_post(en->loop, &en->done_task);
}

/* A worker: what may block. */
static void execute(struct work *w)
{
	struct block_req *r = container_of(w, struct block_req, work);
	/* The request may be gone once it is handed back. */
	struct block_queue *q = r->q;

	r->io_result = image_execute(q->b->img, r);
	engine_worker_done(q->en, r);
}

/* The kernel tells of completions when this thread enters it: with I/O in flight there is nothing
 * to look at. */
static enum loop_look engine_look(struct loop_poller *p)
{
	return container_of(p, struct engine, poller)->inflight ? LOOP_SLEEP : LOOP_NOTHING;
}

static void nothing(struct loop_task *t)
{
}

static void ring_ready(struct loop_fd *w, uint32_t events)
{
	struct engine *en = container_of(w, struct engine, watch);

	uring_reap(en->uring, en);
}

/* First use of the ring, on the loop's own thread. */
static void start_ring(struct engine *en)
{
	int rc = uring_begin(en->uring);

	if (!rc)
		rc = loop_fd_add(en->loop, &en->watch, uring_fd(en->uring), EPOLLIN, ring_ready);
	if (rc < 0) {
		log_warn("io_uring does not start (%s): disk I/O uses threads", strerror(-rc));
		en->uring_failed = true;
	}
}

static bool ring_usable(struct engine *en, const struct image *img)
{
	if (!en->uring || img->aio == AIO_THREADS)
		return false;
	if (unlikely(en->watch.fd < 0 && !en->uring_failed))
		start_ring(en);
	if (unlikely(img->direct && !en->uring_failed))
		uring_fix(en->uring, &en->bounce);
	return !en->uring_failed;
}

/* To the ring or to the pool, with the others of this turn. */
static void start_slow(struct engine *en, struct block_req *r, bool blocking)
{
	struct image *img = r->q->b->img;

	if (!blocking && ring_usable(en, img) && uring_queue(en->uring, img, r))
		return;
	r->work.fn = execute;
	if (en->batched)
		en->batch_last->next = &r->work;
	else
		en->batch = &r->work;
	en->batch_last = &r->work;
	en->batched++;
}

/* Ask the page cache, without waiting. */
static void try_quick(struct engine *en)
{
	struct block_req *quick[QUICK_MAX];
	unsigned n = en->quicks;

	/* Their completions may start new ones. */
	for (unsigned i = 0; i < n; i++)
		quick[i] = en->quick[i];
	en->quicks = 0;
	for (unsigned i = 0; i < n; i++) {
		struct block_req *r = quick[i];

		r->io_result = image_read_quick(r->q->b->img, r);
		if (r->io_result >= 0) {
			engine_io_done(en, r);
		} else {
			en->quick_pause = QUICK_PAUSE;
			start_slow(en, r, false);
		}
	}
}

/* The kernel takes no more requests. Those that it has not taken are done by the workers; the
 * others complete by the ring, which is watched as before. */
static void engine_leave_ring(struct engine *en)
{
	struct block_req *r;

	log_warn("io_uring fails: disk I/O uses threads");
	en->uring_failed = true;
	while ((r = uring_take_back(en->uring)))
		start_slow(en, r, true);
}

/* The end of the turn. */
static void flush_batches(struct loop_hook *h)
{
	struct engine *en = container_of(h, struct engine, hook);

	en->bulk = false;
	if (en->quicks)
		try_quick(en);
	if (en->batched) {
		struct work *first = en->batch;
		unsigned n = en->batched;

		en->batch = NULL;
		en->batched = 0;
		workers_submit(en->pool, first, en->batch_last, n);
	}
	if (en->uring && !en->uring_failed) {
		uring_submit(en->uring);
		if (unlikely(uring_broken(en->uring)))
			engine_leave_ring(en);
		uring_reap(en->uring, en);
	}
	/* What the completions started in turn, or the kernel did not take. */
	if (en->quicks || en->batched || (en->uring && uring_pending(en->uring)))
		loop_defer(en->loop, &en->again);
}

/* A small buffered read that may be tried at once. A host that was told how to do its I/O does it
 * so. */
static bool quick_ok(struct engine *en, const struct image *img, const struct block_req *r)
{
	if (r->op != BLOCK_READ || img->direct || en->bulk || r->piece > QUICK_BYTES ||
	    img->aio == AIO_THREADS || atomic_load_explicit(&img->no_nowait, memory_order_relaxed))
		return false;
	if (unlikely(en->quick_pause)) {
		en->quick_pause--;
		return false;
	}
	return true;
}

/* False: it goes the other way, and so do those that came before if that makes a batch of them. */
static bool quick_add(struct engine *en, struct block_req *r)
{
	bool in_memory = r->q->b->img->in_memory;

	if (en->quicks < (in_memory ? QUICK_MAX : QUICK_FEW)) {
		en->quick[en->quicks++] = r;
		return true;
	}
	if (in_memory)
		return false;
	for (unsigned i = 0; i < en->quicks; i++)
		start_slow(en, en->quick[i], false);
	en->quicks = 0;
	en->bulk = true;
	return false;
}

void engine_start(struct engine *en, struct block_req *r, bool blocking)
{
	if (unlikely(!en->hooked)) {
		en->hooked = true;
		loop_hook_add(en->loop, &en->hook);
	}
	if (!blocking && quick_ok(en, r->q->b->img, r) && quick_add(en, r))
		return;
	start_slow(en, r, blocking);
}

void engine_enter(struct engine *en)
{
	en->inflight++;
}

static void engine_tell_idle(struct engine *en)
{
	en->idle_wanted = false;
	loop_post(en->idle_loop, en->idle_task);
}

void engine_leave(struct engine *en)
{
	if (!--en->inflight && en->idle_wanted)
		engine_tell_idle(en);
}

static void idle_asked(struct loop_task *t)
{
	struct engine *en = container_of(t, struct engine, ask_idle);

	en->idle_wanted = true;
	if (!en->inflight)
		engine_tell_idle(en);
}

void engine_when_idle(struct engine *en, struct loop *control, struct loop_task *t)
{
	en->idle_loop = control;
	en->idle_task = t;
	loop_post(en->loop, &en->ask_idle);
}

/* io_uring for disks that want it; without it the workers serve them. */
static void want_uring(struct engine *en, struct image *img)
{
	if (img->kind == IMAGE_NULL || img->aio == AIO_THREADS)
		return;
	if (!en->uring && !en->uring_failed) {
		en->uring = uring_new(loop_batch(en->loop));
		en->uring_failed = !en->uring;
	}
	if (!en->uring_failed || img->aio == AIO_AUTO || en->uring_warned)
		return;
	log_warn("the kernel offers no io_uring: disk I/O uses threads");
	en->uring_warned = true;
}

struct engine *engine_get(struct blocks *bs, struct loop *l, struct image *img, struct err *e)
{
	struct engine *en = NULL;

	list_for_each (it, &bs->engines)
		if (list_entry(it, struct engine, link)->loop == l)
			en = list_entry(it, struct engine, link);
	if (!bs->pool)
		bs->pool = workers_new("block-worker", WORKERS_MAX, NULL, NULL);
	if (!en && bs->pool) {
		en = calloc(1, sizeof(*en));
		if (en) {
			en->loop = l;
			en->pool = bs->pool;
			en->hook.fn = flush_batches;
			en->watch.fd = -1;
			en->again.fn = nothing;
			en->done_task.fn = take_worker_results;
			en->ask_idle.fn = idle_asked;
			list_init(&en->waiting);
			en->poller.look = engine_look;
			loop_poller_add(l, &en->poller);
			list_add_tail(&bs->engines, &en->link);
		}
	}
	if (!en || (img->direct && bounce_init(&en->bounce) < 0)) {
		err_nomem(e);
		return NULL;
	}
	want_uring(en, img);
	return en;
}

void engine_free(struct engine *en)
{
	loop_poller_del(&en->poller);
	if (en->hooked)
		loop_hook_del(&en->hook);
	if (en->watch.fd >= 0)
		loop_fd_del(en->loop, &en->watch);
	uring_free(en->uring);
	bounce_fini(&en->bounce);
	list_del(&en->link);
	free(en);
}
