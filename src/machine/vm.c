/* SPDX-License-Identifier: MIT */
/* vm.c - stop, continue, and the end
 *
 * Control thread. All three go the same way: the exit loop pauses every
 * device, each queue reports when nothing of it is in flight, and when the last one has, the
 * control thread goes on: it writes the disks' caches to stable storage and tells whoever asked.
 * The vCPUs' register accesses are answered all the while.
 */
#include "machine/vm.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "block/block.h"
#include "dev/dev.h"

/* One pause of all devices. */
struct pause {
	struct vm *vm;
	unsigned left; /* exit loop: devices that are not idle yet */
	struct loop_task done;
	bool stop;	       /* for vm_stop(): say STOP, else it is the end */
	void (*fn)(void *arg); /* control thread: the caller's; may be NULL */
	void *arg;
};

static void device_paused(void *arg)
{
	struct pause *p = arg;

	if (!--p->left)
		loop_post(p->vm->control, &p->done);
}

static void pause_devices(void *arg)
{
	struct pause *p = arg;

	p->left = 1;
	list_for_each (it, &p->vm->env.devices) {
		struct vdev *v = dev_vdev(list_entry(it, struct dev, link));

		if (!v)
			continue;
		p->left++;
		vdev_pause(v, device_paused, p);
	}
	device_paused(p);
}

static void all_paused(struct loop_task *t)
{
	struct pause *p = container_of(t, struct pause, done);
	struct vm *vm = p->vm;

	blocks_drain(vm->env.blocks);
	vm->pause = NULL;
	if (p->stop && vm->state != RUN_SHUTDOWN) {
		vm->state = RUN_PAUSED;
		events_post(vm->env.events, "STOP", NULL);
	}
	if (p->fn)
		p->fn(p->arg);
	free(p);
	if (vm->quitting)
		loop_stop(vm->control);
}

/* When every device is idle and the disks are flushed: all_paused(). False when out of memory. */
static bool pause_all(struct vm *vm, bool stop, void (*fn)(void *arg), void *arg)
{
	struct pause *p = calloc(1, sizeof(*p));

	if (!p)
		return false;
	*p = (struct pause){.vm = vm, .done.fn = all_paused, .stop = stop, .fn = fn, .arg = arg};
	vm->pause = p;
	loop_call(vm->env.io, pause_devices, p);
	return true;
}

void vm_stop(struct vm *vm, void (*done)(void *arg), void *arg)
{
	if (vm->state != RUN_RUNNING || !vm->env.io || vm->pause || !pause_all(vm, true, done, arg))
		done(arg);
}

static void resume_devices(void *arg)
{
	struct vm *vm = arg;

	list_for_each (it, &vm->env.devices) {
		struct vdev *v = dev_vdev(list_entry(it, struct dev, link));

		if (v)
			vdev_resume(v);
	}
}

void vm_cont(struct vm *vm)
{
	if (vm->state != RUN_PAUSED && vm->state != RUN_PRELAUNCH)
		return;
	if (vm->state == RUN_PAUSED)
		loop_call(vm->env.io, resume_devices, vm);
	vm->state = RUN_RUNNING;
	events_post(vm->env.events, "RESUME", NULL);
}

/* libxl takes a connection that closes together with the last reply for an error. So the probe run
 * (which has nothing else to do) stays until its client has left, for a moment at most. */
#define LINGER_NS 1000000000ULL

static void linger_over(struct loop_timer *t)
{
	loop_stop(container_of(t, struct vm, linger)->control);
}

void vm_client_gone(struct vm *vm)
{
	if (vm->quitting && !vm->env.io)
		loop_stop(vm->control);
}

void vm_quit(struct vm *vm, const char *reason)
{
	if (vm->quitting) {
		if (!vm->env.io)
			loop_stop(vm->control);
		return;
	}
	vm->quitting = true;
	events_post(vm->env.events, "SHUTDOWN",
		    json_pack("{s:b, s:s}", "guest", 0, "reason", reason));
	vm->state = RUN_SHUTDOWN;
	if (!vm->env.io && !strcmp(reason, "host-qmp-quit")) {
		vm->linger.fn = linger_over;
		loop_timer_set(vm->control, &vm->linger, LINGER_NS);
		return;
	}
	/* A stop that is under way ends first, and sees `quitting`. */
	if (!vm->env.io || (!vm->pause && !pause_all(vm, false, NULL, NULL)))
		loop_stop(vm->control);
}
