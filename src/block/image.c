/* SPDX-License-Identifier: MIT */
/* image.c - open image files and devices, and find out what the host can do with them
 *
 * An image is opened once, read-write or read-only, with or without O_DIRECT, and stays open:
 * nothing is opened by path later. Control thread only.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "block/internal.h"

#define ALIGN_GUESS 4096
#define ALIGN_MAX   65536

/* Returns `path` as an absolute path, so that it stays valid when the working directory changes.
 * NULL: out of memory, or the working directory is unknown. */
static char *path_make_absolute(const char *path)
{
	char cwd[PATH_MAX], *out;

	if (*path == '/')
		return strdup(path);
	if (!getcwd(cwd, sizeof(cwd)) ||
	    asprintf(&out, "%s/%s", strcmp(cwd, "/") ? cwd : "", path) < 0)
		return NULL;
	return out;
}

static int image_open_fd(const struct image_opts *o, const char *path, struct err *e)
{
	/* Without O_NONBLOCK the open of a FIFO would wait. The flag is cleared afterwards, as
	 * io_uring would return EAGAIN with it. */
	int flags = (o->read_only ? O_RDONLY : O_RDWR) | (o->direct ? O_DIRECT : 0);
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd >= 0 && fcntl(fd, F_SETFL, flags & O_DIRECT) < 0) {
		int saved = errno;

		close(fd);
		errno = saved;
		fd = -1;
	}
	if (fd >= 0)
		return fd;
	if (errno == EINVAL && o->direct)
		return err_set(e, -EINVAL,
			       "Could not open '%s': its file system has no O_DIRECT "
			       "(cache=writeback works)",
			       path);
	/* xl restarts the device model of a rebooted guest in another directory. */
	if (*o->filename != '/')
		return err_set(e, -errno,
			       "Could not open '%s' (a relative path, taken as '%s'): %s",
			       o->filename, path, strerror(errno));
	return err_set(e, -errno, "Could not open '%s': %s", path, strerror(errno));
}

/* Tells whether a direct read of `align` bytes works. */
static bool fd_can_read_direct(int fd, void *buf, unsigned align)
{
	return pread(fd, buf, align, 0) >= 0;
}

/* Returns the alignment in bytes that O_DIRECT requires for offsets and lengths. */
static unsigned fd_probe_align(int fd)
{
	unsigned align = SECTOR;
	void *buf;

#ifdef STATX_DIOALIGN
	struct statx stx;

	if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) && stx.stx_mask & STATX_DIOALIGN) {
		if (!stx.stx_dio_offset_align) /* works, through the page cache */
			return SECTOR;
		return MAX(stx.stx_dio_offset_align, (unsigned)SECTOR);
	}
#endif
	if (posix_memalign(&buf, ALIGN_MAX, ALIGN_MAX))
		return ALIGN_GUESS;
	while (align < ALIGN_MAX && !fd_can_read_direct(fd, buf, align))
		align *= 2;
	free(buf);
	return align < ALIGN_MAX ? align : ALIGN_GUESS;
}

static int image_probe_device(struct image *img, struct err *e)
{
	int sector = SECTOR;

	if (ioctl(img->fd, BLKGETSIZE64, &img->size) < 0)
		return err_set(e, -errno, "Could not get the size of '%s': %s", img->path,
			       strerror(errno));
	if (ioctl(img->fd, BLKSSZGET, &sector) < 0 || sector < SECTOR)
		sector = SECTOR;
	img->sector = sector;
	return 0;
}

/* Tells whether the file system supports OFD locks; where it does not, F_OFD_GETLK fails. */
static bool fd_can_lock(int fd)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};

	return !fcntl(fd, F_OFD_GETLK, &fl);
}

static int image_probe(struct image *img, const struct image_opts *o, struct err *e)
{
	struct statfs fs;
	struct stat st;
	int rc;

	if (fstat(img->fd, &st) < 0)
		return err_set(e, -errno, "Could not stat '%s': %s", img->path, strerror(errno));
	if (S_ISBLK(st.st_mode) && (o->any_kind || o->kind == IMAGE_DEVICE))
		img->kind = IMAGE_DEVICE;
	else if (S_ISREG(st.st_mode) && (o->any_kind || o->kind == IMAGE_FILE))
		img->kind = IMAGE_FILE;
	else if (o->kind == IMAGE_DEVICE && !o->any_kind)
		return err_set(e, -EINVAL,
			       "'host_device' driver requires '%s' to be a block device",
			       img->path);
	else
		return err_set(e, -EINVAL, "'file' driver requires '%s' to be a regular file%s",
			       img->path, o->any_kind ? " or a block device" : "");

	img->in_memory =
		img->kind == IMAGE_FILE && !fstatfs(img->fd, &fs) && fs.f_type == TMPFS_MAGIC;
	img->sector = 1;
	img->size = (uint64_t)st.st_size;
	if (img->kind == IMAGE_DEVICE && (rc = image_probe_device(img, e)) < 0)
		return rc;
	img->size = ALIGN_UP(img->size, (uint64_t)SECTOR);
	img->align = img->direct ? fd_probe_align(img->fd) : 1;
	if (img->align > BOUNCE_MAX / 4 || !is_pow2(img->align))
		return err_set(e, -EINVAL,
			       "'%s' asks for an alignment of %u bytes: use cache=writeback",
			       img->path, img->align);

	img->locking = o->locking != OPT_OFF;
	if (img->locking && !fd_can_lock(img->fd)) {
		if (o->locking == OPT_ON)
			return err_set(e, -ENOTSUP, "'%s' cannot be locked (locking=on): %s",
				       img->path, strerror(errno));
		img->locking = false;
	}
	return 0;
}

int image_open(struct image **out, const struct image_opts *o, struct err *e)
{
	struct image *img = calloc(1, sizeof(*img));
	int rc = 0;

	if (!img)
		return err_nomem(e);
	list_init(&img->link);
	pthread_rwlock_init(&img->rmw_lock, NULL);
	img->refs = 1;
	img->fd = -1;
	img->kind = o->kind;
	img->read_only = o->read_only;
	img->no_flush = o->no_flush;
	img->aio = o->aio;
	img->align = img->sector = 1;
	if (o->kind == IMAGE_NULL) {
		img->size = ALIGN_UP(o->size, (uint64_t)SECTOR);
		img->read_zeroes = o->read_zeroes;
	} else {
		img->direct = o->direct;
		img->path = path_make_absolute(o->filename);
		if (!img->path)
			rc = err_set(e, -errno, "Could not resolve '%s': %s", o->filename,
				     strerror(errno));
		else
			rc = img->fd = image_open_fd(o, img->path, e);
		if (rc >= 0)
			rc = image_probe(img, o, e);
	}
	if (rc < 0) {
		image_unref(img);
		return rc;
	}
	*out = img;
	return 0;
}

void image_unref(struct image *img)
{
	if (!img || --img->refs)
		return;
	list_del(&img->link);
	/* A network file system may write its cached data, and so fail, only in close(). */
	if (img->fd >= 0 && close(img->fd) < 0)
		log_err("closing '%s': %s", img->path, strerror(errno));
	pthread_rwlock_destroy(&img->rmw_lock);
	free(img->path);
	free(img);
}

void image_sync_failed(struct image *img, int rc, bool written, struct block *told)
{
	unsigned before;

	/* The kernel may have dropped pages that it could not write, and it would report success to
	 * the next flush. A write can also fail by itself, as for lack of space: then the page
	 * cache has lost nothing. */
	if (!img->direct && (!written || rc == -EIO)) {
		atomic_store(&img->lost, true);
		return;
	}
	atomic_store(&img->sync_error, rc);
	before = atomic_fetch_add(&img->sync_errors, 1);
	if (told)
		atomic_compare_exchange_strong(&told->errors_told, &before, before + 1);
}

uint64_t image_allocated(const struct image *img)
{
	struct stat st;

	if (img->kind != IMAGE_FILE || fstat(img->fd, &st) < 0)
		return 0;
	return (uint64_t)st.st_blocks * 512;
}
