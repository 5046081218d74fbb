/* SPDX-License-Identifier: MIT */
/* rng.h - entropy back ends: -object rng-random and rng-builtin
 *
 * A `struct rng` is one object: a file (usually a device node) or the kernel's generator. Each
 * device that uses an object opens a `struct rng_src`, which has a descriptor of its own, so that
 * several devices can wait for the same file.
 *
 * Threads: objects are used by the control thread only, a source by the loop of its device.
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
	int fd; /* -1: the kernel's generator, which has no descriptor to wait for */
};

struct rngs *rngs_new(void); /* NULL: out of memory */
void rngs_free(struct rngs *rngs);

/* The options of each kind, for help. */
extern const struct opt rng_random_options[], rng_builtin_options[];
/* Create an object from `qom-type=rng-...,id=...`. Returns 0, or -errno with `e`. */
int rng_add(struct rngs *rngs, struct kvs *k, struct err *e);

/* Open a source of object `id`, or of the kernel's generator if `id` is NULL. Returns 0, or -errno
 * with `e`. The caller closes it by rng_src_close(). */
int rng_src_open(struct rng_src *s, struct rngs *rngs, const char *id, struct err *e);
void rng_src_close(struct rng_src *s); /* does nothing if s->fd is -1 */
/* Read as much entropy into `iov` as is available without waiting. Returns the number of bytes, 0
 * at the end of a file, or -errno. After -EAGAIN the caller waits until s->fd is readable, or, if
 * that is -1, for a short time. */
ssize_t rng_src_read(struct rng_src *s, const struct iovec *iov, unsigned n);

#endif
