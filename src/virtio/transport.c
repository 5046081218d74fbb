/* SPDX-License-Identifier: MIT */
/* transport.c - virtio over PCI, modern interface (Virtio 1.3 §4.1)
 *
 * One 64-bit BAR holds all structures at the places that QEMU gives them, found by the driver
 * through vendor capabilities:
 *
 *     0x0000  common configuration   table `regs` below
 *     0x1000  ISR status             a read clears it
 *     0x2000  device configuration   v->config, with a mask of writable bits
 *     0x3000  doorbells              4 bytes per queue (a page each with page-per-vq)
 *
 * MSI-X has a BAR of its own, also 64 bit, so that no window below 4 GiB is needed. The capability
 * for access through configuration space (§4.1.4.9) leads to the same functions. Accesses of every
 * width and alignment are served: a read collects bytes from all fields that it overlaps; a write
 * merges its bytes into each such field and stores the field once.
 *
 * All functions run on the exit loop. A write to a doorbell schedules kick() of the queue and
 * returns, so that the vCPU does not wait for the queue's work.
 */
#include "pci/regs.h"
#include "virtio/ring.h"

#include <errno.h>

#define VIRTIO_BAR  4
#define MSIX_BAR    0
#define REGION_SIZE 0x1000

enum region { REGION_COMMON, REGION_ISR, REGION_DEVICE, REGION_NOTIFY };

#define NOTIFY_BASE   (REGION_NOTIFY * REGION_SIZE)
#define NOTIFY_STRIDE 4

#define CAP_COMMON 1
#define CAP_NOTIFY 2
#define CAP_ISR	   3
#define CAP_DEVICE 4
#define CAP_PCI	   5

/* Offsets in a virtio capability (§4.1.4). */
#define CAP_LEN	     16
#define CAP_CFG_TYPE 3
#define CAP_BAR	     4
#define CAP_OFFSET   8
#define CAP_LENGTH   12
#define CAP_EXTRA    16 /* notify multiplier, or the data window */

/* --- common configuration (§4.1.4.3) --- */

/* The queue that queue_select names; NULL when there is no such queue. */
static struct vqueue *queue_selected(struct vdev *v)
{
	return v->state->queue_select < v->queues ? v->vq[v->state->queue_select] : NULL;
}

/* The selected queue if the driver may still change its size and addresses, else NULL. */
static struct vqueue *queue_programmable(struct vdev *v)
{
	struct vqueue *vq = queue_selected(v);

	return vq && !vq->enabled && !v->state->resetting ? vq : NULL;
}

static uint64_t get_offered_select(struct vdev *v)
{
	return v->state->offered_select;
}

static void set_offered_select(struct vdev *v, uint64_t x)
{
	v->state->offered_select = (uint32_t)x;
}

static uint64_t get_offered(struct vdev *v)
{
	return v->state->offered_select < 2
		       ? (uint32_t)(v->offered >> (32 * v->state->offered_select))
		       : 0;
}

static uint64_t get_accepted_select(struct vdev *v)
{
	return v->state->accepted_select;
}

static void set_accepted_select(struct vdev *v, uint64_t x)
{
	v->state->accepted_select = (uint32_t)x;
}

static uint64_t get_accepted(struct vdev *v)
{
	uint32_t select = v->state->accepted_select;

	return select < 2 ? (uint32_t)(v->state->accepted >> (32 * select)) : 0;
}

static void set_accepted(struct vdev *v, uint64_t x)
{
	struct vdev_state *st = v->state;

	if (st->accepted_select >= 2 || atomic_load(&st->status) & STATUS_FEATURES_OK)
		return;
	if (st->accepted_select)
		st->accepted = (uint32_t)st->accepted | x << 32;
	else
		st->accepted = (st->accepted & ~0xffffffffULL) | x;
}

static unsigned vector_or_none(struct vdev *v, uint64_t x)
{
	return x < msix_vectors(&v->fn) ? (unsigned)x : VIRTIO_NO_VECTOR;
}

static uint64_t get_config_vector(struct vdev *v)
{
	return atomic_load(&v->state->config_vector);
}

static void set_config_vector(struct vdev *v, uint64_t x)
{
	atomic_store(&v->state->config_vector, vector_or_none(v, x));
}

static uint64_t get_num_queues(struct vdev *v)
{
	return v->queues;
}

static uint64_t get_status(struct vdev *v)
{
	return atomic_load(&v->state->status);
}

static void set_status(struct vdev *v, uint64_t x)
{
	vdev_set_status(v, (uint8_t)x);
}

static uint64_t get_generation(struct vdev *v)
{
	return v->state->generation;
}

static uint64_t get_queue_select(struct vdev *v)
{
	return v->state->queue_select;
}

static void set_queue_select(struct vdev *v, uint64_t x)
{
	v->state->queue_select = (uint16_t)x;
}

static uint64_t get_queue_size(struct vdev *v)
{
	struct vqueue *vq = queue_selected(v);

	return vq ? vq->size : 0;
}

static void set_queue_size(struct vdev *v, uint64_t x)
{
	struct vqueue *vq = queue_programmable(v);

	if (vq && x <= vq->size_max && vdev_ring(v)->size_ok((unsigned)x))
		vq->size = (uint16_t)x;
}

static uint64_t get_queue_vector(struct vdev *v)
{
	struct vqueue *vq = queue_selected(v);

	return vq ? atomic_load(&vq->vector) : 0;
}

static void set_queue_vector(struct vdev *v, uint64_t x)
{
	struct vqueue *vq = queue_selected(v);

	if (vq)
		atomic_store(&vq->vector, vector_or_none(v, x));
}

static uint64_t get_queue_enable(struct vdev *v)
{
	struct vqueue *vq = queue_selected(v);

	return vq && vq->enabled && !vq->resetting;
}

static void set_queue_enable(struct vdev *v, uint64_t x)
{
	struct vqueue *vq = queue_programmable(v);

	if (vq && x == 1)
		vdev_queue_enable(v, vq);
}

static uint64_t get_queue_notify_off(struct vdev *v)
{
	return queue_selected(v) ? v->state->queue_select : 0;
}

static uint64_t get_queue_desc(struct vdev *v)
{
	struct vqueue *vq = queue_selected(v);

	return vq ? vq->desc : 0;
}

static void set_queue_desc(struct vdev *v, uint64_t x)
{
	struct vqueue *vq = queue_programmable(v);

	if (vq)
		vq->desc = x;
}

static uint64_t get_queue_driver(struct vdev *v)
{
	struct vqueue *vq = queue_selected(v);

	return vq ? vq->avail : 0;
}

static void set_queue_driver(struct vdev *v, uint64_t x)
{
	struct vqueue *vq = queue_programmable(v);

	if (vq)
		vq->avail = x;
}

static uint64_t get_queue_device(struct vdev *v)
{
	struct vqueue *vq = queue_selected(v);

	return vq ? vq->used : 0;
}

static void set_queue_device(struct vdev *v, uint64_t x)
{
	struct vqueue *vq = queue_programmable(v);

	if (vq)
		vq->used = x;
}

/* §4.1.4.3.1: 1 while the reset goes on, 0 when it is done. */
static uint64_t get_queue_reset(struct vdev *v)
{
	struct vqueue *vq = queue_selected(v);

	return vq && vq->resetting;
}

static void set_queue_reset(struct vdev *v, uint64_t x)
{
	struct vqueue *vq = queue_selected(v);

	if (vq && x == 1)
		vdev_queue_reset(v, vq);
}

static const struct reg {
	uint8_t off, len;
	uint64_t (*get)(struct vdev *v);
	void (*set)(struct vdev *v, uint64_t x); /* NULL: read only */
} regs[] = {
	{0x00, 4, get_offered_select, set_offered_select},
	{0x04, 4, get_offered, NULL},
	{0x08, 4, get_accepted_select, set_accepted_select},
	{0x0c, 4, get_accepted, set_accepted},
	{0x10, 2, get_config_vector, set_config_vector},
	{0x12, 2, get_num_queues, NULL},
	{0x14, 1, get_status, set_status},
	{0x15, 1, get_generation, NULL},
	{0x16, 2, get_queue_select, set_queue_select},
	{0x18, 2, get_queue_size, set_queue_size},
	{0x1a, 2, get_queue_vector, set_queue_vector},
	{0x1c, 2, get_queue_enable, set_queue_enable},
	{0x1e, 2, get_queue_notify_off, NULL},
	{0x20, 8, get_queue_desc, set_queue_desc},
	{0x28, 8, get_queue_driver, set_queue_driver},
	{0x30, 8, get_queue_device, set_queue_device},
	{0x3a, 2, get_queue_reset, set_queue_reset},
};

static uint64_t common_read(struct vdev *v, unsigned off, unsigned size)
{
	uint64_t out = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		const struct reg *r = &regs[i];
		uint64_t x;

		if (off >= r->off + r->len || off + size <= r->off)
			continue;
		x = r->get(v);
		for (unsigned b = MAX(off, r->off); b < MIN(off + size, r->off + r->len + 0u); b++)
			out |= (x >> (8 * (b - r->off)) & 0xff) << (8 * (b - off));
	}
	return out;
}

static void common_write(struct vdev *v, unsigned off, uint64_t data, unsigned size)
{
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		const struct reg *r = &regs[i];
		uint64_t x;

		if (off >= r->off + r->len || off + size <= r->off || !r->set)
			continue;
		x = r->get(v);
		for (unsigned b = MAX(off, r->off); b < MIN(off + size, r->off + r->len + 0u);
		     b++) {
			unsigned shift = 8 * (b - r->off);

			x = (x & ~(0xffULL << shift)) | (data >> (8 * (b - off)) & 0xff) << shift;
		}
		r->set(v, x);
	}
}

/* --- ISR and device configuration --- */

static uint64_t isr_read(struct vdev *v, unsigned off)
{
	uint64_t isr;

	if (off)
		return 0;
	isr = atomic_exchange(&v->state->isr, 0);
	pci_intx_set(&v->fn, false);
	return isr;
}

static uint64_t device_read(struct vdev *v, unsigned off, unsigned size)
{
	uint64_t out = 0;

	for (unsigned i = 0; i < size && off + i < v->config_len; i++)
		out |= (uint64_t)v->config[off + i] << (8 * i);
	return out;
}

static void device_write(struct vdev *v, unsigned off, uint64_t data, unsigned size)
{
	unsigned i;

	for (i = 0; i < size && off + i < v->config_len; i++) {
		uint8_t mask = v->config_wmask[off + i];

		v->config[off + i] =
			(v->config[off + i] & ~mask) | ((uint8_t)(data >> (8 * i)) & mask);
	}
	if (i && v->ops->config_written)
		v->ops->config_written(v, off, i);
}

static void queue_notify(struct vdev *v, uint64_t off, unsigned size)
{
	uint64_t q = off / v->state->notify_stride;

	if (off % v->state->notify_stride || (size != 2 && size != 4) || q >= v->queues)
		return;
	vq_doorbell(v->vq[q]);
}

/* --- the BAR --- */

static struct vdev *vdev_of(struct pci_fn *fn)
{
	return container_of(fn, struct vdev, fn);
}

static uint64_t virtio_bar_read(struct pci_fn *fn, uint64_t off, unsigned size)
{
	struct vdev *v = vdev_of(fn);
	unsigned in = off % REGION_SIZE;

	switch (off / REGION_SIZE) {
	case REGION_COMMON:
		return common_read(v, in, size);
	case REGION_ISR:
		return isr_read(v, in);
	case REGION_DEVICE:
		return device_read(v, in, size);
	default:
		return 0; /* doorbells */
	}
}

static void virtio_bar_write(struct pci_fn *fn, uint64_t off, uint64_t data, unsigned size)
{
	struct vdev *v = vdev_of(fn);
	unsigned in = off % REGION_SIZE;

	switch (off / REGION_SIZE) {
	case REGION_COMMON:
		common_write(v, in, data, size);
		break;
	case REGION_ISR:
		break;
	case REGION_DEVICE:
		device_write(v, in, data, size);
		break;
	default:
		queue_notify(v, off - NOTIFY_BASE, size);
	}
}

static const struct pci_bar_ops virtio_bar = {virtio_bar_read, virtio_bar_write};

/* --- access through configuration space (§4.1.4.9) --- */

/* Read from the capability which access to the BAR the driver has set up. Returns false when it is
 * not a valid one. */
static bool window_locate(struct vdev *v, uint64_t *off, unsigned *size)
{
	const uint8_t *cap = &v->fn.cfg[v->state->cap_pci_cfg];
	uint32_t len = get_le32(cap + CAP_LENGTH);

	*off = get_le32(cap + CAP_OFFSET);
	*size = len;
	return cap[CAP_BAR] == VIRTIO_BAR && (len == 1 || len == 2 || len == 4) && !(*off % len) &&
	       range_ok(*off, len, v->fn.bar[VIRTIO_BAR].size);
}

/* Does an access to configuration space overlap the data window of the capability? */
static bool window_is_touched(struct vdev *v, unsigned off, unsigned len)
{
	unsigned at = v->state->cap_pci_cfg + CAP_EXTRA;

	return off < at + 4 && off + len > at;
}

static void cfg_reading(struct pci_fn *fn, unsigned off, unsigned len)
{
	struct vdev *v = vdev_of(fn);
	uint64_t at;
	unsigned size;

	if (window_is_touched(v, off, len) && window_locate(v, &at, &size))
		put_le32(&fn->cfg[v->state->cap_pci_cfg + CAP_EXTRA],
			 (uint32_t)virtio_bar_read(fn, at, size));
}

static void cfg_written(struct pci_fn *fn, unsigned off, unsigned len)
{
	struct vdev *v = vdev_of(fn);
	uint64_t at;
	unsigned size;

	if (window_is_touched(v, off, len) && window_locate(v, &at, &size))
		virtio_bar_write(fn, at,
				 get_le32(&fn->cfg[v->state->cap_pci_cfg + CAP_EXTRA]) &
					 (uint32_t)((1ULL << (8 * size)) - 1),
				 size);
	if (off <= PCI_COMMAND && off + len > PCI_COMMAND)
		for (unsigned i = 0; i < v->queues; i++)
			vq_master_changed(v->vq[i]);
}

static void fn_reset(struct pci_fn *fn)
{
	vdev_reset(vdev_of(fn));
}

/* --- set-up --- */

static uint8_t cap_add(struct vdev *v, uint8_t type, uint8_t len, uint32_t offset, uint32_t length)
{
	uint8_t at = pci_cap_add(&v->fn, PCI_CAP_ID_VENDOR, len);
	uint8_t *cap = &v->fn.cfg[at];

	cap[2] = len;
	cap[CAP_CFG_TYPE] = type;
	cap[CAP_BAR] = VIRTIO_BAR;
	put_le32(cap + CAP_OFFSET, offset);
	put_le32(cap + CAP_LENGTH, length);
	return at;
}

int transport_init(struct vdev *v, unsigned vectors, struct err *e)
{
	uint64_t stride = v->opt_page_per_vq ? REGION_SIZE : NOTIFY_STRIDE;
	uint64_t notify_len = MAX(stride * VQ_PER_DEVICE_MAX, REGION_SIZE), bar = 0x4000;
	uint8_t at, *wmask;

	v->state->notify_stride = stride;
	while (bar < NOTIFY_BASE + notify_len)
		bar *= 2;
	cap_add(v, CAP_COMMON, CAP_LEN, REGION_COMMON * REGION_SIZE, REGION_SIZE);
	cap_add(v, CAP_ISR, CAP_LEN, REGION_ISR * REGION_SIZE, REGION_SIZE);
	if (v->config_len)
		cap_add(v, CAP_DEVICE, CAP_LEN, REGION_DEVICE * REGION_SIZE, REGION_SIZE);
	at = cap_add(v, CAP_NOTIFY, CAP_LEN + 4, NOTIFY_BASE, (uint32_t)notify_len);
	put_le32(&v->fn.cfg[at + CAP_EXTRA], (uint32_t)stride);

	at = cap_add(v, CAP_PCI, CAP_LEN + 4, 0, 0);
	v->state->cap_pci_cfg = at;
	v->fn.cfg[at + CAP_BAR] = 0;
	wmask = &v->fn.wmask[at];
	wmask[CAP_BAR] = 0xff;
	put_le32(wmask + CAP_OFFSET, UINT32_MAX);
	put_le32(wmask + CAP_LENGTH, UINT32_MAX);
	put_le32(wmask + CAP_EXTRA, UINT32_MAX);

	pci_cap_express(&v->fn);
	pci_bar_add(&v->fn, VIRTIO_BAR, bar, true, true, &virtio_bar);
	if (vectors && msix_init(&v->fn, MSIX_BAR, vectors) < 0)
		return err_nomem(e);
	v->fn.cfg[PCI_INT_PIN] = v->hv->has_intx ? 1 : 0;
	v->fn.cfg_reading = cfg_reading;
	v->fn.cfg_written = cfg_written;
	v->fn.reset = fn_reset;
	return 0;
}
