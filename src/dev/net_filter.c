/* SPDX-License-Identifier: MIT */
/* net_filter.c - receive modes, MAC table and VLAN table of a network card (net_filter.h) */
#include "dev/net_filter.h"

#include <string.h>

#define ETH_HEADER     14
#define ETH_TYPE_VLAN  0x8100
#define ETH_VLAN_FRAME 18

void net_filter_reset(struct net_filter *f, const uint8_t mac[6])
{
	memset(f, 0, sizeof(*f));
	memcpy(f->mac, mac, sizeof(f->mac));
	f->promisc = true;
	memset(f->vlans, 0xff, sizeof(f->vlans));
}

static bool filter_lists_mac(const struct net_filter *f, unsigned from, unsigned n,
			     const uint8_t *mac)
{
	for (unsigned i = from; i < from + n; i++)
		if (!memcmp(f->table[i], mac, sizeof(f->table[i])))
			return true;
	return false;
}

static bool vlan_pass(const struct net_filter *f, const uint8_t *frame, size_t len)
{
	unsigned id;

	if (len < ETH_VLAN_FRAME || (frame[12] << 8 | frame[13]) != ETH_TYPE_VLAN)
		return true;
	id = (frame[14] << 8 | frame[15]) & (NET_FILTER_VLANS - 1);
	return f->vlans[id / 32] >> (id % 32) & 1;
}

bool net_filter_pass(const struct net_filter *f, const uint8_t *frame, size_t len)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (len < ETH_HEADER)
		return false;
	if (f->promisc)
		return true;
	if (!vlan_pass(f, frame, len))
		return false;
	if (!memcmp(frame, broadcast, sizeof(broadcast)))
		return !f->nobcast;
	if (frame[0] & 1)
		return !f->nomulti && (f->allmulti || f->multi_overflow ||
				       filter_lists_mac(f, f->uni, f->multi, frame));
	return !f->nouni && (f->alluni || f->uni_overflow || !memcmp(frame, f->mac, 6) ||
			     filter_lists_mac(f, 0, f->uni, frame));
}
