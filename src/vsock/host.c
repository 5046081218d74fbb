/* SPDX-License-Identifier: MIT */
/* host.c - the socket files of the host: clients that connect, and servers to connect to
 *
 * There is one listening socket for stream clients and one for seqpacket clients. A client counts
 * as a connection from its accept() on, and has 60 seconds to send its CONNECT line. What it sends
 * after the line is data for the guest and stays in the socket. While the number of connections is
 * at its limit, or no descriptor is free, further clients wait in the kernel's backlog.
 *
 * A connection of the guest is made by path, while the guest runs. So the directory must be
 * reachable for the user and below the root directory that the program has after its start.
 * connect() on a unix socket does not sleep here, as the socket is non-blocking: when nobody
 * listens, or the listener's backlog is full, the guest is refused.
 *
 * #syscalls: socket bind listen accept4 connect recvfrom lstat unlink close
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/opts.h"
#include "vsock/internal.h"

#define SEQPACKET_SUFFIX ".seqpacket"
#define LONGEST_SUFFIX	 "_4294967295" SEQPACKET_SUFFIX
#define BACKLOG		 128
#define ACCEPT_BURST	 16
#define ACCEPT_AGAIN_NS	 (100 * 1000000ULL)
/* The host's end of a connection that a client of the host opened has a port in this range. */
#define FIRST_PORT (1u << 30)
#define LAST_PORT  ((1u << 31) - 1)

static int type_to_socktype(uint16_t type)
{
	return type == VSOCK_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM;
}

/* --- clients --- */

/* Returns a port of the host that has no connection with the guest's `guest_port`. The search ends:
 * there are fewer connections than ports. */
static uint32_t port_find_free(struct vsock *s, uint32_t guest_port)
{
	uint32_t port;

	do {
		port = FIRST_PORT + s->next_port;
		s->next_port = (s->next_port + 1) % (LAST_PORT - FIRST_PORT + 1);
	} while (conn_find(s, port, guest_port));
	return port;
}

/* Parse a line like "CONNECT 1234". Returns false if it is malformed. */
static bool hello_parse(const char *line, uint32_t *port)
{
	static const char word[] = "connect ";
	uint64_t value;

	if (strncasecmp(line, word, sizeof(word) - 1) != 0 ||
	    parse_uint(line + sizeof(word) - 1, &value) < 0 || value >= VSOCK_PORT_ANY)
		return false;
	*port = (uint32_t)value;
	return true;
}

/* Read the client's CONNECT line, and no byte after it. Returns 1 when it is complete, 0 when more
 * has to come, -1 when the client has closed or sent something else. */
static int hello_read(struct conn *c)
{
	char *to = c->hello + c->hello_len, *end;
	size_t room = sizeof(c->hello) - c->hello_len;
	ssize_t got = recv(c->fd, to, room, MSG_PEEK);

	if (got < 0)
		return errno == EAGAIN ? 0 : -1;
	end = memchr(to, '\n', (size_t)got);
	if (end)
		got = end + 1 - to;
	/* For a message, this also discards what follows the line: a message is read whole. */
	if (!got || recv(c->fd, to, (size_t)got, 0) != got)
		return -1;
	c->hello_len += (unsigned)got;
	if (end)
		*end = '\0';
	if (!end && (c->type == VSOCK_SEQPACKET || c->hello_len == sizeof(c->hello)))
		return -1;
	return end != NULL;
}

static void hello_event(struct loop_fd *w, uint32_t events)
{
	struct conn *c = container_of(w, struct conn, w);
	int rc = hello_read(c);

	if (rc > 0 && hello_parse(c->hello, &c->guest_port)) {
		loop_fd_del(c->s->loop, w);
		c->host_port = port_find_free(c->s, c->guest_port);
		conn_insert(c);
		conn_request(c);
	} else if (rc) {
		conn_free(c);
	}
}

static void accept_retry(struct loop_timer *t)
{
	host_listen(container_of(t, struct vsock, accept_again));
}

static void listener_accept(struct loop_fd *w, uint32_t events)
{
	struct listener *l = container_of(w, struct listener, w);
	struct vsock *s = l->s;

	for (unsigned i = 0; i < ACCEPT_BURST && s->conns < s->cfg.max; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct conn *c;

		if (fd < 0) {
			if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
				s->accept_again.fn = accept_retry;
				loop_timer_set(s->loop, &s->accept_again, ACCEPT_AGAIN_NS);
				loop_fd_del(s->loop, w);
				l->watched = false;
			}
			return;
		}
		c = conn_new(s, fd, l->type);
		if (!c)
			return;
		c->state = CONN_HELLO;
		if (loop_fd_add(s->loop, &c->w, fd, EPOLLIN, hello_event) < 0) {
			conn_free(c);
			return;
		}
		conn_wait(c, WAIT_HELLO);
	}
}

int host_listen(struct vsock *s)
{
	bool want = s->conns < s->cfg.max;

	for (unsigned i = 0; i < ARRAY_SIZE(s->listener); i++) {
		struct listener *l = &s->listener[i];

		if (l->fd < 0 || l->watched == want)
			continue;
		if (want) {
			int rc = loop_fd_add(s->loop, &l->w, l->fd, EPOLLIN, listener_accept);

			if (rc < 0)
				return rc;
		} else {
			loop_fd_del(s->loop, &l->w);
		}
		l->watched = want;
	}
	return 0;
}

/* --- the guest's connections --- */

int host_connect(struct vsock *s, uint32_t port, uint16_t type)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd, rc;

	if (port == VSOCK_PORT_ANY)
		return -ECONNREFUSED;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s_%" PRIu32 "%s", s->cfg.path, port,
		 type == VSOCK_SEQPACKET ? SEQPACKET_SUFFIX : "");
	fd = socket(AF_UNIX, type_to_socktype(type) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return fd;
	rc = -errno;
	if (fd >= 0)
		close(fd);
	/* That nobody listens concerns only the guest; other errors concern the operator. */
	if (rc != -ENOENT && rc != -ECONNREFUSED)
		log_guest(&s->rate, s->cfg.name, "could not connect to %s: %s", sa.sun_path,
			  strerror(-rc));
	return rc;
}

/* --- opening --- */

/* Remove a socket file, for example of an earlier run; any other file stays. */
static void socket_unlink(const char *path)
{
	struct stat st;

	if (!lstat(path, &st) && S_ISSOCK(st.st_mode))
		unlink(path);
}

static int listener_open(struct listener *l, struct err *e)
{
	l->fd = socket(AF_UNIX, type_to_socktype(l->type) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return err_set(e, -errno, "socket: %s", strerror(errno));
	socket_unlink(l->sa.sun_path);
	if (bind(l->fd, (struct sockaddr *)&l->sa, sizeof(l->sa)) < 0 ||
	    listen(l->fd, BACKLOG) < 0) {
		int rc = -errno;

		close(l->fd);
		l->fd = -1;
		return err_set(e, rc, "could not listen on %s: %s", l->sa.sun_path, strerror(-rc));
	}
	return 0;
}

int host_open(struct vsock *s, struct err *e)
{
	size_t max = sizeof(s->listener[0].sa.sun_path) - sizeof(LONGEST_SUFFIX);
	size_t len = strlen(s->cfg.path);
	int rc = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(s->listener); i++) {
		struct listener *l = &s->listener[i];

		l->s = s;
		l->fd = l->w.fd = -1;
		l->type = i ? VSOCK_SEQPACKET : VSOCK_STREAM;
		l->sa.sun_family = AF_UNIX;
		snprintf(l->sa.sun_path, sizeof(l->sa.sun_path), "%s%s", s->cfg.path,
			 i ? SEQPACKET_SUFFIX : "");
	}
	if (!len || len > max)
		return err_set(e, -EINVAL,
			       "Parameter 'uds-path' expects a path of 1 to %zu bytes, not '%s'",
			       max, s->cfg.path);
	rc = listener_open(&s->listener[0], e);
	if (rc == 0 && s->cfg.seqpacket)
		rc = listener_open(&s->listener[1], e);
	return rc;
}

void host_close(struct vsock *s)
{
	for (unsigned i = 0; i < ARRAY_SIZE(s->listener); i++) {
		struct listener *l = &s->listener[i];

		if (l->fd < 0)
			continue;
		if (l->watched)
			loop_fd_del(s->loop, &l->w);
		close(l->fd);
		l->fd = -1;
		socket_unlink(l->sa.sun_path);
	}
	loop_timer_del(&s->accept_again);
}
