/* SPDX-License-Identifier: MIT */
/* tree.c - nodes, and what is known of their places; see fs.h
 *
 * Every node of a file system is in one list. A rename or removal by the guest goes over it, with
 * the tree locked for writing, and corrects all that were found under the old name. What the host
 * changes is not seen; so a name is used only together with a check that it still is the same file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "p9/fs.h"

int p9_fs_init(struct p9_fs *fs, const struct p9_fs_ops *ops)
{
	int rc = hash_key_make(&fs->key);

	if (rc < 0)
		return rc;
	fs->ops = ops;
	pthread_rwlock_init(&fs->tree, NULL);
	pthread_mutex_init(&fs->nodes_lock, NULL);
	list_init(&fs->nodes);
	list_init(&fs->link);
	p9_qids_init(&fs->qids);
	return 0;
}

void p9_fs_fini(struct p9_fs *fs)
{
	p9_qids_fini(&fs->qids);
	pthread_rwlock_destroy(&fs->tree);
	pthread_mutex_destroy(&fs->nodes_lock);
	free(fs->throttle);
	free(fs->id);
}

int p9_file_take(struct p9_fs *fs)
{
	if (atomic_fetch_sub(fs->files, 1) > 0)
		return 0;
	atomic_fetch_add(fs->files, 1);
	return -ENFILE;
}

void p9_file_give(struct p9_fs *fs)
{
	atomic_fetch_add(fs->files, 1);
}

int p9_node_init(struct p9_node *n, struct p9_fs *fs, struct p9_node *parent, const char *name,
		 const struct stat *st)
{
	n->name = NULL;
	if (name && !(n->name = strdup(name)))
		return -ENOMEM;
	n->fs = fs;
	n->parent = parent ? p9_node_get(parent) : NULL;
	n->dev = st->st_dev;
	n->ino = st->st_ino;
	n->type = st->st_mode & S_IFMT;
	atomic_init(&n->refs, 1);
	pthread_mutex_lock(&fs->nodes_lock);
	list_add_tail(&fs->nodes, &n->link);
	pthread_mutex_unlock(&fs->nodes_lock);
	return 0;
}

struct p9_node *p9_node_get(struct p9_node *n)
{
	atomic_fetch_add(&n->refs, 1);
	return n;
}

struct p9_node *p9_node_parent(struct p9_node *n)
{
	struct p9_node *parent;

	pthread_mutex_lock(&n->fs->nodes_lock);
	parent = n->parent ? p9_node_get(n->parent) : NULL;
	pthread_mutex_unlock(&n->fs->nodes_lock);
	return parent;
}

void p9_node_put(struct p9_node *n)
{
	/* Not recursive: a path may be long. */
	while (n && atomic_fetch_sub(&n->refs, 1) == 1) {
		struct p9_node *parent;

		pthread_mutex_lock(&n->fs->nodes_lock);
		list_del(&n->link);
		parent = n->parent;
		pthread_mutex_unlock(&n->fs->nodes_lock);
		free(n->name);
		n->fs->ops->forget(n);
		n = parent;
	}
}

static bool same(const struct p9_node *a, const struct p9_node *b)
{
	return a && a->dev == b->dev && a->ino == b->ino;
}

static bool is_at(const struct p9_node *n, const struct p9_node *dir, const char *name)
{
	return n->name && same(n->parent, dir) && !strcmp(n->name, name);
}

static void lose_name(struct p9_node *n)
{
	free(n->name);
	n->name = NULL;
}

/* Not one whose last reference is just going. */
static bool get_unless_gone(struct p9_node *n)
{
	unsigned refs = atomic_load(&n->refs);

	while (refs && !atomic_compare_exchange_weak(&n->refs, &refs, refs + 1)) {}
	return refs;
}

void p9_tree_renamed(struct p9_node *from, const char *name, struct p9_node *to,
		     const char *name_to)
{
	struct p9_node *moved = NULL;
	struct p9_fs *fs = from->fs;

	pthread_mutex_lock(&fs->nodes_lock);
	list_for_each (it, &fs->nodes) {
		struct p9_node *n = list_entry(it, struct p9_node, link);

		if (is_at(n, to, name_to)) {
			lose_name(n);
		} else if (is_at(n, from, name) && get_unless_gone(n)) {
			free(n->name);
			n->name = strdup(name_to); /* without memory: nameless */
			n->old_parent = n->parent;
			n->parent = p9_node_get(to);
			n->next_moved = moved;
			moved = n;
		}
	}
	pthread_mutex_unlock(&fs->nodes_lock);
	/* The tree still is ours, and so are these two pointers. */
	while (moved) {
		struct p9_node *n = moved;

		moved = n->next_moved;
		p9_node_put(n->old_parent);
		p9_node_put(n);
	}
}

void p9_tree_removed(struct p9_node *dir, const char *name)
{
	struct p9_fs *fs = dir->fs;

	pthread_mutex_lock(&fs->nodes_lock);
	list_for_each (it, &fs->nodes) {
		struct p9_node *n = list_entry(it, struct p9_node, link);

		if (is_at(n, dir, name))
			lose_name(n);
	}
	pthread_mutex_unlock(&fs->nodes_lock);
}
