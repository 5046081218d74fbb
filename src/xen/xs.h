/* SPDX-License-Identifier: MIT */
/* xs.h - a connection to xenstore: the seven requests that a device model makes
 *
 * One descriptor, no thread, one request at a time; every call waits for its reply (xenstored
 * answers at once). Paths are absolute, or relative to the control domain's own directory.
 *
 * Xen's public header xen/io/xs_wire.h.
 */
#ifndef XEN_XS_H
#define XEN_XS_H

#include <stdbool.h>

struct xs {
	int fd; /* -1: closed. Readable when a watch has fired. */
	bool fired;
};

/* 0 or -errno. */
int xs_connect(struct xs *xs);
void xs_disconnect(struct xs *xs); /* harmless when closed */

/* The value of a node, or the names of its children one behind the other, each with its NUL; `len`
 * (may be NULL) is the length. Owned by the caller. NULL with errno. */
char *xs_get(struct xs *xs, const char *path);
char *xs_list(struct xs *xs, const char *path, unsigned *len);
/* 0 or -errno. */
int xs_put(struct xs *xs, const char *path, const char *value);
int xs_remove(struct xs *xs, const char *path);
int xs_watch_node(struct xs *xs, const char *path, const char *token);
/* Has the toolstack introduced this domain, and not released it? */
bool xs_introduced(struct xs *xs, unsigned domid);

/* The descriptor is readable: take what has come. True when a watch has fired since the last call
 * (perhaps seen in the middle of a request). False with `xs->fd` -1 when the connection is lost. */
bool xs_take_events(struct xs *xs);

#endif
