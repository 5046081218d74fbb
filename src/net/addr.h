/* SPDX-License-Identifier: MIT */
/* addr.h - socket addresses of the command line: `addr.type=inet,addr.host=...`, `local.type=unix,local.path=...`
 *
 * The rows of ADDR_OPTS() put one such group into a `struct addr_opts`; addr_resolve() turns it into something to bind or connect.
 * Names are resolved once, on the control thread: resolving may block.
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

/* Rows for the group `prefix`, kept in member `m` of `type_`. */
#define ADDR_OPTS(prefix, type_, m)                                                         \
	{.name = prefix ".type",                                                            \
	 .type = OPT_STRING,                                                                \
	 .at = offsetof(type_, m.type),                                                     \
	 .help = "inet, unix or fd"},                                                       \
		{.name = prefix ".host",                                                    \
		 .type = OPT_STRING,                                                        \
		 .at = offsetof(type_, m.host),                                             \
		 .help = "inet: host"},                                                     \
		{.name = prefix ".port",                                                    \
		 .type = OPT_STRING,                                                        \
		 .at = offsetof(type_, m.port),                                             \
		 .help = "inet: port"},                                                     \
		{.name = prefix ".path",                                                    \
		 .type = OPT_STRING,                                                        \
		 .at = offsetof(type_, m.path),                                             \
		 .help = "unix: path"},                                                     \
		{.name = prefix ".str",                                                     \
		 .type = OPT_STRING,                                                        \
		 .at = offsetof(type_, m.str),                                              \
		 .help = "fd: number of an open socket"},                                   \
		{.name = prefix ".abstract",                                                \
		 .type = OPT_BOOL,                                                          \
		 .at = offsetof(type_, m.abstract),                                         \
		 .help = "unix: name without a file"},                                      \
		{.name = prefix ".tight",                                                   \
		 .type = OPT_BOOL,                                                          \
		 .at = offsetof(type_, m.tight),                                            \
		 .def = "on",                                                               \
		 .help = "unix: abstract name is as long as its text"},                     \
		{.name = prefix ".ipv4",                                                    \
		 .type = OPT_BOOL,                                                          \
		 .at = offsetof(type_, m.ipv4),                                             \
		 .help = "inet: IPv4 only"},                                                \
		{.name = prefix ".ipv6",                                                    \
		 .type = OPT_BOOL,                                                          \
		 .at = offsetof(type_, m.ipv6),                                             \
		 .help = "inet: IPv6 only"},                                                \
		{.name = prefix ".numeric",                                                 \
		 .type = OPT_BOOL,                                                          \
		 .at = offsetof(type_, m.numeric),                                          \
		 .help = "inet: do not look up names"},                                     \
		{.name = prefix ".to",                                                      \
		 .type = OPT_UINT,                                                          \
		 .at = offsetof(type_, m.to),                                               \
		 .max = 65535,                                                              \
		 .help = "inet: last port to try when listening"},                          \
	{                                                                                   \
		.name = prefix ".keep-alive", .type = OPT_BOOL,                             \
		.at = offsetof(type_, m.keep_alive), .help = "inet: send keep-alive probes" \
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

/* Resolve a group that has a type. `group` is the prefix for messages; `socktype` SOCK_STREAM or SOCK_DGRAM, which an fd must be.
 * 0 or -errno with `e`. */
int addr_resolve(const struct addr_opts *o, const char *group, int socktype, struct addr *a,
		 struct err *e);
/* Remove a socket file at `a` that nobody needs: before bind() and at the end. Anything but a socket is left alone. */
void addr_unlink(const struct addr *a);
/* New non-blocking socket of the family of `a`. Descriptor or -errno. */
int addr_socket(const struct addr *a, int socktype);
/* IPv4 or IPv6 port of `a`, 0 for others; and setting it. */
unsigned addr_port(const struct addr *a);
void addr_set_port(struct addr *a, unsigned port);

#endif
