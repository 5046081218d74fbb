/* SPDX-License-Identifier: MIT */
/* fid.c - see fid.h */
#include "p9/fid.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

#define BUCKETS_MIN 64

/* --- sessions --- */

struct p9_session *p9_session_new(struct p9_fs *fs, uint32_t msize)
{
	struct p9_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->bucket = calloc(BUCKETS_MIN, sizeof(struct p9_fid *));
	if (!s->bucket) {
		free(s);
		return NULL;
	}
	s->buckets = BUCKETS_MIN;
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
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	for (unsigned i = 0; i < s->buckets; i++)
		while (s->bucket[i]) {
			struct p9_fid *f = s->bucket[i];

			s->bucket[i] = f->next;
			p9_fid_put(f);
		}
	free(s->bucket);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* --- fids --- */

static struct p9_fid **slot(struct p9_session *s, uint32_t number)
{
	/* The guest's numbers are small and dense, or it hurts itself. */
	struct p9_fid **at = &s->bucket[(number ^ number >> 16) & (s->buckets - 1)];

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

/* Without memory the chains get longer, that is all. */
static void grow(struct p9_session *s)
{
	struct p9_fid **old = s->bucket, **bucket = calloc(s->buckets * 4, sizeof(struct p9_fid *));
	unsigned n = s->buckets;

	if (!bucket)
		return;
	s->bucket = bucket;
	s->buckets = n * 4;
	for (unsigned i = 0; i < n; i++)
		while (old[i]) {
			struct p9_fid *f = old[i], **at;

			old[i] = f->next;
			f->next = NULL;
			at = slot(s, f->number);
			*at = f;
		}
	free(old);
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
	struct p9_fid **at;
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	at = slot(s, f->number);
	if (*at) {
		rc = -EINVAL;
	} else if (s->fids == P9_FIDS_MAX) {
		rc = -ENFILE;
	} else {
		*at = f;
		atomic_fetch_add(&f->refs, 1);
		if (++s->fids > s->buckets * 2)
			grow(s);
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

struct p9_fid *p9_fid_get(struct p9_session *s, uint32_t number)
{
	struct p9_fid *f;

	pthread_mutex_lock(&s->lock);
	f = *slot(s, number);
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
	struct p9_fid **at, *f;

	pthread_mutex_lock(&s->lock);
	at = slot(s, number);
	f = *at;
	if (f) {
		*at = f->next;
		s->fids--;
	}
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
