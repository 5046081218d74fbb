/* SPDX-License-Identifier: MIT */
/* gring.c - the driver's side of a split ring, see gvirtio.h */
#include "gvirtio.h"

#include "base/util.h"

static uint64_t ring_bytes(unsigned entries, unsigned each)
{
	return 4 + (uint64_t)entries * each + 2;
}

void gvq_init(struct gvirtio *v, struct gvq *q, unsigned index, unsigned size)
{
	struct guest *g = v->g;

	*q = (struct gvq){.v = v, .index = index, .vector = GV_NO_VECTOR};
	gv_common_set(v, GV_QSELECT, 2, index);
	q->size = size ? size : gv_common(v, GV_QSIZE, 2);
	if (!q->size || q->size > GVQ_MAX)
		guest_panic("queue %u: size %u", index, q->size);
	q->doorbell = v->notify + (uint64_t)gv_common(v, GV_QNOTIFY_OFF, 2) * v->notify_mult;
	q->indirect = v->features & GV_F_INDIRECT;
	q->event_idx = v->features & GV_F_EVENT_IDX;
	q->desc_at = guest_alloc(g, 16ULL * q->size, 4096);
	q->avail_at = guest_alloc(g, ring_bytes(q->size, 2), 64);
	q->used_at = guest_alloc(g, ring_bytes(q->size, 8), 4096);
	if (q->indirect)
		q->table_at = guest_alloc(g, 16ULL * GVQ_INDIRECT * q->size, 4096);
	q->desc = guest_ptr(g, q->desc_at, 16ULL * q->size);
	q->avail = guest_ptr(g, q->avail_at, ring_bytes(q->size, 2));
	q->used = guest_ptr(g, q->used_at, ring_bytes(q->size, 8));
	for (unsigned i = 0; i < q->size; i++)
		q->desc[i].next = (uint16_t)(i + 1);
	q->free_count = (uint16_t)q->size;
}

void gvq_program(struct gvq *q)
{
	struct gvirtio *v = q->v;

	gv_common_set(v, GV_QSELECT, 2, q->index);
	gv_common_set(v, GV_QSIZE, 2, q->size);
	gv_common_set(v, GV_QVECTOR, 2, q->vector);
	gv_common_set(v, GV_QDESC, 8, q->desc_at);
	gv_common_set(v, GV_QAVAIL, 8, q->avail_at);
	gv_common_set(v, GV_QUSED, 8, q->used_at);
}

void gvq_setup(struct gvirtio *v, struct gvq *q, unsigned index, unsigned size)
{
	gvq_init(v, q, index, size);
	if (v->pci.vectors)
		q->vector = MIN(index + 1, v->pci.vectors - 1);
	gvq_program(q);
	gv_common_set(v, GV_QENABLE, 2, 1);
}

void gvq_desc(struct gvq *q, unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	q->desc[i].addr = addr;
	q->desc[i].len = len;
	q->desc[i].flags = (uint16_t)flags;
	q->desc[i].next = (uint16_t)next;
}

static void fill(volatile struct gv_desc *d, const struct gseg *seg, bool write, bool more)
{
	d->addr = seg->addr;
	d->len = seg->len;
	d->flags = (uint16_t)((write ? GV_DESC_WRITE : 0) | (more ? GV_DESC_NEXT : 0));
}

static void add_indirect(struct gvq *q, unsigned head, const struct gseg *seg, unsigned n_out,
			 unsigned n)
{
	uint64_t at = q->table_at + 16ULL * GVQ_INDIRECT * head;
	volatile struct gv_desc *t = guest_ptr(q->v->g, at, 16ULL * n);

	for (unsigned i = 0; i < n; i++) {
		fill(&t[i], &seg[i], i >= n_out, i + 1 < n);
		t[i].next = (uint16_t)(i + 1);
	}
	q->desc[head].addr = at;
	q->desc[head].len = 16 * n;
	q->desc[head].flags = GV_DESC_INDIRECT;
}

int gvq_add(struct gvq *q, const struct gseg *seg, unsigned n_out, unsigned n_in, void *cookie)
{
	unsigned n = n_out + n_in, head = q->free_head, d = head;
	bool indirect = q->indirect && n > 1 && n <= GVQ_INDIRECT;
	unsigned takes = indirect ? 1 : n;

	if (takes > q->free_count)
		return -1;
	if (indirect)
		add_indirect(q, head, seg, n_out, n);
	for (unsigned i = 0; i < takes; i++) {
		if (!indirect)
			fill(&q->desc[d], &seg[i], i >= n_out, i + 1 < n);
		d = q->desc[d].next;
	}
	q->free_head = (uint16_t)d;
	q->free_count = (uint16_t)(q->free_count - takes);
	q->chain_len[head] = (uint16_t)takes;
	q->cookie[head] = cookie;
	gvq_push_head(q, head);
	return (int)head;
}

void gvq_push_head(struct gvq *q, unsigned head)
{
	q->avail[2 + q->avail_idx++ % q->size] = (uint16_t)head;
}

void gvq_publish(struct gvq *q, uint16_t idx)
{
	/* The entries before the index; x86 orders the stores, the compiler must too. */
	__atomic_store_n(&q->avail[1], idx, __ATOMIC_RELEASE);
}

void gvq_ring(struct gvq *q)
{
	q->kicks++;
	guest_store_async(q->v->g, q->doorbell, 2, q->index);
}

void gvq_kick(struct gvq *q)
{
	uint16_t from = q->kicked_idx, to = q->avail_idx;
	bool wanted;

	if (from == to)
		return;
	gvq_publish(q, to);
	/* Pairs with the device's barrier between asking for notifications and looking at the index again. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->event_idx)
		wanted = (uint16_t)(to - *gvq_avail_event(q) - 1) < (uint16_t)(to - from);
	else
		wanted = !(q->used[0] & 1);
	q->kicked_idx = to;
	if (wanted)
		gvq_ring(q);
}

uint16_t gvq_used_idx(const struct gvq *q)
{
	return __atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE);
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

bool gvq_get(struct gvq *q, uint32_t *len, void **cookie)
{
	volatile struct gv_used *u;
	unsigned head, d;

	if (gvq_used_idx(q) == q->used_idx)
		return false;
	u = gvq_used(q, q->used_idx++);
	head = u->id;
	if (head >= q->size || !q->chain_len[head])
		guest_panic("queue %u: the device returned chain %u, which it does not have",
			    q->index, head);
	if (len)
		*len = u->len;
	if (cookie)
		*cookie = q->cookie[head];
	d = head;
	for (unsigned i = 1; i < q->chain_len[head]; i++)
		d = q->desc[d].next;
	q->desc[d].next = q->free_head;
	q->free_head = (uint16_t)head;
	q->free_count = (uint16_t)(q->free_count + q->chain_len[head]);
	q->chain_len[head] = 0;
	if (q->event_idx)
		*gvq_used_event(q) = q->no_interrupts ? (uint16_t)(q->used_idx - 1) : q->used_idx;
	else
		q->avail[0] = q->no_interrupts;
	return true;
}

bool gvq_interrupts_on(struct gvq *q)
{
	q->no_interrupts = false;
	if (q->event_idx)
		*gvq_used_event(q) = q->used_idx;
	else
		q->avail[0] = 0;
	/* Pairs with the device's barrier between its used index and its look at what we have just written. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return gvq_used_idx(q) != q->used_idx;
}

uint32_t gvq_wait(struct gvq *q, void **cookie)
{
	uint32_t len = 0;

	if (!guest_wait(q->v->g, gvq_get(q, &len, cookie)))
		guest_panic("queue %u: no answer (used %u, available %u, status 0x%x)", q->index,
			    gvq_used_idx(q), q->avail_idx, gv_status(q->v));
	return len;
}
