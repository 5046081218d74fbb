/* SPDX-License-Identifier: MIT */
/* qid.c - see qid.h */
#include "p9/fs/qid.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"

#define HIGH_SHIFT 48
#define PREFIXES   1024 /* few enough to search them one by one */

void p9_qids_init(struct p9_qids *q)
{
	pthread_mutex_init(&q->lock, NULL);
}

void p9_qids_fini(struct p9_qids *q)
{
	free(q->prefix);
	pthread_mutex_destroy(&q->lock);
}

/* The number of the combination of `dev` and `high`, new if need be; -1: there are too many, or no
 * memory. The caller holds the lock. */
static int find_prefix(struct p9_qids *q, dev_t dev, uint16_t high)
{
	struct p9_prefix *p;

	for (unsigned i = 0; i < q->n; i++)
		if (q->prefix[i].dev == dev && q->prefix[i].high == high)
			return (int)i;
	if (q->n == PREFIXES)
		return -1;
	p = realloc(q->prefix, (q->n + 1) * sizeof(*p));
	if (!p)
		return -1;
	q->prefix = p;
	p[q->n] = (struct p9_prefix){dev, high};
	return (int)q->n++;
}

static int remap_inode(struct p9_qids *q, dev_t dev, uint64_t ino, uint64_t *path)
{
	int n;

	pthread_mutex_lock(&q->lock);
	n = find_prefix(q, dev, (uint16_t)(ino >> HIGH_SHIFT));
	pthread_mutex_unlock(&q->lock);
	if (n < 0)
		return -ENFILE;
	*path = (uint64_t)n << HIGH_SHIFT | (ino & ((1ULL << HIGH_SHIFT) - 1));
	return 0;
}

static void warn_once(struct p9_qids *q)
{
	bool first;

	pthread_mutex_lock(&q->lock);
	first = !q->warned;
	q->warned = true;
	pthread_mutex_unlock(&q->lock);
	if (first)
		log_warn("9p: the export '%s' spans several file systems, whose files may get the "
			 "same "
			 "number in the guest; multidevs=remap avoids that",
			 q->path);
}

int p9_qid_path(struct p9_qids *q, dev_t dev, uint64_t ino, uint64_t *path)
{
	*path = ino;
	if (q->mode == P9_DEVS_REMAP)
		return remap_inode(q, dev, ino, path);
	if (dev == q->root || !q->path)
		return 0;
	if (q->mode == P9_DEVS_FORBID)
		return -ENODEV;
	warn_once(q);
	return 0;
}

int p9_qid_of(struct p9_qids *q, const struct stat *st, struct p9_qid *out)
{
	out->type = S_ISDIR(st->st_mode) ? P9_QID_DIR : S_ISLNK(st->st_mode) ? P9_QID_SYMLINK : 0;
	out->version = (uint32_t)st->st_mtime ^ (uint32_t)st->st_size << 8;
	return p9_qid_path(q, st->st_dev, st->st_ino, &out->path);
}
