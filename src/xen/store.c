/* SPDX-License-Identifier: MIT */
/* store.c - xenstore: reads facts about the domain, reports the device model's state, and watches
 * for the end of the domain
 *
 * There is one connection, opened at the start and kept, for three purposes. It reads what the
 * toolstack has written about the domain. It writes device-model/<domid>/state and the state of
 * those consoles of the domain that are channels. And it watches @releaseDomain; when the watch
 * fires, it asks whether the domain is still introduced. A domain that has shut down or is
 * suspended still is. There is no other way to learn of the end: a domain that is destroyed
 * continues to exist in Xen, dying, as long as we map pages of it.
 *
 * Whoever has a connection to xenstore can control everything on the host. So if the device model
 * gives up rights (-xen-domid-restrict, another user or root directory), a child process takes over
 * the connection and holds nothing else. The device model sends it messages of one struct over a
 * socket pair, and cannot make it do anything beyond them. Otherwise there is no child, as a fork
 * takes a quarter of the time of a start. Both cases run the same code (struct watcher).
 *
 * Owns: the connection or the child; and the state node, which is removed at the end. (libxl has
 * removed it before it kills us; after any other end it would be wrong.) The child ends when the
 * socket pair is closed, so it never outlives the device model.
 *
 * Fails: without xenstore the device model does not start. If the connection or the child is lost
 * later, the device model continues with a warning: the toolstack can still end it by a signal.
 *
 * Everything runs on the control thread.
 */
#include "xen/domain.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/child.h"
#include "base/log.h"
#include "base/rights.h"
#include "xen/backends.h"

#define CHILD_END_S  5
#define PATH_MAX_LEN 80
#define NOBODY	     65534

enum store_msg {
	MSG_READY,    /* from the child: the result of its start */
	MSG_ANNOUNCE, /* to the child: write "running"; from the child: the result */
	MSG_GONE,     /* from the child: the domain is no longer introduced */
	MSG_CONSOLE,  /* to the child: console `devid` is connected; not answered */
};

struct msg {
	enum store_msg type;
	int rc; /* 0 or -errno */
	unsigned devid;
};

#define XENBUS_CONNECTED "4"

/* --- reading --- */

static bool get_number(const struct xs_req *r, uint64_t *out)
{
	char *end;

	if (!r->reply || !*r->reply)
		return false;
	*out = strtoull(r->reply, &end, 10);
	return !*end;
}

/* libxl describes a console under its back end, where the guest cannot write. A console with a name
 * is a channel. */
static void read_channels(struct xs *xs, unsigned domid, const struct xs_req *ids,
			  struct store_facts *facts)
{
	for (char *id = ids->reply; id && id < ids->reply + ids->len; id += strlen(id) + 1) {
		struct xen_channel *c = &facts->channel[facts->channels];
		char path[PATH_MAX_LEN], *name, *end;

		if (facts->channels == XEN_CHANNELS_MAX)
			break;
		c->devid = (unsigned)strtoul(id, &end, 10);
		if (*end || !c->devid)
			continue; /* 0 is the guest's own console */
		snprintf(path, sizeof(path), "backend/console/%u/%u/name", domid, c->devid);
		name = xs_get(xs, path);
		if (name && *name && strlen(name) < sizeof(c->name)) {
			strcpy(c->name, name);
			facts->channels++;
		}
		free(name);
	}
}

int store_open(struct store *s, unsigned domid, struct store_facts *facts, struct err *e)
{
	enum { STATIC_MAX, TARGET, KILL_UID, CONSOLES, BACKENDS, ASKED };
	static const struct {
		enum xsd_sockmsg_type type;
		const char *path;
	} what[ASKED] = {
		[STATIC_MAX] = {XS_READ, "/local/domain/%u/memory/static-max"},
		[TARGET] = {XS_READ, "/local/domain/%u/memory/target"},
		[KILL_UID] = {XS_READ, "/local/domain/%u/image/device-model-kill-uid"},
		[CONSOLES] = {XS_DIRECTORY, "backend/console/%u"},
		[BACKENDS] = {XS_DIRECTORY, "backend"},
	};
	struct xs *xs = &s->watcher.xs;
	struct xs_req q[ASKED];
	char path[ASKED][PATH_MAX_LEN];
	int rc = xs_connect(xs);
	uint64_t n;

	s->watcher.domid = domid;
	memset(facts, 0, sizeof(*facts));
	if (rc < 0)
		return err_set(e, rc, "could not connect to xenstore: %s", strerror(-rc));
	for (unsigned i = 0; i < ASKED; i++) {
		snprintf(path[i], sizeof(path[i]), what[i].path, domid);
		q[i] = (struct xs_req){what[i].type, path[i]};
	}
	xs_ask(xs, q, ASKED);
	if (get_number(&q[STATIC_MAX], &n) && n <= UINT64_MAX / KiB)
		facts->static_max = n * KiB;
	if (get_number(&q[TARGET], &n) && n <= UINT64_MAX / KiB)
		facts->target = n * KiB;
	if (get_number(&q[KILL_UID], &n) && n && n < UINT32_MAX) {
		facts->has_kill_uid = true;
		facts->kill_uid = (uid_t)n;
	}
	read_channels(xs, domid, &q[CONSOLES], facts);
	rc = pv_backends_check(xs, domid, q[BACKENDS].reply, q[BACKENDS].len, e);
	for (unsigned i = 0; i < ASKED; i++)
		free(q[i].reply);
	return rc;
}

/* --- the watcher: here or in the child --- */

static int watcher_start(struct watcher *w)
{
	char number[XS_NUMBER];
	struct xs_req q[] = {{XS_WATCH, "@releaseDomain", "gone"},
			     {XS_IS_DOMAIN_INTRODUCED, number}};

	snprintf(number, sizeof(number), "%u", w->domid);
	xs_ask(&w->xs, q, ARRAY_SIZE(q));
	w->seen = q[1].reply && !strcmp(q[1].reply, "T");
	free(q[0].reply);
	free(q[1].reply);
	return q[0].rc;
}

/* To be called when the descriptor is readable. Returns true when the domain is no longer
 * introduced, provided that it once was. The watch fires for every domain of the host. */
static bool watcher_gone(struct watcher *w)
{
	while (!w->gone && xs_take_events(&w->xs)) {
		bool there = xs_introduced(&w->xs, w->domid);

		w->gone = w->xs.fd >= 0 && w->seen && !there;
		w->seen |= there;
	}
	return w->gone;
}

static int watcher_announce(struct watcher *w)
{
	char directory[PATH_MAX_LEN], path[PATH_MAX_LEN];
	struct xs_req q[] = {{XS_DIRECTORY, directory}, {XS_WRITE, path, "running"}};

	snprintf(directory, sizeof(directory), "device-model/%u", w->domid);
	snprintf(path, sizeof(path), "device-model/%u/state", w->domid);
	xs_ask(&w->xs, q, ARRAY_SIZE(q));
	w->made = !q[0].reply;
	w->wrote = !q[1].rc;
	free(q[0].reply);
	free(q[1].reply);
	return q[1].rc;
}

static void watcher_connect(struct watcher *w, unsigned devid)
{
	char path[PATH_MAX_LEN], *there;

	snprintf(path, sizeof(path), "backend/console/%u/%u/state", w->domid, devid);
	/* Do not create the node if there is no such console. */
	there = xs_get(&w->xs, path);
	if (there)
		xs_put(&w->xs, path, XENBUS_CONNECTED);
	free(there);
}

static void watcher_end(struct watcher *w)
{
	char path[PATH_MAX_LEN];

	/* If libxl has started us, it owns the directory, so only the state node is removed. The
	 * directory goes, too, if we created it, or if the domain is gone and nobody else will
	 * remove it. */
	snprintf(path, sizeof(path), "device-model/%u%s", w->domid,
		 w->gone || w->made ? "" : "/state");
	if (w->wrote)
		xs_remove(&w->xs, path);
	xs_disconnect(&w->xs);
}

/* --- the child --- */

static bool msg_send(int sock, enum store_msg type, int rc)
{
	struct msg m = {.type = type, .rc = rc};

	return send(sock, &m, sizeof(m), MSG_NOSIGNAL) == sizeof(m);
}

/* Give up all rights: the open connection to xenstore needs none. The change of user also drops the
 * capabilities; a process that is not root has none to drop. */
static int child_confine(void)
{
	int rc = rights_no_new(NULL);

	if (rc == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		rc = -errno;
	return rc < 0 || geteuid() != 0 ? rc : rights_become(NOBODY, NOBODY, NULL, 0, NULL);
}

static void child_run(int sock, struct watcher *w)
{
	const int keep[] = {sock, w->xs.fd};
	struct pollfd p[2];
	struct msg m;
	int rc;

	rights_close_others(keep, 2);
	rc = watcher_start(w);
	if (!rc)
		rc = child_confine();
	msg_send(sock, MSG_READY, rc);
	if (rc < 0)
		return;

	p[0] = (struct pollfd){.fd = sock, .events = POLLIN};
	p[1] = (struct pollfd){.fd = w->xs.fd, .events = POLLIN};
	for (;;) {
		if (poll(p, 2, -1) < 0)
			break;
		if (p[1].revents) {
			if (watcher_gone(w))
				msg_send(sock, MSG_GONE, 0);
			if (w->gone || w->xs.fd < 0)
				p[1].fd = -1;
		}
		if (!p[0].revents)
			continue;
		if (recv(sock, &m, sizeof(m), 0) != sizeof(m))
			break; /* the device model has ended */
		if (m.type == MSG_ANNOUNCE)
			msg_send(sock, MSG_ANNOUNCE, watcher_announce(w));
		else if (m.type == MSG_CONSOLE)
			watcher_connect(w, m.devid);
	}
	watcher_end(w);
}

/* --- the device model's side --- */

static int child_start(struct store *s, struct err *e)
{
	int pair[2];
	struct msg m;
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(e, -errno, "socketpair: %s", strerror(errno));
	s->pid = fork();
	if (s->pid < 0) {
		int rc = err_set(e, -errno, "fork: %s", strerror(errno));

		s->pid = 0;
		close(pair[0]);
		close(pair[1]);
		return rc;
	}
	if (!s->pid) {
		/* Signals to the process group are for the device model; the child ends when the
		 * socket is closed. */
		signal(SIGINT, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		prctl(PR_SET_NAME, "xenpvh-store");
		close(pair[0]);
		child_run(pair[1], &s->watcher);
		_exit(0);
	}
	close(pair[1]);
	xs_disconnect(&s->watcher.xs);
	s->sock = pair[0];
	n = recv(s->sock, &m, sizeof(m), 0);
	return n == sizeof(m) ? m.rc : -EIO;
}

int store_start(struct store *s, bool apart, struct err *e)
{
	int rc;

	s->watch.fd = -1;
	rc = apart ? child_start(s, e) : watcher_start(&s->watcher);
	return rc < 0 ? err_set(e, rc, "could not watch domain %u in xenstore: %s",
				s->watcher.domid, strerror(-rc))
		      : 0;
}

static void store_report_gone(struct store *s)
{
	if (s->gone)
		return;
	s->gone = true;
	if (s->client)
		s->client->event(s->client->ctx, HV_GONE);
}

static void store_lost(struct store *s)
{
	log_warn("the connection to xenstore is lost: the end of the domain will not be noticed");
}

static void xenstore_readable(struct loop_fd *w, uint32_t events)
{
	struct store *s = container_of(w, struct store, watch);

	if (watcher_gone(&s->watcher)) {
		loop_fd_del(s->loop, w);
		store_report_gone(s);
	} else if (s->watcher.xs.fd < 0) {
		loop_fd_del(s->loop, w);
		store_lost(s);
	}
}

static void child_readable(struct loop_fd *w, uint32_t events)
{
	struct store *s = container_of(w, struct store, watch);
	struct msg m;

	if (recv(s->sock, &m, sizeof(m), MSG_DONTWAIT) == sizeof(m)) {
		if (m.type == MSG_GONE)
			store_report_gone(s);
		return;
	}
	loop_fd_del(s->loop, w);
	store_lost(s);
}

int store_watch(struct store *s, struct loop *control, const struct hv_client *client)
{
	s->client = client;
	s->loop = control;
	return s->pid ? loop_fd_add(control, &s->watch, s->sock, EPOLLIN, child_readable)
		      : loop_fd_add(control, &s->watch, s->watcher.xs.fd, EPOLLIN,
				    xenstore_readable);
}

/* Have the child write the state node. 0 or -errno. */
static int child_announce(struct store *s)
{
	struct msg m;

	if (!msg_send(s->sock, MSG_ANNOUNCE, 0))
		return -errno;
	do {
		if (recv(s->sock, &m, sizeof(m), 0) != sizeof(m))
			return -EIO;
		if (m.type == MSG_GONE)
			store_report_gone(s);
	} while (m.type != MSG_ANNOUNCE);
	return m.rc;
}

int store_announce(struct store *s, struct err *e)
{
	int rc = s->pid ? child_announce(s) : watcher_announce(&s->watcher);

	return rc < 0 ? err_set(e, rc,
				"could not write the state of the device model to xenstore: %s",
				strerror(-rc))
		      : 0;
}

void store_connect(struct store *s, const struct store_facts *facts)
{
	for (unsigned i = 0; i < facts->channels; i++) {
		struct msg m = {.type = MSG_CONSOLE, .devid = facts->channel[i].devid};

		if (s->pid)
			send(s->sock, &m, sizeof(m), MSG_NOSIGNAL);
		else
			watcher_connect(&s->watcher, m.devid);
	}
}

void store_stop(struct store *s)
{
	if (s->loop)
		loop_fd_del(s->loop, &s->watch);
	if (!s->pid) {
		watcher_end(&s->watcher);
		return;
	}
	close(s->sock);
	child_end(s->pid, "the child that holds the connection to xenstore", CHILD_END_S);
	s->pid = 0;
}
