/* SPDX-License-Identifier: MIT */
/* local_xattr.c - extended attributes of an exported folder; see local.h
 *
 * The guest may use user.* attributes, and POSIX ACLs with two models: passthrough sets them as the
 * host's ACLs, mapped-xattr keeps them under user.virtfs.*, as QEMU does. Other attributes
 * (security.*, trusted.*) would take effect on the host. user.virtfs.* is where the mapped models
 * keep metadata, so the guest neither sees nor sets it, except with passthrough.
 *
 * fgetxattr() and its like take no O_PATH descriptor. So the calls by path are used, with the
 * descriptor's name in /proc/self/fd, which is the working directory of each worker. Only regular
 * files and directories have attributes here.
 */
#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/util.h"
#include "p9/fs/local.h"

#define OURS	"user.virtfs."
#define ACL	"system.posix_acl_"
#define LISTMAX 65536

static bool has_prefix(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static bool can_have(const struct p9_node *n)
{
	return (S_ISREG(n->type) || S_ISDIR(n->type)) && !atomic_load(&local_of(n)->no_paths);
}

/* Write the host's name of the guest's attribute `name` into `buf`. 0, `none` for a name of
 * user.virtfs.*, or another -errno for one that the guest cannot use. */
static int host_name(const struct local *l, const char *name, int none,
		     char buf[XATTR_NAME_MAX + 1])
{
	bool acl = !strcmp(name, ACL "access") || !strcmp(name, ACL "default");

	*buf = '\0';
	if (l->model != P9_MODEL_PASSTHROUGH && has_prefix(name, OURS))
		return none;
	if (acl && l->model == P9_MODEL_XATTR)
		strcpy(buf, OURS);
	else if (!has_prefix(name, "user.") && !(acl && l->model == P9_MODEL_PASSTHROUGH))
		return -EOPNOTSUPP;
	if (strlen(buf) + strlen(name) > XATTR_NAME_MAX)
		return -ERANGE;
	strcat(buf, name);
	return 0;
}

/* The guest's name of the host's attribute `name`; NULL where the guest does not see it. */
static const char *guest_name(const struct local *l, const char *name)
{
	if (l->model == P9_MODEL_PASSTHROUGH)
		return has_prefix(name, "user.") || has_prefix(name, ACL) ? name : NULL;
	if (has_prefix(name, OURS)) {
		name += strlen(OURS);
		return l->model == P9_MODEL_XATTR && has_prefix(name, ACL) ? name : NULL;
	}
	return has_prefix(name, "user.") ? name : NULL;
}

ssize_t local_getxattr(struct p9_node *n, const char *name, void *buf, size_t size)
{
	char host[XATTR_NAME_MAX + 1];
	int rc = host_name(local_of(n), name, -ENODATA, host);
	ssize_t len;

	if (rc < 0 || !can_have(n))
		return rc < 0 ? rc : -EOPNOTSUPP;
	len = getxattr(local_proc_name(local_fd(n)).s, host, buf, size);
	return len < 0 ? -errno : len;
}

ssize_t local_listxattr(struct p9_node *n, char *buf, size_t size)
{
	char *all, *end;
	ssize_t len, used = 0;

	if (!can_have(n))
		return 0;
	all = malloc(LISTMAX);
	if (!all)
		return -ENOMEM;
	len = listxattr(local_proc_name(local_fd(n)).s, all, LISTMAX);
	if (len < 0) {
		free(all);
		return -errno;
	}
	end = all + len;
	for (char *p = all; p < end; p += strlen(p) + 1) {
		const char *name = guest_name(local_of(n), p);
		size_t bytes = name ? strlen(name) + 1 : 0;

		if (buf && bytes && (size_t)used + bytes > size) {
			used = -ERANGE;
			break;
		}
		if (buf && bytes)
			memcpy(buf + used, name, bytes);
		used += (ssize_t)bytes;
	}
	free(all);
	return used;
}

int local_setxattr(struct p9_node *n, const char *name, const void *value, size_t size, int flags)
{
	char host[XATTR_NAME_MAX + 1];
	int rc = host_name(local_of(n), name, -EACCES, host);

	if (rc < 0 || !can_have(n))
		return rc < 0 ? rc : -EOPNOTSUPP;
	return setxattr(local_proc_name(local_fd(n)).s, host, value, size, flags) < 0 ? -errno : 0;
}

int local_removexattr(struct p9_node *n, const char *name)
{
	char host[XATTR_NAME_MAX + 1];
	int rc = host_name(local_of(n), name, -EACCES, host);

	if (rc < 0 || !can_have(n))
		return rc < 0 ? rc : -EOPNOTSUPP;
	return removexattr(local_proc_name(local_fd(n)).s, host) < 0 ? -errno : 0;
}
