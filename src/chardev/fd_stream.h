/* SPDX-License-Identifier: MIT */
/* fd_stream.h - descriptors that carry the bytes of a chardev (private to this folder)
 *
 * A `struct fd_stream` is the part that sockets, ptys, stdio, files and pipes have in common: one
 * descriptor to read and one to write (often the same), served on the front end's loop. A kind has
 * it as the first member of its object. The kind opens and closes the descriptors, and decides what
 * the end of the input means. A session lasts from fd_stream_begin() to fd_stream_end().
 */
#ifndef CHARDEV_FD_STREAM_H
#define CHARDEV_FD_STREAM_H

#include "chardev/backend.h"

struct fd_stream {
	struct chardev cd;
	int in, out;	  /* -1: none; the kind closes them */
	bool socket;	  /* `out` is a socket, which is written with send() */
	bool input_stays; /* after a hang-up the unread input stays for the next session */
	/* Called at the end of the input, or after an error of it: the other end has disconnected.
	 * The kind calls fd_stream_end() or fd_stream_end_input(), and reports it to the front end.
	 */
	void (*lost)(struct fd_stream *w);

	/* private to fd_stream.c */
	struct loop_fd in_watch, out_watch;
	struct loop_task again; /* reads an input that is not in epoll: see the next two */
	bool unwatched;		/* a regular file, which epoll refuses; always readable */
	bool hung_up;		/* the other end hung up while the input was paused; removed from
				   epoll, but data that came before can still be read */
	bool want_room;		/* a write was short: wait until `out` is writable */
	unsigned session;	/* changes when a session begins or its input ends */
};

/* Called by a kind's init(). */
void fd_stream_init(struct fd_stream *w);
/* Begin a session with these descriptors and call the front end's opened(). Returns 0 or -errno. */
int fd_stream_begin(struct fd_stream *w, int in, int out);
/* End the session: stop using both descriptors. Output is discarded until the next session. Does
 * nothing when there is no session. */
void fd_stream_end(struct fd_stream *w);
/* The same for the input alone. */
void fd_stream_end_input(struct fd_stream *w);

/* Functions for a kind's struct chardev_class. */
size_t fd_stream_write(struct chardev *cd, const char *buf, size_t len);
void fd_stream_pause(struct chardev *cd);
void fd_stream_stop(struct chardev *cd);
/* As chardev_drop_client(), for kinds whose client cannot connect again: ends both directions. */
void fd_stream_drop(struct chardev *cd);

#endif
