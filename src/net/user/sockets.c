/* SPDX-License-Identifier: MIT */
/* sockets.c - libslirp's sockets and clocks on the loop of its network
 *
 * libslirp's interface is that of poll(): ask what to watch, wait, tell what is ready. Here its
 * sockets stay registered with the loop, and one pass (serve()) after anything happened - a socket
 * is ready, the guest sent, a clock is due - tells, asks, and changes the registrations that
 * differ. So a turn of the loop costs one pass at most, and nothing when nothing of ours happened.
 *
 * While too much waits for the guest (u->in) no socket is watched. libslirp is served all the same,
 * so that its clocks run: what it keeps of broken packets and dead connections goes with them.
 * With most of the sockets taken by those who connected to a hostfwd=, others wait: the last ones
 * are for the guest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net/user/worker.h"

#define RING_HIGH (USER_RING / 2) /* do not read from the host any more */
#define PASSES	  16		  /* of one turn at most */
#define IDLE_MS	  1000		  /* libslirp asks to be called so often without a reason */

/* A socket of libslirp's. */
struct sock {
	struct loop_fd w;
	struct user *u;
	struct list link;   /* user.watched */
	uint32_t want, got; /* EPOLL*: registered for; seen since the last pass */
	uint32_t had;	    /* what was told in that one */
	unsigned round;
	bool open, accepted;
	enum { UNKNOWN, ACCEPTS, OTHER } kind;
};

struct user_timer {
	struct list link; /* user.timers */
	struct loop_timer t;
	struct user *u;
	SlirpTimerCb fn;
	void *opaque;
	int64_t at_ms; /* 0: not armed */
};

static struct loop *loop_of(struct user *u)
{
	return u->nd.queue[0].loop;
}

void user_loop_soon(struct user *u)
{
	if (u->soon || !loop_of(u))
		return;
	u->soon = true;
	loop_timer_set(loop_of(u), &u->due, 0);
}

/* --- sockets --- */

static struct sock *sock_of(struct user *u, int fd)
{
	int n = MAX(64, u->socks);
	struct sock **table;

	if (fd < u->socks)
		return u->sock[fd];
	while (n <= fd)
		n *= 2;
	table = realloc(u->sock, (size_t)n * sizeof(struct sock *));
	if (!table)
		return NULL;
	memset(table + u->socks, 0, (size_t)(n - u->socks) * sizeof(struct sock *));
	u->sock = table;
	u->socks = n;
	return NULL;
}

static void sock_unwatch(struct sock *s)
{
	if (loop_of(s->u))
		loop_fd_del(loop_of(s->u), &s->w);
	s->w.fd = -1;
	s->want = s->got = s->had = 0;
	list_del(&s->link);
}

static void sock_event(struct loop_fd *w, uint32_t events)
{
	struct sock *s = container_of(w, struct sock, w);

	s->got |= events;
	user_loop_soon(s->u);
}

static void sock_watch(struct sock *s, int fd, uint32_t want)
{
	struct loop *loop = loop_of(s->u);
	int rc = 0;

	if (s->w.fd >= 0 && want == s->want)
		return;
	if (s->w.fd >= 0)
		rc = loop_fd_mod(loop, &s->w, want);
	else
		rc = loop_fd_add(loop, &s->w, fd, want, sock_event);
	if (rc < 0) {
		sock_unwatch(s);
		log_guest(&s->u->log, s->u->nd.id, "a socket cannot be watched: %s", strerror(-rc));
		return;
	}
	s->want = want;
	list_del(&s->link);
	list_add_tail(&s->u->watched, &s->link);
}

static struct sock *sock_new(struct user *u, int fd)
{
	struct sock *s = sock_of(u, fd);

	if (s || fd >= u->socks)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->u = u;
	s->w.fd = -1;
	list_init(&s->link);
	return u->sock[fd] = s;
}

static void sock_opened(struct user *u, int fd, bool open)
{
	struct sock *s = fd >= 0 ? sock_new(u, fd) : NULL;

	if (!s || s->open == open)
		return;
	s->open = open;
	s->kind = UNKNOWN;
	u->accepted -= s->accepted;
	s->accepted = open && u->polls;
	u->accepted += s->accepted;
	u->open += open ? 1 : -1;
}

/* libslirp's callbacks: a descriptor begins or ends. Whatever was registered under its number is
 * not that any more. */
static void register_fd(int fd, void *opaque)
{
	struct user *u = opaque;
	struct sock *s = fd >= 0 ? sock_of(u, fd) : NULL;

	if (s)
		sock_unwatch(s);
	sock_opened(u, fd, true);
}

static void unregister_fd(int fd, void *opaque)
{
	struct user *u = opaque;
	struct sock *s = fd >= 0 ? sock_of(u, fd) : NULL;

	slirp_udp_end(&u->udp);
	if (s)
		sock_unwatch(s);
	sock_opened(u, fd, false);
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
	struct user *u = opaque;
	struct sock *s = sock_new(u, fd);

	if (!s)
		return -1;
	sock_opened(u, fd, true);
	if (u->choked || (u->full && accepts(s, fd)))
		return -1;
	s->round = u->round;
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

static void check_full(struct user *u)
{
	bool full = u->accepted >= u->open_max / 4 * 3 || u->open >= u->open_max;

	if (full && !u->full)
		log_guest(&u->log, u->nd.id,
			  "%u sockets are open, %u of them for a hostfwd=, where others wait now",
			  u->open, u->accepted);
	u->full = full;
}

/* One pass: tell what happened, run the clocks, ask what to watch. How long to wait then, in ms. */
static uint32_t pass(struct user *u)
{
	uint32_t timeout = UINT32_MAX;

	u->soon = false;
	u->polls = true;
	u->lib.pollfds_poll(u->slirp, 0, get_revents, u);
	u->polls = false;
	list_for_each (it, &u->watched) {
		struct sock *s = list_entry(it, struct sock, link);

		s->had = s->got;
		s->got = 0;
	}
	check_full(u);
	u->choked = u->in.used > (u->choked ? USER_RING_LOW : RING_HIGH);
	u->round++;
	u->lib.pollfds_fill(u->slirp, &timeout, add_poll, u);
	list_for_each (it, &u->watched) {
		struct sock *s = list_entry(it, struct sock, link);

		if (s->round != u->round)
			sock_unwatch(s);
	}
	return timeout;
}

/* libslirp takes one datagram of a socket in a pass. Is there another? Asked here that costs less
 * than in a turn of the loop. */
static bool more_came(struct user *u)
{
	bool more = false;

	list_for_each (it, &u->watched) {
		struct sock *s = list_entry(it, struct sock, link);
		int n = 0;

		if (s->had & s->want & EPOLLIN && ioctl(s->w.fd, FIONREAD, &n) == 0 && n > 0) {
			s->got |= EPOLLIN;
			more = true;
		}
	}
	return more;
}

static void serve(struct user *u)
{
	uint32_t timeout = pass(u);

	for (unsigned n = 1; n < PASSES && !u->choked && more_came(u); n++)
		timeout = pass(u);
	if (u->soon)
		return; /* something happened meanwhile: `due` is set */
	if (timeout >= IDLE_MS && list_empty(&u->watched))
		loop_timer_del(&u->due);
	else
		loop_timer_set(loop_of(u), &u->due, (uint64_t)timeout * 1000000);
}

static void serve_due(struct loop_timer *t)
{
	serve(container_of(t, struct user, due));
}

/* --- clocks --- */

static int64_t clock_ns(void *opaque)
{
	return (int64_t)now_ns();
}

static void timer_due(struct loop_timer *lt)
{
	struct user_timer *t = container_of(lt, struct user_timer, t);

	t->at_ms = 0;
	t->fn(t->opaque);
	user_loop_soon(t->u);
}

static void timer_arm(struct user_timer *t)
{
	int64_t wait = t->at_ms * 1000000 - (int64_t)now_ns();

	if (loop_of(t->u) && t->at_ms)
		loop_timer_set(loop_of(t->u), &t->t, (uint64_t)MAX(wait, 0));
}

static void *timer_new(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
	struct user *u = opaque;
	struct user_timer *t = calloc(1, sizeof(*t));

	if (!t)
		abort(); /* libslirp takes it for granted, as all its own memory */
	*t = (struct user_timer){.u = u, .fn = fn, .opaque = fn_opaque, .t.fn = timer_due};
	list_add_tail(&u->timers, &t->link);
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct user_timer *t = timer;

	if (!t)
		return;
	loop_timer_del(&t->t);
	list_del(&t->link);
	free(t);
}

static void timer_mod(void *timer, int64_t at_ms, void *opaque)
{
	struct user_timer *t = timer;

	t->at_ms = MAX(at_ms, 1);
	timer_arm(t);
}

static void notify(void *opaque)
{
	user_loop_soon(opaque);
}

/* --- life --- */

void user_loop_init(struct user *u, SlirpCb *callbacks)
{
	list_init(&u->watched);
	list_init(&u->timers);
	u->due.fn = serve_due;
	callbacks->clock_get_ns = clock_ns;
	callbacks->timer_new = timer_new;
	callbacks->timer_free = timer_free;
	callbacks->timer_mod = timer_mod;
	callbacks->register_poll_fd = register_fd;
	callbacks->unregister_poll_fd = unregister_fd;
	callbacks->notify = notify;
}

void user_loop_free(struct user *u)
{
	for (int i = 0; i < u->socks; i++)
		free(u->sock[i]);
	free(u->sock);
}

void user_loop_start(struct user *u)
{
	list_for_each (it, &u->timers)
		timer_arm(list_entry(it, struct user_timer, link));
	user_loop_soon(u);
}

void user_loop_stop(struct user *u)
{
	list_for_each (it, &u->watched)
		sock_unwatch(list_entry(it, struct sock, link));
	list_for_each (it, &u->timers)
		loop_timer_del(&list_entry(it, struct user_timer, link)->t);
	loop_timer_del(&u->due);
	u->soon = false;
}
