/* SPDX-License-Identifier: MIT */
/* user.h - -netdev user as its two sides share it
 *
 * In the device model: user.c, the netdev; conf.c, its options. In the helper: worker.c
 * and what it says. netring.c is used by both.
 */
#ifndef NET_USER_USER_H
#define NET_USER_USER_H

#include <slirp/libslirp.h>

#include "base/log.h"
#include "helper/helper.h"
#include "net/backend.h"
#include "net/user/netring.h"

/* The largest that libslirp takes (IF_MTU_MAX): the guest's large segments are to fit as well. */
#define USER_MTU 65521

/* What both processes see; the worker may write anything at any time. */
struct user_shm {
	struct netring_shm to_net; /* the guest's frames */
	struct netring_shm to_guest;
	/* NET_RX_*: what the guest takes; USER_SERVED. The device model's. */
	_Alignas(64) atomic_uint mode;
};
#define USER_SERVED 0x80000000u /* there is a loop that takes frames */

struct worker;

struct user {
	struct netdev nd;
	struct user_shm *shm;
	struct netring to_net, to_guest; /* this side of them */
	/* Wake-ups. A flag such as O_NONBLOCK belongs to whoever has the open file description, so
	 * what we write to is ours alone: the worker has the other end of a socket pair. What it writes
	 * to, an eventfd, is only waited for here. */
	int wake_fd;	  /* frames or room for the worker; not in the helper */
	int worker_event; /* in the helper: the other end */
	int own_event;	  /* for us */
	atomic_uint mode; /* what user_shm.mode should be */

	/* On the queue's loop. */
	struct loop_fd watch; /* own_event */
	struct loop_timer stall;
	uint32_t stall_at;    /* what the worker had taken */
	unsigned stall_looks; /* since it took something */
	bool stall_armed;
	unsigned mode_seen; /* by frame_take() */
	uint32_t stale;	    /* bytes of frames dropped since then, for their kind */
	bool broken;	    /* what the worker wrote makes no sense; its end is on its way */
	bool fresh;	    /* it has taken nothing yet */

	struct helper *helper;
	SlirpConfig cfg;
	struct kvs *given;     /* during open() */
	struct worker *worker; /* in the helper only */

	/* options */
	bool restricted, ipv4, ipv6;
	char *net, *host, *dns, *dhcpstart;
	char *ipv6_net, *ipv6_prefix, *ipv6_host, *ipv6_dns;
	uint64_t ipv6_prefixlen;
	char *hostname, *domainname, *dnssearch, *tftp, *bootfile, *tftp_server_name;
	char *hostfwd, *guestfwd, *smb, *smbserver;
};

extern const struct opt user_options[];

/* Control thread: fill u->cfg from the options, u->given telling which were given. The strings stay
 * the options'; cfg.vdnssearch is an array to free(). 0 or -errno with `e`. */
int user_config(struct user *u, struct err *e);
/* Folders (and files) that the worker must find under their own name, as far as they are there, in
 * at most HELPER_FILES_MAX allocated strings: their number, or -errno with `e`. What the worker
 * will not be able to open or connect to is said in the log. `has_unix`: a guestfwd= is there. */
int user_binds(struct user *u, char *binds[], bool *has_unix, struct err *e);

/* worker.c: the roles of the helper, `arg` is the struct user; without connections to unix sockets,
 * and with. */
extern const struct helper_role user_role, user_role_unix;

#endif
