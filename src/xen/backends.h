/* SPDX-License-Identifier: MIT */
/* backends.h - PV back ends that the toolstack expects of a device model, and does not get here */
#ifndef XEN_BACKENDS_H
#define XEN_BACKENDS_H

#include "base/err.h"

struct xs;

/* What libxl wrote for one back end. Texts are NULL where there is no such node. */
struct pv_backend {
	const char *kind;			/* "qdisk", "vfb", "vkbd", "9pfs", "qusb" */
	const char *id;				/* the device's number */
	const char *dev, *device_type, *params; /* qdisk */
	const char *path;			/* 9pfs: what is shared */
	const char *backend_type;		/* vkbd */
};

/* May the guest be started with it? 0, or -ENOTSUP with `e`: what the configuration has, and what
 * to write instead. Pure. */
int pv_backend_check(const struct pv_backend *b, struct err *e);

/* The same for all that xenstore has for domain `domid`. `there`: the names under backend/, one
 * behind the other, `there_len` bytes (NULL, 0: none); most hosts have none of those that matter.
 * Control thread, blocks. */
int pv_backends_check(struct xs *xs, unsigned domid, const char *there, unsigned there_len,
		      struct err *e);

#endif
