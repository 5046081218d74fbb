/* SPDX-License-Identifier: MIT */
/* frame.h - frames on a byte stream: a 4-byte big-endian length before each
 *
 * QEMU's format for -netdev stream and socket, and passt's. The buffer takes what the socket has,
 * many frames at once; frames are taken out of it one by one, in whatever pieces they came.
 */
#ifndef NET_FRAME_H
#define NET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FRAME_PREFIX 4

struct frame_buf {
	uint8_t *data;
	size_t size, start, end; /* valid bytes: data[start .. end) */
};

/* 0 or -ENOMEM. */
int frame_buf_init(struct frame_buf *b);
void frame_buf_free(struct frame_buf *b);
void frame_buf_reset(struct frame_buf *b);
/* Next whole frame: its length, *frame pointing into the buffer (valid until the next fill).
 * -EAGAIN: more bytes are needed; -EPROTO: a frame longer than NET_FRAME_MAX, the stream is of
 * no use any more. */
ssize_t frame_next(struct frame_buf *b, const uint8_t **frame);
/* Would frame_next() have something to say? */
bool frame_ready(const struct frame_buf *b);
/* Read from socket `fd` what is there. Bytes read, 0 at its end, -EAGAIN, or another negative
 * errno. There is always room after frame_next() has returned -EAGAIN. */
ssize_t frame_fill(struct frame_buf *b, int fd);

#endif
