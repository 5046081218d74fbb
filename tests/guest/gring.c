/* SPDX-License-Identifier: MIT */
/* gring.c - the driver's side of a ring of either layout, see gvirtio.h */
#include "gring.h"

#include "base/util.h"

static const struct gring_ops *ops(const struct gvq *q)
{
	return q->packed ? &gring_packed : &gring_split;
}

void gvq_init(struct gvirtio *v, struct gvq *q, unsigned index, unsigned size)
{
	const struct gring_ops *o = v->features & GV_F_PACKED ? &gring_packed : &gring_split;
	struct guest *g = v->g;

	*q = (struct gvq){.v = v, .index = index, .vector = GV_NO_VECTOR};
	gv_common_set(v, GV_QSELECT, 2, index);
	q->size = size ? size : gv_common(v, GV_QSIZE, 2);
	if (!q->size || q->size > GVQ_MAX)
		guest_panic("queue %u: size %u", index, q->size);
	q->doorbell = v->notify + (uint64_t)gv_common(v, GV_QNOTIFY_OFF, 2) * v->notify_mult;
	q->indirect = v->features & GV_F_INDIRECT;
	q->event_idx = v->features & GV_F_EVENT_IDX;
	q->in_order = v->features & GV_F_IN_ORDER;
	q->desc_at = guest_alloc(g, 16ULL * q->size, 4096);
	q->avail_at = guest_alloc(g, o->driver_bytes(q->size), 64);
	q->used_at = guest_alloc(g, o->device_bytes(q->size), 4096);
	if (q->indirect)
		q->table_at = guest_alloc(g, 16ULL * GVQ_INDIRECT * q->size, 4096);
	q->free_count = (uint16_t)q->size;
	gvq_locate(q);
	o->start(q);
}

void gvq_locate(struct gvq *q)
{
	struct guest *g = q->v->g;

	q->desc = guest_ptr(g, q->desc_at, 16ULL * q->size);
	if (q->v->features & GV_F_PACKED)
		q->packed = (volatile struct gv_packed *)q->desc;
	q->avail = guest_ptr(g, q->avail_at, ops(q)->driver_bytes(q->size));
	q->used = guest_ptr(g, q->used_at, ops(q)->device_bytes(q->size));
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

/* The table that belongs to chain `id`; both layouts read it (the packed one ignores `next` and
 * counts). */
static struct gseg fill_table(struct gvq *q, unsigned id, const struct gseg *seg, unsigned n_out,
			      unsigned n)
{
	uint64_t at = q->table_at + 16ULL * GVQ_INDIRECT * id;
	volatile struct gv_desc *t = guest_ptr(q->v->g, at, 16ULL * n);

	for (unsigned i = 0; i < n; i++) {
		unsigned flags = gring_flags(i >= n_out, i + 1 < n && !q->packed);

		t[i].addr = seg[i].addr;
		t[i].len = seg[i].len;
		/* The last halves of the two formats: flags and next, or id and flags. */
		t[i].flags = (uint16_t)(q->packed ? id : flags);
		t[i].next = (uint16_t)(q->packed ? flags : i + 1);
	}
	return (struct gseg){at, 16 * n};
}

int gvq_add(struct gvq *q, const struct gseg *seg, unsigned n_out, unsigned n_in, void *cookie)
{
	unsigned n = n_out + n_in, id = q->free_head;
	bool indirect = q->indirect && n > 1 && n <= GVQ_INDIRECT;
	unsigned takes = indirect ? 1 : n;
	struct gseg table;

	if (takes > q->free_count)
		return -1;
	q->chain_len[id] = (uint16_t)takes;
	q->cookie[id] = cookie;
	q->free_count = (uint16_t)(q->free_count - takes);
	if (indirect) {
		table = fill_table(q, id, seg, n_out, n);
		ops(q)->fill(q, id, &table, 0, 0);
	} else {
		ops(q)->fill(q, id, seg, n_out, n);
	}
	q->order[q->avail_idx++ % q->size] = (uint16_t)id;
	return (int)id;
}

void gvq_ring(struct gvq *q)
{
	q->kicks++;
	guest_store_async(q->v->g, q->doorbell, 2, q->index);
}

void gvq_kick(struct gvq *q)
{
	if (q->kicked_idx == q->avail_idx)
		return;
	if (ops(q)->publish(q))
		gvq_ring(q);
	q->kicked_idx = q->avail_idx;
}

bool gvq_get(struct gvq *q, uint32_t *len, void **cookie)
{
	uint32_t id, written = 0;

	if (!q->in_batch) {
		if (!ops(q)->peek(q, &id, &q->batch_len))
			return false;
		if (id >= q->size || !q->chain_len[id])
			guest_panic(
				"queue %u: the device returned chain %u, which it does not have",
				q->index, id);
		q->batch_end = (uint16_t)id;
		q->in_batch = true;
	}
	/* One entry may stand for all chains up to its own (§2.7.9). */
	id = q->in_order ? q->order[q->order_at++ % q->size] : q->batch_end;
	if (!q->chain_len[id])
		guest_panic(
			"queue %u: the device returned chain %u, which is not the next in order",
			q->index, q->batch_end);
	if (id == q->batch_end) {
		written = q->batch_len;
		q->in_batch = false;
	}
	if (len)
		*len = written;
	if (cookie)
		*cookie = q->cookie[id];
	q->used_idx++;
	ops(q)->pass(q, id);
	q->free_count = (uint16_t)(q->free_count + q->chain_len[id]);
	q->chain_len[id] = 0;
	ops(q)->ask(q);
	return true;
}

bool gvq_interrupts_on(struct gvq *q)
{
	uint32_t id, len;

	q->no_interrupts = false;
	ops(q)->ask(q);
	/* Pairs with the device's barrier between its used index (packed: flags) and its look at
	 * what we have just written. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return q->in_batch || ops(q)->peek(q, &id, &len);
}

uint16_t gvq_used_idx(const struct gvq *q)
{
	uint32_t id, len;
	struct gvq look;

	if (!q->packed)
		return __atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE);
	/* Go through the used descriptors; each says how far it is to the next one. */
	look = *q;
	while ((uint16_t)(look.used_idx - q->used_idx) < q->size &&
	       gring_packed.peek(&look, &id, &len) && id < q->size && q->chain_len[id]) {
		gvq_passed(&look, q->chain_len[id]);
		look.used_idx++;
	}
	return look.used_idx;
}

void gvq_ask(struct gvq *q, unsigned ahead)
{
	unsigned at = q->last + ahead;
	bool wrap = q->last_wrap;

	if (!q->packed) {
		*gvq_used_event(q) = (uint16_t)(q->used_idx + ahead);
		return;
	}
	if (at >= q->size) {
		at -= q->size;
		wrap = !wrap;
	}
	q->avail[0] = (uint16_t)(at | (wrap ? 0x8000 : 0));
	__atomic_store_n(&q->avail[1], 2, __ATOMIC_RELEASE);
}

uint32_t gvq_wait(struct gvq *q, void **cookie)
{
	uint32_t len = 0;

	if (!guest_wait(q->v->g, gvq_get(q, &len, cookie)))
		guest_panic("queue %u: no answer (used %u, available %u, status 0x%x)", q->index,
			    gvq_used_idx(q), q->avail_idx, gv_status(q->v));
	return len;
}
