/* SPDX-License-Identifier: MIT */
/* vm.c - stop, continue, and the end of the program
 *
 * These functions run on the control thread. To stop and to end, the exit loop pauses every device;
 * each device reports when no request of its queues is in flight; and after the last one, the disks'
 * caches are written to stable storage and done() is called. The control thread does not sleep
 * meanwhile: monitors, signals and the vCPUs' register accesses are answered.
 *
 * A pause takes time, and several monitors may send commands meanwhile. So requests wait in a queue
 * and are done one after the other: each `stop` is answered when the guest has stopped, each `cont`
 * when it runs, and the last one decides.
 *
 * The end of the program has time limits (base/endwatch.h): LIMIT_ANSWER_S for a thread that only
 * has to answer, LIMIT_DISKS_S for stages that depend on storage.
 */
#include "machine/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "block/block.h"
#include "dev/dev.h"

#define LIMIT_ANSWER_S 10
#define LIMIT_DISKS_S  60

/* A `stop` or `cont`. The first one in the queue is being done, the others wait for their turn. */
struct run_request {
	struct list link; /* vm.requests */
	bool stop;
	void (*done)(void *arg, int rc); /* of the caller */
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

static void devices_pause(void *arg)
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

static void request_finish(struct vm *vm, int rc)
{
	struct run_request *r = list_entry(list_pop(&vm->requests), struct run_request, link);

	r->done(r->arg, rc);
	free(r);
}

static void pause_finish(void *arg, int rc)
{
	struct vm *vm = arg;
	bool ending = vm->quitting;

	free(vm->pause);
	vm->pause = NULL;
	vm->flush_error = rc;
	if (vm->state != RUN_SHUTDOWN) {
		vm->state = RUN_PAUSED;
		events_post(vm->env.events, "STOP", NULL);
	}
	/* The answers may bring more commands, the end among them: it is not reached then. */
	vm_serve_requests(vm);
	if (ending)
		loop_stop(vm->control);
}

static void pause_flush_disks(struct loop_task *t)
{
	struct vm *vm = container_of(t, struct pause, done)->vm;
	int rc;

	vm_end_stage(vm, "writing the disks' caches", LIMIT_DISKS_S);
	rc = blocks_drain(vm->env.blocks, vm->control, pause_finish, vm);
	if (rc < 0) {
		log_err("the disks' caches are not written: %s", strerror(-rc));
		pause_finish(vm, rc);
	}
}

/* Pause all devices; when every one is idle, pause_flush_disks() and then pause_finish() are called.
 * False when out of memory. */
static bool vm_pause_devices(struct vm *vm)
{
	struct pause *p = calloc(1, sizeof(*p));

	if (!p)
		return false;
	*p = (struct pause){.vm = vm, .done.fn = pause_flush_disks};
	vm->pause = p;
	vm_end_stage(vm, "the answer of the exit loop", LIMIT_ANSWER_S);
	loop_call(vm->env.io, devices_pause, p);
	vm_end_stage(vm, "what is in flight on the guest's devices", LIMIT_DISKS_S);
	return true;
}

static void devices_resume(void *arg)
{
	struct vm *vm = arg;

	list_for_each (it, &vm->env.devices) {
		struct vdev *v = dev_vdev(list_entry(it, struct dev, link));

		if (v)
			vdev_resume(v);
	}
}

static int vm_resume(struct vm *vm)
{
	if (vm->state == RUN_SHUTDOWN)
		return -ESHUTDOWN;
	if (vm->state == RUN_RUNNING)
		return 0;
	if (vm->state == RUN_PAUSED)
		loop_call(vm->env.io, devices_resume, vm);
	vm->state = RUN_RUNNING;
	events_post(vm->env.events, "RESUME", NULL);
	return 0;
}

/* Do the requests in their order, up to a stop that has to wait until the devices are paused. */
static void vm_serve_requests(struct vm *vm)
{
	while (!vm->pause && !list_empty(&vm->requests)) {
		struct run_request *r = list_entry(vm->requests.next, struct run_request, link);
		int rc = 0;

		if (!r->stop)
			rc = vm_resume(vm);
		else if (vm->state == RUN_RUNNING && vm->env.io && vm_pause_devices(vm))
			return; /* pause_finish() calls this function again, in another state */
		else if (vm->state == RUN_RUNNING && vm->env.io)
			rc = -ENOMEM;
		request_finish(vm, rc);
	}
}

static void request_queue(struct vm *vm, bool stop, void (*done)(void *arg, int rc), void *arg)
{
	struct run_request *r = malloc(sizeof(*r));

	if (!r) {
		done(arg, -ENOMEM);
		return;
	}
	*r = (struct run_request){.stop = stop, .done = done, .arg = arg};
	list_add_tail(&vm->requests, &r->link);
	/* If there are requests before it, pause_finish() will go on with this one. */
	if (vm->requests.next == &r->link)
		vm_serve_requests(vm);
}

void vm_stop(struct vm *vm, void (*done)(void *arg, int rc), void *arg)
{
	request_queue(vm, true, done, arg);
}

void vm_cont(struct vm *vm, void (*done)(void *arg, int rc), void *arg)
{
	request_queue(vm, false, done, arg);
}

/* libxl starts the program with -machine none to ask what it supports, and then sends `quit`. It
 * reports an error if the connection closes together with the last reply. So such a run ends when
 * its client has left, or after this time. */
#define LINGER_NS 1000000000ULL

static void linger_expired(struct loop_timer *t)
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
		vm->linger.fn = linger_expired;
		loop_timer_set(vm->control, &vm->linger, LINGER_NS);
		return;
	}
	if (vm->pause)
		vm_end_stage(vm, "what is in flight on the guest's devices", LIMIT_DISKS_S);
	/* If devices are being paused already, pause_finish() sees `quitting` and ends the loop. */
	if (!vm->env.io) {
		loop_stop(vm->control);
	} else if (!vm->pause && !vm_pause_devices(vm)) {
		vm->flush_error = -ENOMEM;
		loop_stop(vm->control);
	}
}
