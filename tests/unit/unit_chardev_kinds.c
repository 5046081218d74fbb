/* SPDX-License-Identifier: MIT */
/* unit_chardev_kinds.c - the other kinds of chardev: pipe, pty, file, ringbuf, udp, stdio */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include "chardev_bench.h"

/* --- pipe --- */

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
	uint64_t before;

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
	/* The rest of it waits while an error is there: the loop sleeps all the same. */
	close(fd);
	front_writes(b, "anybody?");
	loop_turn(b->loop, 100);
	before = now_ns();
	loop_turn(b->loop, 100);
	assert_true(now_ns() - before > 50000000);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
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
		TEST(press_pipe), TEST(one_fifo),    TEST(pty),	      TEST(pty_full),
		TEST(file),	  TEST(file_paused), TEST(full_disk), TEST(logfile),
		TEST(ringbuf),	  TEST(udp),	     TEST(stdio),
	};

	return cmocka_run_group_tests_name("chardev_kinds", tests, NULL, NULL);
}
