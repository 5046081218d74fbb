/* SPDX-License-Identifier: MIT */
/* block.h - disk images: what -drive and -blockdev describe, and asynchronous I/O on them
 *
 * A `struct block` is one node: a raw view on an image file, a block device, or nothing at all
 * (null-co). It is opened once, when its option is read; after that nothing is opened by path. A
 * device attaches itself to it (which takes QEMU's image locks) and gets one block_queue for each
 * loop that it works on. Requests are submitted on that loop and complete there. The caller embeds
 * the request; the data path neither allocates nor takes a lock.
 *
 * Files:   options.c   -drive and -blockdev
 *          image.c     opening, probing, the size
 *          lock.c      image locks
 *          block.c     disks and their attachment to devices
 *          request.c   the life of a request
 *          drain.c     writing everything to stable storage
 *          engine.c    what a loop needs for I/O
 *          uring.c     one way to the kernel; the other are the workers of base
 *          blocking.c  the same operations, blocking
 *          bounce.c    aligned buffers for O_DIRECT
 * Threads: blocks_*() and block_*() belong to the control thread unless they say otherwise;
 *          block_submit() belongs to the loop of the queue.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/mpsc.h"
#include "base/workers.h"
#include "conf/kvs.h"
#include "conf/opts.h"

struct block;
struct block_queue;
struct blocks;

/* --- all disks of the machine --- */

struct blocks *blocks_new(void); /* NULL: out of memory */
/* Close everything: nobody is attached any more, the loops have stopped. */
void blocks_free(struct blocks *bs);

/* `-drive ...` (parsed without an implied key) and `-blockdev ...`. They read their keys from `k`,
 * complain of those left over, and open the image. 0 or -errno with
 * `e`. */
int blocks_add_drive(struct blocks *bs, struct kvs *k, struct err *e);
int blocks_add_node(struct blocks *bs, struct kvs *k, struct err *e);
/* Close a node that nothing uses. -ENOENT, or -EBUSY while it is in use. */
int blocks_del_node(struct blocks *bs, const char *node_name, struct err *e);

/* What the two options accept, for help and the manual; the offsets are this folder's own. */
extern const struct opt block_drive_options[], block_node_options[];

/* By -drive id= or by node-name. NULL when unknown. */
struct block *block_find(struct blocks *bs, const char *name);
/* All of them in order of creation: the first one for NULL; NULL at the end. */
struct block *block_next(struct blocks *bs, const struct block *b);

/* When no request is in flight on any disk, write all caches to stable storage (on the pool's
 * threads), then call done(arg, rc) from a turn of `control`. For `stop`, suspend and the end of
 * the program: the devices are paused already, the loops still run. `rc`: 0 or the first negative
 * errno; each error is logged, and the next flush of every disk on that image fails for it.
 * -ENOMEM: nothing is done, and done() is not called; -EBUSY: the same, one is under way. */
int blocks_drain(struct blocks *bs, struct loop *control, void (*done)(void *arg, int rc),
		 void *arg);

/* --- a device and its disk --- */

struct block_use {
	const char *user;    /* the device's id or type, for messages and query-block; copied */
	bool share_rw;	     /* others may write too */
	unsigned block_size; /* the guest's logical block, bytes: no request is aligned worse */
};

/* Claim the disk for a device and lock the image. -EBUSY ("already in use", `Failed to get "write"
 * lock`) with `e`. */
int block_attach(struct block *b, const struct block_use *use, struct err *e);
void block_detach(struct block *b); /* its queues are freed already */

bool block_read_only(const struct block *b);
/* Bytes, a multiple of 512 (the tail of a file that is shorter reads as zeroes). Constant. */
uint64_t block_size(const struct block *b);
/* cache=: does a completed write wait for a flush before it is stable? The device keeps the present
 * value, as the driver may change it (and then asks for BLOCK_FUA on each write);
 * block_set_write_cache() is for query-block only. Any thread. */
bool block_write_cache(const struct block *b);
void block_set_write_cache(struct block *b, bool on);

/* --- I/O --- */

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };
#define BLOCK_OPS 5

#define BLOCK_FUA	(1u << 0) /* write, write-zeroes: stable before it completes */
#define BLOCK_MAY_UNMAP (1u << 1) /* write-zeroes: space may be given back */

#define BLOCK_REQ_IOV 4

struct block_req {
	/* The submitter's; unchanged until done(). */
	enum block_op op;
	unsigned flags;
	uint64_t offset, len;	 /* bytes, inside block_size(); 0 and 0 for a flush */
	const struct iovec *iov; /* read, write: the data begins `skip` bytes into it; it may be
				    longer than the request */
	unsigned iovcnt;
	uint64_t skip;
	/* On the queue's loop, perhaps from within block_submit(). `ret`: 0 or -errno; never a
	 * partial result. May free `r`. */
	void (*done)(struct block_req *r, int ret);

	/* The block layer's. */
	struct block_queue *q;
	struct list link;	    /* waits for a buffer */
	struct work work;	    /* queued for a worker */
	struct mpsc_node done_link; /* done by one */
	uint64_t start_ns;
	uint64_t pos;	/* bytes of the request that are done */
	uint64_t piece; /* bytes of it that the I/O in flight covers */
	uint64_t io_offset;
	const struct iovec *io_iov; /* the I/O in flight, as the kernel sees it */
	unsigned io_cnt;
	unsigned io_skip; /* bytes of it before the piece begins */
	char *bounce;
	unsigned bounce_len;
	bool zeroes; /* a write that turned out to be all zeroes */
	int64_t io_result;
	struct iovec part[BLOCK_REQ_IOV]; /* where `iov` cannot be used as it is */
};

/* I/O on `b` from loop `l`. Control thread while the loop does not run, or the loop; NULL with `e`.
 */
struct block_queue *block_queue_new(struct block *b, struct loop *l, struct err *e);
/* Nothing is in flight, and this is not called from done(). Where block_queue_new() may be called.
 */
void block_queue_free(struct block_queue *q);

/* Start `r`, from within a turn of the loop. Bad ranges and writes to a read-only disk complete
 * with an error, whoever asks for them. Requests that are submitted in one turn of the loop reach
 * the kernel together at its end. No order among requests, except that a flush covers all writes
 * that had completed when it was submitted. */
void block_submit(struct block_queue *q, struct block_req *r);
/* Requests submitted and not done. The queue's loop. */
unsigned block_inflight(const struct block_queue *q);

/* --- for QMP --- */

struct block_info {
	const char *id;	       /* -drive id=, or NULL */
	const char *node_name; /* given or made up ("#block0") */
	const char *driver;    /* "raw", "file", "host_device", "null-co", "null-aio" */
	const char *filename;  /* absolute, or a null driver's "null-co://"; NULL: a drive without
				  medium */
	const char *user;      /* device that is attached, or NULL */
	const char *detect_zeroes;
	bool read_only, writeback, direct, no_flush;
	uint64_t size;	    /* bytes */
	uint64_t allocated; /* bytes on the host, 0 when unknown */
};
void block_info(const struct block *b, struct block_info *out);

struct block_stats {
	uint64_t ops[BLOCK_OPS], bytes[BLOCK_OPS], ns[BLOCK_OPS], failed[BLOCK_OPS];
	uint64_t highest; /* end of the last byte ever written */
	uint64_t idle_ns; /* since the last completion; 0 before the first one */
};
/* Sums over all queues there ever were. */
void block_stats(const struct block *b, struct block_stats *out);

#endif
