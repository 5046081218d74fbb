/* SPDX-License-Identifier: MIT */
/* rights.h - the steps by which a process gives up rights
 *
 * For this process (src/guard), and for the children that do one thing for it. Capabilities belong
 * to a thread: call these while there is only one. What was not held cannot be lost, which is fine;
 * a step that must succeed and does not is an error.
 */
#ifndef BASE_RIGHTS_H
#define BASE_RIGHTS_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define RIGHTS_FDS_MAX 64

/* Close every descriptor but 0-2 and the `n` (at most RIGHTS_FDS_MAX) of `fds`. */
void rights_close_others(const int *fds, unsigned n);
/* A program that is executed does not get capabilities because its user is root, now and for ever.
 */
void rights_no_root(void);
/* Nothing that is executed gets other capabilities than those of `keep` (1 << CAP_*). */
void rights_drop_bounds(uint64_t keep);
/* Become this user, with these supplementary groups and no way back. 0 or -errno with `e`. */
int rights_become(uid_t uid, gid_t gid, const gid_t *groups, unsigned n, struct err *e);
/* Keep those of `keep` that we have, and no other. 0 or -errno with `e`. */
int rights_drop_capabilities(uint64_t keep, struct err *e);
/* No program that is executed gives more rights (a filter of system calls asks for this). 0 or
 * -errno with `e`. */
int rights_no_new(struct err *e);

#endif
