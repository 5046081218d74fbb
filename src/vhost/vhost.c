/* SPDX-License-Identifier: MIT */
/* vhost.c - see vhost.h
 *
 * Owns the descriptor and three eventfds per queue: kick (doorbells, written by virtio/), call (the
 * kernel has used chains) and err (the kernel reports an error). A queue is set up anew each time
 * it is handed over: number of entries, position, addresses. The position comes back with
 * VHOST_GET_VRING_BASE, which waits until the kernel's thread has left the queue; the used index is
 * in guest memory.
 *
 * The kernel copies through the addresses in the memory table and pins no page, so Xen's foreign
 * mappings can be used. A table is valid until the domain's memory changes: memory_stale(), called
 * within gmem_invalidate(), stops the queues, and SETTLE_NS after the last change all memory is
 * mapped and the queues are handed over again.
 *
 * The kernel's thread for a descriptor has the rights of the process when it becomes the owner. So
 * that happens at the first start, after the process has given up its own rights.
 *
 * Fails: when the kernel refuses an ioctl, the device serves the queue itself.
 *
 * #syscalls: open fcntl eventfd2 read write close
 */
#include "vhost/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "vhost/kernel.h"

/* To map all memory takes long, and a guest that balloons changes its memory hundreds of times. So
 * it is mapped this long after the last change, ... */
#define SETTLE_NS   (100 * 1000000ULL)
#define SETTLE_PART 10 /* ... but not before SETTLE_PART times the time that mapping takes */

struct vhost_queue {
	struct vq_server server; /* this queue closes its kick_fd */
	struct vhost *vh;
	struct vqueue *vq;
	unsigned index;
	int call, err;
	struct loop_fd call_watch, err_watch;
	bool ready; /* was set up and has not been taken back */
};

struct vhost {
	int fd;
	struct vdev *v;
	const struct vhost_ops *ops;
	void *ctx;
	uint64_t offered;
	struct gmem_whole memory;
	struct loop_timer settle;
	uint64_t map_ns;	  /* longest time that mapping all memory has taken */
	struct loop_task failure; /* takes all queues back, not from within one's own event */
	unsigned failed;	  /* the queue that `failure` is about */
	bool owned;		  /* VHOST_SET_OWNER was done */
	bool started;
	bool running; /* ops->all(true) */
	unsigned queues;
	struct vhost_queue q[];
};

/* --- one queue --- */

static int queues_set_running(struct vhost *vh, bool on)
{
	int rc;

	if (vh->running == on)
		return 0;
	for (unsigned i = 0; i < vh->queues && on; i++)
		if (!vh->q[i].ready)
			return 0;
	rc = vh->ops->all(vh, on);
	if (!rc)
		vh->running = on;
	return rc;
}

static int queue_set_running(struct vhost_queue *q, bool on)
{
	struct vhost *vh = q->vh;

	return vh->ops->queue ? vh->ops->queue(vh, q->index, on) : queues_set_running(vh, on);
}

static int server_start(struct vq_server *s, const struct vq_where *w)
{
	struct vhost_queue *q = container_of(s, struct vhost_queue, server);
	int rc = kvhost_set_ring(q->vh->fd, q->index, w);

	if (!rc)
		rc = kvhost_set_fds(q->vh->fd, q->index, s->kick_fd, q->call, q->err);
	if (!rc) {
		q->ready = true;
		rc = queue_set_running(q, true);
	}
	if (rc < 0) {
		q->ready = false;
		log_warn("%s: queue %u stays in user space: vhost refuses it: %s",
			 vdev_name(q->vh->v), vq_index(q->vq), strerror(-rc));
	}
	return rc;
}

static uint16_t server_stop(struct vq_server *s)
{
	struct vhost_queue *q = container_of(s, struct vhost_queue, server);
	uint16_t next;
	eventfd_t n;
	int rc;

	queue_set_running(q, false);
	q->ready = false;
	rc = kvhost_get_base(q->vh->fd, q->index, &next);
	if (rc < 0)
		log_err("%s: queue %u: vhost does not say where it stopped: %s",
			vdev_name(q->vh->v), vq_index(q->vq), strerror(-rc));
	kvhost_set_fds(q->vh->fd, q->index, -1, -1, -1);
	/* The kernel may have signalled an interrupt that the loop has not read yet. */
	if (!eventfd_read(q->call, &n))
		vq_interrupt(q->vq);
	eventfd_read(s->kick_fd, &n);
	eventfd_read(q->err, &n);
	return next;
}

static void call_ready(struct loop_fd *w, uint32_t events)
{
	struct vhost_queue *q = container_of(w, struct vhost_queue, call_watch);
	eventfd_t n;

	if (!eventfd_read(q->call, &n))
		vq_interrupt(q->vq);
}

static void err_ready(struct loop_fd *w, uint32_t events)
{
	struct vhost_queue *q = container_of(w, struct vhost_queue, err_watch);
	eventfd_t n;

	if (eventfd_read(q->err, &n) < 0 || !q->ready)
		return;
	q->vh->failed = q->index;
	loop_defer(q->vh->v->exits, &q->vh->failure);
}

/* --- all queues --- */

static void queues_hand_over(struct vhost *vh, bool on)
{
	for (unsigned i = 0; i < vh->queues; i++)
		if (vh->q[i].vq)
			vq_serve_by(vh->q[i].vq, on ? &vh->q[i].server : NULL);
}

static int memory_set(struct vhost *vh, struct err *e)
{
	const struct gmem_region *r;
	uint64_t begin = now_ns();
	int n = gmem_whole_map(vh->v->hv->mem, &vh->memory, &r, e), rc;

	vh->map_ns = MAX(vh->map_ns, now_ns() - begin);
	if (n < 0)
		return n;
	rc = kvhost_set_memory(vh->fd, r, (unsigned)n);
	return rc < 0 ? err_set(e, rc, "vhost refuses the guest's memory of %d pieces: %s", n,
				strerror(-rc))
		      : 0;
}

/* Called within gmem_invalidate(): when it returns, the kernel must not use any queue. */
static void memory_stale(struct gmem_whole *w)
{
	struct vhost *vh = container_of(w, struct vhost, memory);

	queues_hand_over(vh, false);
	loop_timer_set(vh->v->exits, &vh->settle, MAX(SETTLE_NS, SETTLE_PART * vh->map_ns));
}

static void memory_settled(struct loop_timer *t)
{
	struct vhost *vh = container_of(t, struct vhost, settle);
	struct err e;

	if (!vh->started)
		return;
	if (memory_set(vh, &e) < 0)
		log_guest(&vh->v->fn.rate, vdev_name(vh->v),
			  "vhost is not used until the guest's memory changes again: %s", e.text);
	else
		queues_hand_over(vh, true);
}

static void failure_handle(struct loop_task *t)
{
	struct vhost *vh = container_of(t, struct vhost, failure);

	if (!vh->started)
		return;
	log_guest(&vh->v->fn.rate, vdev_name(vh->v), "queue %u: vhost cannot go on with the ring",
		  vq_index(vh->q[vh->failed].vq));
	/* The cause may be a page that the guest got back (it balloons up), which Xen does not
	 * report: have all memory mapped again. gmem_invalidate() calls memory_stale(), which takes
	 * the queues back. */
	gmem_invalidate(vh->v->hv->mem);
	if (vh->ops->failed)
		vh->ops->failed(vh, vh->failed);
}

int vhost_start(struct vhost *vh, uint64_t features, struct err *e)
{
	int rc;

	if (features & ~vh->offered)
		return err_set(e, -ENOTSUP, "vhost does not have the features 0x%llx",
			       (unsigned long long)(features & ~vh->offered));
	if (!vh->owned) {
		rc = kvhost_own(vh->fd);
		if (rc < 0)
			return err_set(e, rc, "vhost refuses its owner: %s", strerror(-rc));
		vh->owned = true;
	}
	rc = kvhost_set_features(vh->fd, features);
	if (rc < 0)
		return err_set(e, rc, "vhost refuses the features 0x%llx: %s",
			       (unsigned long long)features, strerror(-rc));
	rc = memory_set(vh, e);
	if (rc < 0) {
		gmem_whole_drop(vh->v->hv->mem, &vh->memory);
		return rc;
	}
	vh->started = true;
	queues_hand_over(vh, true);
	return 0;
}

void vhost_stop(struct vhost *vh)
{
	if (!vh->started)
		return;
	queues_hand_over(vh, false);
	vh->started = false;
	loop_timer_del(&vh->settle);
	gmem_whole_drop(vh->v->hv->mem, &vh->memory);
}

/* --- set-up --- */

int vhost_memory_ok(struct hv *hv, struct err *e)
{
	struct gmem_whole probe = {0};
	const struct gmem_region *r;
	int n = gmem_whole_map(hv->mem, &probe, &r, e);

	gmem_whole_drop(hv->mem, &probe);
	return n < 0 ? n : 0;
}

int vhost_open(const char *path, const char *passed, struct err *e)
{
	uint64_t n;
	int fd;

	if (!passed) {
		fd = open(path, O_RDWR | O_CLOEXEC);
		return fd < 0 ? err_set(e, -errno, "could not open %s: %s", path, strerror(errno))
			      : fd;
	}
	if (parse_uint(passed, &n) < 0 || n > INT_MAX)
		return err_set(e, -EINVAL, "'%s' is not the number of a file descriptor", passed);
	fd = (int)n;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_set(e, -errno, "Can't use file descriptor %d: %s", fd, strerror(errno));
	return fd;
}

static int queue_init(struct vhost *vh, unsigned index)
{
	struct vhost_queue *q = &vh->q[index];
	int rc;

	q->vh = vh;
	q->index = index;
	q->server.start = server_start;
	q->server.stop = server_stop;
	q->server.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->server.kick_fd < 0 || q->call < 0 || q->err < 0)
		return -errno;
	rc = loop_fd_add(vh->v->exits, &q->call_watch, q->call, EPOLLIN, call_ready);
	return rc ? rc : loop_fd_add(vh->v->exits, &q->err_watch, q->err, EPOLLIN, err_ready);
}

struct vhost *vhost_new(int fd, struct vdev *v, unsigned queues, const struct vhost_ops *ops,
			void *ctx, struct err *e)
{
	struct vhost *vh = calloc(1, sizeof(*vh) + queues * sizeof(vh->q[0]));
	int rc;

	if (!vh) {
		close(fd);
		err_nomem(e);
		return NULL;
	}
	vh->fd = fd;
	vh->v = v;
	vh->ops = ops;
	vh->ctx = ctx;
	vh->queues = queues;
	vh->memory.stale = memory_stale;
	vh->settle.fn = memory_settled;
	vh->failure.fn = failure_handle;
	for (unsigned i = 0; i < queues; i++) {
		vh->q[i].server.kick_fd = vh->q[i].call = vh->q[i].err = -1;
		vh->q[i].call_watch.fd = vh->q[i].err_watch.fd = -1;
	}
	rc = kvhost_get_features(fd, &vh->offered);
	if (rc < 0)
		err_set(e, rc, "descriptor %d cannot be used as vhost: %s", fd, strerror(-rc));
	for (unsigned i = 0; i < queues && !rc; i++) {
		rc = queue_init(vh, i);
		if (rc < 0)
			err_set(e, rc, "no eventfd for vhost: %s", strerror(-rc));
	}
	if (!rc)
		return vh;
	vhost_free(vh);
	return NULL;
}

void vhost_free(struct vhost *vh)
{
	if (!vh)
		return;
	vhost_stop(vh);
	for (unsigned i = 0; i < vh->queues; i++) {
		struct vhost_queue *q = &vh->q[i];

		if (q->call_watch.fd >= 0)
			loop_fd_del(vh->v->exits, &q->call_watch);
		if (q->err_watch.fd >= 0)
			loop_fd_del(vh->v->exits, &q->err_watch);
		if (q->server.kick_fd >= 0)
			close(q->server.kick_fd);
		if (q->call >= 0)
			close(q->call);
		if (q->err >= 0)
			close(q->err);
	}
	close(vh->fd);
	free(vh);
}

void vhost_bind(struct vhost *vh, unsigned index, struct vqueue *vq)
{
	vh->q[index].vq = vq;
}

void *vhost_ctx(const struct vhost *vh)
{
	return vh->ctx;
}

int vhost_fd(const struct vhost *vh)
{
	return vh->fd;
}

uint64_t vhost_features(const struct vhost *vh)
{
	return vh->offered;
}
