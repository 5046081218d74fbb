/* SPDX-License-Identifier: MIT */
/* guard.c - see guard.h
 *
 * The order of guard_seal() is given by what each step needs: chroot needs CAP_SYS_CHROOT, the
 * bounding set CAP_SETPCAP, groups and users CAP_SETGID and CAP_SETUID; then the capabilities
 * themselves go. A filter of system calls belongs behind the last step. A process that was not root
 * in the first place has nothing to drop, which is fine; a step that was asked for and fails is an
 * error.
 *
 * A process that stays root keeps what root owns and nothing else: every capability goes, and the
 * bounding set with them. Only for folders that are shared with the guest it keeps those over files
 * (guard_keep()).
 *
 * libxl's dm_restrict starts us with limits that were made for QEMU: a file size of 256 KiB ends
 * every write to a disk image beyond that, and no processes at all means no worker for io_uring
 * once we are not root any more. These two are lifted.
 */
#include "guard/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/rights.h"
#include "base/util.h"

#define MEMLOCK_BYTES (64 * MiB) /* rings of io_uring, where the kernel counts them */
#define PROCESSES     64	 /* workers of the kernel on our behalf */

/* "12:34" or "12.34" */
static bool parse_ids(const char *s, uid_t *uid, gid_t *gid)
{
	char *end;
	unsigned long u, g;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	u = strtoul(s, &end, 10);
	if ((*end != ':' && *end != '.') || end[1] < '0' || end[1] > '9')
		return false;
	g = strtoul(end + 1, &end, 10);
	if (*end || errno || u >= UINT32_MAX || g >= UINT32_MAX)
		return false;
	*uid = (uid_t)u;
	*gid = (gid_t)g;
	return true;
}

static int find_user(struct guard *g, const char *user, struct err *e)
{
	struct passwd *pw;

	g->has_user = true;
	if (parse_ids(user, &g->uid, &g->gid))
		return 0;
	errno = 0;
	pw = getpwnam(user);
	if (!pw)
		return err_set(e, -EINVAL, "user '%s': there is no such user, and it is no uid:gid",
			       user);
	g->uid = pw->pw_uid;
	g->gid = pw->pw_gid;
	g->group_count = GUARD_GROUPS;
	if (getgrouplist(user, pw->pw_gid, g->groups, &g->group_count) < 0)
		return err_set(e, -E2BIG, "user '%s' is in more than %d groups", user,
			       GUARD_GROUPS);
	return 0;
}

/* Raise a limit to `want` where we may; a lower one is no error here, it shows when it matters. */
static void raise_limit(int resource, rlim_t want)
{
	struct rlimit r;

	if (getrlimit(resource, &r) < 0 || r.rlim_cur >= want)
		return;
	r.rlim_cur = want;
	r.rlim_max = MAX(r.rlim_max, want);
	if (setrlimit(resource, &r) == 0)
		return;
	if (getrlimit(resource, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(resource, &r);
	}
}

int guard_prepare(struct guard *g, const char *user, const char *chroot_dir, struct err *e)
{
	struct rlimit files;
	int rc;

	memset(g, 0, sizeof(*g));
	g->chroot_fd = -1;
	if (user) {
		rc = find_user(g, user, e);
		if (rc)
			return rc;
	}
	if (chroot_dir) {
		g->chroot_fd = open(chroot_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (g->chroot_fd < 0)
			return err_set(e, -errno, "chroot to '%s': %s", chroot_dir,
				       strerror(errno));
	}
	raise_limit(RLIMIT_FSIZE, RLIM_INFINITY);
	raise_limit(RLIMIT_NPROC, PROCESSES);
	raise_limit(RLIMIT_MEMLOCK, MEMLOCK_BYTES);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		raise_limit(RLIMIT_NOFILE, files.rlim_max);
	return 0;
}

void guard_user(struct guard *g, uid_t uid)
{
	if (g->has_user)
		return;
	g->has_user = true;
	g->uid = uid;
	g->gid = (gid_t)uid;
}

void guard_keep(struct guard *g, uint64_t capabilities)
{
	g->keep |= capabilities;
}

static int enter_root(struct guard *g, struct err *e)
{
	if (g->chroot_fd < 0)
		return 0;
	if (fchdir(g->chroot_fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return err_set(e, -errno, "chroot: %s", strerror(errno));
	close(g->chroot_fd);
	g->chroot_fd = -1;
	return 0;
}

int guard_seal(struct guard *g, struct err *e)
{
	uint64_t keep = g->has_user && g->uid ? 0 : g->keep;
	int rc = enter_root(g, e);

	if (rc)
		return rc;
	rights_no_root();
	rights_drop_bounds(keep);
	if (g->has_user)
		rc = rights_become(g->uid, g->gid, g->groups, (unsigned)g->group_count, e);
	if (rc == 0)
		rc = rights_no_new(e);
	return rc < 0 ? rc : rights_drop_capabilities(keep, e);
}
