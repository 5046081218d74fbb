/* SPDX-License-Identifier: MIT */
/* pool.c - a few threads for what blocks: aio=threads, discard, write-zeroes, and kernels without
 * io_uring
 *
 * Threads are started when requests wait and nobody is idle, up to POOL_THREADS, and stay. A loop
 * hands over the requests of a turn at once, under one lock. Results go back to the engine of the
 * request's loop.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "base/log.h"
#include "base/util.h"
#include "block/internal.h"

#define POOL_THREADS 16
#define POOL_STACK   (256 * 1024)

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct block_req *first, **tail;
	unsigned queued, idle, threads;
	bool stop, warned;
	pthread_t thread[POOL_THREADS];
};

static void execute(struct block_req *r)
{
	/* The request may be gone once it is handed back. */
	struct block_queue *q = r->q;

	r->io_result = image_execute(q->b->img, r);
	engine_worker_done(q->en, r);
}

static void *worker(void *arg)
{
	struct pool *p = arg;

	prctl(PR_SET_NAME, "block-worker");
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct block_req *r = p->first;

		if (!r) {
			if (p->stop)
				break;
			p->idle++;
			pthread_cond_wait(&p->wake, &p->lock);
			p->idle--;
			continue;
		}
		p->first = r->next;
		if (!p->first)
			p->tail = &p->first;
		p->queued--;
		pthread_mutex_unlock(&p->lock);
		execute(r);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* With the lock held. */
static int start_thread(struct pool *p)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, POOL_STACK);
	rc = pthread_create(&p->thread[p->threads], &attr, worker, p);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!rc)
		p->threads++;
	return -rc;
}

struct pool *pool_new(void)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	p->tail = &p->first;
	return p;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->threads; i++)
		pthread_join(p->thread[i], NULL);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->wake);
	free(p);
}

void pool_submit(struct pool *p, struct block_req *first, struct block_req *last, unsigned n)
{
	unsigned started = 0;
	int rc = 0;
	bool alone, warn;

	last->next = NULL;
	pthread_mutex_lock(&p->lock);
	*p->tail = first;
	p->tail = &last->next;
	p->queued += n;
	while (!rc && p->idle + started < p->queued && p->threads < POOL_THREADS) {
		rc = start_thread(p);
		started++;
	}
	for (unsigned i = 0; i < n && i < p->idle; i++)
		pthread_cond_signal(&p->wake);
	alone = !p->threads;
	warn = alone && !p->warned; /* once: a guest could fill the log */
	if (alone) {
		p->warned = true;
		p->first = NULL;
		p->tail = &p->first;
		p->queued = 0;
	}
	pthread_mutex_unlock(&p->lock);
	if (!alone)
		return;
	/* Slow is better than stuck. */
	if (warn)
		log_warn("cannot start a thread for disk I/O: %s", strerror(-rc));
	while (first) {
		struct block_req *next = first->next;

		execute(first);
		first = next;
	}
}
