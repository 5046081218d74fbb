/* SPDX-License-Identifier: MIT */
/* addr.c - see addr.h */
#include "net/addr.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int resolve_fd(const struct addr_opts *o, const char *group, int socktype, struct addr *a,
		      struct err *e)
{
	int type, fl;
	socklen_t len = sizeof(type);
	uint64_t fd;

	if (!o->str)
		return err_set(e, -EINVAL, "Parameter '%s.str' is missing", group);
	if (parse_uint(o->str, &fd) < 0 || fd > INT_MAX)
		return err_set(e, -EINVAL,
			       "Parameter '%s.str' expects the number of an open socket, not '%s'",
			       group, o->str);
	a->fd = (int)fd;
	if (getsockopt(a->fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return err_set(e, -errno, "Can't use file descriptor %d: %s", a->fd,
			       strerror(errno));
	if (type != socktype)
		return err_set(e, -EINVAL, "file descriptor %d is not a %s socket", a->fd,
			       socktype == SOCK_STREAM ? "stream" : "datagram");
	fl = fcntl(a->fd, F_GETFL);
	if (fl < 0 || fcntl(a->fd, F_SETFL, fl | O_NONBLOCK) < 0 ||
	    fcntl(a->fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_set(e, -errno, "file descriptor %d: %s", a->fd, strerror(errno));
	return 0;
}

static int resolve_unix(const struct addr_opts *o, const char *group, struct addr *a, struct err *e)
{
	size_t len, max = sizeof(a->u.un.sun_path) - 1;

	if (!o->path)
		return err_set(e, -EINVAL, "Parameter '%s.path' is missing", group);
	len = strlen(o->path);
	if (!len || len > max)
		return err_set(e, -EINVAL, "Parameter '%s.path' expects 1 to %zu bytes, not '%s'",
			       group, max, o->path);
	a->u.un.sun_family = AF_UNIX;
	memcpy(a->u.un.sun_path + o->abstract, o->path, len);
	a->len = sizeof(a->u.un);
	if (o->abstract && o->tight)
		a->len = offsetof(struct sockaddr_un, sun_path) + 1 + len;
	return 0;
}

int addr_inet(const char *host, const char *port, int family, int flags, int socktype,
	      struct addr *a, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = socktype,
				 .ai_family = family,
				 .ai_flags = AI_PASSIVE | flags},
			*res;
	int rc;

	memset(a, 0, sizeof(*a));
	a->fd = -1;
	rc = getaddrinfo(*host ? host : NULL, port, &hints, &res);
	if (rc)
		return err_set(e, -EINVAL, "address resolution failed for %s:%s: %s", host, port,
			       rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
	memcpy(&a->u, res->ai_addr, res->ai_addrlen);
	a->len = res->ai_addrlen;
	freeaddrinfo(res);
	return 0;
}

static int resolve_inet(const struct addr_opts *o, const char *group, int socktype, struct addr *a,
			struct err *e)
{
	if (o->to > 65535)
		return err_set(e, -EINVAL, "Parameter '%s.to' expects a port", group);
	if (!o->host)
		return err_set(e, -EINVAL, "Parameter '%s.host' is missing", group);
	if (!o->port)
		return err_set(e, -EINVAL, "Parameter '%s.port' is missing", group);
	return addr_inet(o->host, o->port, addr_family(o->ipv4, o->ipv6),
			 o->numeric ? AI_NUMERICHOST | AI_NUMERICSERV : 0, socktype, a, e);
}

int addr_resolve(const struct addr_opts *o, const char *group, int socktype, struct addr *a,
		 struct err *e)
{
	memset(a, 0, sizeof(*a));
	a->fd = -1;
	if (!strcmp(o->type, "fd"))
		return resolve_fd(o, group, socktype, a, e);
	if (!strcmp(o->type, "unix"))
		return resolve_unix(o, group, a, e);
	if (!strcmp(o->type, "inet"))
		return resolve_inet(o, group, socktype, a, e);
	return err_set(e, -EINVAL,
		       "Parameter '%s.type' does not accept value '%s' (accepted: inet, unix, fd)",
		       group, o->type);
}

void addr_unlink(const struct addr *a)
{
	struct stat st;

	if (a->u.sa.sa_family == AF_UNIX && a->u.un.sun_path[0] && !lstat(a->u.un.sun_path, &st) &&
	    S_ISSOCK(st.st_mode))
		unlink(a->u.un.sun_path);
}

int addr_socket(const struct addr *a, int socktype)
{
	int fd = socket(a->u.sa.sa_family, socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

bool addr_accept_later(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

unsigned addr_port(const struct addr *a)
{
	if (a->u.sa.sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)&a->u)->sin_port);
	if (a->u.sa.sa_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&a->u)->sin6_port);
	return 0;
}

void addr_set_port(struct addr *a, unsigned port)
{
	if (a->u.sa.sa_family == AF_INET)
		((struct sockaddr_in *)&a->u)->sin_port = htons(port);
	if (a->u.sa.sa_family == AF_INET6)
		((struct sockaddr_in6 *)&a->u)->sin6_port = htons(port);
}
