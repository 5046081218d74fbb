/* SPDX-License-Identifier: MIT */
/* synth.c - see synth.h
 *
 * Each file has a number, which is also its inode number; its type, size and name follow from it.
 */
#include "p9/fs/synth.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "p9/fs/fs.h"

#define DATA_SIZE (64 * MiB)
#define SLOW_MAX  1000
#define FILES	  1000
#define DEPTH	  16

enum {
	ROOT = 1,
	WRITE,
	DATA,
	SLOW,
	LOOKUP,
	READDIR,
	FILE_0 = 1000,
	WALK_0 = 3000,
};

static const struct {
	const char *name;
	ino_t ino;
} top[] = {
	{"WRITE", WRITE},   {"DATA", DATA},	  {"SLOW", SLOW},
	{"LOOKUP", LOOKUP}, {"READDIR", READDIR}, {"WALK", WALK_0},
};

static bool is_dir(ino_t ino)
{
	return ino == ROOT || ino == READDIR || ino >= WALK_0;
}

static struct stat stat_of(ino_t ino)
{
	struct stat st = {.st_ino = ino, .st_nlink = 1, .st_blksize = 4096};

	st.st_mode = is_dir(ino) ? S_IFDIR | 0755 : S_IFREG | 0644;
	if (ino == DATA)
		st.st_size = DATA_SIZE;
	st.st_blocks = st.st_size / 512;
	return st;
}

static int new_node(struct p9_fs *fs, struct p9_node *parent, const char *name, ino_t ino,
		    struct p9_node **out)
{
	struct stat st = stat_of(ino);
	int rc;

	*out = calloc(1, sizeof(**out));
	rc = *out ? p9_node_init(*out, fs, parent, name, &st) : -ENOMEM;
	if (rc < 0)
		free(*out);
	return rc;
}

static int synth_root(struct p9_fs *fs, struct p9_node **out)
{
	return new_node(fs, NULL, NULL, ROOT, out);
}

/* The number of the file `name` in directory `dir`; 0: there is none. */
static ino_t find_file(ino_t dir, const char *name)
{
	unsigned n;
	char tail;

	if (dir == ROOT) {
		for (unsigned i = 0; i < ARRAY_SIZE(top); i++)
			if (!strcmp(name, top[i].name))
				return top[i].ino;
	} else if (dir == READDIR) {
		if (sscanf(name, "FILE%u%c", &n, &tail) == 1 && n < FILES)
			return FILE_0 + n;
	} else if (dir < WALK_0 + DEPTH - 1 && !strcmp(name, "WALK")) {
		return dir + 1;
	}
	return 0;
}

static int synth_walk(struct p9_node *dir, const char *name, struct p9_node **out)
{
	ino_t ino = find_file(dir->ino, name);

	return ino ? new_node(dir->fs, dir, name, ino, out) : -ENOENT;
}

static void synth_forget(struct p9_node *n)
{
	free(n);
}

static int synth_getattr(struct p9_node *n, struct stat *st)
{
	*st = stat_of(n->ino);
	return 0;
}

static int synth_setattr(struct p9_node *n, int file, const struct p9_attr *a)
{
	return n->ino == WRITE ? 0 : -EPERM;
}

static int synth_statfs(struct p9_node *n, struct statfs *st)
{
	*st = (struct statfs){.f_bsize = 4096, .f_namelen = 255};
	return 0;
}

static ssize_t synth_readlink(struct p9_node *n, char *buf, size_t size)
{
	return -EINVAL;
}

static int synth_make(struct p9_node *dir, const char *name, const struct p9_new *what, int flags,
		      struct p9_node **out, int *file)
{
	return -EPERM;
}

static int synth_link(struct p9_node *n, struct p9_node *dir, const char *name)
{
	return -EPERM;
}

static int synth_rename(struct p9_node *from, const char *name, struct p9_node *to,
			const char *name_to)
{
	return -EPERM;
}

static int synth_unlink(struct p9_node *dir, const char *name, bool directory)
{
	return -EPERM;
}

static int synth_open(struct p9_node *n, int flags, int *file)
{
	*file = 0;
	return 0;
}

static void synth_close(struct p9_node *n, int file)
{
}

static ssize_t synth_read(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			  uint64_t off)
{
	ssize_t done = 0;

	if (n->ino == SLOW) {
		usleep((useconds_t)MIN(off, SLOW_MAX) * 1000);
		return 0;
	}
	if (n->ino != DATA)
		return 0;
	for (unsigned i = 0; i < cnt && off < DATA_SIZE; i++) {
		uint8_t *p = iov[i].iov_base;
		size_t len = (size_t)MIN(iov[i].iov_len, DATA_SIZE - off);

		for (size_t b = 0; b < len; b++)
			p[b] = (uint8_t)((off + b) * 7);
		off += len;
		done += (ssize_t)len;
	}
	return done;
}

static ssize_t synth_write(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			   uint64_t off)
{
	ssize_t len = 0;

	for (unsigned i = 0; i < cnt; i++)
		len += (ssize_t)iov[i].iov_len;
	return n->ino == WRITE ? len : -EPERM;
}

static int synth_fsync(struct p9_node *n, int file, bool datasync)
{
	return 0;
}

/* Entry `i` of directory `dir`, behind "." and ".."; false at the end. */
static bool name_entry(ino_t dir, uint64_t i, char name[32], ino_t *ino)
{
	if (dir == READDIR)
		snprintf(name, 32, "FILE%u", (unsigned)i);
	else if (dir == ROOT)
		snprintf(name, 32, "%s", i < ARRAY_SIZE(top) ? top[i].name : "");
	else
		snprintf(name, 32, "%s", i ? "" : "WALK");
	*ino = i < FILES ? find_file(dir, name) : 0;
	return *ino;
}

static int synth_readdir(struct p9_node *n, int file, uint64_t off,
			 bool (*each)(void *arg, const struct p9_dirent *d), void *arg)
{
	for (;; off++) {
		char name[32];
		struct p9_dirent d = {.next = off + 1, .name = name};
		ino_t ino;

		if (off < 2) {
			strcpy(name, off ? ".." : ".");
			ino = off && n->parent ? n->parent->ino : n->ino;
		} else if (!name_entry(n->ino, off - 2, name, &ino)) {
			return 0;
		}
		d.ino = ino;
		d.type = is_dir(ino) ? DT_DIR : DT_REG;
		if (!each(arg, &d))
			return 0;
	}
}

static ssize_t synth_getxattr(struct p9_node *n, const char *name, void *buf, size_t size)
{
	return -EOPNOTSUPP;
}

static ssize_t synth_listxattr(struct p9_node *n, char *buf, size_t size)
{
	return 0;
}

static int synth_setxattr(struct p9_node *n, const char *name, const void *value, size_t size,
			  int flags)
{
	return -EOPNOTSUPP;
}

static int synth_removexattr(struct p9_node *n, const char *name)
{
	return -EOPNOTSUPP;
}

static void synth_free(struct p9_fs *fs)
{
	p9_fs_fini(fs);
	free(fs);
}

static const struct p9_fs_ops synth_ops = {
	.free = synth_free,
	.root = synth_root,
	.walk = synth_walk,
	.forget = synth_forget,
	.getattr = synth_getattr,
	.setattr = synth_setattr,
	.statfs = synth_statfs,
	.readlink = synth_readlink,
	.make = synth_make,
	.link = synth_link,
	.rename = synth_rename,
	.unlink = synth_unlink,
	.open = synth_open,
	.close = synth_close,
	.read = synth_read,
	.write = synth_write,
	.fsync = synth_fsync,
	.readdir = synth_readdir,
	.getxattr = synth_getxattr,
	.listxattr = synth_listxattr,
	.setxattr = synth_setxattr,
	.removexattr = synth_removexattr,
};

struct p9_fs *p9_synth_new(void)
{
	struct p9_fs *fs = calloc(1, sizeof(*fs));

	if (fs && p9_fs_init(fs, &synth_ops) < 0) {
		free(fs);
		fs = NULL;
	}
	return fs;
}
