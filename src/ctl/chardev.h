/* SPDX-License-Identifier: MIT */
/* chardev.h - character streams (-chardev): sockets, stdio, null
 *
 * A chardev carries bytes for one front end at a time (a monitor, later a serial port). A listening
 * socket serves one client at a time, the others wait in the kernel's backlog until it leaves.
 * Nothing is buffered here: input is handed over as it comes and can be paused; output is written
 * at once as far as it goes.
 *
 * Everything runs on the control thread; callbacks come from its loop.
 */
#ifndef CTL_CHARDEV_H
#define CTL_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"
#include "conf/kvs.h"
#include "conf/opts.h"

struct chardev;
struct chardevs;
struct cmdline;
struct loop;

/* What a front end wants to hear. It may detach or write from within any of these. */
struct chardev_user {
	/* A client is there (for a chardev that always has one: right from chardev_attach()), or
	 * has gone. */
	void (*opened)(struct chardev_user *u);
	void (*closed)(struct chardev_user *u);
	/* `len` > 0 bytes came in; all of them are the front end's to keep. */
	void (*received)(struct chardev_user *u, const char *buf, size_t len);
	/* chardev_write() had been short and there is room again. */
	void (*writable)(struct chardev_user *u);
};

extern const struct opt chardev_options[];

/* Open every -chardev of `cmd`: sockets are bound and listen when this returns. NULL with `e`
 * (origin included). */
struct chardevs *chardevs_open(const struct cmdline *cmd, struct loop *control, struct err *e);
/* Close all. `unlink_sockets`: remove the socket files that we made (not in the probe run, which
 * must leave them). */
void chardevs_free(struct chardevs *cs, bool unlink_sockets);
void chardevs_help(FILE *out);

struct chardev *chardev_find(struct chardevs *cs, const char *id);
/* All in order of creation: the first one for NULL; NULL at the end. */
struct chardev *chardev_next(struct chardevs *cs, const struct chardev *cd);
const char *chardev_id(const struct chardev *cd);
/* As QEMU's query-chardev shows it: "unix:/path,server=on", "disconnected:unix:...", "null". */
const char *chardev_filename(const struct chardev *cd, char *buf, size_t size);
bool chardev_attached(const struct chardev *cd);

/* Become the front end; from now on clients are served. -EBUSY with `e` when there is one. */
int chardev_attach(struct chardev *cd, struct chardev_user *u, struct err *e);
void chardev_detach(struct chardev *cd); /* no callback comes after this */

/* Write as much as goes without waiting; returns the bytes taken. When that is less than `len`,
 * writable() will come. Without a client, everything is taken and dropped. */
size_t chardev_write(struct chardev *cd, const char *buf, size_t len);
/* Stop and continue reading; received() does not come while it is paused. */
void chardev_pause(struct chardev *cd, bool pause);
/* Throw the client out (closed() is called) and wait for the next. */
void chardev_drop_client(struct chardev *cd);

#endif
