/* SPDX-License-Identifier: MIT */
/* err.h - one line of explanation that travels up with a negative errno
 *
 * Configuration code (command line, QMP, opening of back ends, attaching to Xen) returns a negative
 * errno and describes the reason in a `struct err` that the caller owns. Whoever reports it adds
 * the place
 * (`-device virtio-blk-pci,...:`) with err_prefix() and prints it once, or sends it as a QMP error.
 * The data path does not use it: there a negative errno is enough.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/* QMP error classes; ERR_GENERIC unless the caller sets another one. */
enum err_class {
	ERR_GENERIC,
	ERR_COMMAND_NOT_FOUND,
	ERR_DEVICE_NOT_ACTIVE,
	ERR_DEVICE_NOT_FOUND,
};

struct err {
	enum err_class class;
	char text[480];
};

/* Describe a failure; returns `code` (a negative errno) so that `return err_set(e, -EINVAL, ...)`
 * reads well. Control characters that came in with foreign text are replaced by '?'. `e` may be
 * NULL. Keeps errno. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Out of memory, in the C library's words. Returns -ENOMEM. */
int err_nomem(struct err *e);

/* Put "prefix: " before the text that is there. */
void err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
