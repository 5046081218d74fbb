/* SPDX-License-Identifier: MIT */
/* confine.c - the keeper gives up what it has (its workers inherit that they do not have it)
 *
 * In this order, each step with the rights that the later ones take away:
 *
 *   memory     what it has now is read from /proc, to be added to the limits
 *   spaces     mount, IPC, host name and cgroup namespaces of its own, a network only when the role
 *              asks for it. Without root inside of a new user namespace, where that is allowed.
 *   root       a small tmpfs becomes the root directory, the host's is detached. Where the present
 *              root cannot be exchanged (an initramfs) it is entered by chroot instead, which
 *              cannot be left either: there is no directory open and no capability.
 *   user       a user and group that nobody else has, no supplementary groups, no capability, none
 *              to be had by executing something
 *   limits     descriptors, processes, no core dump, no file written, memory
 *   death      SIGKILL when the parent ends. A change of user cancels it, so it stands behind that.
 *
 * The parent may not be allowed to send us a signal when it has given up its own rights: then the
 * kernel does not deliver that SIGKILL either. So the end of the control socket is what counts, and
 * the keeper looks at it after this. It is also in a process group of its own: when the parent ends
 * while the keeper is stopped, the kernel wakes such a group (it is orphaned then).
 */
#include "helper/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/rights.h"
#include "base/util.h"

#define COPY_MAX   (64 * KiB)
#define PATH_BYTES 4096
#define SPACES	   (CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)
#define SEALED	   (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

/* What goes into the new root, taken from the old one. */
struct carried {
	char *text[HELPER_FILES_MAX]; /* NULL: there is no such file */
	size_t len[HELPER_FILES_MAX];
	int tree[HELPER_FILES_MAX]; /* a detached mount */
	bool folder[HELPER_FILES_MAX];
};

bool confine_is_privileged(void)
{
	static const unsigned needed[] = {CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID, CAP_SETPCAP};
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];

	if (geteuid() != 0 || syscall(SYS_capget, &head, caps) < 0)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++)
		if (!(caps[0].effective >> needed[i] & 1))
			return false;
	return true;
}

static void text_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0) {}
	close(fd);
}

/* Bytes of address space, and of private writable memory. */
static int memory_measure(uint64_t *all, uint64_t *data, struct err *e)
{
	unsigned long pages[6];
	FILE *f = fopen("/proc/self/statm", "re");
	int n = f ? fscanf(f, "%lu %lu %lu %lu %lu %lu", &pages[0], &pages[1], &pages[2], &pages[3],
			   &pages[4], &pages[5])
		  : 0;

	if (f)
		fclose(f);
	if (n != 6)
		return err_set(e, -EIO, "could not read /proc/self/statm");
	*all = pages[0] * (uint64_t)sysconf(_SC_PAGESIZE);
	*data = pages[5] * (uint64_t)sysconf(_SC_PAGESIZE);
	return 0;
}

static int limit_set(int resource, rlim_t value, struct err *e)
{
	struct rlimit r = {value, value}, now;

	/* Never more than we had. */
	if (getrlimit(resource, &now) == 0 && now.rlim_max < value)
		r.rlim_cur = r.rlim_max = now.rlim_max;
	if (setrlimit(resource, &r) < 0)
		return err_set(e, -errno, "could not set a limit (%d): %s", resource,
			       strerror(errno));
	return 0;
}

static int limits_set(const struct keeper_birth *birth, uint64_t all, uint64_t data, struct err *e)
{
	int rc = limit_set(RLIMIT_NOFILE, birth->role->files, e);

	if (rc == 0)
		rc = limit_set(RLIMIT_CORE, 0, e);
	if (rc == 0)
		rc = limit_set(RLIMIT_FSIZE, 0, e);
	/* It counts per user: itself and a worker. One that is not ours alone has more already. */
	if (rc == 0 && birth->privileged)
		rc = limit_set(RLIMIT_NPROC, 2, e);
#ifndef __SANITIZE_ADDRESS__
	if (rc == 0)
		rc = limit_set(RLIMIT_DATA, data + birth->role->memory, e);
	/* Memory that is only read costs page tables: address space has a limit as well. */
	if (rc == 0)
		rc = limit_set(RLIMIT_AS, all + 2 * birth->role->memory, e);
#endif
	return rc;
}

/* --- root directory --- */

/* A user namespace, in which we are who we were. */
static bool user_space_enter(void)
{
	char map[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (unshare(CLONE_NEWUSER) < 0)
		return false;
	text_write("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1\n", (unsigned)uid, (unsigned)uid);
	text_write("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "%u %u 1\n", (unsigned)gid, (unsigned)gid);
	text_write("/proc/self/gid_map", map);
	return true;
}

static int copy_take(struct carried *c, unsigned i, const char *path, struct err *e)
{
	struct stat st;
	ssize_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)COPY_MAX) {
		close(fd);
		return err_set(e, -EINVAL, "%s: no regular file of at most 64 KiB", path);
	}
	c->text[i] = malloc(COPY_MAX);
	while (c->text[i] && c->len[i] < COPY_MAX &&
	       (n = read(fd, c->text[i] + c->len[i], COPY_MAX - c->len[i])) > 0)
		c->len[i] += (size_t)n;
	close(fd);
	return !c->text[i] || n < 0 ? err_set(e, -EIO, "%s: could not be read", path) : 0;
}

static int bind_take(struct carried *c, unsigned i, const char *path, struct err *e)
{
	struct mount_attr attr = {.attr_set = SEALED, .propagation = MS_PRIVATE};
	struct stat st;

	c->tree[i] = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (c->tree[i] < 0 || fstat(c->tree[i], &st) < 0 ||
	    mount_setattr(c->tree[i], "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	c->folder[i] = S_ISDIR(st.st_mode);
	return 0;
}

/* Make the folders that lead to `path`, and `path` itself: a folder, or an empty file. Descriptor
 * of the file, 0 for a folder, or -errno. */
static int path_make(const char *path, bool folder)
{
	char part[PATH_BYTES];
	int fd;

	if (*path != '/' || strlen(path) >= sizeof(part))
		return -EINVAL;
	strcpy(part, path);
	for (char *p = strchr(part + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	if (folder)
		return mkdir(part, 0755) < 0 && errno != EEXIST ? -errno : 0;
	fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	return fd < 0 ? -errno : fd;
}

static int copy_put(const struct carried *c, unsigned i, const char *path, struct err *e)
{
	int fd;

	if (!c->text[i])
		return 0;
	fd = path_make(path, false);
	if (fd < 0)
		return err_set(e, fd, "%s: %s", path, strerror(-fd));
	if (write(fd, c->text[i], c->len[i]) != (ssize_t)c->len[i]) {
		close(fd);
		return err_set(e, -EIO, "%s: could not be copied", path);
	}
	close(fd);
	return 0;
}

static int bind_put(const struct carried *c, unsigned i, const char *path, struct err *e)
{
	int rc = path_make(path, c->folder[i]);

	if (rc > 0)
		close(rc);
	if (rc < 0)
		return err_set(e, rc, "%s: %s", path, strerror(-rc));
	if (move_mount(c->tree[i], "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	return 0;
}

/* An empty file system, not mounted yet: a descriptor, or -errno with `e`. */
static int root_make(struct err *e)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), fd = -1;

	if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "size", "4m", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "1024", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(fs, FSMOUNT_CLOEXEC,
			     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (fd < 0)
		fd = err_set(e, -errno, "could not make an empty root directory: %s",
			     strerror(errno));
	if (fs >= 0)
		close(fs);
	return fd;
}

/* Mounted over "/", which our paths do not notice, and then exchanged with it: the old one is over
 * the new one for a moment, and goes. */
static int root_enter(int fd, bool *entered, struct err *e)
{
	if (move_mount(fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) == 0 && fchdir(fd) == 0) {
		bool exchanged = syscall(SYS_pivot_root, ".", ".") == 0;

		*entered = exchanged || chroot(".") == 0;
		if (*entered && (!exchanged || umount2(".", MNT_DETACH) == 0) && chdir("/") == 0)
			return 0;
	}
	return err_set(e, -errno, "could not enter an empty root directory: %s", strerror(errno));
}

/* Mounts of ours are not to appear in the host's namespace. Who is inside of a chroot that is no
 * mount point cannot say so; to enter one's own namespace again leads to its real root. */
static int mounts_separate(struct err *e)
{
	int rc = mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), fd;

	if (rc < 0 && errno == EINVAL) {
		fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && setns(fd, CLONE_NEWNS) == 0)
			rc = mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
		if (fd >= 0)
			close(fd);
	}
	return rc < 0 ? err_set(e, -errno, "could not make the mounts private: %s", strerror(errno))
		      : 0;
}

/* With paths as they are for the device model. */
static int root_take(struct carried *c, const struct helper_files *f, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < f->ncopies; i++)
		rc = copy_take(c, i, f->copies[i], e);
	for (unsigned i = 0; rc == 0 && i < f->nbinds; i++)
		rc = bind_take(c, i, f->binds[i], e);
	return rc < 0 ? rc : mounts_separate(e);
}

static int root_fill(const struct carried *c, const struct helper_files *f, struct err *e)
{
	struct mount_attr attr = {.attr_set = SEALED};
	int rc = 0;

	umask(022);
	for (unsigned i = 0; rc == 0 && i < f->ncopies; i++)
		rc = copy_put(c, i, f->copies[i], e);
	for (unsigned i = 0; rc == 0 && i < f->nbinds; i++)
		rc = bind_put(c, i, f->binds[i], e);
	if (rc == 0 && mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof(attr)) < 0)
		rc = err_set(e, -errno, "could not seal the root directory: %s", strerror(errno));
	return rc;
}

/* *entered: there is no way back to the host's. */
static int root_change(const struct helper_files *f, bool *entered, struct err *e)
{
	struct carried c = {.len = {0}};
	int rc, fd = -1;

	*entered = false;
	rc = root_take(&c, f, e);
	if (rc == 0)
		rc = fd = root_make(e);
	if (rc >= 0)
		rc = root_enter(fd, entered, e);
	if (rc == 0)
		rc = root_fill(&c, f, e);
	if (fd >= 0)
		close(fd);
	for (unsigned i = 0; i < f->ncopies; i++)
		free(c.text[i]);
	for (unsigned i = 0; i < f->nbinds; i++)
		if (c.tree[i] > 0)
			close(c.tree[i]);
	return rc;
}

static int spaces_enter(const struct keeper_birth *birth, uint32_t *confined, struct err *e)
{
	int flags = SPACES | (birth->role->own_network ? CLONE_NEWNET : 0), rc;
	bool entered;

	if (!birth->privileged && !user_space_enter())
		return 0;
	if (unshare(flags) < 0)
		return birth->privileged
			       ? err_set(e, -errno, "could not leave the host's namespaces: %s",
					 strerror(errno))
			       : 0;
	*confined |= CONFINED_SPACE | (birth->pid_space ? CONFINED_PIDS : 0);
	rc = root_change(birth->files, &entered, e);
	if (entered)
		*confined |= CONFINED_ROOT;
	/* A host may allow the namespace and not the mounts in it. */
	return !birth->privileged && !entered && rc != -ENOENT ? 0 : rc;
}

/* --- user --- */

static int user_leave(const struct keeper_birth *birth, pid_t pid, uint32_t *confined,
		      struct err *e)
{
	uid_t id = KEEPER_UID_BASE + (uid_t)pid;
	int rc = 0;

	rights_no_root();
	rights_drop_bounds(0);
	if (birth->privileged)
		rc = rights_become(id, (gid_t)id, NULL, 0, e);
	if (rc == 0)
		rc = rights_no_new(e);
	if (rc == 0)
		rc = rights_drop_capabilities(0, e);
	if (rc == 0 && birth->privileged && prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) != 0)
		rc = err_set(e, -EPERM, "capabilities are left in the bounding set");
	if (rc == 0 && birth->privileged)
		*confined |= CONFINED_USER;
	if (rc == 0 && (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
			prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0))
		rc = err_set(e, -errno, "prctl: %s", strerror(errno));
	return rc;
}

int confine(const struct keeper_birth *birth, pid_t pid, uint32_t *confined, struct err *e)
{
	uint64_t all = 0, data = 0;
	int rc = memory_measure(&all, &data, e);

	*confined = 0;
	/* When memory is short, let it be this one that goes. */
	text_write("/proc/self/oom_score_adj", "1000");
	if (rc == 0)
		rc = spaces_enter(birth, confined, e);
	umask(077);
	if (rc == 0)
		rc = limits_set(birth, all, data, e);
	return rc < 0 ? rc : user_leave(birth, pid, confined, e);
}
