/* SPDX-License-Identifier: MIT */
/* server.h - one message being served by a worker, or by the loop (private to this folder) */
#ifndef P9_SERVER_H
#define P9_SERVER_H

#include "p9/fid.h"
#include "p9/p9.h"
#include "p9/wire.h"

/* The longest answer, without the data of an Rread or Rreaddir: a link's target. */
#define P9_ANSWER_MAX (P9_TARGET_MAX + 64)

struct p9_call {
	struct p9_request *r;
	struct p9_session *s;
	struct p9_fs *fs;
	struct p9_reader in;  /* after the header */
	struct p9_writer out; /* after the header */
	uint64_t data; /* bytes that the handler itself has put into the answer, behind `out` */
	/* `nowait`: the handler runs on the loop and must not sleep. Where it would have to, it
	 * sets `would_block` without having changed anything; then a worker serves the message
	 * anew. */
	bool nowait, would_block;
	uint8_t answer[P9_ANSWER_MAX];
};

/* A handler reads its message from `in` and returns 0 with the answer in `out`, or -errno. */
typedef int p9_handler(struct p9_call *c);

/* What the server knows of a type of message. */
struct p9_operation {
	p9_handler *serve;
	unsigned answer; /* bytes that a good answer has at least, header included */
	bool changes;	 /* it is refused on a read-only export */
	bool nowait;	 /* the loop tries to serve it, see p9_call.nowait */
};
/* NULL: there is no such message. */
const struct p9_operation *p9_operation(uint8_t type);

/* --- names.c --- */
p9_handler p9_attach, p9_walk, p9_lcreate, p9_symlink, p9_mknod, p9_mkdir, p9_link, p9_rename,
	p9_renameat, p9_unlinkat, p9_remove;
/* --- attrs.c --- */
p9_handler p9_getattr, p9_setattr, p9_statfs, p9_readlink, p9_xattrwalk, p9_xattrcreate;
/* --- files.c --- */
p9_handler p9_lopen, p9_read, p9_write, p9_readdir, p9_fsync, p9_lock, p9_getlock, p9_clunk;

/* Translate the flags of Tlopen and Tlcreate into open(2)'s of this machine. 0, -EINVAL, or -EROFS
 * where the export is read-only. */
int p9_open_flags(const struct p9_fs *fs, uint32_t flags, int *out);
/* `f` is an open file from now on. It owns `file`, which was taken from the budget already. */
void p9_fid_opened(struct p9_fid *f, int file, int flags);

/* --- call.c --- */

/* Find a fid by its number and lock it, for reading or (`change`) for changing it; p9_fid_done()
 * gives it back. NULL when there is none, or when c->would_block was set. */
struct p9_fid *p9_fid_use(struct p9_call *c, uint32_t number, bool change);
void p9_fid_done(struct p9_call *c, struct p9_fid *f);
/* Give back a reference: to a fid that is not locked, or to a node. */
void p9_fid_leave(struct p9_call *c, struct p9_fid *f);
void p9_node_done(struct p9_call *c, struct p9_node *n);
/* Lock for reading. On the loop a lock that is not free sets c->would_block and returns false. */
bool p9_lock_shared(struct p9_call *c, pthread_rwlock_t *lock);
/* Get the attributes of `n`, or its qid. On a worker both take the tree's lock. 0 or -errno; on the
 * loop c->would_block may be set. */
int p9_stat(struct p9_call *c, struct p9_node *n, struct stat *st);
int p9_qid_of_node(struct p9_call *c, struct p9_node *n, struct p9_qid *q);

/* --- server.c --- */

/* Have a worker do `w`. May be called on any thread. */
void p9_server_give(struct p9_server *s, struct work *w);

#endif
