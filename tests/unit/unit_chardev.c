/* SPDX-License-Identifier: MIT */
/* unit_chardev.c - every kind of chardev: data both ways, back pressure, coming and going
 *
 * The loop is turned by hand until what is expected has happened; the clock is only the limit at
 * which a test fails (and what a pty's poll and a reconnect wait for).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/loop.h"
#include "base/util.h"
#include "chardev/chardev.h"

#define LIMIT_NS  10000000000ULL
#define FRONT_MAX (64 * 1024)
#define PRESSED	  (1536 * 1024) /* more than any kernel buffer here takes */

struct bench {
	struct loop *loop;
	struct chardevs *cs;
	struct chardev *cd;
	struct chardev_user user;
	unsigned opened, closed, writable;
	char in[FRONT_MAX];
	size_t in_len;
	bool pause_when_received;
	char dir[40];
};

static void on_opened(struct chardev_user *u)
{
	container_of(u, struct bench, user)->opened++;
}

static void on_closed(struct chardev_user *u)
{
	container_of(u, struct bench, user)->closed++;
}

static void on_received(struct chardev_user *u, const char *buf, size_t len)
{
	struct bench *b = container_of(u, struct bench, user);

	assert_in_range(len, 1, CHARDEV_READ_MAX);
	assert_true(b->in_len + len <= sizeof(b->in));
	memcpy(b->in + b->in_len, buf, len);
	b->in_len += len;
	if (b->pause_when_received)
		chardev_pause(b->cd, true);
}

static void on_writable(struct chardev_user *u)
{
	container_of(u, struct bench, user)->writable++;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	b->loop = loop_new("test");
	b->cs = chardevs_new();
	b->user = (struct chardev_user){on_opened, on_closed, on_received, on_writable};
	strcpy(b->dir, "/tmp/xenpvh-chardev-XXXXXX");
	*state = b;
	return b->loop && b->cs && mkdtemp(b->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	if (b->cd)
		chardev_detach(b->cd);
	chardevs_free(b->cs, true);
	loop_free(b->loop);
	if (rmdir(b->dir) < 0)
		return -1; /* something was left behind */
	free(b);
	return 0;
}

static int add(struct bench *b, struct err *e, const char *fmt, ...)
{
	char text[512];
	struct kvs k;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rc = kvs_parse(&k, "-chardev", text, "backend", e);
	if (!rc)
		rc = chardev_add(b->cs, &k, e);
	kvs_free(&k);
	return rc;
}

/* Become the front end of chardev c. */
static void attach(struct bench *b)
{
	struct err e = {0};

	b->cd = chardev_find(b->cs, "c");
	assert_non_null(b->cd);
	if (chardev_attach(b->cd, &b->user, b->loop, &e) < 0)
		fail_msg("%s", e.text);
}

#define ADD(b, ...)                               \
	do {                                      \
		struct err e_ = {0};              \
		if (add(b, &e_, __VA_ARGS__) < 0) \
			fail_msg("%s", e_.text);  \
	} while (0)

/* Turn the loop until `condition` holds. */
#define UNTIL(b, condition)                                                           \
	do {                                                                          \
		uint64_t end_ = now_ns() + LIMIT_NS;                                  \
		while (!(condition)) {                                                \
			if (now_ns() > end_)                                          \
				fail_msg("line %d: never: %s", __LINE__, #condition); \
			loop_turn((b)->loop, 100);                                    \
		}                                                                     \
	} while (0)

/* Turn it as often as it takes to see that nothing more happens. */
static void settle(struct bench *b)
{
	for (unsigned i = 0; i < 10; i++)
		loop_turn(b->loop, 0);
}

static const char *name(struct bench *b, char buf[CHARDEV_NAME_MAX])
{
	return chardev_filename(chardev_find(b->cs, "c"), buf, CHARDEV_NAME_MAX);
}

static void peer_writes(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* Wait for some bytes of a blocking descriptor. */
static size_t peer_reads_some(int fd, char *buf, size_t size)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	assert_int_equal(poll(&p, 1, LIMIT_NS / 1000000), 1);
	n = read(fd, buf, size);
	assert_true(n > 0);
	return (size_t)n;
}

static void peer_reads(int fd, const char *text)
{
	size_t len = strlen(text);
	char buf[256];

	for (size_t n = 0; n < len;)
		n += peer_reads_some(fd, buf + n, len - n);
	assert_memory_equal(buf, text, len);
}

static void front_has(struct bench *b, const char *text)
{
	UNTIL(b, b->in_len >= strlen(text));
	assert_int_equal(b->in_len, strlen(text));
	assert_memory_equal(b->in, text, b->in_len);
	b->in_len = 0;
}

static void front_writes(struct bench *b, const char *text)
{
	assert_int_equal(chardev_write(b->cd, text, strlen(text)), strlen(text));
}

static void both_ways(struct bench *b, int in, int out)
{
	peer_writes(in, "to the guest");
	front_has(b, "to the guest");
	front_writes(b, "from the guest");
	peer_reads(out, "from the guest");
}

static int unix_peer(const char *path, bool abstract)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path + abstract, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, len), 0);
	return fd;
}

static int unix_listener(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(a.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

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

static char pattern(size_t i)
{
	return (char)(i ^ i >> 8 ^ i >> 16);
}

/* Read all that is there, check it against the pattern from byte `at` on; returns its length. */
static size_t drain(int reader, size_t at)
{
	static char buf[65536];
	size_t got = 0;

	for (ssize_t n; (n = read(reader, buf, sizeof(buf))) > 0; got += (size_t)n)
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != pattern(at + got + (size_t)i))
				fail_msg("byte %zu is wrong", at + got + (size_t)i);
	return got;
}

/* A reader that does not read: writes get short, writable() comes with the room, no byte is lost.
 */
static void press(struct bench *b, int reader)
{
	static char out[PRESSED];
	size_t put = 0, got = 0;
	unsigned shorts = 0;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = pattern(i);
	fcntl(reader, F_SETFL, fcntl(reader, F_GETFL) | O_NONBLOCK);
	while (put < sizeof(out)) {
		unsigned before = b->writable;

		put += chardev_write(b->cd, out + put, sizeof(out) - put);
		if (put == sizeof(out))
			break;
		settle(b);
		if (b->writable != before)
			continue; /* the kernel of a pty moves bytes on in its own time */
		shorts++;
		got += drain(reader, got);
		UNTIL(b, b->writable > before);
	}
	UNTIL(b, (got += drain(reader, got)) == sizeof(out));
	assert_true(shorts > 0);
}

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

static void press_pipe(void **state)
{
	struct bench *b = *state;
	char path[64], in[80], out[80];
	int r, w;

	snprintf(path, sizeof(path), "%s/p", b->dir);
	snprintf(in, sizeof(in), "%s.in", path);
	snprintf(out, sizeof(out), "%s.out", path);
	assert_int_equal(mkfifo(in, 0600), 0);
	assert_int_equal(mkfifo(out, 0600), 0);
	ADD(b, "pipe,id=c,path=%s", path);
	attach(b);
	assert_int_equal(b->opened, 1);
	/* What nobody reads yet waits. */
	front_writes(b, "early");
	r = open(out, O_RDONLY);
	w = open(in, O_WRONLY);
	peer_reads(r, "early");
	both_ways(b, w, r);
	press(b, r);
	/* Writers come and go. */
	close(w);
	settle(b);
	assert_int_equal(b->closed, 0);
	w = open(in, O_WRONLY);
	peer_writes(w, "next");
	front_has(b, "next");
	close(w);
	close(r);
	unlink(in);
	unlink(out);
}

static void one_fifo(void **state)
{
	struct bench *b = *state;
	char path[64];

	snprintf(path, sizeof(path), "%s/p", b->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	ADD(b, "pipe,id=c,path=%s", path);
	attach(b);
	front_writes(b, "echo");
	front_has(b, "echo");
	unlink(path);
}

/* --- pty --- */

static void pty(void **state)
{
	struct bench *b = *state;
	char buf[CHARDEV_NAME_MAX], link[64], target[64] = "";
	int fd;

	snprintf(link, sizeof(link), "%s/tty", b->dir);
	ADD(b, "pty,id=c,path=%s", link);
	assert_int_equal(strncmp(name(b, buf), "pty:/dev/pts/", 13), 0);
	assert_true(readlink(link, target, sizeof(target) - 1) > 0);
	assert_string_equal(target, buf + 4);
	attach(b);
	settle(b);
	assert_int_equal(b->opened, 0);
	front_writes(b, "nobody is there");
	fd = open(link, O_RDWR | O_NOCTTY);
	assert_true(fd >= 0);
	UNTIL(b, b->opened == 1); /* the poll */
	both_ways(b, fd, fd);
	close(fd);
	UNTIL(b, b->closed == 1);
	front_writes(b, "nobody is there");
	fd = open(link, O_RDWR | O_NOCTTY);
	/* Output looks at once. */
	front_writes(b, "\x01raw\n\xff");
	assert_int_equal(b->opened, 2);
	peer_reads(fd, "\x01raw\n\xff");
	press(b, fd);
	peer_writes(fd, "bye");
	close(fd);
	front_has(b, "bye");
	UNTIL(b, b->closed == 2);
	chardev_detach(b->cd);
	settle(b);
	assert_int_equal(b->closed, 2);
}

/* A client goes while the front end neither reads nor can write: it is not kept waiting, and what
 * was typed is for the next one. */
static void pty_full(void **state)
{
	struct bench *b = *state;
	static char big[PRESSED];
	char buf[CHARDEV_NAME_MAX];
	int fd;

	ADD(b, "pty,id=c");
	fd = open(name(b, buf) + 4, O_RDWR | O_NOCTTY);
	attach(b);
	assert_int_equal(b->opened, 1);
	chardev_pause(b->cd, true);
	peer_writes(fd, "typed");
	assert_true(chardev_write(b->cd, big, sizeof(big)) < sizeof(big));
	settle(b);
	assert_int_equal(b->closed, 0);
	close(fd);
	UNTIL(b, b->closed == 1);
	assert_true(b->writable > 0);
	front_writes(b, "nobody is there");
	chardev_pause(b->cd, false);
	settle(b);
	assert_int_equal(b->in_len, 0);
	fd = open(name(b, buf) + 4, O_RDWR | O_NOCTTY);
	UNTIL(b, b->opened == 2);
	front_has(b, "typed");
	chardev_drop_client(b->cd);
	assert_int_equal(b->closed, 2);
	UNTIL(b, b->opened == 3);
	/* Behind what the first had not read. */
	front_writes(b, "#");
	do {
		peer_reads_some(fd, buf, 1);
	} while (*buf != '#');
	both_ways(b, fd, fd);
	close(fd);
	UNTIL(b, b->closed == 3);
}

/* --- files --- */

static void file_is(const char *path, const char *text)
{
	char buf[256] = "";
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_true(read(fd, buf, sizeof(buf) - 1) >= 0);
	assert_string_equal(buf, text);
	close(fd);
}

static void file_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	peer_writes(fd, text);
	close(fd);
}

static void file(void **state)
{
	struct bench *b = *state;
	char path[64], input[64];

	snprintf(path, sizeof(path), "%s/f", b->dir);
	snprintf(input, sizeof(input), "%s/i", b->dir);
	file_put(path, "old");
	file_put(input, "typed before");
	ADD(b, "file,id=c,path=%s,append=on,input-path=%s", path, input);
	ADD(b, "file,id=d,path=%s.d", path);
	attach(b);
	assert_int_equal(b->opened, 1);
	front_has(b, "typed before");
	UNTIL(b, b->closed == 1);
	/* The output goes on after the end of the input. */
	front_writes(b, " and new");
	file_is(path, "old and new");
	chardev_detach(b->cd);
	b->cd = chardev_find(b->cs, "d");
	assert_int_equal(chardev_attach(b->cd, &b->user, b->loop, NULL), 0);
	front_writes(b, "only output");
	settle(b);
	assert_int_equal(b->closed, 1);
	unlink(path);
	unlink(input);
	strcat(path, ".d");
	file_is(path, "only output");
	unlink(path);
}

static void file_paused(void **state)
{
	struct bench *b = *state;
	char path[64];

	snprintf(path, sizeof(path), "%s/i", b->dir);
	file_put(path, "patience");
	ADD(b, "file,id=c,path=/dev/null,input-path=%s", path);
	attach(b);
	chardev_pause(b->cd, true);
	settle(b);
	assert_int_equal(b->in_len + b->closed, 0);
	chardev_pause(b->cd, false);
	front_has(b, "patience");
	unlink(path);
}

static void full_disk(void **state)
{
	struct bench *b = *state;

	ADD(b, "file,id=c,path=/dev/full,logfile=/dev/full");
	attach(b);
	for (unsigned i = 0; i < 3; i++)
		front_writes(b, "lost, and said once");
}

static void logfile(void **state)
{
	struct bench *b = *state;
	char path[64], sock[64];
	int fd;

	snprintf(path, sizeof(path), "%s/l", b->dir);
	snprintf(sock, sizeof(sock), "%s/s", b->dir);
	file_put(path, "old ");
	ADD(b, "socket,id=c,path=%s,server=on,wait=off,logfile=%s,logappend=on", sock, path);
	attach(b);
	front_writes(b, "nobody ");
	fd = unix_peer(sock, false);
	UNTIL(b, b->opened == 1);
	peer_writes(fd, "input is not logged");
	front_has(b, "input is not logged");
	front_writes(b, "somebody");
	file_is(path, "old nobody somebody");
	close(fd);
	ADD(b, "null,id=d,logfile=%s", path);
	file_is(path, "");
	unlink(path);
}

/* --- ringbuf --- */

static void ringbuf(void **state)
{
	enum { SIZE = 64 };
	struct bench *b = *state;
	char model[4096], out[256], got[256];
	size_t put = 0, taken = 0;
	unsigned seed = 1;

	ADD(b, "ringbuf,id=c,size=%d", SIZE);
	ADD(b, "null,id=n");
	assert_int_equal(chardev_ringbuf_count(chardev_find(b->cs, "n")), -EINVAL);
	attach(b);
	assert_int_equal(b->opened, 1);
	/* Against a list that keeps everything. */
	while (put + sizeof(out) < sizeof(model)) {
		size_t n = rand_r(&seed) % (2 * SIZE), want, have;

		for (size_t i = 0; i < n; i++)
			out[i] = model[put + i] = (char)rand_r(&seed);
		assert_int_equal(chardev_write(b->cd, out, n), n);
		put += n;
		if (put - taken > SIZE)
			taken = put - SIZE;
		have = put - taken;
		assert_int_equal(chardev_ringbuf_count(b->cd), have);
		want = rand_r(&seed) % (SIZE + 10);
		n = (size_t)chardev_ringbuf_read(b->cd, (uint8_t *)got, want);
		assert_int_equal(n, MIN(want, have));
		assert_memory_equal(got, model + taken, n);
		taken += n;
	}
}

/* --- udp --- */

static int udp_peer(struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*a);

	*a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(bind(fd, (struct sockaddr *)a, sizeof(*a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)a, &len), 0);
	return fd;
}

static void udp(void **state)
{
	struct bench *b = *state;
	static char big[2 * CHARDEV_READ_MAX + 100];
	struct sockaddr_in a, from;
	socklen_t len = sizeof(from);
	int fd = udp_peer(&a);
	char buf[64];

	ADD(b, "udp,id=c,host=127.0.0.1,port=%d", ntohs(a.sin_port));
	attach(b);
	assert_int_equal(b->opened, 1);
	front_writes(b, "ping");
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 4);
	assert_int_equal(connect(fd, (struct sockaddr *)&from, len), 0);
	peer_writes(fd, "pong");
	front_has(b, "pong");
	/* One datagram, more than the front end takes at once. */
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = pattern(i);
	b->pause_when_received = true;
	assert_int_equal(send(fd, big, sizeof(big), 0), sizeof(big));
	UNTIL(b, b->in_len == CHARDEV_READ_MAX);
	settle(b);
	assert_int_equal(b->in_len, CHARDEV_READ_MAX);
	b->pause_when_received = false;
	chardev_pause(b->cd, false);
	UNTIL(b, b->in_len == sizeof(big));
	assert_memory_equal(b->in, big, sizeof(big));
	b->in_len = 0;
	/* Nobody is there for a while. */
	close(fd);
	for (unsigned i = 0; i < 3; i++) {
		front_writes(b, "anybody?");
		settle(b);
	}
	assert_int_equal(b->closed, 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	front_writes(b, "here?");
	peer_reads(fd, "here?");
	close(fd);
}

/* --- stdio --- */

static void stdio(void **state)
{
	struct bench *b = *state;
	int in[2], out[2], was[2], flags[2];

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	fflush(stdout);
	was[0] = dup(0);
	was[1] = dup(1);
	dup2(in[0], 0);
	dup2(out[1], 1);
	ADD(b, "stdio,id=c");
	attach(b);
	assert_int_equal(b->opened, 1);
	both_ways(b, in[1], out[0]);
	press(b, out[0]);
	close(in[1]);
	UNTIL(b, b->closed == 1);
	front_writes(b, "still");
	peer_reads(out[0], "still");
	/* Nobody else's flags were changed. */
	flags[0] = fcntl(0, F_GETFL);
	flags[1] = fcntl(1, F_GETFL);
	dup2(was[0], 0);
	dup2(was[1], 1);
	assert_int_equal((flags[0] | flags[1]) & O_NONBLOCK, 0);
	close(was[0]);
	close(was[1]);
	close(in[0]);
	close(out[0]);
	close(out[1]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_front_end),
		TEST(unix_server),
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
		TEST(press_pipe),
		TEST(one_fifo),
		TEST(pty),
		TEST(pty_full),
		TEST(file),
		TEST(file_paused),
		TEST(full_disk),
		TEST(logfile),
		TEST(ringbuf),
		TEST(udp),
		TEST(stdio),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
