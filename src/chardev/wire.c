/* SPDX-License-Identifier: MIT */
/* wire.c - see wire.h
 *
 * Reading. The input is watched while the front end wants it, one read() per turn of the loop. A
 * file cannot be watched: a task that defers itself reads it, one piece per turn, too.
 *
 * A hang-up cannot be masked in epoll. When it comes while the front end has paused, the descriptor
 * is taken out of epoll until the front end goes on; then what the other end wrote before it left
 * is read first, and its end comes after that, as from a client that stayed.
 * A pty keeps its input for whoever opens it next, so there the end comes at once.
 *
 * Writing. What goes at once is written; room is awaited when some did not go. An output that
 * failed counts as taken: with a socket or a pty the input tells of the end, elsewhere a line in
 * the log.
 *
 * A callback may end this session and begin another. `session` tells.
 */
#include "chardev/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool wants_input(const struct wire *w)
{
	return w->in >= 0 && !w->cd.paused;
}

static void room(struct wire *w)
{
	w->want_room = false;
	chardev_is_writable(&w->cd);
}

static void out_ready(struct loop_fd *watch, uint32_t events)
{
	struct wire *w = container_of(watch, struct wire, out_watch);

	loop_fd_del(w->cd.loop, watch);
	room(w);
}

/* Watch what is wanted now. */
static void update(struct wire *w)
{
	bool shared = w->in >= 0 && w->in == w->out;
	uint32_t events = (wants_input(w) ? EPOLLIN : 0) | (shared && w->want_room ? EPOLLOUT : 0);

	if (w->in_watch.fd >= 0)
		loop_fd_mod(w->cd.loop, &w->in_watch, events);
	else if ((w->hung || w->unwatched) && wants_input(w))
		loop_defer(w->cd.loop, &w->again);
	if (!shared && w->want_room && w->out_watch.fd < 0)
		loop_fd_add(w->cd.loop, &w->out_watch, w->out, EPOLLOUT, out_ready);
}

static void read_once(struct wire *w)
{
	char buf[CHARDEV_READ_MAX];
	ssize_t n = read(w->in, buf, sizeof(buf));

	if (n > 0) {
		chardev_deliver(&w->cd, buf, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		w->lost(w);
	}
}

static void in_ready(struct loop_fd *watch, uint32_t events)
{
	struct wire *w = container_of(watch, struct wire, in_watch);
	unsigned session = w->session;

	if (events & EPOLLOUT) {
		room(w);
		if (w->session != session || w->in < 0)
			return;
		update(w);
	}
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (wants_input(w)) {
		read_once(w);
	} else if ((events & (EPOLLHUP | EPOLLERR)) && w->input_stays) {
		w->lost(w);
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		loop_fd_del(w->cd.loop, watch);
		w->hung = true;
		if (w->want_room)
			room(w);
	}
}

static void read_again(struct loop_task *t)
{
	struct wire *w = container_of(t, struct wire, again);
	unsigned session = w->session;

	if (w->in < 0 || !w->cd.user || w->in_watch.fd >= 0)
		return;
	if (wants_input(w))
		read_once(w);
	if (w->session == session)
		update(w);
}

/* --- for the kinds --- */

void wire_init(struct wire *w)
{
	w->in = w->out = w->in_watch.fd = w->out_watch.fd = -1;
	w->again.fn = read_again;
}

int wire_begin(struct wire *w, int in, int out)
{
	int rc = 0;

	w->session++;
	w->in = in;
	w->out = out;
	w->hung = w->unwatched = w->want_room = false;
	if (in >= 0)
		rc = loop_fd_add(w->cd.loop, &w->in_watch, in, wants_input(w) ? EPOLLIN : 0,
				 in_ready);
	if (rc == -EPERM) {
		w->unwatched = true;
		rc = 0;
	}
	if (rc < 0) {
		w->in = w->out = -1;
		return rc;
	}
	update(w);
	chardev_is_open(&w->cd);
	return 0;
}

void wire_end_input(struct wire *w)
{
	if (w->in_watch.fd >= 0)
		loop_fd_del(w->cd.loop, &w->in_watch);
	w->in = -1;
	w->session++;
}

void wire_end(struct wire *w)
{
	wire_end_input(w);
	if (w->out_watch.fd >= 0)
		loop_fd_del(w->cd.loop, &w->out_watch);
	w->out = -1;
	w->want_room = false;
}

/* --- for struct chardev_class --- */

size_t wire_write(struct chardev *cd, const char *buf, size_t len)
{
	struct wire *w = container_of(cd, struct wire, cd);
	size_t done = 0;

	while (w->out >= 0 && done < len) {
		ssize_t n = w->socket ? send(w->out, buf + done, len - done,
					     MSG_NOSIGNAL | MSG_DONTWAIT)
				      : write(w->out, buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			w->want_room = true;
			update(w);
			return done;
		}
		if (n < 0) {
			if (w->in != w->out)
				chardev_write_failed(cd);
			break;
		}
		done += (size_t)n;
	}
	return len;
}

void wire_pause(struct chardev *cd)
{
	struct wire *w = container_of(cd, struct wire, cd);

	if (w->in >= 0)
		update(w);
}

void wire_stop(struct chardev *cd)
{
	wire_end(container_of(cd, struct wire, cd));
}

void wire_drop(struct chardev *cd)
{
	struct wire *w = container_of(cd, struct wire, cd);

	if (w->in < 0 && w->out < 0)
		return;
	wire_end(w);
	chardev_is_closed(cd);
}
