/* SPDX-License-Identifier: MIT */
/* gmem.c - see gmem.h
 *
 * Owns: the window, one `struct granule` per granule of the guest's address range, and the mappings
 * beside the window.
 *
 * The fast path of gmem_pin() takes the pin first and looks at the granule's generation afterwards;
 * whoever wants to replace a mapping marks the granule GEN_BUSY first and looks at the pins
 * afterwards (both sequentially consistent). So either the user sees that it must take the slow
 * path, or the replacing side sees the pin and leaves the mapping alone. The slow path holds
 * `lock`: at boot, after a balloon, never in steady state.
 *
 * A stale mapping is undone by whoever comes last, in the same way: gmem_unpin() takes its pin away
 * first and compares generations afterwards, an invalidation steps the generation first and the
 * sweep after it looks at the pins. Such a granule stays in the FIFO as one of which nothing is
 * there.
 *
 * The array of granules and the FIFO of mapped ones are anonymous memory that the kernel fills with
 * zeroes on first touch: a guest of 64 GiB costs nothing before it uses its memory. The number of
 * mappings is capped (the kernel counts them per process): beyond the cap the oldest one that
 * nobody uses goes.
 *
 * Fails: a page that is not RAM, or a hole in it, is -EFAULT for that request alone.
 */
#include "mem/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/trace.h"
#include "base/util.h"

#define GEN_NONE   0u	      /* not mapped */
#define GEN_BUSY   UINT32_MAX /* being replaced */
#define MAPPED_MAX 16384      /* well below vm.max_map_count, splits of the reservation included */

/* The holes of a granule of which nothing could be mapped: there is nothing to unmap. */
static const uint64_t nothing[GMEM_GRANULE_PAGES / 64] = {
	[0 ... GMEM_GRANULE_PAGES / 64 - 1] = UINT64_MAX,
};

/* `n` bytes of zeroes that cost nothing until they are touched; NULL: out of address space. */
static void *lazy_alloc(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* Nothing for our children, and nothing that they could fill. */
	madvise(p, n, MADV_DONTFORK);
	return p;
}

static void lazy_free(void *p, size_t n)
{
	if (p)
		munmap(p, n);
}

static struct gmem *gmem_alloc(const struct hv_range *ram, unsigned ranges, uint64_t granule,
			       struct err *e)
{
	struct gmem *gm = calloc(1, sizeof(*gm));
	uint64_t end = 0;

	if (!gm) {
		err_nomem(e);
		return NULL;
	}
	gm->base = UINT64_MAX;
	for (unsigned i = 0; i < ranges && i < HV_RAM_RANGES; i++) {
		if (!ram[i].size)
			continue;
		gm->ram[gm->ranges++] = ram[i];
		gm->base = MIN(gm->base, ram[i].base);
		end = MAX(end, ram[i].base + ram[i].size);
	}
	if (!gm->ranges) {
		err_set(e, -EINVAL, "the guest has no memory");
		free(gm);
		return NULL;
	}
	gm->base = ALIGN_DOWN(gm->base, granule);
	gm->span = ALIGN_UP(end, granule) - gm->base;
	gm->window =
		mmap(NULL, gm->span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (gm->window == MAP_FAILED) {
		err_set(e, -errno, "could not reserve %llu MiB of address space for guest memory",
			(unsigned long long)(gm->span / MiB));
		free(gm);
		return NULL;
	}
	pthread_mutex_init(&gm->lock, NULL);
	list_init(&gm->asides);
	list_init(&gm->whole);
	list_init(&gm->holders);
	return gm;
}

struct gmem *gmem_new(const struct hv_range *ram, unsigned ranges, unsigned granule_pages,
		      const struct gmem_ops *ops, void *ctx, struct err *e)
{
	struct gmem *gm = gmem_alloc(ram, ranges, granule_pages * PAGE, e);

	if (!gm)
		return NULL;
	gm->ops = ops;
	gm->ctx = ctx;
	gm->shift = PAGE_SHIFT + (unsigned)__builtin_ctz(granule_pages);
	gm->granule_count = gm->span >> gm->shift;
	atomic_store(&gm->gen, 1);
	gm->granules = lazy_alloc(gm->granule_count * sizeof(*gm->granules));
	gm->mapped = lazy_alloc(MAPPED_MAX * sizeof(*gm->mapped));
	if (!gm->granules || !gm->mapped) {
		err_set(e, -ENOMEM, "out of memory for the map of guest memory");
		lazy_free(gm->granules, gm->granule_count * sizeof(*gm->granules));
		lazy_free(gm->mapped, MAPPED_MAX * sizeof(*gm->mapped));
		munmap(gm->window, gm->span);
		free(gm);
		return NULL;
	}
	return gm;
}

struct gmem *gmem_new_file(const struct hv_range *ram, unsigned ranges, int fd, struct err *e)
{
	struct gmem *gm = gmem_alloc(ram, ranges, PAGE, e);
	off_t off = 0;

	if (!gm)
		return NULL;
	gm->linear = true;
	for (unsigned i = 0; i < gm->ranges; i++) {
		void *at = gm->window + (gm->ram[i].base - gm->base);

		if (mmap(at, gm->ram[i].size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 off) == MAP_FAILED) {
			err_set(e, -errno, "could not map guest memory: %s", strerror(errno));
			gmem_free(gm);
			return NULL;
		}
		/* As with Xen's mappings: no child of ours is to see guest memory. */
		madvise(at, gm->ram[i].size, MADV_DONTFORK);
		off += (off_t)gm->ram[i].size;
	}
	return gm;
}

/* Undo the mapping of granule `index` in the window, if there is one. Nobody uses it. */
static void unmap_granule(struct gmem *gm, uint64_t index, bool reserve)
{
	struct granule *g = &gm->granules[index];

	if (g->holes == nothing)
		return;
	gm->ops->unmap(gm->ctx, gm->window + (index << gm->shift), 1u << (gm->shift - PAGE_SHIFT),
		       reserve);
	free((void *)g->holes);
}

void gmem_free(struct gmem *gm)
{
	if (!gm)
		return;
	loop_timer_del(&gm->sweep);
	gmem_whole_free(gm);
	if (!gm->linear) {
		unsigned pages = 1u << (gm->shift - PAGE_SHIFT);
		struct list *it;

		for (unsigned i = 0; i < gm->mapped_count; i++)
			unmap_granule(gm, gm->mapped[(gm->mapped_head + i) % MAPPED_MAX], false);
		while ((it = list_pop(&gm->asides))) {
			struct aside *a = list_entry(it, struct aside, link);

			gm->ops->unmap(gm->ctx, a->host, pages, false);
			free(a);
		}
		lazy_free(gm->granules, gm->granule_count * sizeof(*gm->granules));
		lazy_free(gm->mapped, MAPPED_MAX * sizeof(*gm->mapped));
	}
	munmap(gm->window, gm->span);
	pthread_mutex_destroy(&gm->lock);
	free(gm);
}

bool gmem_is_ram(const struct gmem *gm, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < gm->ranges; i++)
		if (gpa >= gm->ram[i].base && range_ok(gpa - gm->ram[i].base, len, gm->ram[i].size))
			return true;
	return false;
}

static bool has_hole(const uint64_t *holes, uint64_t first, uint64_t last)
{
	if (!holes)
		return false;
	for (uint64_t p = first; p <= last; p++)
		if (holes[p / 64] >> (p % 64) & 1)
			return true;
	return false;
}

/* Under `lock`: make the granule GEN_BUSY, with its generation in `gen`, for the caller to replace
 * its mapping. False, and nothing has changed, when somebody has it pinned. */
static bool granule_take(struct granule *g, uint32_t *gen)
{
	*gen = atomic_load(&g->gen);
	/* Pairs with the pin before the look at `gen` in pin_granule(). */
	atomic_store(&g->gen, GEN_BUSY);
	if (!atomic_load(&g->pins))
		return true;
	atomic_store(&g->gen, *gen);
	return false;
}

/* Under `lock`: take the oldest entry out of the FIFO and undo its mapping; where it is in use, or
 * `stale` ones alone are wanted and it is none, it becomes the newest. */
static bool fifo_drop(struct gmem *gm, bool stale)
{
	uint32_t at = gm->mapped[gm->mapped_head], gen;
	struct granule *g = &gm->granules[at];

	gm->mapped_head = (gm->mapped_head + 1) % MAPPED_MAX;
	if ((stale && atomic_load(&g->gen) == atomic_load(&gm->gen)) || !granule_take(g, &gen)) {
		gm->mapped[(gm->mapped_head + gm->mapped_count - 1) % MAPPED_MAX] = at;
		return false;
	}
	unmap_granule(gm, at, true);
	g->holes = NULL;
	atomic_store(&g->gen, GEN_NONE);
	gm->mapped_count--;
	return true;
}

/* Drop the oldest mappings that nobody uses until there is room for one more. */
static bool make_room(struct gmem *gm)
{
	for (unsigned tries = 0; gm->mapped_count == MAPPED_MAX && tries < MAPPED_MAX; tries++)
		fifo_drop(gm, false);
	return gm->mapped_count < MAPPED_MAX;
}

unsigned gmem_sweep_count(struct gmem *gm)
{
	unsigned n;

	pthread_mutex_lock(&gm->lock);
	n = gm->mapped_count;
	pthread_mutex_unlock(&gm->lock);
	return n;
}

bool gmem_sweep_granule(struct gmem *gm)
{
	bool dropped;

	pthread_mutex_lock(&gm->lock);
	dropped = gm->mapped_count && fifo_drop(gm, true);
	pthread_mutex_unlock(&gm->lock);
	return dropped;
}

/* The last pin of granule `index` has gone, and it was stale. */
static void drop_if_stale(struct gmem *gm, uint64_t index)
{
	struct granule *g = &gm->granules[index];
	uint32_t gen;

	pthread_mutex_lock(&gm->lock);
	gen = atomic_load(&g->gen);
	if (gen != GEN_NONE && gen != atomic_load(&gm->gen) && granule_take(g, &gen)) {
		unmap_granule(gm, index, true);
		g->holes = nothing;
		atomic_store(&g->gen, gen);
	}
	pthread_mutex_unlock(&gm->lock);
}

/* Map granule `index` at `at` (NULL: anywhere), only the part of it that is RAM; the rest are
 * holes. */
static uint8_t *map_granule(struct gmem *gm, uint64_t index, uint8_t *at, uint64_t *holes)
{
	uint64_t first = gm->base + (index << gm->shift);
	unsigned pages = 1u << (gm->shift - PAGE_SHIFT);

	memset(holes, 0, GMEM_GRANULE_PAGES / 8);
	for (unsigned p = 0; p < pages; p++)
		if (!gmem_is_ram(gm, first + p * PAGE, PAGE))
			holes[p / 64] |= 1ULL << (p % 64);
	trace(memory_map, NULL, "%u pages at 0x%llx%s", pages, (unsigned long long)first,
	      at ? "" : ", beside the window");
	return gm->ops->map(gm->ctx, at, first >> PAGE_SHIFT, pages, holes);
}

static bool any_hole(const uint64_t *holes)
{
	for (unsigned i = 0; i < GMEM_GRANULE_PAGES / 64; i++)
		if (holes[i])
			return true;
	return false;
}

/* (Re-)map a granule in the window and pin it. Under `lock`, with the granule GEN_BUSY and not
 * pinned. A granule of which nothing could be mapped is remembered as all holes. */
static int map_in_place(struct gmem *gm, uint64_t index, struct granule *g, uint32_t old_gen)
{
	bool was_mapped = old_gen != GEN_NONE;
	uint8_t *at = gm->window + (index << gm->shift);
	uint32_t gen = atomic_load(&gm->gen);
	uint64_t *holes = malloc(GMEM_GRANULE_PAGES / 8);

	if (!holes || (!was_mapped && !make_room(gm))) {
		free(holes);
		atomic_store(&g->gen, old_gen);
		return -EFAULT;
	}
	/* A mapping of foreign pages cannot be replaced in part or on top: the old one goes as a
	 * whole. */
	if (was_mapped)
		unmap_granule(gm, index, true);
	else
		gm->mapped[(gm->mapped_head + gm->mapped_count++) % MAPPED_MAX] = (uint32_t)index;
	if (!map_granule(gm, index, at, holes)) {
		free(holes);
		g->holes = nothing;
	} else if (any_hole(holes)) {
		g->holes = holes;
	} else {
		free(holes);
		g->holes = NULL;
	}
	atomic_fetch_add(&g->pins, 1);
	atomic_store(&g->gen, gen);
	return 0;
}

/* A mapping of this generation with pages `first`..`last`. */
static struct aside *find_aside(struct gmem *gm, uint64_t index, uint64_t first, uint64_t last)
{
	list_for_each (it, &gm->asides) {
		struct aside *a = list_entry(it, struct aside, link);

		if (a->index == index && a->gen == atomic_load(&gm->gen) &&
		    !has_hole(a->holes, first, last))
			return a;
	}
	return NULL;
}

static void drop_aside(struct gmem *gm, struct aside *a)
{
	list_del(&a->link);
	gm->ops->unmap(gm->ctx, a->host, 1u << (gm->shift - PAGE_SHIFT), false);
	free(a);
}

bool gmem_sweep_aside(struct gmem *gm)
{
	bool dropped = false;

	pthread_mutex_lock(&gm->lock);
	list_for_each (it, &gm->asides) {
		struct aside *a = list_entry(it, struct aside, link);

		if (a->pins || a->gen == atomic_load(&gm->gen))
			continue;
		drop_aside(gm, a);
		dropped = true;
		break;
	}
	pthread_mutex_unlock(&gm->lock);
	return dropped;
}

/* Drop those of earlier generations, and of this granule, that nobody uses: a guest that
 * invalidates for ever while one request is stuck must not pile them up. */
static void drop_asides(struct gmem *gm, uint64_t index)
{
	list_for_each (it, &gm->asides) {
		struct aside *old = list_entry(it, struct aside, link);

		if (!old->pins && (old->gen != atomic_load(&gm->gen) || old->index == index))
			drop_aside(gm, old);
	}
}

static struct aside *map_aside(struct gmem *gm, uint64_t index)
{
	struct aside *a = calloc(1, sizeof(*a));

	drop_asides(gm, index);
	if (!a)
		return NULL;
	a->index = index;
	a->gen = atomic_load(&gm->gen);
	a->host = map_granule(gm, index, NULL, a->holes);
	if (!a->host) {
		free(a);
		return NULL;
	}
	list_add_tail(&gm->asides, &a->link);
	return a;
}

/* Under `lock`. The place in the window comes first: only there the next user needs no lock. A hole
 * is mapped again each time: when a page comes back (the guest balloons up), Xen does not say so.
 */
static uint8_t *pin_locked(struct gmem *gm, uint64_t index, uint64_t first, uint64_t last)
{
	struct granule *g = &gm->granules[index];
	uint8_t *at = gm->window + (index << gm->shift);
	uint32_t gen = atomic_load(&g->gen);
	struct aside *a;

	if (gen == atomic_load(&gm->gen) && !has_hole(g->holes, first, last)) {
		atomic_fetch_add(&g->pins, 1);
		return at;
	}
	if (granule_take(g, &gen)) {
		if (map_in_place(gm, index, g, gen) < 0)
			return NULL;
		drop_asides(gm, index);
		if (!has_hole(g->holes, first, last))
			return at;
		atomic_fetch_sub(&g->pins, 1);
		return NULL;
	}
	a = find_aside(gm, index, first, last);
	if (!a) {
		a = map_aside(gm, index);
		if (!a)
			return NULL;
		if (has_hole(a->holes, first, last)) {
			drop_aside(gm, a);
			return NULL;
		}
	}
	a->pins++;
	return a->host;
}

static uint8_t *pin_slow(struct gmem *gm, uint64_t index, uint64_t first, uint64_t last)
{
	uint8_t *host;

	pthread_mutex_lock(&gm->lock);
	host = pin_locked(gm, index, first, last);
	pthread_mutex_unlock(&gm->lock);
	return host;
}

/* Pin pages `first`..`last` of granule `index`; where the granule is mapped, or NULL. */
static inline uint8_t *pin_granule(struct gmem *gm, uint64_t index, uint64_t first, uint64_t last)
{
	struct granule *g = &gm->granules[index];

	/* Pairs with GEN_BUSY before the look at `pins` in granule_take(). */
	atomic_fetch_add(&g->pins, 1);
	if (likely(atomic_load(&g->gen) == atomic_load(&gm->gen))) {
		if (likely(!has_hole(g->holes, first, last)))
			return gm->window + (index << gm->shift);
	}
	atomic_fetch_sub(&g->pins, 1);
	return pin_slow(gm, index, first, last);
}

uint8_t *gmem_pin_granule(struct gmem *gm, uint64_t index, const uint64_t **holes)
{
	/* An empty range of pages: none of them can be a hole. */
	uint8_t *host = pin_granule(gm, index, 1, 0);

	if (!host)
		return NULL;
	pthread_mutex_lock(&gm->lock);
	*holes = gm->granules[index].holes;
	list_for_each (it, &gm->asides) {
		struct aside *a = list_entry(it, struct aside, link);

		if (a->host == host)
			*holes = a->holes;
	}
	pthread_mutex_unlock(&gm->lock);
	return host;
}

int gmem_pin(struct gmem *gm, uint64_t gpa, uint64_t len, struct iovec *iov, unsigned max)
{
	uint64_t off, mask;
	unsigned n = 0;
	int rc = -EFAULT;

	if (!len)
		return 0;
	if (!gmem_is_ram(gm, gpa, len))
		return -EFAULT;
	off = gpa - gm->base;
	if (gm->linear) {
		if (!max)
			return -E2BIG;
		iov[0] = (struct iovec){gm->window + off, len};
		return 1;
	}
	mask = (1ULL << gm->shift) - 1;
	while (len) {
		uint64_t in = off & mask, chunk = MIN(len, mask + 1 - in);
		uint8_t *host = pin_granule(gm, off >> gm->shift, in >> PAGE_SHIFT,
					    (in + chunk - 1) >> PAGE_SHIFT);

		if (!host)
			goto undo;
		host += in;
		if (n && (uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len == host &&
		    host - in == gm->window + (off & ~mask)) {
			iov[n - 1].iov_len += chunk;
		} else if (n < max) {
			iov[n++] = (struct iovec){host, chunk};
		} else {
			struct iovec last = {host, chunk};

			gmem_unpin(gm, &last, 1);
			rc = -E2BIG;
			goto undo;
		}
		off += chunk;
		len -= chunk;
	}
	return (int)n;
undo:
	gmem_unpin(gm, iov, n);
	return rc;
}

static void unpin_aside(struct gmem *gm, uint8_t *host)
{
	uint64_t size = 1ULL << gm->shift;

	pthread_mutex_lock(&gm->lock);
	list_for_each (it, &gm->asides) {
		struct aside *a = list_entry(it, struct aside, link);

		if (host < a->host || host >= a->host + size)
			continue;
		if (!--a->pins && a->gen != atomic_load(&gm->gen))
			drop_aside(gm, a);
		break;
	}
	pthread_mutex_unlock(&gm->lock);
}

void gmem_unpin(struct gmem *gm, const struct iovec *iov, unsigned n)
{
	if (gm->linear)
		return;
	for (unsigned i = 0; i < n; i++) {
		uint8_t *host = iov[i].iov_base;
		uint64_t off;

		if (!iov[i].iov_len)
			continue;
		if (host < gm->window || host >= gm->window + gm->span) {
			unpin_aside(gm, host);
			continue;
		}
		off = (uint64_t)(host - gm->window);
		for (uint64_t at = off >> gm->shift; at <= (off + iov[i].iov_len - 1) >> gm->shift;
		     at++) {
			struct granule *g = &gm->granules[at];

			/* Pairs with the step of `gm->gen` before the sweep looks at `pins`. */
			if (atomic_fetch_sub(&g->pins, 1) == 1 &&
			    unlikely(atomic_load(&g->gen) != atomic_load(&gm->gen)))
				drop_if_stale(gm, at);
		}
	}
}

void gmem_unpin_granule(struct gmem *gm, uint8_t *host)
{
	if (host < gm->window || host >= gm->window + gm->span)
		unpin_aside(gm, host);
	else
		atomic_fetch_sub(&gm->granules[(host - gm->window) >> gm->shift].pins, 1);
}

static int copy(struct gmem *gm, uint64_t gpa, uint8_t *buf, size_t len, bool to_guest)
{
	while (len) {
		/* A piece within one granule, so that one iovec always suffices. */
		uint64_t left =
			gm->linear ? len : (1ULL << gm->shift) - (gpa & ((1ULL << gm->shift) - 1));
		size_t chunk = MIN(len, left);
		struct iovec iov;

		if (gmem_pin(gm, gpa, chunk, &iov, 1) < 1)
			return -EFAULT;
		if (to_guest)
			memcpy(iov.iov_base, buf, chunk);
		else
			memcpy(buf, iov.iov_base, chunk);
		gmem_unpin(gm, &iov, 1);
		gpa += chunk;
		buf += chunk;
		len -= chunk;
	}
	return 0;
}

int gmem_read(struct gmem *gm, uint64_t gpa, void *buf, size_t len)
{
	return copy(gm, gpa, buf, len, false);
}

int gmem_write(struct gmem *gm, uint64_t gpa, const void *buf, size_t len)
{
	return copy(gm, gpa, (uint8_t *)buf, len, true);
}

static bool read_page(struct gmem *gm, uint64_t gpa, uint8_t *buf)
{
	uint64_t off = gpa - gm->base, page = 0;
	const uint64_t *holes = NULL;
	struct iovec iov;
	bool there;

	if (!gmem_is_ram(gm, gpa, PAGE))
		return false;
	iov = (struct iovec){gm->window + off, PAGE};
	if (!gm->linear) {
		uint8_t *host = gmem_pin_granule(gm, off >> gm->shift, &holes);

		if (!host)
			return false;
		page = (off & ((1ULL << gm->shift) - 1)) >> PAGE_SHIFT;
		iov.iov_base = host + page * PAGE;
	}
	there = !has_hole(holes, page, page);
	if (there)
		/* Where there is RAM there is a window.
		 * NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
		memcpy(buf, iov.iov_base, PAGE);
	gmem_unpin(gm, &iov, 1);
	return there;
}

unsigned gmem_read_pages(struct gmem *gm, uint64_t gpa, uint8_t *buf, unsigned pages)
{
	unsigned end = 0;

	for (unsigned i = 0; i < pages; i++)
		if (read_page(gm, gpa + i * PAGE, buf + i * PAGE))
			end = i + 1;
	return end;
}

void gmem_step(struct gmem *gm)
{
	uint32_t gen = atomic_load(&gm->gen) + 1;

	/* Skip the two values with a meaning. A granule unused for 2^32 generations would look
	 * current: each one costs the guest a hypercall, and it only fools itself. */
	if (gen == GEN_BUSY)
		gen = 1;
	atomic_store(&gm->gen, gen);
}

uint32_t gmem_generation(const struct gmem *gm)
{
	return atomic_load(&((struct gmem *)gm)->gen);
}
