/* SPDX-License-Identifier: MIT */
/* fs.h - a file system as the server sees it (private to src/p9)
 *
 * A node is a file that the guest has found: it stays the same file whatever becomes of its name.
 * It also knows the directory and the name under which it was found, for "..", for a removal by
 * fid, and for what a back end keeps by name; the tree below follows what the guest renames. Names
 * are single components, neither empty nor "." nor "..", without a slash: the server has checked.
 *
 * All operations but those called _nowait run on worker threads, many at a time, and return 0 (or a
 * count) or -errno. Those that change names are called with the tree locked for writing, those
 * marked [tree] with the tree locked for reading; the others without.
 */
#ifndef P9_FS_FS_H
#define P9_FS_FS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/workers.h"
#include "p9/fs/qid.h"

struct p9_fs;
struct p9_node;

/* Which attributes to change (Tsetattr). */
#define P9_SET_MODE	   (1u << 0)
#define P9_SET_UID	   (1u << 1)
#define P9_SET_GID	   (1u << 2)
#define P9_SET_SIZE	   (1u << 3)
#define P9_SET_ATIME	   (1u << 4)
#define P9_SET_MTIME	   (1u << 5)
#define P9_SET_CTIME	   (1u << 6)
#define P9_SET_ATIME_GIVEN (1u << 7) /* to what is said; else to now */
#define P9_SET_MTIME_GIVEN (1u << 8)

struct p9_attr {
	uint32_t valid, mode, uid, gid;
	uint64_t size;
	struct timespec atime, mtime; /* as utimensat() takes them */
};

/* What a new file gets. */
struct p9_new {
	uint32_t mode; /* with its type; S_IFREG, S_IFDIR, S_IFLNK, ... */
	uint32_t uid, gid;
	dev_t rdev;
	const char *target; /* of a symbolic link */
};

struct p9_dirent {
	uint64_t ino, next; /* `next`: where to go on after this one */
	unsigned char type; /* DT_* */
	const char *name;
};

struct p9_fs_ops {
	void (*free)(struct p9_fs *fs);
	/* First thing on each worker; may be NULL. */
	void (*begin)(struct p9_fs *fs);
	int (*root)(struct p9_fs *fs, struct p9_node **out);
	int (*walk)(struct p9_node *dir, const char *name, struct p9_node **out); /* [tree] */
	void (*forget)(struct p9_node *n); /* the last reference is gone: free it */

	int (*getattr)(struct p9_node *n, struct stat *st); /* [tree] */
	/* The same without sleeping, on any thread: -EAGAIN where that is not known to go. Both
	 * there, or both NULL. */
	int (*walk_nowait)(struct p9_node *dir, const char *name,
			   struct p9_node **out); /* [tree] */
	int (*getattr_nowait)(struct p9_node *n, struct stat *st);
	/* `file`: open for writing, or -1. [tree] */
	int (*setattr)(struct p9_node *n, int file, const struct p9_attr *a);
	int (*statfs)(struct p9_node *n, struct statfs *st);
	ssize_t (*readlink)(struct p9_node *n, char *buf, size_t size); /* [tree] */

	/* Make a file of any kind. A regular one is opened with `flags`, if `file` is not NULL;
	 * where it exists already and `flags` has no O_EXCL, that one is opened. [tree] */
	int (*make)(struct p9_node *dir, const char *name, const struct p9_new *what, int flags,
		    struct p9_node **out, int *file);
	int (*link)(struct p9_node *n, struct p9_node *dir, const char *name); /* [tree] */
	int (*rename)(struct p9_node *from, const char *name, struct p9_node *to,
		      const char *name_to);
	int (*unlink)(struct p9_node *dir, const char *name, bool directory);

	/* Regular files and directories only; `flags` are the host's O_*. */
	int (*open)(struct p9_node *n, int flags, int *file);
	void (*close)(struct p9_node *n, int file);
	ssize_t (*read)(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			uint64_t off);
	/* Reading and writing without sleeping, on any thread: -EAGAIN where not all of it can be
	 * done so. Both may be NULL. */
	ssize_t (*read_nowait)(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			       uint64_t off);
	ssize_t (*write)(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			 uint64_t off);
	ssize_t (*write_nowait)(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
				uint64_t off);
	int (*fsync)(struct p9_node *n, int file, bool datasync);
	/* From `off` on, until there is no more or each() returns false. One caller for `file` at a
	 * time. */
	int (*readdir)(struct p9_node *n, int file, uint64_t off,
		       bool (*each)(void *arg, const struct p9_dirent *d), void *arg);

	/* As the system calls; `buf` NULL with size 0 asks for the size. */
	ssize_t (*getxattr)(struct p9_node *n, const char *name, void *buf, size_t size);
	ssize_t (*listxattr)(struct p9_node *n, char *buf, size_t size);
	int (*setxattr)(struct p9_node *n, const char *name, const void *value, size_t size,
			int flags);
	int (*removexattr)(struct p9_node *n, const char *name);
};

struct p9_node {
	struct p9_fs *fs;
	atomic_uint refs;
	/* With the tree locked: */
	struct p9_node *parent;	 /* NULL: the root */
	char *name;		 /* NULL: the root, or a name that it no longer has */
	struct hash_entry place; /* in fs->places, while it has a name */
	struct p9_node *old_parent, *next_moved; /* within p9_tree_renamed() */
	struct work work; /* call.c: the end of one that the loop held last */
	/* Constant: */
	dev_t dev;
	ino_t ino;
	mode_t type; /* S_IFMT of the host's file */
};

struct p9_fs {
	const struct p9_fs_ops *ops;
	char *id;
	bool read_only;
	struct hash_key key; /* of all tables whose keys the guest picks */
	struct p9_qids qids;
	pthread_rwlock_t tree;
	pthread_mutex_t nodes_lock;
	struct hash_table places; /* of nodes that have a name, by directory and name */
	struct list link;	  /* fsdevs */
	struct p9_throttle *throttle;
	atomic_int *files; /* descriptors that may still be used, of the whole program */
};

/* Set-up and end of the common part. 0 or -errno: then there is nothing to end. */
int p9_fs_init(struct p9_fs *fs, const struct p9_fs_ops *ops);
void p9_fs_fini(struct p9_fs *fs);

/* --- descriptors --- */

/* Take one from the budget: 0, or -ENFILE. */
int p9_file_take(struct p9_fs *fs);
void p9_file_give(struct p9_fs *fs);

/* --- the tree --- */

/* For back ends: a node that was just found in `parent` (NULL: the root) as `name`, with one
 * reference. Takes a reference to the parent. -ENOMEM: nothing is changed. */
int p9_node_init(struct p9_node *n, struct p9_fs *fs, struct p9_node *parent, const char *name,
		 const struct stat *st);
struct p9_node *p9_node_get(struct p9_node *n);
void p9_node_put(struct p9_node *n); /* harmless with NULL */
/* The directory that it is known to be in, with a reference; NULL for the root. */
struct p9_node *p9_node_parent(struct p9_node *n);

/* With the tree locked: is there a node of `name` in `dir`; call `fn` for each that there is. */
bool p9_tree_knows(struct p9_node *dir, const char *name);
void p9_tree_each(struct p9_node *dir, const char *name, void (*fn)(struct p9_node *n, void *arg),
		  void *arg);
/* The tree is locked for writing, the file system has done it: nodes found as from/name are
 * to/name_to now, and those that were that are nameless. */
void p9_tree_renamed(struct p9_node *from, const char *name, struct p9_node *to,
		     const char *name_to);
/* The same for a removal. */
void p9_tree_removed(struct p9_node *dir, const char *name);

#endif
