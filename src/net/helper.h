/* SPDX-License-Identifier: MIT */
/* helper.h - programs that a back end starts, once, before the rights to do so are given up
 *
 * They get one end of a socket pair: QEMU's bridge helper sends a tap back on it, passt is the
 * other end of the cable.
 */
#ifndef NET_HELPER_H
#define NET_HELPER_H

#include "base/err.h"

#define HELPER_BRIDGE "/usr/lib/qemu/qemu-bridge-helper" /* where Debian has it */

/* Two connected stream sockets; only sock[1] is for the child. 0 or -errno with `e`. */
int helper_sockets(int sock[2], struct err *e);
/* Run argv[0] (looked up in PATH) with `fd` as it is and a clean signal state, and wait for its
 * end. `what` names it in messages. 0, or -errno with `e` when it cannot be run or reports failure.
 */
int helper_run(const char *what, char *const argv[], int fd, struct err *e);
/* Have QEMU's bridge helper (a path, or a shell command if there are blanks in it) open a tap on
 * bridge `br`. Descriptor or -errno with `e`. */
int helper_bridge(const char *helper, const char *br, struct err *e);

#endif
