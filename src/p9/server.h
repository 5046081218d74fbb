/* SPDX-License-Identifier: MIT */
/* server.h - one message being served by a worker (private to this folder) */
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
	uint8_t message[P9_MESSAGE_MAX], answer[P9_ANSWER_MAX];
};

/* A handler reads its message from `in` and returns 0 with the answer in `out`, or -errno. */
typedef int p9_handler(struct p9_call *c);

/* By type of message; `answer`: bytes that a good one has at least, header included. NULL: there is
 * no such message. */
struct p9_operation {
	p9_handler *serve;
	unsigned answer;
	bool changes; /* not on a read-only export */
	/* The same on the loop, where it neither sleeps nor takes long; else it returns -EAGAIN and
	 * has done nothing. NULL: it never does. */
	p9_handler *now;
};
const struct p9_operation *p9_operation(uint8_t type);

/* --- names.c --- */
p9_handler p9_attach, p9_walk, p9_lcreate, p9_symlink, p9_mknod, p9_mkdir, p9_link, p9_rename,
	p9_renameat, p9_unlinkat, p9_remove;
/* --- attrs.c --- */
p9_handler p9_getattr, p9_setattr, p9_statfs, p9_readlink, p9_xattrwalk, p9_xattrcreate;
/* --- files.c --- */
p9_handler p9_lopen, p9_read, p9_read_now, p9_write, p9_readdir, p9_fsync, p9_lock, p9_getlock,
	p9_clunk;

/* The host's flags for the protocol's of an open; -EROFS where the export forbids it. */
int p9_open_flags(const struct p9_fs *fs, uint32_t flags, int *out);
/* Make `f` an open file. Takes `file`, from the budget already. */
void p9_fid_opened(struct p9_fid *f, int file, int flags);

/* A fid by number, locked for reading or for changing it; given back with p9_fid_done(). NULL when
 * there is none. */
struct p9_fid *p9_fid_use(struct p9_call *c, uint32_t number, bool change);
void p9_fid_done(struct p9_fid *f);
/* Loop: give a reference of the present session's back; if it was the last, a worker closes it. */
void p9_fid_put_later(struct p9_server *s, struct p9_fid *f);

/* The qid of `n`. Takes the tree's lock. */
int p9_qid_of_node(struct p9_node *n, struct p9_qid *q);

#endif
