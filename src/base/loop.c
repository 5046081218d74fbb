/* SPDX-License-Identifier: MIT */
/* loop.c - see loop.h
 *
 * Looking before sleeping (loop_set_polling()) trades CPU time for latency: a wake-up is some
 * microseconds, and the other side's notification another exit. It is adaptive, so a loop with
 * nothing to do does not spin.
 *
 * epoll for descriptors, a sorted list for timers (a loop has a handful of them), an eventfd to
 * wake it, and a lock-free list (mpsc.h) for tasks that other threads post. The poster rings the
 * eventfd only when the loop sleeps or is about to: `sleeping` is set before the last look at the
 * list, and the poster looks at it after its push.
 */
#include "base/loop.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"

#define MS	    1000000LL
#define TURN_EVENTS 64

/* Tasks of one turn, in order. */
struct fifo {
	struct mpsc_node *first, **tail;
};

struct loop {
	int epfd;
	struct loop_fd wake;
	struct thread thread;
	bool threaded;	     /* loop_start() was called */
	sem_t started;	     /* posted by that thread once `running` is true */
	atomic_bool running; /* `owner` is valid */
	pthread_t owner;
	atomic_bool stop;
	atomic_bool sleeping;
	uint64_t now;

	struct mpsc posted; /* by any thread */
	struct fifo deferred, closing;
	struct list timers; /* ascending deadlines */
	struct list hooks;

	/* Looking instead of sleeping, loop_set_polling(). */
	struct list pollers;
	uint64_t poll_max, poll_grow, poll_shrink;
	uint64_t poll_ns; /* at present */
	uint64_t max_batch;

	/* The batch being dispatched, so that loop_fd_del() can take a watcher out of it. */
	struct epoll_event events[TURN_EVENTS];
	int batch, batch_at;
};

static void drain_wake(struct loop_fd *w, uint32_t events)
{
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) < 0) {
		/* Nothing to drain: somebody was faster. */
	}
}

static void wake(struct loop *l)
{
	uint64_t one = 1;

	if (write(l->wake.fd, &one, sizeof(one)) < 0) {
		/* The counter is full: it is awake anyway. */
	}
}

static void fifo_init(struct fifo *f)
{
	f->first = NULL;
	f->tail = &f->first;
}

static void fifo_add(struct fifo *f, struct loop_task *t)
{
	if (atomic_exchange(&t->queued, true))
		return;
	t->link.next = NULL;
	*f->tail = &t->link;
	f->tail = &t->link.next;
}

struct loop *loop_new(const char *name)
{
	struct loop *l = calloc(1, sizeof(*l));
	int fd;

	if (!l)
		return NULL;
	l->thread.name = name;
	fifo_init(&l->deferred);
	fifo_init(&l->closing);
	list_init(&l->timers);
	list_init(&l->hooks);
	list_init(&l->pollers);
	l->now = now_ns();
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->epfd < 0 || fd < 0 || loop_fd_add(l, &l->wake, fd, EPOLLIN, drain_wake) < 0) {
		int saved = errno;

		if (fd >= 0)
			close(fd);
		if (l->epfd >= 0)
			close(l->epfd);
		free(l);
		errno = saved;
		return NULL;
	}
	return l;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	close(l->wake.fd);
	close(l->epfd);
	free(l);
}

int loop_fd_add(struct loop *l, struct loop_fd *w, int fd, uint32_t events,
		void (*fn)(struct loop_fd *, uint32_t))
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	w->fd = fd;
	w->fn = fn;
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		w->fd = -1;
		return -errno;
	}
	return 0;
}

int loop_fd_mod(struct loop *l, struct loop_fd *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	return epoll_ctl(l->epfd, EPOLL_CTL_MOD, w->fd, &ev) < 0 ? -errno : 0;
}

void loop_fd_del(struct loop *l, struct loop_fd *w)
{
	if (w->fd < 0)
		return;
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->fd, NULL);
	w->fd = -1;
	for (int i = l->batch_at + 1; i < l->batch; i++)
		if (l->events[i].data.ptr == w)
			l->events[i].data.ptr = NULL;
}

void loop_defer(struct loop *l, struct loop_task *t)
{
	fifo_add(&l->deferred, t);
}

void loop_close(struct loop *l, struct loop_task *t)
{
	fifo_add(&l->closing, t);
}

void loop_post(struct loop *l, struct loop_task *t)
{
	if (atomic_exchange(&t->queued, true))
		return;
	mpsc_push(&l->posted, &t->link);
	/* Pairs with the store of `sleeping` before the last look at `posted` in loop_turn(). */
	if (atomic_load(&l->sleeping))
		wake(l);
}

static void run_tasks(struct mpsc_node *n)
{
	while (n) {
		struct loop_task *t = container_of(n, struct loop_task, link);

		n = n->next;
		/* Cleared first: the task may be queued again, or freed, by its own function. */
		atomic_store(&t->queued, false);
		t->fn(t);
	}
}

static void run_posted(struct loop *l)
{
	run_tasks(mpsc_take(&l->posted));
}

/* Tasks that these add in turn run in the next turn: descriptors get their chance in between. */
static void run_fifo(struct fifo *f)
{
	struct mpsc_node *first = f->first;

	fifo_init(f);
	run_tasks(first);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t delay_ns)
{
	struct list *at;

	loop_timer_del(t);
	t->deadline = now_ns() + delay_ns;
	for (at = l->timers.prev; at != &l->timers; at = at->prev)
		if (list_entry(at, struct loop_timer, link)->deadline <= t->deadline)
			break;
	list_add_head(at, &t->link);
}

void loop_timer_del(struct loop_timer *t)
{
	if (t->link.next)
		list_del(&t->link);
}

static void run_timers(struct loop *l)
{
	/* Anew, so that what a descriptor's function has just set to run at once does. */
	if (!list_empty(&l->timers))
		l->now = now_ns();
	while (!list_empty(&l->timers)) {
		struct loop_timer *t = list_entry(l->timers.next, struct loop_timer, link);

		if (t->deadline > l->now)
			break;
		list_del(&t->link);
		t->fn(t);
	}
}

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
	list_add_tail(&l->hooks, &h->link);
}

void loop_hook_del(struct loop_hook *h)
{
	if (h->link.next)
		list_del(&h->link);
}

/* How long may the loop sleep, in ns? -1: for ever. */
static int64_t sleep_ns(struct loop *l, int limit_ms)
{
	int64_t limit = limit_ms < 0 ? -1 : limit_ms * MS;
	uint64_t now, ns;
	struct loop_timer *t;

	if (l->deferred.first || l->closing.first || !mpsc_empty(&l->posted) ||
	    atomic_load(&l->stop))
		return 0;
	if (list_empty(&l->timers))
		return limit;
	t = list_entry(l->timers.next, struct loop_timer, link);
	now = now_ns();
	if (t->deadline <= now)
		return 0;
	ns = MIN(t->deadline - now, (uint64_t)(3600000 * MS));
	return limit >= 0 && ns > (uint64_t)limit ? limit : (int64_t)ns;
}

/* epoll_wait(), but for timers of less than a millisecond. Where the kernel cannot wait so shortly
 * (before 5.11) it does not wait. */
static int wait_events(struct loop *l, int64_t ns)
{
	struct timespec ts = {.tv_nsec = ns};
	int n;

	if (ns <= 0 || ns >= (int64_t)MS)
		return epoll_wait(l->epfd, l->events, TURN_EVENTS,
				  ns < 0 ? -1 : (int)((ns + MS - 1) / MS));
	n = epoll_pwait2(l->epfd, l->events, TURN_EVENTS, &ts, NULL);
	if (n < 0 && errno == ENOSYS)
		n = epoll_wait(l->epfd, l->events, TURN_EVENTS, 0);
	return n;
}

/* --- looking instead of sleeping --- */

#define POLL_FIRST_NS 4000

void loop_set_polling(struct loop *l, uint64_t max_ns, uint64_t grow, uint64_t shrink)
{
	l->poll_max = max_ns;
	l->poll_grow = grow;
	l->poll_shrink = shrink;
	l->poll_ns = 0;
}

void loop_set_batch(struct loop *l, uint64_t max)
{
	l->max_batch = max;
}

uint64_t loop_batch(const struct loop *l)
{
	return l->max_batch;
}

void loop_poller_add(struct loop *l, struct loop_poller *p)
{
	if (!p->link.next || list_empty(&p->link))
		list_add_tail(&l->pollers, &p->link);
}

void loop_poller_del(struct loop_poller *p)
{
	if (p->link.next)
		list_del(&p->link);
}

static enum loop_look look_around(struct loop *l)
{
	enum loop_look seen = LOOP_NOTHING;

	if (!mpsc_looks_empty(&l->posted) || atomic_load_explicit(&l->stop, memory_order_relaxed))
		return LOOP_WORK;
	list_for_each (it, &l->pollers) {
		struct loop_poller *p = list_entry(it, struct loop_poller, link);
		enum loop_look look = p->look(p);

		if (look != LOOP_NOTHING)
			seen = look;
		if (look == LOOP_WORK)
			break;
	}
	return seen;
}

/* Look at the pollers for a while. */
static void look_before_sleep(struct loop *l)
{
	uint64_t end = now_ns() + l->poll_ns;

	list_for_each (it, &l->pollers) {
		struct loop_poller *p = list_entry(it, struct loop_poller, link);

		if (p->begin)
			p->begin(p);
	}
	while (look_around(l) == LOOP_NOTHING && now_ns() < end)
		;
	list_for_each (it, &l->pollers) {
		struct loop_poller *p = list_entry(it, struct loop_poller, link);

		if (p->end)
			p->end(p);
	}
}

/* The loop has waited `waited` ns in all for something to do. */
static void adapt(struct loop *l, uint64_t waited)
{
	if (waited <= l->poll_ns)
		return;
	if (waited > l->poll_max)
		l->poll_ns = l->poll_shrink ? l->poll_ns / l->poll_shrink : 0;
	else if (l->poll_ns < l->poll_max)
		l->poll_ns = MIN(l->poll_max, MAX(POLL_FIRST_NS,
						  l->poll_ns * (l->poll_grow ? l->poll_grow : 2)));
}

void loop_turn(struct loop *l, int timeout_ms)
{
	bool looks = l->poll_max && !list_empty(&l->pollers) && sleep_ns(l, timeout_ms) != 0;
	uint64_t begin = looks ? now_ns() : 0;
	int n;

	if (looks && l->poll_ns)
		look_before_sleep(l);
	/* Pairs with loop_post(): announce the sleep, then look for work once more (in sleep_ns()).
	 */
	atomic_store(&l->sleeping, true);
	n = wait_events(l, sleep_ns(l, timeout_ms));
	atomic_store(&l->sleeping, false);
	l->now = now_ns();
	if (looks)
		adapt(l, l->now - begin);

	l->batch = MAX(n, 0);
	for (l->batch_at = 0; l->batch_at < l->batch; l->batch_at++) {
		struct epoll_event *ev = &l->events[l->batch_at];
		struct loop_fd *w = ev->data.ptr;

		if (w)
			w->fn(w, ev->events);
	}
	l->batch = l->batch_at = 0;

	run_timers(l);
	run_posted(l);
	run_fifo(&l->deferred);
	list_for_each (it, &l->hooks) {
		struct loop_hook *h = list_entry(it, struct loop_hook, link);

		h->fn(h);
	}
	run_fifo(&l->closing);
}

static void take_ownership(struct loop *l)
{
	l->owner = pthread_self();
	atomic_store(&l->running, true);
}

void loop_run(struct loop *l)
{
	if (!atomic_load(&l->running))
		take_ownership(l);
	while (!atomic_load(&l->stop))
		loop_turn(l, -1);
	/* What was posted before the stop (a waiting loop_call(), say) is still done. */
	run_posted(l);
	atomic_store(&l->running, false);
	atomic_store(&l->stop, false);
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	wake(l);
}

static void loop_thread(void *arg)
{
	struct loop *l = arg;

	take_ownership(l);
	sem_post(&l->started);
	loop_run(l);
}

void loop_set_begin(struct loop *l, void (*begin)(void *arg), void *arg)
{
	l->thread.begin = begin;
	l->thread.begin_arg = arg;
}

int loop_start(struct loop *l)
{
	int rc;

	l->thread.run = loop_thread;
	l->thread.run_arg = l;
	sem_init(&l->started, 0, 0);
	rc = thread_start(&l->thread);
	if (rc < 0)
		return rc;
	/* From here on loop_is_mine() is false for everybody else: a loop_call() must not run
	 * beside the loop. */
	while (sem_wait(&l->started) < 0) {}
	l->threaded = true;
	return 0;
}

void loop_join(struct loop *l)
{
	if (!l->threaded)
		return;
	loop_stop(l);
	thread_join(&l->thread);
	l->threaded = false;
}

bool loop_is_mine(const struct loop *l)
{
	return !atomic_load(&((struct loop *)l)->running) ||
	       pthread_equal(l->owner, pthread_self());
}

uint64_t loop_now(const struct loop *l)
{
	return l->now;
}

struct call {
	struct loop_task task;
	void (*fn)(void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t done_cond;
	bool done;
};

static void run_call(struct loop_task *t)
{
	struct call *c = container_of(t, struct call, task);

	c->fn(c->arg);
	pthread_mutex_lock(&c->lock);
	c->done = true;
	pthread_cond_signal(&c->done_cond);
	pthread_mutex_unlock(&c->lock);
}

/* Is one of the signals that end the program waiting to be read? Whoever reads them sleeps here. */
static bool end_is_wanted(void)
{
	sigset_t set;

	sigpending(&set);
	return sigismember(&set, SIGTERM) || sigismember(&set, SIGINT) || sigismember(&set, SIGHUP);
}

/* The caller sleeps until the loop has done it. A loop that does not answer must not keep the
 * program from ending: once that was asked for by a signal, the wait is limited. (An end that was
 * asked for in another way has its limits in base/endwatch.h.) */
static void call_wait(struct call *c, const char *loop)
{
	unsigned patience = LOOP_ANSWER_S;

	pthread_mutex_lock(&c->lock);
	while (!c->done) {
		struct timespec second;

		clock_gettime(CLOCK_REALTIME, &second);
		second.tv_sec++;
		if (pthread_cond_timedwait(&c->done_cond, &c->lock, &second) == 0)
			continue;
		patience = end_is_wanted() ? patience - 1 : LOOP_ANSWER_S;
		if (patience)
			continue;
		log_last_err("loop %s does not answer: the program ends without it", loop);
		_exit(1);
	}
	pthread_mutex_unlock(&c->lock);
}

void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct call c = {.task.fn = run_call,
			 .fn = fn,
			 .arg = arg,
			 .lock = PTHREAD_MUTEX_INITIALIZER,
			 .done_cond = PTHREAD_COND_INITIALIZER};

	if (!l->threaded || (atomic_load(&l->running) && pthread_equal(l->owner, pthread_self()))) {
		fn(arg);
		return;
	}
	loop_post(l, &c.task);
	call_wait(&c, l->thread.name);
}
