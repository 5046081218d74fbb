/* SPDX-License-Identifier: MIT */
/* virtio_net.h - what the control plane asks of a virtio-net-pci device beyond the common things
 *
 * For devices whose class is dev_virtio_net. Control thread; each call goes to the exit loop and
 * back.
 */
#ifndef DEV_VIRTIO_NET_H
#define DEV_VIRTIO_NET_H

#include <stdbool.h>

#include "dev/net_filter.h"

struct pci_fn;
struct dev_class;

extern const struct dev_class dev_virtio_net;

/* query-rx-filter: returns the current filter; *vlan_all is set while the driver does not filter by
 * VLAN. The event NIC_RX_FILTER_CHANGED is sent again for the next change. */
void virtio_net_rx_filter(struct pci_fn *fn, struct net_filter *out, bool *vlan_all);
/* announce-self: ask the guest to announce its addresses. Does nothing when its driver has not
 * accepted GUEST_ANNOUNCE. */
void virtio_net_announce(struct pci_fn *fn);

#endif
