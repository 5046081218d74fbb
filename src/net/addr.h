/* SPDX-License-Identifier: MIT */
/* addr.h - socket addresses of the command line: `addr.type=inet,addr.host=...`,
 * `local.type=unix,local.path=...`
 *
 * The rows of ADDR_OPTS() put one such group into a `struct addr_opts`; addr_resolve() turns it
 * into something to bind or connect. Names are resolved once, on the control thread: resolving may
 * block.
 */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"
#include "conf/opts.h"

struct addr_opts {
	char *type, *host, *port, *path, *str;
	bool abstract, tight, numeric, ipv4, ipv6, keep_alive;
	uint64_t to;
};

/* Rows for the group `prefix`, kept in member `m` of `s`. */
#define ADDR_OPTS(prefix, s, m)                                                               \
	ADDR_ROW(prefix ".type", STRING, s, m.type, "inet, unix or fd"),                      \
		ADDR_ROW(prefix ".host", STRING, s, m.host, "inet: host"),                    \
		ADDR_ROW(prefix ".port", STRING, s, m.port, "inet: port"),                    \
		ADDR_ROW(prefix ".to", UINT, s, m.to, "inet: last port to try to listen on"), \
		ADDR_ROW(prefix ".ipv4", BOOL, s, m.ipv4, "inet: IPv4 only"),                 \
		ADDR_ROW(prefix ".ipv6", BOOL, s, m.ipv6, "inet: IPv6 only"),                 \
		ADDR_ROW(prefix ".numeric", BOOL, s, m.numeric, "inet: look up no names"),    \
		ADDR_ROW(prefix ".keep-alive", BOOL, s, m.keep_alive, "inet: send probes"),   \
		ADDR_ROW(prefix ".path", STRING, s, m.path, "unix: path"),                    \
		ADDR_ROW(prefix ".abstract", BOOL, s, m.abstract, "unix: no file"),           \
		ADDR_ROW(prefix ".tight", BOOL, s, m.tight,                                   \
			 "unix: an abstract name is as long as its text", .def = "on"),       \
		ADDR_ROW(prefix ".str", STRING, s, m.str, "fd: number of an open socket")
#define ADDR_ROW(name_, type_, s, field, text, ...)                                         \
	{                                                                                   \
		.name = name_, .type = OPT_##type_, .at = offsetof(s, field), .help = text, \
		##__VA_ARGS__                                                               \
	}

struct addr {
	int fd; /* the open socket of type=fd; -1 otherwise */
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_un un;
		struct sockaddr_storage any;
	} u;
};

/* Resolve a group that has a type. `group` is the prefix for messages; `socktype` SOCK_STREAM or
 * SOCK_DGRAM, which an fd must be. 0 or -errno with `e`. */
int addr_resolve(const struct addr_opts *o, const char *group, int socktype, struct addr *a,
		 struct err *e);
/* The same for a host and a port (names or numbers; an empty host is the wildcard address).
 * `family` may be AF_UNSPEC; `flags` are getaddrinfo()'s. */
int addr_inet(const char *host, const char *port, int family, int flags, int socktype,
	      struct addr *a, struct err *e);
/* What the options ipv4= and ipv6= mean. */
static inline int addr_family(bool ipv4, bool ipv6)
{
	return ipv4 == ipv6 ? AF_UNSPEC : ipv4 ? AF_INET : AF_INET6;
}
/* Remove a socket file at `a` that nobody needs: before bind() and at the end. Anything but a
 * socket is left alone. */
void addr_unlink(const struct addr *a);
/* New non-blocking socket of the family of `a`. Descriptor or -errno. */
int addr_socket(const struct addr *a, int socktype);
/* accept() failed with `error` for want of something that others have to give back first. The
 * client stays in the backlog, so the listener stays readable: it is not to be watched for a while.
 */
bool addr_accept_later(int error);
#define ADDR_ACCEPT_NS 100000000 /* that while */
/* IPv4 or IPv6 port of `a`, 0 for others; and setting it. */
unsigned addr_port(const struct addr *a);
void addr_set_port(struct addr *a, unsigned port);

#endif
