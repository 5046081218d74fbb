/* SPDX-License-Identifier: MIT */
/* virtio_balloon.c - virtio-balloon-pci: the guest's memory statistics (Virtio 1.3 §5.5)
 *
 * A Xen guest returns memory through Xen's own balloon driver, which the toolstack controls (xl
 * mem-set). This device therefore never asks for memory: num_pages stays 0. If a driver puts pages
 * into the balloon all the same, they are acknowledged and otherwise ignored. The device exists for
 * the statistics queue.
 *
 * On that queue the driver makes one filled buffer available (§5.5.6.3). The device reads it and
 * returns it to the ring with vq_unpop(); when new statistics are wanted it completes the buffer,
 * and the driver fills it again. So the device holds no chain, and a reset waits for nothing. While
 * `seen` is set, the next chain of the ring is the buffer that was read.
 *
 * Everything, including the queues, runs on the exit loop.
 */
#include "dev/virtio_balloon.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "dev/dev.h"
#include "dev/env.h"

#define F_STATS_VQ	 (1ULL << 1)
#define F_DEFLATE_ON_OOM (1ULL << 2)
#define F_PAGE_POISON	 (1ULL << 4)

/* struct virtio_balloon_config, little endian */
#define CFG_ACTUAL 4 /* num_pages before it is always 0 */
#define CFG_POISON 12
#define CFG_LEN	   16
#define PFN_SHIFT  12

enum { INFLATE, DEFLATE, STATS, QUEUES };
#define QUEUE_SIZE  128
#define ENTRY_SIZE  10 /* le16 tag, le64 value */
#define ENTRIES_MAX 64 /* entries of one buffer that are read, with those of unknown tags */

struct virtio_balloon {
	struct vdev v;
	struct loop_timer timer;
	struct balloon_stats stats;
	bool seen;   /* the buffer in the ring was read */
	bool wanted; /* new statistics are wanted */

	/* options */
	bool deflate_on_oom, page_poison, free_page_hint, free_page_reporting;
	uint64_t interval; /* seconds */
};

static const struct opt balloon_options[] = {
	{.name = "guest-stats-polling-interval",
	 .type = OPT_UINT,
	 .at = offsetof(struct virtio_balloon, interval),
	 .def = "0",
	 .max = UINT32_MAX,
	 .help = "seconds between two questions for statistics, 0: never"},
	{.name = "deflate-on-oom",
	 .type = OPT_BOOL,
	 .at = offsetof(struct virtio_balloon, deflate_on_oom),
	 .def = "off",
	 .help = "the guest may take pages out of the balloon when it needs them"},
	{.name = "page-poison",
	 .type = OPT_BOOL,
	 .at = offsetof(struct virtio_balloon, page_poison),
	 .def = "on",
	 .help = "the guest may say what it fills free pages with"},
	{.name = "free-page-hint",
	 .type = OPT_BOOL,
	 .at = offsetof(struct virtio_balloon, free_page_hint),
	 .def = "off",
	 .help = "not supported: only off is accepted"},
	{.name = "free-page-reporting",
	 .type = OPT_BOOL,
	 .at = offsetof(struct virtio_balloon, free_page_reporting),
	 .def = "off",
	 .help = "not supported: only off is accepted"},
	{.name = "qemu-4-0-config-size", .type = OPT_IGNORED},
	OPT_END,
};

static struct virtio_balloon *balloon_of(struct vdev *v)
{
	return (struct virtio_balloon *)v;
}

/* --- statistics --- */

static void stats_forget(struct balloon_stats *s)
{
	for (unsigned i = 0; i < BALLOON_STATS; i++)
		s->value[i] = -1;
	s->updated = 0;
}

static void stats_parse(struct balloon_stats *s, struct vchain *c)
{
	uint8_t entry[ENTRY_SIZE];

	stats_forget(s);
	for (unsigned i = 0; i < ENTRIES_MAX && vchain_pull(c, entry, sizeof(entry)); i++)
		if (get_le16(entry) < BALLOON_STATS)
			s->value[get_le16(entry)] = (int64_t)get_le64(entry + 2);
	s->updated = time(NULL);
}

static void serve_stats(struct virtio_balloon *b, struct vqueue *vq)
{
	struct vchain *c;

	if (b->seen && !b->wanted)
		return;
	c = vq_pop(vq);
	if (c && b->seen) {
		b->seen = b->wanted = false;
		vq_push(vq, c, 0);
		c = vq_pop(vq);
	}
	if (!c)
		return;
	stats_parse(&b->stats, c);
	vq_unpop(vq, c);
	b->seen = true;
}

static void set_timer(struct virtio_balloon *b)
{
	if (b->interval && vdev_running(&b->v))
		loop_timer_set(b->v.exits, &b->timer, b->interval * 1000000000);
	else
		loop_timer_del(&b->timer);
}

static void stats_ask(struct virtio_balloon *b)
{
	b->wanted = true;
	vq_kick(b->v.vq[STATS]);
}

static void stats_run_timer(struct loop_timer *t)
{
	struct virtio_balloon *b = container_of(t, struct virtio_balloon, timer);

	stats_ask(b);
	set_timer(b);
}

/* --- queues --- */

static void balloon_kick(struct vqueue *vq)
{
	struct virtio_balloon *b = balloon_of(vq_dev(vq));
	struct vchain *c;

	if (vq_index(vq) == STATS) {
		serve_stats(b, vq);
		return;
	}
	while ((c = vq_pop(vq)))
		vq_push(vq, c, 0);
}

static void balloon_quiesce(struct vqueue *vq)
{
	if (vq_index(vq) == STATS)
		balloon_of(vq_dev(vq))->seen = false;
}

/* --- for the control plane --- */

struct question {
	struct virtio_balloon *b;
	struct balloon_stats *stats;
	uint64_t number;
};

static void get_stats(void *arg)
{
	struct question *q = arg;

	*q->stats = q->b->stats;
}

void virtio_balloon_stats(struct pci_fn *fn, struct balloon_stats *out)
{
	struct question q = {(struct virtio_balloon *)fn, out};

	loop_call(q.b->v.exits, get_stats, &q);
}

static void get_interval(void *arg)
{
	struct question *q = arg;

	q->number = q->b->interval;
}

uint32_t virtio_balloon_interval(struct pci_fn *fn)
{
	struct question q = {(struct virtio_balloon *)fn};

	loop_call(q.b->v.exits, get_interval, &q);
	return (uint32_t)q.number;
}

static void set_interval(void *arg)
{
	struct question *q = arg;
	bool first = !q->b->interval && q->number;

	q->b->interval = q->number;
	if (first)
		stats_ask(q->b); /* without waiting for the first interval, as QEMU does */
	set_timer(q->b);
}

void virtio_balloon_set_interval(struct pci_fn *fn, uint32_t seconds)
{
	struct question q = {(struct virtio_balloon *)fn, .number = seconds};

	loop_call(q.b->v.exits, set_interval, &q);
}

static void get_held(void *arg)
{
	struct question *q = arg;

	q->number = (uint64_t)get_le32(q->b->v.config + CFG_ACTUAL) << PFN_SHIFT;
}

uint64_t virtio_balloon_held(struct pci_fn *fn)
{
	struct question q = {(struct virtio_balloon *)fn};

	loop_call(q.b->v.exits, get_held, &q);
	return q.number;
}

/* --- life --- */

static void balloon_start(struct vdev *v)
{
	set_timer(balloon_of(v));
}

static void balloon_reset(struct vdev *v)
{
	struct virtio_balloon *b = balloon_of(v);

	loop_timer_del(&b->timer);
	b->seen = b->wanted = false;
	stats_forget(&b->stats);
	memset(v->config, 0, CFG_LEN);
}

static int balloon_realize(struct vdev *v, struct dev_env *env, struct err *e)
{
	struct virtio_balloon *b = balloon_of(v);
	int rc;

	if (b->free_page_hint || b->free_page_reporting)
		return err_set(e, -EINVAL,
			       "%s=on: a Xen guest gives memory back through Xen's balloon driver "
			       "(xl mem-set), only off is accepted",
			       b->free_page_hint ? "free-page-hint" : "free-page-reporting");
	b->timer.fn = stats_run_timer;
	stats_forget(&b->stats);
	rc = vdev_config_init(v, CFG_LEN, e);
	if (rc < 0)
		return rc;
	put_le32(v->config_wmask + CFG_ACTUAL, UINT32_MAX);
	put_le32(v->config_wmask + CFG_POISON, UINT32_MAX);
	for (unsigned i = 0; i < QUEUES; i++)
		if (!vdev_queue_add(v, QUEUE_SIZE, NULL))
			return err_nomem(e);
	v->offered |= F_STATS_VQ;
	if (b->deflate_on_oom)
		v->offered |= F_DEFLATE_ON_OOM;
	if (b->page_poison)
		v->offered |= F_PAGE_POISON;
	return 0;
}

static void balloon_unrealize(struct vdev *v)
{
	loop_timer_del(&balloon_of(v)->timer);
}

static const struct vdev_ops balloon_ops = {
	.virtio_id = 5,
	.pci_class = 0x00ff00,
	.realize = balloon_realize,
	.unrealize = balloon_unrealize,
	.start = balloon_start,
	.reset = balloon_reset,
	.kick = balloon_kick,
	.quiesce = balloon_quiesce,
};

static const struct field balloon_fields[] = {
	FIELD_UINT(struct virtio_balloon, interval, 0, UINT32_MAX),
	FIELD_END,
};

const struct dev_class dev_virtio_balloon = {
	.name = "virtio-balloon-pci",
	.alias = "virtio-balloon",
	.desc = "the guest's memory statistics",
	.size = sizeof(struct virtio_balloon),
	.options = balloon_options,
	.saved = balloon_fields,
	.virtio = &balloon_ops,
};
