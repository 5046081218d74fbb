/* SPDX-License-Identifier: MIT */
/* events.h - the way for news to leave a thread and reach the monitors
 *
 * A device, a back end or the machine itself posts an event under its QMP name, on whatever thread
 * it finds out. The monitors subscribe. There is one queue for all threads, so events are delivered
 * in the order in which they were posted, and those that a command causes come before its reply.
 *
 * A guest can cause events. So at most EVENTS_WAITING of other threads wait for the control thread;
 * what is posted beyond that is dropped.
 */
#ifndef BASE_EVENTS_H
#define BASE_EVENTS_H

#include <jansson.h>

#include "base/loop.h"

#define EVENTS_WAITING 256

struct events;

/* Called by the control thread, on whose loop `control` events are delivered. NULL: out of memory.
 */
struct events *events_new(struct loop *control);
/* No thread posts any more, and `control` does not run any more. NULL is allowed. */
void events_free(struct events *ev);

/* Control thread. Have deliver(arg, event) called there for each event: an object with QMP's
 * members "event", "timestamp" and, where there is any, "data". The reference stays ours. Without
 * a subscriber (deliver: NULL) events are dropped. */
void events_subscribe(struct events *ev, void (*deliver)(void *arg, json_t *event), void *arg);

/* Any thread. Post event `name` with `data` (NULL: none), whose reference is taken over. On the
 * control thread it is delivered before this returns. Takes a lock that is only ever held for an
 * insertion or a removal. `ev` may be NULL: nobody wants to know. */
void events_post(struct events *ev, const char *name, json_t *data);

#endif
