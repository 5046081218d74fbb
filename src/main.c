/* SPDX-License-Identifier: MIT */
/* main.c - the program's life in stages
 *
 *	parse      the command line becomes data; nothing is touched
 *	attach     to the domain; its memory map is checked
 *	open       monitors listen; images, taps and sockets are opened; devices are built
 *	serve      ACPI tables completed, windows claimed, exits answered (by the io thread)
 *	seal       rights over other domains, user, directory tree, capabilities are given up
 *	announce   the toolstack hears that the device model runs
 *
 * Then the control loop: QMP, signals, the domain's end. Nothing is opened by path after the seal.
 * `-machine none` (libxl's probe) has only monitors and touches nothing of Xen.
 *
 * Signals are taken by a signalfd on the control loop: SIGTERM, SIGINT and SIGHUP end the program
 * in good order whatever disposition it inherited, with everything in flight done and on stable
 * storage, and status 0.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "build.h"
#include "ctl/cmdline.h"

struct signals {
	struct loop_fd w;
	struct vm *vm;
};

static void on_signal(struct loop_fd *w, uint32_t events)
{
	struct signals *s = container_of(w, struct signals, w);
	struct signalfd_siginfo si;

	if (read(w->fd, &si, sizeof(si)) == sizeof(si))
		vm_quit(s->vm, "host-signal");
}

/* Before the first thread, so that all of them inherit the mask. */
static int take_signals(struct signals *s, struct vm *vm, struct err *e)
{
	static const int ends[] = {SIGTERM, SIGINT, SIGHUP};
	sigset_t set;
	int fd, rc;

	sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
		signal(ends[i], SIG_DFL); /* an ignored signal never reaches a signalfd */
		sigaddset(&set, ends[i]);
	}
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return err_set(e, -errno, "signalfd: %s", strerror(errno));
	s->vm = vm;
	rc = loop_fd_add(vm->control, &s->w, fd, EPOLLIN, on_signal);
	return rc < 0 ? err_set(e, rc, "signalfd: %s", strerror(-rc)) : 0;
}

static int write_pid(const char *path, struct err *e)
{
	FILE *f = fopen(path, "we");

	if (!f || fprintf(f, "%d\n", (int)getpid()) < 0 || fclose(f) != 0)
		return err_set(e, -errno, "-pidfile %s: %s", path, strerror(errno));
	return 0;
}

static int start(struct vm *vm, struct signals *signals, struct guard *guard, struct err *e)
{
	const struct cmdline *c = vm->cmd;
	int rc = 0;

	log_set_level(MAX(c->log_level, LOG_WARN));
	log_set_timestamps(c->log_stamp);
	if (c->log_file)
		rc = log_open(c->log_file, e);
	vm->control = loop_new("xenpvh");
	if (!vm->control)
		return err_set(e, -errno, "event loop: %s", strerror(errno));
	vm->env.events = events_new(vm->control);
	if (!vm->env.events)
		return err_nomem(e);
	if (rc == 0)
		rc = take_signals(signals, vm, e);
	if (rc == 0 && c->machine == MACHINE_NONE)
		return build_monitors(vm, e);
	if (rc == 0)
		rc = guard_prepare(guard, c->user, c->chroot, e);
	if (rc == 0)
		rc = build_attach(vm, e);
	if (rc == 0)
		rc = build_monitors(vm, e);
	if (rc == 0)
		rc = build_devices(vm, e);
	if (rc == 0)
		rc = build_serve(vm, e);
	if (rc == 0 && c->pidfile) {
		rc = write_pid(c->pidfile, e);
		vm->pid_written = rc == 0;
	}
	return rc < 0 ? rc : build_seal(vm, guard, e);
}

int main(int argc, char **argv)
{
	struct cmdline cmd;
	struct vm vm = {.cmd = &cmd};
	struct signals signals = {.w.fd = -1};
	struct guard guard = {.chroot_fd = -1};
	struct err e = {0};
	int rc;

	/* Nothing allocates at the guest's speed: one arena for all threads is enough. */
	mallopt(M_ARENA_MAX, 1);
	/* The tables of a queue's requests: zeroed by the kernel, and only where they are used. */
	mallopt(M_MMAP_THRESHOLD, 64 * 1024);
	log_init(argv[0]);
	list_init(&vm.env.devices);
	list_init(&vm.requests);
	rc = cmdline_parse(&cmd, argc, argv, &e);
	if (rc == 0) {
		vm.state = cmd.paused || cmd.machine == MACHINE_NONE ? RUN_PRELAUNCH : RUN_RUNNING;
		rc = start(&vm, &signals, &guard, &e);
		if (rc == 0)
			loop_run(vm.control);
		build_undo(&vm);
		endwatch_stop(&vm.end);
	}
	if (rc < 0)
		log_err("%s", e.text);
	if (vm.pid_written)
		unlink(cmd.pidfile);
	if (signals.w.fd >= 0)
		close(signals.w.fd);
	events_free(vm.env.events);
	loop_free(vm.control);
	cmdline_free(&cmd);
	return rc < 0 || vm.flush_error < 0;
}
