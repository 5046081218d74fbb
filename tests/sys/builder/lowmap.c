/* SPDX-License-Identifier: MIT */
/*
 * Makes the stock toolstack build the memory map of one that keeps room for PCI below 4 GiB.
 *
 * Preloaded into xl, this stands in front of xc_dom_boot_xen_init(), the first thing that libxl
 * does with a domain it has laid out and not yet populated, and lowers the end of its low RAM to 2
 * GiB; what is over goes above 4 GiB. libxl derives the guest's memory map, and libxenguest what it
 * populates, from these two fields. The layout of struct xc_dom_image belongs to one release of
 * Xen, so this only fits the release it was compiled for.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <xenctrl.h>
#include <xenguest.h>

#define LOW_END	  (2ULL << 30)
#define HIGH_BASE (4ULL << 30)

int xc_dom_boot_xen_init(struct xc_dom_image *dom, xc_interface *xch, uint32_t domid)
{
	int (*next)(struct xc_dom_image *, xc_interface *, uint32_t) =
		dlsym(RTLD_NEXT, "xc_dom_boot_xen_init");

	if (!next) {
		fprintf(stderr, "lowmap: no xc_dom_boot_xen_init in libxenguest\n");
		abort();
	}
	if (dom->lowmem_end > LOW_END) {
		if (dom->highmem_end < HIGH_BASE)
			dom->highmem_end = HIGH_BASE;
		dom->highmem_end += dom->lowmem_end - LOW_END;
		dom->lowmem_end = LOW_END;
		dom->mmio_start = LOW_END;
		dom->mmio_size = HIGH_BASE - LOW_END;
	}
	return next(dom, xch, domid);
}
