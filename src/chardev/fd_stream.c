/* SPDX-License-Identifier: MIT */
/* fd_stream.c - see fd_stream.h
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
#include "chardev/fd_stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool fd_stream_wants_input(const struct fd_stream *w)
{
	return w->in >= 0 && !w->cd.paused;
}

static void fd_stream_report_room(struct fd_stream *w)
{
	w->want_room = false;
	chardev_is_writable(&w->cd);
}

static void fd_stream_output_ready(struct loop_fd *watch, uint32_t events)
{
	struct fd_stream *w = container_of(watch, struct fd_stream, out_watch);

	loop_fd_del(w->cd.loop, watch);
	fd_stream_report_room(w);
}

/* Have epoll, or the deferred task, report the events that can be handled now. */
static void fd_stream_update_watch(struct fd_stream *w)
{
	bool shared = w->in >= 0 && w->in == w->out;
	uint32_t events =
		(fd_stream_wants_input(w) ? EPOLLIN : 0) | (shared && w->want_room ? EPOLLOUT : 0);

	if (w->in_watch.fd >= 0)
		loop_fd_mod(w->cd.loop, &w->in_watch, events);
	else if ((w->hung_up || w->unwatched) && fd_stream_wants_input(w))
		loop_defer(w->cd.loop, &w->again);
	if (!shared && w->want_room && w->out_watch.fd < 0)
		loop_fd_add(w->cd.loop, &w->out_watch, w->out, EPOLLOUT, fd_stream_output_ready);
}

static void fd_stream_read(struct fd_stream *w)
{
	char buf[CHARDEV_READ_MAX];
	ssize_t n = read(w->in, buf, sizeof(buf));

	if (n > 0) {
		chardev_deliver(&w->cd, buf, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		w->lost(w);
	}
}

static void fd_stream_input_ready(struct loop_fd *watch, uint32_t events)
{
	struct fd_stream *w = container_of(watch, struct fd_stream, in_watch);
	unsigned session = w->session;

	if (events & EPOLLOUT) {
		fd_stream_report_room(w);
		if (w->session != session || w->in < 0)
			return;
		fd_stream_update_watch(w);
	}
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (fd_stream_wants_input(w)) {
		fd_stream_read(w);
	} else if ((events & (EPOLLHUP | EPOLLERR)) && w->input_stays) {
		w->lost(w);
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		loop_fd_del(w->cd.loop, watch);
		w->hung_up = true;
		if (w->want_room)
			fd_stream_report_room(w);
	}
}

static void fd_stream_read_deferred(struct loop_task *t)
{
	struct fd_stream *w = container_of(t, struct fd_stream, again);
	unsigned session = w->session;

	if (w->in < 0 || !w->cd.user || w->in_watch.fd >= 0)
		return;
	if (fd_stream_wants_input(w))
		fd_stream_read(w);
	if (w->session == session)
		fd_stream_update_watch(w);
}

/* --- for the kinds --- */

void fd_stream_init(struct fd_stream *w)
{
	w->in = w->out = w->in_watch.fd = w->out_watch.fd = -1;
	w->again.fn = fd_stream_read_deferred;
}

int fd_stream_begin(struct fd_stream *w, int in, int out)
{
	int rc = 0;

	w->session++;
	w->in = in;
	w->out = out;
	w->hung_up = w->unwatched = w->want_room = false;
	if (in >= 0)
		rc = loop_fd_add(w->cd.loop, &w->in_watch, in,
				 fd_stream_wants_input(w) ? EPOLLIN : 0, fd_stream_input_ready);
	if (rc == -EPERM) {
		w->unwatched = true;
		rc = 0;
	}
	if (rc < 0) {
		w->in = w->out = -1;
		return rc;
	}
	fd_stream_update_watch(w);
	chardev_is_open(&w->cd);
	return 0;
}

void fd_stream_end_input(struct fd_stream *w)
{
	if (w->in_watch.fd >= 0)
		loop_fd_del(w->cd.loop, &w->in_watch);
	w->in = -1;
	w->session++;
}

void fd_stream_end(struct fd_stream *w)
{
	fd_stream_end_input(w);
	if (w->out_watch.fd >= 0)
		loop_fd_del(w->cd.loop, &w->out_watch);
	w->out = -1;
	w->want_room = false;
}

/* --- for struct chardev_class --- */

size_t fd_stream_write(struct chardev *cd, const char *buf, size_t len)
{
	struct fd_stream *w = container_of(cd, struct fd_stream, cd);
	size_t done = 0;

	while (w->out >= 0 && done < len) {
		ssize_t n = w->socket ? send(w->out, buf + done, len - done,
					     MSG_NOSIGNAL | MSG_DONTWAIT)
				      : write(w->out, buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			w->want_room = true;
			fd_stream_update_watch(w);
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

void fd_stream_pause(struct chardev *cd)
{
	struct fd_stream *w = container_of(cd, struct fd_stream, cd);

	if (w->in >= 0)
		fd_stream_update_watch(w);
}

void fd_stream_stop(struct chardev *cd)
{
	fd_stream_end(container_of(cd, struct fd_stream, cd));
}

void fd_stream_drop(struct chardev *cd)
{
	struct fd_stream *w = container_of(cd, struct fd_stream, cd);

	if (w->in < 0 && w->out < 0)
		return;
	fd_stream_end(w);
	chardev_is_closed(cd);
}
