/* SPDX-License-Identifier: MIT */
/* local_meta.c - mapped-file: what is kept of a file in .virtfs_metadata beside it; see local.h
 *
 * A file of metadata has lines NAME=NUMBER. When the guest makes a hard link, one is made of its
 * file of metadata too. Files of metadata are opened like all others: regular files only, and no
 * links are followed.
 *
 * As long as a file has its name, its metadata are found by that. When the guest removes or
 * replaces a file that it holds, the file of metadata loses its name, too; before that the nodes of
 * the file get a descriptor of it, which they share (struct local_held). So it lives as long as
 * they do, and remains the one of other hard links. Where the file has no metadata, or the budget
 * of descriptors is used up, the numbers are kept in memory instead.
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

/* Open the folder of metadata in `dir` (O_PATH); with `make`, make it first if need be. */
static int meta_dir(struct p9_node *dir, bool make)
{
	int fd = local_fd(dir), got;

	if (make && mkdirat(fd, META, 0700) < 0 && errno != EEXIST)
		return -errno;
	got = openat(fd, META, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return got < 0 ? -errno : got;
}

struct local_held {
	atomic_uint refs;
	int fd; /* O_PATH, from the budget; -1: `creds` has the numbers */
	struct local_creds creds;
};

static struct local_held *held_of(const struct p9_node *n)
{
	return atomic_load(&((const struct local_node *)n)->held);
}

/* Has the node lost its name? (The root, which never had one, has not.) */
static bool is_nameless(const struct p9_node *n)
{
	return n->parent && !n->name;
}

static bool is_regular(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Open the file of metadata of `n`: for reading, or with `make` also for writing, and made if need
 * be. */
static int meta_open(struct p9_node *n, bool make)
{
	int flags = (make ? O_RDWR | O_CREAT : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	const struct local_held *h = is_nameless(n) ? held_of(n) : NULL;
	int dir, fd;

	if (is_nameless(n))
		return h && h->fd >= 0 ? local_reopen(local_of(n), h->fd, make ? O_RDWR : O_RDONLY)
				       : -ENOENT;
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
	if (is_regular(fd))
		return fd;
	close(fd);
	return -EINVAL;
}

/* Open the folder of metadata in `dir` in a way that fsync() takes. */
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

/* Overwrite the file, then cut it to its length. To empty it first would give up its block, which
 * on a full disk somebody else takes. */
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

/* The numbers in memory of `n`, which has neither a name nor a file of metadata. NULL when there
 * are none; with `make` they are made, and NULL means out of memory. The caller holds l->meta. */
static struct local_creds *held_creds(struct p9_node *n, bool make)
{
	struct local_held *h = held_of(n);

	if (!h && make && (h = calloc(1, sizeof(*h)))) {
		atomic_init(&h->refs, 1);
		h->fd = -1;
		atomic_store(&((struct local_node *)n)->held, h);
	}
	return h ? &h->creds : NULL;
}

void local_meta_load(struct p9_node *n, struct local_creds *c)
{
	struct local *l = local_of(n);
	const struct local_creds *held;
	int fd;

	pthread_mutex_lock(&l->meta);
	fd = meta_open(n, false);
	if (fd >= 0) {
		meta_read(fd, c);
		close(fd);
	} else if (is_nameless(n) && (held = held_creds(n, false))) {
		*c = *held;
	}
	pthread_mutex_unlock(&l->meta);
}

/* Store `all` as the metadata of `n`; or, where that is NULL, change them by `a`. They are written
 * as a whole, so this locks out others between reading and writing. */
static int meta_update(struct p9_node *n, const struct local_creds *all, const struct p9_attr *a)
{
	struct local *l = local_of(n);
	struct local_creds c = {0}, *held;
	int fd, rc;

	pthread_mutex_lock(&l->meta);
	rc = fd = meta_open(n, true);
	if (fd >= 0) {
		if (!all) {
			meta_read(fd, &c);
			local_creds_change(n, &c, a);
		}
		rc = meta_write(fd, all ? all : &c);
		close(fd);
	} else if (fd == -ENOENT && is_nameless(n)) {
		held = held_creds(n, true);
		rc = held ? 0 : -ENOMEM;
		if (held && all)
			*held = *all;
		else if (held)
			local_creds_change(n, held, a);
	}
	pthread_mutex_unlock(&l->meta);
	return rc;
}

int local_meta_store(struct p9_node *n, const struct local_creds *c)
{
	return meta_update(n, c, NULL);
}

int local_meta_set(struct p9_node *n, const struct p9_attr *a)
{
	return meta_update(n, NULL, a);
}

/* Is this an error for want of something, which says nothing of whether there are metadata? With
 * other errors there are none: what cannot be opened is no file that we have made. */
static bool is_shortage(int rc)
{
	return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -EIO;
}

static int sync_and_close(int fd)
{
	int rc;

	if (fd < 0)
		return is_shortage(fd) ? fd : 0;
	/* EINVAL: some file systems have no fsync() of directories. */
	rc = fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
	close(fd);
	return rc;
}

int local_meta_sync(struct p9_node *n)
{
	int fd[3], rc = 0;

	if (local_of(n)->model != P9_MODEL_FILE)
		return 0;
	/* Only while names are used: fsync() may take long, and others wait for this lock. */
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

/* Give the metadata of `n`, which has lost its name, the name `name` in the folder `to`. */
static int link_nameless(struct p9_node *n, int to, const char *name)
{
	struct local *l = local_of(n);
	const struct local_held *h = held_of(n);
	struct local_creds c = {0};
	int fd, rc;

	if (!h)
		return 0;
	/* This works as long as the file of metadata has another name left. */
	if (h->fd >= 0 &&
	    linkat(l->proc, local_proc_name(h->fd).s, to, name, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	local_meta_load(n, &c);
	fd = openat(to, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = meta_write(fd, &c);
	close(fd);
	if (rc < 0)
		unlinkat(to, name, 0);
	return rc;
}

int local_meta_link(struct p9_node *n, struct p9_node *dir, const char *name)
{
	int from, to, rc;

	if (!by_name(dir) || !n->parent)
		return 0;
	local_meta_unlink(dir, name);
	if (!n->name) {
		rc = to = meta_dir(dir, true);
		if (to >= 0) {
			rc = link_nameless(n, to, name);
			close(to);
		}
		return rc;
	}
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
	/* If the moved file has no metadata, it must not inherit those of the one that it replaced.
	 */
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

/* --- files that lose their name --- */

void local_held_put(struct local *l, struct local_held *h)
{
	if (!h || atomic_fetch_sub(&h->refs, 1) != 1)
		return;
	if (h->fd >= 0) {
		close(h->fd);
		p9_file_give(&l->fs);
	}
	free(h);
}

/* Open the metadata of the file `name` in `dir` (O_PATH). A descriptor, or -errno. */
static int open_path(struct p9_node *dir, const char *name)
{
	int folder = meta_dir(dir, false), fd;

	if (folder < 0)
		return folder;
	fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	close(folder);
	if (fd >= 0 && !is_regular(fd)) {
		close(fd);
		fd = -EINVAL;
	}
	return fd;
}

/* Copy the numbers into memory, as the budget has no descriptor left. Closes `fd`. */
static int copy_to_memory(struct local *l, struct local_held *h, int fd)
{
	int file = local_reopen(l, fd, O_RDONLY);

	close(fd);
	if (file < 0)
		return file;
	meta_read(file, &h->creds);
	close(file);
	return 0;
}

int local_held_begin(struct p9_node *dir, const char *name, struct local_held **out)
{
	struct local_held *h;
	int fd, rc = 0;

	*out = NULL;
	if (!by_name(dir) || !p9_tree_knows(dir, name))
		return 0;
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	atomic_init(&h->refs, 1);
	h->fd = -1;
	fd = open_path(dir, name);
	if (fd >= 0 && p9_file_take(dir->fs) == 0)
		h->fd = fd;
	else if (fd >= 0)
		rc = copy_to_memory(local_of(dir), h, fd);
	else
		rc = is_shortage(fd) ? fd : 0;
	if (rc < 0) {
		local_held_put(local_of(dir), h);
		return rc;
	}
	*out = h;
	return 0;
}

static void give_held(struct p9_node *n, void *arg)
{
	struct local_node *ln = (struct local_node *)n;
	struct local_held *h = arg;

	if (atomic_load(&ln->held))
		return;
	atomic_fetch_add(&h->refs, 1);
	atomic_store(&ln->held, h);
}

void local_held_end(struct p9_node *dir, const char *name, struct local_held *h, bool lost)
{
	if (h && lost)
		p9_tree_each(dir, name, give_held, h);
	local_held_put(local_of(dir), h);
}
