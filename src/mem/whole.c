/* SPDX-License-Identifier: MIT */
/* whole.c - all of guest memory mapped and pinned, for vhost
 *
 * The kernel's vhost translates guest addresses by a table and copies through the addresses that
 * it holds, in a thread of its own. So everything must be mapped before, and stay so. All users
 * share one set of pins and one list of regions (`struct gmem_map`), or each would put the second
 * mapping of all memory beside the window.
 *
 * When the domain's memory changes, every user is told within gmem_invalidate() and stops; then the
 * pins go, so that others find their granules free to be mapped anew in place. The mappings are
 * left to the sweep (giveback.c): to undo them all at once would be seconds with a large guest. The
 * first user that asks again makes a new map. Granules that somebody else still has pinned (a ring)
 * get a mapping beside the window; regions say where.
 *
 * Where memory cannot be mapped as a whole, the user does without.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "mem/internal.h"

struct gmem_map {
	uint32_t gen;
	struct gmem_region *region;
	unsigned regions, room;
	uint8_t **host; /* where each granule is pinned, NULL: it is not */
};

static bool add(struct gmem_map *m, uint64_t gpa, uint64_t size, uint8_t *host)
{
	struct gmem_region *last = m->regions ? &m->region[m->regions - 1] : NULL;

	if (last && last->gpa + last->size == gpa && last->host + last->size == host) {
		last->size += size;
		return true;
	}
	if (m->regions == m->room || !m->region) {
		unsigned room = m->room ? 2 * m->room : 16;
		struct gmem_region *all = realloc(m->region, room * sizeof(*all));

		if (!all)
			return false;
		m->region = all;
		m->room = room;
	}
	m->region[m->regions++] = (struct gmem_region){gpa, size, host};
	return true;
}

/* The pages of a granule that are there, in runs. */
static bool add_granule(struct gmem *gm, struct gmem_map *m, uint64_t index, const uint64_t *holes)
{
	unsigned pages = 1u << (gm->shift - PAGE_SHIFT), first = 0;
	uint64_t gpa = gm->base + (index << gm->shift);

	if (!holes)
		return add(m, gpa, pages * PAGE, m->host[index]);
	while (first < pages) {
		unsigned end = first;

		while (end < pages && !(holes[end / 64] >> (end % 64) & 1))
			end++;
		if (end > first && !add(m, gpa + first * PAGE, (end - first) * PAGE,
					m->host[index] + first * PAGE))
			return false;
		first = end + 1;
	}
	return true;
}

static bool granule_has_ram(const struct gmem *gm, uint64_t index)
{
	uint64_t from = gm->base + (index << gm->shift), to = from + (1ULL << gm->shift);

	for (unsigned i = 0; i < gm->ranges; i++)
		if (from < gm->ram[i].base + gm->ram[i].size && gm->ram[i].base < to)
			return true;
	return false;
}

static void map_free(struct gmem *gm, struct gmem_map *m)
{
	if (!m)
		return;
	for (uint64_t i = 0; m->host && i < gm->granule_count; i++)
		if (m->host[i])
			gmem_unpin_granule(gm, m->host[i]);
	free(m->host);
	free(m->region);
	free(m);
}

static int map_fill(struct gmem *gm, struct gmem_map *m)
{
	for (unsigned i = 0; gm->linear && i < gm->ranges; i++)
		if (!add(m, gm->ram[i].base, gm->ram[i].size,
			 gm->window + (gm->ram[i].base - gm->base)))
			return -ENOMEM;
	if (gm->linear)
		return 0;
	m->host = calloc(gm->granule_count, sizeof(*m->host));
	if (!m->host)
		return -ENOMEM;
	for (uint64_t i = 0; i < gm->granule_count; i++) {
		const uint64_t *holes;

		if (!granule_has_ram(gm, i))
			continue;
		m->host[i] = gmem_pin_granule(gm, i, &holes);
		if (!m->host[i])
			return -E2BIG;
		if (!add_granule(gm, m, i, holes))
			return -ENOMEM;
	}
	return 0;
}

int gmem_whole_map(struct gmem *gm, struct gmem_whole *w, const struct gmem_region **regions,
		   struct err *e)
{
	struct gmem_map *m = gm->map;
	int rc;

	if (!gm->linear && gm->shift == PAGE_SHIFT)
		return err_set(e, -ENOTSUP,
			       "the guest has less memory than it may have (memory < maxmem), so "
			       "not all of it can be mapped");
	if (!m || m->gen != gmem_generation(gm)) {
		map_free(gm, m);
		gm->map = m = calloc(1, sizeof(*m));
		if (!m)
			return err_nomem(e);
		m->gen = gmem_generation(gm);
		rc = map_fill(gm, m);
		if (rc < 0) {
			map_free(gm, m);
			gm->map = NULL;
			return err_set(e, rc, "the guest's memory cannot be mapped as a whole");
		}
	}
	if (!w->link.next)
		list_add_tail(&gm->whole, &w->link);
	*regions = m->region;
	return (int)m->regions;
}

void gmem_whole_drop(struct gmem *gm, struct gmem_whole *w)
{
	if (!w->link.next)
		return;
	list_del(&w->link);
	w->link.next = NULL;
	if (list_empty(&gm->whole))
		gmem_whole_free(gm);
}

void gmem_whole_stale(struct gmem *gm)
{
	list_for_each (it, &gm->whole)
		list_entry(it, struct gmem_whole, link)
			->stale(list_entry(it, struct gmem_whole, link));
	gmem_whole_free(gm);
}

void gmem_whole_free(struct gmem *gm)
{
	map_free(gm, gm->map);
	gm->map = NULL;
}
