/* SPDX-License-Identifier: MIT */
/* domain.h - what the files of this folder share: one attached domain */
#ifndef XEN_DOMAIN_H
#define XEN_DOMAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Xen's headers show the device model's part of the interface only to tools. */
#define __XEN_TOOLS__ 1
#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>

#include "acpi/acpi.h"
#include "base/log.h"
#include "hv/hv.h"
#include "hv/layout.h"
#include "mem/gmem.h"
#include "xen/xs.h"

#define XEN_VCPUS_MAX 128 /* slots in the ioreq page, Xen's own limit */
#define XEN_RANGES    8

/* The connection to xenstore, what it has learned from there and written (store.c). */
struct watcher {
	struct xs xs;
	unsigned domid;
	bool seen;	  /* the domain is, or was, introduced */
	bool gone;	  /* the domain was introduced and no longer is */
	bool wrote, made; /* wrote the state node; created its directory, too */
};

struct store {
	struct watcher watcher; /* used in this process, or in the child */
	pid_t pid;		/* the child; 0: there is none */
	int sock;		/* to the child */
	struct loop *loop;
	struct loop_fd watch;
	const struct hv_client *client;
	bool gone;
};

/* A `channel` of xl.cfg, for which libxl makes a console of type ioemu with number `devid`. */
#define XEN_CHANNELS_MAX 16
struct xen_channel {
	unsigned devid;
	char name[256];
};

/* What the toolstack has written about the domain to xenstore; 0 if there is no such node. */
struct store_facts {
	uint64_t static_max; /* bytes of memory that the domain may ever have (maxmem) */
	uint64_t target;     /* bytes that it may use now (memory) */
	bool has_kill_uid;
	uid_t kill_uid;
	struct xen_channel channel[XEN_CHANNELS_MAX];
	unsigned channels;
};

struct xen {
	struct hv hv;
	unsigned domid;
	int privcmd; /* descriptor of our own, for interrupts and mappings (privcmd.c) */
	xendevicemodel_handle *dmod;
	xenforeignmemory_handle *fmem;
	xenevtchn_handle *evtchn;
	struct store store;
	struct store_facts facts;
	struct layout_conf conf;
	struct acpi_info acpi;
	bool restricted;

	/* ioreq server */
	bool has_server;
	ioservid_t server;
	xenforeignmemory_resource_handle *page_res;
	uint8_t *page;
	evtchn_port_t ports[XEN_VCPUS_MAX];
	struct hv_range claimed[XEN_RANGES];
	unsigned claims;
	const struct hv_client *client;
	struct loop *exits;
	struct loop_fd events;
	struct loop_poller poller;
	struct log_rate rate;

	/* Why live migration is refused (migration.c). */
	struct {
		unsigned reasons;
		uint64_t gfn; /* the page whose type makes Xen refuse; 0: not known yet */
	} migration;
};

#define to_xen(h) container_of(h, struct xen, hv)

/* privcmd.c: the ioctls of /dev/xen/privcmd for which the libraries are too slow or not exact
 * enough. 0 (privcmd_open(): a descriptor) or -errno. Any thread. */
int privcmd_open(struct err *e);
int privcmd_restrict(int fd, unsigned domid);
int privcmd_msi(int fd, unsigned domid, uint64_t addr, uint32_t data);
int privcmd_intx(int fd, unsigned domid, unsigned line, bool level);
extern const struct gmem_ops privcmd_gmem_ops; /* ctx: struct xen */

/* ram.c: find out which RAM the domain has and fill in hv.ram. 0 or -errno. */
int ram_discover(struct xen *x, struct err *e);
/* Give the paused domain a page at `gfn` (0 or -errno). */
int ram_populate(struct xen *x, uint64_t gfn);

/* store.c: connect to xenstore and read the facts about the domain. Also fails when the domain has
 * a PV device that nothing would serve (backends.h). 0 or -errno. */
int store_open(struct store *s, unsigned domid, struct store_facts *facts, struct err *e);
/* Begin to watch the domain; with `apart` a child process takes over the connection first. 0 or
 * -errno. */
int store_start(struct store *s, bool apart, struct err *e);
int store_watch(struct store *s, struct loop *control, const struct hv_client *client);
int store_announce(struct store *s, struct err *e);
/* Tell the guest's PV drivers that the back ends of its channels are connected, so that they do not
 * wait for them. Errors are ignored. */
void store_connect(struct store *s, const struct store_facts *facts);
void store_stop(struct store *s);

/* ioreq.c: the ioreq server */
int ioreq_claim(struct hv *hv, uint64_t base, uint64_t size, struct err *e);
int ioreq_serve(struct xen *x, struct loop *exits, const struct hv_client *client, struct err *e);
void ioreq_close(struct xen *x);
/* Carry out a request and return its result. `r` is a copy that the guest cannot change; any
 * contents are safe. */
struct ioreq;
uint64_t ioreq_handle(struct xen *x, const struct ioreq *r);

/* migration.c: Xen refuses to migrate the domain live while migration_block() was called more often
 * than migration_unblock(); a migration that has begun is not stopped. The log says `why`, or that
 * Xen cannot be made to refuse. Control thread, after the first hv_claim(). The first call must
 * precede hv_restrict(); later ones need not. */
void migration_block(struct xen *x, const char *why);
void migration_unblock(struct xen *x);

#endif
