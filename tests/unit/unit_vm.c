/* SPDX-License-Identifier: MIT */
/* unit_vm.c - several monitors stop and continue the guest: each is answered when it is so, and the
 * last one decides
 *
 * The one device is a stub that becomes idle when the test says so. Its functions and
 * blocks_drain() are the linker's --wrap.
 */
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
	char log[256]; /* answers and events in their order */
} b;

struct vdev *__wrap_dev_vdev(struct dev *d);
void __wrap_vdev_pause(struct vdev *v, void (*done)(void *arg), void *arg);
void __wrap_vdev_resume(struct vdev *v);
int __wrap_blocks_drain(struct blocks *bs);

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

int __wrap_blocks_drain(struct blocks *bs)
{
	b.drains++;
	return 0;
}

static void note(const char *text)
{
	strncat(b.log, text, sizeof(b.log) - strlen(b.log) - 1);
	strncat(b.log, " ", sizeof(b.log) - strlen(b.log) - 1);
}

static void answer(void *arg)
{
	note(arg);
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
	assert_string_equal(b.log, "SHUTDOWN stop cont ");
	assert_int_equal(b.vm.state, RUN_SHUTDOWN);
	assert_int_equal(b.pauses, 1);
	assert_int_equal(b.resumes, 0);
	assert_int_equal(b.drains, 1);
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
	};

	return cmocka_run_group_tests_name("vm", tests, NULL, NULL);
}
