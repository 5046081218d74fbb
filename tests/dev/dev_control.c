/* SPDX-License-Identifier: MIT */
/* dev_control.c - stop, cont, quit and signals while the guest has I/O in flight
 *
 * After `stop` has answered nothing touches guest memory, and no request is lost: `cont` goes on
 * where it stood. The end of the program, however it comes, waits for the I/O in flight and not for
 * the guest or for a source that has nothing.
 */
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tb.h"

#define BUF	 (64 * KiB)
#define REQUESTS 100

/* A disk outside the page cache, so that requests take their time, and a monitor. */
static uint64_t begin(struct tb *t)
{
	static uint8_t chunk[256 * KiB];
	uint64_t at;

	t->config.ram = 128 * MiB;
	tb_disk(t, 8 * MiB, ",cache=none");
	memset(chunk, 0x33, sizeof(chunk));
	for (unsigned i = 0; i < 8 * MiB / sizeof(chunk); i++)
		assert_int_equal(
			pwrite(t->disk[0].fd, chunk, sizeof(chunk), (off_t)(i * sizeof(chunk))),
			sizeof(chunk));
	fsync(t->disk[0].fd);
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=1,id=disk");
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, GV_F_RING);
	at = guest_alloc(&t->g, REQUESTS * BUF, 4096);
	return at;
}

static void send_reads(struct tb *t, uint64_t at, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct gseg seg = {at + i * BUF, BUF};

		assert_non_null(gblk_add(&t->blk, 0, GBLK_IN, i * 128 % (8 * MiB / 512), &seg, 1));
	}
	gvq_kick(&t->blk.q[0]);
}

static unsigned reap(struct tb *t)
{
	struct gblk_req *r;
	unsigned n = 0;

	while ((r = gblk_done(&t->blk, 0, NULL))) {
		assert_int_equal(r->mem[16], GBLK_OK);
		n++;
	}
	return n;
}

static bool running(struct tb *t)
{
	json_t *r = tb_qmp(t, "{\"execute\": \"query-status\"}");
	bool yes = json_is_true(json_object_get(r, "running"));

	assert_string_equal(json_string_value(json_object_get(r, "status")),
			    yes ? "running" : "paused");
	json_decref(r);
	return yes;
}

static void stop_and_cont(void **state)
{
	struct tb *t = *state;
	uint64_t at = begin(t);
	uint8_t *mem = guest_ptr(&t->g, at, REQUESTS * BUF);
	unsigned stopped_with = 0;

	for (unsigned round = 0; round < 20; round++) {
		unsigned done = 0;
		uint16_t used;

		memset(mem, 0, REQUESTS * BUF);
		send_reads(t, at, REQUESTS);
		tb_qmp_ok(t, "{\"execute\": \"stop\"}");
		assert_false(running(t));
		done = reap(t);
		used = gvq_used_idx(&t->blk.q[0]);
		stopped_with += done < REQUESTS;
		/* Stopped: bells are not heard, memory is left alone. */
		memset(mem, 0x5a, REQUESTS * BUF);
		for (unsigned i = 0; i < 50; i++)
			gvq_ring(&t->blk.q[0]);
		for (unsigned i = 0; i < 50; i++)
			gv_status(&t->blk.v);
		assert_int_equal(gvq_used_idx(&t->blk.q[0]), used);
		for (uint64_t i = 0; i < REQUESTS * BUF; i += 512)
			assert_int_equal(mem[i], 0x5a);
		tb_qmp_ok(t, "{\"execute\": \"cont\"}");
		assert_true(running(t));
		assert_true(guest_wait(&t->g, (done += reap(t)) == REQUESTS));
	}
	print_message("in %u of 20 rounds requests waited for cont\n", stopped_with);
	/* Twice is the same as once. */
	for (unsigned i = 0; i < 2; i++)
		tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	for (unsigned i = 0; i < 2; i++)
		tb_qmp_ok(t, "{\"execute\": \"cont\"}");
	tb_blk_again(t);
	tb_stop(t);
}

static void events(void **state)
{
	struct tb *t = *state;

	begin(t);
	json_decref(tb_qmp(t, "{\"execute\": \"query-status\"}"));
	/* The event comes before the answer here, after it with QEMU: take either. */
	assert_true(t->qmp >= 0);
	assert_true(send(t->qmp, "{\"execute\": \"stop\"}\n", 20, 0) == 20);
	tb_qmp_event(t, "STOP");
	assert_true(send(t->qmp, "{\"execute\": \"cont\"}\n", 20, 0) == 20);
	tb_qmp_event(t, "RESUME");
	tb_stop(t);
}

/* A driver that resets and sets up anew while the machine is stopped gets its I/O after cont, not
 * before. */
static void reset_while_stopped(void **state)
{
	struct tb *t = *state;
	uint64_t at = begin(t);
	unsigned done = 0;

	tb_skip_qemu("its vCPUs are stopped then; registers written by the test start the device");
	for (unsigned round = 0; round < 5; round++) {
		send_reads(t, at, REQUESTS);
		tb_qmp_ok(t, "{\"execute\": \"stop\"}");
		gblk_restart(&t->blk, GV_F_RING);
		send_reads(t, at, 10);
		/* Much more of the loop's turns than ten reads take. */
		for (unsigned i = 0; i < 5000; i++)
			gv_status(&t->blk.v);
		assert_int_equal(reap(t), 0);
		tb_qmp_ok(t, "{\"execute\": \"cont\"}");
		done = 0;
		assert_true(guest_wait(&t->g, (done += reap(t)) == 10));
		/* And a device that breaks while stopped. */
		tb_qmp_ok(t, "{\"execute\": \"stop\"}");
		gvq_publish(&t->blk.q[0], 30000);
		gvq_ring(&t->blk.q[0]);
		tb_qmp_ok(t, "{\"execute\": \"cont\"}");
		assert_true(gv_wait_broken(&t->blk.v));
		gblk_restart(&t->blk, GV_F_RING);
	}
	tb_blk_works(t);
	tb_stop(t);
}

static void clean_end(struct tb *t)
{
	int status = guest_reap(&t->g);
	char *text = guest_log(&t->g);

	if (status)
		fail_msg("status 0x%x: %s", (unsigned)status, text);
	free(text);
	gblk_close(&t->blk);
	guest_stop(&t->g);
}

static void quit_in_flight(void **state)
{
	struct tb *t = *state;
	uint64_t at = begin(t);

	json_decref(tb_qmp(t, "{\"execute\": \"query-status\"}"));
	send_reads(t, at, REQUESTS);
	tb_qmp_ok(t, "{\"execute\": \"quit\"}");
	clean_end(t);
}

static void quit_while_stopped(void **state)
{
	struct tb *t = *state;
	uint64_t at = begin(t);

	send_reads(t, at, REQUESTS);
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	tb_qmp_ok(t, "{\"execute\": \"quit\"}");
	clean_end(t);
}

static void by_signal(struct tb *t, int sig)
{
	uint64_t at = begin(t);

	send_reads(t, at, REQUESTS);
	guest_sync(&t->g);
	assert_int_equal(kill(t->g.pid, sig), 0);
	clean_end(t);
}

static void sigterm(void **state)
{
	by_signal(*state, SIGTERM);
}

static void sigint(void **state)
{
	by_signal(*state, SIGINT);
}

static void sighup(void **state)
{
	by_signal(*state, SIGHUP);
}

static void peer_leaves(void **state)
{
	struct tb *t = *state;
	uint64_t at;

	tb_skip_qemu("it stays without its peer");
	at = begin(t);
	send_reads(t, at, REQUESTS);
	guest_sync(&t->g);
	shutdown(t->g.fd, SHUT_RDWR);
	clean_end(t);
}

/* An entropy request that has nothing to wait for but the clock must hold up neither a stop nor the
 * end. */
static void begin_waiting_rng(struct tb *t)
{
	uint8_t buf[64];

	tb_device(t, "virtio-rng-pci,max-bytes=8,period=100000000");
	tb_start(t);
	grng_open(&t->g, &t->rng, 0);
	assert_int_equal(grng_read(&t->rng, buf, 8, GUEST_WAIT_MS), 8);
	assert_int_equal(grng_read(&t->rng, buf, 64, 50), -1);
}

static void stop_with_rng_waiting(void **state)
{
	struct tb *t = *state;

	begin_waiting_rng(t);
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	assert_false(running(t));
	tb_qmp_ok(t, "{\"execute\": \"cont\"}");
	gv_reset(&t->rng.v);
	tb_stop(t);
}

static void end_with_rng_waiting(void **state)
{
	struct tb *t = *state;

	begin_waiting_rng(t);
	tb_stop(t);
}

/* The same with a source that never says anything. */
static void end_with_silent_source(void **state)
{
	struct tb *t = *state;
	char path[64];
	uint8_t buf[64];

	snprintf(path, sizeof(path), "%s/fifo", t->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	tb_arg(t, "-object");
	tb_arg(t, "rng-random,id=r0,filename=%s", path);
	tb_device(t, "virtio-rng-pci,rng=r0");
	tb_start(t);
	grng_open(&t->g, &t->rng, 0);
	assert_int_equal(grng_read(&t->rng, buf, 64, 50), -1);
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	tb_qmp_ok(t, "{\"execute\": \"cont\"}");
	tb_stop(t);
}

/* A guest that rings and resets without pause does not keep the monitor waiting. */
static void monitor_under_load(void **state)
{
	struct tb *t = *state;
	uint64_t at = begin(t);

	for (unsigned i = 0; i < 200; i++) {
		uint64_t start;

		for (unsigned k = 0; k < 60; k++)
			guest_store_async(&t->g, t->blk.q[0].doorbell, 2, 0);
		if (i % 10 == 0)
			gblk_restart(&t->blk, GV_F_RING);
		if (i % 10 == 5)
			send_reads(t, at, REQUESTS);
		start = now_ns();
		assert_true(running(t));
		assert_true(now_ns() - start < 2000000000ULL);
	}
	tb_blk_again(t);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(stop_and_cont),
		tb_test(events),
		tb_test(reset_while_stopped),
		tb_test(quit_in_flight),
		tb_test(quit_while_stopped),
		tb_test(sigterm),
		tb_test(sigint),
		tb_test(sighup),
		tb_test(peer_leaves),
		tb_test(stop_with_rng_waiting),
		tb_test(end_with_rng_waiting),
		tb_test(end_with_silent_source),
		tb_test(monitor_under_load),
	};

	return tb_run("control", tests);
}
