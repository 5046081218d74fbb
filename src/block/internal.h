/* SPDX-License-Identifier: MIT */
/* internal.h - what the files of this folder share; nobody else includes it
 *
 * image   an open file or device, and what the host can do with it; several disks may share one
 * block   a disk: its names, its range of an image, and the device that uses it
 * queue   a disk as it is used on one loop
 * engine  what one loop has for disk I/O: its io_uring, its buffers, its lists for the workers
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

	/* Set by any thread when an operation turns out to be unsupported; never cleared. */
	atomic_bool no_discard, no_punch, no_zero_range, no_nowait;
	atomic_bool lost; /* a flush failed, and the kernel may have dropped the data from the page
			     cache: every later flush must fail, too */
	/* Errors of synchronization after which a later flush may succeed: their number, and the
	 * last one as a negative errno. The kernel reports each once for this open file, but the
	 * next flush of every disk on the image must fail for it. */
	atomic_uint sync_errors;
	atomic_int sync_error;

	/* The guest's blocks are smaller than the host's. A write of a part of a host block reads
	 * the block, changes it and writes it back, and holds rmw_lock exclusively; writes of whole
	 * host blocks share the lock. */
	bool rmw;
	pthread_rwlock_t rmw_lock;
};

int image_open(struct image **out, const struct image_opts *o, struct err *e);
void image_unref(struct image *img);
struct block;
/* Note that the kernel has answered `rc`, a negative errno, to a flush, or (`written`) to a write
 * that was to be stable when it completed. The next flush of every disk on the image will fail for
 * it. If `told` is not NULL, the flush that got the error was that disk's and fails already. Called
 * on any thread. */
void image_sync_failed(struct image *img, int rc, bool written, struct block *told);
uint64_t image_allocated(const struct image *img);

/* --- lock.c --- */

#define PERM_CONSISTENT_READ (1u << 0)
#define PERM_WRITE	     (1u << 1)

/* Change the locks of `img` so that it holds exactly the permissions `perm` and denies others
 * `unshared`. Returns 0, or -errno with `e`; then the locks are as before. */
int image_lock(struct image *img, unsigned perm, unsigned unshared, struct err *e);

/* --- blocking.c: operations that may sleep, for the workers --- */

/* Do the read that r->io_* describes if the page cache can answer it. Returns the number of bytes,
 * -EAGAIN if the read would sleep, or another -errno. Called on the loop. */
int64_t image_read_quick(struct image *img, struct block_req *r);
/* Do the read or write that r->io_* describes, or the flush, discard or write-zeroes that `r`
 * describes. Returns the number of bytes or -errno. Called by a worker; may sleep. */
int64_t image_execute(struct image *img, struct block_req *r);
/* Write the image's cache to stable storage. Returns 0 or -errno, which must be passed to
 * image_sync_failed(). Called by a worker; may sleep. */
int image_sync(struct image *img);

/* --- bounce.c: page-aligned buffers, one arena for each loop --- */

#define BOUNCE_PAGE  4096
#define BOUNCE_PAGES 512 /* 2 MiB in all */
#define BOUNCE_MAX   (256 * 1024ULL)
/* The first BOUNCE_FIXED bytes of the arena, which are used first, are registered with the
 * io_uring: the kernel pins them once instead of for each request. */
#define BOUNCE_FIXED (512 * 1024ULL)

struct bounce {
	char *base; /* NULL: none yet */
	uint64_t used[BOUNCE_PAGES / 64];
	unsigned free; /* pages */
};

/* Reserve the address space, unless that was done before. Returns 0 or -errno. */
int bounce_init(struct bounce *b);
void bounce_fini(struct bounce *b);
/* Returns a buffer of `len` bytes, at most BOUNCE_MAX, or NULL if the arena has no room now. */
char *bounce_get(struct bounce *b, uint64_t len);
void bounce_put(struct bounce *b, char *p, uint64_t len);

/* --- uring.c --- */

struct engine;
struct uring;

/* `max_batch`: the number of queued requests after which they are submitted at once (0: only at the
 * end of the turn). Returns NULL with errno if the kernel has no io_uring or forbids it. */
struct uring *uring_new(uint64_t max_batch);
void uring_free(struct uring *u);
int uring_fd(const struct uring *u);
/* Bind the ring to the calling thread: only this thread may use it from now on. Returns 0 or
 * -errno. */
int uring_begin(struct uring *u);
/* Register the first BOUNCE_FIXED bytes of the arena. If the process may not pin so much memory,
 * I/O works without. Called after uring_begin(), on the same thread. */
void uring_fix(struct uring *u, const struct bounce *b);
/* Queue the I/O that r->io_* describes. Returns false if the ring is full even after a
 * submission. */
bool uring_queue(struct uring *u, struct image *img, struct block_req *r);
/* Tells whether requests are queued that the kernel has not accepted yet. */
bool uring_pending(const struct uring *u);
/* Submit all queued requests by one system call. Does nothing if there are none. Returns 0, or
 * -errno if the ring is broken: it accepts no more requests, and those that the kernel has accepted
 * still complete. */
int uring_submit(struct uring *u);
/* Tells whether a submission has failed for good. */
bool uring_broken(const struct uring *u);
/* Take a queued request that the kernel has not accepted out of a broken ring, the oldest first.
 * Returns NULL when none is left. */
struct block_req *uring_take_back(struct uring *u);
/* Call engine_io_done() for each completion. Returns their number. */
unsigned uring_reap(struct uring *u, struct engine *en);

/* --- engine.c --- */

/* Small buffered reads are first tried by image_read_quick(), which costs less than the io_uring if
 * the page cache has the data, and if there are only a few in a turn of the loop. */
#define QUICK_FEW   4	       /* most of them in a turn; more go to the io_uring together */
#define QUICK_MAX   128	       /* the same for a file in memory, which is always read quickly */
#define QUICK_BYTES (16 * KiB) /* most bytes of such a read */
#define QUICK_PAUSE 64	       /* reads that are not tried after one that would have slept */

struct engine {
	struct list link; /* blocks->engines */
	struct loop *loop;
	struct workers *pool;
	struct uring *uring;
	bool uring_failed; /* io_uring cannot be used: the workers do all I/O */
	bool uring_warned;
	bool hooked; /* `hook` was added, which the first request does */
	struct loop_hook hook;
	struct loop_fd watch; /* the io_uring; added with the first request for it */
	struct loop_task again;

	/* Of this turn: what the page cache may answer at once; and what the pool gets at its end.
	 */
	struct block_req *quick[QUICK_MAX];
	unsigned quicks;
	bool bulk;	      /* this turn has more than QUICK_FEW: none is tried quickly */
	unsigned quick_pause; /* reads that are still not to be tried, see QUICK_PAUSE */
	struct work *batch, *batch_last;
	unsigned batched;
	struct mpsc done; /* from the pool */
	struct loop_task done_task;

	struct bounce bounce;
	struct list waiting; /* for a buffer, oldest first */

	unsigned inflight;
	struct loop_poller poller;

	/* engine_when_idle(): the task to post, and to which loop. The control thread sets them and
	 * posts `ask_idle`; from then on they are the engine's loop's. */
	struct loop_task ask_idle;
	bool idle_wanted; /* the task is to be posted when `inflight` becomes 0 */
	struct loop *idle_loop;
	struct loop_task *idle_task;
};

/* Returns the engine of loop `l`, prepared for I/O on `img`; creates it when needed. NULL with `e`:
 * out of memory. It exists until blocks_free(), as a worker may still be in engine_worker_done()
 * when the last queue has been freed. */
struct engine *engine_get(struct blocks *bs, struct loop *l, struct image *img, struct err *e);
void engine_free(struct engine *en); /* the workers must have ended */
/* Post `t` to `control` when no request is in flight. Called on the control thread, which does not
 * wait. An engine knows one such task at a time. */
void engine_when_idle(struct engine *en, struct loop *control, struct loop_task *t);
/* Start the I/O that r->io_* describes. `blocking`: only a worker can do it. Called on the loop. */
void engine_start(struct engine *en, struct block_req *r, bool blocking);
/* Pass `r`, whose r->io_result is set, back to the loop. Called by a worker. */
void engine_worker_done(struct engine *en, struct block_req *r);
/* The I/O of `r` has ended with r->io_result: continue the request. Called on the loop. */
void engine_io_done(struct engine *en, struct block_req *r);
/* Count the requests in flight, for engine_when_idle(). Called on the loop. */
void engine_enter(struct engine *en);
void engine_leave(struct engine *en);

/* --- request.c --- */

/* The I/O of `r` has ended with r->io_result: start the next piece, or finish the request. */
void request_continue(struct block_req *r);
/* Start `r`, which waited for a bounce buffer. Returns false if there still is no room for one. */
bool request_retry(struct block_req *r);

/* --- block.c --- */

enum detect_zeroes { DETECT_OFF, DETECT_ON, DETECT_UNMAP };

struct blocks {
	struct list all;     /* struct block */
	struct list images;  /* struct image */
	struct list engines; /* struct engine */
	struct workers *pool;
	struct drain *drain; /* that is under way, or NULL */
	unsigned made_up;    /* number of the next generated node name ("#block0") */
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
	atomic_uint errors_told; /* how many of img->sync_errors the guest knows: a flush of this
				    disk has failed for them */
	struct block *child;	 /* the node that this raw node refers to, or NULL */
	unsigned parents;	 /* nodes that have this one as their child */

	char *user; /* attached device, or NULL */
	bool share_rw;
	struct list queues;
	struct block_stats past; /* sums over queues that were freed */
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
	struct block_counters count; /* written by the loop only, read by any thread */
};

/* Create a disk without names that covers all of `img`, and takes a reference to it. `img` is NULL
 * for a drive without a medium. Returns NULL when out of memory. */
struct block *block_new(struct blocks *bs, struct image *img, const char *driver);
void block_free(struct block *b);

#endif
