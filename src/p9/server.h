/* SPDX-License-Identifier: MIT */
/* server.h - one message being served by a worker, or by the loop (private to this folder) */
#ifndef P9_SERVER_H
#define P9_SERVER_H

#include "p9/fid.h"
#include "p9/p9.h"
#include "p9/wire.h"

/* Longest answer but for data: a link's target. */
#define P9_ANSWER_MAX (P9_TARGET_MAX + 64)

struct p9_call {
	struct p9_request *r;
	struct p9_session *s;
	struct p9_fs *fs;
	struct p9_reader in;  /* after the header */
	struct p9_writer out; /* after the header */
	uint64_t data;	      /* bytes that the handler has put behind `out` */
	/* On the loop: the handler must not sleep. Where it would, it sets `would_block`, and has
	 * done nothing; then a worker has to serve the message. */
	bool nowait, would_block;
	uint8_t answer[P9_ANSWER_MAX];
};

/* A handler reads its message from `in` and returns 0 with the answer in `out`, or -errno. */
typedef int p9_handler(struct p9_call *c);

/* By type of message; `answer`: bytes that a good one has at least, header included. NULL: there is
 * no such message. */
struct p9_operation {
	p9_handler *serve;
	unsigned answer;
	bool changes; /* not on a read-only export */
	bool nowait;  /* the loop may try, see p9_call.nowait */
};
const struct p9_operation *p9_operation(uint8_t type);

/* --- names.c --- */
p9_handler p9_attach, p9_walk, p9_lcreate, p9_symlink, p9_mknod, p9_mkdir, p9_link, p9_rename,
	p9_renameat, p9_unlinkat, p9_remove;
/* --- attrs.c --- */
p9_handler p9_getattr, p9_setattr, p9_statfs, p9_readlink, p9_xattrwalk, p9_xattrcreate;
/* --- files.c --- */
p9_handler p9_lopen, p9_read, p9_write, p9_readdir, p9_fsync, p9_lock, p9_getlock, p9_clunk;

/* The host's flags for the protocol's of an open; -EROFS where the export forbids it. */
int p9_open_flags(const struct p9_fs *fs, uint32_t flags, int *out);
/* Make `f` an open file. Takes `file`, from the budget already. */
void p9_fid_opened(struct p9_fid *f, int file, int flags);

/* --- call.c --- */

/* A fid by number, locked for reading or for changing it; given back with p9_fid_done(). NULL when
 * there is none (or c->would_block). */
struct p9_fid *p9_fid_use(struct p9_call *c, uint32_t number, bool change);
void p9_fid_done(struct p9_call *c, struct p9_fid *f);
/* Give back a reference to a fid that is not locked, to a node. */
void p9_fid_leave(struct p9_call *c, struct p9_fid *f);
void p9_node_done(struct p9_call *c, struct p9_node *n);
/* False, with c->would_block set, where that would be to wait. */
bool p9_lock_shared(struct p9_call *c, pthread_rwlock_t *lock);
/* The attributes of `n`, and its qid. On a worker both take the tree's lock. 0 or -errno. */
int p9_stat(struct p9_call *c, struct p9_node *n, struct stat *st);
int p9_qid_of_node(struct p9_call *c, struct p9_node *n, struct p9_qid *q);

/* --- server.c --- */

/* Any thread: have it done by a worker. */
void p9_server_give(struct p9_server *s, struct work *w);

#endif
