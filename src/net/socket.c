/* SPDX-License-Identifier: MIT */
/* socket.c - -netdev socket: QEMU's older names for stream and dgram
 *
 * The frames on the wire are the same, so there is no back end here: listen= and connect= become a
 * stream, udp= and mcast= a dgram, and fd= what the socket is.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "net/backend.h"

struct socket_opts {
	struct netdev nd;
	char *fd, *listen, *connect, *mcast, *udp, *localaddr;
};

#define ROW(n, text)                                                                   \
	{                                                                              \
		.name = #n, .type = OPT_STRING, .at = offsetof(struct socket_opts, n), \
		.help = text                                                           \
	}
static const struct opt socket_options[] = {
	ROW(listen, "[host]:port to wait for a peer on, as stream with server=on"),
	ROW(connect, "host:port to connect to, as stream"),
	ROW(udp, "host:port of the peer of a dgram; needs localaddr"),
	ROW(mcast, "group:port of a dgram over IPv4 multicast"),
	ROW(localaddr, "udp: host:port to bind to; mcast: address of the interface"),
	ROW(fd, "descriptor of an open socket"),
	OPT_END,
};
#undef ROW

/* Add `prefix`.`key`=`value`. */
static int put(struct kvs *out, const char *prefix, const char *key, const char *value)
{
	char name[32];

	snprintf(name, sizeof(name), "%s.%s", prefix, key);
	return kvs_add(out, name, value);
}

/* `host:port` as the address group `prefix`. Without a host it is any address. */
static int put_address(struct kvs *out, const char *prefix, const char *text, struct err *e)
{
	const char *colon = strrchr(text, ':');
	uint64_t port;
	char *host;
	int rc;

	if (!colon)
		return err_set(e, -EINVAL,
			       "host address '%s' doesn't contain ':' separating host from port",
			       text);
	if (parse_uint(colon + 1, &port) < 0 || port > 65535)
		return err_set(e, -EINVAL, "port number '%s' is invalid", colon + 1);
	host = strndup(text, (size_t)(colon - text));
	rc = !host || put(out, prefix, "type", "inet") < 0 ||
	     put(out, prefix, "host", *host ? host : "0.0.0.0") < 0 ||
	     put(out, prefix, "port", colon + 1) < 0 || put(out, prefix, "ipv4", "on") < 0;
	free(host);
	return rc ? err_nomem(e) : 0;
}

static int as_fd(const struct socket_opts *o, struct kvs *out, struct err *e)
{
	socklen_t len = sizeof(int);
	uint64_t fd;
	int type;

	if (parse_uint(o->fd, &fd) < 0 || fd > INT_MAX)
		return err_set(e, -EINVAL, "'%s' is not the number of a file descriptor", o->fd);
	if (getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return err_set(e, -errno, "Can't use file descriptor %d: %s", (int)fd,
			       strerror(errno));
	if (type != SOCK_STREAM && type != SOCK_DGRAM)
		return err_set(e, -EINVAL,
			       "socket type=%d for fd=%d must be either SOCK_DGRAM or SOCK_STREAM",
			       type, (int)fd);
	if (kvs_add(out, "type", type == SOCK_STREAM ? "stream" : "dgram") < 0 ||
	    put(out, type == SOCK_STREAM ? "addr" : "local", "type", "fd") < 0 ||
	    put(out, type == SOCK_STREAM ? "addr" : "local", "str", o->fd) < 0)
		return err_nomem(e);
	return 0;
}

static int as_stream(const struct socket_opts *o, struct kvs *out, struct err *e)
{
	if (kvs_add(out, "type", "stream") < 0 ||
	    kvs_add(out, "server", o->listen ? "on" : "off") < 0)
		return err_nomem(e);
	return put_address(out, "addr", o->listen ? o->listen : o->connect, e);
}

static int as_group(const struct socket_opts *o, struct kvs *out, struct err *e)
{
	char *group = strndup(o->mcast, strcspn(o->mcast, ":"));
	struct in_addr in = {0};
	int rc = 0;

	if (!group || kvs_add(out, "type", "dgram") < 0)
		rc = err_nomem(e);
	else if (strchr(o->mcast, ':') &&
		 (!inet_aton(group, &in) || !IN_MULTICAST(ntohl(in.s_addr))))
		rc = err_set(e, -EINVAL,
			     "specified mcastaddr %s (0x%08x) does not contain a multicast address",
			     group, ntohl(in.s_addr));
	free(group);
	if (!rc)
		rc = put_address(out, "remote", o->mcast, e);
	if (rc < 0 || !o->localaddr)
		return rc;
	if (!inet_aton(o->localaddr, &in))
		return err_set(e, -EINVAL, "localaddr '%s' is not a valid IPv4 address",
			       o->localaddr);
	if (put(out, "local", "type", "inet") < 0 || put(out, "local", "host", o->localaddr) < 0 ||
	    put(out, "local", "port", "0") < 0)
		return err_nomem(e);
	return 0;
}

static int as_dgram(const struct socket_opts *o, struct kvs *out, struct err *e)
{
	int rc;

	if (!o->localaddr)
		return err_set(e, -EINVAL, "localaddr= is mandatory with udp=");
	if (kvs_add(out, "type", "dgram") < 0)
		return err_nomem(e);
	rc = put_address(out, "local", o->localaddr, e);
	return rc < 0 ? rc : put_address(out, "remote", o->udp, e);
}

static int socket_alias(struct netdev *nd, const struct kvs *k, struct kvs *out, struct err *e)
{
	struct socket_opts *o = (struct socket_opts *)nd;

	if (!!o->fd + !!o->listen + !!o->connect + !!o->mcast + !!o->udp != 1)
		return err_set(e, -EINVAL,
			       "exactly one of listen=, connect=, mcast= or udp= is required "
			       "(or fd=)");
	if (o->localaddr && !o->mcast && !o->udp)
		return err_set(e, -EINVAL, "localaddr= is only valid with mcast= or udp=");
	if (o->fd)
		return as_fd(o, out, e);
	if (o->mcast)
		return as_group(o, out, e);
	return o->udp ? as_dgram(o, out, e) : as_stream(o, out, e);
}

const struct net_class net_socket = {
	.type = "socket",
	.help = "older names for stream and dgram: listen=, connect=, udp=, mcast=",
	.options = socket_options,
	.size = sizeof(struct socket_opts),
	.alias = socket_alias,
};
