/* SPDX-License-Identifier: MIT */
/* chardev.c - see chardev.h
 *
 * Three kinds: a unix socket that listens or connects (by path, or as a descriptor that we
 * inherit), the program's stdin and stdout, and null. A listening socket is watched only while it
 * has a front end and no client, so further clients wait in the backlog.
 *
 * Socket files. Another process may have replaced ours since (the real device model follows libxl's
 * probe at the same path), so a file is removed only if it still is the one that we made.
 */
#include "chardev/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/log.h"

#define BACKLOG 16

enum kind { KIND_SOCKET, KIND_STDIO, KIND_NULL };

static const char *const kind_names[] = {"socket", "stdio", "null", NULL};

struct chardev {
	struct list link;
	struct loop *loop;
	struct chardev_user *user;

	/* options */
	char *id, *path, *fd;
	unsigned kind;
	bool server, wait;

	_Atomic(bool) front_open; /* what query-chardev shows */

	int listen_fd, client_fd; /* client_fd: where bytes come from */
	int out_fd;		  /* where they go; -1 without a client */
	struct loop_fd listener, client;
	struct loop_task pump; /* reads what epoll cannot watch: stdin from a file */
	bool paused, want_room;
	bool made;	     /* the socket file is ours... */
	struct stat made_as; /* ... as long as it is this one */
};

struct chardevs {
	struct list all;
};

#define AT(member) offsetof(struct chardev, member)

const struct opt chardev_options[] = {
	{"backend", OPT_ENUM, AT(kind), .values = kind_names, .help = "kind of the stream"},
	{"id", OPT_STRING, AT(id), .help = "name for -mon"},
	{"path", OPT_STRING, AT(path), .help = "socket: file name"},
	{"fd", OPT_STRING, AT(fd), .help = "socket: inherited descriptor instead of a path"},
	{"server", OPT_BOOL, AT(server), .def = "off", .help = "socket: listen"},
	{"wait", OPT_BOOL, AT(wait), .def = "off",
	 .help = "only off: clients come and go at any time"},
	{"signal", OPT_IGNORED},
	OPT_END,
};

static const struct opt *const tables[] = {chardev_options, NULL};

/* --- the client --- */

static void client_ready(struct loop_fd *w, uint32_t events);
static void listener_ready(struct loop_fd *w, uint32_t events);

static uint32_t client_events(const struct chardev *cd)
{
	return (cd->paused ? 0 : EPOLLIN) |
	       (cd->want_room && cd->out_fd == cd->client_fd ? EPOLLOUT : 0);
}

static void client_watch(struct chardev *cd)
{
	if (cd->client.fd >= 0)
		loop_fd_mod(cd->loop, &cd->client, client_events(cd));
	else if (cd->client_fd >= 0 && cd->kind == KIND_STDIO && !cd->paused)
		loop_defer(cd->loop, &cd->pump);
}

static void listen_on(struct chardev *cd)
{
	int rc;

	if (cd->listen_fd < 0 || cd->client_fd >= 0 || !cd->user || cd->listener.fd >= 0)
		return;
	rc = loop_fd_add(cd->loop, &cd->listener, cd->listen_fd, EPOLLIN, listener_ready);
	if (rc < 0)
		log_err("chardev %s: cannot watch: %s", cd->id, strerror(-rc));
}

static void client_close(struct chardev *cd)
{
	if (cd->client.fd >= 0)
		loop_fd_del(cd->loop, &cd->client);
	if (cd->kind == KIND_SOCKET && cd->client_fd >= 0)
		close(cd->client_fd);
	cd->client_fd = cd->out_fd = -1;
	cd->want_room = false;
}

void chardev_drop_client(struct chardev *cd)
{
	struct chardev_user *u = cd->user;

	if (cd->client_fd < 0)
		return;
	client_close(cd);
	listen_on(cd);
	if (u)
		u->closed(u);
}

/* Bytes from client_fd to the front end. Returns false when there is no client any more. */
static bool client_read(struct chardev *cd)
{
	char buf[CHARDEV_READ_MAX];
	ssize_t n = read(cd->client_fd, buf, sizeof(buf));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0) {
		chardev_drop_client(cd);
		return false;
	}
	if (cd->user)
		cd->user->received(cd->user, buf, n);
	return cd->client_fd >= 0;
}

static void client_ready(struct loop_fd *w, uint32_t events)
{
	struct chardev *cd = container_of(w, struct chardev, client);

	if (events & EPOLLOUT) {
		cd->want_room = false;
		client_watch(cd);
		cd->user->writable(cd->user);
		if (cd->client_fd < 0)
			return;
	}
	if ((events & EPOLLIN) && !cd->paused)
		client_read(cd);
	else if (events & (EPOLLHUP | EPOLLERR))
		chardev_drop_client(cd);
}

static void pump_run(struct loop_task *t)
{
	struct chardev *cd = container_of(t, struct chardev, pump);

	if (cd->client_fd >= 0 && !cd->paused && client_read(cd))
		client_watch(cd);
}

static void client_open(struct chardev *cd, int in, int out)
{
	int rc;

	cd->client_fd = in;
	cd->out_fd = out;
	rc = loop_fd_add(cd->loop, &cd->client, in, client_events(cd), client_ready);
	if (rc == -EPERM && cd->kind == KIND_STDIO)
		loop_defer(cd->loop, &cd->pump);
	else if (rc < 0)
		log_err("chardev %s: cannot watch: %s", cd->id, strerror(-rc));
	cd->user->opened(cd->user);
}

static void listener_ready(struct loop_fd *w, uint32_t events)
{
	struct chardev *cd = container_of(w, struct chardev, listener);
	int fd = accept4(cd->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	loop_fd_del(cd->loop, &cd->listener);
	client_open(cd, fd, fd);
}

/* --- for front ends --- */

int chardev_attach(struct chardev *cd, struct chardev_user *u, struct loop *loop, struct err *e)
{
	if (cd->user)
		return err_set(e, -EBUSY, "chardev '%s' is in use", cd->id);
	cd->user = u;
	cd->loop = loop;
	cd->paused = false;
	atomic_store(&cd->front_open, true);
	if (cd->kind == KIND_STDIO) {
		client_open(cd, STDIN_FILENO, STDOUT_FILENO);
	} else if (cd->kind == KIND_NULL) {
		u->opened(u);
	} else if (cd->listen_fd >= 0) {
		listen_on(cd);
	} else {
		client_open(cd, cd->client_fd, cd->client_fd);
	}
	return 0;
}

void chardev_detach(struct chardev *cd)
{
	cd->user = NULL;
	atomic_store(&cd->front_open, false);
	if (cd->listener.fd >= 0)
		loop_fd_del(cd->loop, &cd->listener);
	client_close(cd);
}

size_t chardev_write(struct chardev *cd, const char *buf, size_t len)
{
	size_t done = 0;

	if (cd->out_fd < 0)
		return len;
	while (done < len) {
		ssize_t n = cd->kind == KIND_SOCKET ? send(cd->out_fd, buf + done, len - done,
							   MSG_NOSIGNAL | MSG_DONTWAIT)
						    : write(cd->out_fd, buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && cd->kind == KIND_SOCKET) {
			cd->want_room = true;
			client_watch(cd);
			return done;
		}
		if (n < 0)
			return len; /* the reader's end shows as a hangup */
		done += n;
	}
	return done;
}

void chardev_pause(struct chardev *cd, bool pause)
{
	if (cd->paused == pause)
		return;
	cd->paused = pause;
	client_watch(cd);
}

struct chardev *chardev_next(struct chardevs *cs, const struct chardev *cd)
{
	struct list *next = cd ? cd->link.next : cs->all.next;

	return next == &cs->all ? NULL : list_entry(next, struct chardev, link);
}

struct chardev *chardev_find(struct chardevs *cs, const char *id)
{
	for (struct chardev *cd = NULL; (cd = chardev_next(cs, cd));)
		if (!strcmp(cd->id, id))
			return cd;
	return NULL;
}

const char *chardev_id(const struct chardev *cd)
{
	return cd->id;
}

void chardev_set_open(struct chardev *cd, bool open)
{
	atomic_store(&cd->front_open, open);
}

bool chardev_frontend_open(struct chardev *cd)
{
	return atomic_load(&cd->front_open);
}

const char *chardev_filename(const struct chardev *cd, char *buf, size_t size)
{
	if (cd->kind == KIND_SOCKET)
		snprintf(buf, size, "%sunix:%s%s", cd->client_fd < 0 ? "disconnected:" : "",
			 cd->path ? cd->path : "", cd->server ? ",server=on" : "");
	else
		snprintf(buf, size, "%s", kind_names[cd->kind]);
	return buf;
}

/* --- opening --- */

static int unix_address(const char *path, struct sockaddr_un *a, struct err *e)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(a->sun_path))
		return err_set(e, -ENAMETOOLONG,
			       "UNIX socket path '%s' is too long: at most %zu bytes", path,
			       sizeof(a->sun_path) - 1);
	strcpy(a->sun_path, path);
	return 0;
}

static int socket_listen(struct chardev *cd, int fd, const struct sockaddr_un *a, struct err *e)
{
	struct stat st;

	/* What a process before us left behind. */
	if (!lstat(cd->path, &st) && S_ISSOCK(st.st_mode))
		unlink(cd->path);
	if (bind(fd, (const struct sockaddr *)a, sizeof(*a)) < 0)
		return err_set(e, -errno, "Failed to bind socket to %s: %s", cd->path,
			       strerror(errno));
	cd->made = !lstat(cd->path, &cd->made_as);
	if (listen(fd, BACKLOG) < 0)
		return err_set(e, -errno, "Failed to listen on %s: %s", cd->path, strerror(errno));
	return 0;
}

static int socket_open_path(struct chardev *cd, struct err *e)
{
	struct sockaddr_un a;
	int rc = unix_address(cd->path, &a, e);
	int fd;

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, -errno, "Failed to create a socket: %s", strerror(errno));
	if (cd->server) {
		cd->listen_fd = fd;
		rc = socket_listen(cd, fd, &a, e);
	} else {
		cd->client_fd = fd;
		if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
			rc = err_set(e, -errno, "Failed to connect to '%s': %s", cd->path,
				     strerror(errno));
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return rc;
}

static int socket_adopt(struct chardev *cd, struct err *e)
{
	struct sockaddr_un a = {0};
	socklen_t len = sizeof(int);
	uint64_t fd;
	int listening;

	if (parse_uint(cd->fd, &fd) < 0 || fd > INT32_MAX)
		return err_set(e, -EINVAL,
			       "Parameter 'fd' expects a file descriptor's number, not '%s'",
			       cd->fd);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return err_set(e, -errno, "Can't use file descriptor %s: %s", cd->fd,
			       strerror(errno));
	if (!listening != !cd->server)
		return err_set(e, -EINVAL, "File descriptor %s is %s, but server=%s is given",
			       cd->fd, listening ? "a listening socket" : "no listening socket",
			       cd->server ? "on" : "off");
	if (listening)
		cd->listen_fd = fd;
	else
		cd->client_fd = fd;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	/* Only to show it. */
	len = sizeof(a) - 1;
	if (!getsockname(fd, (struct sockaddr *)&a, &len) && a.sun_family == AF_UNIX)
		cd->path = strdup(a.sun_path);
	return 0;
}

static int kind_open(struct chardevs *cs, struct chardev *cd, struct err *e)
{
	if (cd->kind != KIND_SOCKET && (cd->path || cd->fd || cd->server))
		return err_set(e, -EINVAL, "'path', 'fd' and 'server' are for sockets");
	if (cd->wait)
		return err_set(e, -EINVAL, "wait=on is not supported: use wait=off");
	if (cd->kind == KIND_STDIO)
		for (struct chardev *o = NULL; (o = chardev_next(cs, o));)
			if (o->kind == KIND_STDIO)
				return err_set(e, -EBUSY, "stdio is used by chardev '%s'", o->id);
	if (cd->kind != KIND_SOCKET)
		return 0;
	if (!cd->path == !cd->fd)
		return err_set(e, -EINVAL, "exactly one of 'path' and 'fd' is needed");
	return cd->path ? socket_open_path(cd, e) : socket_adopt(cd, e);
}

static void chardev_free(struct chardev *cd, bool unlink_socket)
{
	struct stat st;

	chardev_detach(cd);
	if (cd->listen_fd >= 0)
		close(cd->listen_fd);
	if (cd->made && unlink_socket && !lstat(cd->path, &st) && st.st_dev == cd->made_as.st_dev &&
	    st.st_ino == cd->made_as.st_ino)
		unlink(cd->path);
	opts_release(tables, cd);
	free(cd);
}

int chardev_add(struct chardevs *cs, const struct kvs *conf, struct err *e)
{
	struct kvs k = *conf; /* shares the strings; only the marks are written */
	const char *kind = kvs_get(&k, "backend");
	struct chardev *cd = calloc(1, sizeof(*cd));
	int rc;

	if (!cd)
		return err_set(e, -ENOMEM, "%s", strerror(ENOMEM));
	cd->listen_fd = cd->client_fd = cd->out_fd = cd->listener.fd = cd->client.fd = -1;
	cd->pump.fn = pump_run;
	if (!kind)
		rc = err_set(e, -EINVAL, "Parameter 'backend' is missing");
	else if (strcmp(kind, "socket") && strcmp(kind, "stdio") && strcmp(kind, "null"))
		rc = err_set(e, -EINVAL,
			     "'%s' is not a valid char driver name (accepted: socket, stdio, null)",
			     kind);
	else
		rc = opts_apply(tables, &k, cd, e);
	if (!rc && kvs_unused(&k))
		rc = err_set(e, -EINVAL, "Invalid parameter '%s'", kvs_unused(&k));
	if (!rc)
		rc = kind_open(cs, cd, e);
	if (rc < 0) {
		chardev_free(cd, true);
		return rc;
	}
	list_add_tail(&cs->all, &cd->link);
	return 0;
}

struct chardevs *chardevs_new(void)
{
	struct chardevs *cs = malloc(sizeof(*cs));

	if (cs)
		list_init(&cs->all);
	return cs;
}

void chardevs_free(struct chardevs *cs, bool unlink_sockets)
{
	if (!cs)
		return;
	list_for_each (it, &cs->all)
		chardev_free(list_entry(it, struct chardev, link), unlink_sockets);
	free(cs);
}

void chardevs_help(FILE *out)
{
	fputs("Kinds of -chardev:\n", out);
	for (unsigned i = 0; kind_names[i]; i++)
		fprintf(out, "  %s\n", kind_names[i]);
}
