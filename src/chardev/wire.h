/* SPDX-License-Identifier: MIT */
/* wire.h - descriptors that carry the bytes of a chardev (private to this folder)
 *
 * The part that sockets, ptys, stdio, files and pipes have in common: one descriptor to read, one
 * to write (often the same), served on the front end's loop. The kinds embed it first in their
 * object, open and close the descriptors, and decide what the end of the input means.
 */
#ifndef CHARDEV_WIRE_H
#define CHARDEV_WIRE_H

#include "chardev/backend.h"

struct wire {
	struct chardev cd;
	int in, out;	  /* -1: none; not ours to close */
	bool socket;	  /* `out` wants send() */
	bool input_stays; /* after a hang-up, what was not read is for the next session */
	/* The end of the input, or an error of it: the other end has gone. wire_end() or
	 * wire_end_input() is up to the kind, and telling the front end. */
	void (*lost)(struct wire *w);

	/* wire.c's */
	struct loop_fd in_watch, out_watch;
	struct loop_task again; /* reads what epoll cannot watch, or need not any more */
	bool unwatched;		/* a file: always readable */
	bool hung;		/* hung up while nobody reads; what came before can still be read */
	bool want_room;
	unsigned session;
};

/* Before anything else. */
void wire_init(struct wire *w);
/* Serve these; the front end is told. 0 or -errno. */
int wire_begin(struct wire *w, int in, int out);
/* Leave both descriptors alone from now on; output is dropped. Harmless when there are none. */
void wire_end(struct wire *w);
/* The same for the input alone. */
void wire_end_input(struct wire *w);

/* For struct chardev_class. */
size_t wire_write(struct chardev *cd, const char *buf, size_t len);
void wire_pause(struct chardev *cd);
void wire_stop(struct chardev *cd);
/* For kinds whose client cannot come back: both directions end, the front end is told. */
void wire_drop(struct chardev *cd);

#endif
