/* SPDX-License-Identifier: MIT */
/* lock.c - image locks that QEMU, qemu-img and other instances of this program understand
 *
 * Two byte ranges of the image represent permissions: a read lock on byte 100 + p means that its
 * holder uses permission p, one on byte 200 + p that it denies p to all others. A program that
 * wants to use or deny p first takes its own locks, then tests whether another one holds the
 * opposite byte. The locks belong to the open file description. So they do not conflict with other
 * locks of this description, they are not released when another descriptor of the file is closed,
 * and they end with the process. The locks are advisory.
 *
 * A disk uses "consistent read", and "write" unless it is read-only. It denies "write" to others
 * unless share-rw=on.
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

static int lock_set_byte(int fd, unsigned byte, short type)
{
	struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	while (fcntl(fd, F_OFD_SETLK, &fl) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Tells whether another open file description holds a lock on the byte. */
static bool lock_byte_is_held(int fd, unsigned byte)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return !fcntl(fd, F_OFD_GETLK, &fl) && fl.l_type != F_UNLCK;
}

/* Change the locks from the permissions `before`, which are held, to exactly those of `now`. */
static int lock_set_bytes(int fd, unsigned base, unsigned before, unsigned now)
{
	for (unsigned p = 0; p < PERMS; p++) {
		unsigned bit = 1u << p;
		int rc = 0;

		if ((before & bit) != (now & bit))
			rc = lock_set_byte(fd, base + p, now & bit ? F_RDLCK : F_UNLCK);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int lock_check_conflicts(struct image *img, unsigned perm, unsigned unshared, struct err *e)
{
	for (unsigned p = 0; p < PERMS; p++) {
		unsigned bit = 1u << p;

		if (perm & bit && lock_byte_is_held(img->fd, BYTE_UNSHARED + p))
			return err_set(e, -EBUSY,
				       "Failed to get \"%s\" lock (is another process using the "
				       "image '%s'?)",
				       perm_name[p], img->path);
		if (unshared & bit && lock_byte_is_held(img->fd, BYTE_PERM + p))
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
	/* Take the union of the old and the new locks, test for conflicts, then release what is no
	 * longer needed: so there is no moment without a lock. */
	rc = lock_set_bytes(img->fd, BYTE_PERM, img->locked_perm, all_perm);
	if (!rc)
		rc = lock_set_bytes(img->fd, BYTE_UNSHARED, img->locked_unshared, all_unshared);
	if (rc < 0)
		err_set(e, rc, "Failed to lock the image '%s': %s", img->path, strerror(-rc));
	else
		rc = lock_check_conflicts(img, perm, unshared, e);
	if (rc < 0) {
		perm = img->locked_perm;
		unshared = img->locked_unshared;
	}
	if (lock_set_bytes(img->fd, BYTE_PERM, all_perm, perm) < 0 ||
	    lock_set_bytes(img->fd, BYTE_UNSHARED, all_unshared, unshared) < 0)
		log_warn("cannot give up a lock on the image '%s'", img->path);
	img->locked_perm = perm;
	img->locked_unshared = unshared;
	return rc;
}
