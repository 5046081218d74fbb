/* SPDX-License-Identifier: MIT */
/* mpsc.h - a list that any thread adds to and one thread takes whole, without a lock
 *
 * Many producers, one consumer. The producers push on top of a stack; the consumer takes the stack
 * in one exchange and reverses it, so it sees what each producer pushed in the order of the pushes.
 * As nothing is ever popped alone, a node that comes back at the same address does no harm.
 *
 * Both operations are sequentially consistent: a consumer that announces its sleep and then finds
 * the list empty, and a producer that pushes and then looks for a sleeper, cannot miss each other.
 */
#ifndef BASE_MPSC_H
#define BASE_MPSC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Embedded in what is listed; in one list at a time. */
struct mpsc_node {
	struct mpsc_node *next;
};

/* All zero: empty. */
struct mpsc {
	_Atomic(struct mpsc_node *) newest;
};

/* Any thread. */
static inline void mpsc_push(struct mpsc *q, struct mpsc_node *n)
{
	struct mpsc_node *newest = atomic_load(&q->newest);

	do {
		n->next = newest;
	} while (!atomic_compare_exchange_weak(&q->newest, &newest, n));
}

static inline bool mpsc_empty(struct mpsc *q)
{
	return !atomic_load(&q->newest);
}

/* The same for a look in a busy loop, which orders nothing. */
static inline bool mpsc_looks_empty(struct mpsc *q)
{
	return !atomic_load_explicit(&q->newest, memory_order_relaxed);
}

/* The consumer: take all that is there, linked by `next`, the oldest first. NULL: nothing. */
static inline struct mpsc_node *mpsc_take(struct mpsc *q)
{
	struct mpsc_node *n = atomic_exchange(&q->newest, NULL), *oldest = NULL;

	while (n) {
		struct mpsc_node *older = n->next;

		n->next = oldest;
		oldest = n;
		n = older;
	}
	return oldest;
}

#endif
