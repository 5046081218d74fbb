/* SPDX-License-Identifier: MIT */
/* names.c - messages about names: attach, walk, and what makes, moves and removes files
 *
 * A name is one component of a path. It is checked here to be neither empty nor to have a slash in
 * it. Only a walk takes "." and "..", where ".." is the directory in which the guest found the
 * file, whatever the host's ".." is by now.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/util.h"
#include "p9/server.h"

#define REMOVE_DIRECTORY 0x200 /* Tunlinkat */

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

static bool is_component(const char *name)
{
	return *name && !strchr(name, '/');
}

/* Check a name that is to be made, moved or removed; `dots` is the error for "." and "..". */
static int check_name(const char *name, int dots)
{
	if (!is_component(name))
		return -ENOENT;
	return is_dots(name) ? dots : 0;
}

/* Find two fids and lock both for reading, always in the order of their addresses, so that two
 * requests never wait for each other. 0, or -EBADF when one of them is not there. */
static int lock_both(struct p9_call *c, uint32_t a, uint32_t b, struct p9_fid **f,
		     struct p9_fid **g)
{
	*f = p9_fid_get(c->s, a);
	*g = *f ? p9_fid_get(c->s, b) : NULL;
	if (!*g) {
		if (*f)
			p9_fid_put(*f);
		return -EBADF;
	}
	pthread_rwlock_rdlock(*f < *g ? &(*f)->lock : &(*g)->lock);
	if (*f != *g)
		pthread_rwlock_rdlock(*f < *g ? &(*g)->lock : &(*f)->lock);
	return 0;
}

static void unlock_both(struct p9_fid *f, struct p9_fid *g)
{
	pthread_rwlock_unlock(&f->lock);
	if (f != g)
		pthread_rwlock_unlock(&g->lock);
	p9_fid_put(f);
	p9_fid_put(g);
}

/* Make a fid of this number for `n` and enter it. */
static int enter_fid(struct p9_call *c, uint32_t number, uint32_t uid, struct p9_node *n)
{
	struct p9_fid *f = p9_fid_new(c->s, number, uid, n);
	int rc = f ? p9_fid_insert(f) : -ENOMEM;

	if (f)
		p9_fid_put(f);
	return rc;
}

int p9_attach(struct p9_call *c)
{
	char user[P9_NAME_MAX + 1], name[P9_NAME_MAX + 1];
	uint32_t number = p9_get32(&c->in), auth = p9_get32(&c->in), uid;
	struct p9_node *root;
	struct p9_qid q;
	int rc;

	p9_get_name(&c->in, user);
	p9_get_name(&c->in, name);
	uid = p9_get32(&c->in);
	if (c->in.err)
		return c->in.err;
	if (auth != P9_NO_FID || number == P9_NO_FID)
		return -EINVAL;
	rc = c->fs->ops->root(c->fs, &root);
	if (rc < 0)
		return rc;
	rc = p9_qid_of_node(c, root, &q);
	if (rc == 0)
		rc = enter_fid(c, number, uid, root);
	p9_node_put(root);
	p9_put_qid(&c->out, &q);
	return rc;
}

/* --- walk --- */

/* Take one step of a walk, from `n` to `name`; the caller gets a reference to `*out`. */
static int walk_step(struct p9_call *c, struct p9_node *n, const char *name, struct p9_node **out)
{
	struct p9_fs *fs = n->fs;
	int rc = 0;

	if (!is_component(name))
		return -ENOENT;
	if (c->nowait && !fs->ops->walk_nowait)
		return -EAGAIN;
	if (!p9_lock_shared(c, &fs->tree))
		return -EAGAIN;
	if (!S_ISDIR(n->type))
		rc = -ENOTDIR;
	else if (!strcmp(name, "."))
		*out = p9_node_get(n);
	else if (!strcmp(name, ".."))
		*out = p9_node_get(n->parent ? n->parent : n);
	else
		rc = (c->nowait ? fs->ops->walk_nowait : fs->ops->walk)(n, name, out);
	pthread_rwlock_unlock(&fs->tree);
	return rc;
}

/* Walk as far as it goes. Returns the number of steps, with a reference to the last node in `*at`,
 * or the error of the first step. */
static int walk_names(struct p9_call *c, struct p9_node **at, char names[][P9_NAME_MAX + 1],
		      unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct p9_node *next;
		struct p9_qid q;
		int rc = walk_step(c, *at, names[i], &next);

		if (rc == 0) {
			rc = p9_qid_of_node(c, next, &q);
			if (rc < 0)
				p9_node_done(c, next);
		}
		if (c->nowait && rc == -EAGAIN) {
			c->would_block = true;
			return rc;
		}
		if (rc < 0)
			return i ? (int)i : rc;
		p9_node_done(c, *at);
		*at = next;
		p9_put_qid(&c->out, &q);
	}
	return (int)n;
}

/* The walk from `f` has reached its end `n`: have the fid `number` stand there. */
static int place_fid(struct p9_call *c, struct p9_fid *f, uint32_t number, struct p9_node *n)
{
	if (number != f->number)
		return enter_fid(c, number, f->uid, n);
	p9_node_done(c, f->node);
	f->node = p9_node_get(n);
	return 0;
}

int p9_walk(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in), to = p9_get32(&c->in);
	unsigned n = p9_get16(&c->in);
	char names[P9_WALK_MAX][P9_NAME_MAX + 1];
	struct p9_fid *f;
	struct p9_node *at;
	int rc;

	if (n > P9_WALK_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++)
		p9_get_name(&c->in, names[i]);
	if (c->in.err)
		return c->in.err;
	f = p9_fid_use(c, number, to == number);
	if (!f)
		return -EBADF;
	p9_put16(&c->out, 0);
	at = p9_node_get(f->node);
	if (f->kind != P9_FID_PATH && to == number)
		rc = -EINVAL;
	else
		rc = walk_names(c, &at, names, n);
	if (rc >= 0)
		put_le16(c->answer, (uint16_t)rc);
	if (rc == (int)n)
		rc = place_fid(c, f, to, at);
	p9_node_done(c, at);
	p9_fid_done(c, f);
	return MIN(rc, 0);
}

/* --- making files --- */

/* Make a file in the directory `f`. */
static int make_file(struct p9_fid *f, const char *name, const struct p9_new *what, int flags,
		     struct p9_node **out, int *file)
{
	struct p9_fs *fs = f->node->fs;
	int rc = check_name(name, -EEXIST);

	if (rc < 0)
		return rc;
	if (f->kind >= P9_FID_XATTR_READ)
		return -EINVAL;
	if (!S_ISDIR(f->node->type))
		return -ENOTDIR;
	pthread_rwlock_rdlock(&fs->tree);
	rc = fs->ops->make(f->node, name, what, flags, out, file);
	pthread_rwlock_unlock(&fs->tree);
	return rc;
}

/* Make a file and answer with its qid. The owner of `what` is filled in here. */
static int make_for_qid(struct p9_call *c, uint32_t number, const char *name, struct p9_new *what)
{
	struct p9_fid *f;
	struct p9_node *n;
	struct p9_qid q;
	int rc;

	if (c->in.err)
		return c->in.err;
	f = p9_fid_use(c, number, false);
	if (!f)
		return -EBADF;
	what->uid = f->uid;
	rc = make_file(f, name, what, 0, &n, NULL);
	if (rc == 0) {
		rc = p9_qid_of_node(c, n, &q);
		p9_node_put(n);
	}
	p9_fid_done(c, f);
	if (rc == 0)
		p9_put_qid(&c->out, &q);
	return rc;
}

static int create_open(struct p9_call *c, struct p9_fid *f, const char *name,
		       const struct p9_new *what, int flags, struct p9_qid *q)
{
	struct p9_node *n;
	int file, rc = p9_file_take(c->fs);

	if (rc < 0)
		return rc;
	rc = make_file(f, name, what, flags, &n, &file);
	if (rc < 0) {
		p9_file_give(c->fs);
		return rc;
	}
	/* Tlcreate turns the fid of the directory into that of the new file. */
	p9_node_put(f->node);
	f->node = n;
	p9_fid_opened(f, file, flags);
	return p9_qid_of_node(c, n, q);
}

int p9_lcreate(struct p9_call *c)
{
	char name[P9_NAME_MAX + 1];
	struct p9_new what = {0};
	uint32_t number = p9_get32(&c->in), wire;
	struct p9_fid *f;
	struct p9_qid q;
	int rc, flags;

	p9_get_name(&c->in, name);
	wire = p9_get32(&c->in);
	what.mode = S_IFREG | (p9_get32(&c->in) & 07777);
	what.gid = p9_get32(&c->in);
	if (c->in.err)
		return c->in.err;
	rc = p9_open_flags(c->fs, wire, &flags);
	if (rc < 0)
		return rc;
	f = p9_fid_use(c, number, true);
	if (!f)
		return -EBADF;
	what.uid = f->uid;
	rc = f->kind == P9_FID_PATH ? create_open(c, f, name, &what, flags, &q) : -EINVAL;
	p9_fid_done(c, f);
	if (rc < 0)
		return rc;
	p9_put_qid(&c->out, &q);
	p9_put32(&c->out, 0); /* iounit: as much as a message takes */
	return 0;
}

int p9_symlink(struct p9_call *c)
{
	char name[P9_NAME_MAX + 1], target[P9_TARGET_MAX + 1];
	struct p9_new what = {.mode = S_IFLNK | 0777, .target = target};
	uint32_t number = p9_get32(&c->in);

	p9_get_name(&c->in, name);
	p9_get_string(&c->in, target, P9_TARGET_MAX);
	what.gid = p9_get32(&c->in);
	if (!c->in.err && !*target)
		return -ENOENT;
	return make_for_qid(c, number, name, &what);
}

int p9_mknod(struct p9_call *c)
{
	char name[P9_NAME_MAX + 1];
	struct p9_new what = {0};
	uint32_t number = p9_get32(&c->in), major;

	p9_get_name(&c->in, name);
	what.mode = p9_get32(&c->in);
	major = p9_get32(&c->in);
	what.rdev = makedev(major, p9_get32(&c->in));
	what.gid = p9_get32(&c->in);
	if (!(what.mode & S_IFMT))
		what.mode |= S_IFREG;
	what.mode &= S_IFMT | 07777;
	if (!S_ISREG(what.mode) && !S_ISFIFO(what.mode) && !S_ISSOCK(what.mode) &&
	    !S_ISCHR(what.mode) && !S_ISBLK(what.mode))
		return c->in.err ? c->in.err : -EINVAL;
	return make_for_qid(c, number, name, &what);
}

int p9_mkdir(struct p9_call *c)
{
	char name[P9_NAME_MAX + 1];
	struct p9_new what = {0};
	uint32_t number = p9_get32(&c->in);

	p9_get_name(&c->in, name);
	what.mode = S_IFDIR | (p9_get32(&c->in) & 07777);
	what.gid = p9_get32(&c->in);
	return make_for_qid(c, number, name, &what);
}

int p9_link(struct p9_call *c)
{
	char name[P9_NAME_MAX + 1];
	uint32_t to = p9_get32(&c->in), number = p9_get32(&c->in);
	struct p9_fid *d, *f;
	int rc;

	p9_get_name(&c->in, name);
	rc = c->in.err ? c->in.err : check_name(name, -EEXIST);
	if (rc < 0)
		return rc;
	rc = lock_both(c, number, to, &f, &d);
	if (rc < 0)
		return rc;
	pthread_rwlock_rdlock(&c->fs->tree);
	rc = S_ISDIR(d->node->type) ? c->fs->ops->link(f->node, d->node, name) : -ENOTDIR;
	pthread_rwlock_unlock(&c->fs->tree);
	unlock_both(f, d);
	return rc;
}

/* --- moving and removing --- */

/* With the tree locked for writing. */
static int rename_locked(struct p9_fs *fs, struct p9_node *from, const char *name,
			 struct p9_node *to, const char *name_to)
{
	int rc = check_name(name, -EBUSY);

	if (rc == 0)
		rc = check_name(name_to, -EBUSY);
	if (rc == 0 && (!S_ISDIR(from->type) || !S_ISDIR(to->type)))
		rc = -ENOTDIR;
	if (rc == 0)
		rc = fs->ops->rename(from, name, to, name_to);
	if (rc == 0)
		p9_tree_renamed(from, name, to, name_to);
	return MIN(rc, 0);
}

int p9_renameat(struct p9_call *c)
{
	char name[P9_NAME_MAX + 1], name_to[P9_NAME_MAX + 1];
	uint32_t from = p9_get32(&c->in), to;
	struct p9_fid *f, *t;
	int rc;

	p9_get_name(&c->in, name);
	to = p9_get32(&c->in);
	p9_get_name(&c->in, name_to);
	if (c->in.err)
		return c->in.err;
	rc = lock_both(c, from, to, &f, &t);
	if (rc < 0)
		return rc;
	pthread_rwlock_wrlock(&c->fs->tree);
	rc = rename_locked(c->fs, f->node, name, t->node, name_to);
	pthread_rwlock_unlock(&c->fs->tree);
	unlock_both(f, t);
	return rc;
}

/* Check that `name` of `dir`, as which `n` was found, still is the same file: the host may have put
 * another one there. The tree is locked. 0, or -errno. */
static int check_same(struct p9_node *n, struct p9_node *dir, const char *name)
{
	struct p9_node *found;
	int rc = n->fs->ops->walk(dir, name, &found);

	if (rc < 0)
		return rc;
	rc = found->dev == n->dev && found->ino == n->ino ? 0 : -ENOENT;
	p9_node_put(found);
	return rc;
}

/* Trename moves the file of a fid, if it still has the name under which it was found. */
int p9_rename(struct p9_call *c)
{
	char name[P9_NAME_MAX + 1], name_to[P9_NAME_MAX + 1];
	uint32_t number = p9_get32(&c->in), to = p9_get32(&c->in);
	struct p9_node *parent = NULL;
	struct p9_fid *f, *t;
	int rc;

	p9_get_name(&c->in, name_to);
	if (c->in.err)
		return c->in.err;
	rc = lock_both(c, number, to, &f, &t);
	if (rc < 0)
		return rc;
	pthread_rwlock_wrlock(&c->fs->tree);
	rc = f->node->parent ? -ENOENT : -EBUSY;
	if (f->node->name && f->node->parent) {
		/* The rename itself changes the node's name and parent: keep both. */
		strcpy(name, f->node->name);
		parent = p9_node_get(f->node->parent);
		rc = check_same(f->node, parent, name);
		if (rc == 0)
			rc = rename_locked(c->fs, parent, name, t->node, name_to);
	}
	pthread_rwlock_unlock(&c->fs->tree);
	p9_node_put(parent);
	unlock_both(f, t);
	return rc;
}

/* With the tree locked for writing. */
static int unlink_locked(struct p9_node *dir, const char *name, bool directory)
{
	int rc = S_ISDIR(dir->type) ? dir->fs->ops->unlink(dir, name, directory) : -ENOTDIR;

	if (rc == 0)
		p9_tree_removed(dir, name);
	return rc;
}

int p9_unlinkat(struct p9_call *c)
{
	char name[P9_NAME_MAX + 1];
	uint32_t number = p9_get32(&c->in), flags;
	struct p9_fid *f;
	int rc;

	p9_get_name(&c->in, name);
	flags = p9_get32(&c->in);
	rc = c->in.err ? c->in.err : check_name(name, !strcmp(name, ".") ? -EINVAL : -ENOTEMPTY);
	if (rc == 0 && flags & ~REMOVE_DIRECTORY)
		rc = -EINVAL;
	if (rc < 0)
		return rc;
	f = p9_fid_use(c, number, false);
	if (!f)
		return -EBADF;
	pthread_rwlock_wrlock(&c->fs->tree);
	rc = unlink_locked(f->node, name, flags & REMOVE_DIRECTORY);
	pthread_rwlock_unlock(&c->fs->tree);
	p9_fid_done(c, f);
	return rc;
}

/* Tremove removes the file of a fid, if it still has the name under which it was found; the fid is
 * clunked in any case. */
int p9_remove(struct p9_call *c)
{
	uint32_t number = p9_get32(&c->in);
	struct p9_node *n, *parent = NULL;
	char name[P9_NAME_MAX + 1];
	struct p9_fid *f;
	int rc;

	if (c->in.err)
		return c->in.err;
	f = p9_fid_remove(c->s, number);
	if (!f)
		return -EBADF;
	pthread_rwlock_rdlock(&f->lock);
	n = f->node;
	if (c->fs->read_only) {
		p9_fid_done(c, f);
		return -EROFS;
	}
	pthread_rwlock_wrlock(&c->fs->tree);
	rc = n->parent ? -ENOENT : -EBUSY;
	if (n->name && n->parent) {
		strcpy(name, n->name);
		parent = p9_node_get(n->parent);
		rc = check_same(n, parent, name);
		if (rc == 0)
			rc = unlink_locked(parent, name, S_ISDIR(n->type));
	}
	pthread_rwlock_unlock(&c->fs->tree);
	p9_node_put(parent);
	p9_fid_done(c, f);
	return rc;
}
