/* SPDX-License-Identifier: MIT */
/* pieces.c - see pieces.h */
#include "net/pieces.h"

#include <netinet/ip.h>
#include <string.h>

#include "base/util.h"
#include "net/user/offload.h"

#define HEADER	 20
#define OVERHEAD (3 * 4096) /* pages of a piece that are touched beside its bytes */

static void make_key(const uint8_t *ip, uint8_t key[PIECES_KEY])
{
	memcpy(key, ip + 12, 8);
	memcpy(key + 8, ip + 4, 2);
	key[10] = ip[9];
}

static unsigned hash(const uint8_t key[PIECES_KEY])
{
	uint32_t h = 2166136261U;

	for (unsigned i = 0; i < PIECES_KEY; i++)
		h = (h ^ key[i]) * 16777619U;
	return (h ^ h >> 16) & 0xffff;
}

static void set_odd(struct pieces *p, const uint8_t key[PIECES_KEY])
{
	unsigned h = hash(key);

	p->odd[0][h / 64] |= 1ULL << h % 64;
}

static bool is_odd(const struct pieces *p, const uint8_t key[PIECES_KEY])
{
	unsigned h = hash(key);

	return (p->odd[0][h / 64] | p->odd[1][h / 64]) >> h % 64 & 1;
}

static void give_up(struct pieces *p, struct piece *o)
{
	if (o->next)
		set_odd(p, o->key);
	o->next = 0;
}

static void begin_period(struct pieces *p, uint64_t now)
{
	for (unsigned i = 0; i < PIECES_OPEN; i++)
		give_up(p, &p->open[i]);
	memcpy(p->odd[1], p->odd[0], sizeof(p->odd[0]));
	memset(p->odd[0], 0, sizeof(p->odd[0]));
	p->since = now;
	p->kept = 0;
}

/* Bytes of data, of a piece of which libslirp has nothing to complain; 0 for others. */
static size_t sound_data(const uint8_t *ip, size_t len, size_t off, bool more)
{
	size_t total = (size_t)ip[2] << 8 | ip[3];
	size_t data = total - HEADER;

	if (ip[0] != 0x45 || !ip[8] || total <= HEADER || total > len || off + total > UINT16_MAX ||
	    (more && data % 8) || net_sum(ip, HEADER) != UINT16_MAX)
		return 0;
	return data;
}

/* The packet that this piece goes on with, or begins; NULL for a piece out of turn. */
static struct piece *find(struct pieces *p, const uint8_t key[PIECES_KEY], size_t off)
{
	struct piece *o;

	for (unsigned i = 0; i < PIECES_OPEN; i++) {
		o = &p->open[i];
		if (!o->next || memcmp(o->key, key, PIECES_KEY) != 0)
			continue;
		if (o->next == off)
			return o;
		give_up(p, o);
		return NULL;
	}
	if (off)
		return NULL;
	o = &p->open[p->turn++ % PIECES_OPEN];
	give_up(p, o);
	memcpy(o->key, key, PIECES_KEY);
	o->cost = 0;
	return o;
}

bool pieces_take(struct pieces *p, const uint8_t *ip, size_t len, uint64_t now)
{
	unsigned word = (unsigned)ip[6] << 8 | ip[7];
	size_t off = (word & IP_OFFMASK) * 8UL, data;
	bool more = word & IP_MF;
	uint32_t cost = (uint32_t)(len + OVERHEAD);
	uint8_t key[PIECES_KEY];
	struct piece *o;

	if (now - p->since > PIECES_PERIOD_NS)
		begin_period(p, now);
	if (p->kept + cost > PIECES_MAX)
		return false;
	p->kept += cost;
	make_key(ip, key);
	data = sound_data(ip, len, off, more);
	o = data ? find(p, key, off) : NULL;
	if (!o) {
		set_odd(p, key);
		return true;
	}
	o->next += (uint32_t)data;
	o->cost += cost;
	if (!more) {
		if (!is_odd(p, key))
			p->kept -= o->cost;
		o->next = 0;
	}
	return true;
}
