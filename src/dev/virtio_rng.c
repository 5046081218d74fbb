/* SPDX-License-Identifier: MIT */
/* virtio_rng.c - virtio-rng-pci: entropy from the host (Virtio 1.3 §5.4)
 *
 * One queue of buffers to fill. A buffer is filled in place, as far as the rate limit, the source
 * and CHAIN_MAX allow, so no memory of the buffer's size is needed. The standard allows a buffer to
 * be filled in part, but not to be returned empty. When no entropy is available, the chain is
 * returned to the ring, and the device waits for the source to become readable, for the next period
 * of the rate limit, or for RETRY_NS; it holds no chain meanwhile.
 *
 * The rate limit is QEMU's: at most max-bytes in each period.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/dev.h"
#include "dev/env.h"
#include "rng/quota.h"
#include "rng/rng.h"
#include "virtio/vdev.h"

#define QUEUE_SIZE 8
#define CHAIN_MAX  (64 * KiB)  /* bytes for one chain */
#define TURN_MAX   (256 * KiB) /* bytes in one turn of the loop */
#define CHAIN_IOV  64
#define RETRY_NS   (10 * 1000000ULL) /* until a source without a descriptor is read again */

struct virtio_rng {
	struct vdev v;
	struct rng_src src;
	struct vqueue *vq;
	struct loop_fd watch;
	bool watching;
	bool ended; /* the source has failed: it is not read again */
	struct loop_timer timer;
	struct rng_quota quota;

	/* options */
	char *rng;
	uint64_t max_bytes, period_ms;
};

static const struct opt rng_dev_options[] = {
	{.name = "rng",
	 .type = OPT_STRING,
	 .at = offsetof(struct virtio_rng, rng),
	 .help = "id of the -object to read from (default: the host kernel's generator)"},
	{.name = "max-bytes",
	 .type = OPT_UINT,
	 .at = offsetof(struct virtio_rng, max_bytes),
	 .def = "0x7fffffffffffffff",
	 .help = "bytes to give in each period"},
	{.name = "period",
	 .type = OPT_UINT,
	 .at = offsetof(struct virtio_rng, period_ms),
	 .def = "65536",
	 .min = 1,
	 .max = UINT32_MAX,
	 .help = "length of a period in ms"},
	OPT_END,
};

static struct virtio_rng *rng_of(struct vdev *v)
{
	return (struct virtio_rng *)v;
}

/* --- waiting --- */

static void stop_waiting(struct virtio_rng *r)
{
	if (r->watching)
		loop_fd_del(vq_loop(r->vq), &r->watch);
	r->watching = false;
	loop_timer_del(&r->timer);
}

static void source_ready(struct loop_fd *w, uint32_t events)
{
	struct virtio_rng *r = container_of(w, struct virtio_rng, watch);

	stop_waiting(r);
	vq_kick(r->vq);
}

static void rng_run_timer(struct loop_timer *t)
{
	vq_kick(container_of(t, struct virtio_rng, timer)->vq);
}

static void wait_for_source(struct virtio_rng *r)
{
	if (r->watching)
		return;
	r->watching = r->src.fd >= 0 &&
		      !loop_fd_add(vq_loop(r->vq), &r->watch, r->src.fd, EPOLLIN, source_ready);
	if (!r->watching)
		loop_timer_set(vq_loop(r->vq), &r->timer, RETRY_NS);
}

/* Returns how many bytes the rate limit allows now. If none, sets the timer to the end of the
 * period. */
static uint64_t rng_allowance(struct virtio_rng *r)
{
	uint64_t now = loop_now(vq_loop(r->vq)), left = rng_quota_left(&r->quota, now);

	if (!left)
		loop_timer_set(vq_loop(r->vq), &r->timer, r->quota.end - now);
	return left;
}

/* --- the queue --- */

/* Fill `c`, in part at least. Returns the number of bytes, or -EAGAIN when none are available now;
 * then the queue is kicked when there are. */
static ssize_t rng_fill_chain(struct virtio_rng *r, struct vchain *c)
{
	struct iovec iov[CHAIN_IOV];
	uint64_t limit = MIN(rng_allowance(r), CHAIN_MAX);
	ssize_t got;
	int n;

	if (!limit)
		return -EAGAIN;
	/* Of a chain with more than CHAIN_IOV segments only the first segment is filled. */
	n = vchain_in(c, 0, limit, iov, CHAIN_IOV);
	if (n < 0)
		n = vchain_in(c, 0, MIN(limit, c->iov[c->n_out].iov_len), iov, CHAIN_IOV);
	if (n <= 0)
		return 0;
	got = rng_src_read(&r->src, iov, (unsigned)n);
	if (got == -EAGAIN) {
		wait_for_source(r);
	} else if (got <= 0) {
		log_err("%s: the entropy source has failed: %s", vdev_name(&r->v),
			got ? strerror((int)-got) : "end of file");
		r->ended = true;
		got = -EAGAIN;
	} else {
		rng_quota_take(&r->quota, (uint64_t)got);
	}
	return got;
}

static void rng_kick(struct vqueue *vq)
{
	struct virtio_rng *r = rng_of(vq_dev(vq));
	uint64_t sum = 0;
	struct vchain *c;

	while (!r->ended && sum < TURN_MAX) {
		ssize_t got;

		c = vq_pop(vq);
		if (!c)
			return;
		got = c->in_len ? rng_fill_chain(r, c) : 0;
		if (got < 0) {
			vq_unpop(vq, c);
			return;
		}
		vq_push(vq, c, (uint32_t)got);
		sum += (uint64_t)got;
	}
	if (!r->ended)
		vq_kick(vq);
}

static void rng_quiesce(struct vqueue *vq)
{
	stop_waiting(rng_of(vq_dev(vq)));
}

/* --- life --- */

static int rng_realize(struct vdev *v, struct dev_env *env, struct err *e)
{
	struct virtio_rng *r = rng_of(v);

	r->src.fd = -1;
	r->timer.fn = rng_run_timer;
	if (!r->max_bytes || r->max_bytes > INT64_MAX)
		return err_set(e, -EINVAL,
			       "'max-bytes' parameter must be positive, and less than 2^63");
	rng_quota_init(&r->quota, r->max_bytes, r->period_ms * 1000000);
	r->vq = vdev_queue_add(v, QUEUE_SIZE, NULL);
	if (!r->vq)
		return err_nomem(e);
	return rng_src_open(&r->src, env->rngs, r->rng, e);
}

static void rng_unrealize(struct vdev *v)
{
	struct virtio_rng *r = rng_of(v);

	stop_waiting(r);
	rng_src_close(&r->src);
}

static const struct vdev_ops rng_ops = {
	.virtio_id = 4,
	.pci_class = 0x00ff00,
	.realize = rng_realize,
	.unrealize = rng_unrealize,
	.kick = rng_kick,
	.quiesce = rng_quiesce,
};

const struct dev_class dev_virtio_rng = {
	.name = "virtio-rng-pci",
	.alias = "virtio-rng",
	.desc = "entropy from the host",
	.size = sizeof(struct virtio_rng),
	.options = rng_dev_options,
	.virtio = &rng_ops,
};
