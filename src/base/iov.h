/* SPDX-License-Identifier: MIT */
/* iov.h - scattered memory: measuring, copying and cutting arrays of `struct iovec`
 *
 * "The bytes [skip, skip + len) of iov[0 .. n)" are those that one would see if the elements were
 * joined. A part that is not there is left out, and every function says how many bytes were there.
 * Elements of no length are allowed anywhere, with any address.
 *
 * The memory may be a guest's, which its vCPUs change meanwhile: every byte is touched once.
 *
 * What runs for each request is inline.
 */
#ifndef BASE_IOV_H
#define BASE_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

/* Total length. */
static inline size_t iov_len(const struct iovec *iov, unsigned n)
{
	size_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* A walk: `skip` bytes of iov[0 .. n) lie behind. */
struct iov_walk {
	const struct iovec *iov;
	unsigned n;
	uint64_t skip;
};

/* The next piece of memory, of at most `limit` bytes: its length, and its address in `*p`. 0: there
 * is no more. */
static inline size_t iov_walk_next(struct iov_walk *w, uint64_t limit, uint8_t **p)
{
	for (; limit && w->n; w->iov++, w->n--) {
		size_t len = w->iov->iov_len;

		if (w->skip < len) {
			*p = (uint8_t *)w->iov->iov_base + w->skip;
			len -= w->skip;
			if (len > limit)
				len = limit;
			w->skip += len;
			return len;
		}
		w->skip -= len;
	}
	return 0;
}

/* Copy [skip, skip + len) to `buf`. */
static inline size_t iov_to_buf(const struct iovec *iov, unsigned n, uint64_t skip, void *buf,
				size_t len)
{
	struct iov_walk w = {iov, n, skip};
	size_t done = 0, part;
	uint8_t *p;

	while ((part = iov_walk_next(&w, len - done, &p))) {
		memcpy((uint8_t *)buf + done, p, part);
		done += part;
	}
	return done;
}

/* Copy `buf` to [skip, skip + len). */
static inline size_t iov_from_buf(const struct iovec *iov, unsigned n, uint64_t skip,
				  const void *buf, size_t len)
{
	struct iov_walk w = {iov, n, skip};
	size_t done = 0, part;
	uint8_t *p;

	while ((part = iov_walk_next(&w, len - done, &p))) {
		memcpy(p, (const uint8_t *)buf + done, part);
		done += part;
	}
	return done;
}

/* Describe [skip, skip + len) with at most `max` elements of `out`: their number. `*bytes` says how
 * many bytes these are; fewer than `len` when the array ends before, or `out` is full. */
static inline unsigned iov_slice(const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len,
				 struct iovec *out, unsigned max, uint64_t *bytes)
{
	struct iov_walk w = {iov, n, skip};
	unsigned used = 0;
	size_t part;
	uint8_t *p;

	*bytes = 0;
	while (used < max && (part = iov_walk_next(&w, len - *bytes, &p))) {
		out[used++] = (struct iovec){p, part};
		*bytes += part;
	}
	return used;
}

/* Set [skip, skip + len) to zero. */
void iov_zero(const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len);
/* Is all of [skip, skip + len) zero? True for no bytes. */
bool iov_is_zero(const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len);

#endif
