/* SPDX-License-Identifier: MIT */
/* dev_trace.c - trace events: switched by QMP while the guest runs, named lines with the device's
 * name, and none on the data path */
#include "tb.h"

static unsigned count_lines(struct tb *t, const char *text)
{
	char *log = guest_log(&t->g);
	unsigned n = 0;

	for (char *p = log; (p = strstr(p, text)); p += strlen(text))
		n++;
	free(log);
	return n;
}

static void set_events(struct tb *t, const char *name, bool on)
{
	char text[160];

	snprintf(text, sizeof(text),
		 "{\"execute\": \"trace-event-set-state\", \"arguments\": {\"name\": \"%s\", "
		 "\"enable\": %s}}",
		 name, on ? "true" : "false");
	tb_qmp_ok(t, text);
}

static void begin(struct tb *t)
{
	tb_disk(t, 1 * MiB, "");
	tb_device(t, "virtio-blk-pci,drive=d0,num-queues=1,id=disk");
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, 1, 0, GV_F_RING);
	tb_blk_again(t);
}

static void set_up_is_told(void **state)
{
	struct tb *t = *state;
	unsigned before;

	tb_skip_qemu("its events have other names");
	begin(t);
	assert_int_equal(count_lines(t, "trace: "), 0);
	set_events(t, "device_*", true);
	set_events(t, "queue_enable", true);
	set_events(t, "bar_move", true);
	gblk_restart(&t->blk, GV_F_RING);
	assert_int_equal(count_lines(t, "trace: device_reset: disk: "), 1);
	assert_int_equal(count_lines(t, "trace: device_features: disk: accepted 0x"), 1);
	assert_int_equal(count_lines(t, "trace: queue_enable: disk: queue 0: "), 1);
	assert_true(count_lines(t, "trace: device_status: disk: ") >= 4);
	set_events(t, "*", false);
	before = count_lines(t, "trace: ");
	gblk_restart(&t->blk, GV_F_RING);
	tb_blk_again(t);
	assert_int_equal(count_lines(t, "trace: "), before);
	tb_stop(t);
}

/* With every event on, requests add no line. */
static void data_path_is_silent(void **state)
{
	struct tb *t = *state;
	unsigned before;
	uint64_t at;

	tb_skip_qemu("its events have other names");
	begin(t);
	at = guest_alloc(&t->g, 4096, 4096);
	set_events(t, "*", true);
	before = count_lines(t, "trace: ");
	assert_true(before > 0); /* the answer of that command */
	for (unsigned i = 0; i < 100; i++) {
		struct gseg seg = {at, 4096};
		unsigned done = 0;

		assert_non_null(gblk_add(&t->blk, 0, i & 1 ? GBLK_IN : GBLK_OUT, 8, &seg, 1));
		gvq_kick(&t->blk.q[0]);
		assert_true(guest_wait(&t->g, (done += !!gblk_done(&t->blk, 0, NULL)) == 1));
	}
	assert_int_equal(count_lines(t, "trace: "), before);
	tb_stop(t);
}

static void break_is_told(void **state)
{
	struct tb *t = *state;

	tb_skip_qemu("its events have other names");
	begin(t);
	set_events(t, "device_break", true);
	/* More chains than the ring has entries. */
	gvq_publish(&t->blk.q[0], 0x7000);
	gvq_ring(&t->blk.q[0]);
	assert_true(gv_wait_broken(&t->blk.v));
	assert_int_equal(count_lines(t, "trace: device_break: disk: "), 1);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(set_up_is_told),
		tb_test(data_path_is_silent),
		tb_test(break_is_told),
	};

	return tb_run("trace", tests);
}
