/* SPDX-License-Identifier: MIT */
/* tree.c - nodes, and what is known of their places; see fs.h
 *
 * Each node that has a name is in one table, by its directory and name. A file has a node for each
 * time that the guest has walked to it. A rename or removal by the guest finds those of the old
 * name there, with the tree locked for writing, and corrects them. What the host changes is not
 * seen; so a name is used only together with a check that it still is the same file.
 */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "p9/fs/fs.h"

int p9_fs_init(struct p9_fs *fs, const struct p9_fs_ops *ops)
{
	int rc = hash_key_make(&fs->key);

	if (rc == 0)
		rc = hash_table_init(&fs->places);
	if (rc < 0)
		return rc;
	fs->ops = ops;
	pthread_rwlock_init(&fs->tree, NULL);
	pthread_mutex_init(&fs->nodes_lock, NULL);
	list_init(&fs->link);
	p9_qids_init(&fs->qids);
	return 0;
}

void p9_fs_fini(struct p9_fs *fs)
{
	p9_qids_fini(&fs->qids);
	hash_table_fini(&fs->places);
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

/* The hash of `name` in the directory with these numbers. */
static uint64_t hash_place(const struct p9_node *dir, const char *name)
{
	struct {
		uint64_t dev, ino;
		char name[NAME_MAX + 1];
	} place;
	size_t len = strnlen(name, sizeof(place.name));

	place.dev = dir->dev;
	place.ino = dir->ino;
	memcpy(place.name, name, len);
	return hash_bytes(&dir->fs->key, &place, offsetof(__typeof__(place), name) + len);
}

/* Enter a node that has got a name. The caller holds nodes_lock. */
static void enter_place(struct p9_node *n)
{
	hash_table_add(&n->fs->places, &n->place, hash_place(n->parent, n->name));
}

int p9_node_init(struct p9_node *n, struct p9_fs *fs, struct p9_node *parent, const char *name,
		 const struct stat *st)
{
	n->name = NULL;
	n->place = (struct hash_entry){0};
	if (name && !(n->name = strdup(name)))
		return -ENOMEM;
	n->fs = fs;
	n->parent = parent ? p9_node_get(parent) : NULL;
	n->dev = st->st_dev;
	n->ino = st->st_ino;
	n->type = st->st_mode & S_IFMT;
	atomic_init(&n->refs, 1);
	if (n->name) {
		pthread_mutex_lock(&fs->nodes_lock);
		enter_place(n);
		pthread_mutex_unlock(&fs->nodes_lock);
	}
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
	/* A loop, no recursion: a path may have any number of directories. */
	while (n && atomic_fetch_sub(&n->refs, 1) == 1) {
		struct p9_node *parent;

		pthread_mutex_lock(&n->fs->nodes_lock);
		hash_table_del(&n->fs->places, &n->place);
		parent = n->parent;
		pthread_mutex_unlock(&n->fs->nodes_lock);
		free(n->name);
		n->fs->ops->forget(n);
		n = parent;
	}
}

static bool is_at(const struct p9_node *n, const struct p9_node *dir, const char *name)
{
	return n->parent->dev == dir->dev && n->parent->ino == dir->ino && !strcmp(n->name, name);
}

/* The first node from entry `place` on that is known as `name` of `dir`. */
static struct p9_node *match_place(struct hash_entry *place, const struct p9_node *dir,
				   const char *name)
{
	for (; place; place = hash_table_next(place)) {
		struct p9_node *n = container_of(place, struct p9_node, place);

		if (is_at(n, dir, name))
			return n;
	}
	return NULL;
}

static struct p9_node *find_place(const struct p9_node *dir, const char *name)
{
	return match_place(hash_table_first(&dir->fs->places, hash_place(dir, name)), dir, name);
}

static struct p9_node *find_next(const struct p9_node *n, const struct p9_node *dir,
				 const char *name)
{
	return match_place(hash_table_next(&n->place), dir, name);
}

bool p9_tree_knows(struct p9_node *dir, const char *name)
{
	bool known;

	pthread_mutex_lock(&dir->fs->nodes_lock);
	known = find_place(dir, name);
	pthread_mutex_unlock(&dir->fs->nodes_lock);
	return known;
}

void p9_tree_each(struct p9_node *dir, const char *name, void (*fn)(struct p9_node *n, void *arg),
		  void *arg)
{
	pthread_mutex_lock(&dir->fs->nodes_lock);
	for (struct p9_node *n = find_place(dir, name); n; n = find_next(n, dir, name))
		fn(n, arg);
	pthread_mutex_unlock(&dir->fs->nodes_lock);
}

/* The nodes known as `name` of `dir` lose their name. The caller holds nodes_lock. */
static void lose_names(struct p9_node *dir, const char *name)
{
	struct p9_node *n;

	while ((n = find_place(dir, name))) {
		hash_table_del(&dir->fs->places, &n->place);
		free(n->name);
		n->name = NULL;
	}
}

/* Get a reference, unless the last one was dropped: then another thread is about to free the node.
 */
static bool get_unless_gone(struct p9_node *n)
{
	unsigned refs = atomic_load(&n->refs);

	while (refs && !atomic_compare_exchange_weak(&n->refs, &refs, refs + 1)) {}
	return refs;
}

void p9_tree_renamed(struct p9_node *from, const char *name, struct p9_node *to,
		     const char *name_to)
{
	struct p9_node *moved = NULL, *next;
	struct p9_fs *fs = from->fs;

	pthread_mutex_lock(&fs->nodes_lock);
	lose_names(to, name_to);
	for (struct p9_node *n = find_place(from, name); n; n = next) {
		next = find_next(n, from, name);
		hash_table_del(&fs->places, &n->place);
		if (!get_unless_gone(n))
			continue;
		n->next_moved = moved;
		moved = n;
	}
	for (struct p9_node *n = moved; n; n = n->next_moved) {
		free(n->name);
		n->name = strdup(name_to); /* without memory the node loses its name */
		n->old_parent = n->parent;
		n->parent = p9_node_get(to);
		if (n->name)
			enter_place(n);
	}
	pthread_mutex_unlock(&fs->nodes_lock);
	/* The tree still is locked, so nobody else uses next_moved and old_parent. */
	while (moved) {
		struct p9_node *n = moved;

		moved = n->next_moved;
		p9_node_put(n->old_parent);
		p9_node_put(n);
	}
}

void p9_tree_removed(struct p9_node *dir, const char *name)
{
	pthread_mutex_lock(&dir->fs->nodes_lock);
	lose_names(dir, name);
	pthread_mutex_unlock(&dir->fs->nodes_lock);
}
