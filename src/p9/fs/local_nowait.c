/* SPDX-License-Identifier: MIT */
/* local_nowait.c - what can be had of a local file system without sleeping
 *
 * The loop calls these functions before it gives a message to a worker. They may always return
 * -EAGAIN: then a worker does it, which may sleep. So they try only what is known not to sleep, and
 * only on the file system of the export's root: reads and writes with RWF_NOWAIT, look-ups with
 * RESOLVE_CACHED, and anything on tmpfs, which has no disk to wait for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/iov.h"
#include "base/util.h"
#include "p9/fs/local.h"

#define XFS_MAGIC 0x58465342

/* --- names and attributes --- */

static bool is_at_home(const struct p9_node *n)
{
	return n->dev == local_of(n)->fs.qids.root;
}

/* Is the node on a disk file system of this machine, which has the attributes of open files in
 * memory? */
static bool has_nowait_names(const struct p9_node *n)
{
	return atomic_load(&local_of(n)->nowait_names) && is_at_home(n);
}

/* Succeeds only where the kernel has the name in its cache. */
int local_walk_nowait(struct p9_node *dir, const char *name, struct p9_node **out)
{
	struct local *l = local_of(dir);
	struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
			       .resolve = RESOLVE_NO_XDEV | (l->in_memory ? 0 : RESOLVE_CACHED)};
	int fd;

	if (!has_nowait_names(dir))
		return -EAGAIN;
	fd = (int)syscall(SYS_openat2, local_fd(dir), name, &how, sizeof(how));
	if (fd >= 0)
		return local_node(l, dir, name, fd, out);
	switch (errno) {
	case ENOSYS:
	case EINVAL:
	case EPERM: /* a kernel before 5.12, or a seccomp filter that does not know the call */
		atomic_store(&l->nowait_names, false);
		return -EAGAIN;
	case EXDEV:
		return -EAGAIN;
	}
	return -errno;
}

int local_getattr_nowait(struct p9_node *n, struct stat *st)
{
	if (!has_nowait_names(n))
		return -EAGAIN;
	return fstat(local_fd(n), st) < 0 ? -errno : 0;
}

/* --- data --- */

/* The flags of preadv2() and pwritev2(), or -EAGAIN where these are not worth a try: elsewhere than
 * on the export's own file system, or after that has said once that it does not know RWF_NOWAIT. */
static int nowait_flags(const struct p9_node *n, atomic_bool *worth)
{
	if (!is_at_home(n) || !atomic_load(worth))
		return -EAGAIN;
	return local_of(n)->in_memory ? 0 : RWF_NOWAIT;
}

static ssize_t give_up_nowait(atomic_bool *worth)
{
	if (errno == EOPNOTSUPP)
		atomic_store(worth, false);
	return -EAGAIN;
}

ssize_t local_read_nowait(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			  uint64_t off)
{
	atomic_bool *worth = &local_of(n)->read_nowait;
	int flags = nowait_flags(n, worth);
	ssize_t got;
	struct stat st;

	if (flags < 0)
		return flags;
	got = preadv2(file, iov, (int)cnt, (off_t)off, flags);
	if (got < 0)
		return give_up_nowait(worth);
	/* A short read is complete where the file ends, else the rest is not in memory. */
	if ((size_t)got == iov_len(iov, cnt))
		return got;
	return fstat(file, &st) == 0 && (off_t)off + got >= st.st_size ? got : -EAGAIN;
}

ssize_t local_write_nowait(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			   uint64_t off)
{
	atomic_bool *worth = &local_of(n)->write_nowait;
	int flags = nowait_flags(n, worth);
	ssize_t put;

	if (flags < 0)
		return flags;
	put = pwritev2(file, iov, (int)cnt, (off_t)off, flags);
	if (put < 0)
		return give_up_nowait(worth);
	/* After a short write a worker writes all of it once more. */
	return (size_t)put == iov_len(iov, cnt) ? put : -EAGAIN;
}

/* --- set-up --- */

void local_probe_nowait(struct local *l)
{
	/* File systems whose fstat() is known not to ask a disk or a server. */
	static const uint32_t magic[] = {EXT4_SUPER_MAGIC, XFS_MAGIC, BTRFS_SUPER_MAGIC,
					 F2FS_SUPER_MAGIC, TMPFS_MAGIC};
	struct statfs st;
	bool known = false;

	if (fstatfs(l->root, &st) < 0)
		st.f_type = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(magic); i++)
		known |= (uint32_t)st.f_type == magic[i];
	l->in_memory = (uint32_t)st.f_type == TMPFS_MAGIC;
	atomic_init(&l->nowait_names, known && !local_mapped(l));
	atomic_init(&l->read_nowait, known);
	atomic_init(&l->write_nowait, known);
}
