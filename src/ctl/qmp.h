/* SPDX-License-Identifier: MIT */
/* qmp.h - QEMU Machine Protocol: the monitors (-mon, -qmp) and the events that they send
 *
 * monitor.c speaks with the clients (greeting, negotiation, replies, events, back pressure), for
 * any number of independent monitors. qmp_input.c cuts the byte stream into JSON values. commands.c
 * has the table of commands, query*.c the handlers that show the machine's state, and hmp.c the few
 * commands of the human monitor. All of it runs on the control thread.
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
/* Send what is queued as far as the sockets take it without waiting, then close. Call it before
 * chardevs_free(). `ms` may be NULL. */
void monitors_free(struct monitors *ms, struct events *events);

#endif
