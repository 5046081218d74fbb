/* SPDX-License-Identifier: MIT */
/* udp.c - -chardev udp: each write is a datagram, each datagram is input
 *
 * There always is a client, whether or not a program receives the datagrams: those that the network
 * or the peer drops are lost. When the front end pauses in the middle of a datagram, the rest of it
 * is kept here; further datagrams wait in the socket, which drops them when its buffer is full.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chardev/backend.h"
#include "net/addr.h"

#define DATAGRAM_MAX 65507 /* 65535 less the headers of IPv4 (20) and UDP (8), in bytes */

struct udp {
	struct chardev cd;
	int fd;
	struct loop_fd watch;
	struct loop_task again; /* delivers the rest of a datagram */
	bool want_room;		/* a send found no room: wait until the socket is writable */
	size_t at, end;		/* the rest of a datagram is buf[at .. end) */
	char buf[65536];

	/* options */
	char *host, *port, *localaddr, *localport;
	bool ipv4, ipv6;
};

static struct udp *udp_from_chardev(struct chardev *cd)
{
	return container_of(cd, struct udp, cd);
}

static void udp_update_watch(struct udp *u)
{
	bool rest = u->at < u->end;
	uint32_t events = (u->cd.paused || rest ? 0 : EPOLLIN) | (u->want_room ? EPOLLOUT : 0);

	if (u->watch.fd < 0)
		return;
	loop_fd_mod(u->cd.loop, &u->watch, events);
	if (rest && !u->cd.paused)
		loop_defer(u->cd.loop, &u->again);
}

static void udp_deliver(struct udp *u)
{
	size_t from = u->at;

	u->at += chardev_deliver(&u->cd, u->buf + from, u->end - from);
	udp_update_watch(u);
}

static void udp_deliver_rest(struct loop_task *t)
{
	struct udp *u = container_of(t, struct udp, again);

	if (u->watch.fd >= 0)
		udp_deliver(u);
}

static void udp_ready(struct loop_fd *w, uint32_t events)
{
	struct udp *u = container_of(w, struct udp, watch);
	ssize_t n;

	if ((events & EPOLLOUT) && u->want_room) {
		u->want_room = false;
		udp_update_watch(u);
		chardev_is_writable(&u->cd);
	}
	if (u->watch.fd < 0)
		return;
	if (u->cd.paused || u->at < u->end) {
		int error;
		socklen_t len = sizeof(error);

		/* The error belongs to an earlier datagram (nobody listens there). Reading it
		 * clears it. */
		if (events & EPOLLERR)
			getsockopt(u->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		return;
	}
	n = recv(u->fd, u->buf, sizeof(u->buf), MSG_DONTWAIT);
	if (n <= 0)
		return;
	u->at = 0;
	u->end = (size_t)n;
	udp_deliver(u);
}

static void udp_init(struct chardev *cd)
{
	struct udp *u = udp_from_chardev(cd);

	u->fd = u->watch.fd = -1;
	u->again.fn = udp_deliver_rest;
}

static int udp_open(struct chardev *cd, struct err *e)
{
	struct udp *u = udp_from_chardev(cd);
	const char *host = u->host && *u->host ? u->host : "localhost";
	const char *here = u->localaddr ? u->localaddr : "";
	const char *here_port = u->localport ? u->localport : "0";
	struct addr a, local;

	if (!u->port)
		return err_set(e, -EINVAL,
			       "chardev: udp: remote port not specified: 'port' is missing");
	if (addr_inet(host, u->port, addr_family(u->ipv4, u->ipv6), 0, SOCK_DGRAM, &a, e) < 0 ||
	    addr_inet(here, here_port, a.u.sa.sa_family, 0, SOCK_DGRAM, &local, e) < 0)
		return -EINVAL;
	u->fd = addr_socket(&a, SOCK_DGRAM);
	if (u->fd < 0)
		return err_set(e, u->fd, "Failed to create a socket: %s", strerror(-u->fd));
	if (bind(u->fd, &local.u.sa, local.len) < 0)
		return err_set(e, -errno, "Failed to bind socket to %s:%s: %s", here, here_port,
			       strerror(errno));
	if (connect(u->fd, &a.u.sa, a.len) < 0)
		return err_set(e, -errno, "Failed to connect to '%s:%s': %s", host, u->port,
			       strerror(errno));
	return 0;
}

static int udp_start(struct chardev *cd, struct err *e)
{
	struct udp *u = udp_from_chardev(cd);
	int rc = loop_fd_add(cd->loop, &u->watch, u->fd, EPOLLIN, udp_ready);

	if (rc < 0)
		return err_set(e, rc, "chardev '%s': cannot watch: %s", cd->id, strerror(-rc));
	u->at = u->end = 0;
	u->want_room = false;
	chardev_is_open(cd);
	return 0;
}

static void udp_stop(struct chardev *cd)
{
	struct udp *u = udp_from_chardev(cd);

	if (u->watch.fd >= 0)
		loop_fd_del(cd->loop, &u->watch);
}

static size_t udp_write(struct chardev *cd, const char *buf, size_t len)
{
	struct udp *u = udp_from_chardev(cd);
	bool refused = false;
	size_t done = 0;

	while (done < len) {
		size_t n = MIN(len - done, (size_t)DATAGRAM_MAX);

		if (send(u->fd, buf + done, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			bool again = errno == ECONNREFUSED && !refused;

			/* The error belongs to an earlier datagram; this one was not sent, so try
			 * again, once. */
			refused |= again;
			if (again || errno == EINTR)
				continue;
			if (errno == EAGAIN && u->watch.fd >= 0) {
				u->want_room = true;
				udp_update_watch(u);
				return done;
			}
			if (errno != ECONNREFUSED)
				chardev_write_failed(cd);
		}
		done += n;
	}
	return len;
}

static void udp_pause(struct chardev *cd)
{
	udp_update_watch(udp_from_chardev(cd));
}

static void udp_close(struct chardev *cd, bool remove)
{
	struct udp *u = udp_from_chardev(cd);

	if (u->fd >= 0)
		close(u->fd);
}

#define ROW(name_, type_, member, help_)                                                        \
	{                                                                                       \
		.name = name_, .type = type_, .at = offsetof(struct udp, member), .help = help_ \
	}

static const struct opt udp_options[] = {
	ROW("host", OPT_STRING, host, "where datagrams go (default: localhost)"),
	ROW("port", OPT_STRING, port, "the port there"),
	ROW("localaddr", OPT_STRING, localaddr, "our address"),
	ROW("localport", OPT_STRING, localport, "our port"),
	ROW("ipv4", OPT_BOOL, ipv4, "IPv4 only"),
	ROW("ipv6", OPT_BOOL, ipv6, "IPv6 only"),
	OPT_END,
};

const struct chardev_class chardev_udp = {
	.name = "udp",
	.help = "datagrams to and from one peer",
	.size = sizeof(struct udp),
	.messages = true,
	.options = udp_options,
	.init = udp_init,
	.open = udp_open,
	.start = udp_start,
	.stop = udp_stop,
	.write = udp_write,
	.pause = udp_pause,
	.close = udp_close,
};
