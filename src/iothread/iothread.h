/* SPDX-License-Identifier: MIT */
/* iothread.h - threads for I/O: -object iothread
 *
 * An iothread is a loop with a thread of its own. A device can have its virtqueues served by
 * iothreads (iothread=, iothread-vq-mapping=). Queues on one loop are served one after the other,
 * queues on different loops in parallel.
 *
 * All functions are called on the control thread. The objects are created before the program gives
 * up its privileges. The threads start after that, before the thread of the exit loop, and end
 * after it: so while the exit loop runs, all iothreads run, too.
 */
#ifndef IOTHREAD_IOTHREAD_H
#define IOTHREAD_IOTHREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "conf/kvs.h"
#include "conf/opts.h"

struct iothread;
struct iothreads;

struct iothreads *iothreads_new(void); /* NULL: out of memory */
/* Free all objects. The threads must have ended, and no device may use a loop any more. */
void iothreads_free(struct iothreads *all);

/* For help. */
extern const struct opt iothread_options[];
/* Create an object from `qom-type=iothread,id=...`. Returns 0, or -errno with `e`. */
int iothread_add(struct iothreads *all, struct kvs *k, struct err *e);

/* Start all threads. Returns 0, or -errno with `e`; then some may run. */
int iothreads_start(struct iothreads *all, struct err *e);
/* End all threads that were started and wait for them. `all` may be NULL. */
void iothreads_join(struct iothreads *all);

/* Returns the loop of iothread `id`, which a property named, or NULL with `e` if there is none. */
struct loop *iothread_loop_by_id(struct iothreads *all, const char *id, struct err *e);
/* Returns the iothread that was created after `t`, the first one for NULL, or NULL after the last.
 */
struct iothread *iothread_next(struct iothreads *all, const struct iothread *t);

struct iothread_info {
	const char *id;
	int thread_id; /* 0 before the start */
	uint64_t poll_max_ns, poll_grow, poll_shrink, aio_max_batch;
};
void iothread_info(const struct iothread *t, struct iothread_info *out);

#endif
