/* SPDX-License-Identifier: MIT */
/* block.h - disk images: what -drive and -blockdev describe, and asynchronous I/O on them
 *
 * A `struct block` is one node: the raw data of an image file, of a block device, or of no file at
 * all (null-co). It is opened once, when its option is read; after that nothing is opened by path.
 * A device attaches itself to the node, which takes QEMU's image locks, and creates one block_queue
 * for each loop on which it does I/O. Requests are submitted on that loop and complete there. The
 * caller provides the memory of a request: the data path neither allocates nor takes a lock.
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
/* Close and free all disks. All devices must be detached and the loops stopped. */
void blocks_free(struct blocks *bs);

/* `-drive ...` (parsed without an implied key) and `-blockdev ...`. They read their keys from `k`,
 * complain of those left over, and open the image. 0 or -errno with
 * `e`. */
int blocks_add_drive(struct blocks *bs, struct kvs *k, struct err *e);
int blocks_add_node(struct blocks *bs, struct kvs *k, struct err *e);
/* Close a node that is not in use. Returns 0, or -ENOENT or -EBUSY with `e`. */
int blocks_del_node(struct blocks *bs, const char *node_name, struct err *e);

/* The tables of the two options, for help and the manual; only this folder may use the offsets. */
extern const struct opt block_drive_options[], block_node_options[];

/* Returns the disk with this -drive id= or node-name, or NULL. */
struct block *block_find(struct blocks *bs, const char *name);
/* Returns the disk that was created after `b`, the first one for NULL, or NULL after the last. */
struct block *block_next(struct blocks *bs, const struct block *b);

/* When no request is in flight on any disk, write all caches to stable storage (the workers do it),
 * then call done(arg, rc) from a turn of `control`; this function itself does not wait. Called for
 * `stop`, suspend and the end of the program, when the devices are paused and the loops still run.
 * `rc` is 0 or the first negative errno. Each error is logged, and the next flush of every disk on
 * that image fails for it. Returns 0, -ENOMEM, or -EBUSY if a drain is under way already; after an
 * error nothing is done and done() is not called. */
int blocks_drain(struct blocks *bs, struct loop *control, void (*done)(void *arg, int rc),
		 void *arg);

/* --- a device and its disk --- */

struct block_use {
	const char *user; /* the device's id or type, for messages and query-block; copied */
	bool share_rw;	  /* others may write, too */
	unsigned
		block_size; /* the guest's logical block in bytes: all requests are aligned to it */
};

/* Attach a device to the disk and lock the image. Returns 0, or -errno with `e`: -EBUSY if another
 * device uses the disk or another process holds a lock on the image. */
int block_attach(struct block *b, const struct block_use *use, struct err *e);
void block_detach(struct block *b); /* The queues of the device must have been freed. */

bool block_read_only(const struct block *b);
/* Returns the size in bytes, a multiple of 512; the end of a shorter file is padded with zeroes. It
 * never changes. */
uint64_t block_size(const struct block *b);
/* Tells whether a completed write is stable only after a flush (option cache=). The guest's driver
 * may change this: the device keeps the current value, submits writes with BLOCK_FUA while there is
 * no write cache, and calls block_set_write_cache() only for query-block. May be called on any
 * thread. */
bool block_write_cache(const struct block *b);
void block_set_write_cache(struct block *b, bool on);

/* --- I/O --- */

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };
#define BLOCK_OPS 5

#define BLOCK_FUA	(1u << 0) /* write, write-zeroes: stable before it completes */
#define BLOCK_MAY_UNMAP (1u << 1) /* write-zeroes: space may be given back */

#define BLOCK_REQ_IOV 4

struct block_req {
	/* Set by the submitter, and unchanged until done(). */
	enum block_op op;
	unsigned flags;
	uint64_t offset, len;	 /* bytes, inside block_size(); 0 and 0 for a flush */
	const struct iovec *iov; /* read, write: the data begins `skip` bytes into it; it may be
				    longer than the request */
	unsigned iovcnt;
	uint64_t skip;
	/* Called on the queue's loop when the request is finished, perhaps from within
	 * block_submit(). `ret` is 0 or -errno; there are no partial results. May free `r`. */
	void (*done)(struct block_req *r, int ret);

	/* Private to the block layer. */
	struct block_queue *q;
	struct list link;	    /* in engine::waiting, for a buffer */
	struct work work;	    /* for a worker */
	struct mpsc_node done_link; /* in engine::done, when a worker has finished */
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

/* Create a queue for I/O on `b` from loop `l`. Called on that loop, or on the control thread while
 * the loop does not run. Returns NULL with `e` on failure. */
struct block_queue *block_queue_new(struct block *b, struct loop *l, struct err *e);
/* Free a queue that has no request in flight. Called where block_queue_new() may be called, but not
 * from done(). `q` may be NULL. */
void block_queue_free(struct block_queue *q);

/* Start `r`. Called on the loop. A range outside the disk and a write to a read-only disk complete
 * with an error. Requests that are submitted in one turn of the loop reach the kernel together at
 * its end. Requests are not ordered, except that a flush covers all writes that had completed when
 * it was submitted. */
void block_submit(struct block_queue *q, struct block_req *r);
/* Returns the number of requests that are submitted and not finished. Called on the loop. */
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
/* Store the sums over all queues of the disk, including those that were freed. */
void block_stats(const struct block *b, struct block_stats *out);

#endif
