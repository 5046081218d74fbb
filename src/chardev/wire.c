/* SPDX-License-Identifier: MIT */
/* wire.c - see wire.h
 *
 * Reading. The input is watched while the front end has not paused it, with one read() per turn of
 * the loop. epoll refuses a regular file, so a deferred task reads that, also once per turn.
 *
 * epoll always reports a hang-up. When it comes while the input is paused, the descriptor is
 * removed from epoll until the front end continues. Then the data that the other end wrote before
 * is read first, and after it the end of file. A pty keeps its input for the program that opens it
 * next, so there a hang-up ends the session at once.
 *
 * Writing. As much is written as the descriptor accepts; when that is not all, EPOLLOUT is awaited.
 * Output that fails counts as written. With a socket or a pty, the input reports that the other end
 * has gone; with other kinds the failure is logged.
 *
 * A callback may end the session and begin another. Code that continues after a callback compares
 * `session` with the value that it had before.
 */
#include "chardev/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool wire_wants_input(const struct wire *w)
{
	return w->in >= 0 && !w->cd.paused;
}

static void wire_report_room(struct wire *w)
{
	w->want_room = false;
	chardev_is_writable(&w->cd);
}

static void wire_output_ready(struct loop_fd *watch, uint32_t events)
{
	struct wire *w = container_of(watch, struct wire, out_watch);

	loop_fd_del(w->cd.loop, watch);
	wire_report_room(w);
}

/* Have epoll, or the deferred task, report the events that can be handled now. */
static void wire_update_watch(struct wire *w)
{
	bool shared = w->in >= 0 && w->in == w->out;
	uint32_t events =
		(wire_wants_input(w) ? EPOLLIN : 0) | (shared && w->want_room ? EPOLLOUT : 0);

	if (w->in_watch.fd >= 0)
		loop_fd_mod(w->cd.loop, &w->in_watch, events);
	else if ((w->hung_up || w->unwatched) && wire_wants_input(w))
		loop_defer(w->cd.loop, &w->again);
	if (!shared && w->want_room && w->out_watch.fd < 0)
		loop_fd_add(w->cd.loop, &w->out_watch, w->out, EPOLLOUT, wire_output_ready);
}

static void wire_read(struct wire *w)
{
	char buf[CHARDEV_READ_MAX];
	ssize_t n = read(w->in, buf, sizeof(buf));

	if (n > 0) {
		chardev_deliver(&w->cd, buf, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		w->lost(w);
	}
}

static void wire_input_ready(struct loop_fd *watch, uint32_t events)
{
	struct wire *w = container_of(watch, struct wire, in_watch);
	unsigned session = w->session;

	if (events & EPOLLOUT) {
		wire_report_room(w);
		if (w->session != session || w->in < 0)
			return;
		wire_update_watch(w);
	}
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (wire_wants_input(w)) {
		wire_read(w);
	} else if ((events & (EPOLLHUP | EPOLLERR)) && w->input_stays) {
		w->lost(w);
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		loop_fd_del(w->cd.loop, watch);
		w->hung_up = true;
		if (w->want_room)
			wire_report_room(w);
	}
}

static void wire_read_deferred(struct loop_task *t)
{
	struct wire *w = container_of(t, struct wire, again);
	unsigned session = w->session;

	if (w->in < 0 || !w->cd.user || w->in_watch.fd >= 0)
		return;
	if (wire_wants_input(w))
		wire_read(w);
	if (w->session == session)
		wire_update_watch(w);
}

/* --- for the kinds --- */

void wire_init(struct wire *w)
{
	w->in = w->out = w->in_watch.fd = w->out_watch.fd = -1;
	w->again.fn = wire_read_deferred;
}

int wire_begin(struct wire *w, int in, int out)
{
	int rc = 0;

	w->session++;
	w->in = in;
	w->out = out;
	w->hung_up = w->unwatched = w->want_room = false;
	if (in >= 0)
		rc = loop_fd_add(w->cd.loop, &w->in_watch, in, wire_wants_input(w) ? EPOLLIN : 0,
				 wire_input_ready);
	if (rc == -EPERM) {
		w->unwatched = true;
		rc = 0;
	}
	if (rc < 0) {
		w->in = w->out = -1;
		return rc;
	}
	wire_update_watch(w);
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
			wire_update_watch(w);
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
		wire_update_watch(w);
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
