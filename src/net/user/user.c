/* SPDX-License-Identifier: MIT */
/* user.c - -netdev user: a network of the guest's own, behind the sockets of a helper process
 *
 * libslirp is the other end of the cable: a gateway with DHCP, DNS and TFTP servers whose TCP, UDP
 * and ping traffic becomes ordinary sockets, without rights on the host. It parses what guests and
 * networks send, and has been led to write where they liked; so it does that in a process of its
 * own (helper.h, worker.c), and what is here treats that process as taken over.
 *
 * Frames cross by two rings in shared memory (netring.h), each with its vnet header, so that large
 * TCP segments and checksums that are left to the receiver cross as well. The guest's are copied
 * into the ring, which is also why a guest cannot change one under libslirp; the guest's buffers
 * are filled from the other ring.
 *
 * What comes is checked as much as this side, or the guest's driver, relies on it: positions and
 * lengths by netring.c; the header here, on a copy. What makes no sense ends the worker, and so
 * does a worker that leaves the guest's frames in the ring for some seconds. Then everything that
 * waits is dropped, and the next worker begins with empty rings. As long as a worker has taken
 * nothing, frames that find no room are dropped as well; from then on the guest waits for room.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "net/user/user.h"

/* Looks in a row that find frames waiting and none taken. More than one, as this process may have
 * been stopped together with the other. */
#define STALL_LOOKS 3
#define STALL_NS    1000000000ULL

/* struct virtio_net_hdr, Virtio 1.3 §5.1.6 */
#define HDR_FLAGS      3 /* NEEDS_CSUM, DATA_VALID */
#define HDR_NEEDS_CSUM 1
#define HDR_GSO_TCPV4  1
#define HDR_GSO_TCPV6  4

static struct netq *queue_of(struct user *u)
{
	return &u->nd.queue[0];
}

static void worker_wake(struct user *u)
{
	/* Full: it is awake. No other end: the keeper has died. */
	if (send(u->wake_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {}
}

/* The worker is not to be trusted any more. Nothing of it is looked at until it has ended. */
static void worker_fail(struct user *u, const char *why)
{
	if (u->broken)
		return;
	/* Without a worker there is no end that would set things right. */
	u->broken = helper_kill_worker(u->helper, why);
}

static void rings_reset(struct user *u)
{
	netring_reset(&u->shm->to_net);
	netring_reset(&u->shm->to_guest);
	netring_attach(&u->to_net, &u->shm->to_net);
	netring_attach(&u->to_guest, &u->shm->to_guest);
	u->broken = false;
	u->stale = 0;
	u->fresh = true;
	/* Who listens has been told that there is nothing. */
	netring_sleep(&u->to_guest);
}

static void worker_ended(void *ctx, const char *how, bool again)
{
	struct user *u = ctx;

	rings_reset(u);
	loop_timer_del(&u->stall);
	u->stall_armed = false;
	if (!again) {
		u->broken = true;
		netq_set_carrier(queue_of(u), false);
	}
	worker_wake(u); /* the next one looks at once */
	netq_room(queue_of(u));
}

/* --- from the guest --- */

static void stall_arm(struct user *u)
{
	u->stall_at = netring_taken(&u->to_net);
	u->stall_armed = true;
	loop_timer_set(queue_of(u)->loop, &u->stall, STALL_NS);
}

static void stall_due(struct loop_timer *t)
{
	struct user *u = container_of(t, struct user, stall);
	uint32_t taken = netring_taken(&u->to_net);

	u->stall_armed = false;
	u->stall_looks = taken == u->stall_at ? u->stall_looks + 1 : 0;
	if (taken == u->to_net.own || u->broken)
		return;
	/* A restart may have to wait: frames wait with it, and nobody is to blame. */
	if (!helper_has_worker(u->helper))
		u->stall_looks = 0;
	if (u->stall_looks < STALL_LOOKS) {
		stall_arm(u);
		return;
	}
	worker_fail(u, "it takes no frames");
	netq_room(queue_of(u));
}

/* The frames that were put are on their way. */
static void frames_announce(struct user *u)
{
	if (netring_wakes_taker(&u->to_net))
		worker_wake(u);
	if (u->stall_armed || !queue_of(u)->loop)
		return;
	u->stall_looks = 0;
	stall_arm(u);
}

/* 0: in the ring, or lost as on a cable without its other end. */
static int frame_put(struct user *u, const struct iovec *iov, unsigned n)
{
	size_t len = iov_len(iov, n);
	int rc;

	if (len < NET_HDR_LEN || len > NET_HDR_LEN + NET_FRAME_MAX)
		return -EMSGSIZE;
	if (u->broken)
		return 0;
	rc = netring_put(&u->to_net, iov, n);
	if (rc == -EAGAIN) {
		u->fresh = u->fresh && !u->to_net.other;
		if (u->fresh)
			return 0;
		if (netring_wait_room(&u->to_net)) {
			netq_block(queue_of(u), NETQ_TOLD);
			return -EAGAIN;
		}
		rc = netring_put(&u->to_net, iov, n);
	}
	if (rc < 0)
		worker_fail(u, "its position in the ring makes no sense");
	return 0;
}

static int user_send(struct netq *q, const struct iovec *iov, unsigned n)
{
	struct user *u = (struct user *)q->nd;
	int rc = frame_put(u, iov, n);

	frames_announce(u);
	return rc;
}

static int user_send_batch(struct netq *q, const struct net_frame *f, unsigned n)
{
	struct user *u = (struct user *)q->nd;
	unsigned done = 0;

	while (done < n && (!f[done].n || frame_put(u, f[done].iov, f[done].n) != -EAGAIN))
		done++;
	frames_announce(u);
	return (int)done;
}

/* --- to the guest --- */

/* May the guest have a frame of `len` bytes with this header? 0: it takes none of this kind (any
 * more); -EPROTO: it makes no sense. */
static int header_check(const uint8_t *h, size_t len, unsigned rx)
{
	unsigned flags = h[0], gso = h[1];

	if (flags & ~HDR_FLAGS || (gso && gso != HDR_GSO_TCPV4 && gso != HDR_GSO_TCPV6))
		return -EPROTO;
	if (flags & HDR_NEEDS_CSUM && (size_t)get_le16(h + 6) + get_le16(h + 8) + 2 > len)
		return -EPROTO;
	if (gso && (!(flags & HDR_NEEDS_CSUM) || get_le16(h + 2) > len || !get_le16(h + 4)))
		return -EPROTO;
	if ((flags && !(rx & NET_RX_CSUM)) || (gso == HDR_GSO_TCPV4 && !(rx & NET_RX_TSO4)) ||
	    (gso == HDR_GSO_TCPV6 && !(rx & NET_RX_TSO6)))
		return 0;
	return 1;
}

static void bytes_spread(const struct iovec *iov, unsigned n, const uint8_t *head,
			 const uint8_t *rest, size_t len)
{
	size_t from_head = NET_HDR_LEN;

	for (size_t done = 0; n && len; iov++, n--) {
		for (done = 0; done < iov->iov_len && len;) {
			size_t part = MIN(iov->iov_len - done, from_head ? from_head : len);

			memcpy((uint8_t *)iov->iov_base + done, from_head ? head : rest, part);
			done += part;
			if (from_head) {
				head += part;
				from_head -= part;
			} else {
				rest += part;
			}
			len -= part;
		}
	}
}

static ssize_t frame_take(struct user *u, const struct iovec *iov, unsigned n)
{
	unsigned mode = atomic_load_explicit(&u->mode, memory_order_relaxed);
	const uint8_t *frame;
	uint8_t head[NET_HDR_LEN];
	ssize_t len;
	int ok;

	if (mode != u->mode_seen) {
		u->mode_seen = mode;
		u->stale = 0;
	}
	do {
		len = netring_peek(&u->to_guest, &frame);
		if (len < 0)
			return len;
		memcpy(head, frame, sizeof(head));
		memset(head + 10, 0, 2); /* num_buffers is the device's */
		ok = len < NET_HDR_LEN + ETHER_HDR_LEN
			     ? -EPROTO
			     : header_check(head, (size_t)len - NET_HDR_LEN, mode);
		if (ok < 0)
			return ok;
		if (ok)
			bytes_spread(iov, n, head, frame + sizeof(head), (size_t)len);
		netring_drop(&u->to_guest);
		/* What was in the ring when the guest changed its mind may be of a kind that it does
		 * not take any more; whoever sends more than that keeps us busy on purpose. */
		u->stale += ok ? 0 : (uint32_t)len;
		if (u->stale > NETRING_BYTES)
			return -EPROTO;
	} while (!ok);
	if (netring_wakes_putter(&u->to_guest, false))
		worker_wake(u);
	return len;
}

static ssize_t user_recv(struct netq *q, const struct iovec *iov, unsigned n)
{
	struct user *u = (struct user *)q->nd;
	ssize_t len;

	if (u->broken)
		return -EAGAIN;
	do
		len = frame_take(u, iov, n);
	while (len == -EAGAIN && !netring_sleep(&u->to_guest));
	if (len == -EPROTO) {
		worker_fail(u, "it sends what are no frames");
		return -EAGAIN;
	}
	/* The last one: who listens hears of the next. */
	if (len > 0 && u->to_guest.own == u->to_guest.other)
		netring_sleep(&u->to_guest);
	if (len == -EAGAIN && netring_wakes_putter(&u->to_guest, true))
		worker_wake(u);
	return len;
}

static bool user_pending(struct netq *q)
{
	struct user *u = (struct user *)q->nd;

	return !u->broken && !netring_sleep(&u->to_guest);
}

/* The worker has frames for us, or room. Edge-triggered: however often it rings, this is once per
 * turn of the loop. */
static void on_event(struct loop_fd *w, uint32_t events)
{
	struct user *u = container_of(w, struct user, watch);

	netq_room(queue_of(u));
	netq_ready(queue_of(u));
}

/* --- life --- */

static void mode_set(struct user *u, unsigned on, unsigned off)
{
	atomic_fetch_or(&u->mode, on);
	atomic_fetch_and(&u->mode, ~off);
	atomic_store(&u->shm->mode, atomic_load(&u->mode));
	if ((on | off) & USER_SERVED)
		worker_wake(u);
}

static int user_set_offloads(struct netdev *nd, unsigned rx)
{
	/* What waits and is of a kind that is not wanted any more is dropped when it is met. */
	mode_set((struct user *)nd, rx, ~(rx | USER_SERVED));
	return 0;
}

static int memory_open(struct user *u, struct err *e)
{
	void *p = mmap(NULL, sizeof(*u->shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	int ends[2];

	if (p == MAP_FAILED)
		return err_set(e, -errno, "shared memory: %s", strerror(errno));
	u->shm = p;
	rings_reset(u);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return err_set(e, -errno, "socketpair: %s", strerror(errno));
	u->worker_event = ends[0];
	u->wake_fd = ends[1];
	u->own_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return u->own_event < 0 ? err_set(e, -errno, "eventfd: %s", strerror(errno)) : 0;
}

static int helper_open(struct user *u, struct err *e)
{
	static const char *const copies[] = {"/etc/resolv.conf"};
	char *binds[HELPER_FILES_MAX] = {NULL};
	int fds[] = {u->worker_event, u->own_event}, n, rc;
	bool has_unix = false;
	struct helper_files files = {.fds = fds,
				     .nfds = ARRAY_SIZE(fds),
				     .copies = copies,
				     .ncopies = ARRAY_SIZE(copies),
				     .binds = (const char *const *)binds};

	n = rc = user_binds(u, binds, &has_unix, e);
	if (rc >= 0) {
		files.nbinds = (unsigned)n;
		rc = helper_start(&u->helper, has_unix ? &user_role_unix : &user_role, &files,
				  u->nd.id, u, e);
	}
	for (unsigned i = 0; i < HELPER_FILES_MAX; i++)
		free(binds[i]);
	close(u->worker_event);
	u->worker_event = -1;
	/* No business of the helpers that are forked for other networks. */
	madvise(u->shm, sizeof(*u->shm), MADV_DONTFORK);
	return rc;
}

static int user_open(struct netdev *nd, struct kvs *k, struct err *e)
{
	struct user *u = (struct user *)nd;
	int rc;

	u->given = k;
	u->wake_fd = u->worker_event = u->own_event = -1;
	u->watch.fd = -1;
	u->stall.fn = stall_due;
	nd->caps = NET_VNET_HDR;
	rc = netdev_alloc_queues(nd, 1, e);
	if (!rc)
		rc = user_config(u, e);
	if (!rc)
		rc = memory_open(u, e);
	if (!rc)
		rc = helper_open(u, e);
	free(u->cfg.vdnssearch);
	u->cfg.vdnssearch = NULL;
	u->given = NULL;
	return rc;
}

static void user_close(struct netdev *nd)
{
	struct user *u = (struct user *)nd;

	helper_end(u->helper);
	if (u->shm)
		munmap(u->shm, sizeof(*u->shm));
	if (u->wake_fd >= 0)
		close(u->wake_fd);
	if (u->worker_event >= 0)
		close(u->worker_event);
	if (u->own_event >= 0)
		close(u->own_event);
}

static int user_start(struct netq *q)
{
	struct user *u = (struct user *)q->nd;
	int rc = loop_fd_add(q->loop, &u->watch, u->own_event, EPOLLIN | EPOLLET, on_event);

	if (rc < 0)
		return rc;
	rc = helper_serve(u->helper, q->loop, worker_ended, u);
	if (rc < 0) {
		loop_fd_del(q->loop, &u->watch);
		return rc;
	}
	mode_set(u, USER_SERVED, 0);
	return 0;
}

static void user_stop(struct netq *q)
{
	struct user *u = (struct user *)q->nd;

	helper_unserve(u->helper);
	loop_fd_del(q->loop, &u->watch);
	loop_timer_del(&u->stall);
	u->stall_armed = false;
	mode_set(u, 0, USER_SERVED);
}

const struct net_class net_user = {
	.type = "user",
	.help = "a network of its own behind sockets of a helper process (libslirp)",
	.options = user_options,
	.size = sizeof(struct user),
	.lists = true,
	.open = user_open,
	.close = user_close,
	.start = user_start,
	.stop = user_stop,
	.recv = user_recv,
	.send = user_send,
	.send_batch = user_send_batch,
	.pending = user_pending,
	.set_offloads = user_set_offloads,
};
