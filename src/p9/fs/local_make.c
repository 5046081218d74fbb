/* SPDX-License-Identifier: MIT */
/* local_make.c - names of an exported folder: made, linked, moved, removed; see local.h
 *
 * A new file gets its owner and mode right after it was made. Until then it has a mode that gives
 * others no access. If something fails, it is removed again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "p9/fs/local.h"

static int check_visible(struct p9_node *dir, const char *name)
{
	return local_hidden(local_of(dir), name) ? -EINVAL : 0;
}

static bool write_target(int fd, const char *target)
{
	size_t len = strlen(target);

	return write(fd, target, len) == (ssize_t)len;
}

/* With the mapped models all files but directories are regular files on the host. */
static int make_mapped(const struct local *l, int dir, const char *name, const struct p9_new *what)
{
	int fd, rc = 0;

	if (S_ISDIR(what->mode))
		return mkdirat(dir, name, l->dmode) < 0 ? -errno : 0;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, l->fmode);
	if (fd < 0)
		return -errno;
	if (S_ISLNK(what->mode) && !write_target(fd, what->target)) {
		rc = -EIO;
		unlinkat(dir, name, 0);
	}
	close(fd);
	return rc;
}

static int make_plain(int dir, const char *name, const struct p9_new *what)
{
	int rc;

	if (S_ISDIR(what->mode))
		rc = mkdirat(dir, name, what->mode & 0700);
	else if (S_ISLNK(what->mode))
		rc = symlinkat(what->target, dir, name);
	else
		rc = mknodat(dir, name, what->mode & (S_IFMT | 0700), what->rdev);
	return rc < 0 ? -errno : 0;
}

static void undo_make(struct p9_node *dir, const char *name, const struct p9_new *what)
{
	unlinkat(local_fd(dir), name, S_ISDIR(what->mode) ? AT_REMOVEDIR : 0);
	local_meta_unlink(dir, name);
}

/* Can `n` be the file that was just made? The host may have put another one in its place. */
static bool is_new(const struct p9_node *n, const struct p9_new *what)
{
	mode_t type =
		local_mapped(local_of(n)) && !S_ISDIR(what->mode) ? S_IFREG : what->mode & S_IFMT;
	struct stat st;

	return n->type == type && fstat(local_fd(n), &st) == 0 &&
	       (S_ISDIR(type) || st.st_nlink == 1);
}

/* Get a node for the file that was just made, and give it its owner and mode. */
static int find_made(struct p9_node *dir, const char *name, const struct p9_new *what,
		     struct p9_node **out)
{
	int rc = local_walk(dir, name, out);

	if (rc < 0) {
		/* Without a node (for want of a descriptor for example) it must not stay. */
		if (rc != -ENOENT)
			undo_make(dir, name, what);
		return rc;
	}
	if (!is_new(*out, what)) {
		p9_node_put(*out);
		return -EEXIST;
	}
	rc = local_map_new(*out, what);
	if (rc < 0) {
		undo_make(dir, name, what);
		p9_node_put(*out);
	}
	return rc;
}

/* Make a regular file and keep it open. -EEXIST when there is a file of that name. */
static int create_file(struct p9_node *dir, const char *name, const struct p9_new *what, int flags,
		       struct p9_node **out, int *file)
{
	struct local *l = local_of(dir);
	mode_t mode = local_mapped(l) ? l->fmode : what->mode & 0700;
	int rc, path,
		fd = openat(local_fd(dir), name,
			    (flags & ~(O_TRUNC | O_DIRECTORY)) | O_CREAT | O_EXCL | O_NOFOLLOW |
				    O_CLOEXEC | O_NONBLOCK,
			    mode);

	if (fd < 0)
		return -errno;
	path = local_reopen(l, fd, O_PATH);
	rc = path < 0 ? path : local_node(l, dir, name, path, out);
	if (rc == 0) {
		rc = local_map_new(*out, what);
		if (rc < 0)
			p9_node_put(*out);
	}
	if (rc < 0) {
		undo_make(dir, name, what);
		close(fd);
		return rc;
	}
	*file = fd;
	return 0;
}

static int open_existing(struct p9_node *dir, const char *name, int flags, struct p9_node **out,
			 int *file)
{
	int rc = local_walk(dir, name, out);

	if (rc < 0)
		return rc;
	rc = local_open(*out, flags, file);
	if (rc < 0)
		p9_node_put(*out);
	return rc;
}

int local_make(struct p9_node *dir, const char *name, const struct p9_new *what, int flags,
	       struct p9_node **out, int *file)
{
	struct local *l = local_of(dir);
	int rc = check_visible(dir, name);

	if (rc < 0)
		return rc;
	if (file) {
		rc = create_file(dir, name, what, flags, out, file);
		return rc == -EEXIST && !(flags & O_EXCL)
			       ? open_existing(dir, name, flags, out, file)
			       : rc;
	}
	rc = local_mapped(l) ? make_mapped(l, local_fd(dir), name, what)
			     : make_plain(local_fd(dir), name, what);
	return rc < 0 ? rc : find_made(dir, name, what, out);
}

int local_link(struct p9_node *n, struct p9_node *dir, const char *name)
{
	int rc = check_visible(dir, name);

	if (rc < 0)
		return rc;
	/* This follows the link in /proc/self/fd, but not the file that it leads to, should that be
	 * a symbolic link. */
	if (linkat(local_of(n)->proc, local_proc_name(local_fd(n)).s, local_fd(dir), name,
		   AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	rc = local_meta_link(n, dir, name);
	if (rc < 0)
		unlinkat(local_fd(dir), name, 0);
	return rc;
}

/* Are both names of the same file? rename(2) then does nothing. */
static bool same_file(struct p9_node *from, const char *name, struct p9_node *to,
		      const char *name_to)
{
	struct stat a, b;

	return fstatat(local_fd(from), name, &a, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(local_fd(to), name_to, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Undo a rename, because the metadata could not follow. The file that it has replaced is gone all
 * the same. If the host has taken the old name meanwhile, the file keeps the new one. */
static void move_back(struct p9_node *from, const char *name, struct p9_node *to,
		      const char *name_to)
{
	int rc = renameat2(local_fd(to), name_to, local_fd(from), name, RENAME_NOREPLACE);

	if (rc < 0 && errno == EINVAL) /* the file system does not know RENAME_NOREPLACE */
		rc = renameat2(local_fd(to), name_to, local_fd(from), name, 0);
	if (rc < 0)
		p9_tree_renamed(from, name, to, name_to);
	else
		p9_tree_removed(to, name_to);
}

int local_rename(struct p9_node *from, const char *name, struct p9_node *to, const char *name_to)
{
	int rc = check_visible(from, name), tries = 0;
	struct local_held *replaced;

	if (rc == 0)
		rc = check_visible(to, name_to);
	if (rc < 0)
		return rc;
	if (same_file(from, name, to, name_to))
		return 1;
	rc = local_meta_ready(from, to);
	if (rc == 0)
		rc = local_held_begin(to, name_to, &replaced);
	if (rc < 0)
		return rc;
	do {
		rc = renameat2(local_fd(from), name, local_fd(to), name_to, 0) < 0 ? -errno : 0;
		/* rename(2) replaces an empty directory. One that the guest sees as empty may still
		 * have a folder of metadata in it. */
	} while ((rc == -ENOTEMPTY || rc == -EEXIST) && !tries++ && local_meta_clear(to, name_to));
	local_held_end(to, name_to, replaced, rc == 0);
	if (rc < 0)
		return rc;
	rc = local_meta_rename(from, name, to, name_to);
	if (rc < 0)
		move_back(from, name, to, name_to);
	return rc;
}

int local_unlink(struct p9_node *dir, const char *name, bool directory)
{
	struct local_held *removed;
	int rc, tries = 0;

	if (local_hidden(local_of(dir), name))
		return -ENOENT;
	rc = local_held_begin(dir, name, &removed);
	if (rc < 0)
		return rc;
	do
		rc = unlinkat(local_fd(dir), name, directory ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
	while ((rc == -ENOTEMPTY || rc == -EEXIST) && directory && !tries++ &&
	       local_meta_clear(dir, name));
	local_held_end(dir, name, removed, rc == 0);
	if (rc == 0)
		local_meta_unlink(dir, name);
	return rc;
}
