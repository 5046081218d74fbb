/* SPDX-License-Identifier: MIT */
/* fid.c - see fid.h */
#include "p9/fid.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

/* --- sessions --- */

struct p9_session *p9_session_new(struct p9_fs *fs, uint32_t msize)
{
	struct p9_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (hash_table_init(&s->fids) < 0) {
		free(s);
		return NULL;
	}
	s->fs = fs;
	s->msize = msize;
	atomic_init(&s->refs, 1);
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

struct p9_session *p9_session_get(struct p9_session *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void p9_session_put(struct p9_session *s)
{
	struct hash_entry *e;
	size_t from = 0;

	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	while ((e = hash_table_pop(&s->fids, &from)))
		p9_fid_put(container_of(e, struct p9_fid, entry));
	hash_table_fini(&s->fids);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* --- fids --- */

static uint64_t hash_number(const struct p9_session *s, uint32_t number)
{
	return hash_bytes(&s->fs->key, &number, sizeof(number));
}

/* With the session locked. NULL: there is none of this number. */
static struct p9_fid *find_fid(const struct p9_session *s, uint32_t number, uint64_t hash)
{
	struct hash_entry *e = hash_table_first(&s->fids, hash);

	for (; e; e = hash_table_next(e)) {
		struct p9_fid *f = container_of(e, struct p9_fid, entry);

		if (f->number == number)
			return f;
	}
	return NULL;
}

struct p9_fid *p9_fid_new(struct p9_session *s, uint32_t number, uint32_t uid, struct p9_node *node)
{
	struct p9_fid *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->number = number;
	f->uid = uid;
	f->s = s;
	f->node = p9_node_get(node);
	f->file = -1;
	atomic_init(&f->refs, 1);
	pthread_rwlock_init(&f->lock, NULL);
	return f;
}

int p9_fid_insert(struct p9_fid *f)
{
	struct p9_session *s = f->s;
	uint64_t hash = hash_number(s, f->number);
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	if (find_fid(s, f->number, hash)) {
		rc = -EINVAL;
	} else if (s->fids.n == P9_FIDS_MAX) {
		rc = -ENFILE;
	} else {
		hash_table_add(&s->fids, &f->entry, hash);
		atomic_fetch_add(&f->refs, 1);
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

struct p9_fid *p9_fid_get(struct p9_session *s, uint32_t number)
{
	uint64_t hash = hash_number(s, number);
	struct p9_fid *f;

	pthread_mutex_lock(&s->lock);
	f = find_fid(s, number, hash);
	if (f)
		atomic_fetch_add(&f->refs, 1);
	pthread_mutex_unlock(&s->lock);
	return f;
}

void p9_fid_put(struct p9_fid *f)
{
	if (atomic_fetch_sub(&f->refs, 1) != 1)
		return;
	if (f->file >= 0) {
		f->s->fs->ops->close(f->node, f->file);
		p9_file_give(f->s->fs);
	}
	if (f->xattr.value)
		p9_xattr_give(f->s, f->xattr.size);
	free(f->xattr.value);
	free(f->xattr.name);
	p9_node_put(f->node);
	pthread_rwlock_destroy(&f->lock);
	free(f);
}

struct p9_fid *p9_fid_remove(struct p9_session *s, uint32_t number)
{
	uint64_t hash = hash_number(s, number);
	struct p9_fid *f;

	pthread_mutex_lock(&s->lock);
	f = find_fid(s, number, hash);
	if (f)
		hash_table_del(&s->fids, &f->entry);
	pthread_mutex_unlock(&s->lock);
	return f;
}

int p9_xattr_take(struct p9_session *s, uint32_t bytes)
{
	if (atomic_fetch_add(&s->xattr_bytes, bytes) + bytes <= P9_XATTRS_MAX)
		return 0;
	atomic_fetch_sub(&s->xattr_bytes, bytes);
	return -ENOSPC;
}

void p9_xattr_give(struct p9_session *s, uint32_t bytes)
{
	atomic_fetch_sub(&s->xattr_bytes, bytes);
}
