/* SPDX-License-Identifier: MIT */
/* migration.c - have Xen refuse live migration of the domain
 *
 * A live migration copies memory while the guest runs, and copies pages again that Xen has seen
 * written since ("log-dirty"). Xen does not see the writes of a device model, so a guest that is
 * migrated without our help keeps stale pages. The toolstack does not ask the device model, as
 * libxl assumes that a PVH guest has none.
 *
 * Xen itself can refuse. It does not turn log-dirty on while the domain has a page whose writes go
 * to an ioreq server (type HVMMEM_ioreq_server), since it could not log them: XEN_DOMCTL_shadow_op
 * fails with EBUSY. libxc turns log-dirty on before it sends the first page, so `xl migrate` ends
 * with an error there, and the guest has not been interrupted. A guest that is saved to a file is
 * suspended first and copied once, without log-dirty. That still works: the page is saved with the
 * others and is ordinary RAM after the restore.
 *
 * One page is enough. Every domain builder makes one for the ring of Xen's memory paging
 * (HVM_PARAM_PAGING_RING_PFN), which no PVH guest uses: it is populated, reserved in the guest's
 * memory map, and not accessible to our devices. If the guest reads it, it finds the page's
 * contents; a write arrives in ioreq.c, outside all claimed ranges, and is dropped. A guest may
 * return the page to Xen and can then be migrated, which harms only itself.
 *
 * If a device model is killed, the page keeps its type and the ioreq server stays; the next device
 * model of this domain takes over both. Everything runs on the control thread.
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

/* Read a parameter of the domain (0: not set). 0 or -errno. Must precede hv_restrict(). */
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

/* Set the type of the page: HVMMEM_ioreq_server sends writes to our server, HVMMEM_ram_rw makes it
 * RAM again. 0 or -errno. */
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
	/* One ioreq server of a domain gets the writes to all pages of this type. EBUSY means that
	 * it is the one of an earlier device model, which serves the purpose as well. */
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
	/* Errors are ignored: then Xen did not refuse before, or the domain is gone. */
	if (x->migration.reasons && !--x->migration.reasons && x->migration.gfn)
		page_set_type(x, HVMMEM_ram_rw);
}
