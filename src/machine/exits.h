/* SPDX-License-Identifier: MIT */
/* exits.h - pass the accesses that the hypervisor forwards to the PCI bus
 *
 * An exit is an access of a vCPU to one of the three claimed ranges: the ECAM and the two windows
 * of memory-mapped I/O. The vCPU waits until it is answered.
 */
#ifndef MACHINE_EXITS_H
#define MACHINE_EXITS_H

#include "base/err.h"

struct vm;

/* Control thread, when all devices are plugged: claim the ranges of vm->layout. As soon as the loop
 * vm->env.io runs, it answers accesses to them. The end of the domain is reported on the control
 * loop and ends the program. 0 or -errno with `e`. */
int exits_serve(struct vm *vm, struct err *e);

#endif
