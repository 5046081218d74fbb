/* SPDX-License-Identifier: MIT */
/* alarm.c - calls of libslirp that sleep come to an end
 *
 * libslirp connects to a unix socket (guestfwd=), and opens a file (tftp=), in calls that wait: for
 * a program that does not accept, for the other end of a FIFO. While libslirp is in use SIGALRM
 * comes some times a second, whose handler does nothing: a call that sleeps ends by EINTR and its
 * request fails. It comes again and again, as it may come just before the call. When libslirp has
 * been quiet for a while it stops, so an idle network wakes nobody; to set it for each call of
 * libslirp's would be two system calls each.
 */
#include <errno.h>
#include <signal.h>
#include <sys/time.h>

#include "net/user/worker.h"

#define ALARM_US 100000 /* a call that sleeps lasts no longer */
#define QUIET_NS 300000000ULL

static void on_alarm(int sig)
{
}

static void alarm_set(struct worker *w, bool on)
{
	long us = on ? ALARM_US : 0;
	struct itimerval t = {{0, us}, {0, us}};

	if (w->alarm_on != on && setitimer(ITIMER_REAL, &t, NULL) == 0)
		w->alarm_on = on;
}

int alarm_init(void)
{
	struct sigaction sa = {.sa_handler = on_alarm}; /* without SA_RESTART */

	return sigaction(SIGALRM, &sa, NULL) < 0 ? -errno : 0;
}

void alarm_enter(struct worker *w)
{
	w->called = loop_now(w->loop);
	alarm_set(w, true);
}

void alarm_turn_end(struct worker *w)
{
	if (w->alarm_on && loop_now(w->loop) - w->called > QUIET_NS)
		alarm_set(w, false);
}
