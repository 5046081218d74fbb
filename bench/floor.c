/* SPDX-License-Identifier: MIT */
/* floor.c - what the kernel takes for the bare operations: no device model can be faster than that
 *
 * The arguments are two images, one in memory and one on a real file system, both in the page
 * cache. Microseconds of CPU each.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define TIMES	  50000
#define BUFFERS	  (512 * KiB) /* what a queue of depth 128 cycles through */
#define FILE_9P	  (32 * MiB)  /* as the shared folder's, read by so many requests at a time: */
#define DEPTH_9P  4
#define HEADER_9P 24 /* of msize; so pieces of the file do not begin with its pages */
#define PAGE	  4096
#define TAP_HEAD  12

struct floor {
	int fd, tap, sender, receiver;
	uint64_t pages; /* of the image */
	uint8_t *buf;
	const uint8_t *map;
	size_t len;
	uint64_t random;
};

static uint64_t draw(struct floor *f, uint64_t below)
{
	f->random ^= f->random << 13;
	f->random ^= f->random >> 7;
	f->random ^= f->random << 17;
	return f->random % below;
}

static void call(struct floor *f, unsigned i)
{
	syscall(SYS_getppid);
}

static void copy(struct floor *f, unsigned i)
{
	memcpy(f->buf + i * PAGE % BUFFERS, f->map + draw(f, f->pages) * PAGE, PAGE);
}

static void read_page(struct floor *f, unsigned i)
{
	if (pread(f->fd, f->buf + i * PAGE % BUFFERS, PAGE, (off_t)(draw(f, f->pages) * PAGE)) !=
	    PAGE)
		guest_panic("image: %s", strerror(errno));
}

/* The next f->len bytes of the image, as a 9p client with several requests reads its file. */
static void read_on(struct floor *f, unsigned i)
{
	uint64_t pieces = MIN(f->pages * PAGE, FILE_9P) / f->len;

	if (pread(f->fd, f->buf + i % DEPTH_9P * BUFFERS, f->len, (off_t)(i % pieces * f->len)) !=
	    (ssize_t)f->len)
		guest_panic("image: %s", strerror(errno));
}

static void write_tap(struct floor *f, unsigned i)
{
	struct iovec iov[2] = {{f->buf, TAP_HEAD}, {f->buf + TAP_HEAD, f->len}};

	if (writev(f->tap, iov, 2) < 0)
		guest_panic("tap: %s", strerror(errno));
}

/* What libslirp does for each datagram of the guest. */
static void send_datagram(struct floor *f, unsigned i)
{
	int ttl = 63;

	if (setsockopt(f->sender, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)) ||
	    send(f->sender, f->buf, f->len, 0) < 0)
		guest_panic("loopback: %s", strerror(errno));
}

/* This thread's. */
static double cpu_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The best of five. */
static void measure_n(struct floor *f, const char *name, void (*fn)(struct floor *f, unsigned i),
		      unsigned times)
{
	static const char *separator = "{";
	double best = 0;

	for (unsigned round = 0; round < 5; round++) {
		double begin = cpu_now(), us;

		for (unsigned i = 0; i < times; i++)
			fn(f, i);
		us = (cpu_now() - begin) * 1e6 / times;
		best = round && best < us ? best : us;
	}
	printf("%s\"%s\": %.3f", separator, name, best);
	separator = ", ";
}

static void measure(struct floor *f, const char *name, void (*fn)(struct floor *f, unsigned i))
{
	measure_n(f, name, fn, TIMES);
}

static void open_image(struct floor *f, const char *path)
{
	uint64_t size;

	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (f->fd < 0)
		guest_panic("%s: %s", path, strerror(errno));
	size = (uint64_t)lseek(f->fd, 0, SEEK_END);
	f->pages = size / PAGE;
	f->map = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, f->fd, 0);
	if (f->map == MAP_FAILED || !f->pages)
		guest_panic("%s: %s", path, strerror(errno));
}

static void close_image(struct floor *f)
{
	munmap((void *)f->map, f->pages * PAGE);
	close(f->fd);
}

static void bring_up(const char *name, short flags)
{
	struct ifreq ifr = {.ifr_flags = (short)(IFF_UP | flags)};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	if (s < 0 || ioctl(s, SIOCSIFFLAGS, &ifr))
		guest_panic("%s: %s", name, strerror(errno));
	close(s);
}

static void open_tap(struct floor *f, const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int head = TAP_HEAD;

	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	f->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (f->tap < 0 || ioctl(f->tap, TUNSETIFF, &ifr) || ioctl(f->tap, TUNSETVNETHDRSZ, &head))
		guest_panic("tap: %s", strerror(errno));
	bring_up(name, IFF_NOARP);
}

/* Takes what comes, until an empty one. */
static void *drain(void *arg)
{
	const struct floor *f = arg;
	static uint8_t drop[2048];

	while (recv(f->receiver, drop, sizeof(drop), 0) > 0) {}
	return NULL;
}

static void measure_datagrams(struct floor *f)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	pthread_t thread;

	f->receiver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	f->sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (f->receiver < 0 || f->sender < 0 ||
	    bind(f->receiver, (struct sockaddr *)&a, sizeof(a)) ||
	    getsockname(f->receiver, (struct sockaddr *)&a, &len) ||
	    connect(f->sender, (struct sockaddr *)&a, sizeof(a)) ||
	    pthread_create(&thread, NULL, drain, f))
		guest_panic("loopback: %s", strerror(errno));
	f->len = 64;
	measure(f, "setsockopt and send, 64 B by UDP", send_datagram);
	/* It may be dropped while there is no room. */
	do
		send(f->sender, NULL, 0, 0);
	while (pthread_tryjoin_np(thread, NULL));
	close(f->sender);
	close(f->receiver);
}

void bench_floor(struct bench *b)
{
	struct floor f = {.random = 88172645463325252ULL};

	f.buf = mmap(NULL, DEPTH_9P * BUFFERS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	if (f.buf == MAP_FAILED || !b->config.args[0] || !b->config.args[1])
		guest_panic("floor: two images are needed");
	measure(&f, "system call", call);
	open_image(&f, b->config.args[0]);
	measure(&f, "memcpy 4k", copy);
	measure(&f, "pread 4k, tmpfs", read_page);
	f.len = 128 * KiB - HEADER_9P;
	measure_n(&f, "pread 128k, 4 buffers, tmpfs", read_on, TIMES / 50);
	f.len = 512 * KiB - HEADER_9P;
	measure_n(&f, "pread 512k, 4 buffers, tmpfs", read_on, TIMES / 200);
	close_image(&f);
	open_image(&f, b->config.args[1]);
	measure(&f, "pread 4k, page cache", read_page);
	close_image(&f);
	if (b->tap) {
		open_tap(&f, b->tap);
		/* No header, an Ethernet frame of an unassigned type. */
		memset(f.buf, 0, BUFFERS);
		f.buf[TAP_HEAD + 12] = 0x88;
		f.buf[TAP_HEAD + 13] = 0xb5;
		f.len = 64;
		measure(&f, "writev to a tap, 64 B", write_tap);
		f.len = 1514;
		measure(&f, "writev to a tap, 1500 B", write_tap);
		bring_up("lo", IFF_LOOPBACK); /* we have our own namespace then */
	}
	measure_datagrams(&f);
	puts("}");
}
