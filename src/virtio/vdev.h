/* SPDX-License-Identifier: MIT */
/* vdev.h - a virtio device: features, status, configuration, queues; and what a device file has to
 * provide
 *
 * A device file fills one `struct vdev_ops` and embeds `struct vdev` as the first member of its own
 * struct. The core (vdev.c) and the PCI transport (transport.c) do the rest: negotiation, status
 * and reset, queue set-up, notification, interrupts, configuration space.
 *
 * Threads. Device state (features, status, configuration) belongs to the exit loop; a queue belongs
 * to its loop (the same one by default). kick() and quiesce() are called on the queue's loop,
 * everything else on the exit loop, realize() and unrealize() on the control thread while nothing
 * is served.
 *
 * A reset (status 0, FLR, queue_reset) blocks no thread: the queues stop popping chains, quiesce()
 * drops the chains that wait for something other than I/O, I/O in flight ends by itself, and when
 * the last chain is back the reset is done and the register shows it. After that the device does
 * not touch guest memory.
 *
 * Virtio 1.3 §2.1 (status), §2.2 (features), §2.5 (configuration space), §2.6.1 (queue reset), §3
 * (initialisation).
 */
#ifndef VIRTIO_VDEV_H
#define VIRTIO_VDEV_H

#include <stdatomic.h>

#include "conf/opts.h"
#include "pci/pci.h"
#include "virtio/queue.h"

struct dev_env;

#define VIRTIO_F_INDIRECT_DESC	 (1ULL << 28)
#define VIRTIO_F_EVENT_IDX	 (1ULL << 29)
#define VIRTIO_F_VERSION_1	 (1ULL << 32)
#define VIRTIO_F_ACCESS_PLATFORM (1ULL << 33)
#define VIRTIO_F_RING_PACKED	 (1ULL << 34)
#define VIRTIO_F_IN_ORDER	 (1ULL << 35)
#define VIRTIO_F_RING_RESET	 (1ULL << 40)

struct vdev_ops {
	uint16_t virtio_id;
	uint32_t pci_class;
	/* Read the options, find the back end, then call vdev_config_init() and vdev_queue_add()
	 * and or the device's own bits into v->offered. 0 or -errno with `e`. */
	int (*realize)(struct vdev *v, struct dev_env *env, struct err *e);
	/* Undo realize(), also one that failed half-way. NULL if the device owns only queues. */
	void (*unrealize)(struct vdev *v);
	/* The driver has set DRIVER_OK: v->features are final. May be NULL. */
	void (*start)(struct vdev *v);
	/* All queues have stopped: forget the driver's state. May be NULL. */
	void (*reset)(struct vdev *v);
	/* The driver wrote bytes of v->config that v->config_wmask lets through. May be NULL. */
	void (*config_written)(struct vdev *v, unsigned off, unsigned len);
	/* `vq` may have chains available. Pop until vq_pop() returns NULL; or stop earlier, when a
	 * resource is missing, and call vq_kick() when it is there. */
	void (*kick)(struct vqueue *vq);
	/* `vq` is about to stop: vq_drop() the chains that wait for something other than I/O in
	 * flight. May be NULL. */
	void (*quiesce)(struct vqueue *vq);
	/* No chain of `vq` is in flight, and it was stopped or not popped for a second: free memory
	 * that is kept per chain. Queue's loop. May be NULL. */
	void (*idle)(struct vqueue *vq);
};

struct vdev {
	struct pci_fn fn; /* first */
	const struct vdev_ops *ops;
	struct hv *hv;
	struct loop *exits; /* owner of everything here */

	uint64_t offered;  /* feature bits offered to the driver */
	uint64_t features; /* feature bits that the driver accepted; 0 before FEATURES_OK */
	uint8_t *config;   /* device configuration, little endian as the guest sees it */
	uint8_t *config_wmask;
	unsigned config_len;

	struct vqueue **vq;
	unsigned queues;

	struct vdev_state
		*state; /* status, selectors, reset progress: vdev.c and transport.c only */

	/* options common to all virtio devices */
	uint64_t opt_vectors; /* UINT32_MAX: queues + 1 */
	bool opt_indirect, opt_event_idx, opt_ring_reset, opt_packed, opt_in_order, opt_platform;
	bool opt_page_per_vq;
	uint8_t opt_disable_legacy;
	bool opt_disable_modern;
};

/* Options that every virtio-*-pci device has; `at` is an offset in struct vdev. */
extern const struct opt vdev_options[];

static inline bool vdev_has(const struct vdev *v, uint64_t feature)
{
	return v->features & feature;
}

/* --- for realize() --- */

/* Give the device `len` bytes of configuration space, zeroed, read-only until config_wmask says
 * otherwise. */
int vdev_config_init(struct vdev *v, unsigned len, struct err *e);
/* Append a queue of at most `size` entries (power of two, up to VQ_SIZE_MAX) that belongs to `loop`
 * (NULL: the exit loop). NULL: out of memory. */
struct vqueue *vdev_queue_add(struct vdev *v, unsigned size, struct loop *loop);

/* --- for device code --- */

/* Queue's loop or exit loop: the guest has violated the protocol and the device cannot continue.
 * Logs the reason (rate-limited), sets DEVICE_NEEDS_RESET, sends a configuration interrupt and
 * stops all queues of this device until the driver resets it. */
void vdev_break(struct vdev *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Exit loop: the device has changed v->config. Advances config_generation and sends a configuration
 * interrupt if DRIVER_OK is set. */
void vdev_config_changed(struct vdev *v);
/* Any thread: has the driver set DRIVER_OK (and the device is not broken)? */
bool vdev_running(const struct vdev *v);
/* Any thread: id= of the device, or its type. For messages. */
const char *vdev_name(const struct vdev *v);

/* --- for the rest of the program --- */

/* Exit loop: have all queues stop popping, and call `done` on the exit loop when no chain is in
 * flight. The queues keep their state; vdev_resume() lets them continue. */
void vdev_pause(struct vdev *v, void (*done)(void *arg), void *arg);
void vdev_resume(struct vdev *v);

/* Build and free the PCI function and the queues of `v`. Called by dev.c around realize() and
 * unrealize(), on the control thread. */
int vdev_init(struct vdev *v, const struct vdev_ops *ops, const char *kind, struct hv *hv,
	      struct loop *exits, struct err *e);
int vdev_finish(struct vdev *v, struct err *e); /* after realize(): BARs, capabilities, MSI-X */
void vdev_fini(struct vdev *v);

#endif
