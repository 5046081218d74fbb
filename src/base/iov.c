/* SPDX-License-Identifier: MIT */
/* iov.c - see iov.h */
#include "base/iov.h"

void iov_zero(const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len)
{
	struct iov_walk w = {iov, n, skip};
	size_t part;
	uint8_t *p;

	for (; (part = iov_walk_next(&w, len, &p)); len -= part)
		memset(p, 0, part);
}

bool iov_is_zero(const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len)
{
	struct iov_walk w = {iov, n, skip};
	size_t part;
	uint8_t *p;

	for (; (part = iov_walk_next(&w, len, &p)); len -= part)
		/* The first byte is zero, and each byte equals its successor. */
		if (*p || memcmp(p, p + 1, part - 1))
			return false;
	return true;
}
