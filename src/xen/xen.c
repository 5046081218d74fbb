/* SPDX-License-Identifier: MIT */
/* xen.c - attach to a domain: `struct hv` over the stable Xen libraries
 *
 * Owns every Xen handle of the process. The libraries that are used have kept their ABI since Xen
 * 4.17, so one binary works with all versions; libxenctrl, whose ABI changes, is not used.
 *
 * Fails: before hv_serve() with one line. Later errors do not end the process: Xen refuses an
 * interrupt because of the guest's mistake, or because the domain is gone.
 */
#include "xen/xen.h"

#include <cpuid.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/trace.h"
#include "xen/domain.h"

#include <xentoolcore.h> /* after Xen's types */

/* The width of guest-physical addresses in bits: the smallest of the host's, that of nested paging,
 * and Xen's own limit (cpu-policy.c). */
static unsigned host_paddr_bits(void)
{
	unsigned a, b, c, d, bits = 36, nested;

	if (__get_cpuid(0x80000008, &a, &b, &c, &d)) {
		nested = a >> 16 & 0xff;
		bits = a & 0xff;
		if (nested)
			bits = MIN(bits, nested);
	}
	return MAX(36u, MIN(bits, 48u));
}

static int xen_serve(struct hv *hv, struct loop *exits, struct loop *control,
		     const struct hv_client *client, struct err *e)
{
	struct xen *x = to_xen(hv);
	int rc = store_watch(&x->store, control, client);

	if (rc < 0)
		return err_set(e, rc, "could not watch the domain: %s", strerror(-rc));
	/* Do this before a vCPU can cause a device to write to memory. */
	migration_block(x, "what devices write to memory would not be copied");
	return ioreq_serve(x, exits, client, e);
}

static int xen_msi(struct hv *hv, uint64_t addr, uint32_t data)
{
	struct xen *x = to_xen(hv);

	return privcmd_msi(x->privcmd, x->domid, addr, data);
}

static int xen_intx(struct hv *hv, unsigned line, bool level)
{
	struct xen *x = to_xen(hv);

	/* For a guest without an IOAPIC this hypercall would fail an assertion in a debug build of
	 * Xen. */
	if (!hv->has_intx)
		return -ENODEV;
	return privcmd_intx(x->privcmd, x->domid, line, level);
}

static int xen_restrict(struct hv *hv, struct err *e)
{
	struct xen *x = to_xen(hv);
	int rc = privcmd_restrict(x->privcmd, x->domid);

	if (!rc && xentoolcore_restrict_all((domid_t)x->domid) < 0)
		rc = -errno;
	x->restricted = true;
	if (rc)
		return err_set(e, rc, "could not restrict the Xen handles to domain %u: %s",
			       x->domid, strerror(-rc));
	return 0;
}

static int xen_announce(struct hv *hv, struct err *e)
{
	struct xen *x = to_xen(hv);
	/* With dm_restrict libxl waits for an answer over QMP instead, and fails if it is told of
	 * the start twice. */
	int rc = x->restricted ? 0 : store_announce(&x->store, e);

	if (rc == 0)
		store_connect(&x->store, &x->facts);
	return rc;
}

static void xen_close(struct hv *hv)
{
	struct xen *x = to_xen(hv);

	if (x->dmod && x->fmem) {
		migration_unblock(x);
		ioreq_close(x);
	}
	gmem_free(hv->mem);
	if (x->evtchn)
		xenevtchn_close(x->evtchn);
	if (x->fmem)
		xenforeignmemory_close(x->fmem);
	if (x->dmod)
		xendevicemodel_close(x->dmod);
	if (x->privcmd >= 0)
		close(x->privcmd);
	/* This comes last: when the state node is removed, all pages of the domain are unmapped. */
	store_stop(&x->store);
	free(x);
}

static const struct hv_ops xen_ops = {
	.claim = ioreq_claim,
	.serve = xen_serve,
	.msi = xen_msi,
	.intx = xen_intx,
	.restrict_self = xen_restrict,
	.announce = xen_announce,
	.close = xen_close,
};

static int handles_open(struct xen *x, struct err *e)
{
	x->privcmd = privcmd_open(e);
	if (x->privcmd < 0)
		return x->privcmd;
	x->dmod = xendevicemodel_open(NULL, 0);
	x->fmem = xenforeignmemory_open(NULL, 0);
	x->evtchn = xenevtchn_open(NULL, 0);
	if (!x->dmod || !x->fmem || !x->evtchn)
		return err_set(e, -errno, "could not open the Xen %s interface: %s",
			       !x->dmod	  ? "device model"
			       : !x->fmem ? "foreign memory"
					  : "event channel",
			       strerror(errno));
	return 0;
}

static int vcpus_count(struct xen *x, struct err *e)
{
	if (xendevicemodel_nr_vcpus(x->dmod, (domid_t)x->domid, &x->hv.vcpus) < 0) {
		const char *why = errno == ESRCH    ? "there is no such domain"
				  : errno == EINVAL ? "it is not a PVH domain"
						    : strerror(errno);

		return err_set(e, -errno, "domain %u: %s", x->domid, why);
	}
	if (!x->hv.vcpus || x->hv.vcpus > XEN_VCPUS_MAX)
		return err_set(e, -ERANGE, "domain %u has %u vCPUs, at most %u are supported",
			       x->domid, x->hv.vcpus, XEN_VCPUS_MAX);
	return 0;
}

/* Set up access to guest memory: its RAM and the pages of its ACPI tables. */
static int memory_open(struct xen *x, struct err *e)
{
	struct hv *hv = &x->hv;
	struct hv_range all[HV_RAM_RANGES];
	unsigned n = 0;
	/* With memory < maxmem, mapping a page populates it: map only what is used. */
	bool on_demand = x->facts.target && x->facts.target < x->facts.static_max;

	all[n++] = hv->ram[0];
	all[n++] = (struct hv_range){LAYOUT_ACPI_BASE, LAYOUT_ACPI_SIZE};
	for (unsigned i = 1; i < hv->ram_ranges; i++)
		all[n++] = hv->ram[i];
	hv->mem = gmem_new(all, n, on_demand ? 1 : GMEM_GRANULE_PAGES, &privcmd_gmem_ops, x, e);
	return hv->mem ? 0 : -ENOMEM;
}

struct hv *hv_xen_open(unsigned domid, const struct layout_conf *conf, bool apart, struct err *e)
{
	struct xen *x = calloc(1, sizeof(*x));

	if (!x) {
		err_nomem(e);
		return NULL;
	}
	x->hv.ops = &xen_ops;
	x->hv.paddr_bits = host_paddr_bits();
	x->domid = domid;
	x->conf = *conf;
	x->privcmd = -1;
	x->events.fd = -1;
	x->store.watcher.xs.fd = -1;
	if (handles_open(x, e) < 0 || vcpus_count(x, e) < 0 ||
	    store_open(&x->store, domid, &x->facts, e) < 0 || ram_discover(x, e) < 0 ||
	    layout_check_ram(conf, x->hv.ram, x->hv.ram_ranges, e) < 0 || memory_open(x, e) < 0 ||
	    store_start(&x->store, apart, e) < 0) {
		xen_close(&x->hv);
		return NULL;
	}
	acpi_inspect(x->hv.mem, &x->acpi);
	x->hv.has_intx = x->acpi.ioapic;
	return &x->hv;
}

static bool range_equal(struct hv_range a, struct hv_range b)
{
	return a.base == b.base && a.size == b.size;
}

int hv_xen_layout(struct hv *hv, const struct layout_conf *conf, struct layout *out, struct err *e)
{
	struct xen *x = to_xen(hv);
	const struct layout *known = &x->acpi.layout;
	struct layout_conf merged = *conf;

	if (!x->acpi.completed) {
		if (x->acpi.bridge && !conf->ecam.size)
			return err_set(
				e, -EINVAL,
				"the domain's ACPI tables declare a PCI bridge of their own: "
				"pci-ecam-base=, pci-mmio-base= and so on must say where");
		return layout_resolve(conf, hv->ram, hv->ram_ranges, hv->paddr_bits, out, e);
	}
	/* A restored guest keeps the windows that it was started with, whatever this host would
	 * choose. */
	if ((conf->ecam.size && !range_equal(conf->ecam, known->ecam)) ||
	    (conf->mmio.size && !range_equal(conf->mmio, known->mmio)) ||
	    (conf->mmio_high.size && !range_equal(conf->mmio_high, known->mmio_high)))
		return err_set(e, -EINVAL,
			       "the guest was started with other PCI windows (ECAM at 0x%" PRIx64
			       ") than the line states",
			       known->ecam.base);
	merged.ecam = known->ecam;
	merged.mmio = known->mmio;
	merged.mmio_high = known->mmio_high;
	return layout_resolve(&merged, hv->ram, hv->ram_ranges, hv->paddr_bits, out, e);
}

int hv_xen_acpi(struct hv *hv, const struct layout *layout, enum acpi_mode mode, struct err *e)
{
	struct xen *x = to_xen(hv);
	const char *why_not = !x->acpi.rsdp	? "the domain has no ACPI tables"
			      : x->acpi.has_run ? "the guest has run already"
						: NULL;
	uint64_t at;
	int rc;

	if (mode == ACPI_OFF || x->acpi.completed || x->acpi.bridge)
		return 0;
	if (why_not) {
		if (mode == ACPI_ON)
			return err_set(e, -EINVAL, "acpi=on: %s", why_not);
		log_info("ACPI tables left alone: %s", why_not);
		return 0;
	}
	rc = acpi_place(hv->mem, &x->acpi, &at);
	if (rc == -ENOSPC) {
		rc = acpi_spare_page(hv->mem, &x->acpi, &at);
		if (!rc)
			rc = ram_populate(x, at >> PAGE_SHIFT);
		/* The page was a hole until now: drop what is remembered of it. */
		gmem_invalidate(hv->mem);
	}
	if (rc)
		return err_set(e, rc, "no room for the ACPI tables of the PCI bridge: %s",
			       strerror(-rc));
	rc = acpi_complete(hv->mem, &x->acpi, layout, hv->has_intx, at, e);
	if (rc)
		return rc;
	acpi_inspect(hv->mem, &x->acpi);
	trace(acpi_complete, NULL, "tables at 0x%llx, ECAM at 0x%llx", (unsigned long long)at,
	      (unsigned long long)layout->ecam.base);
	if (!x->acpi.completed)
		return err_set(e, -EIO, "the ACPI tables of the PCI bridge cannot be read back");
	return 0;
}

bool hv_xen_kill_uid(struct hv *hv, uid_t *uid)
{
	struct xen *x = to_xen(hv);

	*uid = x->facts.kill_uid;
	return x->facts.has_kill_uid;
}

const char *hv_xen_channel(struct hv *hv, unsigned i, unsigned *devid)
{
	struct xen *x = to_xen(hv);

	if (i >= x->facts.channels)
		return NULL;
	*devid = x->facts.channel[i].devid;
	return x->facts.channel[i].name;
}
