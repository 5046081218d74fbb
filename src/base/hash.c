/* SPDX-License-Identifier: MIT */
/* hash.c - see hash.h */
#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/util.h"

#define BUCKETS_MIN 64
#define GROWTH	    4

int hash_key_make(struct hash_key *key)
{
	ssize_t got;

	/* So few bytes come whole or not at all. */
	do
		got = getrandom(key, sizeof(*key), 0);
	while (got < 0 && errno == EINTR);
	return got == sizeof(*key) ? 0 : got < 0 ? -errno : -EIO;
}

/* --- SipHash-1-3 --- */

static inline uint64_t rotate_left(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

static inline void mix_rounds(uint64_t v[4], unsigned rounds)
{
	while (rounds--) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotate_left(v[1], 13) ^ v[0];
		v[3] = rotate_left(v[3], 16) ^ v[2];
		v[0] = rotate_left(v[0], 32) + v[3];
		v[2] += v[1];
		v[3] = rotate_left(v[3], 21) ^ v[0];
		v[1] = rotate_left(v[1], 17) ^ v[2];
		v[2] = rotate_left(v[2], 32);
	}
}

static inline void mix_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	mix_rounds(v, 1);
	v[0] ^= word;
}

uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t len)
{
	uint64_t v[4] = {
		/* "somepseudorandomlygeneratedbytes" */
		key->k[0] ^ 0x736f6d6570736575ULL,
		key->k[1] ^ 0x646f72616e646f6dULL,
		key->k[0] ^ 0x6c7967656e657261ULL,
		key->k[1] ^ 0x7465646279746573ULL,
	};
	const uint8_t *p = data;
	uint8_t last[8] = {0};

	for (size_t left = len / 8; left; left--, p += 8)
		mix_word(v, get_le64(p));
	/* The bytes that are left, and the length in the highest. */
	memcpy(last, p, len % 8);
	last[7] = (uint8_t)len;
	mix_word(v, get_le64(last));
	v[2] ^= 0xff;
	mix_rounds(v, 3);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* --- tables --- */

int hash_table_init(struct hash_table *t)
{
	t->n = 0;
	t->buckets = BUCKETS_MIN;
	t->bucket = calloc(t->buckets, sizeof(*t->bucket));
	return t->bucket ? 0 : -ENOMEM;
}

void hash_table_fini(struct hash_table *t)
{
	free(t->bucket);
	t->bucket = NULL;
}

static void link_entry(struct hash_table *t, struct hash_entry *e)
{
	struct hash_entry **at = &t->bucket[e->hash & (t->buckets - 1)];

	e->next = *at;
	e->at = at;
	if (e->next)
		e->next->at = &e->next;
	*at = e;
}

static void grow_table(struct hash_table *t)
{
	struct hash_entry **old = t->bucket;
	struct hash_entry **bucket = calloc(t->buckets * GROWTH, sizeof(*bucket));
	size_t buckets = t->buckets;

	if (!bucket)
		return;
	t->bucket = bucket;
	t->buckets = buckets * GROWTH;
	for (size_t i = 0; i < buckets; i++)
		for (struct hash_entry *e = old[i], *next; e; e = next) {
			next = e->next;
			link_entry(t, e);
		}
	free(old);
}

void hash_table_add(struct hash_table *t, struct hash_entry *e, uint64_t hash)
{
	if (t->n == t->buckets)
		grow_table(t);
	e->hash = hash;
	link_entry(t, e);
	t->n++;
}

void hash_table_del(struct hash_table *t, struct hash_entry *e)
{
	if (!e->at)
		return;
	*e->at = e->next;
	if (e->next)
		e->next->at = e->at;
	e->next = NULL;
	e->at = NULL;
	t->n--;
}

struct hash_entry *hash_table_pop(struct hash_table *t, size_t *from)
{
	for (; *from < t->buckets; ++*from) {
		struct hash_entry *e = t->bucket[*from];

		if (e) {
			hash_table_del(t, e);
			return e;
		}
	}
	return NULL;
}

static struct hash_entry *find_equal(struct hash_entry *e, uint64_t hash)
{
	while (e && e->hash != hash)
		e = e->next;
	return e;
}

struct hash_entry *hash_table_first(const struct hash_table *t, uint64_t hash)
{
	return find_equal(t->bucket[hash & (t->buckets - 1)], hash);
}

struct hash_entry *hash_table_next(const struct hash_entry *e)
{
	return find_equal(e->next, e->hash);
}

size_t hash_table_longest(const struct hash_table *t)
{
	size_t longest = 0;

	for (size_t i = 0; i < t->buckets; i++) {
		size_t n = 0;

		for (const struct hash_entry *e = t->bucket[i]; e; e = e->next)
			n++;
		longest = MAX(longest, n);
	}
	return longest;
}
