/* SPDX-License-Identifier: MIT */
/* fid.h - a session's fids: the guest's handles of files (private to this folder)
 *
 * A session is what begins with Tversion. It lives until the last request that was begun in it is
 * done, so that a reset or another Tversion need not wait: the old session's files are closed by a
 * worker when that is so.
 *
 * Everything is capped: fids, bytes of extended attributes, and by the budget of descriptors what
 * is open.
 */
#ifndef P9_FID_H
#define P9_FID_H

#include "base/hash.h"
#include "base/workers.h"
#include "p9/fs/fs.h"

#define P9_FIDS_MAX   65536
#define P9_XATTR_MAX  65536		/* bytes of one, as the kernel has it */
#define P9_XATTRS_MAX (4 * 1024 * 1024) /* of all that a session reads or writes */

enum p9_fid_kind { P9_FID_PATH, P9_FID_FILE, P9_FID_DIR, P9_FID_XATTR_READ, P9_FID_XATTR_WRITE };

struct p9_session;

struct p9_fid {
	uint32_t number, uid;
	atomic_uint refs;
	struct hash_entry entry; /* in the session's table, by number */
	struct p9_session *s;
	struct work work;      /* the end of one that the loop held last */
	pthread_rwlock_t lock; /* of what follows: written to by what changes it, and by readdir */
	struct p9_node *node;
	enum p9_fid_kind kind;
	int file; /* FILE, DIR */
	bool writable;
	bool plain; /* a write goes where it says, and need not be on stable storage */
	struct {
		char *name; /* XATTR_WRITE */
		uint8_t *value;
		uint32_t size, done;
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
/* On a worker, or where nothing is served: frees it with the last reference. */
void p9_session_put(struct p9_session *s);

/* A fid that is not in the session yet, holding a reference to `node`. NULL: out of memory. */
struct p9_fid *p9_fid_new(struct p9_session *s, uint32_t number, uint32_t uid,
			  struct p9_node *node);
/* Enter it; the caller keeps its reference. -EINVAL: the number is in use, -ENFILE: too many. */
int p9_fid_insert(struct p9_fid *f);
/* A reference; NULL when there is none of that number. */
struct p9_fid *p9_fid_get(struct p9_session *s, uint32_t number);
void p9_fid_put(struct p9_fid *f);
/* Take the fid out of the session: only who holds references knows it now. NULL when there is none
 * (any more); else the caller gets the session's reference. */
struct p9_fid *p9_fid_remove(struct p9_session *s, uint32_t number);

/* Take or give back room for `bytes` of extended attributes. -ENOSPC. */
int p9_xattr_take(struct p9_session *s, uint32_t bytes);
void p9_xattr_give(struct p9_session *s, uint32_t bytes);

#endif
