/* SPDX-License-Identifier: MIT */
/* build.h - from the command line to a machine: the stages between parsing and serving */
#ifndef BUILD_H
#define BUILD_H

#include "base/err.h"
#include "guard/guard.h"
#include "machine/vm.h"

/* All on the control thread, in this order; 0 or -errno with `e` complete (option included). After
 * a failure, build_undo() takes back whatever was reached; it is also the way to end. */

/* Attach to the domain (or the qtest peer), check and choose the memory map. */
int build_attach(struct vm *vm, struct err *e);
/* Monitors: sockets listen when this returns. All that the probe run has. */
int build_monitors(struct vm *vm, struct err *e);
/* Back ends, then devices: images, taps and sockets are opened here and nowhere later. */
int build_devices(struct vm *vm, struct err *e);
/* Complete the ACPI tables, claim the windows, be ready for exits. */
int build_serve(struct vm *vm, struct err *e);
/* Give up what is not needed any more, for good; then start the io thread and say that the device
 * model runs. */
int build_seal(struct vm *vm, struct guard *g, struct err *e);

void build_undo(struct vm *vm);

#endif
