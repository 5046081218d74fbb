/* SPDX-License-Identifier: MIT */
/* block.c - the disks of the machine: names, attachment, queues, and what QMP asks
 *
 * Threads: the functions are called on the control thread, if block.h does not say otherwise. While
 * a device is attached its disk does not change, so the loops read it without a lock. The counters
 * of the loops are read here while they may change.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "block/internal.h"

struct blocks *blocks_new(void)
{
	struct blocks *bs = calloc(1, sizeof(*bs));

	if (!bs)
		return NULL;
	list_init(&bs->all);
	list_init(&bs->images);
	list_init(&bs->engines);
	return bs;
}

void blocks_free(struct blocks *bs)
{
	if (!bs)
		return;
	/* The workers must end first, as they use the engines. */
	workers_free(bs->pool);
	list_for_each (it, &bs->engines)
		engine_free(list_entry(it, struct engine, link));
	list_for_each (it, &bs->all)
		list_entry(it, struct block, link)->child = NULL;
	list_for_each (it, &bs->all)
		block_free(list_entry(it, struct block, link));
	free(bs);
}

struct block *block_new(struct blocks *bs, struct image *img, const char *driver)
{
	struct block *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->bs = bs;
	b->driver = driver;
	b->img = img;
	if (img) {
		img->refs++;
		b->size = img->size;
		b->read_only = img->read_only;
		if (list_empty(&img->link))
			list_add_tail(&bs->images, &img->link);
	}
	list_init(&b->queues);
	atomic_init(&b->write_cache, true);
	if (img)
		atomic_init(&b->errors_told, atomic_load(&img->sync_errors));
	list_add_tail(&bs->all, &b->link);
	return b;
}

void block_free(struct block *b)
{
	if (!b)
		return;
	if (b->child)
		b->child->parents--;
	list_del(&b->link);
	image_unref(b->img);
	free(b->id);
	free(b->node_name);
	free(b->user);
	free(b);
}

struct block *block_find(struct blocks *bs, const char *name)
{
	struct block *node = NULL;

	list_for_each (it, &bs->all) {
		struct block *b = list_entry(it, struct block, link);

		if (b->id && !strcmp(b->id, name))
			return b;
		if (b->node_name && !strcmp(b->node_name, name))
			node = b;
	}
	return node;
}

struct block *block_next(struct blocks *bs, const struct block *b)
{
	struct list *next = b ? b->link.next : bs->all.next;

	return next == &bs->all ? NULL : list_entry(next, struct block, link);
}

int blocks_del_node(struct blocks *bs, const char *node_name, struct err *e)
{
	struct block *b = block_find(bs, node_name);

	if (!b || (b->id && !strcmp(b->id, node_name)))
		return err_set(e, -ENOENT, "Failed to find node with node-name='%s'", node_name);
	if (b->id)
		return err_set(e, -EBUSY, "Node %s is in use by drive '%s'", node_name, b->id);
	if (b->user)
		return err_set(e, -EBUSY, "Node %s is in use by device '%s'", node_name, b->user);
	if (b->parents)
		return err_set(e, -EBUSY, "Node '%s' is busy: another node is built on it",
			       node_name);
	block_free(b);
	return 0;
}

/* --- attachment --- */

/* Compute the permissions that all devices on this image need together. `extra` counts as attached,
 * with `share_rw`. */
static void image_permissions(const struct block *extra, const struct image *img, bool share_rw,
			      unsigned *perm, unsigned *unshared)
{
	*perm = *unshared = 0;
	list_for_each (it, &extra->bs->all) {
		const struct block *b = list_entry(it, struct block, link);

		if (b->img != img || (b != extra && !b->user))
			continue;
		*perm |= PERM_CONSISTENT_READ | (b->read_only ? 0 : PERM_WRITE);
		if (b == extra ? !share_rw : !b->share_rw)
			*unshared |= PERM_WRITE;
	}
}

/* Check for a conflict with other devices of this process on the same image, which the image locks
 * do not detect. */
static int block_check_sharing(const struct block *b, const struct block_use *use, struct err *e)
{
	list_for_each (it, &b->bs->all) {
		const struct block *o = list_entry(it, struct block, link);

		if (o == b || o->img != b->img || !o->user)
			continue;
		if ((!b->read_only && !o->share_rw) || (!o->read_only && !use->share_rw))
			return err_set(
				e, -EBUSY,
				"Permission conflict on '%s': device '%s' uses the same image "
				"as '%s' and one of them writes without share-rw=on",
				b->img->path, o->user, use->user);
	}
	return 0;
}

int block_attach(struct block *b, const struct block_use *use, struct err *e)
{
	unsigned perm, unshared;
	char *user;
	int rc;

	if (b->user)
		return err_set(e, -EBUSY, "Drive '%s' is already in use by another device",
			       b->id ? b->id : b->node_name);
	if (!b->img)
		return err_set(e, -ENOMEDIUM, "Device needs media, but drive is empty");
	user = strdup(use->user);
	if (!user)
		return err_nomem(e);
	rc = b->img->kind == IMAGE_NULL ? 0 : block_check_sharing(b, use, e);
	if (!rc) {
		image_permissions(b, b->img, use->share_rw, &perm, &unshared);
		rc = image_lock(b->img, perm, unshared, e);
	}
	if (rc < 0) {
		free(user);
		return rc;
	}
	b->user = user;
	b->share_rw = use->share_rw;
	if (b->img->align > use->block_size || b->base & (b->img->align - 1))
		b->img->rmw = true;
	return 0;
}

void block_detach(struct block *b)
{
	unsigned perm = 0, unshared = 0;

	free(b->user);
	b->user = NULL;
	list_for_each (it, &b->bs->all) {
		const struct block *o = list_entry(it, struct block, link);

		if (o->img == b->img && o->user)
			image_permissions(o, b->img, o->share_rw, &perm, &unshared);
	}
	image_lock(b->img, perm, unshared, NULL);
}

static void stats_add(struct block_stats *s, const struct block_counters *c)
{
	for (unsigned op = 0; op < BLOCK_OPS; op++) {
		s->ops[op] += atomic_load_explicit(&c->ops[op], memory_order_relaxed);
		s->bytes[op] += atomic_load_explicit(&c->bytes[op], memory_order_relaxed);
		s->ns[op] += atomic_load_explicit(&c->ns[op], memory_order_relaxed);
		s->failed[op] += atomic_load_explicit(&c->failed[op], memory_order_relaxed);
	}
	s->highest = MAX(s->highest, atomic_load_explicit(&c->highest, memory_order_relaxed));
}

struct block_queue *block_queue_new(struct block *b, struct loop *l, struct err *e)
{
	struct block_queue *q = calloc(1, sizeof(*q));

	if (!q) {
		err_nomem(e);
		return NULL;
	}
	q->b = b;
	q->en = engine_get(b->bs, l, b->img, e);
	if (!q->en) {
		free(q);
		return NULL;
	}
	list_add_tail(&b->queues, &q->link);
	return q;
}

void block_queue_free(struct block_queue *q)
{
	if (!q)
		return;
	stats_add(&q->b->past, &q->count);
	q->b->last_done = MAX(q->b->last_done, atomic_load(&q->count.last_done));
	list_del(&q->link);
	free(q);
}

bool block_read_only(const struct block *b)
{
	return b->read_only;
}

uint64_t block_size(const struct block *b)
{
	return b->size;
}

bool block_write_cache(const struct block *b)
{
	return atomic_load_explicit(&b->write_cache, memory_order_relaxed);
}

void block_set_write_cache(struct block *b, bool on)
{
	atomic_store_explicit(&b->write_cache, on, memory_order_relaxed);
}

/* --- QMP --- */

void block_info(const struct block *b, struct block_info *out)
{
	static const char *const detect[] = {"off", "on", "unmap"};
	const struct image *img = b->img;

	*out = (struct block_info){
		.id = b->id,
		.node_name = b->node_name,
		.driver = b->driver,
		.user = b->user,
		.detect_zeroes = detect[b->detect],
		.read_only = b->read_only,
		.writeback = block_write_cache(b),
		.size = b->size,
	};
	if (!img)
		return;
	out->filename = img->kind == IMAGE_NULL ? "null-co://" : img->path;
	out->direct = img->direct;
	out->no_flush = img->no_flush;
	out->allocated = image_allocated(img);
}

void block_stats(const struct block *b, struct block_stats *out)
{
	uint64_t last = b->last_done, now = now_ns();

	*out = b->past;
	list_for_each (it, &b->queues) {
		const struct block_queue *q = list_entry(it, struct block_queue, link);

		stats_add(out, &q->count);
		last = MAX(last, atomic_load_explicit(&q->count.last_done, memory_order_relaxed));
	}
	out->idle_ns = last && now > last ? now - last : 0;
}
