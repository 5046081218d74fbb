/* SPDX-License-Identifier: MIT */
/* files.c - messages about open files: data, directories, locks, and the end of a fid
 *
 * Data go between the guest's memory and the file without a copy in between. A count is cut to what
 * the message, msize and the memory for the answer have room for.
 *
 * Every lock is granted: the guest's kernel has arbitrated among its own processes before it asks,
 * and locks are not shared with the host or with other guests.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/iov.h"
#include "base/util.h"
#include "p9/server.h"

#define IOVS 128 /* of one system call */

/* --- opening --- */

int p9_open_flags(const struct p9_fs *fs, uint32_t flags, int *out)
{
	/* The flags that have a meaning for a regular file or a directory of a server. On the wire
	 * they are numbered as on x86 (P9_DOTL_* of Linux), which need not be this machine's way.
	 * O_DIRECT is left out: it is about the client's cache. */
	static const struct {
		uint32_t wire;
		int host;
	} map[] = {
		{00000200, O_EXCL},  {00001000, O_TRUNC},     {00002000, O_APPEND},
		{00010000, O_DSYNC}, {00200000, O_DIRECTORY}, {04010000, O_SYNC},
	};

	if ((flags & 3) == 3)
		return -EINVAL;
	*out = (flags & 3) == 1 ? O_WRONLY : (flags & 3) == 2 ? O_RDWR : O_RDONLY;
	for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
		if ((flags & map[i].wire) == map[i].wire)
			*out |= map[i].host;
	if (fs->read_only && ((*out & O_ACCMODE) != O_RDONLY || *out & O_TRUNC))
		return -EROFS;
	return 0;
}

void p9_fid_opened(struct p9_fid *f, int file, int flags)
{
	f->file = file;
	f->kind = S_ISDIR(f->node->type) ? P9_FID_DIR : P9_FID_FILE;
	f->writable = (flags & O_ACCMODE) != O_RDONLY;
	f->plain = !(flags & (O_APPEND | O_DSYNC | O_SYNC));
}

static int open_fid(struct p9_fid *f, int flags)
{
	struct p9_fs *fs = f->s->fs;
	int file, rc = p9_file_take(fs);

	if (rc < 0)
		return rc;
	rc = fs->ops->open(f->node, flags & ~O_EXCL, &file);
	if (rc < 0)
		p9_file_give(fs);
	else
		p9_fid_opened(f, file, flags);
	return rc;
}

int p9_lopen(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in), wire = p9_get32(&c->in);
	struct p9_fid *f;
	struct p9_qid q;
	int flags, rc;

	if (c->in.err)
		return c->in.err;
	rc = p9_open_flags(c->fs, wire, &flags);
	if (rc < 0)
		return rc;
	f = p9_fid_use(c, number, true);
	if (!f)
		return -EBADF;
	rc = f->kind == P9_FID_PATH ? open_fid(f, flags) : -EINVAL;
	if (rc == 0)
		rc = p9_qid_of_node(c, f->node, &q);
	p9_fid_done(c, f);
	if (rc < 0)
		return rc;
	p9_put_qid(&c->out, &q);
	p9_put32(&c->out, 0); /* iounit: as much as a message takes */
	return 0;
}

/* --- data --- */

typedef ssize_t transfer_fn(struct p9_node *n, int file, const struct iovec *iov, unsigned cnt,
			    uint64_t off);

/* Have `io` transfer the bytes [skip, skip + len) of `iov`, until it transfers less than asked for.
 * Returns the number of bytes, or the error when there are none. */
static ssize_t transfer_data(struct p9_fid *f, transfer_fn *io, const struct iovec *iov, unsigned n,
			     uint64_t skip, uint64_t len, uint64_t off)
{
	uint64_t done = 0;

	while (done < len) {
		struct iovec part[IOVS];
		uint64_t want;
		unsigned cnt = iov_slice(iov, n, skip + done, len - done, part, IOVS, &want);
		ssize_t got;

		if (!want)
			break;
		got = io(f->node, f->file, part, cnt, off + done);
		if (got < 0)
			return done ? (ssize_t)done : got;
		done += (uint64_t)got;
		if ((uint64_t)got < want)
			break;
	}
	return (ssize_t)done;
}

/* Cut `count` to the data that the answer has room for. */
static uint64_t data_room(const struct p9_call *c, uint64_t count)
{
	count = MIN(count, c->s->msize - P9_DATA_AT);
	return MIN(count, c->r->in_len - P9_DATA_AT);
}

static ssize_t read_fid(struct p9_call *c, struct p9_fid *f, uint64_t off, uint64_t count)
{
	const struct p9_request *r = c->r;

	if (f->kind == P9_FID_XATTR_READ) {
		if (off >= f->xattr.done)
			return 0;
		count = MIN(count, f->xattr.done - off);
		iov_from_buf(r->in, r->n_in, P9_DATA_AT, f->xattr.value + off, count);
		return (ssize_t)count;
	}
	if (f->kind != P9_FID_FILE)
		return f->kind == P9_FID_DIR ? -EISDIR : -EBADF;
	if (off > INT64_MAX - count)
		return -EINVAL;
	return transfer_data(f, c->fs->ops->read, r->in, r->n_in, P9_DATA_AT, count, off);
}

/* Transfer on the loop, if all of it can be done without sleeping; else set c->would_block. */
static ssize_t transfer_nowait(struct p9_call *c, struct p9_fid *f, transfer_fn *io,
			       const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len,
			       uint64_t off)
{
	struct iovec part[IOVS];
	uint64_t bytes;
	unsigned cnt;
	ssize_t done = -EAGAIN;

	if (f->kind == P9_FID_FILE && io && off <= INT64_MAX - len) {
		cnt = iov_slice(iov, n, skip, len, part, IOVS, &bytes);
		if (bytes == len)
			done = io(f->node, f->file, part, cnt, off);
	}
	c->would_block = done < 0;
	return done;
}

int p9_read(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in);
	uint64_t off = p9_get64(&c->in);
	uint32_t count = p9_get32(&c->in);
	struct p9_fid *f;
	ssize_t got;

	if (c->in.err)
		return c->in.err;
	f = p9_fid_use(c, number, false);
	if (!f)
		return -EBADF;
	count = (uint32_t)data_room(c, count);
	if (c->nowait)
		got = transfer_nowait(c, f, c->fs->ops->read_nowait, c->r->in, c->r->n_in,
				      P9_DATA_AT, count, off);
	else
		got = read_fid(c, f, off, count);
	p9_fid_done(c, f);
	if (got < 0)
		return (int)got;
	p9_put32(&c->out, (uint32_t)got);
	c->data = (uint64_t)got;
	return 0;
}

static ssize_t write_fid(struct p9_call *c, struct p9_fid *f, uint64_t off, uint32_t count)
{
	const struct p9_request *r = c->r;

	if (f->kind == P9_FID_XATTR_WRITE) {
		if (off != f->xattr.done || count > f->xattr.size - f->xattr.done)
			return -EINVAL;
		iov_to_buf(r->out, r->n_out, P9_WRITE_AT, f->xattr.value + off, count);
		f->xattr.done += count;
		return count;
	}
	if (f->kind != P9_FID_FILE)
		return f->kind == P9_FID_DIR ? -EISDIR : -EBADF;
	if (off > (uint64_t)INT64_MAX - count)
		return -EFBIG;
	return transfer_data(f, c->fs->ops->write, r->out, r->n_out, P9_WRITE_AT, count, off);
}

static ssize_t write_nowait(struct p9_call *c, uint32_t number, uint64_t off, uint32_t count)
{
	struct p9_fid *f = p9_fid_use(c, number, false);
	ssize_t put;

	if (!f)
		return -EBADF;
	put = transfer_nowait(c, f, f->plain ? c->fs->ops->write_nowait : NULL, c->r->out,
			      c->r->n_out, P9_WRITE_AT, count, off);
	p9_fid_done(c, f);
	return put;
}

/* Is it a fid that collects an extended attribute? Then a write changes the fid itself. */
static bool is_xattr_write(struct p9_fid *f)
{
	bool yes;

	pthread_rwlock_rdlock(&f->lock);
	yes = f->kind == P9_FID_XATTR_WRITE;
	pthread_rwlock_unlock(&f->lock);
	return yes;
}

static ssize_t write_on_worker(struct p9_call *c, uint32_t number, uint64_t off, uint32_t count)
{
	struct p9_fid *f = p9_fid_get(c->s, number);
	ssize_t put;

	if (!f)
		return -EBADF;
	/* A fid for an attribute remains one, so the lock for writing is right. One that becomes so
	 * between the two looks is only locked for reading: refuse, as it was no file either. */
	if (is_xattr_write(f)) {
		pthread_rwlock_wrlock(&f->lock);
		put = write_fid(c, f, off, count);
	} else {
		pthread_rwlock_rdlock(&f->lock);
		put = f->kind == P9_FID_XATTR_WRITE ? -EBADF : write_fid(c, f, off, count);
	}
	p9_fid_done(c, f);
	return put;
}

int p9_write(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in);
	uint64_t off = p9_get64(&c->in);
	uint32_t count = p9_get32(&c->in);
	ssize_t put;

	if (c->in.err)
		return c->in.err;
	if (count > c->r->size - P9_WRITE_AT)
		return -EPROTO;
	put = (c->nowait ? write_nowait : write_on_worker)(c, number, off, count);
	if (put < 0)
		return (int)put;
	p9_put32(&c->out, (uint32_t)put);
	return 0;
}

int p9_fsync(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in), datasync = 0;
	struct p9_fid *f;
	int rc = -EBADF;

	if (c->in.left) /* older clients send no datasync field */
		datasync = p9_get32(&c->in);
	if (c->in.err)
		return c->in.err;
	f = p9_fid_use(c, number, false);
	if (!f)
		return -EBADF;
	if (f->kind == P9_FID_FILE || f->kind == P9_FID_DIR)
		rc = c->fs->ops->fsync(f->node, f->file, datasync);
	p9_fid_done(c, f);
	return rc;
}

/* --- directories --- */

struct listing {
	struct p9_call *c;
	uint64_t room, used;
	int err;
};

static bool add_entry(void *arg, const struct p9_dirent *d)
{
	struct listing *l = arg;
	const struct p9_request *r = l->c->r;
	uint8_t buf[P9_NAME_MAX + 32];
	struct p9_writer w = {buf, 0, sizeof(buf)};
	size_t len = strlen(d->name);
	struct p9_qid q = {
		.type = d->type == DT_DIR   ? P9_QID_DIR
			: d->type == DT_LNK ? P9_QID_SYMLINK
					    : 0,
		.path = d->ino,
	};

	p9_put_qid(&w, &q);
	p9_put64(&w, d->next);
	p9_put8(&w, d->type);
	p9_put_string(&w, d->name, len);
	if (len > P9_NAME_MAX || w.len > l->room - l->used) {
		/* No entry at all would tell the guest that the directory ends here. */
		l->err = l->used ? 0 : -EINVAL;
		return false;
	}
	iov_from_buf(r->in, r->n_in, P9_DATA_AT + l->used, buf, w.len);
	l->used += w.len;
	return true;
}

int p9_readdir(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in);
	uint64_t off = p9_get64(&c->in);
	uint32_t count = p9_get32(&c->in);
	struct listing l = {.c = c, .room = data_room(c, count)};
	struct p9_fid *f;
	int rc = -EBADF;

	if (c->in.err)
		return c->in.err;
	f = p9_fid_use(c, number, true);
	if (!f)
		return -EBADF;
	if (f->kind == P9_FID_DIR)
		rc = c->fs->ops->readdir(f->node, f->file, off, add_entry, &l);
	p9_fid_done(c, f);
	/* Return the entries before an error; the next request meets the error again. */
	if (l.used)
		rc = 0;
	else if (rc == 0)
		rc = l.err;
	if (rc < 0)
		return rc;
	p9_put32(&c->out, (uint32_t)l.used);
	c->data = l.used;
	return 0;
}

/* --- locks --- */

static int check_open(struct p9_call *c, uint32_t number)
{
	struct p9_fid *f = p9_fid_use(c, number, false);
	int rc;

	if (!f)
		return -EBADF;
	rc = f->kind == P9_FID_FILE || f->kind == P9_FID_DIR ? 0 : -EBADF;
	p9_fid_done(c, f);
	return rc;
}

struct lock {
	uint8_t type;
	uint64_t start, length;
	uint32_t process;
	char client[P9_NAME_MAX + 1];
};

#define LOCK_SUCCESS 0
#define LOCK_UNLOCK  2

static void read_lock(struct p9_reader *r, struct lock *l)
{
	l->start = p9_get64(r);
	l->length = p9_get64(r);
	l->process = p9_get32(r);
	p9_get_name(r, l->client);
	if (!r->err && l->type > LOCK_UNLOCK)
		r->err = -EINVAL;
}

int p9_lock(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in);
	struct lock l = {.type = p9_get8(&c->in)};
	int rc;

	p9_get32(&c->in); /* flags: to block or not makes no difference, as it is granted */
	read_lock(&c->in, &l);
	rc = c->in.err ? c->in.err : check_open(c, number);
	p9_put8(&c->out, LOCK_SUCCESS);
	return rc;
}

int p9_getlock(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in);
	struct lock l = {.type = p9_get8(&c->in)};
	int rc;

	read_lock(&c->in, &l);
	rc = c->in.err ? c->in.err : check_open(c, number);
	p9_put8(&c->out, LOCK_UNLOCK);
	p9_put64(&c->out, l.start);
	p9_put64(&c->out, l.length);
	p9_put32(&c->out, l.process);
	p9_put_string(&c->out, l.client, strlen(l.client));
	return rc;
}

/* --- the end of a fid --- */

/* Is there such a fid that is neither open nor an attribute, so that clunking it takes no time? */
static bool is_path(struct p9_call *c, uint32_t number)
{
	struct p9_fid *f = p9_fid_use(c, number, false);

	if (!f)
		return false;
	c->would_block = f->kind != P9_FID_PATH;
	p9_fid_done(c, f);
	return !c->would_block;
}

int p9_clunk(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in);
	struct p9_fid *f;
	int rc = 0;

	if (c->in.err)
		return c->in.err;
	if (c->nowait && !is_path(c, number))
		return -EBADF;
	f = p9_fid_remove(c->s, number);
	if (!f)
		return -EBADF;
	if (c->nowait) {
		p9_fid_leave(c, f);
		return 0;
	}
	pthread_rwlock_wrlock(&f->lock);
	if (f->kind == P9_FID_XATTR_WRITE) {
		/* Linux removes an attribute by setting an empty value. */
		if (f->xattr.done < f->xattr.size)
			rc = -EINVAL;
		else if (f->xattr.size)
			rc = c->fs->ops->setxattr(f->node, f->xattr.name, f->xattr.value,
						  f->xattr.size, f->xattr.flags);
		else
			rc = c->fs->ops->removexattr(f->node, f->xattr.name);
	}
	p9_fid_done(c, f);
	return rc;
}
