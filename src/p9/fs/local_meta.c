/* SPDX-License-Identifier: MIT */
/* local_meta.c - mapped-file: what is kept of a file in .virtfs_metadata beside it; see local.h
 *
 * A file of metadata has lines NAME=NUMBER; that of a hard link is a hard link too. Files of
 * metadata are opened like everything else: no links, regular files only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "p9/fs/local.h"

#define META	  ".virtfs_metadata"
#define META_ROOT ".virtfs_metadata_root"
#define META_MAX  512

bool local_hidden(const struct local *l, const char *name)
{
	return l->model == P9_MODEL_FILE && (!strcmp(name, META) || !strcmp(name, META_ROOT));
}

/* --- reading and writing --- */

/* The folder of metadata in `dir`; -ENOENT when there is none and it shall not be made. */
static int meta_dir(struct p9_node *dir, bool make)
{
	int fd = local_fd(dir), got;

	if (make && mkdirat(fd, META, 0700) < 0 && errno != EEXIST)
		return -errno;
	got = openat(fd, META, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return got < 0 ? -errno : got;
}

/* The file that belongs to `n`, open; with `make` for writing. */
static int meta_open(struct p9_node *n, bool make)
{
	int flags = (make ? O_RDWR | O_CREAT : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	struct stat st;
	int dir, fd;

	if (n->parent && !n->name)
		return -ENOENT;
	dir = n->parent ? meta_dir(n->parent, make) : local_fd(n);
	if (dir < 0)
		return dir;
	fd = openat(dir, n->parent ? n->name : META_ROOT, flags, 0600);
	if (fd < 0)
		fd = -errno;
	if (n->parent)
		close(dir);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	return -EINVAL;
}

/* The folder of metadata in `dir`, open for fsync(). */
static int meta_dir_open(struct p9_node *dir)
{
	int fd = meta_dir(dir, false), got;

	if (fd < 0)
		return fd;
	got = local_reopen(local_of(dir), fd, O_RDONLY | O_DIRECTORY);
	close(fd);
	return got;
}

static void parse_line(const char *line, struct local_creds *c)
{
	unsigned long long v;

	if (sscanf(line, "virtfs.uid=%llu", &v) == 1) {
		c->has_uid = true;
		c->uid = (uint32_t)v;
	} else if (sscanf(line, "virtfs.gid=%llu", &v) == 1) {
		c->has_gid = true;
		c->gid = (uint32_t)v;
	} else if (sscanf(line, "virtfs.mode=%llu", &v) == 1) {
		c->has_mode = true;
		c->mode = (uint32_t)v;
	} else if (sscanf(line, "virtfs.rdev=%llu", &v) == 1) {
		c->has_rdev = true;
		c->rdev = v;
	}
}

static void meta_read(int fd, struct local_creds *c)
{
	char text[META_MAX], *save = NULL;
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	text[MAX(len, 0)] = '\0';
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		parse_line(line, c);
}

/* Over what is there: on a full disk the room for it is had, and once given up somebody else's. */
static int meta_write(int fd, const struct local_creds *c)
{
	char text[META_MAX];
	int len = 0;
	ssize_t put;

	if (c->has_uid)
		len += sprintf(text + len, "virtfs.uid=%u\n", c->uid);
	if (c->has_gid)
		len += sprintf(text + len, "virtfs.gid=%u\n", c->gid);
	if (c->has_mode)
		len += sprintf(text + len, "virtfs.mode=%u\n", c->mode);
	if (c->has_rdev)
		len += sprintf(text + len, "virtfs.rdev=%llu\n", (unsigned long long)c->rdev);
	put = pwrite(fd, text, (size_t)len, 0);
	if (put != len)
		return put < 0 ? -errno : -ENOSPC;
	return ftruncate(fd, len) < 0 ? -errno : 0;
}

void local_meta_load(struct p9_node *n, struct local_creds *c)
{
	struct local *l = local_of(n);
	int fd;

	pthread_mutex_lock(&l->meta);
	fd = meta_open(n, false);
	if (fd >= 0) {
		meta_read(fd, c);
		close(fd);
	}
	pthread_mutex_unlock(&l->meta);
}

int local_meta_store(struct p9_node *n, const struct local_creds *c)
{
	struct local *l = local_of(n);
	int fd, rc;

	pthread_mutex_lock(&l->meta);
	rc = fd = meta_open(n, true);
	if (fd >= 0) {
		rc = meta_write(fd, c);
		close(fd);
	}
	pthread_mutex_unlock(&l->meta);
	return rc;
}

/* All of it is written, so nobody else may between reading and that. */
int local_meta_set(struct p9_node *n, const struct p9_attr *a)
{
	struct local *l = local_of(n);
	struct local_creds c = {0};
	int fd, rc;

	pthread_mutex_lock(&l->meta);
	rc = fd = meta_open(n, true);
	if (fd >= 0) {
		meta_read(fd, &c);
		local_creds_change(n, &c, a);
		rc = meta_write(fd, &c);
		close(fd);
	}
	pthread_mutex_unlock(&l->meta);
	return rc;
}

static int sync_and_close(int fd)
{
	int rc;

	/* What we cannot open for another reason is none of ours. */
	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -EIO ? fd : 0;
	/* There are file systems that cannot do that to a directory. */
	rc = fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
	close(fd);
	return rc;
}

int local_meta_sync(struct p9_node *n)
{
	int fd[3], rc = 0;

	if (local_of(n)->model != P9_MODEL_FILE)
		return 0;
	/* For as long as names count only: fsync() takes its time. */
	pthread_rwlock_rdlock(&n->fs->tree);
	fd[0] = meta_open(n, false);
	fd[1] = n->parent && n->name ? meta_dir_open(n->parent) : -ENOENT;
	fd[2] = S_ISDIR(n->type) ? meta_dir_open(n) : -ENOENT;
	pthread_rwlock_unlock(&n->fs->tree);
	for (unsigned i = 0; i < ARRAY_SIZE(fd); i++) {
		int one = sync_and_close(fd[i]);

		rc = rc < 0 ? rc : one;
	}
	return rc;
}

/* --- names of metadata --- */

static bool by_name(const struct p9_node *dir)
{
	return local_of(dir)->model == P9_MODEL_FILE;
}

void local_meta_unlink(struct p9_node *dir, const char *name)
{
	int fd = by_name(dir) ? meta_dir(dir, false) : -1;

	if (fd < 0)
		return;
	unlinkat(fd, name, 0);
	close(fd);
}

int local_meta_link(struct p9_node *n, struct p9_node *dir, const char *name)
{
	int from, to, rc;

	if (!by_name(dir) || !n->parent || !n->name)
		return 0;
	local_meta_unlink(dir, name);
	from = meta_dir(n->parent, false);
	if (from < 0)
		return from == -ENOENT ? 0 : from;
	rc = to = meta_dir(dir, true);
	if (to >= 0) {
		rc = linkat(from, n->name, to, name, 0) < 0 && errno != ENOENT ? -errno : 0;
		close(to);
	}
	close(from);
	return rc;
}

int local_meta_ready(struct p9_node *from, struct p9_node *to)
{
	int fd = by_name(from) ? meta_dir(from, false) : -ENOENT;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	close(fd);
	fd = meta_dir(to, true);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int local_meta_rename(struct p9_node *from, const char *name, struct p9_node *to,
		      const char *name_to)
{
	int a, b, rc;

	if (!by_name(from))
		return 0;
	/* That of a file which was replaced must not speak for the new one. */
	local_meta_unlink(to, name_to);
	a = meta_dir(from, false);
	if (a < 0)
		return a == -ENOENT ? 0 : a;
	rc = b = meta_dir(to, true);
	if (b >= 0) {
		rc = renameat(a, name, b, name_to) < 0 && errno != ENOENT ? -errno : 0;
		close(b);
	}
	close(a);
	return rc;
}

bool local_meta_clear(struct p9_node *dir, const char *name)
{
	bool cleared = false;
	int fd;

	if (!by_name(dir))
		return false;
	fd = openat(local_fd(dir), name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0) {
		cleared = unlinkat(fd, META, AT_REMOVEDIR) == 0;
		close(fd);
	}
	return cleared;
}
