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

/* query-rx-filter: the present filter; *vlan_all is set while the driver does not filter by
 * VLAN. The next change is reported again by the event (NIC_RX_FILTER_CHANGED). */
void virtio_net_rx_filter(struct pci_fn *fn, struct net_filter *out, bool *vlan_all);
/* announce-self: ask the guest to announce its addresses. Nothing happens when its driver
 * cannot. */
void virtio_net_announce(struct pci_fn *fn);

#endif
