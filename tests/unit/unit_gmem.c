/* SPDX-License-Identifier: MIT */
/* unit_gmem.c - guest memory on a fake hypervisor: ranges, holes, invalidation with pins held,
 * threads
 *
 * The fake domain's RAM is a memfd; page n of generation g begins with the number n and g, so that
 * a stale or displaced mapping shows. Holes are mapped PROT_NONE: touching one is a crash.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "mem/gmem.h"

#define GRANULE (GMEM_GRANULE_PAGES * PAGE)

struct domain {
	int fd; /* page n of the file is guest page n */
	atomic_int maps, unmaps, aside_maps, live;
	uint64_t hole_first, hole_end; /* pages that are not there */
	bool fail;
};

static void *domain_map(void *ctx, void *at, uint64_t gfn, unsigned pages, uint64_t *holes)
{
	struct domain *d = ctx;
	uint8_t *p;

	if (d->fail) {
		errno = ENOENT;
		return NULL;
	}
	p = mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0), d->fd,
		 (off_t)(gfn * PAGE));
	assert_ptr_not_equal(p, MAP_FAILED);
	for (unsigned i = 0; i < pages; i++) {
		bool outside = holes[i / 64] >> (i % 64) & 1; /* told by the caller: no RAM there */

		if (gfn + i >= d->hole_first && gfn + i < d->hole_end)
			holes[i / 64] |= 1ULL << (i % 64);
		if (outside || (holes[i / 64] >> (i % 64) & 1))
			assert_int_equal(mprotect(p + i * PAGE, PAGE, PROT_NONE), 0);
	}
	atomic_fetch_add(&d->maps, 1);
	atomic_fetch_add(&d->live, 1);
	if (!at)
		atomic_fetch_add(&d->aside_maps, 1);
	return p;
}

static void domain_unmap(void *ctx, void *at, unsigned pages, bool reserve)
{
	struct domain *d = ctx;

	if (reserve)
		assert_ptr_equal(mmap(at, pages * PAGE, PROT_NONE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
				      0),
				 at);
	else
		munmap(at, pages * PAGE);
	atomic_fetch_add(&d->unmaps, 1);
	atomic_fetch_sub(&d->live, 1);
}

static const struct gmem_ops ops = {domain_map, domain_unmap};

/* RAM: 0-640 KiB, 1 MiB-13 MiB, 4 GiB-4 GiB+8 MiB. */
static const struct hv_range ram[] = {{0, 640 * KiB}, {1 * MiB, 12 * MiB}, {4 * GiB, 8 * MiB}};

struct fixture {
	struct domain d;
	struct loop *loop;
	struct gmem *gm;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;

	f->d.fd = memfd_create("domain", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->d.fd, 4 * GiB + 8 * MiB), 0);
	f->gm = gmem_new(ram, ARRAY_SIZE(ram), GMEM_GRANULE_PAGES, &ops, &f->d, &e);
	f->loop = loop_new("test");
	*state = f;
	return f->gm ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	gmem_free(f->gm);
	assert_int_equal(f->d.live, 0);
	loop_free(f->loop);
	close(f->d.fd);
	free(f);
	return 0;
}

static void edges(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[8];
	uint32_t v = 0;

	/* Nothing is mapped before it is used. */
	assert_int_equal(f->d.maps, 0);
	assert_true(gmem_is_ram(f->gm, 0, 640 * KiB));
	assert_false(gmem_is_ram(f->gm, 0, 640 * KiB + 1));
	assert_false(gmem_is_ram(f->gm, 640 * KiB, 1));
	assert_false(gmem_is_ram(f->gm, UINT64_MAX, 2));
	assert_false(gmem_is_ram(f->gm, UINT64_MAX - 3, 4));
	assert_false(gmem_is_ram(f->gm, 1 * MiB, UINT64_MAX));
	assert_int_equal(gmem_pin(f->gm, 0, 0, iov, 8), 0);
	assert_int_equal(gmem_pin(f->gm, 13 * MiB - 1, 2, iov, 8), -EFAULT);
	assert_int_equal(gmem_pin(f->gm, 13 * MiB, 1, iov, 8), -EFAULT);
	assert_int_equal(gmem_pin(f->gm, UINT64_MAX - 8, 16, iov, 8), -EFAULT);
	assert_int_equal(gmem_write(f->gm, 640 * KiB - 2, &v, 4), -EFAULT);
	assert_int_equal(f->d.maps, 0);

	/* The last bytes of a range, the last of all. */
	v = 0x12345678;
	assert_int_equal(gmem_write(f->gm, 4 * GiB + 8 * MiB - 4, &v, 4), 0);
	v = 0;
	assert_int_equal(pread(f->d.fd, &v, 4, 4 * GiB + 8 * MiB - 4), 4);
	assert_int_equal(v, 0x12345678);
	assert_int_equal(f->d.maps, 1);
}

static void across_granules(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[64];
	struct iovec iov[4];
	uint64_t total = 0;
	int n;

	/* Within the window neighbours are contiguous, so one element is enough. */
	n = gmem_pin(f->gm, GRANULE - 16, 2 * GRANULE + 32, iov, 4);
	assert_in_range(n, 1, 4);
	for (int i = 0; i < n; i++)
		total += iov[i].iov_len;
	assert_int_equal(total, 2 * GRANULE + 32);
	assert_int_equal(n, 1);
	assert_int_equal(f->d.maps, 4);
	((uint8_t *)iov[0].iov_base)[15] = 0xaa;
	((uint8_t *)iov[0].iov_base)[16] = 0xbb;
	gmem_unpin(f->gm, iov, (unsigned)n);
	assert_int_equal(gmem_read(f->gm, GRANULE - 32, buf, sizeof(buf)), 0);
	assert_int_equal(buf[31], 0xaa);
	assert_int_equal(buf[32], 0xbb);
	memset(buf, 0x5a, sizeof(buf));
	assert_int_equal(gmem_write(f->gm, 2 * GRANULE - 32, buf, sizeof(buf)), 0);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(pread(f->d.fd, buf, sizeof(buf), 2 * GRANULE - 32), sizeof(buf));
	assert_int_equal(buf[0], 0x5a);
	assert_int_equal(buf[63], 0x5a);
	assert_int_equal(gmem_pin(f->gm, 1 * MiB, 4, iov, 0), -E2BIG);
}

/* Ballooned pages: neighbours work, the hole is refused, also in the middle of a longer range. */
static void holes(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[4];
	uint32_t v = 7;

	f->d.hole_first = 2 * MiB / PAGE;
	f->d.hole_end = f->d.hole_first + 3;
	assert_int_equal(gmem_write(f->gm, 2 * MiB - 4, &v, 4), 0);
	assert_int_equal(gmem_write(f->gm, 2 * MiB, &v, 4), -EFAULT);
	assert_int_equal(gmem_write(f->gm, 2 * MiB - 2, &v, 4), -EFAULT);
	assert_int_equal(gmem_pin(f->gm, 1 * MiB, 8 * MiB, iov, 4), -EFAULT);
	assert_int_equal(gmem_write(f->gm, 2 * MiB + 3 * PAGE, &v, 4), 0);
	assert_int_equal(gmem_read(f->gm, 2 * MiB + 2 * PAGE, &v, 4), -EFAULT);
	/* It comes back with the next invalidation, and others go. */
	f->d.hole_first = 3 * MiB / PAGE;
	f->d.hole_end = f->d.hole_first + 1;
	gmem_invalidate(f->gm);
	assert_int_equal(gmem_write(f->gm, 2 * MiB, &v, 4), 0);
	assert_int_equal(gmem_write(f->gm, 3 * MiB, &v, 4), -EFAULT);
}

/* A window with holes is mapped once, however many pages are asked for in vain. */
static void pages_that_are_there(void **state)
{
	struct fixture *f = *state;
	uint64_t first = 1 * MiB / PAGE;
	uint8_t buf[16 * PAGE];

	for (unsigned i = 0; i < 16; i++) {
		uint8_t n = (uint8_t)(i + 1);

		assert_int_equal(pwrite(f->d.fd, &n, 1, (off_t)((first + i) * PAGE)), 1);
	}
	memset(buf, 0xa5, sizeof(buf));
	f->d.hole_first = first + 3;
	f->d.hole_end = first + 5;
	assert_int_equal(gmem_read_pages(f->gm, 1 * MiB, buf, 16), 16);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(buf[i * PAGE], i == 3 || i == 4 ? 0xa5 : i + 1);
	f->d.hole_first = first + 1;
	f->d.hole_end = first + 16;
	gmem_invalidate(f->gm);
	f->d.maps = 0;
	assert_int_equal(gmem_read_pages(f->gm, 1 * MiB, buf, 16), 1);
	assert_int_equal(f->d.maps, 1);
	/* No RAM at all: from 640 KiB to 1 MiB. */
	assert_int_equal(gmem_read_pages(f->gm, 640 * KiB, buf, 16), 0);
}

/* A granule of which nothing is there, and one that is there later. */
static void nothing_there(void **state)
{
	struct fixture *f = *state;
	uint32_t v = 7;

	f->d.fail = true;
	assert_int_equal(gmem_read(f->gm, 4 * GiB, &v, 4), -EFAULT);
	assert_int_equal(gmem_read(f->gm, 4 * GiB + MiB, &v, 4), -EFAULT);
	f->d.fail = false;
	gmem_invalidate(f->gm);
	assert_int_equal(gmem_read(f->gm, 4 * GiB, &v, 4), 0);
}

/* What is pinned stays as it is; who comes after an invalidation sees the new state, through
 * another mapping. */
static void displaced(void **state)
{
	struct fixture *f = *state;
	struct iovec old, now, later;
	uint32_t gen = gmem_generation(f->gm);

	assert_int_equal(gmem_pin(f->gm, 1 * MiB, 64, &old, 1), 1);
	gmem_invalidate(f->gm);
	assert_int_not_equal(gmem_generation(f->gm), gen);
	assert_int_equal(gmem_pin(f->gm, 1 * MiB, 64, &now, 1), 1);
	assert_ptr_not_equal(old.iov_base, now.iov_base);
	assert_int_equal(f->d.aside_maps, 1);
	/* Both lead to the same memory here, and both are alive. */
	memset(old.iov_base, 1, 64);
	memset(now.iov_base, 2, 64);
	assert_int_equal(((uint8_t *)old.iov_base)[0], 2);
	/* A second user of the new state shares the mapping. */
	assert_int_equal(gmem_pin(f->gm, 1 * MiB + 64, 64, &later, 1), 1);
	assert_ptr_equal(later.iov_base, (uint8_t *)now.iov_base + 64);
	assert_int_equal(f->d.aside_maps, 1);
	gmem_unpin(f->gm, &old, 1);
	gmem_unpin(f->gm, &now, 1);
	((uint8_t *)later.iov_base)[0] = 3;
	gmem_unpin(f->gm, &later, 1);
	/* Drained: from the next invalidation on it is back in its place. */
	gmem_invalidate(f->gm);
	assert_int_equal(gmem_pin(f->gm, 1 * MiB, 64, &now, 1), 1);
	assert_ptr_equal(now.iov_base, old.iov_base);
	gmem_unpin(f->gm, &now, 1);
}

/* A range over a displaced granule and one in place is two elements, and unpinning them is
 * symmetric. */
static void displaced_in_part(void **state)
{
	struct fixture *f = *state;
	struct iovec old, two[2], one;

	assert_int_equal(gmem_pin(f->gm, GRANULE, 64, &old, 1), 1);
	gmem_invalidate(f->gm);
	assert_int_equal(gmem_pin(f->gm, 2 * GRANULE - 8, 16, &one, 1), -E2BIG);
	assert_int_equal(gmem_pin(f->gm, 2 * GRANULE - 8, 16, two, 2), 2);
	assert_int_equal(two[0].iov_len, 8);
	assert_int_equal(two[1].iov_len, 8);
	memset(two[0].iov_base, 4, 8);
	memset(two[1].iov_base, 5, 8);
	gmem_unpin(f->gm, two, 2);
	gmem_unpin(f->gm, &old, 1);
}

/* A guest that invalidates for ever while one request is stuck costs no more than a few mappings.
 */
static void no_hoarding(void **state)
{
	struct fixture *f = *state;
	struct iovec stuck;
	uint32_t v = 0;

	assert_int_equal(gmem_pin(f->gm, 1 * MiB, 64, &stuck, 1), 1);
	for (unsigned i = 0; i < 1000; i++) {
		gmem_invalidate(f->gm);
		assert_int_equal(gmem_write(f->gm, 2 * MiB, &v, 4), 0);
	}
	assert_in_range(f->d.live, 1, 4);
	gmem_unpin(f->gm, &stuck, 1);
}

/* --- threads: pinning, writing and unpinning while another one invalidates --- */

static atomic_bool stop;

static void *pounder(void *arg)
{
	struct fixture *f = arg;
	uint64_t i = 0;

	while (!atomic_load(&stop)) {
		uint64_t at = 1 * MiB + (i++ * 4093 * 64) % (11 * MiB);
		struct iovec iov[4];
		int n = gmem_pin(f->gm, at, 8192, iov, 4);
		uint64_t sum = 0;

		if (n < 1)
			return (void *)"could not pin";
		for (int k = 0; k < n; k++) {
			memset(iov[k].iov_base, (int)i, MIN(iov[k].iov_len, 64));
			sum += iov[k].iov_len;
		}
		gmem_unpin(f->gm, iov, (unsigned)n);
		if (sum != 8192)
			return (void *)"wrong length";
	}
	return NULL;
}

static void threads(void **state)
{
	struct fixture *f = *state;
	pthread_t thread[3];
	void *trouble;

	atomic_store(&stop, false);
	for (unsigned i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_create(&thread[i], NULL, pounder, f);
	for (unsigned i = 0; i < 300; i++) {
		int before = f->d.maps;

		gmem_invalidate(f->gm);
		/* Until somebody has mapped anew. */
		while (f->d.maps == before)
			sched_yield();
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < ARRAY_SIZE(thread); i++) {
		pthread_join(thread[i], &trouble);
		if (trouble)
			fail_msg("%s", (char *)trouble);
	}
}

/* --- giving back --- */

/* Turns of the loop until `cond`, each at most a second; false when they do not bring it. */
#define until(f, cond)                                          \
	({                                                      \
		for (unsigned t_ = 0; !(cond) && t_ < 20; t_++) \
			loop_turn((f)->loop, 1000);             \
		(cond);                                         \
	})

struct hearer {
	struct gmem_holder h; /* first */
	unsigned heard;
};

static void hear(struct gmem_holder *h)
{
	((struct hearer *)h)->heard++;
}

static void touch_all(struct fixture *f)
{
	uint32_t v = 7;

	for (unsigned i = 0; i < ARRAY_SIZE(ram); i++)
		for (uint64_t at = ram[i].base; at < ram[i].base + ram[i].size; at += MiB / 2)
			assert_int_equal(gmem_write(f->gm, at, &v, sizeof(v)), 0);
}

/* The guest balloons: what nobody uses is unmapped, what is in use stays until that ends. Not each
 * invalidation costs, only the first. */
static void given_back(void **state)
{
	struct fixture *f = *state;
	struct hearer h = {.h.stale = hear};
	struct iovec busy, again;
	uint32_t v = 0;

	gmem_give_back(f->gm, f->loop);
	gmem_holder_add(f->gm, &h.h);
	touch_all(f);
	assert_int_equal(f->d.live, 6);
	assert_int_equal(gmem_pin(f->gm, 1 * MiB, 64, &busy, 1), 1);
	for (unsigned i = 0; i < 1000; i++)
		gmem_invalidate(f->gm);
	assert_int_equal(f->d.unmaps, 0);
	assert_true(until(f, f->d.live == 1));
	assert_int_equal(f->d.unmaps, 5);
	assert_int_equal(f->d.maps, 6);
	assert_int_equal(h.heard, 1);
	/* In use; and beside it goes what is new. */
	memset(busy.iov_base, 1, 64);
	assert_int_equal(gmem_write(f->gm, 2 * MiB, &v, 4), 0);
	assert_int_equal(f->d.live, 2);
	gmem_unpin(f->gm, &busy, 1);
	assert_int_equal(f->d.live, 1);
	/* Back in its place, where no lock is needed, and once only. */
	assert_int_equal(gmem_pin(f->gm, 1 * MiB, 64, &again, 1), 1);
	assert_ptr_equal(again.iov_base, busy.iov_base);
	gmem_unpin(f->gm, &again, 1);
	assert_int_equal(f->d.live, 1);
	/* All of it works as before, and goes as before. */
	touch_all(f);
	assert_int_equal(f->d.live, 6);
	gmem_invalidate(f->gm);
	assert_true(until(f, !f->d.live));
	assert_int_equal(h.heard, 2);
	gmem_holder_del(&h.h);
	gmem_holder_del(&h.h);
	touch_all(f);
	gmem_invalidate(f->gm);
	assert_true(until(f, !f->d.live));
	assert_int_equal(h.heard, 2);
}

/* A mapping beside the window goes too: with its last pin, or with the sweep if it had none. */
static void given_back_aside(void **state)
{
	struct fixture *f = *state;
	struct iovec old, now;
	uint32_t v = 0;

	gmem_give_back(f->gm, f->loop);
	assert_int_equal(gmem_pin(f->gm, 1 * MiB, 64, &old, 1), 1);
	gmem_invalidate(f->gm);
	assert_int_equal(gmem_write(f->gm, 1 * MiB, &v, 4), 0);
	assert_int_equal(gmem_pin(f->gm, 1 * MiB, 64, &now, 1), 1);
	assert_int_equal(f->d.live, 2);
	gmem_invalidate(f->gm);
	gmem_unpin(f->gm, &now, 1);
	assert_int_equal(f->d.live, 1);
	assert_int_equal(gmem_write(f->gm, 1 * MiB, &v, 4), 0);
	assert_int_equal(f->d.live, 2);
	gmem_invalidate(f->gm);
	assert_true(until(f, f->d.live == 1));
	((uint8_t *)old.iov_base)[63] = 1;
	gmem_unpin(f->gm, &old, 1);
	assert_int_equal(f->d.live, 0);
}

/* A guest of many granules: the loop has its turns between portions of them, and what the guest
 * does meanwhile is minded. */
static void given_back_in_portions(void **state)
{
	struct fixture *f = *state;
	struct err e;
	struct gmem *gm = gmem_new(ram, ARRAY_SIZE(ram), 1, &ops, &f->d, &e);
	unsigned turns = 0;
	struct iovec iov;

	gmem_give_back(gm, f->loop);
	assert_int_equal(gmem_pin(gm, 1 * MiB, 12 * MiB, &iov, 1), 1);
	gmem_unpin(gm, &iov, 1);
	assert_int_equal(f->d.live, 3072);
	gmem_invalidate(gm);
	for (; f->d.live && turns < 200; turns++) {
		int before = f->d.unmaps;

		loop_turn(f->loop, 1000);
		assert_in_range(f->d.unmaps - before, 0, 128);
		if (turns == 4)
			gmem_invalidate(gm);
	}
	assert_int_equal(f->d.live, 0);
	gmem_free(gm);
}

/* While others pin, write and unpin. */
static void given_back_threads(void **state)
{
	struct fixture *f = *state;
	pthread_t thread[3];
	void *trouble;

	gmem_give_back(f->gm, f->loop);
	atomic_store(&stop, false);
	for (unsigned i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_create(&thread[i], NULL, pounder, f);
	for (unsigned i = 0; i < 60; i++) {
		gmem_invalidate(f->gm);
		loop_turn(f->loop, 1000);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < ARRAY_SIZE(thread); i++) {
		pthread_join(thread[i], &trouble);
		if (trouble)
			fail_msg("%s", (char *)trouble);
	}
	gmem_invalidate(f->gm);
	assert_true(until(f, !f->d.live));
}

static void from_file(void **state)
{
	static const struct hv_range r[] = {{0, 1 * MiB}, {4 * GiB, 1 * MiB}};
	int fd = memfd_create("ram", MFD_CLOEXEC);
	struct gmem *gm;
	struct iovec iov;
	uint32_t v = 0xcafe;
	struct err e;

	assert_int_equal(ftruncate(fd, 2 * MiB), 0);
	gm = gmem_new_file(r, 2, fd, &e);
	assert_non_null(gm);
	assert_int_equal(gmem_write(gm, 4 * GiB, &v, 4), 0);
	v = 0;
	assert_int_equal(pread(fd, &v, 4, 1 * MiB), 4);
	assert_int_equal(v, 0xcafe);
	assert_int_equal(gmem_pin(gm, 0, 1 * MiB, &iov, 1), 1);
	gmem_unpin(gm, &iov, 1);
	assert_int_equal(gmem_pin(gm, 0, 1 * MiB + 1, &iov, 1), -EFAULT);
	assert_int_equal(gmem_pin(gm, 2 * GiB, 1, &iov, 1), -EFAULT);
	gmem_free(gm);
	close(fd);
}

/* True in a child of ours that has nothing at this address. */
static bool child_lacks(void *at)
{
	unsigned char in_core;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(mincore(at, 1, &in_core) == 0 || errno != ENOMEM);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status == 0;
}

/* Processes that parse what a network sends are forked from us. */
static void no_child_has_guest_memory(void **state)
{
	static const struct hv_range r[] = {{0, 1 * MiB}, {4 * GiB, 1 * MiB}};
	int fd = memfd_create("ram", MFD_CLOEXEC);
	struct gmem *gm;
	struct iovec iov;
	struct err e;

	assert_int_equal(ftruncate(fd, 2 * MiB), 0);
	gm = gmem_new_file(r, 2, fd, &e);
	assert_non_null(gm);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(gmem_pin(gm, r[i].base, 1, &iov, 1), 1);
		assert_true(child_lacks((void *)((uintptr_t)iov.iov_base & ~(PAGE - 1))));
		gmem_unpin(gm, &iov, 1);
	}
	gmem_free(gm);
	close(fd);
}

/* Single pages: the granule of guests whose memory is populated on demand. */
static void small_granules(void **state)
{
	struct fixture *f = *state;
	struct err e;
	struct gmem *gm = gmem_new(ram, ARRAY_SIZE(ram), 1, &ops, &f->d, &e);
	struct iovec iov[4];
	int before = f->d.maps;

	assert_non_null(gm);
	assert_int_equal(gmem_pin(gm, 1 * MiB + 100, 2 * PAGE, iov, 4), 1);
	assert_int_equal(f->d.maps - before, 3);
	memset(iov[0].iov_base, 9, 2 * PAGE);
	gmem_unpin(gm, iov, 1);
	gmem_free(gm);
}

/* A page comes back, and nobody says so: in place, and while its neighbours are in use. */
static void hole_filled(void **state)
{
	struct fixture *f = *state;
	struct iovec busy, iov;

	f->d.hole_first = 3 * MiB / PAGE;
	f->d.hole_end = f->d.hole_first + 8;
	assert_int_equal(gmem_pin(f->gm, 3 * MiB, PAGE, &iov, 1), -EFAULT);
	f->d.hole_end--;
	assert_int_equal(gmem_pin(f->gm, 3 * MiB + 7 * PAGE, PAGE, &iov, 1), 1);
	memset(iov.iov_base, 1, PAGE);
	gmem_unpin(f->gm, &iov, 1);
	assert_int_equal(f->d.aside_maps, 0);
	assert_int_equal(gmem_pin(f->gm, 2 * MiB, PAGE, &busy, 1), 1);
	while (f->d.hole_end > f->d.hole_first) {
		uint64_t gpa = --f->d.hole_end * PAGE;

		assert_int_equal(gmem_pin(f->gm, gpa, PAGE, &iov, 1), 1);
		memset(iov.iov_base, 1, PAGE);
		gmem_unpin(f->gm, &iov, 1);
		/* One that nobody uses is not kept beside its successor. */
		assert_true(f->d.live <= 2);
	}
	gmem_unpin(f->gm, &busy, 1);
}

/* --- all of it --- */

struct user {
	struct gmem_whole w; /* first */
	unsigned stale;
};

static void user_stale(struct gmem_whole *w)
{
	((struct user *)w)->stale++;
}

static void whole(void **state)
{
	struct fixture *f = *state;
	struct user a = {.w.stale = user_stale}, b = {.w.stale = user_stale};
	const struct gmem_region *r;
	struct iovec ring;
	struct err e;

	/* A hole of two pages in the middle of the second granule. */
	f->d.hole_first = 5 * MiB / PAGE;
	f->d.hole_end = f->d.hole_first + 2;
	assert_int_equal(gmem_whole_map(f->gm, &a.w, &r, &e), 4);
	assert_int_equal(r[0].gpa, 0);
	assert_int_equal(r[0].size, 640 * KiB);
	assert_int_equal(r[1].gpa, 1 * MiB);
	assert_int_equal(r[1].size, 4 * MiB);
	assert_int_equal(r[2].gpa, 5 * MiB + 2 * PAGE);
	assert_int_equal(r[2].gpa + r[2].size, 13 * MiB);
	assert_int_equal(r[3].gpa, 4 * GiB);
	assert_int_equal(r[3].size, 8 * MiB);
	/* All of them can be touched. */
	for (unsigned i = 0; i < 4; i++)
		for (uint64_t at = 0; at < r[i].size; at += PAGE)
			r[i].host[at] = 1;
	/* A second user costs nothing. */
	assert_int_equal(f->d.maps, 6);
	assert_int_equal(gmem_whole_map(f->gm, &b.w, &r, &e), 4);
	assert_int_equal(f->d.maps, 6);
	/* Both hear of a change, then others find their granule free to be mapped in place. */
	f->d.hole_first = f->d.hole_end = 0;
	gmem_invalidate(f->gm);
	assert_int_equal(a.stale, 1);
	assert_int_equal(b.stale, 1);
	assert_int_equal(gmem_pin(f->gm, 9 * MiB, PAGE, &ring, 1), 1);
	assert_int_equal(f->d.aside_maps, 0);
	assert_int_equal(gmem_whole_map(f->gm, &a.w, &r, &e), 3);
	assert_int_equal(r[1].size, 12 * MiB);
	assert_ptr_equal(r[1].host + 8 * MiB, ring.iov_base);
	/* One that is pinned over a change is beside the window, and a region of its own. */
	gmem_invalidate(f->gm);
	gmem_whole_drop(f->gm, &b.w);
	assert_int_equal(gmem_whole_map(f->gm, &a.w, &r, &e), 5);
	assert_int_equal(r[1].size, 7 * MiB);
	assert_int_equal(r[2].gpa, 8 * MiB);
	assert_int_equal(r[2].size, 4 * MiB);
	assert_int_equal(f->d.aside_maps, 1);
	gmem_unpin(f->gm, &ring, 1);
	gmem_whole_drop(f->gm, &a.w);
	gmem_whole_drop(f->gm, &a.w);
	gmem_invalidate(f->gm);
	assert_int_equal(a.stale, 2);
	assert_int_equal(b.stale, 2);
}

/* What vhost has pinned goes with an invalidation, but not within it. */
static void given_back_whole(void **state)
{
	struct fixture *f = *state;
	struct user a = {.w.stale = user_stale};
	const struct gmem_region *r;
	struct iovec ring;
	struct err e;

	gmem_give_back(f->gm, f->loop);
	assert_int_equal(gmem_pin(f->gm, 9 * MiB, PAGE, &ring, 1), 1);
	assert_true(gmem_whole_map(f->gm, &a.w, &r, &e) > 0);
	assert_int_equal(f->d.live, 6);
	gmem_invalidate(f->gm);
	assert_int_equal(a.stale, 1);
	assert_int_equal(f->d.live, 6);
	assert_true(until(f, f->d.live == 1));
	gmem_unpin(f->gm, &ring, 1);
	assert_int_equal(f->d.live, 0);
	assert_true(gmem_whole_map(f->gm, &a.w, &r, &e) > 0);
	for (uint64_t at = 0; at < r[1].size; at += PAGE)
		r[1].host[at] = 1;
	gmem_whole_drop(f->gm, &a.w);
}

static void whole_refused(void **state)
{
	struct fixture *f = *state;
	struct user a = {.w.stale = user_stale};
	const struct gmem_region *r;
	struct err e;
	struct gmem *gm = gmem_new(ram, ARRAY_SIZE(ram), 1, &ops, &f->d, &e);

	assert_int_equal(gmem_whole_map(gm, &a.w, &r, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "memory < maxmem"));
	gmem_whole_drop(gm, &a.w);
	gmem_free(gm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(edges, setup, teardown),
		cmocka_unit_test_setup_teardown(across_granules, setup, teardown),
		cmocka_unit_test_setup_teardown(holes, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_that_are_there, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_there, setup, teardown),
		cmocka_unit_test_setup_teardown(displaced, setup, teardown),
		cmocka_unit_test_setup_teardown(displaced_in_part, setup, teardown),
		cmocka_unit_test_setup_teardown(no_hoarding, setup, teardown),
		cmocka_unit_test_setup_teardown(threads, setup, teardown),
		cmocka_unit_test_setup_teardown(given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(given_back_aside, setup, teardown),
		cmocka_unit_test_setup_teardown(given_back_in_portions, setup, teardown),
		cmocka_unit_test_setup_teardown(given_back_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(given_back_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(small_granules, setup, teardown),
		cmocka_unit_test_setup_teardown(hole_filled, setup, teardown),
		cmocka_unit_test_setup_teardown(whole, setup, teardown),
		cmocka_unit_test_setup_teardown(whole_refused, setup, teardown),
		cmocka_unit_test(from_file),
		cmocka_unit_test(no_child_has_guest_memory),
	};

	return cmocka_run_group_tests_name("gmem", tests, NULL, NULL);
}
