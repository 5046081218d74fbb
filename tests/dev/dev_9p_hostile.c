/* SPDX-License-Identifier: MIT */
/* dev_9p_hostile.c - virtio-9p and a guest (or a host's user) that means harm
 *
 * Messages that lie, exhaustion, and every way out of the export that we know of. Each case ends
 * with a reset and an ordinary request.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "share.h"

#define PLAIN ",security_model=passthrough"

/* Send what was prepared; 0, errno, -1 for nonsense. */
static int send_it(struct g9p_req *r)
{
	g9p_queue(r, NULL, 0, 0);
	g9p_kick(r->p);
	return g9p_wait(r);
}

static int set_attr(struct g9p *p, uint32_t fid, unsigned valid, uint64_t value)
{
	return g9p_do(p, G9P_SETATTR, "dddddqqqqq", fid, valid, (unsigned)value, (unsigned)value,
		      (unsigned)value, value, value, value, value, value);
}

/* --- messages --- */

static void sizes(void **state)
{
	static const uint32_t lies[] = {0, 6, 12, 0x7fffffff, 0xffffffff};
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_req *r;
	struct g9p_attr a;

	share_start(&s, state, PLAIN);
	tb_skip_qemu("it takes most of them for something else");
	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		r = g9p_prepare(p, G9P_GETATTR, "dq", ROOT, 0ULL);
		put_le32(r->out, lies[i]);
		assert_int_equal(send_it(r), EPROTO);
	}
	/* Every message that there is and that there is not, cut after every byte. */
	for (unsigned type = 0; type < 256; type++)
		for (unsigned len = 7; len < 40; len += 3) {
			if (type == G9P_VERSION || type == G9P_FLUSH)
				continue;
			r = g9p_prepare(p, type, "dddddddd", 77, 77, 0, 0, 0, 0, 0, 0);
			r->len = len;
			put_le32(r->out, len);
			assert_int_not_equal(send_it(r), 0);
		}
	assert_int_equal(g9p_getattr(p, ROOT, &a), 0);
	/* More than was agreed on. */
	assert_int_equal(g9p_version(p, 4096), 0);
	r = g9p_prepare(p, G9P_CLUNK, "d", 1);
	put_le32(r->out, r->len = 4097);
	assert_int_equal(send_it(r), EMSGSIZE);
	share_again(&s);
	tb_stop(s.t);
}

static void strings(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_req *r;
	char name[4200];

	share_start(&s, state, PLAIN);
	tb_skip_qemu("other errors");
	memset(name, 'n', 255);
	name[255] = '\0';
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, name, 0755, 0), 0);
	strcpy(name + 255, "n");
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, name, 0755, 0), ENAMETOOLONG);
	assert_int_equal(g9p_walk(p, ROOT, 1, name), ENAMETOOLONG);
	/* A length of 65535 that is not there, and one that is there in part. */
	r = g9p_prepare(p, G9P_MKDIR, "dsdd", ROOT, "x", 0755, 0);
	put_le16(r->out + 11, 65535);
	assert_int_equal(send_it(r), EPROTO);
	r = g9p_prepare(p, G9P_MKDIR, "dsdd", ROOT, "x", 0755, 0);
	put_le16(r->out + 11, 10);
	assert_int_equal(send_it(r), EPROTO);
	r = g9p_prepare(p, G9P_MKDIR, "dsdd", ROOT, "a?b", 0755, 0);
	r->out[14] = '\0';
	assert_int_equal(send_it(r), EINVAL);
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "", 0755, 0), ENOENT);
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "a/b", 0755, 0), ENOENT);
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "../x", 0755, 0), ENOENT);
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, ".", 0755, 0), EEXIST);
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "..", 0755, 0), EEXIST);
	assert_int_equal(g9p_do(p, G9P_MKNOD, "dsdddd", ROOT, "/x", S_IFREG, 0, 0, 0), ENOENT);
	assert_int_equal(g9p_do(p, G9P_MKNOD, "dsdddd", ROOT, "x", S_IFLNK, 0, 0, 0), EINVAL);
	assert_int_equal(g9p_do(p, G9P_MKNOD, "dsdddd", ROOT, "x", S_IFDIR, 0, 0, 0), EINVAL);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "..", 0x200), ENOTEMPTY);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, ".", 0x200), EINVAL);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "../outside", 0), ENOENT);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "x", ~0u), EINVAL);
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "..", ROOT, "x"), EBUSY);
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "x", ROOT, "../x"), ENOENT);
	assert_int_equal(g9p_do(p, G9P_REMOVE, "d", ROOT), EBUSY);
	g9p_mount(p, ROOT);
	assert_int_equal(g9p_do(p, G9P_RENAME, "dds", ROOT, ROOT, "x"), EBUSY);
	assert_int_equal(g9p_do(p, G9P_SYMLINK, "dssd", ROOT, "l", "", 0), ENOENT);
	memset(name, 't', sizeof(name));
	name[4095] = '\0';
	assert_int_equal(g9p_do(p, G9P_SYMLINK, "dssd", ROOT, "l", name, 0), 0);
	name[4095] = 't';
	name[4096] = '\0';
	assert_int_equal(g9p_do(p, G9P_SYMLINK, "dssd", ROOT, "l2", name, 0), ENAMETOOLONG);
	/* Seventeen names, all of them good. */
	r = g9p_prepare(p, G9P_WALK, "ddwsssssssssssssssss", ROOT, 1, 17, ".", ".", ".", ".", ".",
			".", ".", ".", ".", ".", ".", ".", ".", ".", ".", ".", ".");
	assert_int_equal(send_it(r), EINVAL);
	/* A string that goes on behind what is copied of a message. */
	r = g9p_prepare(p, G9P_MKDIR, "ds", ROOT, "x");
	put_le16(r->out + 11, 60000);
	put_le32(r->out, 100000);
	{
		struct gseg more = {p->data_at, 100000 - r->len};

		g9p_queue(r, &more, 1, 0);
		g9p_kick(p);
		assert_int_equal(g9p_wait(r), ENAMETOOLONG);
	}
	share_again(&s);
	tb_stop(s.t);
}

static void fids_and_counts(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_req *r;
	uint32_t n;

	share_start(&s, state, PLAIN);
	tb_skip_qemu("other errors");
	share_put(&s, "f", "abc");
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), EINVAL);
	assert_int_equal(g9p_walk(p, ROOT, 2, ""), 0);
	n = 10;
	assert_int_equal(g9p_read(p, 1, 0, &n), EBADF); /* not open */
	assert_int_equal(g9p_lopen(p, 2, O9_RDWR), EISDIR);
	assert_int_equal(g9p_lopen(p, 2, 3), EINVAL);
	assert_int_equal(g9p_lopen(p, 2, O9_RDONLY), 0);
	n = 10;
	assert_int_equal(g9p_read(p, 2, 0, &n), EISDIR);
	assert_int_equal(g9p_lopen(p, 1, O9_RDWR), 0);
	assert_int_equal(g9p_do(p, G9P_READDIR, "dqd", 1, 0ULL, 4000), EBADF);
	/* Offsets and counts without measure. */
	r = g9p_prepare(p, G9P_READ, "dqd", 1, 1ULL, ~0u);
	assert_int_equal(send_it(r), 0);
	assert_int_equal(get_le32(r->in + 7), 2);
	assert_int_equal(g9p_do(p, G9P_READ, "dqd", 1, ~0ULL, ~0u), EINVAL);
	assert_int_equal(g9p_do(p, G9P_READ, "dqd", 1, (uint64_t)INT64_MAX, 10), EINVAL);
	assert_int_equal(g9p_do(p, G9P_WRITE, "dqd", 1, 0ULL, 1000), EPROTO);
	assert_int_equal(g9p_do(p, G9P_WRITE, "dqd", 1, 0ULL, ~0u), EPROTO);
	n = 10;
	assert_int_equal(g9p_write(p, 1, ~0ULL, &n), EFBIG);
	assert_int_equal(set_attr(p, 1, 0x8, ~0ULL), EFBIG);
	assert_int_equal(set_attr(p, 1, 0x10 | 0x80, ~0ULL), EINVAL); /* nanoseconds */
	assert_int_equal(g9p_do(p, G9P_READDIR, "dqd", 2, ~0ULL, 4000), EINVAL);
	g9p_do(p, G9P_READDIR, "dqd", 2, 0x123456789abcULL, ~0u);
	assert_int_equal(g9p_do(p, G9P_LOCK, "dbdqqds", 1, 9, 0, 0ULL, 0ULL, 0, ""), EINVAL);
	assert_int_equal(g9p_do(p, G9P_XATTRCREATE, "dsqd", 2, "user.x", 1ULL, 0), EINVAL);
	assert_int_equal(g9p_do(p, G9P_XATTRWALK, "dds", 1, 2, ""), EINVAL);
	assert_int_equal(share_stat(&s, "f").st_size, 3);
	share_again(&s);
	tb_stop(s.t);
}

/* A tag that is in use, twice; and no tag at all before a version. */
static void tags(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_req *a, *b;

	share_synth(&s, state);
	assert_int_equal(g9p_walk(p, ROOT, 1, "SLOW"), 0);
	assert_int_equal(g9p_lopen(p, 1, O9_RDONLY), 0);
	a = g9p_prepare(p, G9P_READ, "dqd", 1, 300ULL, 8);
	g9p_queue(a, NULL, 0, 0);
	b = g9p_prepare(p, G9P_CLUNK, "d", 1);
	put_le16(b->out + 5, a->tag);
	g9p_queue(b, NULL, 0, 0);
	g9p_kick(p);
	assert_int_equal(g9p_wait(b), EINVAL);
	assert_int_equal(g9p_wait(a), 0);
	assert_int_equal(g9p_clunk(p, 1), 0);
	gv_reset(&p->v);
	g9p_restart(p);
	assert_int_equal(g9p_do(p, G9P_ATTACH, "ddssd", ROOT, ~0u, "", "", 0), EPROTO);
	assert_int_equal(g9p_clunk(p, ROOT), EPROTO);
	share_again(&s);
	tb_stop(s.t);
}

/* Without a header, and without room for the answer: there is no way to say so. */
static void no_answer(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_req *r;

	share_start(&s, state, PLAIN);
	tb_skip_qemu("it takes less room for enough");
	for (unsigned i = 0; i < 4; i++) {
		r = g9p_prepare(p, G9P_GETATTR, "dq", ROOT, 0ULL);
		if (i == 0)
			r->room = 10;
		else if (i == 1)
			r->room = 0;
		else if (i == 2)
			r->len = 6;
		else
			r->len = 0;
		g9p_queue(r, NULL, 0, 0);
		g9p_kick(p);
		assert_true(gv_wait_broken(&p->v));
		share_again(&s);
	}
	/* Room for an error only: then it is one, and nothing is done. */
	r = g9p_prepare(p, G9P_MKDIR, "dsdd", ROOT, "d", 0755, 0);
	r->room = 19;
	assert_int_equal(send_it(r), EMSGSIZE);
	assert_int_equal(access(share_file(&s, "d"), F_OK), -1);
	r = g9p_prepare(p, G9P_GETATTR, "dq", ROOT, 0ULL);
	r->room = 11;
	assert_int_equal(send_it(r), EMSGSIZE);
	r = g9p_prepare(p, G9P_WALK, "ddws", ROOT, 1, 1, ".");
	r->room = 15;
	assert_int_equal(send_it(r), EMSGSIZE);
	share_again(&s);
	tb_stop(s.t);
}

/* --- exhaustion --- */

/* `n` walks to new fids from `first` on, a ring's worth at a time; how many succeeded. */
static unsigned walk_many(struct g9p *p, uint32_t first, unsigned n, int *error)
{
	unsigned good = 0;

	for (unsigned done = 0; done < n;) {
		struct g9p_req *r[64];
		unsigned batch = MIN(n - done, 64u);

		for (unsigned i = 0; i < batch; i++) {
			r[i] = g9p_prepare(p, G9P_WALK, "ddw", ROOT, first + done + i, 0);
			g9p_queue(r[i], NULL, 0, 0);
		}
		g9p_kick(p);
		for (unsigned i = 0; i < batch; i++) {
			int rc = g9p_wait(r[i]);

			good += !rc;
			if (rc)
				*error = rc;
		}
		done += batch;
	}
	return good;
}

static void many_fids(void **state)
{
	struct share s;
	int error = 0;

	share_start(&s, state, PLAIN);
	tb_skip_qemu("it has no limit");
	assert_int_equal(walk_many(&s.p, 1, 70000, &error), 65535);
	assert_int_equal(error, ENFILE);
	assert_int_equal(g9p_clunk(&s.p, 4711), 0);
	assert_int_equal(g9p_walk(&s.p, ROOT, 4711, ""), 0);
	/* A new session has room again. */
	share_again(&s);
	assert_int_equal(walk_many(&s.p, 1, 1000, &error), 1000);
	tb_stop(s.t);
}

static void much_xattr(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	unsigned n = 0;
	int rc = 0;

	share_start(&s, state, PLAIN);
	tb_skip_qemu("it has no limit");
	share_create(&s, "f", "");
	while (!rc) {
		assert_int_equal(g9p_walk(p, ROOT, 1 + n, "f"), 0);
		rc = g9p_do(p, G9P_XATTRCREATE, "dsqd", 1 + n, "user.x", (uint64_t)65536, 0);
		n += !rc;
		assert_true(n < 1000);
	}
	assert_int_equal(rc, ENOSPC);
	assert_int_equal(n, 64);
	/* Room comes back with a fid. */
	assert_int_equal(g9p_clunk(p, 1), EINVAL); /* nothing was written */
	assert_int_equal(g9p_do(p, G9P_XATTRCREATE, "dsqd", 1 + n, "user.x", (uint64_t)65536, 0),
			 0);
	share_again(&s);
	tb_stop(s.t);
}

/* --- ways out --- */

/* Nothing of the outside may be had by walking `path` from the root, whatever it ends at. */
static void no_way(struct share *s, const char *path)
{
	struct g9p *p = &s->p;
	struct stat st;
	struct g9p_attr a;
	uint32_t n = 100;

	assert_int_equal(stat(s->outside, &st), 0);
	if (g9p_walk(p, ROOT, 60, path))
		return;
	assert_int_equal(g9p_getattr(p, 60, &a), 0);
	assert_int_not_equal(a.ino, st.st_ino);
	if (!g9p_lopen(p, 60, O9_RDWR) && !g9p_read(p, 60, 0, &n))
		assert_int_not_equal(n, 6);
	g9p_clunk(p, 60);
}

static void links_and_dots(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_attr a;

	share_start(&s, state, PLAIN);
	assert_int_equal(g9p_do(p, G9P_SYMLINK, "dssd", ROOT, "abs", s.outside, 0), 0);
	assert_int_equal(g9p_do(p, G9P_SYMLINK, "dssd", ROOT, "rel", "../outside", 0), 0);
	assert_int_equal(g9p_do(p, G9P_SYMLINK, "dssd", ROOT, "up", "..", 0), 0);
	assert_int_equal(g9p_do(p, G9P_SYMLINK, "dssd", ROOT, "root", "/", 0), 0);
	assert_int_equal(g9p_do(p, G9P_SYMLINK, "dssd", ROOT, "proc", "/proc/self/cwd", 0), 0);
	no_way(&s, "abs");
	no_way(&s, "rel");
	no_way(&s, "up/outside");
	no_way(&s, "../outside");
	no_way(&s, "../../../../../../..");
	no_way(&s, "root/etc/passwd");
	/* Through a link nothing is opened, made, changed, linked, removed. */
	assert_int_equal(g9p_walk(p, ROOT, 1, "abs"), 0);
	assert_int_equal(g9p_getattr(p, 1, &a), 0);
	assert_int_equal(a.mode & S_IFMT, S_IFLNK);
	assert_int_not_equal(g9p_lopen(p, 1, O9_RDONLY), 0);
	assert_int_not_equal(set_attr(p, 1, 0x8, 0), 0);
	assert_int_not_equal(set_attr(p, 1, 0x1, 0777), 0);
	set_attr(p, 1, 0x2 | 0x4, 4242);
	set_attr(p, 1, 0x20 | 0x100, 77);
	assert_int_not_equal(g9p_do(p, G9P_XATTRWALK, "dds", 1, 70, "user.a"), 0);
	assert_int_equal(g9p_do(p, G9P_XATTRCREATE, "dsqd", 1, "user.a", 1ULL, 0), 0);
	g9p_clunk(p, 1);
	assert_int_equal(g9p_walk(p, ROOT, 1, "up"), 0);
	assert_int_not_equal(g9p_walk(p, 1, 2, "outside"), 0);
	assert_int_not_equal(g9p_lcreate(p, 1, "new", O9_RDWR, 0644), 0);
	assert_int_not_equal(g9p_do(p, G9P_MKDIR, "dsdd", 1, "new", 0755, 0), 0);
	assert_int_not_equal(g9p_do(p, G9P_UNLINKAT, "dsd", 1, "outside", 0), 0);
	assert_int_not_equal(g9p_do(p, G9P_RENAMEAT, "dsds", 1, "outside", ROOT, "mine"), 0);
	assert_int_not_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "abs", 1, "mine"), 0);
	/* A file is made under the name of a link, without O_EXCL. */
	assert_int_equal(g9p_walk(p, ROOT, 3, ""), 0);
	assert_int_not_equal(g9p_lcreate(p, 3, "abs", O9_RDWR | O9_TRUNC, 0644), 0);
	{
		struct stat st;

		assert_int_equal(stat(s.outside, &st), 0);
		assert_int_equal(st.st_size, 6);
		assert_int_equal(st.st_uid, getuid());
		assert_int_not_equal(st.st_mtime, 77);
	}
	/* A hard link to a link is one to the link. */
	assert_int_equal(g9p_walk(p, ROOT, 4, "abs"), 0);
	assert_int_equal(g9p_do(p, G9P_LINK, "dds", ROOT, 4, "hard"), 0);
	assert_int_equal(share_stat(&s, "hard").st_mode & S_IFMT, S_IFLNK);
	share_again(&s);
	tb_stop(s.t);
}

static void special_files(void **state)
{
	static const char *const names[] = {"fifo", "null", "sock"};
	struct share s;
	struct g9p *p = &s.p;

	share_start(&s, state, PLAIN);
	tb_skip_qemu("7.2 opens them");
	assert_int_equal(g9p_do(p, G9P_MKNOD, "dsdddd", ROOT, "fifo", S_IFIFO | 0666, 0, 0, 0), 0);
	assert_int_equal(g9p_do(p, G9P_MKNOD, "dsdddd", ROOT, "sock", S_IFSOCK | 0666, 0, 0, 0), 0);
	assert_int_equal(g9p_do(p, G9P_MKNOD, "dsdddd", ROOT, "null", S_IFCHR | 0666, 1, 3, 0), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		for (unsigned flags = 0; flags < 3; flags++) {
			assert_int_equal(g9p_walk(p, ROOT, 1, names[i]), 0);
			assert_int_equal(g9p_lopen(p, 1, flags), ENXIO);
			assert_int_not_equal(set_attr(p, 1, 0x8, 0), 0);
			assert_int_equal(g9p_clunk(p, 1), 0);
			assert_int_equal(g9p_walk(p, ROOT, 1, ""), 0);
			assert_int_equal(g9p_lcreate(p, 1, names[i], flags, 0644), ENXIO);
			assert_int_equal(g9p_clunk(p, 1), 0);
		}
	share_again(&s);
	tb_stop(s.t);
}

/* The host moves a directory out while the guest is in it: it keeps that one, and gets no further.
 */
static void moved_out(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_attr a;
	char elsewhere[64];

	share_start(&s, state, PLAIN);
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", s.t->dir);
	assert_int_equal(mkdir(share_file(&s, "d"), 0755), 0);
	assert_int_equal(mkdir(share_file(&s, "d/e"), 0755), 0);
	assert_int_equal(g9p_walk(p, ROOT, 1, "d/e"), 0);
	assert_int_equal(rename(share_file(&s, "d"), elsewhere), 0);
	tb_skip_qemu("it works with names");
	assert_int_not_equal(g9p_walk(p, 1, 2, "../../../outside"), 0);
	assert_int_not_equal(g9p_walk(p, 1, 3, "../../outside"), 0);
	/* ".." is where it came from, and then the export. */
	assert_int_equal(g9p_walk(p, 1, 4, "../.."), 0);
	assert_int_equal(g9p_getattr(p, 4, &a), 0);
	assert_int_equal(a.ino, share_stat(&s, ".").st_ino);
	/* By fid, a name that is not there any more is not touched. */
	assert_int_equal(mkdir(share_file(&s, "d"), 0755), 0);
	assert_int_equal(g9p_walk(p, 1, 5, ".."), 0);
	assert_int_equal(g9p_do(p, G9P_RENAME, "dds", 5, ROOT, "x"), ENOENT);
	assert_int_equal(access(share_file(&s, "x"), F_OK), -1);
	assert_int_not_equal(g9p_do(p, G9P_REMOVE, "d", 5), 0);
	assert_int_equal(access(share_file(&s, "d"), F_OK), 0);
	share_again(&s);
	tb_stop(s.t);
}

/* --- races --- */

struct swapper {
	char a[512], b[512];
	atomic_bool stop;
	pthread_t thread;
};

/* Exchange two names as fast as it goes. */
static void *swap(void *arg)
{
	struct swapper *w = arg;

	while (!atomic_load(&w->stop))
		renameat2(AT_FDCWD, w->a, AT_FDCWD, w->b, RENAME_EXCHANGE);
	return NULL;
}

static void swap_begin(struct swapper *w, const char *a, const char *b)
{
	snprintf(w->a, sizeof(w->a), "%s", a);
	snprintf(w->b, sizeof(w->b), "%s", b);
	atomic_init(&w->stop, false);
	assert_int_equal(pthread_create(&w->thread, NULL, swap, w), 0);
}

static void swap_end(struct swapper *w)
{
	atomic_store(&w->stop, true);
	pthread_join(w->thread, NULL);
}

/* Everything that takes a name, on `dir`/file and file, while they are exchanged with links. */
static void storm(struct share *s, unsigned rounds)
{
	struct g9p *p = &s->p;

	for (unsigned i = 0; i < rounds; i++) {
		uint32_t n = 64;

		if (!g9p_walk(p, ROOT, 1, "dir/outside")) {
			struct g9p_attr a;

			assert_int_equal(g9p_getattr(p, 1, &a), 0);
			assert_int_not_equal(a.size, 6); /* inside it has 2 bytes */
			if (!g9p_lopen(p, 1, O9_RDWR | (i % 3 ? 0 : O9_TRUNC)) &&
			    !g9p_read(p, 1, 0, &n))
				assert_int_not_equal(n, 6);
			g9p_clunk(p, 1);
		}
		if (!g9p_walk(p, ROOT, 2, "dir")) {
			g9p_do(p, G9P_MKDIR, "dsdd", 2, "made", 0755, 0);
			g9p_do(p, G9P_UNLINKAT, "dsd", 2, "made", 0x200);
			g9p_do(p, G9P_SYMLINK, "dssd", 2, "made-link", "x", 0);
			g9p_do(p, G9P_UNLINKAT, "dsd", 2, "made-link", 0);
			if (!g9p_lcreate(p, 2, "made-file", O9_RDWR | O9_TRUNC, 0644)) {
				n = 4;
				g9p_write(p, 2, 0, &n);
			}
			g9p_clunk(p, 2);
		}
		/* The last component is what is exchanged. */
		if (!g9p_walk(p, ROOT, 3, "file")) {
			set_attr(p, 3, 0x1, 0600 + i % 8);
			set_attr(p, 3, 0x2, 1000 + i % 8);
			set_attr(p, 3, 0x20 | 0x100, 1000 + i % 8);
			set_attr(p, 3, 0x8, i % 4);
			if (!g9p_lopen(p, 3, O9_RDWR)) {
				n = 64;
				assert_int_equal(g9p_read(p, 3, 0, &n), 0);
				assert_int_not_equal(n, 6);
				n = 3;
				g9p_write(p, 3, 0, &n);
			}
			g9p_clunk(p, 3);
		}
		if (!g9p_walk(p, ROOT, 4, "")) {
			if (!g9p_lcreate(p, 4, "file", O9_WRONLY | O9_TRUNC, 0644)) {
				n = 3;
				g9p_write(p, 4, 0, &n);
			}
			g9p_clunk(p, 4);
		}
	}
}

static void races(void **state)
{
	struct share s;
	struct swapper dir, file;
	struct stat before, after;
	char beside[64], name[80];
	unsigned entries = 0;
	DIR *d;

	tb_skip_qemu("by name it is now one file, now the other");
	share_start(&s, state, PLAIN);
	/* Beside the export: a directory like the one inside, and a link to it inside. */
	snprintf(beside, sizeof(beside), "%s/elsewhere", s.t->dir);
	assert_int_equal(mkdir(beside, 0755), 0);
	snprintf(name, sizeof(name), "%s/outside", beside);
	assert_int_equal(link(s.outside, name), 0);
	assert_int_equal(stat(s.outside, &before), 0);
	assert_int_equal(mkdir(share_file(&s, "dir"), 0755), 0);
	share_put(&s, "dir/outside", "in");
	assert_int_equal(symlink(beside, share_file(&s, "dir-link")), 0);
	share_put(&s, "file", "in");
	assert_int_equal(symlink(s.outside, share_file(&s, "file-link")), 0);
	swap_begin(&dir, share_file(&s, "dir"), share_file(&s, "dir-link"));
	swap_begin(&file, share_file(&s, "file"), share_file(&s, "file-link"));
	storm(&s, 1500);
	swap_end(&dir);
	swap_end(&file);
	/* Nothing of it has changed, and nothing has come. */
	assert_int_equal(stat(s.outside, &after), 0);
	assert_int_equal(after.st_size, 6);
	assert_int_equal(after.st_mode, before.st_mode);
	assert_int_equal(after.st_uid, before.st_uid);
	assert_int_equal(after.st_mtime, before.st_mtime);
	assert_int_equal(after.st_nlink, before.st_nlink);
	d = opendir(beside);
	while (readdir(d))
		entries++;
	closedir(d);
	assert_int_equal(entries, 3);
	share_again(&s);
	tb_stop(s.t);
}

/* The guest renames a directory to and fro with requests in it, many at a time. */
static void renames(void **state)
{
	struct share s;
	struct g9p *p = &s.p;

	share_start(&s, state, ",security_model=mapped-file");
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "a", 0755, 0), 0);
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "b", 0755, 0), 0);
	assert_int_equal(g9p_walk(p, ROOT, 1, "a"), 0);
	assert_int_equal(g9p_walk(p, ROOT, 2, "b"), 0);
	for (unsigned i = 0; i < 100; i++) {
		struct g9p_req *r[12];
		unsigned n = 0;

		r[n++] = g9p_prepare(p, G9P_MKDIR, "dsdd", 1, "d", 0755, 0);
		r[n++] = g9p_prepare(p, G9P_RENAMEAT, "dsds", 1, "d", 2, "e");
		r[n++] = g9p_prepare(p, G9P_WALK, "ddws", 2, 100, 1, "e");
		r[n++] = g9p_prepare(p, G9P_RENAME, "dds", 100, 1, "f");
		r[n++] = g9p_prepare(p, G9P_GETATTR, "dq", 100, 0ULL);
		r[n++] = g9p_prepare(p, G9P_WALK, "ddws", 100, 101, 1, "..");
		r[n++] = g9p_prepare(p, G9P_RENAMEAT, "dsds", 1, "f", 2, "e");
		r[n++] = g9p_prepare(p, G9P_REMOVE, "d", 100);
		r[n++] = g9p_prepare(p, G9P_CLUNK, "d", 101);
		r[n++] = g9p_prepare(p, G9P_UNLINKAT, "dsd", 2, "e", 0x200);
		r[n++] = g9p_prepare(p, G9P_SETATTR, "dddddqqqqq", 100, 2, 0, i, 0, 0ULL, 0ULL,
				     0ULL, 0ULL, 0ULL);
		for (unsigned j = 0; j < n; j++)
			g9p_queue(r[j], NULL, 0, 0);
		g9p_kick(p);
		for (unsigned j = 0; j < n; j++)
			assert_int_not_equal(g9p_wait(r[j]), -1);
	}
	share_again(&s);
	tb_stop(s.t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		share_test(sizes),	share_test(strings),	    share_test(fids_and_counts),
		share_test(tags),	share_test(no_answer),	    share_test(many_fids),
		share_test(much_xattr), share_test(links_and_dots), share_test(special_files),
		share_test(moved_out),	share_test(races),	    share_test(renames),
	};

	return tb_run("9p-hostile", tests);
}
