/* SPDX-License-Identifier: MIT */
/* wire.h - descriptors that carry the bytes of a chardev (private to this folder)
 *
 * A `struct wire` is the part that sockets, ptys, stdio, files and pipes have in common: one
 * descriptor to read and one to write (often the same), served on the front end's loop. A kind has
 * it as the first member of its object. The kind opens and closes the descriptors, and decides what
 * the end of the input means. A session lasts from wire_begin() to wire_end().
 */
#ifndef CHARDEV_WIRE_H
#define CHARDEV_WIRE_H

#include "chardev/backend.h"

struct wire {
	struct chardev cd;
	int in, out;	  /* -1: none; the kind closes them */
	bool socket;	  /* `out` is a socket, which is written with send() */
	bool input_stays; /* after a hang-up the unread input stays for the next session */
	/* Called at the end of the input, or after an error of it: the other end has disconnected.
	 * The kind calls wire_end() or wire_end_input(), and reports it to the front end. */
	void (*lost)(struct wire *w);

	/* private to wire.c */
	struct loop_fd in_watch, out_watch;
	struct loop_task again; /* reads an input that is not in epoll: see the next two */
	bool unwatched;		/* a regular file, which epoll refuses; always readable */
	bool hung_up;		/* the other end hung up while the input was paused; removed from
				   epoll, but data that came before can still be read */
	bool want_room;		/* a write was short: wait until `out` is writable */
	unsigned session;	/* changes when a session begins or its input ends */
};

/* Called by a kind's init(). */
void wire_init(struct wire *w);
/* Begin a session with these descriptors and call the front end's opened(). Returns 0 or -errno. */
int wire_begin(struct wire *w, int in, int out);
/* End the session: stop using both descriptors. Output is discarded until the next session. Does
 * nothing when there is no session. */
void wire_end(struct wire *w);
/* The same for the input alone. */
void wire_end_input(struct wire *w);

/* Functions for a kind's struct chardev_class. */
size_t wire_write(struct chardev *cd, const char *buf, size_t len);
void wire_pause(struct chardev *cd);
void wire_stop(struct chardev *cd);
/* As chardev_drop_client(), for kinds whose client cannot connect again: ends both directions. */
void wire_drop(struct chardev *cd);

#endif
