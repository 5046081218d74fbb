/* SPDX-License-Identifier: MIT */
/* own_net.h - a network namespace of the test's own, with taps in it: nothing of the machine's is
 * seen or changed */
#ifndef TESTS_OWN_NET_H
#define TESTS_OWN_NET_H

#include <sched.h>
#include <stdbool.h>
#include <unistd.h>

/* Enter it, before the first thread. NULL, or why it cannot be. `alone`: the test starts no program
 * that needs rights there, so who is not root can have it with a user namespace around it. */
static inline const char *own_net(bool alone)
{
	if (unshare(CLONE_NEWNET) < 0 && (!alone || unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0))
		return "needs root: no network namespace of its own";
	return access("/dev/net/tun", R_OK | W_OK) < 0 ? "needs /dev/net/tun" : NULL;
}

#endif
