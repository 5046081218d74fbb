/* SPDX-License-Identifier: MIT */
/* xen.h - `struct hv` for a domain of a real Xen
 *
 * The functions are called in this order on the control thread. Those up to hv_serve() come before
 * it starts other threads.
 *	hv_xen_open()    handles, facts about the domain, its RAM (nothing of it is mapped yet)
 *	hv_xen_layout()  the windows; refuses a map that contradicts the domain
 *	hv_xen_acpi()    completes the ACPI tables (decision 9 of docs/architecture.md)
 *	hv_claim()       three times; creates the ioreq server first
 *	hv_serve()       exits arrive from here on
 *	hv_restrict()    if -xen-domid-restrict
 *	(guard_seal())
 *	hv_announce()    works after guard_seal(), by the connection to xenstore that is open
 *			 (if rights are given up, a child process holds it). After hv_restrict()
 *			 it only connects channels: libxl waits for QMP's query-status instead
 *	hv_close()
 *
 * hv_xen_open() may fork a child (see store.c), so it comes before the first thread.
 */
#ifndef XEN_XEN_H
#define XEN_XEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "acpi/acpi.h"
#include "base/err.h"
#include "hv/hv.h"
#include "hv/layout.h"

/* Attach to domain `domid`. `conf` is only read: its `mem` is used if xenstore does not have the
 * domain's memory size, and its RAM is compared with the domain's. `apart`: rights will be given
 * up, so a child process is to hold the connection to xenstore. NULL with `e`. */
struct hv *hv_xen_open(unsigned domid, const struct layout_conf *conf, bool apart, struct err *e);

/* Determine the PCI windows of this domain: those that a restored guest already has, else those of
 * the command line, else chosen ones. 0 or -errno with `e`. */
int hv_xen_layout(struct hv *hv, const struct layout_conf *conf, struct layout *out, struct err *e);

/* Describe the PCI bridge in the guest's ACPI tables, if they do not and the guest has not run yet.
 * 0 or -errno with `e`. */
int hv_xen_acpi(struct hv *hv, const struct layout *layout, enum acpi_mode mode, struct err *e);

/* The user that libxl will kill in order to end this device model (dm_restrict); false when it uses
 * the pid. */
bool hv_xen_kill_uid(struct hv *hv, uid_t *uid);

/* The channels of the domain's configuration: name and number of the `i`th, NULL behind the last.
 * For number N, libxl puts a chardev libxl-channelN on the command line. hv_announce() tells the
 * guest's PV drivers that these consoles are connected. */
const char *hv_xen_channel(struct hv *hv, unsigned i, unsigned *devid);

#endif
