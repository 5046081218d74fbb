/* SPDX-License-Identifier: MIT */
/* call.c - what handlers have in common: fids and nodes in use, locks, attributes; see server.h
 *
 * On a worker these functions wait as long as it takes. On the loop (c->nowait) a lock that is not
 * free, or attributes that are not in memory, make them set c->would_block. When the loop gives
 * back the last reference to a fid or a node, and closing its file may take time, a worker closes
 * it.
 */
#include <errno.h>

#include "base/util.h"
#include "p9/server.h"

/* --- last references that the loop gives back --- */

/* Returns false, and does nothing, when this is the last reference. */
static bool drop_unless_last(atomic_uint *refs)
{
	unsigned n = atomic_load(refs);

	while (n > 1)
		if (atomic_compare_exchange_weak(refs, &n, n - 1))
			return true;
	return false;
}

static void end_node(struct work *w)
{
	p9_node_put(container_of(w, struct p9_node, work));
}

/* Does the end of `n` take no time? A file that has a name is not deleted with its last descriptor.
 */
static bool ends_quickly(struct p9_node *n)
{
	struct stat st;

	return n->fs->ops->getattr_nowait && n->fs->ops->getattr_nowait(n, &st) == 0 && st.st_nlink;
}

/* With a node ends its reference to its directory, which may be the last one too, and so on. The
 * loop ends at most as many as a walk has names; a worker the others. */
static void put_node_later(struct p9_server *s, struct p9_node *n)
{
	for (unsigned i = 0; n && !drop_unless_last(&n->refs); i++) {
		struct p9_node *parent;

		if (i == P9_WALK_MAX || !ends_quickly(n)) {
			n->work.fn = end_node;
			p9_server_give(s, &n->work);
			return;
		}
		parent = p9_node_parent(n);
		p9_node_put(n);
		n = parent;
	}
}

static void end_fid(struct work *w)
{
	struct p9_fid *f = container_of(w, struct p9_fid, work);
	struct p9_session *session = f->s;

	p9_fid_put(f);
	p9_session_put(session);
}

static void put_fid_later(struct p9_server *s, struct p9_fid *f)
{
	if (drop_unless_last(&f->refs))
		return;
	if (f->kind == P9_FID_PATH) {
		struct p9_node *n = f->node;

		f->node = NULL;
		p9_fid_put(f);
		put_node_later(s, n);
		return;
	}
	p9_session_get(f->s);
	f->work.fn = end_fid;
	p9_server_give(s, &f->work);
}

/* --- for handlers --- */

int p9_stat(struct p9_call *c, struct p9_node *n, struct stat *st)
{
	const struct p9_fs_ops *ops = n->fs->ops;
	int rc;

	if (c->nowait) {
		rc = ops->getattr_nowait ? ops->getattr_nowait(n, st) : -EAGAIN;
		c->would_block = rc == -EAGAIN;
		return rc;
	}
	pthread_rwlock_rdlock(&n->fs->tree);
	rc = ops->getattr(n, st);
	pthread_rwlock_unlock(&n->fs->tree);
	return rc;
}

int p9_qid_of_node(struct p9_call *c, struct p9_node *n, struct p9_qid *q)
{
	struct stat st;
	int rc = p9_stat(c, n, &st);

	return rc < 0 ? rc : p9_qid_of(&n->fs->qids, &st, q);
}

void p9_node_done(struct p9_call *c, struct p9_node *n)
{
	if (c->nowait)
		put_node_later(c->r->server, n);
	else
		p9_node_put(n);
}

void p9_fid_leave(struct p9_call *c, struct p9_fid *f)
{
	if (c->nowait)
		put_fid_later(c->r->server, f);
	else
		p9_fid_put(f);
}

bool p9_lock_shared(struct p9_call *c, pthread_rwlock_t *lock)
{
	if (!c->nowait)
		return pthread_rwlock_rdlock(lock) == 0;
	c->would_block |= pthread_rwlock_tryrdlock(lock) != 0;
	return !c->would_block;
}

static bool lock_to_change(struct p9_call *c, pthread_rwlock_t *lock)
{
	if (!c->nowait)
		return pthread_rwlock_wrlock(lock) == 0;
	c->would_block |= pthread_rwlock_trywrlock(lock) != 0;
	return !c->would_block;
}

struct p9_fid *p9_fid_use(struct p9_call *c, uint32_t number, bool change)
{
	struct p9_fid *f = p9_fid_get(c->s, number);

	if (!f)
		return NULL;
	if (change ? lock_to_change(c, &f->lock) : p9_lock_shared(c, &f->lock))
		return f;
	p9_fid_leave(c, f);
	return NULL;
}

void p9_fid_done(struct p9_call *c, struct p9_fid *f)
{
	pthread_rwlock_unlock(&f->lock);
	p9_fid_leave(c, f);
}
