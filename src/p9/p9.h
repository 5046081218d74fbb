/* SPDX-License-Identifier: MIT */
/* p9.h - a server of the 9P2000.L protocol, for the exported folders of p9/fs/fsdev.h
 *
 * The server knows nothing of virtio: it gets requests as iovecs and writes its answers into
 * others. Requests come from one loop; what may block is done by worker threads of the server, many
 * requests at a time, and each is given back on that loop, in any order.
 *
 * What a guest can do is bound to the export. Files are found one path component at a time from an
 * open directory, without following links, and are held by descriptor; so neither ".." nor a link
 * nor a rename, by the guest or by the host, leads out of it.
 */
#ifndef P9_P9_H
#define P9_P9_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/workers.h"
#include "p9/fs/fsdev.h"

struct p9_server;
struct p9_session;

/* `written` of p9_request.done: the request was given up, nobody waits for it. */
#define P9_DROPPED UINT32_MAX

/* Longest message that is looked at as a whole: a walk of 16 names, or a link's target. The data of
 * a Twrite stay where they are. */
#define P9_MESSAGE_MAX 8192

struct p9_request {
	/* The caller's, unchanged until done(). */
	const struct iovec *out, *in; /* the message, room for the answer */
	unsigned n_out, n_in;
	uint64_t out_len, in_len;
	uint8_t *message; /* P9_MESSAGE_MAX bytes, for the server's copy of the message */
	/* On the server's loop, perhaps from within p9_request_start(): so many bytes of the answer
	 * are valid (0: the guest has flushed the request), or P9_DROPPED. May free the request. */
	void (*done)(struct p9_request *r, uint32_t written);

	/* The server's. */
	struct p9_server *server;
	struct p9_session *session;
	struct work work;
	struct list link;
	struct p9_request *next; /* started, done, or waiting with others for the same request */
	struct p9_request *flushers; /* what waits for this one */
	uint32_t size, written;
	uint16_t tag;
	uint8_t type;
};

/* All on the server's loop, or while it does not run. NULL: out of memory. */
struct p9_server *p9_server_new(struct p9_fs *fs, struct loop *loop);
/* Nothing is in flight. Harmless with NULL. */
void p9_server_free(struct p9_server *s);
/* Take a request. Its message is copied here, each byte of it once, and served as what it was then:
 * only the data of a Twrite are used where they are, when they are written. 0, or, when it was not
 * taken: -EPROTO, there is no way to answer it (no header, no room); -EAGAIN, the limits of the
 * export (throttling.*) allow it in `*wait` ns at the earliest. */
int p9_request_start(struct p9_server *s, struct p9_request *r, uint64_t *wait);
/* Have what was started since the last call done: by the workers, or here if it needs no waiting.
 * True: some data was moved here, and there is more; call again, the answers so far may be
 * published before. */
bool p9_server_submit(struct p9_server *s);
/* Give up what no worker has begun; the rest ends by itself. */
void p9_server_cancel(struct p9_server *s);
/* Forget the session: all fids are clunked, as soon as nothing uses them. */
void p9_server_reset(struct p9_server *s);

#endif
