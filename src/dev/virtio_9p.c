/* SPDX-License-Identifier: MIT */
/* virtio_9p.c - virtio-9p-pci: a folder of the host as a file system (Virtio 1.3 §5.9 reserves the
 * device; the layout is Linux' include/uapi/linux/virtio_9p.h)
 *
 * There is one queue. A chain holds a 9P message and memory for its answer; the server of src/p9
 * gets both where they are, in the guest's memory, and copies the message into memory of the slot.
 * There is a slot, with a request of the server, for each entry of the ring. The server gives a
 * request back on this queue's loop.
 *
 * When the limits of the export (throttling.*) do not allow a request yet, its chain goes back to
 * the available ring, and so no later one is taken either, until a timer ends.
 *
 * The device has no state that can be saved: the files that the guest has open are descriptors of
 * this process. A guest that has the share mounted while it is saved finds its files closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/dev.h"
#include "dev/env.h"
#include "p9/p9.h"
#include "virtio/vdev.h"

#define QUEUE_SIZE  128
#define F_MOUNT_TAG (1ULL << 0)
#define TAG_MAX	    32 /* as QEMU has it */

struct virtio_9p;

struct p9_slot {
	struct p9_request r;
	struct virtio_9p *d;
	struct vchain *c;
	struct p9_slot *free;
};

struct virtio_9p {
	struct vdev v;
	struct p9_server *server;
	struct vqueue *vq;
	struct loop_timer timer; /* until the limits allow the next request */
	struct p9_slot slots[QUEUE_SIZE], *free;
	uint8_t *messages; /* P9_MESSAGE_MAX bytes for each slot; what was never used takes no
			      memory */

	/* options */
	char *fsdev, *tag;
};

static const struct opt p9_options[] = {
	{.name = "fsdev",
	 .type = OPT_STRING,
	 .at = offsetof(struct virtio_9p, fsdev),
	 .help = "id of the -fsdev to share"},
	{.name = "mount_tag",
	 .type = OPT_STRING,
	 .at = offsetof(struct virtio_9p, tag),
	 .help = "what the guest mounts, at most 31 characters"},
	OPT_END,
};

static struct virtio_9p *p9_of(struct vdev *v)
{
	return (struct virtio_9p *)v;
}

static void request_done(struct p9_request *r, uint32_t written)
{
	struct p9_slot *s = container_of(r, struct p9_slot, r);
	struct vchain *c = s->c;

	s->free = s->d->free;
	s->d->free = s;
	if (written == P9_DROPPED)
		vq_drop(s->d->vq, c);
	else
		vq_push(s->d->vq, c, written);
}

/* Give the chain to the server. False: stop taking more, the server has not taken this one. */
static bool start_request(struct virtio_9p *d, struct vchain *c)
{
	struct p9_slot *s = d->free;
	uint64_t wait = 0;
	int rc;

	s->c = c;
	s->r.out = c->iov;
	s->r.n_out = c->n_out;
	s->r.out_len = c->out_len;
	s->r.in = c->iov + c->n_out;
	s->r.n_in = c->n_in;
	s->r.in_len = c->in_len;
	/* The server may be done with it, and give the slot back, before it returns. */
	d->free = s->free;
	rc = p9_request_start(d->server, &s->r, &wait);
	if (rc == 0)
		return true;
	s->free = d->free;
	d->free = s;
	if (rc == -EAGAIN) {
		vq_unpop(d->vq, c);
		loop_timer_set(vq_loop(d->vq), &d->timer, wait);
		return false;
	}
	vdev_break(&d->v, "a request of %llu bytes with room for an answer of %llu",
		   (unsigned long long)c->out_len, (unsigned long long)c->in_len);
	vq_drop(d->vq, c);
	return false;
}

static void p9_kick(struct vqueue *vq)
{
	struct virtio_9p *d = p9_of(vq_dev(vq));
	struct vchain *c;

	while (d->free && (c = vq_pop(vq)) && start_request(d, c)) {}
	/* Between two parts the driver gets the answers so far, and goes on with them. */
	while (p9_server_submit(d->server))
		vq_publish(vq);
}

static void retry_limited(struct loop_timer *t)
{
	vq_kick(container_of(t, struct virtio_9p, timer)->vq);
}

static void p9_quiesce(struct vqueue *vq)
{
	struct virtio_9p *d = p9_of(vq_dev(vq));

	loop_timer_del(&d->timer);
	p9_server_cancel(d->server);
}

static void p9_reset(struct vdev *v)
{
	p9_server_reset(p9_of(v)->server);
}

static int p9_realize(struct vdev *v, struct dev_env *env, struct err *e)
{
	struct virtio_9p *d = p9_of(v);
	struct p9_fs *fs = d->fsdev ? fsdev_find(env->fsdevs, d->fsdev) : NULL;
	size_t len = d->tag ? strlen(d->tag) : 0;
	int rc;

	d->timer.fn = retry_limited;
	if (!fs)
		return err_set(e, -ENOENT, "9pfs device couldn't find fsdev with the id = %s",
			       d->fsdev ? d->fsdev : "NULL");
	if (!len)
		return err_set(e, -EINVAL, "fsdev with id %s needs mount_tag arguments", d->fsdev);
	if (len > TAG_MAX - 1)
		return err_set(e, -EINVAL,
			       "mount tag '%s' (%zu bytes) is longer than maximum (%u bytes)",
			       d->tag, len, TAG_MAX - 1);
	rc = vdev_config_init(v, 2 + (unsigned)len, e);
	if (rc < 0)
		return rc;
	put_le16(v->config, (uint16_t)len);
	memcpy(v->config + 2, d->tag, len);
	v->offered |= F_MOUNT_TAG;
	d->vq = vdev_queue_add(v, QUEUE_SIZE, NULL);
	d->server = d->vq ? p9_server_new(fs, vq_loop(d->vq)) : NULL;
	d->messages = calloc(QUEUE_SIZE, P9_MESSAGE_MAX);
	if (!d->server || !d->messages)
		return err_nomem(e);
	for (unsigned i = 0; i < QUEUE_SIZE; i++) {
		d->slots[i].d = d;
		d->slots[i].r.done = request_done;
		d->slots[i].r.message = d->messages + (size_t)i * P9_MESSAGE_MAX;
		d->slots[i].free = d->free;
		d->free = &d->slots[i];
	}
	return 0;
}

static void p9_unrealize(struct vdev *v)
{
	struct virtio_9p *d = p9_of(v);

	loop_timer_del(&d->timer);
	p9_server_free(d->server);
	free(d->messages);
}

static const struct vdev_ops p9_ops = {
	.virtio_id = 9,
	.pci_class = 0x000200,
	.realize = p9_realize,
	.unrealize = p9_unrealize,
	.reset = p9_reset,
	.kick = p9_kick,
	.quiesce = p9_quiesce,
};

const struct dev_class dev_virtio_9p = {
	.name = "virtio-9p-pci",
	.alias = "virtio-9p",
	.desc = "a folder of the host, by 9P2000.L",
	.size = sizeof(struct virtio_9p),
	.options = p9_options,
	.virtio = &p9_ops,
};
