/* SPDX-License-Identifier: MIT */
/* gring_packed.c - the driver's side of a packed ring, see gvirtio.h
 *
 * The first descriptor of all that was added since the last kick becomes available last, with the
 * kick.
 */
#include "gring.h"

#define EVENT_DISABLE 1
#define EVENT_DESC    2
#define EVENT_WRAP    0x8000

static uint64_t event_bytes(unsigned size)
{
	return 4;
}

static void start(struct gvq *q)
{
	q->next_wrap = q->last_wrap = true;
	for (unsigned i = 0; i < q->size; i++)
		q->next_id[i] = (uint16_t)(i + 1);
}

static void forward(const struct gvq *q, uint16_t *at, bool *wrap, unsigned by)
{
	unsigned next = *at + by;

	if (next >= q->size) {
		next -= q->size;
		*wrap = !*wrap;
	}
	*at = (uint16_t)next;
}

unsigned gvq_available(const struct gvq *q, unsigned flags)
{
	return flags | (q->next_wrap ? GV_DESC_AVAIL : GV_DESC_USED);
}

void gvq_place(struct gvq *q, uint64_t addr, uint32_t len, unsigned flags, unsigned id)
{
	volatile struct gv_packed *d = &q->packed[q->next];

	d->addr = addr;
	d->len = len;
	d->id = (uint16_t)id;
	__atomic_store_n(&d->flags, (uint16_t)flags, __ATOMIC_RELEASE);
	forward(q, &q->next, &q->next_wrap, 1);
}

static void fill(struct gvq *q, unsigned id, const struct gseg *seg, unsigned n_out, unsigned n)
{
	unsigned head = q->next, head_flags = 0;

	q->free_head = q->next_id[id];
	for (unsigned i = 0; i == 0 || i < n; i++) {
		unsigned flags = n ? gring_flags(i >= n_out, i + 1 < n) : GV_DESC_INDIRECT;

		flags = gvq_available(q, flags);
		if (!i)
			head_flags = flags;
		/* The head keeps the flags that it had: used, or never written. */
		gvq_place(q, seg[i].addr, seg[i].len, i ? flags : q->packed[head].flags, id);
	}
	if (!q->added) {
		q->held_at = (uint16_t)head;
		q->held_flags = (uint16_t)head_flags;
	} else {
		__atomic_store_n(&q->packed[head].flags, (uint16_t)head_flags, __ATOMIC_RELEASE);
	}
	q->added = (uint16_t)(q->added + q->chain_len[id]);
}

static bool publish(struct gvq *q)
{
	uint16_t old = (uint16_t)(q->next - q->added), off, flags;

	__atomic_store_n(&q->packed[q->held_at].flags, q->held_flags, __ATOMIC_RELEASE);
	/* Pairs with the device's barrier between asking for notifications and looking at the ring
	 * again. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	flags = __atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE);
	q->added = 0;
	if (flags != EVENT_DESC)
		return flags != EVENT_DISABLE;
	off = q->used[0];
	if (!!(off & EVENT_WRAP) == q->next_wrap)
		off &= (uint16_t)~EVENT_WRAP;
	else
		off = (uint16_t)((off & ~EVENT_WRAP) - q->size);
	return (uint16_t)(q->next - off - 1) < (uint16_t)(q->next - old);
}

bool gvq_is_used(const struct gvq *q)
{
	uint16_t flags = __atomic_load_n(&q->packed[q->last].flags, __ATOMIC_ACQUIRE);

	return !!(flags & GV_DESC_AVAIL) == q->last_wrap &&
	       !!(flags & GV_DESC_USED) == q->last_wrap;
}

static bool peek(const struct gvq *q, uint32_t *id, uint32_t *len)
{
	if (!gvq_is_used(q))
		return false;
	*id = q->packed[q->last].id;
	*len = q->packed[q->last].len;
	return true;
}

void gvq_passed(struct gvq *q, unsigned places)
{
	forward(q, &q->last, &q->last_wrap, places);
}

static void pass(struct gvq *q, unsigned id)
{
	gvq_passed(q, q->chain_len[id]);
	q->next_id[id] = q->free_head;
	q->free_head = (uint16_t)id;
}

static void ask(struct gvq *q)
{
	if (q->no_interrupts)
		q->avail[1] = EVENT_DISABLE;
	else if (q->event_idx)
		gvq_ask(q, 0);
	else
		q->avail[1] = 0;
}

const struct gring_ops gring_packed = {
	.driver_bytes = event_bytes,
	.device_bytes = event_bytes,
	.start = start,
	.fill = fill,
	.publish = publish,
	.peek = peek,
	.pass = pass,
	.ask = ask,
};
