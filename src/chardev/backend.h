/* SPDX-License-Identifier: MIT */
/* backend.h - what a kind of chardev is made of (private to this folder)
 *
 * Each kind of chardev has one `struct chardev_class`, and an object that begins with
 * `struct chardev`. Only chardev.c calls the functions of the class. A kind reports events to the
 * front end by the chardev_is_*() functions and chardev_deliver(), on the front end's loop. Within
 * these the front end may do anything except free the chardev, so the kind must check its state
 * again after each of them.
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
	size_t size;	   /* of the object, in bytes */
	bool messages;	   /* the other end receives each write as one message */
	const struct opt *options;
	/* Initialise the members that close() reads. Called first, before anything can fail. NULL:
	 * zeroes are right. */
	void (*init)(struct chardev *cd);
	/* Called on the control thread when the options are set: open all that is opened by path.
	 * May wait with wait_ready(). Returns 0, or -errno with `e`; close() is called in either
	 * case. NULL: there is nothing to open. */
	int (*open)(struct chardev *cd, struct err *e);
	/* Begin to serve the front end cd->user on cd->loop. Returns 0, or -errno with `e`. */
	int (*start)(struct chardev *cd, struct err *e);
	/* The front end has detached: stop all use of cd->loop. NULL: there is nothing to stop. */
	void (*stop)(struct chardev *cd);
	/* As chardev_write(). */
	size_t (*write)(struct chardev *cd, const char *buf, size_t len);
	/* Called after cd->paused has changed. NULL: nothing depends on it. */
	void (*pause)(struct chardev *cd);
	/* As chardev_drop_client(). NULL: this kind has no client that could be disconnected. */
	void (*drop)(struct chardev *cd);
	/* Called on the control thread, after stop(). `remove`: also remove the socket file or
	 * symbolic link that was created. */
	void (*close)(struct chardev *cd, bool remove);
};

struct chardev {
	struct list link;
	const struct chardev_class *kind;
	const struct opt *tables[3];

	/* options */
	char *id, *logfile;
	bool logappend, mux;

	/* the front end's loop */
	struct loop *loop;
	struct chardev_user *user; /* the front end; NULL: none is attached */
	bool paused;
	bool was_short;		       /* a write was short: the front end waits for writable() */
	int log_fd;		       /* -1: no log file */
	bool log_failed, write_failed; /* these errors were logged already */

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
/* Pass input to the front end, at most CHARDEV_READ_MAX bytes at a time. Returns the bytes that
 * were delivered: less than `len` if the front end paused the input or detached. */
size_t chardev_deliver(struct chardev *cd, const char *buf, size_t len);

/* Set the text that query-chardev shows. May be called on any thread. */
void chardev_set_name(struct chardev *cd, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Log that a write failed with errno, once per chardev. Does not change errno. */
void chardev_write_failed(struct chardev *cd);

/* Wait until poll() reports `events` on `fd`, at most `timeout_ms` milliseconds (-1: no limit).
 * Only for open() on the control thread. Returns 0, -ETIMEDOUT, or -EINTR when a signal has asked
 * the program to end. */
int wait_ready(int fd, short events, int timeout_ms);

#endif
