/* SPDX-License-Identifier: MIT */
/* socket.c - -chardev socket: unix, abstract and TCP, server and client
 *
 * A server is bound and listens from the program's start. The listening socket is watched only
 * while there is a front end and no client, so further clients wait in the backlog. With wait=on
 * (QEMU's default) the start of the program waits for the first client, unless a signal ends the
 * program.
 *
 * A client connects at the program's start, and a failure is an error of the command line. With
 * reconnect-ms= it connects when a front end attaches, without waiting, and again when the
 * connection ends or fails; of failures in a row only the first is logged. A host name is resolved
 * once. A path is used for each attempt, so it must be reachable for the user and below the root
 * directory that the program has after its start.
 *
 * Socket files. Another process may have replaced our file meanwhile: the device model that libxl
 * starts after its probe run uses the same path. So the file is removed only if it is still the one
 * that this process created.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "chardev/fd_stream.h"
#include "net/addr.h"

#define BACKLOG 16
#define FULL_MS 20 /* time until connect() is tried again when the server's backlog is full */
#define MS_NS	1000000ULL

struct sock {
	struct fd_stream w;
	struct addr addr;
	int listen_fd, client_fd; /* -1: none */
	struct loop_fd listener;
	int pending_fd; /* a non-blocking connect() is in progress; -1: none */
	struct loop_fd pending;
	struct loop_timer retry_timer; /* for accept() and connect() */
	bool failure_logged;	       /* connecting failed, and this was logged */
	bool file_made;		       /* we created the socket file ... */
	struct stat file_stat;	       /* ... with this device and inode */

	/* options */
	char *path, *fd, *host, *port, *tls_creds, *tls_authz;
	uint64_t to, reconnect_s, reconnect_ms;
	uint8_t wait;
	bool abstract, tight, ipv4, ipv6, server, nodelay, delay, keep_alive, telnet, tn3270,
		websocket;
};

static struct sock *sock_from_chardev(struct chardev *cd)
{
	return container_of(cd, struct sock, w.cd);
}

/* --- names --- */

static void addr_format(const struct sockaddr *sa, socklen_t len, char *buf, size_t size)
{
	char host[INET6_ADDRSTRLEN + 32], port[16];

	if (getnameinfo(sa, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(buf, size, "?");
	else
		snprintf(buf, size, sa->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* Set the text for query-chardev, in QEMU's format. It begins with "disconnected:" while there is
 * no client. */
static void sock_update_name(struct sock *s)
{
	const char *state = s->client_fd < 0 ? "disconnected:" : "";
	const char *server = s->server ? ",server=on" : "";
	struct sockaddr_storage here = {0}, there = {0};
	socklen_t here_len = sizeof(here), there_len = sizeof(there);
	char here_text[96], there_text[96];

	if (s->path) {
		chardev_set_name(&s->w.cd, "%sunix:%s%s%s%s", state, s->path,
				 s->abstract ? ",abstract=on" : "",
				 s->abstract && s->tight ? ",tight=on" : "", server);
	} else if (s->client_fd >= 0 &&
		   !getsockname(s->client_fd, (struct sockaddr *)&here, &here_len) &&
		   here.ss_family != AF_UNIX &&
		   !getpeername(s->client_fd, (struct sockaddr *)&there, &there_len)) {
		addr_format((struct sockaddr *)&here, here_len, here_text, sizeof(here_text));
		addr_format((struct sockaddr *)&there, there_len, there_text, sizeof(there_text));
		chardev_set_name(&s->w.cd, "tcp:%s%s <-> %s", here_text, server, there_text);
	} else if (s->addr.len && s->addr.u.sa.sa_family != AF_UNIX) {
		addr_format(&s->addr.u.sa, s->addr.len, here_text, sizeof(here_text));
		chardev_set_name(&s->w.cd, "%stcp:%s%s", state, here_text, server);
	} else {
		chardev_set_name(&s->w.cd, "%sunix:%s", state, server);
	}
}

/* Format the address as the operator wrote it, for messages. */
static const char *sock_format_target(const struct sock *s, char *buf, size_t size)
{
	if (s->path)
		snprintf(buf, size, "%s", s->path);
	else
		snprintf(buf, size, "%s:%s", s->host, s->port);
	return buf;
}

/* --- sessions --- */

static void sock_accept(struct loop_fd *w, uint32_t events);
static void sock_connect(struct sock *s);

static void sock_set_options(struct sock *s, int fd)
{
	int on = 1;

	/* No effect on a unix socket, and none is needed. */
	if (s->nodelay || !s->delay)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (s->keep_alive)
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

/* Wait for the next client, or for the time to connect again. */
static void sock_await_client(struct sock *s)
{
	struct chardev *cd = &s->w.cd;
	int rc;

	if (s->client_fd >= 0 || !cd->user)
		return;
	if (s->listen_fd >= 0 && s->listener.fd < 0) {
		rc = loop_fd_add(cd->loop, &s->listener, s->listen_fd, EPOLLIN, sock_accept);
		if (rc < 0)
			log_err("chardev %s: cannot watch: %s", cd->id, strerror(-rc));
	} else if (s->reconnect_ms && s->pending_fd < 0) {
		loop_timer_set(cd->loop, &s->retry_timer, s->reconnect_ms * MS_NS);
	}
}

static int sock_begin_session(struct sock *s, int fd)
{
	int rc;

	s->client_fd = fd;
	sock_update_name(s);
	rc = fd_stream_begin(&s->w, fd, fd);
	if (rc < 0) {
		close(fd);
		s->client_fd = -1;
		sock_update_name(s);
	}
	return rc;
}

static void sock_end_session(struct sock *s)
{
	fd_stream_end(&s->w);
	close(s->client_fd);
	s->client_fd = -1;
	sock_update_name(s);
}

static void sock_drop(struct chardev *cd)
{
	struct sock *s = sock_from_chardev(cd);

	if (s->client_fd < 0)
		return;
	sock_end_session(s);
	sock_await_client(s);
	chardev_is_closed(cd);
}

static void sock_lost(struct fd_stream *w)
{
	sock_drop(&w->cd);
}

static void sock_accept(struct loop_fd *w, uint32_t events)
{
	struct sock *s = container_of(w, struct sock, listener);
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (addr_accept_later(errno)) {
			loop_fd_del(s->w.cd.loop, &s->listener);
			loop_timer_set(s->w.cd.loop, &s->retry_timer, ADDR_ACCEPT_NS);
		}
		return;
	}
	loop_fd_del(s->w.cd.loop, &s->listener);
	sock_set_options(s, fd);
	if (sock_begin_session(s, fd) < 0)
		sock_await_client(s);
}

/* --- a client that connects again --- */

static void sock_connect_failed(struct sock *s, int error)
{
	char text[256];

	if (!s->failure_logged)
		log_warn("chardev %s: Failed to connect to '%s': %s; trying again every %llu ms",
			 s->w.cd.id, sock_format_target(s, text, sizeof(text)), strerror(error),
			 (unsigned long long)s->reconnect_ms);
	s->failure_logged = true;
	sock_await_client(s);
}

static void sock_connect_done(struct loop_fd *w, uint32_t events)
{
	struct sock *s = container_of(w, struct sock, pending);
	int fd = s->pending_fd, error = 0;
	socklen_t len = sizeof(error);

	loop_fd_del(s->w.cd.loop, w);
	s->pending_fd = -1;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		close(fd);
		sock_connect_failed(s, error);
		return;
	}
	s->failure_logged = false;
	if (sock_begin_session(s, fd) < 0)
		sock_await_client(s);
}

static void sock_connect(struct sock *s)
{
	int fd = addr_socket(&s->addr, SOCK_STREAM), rc;

	if (fd < 0) {
		sock_connect_failed(s, -fd);
		return;
	}
	sock_set_options(s, fd);
	if (connect(fd, &s->addr.u.sa, s->addr.len) < 0 && errno != EINPROGRESS) {
		rc = errno;
		close(fd);
		sock_connect_failed(s, rc);
		return;
	}
	s->pending_fd = fd;
	rc = loop_fd_add(s->w.cd.loop, &s->pending, fd, EPOLLOUT, sock_connect_done);
	if (rc < 0) {
		close(fd);
		s->pending_fd = -1;
		sock_connect_failed(s, -rc);
	}
}

static void sock_timer_expired(struct loop_timer *t)
{
	struct sock *s = container_of(t, struct sock, retry_timer);

	if (s->listen_fd >= 0)
		sock_await_client(s);
	else if (s->client_fd < 0 && s->pending_fd < 0)
		sock_connect(s);
}

/* --- for struct chardev_class --- */

static void sock_init(struct chardev *cd)
{
	struct sock *s = sock_from_chardev(cd);

	fd_stream_init(&s->w);
	s->w.lost = sock_lost;
	s->w.socket = true;
	s->listen_fd = s->client_fd = s->pending_fd = s->listener.fd = s->pending.fd = -1;
	s->retry_timer.fn = sock_timer_expired;
}

static int sock_start(struct chardev *cd, struct err *e)
{
	struct sock *s = sock_from_chardev(cd);
	int rc = 0;

	if (s->client_fd >= 0)
		rc = sock_begin_session(s, s->client_fd);
	else if (s->listen_fd >= 0)
		sock_await_client(s);
	else if (s->reconnect_ms)
		sock_connect(s);
	return rc < 0 ? err_set(e, rc, "chardev '%s': cannot watch: %s", cd->id, strerror(-rc)) : 0;
}

static void sock_stop(struct chardev *cd)
{
	struct sock *s = sock_from_chardev(cd);

	if (s->listener.fd >= 0)
		loop_fd_del(cd->loop, &s->listener);
	loop_timer_del(&s->retry_timer);
	if (s->pending_fd >= 0) {
		loop_fd_del(cd->loop, &s->pending);
		close(s->pending_fd);
		s->pending_fd = -1;
	}
	if (s->client_fd >= 0)
		sock_end_session(s);
}

static void sock_close(struct chardev *cd, bool remove)
{
	struct sock *s = sock_from_chardev(cd);
	struct stat st;

	if (s->client_fd >= 0)
		close(s->client_fd);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	if (s->file_made && remove && !lstat(s->path, &st) && st.st_dev == s->file_stat.st_dev &&
	    st.st_ino == s->file_stat.st_ino)
		unlink(s->path);
}

/* --- opening --- */

static int sock_set_unix_addr(struct sock *s, struct err *e)
{
	size_t len = strlen(s->path), max = sizeof(s->addr.u.un.sun_path) - 1;

	if (len > max)
		return err_set(e, -ENAMETOOLONG,
			       "UNIX socket path '%s' is too long: at most %zu bytes", s->path,
			       max);
	s->addr.u.un.sun_family = AF_UNIX;
	memcpy(s->addr.u.un.sun_path + s->abstract, s->path, len);
	s->addr.len = s->abstract && s->tight ? offsetof(struct sockaddr_un, sun_path) + 1 + len
					      : sizeof(s->addr.u.un);
	return 0;
}

/* Bind to the address, or to the first free port from there up to the option `to`. Returns 0 or
 * -errno. */
static int sock_bind(struct sock *s, int fd)
{
	unsigned port = addr_port(&s->addr);

	while (bind(fd, &s->addr.u.sa, s->addr.len) < 0) {
		if (errno != EADDRINUSE || port >= s->to)
			return -errno;
		addr_set_port(&s->addr, ++port);
	}
	return 0;
}

static int sock_open_server(struct sock *s, struct err *e)
{
	bool file = s->path && !s->abstract;
	char text[256];
	struct stat st;
	int on = 1, rc;
	socklen_t len;

	s->listen_fd = addr_socket(&s->addr, SOCK_STREAM);
	if (s->listen_fd < 0)
		return err_set(e, s->listen_fd, "Failed to create a socket: %s",
			       strerror(-s->listen_fd));
	/* An earlier process may have left its socket file. */
	if (file && !lstat(s->path, &st) && S_ISSOCK(st.st_mode))
		unlink(s->path);
	if (!s->path)
		setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	rc = sock_bind(s, s->listen_fd);
	if (rc < 0)
		return err_set(e, rc, "Failed to bind socket to %s: %s",
			       sock_format_target(s, text, sizeof(text)), strerror(-rc));
	s->file_made = file && !lstat(s->path, &s->file_stat);
	if (listen(s->listen_fd, BACKLOG) < 0)
		return err_set(e, -errno, "Failed to listen on %s: %s",
			       sock_format_target(s, text, sizeof(text)), strerror(errno));
	/* Get the port, in case the kernel chose it. */
	len = sizeof(s->addr.u);
	if (!s->path && !getsockname(s->listen_fd, &s->addr.u.sa, &len))
		s->addr.len = len;
	return 0;
}

static int set_signal_error(struct sock *s, struct err *e)
{
	return err_set(e, -EINTR, "ended by a signal while it waited for a connection");
}

static int sock_open_client(struct sock *s, struct err *e)
{
	int error = 0, rc = 0, fd = addr_socket(&s->addr, SOCK_STREAM);
	socklen_t len = sizeof(error);
	char text[256];

	if (fd < 0)
		return err_set(e, fd, "Failed to create a socket: %s", strerror(-fd));
	s->client_fd = fd;
	sock_set_options(s, fd);
	while (connect(fd, &s->addr.u.sa, s->addr.len) < 0) {
		error = errno;
		if (error == EAGAIN) {
			rc = wait_ready(-1, 0, FULL_MS);
		} else if (error == EINPROGRESS) {
			rc = wait_ready(fd, POLLOUT, -1);
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
		}
		if (rc == -EINTR)
			return set_signal_error(s, e);
		if (error == EAGAIN)
			continue;
		if (error)
			return err_set(e, -error, "Failed to connect to '%s': %s",
				       sock_format_target(s, text, sizeof(text)), strerror(error));
		break;
	}
	return 0;
}

static int sock_use_inherited(struct sock *s, struct err *e)
{
	socklen_t len = sizeof(int);
	uint64_t fd;
	int listening;

	if (parse_uint(s->fd, &fd) < 0 || fd > INT32_MAX)
		return err_set(e, -EINVAL,
			       "Parameter 'fd' expects a file descriptor's number, not '%s'",
			       s->fd);
	if (getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return err_set(e, -errno, "Can't use file descriptor %s: %s", s->fd,
			       strerror(errno));
	if (!listening != !s->server)
		return err_set(e, -EINVAL, "File descriptor %s is %s, but server=%s is given",
			       s->fd, listening ? "a listening socket" : "no listening socket",
			       s->server ? "on" : "off");
	*(listening ? &s->listen_fd : &s->client_fd) = (int)fd;
	fcntl((int)fd, F_SETFL, fcntl((int)fd, F_GETFL) | O_NONBLOCK);
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	/* The address is only shown by query-chardev. */
	len = sizeof(s->addr.u) - 1;
	if (getsockname((int)fd, &s->addr.u.sa, &len) < 0)
		return 0;
	s->addr.len = len;
	if (s->addr.u.sa.sa_family == AF_UNIX && s->addr.u.un.sun_path[0])
		s->path = strdup(s->addr.u.un.sun_path);
	return 0;
}

static int sock_wait_for_client(struct sock *s, struct err *e)
{
	char name[CHARDEV_NAME_MAX];

	log_warn("chardev %s: waiting for connection on: %s", s->w.cd.id,
		 chardev_filename(&s->w.cd, name, sizeof(name)));
	while (s->client_fd < 0) {
		int rc = wait_ready(s->listen_fd, POLLIN, -1);

		if (rc == -EINTR)
			return set_signal_error(s, e);
		if (rc < 0)
			return err_set(e, rc, "Failed to wait for a connection: %s", strerror(-rc));
		s->client_fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	}
	sock_set_options(s, s->client_fd);
	return 0;
}

static int sock_check_options(struct sock *s, struct err *e)
{
	if (!!s->path + !!s->fd + !!s->host != 1)
		return err_set(e, -EINVAL, "exactly one of 'path', 'fd' and 'host' is needed");
	if (s->host && !s->port)
		return err_set(e, -EINVAL, "chardev: socket: no port given: 'port' is missing");
	if (!s->host && s->port)
		return err_set(e, -EINVAL, "Parameter 'port' needs 'host'");
	if (s->abstract && !s->path)
		return err_set(e, -EINVAL, "Parameter 'abstract' needs 'path'");
	if (s->to && (!s->host || !s->server || s->to > 65535))
		return err_set(e, -EINVAL,
			       "Parameter 'to' expects the last port for 'host' with server=on");
	if (s->tls_creds || s->tls_authz)
		return err_set(e, -ENOTSUP,
			       "'tls-creds' is not supported: let stunnel or socat do TLS in front "
			       "of a unix socket");
	if (s->telnet || s->tn3270 || s->websocket)
		return err_set(e, -ENOTSUP, "'%s' is not supported: the stream is plain bytes",
			       s->telnet   ? "telnet"
			       : s->tn3270 ? "tn3270"
					   : "websocket");
	if (s->wait == OPT_ON && !s->server)
		return err_set(e, -EINVAL,
			       "'wait' option is incompatible with socket in client connect mode");
	if (s->reconnect_s && s->reconnect_ms)
		return err_set(e, -EINVAL, "'reconnect' and 'reconnect-ms' are mutually exclusive");
	if (s->reconnect_s)
		s->reconnect_ms = s->reconnect_s * 1000;
	if (s->reconnect_ms && s->server)
		return err_set(
			e, -EINVAL,
			"'reconnect' option is incompatible with socket in server listen mode");
	if (s->reconnect_ms && s->fd)
		return err_set(e, -EINVAL, "'reconnect' option is incompatible with 'fd'");
	return 0;
}

static int sock_open(struct chardev *cd, struct err *e)
{
	struct sock *s = sock_from_chardev(cd);
	int rc = sock_check_options(s, e);

	if (rc == 0 && s->path)
		rc = sock_set_unix_addr(s, e);
	else if (rc == 0 && s->host)
		rc = addr_inet(s->host, s->port, addr_family(s->ipv4, s->ipv6), 0, SOCK_STREAM,
			       &s->addr, e);
	if (rc < 0)
		return rc;
	if (s->fd)
		rc = sock_use_inherited(s, e);
	else if (s->server)
		rc = sock_open_server(s, e);
	else if (!s->reconnect_ms)
		rc = sock_open_client(s, e);
	if (rc < 0)
		return rc;
	sock_update_name(s);
	if (s->server && s->wait != OPT_OFF) {
		rc = sock_wait_for_client(s, e);
		sock_update_name(s);
	}
	return rc;
}

#define ROW(name_, type_, member, help_, ...)                                                     \
	{                                                                                         \
		.name = name_, .type = type_, .at = offsetof(struct sock, member), .help = help_, \
		##__VA_ARGS__                                                                     \
	}

static const struct opt socket_options[] = {
	ROW("path", OPT_STRING, path, "unix: file name"),
	ROW("abstract", OPT_BOOL, abstract, "unix: a name without a file", .def = "off"),
	ROW("tight", OPT_BOOL, tight, "unix: an abstract name is as long as its text", .def = "on"),
	ROW("host", OPT_STRING, host, "TCP: host name or address; empty: all of ours"),
	ROW("port", OPT_STRING, port, "TCP: port; 0: any"),
	ROW("to", OPT_UINT, to, "TCP server: last port to try, from 'port' on"),
	ROW("ipv4", OPT_BOOL, ipv4, "TCP: IPv4 only"),
	ROW("ipv6", OPT_BOOL, ipv6, "TCP: IPv6 only"),
	ROW("nodelay", OPT_BOOL, nodelay, "TCP: send small pieces at once", .def = "off"),
	ROW("delay", OPT_BOOL, delay, "TCP: its opposite, as \"nodelay\" alone means", .def = "on"),
	ROW("keep-alive", OPT_BOOL, keep_alive, "TCP: notice a dead peer", .def = "off"),
	ROW("fd", OPT_STRING, fd, "inherited descriptor instead of an address"),
	ROW("server", OPT_BOOL, server, "listen", .def = "off"),
	ROW("wait", OPT_ONOFFAUTO, wait,
	    "start only when the first client is there; auto: a server does", .def = "auto"),
	ROW("reconnect", OPT_UINT, reconnect_s,
	    "client: connect again after so many seconds; 0: never", .max = 86400),
	ROW("reconnect-ms", OPT_UINT, reconnect_ms, "the same in milliseconds", .max = 86400000),
	ROW("telnet", OPT_BOOL, telnet, "only off", .def = "off"),
	ROW("tn3270", OPT_BOOL, tn3270, "only off", .def = "off"),
	ROW("websocket", OPT_BOOL, websocket, "only off", .def = "off"),
	ROW("tls-creds", OPT_STRING, tls_creds, "refused: use stunnel or socat"),
	ROW("tls-authz", OPT_STRING, tls_authz, "refused, as tls-creds"),
	OPT_END,
};

const struct chardev_class chardev_socket = {
	.name = "socket",
	.help = "a unix or TCP socket",
	.size = sizeof(struct sock),
	.options = socket_options,
	.init = sock_init,
	.open = sock_open,
	.start = sock_start,
	.stop = sock_stop,
	.write = fd_stream_write,
	.pause = fd_stream_pause,
	.drop = sock_drop,
	.close = sock_close,
};
