/* SPDX-License-Identifier: MIT */
/* request.c - the life of a request: checked, cut into pieces, started, continued, finished
 *
 * A piece is the part of a request that one system call can do; mostly that is all of it. Buffered
 * I/O reads and writes the submitter's memory directly. The submitter's iovec is passed to the
 * kernel if the request covers all of it; otherwise the elements in block_req::part describe the
 * piece. Direct I/O uses an aligned buffer (bounce.c) that covers whole host blocks. After a short
 * result the rest is started as the next piece. Bytes after the end of the file read as zeroes.
 *
 * All functions run on the loop of the queue. An error is reported by done() only.
 */
#include <errno.h>

#include "base/iov.h"
#include "base/probe.h"
#include "base/util.h"
#include "block/internal.h"

/* A counter has one writer, so that this needs no atomic addition; the atomic store only keeps a
 * reader from seeing a half-written value. */
static void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static void request_free_bounce(struct block_req *r)
{
	if (r->bounce)
		bounce_put(&r->q->en->bounce, r->bounce, r->bounce_len);
	r->bounce = NULL;
}

static void request_finish(struct block_req *r, int ret)
{
	struct block_queue *q = r->q;
	struct block_counters *c = &q->count;
	uint64_t now = loop_now(q->en->loop);

	probe3(block_done, r, r->op, ret);
	request_free_bounce(r);
	if (ret < 0) {
		counter_add(&c->failed[r->op], 1);
	} else {
		counter_add(&c->ops[r->op], 1);
		counter_add(&c->bytes[r->op], r->len);
		if (r->op == BLOCK_WRITE && r->offset + r->len > c->highest)
			atomic_store_explicit(&c->highest, r->offset + r->len,
					      memory_order_relaxed);
	}
	counter_add(&c->ns[r->op], now - r->start_ns);
	atomic_store_explicit(&c->last_done, now, memory_order_relaxed);
	q->inflight--;
	r->done(r, ret);
	engine_leave(q->en);
}

/* Finish a read whose rest is after the end of the file. */
static void request_finish_zeroes(struct block_req *r)
{
	iov_zero(r->iov, r->iovcnt, r->skip + r->pos, r->len - r->pos);
	request_finish(r, 0);
}

/* Start the next piece with the submitter's memory as its buffer. */
static void request_start_plain(struct block_req *r)
{
	struct block *b = r->q->b;
	uint64_t covered = 0;

	r->io_offset = b->base + r->offset + r->pos;
	if (r->iovcnt > BLOCK_REQ_IOV && r->iovcnt <= 1024 && !r->skip && !r->pos)
		covered = iov_len(r->iov, r->iovcnt);
	if (covered == r->len) {
		r->io_iov = r->iov;
		r->io_cnt = r->iovcnt;
		r->piece = r->len;
	} else {
		r->io_iov = r->part;
		r->io_cnt = iov_slice(r->iov, r->iovcnt, r->skip + r->pos, r->len - r->pos, r->part,
				      BLOCK_REQ_IOV, &r->piece);
	}
	engine_start(r->q->en, r, false);
}

/* Start the next piece with an aligned buffer. Returns false if there is no room for one now. */
static bool request_start_bounced(struct block_req *r)
{
	struct block *b = r->q->b;
	struct image *img = b->img;
	uint64_t from = b->base + r->offset + r->pos, align = img->align;
	uint64_t start = ALIGN_DOWN(from, align), end;

	r->piece = MIN(r->len - r->pos, BOUNCE_MAX - (from - start));
	end = ALIGN_UP(from + r->piece, align);
	if (end - start > BOUNCE_MAX) {
		end -= align;
		r->piece = end - from;
	}
	r->bounce_len = end - start;
	r->bounce = bounce_get(&r->q->en->bounce, r->bounce_len);
	if (!r->bounce)
		return false;
	r->io_skip = from - start;
	r->io_offset = start;
	r->part[0] = (struct iovec){r->bounce, r->bounce_len};
	r->io_iov = r->part;
	r->io_cnt = 1;
	/* With img->rmw a worker copies the data, after it has read the host blocks. */
	if (r->op == BLOCK_WRITE && !img->rmw)
		iov_to_buf(r->iov, r->iovcnt, r->skip + r->pos, r->bounce, r->piece);
	engine_start(r->q->en, r, r->op == BLOCK_WRITE && img->rmw);
	return true;
}

bool request_retry(struct block_req *r)
{
	return request_start_bounced(r);
}

static void request_start_piece(struct block_req *r)
{
	struct engine *en = r->q->en;

	if (!r->q->b->img->direct)
		request_start_plain(r);
	else if (!list_empty(&en->waiting) || !request_start_bounced(r))
		list_add_tail(&en->waiting, &r->link);
}

/* Returns the bytes of the current piece that are done, without the padding before it. */
static uint64_t request_piece_done(struct block_req *r)
{
	uint64_t n = (uint64_t)r->io_result;

	if (!r->bounce)
		return n;
	return n > r->io_skip ? MIN(n - r->io_skip, r->piece) : 0;
}

static void request_continue_read(struct block_req *r)
{
	uint64_t n = request_piece_done(r);
	bool at_end = !r->io_result;

	if (r->bounce) {
		iov_from_buf(r->iov, r->iovcnt, r->skip + r->pos, r->bounce + r->io_skip, n);
		/* A direct read that ends inside a block has reached the end of the file. */
		at_end = !n || (n < r->piece && r->io_result % r->q->b->img->align);
		request_free_bounce(r);
	}
	r->pos += n;
	if (r->pos == r->len)
		request_finish(r, 0);
	else if (at_end)
		request_finish_zeroes(r);
	else
		request_start_piece(r);
}

static void request_continue_write(struct block_req *r)
{
	uint64_t n;

	if (r->bounce && r->io_result < r->bounce_len)
		r->io_result = ALIGN_DOWN(r->io_result, (int64_t)r->q->b->img->align);
	n = request_piece_done(r);
	request_free_bounce(r);
	r->pos += n;
	if (r->pos == r->len)
		request_finish(r, 0);
	else if (!n)
		request_finish(r, -EIO);
	else
		request_start_piece(r);
}

void request_continue(struct block_req *r)
{
	struct image *img = r->q->b->img;

	if (unlikely(r->io_result == -EAGAIN || r->io_result == -EINTR)) {
		engine_start(r->q->en, r, true);
		return;
	}
	if (unlikely(r->io_result < 0)) {
		if (r->op == BLOCK_FLUSH)
			image_sync_failed(img, (int)r->io_result, false, r->q->b);
		else if (r->flags & BLOCK_FUA)
			image_sync_failed(img, (int)r->io_result, true, NULL);
		request_finish(r, (int)r->io_result);
		return;
	}
	if (r->op == BLOCK_READ)
		request_continue_read(r);
	else if (r->op == BLOCK_WRITE && !r->zeroes)
		request_continue_write(r);
	else
		request_finish(r, 0);
}

/* Returns the negative errno with which a flush of the guest must fail because of an earlier error,
 * or 0. An error that another disk's flush or blocks_drain() has met is returned once. */
static int block_take_flush_error(struct block *b)
{
	unsigned errors;

	if (unlikely(atomic_load_explicit(&b->img->lost, memory_order_relaxed)))
		return -EIO;
	errors = atomic_load(&b->img->sync_errors);
	if (unlikely(atomic_load_explicit(&b->errors_told, memory_order_relaxed) != errors) &&
	    atomic_exchange(&b->errors_told, errors) != errors)
		return atomic_load(&b->img->sync_error);
	return 0;
}

static int request_check(const struct block *b, const struct block_req *r)
{
	if (!range_ok(r->offset, r->len, b->size))
		return -EIO;
	if (r->op != BLOCK_READ && r->op != BLOCK_FLUSH && b->read_only)
		return -EPERM;
	return 0;
}

static void request_start_rw(struct block_queue *q, struct block_req *r)
{
	struct block *b = q->b;

	if (!r->len) {
		request_finish(r, 0);
		return;
	}
	if (unlikely(b->detect) && r->op == BLOCK_WRITE &&
	    iov_is_zero(r->iov, r->iovcnt, r->skip, r->len)) {
		r->zeroes = true;
		r->io_offset = b->base + r->offset;
		if (b->detect == DETECT_UNMAP && b->discard)
			r->flags |= BLOCK_MAY_UNMAP;
		engine_start(q->en, r, true);
		return;
	}
	request_start_piece(r);
}

static void request_start_null(struct block_queue *q, struct block_req *r)
{
	if (r->op == BLOCK_READ && q->b->img->read_zeroes)
		iov_zero(r->iov, r->iovcnt, r->skip, r->len);
	request_finish(r, 0);
}

void block_submit(struct block_queue *q, struct block_req *r)
{
	struct block *b = q->b;
	int rc = request_check(b, r);

	r->q = q;
	r->pos = 0;
	r->bounce = NULL;
	r->zeroes = false;
	r->start_ns = loop_now(q->en->loop);
	q->inflight++;
	probe4(block_start, r, r->op, r->offset, r->len);
	engine_enter(q->en);
	if (rc < 0) {
		request_finish(r, rc);
		return;
	}
	if (b->img->no_flush)
		r->flags &= ~BLOCK_FUA;
	if (b->img->kind == IMAGE_NULL) {
		request_start_null(q, r);
		return;
	}
	switch (r->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		request_start_rw(q, r);
		break;
	case BLOCK_FLUSH:
		if (b->img->no_flush || b->img->read_only)
			request_finish(r, 0);
		else if ((rc = block_take_flush_error(b)))
			request_finish(r, rc);
		else
			engine_start(q->en, r, false);
		break;
	case BLOCK_DISCARD:
		if (!b->discard || !r->len) {
			request_finish(r, 0);
			break;
		}
		r->io_offset = b->base + r->offset;
		engine_start(q->en, r, true);
		break;
	case BLOCK_WRITE_ZEROES:
		if (!b->discard)
			r->flags &= ~BLOCK_MAY_UNMAP;
		if (!r->len) {
			request_finish(r, 0);
			break;
		}
		r->io_offset = b->base + r->offset;
		engine_start(q->en, r, true);
		break;
	}
}

unsigned block_inflight(const struct block_queue *q)
{
	return q->inflight;
}
