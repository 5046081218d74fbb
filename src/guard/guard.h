/* SPDX-License-Identifier: MIT */
/* guard.h - confinement, in two steps
 *
 * guard_prepare() looks up what needs names and paths (users, the chroot directory) and lifts
 * limits that would break the service; guard_seal() gives everything up for good: root directory,
 * user, capabilities, new privileges. After it nothing is opened by path. Capabilities belong to a
 * thread, and a new thread inherits them: both run on the control thread before any other is
 * started.
 */
#ifndef GUARD_GUARD_H
#define GUARD_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define GUARD_GROUPS 64

struct guard {
	bool has_user;
	uid_t uid;
	gid_t gid;
	gid_t groups[GUARD_GROUPS]; /* supplementary ones of a user given by name */
	int group_count;
	int chroot_fd; /* -1: stay */
	uint64_t keep; /* capabilities, 1 << CAP_* */
};

/* `user`: a name, or uid:gid (or uid.gid); NULL: stay. `chroot_dir`: NULL: stay. 0 or -errno with
 * `e`. */
int guard_prepare(struct guard *g, const char *user, const char *chroot_dir, struct err *e);
/* Become this user (the one that libxl will kill), unless guard_prepare() was told another one. */
void guard_user(struct guard *g, uid_t uid);
/* These capabilities (1 << CAP_*) are not given up if the process stays root: without them it could
 * do less with the files of others than root can. */
void guard_keep(struct guard *g, uint64_t capabilities);
/* For good. 0 or -errno with `e`; after a failure the process must exit. */
int guard_seal(struct guard *g, struct err *e);

#endif
