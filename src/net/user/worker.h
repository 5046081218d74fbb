/* SPDX-License-Identifier: MIT */
/* worker.h - what the files of -netdev user share
 *
 * user.c moves frames; sockets.c keeps libslirp's sockets and clocks on the loop; conf.c
 * turns options into libslirp's configuration.
 */
#ifndef NET_USER_WORKER_H
#define NET_USER_WORKER_H

#include "base/log.h"
#include "net/backend.h"
#include "net/fifo.h"
#include "net/pieces.h"
#include "net/user/segment.h"
#include "net/user/slirp_lib.h"
#include "net/slirp_udp.h"

/* The largest that libslirp takes (IF_MTU_MAX): the guest's large segments are to fit as well. */
#define USER_MTU 65521
/* Bytes of frames that may wait for the guest; with half of it used none of libslirp's sockets is
 * watched any more, below this they are again. */
#define USER_RING     (1024 * 1024)
#define USER_RING_LOW (USER_RING / 8)

struct user {
	struct netdev nd;
	struct slirp_lib lib;
	Slirp *slirp;
	SlirpCb callbacks;
	struct fifo_ring in;   /* frames for the guest */
	uint8_t *out;	       /* the guest's frame in one piece, behind its header */
	atomic_uint rx;	       /* NET_RX_*: what the guest takes */
	unsigned mss[NET_IPS]; /* TCP segments of the guest's link, as its last SYN said */
	struct slirp_udp udp;  /* datagrams of a batch of frames */
	struct log_rate log;

	/* libslirp's sockets, by descriptor; those that are watched; those that exist */
	struct sock **sock;
	int socks;
	struct list watched;
	unsigned open, open_max;
	unsigned accepted; /* of these: connections to a hostfwd= */
	bool polls;	   /* libslirp is being told what is ready, and so may accept() */
	bool full;	   /* no more are accepted */
	unsigned round;	   /* of asking libslirp what to watch */

	struct list timers;    /* struct user_timer */
	struct loop_timer due; /* when libslirp wants to look at its clocks */
	bool soon, choked;     /* `due` is at once; too much waits in `in` */
	uint64_t frames_lost;  /* since the guest last kept up */
	struct pieces pieces;  /* of packets, that libslirp may be keeping */

	/* options */
	bool restricted, ipv4, ipv6;
	char *net, *host, *dns, *dhcpstart;
	char *ipv6_net, *ipv6_prefix, *ipv6_host, *ipv6_dns;
	uint64_t ipv6_prefixlen;
	char *hostname, *domainname, *dnssearch, *tftp, *bootfile, *tftp_server_name;
	char *hostfwd, *guestfwd, *smb, *smbserver;
};

/* On the loop of the one queue, but init and free. */

/* The members for the loop, and its callbacks of libslirp's. */
void user_loop_init(struct user *u, SlirpCb *callbacks);
/* libslirp is gone, or has never been. */
void user_loop_free(struct user *u);
/* The queue has a loop; it will not have it any more. */
void user_loop_start(struct user *u);
void user_loop_stop(struct user *u);
/* Something happened: serve libslirp in this turn of the loop. */
void user_loop_soon(struct user *u);

extern const struct opt user_options[];

/* Configuration from the options, `k` telling which were given. The strings stay the options';
 * cfg->vdnssearch is an array to free(). 0 or -errno with `e`. */
int user_config(struct user *u, struct kvs *k, SlirpConfig *cfg, struct err *e);
/* u->slirp exists: the forwards of `k`. 0 or -errno with `e`. */
int user_forwards(struct user *u, struct kvs *k, struct err *e);

#endif
