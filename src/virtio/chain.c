/* SPDX-License-Identifier: MIT */
/* chain.c - copying to and from the iovecs of a chain (queue.h) */
#include <errno.h>

#include "base/util.h"
#include "virtio/queue.h"

/* Visit [off, off + len) of iov[0 .. n): the part in the chain is host memory that other vCPUs may
 * be changing, so every byte is touched once. */
static void copy(const struct iovec *iov, unsigned n, uint64_t off, uint8_t *buf, size_t len,
		 bool in)
{
	for (unsigned i = 0; i < n && len; i++) {
		size_t chunk;
		uint8_t *p;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		p = (uint8_t *)iov[i].iov_base + off;
		chunk = MIN(len, iov[i].iov_len - off);
		if (in)
			memcpy(p, buf, chunk);
		else
			memcpy(buf, p, chunk);
		off = 0;
		buf += chunk;
		len -= chunk;
	}
}

bool vchain_pull(struct vchain *c, void *buf, size_t len)
{
	if (!range_ok(c->pulled, len, c->out_len))
		return false;
	copy(c->iov, c->n_out, c->pulled, buf, len, false);
	c->pulled += len;
	return true;
}

bool vchain_put_at(struct vchain *c, uint64_t off, const void *buf, size_t len)
{
	if (!range_ok(off, len, c->in_len))
		return false;
	copy(c->iov + c->n_out, c->n_in, off, (uint8_t *)buf, len, true);
	return true;
}

bool vchain_put(struct vchain *c, const void *buf, size_t len)
{
	if (!vchain_put_at(c, c->put, buf, len))
		return false;
	c->put += len;
	return true;
}

static int slice(const struct iovec *from, unsigned n, uint64_t skip, uint64_t limit,
		 struct iovec *iov, unsigned max)
{
	unsigned used = 0;

	for (unsigned i = 0; i < n && limit; i++) {
		size_t chunk;

		if (skip >= from[i].iov_len) {
			skip -= from[i].iov_len;
			continue;
		}
		if (used == max)
			return -E2BIG;
		chunk = MIN(from[i].iov_len - skip, limit);
		iov[used++] = (struct iovec){(uint8_t *)from[i].iov_base + skip, chunk};
		limit -= chunk;
		skip = 0;
	}
	return (int)used;
}

int vchain_out(const struct vchain *c, uint64_t skip, uint64_t limit, struct iovec *iov,
	       unsigned max)
{
	return slice(c->iov, c->n_out, c->pulled + skip, limit, iov, max);
}

int vchain_in(const struct vchain *c, uint64_t skip, uint64_t limit, struct iovec *iov,
	      unsigned max)
{
	return slice(c->iov + c->n_out, c->n_in, c->put + skip, limit, iov, max);
}
