/* SPDX-License-Identifier: MIT */
/* lock.c - image locks that QEMU, qemu-img and other instances of this program understand
 *
 * Two byte ranges of the image stand for permissions: a read lock on byte 100 + p says "I use
 * permission p", one on 200 + p "nobody else may use p". Whoever wants p first takes its own locks,
 * then asks whether anybody holds the opposite byte. The locks belong to the open file description,
 * so they neither conflict with our own nor vanish when another descriptor of the file is closed;
 * they end with the process. The locks are advisory.
 *
 * A disk uses "consistent read", and "write" unless it is read-only, and denies "write" unless
 * share-rw=on.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "block/internal.h"

#define BYTE_PERM     100
#define BYTE_UNSHARED 200
#define PERMS	      2

static const char *const perm_name[PERMS] = {"consistent read", "write"};

static int set_byte(int fd, unsigned byte, short type)
{
	struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	while (fcntl(fd, F_OFD_SETLK, &fl) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Does anybody else hold the byte? */
static bool byte_taken(int fd, unsigned byte)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return !fcntl(fd, F_OFD_GETLK, &fl) && fl.l_type != F_UNLCK;
}

/* Take or give up bytes so that exactly those of `now` are held; `before` is what is held. */
static int set_bytes(int fd, unsigned base, unsigned before, unsigned now)
{
	for (unsigned p = 0; p < PERMS; p++) {
		unsigned bit = 1u << p;
		int rc = 0;

		if ((before & bit) != (now & bit))
			rc = set_byte(fd, base + p, now & bit ? F_RDLCK : F_UNLCK);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int check(struct image *img, unsigned perm, unsigned unshared, struct err *e)
{
	for (unsigned p = 0; p < PERMS; p++) {
		unsigned bit = 1u << p;

		if (perm & bit && byte_taken(img->fd, BYTE_UNSHARED + p))
			return err_set(e, -EBUSY,
				       "Failed to get \"%s\" lock (is another process using the "
				       "image '%s'?)",
				       perm_name[p], img->path);
		if (unshared & bit && byte_taken(img->fd, BYTE_PERM + p))
			return err_set(e, -EBUSY,
				       "Failed to get shared \"%s\" lock (is another process using "
				       "the image '%s'?)",
				       perm_name[p], img->path);
	}
	return 0;
}

int image_lock(struct image *img, unsigned perm, unsigned unshared, struct err *e)
{
	unsigned all_perm = perm | img->locked_perm, all_unshared = unshared | img->locked_unshared;
	int rc;

	if (!img->locking)
		return 0;
	/* First more, then the question, then less: so nobody slips in between. */
	rc = set_bytes(img->fd, BYTE_PERM, img->locked_perm, all_perm);
	if (!rc)
		rc = set_bytes(img->fd, BYTE_UNSHARED, img->locked_unshared, all_unshared);
	if (rc < 0)
		err_set(e, rc, "Failed to lock the image '%s': %s", img->path, strerror(-rc));
	else
		rc = check(img, perm, unshared, e);
	if (rc < 0) {
		perm = img->locked_perm;
		unshared = img->locked_unshared;
	}
	if (set_bytes(img->fd, BYTE_PERM, all_perm, perm) < 0 ||
	    set_bytes(img->fd, BYTE_UNSHARED, all_unshared, unshared) < 0)
		log_warn("cannot give up a lock on the image '%s'", img->path);
	img->locked_perm = perm;
	img->locked_unshared = unshared;
	return rc;
}
