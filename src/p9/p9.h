/* SPDX-License-Identifier: MIT */
/* p9.h - a server of the 9P2000.L protocol, for the exported folders of p9/fs/fsdev.h
 *
 * 9P is the file protocol of Plan 9; 9P2000.L is Linux' dialect of it, whose messages are modelled
 * on system calls. The client (here the guest's kernel) sends T messages, the server answers each
 * with an R message. All of them begin with size[4] type[1] tag[2], little endian, size including
 * these seven bytes; the client picks a tag that none of its open requests has, and answers may
 * come in any order. An R message has the type of its T message plus one; where a request fails it
 * is Rlerror instead, with a Linux errno.
 *
 * Tversion begins a session: it agrees on the dialect and on msize, the longest message. Tattach
 * then makes the first fid stand for the root of the export. A fid is a number that the client
 * picks, its handle of a file: Twalk makes further ones from it by a path of up to 16 names, Tlopen
 * or Tlcreate open the file of one, Tread, Twrite and Treaddir use it then, Tclunk ends it. The
 * server identifies files by a qid: type, version, and a 64-bit number as unique as an inode
 * number. Tflush says that the client no longer waits for the request of a given tag.
 *
 * Specifications: the manual pages section 5 of Plan 9 (intro(5) and one for each message) for the
 * messages that come from there, the document "9P2000.L" of diod (github.com/chaos/diod,
 * protocol.md) for Linux' ones; their numbers are in Linux' include/net/9p/9p.h.
 *
 * The server knows nothing of virtio: it gets requests as iovecs and writes its answers into
 * others. All functions here belong to one loop; what may block is done by worker threads of the
 * server, many requests at a time, and each is given back on that loop, in any order.
 *
 * A guest cannot leave the export. Files are found one path component at a time from an open
 * directory, without following links, and are held by descriptor; so neither ".." nor a link nor a
 * rename, by the guest or by the host, leads out of it.
 */
#ifndef P9_P9_H
#define P9_P9_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/mpsc.h"
#include "base/workers.h"
#include "p9/fs/fsdev.h"

struct p9_server;
struct p9_session;

/* `written` of p9_request.done: the server was told to give up the request, which has no answer. */
#define P9_DROPPED UINT32_MAX

/* The longest part of a message that is copied: a walk of 16 names and a link's target fit. The
 * data of a Twrite are not copied. */
#define P9_MESSAGE_MAX 8192

struct p9_request {
	/* Set by the caller, who leaves them as they are until done(). */
	const struct iovec *out, *in; /* the message; memory for the answer */
	unsigned n_out, n_in;
	uint64_t out_len, in_len;
	uint8_t *message; /* P9_MESSAGE_MAX bytes, for the server's copy of the message */
	/* Called on the server's loop, perhaps from within p9_request_start(), when the server has
	 * finished: `written` bytes of the answer are valid (0: the guest has flushed the request),
	 * or it is P9_DROPPED. The function may free the request. */
	void (*done)(struct p9_request *r, uint32_t written);

	/* Used by the server only. */
	struct p9_server *server;
	struct p9_session *session;
	struct work work;
	struct list link;
	struct p9_request *next;     /* in the list of the loop, or of flushers */
	struct p9_request *flushers; /* the Tflush requests that wait until this one is done */
	struct mpsc_node done_link;  /* served by a worker */
	uint32_t size, written;
	uint16_t tag;
	uint8_t type;
};

/* All functions are called on the server's loop, or while that loop does not run. */

/* A server of `fs`, which lives longer. NULL: out of memory. */
struct p9_server *p9_server_new(struct p9_fs *fs, struct loop *loop);
/* End a server that has no request left. Harmless with NULL. */
void p9_server_free(struct p9_server *s);
/* Take a request. Its message is copied here, each byte of it once, and served as what it was then:
 * only the data of a Twrite are used where they are, when they are written. 0, or, when it was not
 * taken: -EPROTO, there is no way to answer it (no header, no room); -EAGAIN, the limits of the
 * export (throttling.*) allow it in `*wait` ns at the earliest. */
int p9_request_start(struct p9_server *s, struct p9_request *r, uint64_t *wait);
/* Serve what was started since the last call: what needs no waiting right here, the rest by the
 * workers. Returns true when there is more to do here than one call should take: publish the
 * answers so far, then call again. */
bool p9_server_submit(struct p9_server *s);
/* Give up the requests that no worker has begun (P9_DROPPED); the others still end with an answer.
 */
void p9_server_cancel(struct p9_server *s);
/* End the session, as when the driver resets the device: each fid is clunked as soon as no request
 * uses it any more. */
void p9_server_reset(struct p9_server *s);

#endif
