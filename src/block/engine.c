/* SPDX-License-Identifier: MIT */
/* engine.c - what one loop needs for disk I/O, shared by all disks on it
 *
 * The requests of a turn are collected, in the io_uring or in a list for the workers, and submitted
 * by the loop's hook at the end of the turn: with one system call, or under one lock, for all of
 * them. I/O that completes within that call, as the page cache has the data, is reaped at once.
 * Results of the workers come back through a lock-free list and one posted task for all of them.
 *
 * In a turn with at most a few small buffered reads, these are first tried by a plain system call
 * that does not sleep, which costs less than the io_uring. If it would sleep, the read goes to the
 * io_uring. A file on tmpfs is always read in this way: the io_uring would pass each read to a
 * kernel thread, which costs more than the copy.
 *
 * Threads: an engine is created by the control thread. All functions run on its loop, except
 * engine_worker_done().
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "block/internal.h"

/* Called after a completion, which may have freed room in the bounce arena: start the requests that
 * wait for a buffer, oldest first. */
static void engine_retry_waiting(struct engine *en)
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
		engine_retry_waiting(en);
}

static void engine_take_results(struct loop_task *t)
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

/* Run by a worker: do I/O that may sleep. */
static void worker_execute(struct work *w)
{
	struct block_req *r = container_of(w, struct block_req, work);
	/* The loop may free the request as soon as engine_worker_done() has passed it back. */
	struct block_queue *q = r->q;

	r->io_result = image_execute(q->b->img, r);
	engine_worker_done(q->en, r);
}

/* Tell the loop whether to poll before it sleeps. With I/O in flight it must not: the kernel
 * delivers completions only when this thread enters the kernel. */
static enum loop_look engine_look(struct loop_poller *p)
{
	return container_of(p, struct engine, poller)->inflight ? LOOP_SLEEP : LOOP_NOTHING;
}

/* The task only makes the loop take another turn, at whose end the hook runs. */
static void task_do_nothing(struct loop_task *t)
{
}

static void uring_ready(struct loop_fd *w, uint32_t events)
{
	struct engine *en = container_of(w, struct engine, watch);

	uring_reap(en->uring, en);
}

/* Start the io_uring at its first use, as it belongs to the thread that does this. */
static void engine_start_uring(struct engine *en)
{
	int rc = uring_begin(en->uring);

	if (!rc)
		rc = loop_fd_add(en->loop, &en->watch, uring_fd(en->uring), EPOLLIN, uring_ready);
	if (rc < 0) {
		log_warn("io_uring does not start (%s): disk I/O uses threads", strerror(-rc));
		en->uring_failed = true;
	}
}

static bool engine_can_use_uring(struct engine *en, const struct image *img)
{
	if (!en->uring || img->aio == AIO_THREADS)
		return false;
	if (unlikely(en->watch.fd < 0 && !en->uring_failed))
		engine_start_uring(en);
	if (unlikely(img->direct && !en->uring_failed))
		uring_fix(en->uring, &en->bounce);
	return !en->uring_failed;
}

/* Add `r` to the requests of this turn for the io_uring or for the workers. */
static void engine_queue(struct engine *en, struct block_req *r, bool blocking)
{
	struct image *img = r->q->b->img;

	if (!blocking && engine_can_use_uring(en, img) && uring_queue(en->uring, img, r))
		return;
	r->work.fn = worker_execute;
	if (en->batched)
		en->batch_last->next = &r->work;
	else
		en->batch = &r->work;
	en->batch_last = &r->work;
	en->batched++;
}

/* Do the quick reads of this turn. Those that would sleep are queued for the io_uring. */
static void engine_try_quick(struct engine *en)
{
	struct block_req *quick[QUICK_MAX];
	unsigned n = en->quicks;

	/* Work on a copy: a completion may start new quick reads. */
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
			engine_queue(en, r, false);
		}
	}
}

/* io_uring_enter() has failed for good: requests that the kernel has not accepted go to the
 * workers. Those that it has accepted complete through the ring, which the loop keeps watching. */
static void engine_leave_ring(struct engine *en)
{
	struct block_req *r;

	log_warn("io_uring fails: disk I/O uses threads");
	en->uring_failed = true;
	while ((r = uring_take_back(en->uring)))
		engine_queue(en, r, true);
}

/* The loop's hook at the end of a turn: submit what the turn has collected. */
static void engine_end_turn(struct loop_hook *h)
{
	struct engine *en = container_of(h, struct engine, hook);

	en->bulk = false;
	if (en->quicks)
		engine_try_quick(en);
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
	/* Completions have started more requests, or the kernel did not accept all: take another
	 * turn. */
	if (en->quicks || en->batched || (en->uring && uring_pending(en->uring)))
		loop_defer(en->loop, &en->again);
}

/* Tells whether `r` is a small buffered read that may be tried quickly. Not with aio=threads: there
 * the user has chosen the method. */
static bool engine_allows_quick(struct engine *en, const struct image *img,
				const struct block_req *r)
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

/* Add `r` to the quick reads of this turn. Returns false if `r` must go to the io_uring or the
 * workers because there are too many. Then the reads that were added before go there, too, so that
 * all are submitted together. */
static bool engine_add_quick(struct engine *en, struct block_req *r)
{
	bool in_memory = r->q->b->img->in_memory;

	if (en->quicks < (in_memory ? QUICK_MAX : QUICK_FEW)) {
		en->quick[en->quicks++] = r;
		return true;
	}
	if (in_memory)
		return false;
	for (unsigned i = 0; i < en->quicks; i++)
		engine_queue(en, en->quick[i], false);
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
	if (!blocking && engine_allows_quick(en, r->q->b->img, r) && engine_add_quick(en, r))
		return;
	engine_queue(en, r, blocking);
}

void engine_enter(struct engine *en)
{
	en->inflight++;
}

/* Nothing is in flight: post the task that engine_when_idle() was given, once. */
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

/* The loop's half of engine_when_idle(): only this thread may read `inflight`. It posts the task
 * now, or engine_leave() does when the last request ends. */
static void engine_answer_idle(struct loop_task *t)
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

/* Create the io_uring if `img` is to use it. If that fails the workers do its I/O, which is logged
 * only if the user asked for io_uring. */
static void engine_create_uring(struct engine *en, struct image *img)
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
			en->hook.fn = engine_end_turn;
			en->watch.fd = -1;
			en->again.fn = task_do_nothing;
			en->done_task.fn = engine_take_results;
			en->ask_idle.fn = engine_answer_idle;
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
	engine_create_uring(en, img);
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
