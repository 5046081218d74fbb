/* SPDX-License-Identifier: MIT */
/* ring.h - bytes of the guest that a socket of the host has not taken yet
 *
 * A ring of VSOCK_BUFFER bytes, allocated when it is first needed. For messages there is one bit
 * beside each byte, which says that a message ends with it: so the memory for boundaries does not
 * depend on how short the messages are.
 */
#ifndef VSOCK_RING_H
#define VSOCK_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct ring {
	uint8_t *data;	  /* NULL: nothing was ever kept */
	uint64_t *end;	  /* messages only */
	uint32_t at, len; /* filled: data[at .. at + len) modulo the size */
	uint32_t whole;	  /* messages that are complete */
};

/* Append all bytes of iov[0 .. n) behind the first `skip`; there must be room. `messages`: with
 * boundaries, and `end`: the last byte ends one. 0 or -ENOMEM. */
int ring_put(struct ring *r, const struct iovec *iov, unsigned n, uint32_t skip, bool messages,
	     bool end);
/* The oldest bytes, as at most two pieces: all of them, or the first message. Returns the number of
 * pieces, 0 when there is nothing (whole). */
unsigned ring_peek(const struct ring *r, bool messages, struct iovec iov[2]);
/* Forget the oldest `len` bytes; with messages, exactly one. */
void ring_drop(struct ring *r, bool messages, uint32_t len);
void ring_free(struct ring *r);

#endif
