/* SPDX-License-Identifier: MIT */
/* vm.h - the one struct that holds the running program together
 *
 * Lives in main(); everything else gets a pointer to it or to the part that it needs. Two threads
 * by default: the control thread (signals, QMP, xenstore) and the exit loop `io` (vCPU exits,
 * queues, I/O). Queues may be given to more loops.
 */
#ifndef VM_H
#define VM_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"
#include "hv/hv.h"
#include "hv/layout.h"

struct blocks;
struct chardevs;
struct cmdline;
struct fsdevs;
struct iothreads;
struct monitors;
struct netdevs;
struct pause;
struct pci_bus;
struct rngs;

enum run_state { RUN_PRELAUNCH, RUN_RUNNING, RUN_PAUSED, RUN_SHUTDOWN };

struct vm {
	const struct cmdline *cmd;
	struct loop *control;
	struct loop *io;
	struct hv *hv;
	struct hv_client client;
	struct layout layout; /* where ECAM and the windows lie */
	struct pci_bus *bus;
	struct blocks *blocks;	     /* -drive, -blockdev */
	struct netdevs *netdevs;     /* -netdev */
	struct rngs *rngs;	     /* -object rng-* */
	struct fsdevs *fsdevs;	     /* -fsdev */
	struct iothreads *iothreads; /* -object iothread */
	struct chardevs *chardevs;   /* -chardev */
	struct monitors *monitors;   /* -mon, -qmp */
	struct list devices;	     /* struct dev, in order of creation; control thread, and the
					exit loop while that waits for it */
	/* Any thread: a guest has opened or closed the port that device `id` is. NULL: nobody
	 * cares. */
	void (*port_changed)(struct vm *vm, const char *id, bool open);
	enum run_state state;	  /* control thread */
	struct pause *pause;	  /* vm.c: devices are being paused */
	bool pid_written;	  /* -pidfile: ours to remove */
	bool quitting;		  /* vm_quit() was called */
	struct loop_timer linger; /* the probe run, after `quit` */
};

/* QMP's `stop`: take no new request, wait until those in flight are done, then send STOP and call
 * done(arg) on the control thread (perhaps before this returns). The vCPUs are answered all the
 * time. */
void vm_stop(struct vm *vm, void (*done)(void *arg), void *arg);
/* QMP's `cont`: serve again and send RESUME. */
void vm_cont(struct vm *vm);
/* End the program with status 0; `reason` is one of QMP's ("host-qmp-quit", "host-signal",
 * "guest-shutdown"). Sends SHUTDOWN. */
void vm_quit(struct vm *vm, const char *reason);
/* Any thread: what the guest's kernel says of itself. Reported to the monitors, nothing more: the
 * domain's life is Xen's and the toolstack's. */
enum vm_report { VM_PANICKED, VM_CRASH_LOADED, VM_PV_SHUTDOWN };
void vm_guest_report(struct vm *vm, enum vm_report what);
/* A monitor's client has left: in the probe run, that ends a vm_quit(). */
void vm_client_gone(struct vm *vm);

#endif
