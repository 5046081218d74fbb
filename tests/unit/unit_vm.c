/* SPDX-License-Identifier: MIT */
/* unit_vm.c - several monitors stop and continue the guest: each is answered when it is so, and the
 * last one decides
 *
 * The one device is a stub that becomes idle when the test says so. Its functions and
 * blocks_drain() are the linker's --wrap.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "block/block.h"
#include "dev/dev.h"
#include "machine/vm.h"

static struct {
	struct vm vm;
	struct dev dev;
	struct vdev vdev;
	void (*paused)(void *arg); /* what vdev_pause() was given; NULL: not pausing */
	void *arg;
	unsigned pauses, resumes, drains;
	bool hold_flush, stopped_late;
	struct loop_task stop_task;
	void (*flushed)(void *arg, int rc); /* what blocks_drain() was given */
	void *flushed_arg;
	char log[256]; /* answers and events in their order */
} b;

struct vdev *__wrap_dev_vdev(struct dev *d);
void __wrap_vdev_pause(struct vdev *v, void (*done)(void *arg), void *arg);
void __wrap_vdev_resume(struct vdev *v);
int __wrap_blocks_drain(struct blocks *bs, struct loop *control, void (*done)(void *arg, int rc),
			void *arg);

struct vdev *__wrap_dev_vdev(struct dev *d)
{
	return &b.vdev;
}

void __wrap_vdev_pause(struct vdev *v, void (*done)(void *arg), void *arg)
{
	b.pauses++;
	b.paused = done;
	b.arg = arg;
}

void __wrap_vdev_resume(struct vdev *v)
{
	b.resumes++;
}

static void disks_become_flushed(int rc)
{
	void (*flushed)(void *arg, int rc) = b.flushed;

	assert_non_null(flushed);
	b.flushed = NULL;
	flushed(b.flushed_arg, rc);
}

int __wrap_blocks_drain(struct blocks *bs, struct loop *control, void (*done)(void *arg, int rc),
			void *arg)
{
	b.drains++;
	b.flushed = done;
	b.flushed_arg = arg;
	if (!b.hold_flush)
		disks_become_flushed(0);
	return 0;
}

static void note(const char *text)
{
	strncat(b.log, text, sizeof(b.log) - strlen(b.log) - 1);
	strncat(b.log, " ", sizeof(b.log) - strlen(b.log) - 1);
}

static void answer(void *arg, int rc)
{
	note(arg);
	if (rc < 0)
		note(rc == -ESHUTDOWN ? "(ending)" : "(error)");
}

static void ask_stop(const char *name)
{
	vm_stop(&b.vm, answer, (void *)name);
}

static void ask_cont(const char *name)
{
	vm_cont(&b.vm, answer, (void *)name);
}

static void event_note(void *arg, json_t *event)
{
	note(json_string_value(json_object_get(event, "event")));
}

static void device_becomes_idle(void)
{
	void (*paused)(void *arg) = b.paused;

	assert_non_null(paused);
	b.paused = NULL;
	paused(b.arg);
	loop_turn(b.vm.control, 0);
}

static void task_stop(struct loop_task *t)
{
	b.stopped_late = true;
	loop_stop(b.vm.control);
}

/* Was the control loop told to stop? */
static bool control_stops(void)
{
	b.stopped_late = false;
	b.stop_task.fn = task_stop;
	loop_defer(b.vm.control, &b.stop_task);
	loop_run(b.vm.control);
	return !b.stopped_late;
}

static int setup(void **state)
{
	memset(&b, 0, sizeof(b));
	b.vm.control = loop_new("control");
	b.vm.env.io = loop_new("io");
	b.vm.env.events = events_new(b.vm.control);
	events_subscribe(b.vm.env.events, event_note, NULL);
	list_init(&b.vm.env.devices);
	list_init(&b.vm.requests);
	list_add_tail(&b.vm.env.devices, &b.dev.link);
	b.vm.state = RUN_RUNNING;
	return 0;
}

static int teardown(void **state)
{
	endwatch_stop(&b.vm.end);
	events_free(b.vm.env.events);
	loop_free(b.vm.env.io);
	loop_free(b.vm.control);
	return 0;
}

static void stop_is_answered_when_it_is_so(void **state)
{
	ask_stop("first");
	ask_stop("second");
	assert_string_equal(b.log, "");
	device_becomes_idle();
	assert_string_equal(b.log, "STOP first second ");
	assert_int_equal(b.vm.state, RUN_PAUSED);
	assert_int_equal(b.pauses, 1);
	assert_int_equal(b.drains, 1);
	ask_stop("third");
	assert_string_equal(b.log, "STOP first second third ");
}

static void cont_during_a_pause_runs_the_guest(void **state)
{
	ask_stop("stop");
	ask_cont("cont");
	assert_string_equal(b.log, "");
	device_becomes_idle();
	assert_string_equal(b.log, "STOP stop RESUME cont ");
	assert_int_equal(b.vm.state, RUN_RUNNING);
	assert_int_equal(b.resumes, 1);
}

/* stop, cont, stop: a pause each, and the last one decides. */
static void order_decides(void **state)
{
	ask_stop("1");
	ask_cont("2");
	ask_stop("3");
	device_becomes_idle();
	assert_string_equal(b.log, "STOP 1 RESUME 2 ");
	device_becomes_idle();
	assert_string_equal(b.log, "STOP 1 RESUME 2 STOP 3 ");
	assert_int_equal(b.vm.state, RUN_PAUSED);
	assert_int_equal(b.pauses, 2);
}

static void cont_while_running_is_answered(void **state)
{
	ask_cont("cont");
	assert_string_equal(b.log, "cont ");
	assert_int_equal(b.resumes, 0);
}

/* The end waits for the pause that is under way, and answers who waits; it does not start again. */
static void quit_during_a_pause(void **state)
{
	ask_stop("stop");
	ask_cont("cont");
	vm_quit(&b.vm, "host-signal");
	assert_string_equal(b.log, "SHUTDOWN ");
	device_becomes_idle();
	assert_string_equal(b.log, "SHUTDOWN stop cont (ending) ");
	assert_int_equal(b.vm.state, RUN_SHUTDOWN);
	assert_int_equal(b.pauses, 1);
	assert_int_equal(b.resumes, 0);
	assert_int_equal(b.drains, 1);
}

/* The disks take their time: nobody is answered before, and the control thread is free. */
static void stop_waits_for_the_flush(void **state)
{
	b.hold_flush = true;
	ask_stop("stop");
	device_becomes_idle();
	ask_cont("cont");
	assert_string_equal(b.log, "");
	assert_int_equal(b.vm.state, RUN_RUNNING);
	disks_become_flushed(-EIO);
	assert_string_equal(b.log, "STOP stop RESUME cont ");
	assert_int_equal(b.vm.flush_error, -EIO);
}

static void quit_during_a_flush(void **state)
{
	b.hold_flush = true;
	ask_stop("stop");
	device_becomes_idle();
	vm_quit(&b.vm, "host-signal");
	assert_string_equal(b.log, "SHUTDOWN ");
	disks_become_flushed(0);
	assert_string_equal(b.log, "SHUTDOWN stop ");
	assert_int_equal(b.drains, 1);
	assert_true(control_stops());
}

static void answer_with_quit(void *arg, int rc)
{
	vm_quit(&b.vm, "host-qmp-quit");
}

/* What is answered asks for the end, as a monitor does with a command that waits: the end has a
 * pause and a flush of its own. */
static void quit_from_an_answer(void **state)
{
	vm_stop(&b.vm, answer_with_quit, NULL);
	device_becomes_idle();
	assert_int_equal(b.pauses, 2);
	assert_false(control_stops());
	device_becomes_idle();
	assert_int_equal(b.drains, 2);
	assert_true(control_stops());
}

int main(void)
{
#define VM_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		VM_TEST(stop_is_answered_when_it_is_so),
		VM_TEST(cont_during_a_pause_runs_the_guest),
		VM_TEST(order_decides),
		VM_TEST(cont_while_running_is_answered),
		VM_TEST(quit_during_a_pause),
		VM_TEST(stop_waits_for_the_flush),
		VM_TEST(quit_during_a_flush),
		VM_TEST(quit_from_an_answer),
	};

	return cmocka_run_group_tests_name("vm", tests, NULL, NULL);
}
