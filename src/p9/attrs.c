/* SPDX-License-Identifier: MIT */
/* attrs.c - messages about attributes of files, plain and extended
 *
 * An extended attribute is read and written through a fid of its own. Txattrwalk makes one that has
 * a copy of the value, to be read; Txattrcreate turns one into a fid that collects what is written,
 * and the attribute is set when that is clunked: so an error shows in the answer to the Tclunk. The
 * values are in memory, of which each session has a fixed amount.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/util.h"
#include "p9/server.h"

#define GETATTR_BASIC 0x7ffULL

int p9_getattr(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in);
	struct p9_writer *w = &c->out;
	struct p9_fid *f;
	struct p9_qid q;
	struct stat st;
	int rc;

	p9_get64(&c->in); /* the mask of attributes wanted: the answer has all basic ones anyway */
	if (c->in.err)
		return c->in.err;
	f = p9_fid_use(c, number, false);
	if (!f)
		return -EBADF;
	rc = p9_stat(c, f->node, &st);
	p9_fid_done(c, f);
	if (rc == 0)
		rc = p9_qid_of(&c->fs->qids, &st, &q);
	if (rc < 0)
		return rc;
	p9_put64(w, GETATTR_BASIC);
	p9_put_qid(w, &q);
	p9_put32(w, st.st_mode);
	p9_put32(w, st.st_uid);
	p9_put32(w, st.st_gid);
	p9_put64(w, st.st_nlink);
	p9_put64(w, st.st_rdev);
	p9_put64(w, (uint64_t)st.st_size);
	p9_put64(w, (uint64_t)st.st_blksize);
	p9_put64(w, (uint64_t)st.st_blocks);
	p9_put64(w, (uint64_t)st.st_atim.tv_sec);
	p9_put64(w, (uint64_t)st.st_atim.tv_nsec);
	p9_put64(w, (uint64_t)st.st_mtim.tv_sec);
	p9_put64(w, (uint64_t)st.st_mtim.tv_nsec);
	p9_put64(w, (uint64_t)st.st_ctim.tv_sec);
	p9_put64(w, (uint64_t)st.st_ctim.tv_nsec);
	for (unsigned i = 0; i < 4; i++) /* time of birth (two), generation, data version: none */
		p9_put64(w, 0);
	return 0;
}

/* Read a time as utimensat() takes it. Bit `what` of `valid` says whether it is to be set at all,
 * bit `given` whether to the time in the message or to the present one. */
static struct timespec get_time(struct p9_reader *r, uint32_t valid, uint32_t what, uint32_t given)
{
	struct timespec t = {.tv_sec = (time_t)p9_get64(r)};
	uint64_t ns = p9_get64(r);

	t.tv_nsec = UTIME_OMIT;
	if (!(valid & what))
		return t;
	t.tv_nsec = UTIME_NOW;
	if (!(valid & given))
		return t;
	t.tv_nsec = (long)ns;
	if (ns >= 1000000000 && !r->err)
		r->err = -EINVAL;
	return t;
}

int p9_setattr(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in), valid = p9_get32(&c->in);
	struct p9_attr a = {.valid = valid};
	struct p9_fid *f;
	int rc;

	a.mode = p9_get32(&c->in) & 07777;
	a.uid = p9_get32(&c->in);
	a.gid = p9_get32(&c->in);
	a.size = p9_get64(&c->in);
	a.atime = get_time(&c->in, valid, P9_SET_ATIME, P9_SET_ATIME_GIVEN);
	a.mtime = get_time(&c->in, valid, P9_SET_MTIME, P9_SET_MTIME_GIVEN);
	if (c->in.err)
		return c->in.err;
	if (valid & P9_SET_SIZE && a.size > INT64_MAX)
		return -EFBIG;
	f = p9_fid_use(c, number, false);
	if (!f)
		return -EBADF;
	pthread_rwlock_rdlock(&c->fs->tree);
	rc = c->fs->ops->setattr(f->node, f->kind == P9_FID_FILE && f->writable ? f->file : -1, &a);
	pthread_rwlock_unlock(&c->fs->tree);
	p9_fid_done(c, f);
	return rc;
}

int p9_statfs(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in);
	struct p9_writer *w = &c->out;
	struct p9_fid *f;
	struct statfs st;
	uint32_t id[2];
	int rc;

	if (c->in.err)
		return c->in.err;
	f = p9_fid_use(c, number, false);
	if (!f)
		return -EBADF;
	rc = c->fs->ops->statfs(f->node, &st);
	p9_fid_done(c, f);
	if (rc < 0)
		return rc;
	memcpy(id, &st.f_fsid, sizeof(id));
	p9_put32(w, (uint32_t)st.f_type);
	p9_put32(w, (uint32_t)st.f_bsize);
	p9_put64(w, st.f_blocks);
	p9_put64(w, st.f_bfree);
	p9_put64(w, st.f_bavail);
	p9_put64(w, st.f_files);
	p9_put64(w, st.f_ffree);
	p9_put64(w, id[0] | (uint64_t)id[1] << 32);
	p9_put32(w, MIN((uint32_t)st.f_namelen, P9_NAME_MAX));
	return 0;
}

int p9_readlink(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in);
	char target[P9_TARGET_MAX + 1];
	struct p9_fid *f;
	ssize_t len;

	if (c->in.err)
		return c->in.err;
	f = p9_fid_use(c, number, false);
	if (!f)
		return -EBADF;
	pthread_rwlock_rdlock(&c->fs->tree);
	len = c->fs->ops->readlink(f->node, target, sizeof(target));
	pthread_rwlock_unlock(&c->fs->tree);
	p9_fid_done(c, f);
	if (len < 0)
		return (int)len;
	if (len > P9_TARGET_MAX)
		return -ENAMETOOLONG;
	p9_put_string(&c->out, target, (size_t)len);
	return 0;
}

/* --- extended attributes --- */

static ssize_t read_xattr(struct p9_node *n, const char *name, void *buf, size_t size)
{
	const struct p9_fs_ops *ops = n->fs->ops;

	return *name ? ops->getxattr(n, name, buf, size) : ops->listxattr(n, buf, size);
}

/* Copy the value of `name`, or the list of names when that is empty, into `x`. The memory is
 * charged to the session. */
static int fetch_xattr(struct p9_fid *x, const char *name)
{
	ssize_t size = read_xattr(x->node, name, NULL, 0);
	uint8_t *value;
	int rc;

	if (size < 0)
		return (int)size;
	if (size > P9_XATTR_MAX)
		return -E2BIG;
	rc = p9_xattr_take(x->s, (uint32_t)size);
	if (rc < 0)
		return rc;
	value = malloc((size_t)size + 1);
	if (!value) {
		p9_xattr_give(x->s, (uint32_t)size);
		return -ENOMEM;
	}
	x->xattr.value = value;
	x->xattr.size = (uint32_t)size;
	size = size ? read_xattr(x->node, name, value, (size_t)size) : 0;
	if (size < 0)
		return (int)size;
	x->xattr.done = (uint32_t)size; /* the value may have become shorter since */
	return 0;
}

int p9_xattrwalk(struct p9_call *c)
{
	char name[P9_NAME_MAX + 1];
	uint32_t number = p9_get32(&c->in), to = p9_get32(&c->in);
	struct p9_fid *f, *x;
	int rc = -ENOMEM;

	p9_get_name(&c->in, name);
	if (c->in.err)
		return c->in.err;
	f = p9_fid_use(c, number, false);
	if (!f)
		return -EBADF;
	x = p9_fid_new(c->s, to, f->uid, f->node);
	if (x) {
		x->kind = P9_FID_XATTR_READ;
		rc = fetch_xattr(x, name);
		if (rc == 0)
			rc = p9_fid_insert(x);
		p9_put64(&c->out, x->xattr.done);
		p9_fid_put(x);
	}
	p9_fid_done(c, f);
	return rc;
}

static int prepare_xattr(struct p9_fid *f, const char *name, uint32_t size, int flags)
{
	int rc = p9_xattr_take(f->s, size);

	if (rc < 0)
		return rc;
	f->xattr.name = strdup(name);
	f->xattr.value = f->xattr.name ? calloc(1, size + 1) : NULL;
	if (!f->xattr.value) {
		free(f->xattr.name);
		f->xattr.name = NULL;
		p9_xattr_give(f->s, size);
		return -ENOMEM;
	}
	f->xattr.size = size;
	f->xattr.flags = flags;
	f->kind = P9_FID_XATTR_WRITE;
	return 0;
}

int p9_xattrcreate(struct p9_call *c)
{
	char name[P9_NAME_MAX + 1];
	uint32_t number = p9_get32(&c->in), flags;
	struct p9_fid *f;
	uint64_t size;
	int rc;

	p9_get_name(&c->in, name);
	size = p9_get64(&c->in);
	flags = p9_get32(&c->in);
	if (c->in.err)
		return c->in.err;
	if (!*name || flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	if (size > P9_XATTR_MAX)
		return -E2BIG;
	f = p9_fid_use(c, number, true);
	if (!f)
		return -EBADF;
	rc = f->kind == P9_FID_PATH ? prepare_xattr(f, name, (uint32_t)size, (int)flags) : -EINVAL;
	p9_fid_done(c, f);
	return rc;
}
