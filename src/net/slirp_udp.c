/* SPDX-License-Identifier: MIT */
/* slirp_udp.c - see slirp_udp.h
 *
 * The one thing kept per thread instead of being passed: libslirp cannot hand an argument through
 * to the C library's functions. It is set for the length of a call of libslirp's only.
 */
#include "net/slirp_udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

/* A datagram of an Ethernet frame's size; what is larger goes in fragments, which are no segments.
 */
#define EACH_MAX 1472

static _Thread_local struct slirp_udp *gathering;

static ssize_t send_now(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to,
			socklen_t to_len)
{
	return syscall(SYS_sendto, fd, buf, len, flags, to, to_len);
}

static int set_now(int fd, int level, int name, const void *val, socklen_t len)
{
	return (int)syscall(SYS_setsockopt, fd, level, name, val, len);
}

static ssize_t send_run(struct slirp_udp *u)
{
	union {
		char bytes[CMSG_SPACE(sizeof(uint16_t))];
		struct cmsghdr align;
	} ctl = {.align = {.cmsg_level = IPPROTO_UDP,
			   .cmsg_type = UDP_SEGMENT,
			   .cmsg_len = CMSG_LEN(sizeof(uint16_t))}};
	struct iovec iov = {u->data, u->len};
	struct msghdr m = {.msg_name = &u->to,
			   .msg_namelen = u->to_len,
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &ctl,
			   .msg_controllen = sizeof(ctl.bytes)};

	memcpy(CMSG_DATA(&ctl.align), &(uint16_t){(uint16_t)u->each}, sizeof(uint16_t));
	return sendmsg(u->fd, &m, 0);
}

/* What the kernel does not take as a run (the route's MTU is smaller, the interface has no checksum
 * offload) it may take in pieces. With its buffers full it would lose them just so. */
static void flush(struct slirp_udp *u)
{
	if (u->n > 1 && (send_run(u) >= 0 || errno == EAGAIN || errno == ENOBUFS))
		u->n = 0;
	for (size_t at = 0; u->n; u->n--, at += u->each)
		send_now(u->fd, u->data + at, MIN(u->each, u->len - at), 0,
			 (struct sockaddr *)&u->to, u->to_len);
	u->len = 0;
	u->ended = false;
}

static bool can_wait(struct slirp_udp *u, size_t len)
{
	int now;

	if (!len || len > EACH_MAX || u->plain)
		return false;
	if (u->n)
		return true;
	u->plain = getsockopt(u->fd, IPPROTO_UDP, UDP_SEGMENT, &now, &(socklen_t){sizeof(now)}) < 0;
	return !u->plain;
}

static ssize_t take(struct slirp_udp *u, int fd, const void *buf, size_t len,
		    const struct sockaddr *to, socklen_t to_len)
{
	bool same = fd == u->fd && to_len == u->to_len && !memcmp(to, &u->to, to_len);
	ssize_t rc;

	if (!same || !can_wait(u, len)) {
		flush(u);
		rc = send_now(fd, buf, len, 0, to, to_len);
		u->fd = rc >= 0 && to_len <= sizeof(u->to) ? fd : -1;
		u->to_len = u->fd >= 0 ? to_len : 0;
		memcpy(&u->to, to, u->to_len);
		return rc;
	}
	if (u->n &&
	    (u->ended || len > u->each || u->n == SLIRP_UDP_RUN || len > sizeof(u->data) - u->len))
		flush(u);
	if (!u->n)
		u->each = len;
	memcpy(u->data + u->len, buf, len);
	u->len += len;
	u->n++;
	u->ended = len < u->each;
	return (ssize_t)len;
}

static int set_hops(struct slirp_udp *u, int fd, int level, int name, const void *val,
		    socklen_t len)
{
	uint32_t hops = 0;
	int rc;

	memcpy(&hops, val, len);
	if (fd == u->hops_fd && level == u->hops_level && hops == u->hops)
		return 0;
	if (fd == u->fd)
		flush(u);
	rc = set_now(fd, level, name, val, len);
	u->hops_fd = rc < 0 ? -1 : fd;
	u->hops_level = level;
	u->hops = hops;
	return rc;
}

/* The C library's, for libslirp and for everyone else in this program. */
ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to,
	       socklen_t to_len)
{
	if (gathering && !flags && to)
		return take(gathering, fd, buf, len, to, to_len);
	return send_now(fd, buf, len, flags, to, to_len);
}

int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	bool hops = (level == IPPROTO_IP && name == IP_TTL) ||
		    (level == IPPROTO_IPV6 && name == IPV6_UNICAST_HOPS);

	if (gathering && hops && val && len <= sizeof(gathering->hops))
		return set_hops(gathering, fd, level, name, val, len);
	return set_now(fd, level, name, val, len);
}

void slirp_udp_init(struct slirp_udp *u)
{
	u->fd = u->hops_fd = -1;
}

void slirp_udp_gather(struct slirp_udp *u)
{
	gathering = u;
}

void slirp_udp_end(struct slirp_udp *u)
{
	gathering = NULL;
	flush(u);
	slirp_udp_init(u);
}
