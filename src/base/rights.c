/* SPDX-License-Identifier: MIT */
/* rights.c - see rights.h */
#include "base/rights.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

static int fd_compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

void rights_close_others(const int *fds, unsigned n)
{
	int sorted[RIGHTS_FDS_MAX], next = 3;

	n = MIN(n, RIGHTS_FDS_MAX);
	for (unsigned i = 0; i < n; i++)
		sorted[i] = fds[i];
	qsort(sorted, n, sizeof(*sorted), fd_compare);
	for (unsigned i = 0; i < n; i++) {
		if (sorted[i] > next)
			close_range((unsigned)next, (unsigned)sorted[i] - 1, 0);
		next = MAX(next, sorted[i] + 1);
	}
	close_range((unsigned)next, ~0U, 0);
}

void rights_no_root(void)
{
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	prctl(PR_SET_SECUREBITS,
	      SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
		      SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED | SECBIT_KEEP_CAPS_LOCKED,
	      0, 0, 0);
}

void rights_drop_bounds(uint64_t keep)
{
	/* Past the last one it is EINVAL; without the right to do it EPERM, and so for all. */
	for (unsigned cap = 0; cap < 64; cap++)
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			break;
}

int rights_become(uid_t uid, gid_t gid, const gid_t *groups, unsigned n, struct err *e)
{
	uid_t r, eff, saved;

	if (setgroups(n, groups) < 0 && geteuid() == 0)
		return err_set(e, -errno, "setgroups: %s", strerror(errno));
	if (setresgid(gid, gid, gid) < 0)
		return err_set(e, -errno, "could not become group %" PRIu32 ": %s", (uint32_t)gid,
			       strerror(errno));
	if (setresuid(uid, uid, uid) < 0)
		return err_set(e, -errno, "could not become user %" PRIu32 ": %s", (uint32_t)uid,
			       strerror(errno));
	if (getresuid(&r, &eff, &saved) < 0 || r != uid || eff != uid || saved != uid ||
	    (uid != 0 && setuid(0) == 0))
		return err_set(e, -EPERM, "user %" PRIu32 " could become root again",
			       (uint32_t)uid);
	return 0;
}

int rights_drop_capabilities(uint64_t keep, struct err *e)
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

int rights_no_new(struct err *e)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(e, -errno, "could not give up new privileges: %s", strerror(errno));
	return 0;
}
