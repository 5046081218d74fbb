/* SPDX-License-Identifier: MIT */
/* gvirtio.c - the modern PCI transport, see gvirtio.h */
#include "gvirtio.h"

#include "base/util.h"

/* Address and length of the structure that the capability at `cap` points to; 0 when it lies in no
 * BAR. */
static uint64_t structure(struct gvirtio *v, unsigned cap, uint32_t *len)
{
	unsigned bar = gpci_cfg(&v->pci, cap + 4, 1);
	uint32_t off = gpci_cfg(&v->pci, cap + 8, 4);

	*len = gpci_cfg(&v->pci, cap + 12, 4);
	if (bar > 5 || !range_ok(off, *len, v->pci.bar[bar].size))
		return 0;
	return v->pci.bar[bar].addr + off;
}

bool gv_parse(struct gvirtio *v)
{
	for (unsigned cap = gpci_cap(&v->pci, GPCI_CAP_VENDOR, 0); cap;
	     cap = gpci_cap(&v->pci, GPCI_CAP_VENDOR, cap)) {
		switch (gpci_cfg(&v->pci, cap + 3, 1)) {
		case 1:
			v->common = structure(v, cap, &v->common_len);
			break;
		case 2:
			v->notify = structure(v, cap, &v->notify_len);
			v->notify_mult = gpci_cfg(&v->pci, cap + 16, 4);
			break;
		case 3:
			v->isr = structure(v, cap, &v->isr_len);
			break;
		case 4:
			v->config = structure(v, cap, &v->config_len);
			break;
		case 5:
			v->cfg_cap = cap;
			break;
		}
	}
	return v->common && v->notify && v->isr;
}

void gv_open(struct guest *g, struct gvirtio *v, unsigned id, unsigned nth)
{
	*v = (struct gvirtio){.g = g};
	/* QEMU's devices on the root bus are transitional unless told otherwise. */
	if (!gpci_find(g, &v->pci, VIRTIO_VENDOR, VIRTIO_ID(id), nth))
		guest_panic("virtio device %u, number %u: not there", id, nth);
	gpci_setup(&v->pci);
	if (!gv_parse(v))
		guest_panic("virtio device %u: capabilities missing", id);
}

uint32_t gv_common(struct gvirtio *v, unsigned off, unsigned size)
{
	return (uint32_t)guest_load(v->g, v->common + off, size);
}

void gv_common_set(struct gvirtio *v, unsigned off, unsigned size, uint64_t value)
{
	guest_store(v->g, v->common + off, size, value);
}

uint8_t gv_status(struct gvirtio *v)
{
	return (uint8_t)gv_common(v, GV_STATUS, 1);
}

void gv_set_status(struct gvirtio *v, uint8_t status)
{
	gv_common_set(v, GV_STATUS, 1, status);
}

uint64_t gv_offered(struct gvirtio *v)
{
	uint64_t bits;

	gv_common_set(v, GV_DFSELECT, 4, 0);
	bits = gv_common(v, GV_DF, 4);
	gv_common_set(v, GV_DFSELECT, 4, 1);
	return bits | (uint64_t)gv_common(v, GV_DF, 4) << 32;
}

void gv_write_features(struct gvirtio *v, uint64_t features)
{
	for (unsigned i = 0; i < 2; i++) {
		gv_common_set(v, GV_GFSELECT, 4, i);
		gv_common_set(v, GV_GF, 4, (uint32_t)(features >> (32 * i)));
	}
}

uint64_t gv_config(struct gvirtio *v, unsigned off, unsigned size)
{
	return guest_load(v->g, v->config + off, size);
}

void gv_reset(struct gvirtio *v)
{
	gv_set_status(v, 0);
	if (!guest_wait(v->g, gv_status(v) == 0))
		guest_panic("the device does not finish its reset");
}

void gv_negotiate(struct gvirtio *v, uint64_t want)
{
	gv_reset(v);
	gv_set_status(v, GV_ACKNOWLEDGE);
	gv_set_status(v, GV_ACKNOWLEDGE | GV_DRIVER);
	v->offered = gv_offered(v);
	v->features = v->offered & (want | v->g->features);
	gv_write_features(v, v->features);
	gv_set_status(v, GV_ACKNOWLEDGE | GV_DRIVER | GV_FEATURES_OK);
	if (!(gv_status(v) & GV_FEATURES_OK))
		guest_panic("the device refuses features 0x%llx of its 0x%llx",
			    (unsigned long long)v->features, (unsigned long long)v->offered);
}

void gv_start(struct gvirtio *v)
{
	if (v->pci.vectors) {
		gpci_msix_on(&v->pci);
		gv_common_set(v, GV_MSIX_CONFIG, 2, 0);
	}
	gv_set_status(v, GV_ACKNOWLEDGE | GV_DRIVER | GV_FEATURES_OK | GV_DRIVER_OK);
}

bool gv_needs_reset(struct gvirtio *v)
{
	return gv_status(v) & GV_NEEDS_RESET;
}

bool gv_wait_broken(struct gvirtio *v)
{
	return guest_wait_ms(v->g, 5000, gv_needs_reset(v));
}
