/* SPDX-License-Identifier: MIT */
/* ring.h - bytes of the guest that a socket of the host has not accepted yet
 *
 * A ring of VSOCK_BUFFER bytes, allocated when it is first needed. For a seqpacket connection there
 * is one bit for each byte, set where a message ends: so the memory for the boundaries does not
 * grow with the number of messages.
 */
#ifndef VSOCK_RING_H
#define VSOCK_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct ring {
	uint8_t *data;	  /* NULL: no memory is allocated, and the ring is empty */
	uint64_t *end;	  /* bitmap: a message ends with this byte; NULL for a stream */
	uint32_t at, len; /* the bytes are data[at .. at + len) modulo the size */
	uint32_t whole;	  /* number of complete messages */
};

/* Append the bytes of iov[0 .. n) except the first `skip`; the caller has checked that there is
 * room. `messages`: the connection is seqpacket; `end`: a message ends with the last byte. Returns
 * 0 or -ENOMEM. */
int ring_put(struct ring *r, const struct iovec *iov, unsigned n, uint32_t skip, bool messages,
	     bool end);
/* Point `iov` to the oldest bytes: all of them, or with `messages` those of the first message.
 * Returns the number of elements used, 0 when there are no bytes or no complete message. */
unsigned ring_peek(const struct ring *r, bool messages, struct iovec iov[2]);
/* Remove the oldest `len` bytes; with `messages`, they must be exactly the first message. */
void ring_drop(struct ring *r, bool messages, uint32_t len);
void ring_free(struct ring *r);

#endif
