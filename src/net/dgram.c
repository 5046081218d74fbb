/* SPDX-License-Identifier: MIT */
/* dgram.c - -netdev dgram: one Ethernet frame per datagram
 *
 * Between unix sockets (`local` and `remote`), over UDP, over an IPv4 multicast group (`remote`
 * alone, `local` then names the interface), or on a connected socket that was handed in. The format
 * is QEMU's: bare frames, no header.
 *
 * This file does not connect its sockets, so that a peer may come, go and come back under the same
 * address. Frames for a peer that does not exist are lost, as on a cable.
 *
 * Waiting for room: usually the socket's own send buffer is full, and EPOLLOUT reports when it has
 * room again. A unix socket has a second limit, the peer's queue, which is short
 * (net.unix.max_dgram_qlen, 10 by default). Linux reports room in the peer's queue only to a
 * connected socket. So there is a second socket, `gauge`, which has no name and sends nothing. It
 * is connected to the peer whenever the peer's queue is full, and its EPOLLOUT means that the peer
 * has received a frame. If the peer has connected its own socket to ours, the kernel refuses to
 * connect the gauge (EPERM), but then this limit does not exist. For ENOBUFS, when an interface has
 * no room, there is no event: the frame is tried again after a moment.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "net/addr.h"
#include "net/backend.h"

struct dgram {
	struct netdev nd;
	struct addr local, to;
	struct addr *remote;  /* `to`, or NULL: connected */
	bool bound;	      /* the local socket file was created here */
	int gauge;	      /* see above; -1: none */
	struct loop_fd room;  /* its watch */
	enum netq_room limit; /* how room was reported the last time; NETQ_MOMENT: not known */
	bool moved;	      /* a frame was sent since */
	struct addr_opts o_local, o_remote;
};

static const struct opt dgram_options[] = {
	ADDR_OPTS("local", struct dgram, o_local),
	ADDR_OPTS("remote", struct dgram, o_remote),
	OPT_END,
};

static bool addr_is_multicast(const struct addr *a)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&a->u;

	return a->u.sa.sa_family == AF_INET && IN_MULTICAST(ntohl(in->sin_addr.s_addr));
}

/* Bind to the group and join it, on the interface that `local` names if there is one. */
static int dgram_join_group(struct dgram *d, int fd, struct err *e)
{
	struct sockaddr_in *group = (struct sockaddr_in *)&d->to.u;
	struct ip_mreqn mreq = {.imr_multiaddr = group->sin_addr};
	int on = 1;

	if (d->o_local.type)
		mreq.imr_address = ((struct sockaddr_in *)&d->local.u)->sin_addr;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, &d->to.u.sa, d->to.len) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &mreq, sizeof(mreq)) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &on, sizeof(on)) < 0 ||
	    (d->o_local.type &&
	     setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &mreq, sizeof(mreq)) < 0))
		return err_set(e, -errno, "could not join multicast group %s: %s", d->o_remote.host,
			       strerror(errno));
	return 0;
}

static int dgram_bind_local(struct dgram *d, int fd, struct err *e)
{
	int on = 1;

	if (d->local.u.sa.sa_family == AF_UNIX)
		addr_unlink(&d->local);
	else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return err_set(e, -errno, "SO_REUSEADDR: %s", strerror(errno));
	if (bind(fd, &d->local.u.sa, d->local.len) < 0)
		return err_set(e, -errno, "could not bind to %s: %s",
			       d->o_local.path ? d->o_local.path : d->o_local.host,
			       strerror(errno));
	d->bound = true;
	return 0;
}

static int dgram_open(struct netdev *nd, struct kvs *k, struct err *e)
{
	struct dgram *d = (struct dgram *)nd;
	int rc, fd;

	d->gauge = d->room.fd = -1;
	d->limit = NETQ_MOMENT;
	rc = netdev_alloc_queues(nd, 1, e);
	if (!rc && !d->o_local.type && !d->o_remote.type)
		rc = err_set(e, -EINVAL, "Parameter 'local.type' or 'remote.type' is missing");
	if (!rc && d->o_local.type)
		rc = addr_resolve(&d->o_local, "local", SOCK_DGRAM, &d->local, e);
	if (!rc && d->o_remote.type)
		rc = addr_resolve(&d->o_remote, "remote", SOCK_DGRAM, &d->to, e);
	if (rc < 0)
		return rc;

	if (d->o_local.type && d->local.fd >= 0) {
		if (d->o_remote.type)
			return err_set(e, -EINVAL,
				       "'remote' cannot be used together with local.type=fd");
		nd->queue[0].fd = d->local.fd;
		return 0;
	}
	if (!d->o_remote.type)
		return err_set(e, -EINVAL, "Parameter 'remote.type' is missing");
	if (d->to.fd >= 0)
		return err_set(
			e, -EINVAL,
			"Parameter 'remote.type' does not accept value 'fd' (accepted: inet, "
			"unix)");
	if (!d->o_local.type && !addr_is_multicast(&d->to))
		return err_set(e, -EINVAL, "Parameter 'local.type' is missing");
	if (d->o_local.type && d->local.u.sa.sa_family != d->to.u.sa.sa_family)
		return err_set(e, -EINVAL, "'local' and 'remote' are addresses of different kinds");
	fd = addr_socket(&d->to, SOCK_DGRAM);
	if (fd < 0)
		return err_set(e, fd, "socket: %s", strerror(-fd));
	nd->queue[0].fd = fd;
	d->remote = &d->to;
	if (d->to.u.sa.sa_family == AF_UNIX) {
		d->gauge = addr_socket(&d->to, SOCK_DGRAM);
		if (d->gauge < 0)
			return err_set(e, d->gauge, "socket: %s", strerror(-d->gauge));
	}
	return addr_is_multicast(&d->to) ? dgram_join_group(d, fd, e) : dgram_bind_local(d, fd, e);
}

static void dgram_close(struct netdev *nd)
{
	struct dgram *d = (struct dgram *)nd;

	if (nd->pairs && nd->queue[0].fd >= 0)
		close(nd->queue[0].fd);
	if (d->gauge >= 0)
		close(d->gauge);
	if (d->bound)
		addr_unlink(&d->local);
}

static ssize_t dgram_recv(struct netq *q, const struct iovec *iov, unsigned n)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};
	ssize_t rc = recvmsg(q->fd, &msg, MSG_DONTWAIT);

	/* Any other error is the network's answer to a frame that was sent earlier. The socket
	 * reports it once and can still be used. */
	if (rc < 0)
		return errno == EBADF || errno == ENOTSOCK ? -errno : -EAGAIN;
	/* Drop a frame that did not fit into the buffer. */
	return msg.msg_flags & MSG_TRUNC ? 0 : rc;
}

/* --- waiting for room --- */

static void dgram_gauge_event(struct loop_fd *w, uint32_t events)
{
	netq_room(&container_of(w, struct dgram, room)->nd.queue[0]);
}

/* Find out which of the two limits was reached. Returns by which event room will be reported. */
static enum netq_room dgram_find_limit(struct dgram *d)
{
	struct pollfd own = {.fd = d->nd.queue[0].fd, .events = POLLOUT};

	if (poll(&own, 1, 0) != 1)
		return NETQ_POLL;
	/* Connect again each time, as another process may have bound the address meanwhile. */
	return connect(d->gauge, &d->to.u.sa, d->to.len) < 0 ? NETQ_MOMENT : NETQ_TOLD;
}

/* Let the gauge report room once. Returns 0 or -errno. */
static int dgram_watch_gauge(struct dgram *d, struct loop *loop)
{
	const uint32_t events = EPOLLOUT | EPOLLONESHOT;

	if (d->room.fd >= 0)
		return loop_fd_mod(loop, &d->room, events);
	return loop_fd_add(loop, &d->room, d->gauge, events, dgram_gauge_event);
}

/* The kernel has refused a frame with `error`: choose the event that reports room. As long as
 * frames were sent after the last event, the same one is used again, which saves the system calls
 * of dgram_find_limit(). */
static void dgram_wait(struct netq *q, int error)
{
	struct dgram *d = (struct dgram *)q->nd;

	if (error == ENOBUFS || d->gauge < 0) {
		netq_block(q, error == ENOBUFS ? NETQ_MOMENT : NETQ_POLL);
		return;
	}
	if (!d->moved || d->limit == NETQ_MOMENT)
		d->limit = dgram_find_limit(d);
	d->moved = false;
	if (d->limit == NETQ_TOLD && dgram_watch_gauge(d, q->loop) < 0)
		d->limit = NETQ_MOMENT;
	netq_block(q, d->limit);
}

static void dgram_stop(struct netq *q)
{
	struct dgram *d = (struct dgram *)q->nd;

	if (d->room.fd >= 0)
		loop_fd_del(q->loop, &d->room);
	d->limit = NETQ_MOMENT;
}

static int dgram_send(struct netq *q, const struct iovec *iov, unsigned n)
{
	struct dgram *d = (struct dgram *)q->nd;
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};

	if (d->remote) {
		msg.msg_name = &d->remote->u;
		msg.msg_namelen = d->remote->len;
	}
	if (sendmsg(q->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
		d->moved = true;
		return 0;
	}
	if (errno != EAGAIN && errno != ENOBUFS)
		return -errno;
	dgram_wait(q, errno);
	return -EAGAIN;
}

const struct net_class net_dgram = {
	.type = "dgram",
	.help = "one frame per datagram, over unix sockets or UDP",
	.options = dgram_options,
	.size = sizeof(struct dgram),
	.open = dgram_open,
	.close = dgram_close,
	.stop = dgram_stop,
	.recv = dgram_recv,
	.send = dgram_send,
};
