/* SPDX-License-Identifier: MIT */
/* store.c - xenstore: what the toolstack says, what it waits for, and the domain's end
 *
 * xenstore is the one connection that can reach everything on the host, and
 * xentoolcore_restrict_all() kills it; but the end of the domain can be learned nowhere else (a
 * domain that dies stays there, without a sound, as long as we hold its pages). So a child process
 * holds the connection and nothing else: it watches @releaseDomain, asks whether the domain is
 * still introduced (a domain that shuts down or suspends is), and knows two commands: to write
 * device-model/<domid>/state, and to call a console back end of this domain connected. The device
 * model talks to it over a socket pair in messages of one struct, and has no way to make it do
 * anything else. No thread of libxenstore runs in the device model.
 *
 * Owns: the child. It ends when the socket pair does, so it never outlives the device model; it
 * takes the state node away then if it wrote it (libxl has done so before it kills us; after any
 * other end the node would lie).
 *
 * Fails: without xenstore there is no device model. When the child dies early the device model goes
 * on, with a warning: the toolstack still ends it by a signal.
 */
#include "xen/domain.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xenstore.h>

#include "base/log.h"

#define PATH_MAX_LEN 80
#define NOBODY	     65534

enum store_msg {
	MSG_READY,    /* child: result of its start */
	MSG_ANNOUNCE, /* parent: write "running"; child: the result */
	MSG_GONE,     /* child: the domain is no more */
	MSG_CONSOLE,  /* parent: console `devid` is connected; no answer */
};

struct msg {
	enum store_msg type;
	int rc; /* 0 or -errno */
	unsigned devid;
};

#define XENBUS_CONNECTED "4"

/* --- reading (before anything else, in the device model itself) --- */

static char *read_node(struct xs_handle *xs, unsigned domid, const char *node)
{
	char path[PATH_MAX_LEN];
	unsigned len;

	snprintf(path, sizeof(path), "/local/domain/%u/%s", domid, node);
	return xs_read(xs, XBT_NULL, path, &len);
}

static bool read_number(struct xs_handle *xs, unsigned domid, const char *node, uint64_t *out)
{
	char *text = read_node(xs, domid, node), *end;
	bool ok = false;

	if (text && *text) {
		*out = strtoull(text, &end, 10);
		ok = !*end;
	}
	free(text);
	return ok;
}

/* libxl keeps a console's particulars with its back end, where no guest can write; one that has a
 * name is a channel. */
static void read_channels(struct xs_handle *xs, unsigned domid, struct store_facts *facts)
{
	char path[PATH_MAX_LEN];
	unsigned n = 0, len;
	char **ids;

	snprintf(path, sizeof(path), "backend/console/%u", domid);
	ids = xs_directory(xs, XBT_NULL, path, &n);
	for (unsigned i = 0; ids && i < n && facts->channels < XEN_CHANNELS_MAX; i++) {
		struct xen_channel *c = &facts->channel[facts->channels];
		char *name, *end;

		c->devid = (unsigned)strtoul(ids[i], &end, 10);
		if (*end)
			continue;
		snprintf(path, sizeof(path), "backend/console/%u/%u/name", domid, c->devid);
		name = xs_read(xs, XBT_NULL, path, &len);
		if (name && *name && strlen(name) < sizeof(c->name)) {
			strcpy(c->name, name);
			facts->channels++;
		}
		free(name);
	}
	free(ids);
}

int store_read_facts(unsigned domid, struct store_facts *facts, struct err *e)
{
	struct xs_handle *xs = xs_open(0);
	uint64_t n;

	memset(facts, 0, sizeof(*facts));
	if (!xs)
		return err_set(e, -errno, "could not connect to xenstore: %s", strerror(errno));
	if (read_number(xs, domid, "memory/static-max", &n) && n <= UINT64_MAX / KiB)
		facts->static_max = n * KiB;
	if (read_number(xs, domid, "memory/target", &n) && n <= UINT64_MAX / KiB)
		facts->target = n * KiB;
	if (read_number(xs, domid, "image/device-model-kill-uid", &n) && n && n < UINT32_MAX) {
		facts->has_kill_uid = true;
		facts->kill_uid = (uid_t)n;
	}
	read_channels(xs, domid, facts);
	xs_close(xs);
	return 0;
}

/* --- the child --- */

static bool send_msg(int sock, enum store_msg type, int rc)
{
	struct msg m = {.type = type, .rc = rc};

	return send(sock, &m, sizeof(m), MSG_NOSIGNAL) == sizeof(m);
}

/* Close what was inherited, except for the log (0-2) and the socket pair. Before xs_open(): a
 * handle is more than one descriptor. */
static void child_close_all(int sock)
{
	if (sock > 3)
		close_range(3, (unsigned)sock - 1, 0);
	close_range((unsigned)sock + 1, ~0U, 0);
}

/* A connection to xenstore stays what it is without any right. libxenstore's thread follows: a
 * change of user is one of the whole process, and takes the capabilities along. Where we are not
 * root there are none. */
static bool child_confine(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return false;
	return geteuid() != 0 ||
	       (setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
		setresuid(NOBODY, NOBODY, NOBODY) == 0);
}

/* The watch has fired, for whatever domain: is it ours? A domain that was never introduced has no
 * say. */
static bool domain_gone(struct xs_handle *xs, unsigned domid, bool *seen)
{
	char **event;
	bool there;

	while ((event = xs_check_watch(xs)))
		free(event);
	there = xs_is_domain_introduced(xs, domid);
	*seen |= there;
	return *seen && !there;
}

static bool exists(struct xs_handle *xs, const char *path)
{
	unsigned n;
	char **list = xs_directory(xs, XBT_NULL, path, &n);

	free(list);
	return list != NULL;
}

static void connect_console(struct xs_handle *xs, unsigned domid, unsigned devid)
{
	char path[PATH_MAX_LEN];

	snprintf(path, sizeof(path), "backend/console/%u/%u/state", domid, devid);
	/* Not to be made where there is no such console. */
	if (exists(xs, path))
		xs_write(xs, XBT_NULL, path, XENBUS_CONNECTED, strlen(XENBUS_CONNECTED));
}

static void child_run(int sock, unsigned domid)
{
	bool seen, gone = false, wrote = false, made = false;
	char directory[PATH_MAX_LEN], path[PATH_MAX_LEN];
	struct xs_handle *xs;
	struct pollfd p[2];
	struct msg m;

	child_close_all(sock);
	xs = xs_open(0);
	if (!xs || !xs_watch(xs, "@releaseDomain", "gone") || !child_confine()) {
		send_msg(sock, MSG_READY, errno ? -errno : -EIO);
		return;
	}
	snprintf(directory, sizeof(directory), "device-model/%u", domid);
	snprintf(path, sizeof(path), "device-model/%u/state", domid);
	seen = xs_is_domain_introduced(xs, domid);
	send_msg(sock, MSG_READY, 0);

	p[0] = (struct pollfd){.fd = sock, .events = POLLIN};
	p[1] = (struct pollfd){.fd = xs_fileno(xs), .events = POLLIN};
	for (;;) {
		if (poll(p, 2, -1) < 0)
			break;
		if (p[1].revents && !gone && domain_gone(xs, domid, &seen)) {
			gone = true;
			p[1].fd = -1;
			send_msg(sock, MSG_GONE, 0);
		}
		if (!p[0].revents)
			continue;
		if (recv(sock, &m, sizeof(m), 0) != sizeof(m))
			break; /* the device model has ended */
		if (m.type == MSG_CONSOLE)
			connect_console(xs, domid, m.devid);
		if (m.type != MSG_ANNOUNCE)
			continue;
		made = !exists(xs, directory);
		wrote = xs_write(xs, XBT_NULL, path, "running", strlen("running"));
		send_msg(sock, MSG_ANNOUNCE, wrote ? 0 : -errno);
	}
	/* The directory is libxl's, if libxl has started us; that of a domain that is gone is
	 * nobody's. */
	if (wrote)
		xs_rm(xs, XBT_NULL, gone || made ? directory : path);
	xs_close(xs);
}

/* --- the device model's side --- */

int store_start(struct store *s, unsigned domid, struct err *e)
{
	int pair[2];
	struct msg m;
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(e, -errno, "socketpair: %s", strerror(errno));
	s->pid = fork();
	if (s->pid < 0) {
		int rc = err_set(e, -errno, "fork: %s", strerror(errno));

		close(pair[0]);
		close(pair[1]);
		return rc;
	}
	if (!s->pid) {
		/* Signals are for the device model; this one ends with the socket. */
		signal(SIGINT, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		prctl(PR_SET_NAME, "xenpvh-store");
		close(pair[0]);
		child_run(pair[1], domid);
		_exit(0);
	}
	close(pair[1]);
	s->sock = pair[0];
	s->watch.fd = -1;
	n = recv(s->sock, &m, sizeof(m), 0);
	if (n != sizeof(m) || m.rc) {
		int rc = n == sizeof(m) ? m.rc : -EIO;

		store_stop(s);
		return err_set(e, rc, "could not watch domain %u in xenstore: %s", domid,
			       strerror(-rc));
	}
	return 0;
}

static void report_gone(struct store *s)
{
	if (s->gone)
		return;
	s->gone = true;
	if (s->client)
		s->client->event(s->client->ctx, HV_GONE);
}

static void store_readable(struct loop_fd *w, uint32_t events)
{
	struct store *s = container_of(w, struct store, watch);
	struct msg m;

	if (recv(s->sock, &m, sizeof(m), MSG_DONTWAIT) == sizeof(m)) {
		if (m.type == MSG_GONE)
			report_gone(s);
		return;
	}
	loop_fd_del(s->loop, w);
	log_warn("the xenstore watcher has died: the end of the domain will not be noticed");
}

int store_watch(struct store *s, struct loop *control, const struct hv_client *client)
{
	s->client = client;
	s->loop = control;
	return loop_fd_add(control, &s->watch, s->sock, EPOLLIN, store_readable);
}

int store_announce(struct store *s, struct err *e)
{
	struct msg m;

	if (!send_msg(s->sock, MSG_ANNOUNCE, 0))
		return err_set(e, -errno, "the xenstore watcher has died");
	do {
		if (recv(s->sock, &m, sizeof(m), 0) != sizeof(m))
			return err_set(e, -EIO, "the xenstore watcher has died");
		if (m.type == MSG_GONE)
			report_gone(s);
	} while (m.type != MSG_ANNOUNCE);
	if (m.rc)
		return err_set(e, m.rc,
			       "could not write the state of the device model to "
			       "xenstore: %s",
			       strerror(-m.rc));
	return 0;
}

void store_connect(struct store *s, const struct store_facts *facts)
{
	for (unsigned i = 0; i < facts->channels; i++) {
		struct msg m = {.type = MSG_CONSOLE, .devid = facts->channel[i].devid};

		send(s->sock, &m, sizeof(m), MSG_NOSIGNAL);
	}
}

void store_stop(struct store *s)
{
	if (!s->pid)
		return;
	if (s->loop)
		loop_fd_del(s->loop, &s->watch);
	close(s->sock);
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	s->pid = 0;
}
