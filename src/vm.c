/* SPDX-License-Identifier: MIT */
/* vm.c - stop, continue, and the end
 *
 * Control thread. All three go the same way: the exit loop pauses every device, each queue reports when nothing of it is
 * in flight, and when the last one has, the control thread goes on: it writes the disks' caches to stable
 * storage and tells whoever asked. The vCPUs' register accesses are answered all the while.
 */
#include "vm.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/log.h"
#include "block/block.h"
#include "ctl/qmp.h"
#include "dev/dev.h"

/* One pause of all devices. */
struct pause {
	struct vm *vm;
	unsigned left; /* exit loop: devices that are not idle yet */
	struct loop_task done;
	void (*fn)(void *arg);
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
	list_for_each (it, &p->vm->devices) {
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

	blocks_drain(vm->blocks);
	vm->pause = NULL;
	if (p->fn)
		p->fn(p->arg);
	free(p);
	if (vm->quitting && !vm->pause)
		loop_stop(vm->control);
}

/* fn(arg) on the control thread when every device is idle and the disks are flushed. `fn` may be NULL. */
static void when_idle(struct vm *vm, void (*fn)(void *arg), void *arg)
{
	struct pause *p = calloc(1, sizeof(*p));

	if (!p) {
		log_err("out of memory");
		return;
	}
	*p = (struct pause){.vm = vm, .done.fn = all_paused, .fn = fn, .arg = arg};
	vm->pause = p;
	loop_call(vm->io, pause_devices, p);
}

struct stop {
	struct vm *vm;
	void (*done)(void *arg);
	void *arg;
};

static void stopped(void *arg)
{
	struct stop s = *(struct stop *)arg;

	free(arg);
	if (s.vm->state != RUN_SHUTDOWN) {
		s.vm->state = RUN_PAUSED;
		qmp_event(s.vm, "STOP", NULL);
	}
	s.done(s.arg);
}

void vm_stop(struct vm *vm, void (*done)(void *arg), void *arg)
{
	struct stop *s;

	if (vm->state != RUN_RUNNING || !vm->io || vm->pause || !(s = malloc(sizeof(*s)))) {
		done(arg);
		return;
	}
	*s = (struct stop){vm, done, arg};
	when_idle(vm, stopped, s);
}

static void resume_devices(void *arg)
{
	struct vm *vm = arg;

	list_for_each (it, &vm->devices) {
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
		loop_call(vm->io, resume_devices, vm);
	vm->state = RUN_RUNNING;
	qmp_event(vm, "RESUME", NULL);
}

void vm_quit(struct vm *vm, const char *reason)
{
	if (vm->quitting)
		return;
	vm->quitting = true;
	qmp_event(vm, "SHUTDOWN", json_pack("{s:b, s:s}", "guest", 0, "reason", reason));
	vm->state = RUN_SHUTDOWN;
	if (!vm->io)
		loop_stop(vm->control);
	else if (!vm->pause) /* a stop that is under way ends first, and sees `quitting` */
		when_idle(vm, NULL, NULL);
}
