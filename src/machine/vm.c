/* SPDX-License-Identifier: MIT */
/* vm.c - stop, continue, and the end
 *
 * Control thread. All three go the same way: the exit loop pauses every device, each queue reports
 * when nothing of it is in flight, and when the last one has, the control thread goes on: it writes
 * the disks' caches to stable storage and tells whoever asked. The vCPUs' register accesses are
 * answered all the while.
 *
 * A pause takes time, and several monitors may ask meanwhile. So requests wait in a queue and are
 * done one after the other: each `stop` is answered when the guest has stopped, each `cont` when it
 * runs, and the last one decides.
 *
 * The end has limits (base/endwatch.h): LIMIT_ANSWER_S for a thread that only has to answer,
 * LIMIT_DISKS_S for what depends on storage.
 */
#include "machine/vm.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "block/block.h"
#include "dev/dev.h"

#define LIMIT_ANSWER_S 10
#define LIMIT_DISKS_S  60

/* A `stop` or `cont` that waits for its turn; the first one in the queue is the one that is being
 * done. */
struct run_request {
	struct list link; /* vm.requests */
	bool stop;
	void (*done)(void *arg); /* the caller's */
	void *arg;
};

/* One pause of all devices. */
struct pause {
	struct vm *vm;
	unsigned left; /* exit loop: devices that are not idle yet */
	struct loop_task done;
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

static void vm_serve_requests(struct vm *vm);

static void request_finish(struct vm *vm)
{
	struct run_request *r = list_entry(list_pop(&vm->requests), struct run_request, link);

	r->done(r->arg);
	free(r);
}

static void devices_are_paused(struct loop_task *t)
{
	struct pause *p = container_of(t, struct pause, done);
	struct vm *vm = p->vm;

	free(p);
	vm->pause = NULL;
	vm_end_stage(vm, "writing the disks' caches", LIMIT_DISKS_S);
	blocks_drain(vm->env.blocks);
	if (vm->state != RUN_SHUTDOWN) {
		vm->state = RUN_PAUSED;
		events_post(vm->env.events, "STOP", NULL);
	}
	vm_serve_requests(vm);
	if (vm->quitting)
		loop_stop(vm->control);
}

/* When every device is idle: devices_are_paused(). False when out of memory. */
static bool vm_pause_devices(struct vm *vm)
{
	struct pause *p = calloc(1, sizeof(*p));

	if (!p)
		return false;
	*p = (struct pause){.vm = vm, .done.fn = devices_are_paused};
	vm->pause = p;
	vm_end_stage(vm, "the answer of the exit loop", LIMIT_ANSWER_S);
	loop_call(vm->env.io, pause_devices, p);
	vm_end_stage(vm, "what is in flight on the guest's devices", LIMIT_DISKS_S);
	return true;
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

static void vm_resume(struct vm *vm)
{
	if (vm->state != RUN_PAUSED && vm->state != RUN_PRELAUNCH)
		return;
	if (vm->state == RUN_PAUSED)
		loop_call(vm->env.io, resume_devices, vm);
	vm->state = RUN_RUNNING;
	events_post(vm->env.events, "RESUME", NULL);
}

/* Do what was asked for, in order, up to a stop that has to wait for its pause. */
static void vm_serve_requests(struct vm *vm)
{
	while (!vm->pause && !list_empty(&vm->requests)) {
		struct run_request *r = list_entry(vm->requests.next, struct run_request, link);

		if (!r->stop)
			vm_resume(vm);
		else if (vm->state == RUN_RUNNING && vm->env.io && vm_pause_devices(vm))
			return; /* devices_are_paused() comes back here, with the state changed */
		request_finish(vm);
	}
}

static void vm_request(struct vm *vm, bool stop, void (*done)(void *arg), void *arg)
{
	struct run_request *r = malloc(sizeof(*r));

	if (!r) {
		done(arg);
		return;
	}
	*r = (struct run_request){.stop = stop, .done = done, .arg = arg};
	list_add_tail(&vm->requests, &r->link);
	/* With others before it, whoever does those goes on with it. */
	if (vm->requests.next == &r->link)
		vm_serve_requests(vm);
}

void vm_stop(struct vm *vm, void (*done)(void *arg), void *arg)
{
	vm_request(vm, true, done, arg);
}

void vm_cont(struct vm *vm, void (*done)(void *arg), void *arg)
{
	vm_request(vm, false, done, arg);
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

void vm_end_stage(struct vm *vm, const char *what, unsigned limit_s)
{
	if (vm->quitting)
		endwatch_stage(&vm->end, what, limit_s);
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
	if (vm->pause)
		vm_end_stage(vm, "what is in flight on the guest's devices", LIMIT_DISKS_S);
	/* A stop that is under way ends first, and sees `quitting`. */
	if (!vm->env.io || (!vm->pause && !vm_pause_devices(vm)))
		loop_stop(vm->control);
}
