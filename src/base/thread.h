/* SPDX-License-Identifier: MIT */
/* thread.h - the one way in which this program starts a thread
 *
 * Every thread of the process but the first is started here, so that its name, its signals and its
 * stack are decided in one place (thread.c says how), and so that there is one place where
 * something can be done on each of them before it works.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/* Bytes of stack, and of address space below it that faults when it is touched. */
#define THREAD_STACK (256 * 1024)
#define THREAD_GUARD (1024 * 1024)

/* Embedded in what the thread serves. The caller fills in all but `id`, and keeps the structure and
 * what it points to until thread_join(). */
struct thread {
	const char *name;	  /* as the kernel and `top` show it: at most 15 characters */
	void (*begin)(void *arg); /* called first on the new thread; may be NULL */
	void *begin_arg;
	void (*run)(void *arg); /* the thread ends when it returns */
	void *run_arg;
	pthread_t id; /* set by thread_start() */
};

/* Start a thread. It runs with every signal blocked but those that its own instructions raise
 * (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT). 0 or a negative errno: -EAGAIN when
 * there are too many threads or too little memory. */
int thread_start(struct thread *t);
/* Wait until the thread has ended. Once for each successful thread_start(). */
void thread_join(struct thread *t);

#endif
