/* SPDX-License-Identifier: MIT */
/* endwatch.h - the end of the program never waits without a limit
 *
 * At the end the control thread waits for others: loops, I/O in flight, the disks' caches,
 * children. One that does not answer (it sleeps in a library, say, or a server has gone away) must
 * not keep the process, its image locks and the domain's remains for ever. So a thread of its own
 * watches: each stage of the end has a limit, and when one is over, the program says what did not
 * answer and ends with status 1.
 *
 * What is lost then: requests that the guest has no answer to. Acknowledged writes are with the
 * kernel, acknowledged flushes on stable storage.
 */
#ifndef BASE_ENDWATCH_H
#define BASE_ENDWATCH_H

#include <pthread.h>
#include <stdbool.h>

#include "base/thread.h"

struct endwatch {
	struct thread thread;
	bool started; /* control thread */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	const char *stage; /* NULL: the end is reached */
	unsigned limit_s, round;
};

/* Control thread, all three. A stage begins: at most `limit_s` seconds from now until the next one
 * or endwatch_stop(). `what` is named in the log, "did not end within N s" behind it; it is kept,
 * not copied. The first call starts the thread; where that fails, SIGALRM ends the program after
 * the limit, without a line. */
void endwatch_stage(struct endwatch *w, const char *what, unsigned limit_s);
/* The end is reached. Harmless without a stage. */
void endwatch_stop(struct endwatch *w);

#endif
