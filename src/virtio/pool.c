/* SPDX-License-Identifier: MIT */
/* pool.c - the memory for the chains of a queue
 *
 * Chains live in an array with as many slots as the ring has entries. Free slots are reused last-in
 * first-out, so that a queue touches only as much of the array as its depth needs. A chain with
 * more segments than fit into its slot borrows an iov_block. Free blocks stay with the queue, so
 * that a busy queue allocates nothing.
 *
 * Memory that is no longer needed is freed; otherwise a guest could make every chain of every queue
 * long once and keep that memory allocated for ever. A timer, set only while there is memory to
 * free, expires each second. It frees the blocks that were free throughout that second, and all
 * memory of a queue that is stopped or was not popped in that time.
 *
 * All functions run on the queue's loop.
 *
 * #syscalls: madvise
 */
#include <malloc.h>
#include <stdlib.h>

#include "base/util.h"
#include "virtio/internal.h"

#define TRIM_NS	    (1000 * 1000000ULL)
#define SLOTS_FEW   64 /* so few used slots are kept, and need no timer */
#define BLOCKS_MANY 64 /* 1 MiB: after freeing it, malloc_trim() returns it to the kernel */

static void pool_trim_later(struct vqueue *vq)
{
	struct chain_pool *p = &vq->pool;

	if (p->trimming)
		return;
	p->trimming = true;
	p->least = p->n_free;
	p->turn = vq->turn;
	loop_timer_set(vq->loop, &p->timer, TRIM_NS);
}

static void pool_free_blocks(struct chain_pool *p, unsigned n)
{
	bool many = n >= BLOCKS_MANY;

	p->blocks -= n;
	p->n_free -= n;
	while (n--) {
		struct iov_block *b = p->free_blocks;

		p->free_blocks = b->next;
		free(b);
	}
	if (many)
		malloc_trim(0);
}

static bool queue_is_idle(const struct vqueue *vq)
{
	return !vq->inflight && (vq->pool.turn == vq->turn ||
				 atomic_load(&((struct vqueue *)vq)->state) == VQ_STOPPED);
}

/* Return the memory of the slots to the kernel, and have the device free what it keeps for each.
 * Only while no chain is in flight. */
static void pool_forget_slots(struct vqueue *vq)
{
	struct chain_pool *p = &vq->pool;

	mem_forget(p->slots, p->used * sizeof(*p->slots));
	p->used = 0;
	p->free = NULL;
	if (vq->v->ops->idle)
		vq->v->ops->idle(vq);
}

static bool pool_has_spare(const struct chain_pool *p)
{
	return p->blocks || p->used > SLOTS_FEW;
}

/* Timers run between handlers, so no caller holds a pointer into the pool except by chains in
 * flight. */
static void pool_run_trim(struct loop_timer *t)
{
	struct chain_pool *p = container_of(t, struct chain_pool, timer);
	struct vqueue *vq = container_of(p, struct vqueue, pool);
	bool idle = queue_is_idle(vq);

	p->trimming = false;
	pool_free_blocks(p, idle ? p->n_free : p->least);
	if (idle && p->used > SLOTS_FEW)
		pool_forget_slots(vq);
	if (pool_has_spare(p))
		pool_trim_later(vq);
}

void pool_init(struct vqueue *vq)
{
	vq->pool.timer.fn = pool_run_trim;
}

int pool_start(struct vqueue *vq)
{
	struct chain_pool *p = &vq->pool;

	if (p->used > SLOTS_FEW)
		pool_forget_slots(vq);
	free(p->slots);
	p->slots = malloc(vq->num * sizeof(*p->slots));
	p->free = NULL;
	p->used = 0;
	list_init(&p->by_age);
	return p->slots ? 0 : -1;
}

void pool_stop(struct vqueue *vq)
{
	if (pool_has_spare(&vq->pool))
		pool_trim_later(vq);
}

void pool_free(struct vqueue *vq)
{
	loop_timer_del(&vq->pool.timer);
	pool_free_blocks(&vq->pool, vq->pool.n_free);
	free(vq->pool.slots);
}

/* Take the first slot that was not used since pool_forget_slots(). Its memory may not be present
 * yet. */
static struct chain_slot *pool_first_use(struct vqueue *vq)
{
	struct chain_pool *p = &vq->pool;

	if (p->used == SLOTS_FEW)
		pool_trim_later(vq);
	return &p->slots[p->used++];
}

struct vchain *vq_chain_get(struct vqueue *vq)
{
	struct chain_pool *p = &vq->pool;
	struct chain_slot *s = p->free;

	if (s)
		p->free = s->free_next;
	else if (p->used < vq->num)
		s = pool_first_use(vq);
	else
		return NULL;
	s->block = NULL;
	s->places = 0;
	s->done = s->rejected = false;
	if (vq->in_order)
		list_add_tail(&p->by_age, &s->order);
	s->c = (struct vchain){.vq = vq, .iov = s->iov};
	vq->inflight++;
	return &s->c;
}

struct iovec *vq_chain_grow(struct vchain *c)
{
	struct chain_slot *s = container_of(c, struct chain_slot, c);
	struct chain_pool *p = &c->vq->pool;
	struct iov_block *b = p->free_blocks;

	if (b) {
		p->free_blocks = b->next;
		p->n_free--;
		p->least = MIN(p->least, p->n_free);
	} else {
		b = malloc(sizeof(*b));
		if (!b)
			return NULL;
		p->blocks++;
		pool_trim_later(c->vq);
	}
	memcpy(b->iov, s->iov, sizeof(s->iov));
	s->block = b;
	c->iov = b->iov;
	return c->iov;
}

void pool_put(struct vqueue *vq, struct chain_slot *s)
{
	struct chain_pool *p = &vq->pool;

	if (s->block) {
		s->block->next = p->free_blocks;
		p->free_blocks = s->block;
		p->n_free++;
	}
	s->free_next = p->free;
	p->free = s;
	if (vq->in_order)
		list_del(&s->order);
	vq->inflight--;
}
