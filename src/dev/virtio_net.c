/* SPDX-License-Identifier: MIT */
/* virtio_net.c - virtio-net-pci: options, features, configuration space, link state
 *
 * Virtio 1.3 §5.1. Owns the attachment to one -netdev, and the queues rx0, tx0, rx1, tx1, ... and
 * the control queue. The control queue has the number behind the pairs that the driver knows of: 2
 * if the driver did not accept MQ. So the purpose of a queue is decided when it is kicked.
 *
 * The features follow QEMU: offloads are offered only if the back end passes on the virtio-net
 * header, UFO and USO only if it supports them. A feature whose prerequisite is not offered is not
 * offered, either. The MAC address in the configuration space is read-only; the driver changes its
 * address by CTRL_MAC_ADDR.
 */
#include "dev/virtio_net.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/dev.h"
#include "dev/virtio_net_int.h"

#define CTRL_QUEUE_SIZE 64

static const char *const duplex_names[] = {"unknown", "half", "full", NULL};

#define ROW(field, t, ...)                                                                 \
	{                                                                                  \
		.name = #field, .type = OPT_##t, .at = offsetof(struct virtio_net, field), \
		__VA_ARGS__                                                                \
	}
#define FEATURE(field, text) ROW(field, BOOL, .def = "on", .help = text)
#define REFUSED(text, field)                                                              \
	{                                                                                 \
		.name = text, .type = OPT_BOOL, .at = offsetof(struct virtio_net, field), \
		.def = "off", .help = "not supported: only off is accepted"               \
	}

static const struct opt net_options[] = {
	ROW(netdev, STRING, .help = "id of the -netdev back end"),
	ROW(mac, MAC, .help = "address of the card"),
	ROW(mq, BOOL, .def = "off", .help = "several queue pairs, as many as the netdev has"),
	ROW(host_mtu, UINT, .max = 65535, .help = "MTU for the guest to use, 0 for none"),
	ROW(speed, INT, .min = (uint64_t)-1, .max = INT_MAX, .def = "-1",
	    .help = "speed that the guest sees, Mbit/s, -1 for unknown"),
	ROW(duplex, ENUM, .values = duplex_names, .def = "unknown",
	    .help = "duplex mode that the guest sees"),
	{.name = "rx_queue_size",
	 .type = OPT_UINT,
	 .at = offsetof(struct virtio_net, rx_size),
	 .def = "256",
	 .help = "entries of a receive queue: 256, 512 or 1024"},
	{.name = "tx_queue_size",
	 .type = OPT_UINT,
	 .at = offsetof(struct virtio_net, tx_size),
	 .def = "256",
	 .help = "entries of a transmit queue: 256, 512 or 1024"},
	FEATURE(csum, "guest may leave checksums to us"),
	FEATURE(guest_csum, "guest takes frames without checksums"),
	FEATURE(guest_tso4, "guest takes TCPv4 segments joined"),
	FEATURE(guest_tso6, "guest takes TCPv6 segments joined"),
	FEATURE(guest_ecn, "guest takes joined segments with ECN"),
	FEATURE(guest_ufo, "guest takes UDP fragments joined"),
	FEATURE(guest_uso4, "guest takes UDPv4 segments joined"),
	FEATURE(guest_uso6, "guest takes UDPv6 segments joined"),
	FEATURE(host_tso4, "guest may send TCPv4 unsegmented"),
	FEATURE(host_tso6, "guest may send TCPv6 unsegmented"),
	FEATURE(host_ecn, "guest may send unsegmented TCP with ECN"),
	FEATURE(host_ufo, "guest may send UDP unfragmented"),
	FEATURE(host_uso, "guest may send UDP unsegmented"),
	FEATURE(mrg_rxbuf, "a frame may use several receive buffers"),
	FEATURE(status, "link status"),
	FEATURE(ctrl_vq, "control queue"),
	FEATURE(ctrl_rx, "receive modes"),
	FEATURE(ctrl_rx_extra, "further receive modes"),
	FEATURE(ctrl_vlan, "VLAN filter"),
	FEATURE(ctrl_mac_addr, "guest may change its address"),
	FEATURE(ctrl_guest_offloads, "guest may change its offloads"),
	FEATURE(guest_announce, "guest announces itself on demand"),
	REFUSED("failover", failover),
	REFUSED("rss", rss),
	REFUSED("hash", hash),
	REFUSED("guest_rsc_ext", rsc_ext),
	{.name = "ebpf-rss-fds",
	 .type = OPT_STRING,
	 .at = offsetof(struct virtio_net, ebpf_fds),
	 .help = "not supported"},
	{.name = "gso", .type = OPT_IGNORED},
	{.name = "tx", .type = OPT_IGNORED},
	{.name = "x-txtimer", .type = OPT_IGNORED},
	{.name = "x-txburst", .type = OPT_IGNORED},
	{.name = "x-mtu-bypass-backend", .type = OPT_IGNORED},
	OPT_END,
};
#undef ROW
#undef FEATURE
#undef REFUSED

/* --- features --- */

static uint64_t options_to_features(const struct virtio_net *n)
{
	const struct {
		bool on;
		uint64_t bit;
	} rows[] = {
		{true, NET_F_MAC},
		{n->csum, NET_F_CSUM},
		{n->guest_csum, NET_F_GUEST_CSUM},
		{n->ctrl_guest_offloads, NET_F_CTRL_GUEST_OFFLOADS},
		{n->host_mtu != 0, NET_F_MTU},
		{n->guest_tso4, NET_F_GUEST_TSO4},
		{n->guest_tso6, NET_F_GUEST_TSO6},
		{n->guest_ecn, NET_F_GUEST_ECN},
		{n->guest_ufo, NET_F_GUEST_UFO},
		{n->guest_uso4, NET_F_GUEST_USO4},
		{n->guest_uso6, NET_F_GUEST_USO6},
		{n->host_tso4, NET_F_HOST_TSO4},
		{n->host_tso6, NET_F_HOST_TSO6},
		{n->host_ecn, NET_F_HOST_ECN},
		{n->host_ufo, NET_F_HOST_UFO},
		{n->host_uso, NET_F_HOST_USO},
		{n->mrg_rxbuf, NET_F_MRG_RXBUF},
		{n->status, NET_F_STATUS},
		{n->ctrl_vq, NET_F_CTRL_VQ},
		{n->ctrl_rx, NET_F_CTRL_RX},
		{n->ctrl_rx_extra, NET_F_CTRL_RX_EXTRA},
		{n->ctrl_vlan, NET_F_CTRL_VLAN},
		{n->ctrl_mac_addr, NET_F_CTRL_MAC_ADDR},
		{n->guest_announce, NET_F_GUEST_ANNOUNCE},
		{n->mq, NET_F_MQ},
		{n->speed >= 0 || n->duplex, NET_F_SPEED_DUPLEX},
	};
	uint64_t f = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].on)
			f |= rows[i].bit;
	return f;
}

/* Remove from `f` the features that the back end cannot provide, then those that require a removed
 * feature (§5.1.3.1). `caps`: NET_VNET_HDR, NET_UFO, NET_USO. */
static uint64_t possible_features(uint64_t f, unsigned caps)
{
	const uint64_t ufo = NET_F_GUEST_UFO | NET_F_HOST_UFO;
	const uint64_t uso = NET_F_GUEST_USO4 | NET_F_GUEST_USO6 | NET_F_HOST_USO;
	static const struct {
		uint64_t bits, need; /* any bit of `need` will do */
	} rules[] = {
		{NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_UFO | NET_F_GUEST_USO4 |
			 NET_F_GUEST_USO6,
		 NET_F_GUEST_CSUM},
		{NET_F_HOST_TSO4 | NET_F_HOST_TSO6 | NET_F_HOST_UFO | NET_F_HOST_USO, NET_F_CSUM},
		{NET_F_GUEST_ECN, NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6},
		{NET_F_HOST_ECN, NET_F_HOST_TSO4 | NET_F_HOST_TSO6},
		{NET_F_CTRL_RX | NET_F_CTRL_VLAN | NET_F_GUEST_ANNOUNCE | NET_F_MQ |
			 NET_F_CTRL_MAC_ADDR | NET_F_CTRL_GUEST_OFFLOADS,
		 NET_F_CTRL_VQ},
		{NET_F_CTRL_RX_EXTRA, NET_F_CTRL_RX},
	};

	if (!(caps & NET_VNET_HDR))
		f &= ~(NET_F_CSUM | NET_F_GUEST_CSUM);
	if (!(caps & NET_UFO))
		f &= ~ufo;
	if (!(caps & NET_USO))
		f &= ~uso;
	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
		if (!(f & rules[i].need))
			f &= ~rules[i].bits;
	return f;
}

int net_apply_offloads(struct virtio_net *n, uint64_t features)
{
	static const struct {
		uint64_t feature;
		unsigned rx;
	} map[] = {
		{NET_F_GUEST_CSUM, NET_RX_CSUM}, {NET_F_GUEST_TSO4, NET_RX_TSO4},
		{NET_F_GUEST_TSO6, NET_RX_TSO6}, {NET_F_GUEST_ECN, NET_RX_ECN},
		{NET_F_GUEST_UFO, NET_RX_UFO},	 {NET_F_GUEST_USO4, NET_RX_USO4},
		{NET_F_GUEST_USO6, NET_RX_USO6},
	};
	unsigned rx = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
		if (features & map[i].feature)
			rx |= map[i].rx;
	return n->nd ? netdev_set_offloads(n->nd, rx) : 0;
}

/* --- queues --- */

static struct virtio_net *net_of(struct vdev *v)
{
	return (struct virtio_net *)v;
}

static bool is_ctrl(const struct virtio_net *n, unsigned index)
{
	return vdev_has(&n->v, NET_F_CTRL_VQ) &&
	       index == (vdev_has(&n->v, NET_F_MQ) ? 2 * n->pairs : 2);
}

static void net_kick(struct vqueue *vq)
{
	struct virtio_net *n = net_of(vq_dev(vq));
	unsigned index = vq_index(vq);

	if (is_ctrl(n, index))
		net_ctrl(n, vq);
	else if (index / 2 >= n->active)
		return;
	else if (index & 1)
		net_tx(&n->pair[index / 2]);
	else
		net_rx(&n->pair[index / 2]);
}

static void net_quiesce(struct vqueue *vq)
{
	struct virtio_net *n = net_of(vq_dev(vq));
	unsigned index = vq_index(vq);

	if (!is_ctrl(n, index) && index / 2 < n->pairs && !(index & 1))
		net_rx_stop(&n->pair[index / 2]);
}

/* The back end's events only kick a queue, so that the loop answers every vCPU before frames are
 * moved. */
static void net_readable(struct net_client *c, struct netq *q)
{
	struct net_pair *p = netq_priv(q);

	/* While the queue is paused (QMP's stop) the frame is not read, and its descriptor would
	 * report it in every turn of the loop. The queue is kicked when it is resumed. */
	if (!vq_ready(p->rx))
		netq_listen(q, false);
	vq_kick(p->rx);
}

static void net_writable(struct net_client *c, struct netq *q)
{
	vq_kick(((struct net_pair *)netq_priv(q))->tx);
}

/* --- configuration --- */

static void set_status(struct virtio_net *n, uint16_t set, uint16_t clear)
{
	uint8_t *at = n->v.config + NET_CFG_STATUS;
	uint16_t old = get_le16(at), now = (old & (uint16_t)~clear) | set;

	if (now == old)
		return;
	put_le16(at, now);
	vdev_config_changed(&n->v);
}

static void link_changed(struct net_client *c, bool up)
{
	struct virtio_net *n = container_of(c, struct virtio_net, client);

	n->link_up = up;
	if (n->pair)
		net_vhost_update(n, vdev_running(&n->v) ? n->active : 0);
	if (n->v.config)
		set_status(n, up ? NET_S_LINK_UP : 0, up ? 0 : NET_S_LINK_UP);
}

static int config_init(struct virtio_net *n, struct err *e)
{
	unsigned len = n->v.offered & NET_F_SPEED_DUPLEX ? NET_CFG_END
		       : n->v.offered & NET_F_MTU	 ? NET_CFG_SPEED
		       : n->v.offered & NET_F_MQ	 ? NET_CFG_MTU
							 : NET_CFG_MAX_PAIRS;
	int rc = vdev_config_init(&n->v, len, e);

	if (rc < 0)
		return rc;
	memcpy(n->v.config + NET_CFG_MAC, n->mac, sizeof(n->mac));
	put_le16(n->v.config + NET_CFG_STATUS, n->link_up ? NET_S_LINK_UP : 0);
	if (len > NET_CFG_MAX_PAIRS)
		put_le16(n->v.config + NET_CFG_MAX_PAIRS, (uint16_t)n->pairs);
	if (len > NET_CFG_MTU)
		put_le16(n->v.config + NET_CFG_MTU, (uint16_t)n->host_mtu);
	if (len > NET_CFG_SPEED) {
		put_le32(n->v.config + NET_CFG_SPEED, (uint32_t)n->speed);
		n->v.config[NET_CFG_DUPLEX] = n->duplex ? (uint8_t)(n->duplex - 1) : 0xff;
	}
	return 0;
}

/* --- life --- */

static int check_options(const struct virtio_net *n, struct err *e)
{
	const struct {
		bool on;
		const char *name;
	} refused[] = {
		{n->failover, "failover"},
		{n->rss, "rss"},
		{n->hash, "hash"},
		{n->rsc_ext, "guest_rsc_ext"},
	};
	const struct {
		uint64_t size;
		const char *name;
	} sizes[] = {{n->rx_size, "rx_queue_size"}, {n->tx_size, "tx_queue_size"}};

	for (unsigned i = 0; i < ARRAY_SIZE(refused); i++)
		if (refused[i].on)
			return err_set(e, -EINVAL, "%s=on is not supported, only off is accepted",
				       refused[i].name);
	if (n->ebpf_fds)
		return err_set(e, -EINVAL, "ebpf-rss-fds is not supported");
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		if (sizes[i].size < 256 || sizes[i].size > VQ_SIZE_MAX || !is_pow2(sizes[i].size))
			return err_set(
				e, -EINVAL,
				"Invalid %s (= %llu), must be a power of 2 between 256 and %d",
				sizes[i].name, (unsigned long long)sizes[i].size, VQ_SIZE_MAX);
	if (n->host_mtu && n->host_mtu < 68)
		return err_set(e, -EINVAL,
			       "Parameter 'host_mtu' expects 0, or 68 to 65535, not %llu",
			       (unsigned long long)n->host_mtu);
	return 0;
}

static int net_realize(struct vdev *v, struct dev_env *env, struct err *e)
{
	struct virtio_net *n = net_of(v);
	int rc = check_options(n, e);

	n->env = env;
	if (rc < 0)
		return rc;
	n->link_up = true;
	n->client.name = v->fn.id;
	n->client.readable = net_readable;
	n->client.writable = net_writable;
	n->client.link = link_changed;
	if (n->netdev) {
		n->nd = netdev_attach(env->netdevs, n->netdev, &n->client, e);
		if (!n->nd)
			return -EINVAL;
		n->has_hdr = netdev_caps(n->nd) & NET_VNET_HDR;
	} else {
		log_warn("%s: has no netdev=, it is connected to nothing", vdev_name(v));
	}
	n->pairs = n->mq && n->nd ? netdev_pairs(n->nd) : 1;
	n->active = 1;
	netdev_mac_alloc(env->netdevs, n->mac);
	net_filter_reset(&n->filter, n->mac);
	v->offered |= possible_features(options_to_features(n), n->nd ? netdev_caps(n->nd) : 0);
	rc = config_init(n, e);
	if (rc < 0)
		return rc;

	n->pair = calloc(n->pairs, sizeof(*n->pair));
	if (!n->pair)
		return err_nomem(e);
	for (unsigned i = 0; i < n->pairs; i++) {
		rc = net_pair_init(&n->pair[i], n, i, e);
		if (rc < 0)
			return rc;
	}
	if (v->offered & NET_F_CTRL_VQ && !vdev_queue_add(v, CTRL_QUEUE_SIZE, NULL))
		return err_nomem(e);
	for (unsigned i = 0; i < n->pairs && n->nd; i++) {
		rc = netq_start(n->pair[i].q, vq_loop(n->pair[i].rx), &n->pair[i]);
		if (rc < 0)
			return err_set(e, rc, "netdev '%s': %s", n->netdev, strerror(-rc));
	}
	rc = n->nd ? netdev_set_pairs(n->nd, 1) : 0;
	if (rc < 0)
		return err_set(e, rc, "netdev '%s': cannot choose queues: %s", n->netdev,
			       strerror(-rc));
	return net_vhost_init(n, e);
}

static void net_unrealize(struct vdev *v)
{
	struct virtio_net *n = net_of(v);

	net_vhost_fini(n);
	netdev_detach(n->nd);
	for (unsigned i = 0; i < n->pairs && n->pair; i++)
		net_pair_fini(&n->pair[i]);
	free(n->pair);
	n->pair = NULL;
	if (n->env && n->pairs)
		netdev_mac_free(n->env->netdevs, n->mac);
}

static void net_start(struct vdev *v)
{
	struct virtio_net *n = net_of(v);
	int rc = net_apply_offloads(n, v->features);

	if (rc < 0)
		log_guest(&v->fn.rate, vdev_name(v), "netdev '%s' refuses the guest's offloads: %s",
			  n->netdev, strerror(-rc));
	/* With the VLAN filter, no VLAN passes until the driver has added it. */
	if (vdev_has(v, NET_F_CTRL_VLAN))
		memset(n->filter.vlans, 0, sizeof(n->filter.vlans));
	net_vhost_update(n, n->active);
}

static void net_reset(struct vdev *v)
{
	struct virtio_net *n = net_of(v);

	net_vhost_update(n, 0);
	net_filter_reset(&n->filter, n->mac);
	memcpy(v->config + NET_CFG_MAC, n->mac, sizeof(n->mac));
	put_le16(v->config + NET_CFG_STATUS, n->link_up ? NET_S_LINK_UP : 0);
	n->active = 1;
	if (!n->nd)
		return;
	/* The next driver must not receive frames that need an offload which it has not accepted,
	 * and the back end must not queue frames on a pair that it does not use. */
	net_apply_offloads(n, 0);
	netdev_set_pairs(n->nd, 1);
}

/* --- for the control plane --- */

void net_filter_changed(struct virtio_net *n)
{
	const char *id = n->v.fn.id;
	json_t *data;

	if (n->filter_quiet)
		return;
	n->filter_quiet = true;
	data = json_object();
	if (id) {
		json_object_set_new(data, "name", json_string(id));
		json_object_set_new(data, "path",
				    json_sprintf("/machine/peripheral/%s/virtio-backend", id));
	}
	events_post(n->env->events, "NIC_RX_FILTER_CHANGED", data);
}

struct filter_query {
	struct virtio_net *n;
	struct net_filter *out;
	bool *vlan_all;
};

static void query_filter(void *arg)
{
	struct filter_query *q = arg;

	*q->out = q->n->filter;
	*q->vlan_all = !vdev_has(&q->n->v, NET_F_CTRL_VLAN);
	q->n->filter_quiet = false;
}

void virtio_net_rx_filter(struct pci_fn *fn, struct net_filter *out, bool *vlan_all)
{
	struct filter_query q = {(struct virtio_net *)fn, out, vlan_all};

	loop_call(q.n->v.exits, query_filter, &q);
}

static void run_announce(void *arg)
{
	struct virtio_net *n = arg;

	if (vdev_running(&n->v) && vdev_has(&n->v, NET_F_GUEST_ANNOUNCE))
		set_status(n, NET_S_ANNOUNCE, 0);
}

void virtio_net_announce(struct pci_fn *fn)
{
	struct virtio_net *n = (struct virtio_net *)fn;

	loop_call(n->v.exits, run_announce, n);
}

static const struct vdev_ops net_ops = {
	.virtio_id = 1,
	.pci_class = 0x020000,
	.realize = net_realize,
	.unrealize = net_unrealize,
	.start = net_start,
	.reset = net_reset,
	.kick = net_kick,
	.quiesce = net_quiesce,
};

/* A parked frame is not saved: a network may lose frames. */
static const struct field net_fields[] = {
	FIELD_UINT(struct virtio_net, active, 1, NET_PAIRS_MAX),
	FIELD_BYTES(struct virtio_net, filter.mac),
	FIELD_BOOL(struct virtio_net, filter.promisc),
	FIELD_BOOL(struct virtio_net, filter.allmulti),
	FIELD_BOOL(struct virtio_net, filter.alluni),
	FIELD_BOOL(struct virtio_net, filter.nomulti),
	FIELD_BOOL(struct virtio_net, filter.nouni),
	FIELD_BOOL(struct virtio_net, filter.nobcast),
	FIELD_BOOL(struct virtio_net, filter.uni_overflow),
	FIELD_BOOL(struct virtio_net, filter.multi_overflow),
	FIELD_UINT(struct virtio_net, filter.uni, 0, NET_FILTER_MACS),
	FIELD_UINT(struct virtio_net, filter.multi, 0, NET_FILTER_MACS),
	FIELD_BYTES(struct virtio_net, filter.table),
	FIELD_BYTES(struct virtio_net, filter.vlans),
	FIELD_END,
};

const struct dev_class dev_virtio_net = {
	.name = "virtio-net-pci",
	.alias = "virtio-net",
	.desc = "network card",
	.size = sizeof(struct virtio_net),
	.options = net_options,
	.saved = net_fields,
	.virtio = &net_ops,
};
