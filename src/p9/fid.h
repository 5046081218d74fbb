/* SPDX-License-Identifier: MIT */
/* fid.h - a session's fids: the guest's handles of files (private to this folder)
 *
 * A session begins with a Tversion. It lives until the last request that was started in it is done,
 * so that a reset or another Tversion need not wait: whoever drops the last reference, a worker,
 * closes its files.
 *
 * What a guest can make grow is capped: the number of fids, the bytes of extended attributes, and
 * by the budget of descriptors (fs.h) the files that are open.
 */
#ifndef P9_FID_H
#define P9_FID_H

#include "base/hash.h"
#include "base/workers.h"
#include "p9/fs/fs.h"

#define P9_FIDS_MAX   65536
#define P9_XATTR_MAX  65536		/* bytes of one, XATTR_SIZE_MAX of Linux */
#define P9_XATTRS_MAX (4 * 1024 * 1024) /* of all that a session reads or writes */

enum p9_fid_kind { P9_FID_PATH, P9_FID_FILE, P9_FID_DIR, P9_FID_XATTR_READ, P9_FID_XATTR_WRITE };

struct p9_session;

struct p9_fid {
	uint32_t number, uid;
	atomic_uint refs;
	struct hash_entry entry; /* in the session's table, by number */
	struct p9_session *s;
	struct work work;      /* its end, where the loop has dropped the last reference */
	pthread_rwlock_t lock; /* of what follows; held for writing to change it, and by readdir */
	struct p9_node *node;
	enum p9_fid_kind kind;
	int file; /* the open file of a FILE or DIR, else -1 */
	bool writable;
	bool plain; /* a write needs neither O_APPEND nor O_DSYNC or O_SYNC */
	struct {
		char *name; /* of an XATTR_WRITE */
		uint8_t *value;
		uint32_t size, done; /* `done` bytes of `size` were read or written */
		int flags;
	} xattr;
};

struct p9_session {
	struct p9_fs *fs;
	uint32_t msize;
	atomic_uint refs;
	atomic_uint xattr_bytes;
	pthread_mutex_t lock;
	struct hash_table fids;
	struct work work; /* its end */
};

/* With one reference. NULL: out of memory. */
struct p9_session *p9_session_new(struct p9_fs *fs, uint32_t msize);
struct p9_session *p9_session_get(struct p9_session *s);
/* The last reference closes all its files: to be called on a worker, or while nothing is served. */
void p9_session_put(struct p9_session *s);

/* Make a fid, which is not in the session yet and holds a reference to `node`. NULL: out of memory.
 */
struct p9_fid *p9_fid_new(struct p9_session *s, uint32_t number, uint32_t uid,
			  struct p9_node *node);
/* Enter it into its session; the caller keeps its own reference. 0, -EINVAL when the number is in
 * use, -ENFILE when there are P9_FIDS_MAX. */
int p9_fid_insert(struct p9_fid *f);
/* A reference to the fid of this number; NULL when there is none. */
struct p9_fid *p9_fid_get(struct p9_session *s, uint32_t number);
void p9_fid_put(struct p9_fid *f);
/* Take the fid out of the session, whose reference the caller gets: other requests may still use
 * it, but nobody finds it any more. NULL when there is none. */
struct p9_fid *p9_fid_remove(struct p9_session *s, uint32_t number);

/* Take from the session's P9_XATTRS_MAX bytes of extended attributes, or give back. 0 or -ENOSPC.
 */
int p9_xattr_take(struct p9_session *s, uint32_t bytes);
void p9_xattr_give(struct p9_session *s, uint32_t bytes);

#endif
