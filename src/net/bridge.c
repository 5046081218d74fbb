/* SPDX-License-Identifier: MIT */
/* bridge.c - -netdev bridge: a tap on a bridge, made by QEMU's setuid helper
 *
 * For whoever may not make one. It is a tap (helper=) by another name.
 */
#include <errno.h>
#include <string.h>

#include "net/backend.h"
#include "net/helper.h"

struct bridge_opts {
	struct netdev nd;
	char *br, *helper;
};

static const struct opt bridge_options[] = {
	{.name = "br",
	 .type = OPT_STRING,
	 .at = offsetof(struct bridge_opts, br),
	 .def = "br0",
	 .help = "bridge to join"},
	{.name = "helper",
	 .type = OPT_STRING,
	 .at = offsetof(struct bridge_opts, helper),
	 .def = HELPER_BRIDGE,
	 .help = "program that opens the tap"},
	OPT_END,
};

static int bridge_alias(struct netdev *nd, const struct kvs *k, struct kvs *out, struct err *e)
{
	struct bridge_opts *o = (struct bridge_opts *)nd;

	if (kvs_add(out, "type", "tap") < 0 || kvs_add(out, "helper", o->helper) < 0 ||
	    kvs_add(out, "br", o->br) < 0)
		return err_nomem(e);
	return 0;
}

const struct net_class net_bridge = {
	.type = "bridge",
	.help = "a tap on a bridge, made by qemu-bridge-helper",
	.options = bridge_options,
	.size = sizeof(struct bridge_opts),
	.alias = bridge_alias,
};
