/* SPDX-License-Identifier: MIT */
/* giveback.c - stale mappings are undone soon after the domain's memory has changed
 *
 * Xen frees a page that a guest has ballooned out when nobody maps it any more, and does not say
 * which pages of its INVALIDATE these are. So everything that was mapped before has to go. Not
 * within the request: a guest that balloons makes hundreds of them, each with a vCPU that waits for
 * the answer. The first one sets a timer, and those that follow until it fires are served with it.
 * Then the holders of pins are told, who let go on their own threads, and a sweep looks at every
 * granule that is mapped, in portions, with a turn of the loop (and answers to vCPUs) between them.
 * What is in use when the sweep comes by goes with its last pin (gmem_unpin()). What I/O has mapped
 * anew in between is current and stays; so a storm of invalidations costs at most one mapping
 * undone for each one that was made.
 *
 * Exit loop only.
 */
#include "base/trace.h"
#include "base/util.h"
#include "mem/internal.h"

#define SWEEP_NS    (10 * 1000000ULL)
#define TURN_LOOKS  1024
#define TURN_PAGES  8192 /* undone in one turn: some milliseconds of the kernel's work */
#define TURN_UNDONE 128	 /* ... system calls */

/* True when `undone` mappings are enough for a turn. */
static bool enough(const struct gmem *gm, unsigned undone)
{
	return undone >= TURN_UNDONE || (undone << (gm->shift - PAGE_SHIFT)) >= TURN_PAGES;
}

static void sweep_wait(struct gmem *gm)
{
	gm->sweeping = SWEEP_WAITS;
	gm->sweep_again = false;
	loop_timer_set(gm->loop, &gm->sweep, SWEEP_NS);
}

static void sweep_begin(struct gmem *gm)
{
	gm->sweeping = SWEEP_RUNS;
	list_for_each (it, &gm->holders) {
		struct gmem_holder *h = list_entry(it, struct gmem_holder, link);

		h->stale(h);
	}
	gm->to_look = gmem_sweep_count(gm);
}

static void run_sweep(struct loop_timer *t)
{
	struct gmem *gm = container_of(t, struct gmem, sweep);
	unsigned undone = 0;

	if (gm->sweeping == SWEEP_WAITS)
		sweep_begin(gm);
	while (!enough(gm, undone) && gmem_sweep_aside(gm))
		undone++;
	for (unsigned looks = 0; gm->to_look && looks < TURN_LOOKS && !enough(gm, undone);
	     looks++) {
		gm->to_look--;
		undone += gmem_sweep_granule(gm);
	}
	if (gm->to_look || enough(gm, undone))
		loop_timer_set(gm->loop, t, 0);
	else if (gm->sweep_again)
		sweep_wait(gm);
	else
		gm->sweeping = SWEEP_NONE;
}

void gmem_invalidate(struct gmem *gm)
{
	trace(memory_invalidate, NULL, "every mapping is stale");
	gmem_step(gm);
	gmem_whole_stale(gm);
	if (gm->loop && gm->sweeping == SWEEP_NONE)
		sweep_wait(gm);
	else
		gm->sweep_again = gm->sweeping == SWEEP_RUNS;
}

void gmem_give_back(struct gmem *gm, struct loop *l)
{
	if (gm->linear)
		return;
	gm->loop = l;
	gm->sweep.fn = run_sweep;
}

void gmem_holder_add(struct gmem *gm, struct gmem_holder *h)
{
	list_add_tail(&gm->holders, &h->link);
}

void gmem_holder_del(struct gmem_holder *h)
{
	if (!h->link.next)
		return;
	list_del(&h->link);
	h->link.next = NULL;
}
