/* SPDX-License-Identifier: MIT */
/* loop.h - an event loop: file descriptors, timers, deferred and posted tasks
 *
 * A loop belongs to the thread that runs it; everything registered with it is called on that thread
 * and nowhere else. Only the functions marked "any thread" may be called from outside.
 *
 * One turn of the loop: wait for descriptors (not at all while tasks are deferred), call the ready
 * watchers, run due timers, run posted tasks, run deferred tasks, then the hooks, then the closing
 * tasks. So a watcher that answers a vCPU only marks work (loop_defer) and the work is done after
 * every vCPU has been answered; a hook (submission of a batch of I/O, say) runs once per turn
 * however many tasks added to the batch; and what all of them completed is announced once
 * (loop_close) before the loop sleeps.
 *
 * No allocation: callers embed the watcher, task, timer or hook in their own object and must remove
 * it before they free it. Removal is always allowed, also of another watcher inside a callback; the
 * removed one is not called any more.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/list.h"
#include "base/mpsc.h"

struct loop;

struct loop_fd {
	int fd; /* -1: not registered */
	void (*fn)(struct loop_fd *w,
		   uint32_t events); /* events: EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR */
};

struct loop_task {
	void (*fn)(struct loop_task *t);
	struct mpsc_node link;
	atomic_bool queued; /* a task that is queued already is not queued twice */
};

struct loop_timer {
	void (*fn)(struct loop_timer *t);
	uint64_t deadline; /* CLOCK_MONOTONIC, ns */
	struct list link;
};

struct loop_hook {
	void (*fn)(struct loop_hook *h);
	struct list link;
};

/* Something in memory that can be looked at instead of waiting for a descriptor. */
enum loop_look {
	LOOP_NOTHING,
	LOOP_WORK,  /* there was work, and it was done or deferred */
	LOOP_SLEEP, /* what is waited for comes by a descriptor: do not look any longer */
};

struct loop_poller {
	enum loop_look (*look)(struct loop_poller *p);
	/* The loop begins to look: no notification is needed. It has looked enough: ask for
	 * notifications again, look once more, and defer what is there. May both be NULL. */
	void (*begin)(struct loop_poller *p);
	void (*end)(struct loop_poller *p);
	struct list link;
};

/* A new loop; NULL when out of memory or descriptors (errno). `name` is the thread's name once it
 * runs. */
struct loop *loop_new(const char *name);
/* Run on the calling thread until loop_stop(). */
void loop_run(struct loop *l);
/* One turn; waits at most `timeout_ms` (-1: for ever). For tests and for a main program of its own.
 */
void loop_turn(struct loop *l, int timeout_ms);
/* Any thread: make loop_run() return after the present turn. */
void loop_stop(struct loop *l);
/* After the thread has ended. */
void loop_free(struct loop *l);

/* Before loop_start(): have `begin(arg)` called first on the loop's thread. */
void loop_set_begin(struct loop *l, void (*begin)(void *arg), void *arg);
/* Start a thread of its own for the loop (base/thread.h says with which signals and stack); it has
 * begun when this returns. loop_join() stops it and waits for it. 0 or -errno. */
int loop_start(struct loop *l);
void loop_join(struct loop *l);
/* Any thread: is this the loop's own thread (or does the loop not run yet)? For checks of
 * ownership. */
bool loop_is_mine(const struct loop *l);
/* Time read once at the begin of the turn, ns. */
uint64_t loop_now(const struct loop *l);

/* Watch `fd` for `events`; level triggered. 0 or -errno. `w` may be reused after loop_fd_del(). */
int loop_fd_add(struct loop *l, struct loop_fd *w, int fd, uint32_t events,
		void (*fn)(struct loop_fd *, uint32_t));
int loop_fd_mod(struct loop *l, struct loop_fd *w, uint32_t events);
void loop_fd_del(struct loop *l, struct loop_fd *w);

/* Run `t` at the end of this turn (own thread). */
void loop_defer(struct loop *l, struct loop_task *t);
/* Run `t` after the hooks of this turn (own thread). */
void loop_close(struct loop *l, struct loop_task *t);
/* Any thread: run `t` on the loop's thread soon; wakes it only if it sleeps. */
void loop_post(struct loop *l, struct loop_task *t);
/* Any other thread: run fn(arg) on the loop's thread and wait for it; runs it directly on the
 * loop's own thread and while no thread runs the loop. Control plane only: the caller sleeps. While
 * SIGTERM, SIGINT or SIGHUP waits for the caller to read it, a loop that has not answered for
 * LOOP_ANSWER_S seconds ends the program with status 1. */
#define LOOP_ANSWER_S 10
void loop_call(struct loop *l, void (*fn)(void *arg), void *arg);

/* One shot after `delay_ns`; setting an armed timer moves it. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t delay_ns);
void loop_timer_del(struct loop_timer *t); /* harmless when it is not armed or all zero */

/* Before it sleeps, the loop looks at its pollers for at most `max_ns` (0, as at the start: not at
 * all). How long it really does follows the waits that it sees, as in QEMU's event loop: longer by
 * the factor `grow` (0: 2) while a little more would have saved the sleep, shorter by `shrink` (0:
 * at once not at all) when nothing came within max_ns. Own thread, or before it runs. */
void loop_set_polling(struct loop *l, uint64_t max_ns, uint64_t grow, uint64_t shrink);
/* How many requests of this loop may wait to go to the kernel together (0, as at the start: all of
 * a turn). Kept for those who collect them. Before it runs. */
void loop_set_batch(struct loop *l, uint64_t max);
uint64_t loop_batch(const struct loop *l);
void loop_poller_add(struct loop *l, struct loop_poller *p);
void loop_poller_del(struct loop_poller *p); /* harmless when it was not added */

/* Call `h` at the end of each turn. */
void loop_hook_add(struct loop *l, struct loop_hook *h);
void loop_hook_del(struct loop_hook *h);

#endif
