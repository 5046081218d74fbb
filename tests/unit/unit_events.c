/* SPDX-License-Identifier: MIT */
/* unit_events.c - events of several threads reach the subscriber in the order of their posting, on
 * the control thread, and a thread cannot fill our memory with them */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/events.h"

static struct {
	struct loop *control;
	struct events *ev;
	pthread_t thread;
	char seen[1024]; /* first letters of the events' names, in order */
	unsigned n;
	bool elsewhere; /* one came on another thread */
	bool again;	/* post "nested" from within "outer" */
} b;

static void subscriber_hear(void *arg, json_t *event)
{
	const char *name = json_string_value(json_object_get(event, "event"));

	assert_ptr_equal(arg, &b);
	assert_true(json_is_object(json_object_get(event, "timestamp")));
	b.elsewhere |= !pthread_equal(b.thread, pthread_self());
	if (b.n < sizeof(b.seen) - 1)
		b.seen[b.n++] = name[0];
	if (b.again && !strcmp(name, "outer")) {
		b.again = false;
		events_post(b.ev, "nested", NULL);
		events_post(b.ev, "last", NULL);
	}
}

static int setup(void **state)
{
	memset(&b, 0, sizeof(b));
	b.thread = pthread_self();
	b.control = loop_new("control");
	b.ev = events_new(b.control);
	assert_non_null(b.ev);
	events_subscribe(b.ev, subscriber_hear, &b);
	return 0;
}

static int teardown(void **state)
{
	events_free(b.ev);
	loop_free(b.control);
	return 0;
}

static void *thread_post(void *arg)
{
	for (const char *p = arg; *p; p++)
		events_post(b.ev, (const char[]){*p, 0}, json_object());
	return NULL;
}

static void post_elsewhere(const char *names)
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, thread_post, (void *)names), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
}

/* The control thread's own are delivered at once: they come before the reply to a command. */
static void own_ones_are_delivered_at_once(void **state)
{
	events_post(b.ev, "one", json_pack("{s:i}", "x", 1));
	assert_string_equal(b.seen, "o");
}

/* Those of another thread wait for the loop, and none overtakes them. */
static void order_is_that_of_posting(void **state)
{
	post_elsewhere("abc");
	assert_string_equal(b.seen, "");
	events_post(b.ev, "d", NULL);
	assert_string_equal(b.seen, "abcd");
	post_elsewhere("ef");
	loop_turn(b.control, 0);
	assert_string_equal(b.seen, "abcdef");
	assert_false(b.elsewhere);
}

static void event_posted_by_the_subscriber_comes_last(void **state)
{
	b.again = true;
	post_elsewhere("x");
	events_post(b.ev, "outer", NULL);
	assert_string_equal(b.seen, "xonl");
}

static void others_cannot_fill_memory(void **state)
{
	char many[EVENTS_WAITING + 100 + 1];

	memset(many, 'm', sizeof(many) - 1);
	many[sizeof(many) - 1] = 0;
	post_elsewhere(many);
	loop_turn(b.control, 0);
	assert_int_equal(b.n, EVENTS_WAITING);
	/* There is room again. */
	post_elsewhere("z");
	loop_turn(b.control, 0);
	assert_int_equal(b.n, EVENTS_WAITING + 1);
}

/* Nobody listens; and some are left at the end. */
static void without_a_subscriber(void **state)
{
	events_post(NULL, "x", json_object());
	events_subscribe(b.ev, NULL, NULL);
	events_post(b.ev, "x", json_object());
	assert_int_equal(b.n, 0);
	post_elsewhere("yz");
}

int main(void)
{
#define EVENTS_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		EVENTS_TEST(own_ones_are_delivered_at_once),
		EVENTS_TEST(order_is_that_of_posting),
		EVENTS_TEST(event_posted_by_the_subscriber_comes_last),
		EVENTS_TEST(others_cannot_fill_memory),
		EVENTS_TEST(without_a_subscriber),
	};

	return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
