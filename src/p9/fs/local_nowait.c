/* SPDX-License-Identifier: MIT */
/* local_nowait.c - what can be had of a local file system without sleeping
 *
 * The loop asks here before it hands a message to a worker. -EAGAIN is never wrong: it means that a
 * worker will do it, waiting as long as it takes. So only what is known is relied on: on the file
 * system of the export itself, by its kind, what the kernel has promised with RWF_NOWAIT and
 * RESOLVE_CACHED, and that tmpfs has nothing to wait for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "p9/fs/local.h"

#define XFS_MAGIC 0x58465342

/* --- names and attributes --- */

static bool is_at_home(const struct p9_node *n)
{
	return n->dev == local_of(n)->fs.qids.root;
}

/* Is the node one of a local file system, whose attributes are in memory while it is open? */
static bool has_nowait_names(const struct p9_node *n)
{
	return atomic_load(&local_of(n)->nowait_names) && is_at_home(n);
}

/* Only where the kernel remembers the name. */
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
	case EPERM: /* a kernel before 5.12, or a filter that knows no such call */
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

/* Into or out of the page cache. `worth` is forgotten where the file system does not know how. */
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
	/* Less than asked for is all of it where the file ends. */
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
	/* A part of it is written again, with the rest. */
	return (size_t)put == iov_len(iov, cnt) ? put : -EAGAIN;
}

/* --- set-up --- */

void local_probe_nowait(struct local *l)
{
	/* Those whose fstat() is known to ask nobody. */
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
