/* SPDX-License-Identifier: MIT */
/* stream.c - -netdev stream: frames over a stream socket
 *
 * A client that connects (and connects again with reconnect-ms), a server that takes one peer at a
 * time, or a socket that was handed in. Frames go out with one sendmsg() from where they lie; what
 * the kernel did not take is kept here and sent first when there is room, so a frame is never torn.
 * A peer that breaks the format is disconnected. One that leaves is noticed at once, also while the
 * guest takes no frames; only if it has left frames behind that the guest has not taken yet, these
 * come first. Without a peer the guest's link is down, and
 * frames are lost as on a cable that is not plugged in.
 *
 * A client's path is used again at each reconnection: it has to be reachable for the user and from
 * the directory tree that the program ends up with.
 *
 * All sockets are served on the queue's loop, from netq_start() on.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/addr.h"
#include "net/backend.h"
#include "net/frame.h"

#define IOV_OUT 1024

struct stream {
	struct netdev nd;
	struct addr addr;
	int listener; /* server: listening socket; -1: none */
	struct loop_fd accepting;
	int pending; /* client: socket that connects; -1: none */
	struct loop_fd connecting;
	struct loop_timer again; /* reconnect-ms; a listener that has to rest */
	struct frame_buf in;
	uint8_t *rest; /* FRAME_PREFIX + NET_FRAME_MAX: tail of a frame that was sent in part */
	size_t rest_at, rest_end;

	/* options */
	struct addr_opts o_addr;
	bool server;
	uint64_t reconnect_ms, reconnect;
};

static const struct opt stream_options[] = {
	ADDR_OPTS("addr", struct stream, o_addr),
	{.name = "server",
	 .type = OPT_BOOL,
	 .at = offsetof(struct stream, server),
	 .help = "listen instead of connecting"},
	{.name = "reconnect-ms",
	 .type = OPT_UINT,
	 .max = INT32_MAX,
	 .at = offsetof(struct stream, reconnect_ms),
	 .help = "client: connect again after so many milliseconds, 0 for never"},
	{.name = "reconnect",
	 .type = OPT_UINT,
	 .max = INT32_MAX / 1000,
	 .at = offsetof(struct stream, reconnect),
	 .help = "the same in seconds"},
	OPT_END,
};

static struct stream *stream_of(struct netq *q)
{
	return (struct stream *)q->nd;
}

static struct netq *stream_queue(struct stream *s)
{
	return &s->nd.queue[0];
}

/* --- connections come and go --- */

static void accept_event(struct loop_fd *w, uint32_t events);
static void again_due(struct loop_timer *t);

/* With no peer: wait for the next one. */
static void await_peer(struct stream *s)
{
	struct netq *q = stream_queue(s);
	int rc;

	if (!q->loop)
		return;
	if (s->listener >= 0) {
		rc = loop_fd_add(q->loop, &s->accepting, s->listener, EPOLLIN, accept_event);
		if (rc < 0)
			log_err("netdev %s: cannot listen: %s", s->nd.id, strerror(-rc));
	} else if (s->reconnect_ms) {
		s->again.fn = again_due;
		loop_timer_set(q->loop, &s->again, s->reconnect_ms * 1000000);
	}
}

/* A new peer on `fd`. */
static void stream_plug(struct stream *s, int fd)
{
	struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(peer);
	int on = 1;

	if (s->addr.u.sa.sa_family == AF_INET || s->addr.u.sa.sa_family == AF_INET6) {
		/* Frames are whole messages; a socket that refuses the hints works all the same. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (s->o_addr.keep_alive)
			setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	}
	frame_buf_reset(&s->in);
	s->rest_at = s->rest_end = 0;
	netq_set_fd(stream_queue(s), fd);
	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		len = sizeof(peer.ss_family);
	/* A client of a unix socket has no name as a rule. Reported is then where it has connected
	 * to, as QEMU does. */
	if (peer.ss_family == AF_UNIX && len <= sizeof(peer.ss_family)) {
		len = sizeof(peer);
		if (getsockname(fd, (struct sockaddr *)&peer, &len) < 0)
			len = sizeof(peer.ss_family);
	}
	netq_connected(stream_queue(s), (struct sockaddr *)&peer, len);
}

/* The peer has gone (`why` is an errno, 0: it closed). */
static void stream_unplug(struct stream *s, int why)
{
	struct netq *q = stream_queue(s);
	int fd = q->fd;

	log_info("netdev %s: disconnected%s%s", s->nd.id, why ? ": " : "",
		 why ? strerror(why) : "");
	s->rest_at = s->rest_end = 0;
	netq_set_fd(q, -1);
	close(fd);
	netq_connected(q, NULL, 0);
	await_peer(s);
}

static void accept_due(struct loop_timer *t)
{
	await_peer(container_of(t, struct stream, again));
}

static void accept_event(struct loop_fd *w, uint32_t events)
{
	struct stream *s = container_of(w, struct stream, accepting);
	int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (addr_accept_later(errno)) {
			loop_fd_del(stream_queue(s)->loop, w);
			s->again.fn = accept_due;
			loop_timer_set(stream_queue(s)->loop, &s->again, ADDR_ACCEPT_NS);
		}
		return;
	}
	/* One peer at a time: others wait in the backlog. */
	loop_fd_del(stream_queue(s)->loop, w);
	stream_plug(s, fd);
}

static void connect_event(struct loop_fd *w, uint32_t events)
{
	struct stream *s = container_of(w, struct stream, connecting);
	int fd = s->pending, error = 0;
	socklen_t len = sizeof(error);

	loop_fd_del(stream_queue(s)->loop, w);
	s->pending = -1;
	if (!getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) && !error) {
		stream_plug(s, fd);
	} else {
		close(fd);
		await_peer(s);
	}
}

static void again_due(struct loop_timer *t)
{
	struct stream *s = container_of(t, struct stream, again);
	int fd = addr_socket(&s->addr, SOCK_STREAM);

	if (fd >= 0 && !connect(fd, &s->addr.u.sa, s->addr.len)) {
		stream_plug(s, fd);
		return;
	}
	if (fd >= 0 && errno == EINPROGRESS &&
	    !loop_fd_add(stream_queue(s)->loop, &s->connecting, fd, EPOLLOUT, connect_event)) {
		s->pending = fd;
		return;
	}
	if (fd >= 0)
		close(fd);
	await_peer(s);
}

/* --- opening --- */

static int listen_on(struct stream *s, struct err *e)
{
	unsigned port = addr_port(&s->addr), last = MAX(port, s->o_addr.to);
	const char *name = s->o_addr.path ? s->o_addr.path : s->o_addr.host;
	int on = 1, rc;

	s->listener = addr_socket(&s->addr, SOCK_STREAM);
	if (s->listener < 0)
		return err_set(e, s->listener, "socket: %s", strerror(-s->listener));
	if (s->addr.u.sa.sa_family == AF_UNIX)
		addr_unlink(&s->addr);
	else
		setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	do {
		addr_set_port(&s->addr, port);
		rc = bind(s->listener, &s->addr.u.sa, s->addr.len);
	} while (rc < 0 && errno == EADDRINUSE && port++ < last);
	if (rc < 0 || listen(s->listener, 1) < 0)
		return err_set(e, -errno, "could not listen on %s: %s", name, strerror(errno));
	return 0;
}

/* The first attempt decides whether the command line is right; only with reconnect-ms the peer
 * may be late. */
static int connect_first(struct stream *s, struct err *e)
{
	const char *name = s->o_addr.path ? s->o_addr.path : s->o_addr.host;
	int fd = addr_socket(&s->addr, SOCK_STREAM), error = 0;
	socklen_t len = sizeof(error);
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	if (fd < 0)
		return err_set(e, fd, "socket: %s", strerror(-fd));
	if (connect(fd, &s->addr.u.sa, s->addr.len) < 0)
		error = errno;
	if (error == EINPROGRESS && poll(&p, 1, 10000) == 1 &&
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (!error) {
		stream_plug(s, fd);
		return 0;
	}
	close(fd);
	if (s->reconnect_ms)
		return 0; /* stream_start() goes on */
	return err_set(e, -error, "could not connect to %s: %s", name, strerror(error));
}

static int stream_open(struct netdev *nd, struct kvs *k, struct err *e)
{
	struct stream *s = (struct stream *)nd;
	int rc;

	s->listener = s->pending = -1;
	s->addr.fd = -1;
	if (s->reconnect && s->reconnect_ms)
		return err_set(e, -EINVAL, "'reconnect' and 'reconnect-ms' exclude each other");
	if (s->reconnect)
		s->reconnect_ms = s->reconnect * 1000;
	if (s->server && s->reconnect_ms)
		return err_set(e, -EINVAL, "'reconnect-ms' cannot be used together with server=on");
	if (!s->o_addr.type)
		return err_set(e, -EINVAL, "Parameter 'addr.type' is missing");
	rc = netdev_alloc_queues(nd, 1, e);
	if (rc < 0)
		return rc;
	s->rest = malloc(FRAME_PREFIX + NET_FRAME_MAX);
	if (frame_buf_init(&s->in) < 0 || !s->rest)
		return err_nomem(e);
	rc = addr_resolve(&s->o_addr, "addr", SOCK_STREAM, &s->addr, e);
	if (rc < 0)
		return rc;
	if (s->addr.fd < 0)
		rc = s->server ? listen_on(s, e) : connect_first(s, e);
	else if (s->server)
		s->listener = s->addr.fd;
	else
		stream_plug(s, s->addr.fd);
	if (!rc && stream_queue(s)->fd < 0)
		netq_set_carrier(stream_queue(s), false);
	return rc;
}

static void stream_close(struct netdev *nd)
{
	struct stream *s = (struct stream *)nd;

	if (nd->pairs && stream_queue(s)->fd >= 0)
		close(stream_queue(s)->fd);
	if (s->pending >= 0)
		close(s->pending);
	if (s->listener >= 0) {
		close(s->listener);
		addr_unlink(&s->addr);
	}
	frame_buf_free(&s->in);
	free(s->rest);
}

static int stream_start(struct netq *q)
{
	if (q->fd < 0)
		await_peer(stream_of(q));
	return 0;
}

static void stream_stop(struct netq *q)
{
	struct stream *s = stream_of(q);

	if (s->listener >= 0 && q->fd < 0)
		loop_fd_del(q->loop, &s->accepting);
	if (s->pending >= 0) {
		loop_fd_del(q->loop, &s->connecting);
		close(s->pending);
		s->pending = -1;
	}
	loop_timer_del(&s->again);
}

/* --- frames --- */

static ssize_t stream_recv(struct netq *q, const struct iovec *iov, unsigned n)
{
	struct stream *s = stream_of(q);
	const uint8_t *frame = NULL;
	ssize_t len, got;

	if (q->fd < 0)
		return -EAGAIN;
	while ((len = frame_next(&s->in, &frame)) == -EAGAIN) {
		got = frame_fill(&s->in, q->fd);
		if (got == -EAGAIN)
			return -EAGAIN;
		if (got <= 0) {
			stream_unplug(s, (int)-got);
			return -EAGAIN;
		}
	}
	if (len < 0) {
		log_warn("netdev %s: the peer sent a frame of more than %d bytes", s->nd.id,
			 NET_FRAME_MAX);
		stream_unplug(s, (int)-len);
		return -EAGAIN;
	}
	iov_from_buf(iov, n, 0, frame, (size_t)len);
	return len;
}

static void stream_hang_up(struct netq *q)
{
	struct stream *s = stream_of(q);
	ssize_t got;
	char byte;

	if (frame_ready(&s->in))
		return;
	got = recv(q->fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);
	if (!got || (got < 0 && errno != EAGAIN))
		stream_unplug(s, got ? errno : 0);
}

/* Keep what is left of prefix and frame after the first `sent` bytes. */
static void keep_rest(struct stream *s, const struct iovec *iov, unsigned n, size_t sent)
{
	s->rest_at = 0;
	s->rest_end = iov_to_buf(iov, n, sent, s->rest, FRAME_PREFIX + NET_FRAME_MAX);
}

static int stream_send(struct netq *q, const struct iovec *iov, unsigned n)
{
	struct stream *s = stream_of(q);
	size_t len = iov_len(iov, n);
	uint32_t prefix = htobe32((uint32_t)len);
	struct iovec out[IOV_OUT];
	struct msghdr msg = {.msg_iov = out, .msg_iovlen = n + 1};
	ssize_t sent;

	if (q->fd < 0)
		return -ENOTCONN;
	if (n >= IOV_OUT || len > NET_FRAME_MAX)
		return -EMSGSIZE;
	out[0] = (struct iovec){&prefix, sizeof(prefix)};
	memcpy(out + 1, iov, n * sizeof(*iov));
	sent = sendmsg(q->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN) {
		int error = errno;

		stream_unplug(s, error);
		return -error;
	}
	if (sent < 0)
		return -EAGAIN;
	if ((size_t)sent < len + sizeof(prefix)) {
		keep_rest(s, out, n + 1, sent);
		netq_block(q, NETQ_POLL);
	}
	return 0;
}

static bool stream_flush(struct netq *q)
{
	struct stream *s = stream_of(q);

	while (q->fd >= 0 && s->rest_at < s->rest_end) {
		ssize_t sent = send(q->fd, s->rest + s->rest_at, s->rest_end - s->rest_at,
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN)
			return false;
		if (sent < 0)
			stream_unplug(s, errno);
		else
			s->rest_at += sent;
	}
	return true;
}

const struct net_class net_stream = {
	.type = "stream",
	.help = "frames over a stream socket, unix or TCP",
	.options = stream_options,
	.size = sizeof(struct stream),
	.open = stream_open,
	.close = stream_close,
	.start = stream_start,
	.stop = stream_stop,
	.recv = stream_recv,
	.send = stream_send,
	.flush = stream_flush,
	.hang_up = stream_hang_up,
};
