/* SPDX-License-Identifier: MIT */
/* Tests of src/xen/xs.c against a xenstored that says what each test tells it to. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include <xen/io/xs_wire.h>

#include "xen/xs.h"

struct store {
	char dir[32], path[64];
	int listener, peer;
	struct xs xs;
};

static int setup(void **state)
{
	struct store *s = calloc(1, sizeof(*s));
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	strcpy(s->dir, "/tmp/unit_xs.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/s", s->dir);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", s->path);
	s->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(s->listener, 1), 0);
	setenv("XENSTORED_PATH", s->path, 1);
	assert_int_equal(xs_connect(&s->xs), 0);
	s->peer = accept(s->listener, NULL, NULL);
	assert_true(s->peer >= 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct store *s = *state;

	xs_disconnect(&s->xs);
	if (s->peer >= 0)
		close(s->peer);
	close(s->listener);
	unlink(s->path);
	rmdir(s->dir);
	free(s);
	return 0;
}

/* Put a message where the client will find it; `len` is the length that its header claims. */
static void say(struct store *s, uint32_t type, const char *payload, size_t bytes, uint32_t len)
{
	struct xsd_sockmsg head = {.type = type, .len = len};

	assert_int_equal(write(s->peer, &head, sizeof(head)), sizeof(head));
	assert_int_equal(write(s->peer, payload, bytes), bytes);
}

/* What the client has sent. */
static uint32_t heard(struct store *s, char *payload, size_t *len)
{
	struct xsd_sockmsg head;

	assert_int_equal(read(s->peer, &head, sizeof(head)), sizeof(head));
	assert_int_equal(read(s->peer, payload, head.len), head.len);
	*len = head.len;
	return head.type;
}

static void a_value_and_a_list(void **state)
{
	struct store *s = *state;
	char sent[256], *v;
	unsigned n;
	size_t len;

	say(s, XS_READ, "abc", 3, 3);
	v = xs_get(&s->xs, "/a/b");
	assert_string_equal(v, "abc");
	free(v);
	assert_int_equal(heard(s, sent, &len), XS_READ);
	assert_int_equal(len, 5);
	assert_memory_equal(sent, "/a/b", 5);

	say(s, XS_DIRECTORY, "x\0yy", 5, 5);
	v = xs_list(&s->xs, "/a", &n);
	assert_int_equal(n, 5);
	assert_memory_equal(v, "x\0yy", 5);
	free(v);
}

static void a_write_carries_no_final_nul(void **state)
{
	struct store *s = *state;
	char sent[256];
	size_t len;

	say(s, XS_WRITE, "OK", 3, 3);
	assert_int_equal(xs_put(&s->xs, "p", "running"), 0);
	assert_int_equal(heard(s, sent, &len), XS_WRITE);
	assert_int_equal(len, 9);
	assert_memory_equal(sent, "p\0running", 9);
}

static void an_error_has_its_number(void **state)
{
	struct store *s = *state;

	say(s, XS_ERROR, "ENOENT", 7, 7);
	assert_null(xs_get(&s->xs, "/none"));
	assert_int_equal(errno, ENOENT);
	say(s, XS_ERROR, "EWHATEVER", 10, 10);
	assert_int_equal(xs_remove(&s->xs, "/none"), -EIO);
	assert_true(s->xs.fd >= 0);
}

static void an_event_in_the_middle_of_a_request_is_not_lost(void **state)
{
	struct store *s = *state;
	char *v;

	say(s, XS_WATCH_EVENT, "@releaseDomain\0gone", 20, 20);
	say(s, XS_READ, "1", 1, 1);
	v = xs_get(&s->xs, "/a");
	assert_string_equal(v, "1");
	free(v);
	assert_true(xs_take_events(&s->xs));
	assert_false(xs_take_events(&s->xs));
	say(s, XS_WATCH_EVENT, "@releaseDomain\0gone", 20, 20);
	assert_true(xs_take_events(&s->xs));
}

static void introduced_or_not(void **state)
{
	struct store *s = *state;

	say(s, XS_IS_DOMAIN_INTRODUCED, "T", 2, 2);
	assert_true(xs_introduced(&s->xs, 7));
	say(s, XS_IS_DOMAIN_INTRODUCED, "F", 2, 2);
	assert_false(xs_introduced(&s->xs, 7));
}

static void several_at_once(void **state)
{
	struct store *s = *state;
	struct xs_req q[] = {
		{XS_READ, "/a"},
		{XS_WATCH, "@releaseDomain", "gone"},
		{XS_READ, "/b"},
		{XS_WRITE, "/c", "v"},
	};
	char sent[256];
	size_t len;

	say(s, XS_READ, "1", 1, 1);
	say(s, XS_WATCH, "OK", 3, 3);
	say(s, XS_WATCH_EVENT, "@releaseDomain\0gone", 20, 20);
	say(s, XS_ERROR, "ENOENT", 7, 7);
	say(s, XS_WRITE, "OK", 3, 3);
	xs_ask(&s->xs, q, 4);
	assert_string_equal(q[0].reply, "1");
	assert_int_equal(q[0].rc, 0);
	assert_int_equal(q[1].rc, 0);
	assert_null(q[2].reply);
	assert_int_equal(q[2].rc, -ENOENT);
	assert_int_equal(q[3].rc, 0);
	assert_true(xs_take_events(&s->xs));
	for (unsigned i = 0; i < 4; i++)
		free(q[i].reply);
	assert_int_equal(heard(s, sent, &len), XS_READ);
	assert_int_equal(heard(s, sent, &len), XS_WATCH);
	assert_int_equal(len, 20);
	assert_memory_equal(sent, "@releaseDomain\0gone", 20);
	assert_int_equal(heard(s, sent, &len), XS_READ);
	assert_int_equal(heard(s, sent, &len), XS_WRITE);
	assert_int_equal(len, 4);
}

/* The first is answered, then xenstored is gone: the others fail, and nothing waits. */
static void lost_among_several(void **state)
{
	struct store *s = *state;
	struct xs_req q[] = {{XS_READ, "/a"}, {XS_READ, "/b"}, {XS_WRITE, "/c", "v"}};

	say(s, XS_READ, "1", 1, 1);
	shutdown(s->peer, SHUT_WR);
	xs_ask(&s->xs, q, 3);
	assert_string_equal(q[0].reply, "1");
	free(q[0].reply);
	assert_null(q[1].reply);
	assert_true(q[1].rc < 0);
	assert_true(q[2].rc < 0);
	assert_int_equal(s->xs.fd, -1);
}

static void a_message_that_is_too_long_ends_the_connection(void **state)
{
	struct store *s = *state;

	say(s, XS_READ, "x", 1, XENSTORE_PAYLOAD_MAX + 1);
	assert_null(xs_get(&s->xs, "/a"));
	assert_int_equal(s->xs.fd, -1);
	assert_null(xs_get(&s->xs, "/a"));
	assert_false(xs_take_events(&s->xs));
}

static void a_lost_connection_is_noticed(void **state)
{
	struct store *s = *state;

	close(s->peer);
	s->peer = -1;
	assert_false(xs_take_events(&s->xs));
	assert_int_equal(s->xs.fd, -1);
	assert_true(xs_put(&s->xs, "p", "v") < 0);
}

/* It is noticed by the write itself: nothing counts as done. */
static void lost_before_a_question(void **state)
{
	struct store *s = *state;
	struct xs_req q[] = {{XS_READ, "/a"}, {XS_WRITE, "/c", "v"}};

	close(s->peer);
	s->peer = -1;
	xs_ask(&s->xs, q, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(q[i].rc, -EPIPE);
		assert_null(q[i].reply);
	}
	assert_int_equal(s->xs.fd, -1);
}

/* A message that is too long is refused here, and those around it go on. */
static void one_too_long(void **state)
{
	struct store *s = *state;
	static char value[XENSTORE_PAYLOAD_MAX];
	struct xs_req q[] = {{XS_READ, "/a"}, {XS_WRITE, "/c", value}, {XS_READ, "/b"}};

	memset(value, 'v', sizeof(value) - 1);
	say(s, XS_READ, "1", 1, 1);
	say(s, XS_READ, "2", 1, 1);
	xs_ask(&s->xs, q, 3);
	assert_string_equal(q[0].reply, "1");
	assert_int_equal(q[1].rc, -E2BIG);
	assert_string_equal(q[2].reply, "2");
	free(q[0].reply);
	free(q[2].reply);
}

static void no_xenstore(void **state)
{
	struct xs xs;

	setenv("XENSTORED_PATH", "/nonexistent/socket", 1);
	if (access("/dev/xen/xenbus", F_OK) == 0 || access("/proc/xen/xenbus", F_OK) == 0)
		skip();
	assert_int_equal(xs_connect(&xs), -ENOENT);
	assert_int_equal(xs.fd, -1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_value_and_a_list),
		T(a_write_carries_no_final_nul),
		T(an_error_has_its_number),
		T(an_event_in_the_middle_of_a_request_is_not_lost),
		T(introduced_or_not),
		T(several_at_once),
		T(lost_among_several),
		T(a_message_that_is_too_long_ends_the_connection),
		T(a_lost_connection_is_noticed),
		T(lost_before_a_question),
		T(one_too_long),
		cmocka_unit_test(no_xenstore),
	};

	signal(SIGPIPE, SIG_IGN); /* as main() has it */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
