/* SPDX-License-Identifier: MIT */
/* endwatch.c - see endwatch.h */
#include "base/endwatch.h"

#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

static struct timespec time_after(unsigned seconds)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)seconds;
	return t;
}

static void watch_stages(void *arg)
{
	struct endwatch *w = arg;

	pthread_mutex_lock(&w->lock);
	while (w->stage) {
		struct timespec end = time_after(w->limit_s);
		unsigned round = w->round;
		int rc = 0;

		while (rc == 0 && w->round == round)
			rc = pthread_cond_timedwait(&w->changed, &w->lock, &end);
		if (w->round != round)
			continue;
		log_last_err("%s did not end within %u s: the program ends without it", w->stage,
			     w->limit_s);
		_exit(1);
	}
	pthread_mutex_unlock(&w->lock);
}

static bool start_watching(struct endwatch *w)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->changed, &attr);
	pthread_condattr_destroy(&attr);
	w->thread = (struct thread){.name = "xenpvh/end", .run = watch_stages, .run_arg = w};
	return thread_start(&w->thread) == 0;
}

void endwatch_stage(struct endwatch *w, const char *what, unsigned limit_s)
{
	if (w->started) {
		pthread_mutex_lock(&w->lock);
		w->stage = what;
		w->limit_s = limit_s;
		w->round++;
		pthread_cond_signal(&w->changed);
		pthread_mutex_unlock(&w->lock);
		return;
	}
	w->stage = what;
	w->limit_s = limit_s;
	w->started = start_watching(w);
	if (!w->started)
		alarm(limit_s);
}

void endwatch_stop(struct endwatch *w)
{
	if (!w->started) {
		alarm(0);
		return;
	}
	pthread_mutex_lock(&w->lock);
	w->stage = NULL;
	w->round++;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
	thread_join(&w->thread);
	w->started = false;
}
