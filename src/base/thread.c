/* SPDX-License-Identifier: MIT */
/* thread.c - see thread.h
 *
 * Signals: the first thread takes those that are sent to the process (SIGTERM and the like, by a
 * signalfd), so the others block them. What an instruction raises on its own thread must not be
 * blocked: the kernel then ends the process without asking the handler of a sanitizer, and the
 * report of the fault is lost.
 *
 * Stack: our deepest chain of calls takes less than 64 KiB, most of it an array of iovecs or the
 * buffer of a directory; 256 KiB leave room for libraries. A stack costs only the pages that were
 * touched. A chain that needs more must meet the guard below the stack and end the process; it must
 * not step over the guard and write to the mapping behind it. So the guard is larger than any
 * single frame: the build bounds ours (-Wframe-larger-than, no variable arrays, no alloca()), and
 * 64 KiB is the largest that is known of a library. It is address space only. The first thread has
 * the same from the kernel: a gap of 1 MiB.
 */
#include "base/thread.h"

#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "base/util.h"

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	prctl(PR_SET_NAME, t->name);
	if (t->begin)
		t->begin(t->begin_arg);
	t->run(t->run_arg);
	return NULL;
}

static void signals_to_block(sigset_t *set)
{
	static const int raised_by_code[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL,
					     SIGTRAP, SIGSYS, SIGABRT};

	sigfillset(set);
	for (unsigned i = 0; i < ARRAY_SIZE(raised_by_code); i++)
		sigdelset(set, raised_by_code[i]);
}

int thread_start(struct thread *t)
{
	pthread_attr_t attr;
	sigset_t blocked;
	int rc;

	signals_to_block(&blocked);
	rc = pthread_attr_init(&attr);
	if (rc)
		return -rc;
	rc = pthread_attr_setstacksize(&attr, THREAD_STACK);
	if (!rc)
		rc = pthread_attr_setguardsize(&attr, THREAD_GUARD);
	if (!rc)
		rc = pthread_attr_setsigmask_np(&attr, &blocked);
	if (!rc)
		rc = pthread_create(&t->id, &attr, thread_main, t);
	pthread_attr_destroy(&attr);
	return -rc;
}

void thread_join(struct thread *t)
{
	pthread_join(t->id, NULL);
}
