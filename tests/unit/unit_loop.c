/* SPDX-License-Identifier: MIT */
/* unit_loop.c - the event loop: order within a turn, removal inside callbacks, posts from other
 * threads */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/loop.h"
#include "base/util.h"

/* What ran, in order, one letter each. */
static struct {
	struct loop *l;
	char ran[64];
	unsigned n;
	struct loop_fd fd[2];
	struct loop_task task[3];
	struct loop_timer timer[3];
	struct loop_hook hook[2];
} t;

static void note(char c)
{
	if (t.n < sizeof(t.ran) - 1)
		t.ran[t.n++] = c;
	t.ran[t.n] = '\0';
}

static int setup(void **state)
{
	memset(&t, 0, sizeof(t));
	t.fd[0].fd = t.fd[1].fd = -1;
	t.l = loop_new("test");
	return t.l ? 0 : -1;
}

static int teardown(void **state)
{
	loop_free(t.l);
	return 0;
}

static int ready_fd(void)
{
	int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static void a_task(struct loop_task *x)
{
	note((char)('a' + (x - t.task)));
}

static void a_timer(struct loop_timer *x)
{
	note((char)('t' + (x - t.timer)));
}

static void a_hook(struct loop_hook *x)
{
	note((char)('H' + (x - t.hook)));
}

static void drain(struct loop_fd *w)
{
	uint64_t n;

	assert_int_equal(read(w->fd, &n, sizeof(n)), 8);
}

/* A watcher that defers work: the work runs after all watchers, and only once. */
static void fd_defers(struct loop_fd *w, uint32_t events)
{
	note((char)('0' + (w - t.fd)));
	assert_true(events & EPOLLIN);
	drain(w);
	loop_defer(t.l, &t.task[0]);
}

static void order(void **state)
{
	int fd[2] = {ready_fd(), ready_fd()};

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(loop_fd_add(t.l, &t.fd[i], fd[i], EPOLLIN, fd_defers), 0);
		t.hook[i].fn = a_hook;
		loop_hook_add(t.l, &t.hook[i]);
	}
	for (unsigned i = 0; i < 3; i++) {
		t.task[i].fn = a_task;
		t.timer[i].fn = a_timer;
	}
	loop_timer_set(t.l, &t.timer[0], 0);
	loop_post(t.l, &t.task[1]);
	loop_post(t.l, &t.task[2]);
	loop_post(t.l, &t.task[1]);
	loop_turn(t.l, 0);
	if (t.ran[0] == '1') /* the order of descriptors is the kernel's */
		t.ran[0] = '0', t.ran[1] = '1';
	assert_string_equal(t.ran, "01tbcaHI");
	t.n = 0;
	loop_turn(t.l, 0);
	assert_string_equal(t.ran, "HI");
	loop_hook_del(&t.hook[0]);
	t.n = 0;
	loop_turn(t.l, 0);
	assert_string_equal(t.ran, "I");
	for (unsigned i = 0; i < 2; i++) {
		loop_fd_del(t.l, &t.fd[i]);
		loop_fd_del(t.l, &t.fd[i]);
		close(fd[i]);
	}
	loop_hook_del(&t.hook[1]);
}

/* The first watcher that is called removes both: the other must not be called any more. */
static void fd_removes_both(struct loop_fd *w, uint32_t events)
{
	note('x');
	loop_fd_del(t.l, &t.fd[0]);
	loop_fd_del(t.l, &t.fd[1]);
}

static void removal(void **state)
{
	int fd[2] = {ready_fd(), ready_fd()};

	for (unsigned i = 0; i < 2; i++)
		loop_fd_add(t.l, &t.fd[i], fd[i], EPOLLIN, fd_removes_both);
	loop_turn(t.l, 0);
	assert_string_equal(t.ran, "x");
	assert_int_equal(t.fd[0].fd, -1);
	/* It may be used again. */
	assert_int_equal(loop_fd_add(t.l, &t.fd[0], fd[0], EPOLLIN, fd_removes_both), 0);
	assert_int_equal(loop_fd_mod(t.l, &t.fd[0], EPOLLOUT), 0);
	loop_turn(t.l, 0);
	assert_string_equal(t.ran, "xx");
	assert_true(loop_fd_add(t.l, &t.fd[1], -1, EPOLLIN, fd_removes_both) < 0);
	assert_int_equal(t.fd[1].fd, -1);
	close(fd[0]);
	close(fd[1]);
}

/* A deferred task that defers itself gives descriptors and timers their turn in between. */
static void again(struct loop_task *x)
{
	note('a');
	if (t.n < 5)
		loop_defer(t.l, x);
}

static void deferring_again(void **state)
{
	t.task[0].fn = again;
	loop_defer(t.l, &t.task[0]);
	for (unsigned i = 1; i <= 5; i++) {
		loop_turn(t.l, -1);
		assert_int_equal(t.n, i);
	}
	loop_turn(t.l, 0);
	assert_int_equal(t.n, 5);
}

static void timer_sets_timer(struct loop_timer *x)
{
	note('s');
	loop_timer_del(&t.timer[1]);
	loop_timer_set(t.l, x, 3600 * 1000000000ULL);
}

static void timers(void **state)
{
	uint64_t before;

	for (unsigned i = 0; i < 3; i++)
		t.timer[i].fn = a_timer;
	loop_timer_del(&t.timer[2]); /* all zero: harmless */
	loop_timer_set(t.l, &t.timer[2], 3000000);
	loop_timer_set(t.l, &t.timer[1], 2000000);
	loop_timer_set(t.l, &t.timer[0], 1000000);
	loop_timer_set(t.l, &t.timer[1], 4000000); /* moved behind the others */
	before = now_ns();
	while (t.n < 3)
		loop_turn(t.l, -1);
	assert_string_equal(t.ran, "tvu");
	assert_true(now_ns() - before >= 3900000);
	t.n = 0;
	/* Due ones that are removed by an earlier one do not run; a far one does not delay a
	 * bounded turn. */
	t.timer[0].fn = timer_sets_timer;
	loop_timer_set(t.l, &t.timer[0], 0);
	loop_timer_set(t.l, &t.timer[1], 0);
	loop_turn(t.l, -1);
	assert_string_equal(t.ran, "s");
	loop_turn(t.l, 0);
	loop_turn(t.l, 5);
	assert_string_equal(t.ran, "s");
	loop_timer_del(&t.timer[0]);
}

/* --- with a thread --- */

#define POSTERS 4
#define POSTS	20000

struct poster {
	struct loop_task task;
	atomic_uint ran;
	pthread_t thread;
};

static void count(struct loop_task *x)
{
	struct poster *p = container_of(x, struct poster, task);

	assert_true(loop_is_mine(t.l));
	atomic_fetch_add(&p->ran, 1);
}

/* Post, wait until it ran, post again: each one must wake the loop. */
static void *post_all(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 0; i < POSTS; i++) {
		loop_post(t.l, &p->task);
		while (atomic_load(&p->ran) <= i)
			sched_yield();
	}
	return NULL;
}

/* What a descriptor's function sets to run at once runs in the same turn. */
static void fd_sets_timer(struct loop_fd *w, uint32_t events)
{
	drain(w);
	loop_timer_set(t.l, &t.timer[0], 0);
}

static void timer_at_once(void **state)
{
	int fd = ready_fd();

	t.timer[0].fn = a_timer;
	assert_int_equal(loop_fd_add(t.l, &t.fd[0], fd, EPOLLIN, fd_sets_timer), 0);
	loop_turn(t.l, 0);
	assert_string_equal(t.ran, "t");
	loop_fd_del(t.l, &t.fd[0]);
	close(fd);
}

static void posting(void **state)
{
	struct poster p[POSTERS] = {0};

	assert_int_equal(loop_start(t.l), 0);
	for (unsigned i = 0; i < POSTERS; i++) {
		p[i].task.fn = count;
		assert_int_equal(pthread_create(&p[i].thread, NULL, post_all, &p[i]), 0);
	}
	for (unsigned i = 0; i < POSTERS; i++) {
		pthread_join(p[i].thread, NULL);
		assert_int_equal(p[i].ran, POSTS);
	}
	assert_false(loop_is_mine(t.l));
	loop_join(t.l);
	assert_true(loop_is_mine(t.l));
}

static void on_loop(void *arg)
{
	bool *mine = arg;

	*mine = loop_is_mine(t.l);
	/* From the loop's own thread it runs at once. */
	if (*mine)
		note('c');
}

static void nested(void *arg)
{
	loop_call(t.l, on_loop, arg);
}

static void calling(void **state)
{
	bool mine = false;

	loop_call(t.l, on_loop, &mine); /* no thread yet: directly */
	assert_true(mine);
	assert_int_equal(loop_start(t.l), 0);
	mine = false;
	loop_call(t.l, nested, &mine);
	assert_true(mine);
	assert_string_equal(t.ran, "cc");
	loop_join(t.l);
	mine = false;
	loop_call(t.l, on_loop, &mine);
	assert_true(mine);
}

/* Start and stop many times: no stop is lost, whether or not the thread runs already. */
static void stopping(void **state)
{
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(loop_start(t.l), 0);
		loop_join(t.l);
	}
}

/* A poller that has work from its third look on. */
static struct {
	struct loop_poller p;
	unsigned begun, looks, ended;
	enum loop_look third;
} watched;

static enum loop_look watched_look(struct loop_poller *p)
{
	if (++watched.looks < 3)
		return LOOP_NOTHING;
	if (watched.third == LOOP_WORK)
		loop_defer(t.l, &t.task[0]);
	return watched.third;
}

static void watched_begin(struct loop_poller *p)
{
	watched.begun++;
}

static void watched_end(struct loop_poller *p)
{
	watched.ended++;
}

static void watch_in_memory(uint64_t max_ns, enum loop_look third)
{
	memset(&watched, 0, sizeof(watched));
	watched.p = (struct loop_poller){watched_look, watched_begin, watched_end, {0}};
	watched.third = third;
	t.task[0].fn = a_task;
	loop_set_polling(t.l, max_ns, 0, 0);
	loop_poller_add(t.l, &watched.p);
	/* A first wait of a millisecond tells it whether looking would have helped. */
	loop_turn(t.l, 1);
	assert_int_equal(watched.begun, 0);
}

static void looks_before_it_sleeps(void **state)
{
	watch_in_memory(UINT64_C(1000000000), LOOP_WORK);
	loop_turn(t.l, -1); /* would sleep for ever */
	assert_string_equal(t.ran, "a");
	assert_int_equal(watched.looks, 3);
	assert_int_equal(watched.begun, 1);
	assert_int_equal(watched.ended, 1);
	loop_poller_del(&watched.p);
	loop_turn(t.l, 1);
	assert_int_equal(watched.begun, 1);
}

static void does_not_look_where_waits_are_long(void **state)
{
	watch_in_memory(1000, LOOP_WORK);
	for (int i = 0; i < 3; i++)
		loop_turn(t.l, 1);
	assert_int_equal(watched.looks, 0);
	loop_poller_del(&watched.p);
}

static void sleeps_when_told_to(void **state)
{
	watch_in_memory(UINT64_C(1000000000), LOOP_SLEEP);
	loop_turn(t.l, 1);
	assert_int_equal(watched.looks, 3);
	assert_int_equal(watched.ended, 1);
	loop_poller_del(&watched.p);
}

static void does_not_look_while_there_is_work(void **state)
{
	watch_in_memory(UINT64_C(1000000000), LOOP_WORK);
	loop_defer(t.l, &t.task[0]);
	loop_turn(t.l, -1);
	assert_string_equal(t.ran, "a");
	assert_int_equal(watched.begun, 0);
	loop_poller_del(&watched.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(order, setup, teardown),
		cmocka_unit_test_setup_teardown(removal, setup, teardown),
		cmocka_unit_test_setup_teardown(deferring_again, setup, teardown),
		cmocka_unit_test_setup_teardown(timers, setup, teardown),
		cmocka_unit_test_setup_teardown(timer_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(posting, setup, teardown),
		cmocka_unit_test_setup_teardown(calling, setup, teardown),
		cmocka_unit_test_setup_teardown(stopping, setup, teardown),
		cmocka_unit_test_setup_teardown(looks_before_it_sleeps, setup, teardown),
		cmocka_unit_test_setup_teardown(does_not_look_where_waits_are_long, setup,
						teardown),
		cmocka_unit_test_setup_teardown(sleeps_when_told_to, setup, teardown),
		cmocka_unit_test_setup_teardown(does_not_look_while_there_is_work, setup, teardown),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
