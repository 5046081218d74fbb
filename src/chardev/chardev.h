/* SPDX-License-Identifier: MIT */
/* chardev.h - character streams (-chardev)
 *
 * A chardev carries bytes between one front end (a monitor, a console, a serial port) and a client,
 * the program at its other end. A listening socket serves one client at a time; others wait in the
 * kernel's backlog until it disconnects. Nothing is buffered here. Input is passed on as it
 * arrives, and can be paused; of the output, as much is written as the other end accepts at once.
 *
 * Threads. The control thread creates and frees chardevs, and may call chardev_filename() and
 * chardev_frontend_open() at any time. An attached chardev belongs to the loop that its front end
 * gave to chardev_attach(): all callbacks are called on that loop, and all functions below "for
 * front ends" must be called on it. chardev_attach() and chardev_detach() may also be called by the
 * control thread while that loop does not run. While no front end is attached, a chardev does
 * nothing.
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

/* The most bytes that one call of received() passes. */
#define CHARDEV_READ_MAX 4096
/* Size of a buffer for chardev_filename(). */
#define CHARDEV_NAME_MAX 512

/* The callbacks of a front end; none may be NULL. Each may detach, write, pause the input or drop
 * the client. */
struct chardev_user {
	/* A client has connected. A chardev that always has a client calls this from
	 * chardev_attach(). */
	void (*opened)(struct chardev_user *u);
	/* The client has disconnected. */
	void (*closed)(struct chardev_user *u);
	/* Input of 1 to CHARDEV_READ_MAX bytes, all of which the front end must consume. A front
	 * end without room for CHARDEV_READ_MAX bytes more must call chardev_pause() first, at the
	 * latest from within received(). */
	void (*received)(struct chardev_user *u, const char *buf, size_t len);
	/* Called once after a short chardev_write(): more can be written now. Also called, after
	 * closed(), when the client has disconnected: a write then discards its data. */
	void (*writable)(struct chardev_user *u);
};

/* --- the set of all -chardev; control thread --- */

/* Returns the name of kind `i`, counted from 0 in the order of the help text, or NULL after the
 * last. `options` are those of this kind alone; chardev_options are common to all kinds. */
const char *chardev_kind(unsigned i, const char **help, const struct opt **options);
extern const struct opt chardev_options[];

struct chardevs *chardevs_new(void); /* NULL: out of memory */
/* Create a chardev from `backend=KIND,id=ID,...`. When this returns, all that is opened by path is
 * open and a server listens; with wait=on it also has its first client. Returns 0, or -errno with
 * `e`. */
int chardev_add(struct chardevs *cs, const struct kvs *k, struct err *e);
/* Close and free all chardevs; front ends must have detached. `remove`: also remove the socket
 * files and symbolic links that were created. The probe run, in which libxl only asks for the
 * program's abilities, leaves them. `cs` may be NULL. */
void chardevs_free(struct chardevs *cs, bool remove);

struct chardev *chardev_find(struct chardevs *cs, const char *id);
/* Returns the chardev that was created after `cd`, the first one for NULL, or NULL after the last.
 */
struct chardev *chardev_next(struct chardevs *cs, const struct chardev *cd);
const char *chardev_id(const struct chardev *cd);
/* Store the text that QEMU's query-chardev shows: "unix:/path,server=on",
 * "disconnected:unix:...", "pty:/dev/pts/3", "null". Returns `buf`. */
const char *chardev_filename(struct chardev *cd, char *buf, size_t size);
/* Returns the last value of chardev_set_open(), or false while no front end is attached. */
bool chardev_frontend_open(struct chardev *cd);

/* The functions of QMP's ringbuf-write and ringbuf-read. They return -EINVAL if `cd` is not a
 * ringbuf. */
int chardev_ringbuf_write(struct chardev *cd, const uint8_t *buf, size_t len);
/* Remove at most `size` bytes from the ring into `buf`. Returns their number or -EINVAL. */
ssize_t chardev_ringbuf_read(struct chardev *cd, uint8_t *buf, size_t size);
/* Returns the number of bytes in the ring or -EINVAL. */
ssize_t chardev_ringbuf_count(struct chardev *cd);

/* --- for front ends --- */

/* Attach the front end `u`: from now on clients are served on `loop`. opened() may be called before
 * this returns. Returns 0, -EBUSY with `e` if there is a front end already, or another -errno with
 * `e`. */
int chardev_attach(struct chardev *cd, struct chardev_user *u, struct loop *loop, struct err *e);
void chardev_detach(struct chardev *cd); /* No callback is called after this. */

/* Write as much as the other end accepts without waiting. Returns the number of bytes; if that is
 * less than `len`, writable() will be called. While there is no client, everything is discarded and
 * counts as written. (stdio, file and pipe call closed() at the end of their input; their output
 * still works.) */
size_t chardev_write(struct chardev *cd, const char *buf, size_t len);
/* Returns true if the other end receives each chardev_write() as one message (udp). Then a front
 * end must write a message of its own with one call, and nothing else in that call. */
bool chardev_has_messages(const struct chardev *cd);
/* Stop or continue the input: between chardev_pause(cd, true) and chardev_pause(cd, false)
 * received() is not called. The state stays when the client changes; chardev_attach() sets it to
 * false. */
void chardev_pause(struct chardev *cd, bool pause);
/* Disconnect the client, which calls closed(), and wait for the next one. */
void chardev_drop_client(struct chardev *cd);
/* Tell whether the front end's own user is present, for example whether the guest has opened its
 * port. True after chardev_attach(). query-chardev shows it as "frontend-open". */
void chardev_set_open(struct chardev *cd, bool open);

#endif
