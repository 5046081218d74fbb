/* SPDX-License-Identifier: MIT */
/* bounce.c - aligned buffers for direct I/O
 *
 * The kernel cannot pin the pages of a foreign mapping of guest memory, so O_DIRECT cannot use
 * them: direct I/O uses memory of this process, and one copy. Each loop has one arena of
 * BOUNCE_PAGES pages. It is reserved when the first direct disk is added, and gets memory page by
 * page as it is used; the lowest free pages are allocated first, so light use touches few. The size
 * of the arena limits what a guest can make this process allocate: when it is full, requests wait
 * (engine.c).
 *
 * Only the loop's thread uses it, without a lock.
 */
#include <errno.h>
#include <sys/mman.h>

#include "base/util.h"
#include "block/internal.h"

static bool bounce_page_used(const struct bounce *b, unsigned page)
{
	return b->used[page / 64] >> (page % 64) & 1;
}

static unsigned len_to_pages(uint64_t len)
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
	unsigned need = len_to_pages(len), run = 0;

	if (need > b->free)
		return NULL;
	for (unsigned page = 0; page < BOUNCE_PAGES; page++) {
		if (b->used[page / 64] == UINT64_MAX) {
			run = 0;
			page |= 63;
			continue;
		}
		run = bounce_page_used(b, page) ? 0 : run + 1;
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
	unsigned page = (p - b->base) / BOUNCE_PAGE, need = len_to_pages(len);

	for (unsigned i = page; i < page + need; i++)
		b->used[i / 64] &= ~(1ULL << (i % 64));
	b->free += need;
}
