/* SPDX-License-Identifier: MIT */
/* local.h - an exported folder of the host (private to local*.c)
 *
 * A node has an O_PATH descriptor, which openat() of one component with O_NOFOLLOW has returned.
 * Everything that is done to the file itself uses that descriptor's name in /proc/self/fd, which
 * leads to this very inode: names, links and renames play no part. /proc/self/fd is opened before
 * the process gives up its rights. What is done to a name uses the descriptor of the directory and
 * the name. Some system calls take a path only: for them each worker thread has /proc/self/fd as
 * its own working directory.
 *
 * Only regular files and directories are ever opened. The type of a file cannot change behind its
 * descriptor.
 *
 * security_model= says to whom the guest's files belong on the host:
 *   passthrough   owner and mode are the guest's
 *   none          the same, but it is no error when the host refuses to set an owner
 *   mapped-xattr  all files belong to this process and are regular files or directories; owner,
 *                 mode and device number are in the attributes user.virtfs.*
 *   mapped-file   the same in .virtfs_metadata/NAME beside the file (.virtfs_metadata_root for the
 *                 export itself)
 * The formats are QEMU's. The guest cannot see or name them.
 */
#ifndef P9_FS_LOCAL_H
#define P9_FS_LOCAL_H

#include "base/err.h"
#include "p9/fs/fs.h"

enum p9_model { P9_MODEL_NONE, P9_MODEL_PASSTHROUGH, P9_MODEL_XATTR, P9_MODEL_FILE };

struct local_conf {
	const char *path;
	enum p9_model model;
	mode_t fmode, dmode; /* of files and directories on the host, where they are mapped */
	enum p9_multidevs multidevs;
};

/* NULL with `e`. */
struct p9_fs *p9_local_new(const struct local_conf *conf, struct err *e);

struct local {
	struct p9_fs fs;
	enum p9_model model;
	mode_t fmode, dmode;
	char *path;
	int root, proc;
	bool in_memory; /* tmpfs */
	/* What the file system of the export can do without sleeping: look up names and attributes,
	 * read, write. */
	atomic_bool nowait_names, read_nowait, write_nowait;
	pthread_mutex_t meta; /* mapped-file: held to read or write metadata */
	/* A worker could not make /proc/self/fd its working directory: no call may take a path. */
	atomic_bool no_paths;
};

struct local_held;

struct local_node {
	struct p9_node n;
	int fd;
	/* mapped-file: what is kept of a file that has lost its name; set once. NULL: nothing. */
	_Atomic(struct local_held *) held;
};

static inline struct local *local_of(const struct p9_node *n)
{
	return (struct local *)n->fs;
}

static inline int local_fd(const struct p9_node *n)
{
	return ((const struct local_node *)n)->fd;
}

static inline bool local_mapped(const struct local *l)
{
	return l->model == P9_MODEL_XATTR || l->model == P9_MODEL_FILE;
}

/* The name of a descriptor in /proc/self/fd. As a path of its own it may be used unless `no_paths`.
 */
struct local_name {
	char s[16];
};
struct local_name local_proc_name(int fd);

/* What is kept of a file where files are mapped. */
struct local_creds {
	bool has_uid, has_gid, has_mode, has_rdev; /* else the host's counts */
	uint32_t uid, gid, mode;
	uint64_t rdev;
};

/* --- local_map.c --- */

/* Replace owner, mode and device number in the host's `st` by what is kept of `n`. */
void local_map_stat(struct p9_node *n, struct stat *st);
/* Give a new file its owner, mode and device number. */
int local_map_new(struct p9_node *n, const struct p9_new *what);
/* Set owner and mode by `a`, with the mapped models. */
int local_map_set(struct p9_node *n, const struct p9_attr *a);
/* Change `c`, which is kept of `n`, by `a`. */
void local_creds_change(const struct p9_node *n, struct local_creds *c, const struct p9_attr *a);

/* --- local_meta.c: mapped-file --- */

/* Is `name` one that the guest must not see? */
bool local_hidden(const struct local *l, const char *name);
/* What is kept of `n`, into `c`, which is all zero. */
void local_meta_load(struct p9_node *n, struct local_creds *c);
int local_meta_store(struct p9_node *n, const struct local_creds *c);
int local_meta_set(struct p9_node *n, const struct p9_attr *a);
/* fsync() of the metadata of `n`, and of the names of metadata: in its directory, and of a
 * directory in itself. Takes the lock of the tree. 0 with the other models, whose metadata fsync()
 * of the file has covered. */
int local_meta_sync(struct p9_node *n);
/* A file has got the name `name` in `dir`, was moved, or was removed: do the same to its metadata.
 * The tree is locked as for the change itself. 0 or -errno; with other models 0. */
int local_meta_link(struct p9_node *n, struct p9_node *dir, const char *name);
/* Before a file moves: if files of `from` have metadata, make a folder for them in `to`. */
int local_meta_ready(struct p9_node *from, struct p9_node *to);
int local_meta_rename(struct p9_node *from, const char *name, struct p9_node *to,
		      const char *name_to);
void local_meta_unlink(struct p9_node *dir, const char *name);
/* A file may lose its name `name` in `dir`: before that, with the tree locked for writing, get hold
 * of its metadata for the nodes of this name. `*out` may be NULL. 0, or -errno: then the name must
 * stay. */
int local_held_begin(struct p9_node *dir, const char *name, struct local_held **out);
/* Afterwards: with `lost` the nodes of this name get it, else nothing has changed. */
void local_held_end(struct p9_node *dir, const char *name, struct local_held *h, bool lost);
/* The end of a node: what it holds, or NULL. */
void local_held_put(struct local *l, struct local_held *h);
/* Remove the empty folder of metadata in the directory `name`, which else could not be removed.
 * True when that was done. */
bool local_meta_clear(struct p9_node *dir, const char *name);

/* --- local_xattr.c --- */
ssize_t local_getxattr(struct p9_node *n, const char *name, void *buf, size_t size);
ssize_t local_listxattr(struct p9_node *n, char *buf, size_t size);
int local_setxattr(struct p9_node *n, const char *name, const void *value, size_t size, int flags);
int local_removexattr(struct p9_node *n, const char *name);

/* --- local_nowait.c: the operations of these names in fs.h --- */
int local_walk_nowait(struct p9_node *dir, const char *name, struct p9_node **out);
int local_getattr_nowait(struct p9_node *n, struct stat *st);
ssize_t local_read_nowait(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			  uint64_t off);
ssize_t local_write_nowait(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			   uint64_t off);
/* At set-up, when the root is open: find out what its file system can do without sleeping. */
void local_probe_nowait(struct local *l);

/* --- local_make.c --- */
int local_make(struct p9_node *dir, const char *name, const struct p9_new *what, int flags,
	       struct p9_node **out, int *file);
int local_link(struct p9_node *n, struct p9_node *dir, const char *name);
int local_rename(struct p9_node *from, const char *name, struct p9_node *to, const char *name_to);
int local_unlink(struct p9_node *dir, const char *name, bool directory);

/* --- local.c --- */

/* The file `name` of `dir` as a node. */
int local_walk(struct p9_node *dir, const char *name, struct p9_node **out);
/* Make a node for the O_PATH descriptor `fd`, which it owns; on failure `fd` is closed. */
int local_node(struct local *l, struct p9_node *dir, const char *name, int fd,
	       struct p9_node **out);
/* Open the very file of the descriptor `fd`, with `flags` | O_CLOEXEC. A descriptor, or -errno. */
int local_reopen(const struct local *l, int fd, int flags);
int local_open(struct p9_node *n, int flags, int *file);

#endif
