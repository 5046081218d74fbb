/* SPDX-License-Identifier: MIT */
/* backend.h - what a back end of src/net looks like from the inside
 *
 * netdev.c holds what all of them share: the options' way in, the one user, the watch on each
 * queue's descriptor and the rule that nothing is watched that nobody wants (a hung-up descriptor
 * reports for ever). A back end adds one `const struct net_class` and says how a frame comes and
 * goes.
 */
#ifndef NET_BACKEND_H
#define NET_BACKEND_H

#include <stdatomic.h>

#include "base/iov.h"
#include "base/list.h"
#include "conf/opts.h"
#include "net/net.h"
#include "net/pace.h"

struct net_class;

/* Who tells that a queue without room has some again. */
enum netq_room {
	NETQ_POLL,   /* its descriptor: EPOLLOUT */
	NETQ_MOMENT, /* nobody, so sending is tried again after a moment */
	NETQ_TOLD,   /* the back end, by netq_room() */
};

struct netq {
	struct netdev *nd;
	unsigned index;
	int fd;		   /* -1: none at present */
	struct loop *loop; /* NULL: not started */
	struct loop_fd watch;
	struct loop_timer retry; /* ends a wait for room, after a moment or by the rate limit */
	struct loop_timer ready; /* netq_ready() was called */
	uint32_t events;	 /* what `watch` is registered for, 0: not at all */
	bool listen;		 /* the client wants readable() */
	bool blocked;		 /* the client waits for writable() */
	bool unpolled;		 /* ... and EPOLLOUT says nothing about that */
	bool enabled;		 /* one of the pairs in use */
	bool hung;		 /* hang_up() was called for this descriptor */
	bool dead;		 /* failed for good */
	void *priv;
	void *batch; /* the back end's own, for send_batch() */
};

struct netdev {
	const struct net_class *class;
	struct netdevs *set;
	struct list link; /* netdevs.all */
	char *id;
	struct net_client *client; /* NULL: free */
	bool opened;		   /* open() was called */
	bool link_up;		   /* as set_link left it */
	atomic_bool carrier;	   /* the back end has somebody at its other end */
	struct loop_task report;   /* exit loop: tells the client of the two */
	struct pace pace;	   /* limit of netq_send() */
	struct list dumps;	   /* struct dump: -object filter-dump */
	unsigned caps;
	unsigned pairs;
	struct netq *queue; /* `pairs` of them, by netdev_alloc_queues() */
	struct net_vhost vhost;
	bool has_vhost; /* `vhost` says how */
};

struct net_class {
	const char *type;
	const char *help;	   /* for -netdev help */
	const struct opt *options; /* offsets in the struct that begins with struct netdev */
	size_t size;
	/* Options that may be given several times; their JSON form is an array of {"str": ...}. */
	bool lists;
	/* This type is another one by a second name: append that one's type and options to `out`,
	 * `k` having what was given, in order.
	 * Then size and options are of this one, and nothing below is used. 0 or -errno with `e`.
	 */
	int (*alias)(struct netdev *nd, const struct kvs *k, struct kvs *out, struct err *e);
	/* Open everything; options are applied, `k` tells which were given. */
	int (*open)(struct netdev *nd, struct kvs *k, struct err *e);
	/* Undo open(), also a half-done one. Queues are stopped. */
	void (*close)(struct netdev *nd);
	/* After netq_start() / before netq_stop() took effect. May be NULL. */
	int (*start)(struct netq *q);
	void (*stop)(struct netq *q);
	/* As netq_recv() and netq_send(). A send() that has no room may call netq_block() to say
	 * who will tell of some; else it is the descriptor. */
	ssize_t (*recv)(struct netq *q, const struct iovec *iov, unsigned n);
	int (*send)(struct netq *q, const struct iovec *iov, unsigned n);
	/* How many of them are done with, fewer when there is no room for the next one; negative:
	 * none, send() does it one by one. May be NULL. */
	int (*send_batch)(struct netq *q, const struct net_frame *f, unsigned n);
	/* There is room: get rid of what an earlier send() left over. True when there is nothing
	 * left. May be NULL. */
	bool (*flush)(struct netq *q);
	/* The peer sends no more, and the client does not listen. Called once for a descriptor:
	 * what is left unread is found when somebody reads. May be NULL. */
	void (*hang_up)(struct netq *q);
	/* For a back end that keeps received frames itself instead of a descriptor: is there one?
	 * It calls netq_ready() when the first one comes. May be NULL. */
	bool (*pending)(struct netq *q);
	int (*set_offloads)(struct netdev *nd, unsigned rx);
	int (*set_pairs)(struct netdev *nd, unsigned n);
};

extern const struct net_class net_tap, net_dgram, net_stream, net_socket, net_user, net_bridge,
	net_passt, net_hubport;

/* Make `n` queues without descriptors. 0 or -ENOMEM with `e`. */
int netdev_alloc_queues(struct netdev *nd, unsigned n, struct err *e);
/* Give the queue another descriptor (-1: none), keeping what the client wants. */
void netq_set_fd(struct netq *q, int fd);
/* There is no room, for a frame or for what the back end itself still has to flush; `who` tells
 * when there is. flush() is called then, and the client. */
void netq_block(struct netq *q, enum netq_room who);
/* On the queue's loop: there may be room again. Harmless when nobody waits for it. */
void netq_room(struct netq *q);

/* On the queue's loop: received frames are there (see net_class.pending). */
void netq_ready(struct netq *q);
/* On the queue's loop, or before it is served: somebody is at the other end, or nobody. The
 * client's link follows. */
void netq_set_carrier(struct netq *q, bool up);
/* The same of a back end with connections, with the peer's address (NULL: it is gone), for
 * netdevs_report_to(). */
void netq_connected(struct netq *q, const struct sockaddr *peer, socklen_t len);

/* report.c: any thread. The peer of netdev `id` is there, or (peer: NULL) has gone. */
void netdev_report_peer(struct events *events, const char *id, const struct sockaddr *peer,
			socklen_t len);
/* By id; NULL when unknown. */
struct netdev *netdevs_find(struct netdevs *nds, const char *id);
/* hub.c keeps its hubs there. */
struct list *netdevs_hubs(struct netdevs *nds);
/* --- netdev.c for types.c: an open one joins the set; one that is not in use goes, at any stage */
void netdevs_insert(struct netdevs *nds, struct netdev *nd);
void netdev_free(struct netdev *nd);
void netdev_report_link(struct loop_task *t); /* netdev.report's function */

#endif
