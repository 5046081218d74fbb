/* SPDX-License-Identifier: MIT */
/* share_fsx.c - FILE SECONDS SEED [mmap OPERATIONS]: random work on one file, compared with what it
 * must be
 *
 * Writes, reads, truncates and extends at random places and lengths, closes and opens again, and
 * with `mmap` also reads and writes through shared mappings. A copy in memory says what every byte
 * has to be. Prints the number of operations, or the last ones before the first difference; then
 * status 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_SIZE (1 << 20)
#define MAX_LEN	 (96 * 1024)
#define HISTORY	 16

static unsigned char want[MAX_SIZE], buf[MAX_SIZE];
static size_t size;
static unsigned long long state, count;
static struct {
	const char *what;
	size_t at, len;
} history[HISTORY];
static const char *path;
static int fd;

static unsigned rnd(unsigned below)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(state >> 33) % below;
}

static void die(const char *why, size_t at)
{
	unsigned i;

	printf("operation %llu: %s at %lu (%s)\n", count, why, (unsigned long)at, strerror(errno));
	/* Whose mistake? What a client keeps in its pages a new look at the file does not see. */
	if (at < size && (fd = open(path, O_RDONLY)) >= 0 && pread(fd, buf, 1, (off_t)at) == 1)
		printf("there must be %02x; read anew it is %02x\n", want[at], buf[0]);
	for (i = 0; i < HISTORY; i++) {
		unsigned n = (unsigned)((count + i + 1) % HISTORY);

		if (history[n].what)
			printf("  %s %lu+%lu\n", history[n].what, (unsigned long)history[n].at,
			       (unsigned long)history[n].len);
	}
	exit(1);
}

static void compare(const unsigned char *got, size_t at, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (got[i] != want[at + i])
			die("wrong byte", at + i);
}

static void fill(unsigned char *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = (unsigned char)rnd(256);
}

static void grow(size_t to)
{
	if (to > size)
		size = to;
}

static void do_write(size_t at, size_t len)
{
	fill(want + at, len);
	if (at > size)
		memset(want + size, 0, at - size);
	grow(at + len);
	if (pwrite(fd, want + at, len, (off_t)at) != (ssize_t)len)
		die("write", at);
}

static void do_read(size_t at, size_t len)
{
	size_t there = at < size ? size - at : 0;

	if (len < there)
		there = len;
	if (pread(fd, buf, len, (off_t)at) != (ssize_t)there)
		die("read", at);
	compare(buf, at, there);
}

static void do_truncate(size_t to)
{
	if (to > size)
		memset(want + size, 0, to - size);
	size = to;
	if (ftruncate(fd, (off_t)to))
		die("truncate", to);
}

static void do_map(size_t at, size_t len, int write_it)
{
	size_t page = at & ~(size_t)4095, skip = at - page;
	unsigned char *p;

	if (at >= size)
		return;
	if (len > size - at)
		len = size - at;
	p = mmap(NULL, skip + len, write_it ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd,
		 (off_t)page);
	if (p == MAP_FAILED)
		die("mmap", at);
	compare(p + skip, at, len);
	if (write_it) {
		fill(want + at, len);
		memcpy(p + skip, want + at, len);
		if (msync(p, skip + len, MS_SYNC))
			die("msync", at);
	}
	if (munmap(p, skip + len))
		die("munmap", at);
}

static void reopen(void)
{
	struct stat st;

	if (close(fd))
		die("close", 0);
	fd = open(path, O_RDWR);
	if (fd < 0 || fstat(fd, &st))
		die("open", 0);
	if ((size_t)st.st_size != size)
		die("wrong size", (size_t)st.st_size);
}

static void one(int maps)
{
	static const char *const names[] = {"write",  "read", "truncate",
					    "reopen", "map",  "map-write"};
	unsigned r = rnd(maps ? 100 : 80), op;
	size_t at = rnd(MAX_SIZE - MAX_LEN), len = 1 + rnd(rnd(2) ? MAX_LEN : 5000);

	op = r < 35 ? 0 : r < 70 ? 1 : r < 77 ? 2 : r < 80 ? 3 : r < 90 ? 4 : 5;
	history[count % HISTORY].what = names[op];
	history[count % HISTORY].at = at;
	history[count % HISTORY].len = len;
	if (op == 0)
		do_write(at, len);
	else if (op == 1)
		do_read(at, len);
	else if (op == 2)
		do_truncate(at);
	else if (op == 3)
		reopen();
	else
		do_map(at, len, op == 5);
	count++;
}

int main(int argc, char **argv)
{
	time_t end;
	unsigned long long most;
	int maps;

	if (argc < 4)
		return 2;
	path = argv[1];
	end = time(NULL) + atoi(argv[2]);
	state = strtoull(argv[3], NULL, 0);
	maps = argc > 4;
	most = argc > 5 ? strtoull(argv[5], NULL, 0) : -1ULL;
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		die("open", 0);
	while (count < most && time(NULL) < end)
		one(maps);
	reopen();
	do_read(0, MAX_SIZE);
	printf("%llu operations\n", count);
	unlink(path);
	return 0;
}
