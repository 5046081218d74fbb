/* SPDX-License-Identifier: MIT */
/* backend.h - what a kind of chardev is made of (private to this folder)
 *
 * One row of `struct chardev_class` per kind; its object begins with `struct chardev`. The class is
 * called by chardev.c only; it tells the front end what happens with the chardev_is_*() functions,
 * on the front end's loop. A front end may do anything but free the chardev from within these: the
 * class looks at its state again afterwards.
 */
#ifndef CHARDEV_BACKEND_H
#define CHARDEV_BACKEND_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/loop.h"
#include "chardev/chardev.h"

struct chardev_class {
	const char *name;  /* "socket" */
	const char *alias; /* NULL: none */
	const char *help;  /* one line */
	size_t size;	   /* of its struct, which begins with struct chardev */
	bool messages;	   /* one write is one message at the other end */
	const struct opt *options;
	/* Set what close() needs to know before anything can fail; first of all. NULL: nothing. */
	void (*init)(struct chardev *cd);
	/* Control thread, options applied: open all that is opened by path. May wait with
	 * wait_ready(). 0 or -errno with `e`; close() follows in any case. NULL: nothing to open.
	 */
	int (*open)(struct chardev *cd, struct err *e);
	/* Begin and end to serve cd->user on cd->loop. 0 or -errno with `e`. */
	int (*start)(struct chardev *cd, struct err *e);
	void (*stop)(struct chardev *cd); /* NULL: nothing to do */
	/* As chardev_write(). */
	size_t (*write)(struct chardev *cd, const char *buf, size_t len);
	void (*pause)(struct chardev *cd); /* cd->paused has changed. NULL: nothing to do */
	void (*drop)(struct chardev *cd);  /* as chardev_drop_client(). NULL: there is no client */
	/* Control thread, stopped. `remove`: also the files that we made to be found by. */
	void (*close)(struct chardev *cd, bool remove);
};

struct chardev {
	struct list link;
	const struct chardev_class *class;
	const struct opt *tables[3];

	/* options */
	char *id, *logfile;
	bool logappend, mux;

	/* the front end's loop */
	struct loop *loop;
	struct chardev_user *user; /* NULL: idle */
	bool paused;
	bool was_short; /* the front end waits for writable() */
	int log_fd;
	bool log_failed, write_failed; /* has been said */

	/* any thread */
	atomic_bool front_open;
	pthread_mutex_t name_lock;
	char name[CHARDEV_NAME_MAX];
};

extern const struct chardev_class chardev_file, chardev_null, chardev_pipe, chardev_pty,
	chardev_ringbuf, chardev_memory, chardev_socket, chardev_stdio, chardev_udp;

void chardev_is_open(struct chardev *cd);
void chardev_is_closed(struct chardev *cd);
void chardev_is_writable(struct chardev *cd);
/* In pieces of at most CHARDEV_READ_MAX; returns the bytes that were delivered, which is less than
 * `len` when the front end paused or went. */
size_t chardev_deliver(struct chardev *cd, const char *buf, size_t len);

/* What query-chardev shows from now on. Any thread. */
void chardev_set_name(struct chardev *cd, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A write to `what` failed: said once per chardev. Keeps errno. */
void chardev_write_failed(struct chardev *cd);

/* Control thread, from open() only: wait until `fd` has `events`, at most `timeout_ms` (-1: for
 * ever). 0 when it has, -ETIMEDOUT, or -EINTR when a signal asks the program to end. */
int wait_ready(int fd, short events, int timeout_ms);

#endif
