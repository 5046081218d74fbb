/* SPDX-License-Identifier: MIT */
/* unit_block.c - -drive and -blockdev: what is accepted, what is refused and how, names, sharing,
 * image locks */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "block/block.h"

struct fixture {
	struct blocks *bs;
	struct err e;
	char dir[32], image[48];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	strcpy(f->dir, "/tmp/unit_block.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->image, sizeof(f->image), "%s/a.img", f->dir);
	fd = open(f->image, O_CREAT | O_RDWR, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
	f->bs = blocks_new();
	assert_non_null(f->bs);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	blocks_free(f->bs);
	unlink(f->image);
	rmdir(f->dir);
	free(f);
	return 0;
}

/* `%` in `text` stands for the image's path. */
static int add(struct fixture *f, bool drive, const char *text)
{
	char line[512] = "";
	struct kvs k = {0};
	int rc;

	for (const char *p = text; *p; p++) {
		char one[2] = {*p, 0};

		strcat(line, *p == '%' ? f->image : one);
	}
	f->e.text[0] = 0;
	rc = kvs_parse(&k, drive ? "-drive" : "-blockdev", line, NULL, &f->e);
	if (!rc)
		rc = drive ? blocks_add_drive(f->bs, &k, &f->e) : blocks_add_node(f->bs, &k, &f->e);
	kvs_free(&k);
	return rc;
}

static int add_drive(struct fixture *f, const char *text)
{
	return add(f, true, text);
}

static int add_node(struct fixture *f, const char *text)
{
	return add(f, false, text);
}

static int attach(struct fixture *f, const char *name, bool share_rw)
{
	struct block *b = block_find(f->bs, name);
	struct block_use use = {.user = name, .share_rw = share_rw, .block_size = 512};

	assert_non_null(b);
	f->e.text[0] = 0;
	return block_attach(b, &use, &f->e);
}

static struct block_info info_of(struct fixture *f, const char *name)
{
	struct block *b = block_find(f->bs, name);
	struct block_info i;

	assert_non_null(b);
	block_info(b, &i);
	return i;
}

static void drive(void **state)
{
	struct fixture *f = *state;
	struct block_info i;

	assert_int_equal(add_drive(f, "if=none,id=d0,file=%,format=raw"), 0);
	i = info_of(f, "d0");
	assert_string_equal(i.driver, "raw");
	assert_string_equal(i.filename, f->image);
	assert_int_equal(i.size, 1 << 20);
	assert_true(i.writeback);
	assert_false(i.direct || i.no_flush || i.read_only);
	assert_null(i.user);
	assert_null(block_find(f->bs, "d1"));
	assert_ptr_equal(block_next(f->bs, NULL), block_find(f->bs, "d0"));
	assert_null(block_next(f->bs, block_find(f->bs, "d0")));
}

/* qemu-system(1): what each cache= means; cache.* wins over it. */
static void cache_modes(void **state)
{
	static const struct {
		const char *opts;
		bool writeback, direct, no_flush;
	} mode[] = {
		{"cache=none", true, true, false},
		{"cache=off", true, true, false},
		{"cache=writeback", true, false, false},
		{"cache=writethrough", false, false, false},
		{"cache=directsync", false, true, false},
		{"cache=unsafe", true, false, true},
		{"cache=none,cache.direct=off", true, false, false},
		{"cache.direct=on,cache.no-flush=on,cache.writeback=off", false, true, true},
	};
	struct fixture *f = *state;

	for (unsigned n = 0; n < ARRAY_SIZE(mode); n++) {
		char text[160], id[8];
		struct block_info i;

		snprintf(id, sizeof(id), "d%u", n);
		snprintf(text, sizeof(text), "if=none,id=%s,file=%%,format=raw,%s", id,
			 mode[n].opts);
		assert_int_equal(add_drive(f, text), 0);
		i = info_of(f, id);
		assert_int_equal(i.writeback, mode[n].writeback);
		assert_int_equal(i.direct, mode[n].direct);
		assert_int_equal(i.no_flush, mode[n].no_flush);
		assert_int_equal(block_write_cache(block_find(f->bs, id)), mode[n].writeback);
	}
}

static void bad_drives(void **state)
{
	static const struct {
		const char *opts, *says;
	} bad[] = {
		{"if=none,id=d,file=%,format=qcow2", "'qcow2'"},
		{"if=none,id=d,file=%,driver=vhdx", "'vhdx'"},
		{"if=none,id=d,file=%,format=raw,driver=raw", "both 'driver' and 'format'"},
		{"if=virtio,id=d,file=%,format=raw", "if=virtio"},
		{"if=bogus,id=d,file=%,format=raw", "unsupported bus type 'bogus'"},
		{"id=d,file=%,format=raw", "if=none"},
		{"if=none,id=d,file=%,format=raw,cache=bogus", "cache"},
		{"if=none,id=d,file=%,format=raw,aio=bogus", "aio"},
		{"if=none,id=d,file=%,format=raw,aio=native", "requires cache.direct=on"},
		{"if=none,id=d,file=%,format=raw,discard=maybe", "discard"},
		{"if=none,id=d,file=%,format=raw,media=tape", "media"},
		{"if=none,id=d,file=%,format=raw,werror=foo", "werror"},
		{"if=none,id=d,file=%,format=raw,snapshot=on", "snapshot"},
		{"if=none,id=d,file=%,format=raw,serial=x", "does not support the option 'serial'"},
		{"if=none,id=d,file=%,format=raw,foo=1", "does not support the option 'foo'"},
		{"if=none,id=d,format=raw", "must be specified for \"file\""},
		{"if=none,id=d,file=/nonexistent.img,format=raw",
		 "Could not open '/nonexistent.img': No such file or directory"},
		{"if=none,id=d,file=nonexistent.img,format=raw", "a relative path"},
		{"if=none,id=d,file=/tmp,format=raw,readonly=on", "regular file"},
		{"if=none,id=d,file=/dev/null,format=raw", "regular file"},
		{"if=none,id=d,file=nbd://h/x,format=raw", "Unknown protocol 'nbd'"},
		{"if=none,id=1bad,file=%,format=raw", "expects an identifier"},
		{"if=none,id=d,file=%,format=raw,offset=100", "not multiple of 512"},
		{"if=none,id=d,file=%,format=raw,size=100", "not multiple of 512"},
		{"if=none,id=d,file=%,format=raw,offset=512,size=1M", "do not fit"},
		{"if=none,id=d,file=%,format=raw,force-share=on", "read-only"},
		{"if=none,id=d,file=%,format=raw,detect-zeroes=unmap", "discard"},
		{"if=none,id=d,file=%,format=raw,locking=sometimes", "locking"},
	};
	struct fixture *f = *state;

	for (unsigned n = 0; n < ARRAY_SIZE(bad); n++) {
		assert_true(add_drive(f, bad[n].opts) < 0);
		if (!strstr(f->e.text, bad[n].says))
			fail_msg("%s: %s", bad[n].opts, f->e.text);
		assert_null(block_next(f->bs, NULL));
	}
}

static void bad_nodes(void **state)
{
	static const struct {
		const char *opts, *says;
	} bad[] = {
		{"driver=file,node-name=n", "Parameter 'filename' is missing"},
		{"driver=raw,node-name=n", "Parameter 'file' is missing"},
		{"driver=raw,node-name=n,file=nope", "Cannot find device='nope'"},
		{"driver=file,filename=%", "'node-name' must be specified"},
		{"node-name=x", "Parameter 'driver' is missing"},
		{"driver=bogus,node-name=n", "'bogus'"},
		{"driver=file,filename=%,node-name=n,foo=1", "Parameter 'foo' is unexpected"},
		{"driver=file,filename=%,node-name=n,file=m", "'file' is unexpected"},
		{"driver=host_device,filename=%,node-name=n", "to be a block device"},
		{"driver=null-co,node-name=1bad", "Invalid node-name: '1bad'"},
		{"driver=null-co,node-name=n,size=1X", "'size'"},
		{"driver=file,filename=%,node-name=n,read-only=maybe", "'read-only'"},
		{"{\"driver\":\"raw\",\"node-name\":\"n\",\"file\":{\"driver\":\"nbd\"}}", "'nbd'"},
	};
	struct fixture *f = *state;

	for (unsigned n = 0; n < ARRAY_SIZE(bad); n++) {
		assert_true(add_node(f, bad[n].opts) < 0);
		if (!strstr(f->e.text, bad[n].says))
			fail_msg("%s: %s", bad[n].opts, f->e.text);
		assert_null(block_next(f->bs, NULL));
	}
}

static void nodes(void **state)
{
	struct fixture *f = *state;
	struct block_info i;

	assert_int_equal(add_node(f, "driver=file,filename=%,node-name=f0,cache.direct=off"), 0);
	assert_int_equal(add_node(f, "driver=raw,file=f0,node-name=r0,offset=512,size=4096"), 0);
	assert_int_equal(block_size(block_find(f->bs, "r0")), 4096);
	assert_string_equal(info_of(f, "r0").filename, f->image);
	/* JSON with an inline child that has a name of its own. */
	assert_int_equal(add_node(f, "{\"driver\":\"raw\",\"node-name\":\"r1\",\"read-only\":true,"
				     "\"file\":{\"driver\":\"file\",\"filename\":\"%\","
				     "\"node-name\":\"f1\"}}"),
			 0);
	i = info_of(f, "f1");
	assert_string_equal(i.driver, "file");
	assert_true(i.read_only && block_read_only(block_find(f->bs, "r1")));
	assert_int_equal(add_node(f, "driver=null-co,node-name=z,size=1G,read-zeroes=on"), 0);
	assert_int_equal(block_size(block_find(f->bs, "z")), 1 << 30);

	assert_int_equal(add_node(f, "driver=null-co,node-name=z"), -EEXIST);
	assert_int_equal(add_drive(f, "if=none,id=z,file=%,format=raw"), -EEXIST);
	assert_int_equal(blocks_del_node(f->bs, "f0", &f->e), -EBUSY);
	assert_int_equal(blocks_del_node(f->bs, "r0", &f->e), 0);
	assert_int_equal(blocks_del_node(f->bs, "f0", &f->e), 0);
	assert_int_equal(blocks_del_node(f->bs, "f0", &f->e), -ENOENT);
}

static void drive_without_medium(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(add_drive(f, "if=none,id=cd,media=cdrom"), 0);
	assert_null(info_of(f, "cd").filename);
	assert_int_equal(attach(f, "cd", false), -ENOMEDIUM);
	assert_int_equal(add_drive(f, "if=none,id=cd,media=cdrom"), -EEXIST);
	assert_int_equal(add_drive(f, "if=none,id=c2,file=%,format=raw,media=cdrom"), 0);
	assert_true(block_read_only(block_find(f->bs, "c2")));
}

/* The size of a file counts in whole sectors. */
static void odd_size(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(truncate(f->image, 1000), 0);
	assert_int_equal(add_drive(f, "if=none,id=d,file=%,format=raw"), 0);
	assert_int_equal(block_size(block_find(f->bs, "d")), 1024);
}

static void one_user(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(add_drive(f, "if=none,id=d,file=%,format=raw"), 0);
	assert_int_equal(attach(f, "d", false), 0);
	assert_string_equal(info_of(f, "d").user, "d");
	assert_int_equal(attach(f, "d", true), -EBUSY);
	assert_non_null(strstr(f->e.text, "already in use"));
	block_detach(block_find(f->bs, "d"));
	assert_int_equal(attach(f, "d", false), 0);
}

/* Two disks on one open image: our own locks cannot tell them apart. */
static void one_image_two_users(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(add_node(f, "driver=file,filename=%,node-name=f"), 0);
	assert_int_equal(add_node(f, "driver=raw,file=f,node-name=r"), 0);
	assert_int_equal(attach(f, "f", false), 0);
	assert_int_equal(attach(f, "r", true), -EBUSY);
	block_detach(block_find(f->bs, "f"));
	assert_int_equal(attach(f, "f", true), 0);
	assert_int_equal(attach(f, "r", true), 0);
}

/* What another process (another open file description, to be exact) sees of our locks. */
static bool locked(int fd, unsigned byte)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &fl), 0);
	return fl.l_type != F_UNLCK;
}

/* The bytes that QEMU 7.2 was seen to lock (/proc/locks): 100 reads, 101 writes, 201 denies others
 * to write. */
static void lock_bytes(void **state)
{
	struct fixture *f = *state;
	int fd = open(f->image, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(add_drive(f, "if=none,id=d,file=%,format=raw"), 0);
	assert_false(locked(fd, 100) || locked(fd, 101) || locked(fd, 201));
	assert_int_equal(attach(f, "d", false), 0);
	assert_true(locked(fd, 100) && locked(fd, 101) && locked(fd, 201));
	assert_false(locked(fd, 200) || locked(fd, 102) || locked(fd, 202));
	block_detach(block_find(f->bs, "d"));
	assert_false(locked(fd, 100) || locked(fd, 101) || locked(fd, 201));

	assert_int_equal(attach(f, "d", true), 0);
	assert_true(locked(fd, 100) && locked(fd, 101));
	assert_false(locked(fd, 201));
	block_detach(block_find(f->bs, "d"));

	assert_int_equal(add_drive(f, "if=none,id=ro,file=%,format=raw,readonly=on"), 0);
	assert_int_equal(attach(f, "ro", false), 0);
	assert_true(locked(fd, 100) && locked(fd, 201));
	assert_false(locked(fd, 101));
	close(fd);
}

/* Two opens of one file exclude each other as QEMU's do. */
static void lock_conflicts(void **state)
{
	static const struct {
		const char *a, *b;
		bool share_a, share_b;
		const char *says; /* NULL: both may */
	} pair[] = {
		{"", "", false, false, "Failed to get \"write\" lock"},
		{"", ",readonly=on", false, false, "Failed to get shared \"write\" lock"},
		{",readonly=on", "", false, false, "Failed to get \"write\" lock"},
		{",readonly=on", ",readonly=on", false, false, NULL},
		{"", "", true, true, NULL},
		{"", "", true, false, "Failed to get shared \"write\" lock"},
		{"", ",locking=off", false, false, NULL},
		{"", ",readonly=on,force-share=on", false, false, NULL},
		{"", ",file.locking=on", false, false, "Failed to get \"write\" lock"},
	};
	struct fixture *f = *state;

	for (unsigned n = 0; n < ARRAY_SIZE(pair); n++) {
		struct blocks *first = f->bs, *second = blocks_new();
		char text[160];

		snprintf(text, sizeof(text), "if=none,id=d,file=%%,format=raw%s", pair[n].a);
		assert_int_equal(add_drive(f, text), 0);
		assert_int_equal(attach(f, "d", pair[n].share_a), 0);
		f->bs = second;
		snprintf(text, sizeof(text), "if=none,id=d,file=%%,format=raw%s", pair[n].b);
		assert_int_equal(add_drive(f, text), 0);
		if (pair[n].says) {
			assert_int_equal(attach(f, "d", pair[n].share_b), -EBUSY);
			if (!strstr(f->e.text, pair[n].says))
				fail_msg("%u: %s", n, f->e.text);
			/* Nothing is held after the failure: the second one's wish does not hinder
			 * a third. */
			block_detach(block_find(first, "d"));
			assert_int_equal(attach(f, "d", pair[n].share_b), 0);
		} else {
			assert_int_equal(attach(f, "d", pair[n].share_b), 0);
		}
		blocks_free(second);
		blocks_free(first);
		f->bs = blocks_new();
	}
}

/* A relative path is resolved when it is opened, so that it still names the file afterwards. */
static void relative_path(void **state)
{
	struct fixture *f = *state;
	char cwd[256];

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(chdir(f->dir), 0);
	assert_int_equal(add_drive(f, "if=none,id=d,file=a.img,format=raw"), 0);
	assert_int_equal(chdir(cwd), 0);
	assert_string_equal(info_of(f, "d").filename, f->image);
	assert_int_equal(add_drive(f, "if=none,id=e,file=file:%,format=raw"), 0);
	assert_string_equal(info_of(f, "e").filename, f->image);
}

/* A FIFO without a writer must not stop the program. */
static void fifo(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(unlink(f->image), 0);
	assert_int_equal(mkfifo(f->image, 0600), 0);
	assert_int_equal(add_drive(f, "if=none,id=d,file=%,format=raw,readonly=on"), -EINVAL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(drive),	  TEST(cache_modes),	TEST(bad_drives),
		TEST(bad_nodes),  TEST(nodes),		TEST(drive_without_medium),
		TEST(odd_size),	  TEST(one_user),	TEST(one_image_two_users),
		TEST(lock_bytes), TEST(lock_conflicts), TEST(relative_path),
		TEST(fifo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
