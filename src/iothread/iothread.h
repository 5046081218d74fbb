/* SPDX-License-Identifier: MIT */
/* iothread.h - threads for I/O: -object iothread
 *
 * Each is a loop with a thread of its own. Disks give it queues (iothread=, iothread-vq-mapping=),
 * any number of them; what is on one loop runs one after the other, what is on different loops runs
 * side by side.
 *
 * All functions belong to the control thread. The objects are made before the program gives up its
 * rights, the threads start afterwards and before the exit loop, and they end after it: so whoever
 * finds the exit loop running finds all others running, too (loop_is_mine() is no question then).
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
/* The threads have ended; nothing is on the loops any more. */
void iothreads_free(struct iothreads *all);

/* For help. */
extern const struct opt iothread_options[];
/* Create the object from `qom-type=iothread,id=...`. 0 or -errno with `e`. */
int iothread_add(struct iothreads *all, struct kvs *k, struct err *e);

/* Start every thread; end every one that was started. */
int iothreads_start(struct iothreads *all, struct err *e);
void iothreads_join(struct iothreads *all);

/* The loop of the iothread that a property names; NULL with `e` when there is none of that id. */
struct loop *iothread_loop_by_id(struct iothreads *all, const char *id, struct err *e);
/* All of them in order of creation: the first one for NULL, NULL at the end. */
struct iothread *iothread_next(struct iothreads *all, const struct iothread *t);

struct iothread_info {
	const char *id;
	int thread_id; /* 0 before the start */
	uint64_t poll_max_ns, poll_grow, poll_shrink, aio_max_batch;
};
void iothread_info(const struct iothread *t, struct iothread_info *out);

#endif
