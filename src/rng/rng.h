/* SPDX-License-Identifier: MIT */
/* rng.h - entropy back ends: -object rng-random and rng-builtin
 *
 * A `struct rng` is one object: a file (a device node as a rule) or the kernel's generator. Each
 * device that uses it opens a `struct rng_src`, which has a descriptor of its own, so that several
 * devices can wait for the same file. Objects belong to the control thread; a source to the loop of
 * its device.
 */
#ifndef RNG_RNG_H
#define RNG_RNG_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"
#include "conf/kvs.h"
#include "conf/opts.h"

struct rngs;

struct rng_src {
	int fd; /* -1: the kernel's generator, which has nothing to wait for */
};

struct rngs *rngs_new(void); /* NULL: out of memory */
void rngs_free(struct rngs *rngs);

/* The options of each kind, for help. */
extern const struct opt rng_random_options[], rng_builtin_options[];
/* Create the object from `qom-type=rng-...,id=...`. 0 or -errno with `e`. */
int rng_add(struct rngs *rngs, struct kvs *k, struct err *e);

/* Open object `id`; NULL is a built-in one that needs no -object. 0 or -errno with `e`. Close it
 * with rng_src_close(). */
int rng_src_open(struct rng_src *s, struct rngs *rngs, const char *id, struct err *e);
void rng_src_close(struct rng_src *s); /* harmless on { .fd = -1 } */
/* Fill `iov` as far as there is entropy at once. Bytes read, -EAGAIN (wait for s->fd, or a
 * moment when that is -1), 0 at the end of a file, or another negative errno. */
ssize_t rng_src_read(struct rng_src *s, const struct iovec *iov, unsigned n);

#endif
