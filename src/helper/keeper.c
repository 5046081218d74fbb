/* SPDX-License-Identifier: MIT */
/* keeper.c - the keeper and its workers: what happens in the child processes
 *
 * The keeper is one thread that sleeps in poll() on two descriptors: the control socket and its
 * worker's pidfd. It takes no signals, reads no byte of the network and nothing of its worker but
 * the status of its end.
 *
 * A filter of system calls is inherited and cannot be widened, so the keeper's list is what it
 * needs itself and what its workers need; a worker then installs a second filter with its own list
 * alone.
 */
#include "helper/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rights.h"
#include "base/util.h"

#define FORK_FLAGS (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD)

struct keeper {
	const struct keeper_birth *birth;
	int sock;
	pid_t worker; /* 0: none */
	int pidfd;    /* of it, -1: none */
};

static const struct filter_call keeper_calls[] = {
	{SYS_clone, {FILTER_IS(0, FORK_FLAGS)}},
	{SYS_set_robust_list},
	{SYS_pidfd_open},
	{SYS_wait4},
	{SYS_kill, {FILTER_IS(1, SIGKILL)}},
	/* Of abort(). The worker's own filter lets it signal itself only. */
	{SYS_tgkill, {FILTER_IS(2, SIGABRT)}},
	{SYS_getppid},
	{SYS_prctl, {FILTER_IS(0, PR_SET_PDEATHSIG)}},
	{SYS_prctl, {FILTER_IS(0, PR_SET_NAME)}},
	{SYS_prctl, {FILTER_IS(0, PR_SET_SECCOMP)}},
};
static const struct filter_list keeper_list = FILTER_LIST(keeper_calls);

static void name_set(const char *form, const struct helper_role *role)
{
	char name[16];

	snprintf(name, sizeof(name), form, role->name);
	prctl(PR_SET_NAME, name);
}

/* --- worker --- */

static void worker_run(const struct keeper *k, pid_t keeper) __attribute__((noreturn));
static void worker_run(const struct keeper *k, pid_t keeper)
{
	const struct keeper_birth *b = k->birth;
	const struct filter_call own[] = {
		{SYS_tgkill, {FILTER_IS(0, getpid()), FILTER_IS(2, SIGABRT)}},
	};
	const struct filter_list own_list = FILTER_LIST(own);
	const struct filter_list *const lists[] = {&filter_basic, &own_list, &b->role->calls};
	struct err e;

	name_set("xenpvh-%s", b->role);
	/* The keeper may have ended before it was asked for. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != keeper)
		_exit(1);
	close(k->sock);
	if (filter_install(lists, ARRAY_SIZE(lists), &e) < 0) {
		log_err("%s", e.text);
		_exit(1);
	}
	_exit(b->role->run(b->arg));
}

/* --- keeper --- */

static void keeper_end(struct keeper *k) __attribute__((noreturn));
static void keeper_end(struct keeper *k)
{
	if (k->worker) {
		kill(k->worker, SIGKILL);
		waitpid(k->worker, NULL, 0);
	}
	_exit(0);
}

static void keeper_tell(struct keeper *k, enum keeper_msg_type type, int value)
{
	struct keeper_msg m = {.type = type, .value = value};

	if (write(k->sock, &m, sizeof(m)) != sizeof(m))
		keeper_end(k);
}

static void keeper_fork(struct keeper *k)
{
	pid_t self = getpid();

	if (k->worker)
		return;
	k->worker = fork();
	if (k->worker == 0)
		worker_run(k, self);
	if (k->worker < 0) {
		k->worker = 0;
		keeper_tell(k, KEEPER_FAILED, errno);
		return;
	}
	k->pidfd = pidfd_open(k->worker, 0);
	if (k->pidfd < 0)
		keeper_end(k);
}

static void keeper_reap(struct keeper *k)
{
	int status;

	if (waitpid(k->worker, &status, 0) != k->worker)
		keeper_end(k);
	close(k->pidfd);
	k->pidfd = -1;
	k->worker = 0;
	keeper_tell(k, KEEPER_ENDED, status);
}

/* A worker's end comes first: a request to kill that crossed it on its way is not for the next. */
static void keeper_serve(struct keeper *k)
{
	struct keeper_msg m;

	for (;;) {
		struct pollfd p[] = {{.fd = k->sock, .events = POLLIN},
				     {.fd = k->pidfd, .events = POLLIN}};

		if (poll(p, 2, -1) < 0)
			keeper_end(k);
		if (p[1].revents)
			keeper_reap(k);
		if (!p[0].revents)
			continue;
		if (read(k->sock, &m, sizeof(m)) != sizeof(m))
			keeper_end(k);
		if (m.type == KEEPER_WORKER)
			keeper_fork(k);
		else if (m.type == KEEPER_KILL && k->worker)
			kill(k->worker, SIGKILL);
	}
}

/* --- start --- */

/* The sanitizer's own handlers stay: they write the report. */
static bool signal_is_sanitizers(int sig)
{
#ifdef __SANITIZE_ADDRESS__
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL;
#else
	return false;
#endif
}

static void signals_reset(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		if (!signal_is_sanitizers(sig))
			signal(sig, SIG_DFL);
	/* Who writes to a connection that is closed hears of it by EPIPE. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Descriptors: 0-2, the caller's, and the socket, which gets another number if it has one of 0-2.
 */
static int descriptors_set(const struct keeper_birth *b, struct err *e)
{
	int keep[HELPER_FILES_MAX + 1], sock, log, null;

	sock = fcntl(b->sock, F_DUPFD_CLOEXEC, 3);
	log = fcntl(b->log, F_DUPFD_CLOEXEC, 3);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (sock < 0 || log < 0 || null < 0 || (null != 0 && dup2(null, 0) < 0) ||
	    dup2(log, 1) < 0 || dup2(log, 2) < 0)
		return err_set(e, -errno, "descriptors: %s", strerror(errno));
	for (unsigned i = 0; i < b->files->nfds; i++)
		keep[i] = b->files->fds[i];
	keep[b->files->nfds] = sock;
	rights_close_others(keep, b->files->nfds + 1);
	return sock;
}

/* Is there still somebody at the other end? The answer, before anything else can happen. */
static bool parent_is_there(int sock)
{
	struct pollfd p = {.fd = sock};

	return poll(&p, 1, 0) == 0;
}

static int keeper_start(struct keeper *k, uint32_t *confined, struct err *e)
{
	const struct keeper_birth *b = k->birth;
	const struct filter_list *const lists[] = {&filter_basic, &keeper_list, &b->role->calls};
	struct keeper_msg go;
	int rc;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (read(k->sock, &go, sizeof(go)) != sizeof(go) || go.type != KEEPER_GO)
		_exit(1);
	rc = b->role->prepare(b->arg, e);
	if (rc == 0)
		rc = confine(b, go.value, confined, e);
	if (rc < 0)
		return rc;
	if (!parent_is_there(k->sock))
		_exit(1);
	filter_report(b->refused);
	return filter_install(lists, ARRAY_SIZE(lists), e);
}

void keeper_run(const struct keeper_birth *birth)
{
	struct keeper k = {.birth = birth, .pidfd = -1};
	struct keeper_ready ready = {0};
	struct err e = {0};

	name_set("keep-%s", birth->role);
	setpgid(0, 0);
	signals_reset();
	k.sock = descriptors_set(birth, &e);
	if (k.sock < 0)
		_exit(1);
	log_in_child();
	ready.rc = keeper_start(&k, &ready.confined, &e);
	snprintf(ready.text, sizeof(ready.text), "%s", e.text);
	if (write(k.sock, &ready, sizeof(ready)) != sizeof(ready) || ready.rc < 0)
		_exit(1);
	keeper_serve(&k);
	_exit(0);
}
