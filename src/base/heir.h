/* SPDX-License-Identifier: MIT */
/* heir.h - a child process that does one last thing when this process ends, however it ends
 *
 * For what takes a right that this process gives up when it is sealed: take an interface out of a
 * bridge, run a script. The child keeps no descriptor but 0-2, of the capabilities only the one it
 * is given, and sleeps until the pipe that it shares with us is closed: by heir_end(), or by the
 * kernel when we were killed.
 *
 * Control thread. One child each, so only for what is rare.
 */
#ifndef BASE_HEIR_H
#define BASE_HEIR_H

#include <sys/types.h>

#include "base/err.h"

struct heir {
	pid_t pid; /* 0: none */
	int fd;
};

/* Will run fn(arg) in the child, on the state that is there now. `capability`: a CAP_* number. 0 or
 * -errno with `e`. */
int heir_start(struct heir *h, unsigned capability, void (*fn)(void *arg), void *arg,
	       struct err *e);
#define HEIR_END_S 5
/* Let it act, and wait for it, for HEIR_END_S seconds at most: then it is killed, with a line in
 * the log. Does nothing without one. */
void heir_end(struct heir *h);

#endif
