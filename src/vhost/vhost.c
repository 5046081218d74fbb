/* SPDX-License-Identifier: MIT */
/* vhost.c - see vhost.h
 *
 * Owns the descriptor and three eventfds per queue: kick (doorbells, written by the core), call
 * (the kernel has used chains) and err (it has given up). A queue is configured anew each time it
 * is handed over: number of entries, position, addresses. The position comes back with
 * VHOST_GET_VRING_BASE, which waits for the kernel's thread to leave the queue; the used index is
 * in guest memory.
 *
 * The kernel copies by the addresses in the memory table and pins nothing, so foreign mappings of
 * Xen will do. A table is good until the domain's memory changes: stale() stops the queues within
 * gmem_invalidate(), and SETTLE_NS after the last change everything is mapped and handed over
 * again.
 *
 * The kernel's thread for a descriptor is made with the rights of the thread that becomes its
 * owner. So that happens at the first start, when the process has given up its own.
 *
 * Fails: an ioctl that the kernel refuses leaves the queue to the device.
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

/* Mapping all memory anew is dear, and a guest that balloons says so hundreds of times. */
#define SETTLE_NS   (100 * 1000000ULL)
#define SETTLE_PART 10 /* and never more than this part of the time goes into it */

struct vhost_queue {
	struct vq_server server; /* kick_fd is ours */
	struct vhost *vh;
	struct vqueue *vq;
	unsigned index;
	int call, err;
	struct loop_fd call_watch, err_watch;
	bool ready; /* set up and not taken back */
};

struct vhost {
	int fd;
	struct vdev *v;
	const struct vhost_ops *ops;
	void *ctx;
	uint64_t offered;
	struct gmem_whole memory;
	struct loop_timer settle;
	uint64_t map_ns;	 /* what mapping everything has taken at most */
	struct loop_task broken; /* to take all queues back, outside of their own events */
	unsigned failed;	 /* queue that it is about */
	bool owned;		 /* VHOST_SET_OWNER was done */
	bool started;
	bool running; /* ops->all(true) */
	unsigned queues;
	struct vhost_queue q[];
};

/* --- one queue --- */

static int call_all(struct vhost *vh, bool on)
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

static int set_going(struct vhost_queue *q, bool on)
{
	struct vhost *vh = q->vh;

	return vh->ops->queue ? vh->ops->queue(vh, q->index, on) : call_all(vh, on);
}

static int server_start(struct vq_server *s, const struct vq_where *w)
{
	struct vhost_queue *q = container_of(s, struct vhost_queue, server);
	int rc = kvhost_set_ring(q->vh->fd, q->index, w);

	if (!rc)
		rc = kvhost_set_fds(q->vh->fd, q->index, s->kick_fd, q->call, q->err);
	if (!rc) {
		q->ready = true;
		rc = set_going(q, true);
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

	set_going(q, false);
	q->ready = false;
	rc = kvhost_get_base(q->vh->fd, q->index, &next);
	if (rc < 0)
		log_err("%s: queue %u: vhost does not say where it stopped: %s",
			vdev_name(q->vh->v), vq_index(q->vq), strerror(-rc));
	kvhost_set_fds(q->vh->fd, q->index, -1, -1, -1);
	/* The last interrupt may be on its way. */
	if (!eventfd_read(q->call, &n))
		vq_interrupt(q->vq);
	eventfd_read(s->kick_fd, &n);
	eventfd_read(q->err, &n);
	return next;
}

static void called(struct loop_fd *w, uint32_t events)
{
	struct vhost_queue *q = container_of(w, struct vhost_queue, call_watch);
	eventfd_t n;

	if (!eventfd_read(q->call, &n))
		vq_interrupt(q->vq);
}

static void gave_up(struct loop_fd *w, uint32_t events)
{
	struct vhost_queue *q = container_of(w, struct vhost_queue, err_watch);
	eventfd_t n;

	if (eventfd_read(q->err, &n) < 0 || !q->ready)
		return;
	q->vh->failed = q->index;
	loop_defer(q->vh->v->exits, &q->vh->broken);
}

/* --- all queues --- */

static void hand_over(struct vhost *vh, bool on)
{
	for (unsigned i = 0; i < vh->queues; i++)
		if (vh->q[i].vq)
			vq_serve_by(vh->q[i].vq, on ? &vh->q[i].server : NULL);
}

static int set_memory(struct vhost *vh, struct err *e)
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

/* The kernel may have a queue in hand when this is called, and has none when it returns. */
static void stale(struct gmem_whole *w)
{
	struct vhost *vh = container_of(w, struct vhost, memory);

	hand_over(vh, false);
	loop_timer_set(vh->v->exits, &vh->settle, MAX(SETTLE_NS, SETTLE_PART * vh->map_ns));
}

static void settled(struct loop_timer *t)
{
	struct vhost *vh = container_of(t, struct vhost, settle);
	struct err e;

	if (!vh->started)
		return;
	if (set_memory(vh, &e) < 0)
		log_guest(&vh->v->fn.rate, vdev_name(vh->v),
			  "vhost is not used until the guest's memory changes again: %s", e.text);
	else
		hand_over(vh, true);
}

static void run_broken(struct loop_task *t)
{
	struct vhost *vh = container_of(t, struct vhost, broken);

	if (!vh->started)
		return;
	log_guest(&vh->v->fn.rate, vdev_name(vh->v), "queue %u: vhost cannot go on with the ring",
		  vq_index(vh->q[vh->failed].vq));
	/* It may be a page that has come back (the guest balloons up), which Xen does not say: have
	 * everything mapped anew. stale() takes the queues back. */
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
	rc = set_memory(vh, e);
	if (rc < 0) {
		gmem_whole_drop(vh->v->hv->mem, &vh->memory);
		return rc;
	}
	vh->started = true;
	hand_over(vh, true);
	return 0;
}

void vhost_stop(struct vhost *vh)
{
	if (!vh->started)
		return;
	hand_over(vh, false);
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
	rc = loop_fd_add(vh->v->exits, &q->call_watch, q->call, EPOLLIN, called);
	return rc ? rc : loop_fd_add(vh->v->exits, &q->err_watch, q->err, EPOLLIN, gave_up);
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
	vh->memory.stale = stale;
	vh->settle.fn = settled;
	vh->broken.fn = run_broken;
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
