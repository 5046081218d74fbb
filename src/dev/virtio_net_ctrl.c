/* SPDX-License-Identifier: MIT */
/* virtio_net_ctrl.c - the control queue of virtio-net (Virtio 1.3 §5.1.6.5)
 *
 * A command is a class, a number, data, and one byte for the acknowledgement. The data is pulled
 * into locals and checked completely before anything is changed: a command either takes effect and
 * is acknowledged with OK, or changes nothing and is acknowledged with ERR. Commands whose feature
 * was not negotiated get ERR. A chain without room for the acknowledgement is completed, but its
 * command is not carried out.
 */
#include <string.h>

#include "base/util.h"
#include "dev/virtio_net_int.h"

#define CTRL_OK	 0
#define CTRL_ERR 1

#define CLASS_RX       0
#define CLASS_MAC      1
#define CLASS_VLAN     2
#define CLASS_ANNOUNCE 3
#define CLASS_MQ       4
#define CLASS_OFFLOADS 5

#define MAC_TABLE_SET 0
#define MAC_ADDR_SET  1
#define VLAN_ADD      0
#define VLAN_DEL      1

/* §5.1.6.5.1: receive modes, by command number. */
static const struct {
	uint64_t feature;
	size_t at;
} modes[] = {
	{NET_F_CTRL_RX, offsetof(struct net_filter, promisc)},
	{NET_F_CTRL_RX, offsetof(struct net_filter, allmulti)},
	{NET_F_CTRL_RX_EXTRA, offsetof(struct net_filter, alluni)},
	{NET_F_CTRL_RX_EXTRA, offsetof(struct net_filter, nomulti)},
	{NET_F_CTRL_RX_EXTRA, offsetof(struct net_filter, nouni)},
	{NET_F_CTRL_RX_EXTRA, offsetof(struct net_filter, nobcast)},
};

static uint64_t chain_bytes_left(const struct vchain *c)
{
	return c->out_len - c->pulled;
}

/* Pull the rest of the chain into `buf`. Returns false if it is not exactly `len` bytes long. */
static bool pull_exactly(struct vchain *c, void *buf, size_t len)
{
	return chain_bytes_left(c) == len && vchain_pull(c, buf, len);
}

static int ctrl_rx(struct virtio_net *n, unsigned cmd, struct vchain *c)
{
	uint8_t on;

	if (cmd >= ARRAY_SIZE(modes) || !vdev_has(&n->v, modes[cmd].feature) ||
	    !pull_exactly(c, &on, 1))
		return CTRL_ERR;
	*(bool *)((char *)&n->filter + modes[cmd].at) = on != 0;
	net_filter_changed(n);
	return CTRL_OK;
}

/* Pull one of the two lists of MAC_TABLE_SET, a count and as many addresses, into the entries of
 * the table from `used` on. Sets `overflow`, and stores none, if they do not all fit. Returns false
 * if the chain is shorter than the list. */
static bool pull_macs(struct vchain *c, struct net_filter *f, unsigned used, unsigned *count,
		      bool *overflow)
{
	uint64_t bytes;
	uint8_t le[4];
	uint32_t entries;

	if (!vchain_pull(c, le, sizeof(le)))
		return false;
	entries = get_le32(le);
	bytes = (uint64_t)entries * 6;
	*overflow = entries > NET_FILTER_MACS - used;
	*count = *overflow ? 0 : entries;
	if (!*overflow)
		return vchain_pull(c, f->table[used], bytes);
	/* Skip a list that does not fit; its length is bounded by the chain's. */
	while (bytes) {
		uint8_t skipped[4096];
		size_t part = MIN(bytes, sizeof(skipped));

		if (!vchain_pull(c, skipped, part))
			return false;
		bytes -= part;
	}
	return true;
}

static int ctrl_mac_table(struct virtio_net *n, struct vchain *c)
{
	struct net_filter f = n->filter;

	/* No real list is longer than 2 MiB. Refuse a longer one, as skipping up to 4 GiB would
	 * hold up the loop. */
	if (chain_bytes_left(c) > 2 * MiB)
		return CTRL_ERR;
	if (!pull_macs(c, &f, 0, &f.uni, &f.uni_overflow) ||
	    !pull_macs(c, &f, f.uni, &f.multi, &f.multi_overflow) || chain_bytes_left(c))
		return CTRL_ERR;
	n->filter = f;
	net_filter_changed(n);
	return CTRL_OK;
}

static int ctrl_mac(struct virtio_net *n, unsigned cmd, struct vchain *c)
{
	uint8_t mac[6];

	if (cmd == MAC_TABLE_SET && vdev_has(&n->v, NET_F_CTRL_RX))
		return ctrl_mac_table(n, c);
	if (cmd != MAC_ADDR_SET || !vdev_has(&n->v, NET_F_CTRL_MAC_ADDR) ||
	    !pull_exactly(c, mac, sizeof(mac)))
		return CTRL_ERR;
	memcpy(n->filter.mac, mac, sizeof(mac));
	memcpy(n->v.config + NET_CFG_MAC, mac, sizeof(mac));
	net_filter_changed(n);
	return CTRL_OK;
}

static int ctrl_vlan(struct virtio_net *n, unsigned cmd, struct vchain *c)
{
	uint32_t *word, bit;
	uint8_t le[2];
	unsigned id;

	if (!vdev_has(&n->v, NET_F_CTRL_VLAN) || cmd > VLAN_DEL || !pull_exactly(c, le, sizeof(le)))
		return CTRL_ERR;
	id = get_le16(le);
	if (id >= NET_FILTER_VLANS)
		return CTRL_ERR;
	word = &n->filter.vlans[id / 32];
	bit = 1U << (id % 32);
	*word = cmd == VLAN_ADD ? *word | bit : *word & ~bit;
	net_filter_changed(n);
	return CTRL_OK;
}

static int ctrl_announce(struct virtio_net *n, unsigned cmd)
{
	uint8_t *at = n->v.config + NET_CFG_STATUS;
	uint16_t status = get_le16(at);

	if (cmd || !vdev_has(&n->v, NET_F_GUEST_ANNOUNCE) || !(status & NET_S_ANNOUNCE))
		return CTRL_ERR;
	put_le16(at, status & (uint16_t)~NET_S_ANNOUNCE);
	return CTRL_OK;
}

static int ctrl_mq(struct virtio_net *n, unsigned cmd, struct vchain *c)
{
	unsigned pairs;
	uint8_t le[2];

	if (cmd || !vdev_has(&n->v, NET_F_MQ) || !pull_exactly(c, le, sizeof(le)))
		return CTRL_ERR;
	pairs = get_le16(le);
	if (!pairs || pairs > n->pairs)
		return CTRL_ERR;
	/* A vhost back end must release a pair before the pair's tap queue is detached. */
	net_vhost_update(n, MIN(pairs, n->active));
	if (n->nd && netdev_set_pairs(n->nd, pairs) < 0) {
		net_vhost_update(n, n->active);
		return CTRL_ERR;
	}
	n->active = pairs;
	net_vhost_update(n, pairs);
	/* Pairs that were not in use may have chains or frames already. */
	for (unsigned i = 0; i < pairs; i++) {
		vq_kick(n->pair[i].rx);
		vq_kick(n->pair[i].tx);
	}
	return CTRL_OK;
}

static int ctrl_offloads(struct virtio_net *n, unsigned cmd, struct vchain *c)
{
	const uint64_t known = NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 |
			       NET_F_GUEST_ECN | NET_F_GUEST_UFO | NET_F_GUEST_USO4 |
			       NET_F_GUEST_USO6;
	uint64_t wanted;
	uint8_t le[8];

	if (cmd || !vdev_has(&n->v, NET_F_CTRL_GUEST_OFFLOADS) || !pull_exactly(c, le, sizeof(le)))
		return CTRL_ERR;
	wanted = get_le64(le);
	if (wanted & ~(n->v.features & known))
		return CTRL_ERR;
	return net_apply_offloads(n, wanted) < 0 ? CTRL_ERR : CTRL_OK;
}

static uint8_t ctrl_execute(struct virtio_net *n, struct vchain *c)
{
	uint8_t hdr[2]; /* class, command */

	if (!vchain_pull(c, hdr, sizeof(hdr)))
		return CTRL_ERR;
	switch (hdr[0]) {
	case CLASS_RX:
		return ctrl_rx(n, hdr[1], c);
	case CLASS_MAC:
		return ctrl_mac(n, hdr[1], c);
	case CLASS_VLAN:
		return ctrl_vlan(n, hdr[1], c);
	case CLASS_ANNOUNCE:
		return ctrl_announce(n, hdr[1]);
	case CLASS_MQ:
		return ctrl_mq(n, hdr[1], c);
	case CLASS_OFFLOADS:
		return ctrl_offloads(n, hdr[1], c);
	default:
		return CTRL_ERR;
	}
}

void net_ctrl(struct virtio_net *n, struct vqueue *vq)
{
	struct vchain *c;

	while ((c = vq_pop(vq))) {
		/* Without room for the acknowledgement the driver could not learn the result, so
		 * the command is not carried out. */
		uint8_t ack = c->in_len ? ctrl_execute(n, c) : CTRL_ERR;

		vq_push(vq, c, vchain_put(c, &ack, 1) ? 1 : 0);
	}
}
