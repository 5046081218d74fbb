/* SPDX-License-Identifier: MIT */
/* unit_chardev.c - sockets as chardevs: data both ways, back pressure, coming and going; what any
 * chardev does about a pause */
#include <errno.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "chardev_bench.h"

/* The port in "...tcp:127.0.0.1:PORT...". */
static int tcp_port(struct bench *b, const char *id)
{
	char buf[CHARDEV_NAME_MAX];
	const char *p = strstr(chardev_filename(chardev_find(b->cs, id), buf, sizeof(buf)),
			       "tcp:127.0.0.1:");

	assert_non_null(p);
	return atoi(p + strlen("tcp:127.0.0.1:"));
}

static int tcp_peer(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* --- one front end --- */

static void one_front_end(void **state)
{
	struct bench *b = *state;
	struct err e = {0};

	ADD(b, "null,id=c");
	assert_false(chardev_frontend_open(chardev_find(b->cs, "c")));
	attach(b);
	assert_int_equal(b->opened, 1);
	assert_true(chardev_frontend_open(b->cd));
	chardev_set_open(b->cd, false);
	assert_false(chardev_frontend_open(b->cd));
	assert_int_equal(chardev_attach(b->cd, &b->user, b->loop, &e), -EBUSY);
	assert_non_null(strstr(e.text, "is in use"));
	front_writes(b, "nowhere");
	chardev_detach(b->cd);
	assert_int_equal(chardev_attach(b->cd, &b->user, b->loop, &e), 0);
	assert_true(chardev_frontend_open(b->cd));
	assert_int_equal(b->opened, 2);
	assert_int_equal(b->closed, 0);
}

/* --- sockets --- */

static void serve_two(struct bench *b, int first, int second)
{
	char buf[CHARDEV_NAME_MAX];

	UNTIL(b, b->opened == 1);
	assert_null(strstr(name(b, buf), "disconnected"));
	both_ways(b, first, first);
	peer_writes(second, "patience");
	settle(b);
	assert_int_equal(b->opened, 1);
	assert_int_equal(b->in_len, 0);
	close(first);
	UNTIL(b, b->opened == 2);
	assert_int_equal(b->closed, 1);
	front_has(b, "patience");
	/* The second is thrown out. */
	chardev_drop_client(b->cd);
	assert_int_equal(b->closed, 2);
	assert_int_equal(read(second, buf, 1), 0);
	close(second);
	assert_non_null(strstr(name(b, buf), "disconnected"));
	front_writes(b, "nobody");
}

static void unix_server(void **state)
{
	struct bench *b = *state;
	char path[64], buf[CHARDEV_NAME_MAX], want[128];
	int first, second;

	snprintf(path, sizeof(path), "%s/s", b->dir);
	ADD(b, "socket,id=c,path=%s,server=on,wait=off", path);
	snprintf(want, sizeof(want), "disconnected:unix:%s,server=on", path);
	assert_string_equal(name(b, buf), want);
	/* Clients may come before the front end. */
	first = unix_peer(path, false);
	attach(b);
	UNTIL(b, b->opened == 1);
	second = unix_peer(path, false);
	serve_two(b, first, second);
}

/* With no descriptor left a client waits, and the loop sleeps. */
static void no_descriptors(void **state)
{
	struct bench *b = *state;
	struct rlimit old, few;
	char path[64];
	uint64_t before;
	int peer, next;

	snprintf(path, sizeof(path), "%s/s", b->dir);
	ADD(b, "socket,id=c,path=%s,server=on,wait=off", path);
	attach(b);
	peer = unix_peer(path, false);
	next = dup(peer);
	close(next);
	getrlimit(RLIMIT_NOFILE, &old);
	few = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	loop_turn(b->loop, 50);
	before = now_ns();
	loop_turn(b->loop, 50);
	assert_true(now_ns() - before > 25000000);
	assert_int_equal(b->opened, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	UNTIL(b, b->opened == 1);
	both_ways(b, peer, peer);
	close(peer);
}

static void abstract_server(void **state)
{
	struct bench *b = *state;
	char path[64], buf[CHARDEV_NAME_MAX];
	int fd;

	snprintf(path, sizeof(path), "xenpvh-test-%d", getpid());
	ADD(b, "socket,id=c,path=%s,abstract=on,server=on,wait=off", path);
	assert_non_null(strstr(name(b, buf), ",abstract=on,tight=on,server=on"));
	attach(b);
	fd = unix_peer(path, true);
	UNTIL(b, b->opened == 1);
	both_ways(b, fd, fd);
	close(fd);
}

static void tcp_server(void **state)
{
	struct bench *b = *state;
	int port, first, second;

	ADD(b, "socket,id=c,host=127.0.0.1,port=0,server=on,wait=off,nodelay=on");
	port = tcp_port(b, "c");
	/* Taken: the next one is. */
	ADD(b, "socket,id=d,host=127.0.0.1,port=%d,to=65535,server=on,wait=off", port);
	assert_true(tcp_port(b, "d") > port);
	attach(b);
	first = tcp_peer(port);
	second = tcp_peer(port);
	serve_two(b, first, second);
}

static void inherited(void **state)
{
	struct bench *b = *state;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	ADD(b, "socket,id=c,fd=%d", fd[0]);
	attach(b);
	assert_int_equal(b->opened, 1);
	both_ways(b, fd[1], fd[1]);
	close(fd[1]);
	UNTIL(b, b->closed == 1);
}

static void client(void **state)
{
	struct bench *b = *state;
	char path[64];
	int listener, fd;

	snprintf(path, sizeof(path), "%s/s", b->dir);
	listener = unix_listener(path);
	ADD(b, "socket,id=c,path=%s", path);
	attach(b);
	assert_int_equal(b->opened, 1);
	fd = accept(listener, NULL, NULL);
	both_ways(b, fd, fd);
	close(fd);
	UNTIL(b, b->closed == 1);
	settle(b);
	assert_int_equal(b->opened, 1); /* no reconnect= */
	close(listener);
	unlink(path);
}

static void reconnect(void **state)
{
	struct bench *b = *state;
	char path[64], buf[CHARDEV_NAME_MAX];
	int listener, fd;

	snprintf(path, sizeof(path), "%s/s", b->dir);
	ADD(b, "socket,id=c,path=%s,reconnect-ms=1", path); /* nobody is there yet */
	attach(b);
	settle(b);
	assert_int_equal(b->opened, 0);
	for (unsigned i = 1; i <= 3; i++) {
		listener = unix_listener(path);
		UNTIL(b, b->opened == i);
		fd = accept(listener, NULL, NULL);
		both_ways(b, fd, fd);
		close(listener);
		unlink(path);
		close(fd);
		UNTIL(b, b->closed == i);
		assert_non_null(strstr(name(b, buf), "disconnected:unix:"));
	}
}

static void reconnect_tcp(void **state)
{
	struct bench *b = *state;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	ADD(b, "socket,id=c,host=127.0.0.1,port=%d,reconnect-ms=1", ntohs(a.sin_port));
	attach(b);
	settle(b);
	assert_int_equal(b->opened, 0); /* bound, but nobody listens */
	assert_int_equal(listen(listener, 1), 0);
	for (unsigned i = 1; i <= 2; i++) {
		int fd;

		UNTIL(b, b->opened == i);
		fd = accept(listener, NULL, NULL);
		both_ways(b, fd, fd);
		close(fd);
		UNTIL(b, b->closed == i);
	}
	close(listener);
}

static void wait_on(void **state)
{
	struct bench *b = *state;
	char path[64];
	pid_t child;
	int status;

	/* Tried until the server is there. */
	snprintf(path, sizeof(path), "%s/s", b->dir);
	child = fork();
	if (child == 0) {
		struct sockaddr_un a = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		char c;

		alarm(LIMIT_NS / 1000000000);
		strcpy(a.sun_path, path);
		while (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
			sched_yield();
		_exit(write(fd, "hello", 5) != 5 || read(fd, &c, 1) != 1 || c != '!');
	}
	ADD(b, "socket,id=c,path=%s,server=on", path);
	attach(b);
	assert_int_equal(b->opened, 1); /* at once: it is there */
	front_has(b, "hello");
	front_writes(b, "!");
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* --- pause --- */

/* What a client wrote before it left comes when the front end goes on, its end after that. */
static void pause_and_hang_up(void **state)
{
	struct bench *b = *state;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/s", b->dir);
	ADD(b, "socket,id=c,path=%s,server=on,wait=off", path);
	attach(b);
	fd = unix_peer(path, false);
	UNTIL(b, b->opened == 1);
	chardev_pause(b->cd, true);
	peer_writes(fd, "last words");
	settle(b);
	assert_int_equal(b->in_len, 0);
	close(fd);
	settle(b);
	assert_int_equal(b->in_len, 0);
	assert_int_equal(b->closed, 0);
	chardev_pause(b->cd, false);
	front_has(b, "last words");
	UNTIL(b, b->closed == 1);
	/* A pause that nobody ended holds for the next client. */
	chardev_pause(b->cd, true);
	fd = unix_peer(path, false);
	peer_writes(fd, "again");
	UNTIL(b, b->opened == 2);
	settle(b);
	assert_int_equal(b->in_len, 0);
	chardev_pause(b->cd, false);
	front_has(b, "again");
	close(fd);
}

/* From within received(): no byte more than that one call brought. */
static void pause_inside(void **state)
{
	struct bench *b = *state;
	static char big[3 * CHARDEV_READ_MAX];
	int fd[2];

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	ADD(b, "socket,id=c,fd=%d", fd[0]);
	attach(b);
	b->pause_when_received = true;
	assert_int_equal(write(fd[1], big, sizeof(big)), sizeof(big));
	for (size_t n = 1; n <= 3; n++) {
		UNTIL(b, b->in_len == n * CHARDEV_READ_MAX);
		settle(b);
		assert_int_equal(b->in_len, n * CHARDEV_READ_MAX);
		chardev_pause(b->cd, false);
	}
	assert_memory_equal(b->in, big, sizeof(big));
	close(fd[1]);
}

/* A writer that waits for room hears of a client that went, though it does not read. */
static void room_after_hang_up(void **state)
{
	struct bench *b = *state;
	static char big[PRESSED];
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	ADD(b, "socket,id=c,fd=%d", fd[0]);
	attach(b);
	chardev_pause(b->cd, true);
	assert_true(chardev_write(b->cd, big, sizeof(big)) < sizeof(big));
	settle(b);
	assert_int_equal(b->writable, 0);
	close(fd[1]);
	UNTIL(b, b->writable == 1);
	front_writes(b, "into the void");
	assert_int_equal(b->closed, 0);
	chardev_pause(b->cd, false);
	UNTIL(b, b->closed == 1);
}

/* Nobody makes room any more: the rest may be thrown away now. */
static void dropped_while_short(void **state)
{
	struct bench *b = *state;
	static char big[PRESSED];
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	ADD(b, "socket,id=c,fd=%d", fd[0]);
	attach(b);
	assert_true(chardev_write(b->cd, big, sizeof(big)) < sizeof(big));
	chardev_drop_client(b->cd);
	assert_int_equal(b->closed, 1);
	assert_int_equal(b->writable, 1);
	front_writes(b, "nobody");
	close(fd[1]);
}

/* --- back pressure --- */

static void press_socket(void **state)
{
	struct bench *b = *state;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	ADD(b, "socket,id=c,fd=%d", fd[0]);
	attach(b);
	press(b, fd[1]);
	close(fd[1]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_front_end),
		TEST(unix_server),
		TEST(no_descriptors),
		TEST(abstract_server),
		TEST(tcp_server),
		TEST(inherited),
		TEST(client),
		TEST(reconnect),
		TEST(reconnect_tcp),
		TEST(wait_on),
		TEST(pause_inside),
		TEST(pause_and_hang_up),
		TEST(room_after_hang_up),
		TEST(dropped_while_short),
		TEST(press_socket),
	};

	return cmocka_run_group_tests_name("chardev", tests, NULL, NULL);
}
