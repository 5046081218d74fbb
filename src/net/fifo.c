/* SPDX-License-Identifier: MIT */
/* fifo.c - see fifo.h */
#include "net/fifo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"
#include "base/util.h"

#define WRAP UINT32_MAX /* instead of a length: go on at the start */

int fifo_ring_init(struct fifo_ring *f, size_t size)
{
	*f = (struct fifo_ring){.size = size, .data = malloc(size)};
	return f->data ? 0 : -ENOMEM;
}

void fifo_ring_free(struct fifo_ring *f)
{
	free(f->data);
	f->data = NULL;
}

/* Room that a frame of `len` bytes takes. */
static size_t record(size_t len)
{
	return ALIGN_UP(sizeof(uint32_t) + len, sizeof(uint32_t));
}

size_t fifo_ring_room(const struct fifo_ring *f)
{
	/* In one piece: behind the tail, or before the head. */
	size_t room = f->head > f->tail || (f->used && f->head == f->tail)
			      ? f->head - f->tail
			      : MAX(f->size - f->tail, f->head);

	return room > 2 * sizeof(uint32_t) ? room - 2 * sizeof(uint32_t) : 0;
}

bool fifo_ring_put(struct fifo_ring *f, const struct iovec *iov, unsigned n)
{
	size_t end = f->size - f->tail, need;
	uint32_t len = (uint32_t)iov_len(iov, n);
	bool wrap;

	need = record(len);
	wrap = end < need;
	if (need + (wrap ? end : 0) > f->size - f->used)
		return false;
	if (wrap) {
		if (end >= sizeof(len))
			memcpy(f->data + f->tail, &(uint32_t){WRAP}, sizeof(len));
		f->used += end;
		f->tail = 0;
	}
	memcpy(f->data + f->tail, &len, sizeof(len));
	iov_to_buf(iov, n, 0, f->data + f->tail + sizeof(len), len);
	f->tail += need;
	f->used += need;
	return true;
}

const struct iovec *fifo_ring_peek(struct fifo_ring *f)
{
	uint32_t len = WRAP;

	if (!f->used)
		return NULL;
	if (f->size - f->head >= sizeof(len))
		memcpy(&len, f->data + f->head, sizeof(len));
	if (len == WRAP) {
		f->used -= f->size - f->head;
		f->head = 0;
		memcpy(&len, f->data, sizeof(len));
	}
	f->first = (struct iovec){f->data + f->head + sizeof(len), len};
	return &f->first;
}

void fifo_ring_drop(struct fifo_ring *f)
{
	const struct iovec *iov = fifo_ring_peek(f);

	if (!iov)
		return;
	f->head += record(iov->iov_len);
	f->used -= record(iov->iov_len);
	if (!f->used)
		f->head = f->tail = 0;
}

ssize_t fifo_ring_get(struct fifo_ring *f, const struct iovec *iov, unsigned n)
{
	const struct iovec *frame = fifo_ring_peek(f);
	ssize_t len;

	if (!frame)
		return -EAGAIN;
	len = (ssize_t)frame->iov_len;
	iov_from_buf(iov, n, 0, frame->iov_base, frame->iov_len);
	fifo_ring_drop(f);
	return len;
}
