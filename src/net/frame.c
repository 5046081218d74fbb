/* SPDX-License-Identifier: MIT */
/* frame.c - see frame.h */
#include "net/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"
#include "net/net.h"

/* Room for the longest frame, and for a good many short ones in one read. */
#define BUF_SIZE (2 * 65536)
_Static_assert(BUF_SIZE >= FRAME_PREFIX + NET_FRAME_MAX, "the longest frame must fit");

int frame_buf_init(struct frame_buf *b)
{
	b->size = BUF_SIZE;
	b->start = b->end = 0;
	b->data = malloc(b->size);
	return b->data ? 0 : -ENOMEM;
}

void frame_buf_free(struct frame_buf *b)
{
	free(b->data);
	b->data = NULL;
}

void frame_buf_reset(struct frame_buf *b)
{
	b->start = b->end = 0;
}

bool frame_ready(const struct frame_buf *b)
{
	struct frame_buf copy = *b;
	const uint8_t *frame;

	return frame_next(&copy, &frame) != -EAGAIN;
}

ssize_t frame_next(struct frame_buf *b, const uint8_t **frame)
{
	size_t have = b->end - b->start;
	uint32_t len;

	if (have < FRAME_PREFIX)
		return -EAGAIN;
	memcpy(&len, b->data + b->start, sizeof(len));
	len = be32toh(len);
	if (len > NET_FRAME_MAX)
		return -EPROTO;
	if (have - FRAME_PREFIX < len)
		return -EAGAIN;
	*frame = b->data + b->start + FRAME_PREFIX;
	b->start += FRAME_PREFIX + len;
	return len;
}

ssize_t frame_fill(struct frame_buf *b, int fd)
{
	ssize_t n;

	if (b->start) {
		memmove(b->data, b->data + b->start, b->end - b->start);
		b->end -= b->start;
		b->start = 0;
	}
	n = recv(fd, b->data + b->end, b->size - b->end, MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	b->end += n;
	return n;
}
