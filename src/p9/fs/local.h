/* SPDX-License-Identifier: MIT */
/* local.h - an exported folder of the host (private to local*.c)
 *
 * A node is an O_PATH descriptor, got by openat() of one component with O_NOFOLLOW. All that is
 * done to the file itself goes through that descriptor, by way of /proc/self/fd, which was opened
 * before the process gave up its rights and which leads to this very inode and nowhere else: names,
 * links and renames play no part. What is done to a name goes by the directory's descriptor and the
 * name. Each worker has /proc/self/fd as its own working directory, for the calls that take a path
 * only.
 *
 * Only regular files and directories are ever opened. What the type of a file is cannot change
 * behind a descriptor.
 *
 * security_model= says whose the guest's files are on the host:
 *   passthrough   owner and mode are the guest's
 *   none          the same, but that the host refuses an owner is no error
 *   mapped-xattr  everything is ours, a regular file or a directory; owner, mode and device number
 *                 are in the attributes user.virtfs.*
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
	/* What is worth a try without sleeping, on the export's own file system. */
	atomic_bool nowait_names, read_nowait, write_nowait;
	pthread_mutex_t meta; /* mapped-file: one reads or writes at a time */
	atomic_bool lost;     /* a worker could not go to /proc/self/fd: nothing may go by path */
};

struct local_held;

struct local_node {
	struct p9_node n;
	int fd;
	/* mapped-file: what is kept of a file that has lost its name; set once. NULL: nothing. */
	struct local_held *held;
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

/* A descriptor's name in /proc/self/fd; as a path, after a look at `lost`. */
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

/* Put what is kept of `n` over the host's `st`. */
void local_map_stat(struct p9_node *n, struct stat *st);
/* A new file gets its owner, mode and device number. */
int local_map_new(struct p9_node *n, const struct p9_new *what);
/* Owner and mode by `a`, where they are mapped. */
int local_map_set(struct p9_node *n, const struct p9_attr *a);
/* Change `c`, which is what is kept of `n`, by `a`. */
void local_creds_change(const struct p9_node *n, struct local_creds *c, const struct p9_attr *a);

/* --- local_meta.c: mapped-file --- */

/* Is `name` one that the guest must not see? */
bool local_hidden(const struct local *l, const char *name);
/* What is kept of `n`, into `c`, which is all zero. */
void local_meta_load(struct p9_node *n, struct local_creds *c);
int local_meta_store(struct p9_node *n, const struct local_creds *c);
int local_meta_set(struct p9_node *n, const struct p9_attr *a);
/* Have owner and mode on stable storage; for a directory also the places of those of its files.
 * What is kept in the file itself is there with it. The tree is not locked: it is here, for a
 * moment. */
int local_meta_sync(struct p9_node *n);
/* mapped-file: the name of a file has come, gone, or moved; the tree is locked as for the change.
 */
int local_meta_link(struct p9_node *n, struct p9_node *dir, const char *name);
/* Before it moves: a place in `to`, if anything is kept in `from`. */
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
/* Make an otherwise empty directory really empty. True when there was something. */
bool local_meta_clear(struct p9_node *dir, const char *name);

/* --- local_xattr.c --- */
ssize_t local_getxattr(struct p9_node *n, const char *name, void *buf, size_t size);
ssize_t local_listxattr(struct p9_node *n, char *buf, size_t size);
int local_setxattr(struct p9_node *n, const char *name, const void *value, size_t size, int flags);
int local_removexattr(struct p9_node *n, const char *name);

/* --- local_nowait.c: as the operations of fs.h --- */
int local_walk_nowait(struct p9_node *dir, const char *name, struct p9_node **out);
int local_getattr_nowait(struct p9_node *n, struct stat *st);
ssize_t local_read_nowait(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			  uint64_t off);
ssize_t local_write_nowait(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			   uint64_t off);
/* Set-up, the root is open: find out what to expect. */
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
/* A node for the O_PATH descriptor `fd`, which becomes its own (closed on failure). */
int local_node(struct local *l, struct p9_node *dir, const char *name, int fd,
	       struct p9_node **out);
/* Open the very file behind the descriptor; `flags` as they are. A descriptor, or -errno. */
int local_reopen(const struct local *l, int fd, int flags);
int local_open(struct p9_node *n, int flags, int *file);

#endif
