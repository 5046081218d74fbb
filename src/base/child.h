/* SPDX-License-Identifier: MIT */
/* child.h - waiting for a child process that may not end */
#ifndef BASE_CHILD_H
#define BASE_CHILD_H

#include <sys/types.h>

/* Wait for `pid`, which was told to end, for `seconds` at most; then say in the log that `what` did
 * not, and kill it. One that may not be killed is left behind. Any thread; sleeps. */
void child_end(pid_t pid, const char *what, unsigned seconds);

#endif
