/* SPDX-License-Identifier: MIT */
/* migration.c - live migration is refused while there is a reason
 *
 * A live migration copies memory while the guest runs, and copies again what Xen has seen written
 * since ("log-dirty"). Xen does not see what a device model writes, so a guest that is moved
 * without our help keeps stale pages. And the toolstack does not ask: to libxl a PVH guest has no
 * device model that could have a say.
 *
 * Xen itself can refuse. It does not turn log-dirty on while the domain has a page whose writes go
 * to an ioreq server (type HVMMEM_ioreq_server), since it could not log them: XEN_DOMCTL_shadow_op
 * fails with EBUSY. libxc turns log-dirty on before it sends the first page, so `xl migrate` ends
 * with an error there, and the guest has run on all the while. A guest that is saved to a file is
 * suspended first and copied once, without log-dirty: that works as ever, the page goes with the
 * others and is plain RAM again after the restore.
 *
 * One page is enough. Every domain builder makes one for the ring of Xen's memory paging
 * (HVM_PARAM_PAGING_RING_PFN), which no PVH guest uses: it is populated, reserved in the guest's
 * memory map, and not among what our devices may reach. Reads of the guest find its bytes; a write
 * arrives in ioreq.c as one outside of all ranges and is dropped. A guest may give the page away,
 * and can be migrated then, to its own harm only.
 *
 * A device model that is killed leaves the page as it is, like its ioreq server, and the next one
 * for this domain takes over both. Control thread.
 *
 * xen/include/public/hvm/dm_op.h, xen/include/public/hvm/params.h
 */
#include "xen/domain.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/memory.h>
#include <xencall.h>

#include "base/log.h"

/* The value of a parameter of the domain (0: not set). 0 or -errno. Not after hv_restrict(). */
static int domain_param(struct xen *x, uint32_t index, uint64_t *value)
{
	xencall_handle *call = xencall_open(NULL, 0);
	struct xen_hvm_param *p;
	int rc = 0;

	if (!call)
		return -errno;
	p = xencall_alloc_buffer(call, sizeof(*p));
	if (p) {
		*p = (struct xen_hvm_param){.domid = (domid_t)x->domid, .index = index};
		if (xencall2(call, __HYPERVISOR_hvm_op, HVMOP_get_param, (uintptr_t)p) < 0)
			rc = -errno;
		*value = p->value;
		xencall_free_buffer(call, p);
	} else {
		rc = -ENOMEM;
	}
	xencall_close(call);
	return rc;
}

/* Let our ioreq server have the writes to the page, or let it be RAM again. 0 or -errno. */
static int page_set_type(struct xen *x, hvmmem_type_t type)
{
	return xendevicemodel_set_mem_type(x->dmod, (domid_t)x->domid, type, x->migration.gfn, 1) <
			       0
		       ? -errno
		       : 0;
}

static int page_prepare(struct xen *x)
{
	int rc = domain_param(x, HVM_PARAM_PAGING_RING_PFN, &x->migration.gfn);

	if (rc < 0)
		return rc;
	if (!x->migration.gfn)
		return -ENOENT;
	/* One server of a domain has all pages of this type. Which one does not matter: EBUSY is
	 * the server of a device model before us. */
	if (xendevicemodel_map_mem_type_to_ioreq_server(x->dmod, (domid_t)x->domid, x->server,
							HVMMEM_ioreq_server,
							XEN_DMOP_IOREQ_MEM_ACCESS_WRITE) < 0 &&
	    errno != EBUSY)
		return -errno;
	return 0;
}

void migration_block(struct xen *x, const char *why)
{
	int rc = 0;

	if (x->migration.reasons++)
		return;
	if (!x->migration.gfn)
		rc = page_prepare(x);
	if (rc == 0)
		rc = page_set_type(x, HVMMEM_ioreq_server);
	if (rc < 0)
		log_warn("domain %u must not be migrated live (%s), and Xen cannot be made to "
			 "refuse it: %s",
			 x->domid, why,
			 rc == -EOPNOTSUPP ? "the guest runs without hardware-assisted paging"
			 : rc == -ENOENT   ? "the domain has no page for the ring of memory paging"
					   : strerror(-rc));
	else
		log_info("live migration (xl migrate) is refused: %s", why);
}

void migration_unblock(struct xen *x)
{
	/* What fails here was not blocked, or the domain is gone. */
	if (x->migration.reasons && !--x->migration.reasons && x->migration.gfn)
		page_set_type(x, HVMMEM_ram_rw);
}
