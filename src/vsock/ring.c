/* SPDX-License-Identifier: MIT */
/* ring.c - see ring.h */
#include "vsock/ring.h"

#include <errno.h>
#include <stdlib.h>

#include "base/iov.h"
#include "base/util.h"
#include "vsock/vsock.h"

#define SIZE ((uint32_t)VSOCK_BUFFER)
#define MASK (SIZE - 1)
_Static_assert((VSOCK_BUFFER & (VSOCK_BUFFER - 1)) == 0, "positions are taken modulo the size");

int ring_put(struct ring *r, const struct iovec *iov, unsigned n, uint32_t skip, bool messages,
	     bool end)
{
	if (!r->data)
		r->data = malloc(SIZE);
	if (messages && !r->end)
		r->end = calloc(SIZE / 64, sizeof(*r->end));
	if (!r->data || (messages && !r->end))
		return -ENOMEM;
	for (;;) {
		uint32_t to = (r->at + r->len) & MASK;
		size_t part = iov_to_buf(iov, n, skip, r->data + to, SIZE - to);

		r->len += (uint32_t)part;
		skip += (uint32_t)part;
		if (part < SIZE - to)
			break;
	}
	if (end && r->len) {
		uint32_t last = (r->at + r->len - 1) & MASK;

		if (!(r->end[last / 64] >> last % 64 & 1))
			r->whole++;
		r->end[last / 64] |= 1ULL << last % 64;
	}
	return 0;
}

/* Returns the length of the first message, which must be complete. Searches the bitmap for the
 * first set bit, 64 bits at a time. */
static uint32_t ring_first_message(const struct ring *r)
{
	uint32_t at = r->at;

	for (;;) {
		uint64_t word = r->end[at / 64] >> at % 64;

		if (word)
			return ((at + (uint32_t)__builtin_ctzll(word) - r->at) & MASK) + 1;
		at = ((at / 64 + 1) * 64) & MASK;
	}
}

unsigned ring_peek(const struct ring *r, bool messages, struct iovec iov[2])
{
	uint32_t len = r->len, part;

	if (!len || (messages && !r->whole))
		return 0;
	if (messages)
		len = ring_first_message(r);
	part = MIN(len, SIZE - r->at);
	iov[0] = (struct iovec){r->data + r->at, part};
	iov[1] = (struct iovec){r->data, len - part};
	return part < len ? 2 : 1;
}

void ring_drop(struct ring *r, bool messages, uint32_t len)
{
	if (messages) {
		uint32_t last = (r->at + len - 1) & MASK;

		r->end[last / 64] &= ~(1ULL << last % 64);
		r->whole--;
	}
	r->at = (r->at + len) & MASK;
	r->len -= len;
}

void ring_free(struct ring *r)
{
	free(r->data);
	free(r->end);
	*r = (struct ring){0};
}
