/* SPDX-License-Identifier: MIT */
/* blocking.c - disk operations as blocking system calls, run by the pool's workers
 *
 * Reads, writes and flushes come here when io_uring is not used; discard and write-zeroes always
 * do, because each is a ladder of attempts. What the host turns out not to support is remembered in
 * the image and not tried again.
 *
 * Writes to an image whose host blocks are larger than the guest's (img->rmw) all come here as
 * well: a write of a part of a host block reads the block, changes it and writes it back, and no
 * other write may happen in between.
 *
 * Any thread, but image_read_quick(), which does not sleep: the loop calls it. Nothing here touches
 * a queue, a loop or a device.
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

static int64_t read_vec(struct image *img, const struct iovec *iov, unsigned cnt, uint64_t offset)
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

static int64_t write_vec(struct image *img, const struct iovec *iov, unsigned cnt, uint64_t offset,
			 bool fua)
{
	ssize_t n;

	do
		n = pwritev2(img->fd, iov, (int)cnt, (off_t)offset, fua ? RWF_DSYNC : 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* All of it, the part behind the end of the file as zeroes. */
static int read_all(struct image *img, char *buf, uint64_t len, uint64_t offset)
{
	while (len) {
		struct iovec iov = {buf, len};
		int64_t n = read_vec(img, &iov, 1, offset);

		if (n < 0)
			return (int)n;
		/* A direct read that ends between blocks has met the end of the file. */
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

static int write_all(struct image *img, const char *buf, uint64_t len, uint64_t offset, bool fua)
{
	while (len) {
		struct iovec iov = {(void *)buf, len};
		int64_t n = write_vec(img, &iov, 1, offset, fua);

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

/* Fill the host blocks at both ends of the aligned buffer that [offset, offset + len) does not
 * cover. */
static int read_edges(struct image *img, char *buf, uint64_t start, uint64_t end, uint64_t offset,
		      uint64_t len)
{
	int rc = 0;

	if (offset > start)
		rc = read_all(img, buf, img->align, start);
	if (!rc && offset + len < end && (end - start > img->align || offset == start))
		rc = read_all(img, buf + (end - start) - img->align, img->align, end - img->align);
	return rc;
}

/* The present piece of a write by way of its bounce buffer, which covers whole host blocks. */
static int64_t write_blocks(struct image *img, struct block_req *r)
{
	uint64_t start = r->io_offset, end = start + r->io_iov->iov_len;
	uint64_t offset = start + r->io_skip;
	int rc;

	if (r->piece == end - start)
		pthread_rwlock_rdlock(&img->rmw_lock);
	else
		pthread_rwlock_wrlock(&img->rmw_lock);
	rc = read_edges(img, r->bounce, start, end, offset, r->piece);
	if (!rc) {
		iov_to_buf(r->iov, r->iovcnt, r->skip + r->pos, r->bounce + r->io_skip, r->piece);
		rc = write_all(img, r->bounce, end - start, start, r->flags & BLOCK_FUA);
	}
	pthread_rwlock_unlock(&img->rmw_lock);
	return rc < 0 ? rc : (int64_t)(end - start);
}

static int write_zero_chunk(struct image *img, char *buf, uint64_t offset, uint64_t len)
{
	uint64_t start = ALIGN_DOWN(offset, (uint64_t)img->align);
	uint64_t end = ALIGN_UP(offset + len, (uint64_t)img->align);
	int rc = read_edges(img, buf, start, end, offset, len);

	if (rc < 0)
		return rc;
	memset(buf + (offset - start), 0, len);
	return write_all(img, buf, end - start, start, false);
}

/* Write zeroes the hard way, in bounded pieces. */
static int write_zeroes(struct image *img, uint64_t offset, uint64_t len)
{
	uint64_t room = MAX(ZERO_CHUNK, (uint64_t)img->align);
	void *buf;
	int rc = 0;

	if (posix_memalign(&buf, MAX(img->align, (unsigned)BOUNCE_PAGE), room))
		return -ENOMEM;
	while (len && !rc) {
		uint64_t n = MIN(len, room - (offset & (img->align - 1)));

		rc = write_zero_chunk(img, buf, offset, n);
		offset += n;
		len -= n;
	}
	free(buf);
	return rc;
}

/* The host cannot do this kind of operation at all, or not here. */
static bool unsupported(int err)
{
	return err == EOPNOTSUPP || err == ENOTTY || err == ENOSYS || err == EINVAL ||
	       err == ENODEV;
}

/* fallocate() in `mode`: 0, -errno, or -ENOTSUP (remembered in `flag`) when another way must be
 * found. */
static int allocate(struct image *img, int mode, uint64_t offset, uint64_t len, atomic_bool *flag)
{
	if (atomic_load_explicit(flag, memory_order_relaxed))
		return -ENOTSUP;
	while (fallocate(img->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) < 0) {
		if (errno == EINTR)
			continue;
		if (!unsupported(errno))
			return -errno;
		if (errno != EINVAL) /* that one may be about this range only */
			atomic_store_explicit(flag, true, memory_order_relaxed);
		return -ENOTSUP;
	}
	return 0;
}

/* Afterwards the range reads as zeroes, whatever it takes. */
static int zero_range(struct image *img, uint64_t offset, uint64_t len, bool unmap)
{
	uint64_t range[2] = {offset, len};
	int rc = -ENOTSUP;

	if (unmap)
		rc = allocate(img, FALLOC_FL_PUNCH_HOLE, offset, len, &img->no_punch);
	if (rc == -ENOTSUP && img->kind == IMAGE_DEVICE && !ioctl(img->fd, BLKZEROOUT, range))
		rc = 0;
	if (rc == -ENOTSUP && img->kind == IMAGE_FILE)
		rc = allocate(img, FALLOC_FL_ZERO_RANGE, offset, len, &img->no_zero_range);
	if (rc == -ENOTSUP)
		rc = write_zeroes(img, offset, len);
	return rc;
}

/* A hint: what the host cannot discard stays as it is. */
static int discard(struct image *img, uint64_t offset, uint64_t len)
{
	uint64_t start = ALIGN_UP(offset, (uint64_t)img->sector);
	uint64_t end = ALIGN_DOWN(offset + len, (uint64_t)img->sector);
	uint64_t range[2] = {start, end - start};
	int rc = 0;

	if (start >= end || atomic_load_explicit(&img->no_discard, memory_order_relaxed))
		return 0;
	if (img->kind == IMAGE_FILE)
		rc = allocate(img, FALLOC_FL_PUNCH_HOLE, start, end - start, &img->no_discard);
	else if (ioctl(img->fd, BLKDISCARD, range) < 0)
		rc = unsupported(errno) ? -ENOTSUP : -errno;
	if (rc == -ENOTSUP && img->kind == IMAGE_DEVICE)
		atomic_store_explicit(&img->no_discard, true, memory_order_relaxed);
	return rc == -ENOTSUP ? 0 : rc;
}

int64_t image_execute(struct image *img, struct block_req *r)
{
	int rc;

	switch (r->op) {
	case BLOCK_READ:
		return read_vec(img, r->io_iov, r->io_cnt, r->io_offset);
	case BLOCK_WRITE:
		if (r->zeroes)
			break;
		if (img->rmw)
			return write_blocks(img, r);
		return write_vec(img, r->io_iov, r->io_cnt, r->io_offset, r->flags & BLOCK_FUA);
	case BLOCK_FLUSH:
		return image_sync(img);
	case BLOCK_DISCARD:
		return discard(img, r->io_offset, r->len);
	case BLOCK_WRITE_ZEROES:
		break;
	}
	if (img->rmw)
		pthread_rwlock_wrlock(&img->rmw_lock);
	rc = zero_range(img, r->io_offset, r->len, r->flags & BLOCK_MAY_UNMAP);
	if (img->rmw)
		pthread_rwlock_unlock(&img->rmw_lock);
	if (!rc && r->flags & BLOCK_FUA)
		rc = image_sync(img);
	return rc;
}
