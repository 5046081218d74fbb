/* SPDX-License-Identifier: MIT */
/* pieces.h - how much libslirp may be keeping of IPv4 packets whose pieces have not all come
 *
 * It keeps them for up to a minute, with some pages for each and without a limit of its own. So
 * what goes in is counted, and what would be too much is dropped. A packet whose pieces come one
 * behind the other, as Linux sends them, is complete with the last one and counts no more, unless
 * anything else has come for it: then libslirp may be waiting for more of it.
 */
#ifndef NET_PIECES_H
#define NET_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PIECES_PERIOD_NS 60000000000ULL
#define PIECES_MAX	 (128ULL * 1024 * 1024) /* bytes kept of one period */
#define PIECES_OPEN	 16			/* packets on their way at the same time */
#define PIECES_KEY	 11			/* addresses, identification, protocol */

struct pieces {
	uint64_t since; /* begin of the period, ns */
	uint64_t kept;	/* bytes, with libslirp's overhead */
	struct piece {
		uint8_t key[PIECES_KEY];
		uint32_t next; /* offset of the piece that is to come; 0: unused */
		uint32_t cost;
	} open[PIECES_OPEN];
	unsigned turn; /* of `open`: the one to give up next */
	/* Packets, by a hash, of which other pieces have come: in this period and in the last. */
	uint64_t odd[2][1024];
};

/* Is this IPv4 packet (20 bytes at least) one of several pieces? */
static inline bool is_piece(const uint8_t *ip)
{
	return ip[6] & 0x3f || ip[7]; /* more to come, or an offset */
}

/* A piece in `len` bytes, at time `now` (ns): may libslirp have it? */
bool pieces_take(struct pieces *p, const uint8_t *ip, size_t len, uint64_t now);

#endif
