/* SPDX-License-Identifier: MIT */
/* hash.h - tables whose keys somebody hostile picks
 *
 * A guest that picks the numbers or names by which we look things up can pick those that an
 * ordinary hash puts into one chain, so that each look-up goes over all of them. So the hash is
 * SipHash-1-3 (Aumasson and Bernstein, 2012) under a key that the kernel drew at random: without
 * the key nobody can tell which values meet. A table never has more entries than chains, unless
 * there is no memory to let it grow.
 *
 * Owner: whoever has the table locks it. Nothing here sleeps; hash_table_add() may allocate.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_key {
	uint64_t k[2];
};

/* Draw a key from getrandom(2), which waits until the kernel has randomness: for set-up. 0 or
 * -errno. */
int hash_key_make(struct hash_key *key);
/* The hash of `len` bytes. */
uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t len);

/* A part of what is kept in a table. All zero: it is in none. */
struct hash_entry {
	struct hash_entry *next, **at; /* `at`: the pointer that points here */
	uint64_t hash;
};

struct hash_table {
	struct hash_entry **bucket;
	size_t buckets, n; /* `buckets` is a power of two */
};

/* An empty table. 0 or -ENOMEM. */
int hash_table_init(struct hash_table *t);
/* Frees the table, not what is in it. Harmless on one that is all zero. */
void hash_table_fini(struct hash_table *t);
/* Enter `e` under `hash`, also beside others of the same. Cannot fail: without memory to grow the
 * chains get longer. */
void hash_table_add(struct hash_table *t, struct hash_entry *e, uint64_t hash);
/* Take `e` out; harmless when it is in no table. */
void hash_table_del(struct hash_table *t, struct hash_entry *e);
/* Any entry, to empty a table; NULL when it is empty. Goes over the chains from `*from` on, which
 * is 0 at first. */
struct hash_entry *hash_table_pop(struct hash_table *t, size_t *from);

/* The entries of `hash`, one after the other: NULL at the end. What they stand for is still to be
 * compared. hash_table_next() is called before its `e` is taken out. */
struct hash_entry *hash_table_first(const struct hash_table *t, uint64_t hash);
struct hash_entry *hash_table_next(const struct hash_entry *e);

/* The number of entries in the longest chain: for tests. */
size_t hash_table_longest(const struct hash_table *t);

#endif
