/* SPDX-License-Identifier: MIT */
/* virtio_balloon.h - what the control plane asks of a virtio-balloon-pci device beyond the common
 * things
 *
 * For devices whose class is dev_virtio_balloon. Control thread; each call goes to the exit loop
 * and back.
 */
#ifndef DEV_VIRTIO_BALLOON_H
#define DEV_VIRTIO_BALLOON_H

#include <stdint.h>

struct pci_fn;
struct dev_class;

extern const struct dev_class dev_virtio_balloon;

#define BALLOON_STATS 16

struct balloon_stats {
	int64_t value[BALLOON_STATS]; /* by tag (Virtio 1.3 §5.5.6.4); -1: the guest does not say */
	int64_t updated;	      /* seconds since 1970; 0: never */
};

/* The memory statistics that the guest has sent last. */
void virtio_balloon_stats(struct pci_fn *fn, struct balloon_stats *out);
/* Seconds between two requests for statistics; 0: the guest is not asked. */
uint32_t virtio_balloon_interval(struct pci_fn *fn);
void virtio_balloon_set_interval(struct pci_fn *fn, uint32_t seconds);
/* Bytes of memory that the guest says it has left in the balloon. */
uint64_t virtio_balloon_held(struct pci_fn *fn);

#endif
