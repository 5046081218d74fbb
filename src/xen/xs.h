/* SPDX-License-Identifier: MIT */
/* xs.h - a connection to xenstore: the seven requests that a device model makes
 *
 * One descriptor, no thread; every call waits for its replies (xenstored answers at once, but each
 * wait is a turn of the scheduler: what is known beforehand is asked for together). Paths are
 * absolute, or relative to the control domain's own directory.
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

/* A question and its answer. */
struct xs_req {
	enum xsd_sockmsg_type type; /* XS_READ, XS_DIRECTORY, XS_WRITE, XS_RM, XS_WATCH, ... */
	const char *path;	    /* XS_IS_DOMAIN_INTRODUCED: the domain's number */
	const char *value;	    /* XS_WRITE: the value, XS_WATCH: the token; else NULL */
	char *reply;		    /* with a NUL behind; owned by the caller; NULL: see rc */
	unsigned len;		    /* of the reply */
	int rc;			    /* 0 or -errno; -EPIPE: the connection is lost */
};

/* Ask all of them (few: eight or so), then wait for all the answers. They are carried out in this
 * order, each on its own. */
void xs_ask(struct xs *xs, struct xs_req *reqs, unsigned n);

/* The value of a node, or the names of its children one behind the other, each with its NUL; `len`
 * (may be NULL) is the length. Owned by the caller. NULL with errno. */
char *xs_get(struct xs *xs, const char *path);
char *xs_list(struct xs *xs, const char *path, unsigned *len);
/* 0 or -errno. */
int xs_put(struct xs *xs, const char *path, const char *value);
int xs_remove(struct xs *xs, const char *path);
/* Has the toolstack introduced this domain, and not released it? */
bool xs_introduced(struct xs *xs, unsigned domid);

/* The descriptor is readable: take what has come. True when a watch has fired since the last call
 * (perhaps seen in the middle of a request). False with `xs->fd` -1 when the connection is lost. */
bool xs_take_events(struct xs *xs);

#endif
