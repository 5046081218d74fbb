/* SPDX-License-Identifier: MIT */
/* xs.h - a connection to xenstore: the seven requests that a device model makes
 *
 * A connection has one descriptor and no thread. Every call waits for its replies. xenstored
 * answers at once, but each wait costs two context switches, so requests that do not depend on each
 * other are sent together. Paths are absolute, or relative to the control domain's own directory.
 *
 * Xen's public header xen/io/xs_wire.h.
 */
#ifndef XEN_XS_H
#define XEN_XS_H

#include <errno.h> /* the wire header names errors only behind it */
#include <stdbool.h>
#include <stdint.h>

#include <xen/io/xs_wire.h>

#define XS_NUMBER 16 /* room for a domain's number in letters */

struct xs {
	int fd; /* -1: closed. Readable when a watch has fired. */
	bool fired;
};

/* 0 or -errno. */
int xs_connect(struct xs *xs);
void xs_disconnect(struct xs *xs); /* harmless when closed */

/* A request and its reply. */
struct xs_req {
	enum xsd_sockmsg_type type; /* XS_READ, XS_DIRECTORY, XS_WRITE, XS_RM, XS_WATCH, ... */
	const char *path;	    /* XS_IS_DOMAIN_INTRODUCED: the domain's number */
	const char *value;	    /* XS_WRITE: the value, XS_WATCH: the token; else NULL */
	char *reply;		    /* with a NUL appended; the caller frees it; NULL: see rc */
	unsigned len;		    /* of the reply, without that NUL */
	int rc;			    /* 0 or -errno; -EPIPE: the connection is lost */
};

/* Send all requests (at most eight or so), then wait for all replies. xenstored carries them out in
 * this order; one that fails does not keep the others from being carried out. */
void xs_ask(struct xs *xs, struct xs_req *reqs, unsigned n);

/* xs_get() returns the value of a node; xs_list() the names of its children, each with its NUL,
 * `len` (may be NULL) bytes in all. The caller frees the result. NULL with errno. */
char *xs_get(struct xs *xs, const char *path);
char *xs_list(struct xs *xs, const char *path, unsigned *len);
/* 0 or -errno. */
int xs_put(struct xs *xs, const char *path, const char *value);
int xs_remove(struct xs *xs, const char *path);
/* Has the toolstack introduced this domain, and not released it? */
bool xs_introduced(struct xs *xs, unsigned domid);

/* Read all pending messages; to be called when the descriptor is readable. Returns true when a
 * watch has fired since the last call (its event may have been read while another call waited for a
 * reply). Returns false with `xs->fd` -1 when the connection is lost. */
bool xs_take_events(struct xs *xs);

#endif
