/* SPDX-License-Identifier: MIT */
/* workers.c - see workers.h */
#include "base/workers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/thread.h"
#include "base/util.h"

struct workers {
	const char *name;
	void (*begin)(void *arg);
	void *arg;
	unsigned max;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct work *first, **tail;
	unsigned queued, idle, threads;
	bool stop;
	bool alone; /* the submitter's thread had to do it: said once, and begun */
	struct thread thread[WORKERS_MAX];
};

static void worker_run(void *arg)
{
	struct workers *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct work *w = p->first;

		if (!w) {
			if (p->stop)
				break;
			p->idle++;
			pthread_cond_wait(&p->wake, &p->lock);
			p->idle--;
			continue;
		}
		p->first = w->next;
		if (!p->first)
			p->tail = &p->first;
		p->queued--;
		pthread_mutex_unlock(&p->lock);
		w->fn(w);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

/* With the lock held. */
static int start_thread(struct workers *p)
{
	struct thread *t = &p->thread[p->threads];
	int rc;

	*t = (struct thread){
		.name = p->name,
		.begin = p->begin,
		.begin_arg = p->arg,
		.run = worker_run,
		.run_arg = p,
	};
	rc = thread_start(t);
	if (!rc)
		p->threads++;
	return rc;
}

struct workers *workers_new(const char *name, unsigned max, void (*begin)(void *arg), void *arg)
{
	struct workers *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->name = name;
	p->begin = begin;
	p->arg = arg;
	p->max = MIN(max, WORKERS_MAX);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	p->tail = &p->first;
	return p;
}

void workers_free(struct workers *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->threads; i++)
		thread_join(&p->thread[i]);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->wake);
	free(p);
}

static void do_alone(struct workers *p, struct work *w, bool told, int rc)
{
	/* Once: a guest could fill the log. */
	if (!told) {
		log_warn("%s: cannot start a thread: %s", p->name, strerror(-rc));
		if (p->begin)
			p->begin(p->arg);
	}
	while (w) {
		struct work *next = w->next;

		w->fn(w);
		w = next;
	}
}

void workers_submit(struct workers *p, struct work *first, struct work *last, unsigned n)
{
	unsigned started = 0, wake;
	int rc = 0;
	bool alone, told;

	last->next = NULL;
	pthread_mutex_lock(&p->lock);
	*p->tail = first;
	p->tail = &last->next;
	p->queued += n;
	while (!rc && p->idle + started < p->queued && p->threads < p->max) {
		rc = start_thread(p);
		started++;
	}
	wake = MIN(n, p->idle);
	alone = !p->threads;
	told = p->alone;
	if (alone) {
		p->alone = true;
		p->first = NULL;
		p->tail = &p->first;
		p->queued = 0;
	}
	pthread_mutex_unlock(&p->lock);
	/* Not with the lock held: the first thing that a worker does is to take it. */
	while (wake--)
		pthread_cond_signal(&p->wake);
	if (alone)
		do_alone(p, first, told, rc);
}

bool workers_cancel(struct workers *p, struct work *w)
{
	bool found = false;

	pthread_mutex_lock(&p->lock);
	for (struct work **at = &p->first; *at && !found; at = &(*at)->next) {
		if (*at != w)
			continue;
		found = true;
		*at = w->next;
		p->queued--;
		if (!w->next)
			p->tail = at;
		break;
	}
	pthread_mutex_unlock(&p->lock);
	return found;
}
