/* SPDX-License-Identifier: MIT */
/* chardev.h - character streams (-chardev)
 *
 * A chardev carries bytes for one front end at a time: a monitor, a console, a serial port. What is
 * at its other end is a client; a listening socket serves one at a time, the others wait in the
 * kernel's backlog until it leaves. Nothing is buffered here: input is handed over as it comes and
 * can be paused; output is written at once as far as it goes.
 *
 * Threads. The control thread creates and frees chardevs and may ask chardev_filename() and
 * chardev_frontend_open() at any time. An attached chardev belongs to the loop that its front end
 * named: all callbacks come from that loop, and all calls below "for front ends" are made on it.
 * chardev_attach() and chardev_detach() may also be called by the control thread while that loop
 * does not run. A chardev that nobody attached to is idle.
 */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"
#include "conf/kvs.h"
#include "conf/opts.h"

struct chardev;
struct chardevs;
struct loop;

/* At most what one received() brings. */
#define CHARDEV_READ_MAX 4096
/* Space for chardev_filename(). */
#define CHARDEV_NAME_MAX 512

/* What a front end wants to hear. All four are needed. It may detach, write, pause or drop the
 * client from within any of these. */
struct chardev_user {
	/* A client is there (for a chardev that always has one: right from chardev_attach()), or
	 * has gone. */
	void (*opened)(struct chardev_user *u);
	void (*closed)(struct chardev_user *u);
	/* 1 to CHARDEV_READ_MAX bytes came in; all of them are the front end's to keep. One that
	 * cannot take that many more calls chardev_pause() in time (from within this, say). */
	void (*received)(struct chardev_user *u, const char *buf, size_t len);
	/* chardev_write() had been short and there is room again, or nobody any more who could
	 * make room (then after closed()). */
	void (*writable)(struct chardev_user *u);
};

/* --- the set of all -chardev; control thread --- */

/* The kinds in the order of help; NULL at the end (`i` counts from 0). `options` are those of the
 * kind alone; chardev_options are common to all. */
const char *chardev_kind(unsigned i, const char **help, const struct opt **options);
extern const struct opt chardev_options[];

struct chardevs *chardevs_new(void); /* NULL: out of memory */
/* Open one from `backend=KIND,id=ID,...`: whatever is opened by path is open when this returns, a
 * server listens, with wait=on it has its first client. 0 or -errno with `e`. */
int chardev_add(struct chardevs *cs, const struct kvs *k, struct err *e);
/* Close all; no front end is attached any more. `remove`: also the files that we made to be found
 * by (not in the probe run, which must leave them). NULL is allowed. */
void chardevs_free(struct chardevs *cs, bool remove);

struct chardev *chardev_find(struct chardevs *cs, const char *id);
/* All in order of creation: the first one for NULL; NULL at the end. */
struct chardev *chardev_next(struct chardevs *cs, const struct chardev *cd);
const char *chardev_id(const struct chardev *cd);
/* As QEMU's query-chardev shows it: "unix:/path,server=on", "disconnected:unix:...",
 * "pty:/dev/pts/3", "null". Fills and returns `buf`. */
const char *chardev_filename(struct chardev *cd, char *buf, size_t size);
/* What chardev_set_open() said last; false while nobody is attached. */
bool chardev_frontend_open(struct chardev *cd);

/* A ringbuf's other end. -EINVAL when `cd` is of another kind. */
int chardev_ringbuf_write(struct chardev *cd, const uint8_t *buf, size_t len);
/* Takes at most `size` bytes out; bytes taken or -EINVAL. */
ssize_t chardev_ringbuf_read(struct chardev *cd, uint8_t *buf, size_t size);
/* Bytes that are there, or -EINVAL. */
ssize_t chardev_ringbuf_count(struct chardev *cd);

/* --- for front ends --- */

/* Become the front end; from now on clients are served on `loop`. opened() may be called before
 * this returns. -EBUSY with `e` when there is one already. */
int chardev_attach(struct chardev *cd, struct chardev_user *u, struct loop *loop, struct err *e);
void chardev_detach(struct chardev *cd); /* no callback comes after this */

/* Write as much as goes without waiting; returns the bytes taken. When that is less than `len`,
 * writable() will come. Without a client, everything is taken and dropped. (The output of stdio,
 * file and pipe goes on after the end of their input, which calls closed().) */
size_t chardev_write(struct chardev *cd, const char *buf, size_t len);
/* Does the other end see where a chardev_write() ended? Then what belongs together must be written
 * at once, and nothing else with it. */
bool chardev_has_messages(const struct chardev *cd);
/* Stop and continue reading: between chardev_pause(cd, true) and chardev_pause(cd, false) no
 * received() comes. Holds over a change of clients; false after chardev_attach(). */
void chardev_pause(struct chardev *cd, bool pause);
/* Throw the client out (closed() is called) and wait for the next. */
void chardev_drop_client(struct chardev *cd);
/* Is there somebody on our side who listens (a guest that opened its port, say)? True after
 * chardev_attach(); shown as "frontend-open". */
void chardev_set_open(struct chardev *cd, bool open);

#endif
