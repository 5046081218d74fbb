/* SPDX-License-Identifier: MIT */
/* helper.h - confined child processes, for code that parses what a network sends
 *
 * A helper is two processes. The keeper is forked by helper_start(), while this process still has
 * its rights: it calls role->prepare() with them (load a library, bind ports, listen), then gives
 * up everything. From then on it only forks workers, waits for their end and tells us. A worker is
 * a fork of the keeper as prepare() left it, so what was bound and listened to survives its end,
 * and no right is needed for the next one. It calls role->run(), and is expected to be taken over
 * by an attacker: the owner treats all that comes from it (memory, doorbells, sockets) as hostile.
 *
 * How they are joined to the owner is the owner's choice, before helper_start(): memory mapped
 * MAP_SHARED | MAP_ANONYMOUS is at the same address in all of them (and has no descriptor that
 * could truncate it); eventfds and sockets are named in helper_files.fds and keep their numbers.
 * The worker's end leaves both as they are at that moment: reset them in ended().
 *
 * What each process cannot do is listed in helper.c.
 *
 * Threads: helper_start() and helper_end() on the control thread, helper_start() before there are
 * other threads and before rights are given up. What is between on the loop's thread, or while no
 * thread runs that loop.
 */
#ifndef HELPER_HELPER_H
#define HELPER_HELPER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/loop.h"
#include "guard/filter.h"

#define HELPER_FILES_MAX 32 /* of each kind in helper_files */
/* So many ends of a worker within a minute are followed by a new one at once; then it waits. */
#define HELPER_RESTARTS 32

/* Constant, one per kind of helper. */
struct helper_role {
	const char *name; /* at most 8 letters: shown by ps as xenpvh-NAME, in log lines, errors */
	/* In the keeper, once, with the rights and the file system of the device model; 0-2 are
	 * /dev/null, the log, the log. What it opens or maps is the workers'. Load libraries so
	 * that nothing of them is loaded later (RTLD_NOW): there are no files then, and no
	 * executable memory. No threads. 0, or -errno with `e`, which becomes the error of
	 * helper_start(). */
	int (*prepare)(void *arg, struct err *e);
	/* In each worker: its return value (0-255) is the exit status. SIGPIPE is ignored, other
	 * signals are as by default. Returning is as good as dying: another worker follows. */
	int (*run)(void *arg);
	/* System calls beside filter_basic. The keeper is allowed them too (a filter is inherited).
	 */
	struct filter_list calls;
	/* Bytes of memory that a worker may have beyond what it is born with; not enforced in
	 * builds with ASan. Past it malloc() and mmap() fail. */
	size_t memory;
	unsigned files;	  /* descriptors that it may have in all */
	bool own_network; /* a network namespace without interfaces; prepare() is in the host's */
};

/* NULL arrays when there are none. Only read during helper_start(). */
struct helper_files {
	/* Stay open, and at their number; all others but 0-2 are closed. The worker shares the open
	 * file description with us and may change its flags, O_NONBLOCK for one: never read or
	 * write such a descriptor here, only wait for it. */
	const int *fds;
	unsigned nfds;
	/* Absolute paths of regular files (at most 64 KiB each) whose content there is at the
	 * start is copied into the empty root directory, readable; what does not exist is left
	 * out. */
	const char *const *copies;
	unsigned ncopies;
	/* Absolute paths of folders or files that are bound, at the same path, read-only and
	 * without devices, programs and what is mounted below them. The worker has a user of its
	 * own: it can open what everybody can, and connect to sockets that everybody can. Without a
	 * mount namespace (no root, no user namespaces) the whole file system stays there instead.
	 */
	const char *const *binds;
	unsigned nbinds;
};

struct helper;

/* Fork the keeper and wait (at most 30 s) until it is prepared and confined; no worker yet. The
 * child gets `arg` as it is at this moment. `owner`: id for log lines, copied. 0 or -errno with
 * `e`; on failure nothing is left. As root each step of the confinement is required. */
int helper_start(struct helper **out, const struct helper_role *role,
		 const struct helper_files *files, const char *owner, void *arg, struct err *e);

/* Serve it on `loop` from now on; when there is no worker, one is asked for. When one ended,
 * `ended(ctx, how, again)` is called on the loop; `how` in words, for a message, valid during the
 * call. The worker is dead then, and cannot touch shared memory or descriptors any more. With
 * `again` another one is born after the call returns (at once, or after the wait that
 * HELPER_RESTARTS asks for); without, the keeper is lost and there will be none: said in the log.
 * Do not call helper_end() from ended(). 0 or -errno. */
int helper_serve(struct helper *h, struct loop *loop,
		 void (*ended)(void *ctx, const char *how, bool again), void *ctx);
/* Leave the loop, to go to another one or to end. A worker lives on; if it ends meanwhile, ended()
 * of the next helper_serve() hears of it. Harmless when it is not served. */
void helper_unserve(struct helper *h);
/* Is there a worker, or one that was asked for and is about to begin? Not while a restart waits for
 * HELPER_RESTARTS. */
bool helper_has_worker(const struct helper *h);
/* Kill the worker that is there now: ended() follows. `why` goes to the log (limited). No effect
 * without one, or when it was done already. False: there is none, so ended() will not be called.
 * While served. */
bool helper_kill_worker(struct helper *h, const char *why);

/* End both processes, at most 5 s later, and free `h` (also NULL). After helper_unserve(). */
void helper_end(struct helper *h);

#endif
