/* SPDX-License-Identifier: MIT */
/* gmem.h - checked access to guest memory
 *
 * This folder alone turns guest-physical addresses into host pointers, and only for RAM: a device's
 * own BARs, ECAM, holes and the LAPIC page are no valid target of DMA. Everybody else holds iovecs
 * that were pinned for one request (or one ring) and gives them back.
 *
 * The RAM of the guest is one reserved window of address space as large as its address range. It is
 * populated in granules on first use by the `map` operation of the hypervisor. When the domain's
 * memory changes under us (Xen's INVALIDATE request), gmem_invalidate() makes every granule stale:
 * one that nobody pins is mapped again in place on its next use; one with I/O in flight keeps its
 * old mapping until that drains and new users get a mapping beside the window. A stale mapping
 * keeps pages from going back to Xen, so those that are not used again are undone soon
 * (gmem_give_back()), and those in use when their last pin goes. A granule with holes (ballooned
 * pages) carries a bitmap of them, and no access ever touches a hole; it is mapped anew when a hole
 * is asked for, because Xen does not tell when a page comes back.
 *
 * Threads: gmem_pin/unpin/read/write may be called by any thread; the fast path takes no lock.
 */
#ifndef MEM_GMEM_H
#define MEM_GMEM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/loop.h"
#include "hv/hv.h"

struct gmem;

struct gmem_ops {
	/* Map guest pages [gfn, gfn + pages) at `at` (page aligned, reserved by the caller; to be
	 * replaced as by MAP_FIXED), or at an address of its own choice when `at` is NULL. Sets bit
	 * i of `holes` (all zero on entry) for a page that is not there; the caller never touches
	 * such a page. Returns the address or NULL when nothing could be mapped (errno). */
	void *(*map)(void *ctx, void *at, uint64_t gfn, unsigned pages, uint64_t *holes);
	/* Undo map() of a whole granule; `reserve`: leave inaccessible address space behind. */
	void (*unmap)(void *ctx, void *at, unsigned pages, bool reserve);
};

#define GMEM_GRANULE_PAGES 1024 /* the usual granule: 4 MiB */

/* RAM that is populated lazily. `granule_pages`: a power of two up to GMEM_GRANULE_PAGES; 1 where a
 * mapping has side effects (populate-on-demand guests). Ranges must be page aligned. NULL with `e`
 * on failure. */
struct gmem *gmem_new(const struct hv_range *ram, unsigned ranges, unsigned granule_pages,
		      const struct gmem_ops *ops, void *ctx, struct err *e);

/* RAM that is all there already: map `fd` (from offset 0, the ranges following each other) into a
 * window of its own. */
struct gmem *gmem_new_file(const struct hv_range *ram, unsigned ranges, int fd, struct err *e);

void gmem_free(struct gmem *gm);

/* Translate [gpa, gpa + len) to host memory and keep it mapped until gmem_unpin(). Fills at most
 * `max` elements of `iov` and returns their number (0 when len is 0); -EFAULT when a byte of it is
 * not RAM, -E2BIG when `max` is too small. */
int gmem_pin(struct gmem *gm, uint64_t gpa, uint64_t len, struct iovec *iov, unsigned max);
/* Give back what gmem_pin() returned, unchanged. */
void gmem_unpin(struct gmem *gm, const struct iovec *iov, unsigned n);

/* Copy to or from guest memory, with everything checked. 0 or -EFAULT. */
int gmem_read(struct gmem *gm, uint64_t gpa, void *buf, size_t len);
int gmem_write(struct gmem *gm, uint64_t gpa, const void *buf, size_t len);
/* Copy those of the `pages` pages from `gpa` (page aligned) that are there to their places in
 * `buf`; the rest of it stays as it is. Returns how many pages there are up to the last one copied.
 * Unlike gmem_read() in a loop, it asks once for a page that is not there. */
unsigned gmem_read_pages(struct gmem *gm, uint64_t gpa, uint8_t *buf, unsigned pages);

/* Is all of [gpa, gpa + len) within a RAM range (mapped or not)? */
bool gmem_is_ram(const struct gmem *gm, uint64_t gpa, uint64_t len);

/* The domain's physical-to-machine map has changed: nothing cached is true any more. Exit loop
 * where there are users of all of it (below). */
void gmem_invalidate(struct gmem *gm);
/* Changes with each gmem_invalidate(), and is never 0; holders of long-lived pins (rings) compare
 * it and pin anew. */
uint32_t gmem_generation(const struct gmem *gm);

/* --- giving stale mappings back --- */

/* Somebody who keeps pins while it does nothing; embedded in its object. */
struct gmem_holder {
	/* Exit loop, some milliseconds after gmem_invalidate(): let go of pins of an earlier
	 * generation soon, on whatever thread they belong to, and pin anew at the next use. */
	void (*stale)(struct gmem_holder *h);
	struct list link;
};

/* Exit loop, or before it runs. From now on stale mappings that nobody uses are undone on `l`, the
 * exit loop, soon after each gmem_invalidate(). `l` must live until gmem_free(). */
void gmem_give_back(struct gmem *gm, struct loop *l);
/* Exit loop, or before it runs: `h` wants to hear. Leaving is harmless when it is all zero. */
void gmem_holder_add(struct gmem *gm, struct gmem_holder *h);
void gmem_holder_del(struct gmem_holder *h);

/* --- all of it at once: for a kernel driver that gets host addresses and finds its way alone ---
 */

/* RAM that is there, page aligned. */
struct gmem_region {
	uint64_t gpa, size;
	uint8_t *host;
};

/* One user; embedded in its object. */
struct gmem_whole {
	/* Called by gmem_invalidate(): when this returns, nobody may touch guest memory by the
	 * regions any more. Get them anew with gmem_whole_map(), later. */
	void (*stale)(struct gmem_whole *w);
	struct list link;
};

/* Exit loop, or before it runs. Map all RAM and keep it pinned until the next invalidation, for all
 * users together: the first one pays. `w` becomes a user (it may be one already). Fills `regions`
 * (ascending, holes left out, valid until the next call, gmem_whole_drop() or invalidation) and
 * returns their number; -ENOTSUP with `e` where a mapping has side effects (granules of one page),
 * -E2BIG when there is too much memory, -ENOMEM. */
int gmem_whole_map(struct gmem *gm, struct gmem_whole *w, const struct gmem_region **regions,
		   struct err *e);
/* `w` is no user any more. With the last one the pins go. Harmless when it is none. */
void gmem_whole_drop(struct gmem *gm, struct gmem_whole *w);

#endif
