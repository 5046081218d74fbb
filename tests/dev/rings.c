/* SPDX-License-Identifier: MIT */
/* rings.c - see rings.h */
#include "rings.h"

const struct layout *layout;

bool ring_packed(void)
{
	return layout->features & GV_F_PACKED;
}

void ring_begin(struct tb *t, uint64_t features)
{
	tb_disk(t, 8 * MiB, "");
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=1%s", layout->props);
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, 1, layout->size, features | layout->features);
	assert_int_equal(t->blk.v.features & layout->features, layout->features);
}

void ring_again(struct tb *t, uint64_t features)
{
	gblk_restart(&t->blk, features | layout->features);
}

void ring_end(struct tb *t)
{
	ring_again(t, GV_F_RING);
	tb_blk_works(t);
	tb_stop(t);
}

struct raw raw_request(struct tb *t)
{
	uint64_t at = guest_alloc(&t->g, 8192, 4096);
	struct raw r = {at, at + 16, at + 512, guest_ptr(&t->g, at, 8192), .n = 0};

	put_le32(r.mem, GBLK_IN);
	r.mem[16] = GBLK_PENDING;
	memset(r.mem + 512, 0xee, 512);
	return r;
}

struct raw raw_long(struct tb *t, unsigned n)
{
	struct raw r = raw_request(t);

	assert_in_range(n, 0, ARRAY_SIZE(r.d) - 2);
	r.d[0] = (struct gv_desc){r.hdr, 16, GV_DESC_NEXT, 1};
	for (unsigned i = 1; i <= n; i++)
		r.d[i] = (struct gv_desc){r.data, 512, GV_DESC_NEXT | GV_DESC_WRITE,
					  (uint16_t)(i + 1)};
	r.d[n + 1] = (struct gv_desc){r.status, 1, GV_DESC_WRITE, 0};
	r.n = n + 2;
	return r;
}

struct raw raw_chain(struct tb *t)
{
	return raw_long(t, 1);
}

void raw_indirect(struct tb *t, struct raw *r, uint64_t table)
{
	uint8_t *to;

	if (!table)
		table = guest_alloc(&t->g, 16 * ARRAY_SIZE(r->d), 16);
	to = guest_ptr(&t->g, table, 16 * r->n);
	for (unsigned i = 0; i < r->n; i++) {
		/* The packed table has the id before the flags, and knows no chain. */
		struct gv_desc d = r->d[i];

		if (ring_packed()) {
			d.next = d.flags & (uint16_t)~GV_DESC_NEXT;
			d.flags = 0;
		}
		memcpy(to + i * sizeof(d), &d, sizeof(d));
	}
	r->d[0] = (struct gv_desc){table, 16 * r->n, GV_DESC_INDIRECT, 0};
	r->n = 1;
}

void raw_add_to(struct gvq *q, const struct raw *r)
{
	unsigned head = q->next, head_flags = 0;

	for (unsigned i = 0; i < r->n; i++) {
		const struct gv_desc *d = &r->d[i];
		unsigned flags = gvq_available(q, d->flags);

		if (!ring_packed()) {
			gvq_desc(q, i, d->addr, d->len, d->flags, d->next);
			continue;
		}
		if (!i)
			head_flags = flags;
		gvq_place(q, d->addr, d->len, i ? flags : q->packed[head].flags, 0);
	}
	if (ring_packed())
		__atomic_store_n(&q->packed[head].flags, (uint16_t)head_flags, __ATOMIC_RELEASE);
	else
		gvq_push_head(q, 0);
}

void raw_add(struct tb *t, const struct raw *r)
{
	raw_add_to(&t->blk.q[0], r);
}

void raw_post_to(struct gvq *q, const struct raw *r)
{
	raw_add_to(q, r);
	if (!ring_packed())
		gvq_publish(q, q->avail_idx);
	gvq_ring(q);
}

void raw_post(struct tb *t, const struct raw *r)
{
	raw_post_to(&t->blk.q[0], r);
}

bool used_grew(struct gvq *q)
{
	return ring_packed() ? gvq_is_used(q) : gvq_used_idx(q) != q->used_idx;
}

uint32_t used_take(struct gvq *q, unsigned places, uint32_t *id)
{
	uint32_t len;

	if (!ring_packed()) {
		*id = gvq_used(q, q->used_idx)->id;
		return gvq_used(q, q->used_idx++)->len;
	}
	*id = q->packed[q->last].id;
	len = q->packed[q->last].len;
	gvq_passed(q, places);
	return len;
}

void expect_broken(struct tb *t)
{
	assert_true(gv_wait_broken(&t->blk.v));
	assert_true(guest_wait(&t->g, gpci_msix_take(&t->blk.v.pci, 0)));
	assert_false(used_grew(&t->blk.q[0]));
	/* It stays silent. */
	gvq_ring(&t->blk.q[0]);
	guest_sync(&t->g);
	assert_false(used_grew(&t->blk.q[0]));
}

void expect_refused(struct tb *t, const struct raw *r)
{
	struct gvq *q = &t->blk.q[0];
	uint32_t id;

	assert_true(guest_wait(&t->g, used_grew(q) || gv_needs_reset(&t->blk.v)));
	if (used_grew(q)) {
		assert_int_equal(used_take(q, r->n, &id), 0);
		assert_int_equal(id, 0);
	}
	assert_int_equal(r->mem[16], GBLK_PENDING);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(r->mem[512 + i], 0xee);
}

void expect_ok(struct tb *t, const struct raw *r)
{
	struct gvq *q = &t->blk.q[0];
	uint32_t id;

	assert_true(guest_wait(&t->g, used_grew(q)));
	assert_in_range(used_take(q, r->n, &id), 513, UINT32_MAX);
	assert_int_equal(id, 0);
	assert_int_equal(r->mem[16], GBLK_OK);
	assert_int_equal(r->mem[512], 0);
}
