/* SPDX-License-Identifier: MIT */
/* vm.h - the state of the running program
 *
 * The struct is a variable of main(); everything else gets a pointer to it or to the part that it
 * needs. By default there are two threads: the control thread (signals, QMP, xenstore) and the exit
 * loop `io` (vCPU exits, queues, I/O). Queues may be put on further loops.
 */
#ifndef MACHINE_VM_H
#define MACHINE_VM_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/endwatch.h"
#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"
#include "dev/env.h"
#include "hv/hv.h"
#include "hv/layout.h"

struct cmdline;
struct monitors;
struct pause;

enum run_state { RUN_PRELAUNCH, RUN_RUNNING, RUN_PAUSED, RUN_SHUTDOWN };

struct vm {
	const struct cmdline *cmd;
	struct loop *control;
	struct dev_env env; /* what devices see: the hypervisor, the bus, back ends */
	struct hv_client client;
	struct layout layout;	   /* where ECAM and the windows lie */
	struct monitors *monitors; /* -mon, -qmp */
	enum run_state state;	   /* control thread */
	struct pause *pause;	   /* vm.c: not NULL while devices are being paused */
	struct list requests;	   /* vm.c: `stop` and `cont` that are not done yet */
	struct endwatch end;	   /* time limits of the end of the program */
	bool pid_written;	   /* -pidfile was written: remove it at the end */
	bool quitting;		   /* vm_quit() was called */
	int flush_error; /* of the last pause: 0, or a negative errno: a cache was not written */
	struct loop_timer linger; /* -machine none: ends the program some time after `quit` */
};

/* QMP's `stop`: take no new request, wait until those in flight are done and the disks' caches are
 * written, then send STOP and call done(arg, rc) on the control thread (perhaps before this
 * returns). The vCPUs are answered all the time. Requests are done in the order of their arrival.
 * `rc`: 0, also where a cache could not be written (vm->flush_error says so, and the guest's next
 * flush fails); -ENOMEM when nothing was stopped. */
void vm_stop(struct vm *vm, void (*done)(void *arg, int rc), void *arg);
/* QMP's `cont`: serve again, send RESUME and call done(arg, rc), after what was asked before. `rc`:
 * 0; -ESHUTDOWN when the program is ending; -ENOMEM when nothing was done. */
void vm_cont(struct vm *vm, void (*done)(void *arg, int rc), void *arg);
/* End the program, with status 0 if the disks' caches could be written; `reason` is one of QMP's
 * ("host-qmp-quit", "host-signal", "guest-shutdown"). Sends SHUTDOWN. */
void vm_quit(struct vm *vm, const char *reason);
/* After vm_quit(): begin a stage of the program's end, named `what` in messages, that may take
 * `limit_s` seconds; see base/endwatch.h. Before vm_quit() this does nothing. */
void vm_end_stage(struct vm *vm, const char *what, unsigned limit_s);
/* A monitor's client has left: with -machine none, a vm_quit() waits for that. */
void vm_client_gone(struct vm *vm);

#endif
