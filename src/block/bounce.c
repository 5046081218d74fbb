/* SPDX-License-Identifier: MIT */
/* bounce.c - aligned buffers for direct I/O
 *
 * A foreign mapping of guest memory has no pages that the kernel could pin, so O_DIRECT cannot
 * reach it: direct I/O goes through memory of our own and one copy. Each loop has one arena of
 * BOUNCE_PAGES pages, reserved when the first direct disk appears and touched only where it is
 * used; the lowest pages are taken first, so light use touches few. The arena's size bounds what a
 * guest can make us hold: who finds it full waits (engine.c).
 *
 * One thread only, the loop's; no lock.
 */
#include <errno.h>
#include <sys/mman.h>

#include "base/util.h"
#include "block/internal.h"

static bool page_used(const struct bounce *b, unsigned page)
{
	return b->used[page / 64] >> (page % 64) & 1;
}

static unsigned pages_of(uint64_t len)
{
	return (len + BOUNCE_PAGE - 1) / BOUNCE_PAGE;
}

int bounce_init(struct bounce *b)
{
	void *p;

	if (b->base)
		return 0;
	p = mmap(NULL, (size_t)BOUNCE_PAGES * BOUNCE_PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	b->base = p;
	b->free = BOUNCE_PAGES;
	memset(b->used, 0, sizeof(b->used));
	return 0;
}

void bounce_fini(struct bounce *b)
{
	if (b->base)
		munmap(b->base, (size_t)BOUNCE_PAGES * BOUNCE_PAGE);
	b->base = NULL;
}

char *bounce_get(struct bounce *b, uint64_t len)
{
	unsigned need = pages_of(len), run = 0;

	if (need > b->free)
		return NULL;
	for (unsigned page = 0; page < BOUNCE_PAGES; page++) {
		if (b->used[page / 64] == UINT64_MAX) {
			run = 0;
			page |= 63;
			continue;
		}
		run = page_used(b, page) ? 0 : run + 1;
		if (run < need)
			continue;
		page -= need - 1;
		for (unsigned i = page; i < page + need; i++)
			b->used[i / 64] |= 1ULL << (i % 64);
		b->free -= need;
		return b->base + (size_t)page * BOUNCE_PAGE;
	}
	return NULL;
}

void bounce_put(struct bounce *b, char *p, uint64_t len)
{
	unsigned page = (p - b->base) / BOUNCE_PAGE, need = pages_of(len);

	for (unsigned i = page; i < page + need; i++)
		b->used[i / 64] &= ~(1ULL << (i % 64));
	b->free += need;
}
