/* SPDX-License-Identifier: MIT */
/* internal.h - what the files of this folder share
 *
 * gmem.c owns the window, its granules and the mappings beside it; whole.c the users of all of it
 * at once; giveback.c decides when stale mappings are undone.
 */
#ifndef MEM_INTERNAL_H
#define MEM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "mem/gmem.h"

struct granule {
	atomic_uint pins;
	atomic_uint gen;
	const uint64_t *holes; /* NULL: every page is there */
};

/* A second mapping of a granule whose place in the window is still in use by I/O on its previous
 * frames. */
struct aside {
	struct list link;
	uint64_t index;
	uint8_t *host;
	unsigned pins; /* under `lock` */
	uint32_t gen;
	uint64_t holes[GMEM_GRANULE_PAGES / 64];
};

struct gmem {
	struct hv_range ram[HV_RAM_RANGES];
	unsigned ranges;
	uint8_t *window;     /* host address of guest address `base` */
	uint64_t base, span; /* bytes, multiples of the granule */

	bool linear; /* all mapped for good (gmem_new_file()): nothing below is used */
	const struct gmem_ops *ops;
	void *ctx;
	unsigned shift; /* log2 of the granule in bytes */
	atomic_uint gen;
	struct granule *granules;
	uint64_t granule_count;

	pthread_mutex_t lock;
	struct list asides;
	uint32_t *mapped; /* FIFO of mapped granules, MAPPED_MAX long */
	unsigned mapped_head, mapped_count;

	struct list whole;    /* struct gmem_whole */
	struct gmem_map *map; /* shared by all of them; NULL: not made */

	/* Exit loop, giveback.c. */
	struct loop *loop;   /* NULL: nothing is given back by itself */
	struct list holders; /* struct gmem_holder */
	struct loop_timer sweep;
	enum { SWEEP_NONE, SWEEP_WAITS, SWEEP_RUNS } sweeping;
	bool sweep_again; /* the map has changed while it ran */
	unsigned to_look; /* granules that it has still to look at */
};

/* Map granule `index`, holes and all, and pin it until gmem_unpin() of all of it. Where it is, with
 * the bitmap of its holes (NULL: none; valid while it is pinned), or NULL. */
uint8_t *gmem_pin_granule(struct gmem *gm, uint64_t index, const uint64_t **holes);
/* Give that back, at `host`, without undoing the mapping if it is stale: the sweep does. */
void gmem_unpin_granule(struct gmem *gm, uint8_t *host);
/* Exit loop where there are users of all of it. A new generation begins: all that is mapped is
 * stale. */
void gmem_step(struct gmem *gm);
/* Any thread. How many granules there are for a sweep to look at. */
unsigned gmem_sweep_count(struct gmem *gm);
/* Any thread. Look at the granule that was looked at longest ago, and undo its mapping where it is
 * stale and nobody uses it: true when that was so. */
bool gmem_sweep_granule(struct gmem *gm);
/* Any thread. The same for one mapping beside the window. */
bool gmem_sweep_aside(struct gmem *gm);
/* Tell the users of all of it that nothing is true any more. */
void gmem_whole_stale(struct gmem *gm);
void gmem_whole_free(struct gmem *gm);

#endif
