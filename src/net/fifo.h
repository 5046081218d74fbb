/* SPDX-License-Identifier: MIT */
/* fifo.h - received frames that wait in this process, for back ends without a descriptor to wait in
 *
 * A ring of bytes with whole frames in it, each in one piece behind its length. One loop uses it.
 * It begins at its start again whenever it becomes empty, so that a guest which keeps up touches
 * few pages.
 */
#ifndef NET_FIFO_H
#define NET_FIFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct fifo_ring {
	uint8_t *data;
	size_t size;
	size_t head, tail;  /* oldest byte; where the next frame goes */
	size_t used;	    /* bytes between them */
	struct iovec first; /* what fifo_ring_peek() returns */
};

/* 0 or -ENOMEM. */
int fifo_ring_init(struct fifo_ring *f, size_t size);
void fifo_ring_free(struct fifo_ring *f);
static inline bool fifo_ring_empty(const struct fifo_ring *f)
{
	return !f->used;
}
/* A frame of that many bytes fits for sure. */
size_t fifo_ring_room(const struct fifo_ring *f);
/* Append a frame; false when there is no room. */
bool fifo_ring_put(struct fifo_ring *f, const struct iovec *iov, unsigned n);
/* Take the oldest frame out, into `iov`, which has the room. Its length, or -EAGAIN. */
ssize_t fifo_ring_get(struct fifo_ring *f, const struct iovec *iov, unsigned n);
/* The oldest frame where it lies, NULL for none; and doing away with it. */
const struct iovec *fifo_ring_peek(struct fifo_ring *f);
void fifo_ring_drop(struct fifo_ring *f);

#endif
