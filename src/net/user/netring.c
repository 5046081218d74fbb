/* SPDX-License-Identifier: MIT */
/* netring.c - see netring.h
 *
 * Sleeping is the notification suppression of virtio: the sleeper sets its flag, then looks at the
 * ring; the other side changes the ring, then looks at the flag. With a full barrier between each
 * pair one of them sees the other's store.
 *
 * A ring that is used round and round is in no cache when it is used again. So who puts into an
 * empty one goes on at its start once it has come as far as NETRING_WARM. (The bytes up to the end
 * are lost until the taker has passed them; what is before NETRING_WARM is left.)
 */
#include "net/user/netring.h"

#include <errno.h>
#include <string.h>

#include "base/iov.h"
#include "base/util.h"

#define MASK	     (NETRING_BYTES - 1)
#define NETRING_WARM (NETRING_BYTES / 4)

_Static_assert((NETRING_BYTES & MASK) == 0, "positions wrap at 2^32");
_Static_assert(NETRING_WARM > 2 * NETRING_MAX, "the longest frame fits before it");

void netring_reset(struct netring_shm *shm)
{
	atomic_store(&shm->tail, 0);
	atomic_store(&shm->head, 0);
	atomic_store(&shm->want_frames, 0);
	atomic_store(&shm->want_room, 0);
}

void netring_attach(struct netring *r, struct netring_shm *shm)
{
	*r = (struct netring){.shm = shm};
}

/* Room that a frame of `len` bytes takes. */
static uint32_t record_size(uint32_t len)
{
	return ALIGN_UP((uint32_t)sizeof(uint32_t) + len, 8u);
}

static uint32_t length_load(const struct netring *r, uint32_t at)
{
	return __atomic_load_n((const uint32_t *)(const void *)(r->shm->data + at),
			       __ATOMIC_RELAXED);
}

static void length_store(struct netring *r, uint32_t at, uint32_t len)
{
	__atomic_store_n((uint32_t *)(void *)(r->shm->data + at), len, __ATOMIC_RELAXED);
}

static bool position_ok(uint32_t head, uint32_t tail)
{
	return tail - head <= NETRING_BYTES;
}

/* --- who puts --- */

static bool head_load(struct netring *r)
{
	uint32_t head = atomic_load_explicit(&r->shm->head, memory_order_acquire);

	if (!position_ok(head, r->own))
		return false;
	r->other = head;
	return true;
}

/* Leave what is between the tail and the end. */
static void tail_skip(struct netring *r)
{
	uint32_t at = r->own & MASK;

	length_store(r, at, NETRING_SKIP);
	r->own += NETRING_BYTES - at;
}

/* Is it empty, and far from its start? */
static bool is_cold(const struct netring *r)
{
	return r->own == r->other && (r->own & MASK) >= NETRING_WARM;
}

static int room_find(struct netring *r, uint32_t need)
{
	uint32_t end = NETRING_BYTES - (r->own & MASK), all = need + (end < need ? end : 0);
	bool sleeps = NETRING_BYTES - end >= NETRING_WARM &&
		      atomic_load_explicit(&r->shm->want_frames, memory_order_relaxed);

	if (sleeps || all > NETRING_BYTES - (r->own - r->other)) {
		if (!head_load(r))
			return -EPROTO;
		if (all > NETRING_BYTES - (r->own - r->other))
			return -EAGAIN;
	}
	if (end < need || (sleeps && is_cold(r)))
		tail_skip(r);
	return 0;
}

int netring_put(struct netring *r, const struct iovec *iov, unsigned n)
{
	uint32_t len = (uint32_t)iov_len(iov, n), need = record_size(len);
	uint8_t *to;
	int rc = room_find(r, need);

	if (rc < 0)
		return rc;
	length_store(r, r->own & MASK, len);
	to = r->shm->data + (r->own & MASK) + sizeof(len);
	for (unsigned i = 0; i < n; i++) {
		if (iov[i].iov_len)
			memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	r->own += need;
	atomic_store_explicit(&r->shm->tail, r->own, memory_order_release);
	return 0;
}

/* The flag is set only as often as somebody sleeps, so it is read first. */
static bool flag_take(atomic_uint *flag)
{
	if (!atomic_load_explicit(flag, memory_order_relaxed))
		return false;
	atomic_store_explicit(flag, 0, memory_order_relaxed);
	return true;
}

bool netring_wakes_taker(struct netring *r)
{
	if (r->told == r->own)
		return false;
	r->told = r->own;
	atomic_thread_fence(memory_order_seq_cst);
	return flag_take(&r->shm->want_frames);
}

ssize_t netring_used(struct netring *r)
{
	return head_load(r) ? (ssize_t)(r->own - r->other) : -EPROTO;
}

bool netring_wait_room(struct netring *r)
{
	atomic_store_explicit(&r->shm->want_room, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	return netring_used(r) > NETRING_LOW;
}

uint32_t netring_taken(const struct netring *r)
{
	return atomic_load_explicit(&r->shm->head, memory_order_relaxed);
}

/* --- who takes --- */

/* More than is known of? 1, 0, or -EPROTO. */
static int tail_load(struct netring *r)
{
	uint32_t tail = atomic_load_explicit(&r->shm->tail, memory_order_acquire);

	if (!position_ok(r->own, tail))
		return -EPROTO;
	r->other = tail;
	return tail != r->own;
}

ssize_t netring_peek(struct netring *r, const uint8_t **frame)
{
	uint32_t at = r->own & MASK, have, len;
	int rc = r->own != r->other ? 1 : tail_load(r);

	if (rc <= 0)
		return rc < 0 ? rc : -EAGAIN;
	have = r->other - r->own;
	len = length_load(r, at);
	if (len == NETRING_SKIP) {
		if (!at || have <= NETRING_BYTES - at)
			return -EPROTO;
		r->own += NETRING_BYTES - at;
		have -= NETRING_BYTES - at;
		at = 0;
		len = length_load(r, at);
	}
	if (len < NETRING_MIN || len > NETRING_MAX || record_size(len) > have ||
	    record_size(len) > NETRING_BYTES - at)
		return -EPROTO;
	r->next = r->own + record_size(len);
	*frame = r->shm->data + at + sizeof(len);
	return len;
}

void netring_drop(struct netring *r)
{
	r->own = r->next;
	atomic_store_explicit(&r->shm->head, r->own, memory_order_release);
}

bool netring_sleep(struct netring *r)
{
	if (r->own != r->other)
		return false;
	atomic_store_explicit(&r->shm->want_frames, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	if (!tail_load(r))
		return true;
	atomic_store_explicit(&r->shm->want_frames, 0, memory_order_relaxed);
	return false;
}

bool netring_wakes_putter(struct netring *r, bool sure)
{
	if (sure)
		atomic_thread_fence(memory_order_seq_cst);
	return r->other - r->own <= NETRING_LOW && flag_take(&r->shm->want_room);
}
