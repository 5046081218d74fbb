/* SPDX-License-Identifier: MIT */
/* chain.c - copying to and from the iovecs of a chain (queue.h) */
#include <errno.h>

#include "base/iov.h"
#include "base/util.h"
#include "virtio/queue.h"

bool vchain_pull(struct vchain *c, void *buf, size_t len)
{
	if (!range_ok(c->pulled, len, c->out_len))
		return false;
	iov_to_buf(c->iov, c->n_out, c->pulled, buf, len);
	c->pulled += len;
	return true;
}

bool vchain_put_at(struct vchain *c, uint64_t off, const void *buf, size_t len)
{
	if (!range_ok(off, len, c->in_len))
		return false;
	iov_from_buf(c->iov + c->n_out, c->n_in, off, buf, len);
	return true;
}

bool vchain_put(struct vchain *c, const void *buf, size_t len)
{
	if (!vchain_put_at(c, c->put, buf, len))
		return false;
	c->put += len;
	return true;
}

/* [skip, skip + limit) of the iovecs, which hold `len` bytes. */
static int chain_slice(const struct iovec *from, unsigned n, uint64_t len, uint64_t skip,
		       uint64_t limit, struct iovec *iov, unsigned max)
{
	uint64_t there = MIN(limit, len - MIN(skip, len)), bytes;
	unsigned used = iov_slice(from, n, skip, there, iov, max, &bytes);

	return bytes < there ? -E2BIG : (int)used;
}

int vchain_out(const struct vchain *c, uint64_t skip, uint64_t limit, struct iovec *iov,
	       unsigned max)
{
	return chain_slice(c->iov, c->n_out, c->out_len, c->pulled + skip, limit, iov, max);
}

int vchain_in(const struct vchain *c, uint64_t skip, uint64_t limit, struct iovec *iov,
	      unsigned max)
{
	return chain_slice(c->iov + c->n_out, c->n_in, c->in_len, c->put + skip, limit, iov, max);
}
