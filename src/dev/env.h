/* SPDX-License-Identifier: MIT */
/* env.h - what a device finds around it when it is made
 *
 * The one machine of this process has one of these (struct dev_env holds it). Devices keep the
 * pointer; it is valid until they are freed. All members are set before the first device is made
 * and do not change while one exists. The sets of back ends are there even if the command line
 * names none; only libxl's probe run, which has monitors and nothing else, has no sets but
 * `chardevs`.
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
