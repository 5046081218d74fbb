/* SPDX-License-Identifier: MIT */
/* memory.h - -object memory-backend-*: the guest's RAM, which a test program can share
 *
 * Used with -accel qtest only: the memory of a Xen guest comes from Xen. An object of this kind has
 * no state but its options, which are read when the machine is attached to its guest.
 */
#ifndef MACHINE_MEMORY_H
#define MACHINE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/kvs.h"
#include "conf/opts.h"

struct memory_backend {
	char *id;
	char *path;    /* NULL: anonymous memory */
	uint64_t size; /* bytes */
	bool share;    /* always true when memory_backend_read() returned 0 */
};

extern const struct opt memory_backend_options[];

/* Read the options of an -object into `m`. 0 or -errno with `e`. Free `m` with
 * memory_backend_release() in both cases. */
int memory_backend_read(struct memory_backend *m, struct kvs *k, struct err *e);
void memory_backend_release(struct memory_backend *m);
/* Check the options without keeping them. 0 or -errno with `e`. */
int memory_backend_check(struct kvs *k, struct err *e);

#endif
