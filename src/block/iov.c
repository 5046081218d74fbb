/* SPDX-License-Identifier: MIT */
/* iov.c - parts of scattered memory; the callers have checked that the part lies inside */
#include "base/util.h"
#include "block/internal.h"

unsigned iov_window(const struct iovec *iov, unsigned cnt, uint64_t skip, uint64_t len,
		    struct iovec *out, unsigned max, uint64_t *bytes)
{
	unsigned n = 0;

	*bytes = 0;
	for (unsigned i = 0; i < cnt && n < max && *bytes < len; i++) {
		size_t left = iov[i].iov_len;

		if (skip >= left) {
			skip -= left;
			continue;
		}
		left = MIN(left - skip, len - *bytes);
		out[n++] = (struct iovec){(char *)iov[i].iov_base + skip, left};
		*bytes += left;
		skip = 0;
	}
	return n;
}

/* Call `body` with the address `p` and length `n` of each stretch. */
#define FOR_STRETCH(iov, cnt, skip, len, body)             \
	for (unsigned i_ = 0; i_ < (cnt) && (len); i_++) { \
		uint64_t n = (iov)[i_].iov_len;            \
		char *p;                                   \
                                                           \
		if (skip >= n) {                           \
			skip -= n;                         \
			continue;                          \
		}                                          \
		p = (char *)(iov)[i_].iov_base + skip;     \
		n = MIN(n - skip, len);                    \
		skip = 0;                                  \
		len -= n;                                  \
		body;                                      \
	}

void iov_to_buf(const struct iovec *iov, unsigned cnt, uint64_t skip, void *buf, uint64_t len)
{
	char *to = buf;

	FOR_STRETCH(iov, cnt, skip, len, {
		memcpy(to, p, n);
		to += n;
	})
}

void iov_from_buf(const struct iovec *iov, unsigned cnt, uint64_t skip, const void *buf,
		  uint64_t len)
{
	const char *from = buf;

	FOR_STRETCH(iov, cnt, skip, len, {
		if (from) {
			memcpy(p, from, n);
			from += n;
		} else {
			memset(p, 0, n);
		}
	})
}

static bool is_zero(const char *p, uint64_t n)
{
	/* Each byte equals its successor and the first one is zero. */
	return !n || (!*p && !memcmp(p, p + 1, n - 1));
}

bool iov_is_zero(const struct iovec *iov, unsigned cnt, uint64_t skip, uint64_t len)
{
	FOR_STRETCH(iov, cnt, skip, len, {
		if (!is_zero(p, n))
			return false;
	})
	return true;
}
