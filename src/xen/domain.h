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

/* The connection to xenstore, and what it has seen and done (store.c). */
struct watcher {
	struct xs xs;
	unsigned domid;
	bool seen;	  /* the domain was introduced */
	bool gone;	  /* and is no more */
	bool wrote, made; /* the state node; its directory, too */
};

struct store {
	struct watcher watcher; /* or, in a process of its own: */
	pid_t pid;		/* 0: there is none */
	int sock;
	struct loop *loop;
	struct loop_fd watch;
	const struct hv_client *client;
	bool gone;
};

/* A `channel` of xl.cfg: a console of type ioemu, number `devid`. */
#define XEN_CHANNELS_MAX 16
struct xen_channel {
	unsigned devid;
	char name[256];
};

/* What the toolstack says about the domain; 0 where it says nothing. */
struct store_facts {
	uint64_t static_max; /* bytes: all the memory it may have */
	uint64_t target;     /* bytes: what it may use now */
	bool has_kill_uid;
	uid_t kill_uid;
	struct xen_channel channel[XEN_CHANNELS_MAX];
	unsigned channels;
};

struct xen {
	struct hv hv;
	unsigned domid;
	int privcmd; /* our own, for what happens at the guest's speed */
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
		uint64_t gfn; /* the page that keeps Xen from it; 0: not looked for yet */
	} migration;
};

#define to_xen(h) container_of(h, struct xen, hv)

/* privcmd.c: the ioctls of /dev/xen/privcmd that are worth to be done without the libraries. Any
 * thread. */
int privcmd_open(struct err *e);
int privcmd_restrict(int fd, unsigned domid);
int privcmd_msi(int fd, unsigned domid, uint64_t addr, uint32_t data);
int privcmd_intx(int fd, unsigned domid, unsigned line, bool level);
extern const struct gmem_ops privcmd_gmem_ops; /* ctx: struct xen */

/* ram.c: what RAM does the domain have? Fills hv.ram. 0 or -errno. */
int ram_discover(struct xen *x, struct err *e);
/* Give the paused domain a page at `gfn` (0 or -errno). */
int ram_populate(struct xen *x, uint64_t gfn);

/* store.c: xenstore. store_open() also fails when something is expected of us that we do not have
 * (backends.h). */
int store_open(struct store *s, unsigned domid, struct store_facts *facts, struct err *e);
/* Begin to watch the domain; `apart`: hand the connection to a child process first. */
int store_start(struct store *s, bool apart, struct err *e);
int store_watch(struct store *s, struct loop *control, const struct hv_client *client);
int store_announce(struct store *s, struct err *e);
/* Tell the guest's PV drivers that the back ends of its channels are connected, so that they do not
 * wait for them. Nobody waits for the result. */
void store_connect(struct store *s, const struct store_facts *facts);
void store_stop(struct store *s);

/* ioreq.c: the ioreq server */
int ioreq_claim(struct hv *hv, uint64_t base, uint64_t size, struct err *e);
int ioreq_serve(struct xen *x, struct loop *exits, const struct hv_client *client, struct err *e);
void ioreq_close(struct xen *x);
/* The answer to a request that is a copy of the guest's; whatever it says. */
struct ioreq;
uint64_t ioreq_handle(struct xen *x, const struct ioreq *r);

/* migration.c: from the first reason on Xen refuses to migrate the domain live, until the last one
 * is taken back; a migration that is under way goes on. `why` is for the log, in which it is also
 * said when Xen cannot be made to refuse. Control thread, after the first hv_claim(); the first
 * call comes before hv_restrict(), later ones may come after it. */
void migration_block(struct xen *x, const char *why);
void migration_unblock(struct xen *x);

#endif
