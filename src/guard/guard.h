/* SPDX-License-Identifier: MIT */
/* guard.h - confinement, in two steps
 *
 * guard_prepare() looks up what needs names and paths (users, the chroot directory) and lifts limits that would break the service;
 * guard_seal() gives everything up for good: chroot, user, capabilities, new privileges. After it nothing is opened by path. It acts on
 * the whole process: call it on the control thread while no other thread of ours does privileged work.
 */
#ifndef GUARD_GUARD_H
#define GUARD_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct guard {
	bool has_user;
	uid_t uid;
	gid_t gid;
	char *name; /* of the user, for its supplementary groups; NULL when it was given as numbers */
	int chroot_fd; /* -1: stay */
};

/* `user`: a name, or uid:gid, or uid.gid; NULL: stay. `chroot_dir`: NULL: stay. 0 or -errno with `e`. */
int guard_prepare(struct guard *g, const char *user, const char *chroot_dir, struct err *e);
/* The same from a number (the user that libxl will kill). Does nothing when a user is set already. */
void guard_user(struct guard *g, uid_t uid);
/* For good. 0 or -errno with `e`; after a failure the process must exit. */
int guard_seal(struct guard *g, struct err *e);

#endif
