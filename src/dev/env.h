/* SPDX-License-Identifier: MIT */
/* env.h - what a device is given when it is created: the loop, the hypervisor, the bus, the back
 * ends
 *
 * The process has one struct dev_env, for its one machine. Devices keep the pointer, which is valid
 * until they are freed. All members are set before the first device is created and do not change
 * while one exists. The sets of back ends exist even if the command line names none; only in
 * libxl's probe run, which has monitors but no device, all except `chardevs` are NULL.
 */
#ifndef DEV_ENV_H
#define DEV_ENV_H

#include "base/events.h"
#include "base/list.h"
#include "base/loop.h"
#include "hv/hv.h"

struct blocks;
struct chardevs;
struct fsdevs;
struct iothreads;
struct netdevs;
struct pci_bus;
struct rngs;

struct dev_env {
	struct loop *io; /* the exit loop; NULL in libxl's probe run, which has no device */
	struct hv *hv;
	struct pci_bus *bus;
	struct events *events;
	struct blocks *blocks;	     /* -drive, -blockdev */
	struct netdevs *netdevs;     /* -netdev */
	struct rngs *rngs;	     /* -object rng-* */
	struct fsdevs *fsdevs;	     /* -fsdev */
	struct iothreads *iothreads; /* -object iothread */
	struct chardevs *chardevs;   /* -chardev */
	struct list devices;	     /* struct dev, in order of creation; control thread, and the
					exit loop while that waits for it */
};

#endif
