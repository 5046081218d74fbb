/* SPDX-License-Identifier: MIT */
/* sockets.c - libslirp's sockets and clocks on the loop of the worker
 *
 * libslirp's interface is that of poll(): ask what to watch, wait, tell what is ready. Here its
 * sockets stay registered with the loop, and one pass (serve()) after anything happened - a socket
 * is ready, the guest sent, a clock is due - tells, asks, and changes the registrations that
 * differ. So a turn of the loop costs one pass at most, and nothing when nothing of ours happened.
 *
 * While too much waits for the guest, or nobody takes its frames, no socket is watched. libslirp is
 * served all the same, so that its clocks run: what it keeps of broken packets and dead connections
 * goes with them. With most of the sockets taken by those who connected to a hostfwd=, others wait:
 * the last ones are for the guest. (Without that whoever reaches a forwarded port could take away
 * the guest's network; and a listening socket that cannot accept() for want of descriptors is ready
 * for ever.)
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net/user/worker.h"

#define RING_HIGH (NETRING_BYTES / 2) /* do not read from the host any more */
#define PASSES	  16		      /* of one turn at most */
#define IDLE_MS	  1000		      /* libslirp asks to be called so often without a reason */

/* A socket of libslirp's. */
struct sock {
	struct loop_fd watch;
	struct worker *w;
	struct list link;   /* worker.watched */
	uint32_t want, got; /* EPOLL*: registered for; seen since the last pass */
	uint32_t had;	    /* what was told in that one */
	unsigned round;
	bool open, accepted;
	enum { UNKNOWN, ACCEPTS, OTHER } kind;
};

struct net_timer {
	struct list link; /* worker.timers */
	struct loop_timer t;
	struct worker *w;
	SlirpTimerCb fn;
	void *opaque;
	int64_t at_ms; /* 0: not armed */
};

void sockets_soon(struct worker *w)
{
	if (w->soon || !w->loop)
		return;
	w->soon = true;
	loop_timer_set(w->loop, &w->due, 0);
}

/* --- sockets --- */

static struct sock *sock_of(struct worker *w, int fd)
{
	int n = MAX(64, w->socks);
	struct sock **table;

	if (fd < w->socks)
		return w->sock[fd];
	while (n <= fd)
		n *= 2;
	table = realloc(w->sock, (size_t)n * sizeof(struct sock *));
	if (!table)
		return NULL;
	memset(table + w->socks, 0, (size_t)(n - w->socks) * sizeof(struct sock *));
	w->sock = table;
	w->socks = n;
	return NULL;
}

static void sock_unwatch(struct sock *s)
{
	if (s->w->loop)
		loop_fd_del(s->w->loop, &s->watch);
	s->watch.fd = -1;
	s->want = s->got = s->had = 0;
	list_del(&s->link);
}

static void sock_event(struct loop_fd *watch, uint32_t events)
{
	struct sock *s = container_of(watch, struct sock, watch);

	s->got |= events;
	sockets_soon(s->w);
}

static void sock_watch(struct sock *s, int fd, uint32_t want)
{
	struct loop *loop = s->w->loop;
	int rc = 0;

	if (s->watch.fd >= 0 && want == s->want)
		return;
	if (s->watch.fd >= 0)
		rc = loop_fd_mod(loop, &s->watch, want);
	else
		rc = loop_fd_add(loop, &s->watch, fd, want, sock_event);
	if (rc < 0) {
		sock_unwatch(s);
		log_guest(&s->w->log, WORKER_MSG, "a socket cannot be watched: %s", strerror(-rc));
		return;
	}
	s->want = want;
	list_del(&s->link);
	list_add_tail(&s->w->watched, &s->link);
}

static struct sock *sock_new(struct worker *w, int fd)
{
	struct sock *s = sock_of(w, fd);

	if (s || fd >= w->socks)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->w = w;
	s->watch.fd = -1;
	list_init(&s->link);
	return w->sock[fd] = s;
}

static void sock_opened(struct worker *w, int fd, bool open)
{
	struct sock *s = fd >= 0 ? sock_new(w, fd) : NULL;

	if (!s || s->open == open)
		return;
	s->open = open;
	s->kind = UNKNOWN;
	w->accepted -= s->accepted;
	s->accepted = open && w->polls;
	w->accepted += s->accepted;
	w->open += open ? 1 : -1;
}

/* libslirp's callbacks: a descriptor begins or ends. Whatever was registered under its number is
 * not that any more. */
static void register_fd(int fd, void *opaque)
{
	struct worker *w = opaque;
	struct sock *s = fd >= 0 ? sock_of(w, fd) : NULL;

	if (s)
		sock_unwatch(s);
	sock_opened(w, fd, true);
}

static void unregister_fd(int fd, void *opaque)
{
	struct worker *w = opaque;
	struct sock *s = fd >= 0 ? sock_of(w, fd) : NULL;

	if (s)
		sock_unwatch(s);
	sock_opened(w, fd, false);
}

static bool accepts(struct sock *s, int fd)
{
	int yes = 0;

	if (s->kind == UNKNOWN) {
		getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &(socklen_t){sizeof(yes)});
		s->kind = yes ? ACCEPTS : OTHER;
	}
	return s->kind == ACCEPTS;
}

static int add_poll(int fd, int events, void *opaque)
{
	struct worker *w = opaque;
	struct sock *s = sock_new(w, fd);

	if (!s)
		return -1;
	sock_opened(w, fd, true);
	if (w->choked || (w->full && accepts(s, fd)))
		return -1;
	s->round = w->round;
	sock_watch(s, fd,
		   (events & SLIRP_POLL_IN ? EPOLLIN : 0) |
			   (events & SLIRP_POLL_OUT ? EPOLLOUT : 0) |
			   (events & SLIRP_POLL_PRI ? EPOLLPRI : 0));
	return fd;
}

static int get_revents(int fd, void *opaque)
{
	struct sock *s = sock_of(opaque, fd);
	uint32_t got = s ? s->got : 0;

	return (got & EPOLLIN ? SLIRP_POLL_IN : 0) | (got & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (got & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (got & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (got & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

static void check_full(struct worker *w)
{
	bool full = w->accepted >= w->open_max / 4 * 3 || w->open >= w->open_max;

	if (full && !w->full)
		log_guest(&w->log, WORKER_MSG,
			  "%u sockets are open, %u of them for a hostfwd=, where others wait now",
			  w->open, w->accepted);
	w->full = full;
}

/* Does too much wait for the guest? The worker is woken when that is over. */
static void check_choked(struct worker *w)
{
	ssize_t used = netring_used(&w->to_guest);

	if (!used)
		w->frames_lost = 0;
	w->choked =
		!(worker_mode(w) & USER_SERVED) ||
		(used > (w->choked ? NETRING_LOW : RING_HIGH) && netring_wait_room(&w->to_guest));
}

/* One pass: tell what happened, run the clocks, ask what to watch. How long to wait then, in ms. */
static uint32_t pass(struct worker *w)
{
	uint32_t timeout = UINT32_MAX;

	w->soon = false;
	alarm_enter(w);
	w->polls = true;
	w->lib.pollfds_poll(w->slirp, 0, get_revents, w);
	w->polls = false;
	list_for_each (it, &w->watched) {
		struct sock *s = list_entry(it, struct sock, link);

		s->had = s->got;
		s->got = 0;
	}
	check_full(w);
	check_choked(w);
	w->round++;
	w->lib.pollfds_fill(w->slirp, &timeout, add_poll, w);
	list_for_each (it, &w->watched) {
		struct sock *s = list_entry(it, struct sock, link);

		if (s->round != w->round)
			sock_unwatch(s);
	}
	return timeout;
}

/* libslirp takes one datagram of a socket in a pass. Is there another? Asked here that costs less
 * than in a turn of the loop. */
static bool more_came(struct worker *w)
{
	bool more = false;

	list_for_each (it, &w->watched) {
		struct sock *s = list_entry(it, struct sock, link);
		int n = 0;

		if (s->had & s->want & EPOLLIN && ioctl(s->watch.fd, FIONREAD, &n) == 0 && n > 0) {
			s->got |= EPOLLIN;
			more = true;
		}
	}
	return more;
}

static void serve(struct worker *w)
{
	uint32_t timeout;

	if (w->more)
		frames_take(w);
	timeout = pass(w);

	for (unsigned n = 1; n < PASSES && !w->choked && more_came(w); n++)
		timeout = pass(w);
	if (w->more)
		sockets_soon(w);
	if (w->soon)
		return; /* something happened meanwhile: `due` is set */
	if (timeout >= IDLE_MS && list_empty(&w->watched))
		loop_timer_del(&w->due);
	else
		loop_timer_set(w->loop, &w->due, (uint64_t)timeout * 1000000);
}

static void serve_due(struct loop_timer *t)
{
	serve(container_of(t, struct worker, due));
}

/* --- clocks --- */

static int64_t clock_ns(void *opaque)
{
	return (int64_t)now_ns();
}

static void timer_due(struct loop_timer *lt)
{
	struct net_timer *t = container_of(lt, struct net_timer, t);

	t->at_ms = 0;
	alarm_enter(t->w);
	t->fn(t->opaque);
	sockets_soon(t->w);
}

static void timer_arm(struct net_timer *t)
{
	int64_t wait = t->at_ms * 1000000 - (int64_t)now_ns();

	if (t->w->loop && t->at_ms)
		loop_timer_set(t->w->loop, &t->t, (uint64_t)MAX(wait, 0));
}

static void *timer_new(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
	struct worker *w = opaque;
	struct net_timer *t = calloc(1, sizeof(*t));

	if (!t)
		abort(); /* libslirp takes it for granted, as all its own memory */
	*t = (struct net_timer){.w = w, .fn = fn, .opaque = fn_opaque, .t.fn = timer_due};
	list_add_tail(&w->timers, &t->link);
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct net_timer *t = timer;

	if (!t)
		return;
	loop_timer_del(&t->t);
	list_del(&t->link);
	free(t);
}

static void timer_mod(void *timer, int64_t at_ms, void *opaque)
{
	struct net_timer *t = timer;

	t->at_ms = MAX(at_ms, 1);
	timer_arm(t);
}

static void notify(void *opaque)
{
	sockets_soon(opaque);
}

/* --- life --- */

void sockets_init(struct worker *w, SlirpCb *callbacks)
{
	list_init(&w->watched);
	list_init(&w->timers);
	w->due.fn = serve_due;
	callbacks->clock_get_ns = clock_ns;
	callbacks->timer_new = timer_new;
	callbacks->timer_free = timer_free;
	callbacks->timer_mod = timer_mod;
	callbacks->register_poll_fd = register_fd;
	callbacks->unregister_poll_fd = unregister_fd;
	callbacks->notify = notify;
}

void sockets_start(struct worker *w)
{
	list_for_each (it, &w->timers)
		timer_arm(list_entry(it, struct net_timer, link));
	sockets_soon(w);
}
