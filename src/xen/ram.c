/* SPDX-License-Identifier: MIT */
/* ram.c - the domain's RAM, without libxenctrl
 *
 * No stable interface lists a domain's memory map, but two numbers are available: how much memory
 * the domain may have (xenstore's memory/static-max, or -m), and its highest page
 * (XENMEM_maximum_gpfn). RAM above 4 GiB ends at that page; the rest of the memory begins at 0.
 * This is right for a domain that stock libxl has built (low RAM ends at 0xfc000000 at most) and
 * for any builder that fills a low and a high range (layout_domain_ram()). A range that is too
 * large is harmless: pages that do not exist are holes of guest memory, as ballooned pages are.
 *
 * Pages are not probed by mapping them: in a guest with memory < maxmem that would populate them.
 */
#include "xen/domain.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <xen/memory.h>
#include <xencall.h>

#include "base/log.h"
#include "base/util.h"

/* Make one XENMEM hypercall with a copy of `arg`. `extra` (if extra_size is not 0) is copied, too,
 * and the copy's address is stored at offset `extra_at` of the argument. Returns the result of the
 * hypercall, or -errno. */
static long memory_op(unsigned cmd, const void *arg, size_t size, void *extra, size_t extra_size,
		      size_t extra_at)
{
	xencall_handle *call = xencall_open(NULL, 0);
	uint8_t *buf;
	long rc;

	if (!call)
		return -errno;
	buf = xencall_alloc_buffer(call, size + extra_size);
	if (!buf) {
		xencall_close(call);
		return -ENOMEM;
	}
	memcpy(buf, arg, size);
	if (extra_size) {
		void *p = buf + size;

		memcpy(p, extra, extra_size);
		memcpy(buf + extra_at, &p, sizeof(p));
	}
	rc = xencall2L(call, __HYPERVISOR_memory_op, cmd, (uintptr_t)buf);
	if (rc < 0)
		rc = -errno;
	xencall_free_buffer(call, buf);
	xencall_close(call);
	return rc;
}

int ram_populate(struct xen *x, uint64_t gfn)
{
	struct xen_memory_reservation r = {.nr_extents = 1, .domid = (domid_t)x->domid};
	xen_pfn_t pfn = gfn;
	long rc = memory_op(XENMEM_populate_physmap, &r, sizeof(r), &pfn, sizeof(pfn),
			    offsetof(struct xen_memory_reservation, extent_start));

	return rc == 1 ? 0 : rc < 0 ? (int)rc : -ENOMEM;
}

int ram_discover(struct xen *x, struct err *e)
{
	domid_t dom = (domid_t)x->domid;
	uint64_t mem = x->facts.static_max ? x->facts.static_max : x->conf.mem;
	long top = memory_op(XENMEM_maximum_gpfn, &dom, sizeof(dom), NULL, 0, 0);
	struct hv *hv = &x->hv;

	if (top < 0)
		return err_set(e, (int)top, "could not ask for the size of domain %u: %s", x->domid,
			       strerror((int)-top));
	if (!mem)
		return err_set(
			e, -EINVAL,
			"domain %u: xenstore does not know its memory size, and there is no -m",
			x->domid);
	hv->ram_ranges = layout_domain_ram(mem, (uint64_t)top, hv->ram);
	for (unsigned i = 0; i < hv->ram_ranges; i++)
		log_dbg("domain %u: RAM at 0x%" PRIx64 ", %" PRIu64 " KiB", x->domid,
			hv->ram[i].base, (uint64_t)(hv->ram[i].size / KiB));
	return 0;
}
