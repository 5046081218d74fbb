/* SPDX-License-Identifier: MIT */
/* virtio_blk_io.c - the requests of a virtio disk
 *
 * The guest is not trusted: the header and the segment of a discard are copied once and checked
 * against capacity, block size and limits. A request that fails a check is completed with IOERR or
 * UNSUPP and does not reach the disk. A chain without room for the status byte breaks the device,
 * as it cannot be answered. A valid request is carried out directly between the disk and the
 * chain's pinned memory.
 *
 * Requests and completions run on the queue's loop. The write cache mode is set by the exit loop,
 * in one atomic flag. A reset cancels no I/O: what is in flight ends by itself, and its chains are
 * then released.
 *
 * Virtio 1.3 §5.2.6.
 */
#include "dev/virtio_blk.h"

#include "base/util.h"

#define T_IN	       0
#define T_OUT	       1
#define T_FLUSH	       4
#define T_GET_ID       8
#define T_DISCARD      11
#define T_WRITE_ZEROES 13

#define S_OK	 0
#define S_IOERR	 1
#define S_UNSUPP 2

#define HEADER_LEN    16
#define SEGMENT_LEN   16 /* of a discard or write-zeroes */
#define SEGMENT_UNMAP 1u
#define SERIAL_LEN    20

/* This cannot fail: there are as many requests as the ring has entries, and each one in use belongs
 * to a chain in flight. */
static struct blk_req *req_get(struct blk_queue *q)
{
	struct blk_req *r = q->free;

	if (!r)
		return &q->reqs[q->fresh++];
	q->free = r->next;
	return r;
}

static void req_put(struct blk_req *r)
{
	r->next = r->q->free;
	r->q->free = r;
}

/* Complete `c` with `status`. The first `data` bytes of its writable part are valid. */
static void blk_complete(struct blk_queue *q, struct vchain *c, uint8_t status, uint64_t data)
{
	uint64_t room = c->in_len - 1;

	vchain_put_at(c, room, &status, 1);
	vq_push(q->vq, c, data == room ? data + 1 : data);
}

static void io_done(struct block_req *io, int ret)
{
	static const char *const name[] = {"read", "write", "flush", "discard", "write-zeroes"};
	struct blk_req *r = container_of(io, struct blk_req, io);
	struct blk_queue *q = r->q;
	struct vchain *c = r->c;
	uint64_t data = io->op == BLOCK_READ && !ret ? io->len : 0;

	if (unlikely(ret < 0))
		log_guest(&q->rate, vdev_name(&q->d->v), "%s of %llu bytes at %llu failed: %s",
			  name[io->op], (unsigned long long)io->len, (unsigned long long)io->offset,
			  strerror(-ret));
	req_put(r);
	blk_complete(q, c, ret ? S_IOERR : S_OK, data);
}

/* The data begins at byte `skip` of `iov`, as in struct block_req. */
static void submit_data(struct blk_queue *q, struct vchain *c, enum block_op op, unsigned flags,
			uint64_t offset, uint64_t len, const struct iovec *iov, unsigned iovcnt,
			uint64_t skip)
{
	struct blk_req *r = req_get(q);

	r->q = q;
	r->c = c;
	r->io.op = op;
	r->io.flags = flags;
	r->io.offset = offset;
	r->io.len = len;
	r->io.iov = iov;
	r->io.iovcnt = iovcnt;
	r->io.skip = skip;
	r->io.done = io_done;
	block_submit(q->disk, &r->io);
}

static void blk_submit(struct blk_queue *q, struct vchain *c, enum block_op op, unsigned flags,
		       uint64_t offset, uint64_t len)
{
	submit_data(q, c, op, flags, offset, len, NULL, 0, 0);
}

/* Convert a sector to a byte offset. Returns false unless the `len` bytes there are whole logical
 * blocks inside the disk. */
static bool range_of(const struct blk *d, uint64_t sector, uint64_t len, uint64_t *offset)
{
	if (!mul_ok(sector, (uint64_t)BLK_SECTOR, offset))
		return false;
	return !((*offset | len) & (d->block - 1)) &&
	       range_ok(*offset, len, d->capacity * BLK_SECTOR);
}

static unsigned blk_fua_flag(const struct blk *d)
{
	return atomic_load_explicit(&d->wce, memory_order_relaxed) ? 0 : BLOCK_FUA;
}

static bool start_read(struct blk_queue *q, struct vchain *c, uint64_t sector)
{
	uint64_t offset, len = c->in_len - 1;
	unsigned n = c->n_in;

	if (!range_of(q->d, sector, len, &offset))
		return false;
	/* Drop the element of the status byte, if it has one of its own, as drivers do: the iovec
	 * then covers exactly the data. */
	if (n > 1 && c->iov[c->n_out + n - 1].iov_len == 1)
		n--;
	submit_data(q, c, BLOCK_READ, 0, offset, len, c->iov + c->n_out, n, 0);
	return true;
}

static bool start_write(struct blk_queue *q, struct vchain *c, uint64_t sector)
{
	uint64_t offset, len = c->out_len - HEADER_LEN, skip = HEADER_LEN;
	const struct iovec *iov = c->iov;
	unsigned n = c->n_out;

	if (!range_of(q->d, sector, len, &offset) || block_read_only(q->d->disk))
		return false;
	while (n && skip >= iov->iov_len) {
		skip -= iov->iov_len;
		iov++;
		n--;
	}
	submit_data(q, c, BLOCK_WRITE, blk_fua_flag(q->d), offset, len, iov, n, skip);
	return true;
}

/* Start a discard or write-zeroes, which must have exactly one segment. Returns false when it is
 * to be completed with `status`. */
static bool start_segment(struct blk_queue *q, struct vchain *c, uint32_t type, uint8_t *status)
{
	struct blk *d = q->d;
	bool zeroes = type == T_WRITE_ZEROES;
	uint8_t segment[SEGMENT_LEN];
	uint64_t offset, sectors, max = zeroes ? d->max_zeroes : d->max_discard;
	uint32_t flags;

	*status = S_UNSUPP;
	if (!vdev_has(&d->v, zeroes ? BLK_F_WRITE_ZEROES : BLK_F_DISCARD) ||
	    c->out_len > HEADER_LEN + SEGMENT_LEN)
		return false;
	*status = S_IOERR;
	if (!vchain_pull(c, segment, sizeof(segment)))
		return false;
	sectors = get_le32(segment + 8);
	flags = get_le32(segment + 12);
	if (flags & ~(zeroes ? SEGMENT_UNMAP : 0)) {
		*status = S_UNSUPP;
		return false;
	}
	if (sectors > max || block_read_only(d->disk) ||
	    !range_of(d, get_le64(segment), sectors * BLK_SECTOR, &offset))
		return false;
	if (zeroes)
		blk_submit(q, c, BLOCK_WRITE_ZEROES,
			   blk_fua_flag(d) | (flags ? BLOCK_MAY_UNMAP : 0), offset,
			   sectors * BLK_SECTOR);
	else
		blk_submit(q, c, BLOCK_DISCARD, 0, offset, sectors * BLK_SECTOR);
	return true;
}

static uint64_t put_serial(struct blk *d, struct vchain *c)
{
	char id[SERIAL_LEN] = {0};
	uint64_t n = MIN(c->in_len - 1, (uint64_t)SERIAL_LEN);

	if (d->serial)
		memcpy(id, d->serial, strnlen(d->serial, SERIAL_LEN));
	vchain_put(c, id, n);
	return n;
}

/* Submit the request of a chain to the disk, or complete it at once if it is invalid or needs no
 * I/O. The chain has room for the status byte. */
static void blk_handle(struct blk_queue *q, struct vchain *c)
{
	uint8_t header[HEADER_LEN], status = S_IOERR;
	uint64_t sector, data = 0;
	bool taken = false;

	if (vchain_pull(c, header, sizeof(header))) {
		sector = get_le64(header + 8);
		switch (get_le32(header)) {
		case T_IN:
			taken = start_read(q, c, sector);
			break;
		case T_OUT:
			taken = start_write(q, c, sector);
			break;
		case T_FLUSH:
			blk_submit(q, c, BLOCK_FLUSH, 0, 0, 0);
			taken = true;
			break;
		case T_DISCARD:
		case T_WRITE_ZEROES:
			taken = start_segment(q, c, get_le32(header), &status);
			break;
		case T_GET_ID:
			data = put_serial(q->d, c);
			status = S_OK;
			break;
		default:
			status = S_UNSUPP;
		}
	}
	if (!taken)
		blk_complete(q, c, status, data);
}

void blk_kick(struct vqueue *vq)
{
	struct blk_queue *q = vq_priv(vq);
	struct vchain *c;

	while ((c = vq_pop(vq))) {
		if (c->in_len) {
			blk_handle(q, c);
			continue;
		}
		vdev_break(&q->d->v, "request without a status byte");
		vq_drop(vq, c);
	}
}

void blk_idle(struct vqueue *vq)
{
	struct blk_queue *q = vq_priv(vq);

	mem_forget(q->reqs, q->fresh * sizeof(*q->reqs));
	q->fresh = 0;
	q->free = NULL;
}
