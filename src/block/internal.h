/* SPDX-License-Identifier: MIT */
/* internal.h - what the files of this folder share; nobody else includes it
 *
 * image   an open file or device and what the host can do with it; several disks may share one
 * block   a disk: a name, a range of an image, and who uses it
 * queue   a disk on one loop
 * engine  one loop's means for I/O: its io_uring, its buffers, its way to the pool of workers
 */
#ifndef BLOCK_INTERNAL_H
#define BLOCK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "block/block.h"

#define SECTOR 512

enum aio { AIO_AUTO, AIO_THREADS, AIO_NATIVE, AIO_IO_URING };
enum image_kind { IMAGE_FILE, IMAGE_DEVICE, IMAGE_NULL };

/* --- image.c: open files --- */

struct image_opts {
	enum image_kind
		kind; /* IMAGE_FILE is taken for a device where `any_kind` is set and it is one */
	bool any_kind;
	const char *filename;
	bool read_only, direct, no_flush;
	bool read_zeroes; /* null: reads fill the buffer */
	enum aio aio;
	uint8_t locking; /* OPT_ON, OPT_OFF, OPT_AUTO */
	uint64_t size;	 /* null */
};

struct image {
	struct list link; /* blocks->images */
	unsigned refs;
	enum image_kind kind;
	int fd;	    /* -1: null */
	char *path; /* absolute */
	bool read_only, direct, no_flush, read_zeroes;
	enum aio aio;
	uint64_t size;	 /* bytes, rounded up to sectors */
	unsigned align;	 /* of offset and length, bytes; 1 without O_DIRECT */
	unsigned sector; /* logical block of a host device */
	bool locking;
	unsigned locked_perm, locked_unshared;

	bool in_memory; /* a file of tmpfs: reading it does not wait for a device */

	/* Found out at work, by any thread; they only ever become true. */
	atomic_bool no_discard, no_punch, no_zero_range, no_nowait;
	atomic_bool lost; /* a flush failed and the page cache may have forgotten the data: no later
			     one may succeed */
	/* Errors of synchronization that the kernel has told this open file where a later flush may
	 * succeed: how many, and the last one as a negative errno. The kernel tells each once, but
	 * each disk on the image has to hear of it. */
	atomic_uint sync_errors;
	atomic_int sync_error;

	/* The guest's blocks are smaller than the host's: a write of a part reads, changes and
	 * writes whole host blocks, alone; others share the lock. */
	bool rmw;
	pthread_rwlock_t rmw_lock;
};

int image_open(struct image **out, const struct image_opts *o, struct err *e);
void image_unref(struct image *img);
struct block;
/* Any thread: the kernel has answered a negative errno `rc` to a flush, or (`written`) to a write
 * that was to be stable when it ended. The next flush of every disk on the image will fail for it,
 * but for that of `told` (may be NULL), which fails already. */
void image_sync_failed(struct image *img, int rc, bool written, struct block *told);
uint64_t image_allocated(const struct image *img);

/* --- lock.c --- */

#define PERM_CONSISTENT_READ (1u << 0)
#define PERM_WRITE	     (1u << 1)

/* Hold exactly these permissions, and deny others `unshared`; on failure the old locks stay. */
int image_lock(struct image *img, unsigned perm, unsigned unshared, struct err *e);

/* --- blocking.c: operations that may sleep, for the workers --- */

/* Read what r->io_* says if that needs no waiting: bytes, or -errno; -EAGAIN when it does. The
 * loop. */
int64_t image_read_quick(struct image *img, struct block_req *r);
/* Do what r->io_* (read, write) or the request itself (flush, discard, write-zeroes) says: bytes
 * done, or -errno. */
int64_t image_execute(struct image *img, struct block_req *r);
/* Write the image's cache to stable storage: 0 or a negative errno, which the caller hands to
 * image_sync_failed(). */
int image_sync(struct image *img);

/* --- bounce.c: page-aligned buffers, one arena for each loop --- */

#define BOUNCE_PAGE  4096
#define BOUNCE_PAGES 512 /* 2 MiB in all */
#define BOUNCE_MAX   (256 * 1024ULL)
/* So much of the low end, which is used first, is registered with the ring: pinned once instead of
 * for each request. */
#define BOUNCE_FIXED (512 * 1024ULL)

struct bounce {
	char *base; /* NULL: none yet */
	uint64_t used[BOUNCE_PAGES / 64];
	unsigned free; /* pages */
};

int bounce_init(struct bounce *b); /* reserves address space; harmless when done before */
void bounce_fini(struct bounce *b);
/* `len` bytes, at most BOUNCE_MAX; NULL when there is no room now. */
char *bounce_get(struct bounce *b, uint64_t len);
void bounce_put(struct bounce *b, char *p, uint64_t len);

/* --- uring.c --- */

struct engine;
struct uring;

/* `max_batch`: so many requests at most are collected before the kernel gets them (0: no limit).
 * NULL with errno where the kernel has none, or forbids it. */
struct uring *uring_new(uint64_t max_batch);
void uring_free(struct uring *u);
int uring_fd(const struct uring *u);
/* From now on the calling thread, and no other, uses the ring. 0 or -errno. */
int uring_begin(struct uring *u);
/* Register the low end of the arena. A process that may not pin it goes on without. After
 * uring_begin(), same thread. */
void uring_fix(struct uring *u, const struct bounce *b);
/* Queue the I/O that r->io_* describes. False: no room even after a submission. */
bool uring_queue(struct uring *u, struct image *img, struct block_req *r);
/* Is something queued that the kernel has not taken yet? */
bool uring_pending(const struct uring *u);
/* One system call for all that was queued, none if there is nothing. A negative errno: the ring is
 * broken and takes no more; what it has taken still completes. */
int uring_submit(struct uring *u);
bool uring_broken(const struct uring *u);
/* Of a broken ring: a request that was queued and not taken, the oldest first; NULL: none is left.
 */
struct block_req *uring_take_back(struct uring *u);
/* Hand finished I/O to engine_io_done(). Returns how many. */
unsigned uring_reap(struct uring *u, struct engine *en);

/* --- engine.c --- */

/* Reads of one turn that are tried at once, and the bytes of each. More than a few are a batch, for
 * the ring, unless the file is in memory. */
#define QUICK_FEW   4
#define QUICK_MAX   128
#define QUICK_BYTES (16 * KiB)
#define QUICK_PAUSE 64

struct engine {
	struct list link; /* blocks->engines */
	struct loop *loop;
	struct workers *pool;
	struct uring *uring;
	bool uring_failed; /* not here: the workers do it */
	bool uring_warned;
	bool hooked; /* from the first use on, as `watch` */
	struct loop_hook hook;
	struct loop_fd watch; /* the ring */
	struct loop_task again;

	/* Of this turn: what the page cache may answer at once; and what the pool gets at its end.
	 */
	struct block_req *quick[QUICK_MAX];
	unsigned quicks;
	bool bulk;	      /* this turn has too many for that */
	unsigned quick_pause; /* so many more are not tried, because the cache did not have the last
				 one */
	struct work *batch, *batch_last;
	unsigned batched;
	struct mpsc done; /* from the pool */
	struct loop_task done_task;

	struct bounce bounce;
	struct list waiting; /* for a buffer, oldest first */

	unsigned inflight;
	struct loop_poller poller;

	struct loop_task ask_idle;
	bool idle_wanted;
	struct loop *idle_loop; /* who asked */
	struct loop_task *idle_task;
};

/* The engine of loop `l`, fit for `img`. It stays until the end: a worker may still be handing back
 * the last result of a queue that is gone. */
struct engine *engine_get(struct blocks *bs, struct loop *l, struct image *img, struct err *e);
void engine_free(struct engine *en); /* after the workers */
/* Control thread: run `t` on `control` when nothing is in flight. One at a time for each engine. */
void engine_when_idle(struct engine *en, struct loop *control, struct loop_task *t);
/* The loop: start the I/O described by r->io_*; `blocking`: only a worker can do it. */
void engine_start(struct engine *en, struct block_req *r, bool blocking);
/* Any thread. */
void engine_worker_done(struct engine *en, struct block_req *r);
/* The loop: r->io_result is there; continues in request.c. */
void engine_io_done(struct engine *en, struct block_req *r);
/* The loop: count requests, so that a drain knows. */
void engine_enter(struct engine *en);
void engine_leave(struct engine *en);

/* --- request.c --- */

/* The I/O of `r` has ended with r->io_result: do the next piece, or finish. */
void request_continue(struct block_req *r);
/* There may be a buffer for `r` now: false when there is not. */
bool request_retry(struct block_req *r);

/* --- block.c --- */

enum detect_zeroes { DETECT_OFF, DETECT_ON, DETECT_UNMAP };

struct blocks {
	struct list all;     /* struct block */
	struct list images;  /* struct image */
	struct list engines; /* struct engine */
	struct workers *pool;
	struct drain *drain; /* that is under way */
	unsigned made_up;    /* node names */
};

struct block {
	struct list link;
	struct blocks *bs;
	char *id, *node_name;
	const char *driver;
	struct image *img; /* NULL: a drive without a medium */
	uint64_t base, size;
	bool read_only, discard;
	enum detect_zeroes detect;
	atomic_bool write_cache;
	atomic_uint errors_told; /* of img->sync_errors, those that a flush of the guest has failed
				    for */
	struct block *parent;	 /* the node below that it was built on by reference */
	unsigned above;		 /* nodes built on this one */

	char *user; /* attached device, or NULL */
	bool share_rw;
	struct list queues;
	struct block_stats past; /* of the queues that are gone */
	uint64_t last_done;
};

struct block_counters {
	_Atomic uint64_t ops[BLOCK_OPS], bytes[BLOCK_OPS], ns[BLOCK_OPS], failed[BLOCK_OPS];
	_Atomic uint64_t highest, last_done;
};

struct block_queue {
	struct list link;
	struct block *b;
	struct engine *en;
	unsigned inflight;
	struct block_counters count; /* written by the loop, read by anybody */
};

/* A nameless disk over all of `img` (with a reference of its own; NULL: no medium). NULL: out of
 * memory. */
struct block *block_new(struct blocks *bs, struct image *img, const char *driver);
void block_free(struct block *b);

#endif
