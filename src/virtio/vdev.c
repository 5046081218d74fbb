/* SPDX-License-Identifier: MIT */
/* vdev.c - a virtio device's life: feature negotiation, status, reset, configuration, interrupts
 *
 * Primer. A driver brings a device up by writing bits to the status register, in this order (Virtio
 * 1.3 §3.1.1, §2.1): ACKNOWLEDGE (it has found the device), DRIVER (it knows how to drive it),
 * FEATURES_OK (the features are agreed), DRIVER_OK (the device may work). FAILED says that the
 * driver has given up, DEVICE_NEEDS_RESET that the device has: only a reset helps then.
 *
 * Features (§2.2): the device offers a set of bits, the driver writes the subset that it accepts,
 * then sets FEATURES_OK and reads it back. The bit stays 0 if the device does not agree. The set is
 * fixed from then on.
 *
 * Queues (§4.1.5.1.3): between FEATURES_OK and DRIVER_OK the driver selects each queue, writes its
 * size and the addresses of its three areas in guest memory, and enables it. A queue starts to be
 * served when it is enabled and DRIVER_OK is set.
 *
 * Reset (§2.4): the driver writes 0 to the status register and reads it until it is 0. From that
 * moment the device must not touch the queues or the memory of their requests. A single queue can
 * be reset as well (§2.6.1).
 *
 * The status register only gains bits until the driver writes 0. That begins a reset: the queues
 * are asked to stop, each reports when no chain of it is in flight, and after the last report the
 * register reads 0. If all queues run on the exit loop and no chain is in flight, the reset is done
 * when the write returns.
 *
 * Everything runs on the exit loop, except vdev_break() and the interrupts, which any loop may
 * call.
 */
#include "virtio/ring.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/trace.h"
#include "pci/ids.h"

#define ISR_QUEUE  1
#define ISR_CONFIG 2

/* Features that the core offers by default. The options below switch off all but VERSION_1, and
 * switch on others. */
#define CORE_FEATURES \
	(VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_RESET)

const char *vdev_name(const struct vdev *v)
{
	return v->fn.id ? v->fn.id : v->fn.kind;
}

const struct ring_ops *vdev_ring(const struct vdev *v)
{
	return vdev_has(v, VIRTIO_F_RING_PACKED) ? &packed_ring : &split_ring;
}

bool vdev_running(const struct vdev *v)
{
	return (atomic_load(&v->state->status) & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET)) ==
	       STATUS_DRIVER_OK;
}

/* --- interrupts --- */

static void device_interrupt(struct vdev *v, unsigned vector, unsigned isr)
{
	if (msix_enabled(&v->fn)) {
		if (vector != VIRTIO_NO_VECTOR)
			msix_raise(&v->fn, vector);
		return;
	}
	atomic_fetch_or(&v->state->isr, isr);
	pci_intx_set(&v->fn, true);
}

void vdev_queue_interrupt(struct vqueue *vq)
{
	device_interrupt(vq->v, atomic_load(&vq->vector), ISR_QUEUE);
}

static void vdev_config_interrupt(struct vdev *v)
{
	device_interrupt(v, atomic_load(&v->state->config_vector), ISR_CONFIG);
}

void vdev_config_changed(struct vdev *v)
{
	v->state->generation++;
	if (vdev_running(v))
		vdev_config_interrupt(v);
}

/* --- status and reset --- */

/* All queues are marked before the first is asked to stop, because it may report at once and must
 * not be taken for the last one. Queues that do not run are not asked: so the reset of a device
 * that was not started ends within the write, whatever loops its queues have. */
static void device_stop_queues(struct vdev *v)
{
	for (unsigned i = 0; i < v->queues; i++)
		v->vq[i]->want_stop = v->vq[i]->live;
	for (unsigned i = 0; i < v->queues; i++)
		if (v->vq[i]->want_stop && !v->vq[i]->stop_asked)
			vq_stop(v->vq[i]);
}

/* Has a queue not yet reported a stop or a pause that was asked for? */
static bool device_has_waiting_queue(const struct vdev *v)
{
	for (unsigned i = 0; i < v->queues; i++)
		if (v->vq[i]->want_stop || v->vq[i]->want_pause)
			return true;
	return false;
}

static void queue_clear(struct vqueue *vq)
{
	vq->size = vq->size_max;
	vq->desc = vq->avail = vq->used = 0;
	vq->enabled = false;
	vq->resetting = false;
	atomic_store(&vq->vector, VIRTIO_NO_VECTOR);
}

/* All queues are idle: clear everything that the driver has set up. */
static void device_finish_reset(struct vdev *v)
{
	struct vdev_state *st = v->state;

	for (unsigned i = 0; i < v->queues; i++)
		queue_clear(v->vq[i]);
	if (v->ops->reset)
		v->ops->reset(v);
	st->started = false;
	st->resetting = false;
	st->accepted = v->features = 0;
	st->offered_select = st->accepted_select = 0;
	st->queue_select = 0;
	atomic_store(&st->config_vector, VIRTIO_NO_VECTOR);
	atomic_store(&st->broken, false);
	atomic_store(&st->status, 0);
	atomic_store(&st->isr, 0);
	pci_intx_set(&v->fn, false);
	trace(device_reset, vdev_name(v), "all queues are idle");
}

void vdev_reset(struct vdev *v)
{
	if (v->state->resetting)
		return;
	v->state->resetting = true;
	device_stop_queues(v);
	if (v->state->resetting && !device_has_waiting_queue(v))
		device_finish_reset(v);
}

void vdev_queue_idle(struct vqueue *vq)
{
	unsigned news = atomic_exchange(&vq->reported, 0);
	struct vdev *v = vq->v;
	struct vdev_state *st = v->state;

	/* One run of this task may carry both reports, and a pause may be reported after a stop was
	 * asked for: each report ends only its own wait. */
	if (news & REPORT_PAUSE)
		vq->want_pause = false;
	if (news & REPORT_STOP) {
		if (vq->resetting && !st->resetting)
			queue_clear(vq);
		vq->want_stop = vq->stop_asked = vq->live = false;
	}
	if (!news || device_has_waiting_queue(v))
		return;
	if (st->resetting)
		device_finish_reset(v);
	if (st->paused) {
		void (*done)(void *arg) = st->paused;

		st->paused = NULL;
		done(st->paused_arg);
	}
}

static void device_start(struct vdev *v)
{
	v->state->started = true;
	if (v->ops->start)
		v->ops->start(v);
	for (unsigned i = 0; i < v->queues; i++)
		if (v->vq[i]->enabled)
			vq_start(v->vq[i]);
}

void vdev_set_status(struct vdev *v, uint8_t status)
{
	struct vdev_state *st = v->state;
	unsigned old = atomic_load(&st->status), next;

	trace(device_status, vdev_name(v), "0x%02x, was 0x%02x", status, old);
	if (!status) {
		vdev_reset(v);
		return;
	}
	if (st->resetting)
		return;
	next = old | (status & (STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK |
				STATUS_FEATURES_OK | STATUS_FAILED));
	/* §3.1.1 step 5: the bit stays clear when the driver accepted what was not offered. */
	if (next & ~old & STATUS_FEATURES_OK) {
		if (st->accepted & ~v->offered || !(st->accepted & VIRTIO_F_VERSION_1))
			next &= ~(unsigned)STATUS_FEATURES_OK;
		else
			v->features = st->accepted;
		trace(device_features, vdev_name(v), "accepted 0x%llx of 0x%llx: %s",
		      (unsigned long long)st->accepted, (unsigned long long)v->offered,
		      next & STATUS_FEATURES_OK ? "ok" : "refused");
	}
	if (next & ~old & STATUS_DRIVER_OK && !(next & STATUS_FEATURES_OK))
		next &= ~(unsigned)STATUS_DRIVER_OK;
	/* vdev_break() may set its bit at the same time. */
	atomic_fetch_or(&st->status, next);
	if (next & ~old & STATUS_DRIVER_OK)
		device_start(v);
}

void vdev_queue_enable(struct vdev *v, struct vqueue *vq)
{
	unsigned status = atomic_load(&v->state->status);

	if (vq->enabled || vq->want_stop || v->state->resetting || !(status & STATUS_FEATURES_OK))
		return;
	if (!vq_areas_ok(vq)) {
		log_guest(&v->fn.rate, vdev_name(v),
			  "queue %u: ring of %u entries at 0x%llx, 0x%llx, 0x%llx is not all in "
			  "memory",
			  vq->index, vq->size, (unsigned long long)vq->desc,
			  (unsigned long long)vq->avail, (unsigned long long)vq->used);
		return;
	}
	vq->enabled = true;
	trace(queue_enable, vdev_name(v), "queue %u: %u entries at 0x%llx, 0x%llx, 0x%llx",
	      vq->index, vq->size, (unsigned long long)vq->desc, (unsigned long long)vq->avail,
	      (unsigned long long)vq->used);
	if (status & STATUS_DRIVER_OK)
		vq_start(vq);
}

void vdev_queue_reset(struct vdev *v, struct vqueue *vq)
{
	if (!vdev_has(v, VIRTIO_F_RING_RESET) || !vq->enabled || vq->resetting ||
	    v->state->resetting)
		return;
	vq->resetting = true;
	trace(queue_stop, vdev_name(v), "queue %u", vq->index);
	if (!vq->live)
		queue_clear(vq);
	else if (!vq->want_stop)
		vq_stop(vq);
}

/* --- a device that the guest broke --- */

static void device_run_break(struct loop_task *t)
{
	struct vdev_state *st = container_of(t, struct vdev_state, break_task);
	struct vdev *v = st->v;

	if (!atomic_load(&st->broken))
		return; /* it was reset meanwhile */
	log_guest(&v->fn.rate, vdev_name(v), "%s; the device needs a reset", st->why);
	trace(device_break, vdev_name(v), "%s", st->why);
	device_stop_queues(v);
	if (atomic_fetch_or(&st->status, STATUS_NEEDS_RESET) & STATUS_DRIVER_OK)
		vdev_config_interrupt(v);
}

void vdev_break(struct vdev *v, const char *fmt, ...)
{
	va_list ap;

	if (atomic_exchange(&v->state->broken, true))
		return;
	va_start(ap, fmt);
	vsnprintf(v->state->why, sizeof(v->state->why), fmt, ap);
	va_end(ap);
	if (loop_is_mine(v->exits))
		loop_defer(v->exits, &v->state->break_task);
	else
		loop_post(v->exits, &v->state->break_task);
}

/* --- pause --- */

void vdev_pause(struct vdev *v, void (*done)(void *arg), void *arg)
{
	atomic_store(&v->state->held, true);
	if (!v->queues) {
		done(arg);
		return;
	}
	v->state->paused = done;
	v->state->paused_arg = arg;
	for (unsigned i = 0; i < v->queues; i++)
		v->vq[i]->want_pause = true;
	for (unsigned i = 0; i < v->queues; i++)
		vq_pause(v->vq[i]);
}

void vdev_resume(struct vdev *v)
{
	atomic_store(&v->state->held, false);
	for (unsigned i = 0; i < v->queues; i++)
		vq_resume(v->vq[i]);
}

/* --- creation --- */

const struct opt vdev_options[] = {
	{.name = "vectors",
	 .type = OPT_UINT,
	 .at = offsetof(struct vdev, opt_vectors),
	 .def = "0xffffffff",
	 .max = UINT32_MAX,
	 .help = "MSI-X vectors; 0: none (default: one per queue and one more; virtio-serial: 2)"},
	{.name = "indirect_desc",
	 .type = OPT_BOOL,
	 .at = offsetof(struct vdev, opt_indirect),
	 .def = "on",
	 .help = "offer indirect descriptors"},
	{.name = "event_idx",
	 .type = OPT_BOOL,
	 .at = offsetof(struct vdev, opt_event_idx),
	 .def = "on",
	 .help = "offer notification suppression by event index"},
	{.name = "queue_reset",
	 .type = OPT_BOOL,
	 .at = offsetof(struct vdev, opt_ring_reset),
	 .def = "on",
	 .help = "offer the reset of single queues"},
	{.name = "packed",
	 .type = OPT_BOOL,
	 .at = offsetof(struct vdev, opt_packed),
	 .def = "off",
	 .help = "offer the packed ring"},
	{.name = "in_order",
	 .type = OPT_BOOL,
	 .at = offsetof(struct vdev, opt_in_order),
	 .def = "off",
	 .help = "promise that chains are used in the order in which they became available"},
	{.name = "iommu_platform",
	 .type = OPT_BOOL,
	 .at = offsetof(struct vdev, opt_platform),
	 .def = "off",
	 .help = "have the driver use its platform's DMA addresses"},
	{.name = "page-per-vq",
	 .type = OPT_BOOL,
	 .at = offsetof(struct vdev, opt_page_per_vq),
	 .def = "off",
	 .help = "a page of its own for each queue's doorbell"},
	{.name = "disable-legacy",
	 .type = OPT_ONOFFAUTO,
	 .at = offsetof(struct vdev, opt_disable_legacy),
	 .def = "auto",
	 .help = "accepted: there is no legacy interface"},
	{.name = "disable-modern",
	 .type = OPT_BOOL,
	 .at = offsetof(struct vdev, opt_disable_modern),
	 .def = "off",
	 .help = "only off is possible: there is no legacy interface"},
	{.name = "any_layout", .type = OPT_IGNORED},
	{.name = "notify_on_empty", .type = OPT_IGNORED},
	{.name = "ioeventfd", .type = OPT_IGNORED},
	{.name = "migrate-extra", .type = OPT_IGNORED},
	{.name = "use-started", .type = OPT_IGNORED},
	{.name = "use-disabled-flag", .type = OPT_IGNORED},
	{.name = "modern-pio-notify", .type = OPT_IGNORED},
	{.name = "ats", .type = OPT_IGNORED},
	{.name = "aer", .type = OPT_IGNORED},
	{.name = "virtio-pci-bus-master-bug-migration", .type = OPT_IGNORED},
	{.name = "x-disable-pcie", .type = OPT_IGNORED},
	{.name = "x-disable-legacy-check", .type = OPT_IGNORED},
	{.name = "x-ignore-backend-features", .type = OPT_IGNORED},
	{.name = "x-ats-page-aligned", .type = OPT_IGNORED},
	{.name = "x-pcie-deverr-init", .type = OPT_IGNORED},
	{.name = "x-pcie-lnkctl-init", .type = OPT_IGNORED},
	{.name = "x-pcie-pm-init", .type = OPT_IGNORED},
	{.name = "x-pcie-flr-init", .type = OPT_IGNORED},
	OPT_END,
};

int vdev_config_init(struct vdev *v, unsigned len, struct err *e)
{
	v->config = calloc(1, len);
	v->config_wmask = calloc(1, len);
	v->config_len = len;
	return v->config && v->config_wmask ? 0 : err_nomem(e);
}

struct vqueue *vdev_queue_add(struct vdev *v, unsigned size, struct loop *loop)
{
	struct vqueue **all = realloc(v->vq, (v->queues + 1) * sizeof(struct vqueue *));
	struct vqueue *vq;

	if (!all)
		return NULL;
	v->vq = all;
	vq = vq_new(v, v->queues, MIN(size, VQ_SIZE_MAX), loop ? loop : v->exits);
	if (vq)
		v->vq[v->queues++] = vq;
	return vq;
}

int vdev_init(struct vdev *v, const struct vdev_ops *ops, const char *kind, struct hv *hv,
	      struct loop *exits, struct err *e)
{
	const struct pci_ident ident = {
		.vendor = PCI_VENDOR_ID_REDHAT_QUMRANET,
		.device = (uint16_t)(0x1040 + ops->virtio_id),
		.subvendor = PCI_SUBVENDOR_ID_REDHAT_QUMRANET,
		.subdevice = PCI_SUBDEVICE_ID_QEMU,
		.class = ops->pci_class,
		.revision = 1,
	};

	v->ops = ops;
	v->hv = hv;
	v->exits = exits;
	v->state = calloc(1, sizeof(*v->state));
	if (!v->state)
		return err_nomem(e);
	v->state->v = v;
	v->state->break_task.fn = device_run_break;
	atomic_store(&v->state->config_vector, VIRTIO_NO_VECTOR);
	pci_fn_init(&v->fn, kind, &ident);
	if (v->opt_disable_modern)
		return err_set(e, -EINVAL,
			       "disable-modern=on: there is no legacy interface on this machine, "
			       "only off is accepted");
	if (v->opt_disable_legacy == OPT_OFF)
		log_info("%s: disable-legacy=off: this machine has no I/O ports, the device is "
			 "modern only",
			 vdev_name(v));
	v->offered = CORE_FEATURES;
	if (!v->opt_indirect)
		v->offered &= ~VIRTIO_F_INDIRECT_DESC;
	if (!v->opt_event_idx)
		v->offered &= ~VIRTIO_F_EVENT_IDX;
	if (!v->opt_ring_reset)
		v->offered &= ~VIRTIO_F_RING_RESET;
	if (v->opt_packed)
		v->offered |= VIRTIO_F_RING_PACKED;
	if (v->opt_in_order)
		v->offered |= VIRTIO_F_IN_ORDER;
	if (v->opt_platform)
		v->offered |= VIRTIO_F_ACCESS_PLATFORM;
	return 0;
}

int vdev_finish(struct vdev *v, struct err *e)
{
	uint64_t vectors = v->opt_vectors == UINT32_MAX ? v->queues + 1 : v->opt_vectors;

	if (vectors > PCI_MSIX_MAX)
		return err_set(e, -EINVAL, "vectors=%llu: at most %d", (unsigned long long)vectors,
			       PCI_MSIX_MAX);
	return transport_init(v, (unsigned)vectors, e);
}

void vdev_fini(struct vdev *v)
{
	for (unsigned i = 0; i < v->queues; i++)
		vq_free(v->vq[i]);
	free(v->vq);
	free(v->config);
	free(v->config_wmask);
	free(v->state);
}
