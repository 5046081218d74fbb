/* SPDX-License-Identifier: MIT */
/* gring_split.c - the driver's side of a split ring, see gvirtio.h */
#include "gring.h"

static uint64_t driver_bytes(unsigned size)
{
	return 6 + 2ULL * size;
}

static uint64_t device_bytes(unsigned size)
{
	return 6 + 8ULL * size;
}

static void start(struct gvq *q)
{
	for (unsigned i = 0; i < q->size; i++)
		q->desc[i].next = (uint16_t)(i + 1);
}

void gvq_desc(struct gvq *q, unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	q->desc[i].addr = addr;
	q->desc[i].len = len;
	q->desc[i].flags = (uint16_t)flags;
	q->desc[i].next = (uint16_t)next;
}

static void put_head(struct gvq *q, unsigned head)
{
	q->avail[2 + q->avail_idx % q->size] = (uint16_t)head;
}

void gvq_push_head(struct gvq *q, unsigned head)
{
	put_head(q, head);
	q->avail_idx++;
}

void gvq_publish(struct gvq *q, uint16_t idx)
{
	/* The entries before the index; x86 orders the stores, the compiler must too. */
	__atomic_store_n(&q->avail[1], idx, __ATOMIC_RELEASE);
}

/* The descriptors are linked in the free list already. `n` 0: an indirect table. */
static void fill(struct gvq *q, unsigned id, const struct gseg *seg, unsigned n_out, unsigned n)
{
	unsigned d = id;

	for (unsigned i = 0; i == 0 || i < n; i++) {
		unsigned flags = n ? gring_flags(i >= n_out, i + 1 < n) : GV_DESC_INDIRECT;

		gvq_desc(q, d, seg[i].addr, seg[i].len, flags, q->desc[d].next);
		d = q->desc[d].next;
	}
	q->free_head = (uint16_t)d;
	put_head(q, id);
}

static bool publish(struct gvq *q)
{
	uint16_t from = q->kicked_idx, to = q->avail_idx;

	gvq_publish(q, to);
	/* Pairs with the device's barrier between asking for notifications and looking at the index
	 * again. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->event_idx)
		return (uint16_t)(to - *gvq_avail_event(q) - 1) < (uint16_t)(to - from);
	return !(q->used[0] & 1);
}

volatile struct gv_used *gvq_used(struct gvq *q, uint16_t idx)
{
	return (volatile struct gv_used *)(q->used + 2) + idx % q->size;
}

volatile uint16_t *gvq_used_event(struct gvq *q)
{
	return q->avail + 2 + q->size;
}

volatile uint16_t *gvq_avail_event(struct gvq *q)
{
	return q->used + 2 + 4 * q->size;
}

static bool peek(const struct gvq *q, uint32_t *id, uint32_t *len)
{
	volatile struct gv_used *u = gvq_used((struct gvq *)q, q->used_idx);

	if (__atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE) == q->used_idx)
		return false;
	*id = u->id;
	*len = u->len;
	return true;
}

static void pass(struct gvq *q, unsigned id)
{
	unsigned d = id;

	for (unsigned i = 1; i < q->chain_len[id]; i++)
		d = q->desc[d].next;
	q->desc[d].next = q->free_head;
	q->free_head = (uint16_t)id;
}

static void ask(struct gvq *q)
{
	if (q->event_idx)
		*gvq_used_event(q) = q->no_interrupts ? (uint16_t)(q->used_idx - 1) : q->used_idx;
	else
		q->avail[0] = q->no_interrupts;
}

const struct gring_ops gring_split = {
	.driver_bytes = driver_bytes,
	.device_bytes = device_bytes,
	.start = start,
	.fill = fill,
	.publish = publish,
	.peek = peek,
	.pass = pass,
	.ask = ask,
};
