/* SPDX-License-Identifier: MIT */
/* local.c - see local.h; nodes, attributes and data */
#include "p9/fs/local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

#define DIRENTS (32 * 1024) /* bytes of entries that one getdents64() returns at most */

struct local_name local_proc_name(int fd)
{
	struct local_name name;

	snprintf(name.s, sizeof(name.s), "%d", fd);
	return name;
}

int local_reopen(const struct local *l, int fd, int flags)
{
	int got = openat(l->proc, local_proc_name(fd).s, flags | O_CLOEXEC);

	return got < 0 ? -errno : got;
}

/* --- nodes --- */

int local_node(struct local *l, struct p9_node *dir, const char *name, int fd, struct p9_node **out)
{
	struct local_node *n = calloc(1, sizeof(*n));
	struct stat st;
	int rc = n ? p9_file_take(&l->fs) : -ENOMEM;

	if (rc == 0) {
		if (fstat(fd, &st) < 0)
			rc = -errno;
		else if (l->fs.qids.mode == P9_DEVS_FORBID && st.st_dev != l->fs.qids.root)
			rc = -ENODEV;
		else
			rc = p9_node_init(&n->n, &l->fs, dir, name, &st);
		if (rc < 0)
			p9_file_give(&l->fs);
	}
	if (rc < 0) {
		free(n);
		close(fd);
		return rc;
	}
	n->fd = fd;
	*out = &n->n;
	return 0;
}

static void local_forget(struct p9_node *n)
{
	local_held_put(local_of(n), ((struct local_node *)n)->held);
	close(local_fd(n));
	p9_file_give(n->fs);
	free(n);
}

static int local_root(struct p9_fs *fs, struct p9_node **out)
{
	struct local *l = (struct local *)fs;
	int fd = fcntl(l->root, F_DUPFD_CLOEXEC, 3);

	return fd < 0 ? -errno : local_node(l, NULL, NULL, fd, out);
}

int local_walk(struct p9_node *dir, const char *name, struct p9_node **out)
{
	struct local *l = local_of(dir);
	int fd;

	if (local_hidden(l, name))
		return -ENOENT;
	fd = openat(local_fd(dir), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : local_node(l, dir, name, fd, out);
}

/* --- attributes --- */

static int local_getattr(struct p9_node *n, struct stat *st)
{
	if (fstat(local_fd(n), st) < 0)
		return -errno;
	local_map_stat(n, st);
	return 0;
}

static int set_owner(struct p9_node *n, const struct p9_attr *a)
{
	uid_t uid = a->valid & P9_SET_UID ? a->uid : (uid_t)-1;
	gid_t gid = a->valid & P9_SET_GID ? a->gid : (gid_t)-1;

	if (fchownat(local_fd(n), "", uid, gid, AT_EMPTY_PATH) == 0)
		return 0;
	return local_of(n)->model == P9_MODEL_NONE && errno == EPERM ? 0 : -errno;
}

static int set_mode(struct p9_node *n, mode_t mode)
{
	/* Linux has no modes of symbolic links, and fchmodat() below would follow this one. */
	if (S_ISLNK(n->type))
		return -EOPNOTSUPP;
	return fchmodat(local_of(n)->proc, local_proc_name(local_fd(n)).s, mode, 0) ? -errno : 0;
}

static int set_size(struct p9_node *n, int file, uint64_t size)
{
	int fd = file, rc;

	if (!S_ISREG(n->type))
		return S_ISDIR(n->type) ? -EISDIR : -EINVAL;
	if (fd < 0)
		fd = local_reopen(local_of(n), local_fd(n), O_WRONLY | O_NONBLOCK);
	if (fd < 0)
		return fd;
	rc = ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
	if (fd != file)
		close(fd);
	return rc;
}

static int set_times(struct p9_node *n, const struct p9_attr *a)
{
	struct timespec t[2] = {a->atime, a->mtime};

	return utimensat(local_of(n)->proc, local_proc_name(local_fd(n)).s, t, 0) ? -errno : 0;
}

static int local_setattr(struct p9_node *n, int file, const struct p9_attr *a)
{
	bool mapped = local_mapped(local_of(n));
	int rc = 0;

	if (mapped && a->valid & (P9_SET_UID | P9_SET_GID | P9_SET_MODE))
		rc = local_map_set(n, a);
	/* The owner first: chown() clears the set-user-ID and set-group-ID bits of the mode. */
	if (!mapped && a->valid & (P9_SET_UID | P9_SET_GID))
		rc = set_owner(n, a);
	if (!mapped && rc == 0 && a->valid & P9_SET_MODE)
		rc = set_mode(n, a->mode);
	if (rc == 0 && a->valid & P9_SET_SIZE)
		rc = set_size(n, file, a->size);
	if (rc == 0 && a->valid & (P9_SET_ATIME | P9_SET_MTIME))
		rc = set_times(n, a);
	return rc;
}

static int local_statfs(struct p9_node *n, struct statfs *st)
{
	return fstatfs(local_fd(n), st) < 0 ? -errno : 0;
}

static ssize_t local_readlink(struct p9_node *n, char *buf, size_t size)
{
	struct local *l = local_of(n);
	struct stat st;
	ssize_t len;
	int fd;

	if (!local_mapped(l) || S_ISLNK(n->type)) {
		len = readlinkat(local_fd(n), "", buf, size);
		/* For a file that is no link readlinkat("") says ENOENT, readlink(2) EINVAL. */
		return len >= 0 ? len : errno == ENOENT ? -EINVAL : -errno;
	}
	len = local_getattr(n, &st);
	if (len < 0 || !S_ISLNK(st.st_mode) || !S_ISREG(n->type))
		return len < 0 ? len : -EINVAL;
	fd = local_reopen(l, local_fd(n), O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return fd;
	len = read(fd, buf, size);
	if (len < 0)
		len = -errno;
	close(fd);
	return len;
}

/* --- data --- */

int local_open(struct p9_node *n, int flags, int *file)
{
	int fd;

	if (S_ISLNK(n->type))
		return -ELOOP;
	if (!S_ISREG(n->type) && !S_ISDIR(n->type))
		return -ENXIO;
	fd = local_reopen(local_of(n), local_fd(n), flags | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fd;
	*file = fd;
	return 0;
}

static void local_close(struct p9_node *n, int file)
{
	close(file);
}

static ssize_t local_read(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			  uint64_t off)
{
	ssize_t got = preadv(file, iov, (int)cnt, (off_t)off);

	return got < 0 ? -errno : got;
}

static ssize_t local_write(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			   uint64_t off)
{
	ssize_t put = pwritev(file, iov, (int)cnt, (off_t)off);

	return put < 0 ? -errno : put;
}

static int local_fsync(struct p9_node *n, int file, bool datasync)
{
	if ((datasync ? fdatasync(file) : fsync(file)) < 0)
		return -errno;
	return datasync ? 0 : local_meta_sync(n);
}

/* struct linux_dirent64, which getdents64() fills in. */
struct kernel_dirent {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

static int show_entry(struct p9_node *n, const struct kernel_dirent *k, struct p9_dirent *d)
{
	struct local *l = local_of(n);

	*d = (struct p9_dirent){k->d_ino, (uint64_t)k->d_off, k->d_type, k->d_name};
	/* The root of the export is its own parent: the guest must not see the host's number. */
	if (!n->parent && !strcmp(k->d_name, ".."))
		d->ino = n->ino;
	/* A mapped file may be of any kind for the guest: its metadata are not read here. */
	if (local_mapped(l) && k->d_type == DT_REG)
		d->type = DT_UNKNOWN;
	return p9_qid_path(&l->fs.qids, n->dev, d->ino, &d->ino);
}

static int local_readdir(struct p9_node *n, int file, uint64_t off,
			 bool (*each)(void *arg, const struct p9_dirent *d), void *arg)
{
	_Alignas(struct kernel_dirent) char buf[DIRENTS];
	long len;

	if (off > INT64_MAX || lseek(file, (off_t)off, SEEK_SET) < 0)
		return -EINVAL;
	while ((len = syscall(SYS_getdents64, file, buf, sizeof(buf))) > 0)
		for (long at = 0; at < len;) {
			const struct kernel_dirent *k = (void *)(buf + at);
			struct p9_dirent d;
			int rc;

			at += k->d_reclen;
			if (local_hidden(local_of(n), k->d_name))
				continue;
			rc = show_entry(n, k, &d);
			if (rc < 0)
				return rc;
			if (!each(arg, &d))
				return 0;
		}
	return len < 0 ? -errno : 0;
}

/* --- set-up and end --- */

/* Give the thread a working directory of its own, /proc/self/fd. */
static void local_begin(struct p9_fs *fs)
{
	struct local *l = (struct local *)fs;

	if (unshare(CLONE_FS) == 0 && fchdir(l->proc) == 0)
		return;
	if (!atomic_exchange(&l->no_paths, true))
		log_err("fsdev %s: no extended attributes, a thread cannot have its own directory: "
			"%s",
			fs->id, strerror(errno));
}

static void local_free(struct p9_fs *fs)
{
	struct local *l = (struct local *)fs;

	if (l->root >= 0)
		close(l->root);
	if (l->proc >= 0)
		close(l->proc);
	pthread_mutex_destroy(&l->meta);
	free(l->path);
	p9_fs_fini(fs);
	free(l);
}

static const struct p9_fs_ops local_ops = {
	.free = local_free,
	.begin = local_begin,
	.root = local_root,
	.walk = local_walk,
	.walk_nowait = local_walk_nowait,
	.forget = local_forget,
	.getattr = local_getattr,
	.getattr_nowait = local_getattr_nowait,
	.setattr = local_setattr,
	.statfs = local_statfs,
	.readlink = local_readlink,
	.make = local_make,
	.link = local_link,
	.rename = local_rename,
	.unlink = local_unlink,
	.open = local_open,
	.close = local_close,
	.read = local_read,
	.read_nowait = local_read_nowait,
	.write = local_write,
	.write_nowait = local_write_nowait,
	.fsync = local_fsync,
	.readdir = local_readdir,
	.getxattr = local_getxattr,
	.listxattr = local_listxattr,
	.setxattr = local_setxattr,
	.removexattr = local_removexattr,
};

struct p9_fs *p9_local_new(const struct local_conf *conf, struct err *e)
{
	struct local *l = calloc(1, sizeof(*l));
	int rc = l ? p9_fs_init(&l->fs, &local_ops) : -ENOMEM;
	struct stat st;

	if (rc < 0) {
		err_set(e, rc, "%s", strerror(-rc));
		free(l);
		return NULL;
	}
	pthread_mutex_init(&l->meta, NULL);
	l->model = conf->model;
	l->fmode = conf->fmode;
	l->dmode = conf->dmode;
	l->proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	l->root = open(conf->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	l->path = strdup(conf->path);
	if (l->root < 0 || fstat(l->root, &st) < 0) {
		err_set(e, -errno, "failed to open '%s': %s", conf->path, strerror(errno));
	} else if (l->proc < 0) {
		err_set(e, -errno, "failed to open '/proc/self/fd': %s", strerror(errno));
	} else if (!l->path) {
		err_nomem(e);
	} else {
		l->fs.qids.mode = conf->multidevs;
		l->fs.qids.root = st.st_dev;
		l->fs.qids.path = l->path;
		local_probe_nowait(l);
		return &l->fs;
	}
	local_free(&l->fs);
	return NULL;
}
