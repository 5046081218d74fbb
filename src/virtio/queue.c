/* SPDX-License-Identifier: MIT */
/* queue.c - a virtqueue's life: start, kick, batching of completions, pause, stop
 *
 * The exit loop programs a queue and asks for its start and stop; the queue's loop carries them
 * out: directly if it is the same loop, else by posted tasks. A stop or pause is reported back
 * (vdev_queue_idle() on the exit loop) once no chain is in flight. So no thread blocks for a reset,
 * and after a stop is reported the queue does not touch guest memory.
 *
 * The areas of a ring stay pinned only until the guest's memory is re-mapped. Otherwise an idle
 * queue would keep pages mapped that the guest has returned to Xen. So the areas may be unpinned at
 * each entry from the loop, also while chains are in flight; ring_fresh() pins them again.
 */
#include "virtio/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/probe.h"

/* Chains popped per queue and turn of its loop, so that other queues and file descriptors of the
 * loop are served, too. */
#define TURN_BUDGET 256

bool vq_ready(const struct vqueue *vq)
{
	return atomic_load_explicit(&((struct vqueue *)vq)->state, memory_order_relaxed) ==
	       VQ_RUNNING;
}

unsigned vq_index(const struct vqueue *vq)
{
	return vq->index;
}

struct vdev *vq_dev(const struct vqueue *vq)
{
	return vq->v;
}

struct loop *vq_loop(const struct vqueue *vq)
{
	return vq->loop;
}

unsigned vq_inflight(const struct vqueue *vq)
{
	return vq->inflight;
}

void vq_set_priv(struct vqueue *vq, void *priv)
{
	vq->priv = priv;
}

void *vq_priv(const struct vqueue *vq)
{
	return vq->priv;
}

static void queue_publish(struct vqueue *vq)
{
	int state = atomic_load(&vq->state);

	if ((state == VQ_RUNNING || state == VQ_PAUSED) && atomic_load(&vq->v->fn.master) &&
	    vq->ring->publish(vq))
		vdev_queue_interrupt(vq);
}

/* Report a stop or pause that was asked for to the exit loop, if no chain is in flight any more.
 * Queue's loop. */
static void queue_report_if_idle(struct vqueue *vq)
{
	if (!vq->report || vq->inflight)
		return;
	if (atomic_load(&vq->state) == VQ_STOPPING) {
		loop_poller_del(&vq->poller);
		ring_unmap(vq);
		pool_stop(vq);
		atomic_store(&vq->state, VQ_STOPPED);
	} else {
		queue_publish(vq); /* whoever waits for the pause sees all completions in memory */
	}
	/* From here on the exit loop may start the queue anew. */
	atomic_fetch_or(&vq->reported, vq->report);
	vq->report = 0;
	if (loop_is_mine(vq->v->exits))
		vdev_queue_idle(vq);
	else
		loop_post(vq->v->exits, &vq->idle_task);
}

void vq_chain_put(struct vchain *c)
{
	struct chain_slot *s = container_of(c, struct chain_slot, c);
	struct vqueue *vq = c->vq;

	gmem_unpin(vq->v->hv->mem, c->iov, (unsigned)c->n_out + c->n_in);
	pool_put(vq, s);
	queue_report_if_idle(vq);
}

/* --- the data path --- */

struct vchain *vq_pop(struct vqueue *vq)
{
	struct vchain *c;

	if (!vq_ready(vq) || !atomic_load_explicit(&vq->v->fn.master, memory_order_relaxed) ||
	    atomic_load_explicit(&vq->v->state->broken, memory_order_relaxed))
		return NULL;
	if (vq->turn != loop_now(vq->loop)) {
		vq->turn = loop_now(vq->loop);
		vq->budget = TURN_BUDGET;
	}
	if (!vq->budget) {
		vq_kick(vq);
		return NULL;
	}
	c = vq->ring->pop(vq);
	if (c) {
		vq->budget--;
		probe3(virtqueue_pop, vq->v->fn.id, vq->index, c->head);
	}
	vq->drained = !c;
	return c;
}

/* Put a chain in the used ring, unless the device may not write or nobody will read it. */
static void queue_push_used(struct vqueue *vq, struct chain_slot *s, uint32_t written)
{
	int state = atomic_load_explicit(&vq->state, memory_order_relaxed);

	/* Without bus mastering the device may not write, and the driver of a stopping queue no
	 * longer reads. */
	if ((state == VQ_RUNNING || state == VQ_PAUSED) && atomic_load(&vq->v->fn.master) &&
	    ring_fresh(vq)) {
		vq->ring->push(vq, s, (uint32_t)MIN(written, s->c.in_len));
		if (!vq->in_kick)
			loop_close(vq->loop, &vq->flush_task);
	}
	vq_chain_put(&s->c);
}

/* VIRTIO_F_IN_ORDER (§2.7.9): chains are used in the order in which they became available. A chain
 * that is completed early is kept until all older ones are completed. */
static void queue_push_in_order(struct vqueue *vq)
{
	while (!list_empty(&vq->pool.by_age)) {
		struct chain_slot *s = list_entry(vq->pool.by_age.next, struct chain_slot, order);

		if (!s->done)
			break;
		queue_push_used(vq, s, s->written);
	}
}

void vq_push(struct vqueue *vq, struct vchain *c, uint32_t written)
{
	struct chain_slot *s = container_of(c, struct chain_slot, c);

	probe4(virtqueue_push, vq->v->fn.id, vq->index, c->head, written);
	if (likely(!vq->in_order)) {
		queue_push_used(vq, s, written);
		return;
	}
	s->done = true;
	s->written = written;
	queue_push_in_order(vq);
}

void vq_unpop(struct vqueue *vq, struct vchain *c)
{
	if (vq->ring->unpop(vq, container_of(c, struct chain_slot, c))) {
		vq->drained = false;
		vq_chain_put(c);
	} else
		vq_push(vq, c, 0);
}

void vq_drop(struct vqueue *vq, struct vchain *c)
{
	vq_chain_put(c);
	if (vq->in_order)
		queue_push_in_order(vq);
}

void vq_publish(struct vqueue *vq)
{
	queue_publish(vq);
}

static void queue_run_publish(struct loop_task *t)
{
	queue_publish(container_of(t, struct vqueue, flush_task));
}

static void queue_run_kick(struct loop_task *t)
{
	struct vqueue *vq = container_of(t, struct vqueue, kick_task);

	if (!vq_ready(vq) || vq->served)
		return;
	vq->in_kick = true;
	vq->v->ops->kick(vq);
	vq->in_kick = false;
	queue_publish(vq);
}

void vq_kick(struct vqueue *vq)
{
	if (loop_is_mine(vq->loop))
		loop_defer(vq->loop, &vq->kick_task);
	else
		loop_post(vq->loop, &vq->kick_task);
}

void vq_doorbell(struct vqueue *vq)
{
	int fd = atomic_load_explicit(&vq->kick_fd, memory_order_acquire);

	if (fd >= 0)
		eventfd_write(fd, 1);
	else if (vq_ready(vq))
		vq_kick(vq);
}

/* --- polling: the loop reads the ring instead of waiting for a notification --- */

/* A ring is polled only after the device has popped it empty. A device that has stopped popping for
 * another reason (no buffers, a rate limit) calls vq_kick() itself. */
static bool queue_may_poll(struct vqueue *vq)
{
	return vq->drained && !vq->served && vq_ready(vq) && atomic_load(&vq->v->fn.master) &&
	       !atomic_load(&vq->v->state->broken) && ring_fresh(vq);
}

static enum loop_look queue_poll(struct loop_poller *p)
{
	struct vqueue *vq = container_of(p, struct vqueue, poller);

	if (!queue_may_poll(vq) || !vq->ring->has_chain(vq))
		return LOOP_NOTHING;
	loop_defer(vq->loop, &vq->kick_task);
	return LOOP_WORK;
}

static void queue_poll_begin(struct loop_poller *p)
{
	struct vqueue *vq = container_of(p, struct vqueue, poller);

	if (queue_may_poll(vq))
		vq->ring->disable_notify(vq);
}

static void queue_poll_end(struct loop_poller *p)
{
	struct vqueue *vq = container_of(p, struct vqueue, poller);

	if (queue_may_poll(vq) && !vq->ring->enable_notify(vq))
		loop_defer(vq->loop, &vq->kick_task);
}

/* --- a queue that a vhost back end serves --- */

/* Let the back end serve the queue. It stays with the device if chains are in flight, if the back
 * end does not know the layout, or if an area is not contiguous in host memory. */
static void server_start(struct vqueue *vq)
{
	struct vq_where w = {.num = vq->num};

	if (vq->inflight || !vq->ring->take_back)
		return;
	queue_publish(vq);
	if (!ring_fresh(vq) || vq->desc_area.segs != 1 || vq->avail_area.segs != 1 ||
	    vq->used_area.segs != 1)
		return;
	w.next = vq->last_avail;
	w.desc = vq->desc_area.seg[0].iov_base;
	w.avail = vq->avail_area.seg[0].iov_base;
	w.used = vq->used_area.seg[0].iov_base;
	if (vq->server->start(vq->server, &w) < 0)
		return;
	vq->served = true;
	atomic_store(&vq->kick_fd, vq->server->kick_fd);
	/* The driver may have notified the device of chains before the hand-over. */
	eventfd_write(vq->server->kick_fd, 1);
}

/* Take the queue back from the back end. The device serves it again; the caller kicks it. */
static void server_stop(struct vqueue *vq)
{
	if (!vq->served)
		return;
	atomic_store(&vq->kick_fd, -1);
	vq->served = false;
	vq->ring->take_back(vq, vq->server->stop(vq->server));
}

/* Start the back end if it may run and does not, stop it if it runs and may not. */
static void server_update(struct vqueue *vq)
{
	bool may = vq->server && vq_ready(vq) && atomic_load(&vq->v->fn.master) &&
		   !atomic_load(&vq->v->state->broken);

	if (may && !vq->served) {
		if (vq->v->ops->quiesce)
			vq->v->ops->quiesce(vq);
		server_start(vq);
	} else if (!may) {
		server_stop(vq);
	}
	if (!vq->served && vq_ready(vq))
		vq_kick(vq);
}

static void server_run_update(struct loop_task *t)
{
	server_update(container_of(t, struct vqueue, serve_task));
}

bool vq_serve_by(struct vqueue *vq, struct vq_server *s)
{
	if (vq->server != s)
		server_stop(vq);
	vq->server = s;
	server_update(vq);
	return vq->served;
}

void vq_interrupt(struct vqueue *vq)
{
	if (atomic_load(&vq->v->fn.master))
		vdev_queue_interrupt(vq);
}

/* --- start, pause, stop --- */

/* Run `t` on the queue's loop: now if this is its thread, else soon. */
static void queue_run_on_loop(struct vqueue *vq, struct loop_task *t)
{
	if (loop_is_mine(vq->loop))
		t->fn(t);
	else
		loop_post(vq->loop, t);
}

static void ring_run_stale(struct loop_task *t)
{
	struct vqueue *vq = container_of(t, struct vqueue, stale_task);

	/* A vhost back end was stopped for the change of memory before this task runs. If it serves
	 * the queue again, the areas have been pinned since the change. */
	if (!vq->served)
		ring_unmap_stale(vq);
}

static void ring_mark_stale(struct gmem_holder *h)
{
	struct vqueue *vq = container_of(h, struct vqueue, holder);

	if (vq->live)
		queue_run_on_loop(vq, &vq->stale_task);
}

static void queue_run_start(struct loop_task *t)
{
	struct vqueue *vq = container_of(t, struct vqueue, start_task);

	if (atomic_load(&vq->state) != VQ_STOPPED)
		return;
	vq->ring->start(vq);
	vq->turn = 0;
	if (pool_start(vq) < 0 || ring_map(vq) < 0) {
		vdev_break(vq->v, "queue %u: the ring could not be mapped", vq->index);
		return;
	}
	vq->drained = false;
	loop_poller_add(vq->loop, &vq->poller);
	atomic_store(&vq->state, atomic_load(&vq->v->state->held) ? VQ_PAUSED : VQ_RUNNING);
	/* This also kicks the device: the guest may have added chains already. */
	server_update(vq);
}

void vq_master_changed(struct vqueue *vq)
{
	/* A queue keeps its position in the ring while bus mastering is off. */
	queue_run_on_loop(vq, &vq->serve_task);
}

void vq_start(struct vqueue *vq)
{
	vq->live = true;
	vq->ring = vdev_ring(vq->v);
	vq->num = vq->size;
	vq->event_idx = vdev_has(vq->v, VIRTIO_F_EVENT_IDX);
	vq->indirect = vdev_has(vq->v, VIRTIO_F_INDIRECT_DESC);
	vq->in_order = vdev_has(vq->v, VIRTIO_F_IN_ORDER);
	queue_run_on_loop(vq, &vq->start_task);
}

static void queue_run_stop(struct loop_task *t)
{
	struct vqueue *vq = container_of(t, struct vqueue, stop_task);
	int state = atomic_load(&vq->state);
	unsigned asked = 0;

	if (state == VQ_RUNNING || state == VQ_PAUSED) {
		server_stop(vq);
		atomic_store(&vq->state, VQ_STOPPING);
		/* quiesce() may drop the last chain in flight. Keep that from reporting the stop
		 * while quiesce() is still running. */
		asked = vq->report;
		vq->report = 0;
		if (vq->v->ops->quiesce)
			vq->v->ops->quiesce(vq);
	}
	vq->report = asked | REPORT_STOP;
	queue_report_if_idle(vq);
}

void vq_stop(struct vqueue *vq)
{
	vq->want_stop = vq->stop_asked = true;
	queue_run_on_loop(vq, &vq->stop_task);
}

static void queue_run_pause(struct loop_task *t)
{
	struct vqueue *vq = container_of(t, struct vqueue, pause_task);

	if (atomic_load(&vq->state) == VQ_RUNNING)
		atomic_store(&vq->state, VQ_PAUSED);
	server_stop(vq);
	vq->report |= REPORT_PAUSE;
	queue_report_if_idle(vq);
}

void vq_pause(struct vqueue *vq)
{
	vq->want_pause = true;
	queue_run_on_loop(vq, &vq->pause_task);
}

static void queue_run_resume(struct loop_task *t)
{
	struct vqueue *vq = container_of(t, struct vqueue, resume_task);

	if (atomic_load(&vq->state) != VQ_PAUSED)
		return;
	atomic_store(&vq->state, VQ_RUNNING);
	server_update(vq);
}

void vq_resume(struct vqueue *vq)
{
	queue_run_on_loop(vq, &vq->resume_task);
}

static void queue_run_idle(struct loop_task *t)
{
	vdev_queue_idle(container_of(t, struct vqueue, idle_task));
}

struct vqueue *vq_new(struct vdev *v, unsigned index, unsigned size, struct loop *loop)
{
	struct vqueue *vq = calloc(1, sizeof(*vq));

	if (!vq)
		return NULL;
	vq->v = v;
	vq->loop = loop;
	vq->index = (uint16_t)index;
	vq->size = vq->size_max = (uint16_t)size;
	atomic_store(&vq->vector, VIRTIO_NO_VECTOR);
	vq->poller = (struct loop_poller){
		.look = queue_poll, .begin = queue_poll_begin, .end = queue_poll_end};
	vq->kick_task.fn = queue_run_kick;
	vq->flush_task.fn = queue_run_publish;
	vq->start_task.fn = queue_run_start;
	vq->stop_task.fn = queue_run_stop;
	vq->pause_task.fn = queue_run_pause;
	vq->resume_task.fn = queue_run_resume;
	vq->serve_task.fn = server_run_update;
	vq->stale_task.fn = ring_run_stale;
	pool_init(vq);
	vq->holder.stale = ring_mark_stale;
	gmem_holder_add(v->hv->mem, &vq->holder);
	atomic_store(&vq->kick_fd, -1);
	vq->idle_task.fn = queue_run_idle;
	return vq;
}

void vq_free(struct vqueue *vq)
{
	if (!vq)
		return;
	loop_poller_del(&vq->poller);
	gmem_holder_del(&vq->holder);
	ring_unmap(vq);
	pool_free(vq);
	free(vq);
}
