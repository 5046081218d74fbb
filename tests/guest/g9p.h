/* SPDX-License-Identifier: MIT */
/* g9p.h - the guest's 9P driver: messages of any kind, well-formed or not, many in flight
 *
 * A request is prepared in memory of its own, may be spoilt there, is queued with or without more
 * segments for data, and waited for in any order.
 */
#ifndef GUEST_G9P_H
#define GUEST_G9P_H

#include <stdarg.h>

#include "gvirtio.h"

#define GV_9P	     9
#define G9P_REQUESTS 128
#define G9P_MESSAGE  8192 /* room for a message and for its answer, without data */
#define G9P_DATA     (1u << 20)
#define G9P_DATA_AT  11

/* Messages (T; the answer is one more). */
enum {
	G9P_LERROR = 7,
	G9P_STATFS = 8,
	G9P_LOPEN = 12,
	G9P_LCREATE = 14,
	G9P_SYMLINK = 16,
	G9P_MKNOD = 18,
	G9P_RENAME = 20,
	G9P_READLINK = 22,
	G9P_GETATTR = 24,
	G9P_SETATTR = 26,
	G9P_XATTRWALK = 30,
	G9P_XATTRCREATE = 32,
	G9P_READDIR = 40,
	G9P_FSYNC = 50,
	G9P_LOCK = 52,
	G9P_GETLOCK = 54,
	G9P_LINK = 70,
	G9P_MKDIR = 72,
	G9P_RENAMEAT = 74,
	G9P_UNLINKAT = 76,
	G9P_VERSION = 100,
	G9P_AUTH = 102,
	G9P_ATTACH = 104,
	G9P_FLUSH = 108,
	G9P_WALK = 110,
	G9P_READ = 116,
	G9P_WRITE = 118,
	G9P_CLUNK = 120,
	G9P_REMOVE = 122,
};

struct g9p;

struct g9p_req {
	struct g9p *p;
	uint64_t at;
	uint8_t *out, *in; /* the message, the answer */
	uint32_t len;	   /* of the message */
	uint32_t room;	   /* for the answer; set by g9p_prepare(), may be made less */
	uint32_t written;
	uint16_t tag;
	bool busy, done;
	unsigned order; /* the how-manieth it was that came back */
};

struct g9p {
	struct gvirtio v;
	struct gvq q;
	uint32_t msize;
	struct g9p_req req[G9P_REQUESTS];
	unsigned returned;
	uint64_t data_at; /* G9P_DATA bytes for whoever wants them */
	uint8_t *data;
	/* the last answer of g9p_do(): its body, and what was read of it */
	const uint8_t *answer;
	uint32_t answer_len, answer_at;
};

/* What Rgetattr says. */
struct g9p_attr {
	uint8_t qid_type;
	uint64_t ino;
	uint32_t mode, uid, gid;
	uint64_t nlink, rdev, size, blocks, atime, mtime;
};

void g9p_open(struct guest *g, struct g9p *p, unsigned nth);
void g9p_restart(struct g9p *p);

/* A request of `type`; `format` says what follows: b w d q are numbers of 1, 2, 4, 8 bytes, s a
 * string. */
struct g9p_req *g9p_prepare(struct g9p *p, unsigned type, const char *format, ...);
/* Put it on the ring with `more` segments: n_out to read behind the message, n_in to write behind
 * the answer, of which then only the first G9P_DATA_AT bytes are in the request's own memory. */
void g9p_queue(struct g9p_req *r, const struct gseg *more, unsigned n_out, unsigned n_in);
void g9p_kick(struct g9p *p);
/* Take what has come back. */
void g9p_poll(struct g9p *p);
/* Wait for it and give its memory back (which stays as it is until the next g9p_prepare()). 0, the
 * errno of an Rlerror, or -1 for an answer that is none. */
int g9p_wait(struct g9p_req *r);
/* All of it. p->answer is the body. */
int g9p_do(struct g9p *p, unsigned type, const char *format, ...);
/* Read on in the body. */
uint64_t g9p_get(struct g9p *p, unsigned size);
void g9p_get_string(struct g9p *p, char buf[4096]);

/* --- the usual ones: 0 or errno --- */

int g9p_version(struct g9p *p, uint32_t msize);
/* Version and attach of `fid` to the root, as user 0. Panics when that fails. */
void g9p_mount(struct g9p *p, uint32_t fid);
/* `path` of components with slashes between them; "" clones. -1 when not all of it was walked. */
int g9p_walk(struct g9p *p, uint32_t fid, uint32_t to, const char *path);
int g9p_lopen(struct g9p *p, uint32_t fid, uint32_t flags);
int g9p_lcreate(struct g9p *p, uint32_t fid, const char *name, uint32_t flags, uint32_t mode);
/* At most G9P_DATA bytes by way of p->data. *count: wanted, and got. */
int g9p_read(struct g9p *p, uint32_t fid, uint64_t off, uint32_t *count);
int g9p_write(struct g9p *p, uint32_t fid, uint64_t off, uint32_t *count);
int g9p_clunk(struct g9p *p, uint32_t fid);
int g9p_getattr(struct g9p *p, uint32_t fid, struct g9p_attr *a);

#endif
