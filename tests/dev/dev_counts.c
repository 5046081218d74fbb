/* SPDX-License-Identifier: MIT */
/* dev_counts.c - what a request may cost, in things that can be counted on any machine: interrupts,
 * system calls, allocations
 *
 * The driver is a well-behaved one with event indices: on an interrupt it takes all that is done,
 * asks for interrupts again, adds as many requests as it took and kicks once. Each bound is the
 * target of docs/performance.md. An interrupt is seen by what it writes, so two that follow each
 * other closely are one here; unit_ring counts them one by one.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tb.h"

#define DISK	(8 * MiB)
#define SEGS	24 /* more than a chain holds by itself */
#define WARM_UP 2000
#define MANY	20000

static char *image; /* where the page cache is */

/* --- a disk kept at a depth --- */

struct load {
	struct tb *t;
	uint64_t at[GBLK_SLOTS];
	unsigned segs;
	uint64_t interrupts, requests, seed;
};

static void add(struct load *l, unsigned slot)
{
	struct gseg s[SEGS];

	l->seed = l->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	for (unsigned i = 0; i < l->segs; i++)
		s[i] = (struct gseg){l->at[slot] + i * (4096 / l->segs), 4096 / l->segs};
	s[l->segs - 1].len = 4096 - (l->segs - 1) * (4096 / l->segs);
	assert_non_null(
		gblk_add(&l->t->blk, 0, GBLK_IN, l->seed / 65536 % (DISK / 4096) * 8, s, l->segs));
}

static void run(struct load *l, unsigned depth, unsigned requests)
{
	struct gblk *b = &l->t->blk;
	struct gvq *q = &b->q[0];
	unsigned added = 0, done = 0;

	l->interrupts = l->requests = 0;
	for (; added < depth; added++)
		add(l, added);
	gvq_kick(q);
	while (done < requests) {
		unsigned before = done;
		struct gblk_req *r;

		assert_true(guest_wait(&l->t->g, gpci_msix_take(&b->v.pci, q->vector)));
		l->interrupts++;
		q->no_interrupts = true;
		do {
			while ((r = gblk_done(b, 0, NULL))) {
				assert_int_equal(r->mem[16], GBLK_OK);
				done++;
			}
		} while (gvq_interrupts_on(q));
		for (; before < done && added < requests; before++, added++)
			add(l, added % depth);
		gvq_kick(q);
	}
	l->requests = done;
}

static void start_load_on(struct tb *t, struct load *l, const char *drive, const char *props,
			  unsigned segs)
{
	tb_arg(t, "-drive");
	tb_arg(t, "if=none,id=d0,format=raw,file=%s%s", image, drive);
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=1%s", props);
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, GV_F_RING | GBLK_F_FLUSH);
	*l = (struct load){.t = t, .segs = segs};
	for (unsigned i = 0; i < GBLK_SLOTS; i++)
		l->at[i] = guest_alloc(&t->g, 4096, 4096);
}

static void start_load(struct tb *t, struct load *l, const char *drive, unsigned segs)
{
	start_load_on(t, l, drive, "", segs);
}

/* --- interrupts --- */

static void interrupts(void **state)
{
	struct tb *t = *state;
	struct load l;

	start_load(t, &l, "", 1);
	run(&l, 32, WARM_UP);
	run(&l, 32, MANY);
	print_message("%.3f interrupts per request\n", (double)l.interrupts / (double)l.requests);
	assert_true(l.interrupts <= l.requests / 4);
	tb_stop(t);
}

/* One request, one interrupt: none is lost, none is for nothing. */
static void one_each(void **state)
{
	struct tb *t = *state;
	struct load l;

	start_load(t, &l, "", 1);
	run(&l, 1, 1000);
	assert_int_equal(l.interrupts, 1000);
	assert_false(gpci_msix_take(&t->blk.v.pci, t->blk.q[0].vector));
	tb_stop(t);
}

/* --- system calls, by strace --- */

static bool traced(struct tb *t)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "! grep -q 'TracerPid:[^1-9]*$' /proc/%d/task/*/status",
		 (int)t->g.pid);
	return !system(cmd);
}

static pid_t trace(struct tb *t, const char *out)
{
	char target[16];
	pid_t pid = fork();

	snprintf(target, sizeof(target), "%d", (int)t->g.pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGINT);
		execlp("strace", "strace", "-q", "-f", "-c", "-o", out, "-p", target, NULL);
		_exit(127);
	}
	assert_true(pid > 0);
	assert_true(guest_wait(&t->g, traced(t)));
	return pid;
}

/* The calls of the line that ends in "total". */
static unsigned long total_calls(const char *path)
{
	unsigned long calls = 0;
	char line[256];
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, " total"))
			assert_int_equal(sscanf(line, "%*s %*s %*s %lu", &calls), 1);
	fclose(f);
	assert_true(calls);
	return calls;
}

static double calls_per_request(struct tb *t, struct load *l, unsigned depth)
{
	char out[64];
	double n;
	pid_t pid;

	run(l, depth, WARM_UP);
	snprintf(out, sizeof(out), "%s/strace", t->dir);
	pid = trace(t, out);
	run(l, depth, MANY);
	kill(pid, SIGINT);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	n = (double)total_calls(out) / (double)l->requests;
	print_message("depth %u: %.3f system calls per request\n", depth, n);
	return n;
}

static void need_strace(void)
{
	if (system("strace -q -o /dev/null true 2>/dev/null")) {
		print_message("strace is missing, or may not trace\n");
		skip();
	}
}

static void calls(void **state, const char *drive, double at_32, double at_128)
{
	struct tb *t = *state;
	struct load l;

	tb_skip_qemu("it was seen to need 6 to 10 system calls per request here");
	need_strace();
	start_load(t, &l, drive, 1);
	assert_true(calls_per_request(t, &l, 32) <= at_32);
	assert_true(calls_per_request(t, &l, 128) <= at_128);
	tb_stop(t);
}

/* What the page cache has: a wake-up, the bell and its answer, one submission. */
static void calls_cached(void **state)
{
	calls(state, "", 0.15, 0.05);
}

/* Everything goes to the device and comes back when it likes: a wake-up, perhaps, and a submission.
 */
static void calls_direct(void **state)
{
	calls(state, ",cache=none", 3, 3);
}

/* A limit to what is collected shows in the number of submissions. */
static void calls_limited(void **state)
{
	struct tb *t = *state;
	struct load l;
	double n;

	tb_skip_qemu("it was seen to need 6 to 10 system calls per request here");
	need_strace();
	tb_arg(t, "-object");
	tb_arg(t, "iothread,id=io,poll-max-ns=0,aio-max-batch=2");
	start_load_on(t, &l, "", ",iothread=io", 1);
	n = calls_per_request(t, &l, 32);
	assert_true(n >= 0.5 && n < 1);
	tb_stop(t);
}

/* --- allocations --- */

static uint64_t *allocations;

static void count_allocations(void **state)
{
#ifndef COUNT_ALLOCATIONS
	print_message("a sanitizer has its own heap\n");
	skip();
#else
	int fd = memfd_create("allocations", MFD_CLOEXEC);
	char path[64];

	tb_skip_qemu("its heap is its own affair");
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	allocations = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(allocations, MAP_FAILED);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	setenv("COUNT_ALLOCATIONS", path, 1);
	setenv("LD_PRELOAD", COUNT_ALLOCATIONS, 1);
#endif
}

/* The device model has started; who starts now is not counted. */
static uint64_t allocated(void)
{
	uint64_t n = __atomic_load_n(allocations, __ATOMIC_RELAXED);

	unsetenv("LD_PRELOAD");
	assert_true(n); /* it counts */
	return n;
}

static void disk_allocations(void **state, const char *drive, unsigned segs)
{
	struct tb *t = *state;
	struct load l;
	uint64_t n;

	count_allocations(state);
	start_load(t, &l, drive, segs);
	run(&l, 128, WARM_UP);
	run(&l, 1, 10);
	n = allocated();
	run(&l, 128, MANY);
	run(&l, 1, 1000);
	assert_int_equal(allocated() - n, 0);
	tb_stop(t);
}

static void no_allocations_cached(void **state)
{
	disk_allocations(state, "", 1);
}

static void no_allocations_direct(void **state)
{
	disk_allocations(state, ",cache=none", 1);
}

static void no_allocations_threads(void **state)
{
	disk_allocations(state, ",aio=threads", 1);
}

static void no_allocations_scattered(void **state)
{
	disk_allocations(state, "", SEGS);
}

static void exchange(struct tb *t, int peer, unsigned frames)
{
	static const uint8_t own[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
	uint8_t out[1514] = {0}, in[2048];
	struct gnet_hdr h;

	memcpy(out, own, 6);
	for (unsigned i = 0; i < frames; i++) {
		assert_int_equal(send(peer, out, sizeof(out), 0), sizeof(out));
		assert_int_equal(gnet_recv(&t->net, 0, &h, in, sizeof(in), GUEST_WAIT_MS),
				 sizeof(out));
		gnet_send(&t->net, 0, NULL, out, sizeof(out));
		assert_int_equal(recv(peer, in, sizeof(in), 0), sizeof(out));
	}
}

static void no_allocations_net(void **state)
{
	struct tb *t = *state;
	uint64_t n;
	int sv[2];

	count_allocations(state);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	fcntl(sv[1], F_SETFD, FD_CLOEXEC);
	t->config.keep_fds[0] = sv[0];
	tb_arg(t, "-netdev");
	tb_arg(t, "dgram,id=n0,local.type=fd,local.str=%d", sv[0]);
	tb_device(t, "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56");
	tb_start(t);
	close(sv[0]);
	gnet_open(&t->g, &t->net, 0, 1, 1024, GV_F_RING | GNET_F_MRG_RXBUF);
	exchange(t, sv[1], 100);
	n = allocated();
	exchange(t, sv[1], 2000);
	assert_int_equal(allocated() - n, 0);
	close(sv[1]);
	tb_stop(t);
}

static void no_allocations_rng(void **state)
{
	struct tb *t = *state;
	uint8_t buf[256];
	uint64_t n = 0;

	count_allocations(state);
	tb_device(t, "virtio-rng-pci");
	tb_start(t);
	grng_open(&t->g, &t->rng, 0);
	for (unsigned i = 0; i < 2100; i++) {
		if (i == 100)
			n = allocated();
		assert_true(grng_read(&t->rng, buf, sizeof(buf), GUEST_WAIT_MS) > 0);
	}
	assert_int_equal(allocated() - n, 0);
	tb_stop(t);
}

/* --- */

/* On a file system that O_DIRECT and the page cache know. */
static void make_image(void)
{
	static char path[] = "/var/tmp/dev_counts-XXXXXX";
	static uint8_t buf[1 << 20];
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	tb_pattern(buf, sizeof(buf), 1);
	for (unsigned i = 0; i < DISK / sizeof(buf); i++)
		assert_int_equal(write(fd, buf, sizeof(buf)), sizeof(buf));
	fsync(fd);
	close(fd);
	image = path;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(interrupts),
		tb_test(one_each),
		tb_test(calls_cached),
		tb_test(calls_limited),
		tb_test(calls_direct),
		tb_test(no_allocations_cached),
		tb_test(no_allocations_direct),
		tb_test(no_allocations_threads),
		tb_test(no_allocations_scattered),
		tb_test(no_allocations_net),
		tb_test(no_allocations_rng),
	};
	int failed;

	make_image();
	failed = tb_run("counts", tests);
	unlink(image);
	return failed;
}
