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
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
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

/* Nothing that we could execute would get capabilities either. */
static void drop_bounds(uint64_t keep)
{
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	prctl(PR_SET_SECUREBITS,
	      SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
		      SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED | SECBIT_KEEP_CAPS_LOCKED,
	      0, 0, 0);
	/* Past the last one it is EINVAL; without the right to do it EPERM, and so for all. */
	for (unsigned cap = 0; cap < 64; cap++)
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			break;
}

static int change_user(struct guard *g, struct err *e)
{
	uid_t r, eff, saved;

	if (!g->has_user)
		return 0;
	if (setgroups((size_t)g->group_count, g->groups) < 0 && geteuid() == 0)
		return err_set(e, -errno, "setgroups: %s", strerror(errno));
	if (setresgid(g->gid, g->gid, g->gid) < 0)
		return err_set(e, -errno, "could not become group %" PRIu32 ": %s",
			       (uint32_t)g->gid, strerror(errno));
	if (setresuid(g->uid, g->uid, g->uid) < 0)
		return err_set(e, -errno, "could not become user %" PRIu32 ": %s", (uint32_t)g->uid,
			       strerror(errno));
	if (getresuid(&r, &eff, &saved) < 0 || r != g->uid || eff != g->uid || saved != g->uid ||
	    (g->uid != 0 && setuid(0) == 0))
		return err_set(e, -EPERM, "user %" PRIu32 " could become root again",
			       (uint32_t)g->uid);
	return 0;
}

/* Keep those of `keep` that we have, and no other. */
static int drop_capabilities(uint64_t keep, struct err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];
	uint32_t left = 0;

	if (syscall(SYS_capget, &head, caps) < 0)
		return err_set(e, -errno, "could not drop the capabilities: %s", strerror(errno));
	for (unsigned i = 0; i < 2; i++) {
		caps[i].permitted &= (uint32_t)(keep >> 32 * i);
		caps[i].effective = caps[i].permitted;
		caps[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &head, caps) < 0 || syscall(SYS_capget, &head, caps) < 0)
		return err_set(e, -errno, "could not drop the capabilities: %s", strerror(errno));
	for (unsigned i = 0; i < 2; i++)
		left |= (caps[i].effective | caps[i].permitted) & ~(uint32_t)(keep >> 32 * i);
	return left ? err_set(e, -EPERM, "capabilities are left") : 0;
}

int guard_seal(struct guard *g, struct err *e)
{
	uint64_t keep = g->has_user && g->uid ? 0 : g->keep;
	int rc = enter_root(g, e);

	if (rc)
		return rc;
	drop_bounds(keep);
	rc = change_user(g, e);
	if (rc)
		return rc;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(e, -errno, "could not give up new privileges: %s", strerror(errno));
	return drop_capabilities(keep, e);
}
