/* SPDX-License-Identifier: MIT */
/* workers.h - a few threads for what blocks
 *
 * Threads are started when work waits and nobody is idle, up to a limit, and stay until the end. A
 * loop hands over the work of a turn at once, under one lock. Work is embedded in the object that
 * it is about; it says itself, from its own function, when and to whom it is done.
 */
#ifndef BASE_WORKERS_H
#define BASE_WORKERS_H

#include <stdbool.h>

struct workers;

struct work {
	void (*fn)(struct work *w); /* on one of the threads; may free what holds `w` */
	struct work *next;	    /* the pool's while it is queued */
};

#define WORKERS_MAX 16

/* `name` (at most 15 characters, kept by reference) is that of the threads, of which there are at
 * most `max`, up to WORKERS_MAX. `begin`, if not NULL, is called first on each. NULL: out of
 * memory. */
struct workers *workers_new(const char *name, unsigned max, void (*begin)(void *arg), void *arg);
/* What is queued is done first. Harmless with NULL. */
void workers_free(struct workers *p);
/* Any thread: have `n` pieces of work (linked by `next`) done. Where no thread can be started they
 * are done before this returns: slow is better than stuck. */
void workers_submit(struct workers *p, struct work *first, struct work *last, unsigned n);
/* Any thread: take `w` back. False when it is not queued (any more). */
bool workers_cancel(struct workers *p, struct work *w);

#endif
