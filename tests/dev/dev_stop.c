/* SPDX-License-Identifier: MIT */
/* dev_stop.c - stops that take their time, errors that they meet, and an end that does not wait
 *
 * Several monitors stop and continue one machine while a request is in flight for as long as the
 * test wants (disk_faults.c); errors of write-back that a stop meets reach the guest; the end comes
 * although a thread sleeps.
 */
#include <fcntl.h>
#include <linux/sockios.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tb.h"

#define MONITORS 3

struct monitor {
	int fd;
	FILE *in;
};

static void faults_begin(struct tb *t)
{
#ifndef DISK_FAULTS
	print_message("a sanitizer wants to be loaded first\n");
	skip();
#else
	tb_skip_qemu("it is not linked in the way that the faults need");
	setenv("DISK_FAULTS", t->dir, 1);
	setenv("LD_PRELOAD", DISK_FAULTS, 1);
#endif
}

static void start(struct tb *t, const char *drive)
{
	t->config.ram = 64 * MiB;
	tb_disk(t, 8 * MiB, drive);
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=1,id=disk");
	tb_start(t);
	unsetenv("LD_PRELOAD");
	gblk_open(&t->g, &t->blk, 0, 1, 0, GV_F_RING | GBLK_F_FLUSH);
}

/* --- errors of write-back --- */

static void stop_meets_error(struct tb *t)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/fail-flush", t->dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	/* QEMU's stop is no error either. */
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	assert_int_equal(access(path, F_OK), -1); /* the stop has met it */
	tb_qmp_ok(t, "{\"execute\": \"cont\"}");
}

static uint8_t flush(struct tb *t)
{
	return gblk_do(&t->blk, 0, GBLK_FLUSH, 0, 0, 0);
}

/* With the page cache the data may be gone: no flush succeeds any more. */
static void error_of_a_stop_cached(void **state)
{
	struct tb *t = *state;

	faults_begin(t);
	start(t, ",aio=threads");
	assert_int_equal(flush(t), GBLK_OK);
	stop_meets_error(t);
	assert_int_equal(flush(t), GBLK_IOERR);
	assert_int_equal(flush(t), GBLK_IOERR);
	/* What was acknowledged is not on the disk: the program says so. */
	assert_int_equal(kill(t->g.pid, SIGTERM), 0);
	assert_int_equal(WEXITSTATUS(guest_reap(&t->g)), 1);
}

/* Without it a later one may, once the guest knows. */
static void error_of_a_stop_direct(void **state)
{
	struct tb *t = *state;

	faults_begin(t);
	start(t, ",aio=threads,cache=none");
	assert_int_equal(flush(t), GBLK_OK);
	stop_meets_error(t);
	assert_int_equal(flush(t), GBLK_IOERR);
	assert_int_equal(flush(t), GBLK_OK);
	tb_stop(t);
}

/* --- monitors --- */

static void monitors_add(struct tb *t)
{
	for (unsigned i = 0; i < MONITORS; i++) {
		tb_arg(t, "-qmp");
		tb_arg(t, "unix:%s/qmp%u,server=on,wait=off", t->dir, i);
	}
}

static void monitor_send(struct monitor *m, const char *command)
{
	char line[128];
	int len = snprintf(line, sizeof(line), "{\"execute\": \"%s\"}\n", command);

	assert_int_equal(send(m->fd, line, (size_t)len, MSG_NOSIGNAL), len);
}

/* The next message that is no event. */
static json_t *monitor_reply(struct monitor *m)
{
	char line[4096];
	json_t *j;

	for (;;) {
		assert_non_null(fgets(line, sizeof(line), m->in));
		j = json_loads(line, 0, NULL);
		assert_non_null(j);
		if (!json_object_get(j, "event"))
			return j;
		json_decref(j);
	}
}

static void monitor_answers(struct monitor *m, const char *how)
{
	json_t *j = monitor_reply(m);

	assert_non_null(json_object_get(j, how));
	json_decref(j);
}

static void monitor_answered(struct monitor *m)
{
	monitor_answers(m, "return");
}

static void monitor_open(struct tb *t, struct monitor *m, unsigned i)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/qmp%u", t->dir, i);
	m->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(m->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	m->in = fdopen(m->fd, "r");
	json_decref(monitor_reply(m)); /* the greeting */
	monitor_send(m, "qmp_capabilities");
	monitor_answered(m);
}

static bool is_running(struct monitor *m)
{
	bool yes;
	json_t *j;

	monitor_send(m, "query-status");
	j = monitor_reply(m);
	yes = json_is_true(json_object_get(json_object_get(j, "return"), "running"));
	json_decref(j);
	return yes;
}

/* When this returns, the control thread has had at least one turn since: it has seen what the other
 * monitors were sent before. */
static void settle(struct monitor *m)
{
	is_running(m);
	is_running(m);
}

/* Was anything but events sent to it? What it was is still to be read. */
static bool has_answer(struct monitor *m)
{
	char buf[4096];
	ssize_t n = recv(m->fd, buf, sizeof(buf) - 1, MSG_PEEK | MSG_DONTWAIT);

	buf[n > 0 ? n : 0] = 0;
	return strstr(buf, "\"return\"") || strstr(buf, "\"error\"");
}

struct scene {
	struct tb *t;
	struct monitor m[MONITORS];
	int hold; /* the read ends when this is closed */
};

/* A read is in flight, and stays so until scene_release(). */
static void scene_begin(struct scene *s, struct tb *t)
{
	struct gseg seg;
	char path[64];

	s->t = t;
	faults_begin(t);
	monitors_add(t);
	start(t, ",aio=threads");
	for (unsigned i = 0; i < MONITORS; i++)
		monitor_open(t, &s->m[i], i);
	snprintf(path, sizeof(path), "%s/hold-read", t->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	seg = (struct gseg){guest_alloc(&t->g, 4096, 4096), 4096};
	assert_non_null(gblk_add(&t->blk, 0, GBLK_IN, 0, &seg, 1));
	gvq_kick(&t->blk.q[0]);
	s->hold = open(path, O_WRONLY | O_CLOEXEC); /* waits for the read */
	assert_true(s->hold >= 0);
	unlink(path);
}

static void scene_release(struct scene *s)
{
	close(s->hold);
}

static void scene_end(struct scene *s)
{
	for (unsigned i = 0; i < MONITORS; i++)
		fclose(s->m[i].in);
}

static void two_stops(void **state)
{
	struct scene s;

	scene_begin(&s, *state);
	monitor_send(&s.m[0], "stop");
	settle(&s.m[2]);
	monitor_send(&s.m[1], "stop");
	settle(&s.m[2]);
	assert_false(has_answer(&s.m[0]));
	assert_false(has_answer(&s.m[1]));
	scene_release(&s);
	monitor_answered(&s.m[0]);
	monitor_answered(&s.m[1]);
	assert_false(is_running(&s.m[2]));
	monitor_send(&s.m[1], "cont");
	monitor_answered(&s.m[1]);
	assert_true(is_running(&s.m[2]));
	scene_end(&s);
	tb_stop(s.t);
}

static void cont_during_a_stop(void **state)
{
	struct gblk_req *r;
	struct scene s;

	scene_begin(&s, *state);
	monitor_send(&s.m[0], "stop");
	settle(&s.m[2]);
	monitor_send(&s.m[1], "cont");
	settle(&s.m[2]);
	scene_release(&s);
	monitor_answered(&s.m[0]);
	monitor_answered(&s.m[1]);
	assert_true(is_running(&s.m[2]));
	assert_true(guest_wait(&s.t->g, (r = gblk_done(&s.t->blk, 0, NULL))));
	tb_blk_works(s.t);
	scene_end(&s);
	tb_stop(s.t);
}

/* The last command decides. */
static void stop_cont_stop(void **state)
{
	struct scene s;

	scene_begin(&s, *state);
	monitor_send(&s.m[0], "stop");
	settle(&s.m[2]);
	monitor_send(&s.m[1], "cont");
	settle(&s.m[2]);
	monitor_send(&s.m[2], "stop");
	scene_release(&s);
	for (unsigned i = 0; i < MONITORS; i++)
		monitor_answered(&s.m[i]);
	assert_false(is_running(&s.m[0]));
	scene_end(&s);
	tb_stop(s.t);
}

/* The end overtakes nobody: who waits is answered first. */
static void quit_during_a_stop(void **state)
{
	struct scene s;

	scene_begin(&s, *state);
	monitor_send(&s.m[0], "stop");
	settle(&s.m[2]);
	monitor_send(&s.m[1], "cont");
	settle(&s.m[2]);
	monitor_send(&s.m[2], "quit");
	monitor_answered(&s.m[2]);
	assert_false(has_answer(&s.m[0]));
	assert_false(has_answer(&s.m[1]));
	scene_release(&s);
	monitor_answered(&s.m[0]);
	monitor_answers(&s.m[1], "error"); /* it cannot continue */
	assert_int_equal(guest_reap(&s.t->g), 0);
	scene_end(&s);
	guest_stop(&s.t->g);
}

/* The same by a signal, and a stop that comes after it. */
static void signal_during_a_stop(void **state)
{
	struct scene s;

	scene_begin(&s, *state);
	monitor_send(&s.m[0], "stop");
	settle(&s.m[2]);
	assert_int_equal(kill(s.t->g.pid, SIGTERM), 0);
	settle(&s.m[2]);
	monitor_send(&s.m[1], "stop");
	settle(&s.m[2]);
	assert_false(has_answer(&s.m[1]));
	scene_release(&s);
	monitor_answered(&s.m[0]);
	monitor_answered(&s.m[1]);
	assert_int_equal(guest_reap(&s.t->g), 0);
	scene_end(&s);
	guest_stop(&s.t->g);
}

/* The disk takes its time to write its cache: monitors and signals are served all the while. */
static void flush_of_a_stop(void **state)
{
	struct tb *t = *state;
	struct scene s = {.t = t};
	char path[64];

	faults_begin(t);
	monitors_add(t);
	start(t, ",aio=threads");
	for (unsigned i = 0; i < MONITORS; i++)
		monitor_open(t, &s.m[i], i);
	snprintf(path, sizeof(path), "%s/hold-flush", t->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	monitor_send(&s.m[0], "stop");
	s.hold = open(path, O_WRONLY | O_CLOEXEC); /* waits for the flush */
	assert_true(s.hold >= 0);
	unlink(path);
	assert_true(is_running(&s.m[1]));
	monitor_send(&s.m[1], "quit");
	monitor_answered(&s.m[1]);
	assert_false(has_answer(&s.m[0]));
	scene_release(&s);
	monitor_answered(&s.m[0]);
	assert_int_equal(guest_reap(&t->g), 0);
	scene_end(&s);
	guest_stop(&t->g);
}

/* --- the end does not wait for a thread that sleeps --- */

static bool is_locked(struct tb *t)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 102};

	assert_int_equal(fcntl(t->disk[0].fd, F_OFD_GETLK, &fl), 0);
	return fl.l_type != F_UNLCK;
}

/* The exit loop sleeps: nobody reads the FIFO that the log is, and a guest makes it write. */
static int begin_blocked(struct tb *t)
{
	char path[64], line[512] = "";
	int fd, n = 0;

	tb_skip_qemu("it is not expected to end then");
	snprintf(path, sizeof(path), "%s/log", t->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	tb_arg(t, "-D");
	tb_arg(t, "%s", path);
	start(t, "");
	tb_qmp_ok(t, "{\"execute\": \"query-status\"}");
	assert_true(is_locked(t));
	while (write(fd, line, sizeof(line)) > 0 || n++ < 1)
		;
	/* The ring makes no sense: the device breaks, with a line in the log. */
	gvq_publish(&t->blk.q[0], 30000);
	guest_store_async(&t->g, t->blk.q[0].doorbell, 2, 0);
	/* What was read is worked on before anything else is. */
	assert_true(guest_wait(&t->g, ioctl(t->g.fd, SIOCOUTQ, &n) == 0 && n == 0));
	return fd;
}

/* However long that takes: the limits are what is tested. */
static int exit_status(struct tb *t)
{
	int status;

	assert_int_equal(waitpid(t->g.pid, &status, 0), t->g.pid);
	t->g.pid = 0;
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void end_without_the_exit_loop(void **state)
{
	struct tb *t = *state;
	int fd = begin_blocked(t);

	assert_int_equal(kill(t->g.pid, SIGTERM), 0);
	assert_int_equal(exit_status(t), 1);
	assert_false(is_locked(t));
	close(fd);
}

/* The same while the control thread waits for that loop already, so that it does not even see the
 * signal. */
static void end_without_the_control_thread(void **state)
{
	struct tb *t = *state;
	int fd = begin_blocked(t);

	assert_true(send(t->qmp, "{\"execute\": \"query-pci\"}\n", 25, 0) == 25);
	assert_int_equal(kill(t->g.pid, SIGHUP), 0);
	assert_int_equal(exit_status(t), 1);
	assert_false(is_locked(t));
	close(fd);
}

/* A request that does not end. */
static void end_without_the_disk(void **state)
{
	struct scene s;
	char *text;

	scene_begin(&s, *state);
	assert_int_equal(kill(s.t->g.pid, SIGTERM), 0);
	assert_int_equal(exit_status(s.t), 1);
	text = guest_log(&s.t->g);
	assert_non_null(strstr(text, "in flight on the guest's devices did not end"));
	free(text);
	assert_false(is_locked(s.t));
	scene_release(&s);
	scene_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(error_of_a_stop_cached),
		tb_test(error_of_a_stop_direct),
		tb_test(two_stops),
		tb_test(cont_during_a_stop),
		tb_test(stop_cont_stop),
		tb_test(quit_during_a_stop),
		tb_test(signal_during_a_stop),
		tb_test(flush_of_a_stop),
		tb_test(end_without_the_exit_loop),
		tb_test(end_without_the_control_thread),
		tb_test(end_without_the_disk),
	};

	signal(SIGPIPE, SIG_IGN);
	return tb_run("stop", tests);
}
