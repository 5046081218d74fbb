/* SPDX-License-Identifier: MIT */
/* fsdev.h - the set of exported folders: -fsdev
 *
 * Owner: the control thread, at set-up and at the end. What a server does with an export is in
 * fs.h.
 */
#ifndef P9_FS_FSDEV_H
#define P9_FS_FSDEV_H

#include <stdint.h>

#include "base/err.h"
#include "conf/kvs.h"
#include "conf/opts.h"

struct fsdevs;
struct p9_fs;

struct fsdevs *fsdevs_new(void);      /* NULL: out of memory */
void fsdevs_free(struct fsdevs *all); /* no server is left */
/* Open one from `fsdriver=...,id=...`. 0 or -errno with `e`. */
int fsdev_add(struct fsdevs *all, struct kvs *k, struct err *e);
/* By id; NULL when unknown. Any number of servers may serve it. */
struct p9_fs *fsdev_find(struct fsdevs *all, const char *id);
/* The capabilities (a mask of 1 << CAP_*) that the exports need beside root's own files. */
uint64_t fsdevs_capabilities(const struct fsdevs *all);
extern const struct opt fsdev_options[];

#endif
