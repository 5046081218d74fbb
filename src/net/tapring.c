/* SPDX-License-Identifier: MIT */
/* tapring.c - see tapring.h
 *
 * A write to a tap that does not block is done within io_uring_enter(), one after the other as they
 * were queued, so the frames keep their order; a batch saves the way into the kernel and back for
 * all but one of them (15 to 25 % of the CPU time of a short frame, docs/performance.md). All is
 * over when the call returns: nothing is in flight between two calls. Should a kernel hand the
 * writes to its worker threads instead, which may change their order, the caller hears of it after
 * the first batch, which has one frame only.
 *
 * The frames lie in the guest's memory, which may be mapped anew, and is the guest's again, as soon
 * as we return. A write that the kernel has taken may read it until its completion is there,
 * whatever io_uring_enter() said in between; to close the ring does not wait for it either, as the
 * kernel ends a ring's requests some time later. So completions are waited for in every case, and
 * what the kernel has not taken is written by ourselves. (A write to a tap always ends: it does not
 * wait for a reader.)
 *
 * The tap is not registered with the ring: the kernel frees a ring some time after its process has
 * gone, and the interface would live on so long.
 *
 * Reading in batches was measured too and gave less: how many frames there are is not known before.
 */
#include "net/tapring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>

#include "base/util.h"

struct tapring {
	struct io_uring ring;
	int fd;
	bool proven; /* writes are done at once */
};

struct tapring *tapring_new(int fd)
{
	static const unsigned flags[] = {
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
		0,
	};
	struct tapring *r = calloc(1, sizeof(*r));
	int rc = r ? -EINVAL : -ENOMEM;

	for (unsigned i = 0; i < ARRAY_SIZE(flags) && rc == -EINVAL; i++) {
		struct io_uring_params p = {.flags = flags[i]};

		rc = io_uring_queue_init_params(NET_BATCH, &r->ring, &p);
	}
	if (rc < 0) {
		free(r);
		return NULL;
	}
	r->fd = fd;
	return r;
}

void tapring_free(struct tapring *r)
{
	if (!r)
		return;
	io_uring_queue_exit(&r->ring);
	free(r);
}

/* How often the kernel may say that it is short of something. */
#define TRIES 16

/* How many of `left` writes in flight have ended. */
static unsigned ring_reap(struct tapring *r, unsigned left)
{
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0;

	io_uring_for_each_cqe (&r->ring, head, cqe)
		seen++;
	io_uring_cq_advance(&r->ring, seen);
	return MIN(seen, left);
}

/* Submit the `n` writes that are queued, and wait until none is in flight. How many of the last
 * ones the kernel has not taken: then, or when not `*at_once`, the ring is of no use any more. */
static unsigned ring_submit(struct tapring *r, unsigned n, bool *at_once)
{
	unsigned left = n, tries = 0, refused;

	do {
		int rc = io_uring_submit(&r->ring);

		left -= ring_reap(r, left);
		refused = io_uring_sq_ready(&r->ring);
		if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
			break;
	} while (refused && ++tries < TRIES);
	refused = MIN(refused, left);
	left -= refused;
	*at_once = !left;
	while (left) {
		struct pollfd p = {.fd = r->ring.ring_fd, .events = POLLIN};

		poll(&p, 1, -1);
		left -= ring_reap(r, left);
	}
	return refused;
}

/* The frames but for the first `done` of those that are not empty, one by one. */
static void ring_send_rest(struct tapring *r, const struct net_frame *f, unsigned n, unsigned done)
{
	for (unsigned i = 0; i < n; i++) {
		if (!f[i].n)
			continue;
		if (done)
			done--;
		else if (writev(r->fd, f[i].iov, (int)f[i].n) < 0)
			continue;
	}
}

bool tapring_send(struct tapring *r, const struct net_frame *f, unsigned n)
{
	unsigned queued = 0, done = 0, refused;
	bool at_once;

	for (unsigned i = 0; i < n; i++) {
		struct io_uring_sqe *sqe;

		if (!f[i].n)
			continue;
		sqe = io_uring_get_sqe(&r->ring);
		io_uring_prep_writev(sqe, r->fd, f[i].iov, f[i].n, 0);
		queued++;
		if (r->proven)
			continue;
		refused = ring_submit(r, queued, &at_once);
		done = queued - refused;
		if (refused || !at_once) {
			ring_send_rest(r, f, n, done);
			return false;
		}
		r->proven = true;
		queued = 0;
	}
	if (!queued)
		return true;
	refused = ring_submit(r, queued, &at_once);
	if (refused)
		ring_send_rest(r, f, n, done + queued - refused);
	return !refused && at_once;
}
