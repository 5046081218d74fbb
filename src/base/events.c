/* SPDX-License-Identifier: MIT */
/* events.c - see events.h
 *
 * Threads: whoever posts appends to `waiting` under the lock. The control thread takes the oldest
 * one out and delivers it without the lock; it does so in a task that the first event of an empty
 * queue posts, and at once when it posts an event itself. Delivery may post again: that event goes
 * to the end of the queue and is delivered by the loop that runs already.
 */
#include "base/events.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/list.h"
#include "base/util.h"

struct event {
	struct list link; /* events.waiting */
	json_t *message;
};

struct events {
	struct loop *control;
	pthread_t thread; /* the control thread: its loop may not run yet */
	struct loop_task task;
	void (*deliver)(void *arg, json_t *event); /* control thread */
	void *arg;
	bool delivering; /* control thread: events_deliver() is further up the stack */

	pthread_mutex_t lock; /* for what follows */
	struct list waiting;
	unsigned count;
	bool task_posted;
};

static struct event *event_take(struct events *ev)
{
	struct list *it;

	pthread_mutex_lock(&ev->lock);
	it = list_pop(&ev->waiting);
	if (it)
		ev->count--;
	pthread_mutex_unlock(&ev->lock);
	return it ? list_entry(it, struct event, link) : NULL;
}

static void event_free(struct event *event)
{
	json_decref(event->message);
	free(event);
}

/* Control thread: all that wait, oldest first. */
static void events_deliver(struct events *ev)
{
	struct event *event;

	if (ev->delivering)
		return;
	ev->delivering = true;
	while ((event = event_take(ev))) {
		if (ev->deliver)
			ev->deliver(ev->arg, event->message);
		event_free(event);
	}
	ev->delivering = false;
}

static void task_run(struct loop_task *t)
{
	struct events *ev = container_of(t, struct events, task);

	pthread_mutex_lock(&ev->lock);
	ev->task_posted = false;
	pthread_mutex_unlock(&ev->lock);
	events_deliver(ev);
}

struct events *events_new(struct loop *control)
{
	struct events *ev = calloc(1, sizeof(*ev));

	if (!ev)
		return NULL;
	ev->control = control;
	ev->thread = pthread_self();
	ev->task.fn = task_run;
	list_init(&ev->waiting);
	pthread_mutex_init(&ev->lock, NULL);
	return ev;
}

void events_free(struct events *ev)
{
	struct event *event;

	if (!ev)
		return;
	while ((event = event_take(ev)))
		event_free(event);
	pthread_mutex_destroy(&ev->lock);
	free(ev);
}

void events_subscribe(struct events *ev, void (*deliver)(void *arg, json_t *event), void *arg)
{
	ev->deliver = deliver;
	ev->arg = arg;
}

static struct event *event_new(const char *name, json_t *data)
{
	struct event *event = malloc(sizeof(*event));
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (event)
		event->message =
			json_pack("{s:{s:I, s:I}, s:s, s:O*}", "timestamp", "seconds",
				  (json_int_t)now.tv_sec, "microseconds",
				  (json_int_t)now.tv_nsec / 1000, "event", name, "data", data);
	json_decref(data);
	if (event && !event->message) {
		free(event);
		event = NULL;
	}
	return event;
}

/* Append. False where too many of other threads wait. `post`: the control thread is to be told. */
static bool event_append(struct events *ev, struct event *event, bool mine, bool *post)
{
	bool room;

	pthread_mutex_lock(&ev->lock);
	room = mine || ev->count < EVENTS_WAITING;
	if (room) {
		list_add_tail(&ev->waiting, &event->link);
		ev->count++;
		*post = !mine && !ev->task_posted;
		ev->task_posted |= *post;
	}
	pthread_mutex_unlock(&ev->lock);
	return room;
}

void events_post(struct events *ev, const char *name, json_t *data)
{
	bool mine = ev && pthread_equal(ev->thread, pthread_self()), post = false;
	struct event *event;

	if (!ev) {
		json_decref(data);
		return;
	}
	event = event_new(name, data);
	if (!event)
		return;
	if (!event_append(ev, event, mine, &post))
		event_free(event);
	if (post)
		loop_post(ev->control, &ev->task);
	if (mine)
		events_deliver(ev);
}
