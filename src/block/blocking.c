/* SPDX-License-Identifier: MIT */
/* blocking.c - disk operations as blocking system calls, run by the pool's workers
 *
 * Reads, writes and flushes are done here when io_uring is not used. Discard and write-zeroes
 * always are, because each tries several system calls until one is supported. A call that the host
 * does not support is remembered in the image and not tried again.
 *
 * All writes to an image whose host blocks are larger than the guest's (img->rmw) are done here as
 * well: a write of a part of a host block reads the block, changes it and writes it back, and no
 * other write may happen in between.
 *
 * Threads: these functions may be called on any thread and use no queue, loop or device. All may
 * sleep, except image_read_quick(), which a loop calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/iov.h"
#include "base/util.h"
#include "block/internal.h"

#define ZERO_CHUNK (64 * 1024ULL)

static int64_t image_readv(struct image *img, const struct iovec *iov, unsigned cnt,
			   uint64_t offset)
{
	ssize_t n;

	do
		n = preadv2(img->fd, iov, (int)cnt, (off_t)offset, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int64_t image_read_quick(struct image *img, struct block_req *r)
{
	ssize_t n = preadv2(img->fd, r->io_iov, (int)r->io_cnt, (off_t)r->io_offset,
			    img->in_memory ? 0 : RWF_NOWAIT);

	if (n >= 0)
		return n;
	if (errno == EOPNOTSUPP)
		atomic_store_explicit(&img->no_nowait, true, memory_order_relaxed);
	return -errno;
}

static int64_t image_writev(struct image *img, const struct iovec *iov, unsigned cnt,
			    uint64_t offset, bool fua)
{
	ssize_t n;

	do
		n = pwritev2(img->fd, iov, (int)cnt, (off_t)offset, fua ? RWF_DSYNC : 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Read all of the range; the part after the end of the file reads as zeroes. */
static int image_read_full(struct image *img, char *buf, uint64_t len, uint64_t offset)
{
	while (len) {
		struct iovec iov = {buf, len};
		int64_t n = image_readv(img, &iov, 1, offset);

		if (n < 0)
			return (int)n;
		/* A direct read that ends inside a block has reached the end of the file. */
		if (!n || n % img->align) {
			memset(buf + n, 0, len - n);
			return 0;
		}
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

static int image_write_full(struct image *img, const char *buf, uint64_t len, uint64_t offset,
			    bool fua)
{
	while (len) {
		struct iovec iov = {(void *)buf, len};
		int64_t n = image_writev(img, &iov, 1, offset, fua);

		if (n > 0 && n < (int64_t)len)
			n = ALIGN_DOWN(n, (int64_t)img->align);
		if (n <= 0)
			return n ? (int)n : -EIO;
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

int image_sync(struct image *img)
{
	while (fdatasync(img->fd) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Read the first and the last host block of [start, end) into `buf`, as far as the data range
 * [offset, offset + len) does not cover them. */
static int image_read_edges(struct image *img, char *buf, uint64_t start, uint64_t end,
			    uint64_t offset, uint64_t len)
{
	int rc = 0;

	if (offset > start)
		rc = image_read_full(img, buf, img->align, start);
	if (!rc && offset + len < end && (end - start > img->align || offset == start))
		rc = image_read_full(img, buf + (end - start) - img->align, img->align,
				     end - img->align);
	return rc;
}

/* Write the current piece of `r`, merged into whole host blocks in its bounce buffer. */
static int64_t image_write_merged(struct image *img, struct block_req *r)
{
	uint64_t start = r->io_offset, end = start + r->io_iov->iov_len;
	uint64_t offset = start + r->io_skip;
	int rc;

	if (r->piece == end - start)
		pthread_rwlock_rdlock(&img->rmw_lock);
	else
		pthread_rwlock_wrlock(&img->rmw_lock);
	rc = image_read_edges(img, r->bounce, start, end, offset, r->piece);
	if (!rc) {
		iov_to_buf(r->iov, r->iovcnt, r->skip + r->pos, r->bounce + r->io_skip, r->piece);
		rc = image_write_full(img, r->bounce, end - start, start, r->flags & BLOCK_FUA);
	}
	pthread_rwlock_unlock(&img->rmw_lock);
	return rc < 0 ? rc : (int64_t)(end - start);
}

static int image_zero_chunk(struct image *img, char *buf, uint64_t offset, uint64_t len)
{
	uint64_t start = ALIGN_DOWN(offset, (uint64_t)img->align);
	uint64_t end = ALIGN_UP(offset + len, (uint64_t)img->align);
	int rc = image_read_edges(img, buf, start, end, offset, len);

	if (rc < 0)
		return rc;
	memset(buf + (offset - start), 0, len);
	return image_write_full(img, buf, end - start, start, false);
}

/* Write zeroes from a buffer, in pieces of limited size. */
static int image_write_zeroes(struct image *img, uint64_t offset, uint64_t len)
{
	uint64_t room = MAX(ZERO_CHUNK, (uint64_t)img->align);
	void *buf;
	int rc = 0;

	if (posix_memalign(&buf, MAX(img->align, (unsigned)BOUNCE_PAGE), room))
		return -ENOMEM;
	while (len && !rc) {
		uint64_t n = MIN(len, room - (offset & (img->align - 1)));

		rc = image_zero_chunk(img, buf, offset, n);
		offset += n;
		len -= n;
	}
	free(buf);
	return rc;
}

/* Tells whether `err` means that the host does not support the operation, or not for this range. */
static bool errno_is_unsupported(int err)
{
	return err == EOPNOTSUPP || err == ENOTTY || err == ENOSYS || err == EINVAL ||
	       err == ENODEV;
}

/* Call fallocate() with `mode`. Returns 0, -errno, or -ENOTSUP if the caller has to try another
 * way. `flag` remembers that the file system does not support the mode. */
static int image_fallocate(struct image *img, int mode, uint64_t offset, uint64_t len,
			   atomic_bool *flag)
{
	if (atomic_load_explicit(flag, memory_order_relaxed))
		return -ENOTSUP;
	while (fallocate(img->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) < 0) {
		if (errno == EINTR)
			continue;
		if (!errno_is_unsupported(errno))
			return -errno;
		if (errno != EINVAL) /* EINVAL may concern this range only */
			atomic_store_explicit(flag, true, memory_order_relaxed);
		return -ENOTSUP;
	}
	return 0;
}

/* Make the range read as zeroes, by the cheapest way that the host supports. */
static int image_zero_range(struct image *img, uint64_t offset, uint64_t len, bool unmap)
{
	uint64_t range[2] = {offset, len};
	int rc = -ENOTSUP;

	if (unmap)
		rc = image_fallocate(img, FALLOC_FL_PUNCH_HOLE, offset, len, &img->no_punch);
	if (rc == -ENOTSUP && img->kind == IMAGE_DEVICE && !ioctl(img->fd, BLKZEROOUT, range))
		rc = 0;
	if (rc == -ENOTSUP && img->kind == IMAGE_FILE)
		rc = image_fallocate(img, FALLOC_FL_ZERO_RANGE, offset, len, &img->no_zero_range);
	if (rc == -ENOTSUP)
		rc = image_write_zeroes(img, offset, len);
	return rc;
}

/* Discard the range. This is a hint: data that the host cannot discard stays. */
static int image_discard(struct image *img, uint64_t offset, uint64_t len)
{
	uint64_t start = ALIGN_UP(offset, (uint64_t)img->sector);
	uint64_t end = ALIGN_DOWN(offset + len, (uint64_t)img->sector);
	uint64_t range[2] = {start, end - start};
	int rc = 0;

	if (start >= end || atomic_load_explicit(&img->no_discard, memory_order_relaxed))
		return 0;
	if (img->kind == IMAGE_FILE)
		rc = image_fallocate(img, FALLOC_FL_PUNCH_HOLE, start, end - start,
				     &img->no_discard);
	else if (ioctl(img->fd, BLKDISCARD, range) < 0)
		rc = errno_is_unsupported(errno) ? -ENOTSUP : -errno;
	if (rc == -ENOTSUP && img->kind == IMAGE_DEVICE)
		atomic_store_explicit(&img->no_discard, true, memory_order_relaxed);
	return rc == -ENOTSUP ? 0 : rc;
}

int64_t image_execute(struct image *img, struct block_req *r)
{
	int rc;

	switch (r->op) {
	case BLOCK_READ:
		return image_readv(img, r->io_iov, r->io_cnt, r->io_offset);
	case BLOCK_WRITE:
		if (r->zeroes)
			break;
		if (img->rmw)
			return image_write_merged(img, r);
		return image_writev(img, r->io_iov, r->io_cnt, r->io_offset, r->flags & BLOCK_FUA);
	case BLOCK_FLUSH:
		return image_sync(img);
	case BLOCK_DISCARD:
		return image_discard(img, r->io_offset, r->len);
	case BLOCK_WRITE_ZEROES:
		break;
	}
	if (img->rmw)
		pthread_rwlock_wrlock(&img->rmw_lock);
	rc = image_zero_range(img, r->io_offset, r->len, r->flags & BLOCK_MAY_UNMAP);
	if (img->rmw)
		pthread_rwlock_unlock(&img->rmw_lock);
	if (!rc && r->flags & BLOCK_FUA)
		rc = image_sync(img);
	return rc;
}
