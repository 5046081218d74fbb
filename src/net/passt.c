/* SPDX-License-Identifier: MIT */
/* passt.c - -netdev passt: a network of the guest's own, by a passt that is started for it
 *
 * One end of a socket pair is a stream back end here, the other one is passt's, which ends when
 * this process does. It is started while devices are opened, before any right is given up, and
 * never again: where it has to survive its own end, run it under a service manager and use
 * stream,...,reconnect-ms=.
 *
 * The options are QEMU's, handed over as passt's own in the order given; what an older passt does
 * not know it refuses itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/backend.h"
#include "net/helper.h"

struct passt_opts {
	struct netdev nd;
	char *path;
	bool quiet, vhost_user;
	/* Where the table checks the values of all others; they are read in order afterwards. */
	char *text;
	bool flag;
};

#define ROW(n, field, t, ...)                                                                     \
	{                                                                                         \
		.name = n, .type = OPT_##t, .at = offsetof(struct passt_opts, field), __VA_ARGS__ \
	}
#define TEXT(n, what)	 ROW(n, text, STRING, .help = what)
#define FLAG(n, d, what) ROW(n, flag, BOOL, .def = d, .help = what)
static const struct opt passt_options[] = {
	ROW("path", path, STRING, .def = "passt", .help = "the program"),
	ROW("quiet", quiet, BOOL, .def = "on", .help = "no messages but errors"),
	ROW("vhost-user", vhost_user, BOOL, .help = "not supported: only off is accepted"),
	TEXT("mtu", "MTU to assign by DHCP and NDP, 0 for none"),
	TEXT("address", "address to assign"),
	TEXT("netmask", "netmask to assign"),
	TEXT("mac", "address of the gateway on the wire"),
	TEXT("gateway", "address of the gateway"),
	TEXT("interface", "interface of the host whose addresses and routes are used"),
	TEXT("outbound", "source address of what leaves"),
	TEXT("outbound-if4", "interface that IPv4 leaves by"),
	TEXT("outbound-if6", "interface that IPv6 leaves by"),
	TEXT("dns", "name server to assign"),
	TEXT("search", "domain to search names in, may be repeated"),
	TEXT("fqdn", "name to assign"),
	TEXT("map-host-loopback", "address that stands for the host's loopback"),
	TEXT("map-guest-addr", "address that stands for the guest's own"),
	TEXT("dns-forward", "address whose queries go to the host's name server"),
	TEXT("dns-host", "name server of the host for that"),
	TEXT("tcp-ports", "TCP forward to the guest as of passt -t, may be repeated"),
	TEXT("udp-ports", "UDP forward to the guest as of passt -u, may be repeated"),
	TEXT("param", "one more argument for passt, may be repeated"),
	FLAG("tcp", "on", "TCP"),
	FLAG("udp", "on", "UDP"),
	FLAG("icmp", "on", "ping"),
	FLAG("dhcp", "on", "DHCP server"),
	FLAG("ndp", "on", "answer neighbour discovery"),
	FLAG("dhcpv6", "on", "DHCPv6 server"),
	FLAG("ra", "on", "router advertisements"),
	FLAG("dhcp-dns", "on", "assign name servers"),
	FLAG("dhcp-search", "on", "assign search domains"),
	FLAG("ipv4", "on", "off: IPv6 only"),
	FLAG("ipv6", "on", "off: IPv4 only"),
	FLAG("freebind", "off", "bind to addresses that do not exist yet"),
	OPT_END,
};
#undef ROW
#undef TEXT
#undef FLAG

/* What is not --NAME (or --no-NAME for a flag that is off) on passt's command line. */
static const char *const names[][2] = {
	{"mac", "--mac-addr"},
	{"ipv4", "--ipv6-only"},
	{"ipv6", "--ipv4-only"},
	{"freebind", "--freebind"},
};

/* The program's arguments, NULL-terminated. */
struct args {
	char **v;
	unsigned n;
};

static int push(struct args *a, const char *text)
{
	char **v = realloc(a->v, (a->n + 2) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	a->v = v;
	v[a->n] = strdup(text);
	v[a->n + 1] = NULL;
	return v[a->n] && ++a->n ? 0 : -ENOMEM;
}

static void args_free(struct args *a)
{
	for (unsigned i = 0; i < a->n; i++)
		free(a->v[i]);
	free(a->v);
}

/* The argument that stands for one option; nothing for those that are ours. */
static int push_option(struct args *a, const struct kv *kv)
{
	const struct opt *o = passt_options;
	char name[64];
	bool on;

	while (o->name && strcmp(o->name, kv->key))
		o++;
	if (!o->name || (o->at != offsetof(struct passt_opts, text) &&
			 o->at != offsetof(struct passt_opts, flag)))
		return 0;
	if (!strcmp(kv->key, "param"))
		return push(a, kv->value);
	if (o->type == OPT_BOOL && (parse_bool(kv->value, &on) < 0 || on == !strcmp(o->def, "on")))
		return 0;
	snprintf(name, sizeof(name), "--%s%s", o->type == OPT_BOOL ? "no-" : "", kv->key);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i][0], kv->key))
			snprintf(name, sizeof(name), "%s", names[i][1]);
	return push(a, name) < 0 || (o->type == OPT_STRING && push(a, kv->value) < 0) ? -ENOMEM : 0;
}

static int passt_alias(struct netdev *nd, const struct kvs *k, struct kvs *out, struct err *e)
{
	struct passt_opts *o = (struct passt_opts *)nd;
	struct args a = {0};
	char number[16];
	int sock[2], rc;

	if (o->vhost_user)
		return err_set(e, -EINVAL, "vhost-user=on is not supported, only off is accepted");
	rc = helper_sockets(sock, e);
	if (rc < 0)
		return rc;
	snprintf(number, sizeof(number), "%d", sock[1]);
	rc = push(&a, o->path) < 0 || push(&a, "--fd") < 0 || push(&a, number) < 0 ||
	     (o->quiet && push(&a, "--quiet") < 0);
	for (unsigned i = 0; i < k->n && !rc; i++)
		rc = push_option(&a, &k->v[i]);
	snprintf(number, sizeof(number), "%d", sock[0]);
	if (rc || kvs_add(out, "type", "stream") < 0 || kvs_add(out, "addr.type", "fd") < 0 ||
	    kvs_add(out, "addr.str", number) < 0)
		rc = err_nomem(e);
	/* It says what is wrong on standard error, and goes into the background when all is well.
	 */
	if (!rc)
		rc = helper_run("network helper", a.v, sock[1], e);
	args_free(&a);
	close(sock[1]);
	if (rc < 0)
		close(sock[0]);
	return rc;
}

const struct net_class net_passt = {
	.type = "passt",
	.help = "a network of its own, by a passt that is started for it",
	.options = passt_options,
	.size = sizeof(struct passt_opts),
	.lists = true,
	.alias = passt_alias,
};
