/* SPDX-License-Identifier: MIT */
/* netring.h - whole frames that cross from one process to another, in memory that both have
 *
 * One side puts, the other takes. Each keeps its own position for itself and only tells it to the
 * other; what the other one tells is loaded once, checked, and used from that copy. So neither can
 * be led out of the ring by the other. The bytes of a frame can be changed by the other side at
 * any time: look at a copy.
 *
 * Each side sleeps on a descriptor of its own, which is not part of this. It says so here, looks
 * once more, and sleeps; the other one wakes it only when it had said so. Two that are busy make no
 * system calls.
 */
#ifndef NET_USER_NETRING_H
#define NET_USER_NETRING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "net/net.h"

#define NETRING_BYTES (1024u * 1024)
/* With so little in it the taker wakes the putter who waits for room. */
#define NETRING_LOW  (NETRING_BYTES / 8)
#define NETRING_MIN  NET_HDR_LEN /* bytes of a frame, its header counted */
#define NETRING_MAX  (NET_HDR_LEN + NET_FRAME_MAX)
#define NETRING_SKIP UINT32_MAX /* instead of a length: go on at the start */

/* Shared. Positions count bytes, from 0 when it is reset; the place is what is left of them modulo
 * NETRING_BYTES. A frame lies in one piece behind its length, at a multiple of 8. */
struct netring_shm {
	_Alignas(64) atomic_uint tail;	      /* where the next frame goes: the putter's */
	_Alignas(64) atomic_uint head;	      /* the oldest frame: the taker's */
	_Alignas(64) atomic_uint want_frames; /* the taker sleeps */
	atomic_uint want_room;		      /* the putter waits */
	_Alignas(64) uint8_t data[NETRING_BYTES];
};

/* One side of it, private. */
struct netring {
	struct netring_shm *shm;
	uint32_t own;	/* position of this side */
	uint32_t other; /* that of the other side, as last seen */
	uint32_t next;	/* behind the frame of netring_peek() */
	uint32_t told;	/* up to where netring_wakes_taker() was asked */
};

/* Make it empty, while nobody else uses it. */
void netring_reset(struct netring_shm *shm);
/* A side of an empty one. */
void netring_attach(struct netring *r, struct netring_shm *shm);

/* --- who puts --- */

/* Append a frame of NETRING_MIN to NETRING_MAX bytes. 0; -EAGAIN: there is no room; -EPROTO: the
 * other side's position makes no sense. */
int netring_put(struct netring *r, const struct iovec *iov, unsigned n);
/* After a batch, or after none: must the taker be woken? It is so once for each time that it
 * sleeps. */
bool netring_wakes_taker(struct netring *r);
/* Bytes in it by now, frames and what lies between them; -EPROTO. */
ssize_t netring_used(struct netring *r);
/* The putter will wait until no more than NETRING_LOW bytes are used. False: there are no more by
 * now, it need not wait. */
bool netring_wait_room(struct netring *r);
/* Up to where the other side says that it has taken: for comparing only. */
uint32_t netring_taken(const struct netring *r);

/* --- who takes --- */

/* The oldest frame where it lies: its length; -EAGAIN: none; -EPROTO: positions or length make no
 * sense. */
ssize_t netring_peek(struct netring *r, const uint8_t **frame);
/* Done with that one. */
void netring_drop(struct netring *r);
/* The taker will sleep. False: there is a frame (or nonsense), do not. */
bool netring_sleep(struct netring *r);
/* Must the putter be woken, for there is room? As netring_wakes_taker(). Without `sure` a request
 * of this very moment may be missed. */
bool netring_wakes_putter(struct netring *r, bool sure);

#endif
