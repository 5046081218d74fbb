/* SPDX-License-Identifier: MIT */
/* local_map.c - owner, mode and device number of the guest's files; see local.h
 *
 * With the mapped models four numbers are kept of each file; where one is missing, the guest sees
 * the host's. With mapped-xattr they are attributes of the file; that is done here. For mapped-file
 * see local_meta.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/util.h"
#include "p9/fs/local.h"

/* --- mapped-xattr --- */

/* A symbolic link, a device or a socket, which the host has put there, cannot have user attributes.
 */
static bool has_xattrs(const struct p9_node *n)
{
	return (S_ISREG(n->type) || S_ISDIR(n->type)) && !atomic_load(&local_of(n)->no_paths);
}

static bool get_number(const char *path, const char *name, void *to, size_t size)
{
	return getxattr(path, name, to, size) == (ssize_t)size;
}

static void xattr_load(struct p9_node *n, struct local_creds *c)
{
	struct local_name path = local_proc_name(local_fd(n));

	c->has_uid = get_number(path.s, "user.virtfs.uid", &c->uid, 4);
	c->has_gid = get_number(path.s, "user.virtfs.gid", &c->gid, 4);
	c->has_mode = get_number(path.s, "user.virtfs.mode", &c->mode, 4);
	c->has_rdev = get_number(path.s, "user.virtfs.rdev", &c->rdev, 8);
	c->uid = le32toh(c->uid);
	c->gid = le32toh(c->gid);
	c->mode = le32toh(c->mode);
	c->rdev = le64toh(c->rdev);
}

static int put_number(const char *path, const char *name, uint64_t value, size_t size)
{
	value = htole64(value);
	return setxattr(path, name, &value, size, 0) < 0 ? -errno : 0;
}

static int xattr_store(struct p9_node *n, const struct local_creds *c)
{
	struct local_name path = local_proc_name(local_fd(n));
	int rc = 0;

	if (c->has_uid)
		rc = put_number(path.s, "user.virtfs.uid", c->uid, 4);
	if (rc == 0 && c->has_gid)
		rc = put_number(path.s, "user.virtfs.gid", c->gid, 4);
	if (rc == 0 && c->has_mode)
		rc = put_number(path.s, "user.virtfs.mode", c->mode, 4);
	if (rc == 0 && c->has_rdev)
		rc = put_number(path.s, "user.virtfs.rdev", c->rdev, 8);
	return rc;
}

/* --- all models --- */

static void load_creds(struct p9_node *n, struct local_creds *c)
{
	memset(c, 0, sizeof(*c));
	if (local_of(n)->model == P9_MODEL_FILE)
		local_meta_load(n, c);
	else if (has_xattrs(n))
		xattr_load(n, c);
}

static int store_creds(struct p9_node *n, const struct local_creds *c)
{
	if (local_of(n)->model == P9_MODEL_FILE)
		return local_meta_store(n, c);
	return has_xattrs(n) ? xattr_store(n, c) : -EPERM;
}

void local_map_stat(struct p9_node *n, struct stat *st)
{
	struct local_creds c;

	if (!local_mapped(local_of(n)))
		return;
	load_creds(n, &c);
	if (c.has_uid)
		st->st_uid = c.uid;
	if (c.has_gid)
		st->st_gid = c.gid;
	/* Metadata cannot make a directory of a file, nor a file of a directory. */
	if (c.has_mode && S_ISDIR(c.mode) == S_ISDIR(st->st_mode))
		st->st_mode = c.mode;
	if (c.has_rdev)
		st->st_rdev = c.rdev;
}

/* With the models that do not map: set owner and mode of the host's file. */
static int set_plain(struct p9_node *n, const struct p9_new *what)
{
	struct local *l = local_of(n);

	if (fchownat(local_fd(n), "", what->uid, what->gid, AT_EMPTY_PATH) < 0 &&
	    l->model != P9_MODEL_NONE)
		return -errno;
	/* After the owner: chown() clears bits of the mode. And the mode at open() or mkdir() was
	 * cut by the umask. */
	if (!S_ISLNK(n->type) &&
	    fchmodat(l->proc, local_proc_name(local_fd(n)).s, what->mode & 07777, 0) < 0 &&
	    l->model != P9_MODEL_NONE)
		return -errno;
	return 0;
}

int local_map_new(struct p9_node *n, const struct p9_new *what)
{
	struct local_creds c = {
		.has_uid = true,
		.has_gid = true,
		.has_mode = true,
		.has_rdev = S_ISCHR(what->mode) || S_ISBLK(what->mode),
		.uid = what->uid,
		.gid = what->gid,
		.mode = what->mode,
		.rdev = what->rdev,
	};

	return local_mapped(local_of(n)) ? store_creds(n, &c) : set_plain(n, what);
}

void local_creds_change(const struct p9_node *n, struct local_creds *c, const struct p9_attr *a)
{
	if (a->valid & P9_SET_UID) {
		c->has_uid = true;
		c->uid = a->uid;
	}
	if (a->valid & P9_SET_GID) {
		c->has_gid = true;
		c->gid = a->gid;
	}
	if (a->valid & P9_SET_MODE) {
		c->mode = ((c->has_mode ? c->mode : n->type) & S_IFMT) | (a->mode & 07777);
		c->has_mode = true;
	}
}

/* Write only the numbers that change, as another request may be changing the others. */
static int xattr_set(struct p9_node *n, const struct p9_attr *a)
{
	struct local_creds c;

	if (!has_xattrs(n))
		return -EPERM;
	xattr_load(n, &c);
	local_creds_change(n, &c, a);
	c.has_uid = a->valid & P9_SET_UID;
	c.has_gid = a->valid & P9_SET_GID;
	c.has_mode = a->valid & P9_SET_MODE;
	c.has_rdev = false;
	return xattr_store(n, &c);
}

int local_map_set(struct p9_node *n, const struct p9_attr *a)
{
	return local_of(n)->model == P9_MODEL_FILE ? local_meta_set(n, a) : xattr_set(n, a);
}
