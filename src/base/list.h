/* SPDX-License-Identifier: MIT */
/* list.h - intrusive, doubly linked, circular list (a head and its entries are the same type) */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

#include "base/util.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(l)       \
	{                  \
		&(l), &(l) \
	}

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_add_tail(struct list *head, struct list *e)
{
	e->prev = head->prev;
	e->next = head;
	head->prev->next = e;
	head->prev = e;
}

static inline void list_add_head(struct list *head, struct list *e)
{
	list_add_tail(head->next, e);
}

/* Removing an entry leaves it a valid empty list, so removing it twice is harmless. */
static inline void list_del(struct list *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	list_init(e);
}

#define list_entry(l, type, member) container_of(l, type, member)

/* The body may remove the current entry `it`. */
#define list_for_each(it, head)                                                   \
	for (struct list *it = (head)->next, *it##_next = it->next; it != (head); \
	     it = it##_next, it##_next = it->next)

static inline struct list *list_pop(struct list *head)
{
	struct list *e = head->next;

	if (e == head)
		return NULL;
	/* The analyzer does not see that an entry which was freed is off the list.
	 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	list_del(e);
	return e;
}

#endif
