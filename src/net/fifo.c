/* SPDX-License-Identifier: MIT */
/* fifo.c - see fifo.h */
#include "net/fifo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

bool fifo_ring_put(struct fifo_ring *f, const void *frame, size_t len)
{
	size_t need = record(len), end = f->size - f->tail;
	bool wrap = end < need;
	uint32_t n = (uint32_t)len;

	if (need + (wrap ? end : 0) > f->size - f->used)
		return false;
	if (wrap) {
		if (end >= sizeof(n))
			memcpy(f->data + f->tail, &(uint32_t){WRAP}, sizeof(n));
		f->used += end;
		f->tail = 0;
	}
	memcpy(f->data + f->tail, &n, sizeof(n));
	memcpy(f->data + f->tail + sizeof(n), frame, len);
	f->tail += need;
	f->used += need;
	return true;
}

ssize_t fifo_ring_get(struct fifo_ring *f, const struct iovec *iov, unsigned n)
{
	const uint8_t *from;
	size_t left;
	uint32_t len;

	if (!f->used)
		return -EAGAIN;
	len = WRAP;
	if (f->size - f->head >= sizeof(len))
		memcpy(&len, f->data + f->head, sizeof(len));
	if (len == WRAP) {
		f->used -= f->size - f->head;
		f->head = 0;
		memcpy(&len, f->data, sizeof(len));
	}
	from = f->data + f->head + sizeof(len);
	left = len;
	for (unsigned i = 0; i < n && left; i++) {
		size_t part = MIN(left, iov[i].iov_len);

		memcpy(iov[i].iov_base, from, part);
		from += part;
		left -= part;
	}
	f->head += record(len);
	f->used -= record(len);
	if (!f->used)
		f->head = f->tail = 0;
	return len;
}
