/* SPDX-License-Identifier: MIT */
/* qmp.h - QEMU Machine Protocol: the monitors (-mon, -qmp) and the events that they send
 *
 * monitor.c is the wire (greeting, negotiation, replies, events, back pressure) for any number of
 * independent monitors; qmp_input.c cuts the byte stream into JSON values; commands.c is the one
 * table of commands, query*.c what they show; hmp.c the few human monitor commands.
 * All on the control thread.
 */
#ifndef CTL_QMP_H
#define CTL_QMP_H

#include <jansson.h>

#include "base/err.h"
#include "conf/opts.h"

struct events;
struct monitors;
struct vm;

/* The keys of -mon. */
extern const struct opt monitor_options[];

/* Put a monitor on each chardev that -mon names. vm->chardevs is open. NULL with `e` (origin
 * included). */
struct monitors *monitors_open(struct vm *vm, struct err *e);
/* Sends what is queued as far as it goes, then closes. Before chardevs_free(). NULL is allowed. */
void monitors_free(struct monitors *ms, struct events *events);

#endif
