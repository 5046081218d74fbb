/* SPDX-License-Identifier: MIT */
/* share_posix.c - what POSIX says of files and directories, tried in the present directory
 *
 * Run as root in an empty directory of the file system in question. Prints what is wrong, one line
 * each, and a count; status 1 when anything is. Compiles with any C compiler.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

static unsigned tried, wrong;

static void result(int ok, int line, const char *what, long got, long want)
{
	tried++;
	if (ok)
		return;
	wrong++;
	printf("line %d: %s: %ld, want %ld\n", line, what, got, want);
}

/* A call that succeeds; one that fails with an errno; a value. */
#define GOOD(call)                                                            \
	do {                                                                  \
		long rc_ = (long)(call);                                      \
		result(rc_ != -1, __LINE__, #call, rc_ == -1 ? errno : 0, 0); \
	} while (0)
#define FAILS(call, error)                                                                    \
	do {                                                                                  \
		long rc_ = (long)(call);                                                      \
		result(rc_ == -1 && errno == (error), __LINE__, #call, rc_ == -1 ? errno : 0, \
		       error);                                                                \
	} while (0)
#define IS(value, want)                                     \
	do {                                                \
		long v_ = (long)(value), w_ = (long)(want); \
		result(v_ == w_, __LINE__, #value, v_, w_); \
	} while (0)

static struct stat st(const char *path)
{
	struct stat s;

	memset(&s, 0, sizeof(s));
	if (lstat(path, &s))
		printf("stat %s: %s\n", path, strerror(errno));
	return s;
}

static int make(const char *path, mode_t mode)
{
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR, mode);

	return fd < 0 ? -1 : close(fd);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);

	GOOD(fd);
	IS(write(fd, text, strlen(text)), strlen(text));
	GOOD(close(fd));
}

static void test_open(void)
{
	char buf[16];
	int fd;

	GOOD(make("f", 0640));
	IS(st("f").st_mode, S_IFREG | 0640);
	IS(st("f").st_size, 0);
	IS(st("f").st_nlink, 1);
	IS(st("f").st_uid, 0);
	FAILS(make("f", 0640), EEXIST);
	FAILS(open("f/x", O_RDONLY), ENOTDIR);
	FAILS(open("none", O_RDONLY), ENOENT);
	FAILS(open("none/x", O_CREAT | O_RDWR, 0644), ENOENT);
	FAILS(open(".", O_WRONLY), EISDIR);
	FAILS(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	put("f", "0123456789");
	fd = open("f", O_RDWR | O_APPEND);
	GOOD(fd);
	IS(write(fd, "ab", 2), 2);
	IS(st("f").st_size, 12);
	IS(lseek(fd, 8, SEEK_SET), 8);
	IS(read(fd, buf, sizeof(buf)), 4);
	IS(memcmp(buf, "89ab", 4), 0);
	GOOD(close(fd));
	fd = open("f", O_RDWR | O_TRUNC);
	IS(st("f").st_size, 0);
	GOOD(close(fd));
	/* A file that is gone can be used by whoever has it open. */
	put("f", "gone");
	fd = open("f", O_RDWR);
	GOOD(unlink("f"));
	IS(pread(fd, buf, 16, 0), 4);
	IS(pwrite(fd, "x", 1, 4), 1);
	IS(pread(fd, buf, 16, 0), 5);
	GOOD(ftruncate(fd, 2));
	IS(pread(fd, buf, 16, 0), 2);
	GOOD(close(fd));
	FAILS(open("f", O_RDONLY), ENOENT);
}

static void test_modes(void)
{
	static const mode_t modes[] = {0, 0111, 0644, 0777, 01755, 02755, 04711, 06755};
	unsigned i;

	GOOD(make("f", 0644));
	GOOD(mkdir("d", 0755));
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		GOOD(chmod("f", modes[i]));
		IS(st("f").st_mode, S_IFREG | modes[i]);
		GOOD(chmod("d", modes[i]));
		IS(st("d").st_mode, S_IFDIR | modes[i]);
	}
	GOOD(chown("f", 123, 456));
	IS(st("f").st_uid, 123);
	IS(st("f").st_gid, 456);
	GOOD(chown("f", -1, 7));
	IS(st("f").st_uid, 123);
	IS(st("f").st_gid, 7);
	GOOD(chown("d", 123, 456));
	IS(st("d").st_gid, 456);
	GOOD(symlink("f", "l"));
	GOOD(lchown("l", 5, 6));
	IS(st("l").st_uid, 5);
	IS(st("f").st_uid, 123);
	FAILS(chmod("none", 0644), ENOENT);
	FAILS(chown("none", 1, 1), ENOENT);
	FAILS(chmod("f/x", 0644), ENOTDIR);
	GOOD(unlink("l"));
	GOOD(unlink("f"));
	GOOD(rmdir("d"));
}

static void test_times(void)
{
	struct timespec t[2] = {{1000, 0}, {2000, 500}}, omit[2] = {{0, UTIME_OMIT}, {3000, 0}};
	struct stat s;

	GOOD(make("f", 0644));
	GOOD(utimensat(AT_FDCWD, "f", t, 0));
	s = st("f");
	IS(s.st_atime, 1000);
	IS(s.st_mtime, 2000);
	if (s.st_mtim.tv_nsec) /* Linux' 9p driver counts in seconds */
		IS(s.st_mtim.tv_nsec, 500);
	GOOD(utimensat(AT_FDCWD, "f", omit, 0));
	IS(st("f").st_atime, 1000);
	IS(st("f").st_mtime, 3000);
	GOOD(utimensat(AT_FDCWD, "f", NULL, 0));
	result(st("f").st_mtime > 1000000, __LINE__, "mtime is now", st("f").st_mtime, 0);
	put("f", "x");
	GOOD(unlink("f"));
}

static void test_names(void)
{
	char name[258];
	int i;

	memset(name, 'n', 255);
	name[255] = 0;
	GOOD(make(name, 0644));
	IS(st(name).st_mode, S_IFREG | 0644);
	GOOD(unlink(name));
	memset(name, 'n', 256);
	name[256] = 0;
	FAILS(make(name, 0644), ENAMETOOLONG);
	FAILS(mkdir(name, 0755), ENAMETOOLONG);
	for (i = 1; i < 256; i++) {
		char odd[3] = {'x', (char)i, 0};

		if (i == '/')
			continue;
		if (make(odd, 0600))
			result(0, __LINE__, "a name with byte", errno, i);
		GOOD(unlink(odd));
	}
}

static void test_directories(void)
{
	GOOD(mkdir("d", 0751));
	IS(st("d").st_mode, S_IFDIR | 0751);
	FAILS(mkdir("d", 0755), EEXIST);
	FAILS(mkdir("none/d", 0755), ENOENT);
	GOOD(make("f", 0644));
	FAILS(mkdir("f/d", 0755), ENOTDIR);
	GOOD(make("d/f", 0644));
	FAILS(rmdir("d"), ENOTEMPTY);
	FAILS(rmdir("f"), ENOTDIR);
	FAILS(rmdir("none"), ENOENT);
	FAILS(rmdir("d/."), EINVAL);
	FAILS(unlink("d"), EISDIR);
	FAILS(unlink("none"), ENOENT);
	FAILS(unlink("f/x"), ENOTDIR);
	GOOD(unlink("d/f"));
	GOOD(mkdir("d/e", 0755));
	IS(st("d/..").st_ino, st(".").st_ino);
	GOOD(rmdir("d/e"));
	GOOD(rmdir("d"));
	GOOD(unlink("f"));
}

static void test_links(void)
{
	char buf[300];

	put("f", "one");
	GOOD(link("f", "g"));
	IS(st("f").st_nlink, 2);
	IS(st("f").st_ino, st("g").st_ino);
	put("g", "changed");
	IS(st("f").st_size, 7);
	FAILS(link("f", "g"), EEXIST);
	FAILS(link("none", "h"), ENOENT);
	GOOD(mkdir("d", 0755));
	FAILS(link("d", "h"), EPERM);
	GOOD(link("f", "d/h"));
	IS(st("f").st_nlink, 3);
	GOOD(unlink("f"));
	GOOD(unlink("d/h"));
	IS(st("g").st_nlink, 1);
	GOOD(symlink("g", "s"));
	IS(st("s").st_mode & S_IFMT, S_IFLNK);
	IS(readlink("s", buf, sizeof(buf)), 1);
	FAILS(symlink("g", "s"), EEXIST);
	FAILS(readlink("g", buf, sizeof(buf)), EINVAL);
	FAILS(open("s", O_RDONLY | O_NOFOLLOW), ELOOP);
	GOOD(close(open("s", O_RDONLY)));
	GOOD(symlink("loop", "loop"));
	FAILS(open("loop", O_RDONLY), ELOOP);
	memset(buf, 't', 255);
	buf[255] = 0;
	GOOD(symlink(buf, "long"));
	IS(readlink("long", buf, sizeof(buf)), 255);
	GOOD(unlink("long"));
	GOOD(unlink("loop"));
	GOOD(unlink("s"));
	GOOD(unlink("g"));
	GOOD(rmdir("d"));
}

static void test_nodes(void)
{
	GOOD(mkfifo("p", 0640));
	IS(st("p").st_mode, S_IFIFO | 0640);
	FAILS(mkfifo("p", 0640), EEXIST);
	FAILS(mkfifo("none/p", 0640), ENOENT);
	GOOD(mknod("c", S_IFCHR | 0600, makedev(1, 3)));
	IS(st("c").st_mode, S_IFCHR | 0600);
	IS(st("c").st_rdev, makedev(1, 3));
	GOOD(mknod("r", S_IFREG | 0600, 0));
	IS(st("r").st_mode, S_IFREG | 0600);
	GOOD(unlink("p"));
	GOOD(unlink("c"));
	GOOD(unlink("r"));
}

static void test_rename(void)
{
	ino_t ino;

	put("a", "1");
	put("b", "22");
	ino = st("a").st_ino;
	GOOD(rename("a", "b"));
	IS(st("b").st_ino, ino);
	IS(st("b").st_size, 1);
	FAILS(rename("a", "b"), ENOENT);
	GOOD(rename("b", "b"));
	GOOD(mkdir("d", 0755));
	GOOD(mkdir("e", 0755));
	GOOD(rename("b", "d/b"));
	IS(st("d/b").st_ino, ino);
	FAILS(rename("e", "d"), ENOTEMPTY);
	FAILS(rename("d", "d/b/x"), ENOTDIR);
	FAILS(rename("d", "d/x"), EINVAL);
	FAILS(rename("d/b", "e"), EISDIR);
	FAILS(rename("e", "d/b"), ENOTDIR);
	GOOD(rename("d", "e"));
	IS(st("e/b").st_ino, ino);
	FAILS(rename("d", "f"), ENOENT);
	GOOD(mkdir("g", 0755));
	GOOD(rename("e", "g/e"));
	IS(st("g/e/b").st_ino, ino);
	GOOD(unlink("g/e/b"));
	GOOD(rmdir("g/e"));
	GOOD(rmdir("g"));
}

static void test_truncate(void)
{
	char buf[8] = "";
	int fd;

	put("f", "0123456789");
	GOOD(truncate("f", 4));
	IS(st("f").st_size, 4);
	GOOD(truncate("f", 100000));
	IS(st("f").st_size, 100000);
	fd = open("f", O_RDWR);
	IS(pread(fd, buf, 8, 0), 8);
	IS(memcmp(buf, "0123\0\0\0\0", 8), 0);
	GOOD(ftruncate(fd, 2));
	IS(st("f").st_size, 2);
	FAILS(ftruncate(fd, -1), EINVAL);
	GOOD(close(fd));
	FAILS(truncate("none", 1), ENOENT);
	FAILS(truncate(".", 1), EISDIR);
	GOOD(unlink("f"));
}

int main(void)
{
	umask(0);
	test_open();
	test_modes();
	test_times();
	test_names();
	test_directories();
	test_links();
	test_nodes();
	test_rename();
	test_truncate();
	printf("%u tried, %u wrong\n", tried, wrong);
	return wrong > 0;
}
