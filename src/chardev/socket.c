/* SPDX-License-Identifier: MIT */
/* socket.c - -chardev socket: unix, abstract and TCP, server and client
 *
 * A server is bound and listens from the start. It is watched only while it has a front end and no
 * client, so further clients wait in the backlog. With wait=on (QEMU's default) the program waits
 * for the first client before it goes on; a signal that ends the program ends that too.
 *
 * A client connects at the start, and an error is one of the command line. With reconnect-ms= it
 * connects when it gets its front end, without waiting, and again when the connection ends or
 * fails; only the first failure in a row is logged. A host name is looked up once. A path is
 * used again each time: it has to be reachable for the user and in the directory tree that the
 * program ends up with.
 *
 * Socket files. Another process may have replaced ours since (the real device model follows libxl's
 * probe at the same path), so a file is removed only if it still is the one that we made.
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
#include "chardev/wire.h"
#include "net/addr.h"

#define BACKLOG 16
#define FULL_MS 20 /* until a full backlog is tried again */
#define MS_NS	1000000ULL

struct sock {
	struct wire w;
	struct addr addr;
	int listen_fd, client_fd;
	struct loop_fd listener;
	int pending_fd; /* connects */
	struct loop_fd pending;
	struct loop_timer again;
	bool failed;	     /* to connect, and it has been said */
	bool made;	     /* the socket file is ours... */
	struct stat made_as; /* ... as long as it is this one */

	/* options */
	char *path, *fd, *host, *port, *tls_creds, *tls_authz;
	uint64_t to, reconnect_s, reconnect_ms;
	uint8_t wait;
	bool abstract, tight, ipv4, ipv6, server, nodelay, delay, keep_alive, telnet, tn3270,
		websocket;
};

static struct sock *sock_of(struct chardev *cd)
{
	return container_of(cd, struct sock, w.cd);
}

/* --- names --- */

static void host_port(const struct sockaddr *sa, socklen_t len, char *buf, size_t size)
{
	char host[INET6_ADDRSTRLEN + 32], port[16];

	if (getnameinfo(sa, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(buf, size, "?");
	else
		snprintf(buf, size, sa->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* As QEMU shows it; "disconnected:" before it while there is no client. */
static void name_socket(struct sock *s)
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
		host_port((struct sockaddr *)&here, here_len, here_text, sizeof(here_text));
		host_port((struct sockaddr *)&there, there_len, there_text, sizeof(there_text));
		chardev_set_name(&s->w.cd, "tcp:%s%s <-> %s", here_text, server, there_text);
	} else if (s->addr.len && s->addr.u.sa.sa_family != AF_UNIX) {
		host_port(&s->addr.u.sa, s->addr.len, here_text, sizeof(here_text));
		chardev_set_name(&s->w.cd, "%stcp:%s%s", state, here_text, server);
	} else {
		chardev_set_name(&s->w.cd, "%sunix:%s", state, server);
	}
}

/* What the operator wrote, for messages. */
static const char *target(const struct sock *s, char *buf, size_t size)
{
	if (s->path)
		snprintf(buf, size, "%s", s->path);
	else
		snprintf(buf, size, "%s:%s", s->host, s->port);
	return buf;
}

/* --- sessions --- */

static void listener_ready(struct loop_fd *w, uint32_t events);
static void connect_again(struct sock *s);

static void tune(struct sock *s, int fd)
{
	int on = 1;

	/* No effect on a unix socket, and none is needed. */
	if (s->nodelay || !s->delay)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (s->keep_alive)
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

/* Look for the next client. */
static void look(struct sock *s)
{
	struct chardev *cd = &s->w.cd;
	int rc;

	if (s->client_fd >= 0 || !cd->user)
		return;
	if (s->listen_fd >= 0 && s->listener.fd < 0) {
		rc = loop_fd_add(cd->loop, &s->listener, s->listen_fd, EPOLLIN, listener_ready);
		if (rc < 0)
			log_err("chardev %s: cannot watch: %s", cd->id, strerror(-rc));
	} else if (s->reconnect_ms && s->pending_fd < 0) {
		loop_timer_set(cd->loop, &s->again, s->reconnect_ms * MS_NS);
	}
}

static int session_begin(struct sock *s, int fd)
{
	int rc;

	s->client_fd = fd;
	name_socket(s);
	rc = wire_begin(&s->w, fd, fd);
	if (rc < 0) {
		close(fd);
		s->client_fd = -1;
		name_socket(s);
	}
	return rc;
}

static void session_end(struct sock *s)
{
	wire_end(&s->w);
	close(s->client_fd);
	s->client_fd = -1;
	name_socket(s);
}

static void sock_drop(struct chardev *cd)
{
	struct sock *s = sock_of(cd);

	if (s->client_fd < 0)
		return;
	session_end(s);
	look(s);
	chardev_is_closed(cd);
}

static void sock_lost(struct wire *w)
{
	sock_drop(&w->cd);
}

static void listener_ready(struct loop_fd *w, uint32_t events)
{
	struct sock *s = container_of(w, struct sock, listener);
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (addr_accept_later(errno)) {
			loop_fd_del(s->w.cd.loop, &s->listener);
			loop_timer_set(s->w.cd.loop, &s->again, ADDR_ACCEPT_NS);
		}
		return;
	}
	loop_fd_del(s->w.cd.loop, &s->listener);
	tune(s, fd);
	if (session_begin(s, fd) < 0)
		look(s);
}

/* --- a client that connects again --- */

static void connect_failed(struct sock *s, int error)
{
	char text[256];

	if (!s->failed)
		log_warn("chardev %s: Failed to connect to '%s': %s; trying again every %llu ms",
			 s->w.cd.id, target(s, text, sizeof(text)), strerror(error),
			 (unsigned long long)s->reconnect_ms);
	s->failed = true;
	look(s);
}

static void connect_done(struct loop_fd *w, uint32_t events)
{
	struct sock *s = container_of(w, struct sock, pending);
	int fd = s->pending_fd, error = 0;
	socklen_t len = sizeof(error);

	loop_fd_del(s->w.cd.loop, w);
	s->pending_fd = -1;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		close(fd);
		connect_failed(s, error);
		return;
	}
	s->failed = false;
	if (session_begin(s, fd) < 0)
		look(s);
}

static void connect_again(struct sock *s)
{
	int fd = addr_socket(&s->addr, SOCK_STREAM), rc;

	if (fd < 0) {
		connect_failed(s, -fd);
		return;
	}
	tune(s, fd);
	if (connect(fd, &s->addr.u.sa, s->addr.len) < 0 && errno != EINPROGRESS) {
		rc = errno;
		close(fd);
		connect_failed(s, rc);
		return;
	}
	s->pending_fd = fd;
	rc = loop_fd_add(s->w.cd.loop, &s->pending, fd, EPOLLOUT, connect_done);
	if (rc < 0) {
		close(fd);
		s->pending_fd = -1;
		connect_failed(s, -rc);
	}
}

static void timer_rings(struct loop_timer *t)
{
	struct sock *s = container_of(t, struct sock, again);

	if (s->listen_fd >= 0)
		look(s);
	else if (s->client_fd < 0 && s->pending_fd < 0)
		connect_again(s);
}

/* --- for struct chardev_class --- */

static void sock_init(struct chardev *cd)
{
	struct sock *s = sock_of(cd);

	wire_init(&s->w);
	s->w.lost = sock_lost;
	s->w.socket = true;
	s->listen_fd = s->client_fd = s->pending_fd = s->listener.fd = s->pending.fd = -1;
	s->again.fn = timer_rings;
}

static int sock_start(struct chardev *cd, struct err *e)
{
	struct sock *s = sock_of(cd);
	int rc = 0;

	if (s->client_fd >= 0)
		rc = session_begin(s, s->client_fd);
	else if (s->listen_fd >= 0)
		look(s);
	else if (s->reconnect_ms)
		connect_again(s);
	return rc < 0 ? err_set(e, rc, "chardev '%s': cannot watch: %s", cd->id, strerror(-rc)) : 0;
}

static void sock_stop(struct chardev *cd)
{
	struct sock *s = sock_of(cd);

	if (s->listener.fd >= 0)
		loop_fd_del(cd->loop, &s->listener);
	loop_timer_del(&s->again);
	if (s->pending_fd >= 0) {
		loop_fd_del(cd->loop, &s->pending);
		close(s->pending_fd);
		s->pending_fd = -1;
	}
	if (s->client_fd >= 0)
		session_end(s);
}

static void sock_close(struct chardev *cd, bool remove)
{
	struct sock *s = sock_of(cd);
	struct stat st;

	if (s->client_fd >= 0)
		close(s->client_fd);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	if (s->made && remove && !lstat(s->path, &st) && st.st_dev == s->made_as.st_dev &&
	    st.st_ino == s->made_as.st_ino)
		unlink(s->path);
}

/* --- opening --- */

static int unix_address(struct sock *s, struct err *e)
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

/* Bind, to the first port that is free up to `to`. */
static int bind_some(struct sock *s, int fd)
{
	unsigned port = addr_port(&s->addr);

	while (bind(fd, &s->addr.u.sa, s->addr.len) < 0) {
		if (errno != EADDRINUSE || port >= s->to)
			return -errno;
		addr_set_port(&s->addr, ++port);
	}
	return 0;
}

static int open_server(struct sock *s, struct err *e)
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
	/* What a process before us left behind. */
	if (file && !lstat(s->path, &st) && S_ISSOCK(st.st_mode))
		unlink(s->path);
	if (!s->path)
		setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	rc = bind_some(s, s->listen_fd);
	if (rc < 0)
		return err_set(e, rc, "Failed to bind socket to %s: %s",
			       target(s, text, sizeof(text)), strerror(-rc));
	s->made = file && !lstat(s->path, &s->made_as);
	if (listen(s->listen_fd, BACKLOG) < 0)
		return err_set(e, -errno, "Failed to listen on %s: %s",
			       target(s, text, sizeof(text)), strerror(errno));
	/* The port, if the kernel chose it. */
	len = sizeof(s->addr.u);
	if (!s->path && !getsockname(s->listen_fd, &s->addr.u.sa, &len))
		s->addr.len = len;
	return 0;
}

static int ended_by_signal(struct sock *s, struct err *e)
{
	return err_set(e, -EINTR, "ended by a signal while it waited for a connection");
}

static int open_client(struct sock *s, struct err *e)
{
	int error = 0, rc = 0, fd = addr_socket(&s->addr, SOCK_STREAM);
	socklen_t len = sizeof(error);
	char text[256];

	if (fd < 0)
		return err_set(e, fd, "Failed to create a socket: %s", strerror(-fd));
	s->client_fd = fd;
	tune(s, fd);
	while (connect(fd, &s->addr.u.sa, s->addr.len) < 0) {
		error = errno;
		if (error == EAGAIN) {
			rc = wait_ready(-1, 0, FULL_MS);
		} else if (error == EINPROGRESS) {
			rc = wait_ready(fd, POLLOUT, -1);
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
		}
		if (rc == -EINTR)
			return ended_by_signal(s, e);
		if (error == EAGAIN)
			continue;
		if (error)
			return err_set(e, -error, "Failed to connect to '%s': %s",
				       target(s, text, sizeof(text)), strerror(error));
		break;
	}
	return 0;
}

static int adopt(struct sock *s, struct err *e)
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
	/* Only to show it. */
	len = sizeof(s->addr.u) - 1;
	if (getsockname((int)fd, &s->addr.u.sa, &len) < 0)
		return 0;
	s->addr.len = len;
	if (s->addr.u.sa.sa_family == AF_UNIX && s->addr.u.un.sun_path[0])
		s->path = strdup(s->addr.u.un.sun_path);
	return 0;
}

static int wait_for_client(struct sock *s, struct err *e)
{
	char name[CHARDEV_NAME_MAX];

	log_warn("chardev %s: waiting for connection on: %s", s->w.cd.id,
		 chardev_filename(&s->w.cd, name, sizeof(name)));
	while (s->client_fd < 0) {
		int rc = wait_ready(s->listen_fd, POLLIN, -1);

		if (rc == -EINTR)
			return ended_by_signal(s, e);
		if (rc < 0)
			return err_set(e, rc, "Failed to wait for a connection: %s", strerror(-rc));
		s->client_fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	}
	tune(s, s->client_fd);
	return 0;
}

static int check_options(struct sock *s, struct err *e)
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
	struct sock *s = sock_of(cd);
	int rc = check_options(s, e);

	if (rc == 0 && s->path)
		rc = unix_address(s, e);
	else if (rc == 0 && s->host)
		rc = addr_inet(s->host, s->port, addr_family(s->ipv4, s->ipv6), 0, SOCK_STREAM,
			       &s->addr, e);
	if (rc < 0)
		return rc;
	if (s->fd)
		rc = adopt(s, e);
	else if (s->server)
		rc = open_server(s, e);
	else if (!s->reconnect_ms)
		rc = open_client(s, e);
	if (rc < 0)
		return rc;
	name_socket(s);
	if (s->server && s->wait != OPT_OFF) {
		rc = wait_for_client(s, e);
		name_socket(s);
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
	.write = wire_write,
	.pause = wire_pause,
	.drop = sock_drop,
	.close = sock_close,
};
