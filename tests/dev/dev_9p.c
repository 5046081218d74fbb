/* SPDX-License-Identifier: MIT */
/* dev_9p.c - virtio-9p as a well-behaved driver sees it: every message, every security model */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "share.h"

#define PLAIN ",security_model=passthrough"

static void device(void **state)
{
	struct share s;
	char tag[6] = "";

	share_start(&s, state, PLAIN);
	assert_int_equal(gv_config(&s.p.v, 0, 2), 5);
	for (unsigned i = 0; i < 5; i++)
		tag[i] = (char)gv_config(&s.p.v, 2 + i, 1);
	assert_string_equal(tag, "share");
	assert_int_equal(gv_common(&s.p.v, GV_NUM_QUEUES, 2), 1);
	assert_true(s.p.v.offered & 1);
	assert_int_equal(s.p.q.size, 128);
	tb_stop(s.t);
}

static void virtfs(void **state)
{
	struct share s = {.t = *state};
	struct g9p_attr a;

	tb_skip_qemu("it puts the device where it likes");
	snprintf(s.path, sizeof(s.path), "%s/share", s.t->dir);
	assert_int_equal(mkdir(s.path, 0755), 0);
	tb_arg(s.t, "-virtfs");
	tb_arg(s.t, "local,path=%s,mount_tag=t,security_model=none", s.path);
	tb_start(s.t);
	g9p_open(&s.t->g, &s.p, 0);
	assert_int_equal(gv_config(&s.p.v, 2, 1), 't');
	g9p_mount(&s.p, ROOT);
	assert_int_equal(g9p_getattr(&s.p, ROOT, &a), 0);
	assert_int_equal(a.ino, share_stat(&s, ".").st_ino);
	tb_stop(s.t);
}

static void versions(void **state)
{
	struct share s;
	char text[4096];

	share_start(&s, state, PLAIN);
	assert_int_equal(g9p_version(&s.p, 8192), 0);
	assert_int_equal(s.p.msize, 8192);
	/* A new session: the old one's fids are gone. */
	assert_int_not_equal(g9p_clunk(&s.p, ROOT), 0);
	assert_int_equal(g9p_do(&s.p, G9P_VERSION, "ds", 8192, "9P3000"), 0);
	g9p_get(&s.p, 4);
	g9p_get_string(&s.p, text);
	assert_string_equal(text, "unknown");
	assert_int_not_equal(g9p_do(&s.p, G9P_ATTACH, "ddssd", 0, ~0u, "", "", 0), 0);
	assert_int_equal(g9p_version(&s.p, 100), EMSGSIZE);
	g9p_mount(&s.p, ROOT);
	assert_int_equal(g9p_do(&s.p, G9P_AUTH, "dssd", 7, "", "", 0), EOPNOTSUPP);
	assert_int_equal(g9p_do(&s.p, G9P_ATTACH, "ddssd", ROOT, ~0u, "", "", 0), EINVAL);
	tb_stop(s.t);
}

/* --- files --- */

static void data(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_attr a;
	uint32_t n;

	share_start(&s, state, PLAIN);
	assert_int_equal(g9p_walk(p, ROOT, 1, ""), 0);
	assert_int_equal(g9p_lcreate(p, 1, "f", O9_RDWR, 0640), 0);
	memcpy(p->data, "hello, world", 12);
	n = 12;
	assert_int_equal(g9p_write(p, 1, 100, &n), 0);
	assert_int_equal(n, 12);
	assert_int_equal(share_stat(&s, "f").st_size, 112);
	assert_int_equal(share_stat(&s, "f").st_mode, S_IFREG | 0640);
	n = 4096;
	assert_int_equal(g9p_read(p, 1, 98, &n), 0);
	assert_int_equal(n, 14);
	assert_memory_equal(p->data, "\0\0hello, world", 14);
	n = 10;
	assert_int_equal(g9p_read(p, 1, 112, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(g9p_do(p, G9P_FSYNC, "dd", 1, 0), 0);
	assert_int_equal(g9p_do(p, G9P_FSYNC, "dd", 1, 1), 0);
	assert_int_equal(g9p_getattr(p, 1, &a), 0);
	assert_int_equal(a.size, 112);
	assert_int_equal(a.ino, share_stat(&s, "f").st_ino);
	assert_int_equal(a.mode, S_IFREG | 0640);
	/* An open fid does not become another file. */
	assert_int_equal(g9p_lopen(p, 1, O9_RDONLY), EINVAL);
	assert_int_equal(g9p_walk(p, 1, 1, ""), EINVAL);
	assert_int_equal(g9p_clunk(p, 1), 0);
	/* Open again: for reading, appending, from scratch. */
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_lopen(p, 1, O9_RDONLY), 0);
	n = 1;
	assert_int_equal(g9p_write(p, 1, 0, &n), EBADF);
	assert_int_equal(g9p_clunk(p, 1), 0);
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_lopen(p, 1, O9_WRONLY | O9_APPEND), 0);
	n = 1;
	assert_int_equal(g9p_write(p, 1, 0, &n), 0);
	assert_int_equal(share_stat(&s, "f").st_size, 113);
	assert_int_equal(g9p_clunk(p, 1), 0);
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_lopen(p, 1, O9_RDWR | O9_TRUNC), 0);
	assert_int_equal(share_stat(&s, "f").st_size, 0);
	assert_int_equal(g9p_clunk(p, 1), 0);
	assert_int_equal(g9p_clunk(p, 1), EBADF);
	tb_stop(s.t);
}

static void attributes(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_attr a;
	struct stat st;

	share_start(&s, state, PLAIN);
	share_put(&s, "f", "0123456789");
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	/* valid mode uid gid size atime mtime */
	assert_int_equal(g9p_do(p, G9P_SETATTR, "dddddqqqqq", 1, 0x1 | 0x2 | 0x4 | 0x8, 04750, 1234,
				5678, 3ULL, 0ULL, 0ULL, 0ULL, 0ULL),
			 0);
	st = share_stat(&s, "f");
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(st.st_gid, 5678);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(st.st_mode & 0777, 0750);
	assert_int_equal(g9p_do(p, G9P_SETATTR, "dddddqqqqq", 1, 0x10 | 0x20 | 0x80 | 0x100, 0, 0,
				0, 0ULL, 1000ULL, 5ULL, 2000ULL, 7ULL),
			 0);
	st = share_stat(&s, "f");
	assert_int_equal(st.st_atime, 1000);
	assert_int_equal(st.st_mtime, 2000);
	assert_int_equal(st.st_mtim.tv_nsec, 7);
	assert_int_equal(g9p_getattr(p, 1, &a), 0);
	assert_int_equal(a.atime, 1000);
	assert_int_equal(a.mtime, 2000);
	/* One of them, and to now. */
	assert_int_equal(g9p_do(p, G9P_SETATTR, "dddddqqqqq", 1, 0x20, 0, 0, 0, 0ULL, 0ULL, 0ULL,
				0ULL, 0ULL),
			 0);
	st = share_stat(&s, "f");
	assert_int_equal(st.st_atime, 1000);
	assert_true(st.st_mtime > 1000000);
	assert_int_equal(g9p_do(p, G9P_STATFS, "d", 1), 0);
	g9p_get(p, 4);
	assert_in_range(g9p_get(p, 4), 512, 1 << 20);
	assert_true(g9p_get(p, 8) > 0);
	tb_stop(s.t);
}

static void big_messages(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	uint32_t n;
	uint8_t *copy = malloc(G9P_DATA);
	FILE *f;

	assert_non_null(copy);
	share_start(&s, state, PLAIN);
	assert_int_equal(g9p_version(p, 4 << 20), 0);
	tb_skip_qemu("its answer depends on its version");
	assert_int_equal(p->msize, 1 << 20);
	g9p_mount(p, ROOT);
	assert_int_equal(g9p_walk(p, ROOT, 1, ""), 0);
	assert_int_equal(g9p_lcreate(p, 1, "f", O9_RDWR, 0600), 0);
	tb_pattern(p->data, G9P_DATA, 1);
	memcpy(copy, p->data, G9P_DATA);
	n = G9P_DATA - 23;
	assert_int_equal(g9p_write(p, 1, 0, &n), 0);
	assert_int_equal(n, G9P_DATA - 23);
	n = G9P_DATA - 22;
	assert_int_equal(g9p_write(p, 1, 0, &n), EMSGSIZE);
	memset(p->data, 0, G9P_DATA);
	/* More than there is room for in a message: a part of it. */
	n = G9P_DATA;
	assert_int_equal(g9p_read(p, 1, 0, &n), 0);
	assert_int_equal(n, G9P_DATA - 23);
	assert_memory_equal(p->data, copy, n);
	f = fopen(share_file(&s, "f"), "r");
	memset(copy, 0, G9P_DATA);
	assert_int_equal(fread(copy, 1, G9P_DATA, f), G9P_DATA - 23);
	fclose(f);
	assert_memory_equal(p->data, copy, n);
	free(copy);
	tb_stop(s.t);
}

/* --- names --- */

static void names(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	char text[4096];
	struct stat st;

	share_start(&s, state, PLAIN);
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "d", 0751, 7), 0);
	st = share_stat(&s, "d");
	assert_int_equal(st.st_mode, S_IFDIR | 0751);
	assert_int_equal(st.st_gid, 7);
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "d", 0755, 0), EEXIST);
	assert_int_equal(g9p_do(p, G9P_MKNOD, "dsdddd", ROOT, "pipe", S_IFIFO | 0600, 0, 0, 0), 0);
	assert_int_equal(share_stat(&s, "pipe").st_mode, S_IFIFO | 0600);
	assert_int_equal(g9p_do(p, G9P_SYMLINK, "dssd", ROOT, "link", "/nowhere/at all", 0), 0);
	assert_int_equal(g9p_walk(p, ROOT, 1, "link"), 0);
	assert_int_equal(g9p_do(p, G9P_READLINK, "d", 1), 0);
	g9p_get_string(p, text);
	assert_string_equal(text, "/nowhere/at all");
	assert_int_equal(g9p_clunk(p, 1), 0);
	share_create(&s, "f", "1");
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_do(p, G9P_READLINK, "d", 1), EINVAL);
	assert_int_equal(g9p_walk(p, ROOT, 2, "d"), 0);
	assert_int_equal(g9p_do(p, G9P_LINK, "dds", 2, 1, "hard"), 0);
	assert_int_equal(share_stat(&s, "d/hard").st_ino, share_stat(&s, "f").st_ino);
	assert_int_equal(g9p_do(p, G9P_LINK, "dds", 2, 1, "hard"), EEXIST);
	/* Rename by names, over a file, and by fid. */
	share_create(&s, "g", "2");
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "g", 2, "hard"), 0);
	share_expect(&s, "d/hard", "2");
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "g", 2, "hard"), ENOENT);
	assert_int_equal(g9p_do(p, G9P_RENAME, "dds", 1, 2, "moved"), 0);
	share_expect(&s, "d/moved", "1");
	/* And again: the fid goes with its file, also when its directory goes. */
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "d", ROOT, "e"), 0);
	assert_int_equal(g9p_do(p, G9P_RENAME, "dds", 1, ROOT, "back"), 0);
	share_expect(&s, "back", "1");
	assert_int_equal(g9p_do(p, G9P_REMOVE, "d", 1), 0);
	assert_int_equal(access(share_file(&s, "back"), F_OK), -1);
	assert_int_equal(g9p_clunk(p, 1), EBADF);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "e", 0x200), ENOTEMPTY);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "e", 0), EISDIR);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", 2, "hard", 0x200), ENOTDIR);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", 2, "hard", 0), 0);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "e", 0x200), 0);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "e", 0x200), ENOENT);
	/* Two names of one file: a rename leaves both. */
	share_create(&s, "one", "x");
	assert_int_equal(g9p_walk(p, ROOT, 1, "one"), 0);
	assert_int_equal(g9p_do(p, G9P_LINK, "dds", ROOT, 1, "two"), 0);
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "one", ROOT, "two"), 0);
	assert_int_equal(share_stat(&s, "one").st_nlink, 2);
	/* A fid whose name now is another file's removes nothing. */
	share_create(&s, "new", "y");
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "new", ROOT, "one"), 0);
	assert_int_not_equal(g9p_do(p, G9P_REMOVE, "d", 1), 0);
	share_expect(&s, "one", "y");
	tb_stop(s.t);
}

static void walks(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_attr a, b;

	share_synth(&s, state);
	assert_int_equal(g9p_walk(p, ROOT, 1,
				  "WALK/WALK/WALK/WALK/WALK/WALK/WALK/WALK/WALK/WALK/WALK/WALK/"
				  "WALK/WALK/WALK/WALK"),
			 0);
	assert_int_equal(g9p_getattr(p, 1, &a), 0);
	assert_int_equal(g9p_walk(p, 1, 2, ".."), 0);
	assert_int_equal(g9p_walk(p, 2, 2, "WALK"), 0); /* in place */
	assert_int_equal(g9p_getattr(p, 2, &b), 0);
	assert_int_equal(a.ino, b.ino);
	assert_int_equal(g9p_walk(p, 1, 3, "WALK"), ENOENT);
	/* A part of the way: no fid. */
	assert_int_equal(g9p_walk(p, ROOT, 3, "WALK/nothing"), -1);
	assert_int_equal(g9p_clunk(p, 3), EBADF);
	assert_int_equal(g9p_walk(p, ROOT, 3, "DATA/x"), -1);
	assert_int_equal(g9p_walk(p, ROOT, 3, "DATA"), 0);
	assert_int_equal(g9p_walk(p, 3, 4, "x"), ENOTDIR);
	assert_int_equal(g9p_walk(p, ROOT, 3, "DATA"), EINVAL); /* in use */
	assert_int_equal(g9p_walk(p, 99, 5, "DATA"), EBADF);
	/* Above the root there is nothing. */
	assert_int_equal(g9p_getattr(p, ROOT, &a), 0);
	assert_int_equal(g9p_walk(p, ROOT, 5, "../WALK/../../.."), 0);
	assert_int_equal(g9p_getattr(p, 5, &b), 0);
	assert_int_equal(a.ino, b.ino);
	tb_stop(s.t);
}

/* --- directories --- */

struct entry {
	uint64_t ino, next;
	uint8_t type;
	char name[256];
};

/* The entries of `fid` from `off` on in answers of at most `count` bytes; how many, at most `max`.
 */
static unsigned list(struct g9p *p, uint32_t fid, uint64_t off, uint32_t count, struct entry *e,
		     unsigned max)
{
	unsigned n = 0;

	for (;;) {
		uint32_t end;
		char name[4096];

		assert_int_equal(g9p_do(p, G9P_READDIR, "dqd", fid, off, count), 0);
		end = (uint32_t)g9p_get(p, 4);
		assert_true(end <= count);
		assert_int_equal(end, p->answer_len - 4);
		if (!end)
			return n;
		while (p->answer_at < p->answer_len) {
			assert_true(n < max);
			g9p_get(p, 5);
			e[n].ino = g9p_get(p, 8);
			off = e[n].next = g9p_get(p, 8);
			e[n].type = (uint8_t)g9p_get(p, 1);
			g9p_get_string(p, name);
			strcpy(e[n++].name, name);
		}
	}
}

#define ENTRIES 1100

static void check_listing(struct g9p *p, uint32_t fid, unsigned want)
{
	struct entry *all = calloc(ENTRIES, sizeof(*all)), *some = calloc(ENTRIES, sizeof(*all));

	assert_int_equal(list(p, fid, 0, 8000, all, ENTRIES), want);
	assert_int_equal(list(p, fid, 0, 100, some, ENTRIES), want);
	assert_memory_equal(all, some, want * sizeof(*all));
	for (unsigned i = 0; i < want; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(all[i].name, all[j].name);
	/* From anywhere. */
	for (unsigned i = 0; i < want; i += 37) {
		memset(some, 0, ENTRIES * sizeof(*some));
		assert_int_equal(list(p, fid, all[i].next, 8000, some, ENTRIES), want - 1 - i);
		assert_memory_equal(all + i + 1, some, (want - 1 - i) * sizeof(*all));
	}
	/* No room for a single one is no end. */
	assert_int_equal(g9p_do(p, G9P_READDIR, "dqd", fid, (uint64_t)0, 10), EINVAL);
	free(all);
	free(some);
}

static void listings(void **state)
{
	struct share s;

	share_start(&s, state, PLAIN);
	assert_int_equal(g9p_do(&s.p, G9P_MKDIR, "dsdd", ROOT, "d", 0755, 0), 0);
	for (unsigned i = 0; i < 300; i++) {
		char name[32];

		snprintf(name, sizeof(name), "d/a-file-with-number-%u", i);
		share_put(&s, name, "");
	}
	assert_int_equal(g9p_walk(&s.p, ROOT, 1, "d"), 0);
	assert_int_equal(g9p_do(&s.p, G9P_READDIR, "dqd", 1, (uint64_t)0, 100), EBADF);
	assert_int_equal(g9p_lopen(&s.p, 1, O9_RDONLY), 0);
	check_listing(&s.p, 1, 302);
	tb_stop(s.t);
}

static void listing_of_synth(void **state)
{
	struct share s;

	share_synth(&s, state);
	assert_int_equal(g9p_walk(&s.p, ROOT, 1, "READDIR"), 0);
	assert_int_equal(g9p_lopen(&s.p, 1, O9_RDONLY), 0);
	check_listing(&s.p, 1, 1002);
	tb_stop(s.t);
}

/* --- extended attributes --- */

static int set_xattr(struct g9p *p, const char *name, const char *value, unsigned flags)
{
	uint32_t n = (uint32_t)strlen(value);
	int rc;

	assert_int_equal(g9p_walk(p, 1, 50, ""), 0);
	rc = g9p_do(p, G9P_XATTRCREATE, "dsqd", 50, name, (uint64_t)n, flags);
	if (!rc && n) {
		memcpy(p->data, value, n);
		assert_int_equal(g9p_write(p, 50, 0, &n), 0);
	}
	return rc ? g9p_clunk(p, 50), rc : g9p_clunk(p, 50);
}

/* The value, or the list of names with their NULs turned into commas. */
static int get_xattr(struct g9p *p, const char *name, char buf[4096])
{
	int rc = g9p_do(p, G9P_XATTRWALK, "dds", 1, 51, name);
	uint32_t n;

	if (rc)
		return rc;
	n = (uint32_t)g9p_get(p, 8);
	assert_int_equal(g9p_read(p, 51, 0, &n), 0);
	assert_int_equal(g9p_clunk(p, 51), 0);
	for (uint32_t i = 0; i < n; i++)
		buf[i] = p->data[i] ? (char)p->data[i] : ',';
	buf[n] = '\0';
	return 0;
}

static void xattrs(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	char buf[4096] = "";

	share_start(&s, state, ",security_model=mapped-xattr");
	share_create(&s, "f", "");
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	assert_int_equal(set_xattr(p, "user.a", "value", 0), 0);
	assert_int_equal(getxattr(share_file(&s, "f"), "user.a", buf, sizeof(buf)), 5);
	assert_int_equal(get_xattr(p, "user.a", buf), 0);
	assert_string_equal(buf, "value");
	assert_int_equal(set_xattr(p, "user.a", "other", XATTR_CREATE), EEXIST);
	assert_int_equal(set_xattr(p, "user.b", "other", XATTR_REPLACE), ENODATA);
	assert_int_equal(set_xattr(p, "user.a", "other", XATTR_REPLACE), 0);
	assert_int_equal(get_xattr(p, "user.a", buf), 0);
	assert_string_equal(buf, "other");
	/* Ours are not there; ACLs are kept under another name. */
	assert_int_equal(get_xattr(p, "user.virtfs.uid", buf), ENODATA);
	assert_int_equal(set_xattr(p, "user.virtfs.uid", "abcd", 0), EACCES);
	assert_int_equal(set_xattr(p, "user.virtfs.uid", "", 0), EACCES);
	assert_int_equal(set_xattr(p, "trusted.x", "abcd", 0), EOPNOTSUPP);
	assert_int_equal(set_xattr(p, "system.posix_acl_access", "acl", 0), 0);
	assert_int_equal(
		getxattr(share_file(&s, "f"), "user.virtfs.system.posix_acl_access", buf, 9), 3);
	assert_int_equal(get_xattr(p, "", buf), 0);
	if (strcmp(buf, "user.a,system.posix_acl_access,"))
		assert_string_equal(buf, "system.posix_acl_access,user.a,");
	assert_int_equal(set_xattr(p, "user.a", "", 0), 0);
	assert_int_equal(get_xattr(p, "user.a", buf), ENODATA);
	/* Too large; not all of it written; beyond the end. */
	assert_int_equal(g9p_walk(p, 1, 50, ""), 0);
	assert_int_equal(g9p_do(p, G9P_XATTRCREATE, "dsqd", 50, "user.c", (uint64_t)65537, 0),
			 E2BIG);
	assert_int_equal(g9p_do(p, G9P_XATTRCREATE, "dsqd", 50, "user.c", (uint64_t)4, 0), 0);
	{
		uint32_t n = 5;

		assert_int_equal(g9p_write(p, 50, 0, &n), EINVAL);
		n = 1;
		assert_int_equal(g9p_write(p, 50, 1, &n), EINVAL);
	}
	assert_int_equal(g9p_clunk(p, 50), EINVAL);
	assert_int_equal(get_xattr(p, "user.c", buf), ENODATA);
	tb_stop(s.t);
}

/* --- security models --- */

/* What the guest sees is the same with all of them. */
static void check_model(void **state, const char *options, bool owners)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_attr a;
	char text[4096];

	share_start(&s, state, options);
	assert_int_equal(g9p_do(p, G9P_ATTACH, "ddssd", 10, ~0u, "", "", 1001), 0);
	/* Owned by the user of the attach, and the group that is said. */
	assert_int_equal(g9p_walk(p, 10, 1, ""), 0);
	assert_int_equal(g9p_do(p, G9P_LCREATE, "dsddd", 1, "f", O9_RDWR, 0464, 1002), 0);
	assert_int_equal(g9p_getattr(p, 1, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 0464);
	assert_int_equal(a.uid, 1001);
	assert_int_equal(a.gid, 1002);
	assert_int_equal(g9p_do(p, G9P_SETATTR, "dddddqqqqq", 1, 0x1, 04711, 0, 0, 0ULL, 0ULL, 0ULL,
				0ULL, 0ULL),
			 0);
	assert_int_equal(g9p_do(p, G9P_SETATTR, "dddddqqqqq", 1, 0x4, 0, 0, 77, 0ULL, 0ULL, 0ULL,
				0ULL, 0ULL),
			 0);
	assert_int_equal(g9p_getattr(p, 1, &a), 0);
	assert_int_equal(a.mode & 0777, 0711);
	assert_int_equal(a.uid, 1001);
	assert_int_equal(a.gid, 77);
	assert_int_equal(g9p_clunk(p, 1), 0);
	/* All kinds of files, which stay what they are over a rename and a link. */
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", 10, "d", 01770, 5), 0);
	assert_int_equal(g9p_do(p, G9P_MKNOD, "dsdddd", 10, "dev", S_IFCHR | 0622, 1, 3, 5), 0);
	assert_int_equal(g9p_do(p, G9P_MKNOD, "dsdddd", 10, "sock", S_IFSOCK | 0600, 0, 0, 5), 0);
	assert_int_equal(g9p_do(p, G9P_SYMLINK, "dssd", 10, "link", "../target", 5), 0);
	assert_int_equal(g9p_walk(p, 10, 2, "d"), 0);
	assert_int_equal(g9p_getattr(p, 2, &a), 0);
	assert_int_equal(a.mode, S_IFDIR | 01770);
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", 10, "dev", 2, "dev2"), 0);
	assert_int_equal(g9p_walk(p, 2, 3, "dev2"), 0);
	assert_int_equal(g9p_getattr(p, 3, &a), 0);
	assert_int_equal(a.mode, S_IFCHR | 0622);
	assert_int_equal(a.rdev, makedev(1, 3));
	assert_int_equal(a.uid, 1001);
	assert_int_equal(g9p_do(p, G9P_LINK, "dds", 10, 3, "dev3"), 0);
	assert_int_equal(g9p_walk(p, 10, 4, "dev3"), 0);
	assert_int_equal(g9p_getattr(p, 4, &a), 0);
	assert_int_equal(a.mode, S_IFCHR | 0622);
	assert_int_equal(g9p_walk(p, 10, 5, "link"), 0);
	assert_int_equal(g9p_getattr(p, 5, &a), 0);
	assert_int_equal(a.mode & S_IFMT, S_IFLNK);
	assert_int_equal(a.qid_type, 2);
	assert_int_equal(g9p_do(p, G9P_READLINK, "d", 5), 0);
	g9p_get_string(p, text);
	assert_string_equal(text, "../target");
	/* A file that takes another's place is itself. */
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", 10, "f", 10, "sock"), 0);
	assert_int_equal(g9p_walk(p, 10, 6, "sock"), 0);
	assert_int_equal(g9p_getattr(p, 6, &a), 0);
	assert_int_equal(a.mode & S_IFMT, S_IFREG);
	assert_int_equal(a.gid, 77);
	/* And the host's side. */
	if (owners) {
		assert_int_equal(share_stat(&s, "d").st_mode, S_IFDIR | 01770);
		assert_int_equal(share_stat(&s, "d").st_uid, 1001);
		assert_int_equal(share_stat(&s, "sock").st_gid, 77);
	} else {
		assert_int_equal(share_stat(&s, "d").st_mode, S_IFDIR | 0700);
		assert_int_equal(share_stat(&s, "d").st_uid, getuid());
		assert_int_equal(share_stat(&s, "dev3").st_mode, S_IFREG | 0600);
		assert_int_equal(share_stat(&s, "link").st_mode, S_IFREG | 0600);
		share_expect(&s, "link", "../target");
	}
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", 2, "dev2", 0), 0);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", 10, "d", 0x200), 0);
	assert_int_equal(access(share_file(&s, "d"), F_OK), -1);
	tb_stop(s.t);
}

static void passthrough(void **state)
{
	check_model(state, ",security_model=passthrough", true);
}

static void none(void **state)
{
	check_model(state, ",security_model=none", true);
}

static void mapped_xattr(void **state)
{
	check_model(state, ",security_model=mapped-xattr", false);
}

static void mapped_file(void **state)
{
	check_model(state, ",security_model=mapped-file", false);
}

/* The formats are QEMU's: what it has written is understood, and the other way round. */
static void formats(void **state)
{
	struct share s;
	struct g9p_attr a;
	uint8_t uid[4] = {0x39, 0x30, 0, 0}, mode[4] = {0xa0, 0xa1, 0, 0};

	share_start(&s, state, ",security_model=mapped-xattr");
	share_put(&s, "f", "");
	assert_int_equal(setxattr(share_file(&s, "f"), "user.virtfs.uid", uid, 4, 0), 0);
	assert_int_equal(setxattr(share_file(&s, "f"), "user.virtfs.mode", mode, 4, 0), 0);
	assert_int_equal(g9p_walk(&s.p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_getattr(&s.p, 1, &a), 0);
	assert_int_equal(a.uid, 12345);
	assert_int_equal(a.mode, 0xa1a0);
	share_create(&s, "g", "");
	assert_int_equal(getxattr(share_file(&s, "g"), "user.virtfs.mode", mode, 4), 4);
	assert_int_equal(mode[0] | mode[1] << 8, S_IFREG | 0644);
	tb_stop(s.t);
}

static void metadata(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_attr a;
	struct entry e[16];

	share_start(&s, state, ",security_model=mapped-file,fmode=0640,dmode=0750");
	share_create(&s, "f", "");
	assert_int_equal(share_stat(&s, "f").st_mode, S_IFREG | 0640);
	share_expect(&s, ".virtfs_metadata/f", "virtfs.uid=0\nvirtfs.gid=0\nvirtfs.mode=33188\n");
	share_put(&s, ".virtfs_metadata/f", "virtfs.uid=5\nvirtfs.mode=33261\n");
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_getattr(p, 1, &a), 0);
	assert_int_equal(a.uid, 5);
	assert_int_equal(a.mode, 33261);
	/* The guest can neither find nor make, move or remove these names. */
	assert_int_not_equal(g9p_walk(p, ROOT, 2, ".virtfs_metadata"), 0);
	assert_int_not_equal(g9p_walk(p, ROOT, 2, ".virtfs_metadata/f"), 0);
	assert_int_not_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, ".virtfs_metadata_root", 0755, 0),
			     0);
	assert_int_not_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, ".virtfs_metadata", ROOT, "x"),
			     0);
	assert_int_not_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "f", ROOT, ".virtfs_metadata"),
			     0);
	assert_int_not_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, ".virtfs_metadata", 0x200), 0);
	assert_int_not_equal(g9p_do(p, G9P_LINK, "dds", ROOT, 1, ".virtfs_metadata"), 0);
	assert_int_equal(g9p_walk(p, ROOT, 2, ""), 0);
	assert_int_not_equal(g9p_lcreate(p, 2, ".virtfs_metadata", O9_RDWR, 0644), 0);
	assert_int_equal(g9p_lopen(p, 2, O9_RDONLY), 0);
	assert_int_equal(list(p, 2, 0, 4000, e, ARRAY_SIZE(e)), 3);
	/* The export itself has a place for it, too. */
	assert_int_equal(g9p_do(p, G9P_SETATTR, "dddddqqqqq", ROOT, 0x2, 0, 99, 0, 0ULL, 0ULL, 0ULL,
				0ULL, 0ULL),
			 0);
	share_expect(&s, ".virtfs_metadata_root", "virtfs.uid=99\n");
	assert_int_equal(g9p_getattr(p, ROOT, &a), 0);
	assert_int_equal(a.uid, 99);
	/* What is gone leaves nothing that a later file of the name could inherit. */
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "f", 0), 0);
	assert_int_equal(access(share_file(&s, ".virtfs_metadata/f"), F_OK), -1);
	tb_stop(s.t);
}

/* Without the file system, as somebody else, without capabilities: all that does not need root's
 * rights works, since it goes by descriptors. */
static void confined(void **state)
{
	struct share s = {.t = *state};
	struct g9p *p = &s.p;
	struct g9p_attr a;
	char buf[4096];

	tb_skip_qemu("it needs /proc below its root");
	snprintf(s.path, sizeof(s.path), "%s/share", s.t->dir);
	assert_int_equal(mkdir(s.path, 0700), 0);
	assert_int_equal(chown(s.path, 65534, 65534), 0);
	tb_arg(s.t, "-run-with");
	tb_arg(s.t, "chroot=%s,user=65534:65534", s.path);
	tb_arg(s.t, "-virtfs");
	tb_arg(s.t, "local,path=%s,mount_tag=t,security_model=mapped-xattr", s.path);
	tb_start(s.t);
	g9p_open(&s.t->g, p, 0);
	g9p_mount(p, ROOT);
	share_create(&s, "f", "text");
	assert_int_equal(share_stat(&s, "f").st_uid, 65534);
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_do(p, G9P_LINK, "dds", ROOT, 1, "g"), 0);
	assert_int_equal(set_xattr(p, "user.a", "value", 0), 0);
	assert_int_equal(get_xattr(p, "user.a", buf), 0);
	assert_string_equal(buf, "value");
	assert_int_equal(g9p_do(p, G9P_SETATTR, "dddddqqqqq", 1, 0x3 | 0x8 | 0x20, 0600, 7, 0, 2ULL,
				0ULL, 0ULL, 0ULL, 0ULL),
			 0);
	assert_int_equal(g9p_getattr(p, 1, &a), 0);
	assert_int_equal(a.uid, 7);
	assert_int_equal(a.size, 2);
	assert_int_equal(g9p_lopen(p, 1, O9_RDWR), 0);
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "d", 0755, 0), 0);
	tb_stop(s.t);
}

/* A second file system in the export. */
static void check_devices(void **state, const char *mode)
{
	struct share s = {.t = *state};
	struct g9p_attr a, b;
	char path[128];
	int rc;

	tb_skip_qemu("it numbers differently");
	snprintf(s.path, sizeof(s.path), "%s/share", s.t->dir);
	snprintf(path, sizeof(path), "%s/mount", s.path);
	assert_int_equal(mkdir(s.path, 0755), 0);
	assert_int_equal(mkdir(path, 0755), 0);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", path, "tmpfs", 0, NULL))
		skip(); /* not allowed here */
	tb_arg(s.t, "-virtfs");
	tb_arg(s.t, "local,path=%s,mount_tag=t,security_model=none,multidevs=%s", s.path, mode);
	tb_start(s.t);
	g9p_open(&s.t->g, &s.p, 0);
	g9p_mount(&s.p, ROOT);
	rc = g9p_walk(&s.p, ROOT, 1, "mount");
	assert_int_equal(g9p_getattr(&s.p, ROOT, &a), 0);
	if (!strcmp(mode, "forbid")) {
		assert_int_equal(rc, ENODEV);
	} else {
		assert_int_equal(rc, 0);
		assert_int_equal(g9p_getattr(&s.p, 1, &b), 0);
		assert_int_equal(b.ino >> 48, !strcmp(mode, "remap"));
		assert_int_equal(a.ino >> 48, 0);
	}
	tb_stop(s.t);
	umount2(path, MNT_DETACH);
}

static void devices_warn(void **state)
{
	check_devices(state, "warn");
}

static void devices_remap(void **state)
{
	check_devices(state, "remap");
}

static void devices_forbid(void **state)
{
	check_devices(state, "forbid");
}

static void locks(void **state)
{
	struct share s;
	struct g9p *p = &s.p;

	share_start(&s, state, PLAIN);
	share_create(&s, "f", "");
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_lopen(p, 1, O9_RDWR), 0);
	assert_int_equal(g9p_do(p, G9P_LOCK, "dbdqqds", 1, 1, 1, 0ULL, 10ULL, 42, "guest"), 0);
	assert_int_equal(g9p_get(p, 1), 0);
	assert_int_equal(g9p_do(p, G9P_GETLOCK, "dbqqds", 1, 1, 0ULL, 10ULL, 42, "guest"), 0);
	assert_int_equal(g9p_get(p, 1), 2);
	assert_int_equal(g9p_get(p, 8), 0);
	assert_int_equal(g9p_get(p, 8), 10);
	assert_int_equal(g9p_get(p, 4), 42);
	assert_int_equal(g9p_do(p, G9P_LOCK, "dbdqqds", 1, 2, 0, 0ULL, 10ULL, 42, "guest"), 0);
	tb_stop(s.t);
}

static void read_only(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	uint32_t n = 3;

	share_start(&s, state, PLAIN ",readonly=on");
	share_put(&s, "f", "abc");
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_walk(p, ROOT, 2, "f"), 0);
	assert_int_equal(g9p_lopen(p, 1, O9_RDWR), EROFS);
	assert_int_equal(g9p_lopen(p, 1, O9_WRONLY), EROFS);
	assert_int_equal(g9p_lopen(p, 1, O9_RDONLY | O9_TRUNC), EROFS);
	assert_int_equal(share_stat(&s, "f").st_size, 3);
	assert_int_equal(g9p_lopen(p, 1, O9_RDONLY), 0);
	assert_int_equal(g9p_read(p, 1, 0, &n), 0);
	assert_memory_equal(p->data, "abc", 3);
	n = 1;
	assert_int_equal(g9p_write(p, 1, 0, &n), EROFS);
	assert_int_equal(
		g9p_do(p, G9P_SETATTR, "dddddqqqqq", 2, 0x8, 0, 0, 0, 0ULL, 0ULL, 0ULL, 0ULL, 0ULL),
		EROFS);
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "d", 0755, 0), EROFS);
	assert_int_equal(g9p_do(p, G9P_MKNOD, "dsdddd", ROOT, "n", S_IFREG | 0600, 0, 0, 0), EROFS);
	assert_int_equal(g9p_do(p, G9P_SYMLINK, "dssd", ROOT, "l", "x", 0), EROFS);
	assert_int_equal(g9p_do(p, G9P_LINK, "dds", ROOT, 2, "h"), EROFS);
	assert_int_equal(g9p_do(p, G9P_RENAME, "dds", 2, ROOT, "h"), EROFS);
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "f", ROOT, "h"), EROFS);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "f", 0), EROFS);
	assert_int_equal(g9p_do(p, G9P_XATTRCREATE, "dsqd", 2, "user.a", 1ULL, 0), EROFS);
	assert_int_equal(g9p_do(p, G9P_REMOVE, "d", 2), EROFS);
	assert_int_equal(g9p_clunk(p, 2), EBADF);
	assert_int_equal(g9p_walk(p, ROOT, 3, ""), 0);
	assert_int_equal(g9p_lcreate(p, 3, "new", O9_RDONLY, 0644), EROFS);
	share_expect(&s, "f", "abc");
	assert_int_equal(access(share_file(&s, "d"), F_OK), -1);
	tb_stop(s.t);
}

/* --- many at a time --- */

static struct g9p_req *slow_read(struct g9p *p, unsigned ms)
{
	struct g9p_req *r = g9p_prepare(p, G9P_READ, "dqd", 1, (uint64_t)ms, 64);

	g9p_queue(r, NULL, 0, 0);
	return r;
}

static void open_slow(struct share *s)
{
	assert_int_equal(g9p_walk(&s->p, ROOT, 1, "SLOW"), 0);
	assert_int_equal(g9p_lopen(&s->p, 1, O9_RDONLY), 0);
}

static void many_tags(void **state)
{
	struct share s;
	struct g9p_req *r[60];
	uint32_t n = 1000;

	share_synth(&s, state);
	open_slow(&s);
	assert_int_equal(g9p_walk(&s.p, ROOT, 2, "DATA"), 0);
	assert_int_equal(g9p_lopen(&s.p, 2, O9_RDONLY), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
		r[i] = i % 2 ? g9p_prepare(&s.p, G9P_READ, "dqd", 2, (uint64_t)i * 1000, 1000)
			     : NULL;
		if (r[i])
			g9p_queue(r[i], NULL, 0, 0);
		else
			r[i] = slow_read(&s.p, i);
	}
	g9p_kick(&s.p);
	for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
		assert_int_equal(g9p_wait(r[i]), 0);
		assert_int_equal(get_le32(r[i]->in + 7), i % 2 ? 1000 : 0);
		for (unsigned b = 0; i % 2 && b < 1000; b++)
			assert_int_equal(r[i]->in[11 + b], (uint8_t)((i * 1000 + b) * 7));
	}
	/* A slow one holds no quick one up, unless they must come back in order. */
	if (s.t->config.features & GV_F_IN_ORDER) {
		tb_stop(s.t);
		return;
	}
	r[0] = slow_read(&s.p, 1000);
	assert_int_equal(g9p_read(&s.p, 2, 0, &n), 0);
	assert_false(r[0]->done);
	assert_int_equal(g9p_wait(r[0]), 0);
	tb_stop(s.t);
}

static void flushes(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_req *busy[8], *queued, *f, *ff;

	share_synth(&s, state);
	open_slow(&s);
	/* One that is being served: it ends, and then the flush, and the flush of the flush. */
	busy[0] = slow_read(p, 200);
	g9p_kick(p);
	f = g9p_prepare(p, G9P_FLUSH, "w", busy[0]->tag);
	g9p_queue(f, NULL, 0, 0);
	ff = g9p_prepare(p, G9P_FLUSH, "w", f->tag);
	g9p_queue(ff, NULL, 0, 0);
	g9p_kick(p);
	assert_int_equal(g9p_wait(ff), 0);
	assert_true(busy[0]->done && f->done);
	assert_true(busy[0]->order < f->order && f->order < ff->order);
	assert_int_equal(g9p_wait(busy[0]), 0);
	assert_int_equal(g9p_wait(f), 0);
	if (s.t->config.features & GV_F_IN_ORDER) {
		tb_stop(s.t);
		return;
	}
	/* One that waits behind all workers comes back at once, with nothing. */
	for (unsigned i = 0; i < ARRAY_SIZE(busy); i++)
		busy[i] = slow_read(p, 1000);
	queued = slow_read(p, 1000);
	g9p_kick(p);
	assert_int_equal(g9p_do(p, G9P_FLUSH, "w", queued->tag), 0);
	assert_true(queued->done);
	assert_int_equal(queued->written, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(busy); i++)
		assert_false(busy[i]->done);
	for (unsigned i = 0; i < ARRAY_SIZE(busy); i++)
		assert_int_equal(g9p_wait(busy[i]), 0);
	queued->busy = false;
	/* What is not there is flushed already; so is a flush of itself. */
	assert_int_equal(g9p_do(p, G9P_FLUSH, "w", 999), 0);
	f = g9p_prepare(p, G9P_FLUSH, "w", 0);
	put_le16(f->out + 7, f->tag);
	g9p_queue(f, NULL, 0, 0);
	g9p_kick(p);
	assert_int_equal(g9p_wait(f), 0);
	tb_stop(s.t);
}

static void reset_in_flight(void **state)
{
	struct share s;

	share_synth(&s, state);
	for (unsigned round = 0; round < 3; round++) {
		open_slow(&s);
		for (unsigned i = 0; i < 40; i++)
			slow_read(&s.p, 300);
		g9p_queue(g9p_prepare(&s.p, G9P_FLUSH, "w", 5), NULL, 0, 0);
		g9p_queue(g9p_prepare(&s.p, G9P_FLUSH, "w", 30), NULL, 0, 0);
		g9p_kick(&s.p);
		guest_sync(&s.t->g);
		gv_reset(&s.p.v);
		g9p_restart(&s.p);
		/* The fids are gone with it. */
		assert_int_equal(g9p_version(&s.p, 8192), 0);
		assert_int_not_equal(g9p_clunk(&s.p, 1), 0);
		g9p_mount(&s.p, ROOT);
	}
	share_again(&s);
	tb_stop(s.t);
}

/* 1 MiB a second, and a tenth of it in advance: two of them take their time. */
static void limits(void **state)
{
	struct share s;
	uint64_t begin;
	uint32_t n;

	tb_skip_qemu("it counts differently");
	share_start(&s, state, PLAIN ",throttling.bps-total=1M,throttling.iops-read=100");
	share_create(&s, "f", "x");
	assert_int_equal(g9p_walk(&s.p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_lopen(&s.p, 1, O9_RDWR), 0);
	begin = now_ns();
	for (unsigned i = 0; i < 3; i++) {
		n = 512 * KiB;
		assert_int_equal(g9p_write(&s.p, 1, i * 512 * KiB, &n), 0);
	}
	/* The first two are in debt before the third. */
	assert_true(now_ns() - begin > 850 * 1000000ULL);
	begin = now_ns();
	for (unsigned i = 0; i < 51; i++) {
		n = 1;
		assert_int_equal(g9p_read(&s.p, 1, 0, &n), 0);
	}
	assert_true(now_ns() - begin > 390 * 1000000ULL);
	/* A reset does not wait for the limit. */
	g9p_queue(g9p_prepare(&s.p, G9P_READ, "dqd", 1, 0ULL, 1 << 20), NULL, 0, 0);
	g9p_queue(g9p_prepare(&s.p, G9P_READ, "dqd", 1, 0ULL, 1 << 20), NULL, 0, 0);
	g9p_queue(g9p_prepare(&s.p, G9P_READ, "dqd", 1, 0ULL, 1 << 20), NULL, 0, 0);
	g9p_kick(&s.p);
	guest_sync(&s.t->g);
	begin = now_ns();
	gv_reset(&s.p.v);
	assert_true(now_ns() - begin < 500 * 1000000ULL);
	g9p_restart(&s.p);
	g9p_mount(&s.p, ROOT);
	tb_stop(s.t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		share_test(device),	    share_test(virtfs),
		share_test(versions),	    share_test(data),
		share_test(attributes),	    share_test(big_messages),
		share_test(names),	    share_test(walks),
		share_test(listings),	    share_test(listing_of_synth),
		share_test(xattrs),	    share_test(passthrough),
		share_test(none),	    share_test(mapped_xattr),
		share_test(mapped_file),    share_test(formats),
		share_test(metadata),	    share_test(locks),
		share_test(read_only),	    share_test(confined),
		share_test(devices_warn),   share_test(devices_remap),
		share_test(devices_forbid), share_test(many_tags),
		share_test(flushes),	    share_test(reset_in_flight),
		share_test(limits),
	};

	return tb_run("9p", tests);
}
