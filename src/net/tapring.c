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
 * The tap is not registered with the ring: the kernel frees a ring some time after its process has
 * gone, and the interface would live on so long.
 *
 * Reading in batches was measured too and gave less: how many frames there are is not known before.
 */
#include "net/tapring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <time.h>

#include "base/util.h"

#define GIVE_UP_TRIES 20000 /* of 0.1 ms each */

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

/* Take what has completed; how many that is. */
static unsigned ring_reap(struct tapring *r)
{
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0;

	io_uring_for_each_cqe (&r->ring, head, cqe)
		seen++;
	io_uring_cq_advance(&r->ring, seen);
	return seen;
}

/* The ring is given up with `left` writes not completed. Those that the kernel has taken still read
 * the frames, and the caller's next step is to give the frames' memory back; closing the ring does
 * not end them at once. So they are waited for. A write to a tap waits for nobody, so this is
 * short; a limit is there all the same. */
static void ring_give_up(struct tapring *r, unsigned left)
{
	const struct timespec moment = {.tv_nsec = 100000};

	left -= MIN(io_uring_sq_ready(&r->ring), left);
	for (unsigned tries = 0; left && tries < GIVE_UP_TRIES; tries++) {
		left -= MIN(ring_reap(r), left);
		if (left)
			nanosleep(&moment, NULL);
	}
}

/* Submit what is queued, and take all completions; false when they did not come at once. */
static bool ring_submit(struct tapring *r, unsigned n)
{
	unsigned left = n;
	bool at_once = true;

	while (left) {
		int rc =
			at_once ? io_uring_submit(&r->ring) : io_uring_submit_and_wait(&r->ring, 1);

		if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY) {
			ring_give_up(r, left);
			return false;
		}
		left -= MIN(ring_reap(r), left);
		if (left)
			at_once = false;
	}
	return at_once;
}

bool tapring_send(struct tapring *r, const struct net_frame *f, unsigned n)
{
	unsigned queued = 0;

	for (unsigned i = 0; i < n; i++) {
		struct io_uring_sqe *sqe;

		if (!f[i].n)
			continue;
		sqe = io_uring_get_sqe(&r->ring);
		io_uring_prep_writev(sqe, r->fd, f[i].iov, f[i].n, 0);
		queued++;
		if (!r->proven) {
			if (!ring_submit(r, queued)) {
				/* The rest, one by one. */
				for (i++; i < n; i++)
					if (f[i].n && writev(r->fd, f[i].iov, (int)f[i].n) < 0)
						continue;
				return false;
			}
			r->proven = true;
			queued = 0;
		}
	}
	return ring_submit(r, queued);
}
