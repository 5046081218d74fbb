/* SPDX-License-Identifier: MIT */
/* types.c - the table of -netdev types, and how a netdev is made from its options
 *
 * Control thread. A type is a row of the table: a class with an option table of its own, beside
 * which every type has the common options below. Some types are another one by a second name
 * (`socket` is `stream` or `dgram`, `bridge` is `tap`): their class only writes that one's options.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "net/backend.h"
#include "net/net.h"

static const struct net_class *const classes[] = {
	&net_tap,  &net_dgram, &net_stream, &net_socket, &net_bridge, &net_passt, &net_hubport,
#ifdef HAVE_SLIRP
	&net_user,
#endif
};

const struct opt netdev_common_options[] = {
	{.name = "rate",
	 .type = OPT_SIZE,
	 .at = offsetof(struct netdev, pace.rate),
	 .help = "limit of what the guest sends, bytes a second, 0 for none"},
	{.name = "rate-burst",
	 .type = OPT_SIZE,
	 .at = offsetof(struct netdev, pace.burst),
	 .help = "bytes that it may send at once after a pause, 50 ms' worth unless given"},
	OPT_END,
};

const char *netdev_type(unsigned i, const char **help, const struct opt **options)
{
	if (i >= ARRAY_SIZE(classes))
		return NULL;
	*help = classes[i]->help;
	*options = classes[i]->options;
	return classes[i]->type;
}

static const struct net_class *find_class(const char *type, struct err *e)
{
	char known[256] = "";

	for (unsigned i = 0; i < ARRAY_SIZE(classes); i++) {
		size_t len = strlen(known);

		if (!strcmp(classes[i]->type, type))
			return classes[i];
		snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "", classes[i]->type);
	}
	if (!strcmp(type, "user")) {
		err_set(e, -ENOTSUP,
			"network backend 'user' is not compiled into this binary (meson: "
			"slirp=enabled)");
		return NULL;
	}
	err_set(e, -EINVAL, "Parameter 'type' does not accept value '%s' (accepted: %s)", type,
		known);
	return NULL;
}

/* Of an option that may be given several times, JSON has an array: `name.0.str`. */
static int flatten_lists(const struct opt *o, struct kvs *k)
{
	for (; o->name; o++)
		for (unsigned i = 0; i < k->n; i++) {
			size_t len = strlen(o->name);
			const char *p = k->v[i].key;
			char *name;

			if (o->type != OPT_STRING || strncmp(p, o->name, len) || p[len] != '.')
				continue;
			for (p += len + 1; isdigit((unsigned char)*p); p++) {}
			if (strcmp(p, ".str"))
				continue;
			name = strdup(o->name);
			if (!name)
				return -ENOMEM;
			free(k->v[i].key);
			k->v[i].key = name;
		}
	return 0;
}

/* An object of this class with its options; what is half done is freed by the caller. */
static int netdev_init(struct netdev *nd, struct netdevs *nds, const struct net_class *class,
		       struct kvs *k, struct err *e)
{
	const struct opt *tables[] = {class->options, netdev_common_options, NULL};
	const char *id = kvs_get(k, "id"), *odd;
	int rc = class->lists ? flatten_lists(class->options, k) : 0;

	nd->class = class;
	nd->set = nds;
	nd->link_up = true;
	nd->carrier = true;
	nd->report.fn = netdev_report_link;
	list_init(&nd->link);
	list_init(&nd->dumps);
	nd->id = strdup(id);
	if (!nd->id || rc < 0)
		return err_nomem(e);
	rc = opts_apply(tables, k, nd, e);
	odd = kvs_unused(k);
	if (!rc && odd)
		rc = err_set(e, -EINVAL, "Invalid parameter '%s' for netdev type '%s'", odd,
			     class->type);
	if (!rc && nd->pace.burst && !nd->pace.rate)
		rc = err_set(e, -EINVAL, "'rate-burst' is given without 'rate'");
	if (nd->pace.rate && !kvs_get(k, "rate-burst"))
		nd->pace.burst = nd->pace.rate / 20;
	return rc;
}

/* The options that all types have, for the type that an alias stands for. */
static int keep_common(struct kvs *out, struct kvs *k)
{
	const char *id = kvs_get(k, "id");

	for (const struct opt *o = netdev_common_options; o->name; o++)
		if (kvs_get(k, o->name) && kvs_add(out, o->name, kvs_get(k, o->name)) < 0)
			return -ENOMEM;
	return kvs_add(out, "id", id);
}

static int add_class(struct netdevs *nds, const struct net_class *class, struct kvs *k,
		     struct err *e)
{
	struct netdev *nd = calloc(1, class->size);
	struct kvs other = {0};
	int rc;

	if (!nd)
		return err_nomem(e);
	rc = netdev_init(nd, nds, class, k, e);
	if (!rc && !class->alias) {
		nd->opened = true;
		rc = class->open(nd, k, e);
		if (!rc && nd->has_vhost && nd->pace.rate)
			rc = err_set(
				e, -EINVAL,
				"'rate' cannot be used together with vhost=on: the kernel moves "
				"the frames");
		if (!rc) {
			netdevs_insert(nds, nd);
			return 0;
		}
	} else if (!rc) {
		rc = class->alias(nd, k, &other, e);
		if (!rc && keep_common(&other, k) < 0)
			rc = err_nomem(e);
		if (!rc)
			rc = add_class(nds, find_class(kvs_get(&other, "type"), e), &other, e);
		kvs_free(&other);
	}
	netdev_free(nd);
	return rc;
}

int netdev_add(struct netdevs *nds, struct kvs *k, struct err *e)
{
	const char *type = kvs_get(k, "type"), *id = kvs_get(k, "id");
	const struct net_class *class;
	int rc;

	if (!type)
		return err_set(e, -EINVAL, "Parameter 'type' is missing");
	class = find_class(type, e);
	if (!class)
		return -EINVAL;
	rc = id_check("id", id, e);
	if (rc < 0)
		return rc;
	if (netdevs_find(nds, id))
		return id_taken(id, "netdev", e);
	return add_class(nds, class, k, e);
}
