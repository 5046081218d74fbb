/* SPDX-License-Identifier: MIT */
/* dev_9p_models.c - virtio-9p: whose the files are on the host and what is kept beside them,
 * extended attributes, confinement, several file systems */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "share.h"

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

	tb_skip_qemu("7.2 lets more be written than was said");
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

	tb_skip_qemu("7.2 cannot make all kinds of files");
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
	struct share_entry e[16];

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
	assert_int_equal(share_list(p, 2, 0, 4000, e, ARRAY_SIZE(e)), 3);
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

static int set_owner(struct g9p *p, uint32_t fid, unsigned valid, unsigned mode, unsigned uid)
{
	return g9p_do(p, G9P_SETATTR, "dddddqqqqq", fid, valid, mode, uid, 0, 0ULL, 0ULL, 0ULL,
		      0ULL, 0ULL);
}

/* chmod and chown at the same time: both are done. */
static void check_both(void **state, const char *options)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_req *r[2];
	struct g9p_attr a;

	share_start(&s, state, options);
	share_create(&s, "f", "");
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	for (unsigned i = 0; i < 2000; i++) {
		r[0] = g9p_prepare(p, G9P_SETATTR, "dddddqqqqq", 1, 0x1, i % 512, 0, 0, 0ULL, 0ULL,
				   0ULL, 0ULL, 0ULL);
		r[1] = g9p_prepare(p, G9P_SETATTR, "dddddqqqqq", 1, 0x6, 0, i, i, 0ULL, 0ULL, 0ULL,
				   0ULL, 0ULL);
		g9p_queue(r[i % 2], NULL, 0, 0);
		g9p_queue(r[!(i % 2)], NULL, 0, 0);
		g9p_kick(p);
		assert_int_equal(g9p_wait(r[0]), 0);
		assert_int_equal(g9p_wait(r[1]), 0);
		assert_int_equal(g9p_getattr(p, 1, &a), 0);
		assert_int_equal(a.mode, S_IFREG | i % 512);
		assert_int_equal(a.uid, i);
		assert_int_equal(a.gid, i);
	}
	tb_stop(s.t);
}

static void both_xattr(void **state)
{
	check_both(state, ",security_model=mapped-xattr");
}

static void both_file(void **state)
{
	check_both(state, ",security_model=mapped-file");
}

/* Has the file data that no block was chosen for yet, so that it cannot be on the disk? */
static bool is_unwritten(const char *path)
{
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
	} u = {.map = {.fm_length = 4096, .fm_extent_count = 1}};
	int fd = open(path, O_RDONLY), rc;

	assert_true(fd >= 0);
	rc = ioctl(fd, FS_IOC_FIEMAP, &u.map);
	close(fd);
	return rc == 0 && u.map.fm_mapped_extents &&
	       u.map.fm_extents[0].fe_flags & FIEMAP_EXTENT_DELALLOC;
}

/* fsync() is for owner and mode, too. */
static void synced(void **state)
{
	struct share s;
	struct g9p *p = &s.p;

	tb_skip_qemu("it syncs the file only");
	share_start(&s, state, ",security_model=mapped-file");
	share_create(&s, "f", "");
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "d", 0755, 0), 0);
	assert_int_equal(g9p_walk(p, ROOT, 1, "f"), 0);
	assert_int_equal(g9p_walk(p, ROOT, 2, "d"), 0);
	assert_int_equal(g9p_walk(p, ROOT, 3, ""), 0);
	assert_int_equal(g9p_lopen(p, 1, O9_RDWR), 0);
	assert_int_equal(g9p_lopen(p, 2, O9_RDONLY), 0);
	assert_int_equal(g9p_lopen(p, 3, O9_RDONLY), 0);
	assert_int_equal(g9p_do(p, G9P_FSYNC, "dd", 1, 1), 0);
	assert_int_equal(g9p_do(p, G9P_FSYNC, "dd", 1, 0), 0);
	assert_false(is_unwritten(share_file(&s, ".virtfs_metadata/f")));
	assert_int_equal(g9p_do(p, G9P_FSYNC, "dd", 2, 0), 0);
	assert_false(is_unwritten(share_file(&s, ".virtfs_metadata/d")));
	assert_int_equal(g9p_do(p, G9P_FSYNC, "dd", 3, 0), 0);
	/* Without metadata there is nothing more to do; nor for what has no name any more. */
	assert_int_equal(unlink(share_file(&s, ".virtfs_metadata/f")), 0);
	assert_int_equal(g9p_do(p, G9P_FSYNC, "dd", 1, 0), 0);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "f", 0), 0);
	assert_int_equal(g9p_do(p, G9P_FSYNC, "dd", 1, 0), 0);
	tb_stop(s.t);
}

/* A file does not move where its metadata cannot follow. */
static void stays(void **state)
{
	static const char kept[] = "virtfs.uid=0\nvirtfs.gid=0\nvirtfs.mode=33188\n";
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_attr a;

	tb_skip_qemu("it moves the file only");
	share_start(&s, state, ",security_model=mapped-file");
	share_create(&s, "f", "text");
	assert_int_equal(mkdir(share_file(&s, "d"), 0755), 0);
	assert_int_equal(g9p_walk(p, ROOT, 1, "d"), 0);
	/* There is no folder for it, and there cannot be one. */
	share_put(&s, "d/.virtfs_metadata", "");
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "f", 1, "g"), ENOTDIR);
	assert_int_equal(access(share_file(&s, "d/g"), F_OK), -1);
	share_expect(&s, "f", "text");
	share_expect(&s, ".virtfs_metadata/f", kept);
	/* Its name there is taken: it goes back. */
	assert_int_equal(unlink(share_file(&s, "d/.virtfs_metadata")), 0);
	assert_int_equal(mkdir(share_file(&s, "d/.virtfs_metadata"), 0700), 0);
	assert_int_equal(mkdir(share_file(&s, "d/.virtfs_metadata/g"), 0700), 0);
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "f", 1, "g"), EISDIR);
	assert_int_equal(access(share_file(&s, "d/g"), F_OK), -1);
	share_expect(&s, "f", "text");
	share_expect(&s, ".virtfs_metadata/f", kept);
	assert_int_equal(g9p_walk(p, ROOT, 2, "f"), 0);
	assert_int_equal(g9p_getattr(p, 2, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 0644);
	/* One that has none moves. */
	share_put(&s, "plain", "text");
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "plain", 1, "h"), 0);
	share_expect(&s, "d/h", "text");
	tb_stop(s.t);
}

/* --- files that are held --- */

static void expect_attr(struct g9p *p, uint32_t fid, unsigned mode, unsigned uid)
{
	struct g9p_attr a;

	assert_int_equal(g9p_getattr(p, fid, &a), 0);
	assert_int_equal(a.mode, mode);
	assert_int_equal(a.uid, uid);
}

/* Make `name` in the root, of user 1000; it stays open as `fid`. */
static void make_held(struct g9p *p, uint32_t fid, const char *name, unsigned mode)
{
	assert_int_equal(g9p_walk(p, ROOT, fid, ""), 0);
	assert_int_equal(g9p_lcreate(p, fid, name, O9_RDWR, mode), 0);
	assert_int_equal(set_owner(p, fid, 0x3, mode, 1000), 0);
}

/* Owner and mode are those of the file, whatever becomes of its name. */
static void check_held(void **state, const char *options)
{
	struct share s;
	struct g9p *p = &s.p;

	tb_skip_qemu("it looks for metadata by the name that the file had");
	share_start(&s, state, options);
	/* Removed: for the fid that is open, for others, and for one that was walked to from it. */
	make_held(p, 1, "f", 0640);
	assert_int_equal(g9p_walk(p, ROOT, 2, "f"), 0);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "f", 0), 0);
	expect_attr(p, 1, S_IFREG | 0640, 1000);
	expect_attr(p, 2, S_IFREG | 0640, 1000);
	assert_int_equal(g9p_walk(p, 2, 3, ""), 0);
	assert_int_equal(set_owner(p, 3, 0x1, 0604, 0), 0);
	expect_attr(p, 1, S_IFREG | 0604, 1000);
	assert_int_equal(set_owner(p, 1, 0x2, 0, 1001), 0);
	expect_attr(p, 2, S_IFREG | 0604, 1001);
	assert_int_equal(g9p_lopen(p, 3, O9_RDWR), 0);
	assert_int_equal(g9p_do(p, G9P_FSYNC, "dd", 1, 0), 0);
	/* A new file of this name is another one. */
	make_held(p, 4, "f", 0600);
	assert_int_equal(set_owner(p, 1, 0x3, 0444, 1002), 0);
	expect_attr(p, 4, S_IFREG | 0600, 1000);
	expect_attr(p, 2, S_IFREG | 0444, 1002);
	/* Replaced by a rename; what has replaced it is itself. */
	make_held(p, 5, "g", 0644);
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "g", ROOT, "f"), 0);
	expect_attr(p, 4, S_IFREG | 0600, 1000);
	expect_attr(p, 5, S_IFREG | 0644, 1000);
	assert_int_equal(set_owner(p, 4, 0x3, 0611, 4), 0);
	assert_int_equal(set_owner(p, 5, 0x3, 0622, 5), 0);
	expect_attr(p, 4, S_IFREG | 0611, 4);
	assert_int_equal(g9p_walk(p, ROOT, 6, "f"), 0);
	expect_attr(p, 6, S_IFREG | 0622, 5);
	/* Removed by a fid of its own; removed as a directory. */
	assert_int_equal(g9p_do(p, G9P_REMOVE, "d", 6), 0);
	expect_attr(p, 5, S_IFREG | 0622, 5);
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "d", 0711, 0), 0);
	assert_int_equal(g9p_walk(p, ROOT, 7, "d"), 0);
	assert_int_equal(set_owner(p, 7, 0x2, 0, 1000), 0);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "d", 0x200), 0);
	expect_attr(p, 7, S_IFDIR | 0711, 1000);
	/* A hard link keeps the file; owner and mode are of both. */
	make_held(p, 8, "a", 0640);
	assert_int_equal(g9p_do(p, G9P_LINK, "dds", ROOT, 8, "b"), 0);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "a", 0), 0);
	expect_attr(p, 8, S_IFREG | 0640, 1000);
	assert_int_equal(set_owner(p, 8, 0x3, 0606, 1008), 0);
	assert_int_equal(g9p_do(p, G9P_FSYNC, "dd", 8, 0), 0);
	assert_int_equal(g9p_walk(p, ROOT, 9, "b"), 0);
	expect_attr(p, 9, S_IFREG | 0606, 1008);
	/* And the fid without a name can be linked once more. */
	assert_int_equal(g9p_do(p, G9P_LINK, "dds", ROOT, 8, "c"), 0);
	assert_int_equal(g9p_walk(p, ROOT, 10, "c"), 0);
	expect_attr(p, 10, S_IFREG | 0606, 1008);
	assert_int_equal(set_owner(p, 10, 0x1, 0660, 0), 0);
	expect_attr(p, 8, S_IFREG | 0660, 1008);
	tb_stop(s.t);
}

static void held_none(void **state)
{
	check_held(state, ",security_model=none");
}

static void held_passthrough(void **state)
{
	check_held(state, ",security_model=passthrough");
}

static void held_xattr(void **state)
{
	check_held(state, ",security_model=mapped-xattr");
}

static void held_file(void **state)
{
	check_held(state, ",security_model=mapped-file");
}

static unsigned count_descriptors(const struct share *s)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)s->t->g.pid);
	d = opendir(path);
	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* What is particular to metadata beside the file. */
static void held_metadata(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	unsigned before;

	tb_skip_qemu("it looks for metadata by the name that the file had");
	share_start(&s, state, ",security_model=mapped-file");
	before = count_descriptors(&s);
	/* The host's own file has none, and gets some after its name has gone. */
	share_put(&s, "plain", "");
	assert_int_equal(g9p_walk(p, ROOT, 1, "plain"), 0);
	assert_int_equal(g9p_walk(p, ROOT, 2, "plain"), 0);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "plain", 0), 0);
	expect_attr(p, 1, S_IFREG | 0644, getuid());
	assert_int_equal(set_owner(p, 1, 0x3, 0600, 1000), 0);
	expect_attr(p, 2, S_IFREG | 0600, 1000);
	assert_int_equal(access(share_file(&s, ".virtfs_metadata/plain"), F_OK), -1);
	/* A removal or a rename that fails changes nothing. */
	assert_int_equal(g9p_do(p, G9P_MKDIR, "dsdd", ROOT, "d", 0755, 0), 0);
	assert_int_equal(g9p_walk(p, ROOT, 3, "d"), 0);
	make_held(p, 4, "f", 0640);
	share_put(&s, "d/file", "");
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "d", 0x200), ENOTEMPTY);
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "f", ROOT, "d"), EISDIR);
	assert_int_equal(set_owner(p, 3, 0x3, 0700, 5), 0);
	assert_int_equal(set_owner(p, 4, 0x3, 0600, 6), 0);
	share_expect(&s, ".virtfs_metadata/d", "virtfs.uid=5\nvirtfs.gid=0\nvirtfs.mode=16832\n");
	share_expect(&s, ".virtfs_metadata/f", "virtfs.uid=6\nvirtfs.gid=0\nvirtfs.mode=33152\n");
	/* A held file that moves takes its metadata along. */
	assert_int_equal(g9p_do(p, G9P_RENAMEAT, "dsds", ROOT, "f", 3, "g"), 0);
	assert_int_equal(set_owner(p, 4, 0x3, 0644, 7), 0);
	share_expect(&s, "d/.virtfs_metadata/g", "virtfs.uid=7\nvirtfs.gid=0\nvirtfs.mode=33188\n");
	/* Removed where the folder of metadata goes, too. */
	assert_int_equal(unlink(share_file(&s, "d/file")), 0);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", 3, "g", 0), 0);
	assert_int_equal(g9p_do(p, G9P_UNLINKAT, "dsd", ROOT, "d", 0x200), 0);
	expect_attr(p, 3, S_IFDIR | 0700, 5);
	expect_attr(p, 4, S_IFREG | 0644, 7);
	for (uint32_t fid = 1; fid <= 4; fid++)
		assert_int_equal(g9p_clunk(p, fid), 0);
	assert_int_equal(count_descriptors(&s), before);
	tb_stop(s.t);
}

struct filler {
	char path[512];
	atomic_bool stop;
	pthread_t thread;
};

/* Take every block that is free, as soon as it is. */
static void *fill(void *arg)
{
	static const char block[4096];
	struct filler *f = arg;
	int fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND, 0600);

	while (!atomic_load(&f->stop))
		if (write(fd, block, sizeof(block)) < 0 && errno != ENOSPC)
			break;
	close(fd);
	return NULL;
}

/* A change where the disk is full, and somebody waits for what the file of metadata gives up. */
static void full(void **state)
{
	struct share s;
	struct g9p *p = &s.p;
	struct g9p_attr a;
	struct filler f = {0};

	tb_skip_qemu("it empties the file before it writes it");
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		skip(); /* not allowed here */
	share_start(&s, state, ",security_model=mapped-file");
	assert_int_equal(mkdir(share_file(&s, "d"), 0755), 0);
	assert_int_equal(mount("none", share_file(&s, "d"), "tmpfs", 0, "size=64k"), 0);
	assert_int_equal(g9p_walk(p, ROOT, 1, "d"), 0);
	assert_int_equal(g9p_walk(p, 1, 2, ""), 0);
	assert_int_equal(g9p_lcreate(p, 2, "f", O9_RDWR, 0644), 0);
	strcpy(f.path, share_file(&s, "d/filler"));
	assert_int_equal(pthread_create(&f.thread, NULL, fill, &f), 0);
	for (unsigned i = 0; i < 6000; i++) {
		assert_int_equal(set_owner(p, 2, 0x3, 0600 + i % 64, 1000 + i), 0);
		assert_int_equal(g9p_getattr(p, 2, &a), 0);
		assert_int_equal(a.mode, S_IFREG | (0600 + i % 64));
		assert_int_equal(a.uid, 1000 + i);
	}
	atomic_store(&f.stop, true);
	pthread_join(f.thread, NULL);
	/* Shorter than before: nothing of the old is left. */
	assert_int_equal(set_owner(p, 2, 0x2, 0, 7), 0);
	share_expect(&s, "d/.virtfs_metadata/f", "virtfs.uid=7\nvirtfs.gid=0\nvirtfs.mode=33199\n");
	tb_stop(s.t);
	umount2(share_file(&s, "d"), MNT_DETACH);
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
	/* A sanitizer that looks for leaks at the end would want /proc. */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
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
	unsetenv("ASAN_OPTIONS");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		share_test(xattrs),	   share_test(passthrough),    share_test(none),
		share_test(mapped_xattr),  share_test(mapped_file),    share_test(formats),
		share_test(metadata),	   share_test(confined),       share_test(devices_warn),
		share_test(devices_remap), share_test(devices_forbid), share_test(full),
		share_test(stays),	   share_test(both_xattr),     share_test(both_file),
		share_test(synced),	   share_test(held_none),      share_test(held_passthrough),
		share_test(held_xattr),	   share_test(held_file),      share_test(held_metadata),
	};

	return tb_run("9p-models", tests);
}
