/* SPDX-License-Identifier: MIT */
/* query_net.c - QMP's query-rx-filter and announce-self */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "dev/dev.h"
#include "dev/virtio_net.h"
#include "machine/vm.h"

static json_t *mac_to_json(const uint8_t mac[6])
{
	return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
			    mac[5]);
}

static json_t *macs_to_json(const uint8_t (*macs)[6], unsigned n)
{
	json_t *out = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(out, mac_to_json(macs[i]));
	return out;
}

static json_t *vlans_to_json(const struct net_filter *f)
{
	json_t *out = json_array();

	for (unsigned id = 0; id < NET_FILTER_VLANS; id++)
		if (f->vlans[id / 32] >> id % 32 & 1)
			json_array_append_new(out, json_integer(id));
	return out;
}

static const char *filter_mode(bool none, bool all)
{
	return none ? "none" : all ? "all" : "normal";
}

static json_t *filter_describe(struct pci_fn *fn)
{
	struct net_filter f;
	bool vlan_all;

	virtio_net_rx_filter(fn, &f, &vlan_all);
	return json_pack("{s:s, s:b, s:s, s:s, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:o}", "name",
			 fn->id ? fn->id : fn->kind, "promiscuous", f.promisc, "multicast",
			 filter_mode(f.nomulti, f.allmulti), "unicast",
			 filter_mode(f.nouni, f.alluni), "vlan", filter_mode(false, vlan_all),
			 "broadcast-allowed", !f.nobcast, "multicast-overflow", f.multi_overflow,
			 "unicast-overflow", f.uni_overflow, "main-mac", mac_to_json(f.mac),
			 "unicast-table", macs_to_json(f.table, f.uni), "multicast-table",
			 macs_to_json(f.table + f.uni, f.multi), "vlan-table",
			 vlan_all ? json_array() : vlans_to_json(&f));
}

int query_rx_filter(struct qmp_call *call)
{
	const char *wanted = qmp_string(call, "name");
	struct dev *named = wanted ? dev_find(&call->vm->env, wanted) : NULL;

	call->ret = json_array();
	if (wanted && !named)
		return err_set(&call->err, -ENODEV, "invalid net client name: %s", wanted);
	if (named && named->class != &dev_virtio_net)
		return err_set(&call->err, -EINVAL, "net client(%s) isn't a NIC", wanted);
	list_for_each (it, &call->vm->env.devices) {
		struct dev *d = list_entry(it, struct dev, link);

		if (d->class == &dev_virtio_net && (!named || d == named))
			json_array_append_new(call->ret, filter_describe(d->fn));
	}
	return 0;
}

static bool fn_is_among(json_t *names, const struct pci_fn *fn)
{
	json_t *name;
	size_t i;

	json_array_foreach (names, i, name)
		if (fn->id && json_is_string(name) && !strcmp(json_string_value(name), fn->id))
			return true;
	return !names;
}

/* The guest's driver sends the announcements, as many as it chooses; so the number of rounds and
 * the delays in the command have no effect. */
int announce_self(struct qmp_call *call)
{
	json_t *names = json_object_get(call->args, "interfaces");

	if (names && !json_is_array(names))
		return err_set(&call->err, -EINVAL,
			       "Invalid parameter type for 'interfaces', expected: array");
	list_for_each (it, &call->vm->env.devices) {
		struct dev *d = list_entry(it, struct dev, link);

		if (d->class == &dev_virtio_net && fn_is_among(names, d->fn))
			virtio_net_announce(d->fn);
	}
	return 0;
}
