/* SPDX-License-Identifier: MIT */
/* helper.c - see helper.h; this is the device model's side
 *
 * Two processes, so that the one which can be taken over is not the one that makes new ones: the
 * keeper never sees a byte of the network.
 *
 * What they cannot do (confine.c, keeper.c, guard/filter.c). As root:
 *   files         their root directory is empty and read-only, but for what the caller names
 *   descriptors   0-2 and those that the caller names: nothing of Xen, no image, no tap
 *   rights        a user and group that no other process has; no capability, now or ever
 *   processes     the keeper is the first process of a process id namespace: its worker sees
 *                 nobody else, and the kernel kills the worker when the keeper ends, whatever the
 *                 reason. (The worker itself is not the first one of a namespace: who creates one
 *                 needs CAP_SYS_ADMIN, which the keeper has not when it forks. It also would not
 *                 get the signals of its own abort().) Same user, but the keeper is not dumpable
 * and so cannot be traced, and takes no signal from inside. IPC, host name, cgroup, and where asked
 * for network: namespaces of their own system calls  the role's list; no executable and no shared
 * memory amounts       memory, descriptors, processes, no file written, no core dump; the kernel
 * takes them first when memory is short Without root a user namespace gives the same but for the
 * user and the process ids; where that is not allowed either, "no new privileges", the filter and
 * the limits are left. What is on is told in one line (-d info).
 *
 * What a worker can read: the device model's heap and stack as they were at the fork, that is its
 * configuration and its view of xenstore at the start (no guest memory: foreign mappings of Xen are
 * not inherited, nor is that of the tests; see src/mem). What it can learn: the address layout of
 * the device model, which it shares, and which is also the same in each worker. So who may crash it
 * again and again can find out addresses piece by piece. That is the price of a restart that takes
 * no right and no second program; it is why restarts are limited, and why the walls are those above
 * and not the layout.
 *
 * Log: what keeper and workers write to stderr comes by a pipe that does not block either end.
 * Lines are cut, other than printable characters are replaced, and log_guest() limits them; of a
 * flood no more than LOG_BYTES a second are even read.
 *
 * Messages of the keeper are of one size and checked like those of a worker. When one makes no
 * sense, or the socket closes, it is killed; when it has ended there will be no more workers (to
 * fork another keeper would take the rights that are gone).
 *
 * The end: the socket closes, the keeper kills its worker and exits. Who is stopped, say by a
 * debugger, gets SIGKILL after some seconds. That can fail once this process has given up its own
 * rights; then the keeper ends as soon as it goes on, as it does when the device model is killed.
 */
#include "helper/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "helper/internal.h"

#define SECOND	   1000000000ULL
#define START_MS   30000
#define END_MS	   3000 /* and then, after SIGKILL: */
#define KILLED_MS  2000
#define MINUTE	   (60 * SECOND)
#define LINE_BYTES 200
#define LOG_BYTES  16384 /* of the log that are read in a second */
#define HOW_BYTES  64

enum state {
	NO_WORKER,
	HAS_WORKER, /* asked for, or there */
	LOST,	    /* the keeper was told to end, or has ended */
	OVER,	    /* and the owner knows */
};

struct helper {
	char owner[64], name[12];
	pid_t pid; /* the keeper; 0: reaped */
	int pidfd; /* of it */
	int sock;  /* -1: closed */
	int log;
	volatile uint32_t *refused;

	struct loop *loop; /* NULL: not served */
	struct loop_fd sock_watch, log_watch, end_watch;
	struct loop_timer restart, log_again;
	void (*ended)(void *ctx, const char *how, bool again);
	void *ctx;

	enum state state;
	bool begun;			  /* there was a worker */
	bool killed;			  /* this worker, by helper_kill_worker() */
	uint64_t at[HELPER_RESTARTS];	  /* when the last restarts were, a ring */
	unsigned next;			  /* in it */
	uint64_t told;			  /* when it was said that one has to wait */
	struct log_rate rate, child_rate; /* our words, the child's */

	char line[LINE_BYTES + 1];
	unsigned len;
	bool cut; /* the rest of this line is dropped */
	uint64_t log_since;
	unsigned log_bytes;
};

/* --- log of the children --- */

static void line_end(struct helper *h)
{
	h->line[h->len] = 0;
	if (h->len)
		log_guest(&h->child_rate, h->owner, "helper says: %s", h->line);
	h->len = 0;
	h->cut = false;
}

static void line_add(struct helper *h, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '\n')
			line_end(h);
		else if (h->len < LINE_BYTES && !h->cut)
			h->line[h->len++] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
		else
			h->cut = true;
	}
}

/* What is there, up to one buffer. False at the end of the pipe. */
static bool log_take(struct helper *h)
{
	char text[4096];
	ssize_t n = read(h->log, text, sizeof(text));

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	line_add(h, text, (size_t)n);
	h->log_bytes += (unsigned)n;
	return true;
}

/* All that is there when a process has ended. The pipe holds 64 KiB. */
static void log_take_rest(struct helper *h)
{
	struct pollfd p = {.fd = h->log, .events = POLLIN};

	for (unsigned i = 0; i < 16 && poll(&p, 1, 0) > 0 && log_take(h); i++)
		;
	line_end(h);
}

static void on_log(struct loop_fd *w, uint32_t events)
{
	struct helper *h = container_of(w, struct helper, log_watch);
	uint64_t now = now_ns();

	if (now - h->log_since >= SECOND) {
		h->log_since = now;
		h->log_bytes = 0;
	}
	if (!log_take(h)) {
		loop_fd_del(h->loop, w);
	} else if (h->log_bytes >= LOG_BYTES) {
		/* The pipe fills, and what is written meanwhile is lost. */
		loop_fd_del(h->loop, w);
		loop_timer_set(h->loop, &h->log_again, SECOND);
	}
}

static void on_log_again(struct loop_timer *t)
{
	struct helper *h = container_of(t, struct helper, log_again);

	loop_fd_add(h->loop, &h->log_watch, h->log, EPOLLIN, on_log);
}

/* --- ends and restarts --- */

static void how_say(const struct helper *h, int status, char how[HOW_BYTES])
{
	uint32_t nr = *h->refused;

	if (WIFEXITED(status))
		snprintf(how, HOW_BYTES, "exit status %d", WEXITSTATUS(status));
	else if (!WIFSIGNALED(status))
		snprintf(how, HOW_BYTES, "wait status %d", status);
	else if (WTERMSIG(status) == SIGSYS && nr)
		snprintf(how, HOW_BYTES, "a system call outside of its list: %" PRIu32, nr - 1);
	else if (WTERMSIG(status) == SIGSYS)
		snprintf(how, HOW_BYTES, "a system call outside of its list");
	else
		snprintf(how, HOW_BYTES, "signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
}

/* Its process may have rights that we have given up: then this does nothing. */
static void keeper_kill(struct helper *h)
{
	if (h->pid)
		kill(h->pid, SIGKILL);
}

/* There will be no worker any more. The owner hears of it when the keeper has ended. */
static void keeper_lose(struct helper *h, const char *why)
{
	log_warn("%s: its helper process is given up: %s", h->owner, why);
	h->state = LOST;
	loop_timer_del(&h->restart);
	loop_fd_del(h->loop, &h->sock_watch);
	close(h->sock);
	h->sock = -1;
	keeper_kill(h);
}

static bool keeper_ask(struct helper *h, enum keeper_msg_type type)
{
	struct keeper_msg m = {.type = type};

	/* At most two for a worker, so there is room in the socket. */
	return send(h->sock, &m, sizeof(m), MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(m);
}

static void worker_ask(struct helper *h)
{
	*h->refused = 0;
	h->killed = false;
	h->state = HAS_WORKER;
	h->begun = true;
	if (!keeper_ask(h, KEEPER_WORKER))
		keeper_lose(h, "it does not take messages");
}

/* Again, now or when the limit allows it. */
static void worker_restart(struct helper *h)
{
	uint64_t now = now_ns(), oldest = h->at[h->next];

	if (!oldest || now - oldest >= MINUTE) {
		h->at[h->next] = now;
		h->next = (h->next + 1) % HELPER_RESTARTS;
		worker_ask(h);
		return;
	}
	if (!h->told || now - h->told >= MINUTE) {
		log_warn("%s: its helper process ended more than %d times in a minute: the next "
			 "one waits for %u s",
			 h->owner, HELPER_RESTARTS,
			 (unsigned)((oldest + MINUTE - now) / SECOND + 1));
		h->told = now;
	}
	loop_timer_set(h->loop, &h->restart, oldest + MINUTE - now);
}

static void on_restart(struct loop_timer *t)
{
	worker_restart(container_of(t, struct helper, restart));
}

static void worker_ended(struct helper *h, const char *how)
{
	h->state = NO_WORKER;
	log_guest(&h->rate, h->owner, "its helper process ended (%s), another one follows", how);
	h->ended(h->ctx, how, true);
	if (h->loop && h->state == NO_WORKER)
		worker_restart(h);
}

static void on_message(struct loop_fd *w, uint32_t events)
{
	struct helper *h = container_of(w, struct helper, sock_watch);
	char how[HOW_BYTES];
	struct keeper_msg m;
	ssize_t n = recv(h->sock, &m, sizeof(m), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == 0 || n < 0) {
		keeper_lose(h, "its keeper ended");
		return;
	}
	if (n != sizeof(m) || h->state != HAS_WORKER) {
		keeper_lose(h, "its keeper's message makes no sense");
		return;
	}
	if (m.type == KEEPER_ENDED) {
		how_say(h, m.value, how);
	} else if (m.type == KEEPER_FAILED) {
		snprintf(how, sizeof(how), "fork: %s", strerror(m.value));
	} else {
		keeper_lose(h, "its keeper's message makes no sense");
		return;
	}
	worker_ended(h, how);
}

/* Has the keeper ended? Reaps it; in words in `how`. */
static bool keeper_reap(struct helper *h, char how[HOW_BYTES])
{
	int status = 0;
	pid_t pid = waitpid(h->pid, &status, WNOHANG);

	if (pid == 0)
		return false;
	if (pid < 0)
		snprintf(how, HOW_BYTES, "%s", strerror(errno));
	else
		how_say(h, status, how);
	h->pid = 0;
	return true;
}

static void on_keeper_end(struct loop_fd *w, uint32_t events)
{
	struct helper *h = container_of(w, struct helper, end_watch);
	char how[HOW_BYTES];

	if (!keeper_reap(h, how))
		return;
	loop_fd_del(h->loop, w);
	if (h->state != LOST)
		keeper_lose(h, "its keeper ended");
	h->state = OVER;
	log_err("%s: its helper process cannot be started again: the keeper ended (%s)", h->owner,
		how);
	h->ended(h->ctx, how, false);
}

/* --- the owner's calls on the loop --- */

int helper_serve(struct helper *h, struct loop *loop,
		 void (*ended)(void *ctx, const char *how, bool again), void *ctx)
{
	int rc = 0;

	h->loop = loop;
	h->ended = ended;
	h->ctx = ctx;
	if (h->state != OVER)
		rc = loop_fd_add(loop, &h->end_watch, h->pidfd, EPOLLIN, on_keeper_end);
	if (rc == 0 && h->sock >= 0)
		rc = loop_fd_add(loop, &h->sock_watch, h->sock, EPOLLIN, on_message);
	if (rc == 0)
		rc = loop_fd_add(loop, &h->log_watch, h->log, EPOLLIN, on_log);
	if (rc < 0) {
		helper_unserve(h);
		return rc;
	}
	if (h->state == NO_WORKER && h->begun)
		worker_restart(h);
	else if (h->state == NO_WORKER)
		worker_ask(h);
	return 0;
}

void helper_unserve(struct helper *h)
{
	if (!h->loop)
		return;
	loop_timer_del(&h->restart);
	loop_timer_del(&h->log_again);
	loop_fd_del(h->loop, &h->end_watch);
	loop_fd_del(h->loop, &h->sock_watch);
	loop_fd_del(h->loop, &h->log_watch);
	h->loop = NULL;
}

bool helper_has_worker(const struct helper *h)
{
	return h->state == HAS_WORKER;
}

bool helper_kill_worker(struct helper *h, const char *why)
{
	if (h->state != HAS_WORKER)
		return false;
	if (h->killed)
		return true;
	h->killed = true;
	log_guest(&h->rate, h->owner, "its helper process is killed: %s", why);
	if (!keeper_ask(h, KEEPER_KILL))
		keeper_lose(h, "it does not take messages");
	return true;
}

/* --- start and end --- */

static bool readable_within(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t until = now_ns() + (uint64_t)ms * 1000000;
	int rc;

	do {
		uint64_t now = now_ns();

		rc = poll(&p, 1, now < until ? (int)((until - now) / 1000000) + 1 : 0);
	} while (rc < 0 && errno == EINTR);
	return rc > 0;
}

void helper_end(struct helper *h)
{
	char how[HOW_BYTES];

	if (!h)
		return;
	helper_unserve(h);
	if (h->sock >= 0)
		close(h->sock);
	if (h->pid && !readable_within(h->pidfd, END_MS)) {
		keeper_kill(h);
		if (!readable_within(h->pidfd, KILLED_MS))
			log_warn("%s: its helper process %d did not end", h->owner, (int)h->pid);
	}
	if (h->pid)
		keeper_reap(h, how);
	if (h->log >= 0) {
		log_take_rest(h);
		close(h->log);
	}
	if (h->pidfd >= 0)
		close(h->pidfd);
	munmap((void *)h->refused, sizeof(*h->refused));
	free(h);
}

static int files_check(const struct helper_files *f, struct err *e)
{
	if (f->nfds > HELPER_FILES_MAX || f->ncopies > HELPER_FILES_MAX ||
	    f->nbinds > HELPER_FILES_MAX)
		return err_set(e, -E2BIG, "more than %d files for a helper process",
			       HELPER_FILES_MAX);
	for (unsigned i = 0; i < f->nfds; i++)
		if (f->fds[i] < 3)
			return err_set(e, -EINVAL, "descriptor %d for a helper process", f->fds[i]);
	return 0;
}

/* fork(), into a new process id namespace; our own later children stay where we are. */
static pid_t fork_apart(bool apart, struct err *e)
{
	int here = -1, saved;
	pid_t pid;

	if (apart) {
		here = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
		if (here < 0 || unshare(CLONE_NEWPID) < 0) {
			err_set(e, -errno, "could not make a process id namespace: %s",
				strerror(errno));
			if (here >= 0)
				close(here);
			return -1;
		}
	}
	pid = fork();
	saved = errno;
	if (pid == 0)
		return 0;
	if (pid < 0)
		err_set(e, -saved, "fork: %s", strerror(saved));
	if (apart && setns(here, CLONE_NEWPID) < 0) {
		err_set(e, -errno, "could not return from a process id namespace: %s",
			strerror(errno));
		if (pid > 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		pid = -1;
	}
	if (apart)
		close(here);
	return pid;
}

/* Socket and pipe; [0] is ours. */
static int ends_make(int sock[2], int log[2], struct err *e)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0)
		return err_set(e, -errno, "socketpair: %s", strerror(errno));
	if (pipe2(log, O_CLOEXEC | O_NONBLOCK) < 0) {
		int rc = err_set(e, -errno, "pipe: %s", strerror(errno));

		close(sock[0]);
		close(sock[1]);
		return rc;
	}
	return 0;
}

static int keeper_fork(struct helper *h, struct keeper_birth *birth, struct err *e)
{
	int sock[2] = {-1, -1}, log[2] = {-1, -1}, rc;

	rc = ends_make(sock, log, e);
	if (rc < 0)
		return rc;
	birth->sock = sock[1];
	birth->log = log[1];
	birth->privileged = birth->pid_space = confine_is_privileged();
	h->pid = fork_apart(birth->pid_space, e);
	if (h->pid == 0)
		keeper_run(birth);
	close(sock[1]);
	close(log[1]);
	h->sock = sock[0];
	h->log = log[0];
	if (h->pid < 0) {
		h->pid = 0;
		return -EAGAIN;
	}
	h->pidfd = pidfd_open(h->pid, 0);
	return h->pidfd < 0 ? err_set(e, -errno, "pidfd_open: %s", strerror(errno)) : 0;
}

static void confined_say(const struct helper *h, uint32_t on)
{
	log_info("%s: helper process %d (%s) is confined: no new privileges, system calls%s%s%s%s",
		 h->owner, (int)h->pid, h->name, on & CONFINED_USER ? ", own user" : "",
		 on & CONFINED_ROOT ? ", empty root directory" : "",
		 on & CONFINED_SPACE ? ", namespaces" : "",
		 on & CONFINED_PIDS ? ", process ids" : "");
}

/* Tell it who it is, and hear how its start went. */
static int keeper_await(struct helper *h, struct err *e)
{
	struct keeper_msg go = {.type = KEEPER_GO, .value = h->pid};
	struct keeper_ready ready;
	char how[HOW_BYTES] = "it closed its socket";

	if (send(h->sock, &go, sizeof(go), MSG_NOSIGNAL) != sizeof(go))
		return err_set(e, -EIO, "the helper process could not be told to start");
	if (!readable_within(h->sock, START_MS))
		return err_set(e, -ETIMEDOUT, "the helper process was not ready within %d s",
			       START_MS / 1000);
	if (recv(h->sock, &ready, sizeof(ready), MSG_DONTWAIT | MSG_TRUNC) != sizeof(ready)) {
		if (readable_within(h->pidfd, KILLED_MS))
			keeper_reap(h, how);
		return err_set(e, -EIO, "the helper process ended at its start: %s", how);
	}
	ready.text[sizeof(ready.text) - 1] = 0;
	if (ready.rc)
		return err_set(e, ready.rc < 0 && ready.rc > -4096 ? ready.rc : -EIO, "%s",
			       ready.text);
	confined_say(h, ready.confined);
	return 0;
}

int helper_start(struct helper **out, const struct helper_role *role,
		 const struct helper_files *files, const char *owner, void *arg, struct err *e)
{
	struct keeper_birth birth = {.role = role, .files = files, .arg = arg};
	struct helper *h;
	int rc = files_check(files, e);

	if (rc < 0)
		return rc;
	h = calloc(1, sizeof(*h));
	if (!h)
		return err_nomem(e);
	h->sock = h->log = h->pidfd = -1;
	h->sock_watch.fd = h->log_watch.fd = h->end_watch.fd = -1;
	h->restart.fn = on_restart;
	h->log_again.fn = on_log_again;
	snprintf(h->owner, sizeof(h->owner), "%s", owner);
	snprintf(h->name, sizeof(h->name), "%s", role->name);
	h->refused = mmap(NULL, sizeof(*h->refused), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (h->refused == MAP_FAILED) {
		rc = err_set(e, -errno, "mmap: %s", strerror(errno));
		free(h);
		return rc;
	}
	birth.refused = h->refused;
	rc = keeper_fork(h, &birth, e);
	/* Not for helpers that are forked later. */
	madvise((void *)h->refused, sizeof(*h->refused), MADV_DONTFORK);
	if (rc == 0)
		rc = keeper_await(h, e);
	if (rc < 0) {
		helper_end(h);
		return rc;
	}
	*out = h;
	return 0;
}
