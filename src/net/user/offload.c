/* SPDX-License-Identifier: MIT */
/* offload.c - see offload.h */
#include "net/user/offload.h"

#include <string.h>

#include "base/util.h"

#define NEEDS_CSUM 1
#define CSUM_START 6 /* in the header */
#define CSUM_AT	   8

uint16_t net_sum(const uint8_t *p, size_t len)
{
	uint64_t sum = 0;
	uint32_t w;

	for (; len >= sizeof(w); p += sizeof(w), len -= sizeof(w)) {
		memcpy(&w, p, sizeof(w));
		sum += w;
	}
	w = 0;
	memcpy(&w, p, len);
	sum += w;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

void net_finish_checksum(const uint8_t *hdr, uint8_t *frame, size_t len)
{
	size_t start = get_le16(hdr + CSUM_START), at = start + get_le16(hdr + CSUM_AT);
	uint16_t sum;

	if (!(hdr[0] & NEEDS_CSUM) || !range_ok(at, sizeof(sum), len))
		return;
	sum = (uint16_t)~net_sum(frame + start, len - start);
	if (!sum)
		sum = 0xffff; /* as good, and not "none" of UDP */
	memcpy(frame + at, &sum, sizeof(sum));
}
