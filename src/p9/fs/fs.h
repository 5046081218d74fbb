/* SPDX-License-Identifier: MIT */
/* fs.h - a file system as the server sees it (private to src/p9)
 *
 * A node stands for a file that the guest has found. It stays the same file whatever becomes of its
 * name. It also knows the directory and the name under which it was found: for "..", for a removal
 * by fid, and for what a back end keeps by name. When the guest renames or removes files, the names
 * of their nodes are corrected (tree.c). A name that is passed to an operation is a single
 * component, not empty, without a slash, and neither "." nor "..": the server has checked that.
 *
 * All operations but those called _nowait run on worker threads, many at a time, and return 0 (or a
 * count) or -errno. `fs->tree` is the lock of all names and parents: rename and unlink are called
 * with it locked for writing, operations marked [tree] with it locked for reading, the others
 * without.
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
#define P9_SET_ATIME_GIVEN (1u << 7) /* to the time in the message, else to the present one */
#define P9_SET_MTIME_GIVEN (1u << 8)

struct p9_attr {
	uint32_t valid, mode, uid, gid;
	uint64_t size;
	struct timespec atime, mtime; /* as utimensat() takes them */
};

/* The attributes of a new file. */
struct p9_new {
	uint32_t mode; /* with its type; S_IFREG, S_IFDIR, S_IFLNK, ... */
	uint32_t uid, gid;
	dev_t rdev;
	const char *target; /* of a symbolic link */
};

struct p9_dirent {
	uint64_t ino, next; /* `next`: the offset that continues behind this entry */
	unsigned char type; /* DT_* */
	const char *name;
};

struct p9_fs_ops {
	void (*free)(struct p9_fs *fs);
	/* Called first on each worker thread; may be NULL. */
	void (*begin)(struct p9_fs *fs);
	int (*root)(struct p9_fs *fs, struct p9_node **out);
	int (*walk)(struct p9_node *dir, const char *name, struct p9_node **out); /* [tree] */
	void (*forget)(struct p9_node *n); /* free a node whose last reference is gone */

	int (*getattr)(struct p9_node *n, struct stat *st); /* [tree] */
	/* The same on any thread, without sleeping: -EAGAIN where they might have to. Either both
	 * are set, or both are NULL. */
	int (*walk_nowait)(struct p9_node *dir, const char *name,
			   struct p9_node **out); /* [tree] */
	int (*getattr_nowait)(struct p9_node *n, struct stat *st);
	/* `file` is the node's file, open for writing, or -1. [tree] */
	int (*setattr)(struct p9_node *n, int file, const struct p9_attr *a);
	int (*statfs)(struct p9_node *n, struct statfs *st);
	ssize_t (*readlink)(struct p9_node *n, char *buf, size_t size); /* [tree] */

	/* Make a file of any kind. With `file` it is a regular one, which is also opened with
	 * `flags`; without O_EXCL a file that exists already is opened instead. [tree] */
	int (*make)(struct p9_node *dir, const char *name, const struct p9_new *what, int flags,
		    struct p9_node **out, int *file);
	int (*link)(struct p9_node *n, struct p9_node *dir, const char *name); /* [tree] */
	int (*rename)(struct p9_node *from, const char *name, struct p9_node *to,
		      const char *name_to);
	int (*unlink)(struct p9_node *dir, const char *name, bool directory);

	/* Open a regular file or a directory (other kinds are errors); `flags` are open(2)'s. */
	int (*open)(struct p9_node *n, int flags, int *file);
	void (*close)(struct p9_node *n, int file);
	ssize_t (*read)(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			uint64_t off);
	/* As `read` (and below `write`), on any thread, without sleeping: -EAGAIN where not all of
	 * it can be done so. May be NULL. */
	ssize_t (*read_nowait)(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			       uint64_t off);
	ssize_t (*write)(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			 uint64_t off);
	ssize_t (*write_nowait)(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
				uint64_t off);
	int (*fsync)(struct p9_node *n, int file, bool datasync);
	/* Call each() for the entries from `off` on, until it returns false or there are no more.
	 * There is one caller for a `file` at a time. */
	int (*readdir)(struct p9_node *n, int file, uint64_t off,
		       bool (*each)(void *arg, const struct p9_dirent *d), void *arg);

	/* As the system calls of these names; size 0, with `buf` NULL, asks for the size. */
	ssize_t (*getxattr)(struct p9_node *n, const char *name, void *buf, size_t size);
	ssize_t (*listxattr)(struct p9_node *n, char *buf, size_t size);
	int (*setxattr)(struct p9_node *n, const char *name, const void *value, size_t size,
			int flags);
	int (*removexattr)(struct p9_node *n, const char *name);
};

struct p9_node {
	struct p9_fs *fs;
	atomic_uint refs;
	/* Guarded by the lock of the tree: */
	struct p9_node *parent;	 /* NULL: the root */
	char *name;		 /* NULL: the root, or a name that it no longer has */
	struct hash_entry place; /* in fs->places, while it has a name */
	struct p9_node *old_parent, *next_moved; /* used within p9_tree_renamed() */
	struct work work; /* call.c: the end of one that the loop held last */
	/* These never change: */
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
	atomic_int *files; /* descriptors that all exports together may still open */
};

/* Set-up and end of the common part. 0 or -errno: then there is nothing to end. */
int p9_fs_init(struct p9_fs *fs, const struct p9_fs_ops *ops);
void p9_fs_fini(struct p9_fs *fs);

/* --- descriptors --- */

/* Take one descriptor from the budget of all exports, or give it back. 0, or -ENFILE. */
int p9_file_take(struct p9_fs *fs);
void p9_file_give(struct p9_fs *fs);

/* --- the tree --- */

/* Called by a back end for a node that it has just found as `name` in `parent` (NULL: the root).
 * The node has one reference, and one to its parent. 0, or -ENOMEM with nothing changed. */
int p9_node_init(struct p9_node *n, struct p9_fs *fs, struct p9_node *parent, const char *name,
		 const struct stat *st);
struct p9_node *p9_node_get(struct p9_node *n);
void p9_node_put(struct p9_node *n); /* harmless with NULL */
/* A reference to the directory that the node is known to be in; NULL for the root. */
struct p9_node *p9_node_parent(struct p9_node *n);

/* Is there a node that is known as `name` of `dir`? Call `fn` for each that there is. The tree is
 * locked. */
bool p9_tree_knows(struct p9_node *dir, const char *name);
void p9_tree_each(struct p9_node *dir, const char *name, void (*fn)(struct p9_node *n, void *arg),
		  void *arg);
/* A rename was done, and the tree still is locked for writing: the nodes known as `name` of `from`
 * are `name_to` of `to` from now on, and those known as the latter have lost their name. */
void p9_tree_renamed(struct p9_node *from, const char *name, struct p9_node *to,
		     const char *name_to);
/* A removal was done, and the tree still is locked for writing: the nodes have lost their name. */
void p9_tree_removed(struct p9_node *dir, const char *name);

#endif
