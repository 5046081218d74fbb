/* SPDX-License-Identifier: MIT */
/* dev_9p.c - virtio-9p as a well-behaved driver sees it: every message */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

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

#define ENTRIES 1100

static void check_listing(struct g9p *p, uint32_t fid, unsigned want)
{
	struct share_entry *all = calloc(ENTRIES, sizeof(*all)),
			   *some = calloc(ENTRIES, sizeof(*all));

	assert_int_equal(share_list(p, fid, 0, 8000, all, ENTRIES), want);
	assert_int_equal(share_list(p, fid, 0, 100, some, ENTRIES), want);
	assert_memory_equal(all, some, want * sizeof(*all));
	for (unsigned i = 0; i < want; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(all[i].name, all[j].name);
	/* From anywhere. */
	for (unsigned i = 0; i < want; i += 37) {
		memset(some, 0, ENTRIES * sizeof(*some));
		assert_int_equal(share_list(p, fid, all[i].next, 8000, some, ENTRIES),
				 want - 1 - i);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		share_test(device),	share_test(virtfs),
		share_test(versions),	share_test(data),
		share_test(attributes), share_test(big_messages),
		share_test(names),	share_test(walks),
		share_test(listings),	share_test(listing_of_synth),
		share_test(locks),	share_test(read_only),
	};

	return tb_run("9p", tests);
}
