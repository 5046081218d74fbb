/* SPDX-License-Identifier: MIT */
/* tapif.h - the host's side of a tap: its place in a bridge, its flags, its scripts
 *
 * What was changed on the way in is remembered here and changed back on the way out; what others
 * did is left alone. Control thread. Needs CAP_NET_ADMIN, so the way out is a child process's
 * (base/heir.h); a tap that this process created just vanishes.
 */
#ifndef NET_TAPIF_H
#define NET_TAPIF_H

#include <net/if.h>
#include <stdbool.h>

#include "base/err.h"

struct tapif {
	char name[IFNAMSIZ];
	char bridge[IFNAMSIZ]; /* that we joined; "" when we did not */
	bool raised;	       /* we brought it up */
};

/* Join bridge `br` and bring the interface t->name up, unless it is in a bridge already. A
 * bridge that does not exist is no error: toolstacks name one also where their own scripts do
 * the wiring. 0 or -errno with `e`. */
int tapif_join(struct tapif *t, const char *br, struct err *e);
/* Leave the bridge that tapif_join() joined, and bring the interface down if it was. */
void tapif_leave(struct tapif *t);
/* Run `script` with the interface's name as its only argument and wait for it. 0 or -errno with
 * `e`. */
int tapif_script(const struct tapif *t, const char *script, struct err *e);

#endif
