/* SPDX-License-Identifier: MIT */
/* backends.h - refuse PV devices for which the toolstack expects a back end in the device model */
#ifndef XEN_BACKENDS_H
#define XEN_BACKENDS_H

#include "base/err.h"

struct xs;

/* What libxl has written for one back end. A string is NULL if there is no such node. */
struct pv_backend {
	const char *kind;			/* "qdisk", "vfb", "vkbd", "9pfs", "qusb" */
	const char *id;				/* the device's number */
	const char *dev, *device_type, *params; /* qdisk */
	const char *path;			/* 9pfs: what is shared */
	const char *backend_type;		/* vkbd */
};

/* Returns 0 if the guest can be started with this back end, else -ENOTSUP; `e` then names the line
 * of the configuration and what to write instead. Uses nothing but its argument. */
int pv_backend_check(const struct pv_backend *b, struct err *e);

/* Check all back ends that xenstore has for domain `domid`. `there` holds the names under backend/,
 * each with its NUL, `there_len` bytes in all (NULL, 0: none); kinds that are not among them are
 * not asked for. Runs on the control thread and waits for xenstored. */
int pv_backends_check(struct xs *xs, unsigned domid, const char *there, unsigned there_len,
		      struct err *e);

#endif
