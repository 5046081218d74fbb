/* SPDX-License-Identifier: MIT */
/* privcmd.c - raw ioctls where the libraries are too slow or not exact enough
 *
 * Interrupts are raised as often as the guest causes them: libxendevicemodel allocates memory twice
 * for each call, the ioctl does not. Foreign mappings are placed inside a reserved range of
 * addresses. If the hypercall fails, libxenforeignmemory unmaps the range, and an mmap() of another
 * thread could then be placed in it; here a new reservation replaces the mapping in one step.
 *
 * Both ioctls belong to Linux' stable interface, their structures to Xen's. xentoolcore does not
 * know this descriptor, so privcmd_restrict() restricts it.
 *
 * #syscalls: ioctl mmap munmap
 */
#include "xen/domain.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <xen/hvm/dm_op.h>
#include <xen/sys/privcmd.h>

#include "base/util.h"

#define NO_PAGE (~(xen_pfn_t)0) /* no domain has a page there */

int privcmd_open(struct err *e)
{
	int fd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return err_set(e, -errno, "could not open /dev/xen/privcmd: %s%s", strerror(errno),
			       errno == ENOENT ? " (is this a Xen control domain?)" : "");
	return fd;
}

int privcmd_restrict(int fd, unsigned domid)
{
	domid_t dom = (domid_t)domid;

	return ioctl(fd, IOCTL_PRIVCMD_RESTRICT, &dom) < 0 ? -errno : 0;
}

static int dm_op(int fd, unsigned domid, struct xen_dm_op *op)
{
	privcmd_dm_op_buf_t buf = {.uptr = op, .size = sizeof(*op)};
	privcmd_dm_op_t call = {.dom = (domid_t)domid, .num = 1, .ubufs = &buf};

	return ioctl(fd, IOCTL_PRIVCMD_DM_OP, &call) < 0 ? -errno : 0;
}

int privcmd_msi(int fd, unsigned domid, uint64_t addr, uint32_t data)
{
	struct xen_dm_op op;

	memset(&op, 0, sizeof(op));
	op.op = XEN_DMOP_inject_msi;
	op.u.inject_msi.addr = addr;
	op.u.inject_msi.data = data;
	return dm_op(fd, domid, &op);
}

int privcmd_intx(int fd, unsigned domid, unsigned line, bool level)
{
	struct xen_dm_op op;

	memset(&op, 0, sizeof(op));
	op.op = XEN_DMOP_set_pci_intx_level;
	/* Xen computes the GSI from device and pin: device 0 and pin n give GSI 16 + n. */
	op.u.set_pci_intx_level.intx = (uint8_t)line;
	op.u.set_pci_intx_level.level = level;
	return dm_op(fd, domid, &op);
}

static void guest_unmap(void *ctx, void *at, unsigned pages, bool reserve)
{
	/* MAP_FIXED replaces the mapping in one step. If there is no memory for that, the old
	 * mapping stays. */
	if (reserve)
		(void)mmap(at, pages * PAGE, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	else
		munmap(at, pages * PAGE);
}

static bool is_hole(const uint64_t *holes, unsigned page)
{
	return holes[page / 64] >> (page % 64) & 1;
}

static void *guest_map(void *ctx, void *at, uint64_t gfn, unsigned pages, uint64_t *holes)
{
	struct xen *x = ctx;
	xen_pfn_t gfns[GMEM_GRANULE_PAGES];
	int errs[GMEM_GRANULE_PAGES];
	privcmd_mmapbatch_v2_t batch = {.dom = (domid_t)x->domid, .arr = gfns, .err = errs};
	unsigned first = 0, end = pages, there = 0;
	void *map, *reserved = NULL;

	if (pages > GMEM_GRANULE_PAGES) {
		errno = EINVAL;
		return NULL;
	}
	/* Do not map holes at both ends (nearly all of the granule with the ACPI tables): Linux
	 * asks Xen twice for each page that does not exist. */
	while (first < end && is_hole(holes, first))
		first++;
	while (end > first && is_hole(holes, end - 1))
		end--;
	if (!at) {
		reserved = at = mmap(NULL, pages * PAGE, PROT_NONE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (at == MAP_FAILED)
			return NULL;
	}
	/* The first batch must cover the whole mapping, so for a hole in between a page is named
	 * that does not exist. */
	for (unsigned i = first; i < end; i++)
		gfns[i - first] = is_hole(holes, i) ? NO_PAGE : gfn + i;
	map = mmap((uint8_t *)at + first * PAGE, (end - first) * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, x->privcmd, 0);
	batch.addr = (uintptr_t)map;
	batch.num = end - first;
	memset(errs, 0, batch.num * sizeof(errs[0]));
	/* ENOENT: some pages are paged out; the others are mapped. */
	if (map != MAP_FAILED &&
	    (ioctl(x->privcmd, IOCTL_PRIVCMD_MMAPBATCH_V2, &batch) == 0 || errno == ENOENT))
		for (unsigned i = first; i < end; i++) {
			if (errs[i - first])
				holes[i / 64] |= 1ULL << (i % 64);
			else
				there++;
		}
	if (!there) {
		int saved = errno;

		guest_unmap(x, at, pages, !reserved);
		errno = saved;
		return NULL;
	}
	return at;
}

const struct gmem_ops privcmd_gmem_ops = {.map = guest_map, .unmap = guest_unmap};
