/* SPDX-License-Identifier: MIT */
/* worker.h - the worker of -netdev user: what its files share
 *
 * All of it lives in the helper: made by the keeper in prepare(), before it has a loop; used by
 * each worker, which is a copy of the keeper, on its loop.
 */
#ifndef NET_USER_WORKER_H
#define NET_USER_WORKER_H

#include <sys/resource.h>

#include "net/user/segment.h"
#include "net/user/slirp_lib.h"
#include "net/user/user.h"

#define WORKER_MSG "libslirp" /* who says it, in the log */

struct worker {
	struct user *user; /* its options, the shared memory */
	struct loop *loop; /* NULL in the keeper */
	struct slirp_lib lib;
	Slirp *slirp;
	SlirpCb callbacks;
	struct netring from_guest, to_guest; /* this side of them */
	struct loop_fd event;
	struct loop_hook turn_end;
	unsigned mss[NET_IPS]; /* TCP segments of the guest's link, as its last SYN said */
	uint64_t frames_lost;  /* since the guest last kept up */
	bool more;	       /* frames of the guest's wait for the next turn */
	struct log_rate log;

	/* alarm.c */
	bool alarm_on;
	uint64_t called; /* loop_now() when libslirp was last called */

	/* memory, see worker.c */
	uint64_t rss_checked;
	unsigned rss_frames;
	long rss_born, rss_max;

	/* sockets.c: libslirp's sockets, by descriptor; those that are watched; those that exist */
	struct sock **sock;
	int socks;
	struct list watched;
	unsigned open, open_max;
	unsigned accepted;     /* of these: connections to a hostfwd= */
	bool polls;	       /* libslirp is being told what is ready, and so may accept() */
	bool full;	       /* no more are accepted */
	unsigned round;	       /* of asking libslirp what to watch */
	struct list timers;    /* struct net_timer */
	struct loop_timer due; /* when libslirp wants to look at its clocks */
	bool soon, choked;     /* `due` is at once; too much waits for the guest */
};

/* NET_RX_* that the guest takes at this moment, USER_SERVED. */
static inline unsigned worker_mode(const struct worker *w)
{
	return atomic_load_explicit(&w->user->shm->mode, memory_order_relaxed);
}

/* --- sockets.c */
/* The members for the loop, and its callbacks of libslirp's. */
void sockets_init(struct worker *w, SlirpCb *callbacks);
/* There is a loop now. */
void sockets_start(struct worker *w);
/* Something happened: serve libslirp in this turn of the loop. */
void sockets_soon(struct worker *w);

/* --- frames.c */
void frames_init(SlirpCb *callbacks);
/* Hand the guest's frames to libslirp, those of a turn at most: w->more says whether there are
 * more.
 */
void frames_take(struct worker *w);

/* --- alarm.c */
/* In the worker: catch the signal. 0 or -errno. */
int alarm_init(void);
/* libslirp is going to be called: calls that sleep end. */
void alarm_enter(struct worker *w);
/* Of a turn of the loop. */
void alarm_turn_end(struct worker *w);

/* --- conf.c */
/* w->slirp exists: the forwards that were given. 0 or -errno with `e`. */
int user_forwards(struct worker *w, struct err *e);

#endif
