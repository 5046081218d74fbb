/* SPDX-License-Identifier: MIT */
/* uring.c - reads, writes and flushes by io_uring: one ring for each loop
 *
 * Requests are queued during a turn of the loop and submitted by one system call at its end, or by
 * more, if an iothread's aio-max-batch limits the number per call. A read that the page cache can
 * answer completes within that call. The ring is created by the control thread, before the process
 * is confined, and bound to the loop's thread at its first use (uring_begin()). As only one thread
 * uses it, the kernel needs no lock, and no interrupt between CPUs to announce completions: it
 * delivers them when the thread next enters the kernel, at the latest in epoll_wait().
 *
 * A request that the kernel has accepted may read or write the guest's memory until its completion
 * arrives, whatever else fails: it stays in flight, with its chain, until then. If io_uring_enter()
 * fails for good, the requests that the kernel has not accepted are taken back and the workers do
 * them. That is safe because the kernel reads the submission queue in that call only.
 *
 * The first part of the bounce arena is registered with the ring, so that the kernel need not pin
 * its pages for each direct request (measured: 12 to 19 % less CPU per request of 4 KiB).
 * Registered files were measured, too, and made no difference.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "block/internal.h"

#define ENTRIES	    128
#define COMPLETIONS 1024
#define REAP_MAX    256 /* completions handled in one go */
#define LEN_MAX	    (1ULL << 30)

struct uring {
	struct io_uring ring;
	bool disabled; /* until uring_begin() */
	unsigned queued, max_batch;
	const char *fixed; /* BOUNCE_FIXED bytes that are registered, or NULL */
	bool fix_tried;
	bool broken; /* the kernel takes no more */
};

struct uring *uring_new(uint64_t max_batch)
{
	/* The best set of flags comes first; older kernels know fewer flags. */
	static const unsigned flags[] = {
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER |
			IORING_SETUP_R_DISABLED,
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
		0,
	};
	struct uring *u = calloc(1, sizeof(*u));
	int rc = -ENOMEM;

	for (unsigned i = 0; u && i < ARRAY_SIZE(flags); i++) {
		struct io_uring_params p = {
			.flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
			.cq_entries = COMPLETIONS,
		};

		rc = io_uring_queue_init_params(ENTRIES, &u->ring, &p);
		if (rc == -EINVAL)
			continue;
		/* Before Linux 5.6 completions could get lost, and IORING_OP_READ did not exist. */
		if (!rc &&
		    !(p.features & IORING_FEAT_NODROP && p.features & IORING_FEAT_RW_CUR_POS)) {
			io_uring_queue_exit(&u->ring);
			rc = -ENOSYS;
		}
		u->disabled = flags[i] & IORING_SETUP_R_DISABLED;
		break;
	}
	if (rc < 0) {
		free(u);
		errno = -rc;
		return NULL;
	}
	u->max_batch = max_batch ? (unsigned)MIN(max_batch, ENTRIES) : ENTRIES;
	return u;
}

void uring_free(struct uring *u)
{
	if (!u)
		return;
	io_uring_queue_exit(&u->ring);
	free(u);
}

int uring_fd(const struct uring *u)
{
	return u->ring.ring_fd;
}

int uring_begin(struct uring *u)
{
	int rc = u->disabled ? io_uring_enable_rings(&u->ring) : 0;

	u->disabled = false;
	return rc;
}

void uring_fix(struct uring *u, const struct bounce *b)
{
	struct iovec iov = {b->base, BOUNCE_FIXED};

	if (u->fix_tried || !b->base)
		return;
	u->fix_tried = true;
	if (!io_uring_register_buffers(&u->ring, &iov, 1))
		u->fixed = b->base;
}

/* Tells whether the buffer of `r` is in the registered part of the arena. */
static bool request_is_fixed(const struct uring *u, const struct block_req *r)
{
	return r->bounce && u->fixed &&
	       range_ok((uint64_t)(r->bounce - u->fixed), r->bounce_len, BOUNCE_FIXED);
}

static void sqe_prep_fixed(struct io_uring_sqe *sqe, const struct image *img,
			   const struct block_req *r)
{
	if (r->op == BLOCK_READ)
		io_uring_prep_read_fixed(sqe, img->fd, r->bounce, r->bounce_len, r->io_offset, 0);
	else
		io_uring_prep_write_fixed(sqe, img->fd, r->bounce, r->bounce_len, r->io_offset, 0);
}

/* Fill in an entry whose buffers are not registered. */
static void sqe_prep(struct io_uring_sqe *sqe, const struct image *img, const struct block_req *r)
{
	const struct iovec *iov = r->io_iov;
	unsigned len = MIN(iov->iov_len, LEN_MAX);

	if (r->op == BLOCK_READ && r->io_cnt == 1)
		io_uring_prep_read(sqe, img->fd, iov->iov_base, len, r->io_offset);
	else if (r->op == BLOCK_READ)
		io_uring_prep_readv(sqe, img->fd, iov, r->io_cnt, r->io_offset);
	else if (r->io_cnt == 1)
		io_uring_prep_write(sqe, img->fd, iov->iov_base, len, r->io_offset);
	else
		io_uring_prep_writev(sqe, img->fd, iov, r->io_cnt, r->io_offset);
}

bool uring_queue(struct uring *u, struct image *img, struct block_req *r)
{
	struct io_uring_sqe *sqe = u->broken ? NULL : io_uring_get_sqe(&u->ring);

	if (!sqe) {
		if (u->broken || uring_submit(u) < 0)
			return false;
		sqe = io_uring_get_sqe(&u->ring);
		if (!sqe)
			return false;
	}
	if (r->op != BLOCK_READ && r->op != BLOCK_WRITE)
		io_uring_prep_fsync(sqe, img->fd, IORING_FSYNC_DATASYNC);
	else if (request_is_fixed(u, r))
		sqe_prep_fixed(sqe, img, r);
	else
		sqe_prep(sqe, img, r);
	if (r->op == BLOCK_WRITE && r->flags & BLOCK_FUA)
		sqe->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_data(sqe, r);
	if (++u->queued >= u->max_batch)
		uring_submit(u);
	return true;
}

bool uring_pending(const struct uring *u)
{
	return u->queued;
}

int uring_submit(struct uring *u)
{
	int rc;

	if (!u->queued || u->broken)
		return u->broken ? -EIO : 0;
	do
		rc = io_uring_submit(&u->ring);
	while (rc == -EINTR);
	u->queued = io_uring_sq_ready(&u->ring);
	/* If the kernel had no memory or no room for completions, the rest is submitted again in
	 * the next turn. */
	if (rc >= 0 || rc == -EAGAIN || rc == -EBUSY)
		return 0;
	u->broken = true;
	return rc;
}

bool uring_broken(const struct uring *u)
{
	return u->broken;
}

/* The requests come back oldest first: the last `queued` entries of the queue are those that the
 * kernel has not accepted. */
struct block_req *uring_take_back(struct uring *u)
{
	unsigned at = u->ring.sq.sqe_tail - u->queued;

	if (!u->queued)
		return NULL;
	u->queued--;
	return (struct block_req *)(uintptr_t)u->ring.sq.sqes[at & u->ring.sq.ring_mask].user_data;
}

unsigned uring_reap(struct uring *u, struct engine *en)
{
	struct io_uring_cqe *cqe;
	unsigned n = 0;

	while (n < REAP_MAX && !io_uring_peek_cqe(&u->ring, &cqe)) {
		struct block_req *r = io_uring_cqe_get_data(cqe);

		r->io_result = cqe->res;
		io_uring_cqe_seen(&u->ring, cqe);
		engine_io_done(en, r);
		n++;
	}
	return n;
}
