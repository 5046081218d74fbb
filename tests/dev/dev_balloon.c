/* SPDX-License-Identifier: MIT */
/* dev_balloon.c - virtio-balloon: statistics, a balloon that nobody fills, and its monitor commands
 */
#include "tb.h"

#define F_STATS	 (1ULL << 1)
#define F_OOM	 (1ULL << 2)
#define F_POISON (1ULL << 4)

static struct gvirtio v;
static struct gvq q[3]; /* inflate, deflate, statistics */
static uint64_t page;

static void start(struct tb *t)
{
	gv_negotiate(&v, GV_F_RING | F_STATS | F_OOM | F_POISON);
	for (unsigned i = 0; i < 3; i++)
		gvq_setup(&v, &q[i], i, 0);
	gv_start(&v);
	page = guest_alloc(&t->g, 4096, 4096);
}

static void balloon(struct tb *t, const char *props)
{
	tb_device(t, "virtio-balloon-pci,id=b%s", props);
	tb_start(t);
	gv_open(&t->g, &v, GV_BALLOON, 0);
	start(t);
}

/* Leave statistics on the queue: tag i has the value base + i. */
static void leave(struct tb *t, unsigned tags, uint64_t base)
{
	uint8_t *p = guest_ptr(&t->g, page, 10 * tags + 1);
	struct gseg seg = {page, 10 * tags};

	for (unsigned i = 0; i < tags; i++) {
		put_le16(p + 10 * i, (uint16_t)i);
		put_le64(p + 10 * i + 2, base + i);
	}
	assert_true(gvq_add(&q[2], &seg, 1, 0, NULL) >= 0);
	gvq_kick(&q[2]);
	guest_sync(&t->g);
}

static json_t *get(struct tb *t, const char *property)
{
	char line[256];

	snprintf(line, sizeof(line),
		 "{\"execute\": \"qom-get\", \"arguments\": {\"path\": "
		 "\"/machine/peripheral/b\", \"property\": \"%s\"}}",
		 property);
	return tb_qmp(t, line);
}

static bool set_interval(struct tb *t, const char *value)
{
	char line[256];
	json_t *r;

	snprintf(line, sizeof(line),
		 "{\"execute\": \"qom-set\", \"arguments\": {\"path\": \"/machine/peripheral/b\", "
		 "\"property\": \"guest-stats-polling-interval\", \"value\": %s}}",
		 value);
	r = tb_qmp(t, line);
	json_decref(r);
	return r;
}

/* One number of the statistics. */
static int64_t stat_of(struct tb *t, const char *name)
{
	json_t *r = get(t, "guest-stats"), *value;
	int64_t out;

	assert_non_null(r);
	value = json_object_get(json_object_get(r, "stats"), name);
	if (!value)
		value = json_object_get(r, name);
	assert_true(json_is_integer(value));
	out = json_integer_value(value);
	json_decref(r);
	return out;
}

/* The buffer is read after the bell has been answered. */
static void expect_stat(struct tb *t, const char *name, int64_t value)
{
	assert_true(guest_wait(&t->g, stat_of(t, name) == value));
}

static int64_t actual(struct tb *t)
{
	json_t *r = tb_qmp(t, "{\"execute\": \"query-balloon\"}");
	int64_t out = json_integer_value(json_object_get(r, "actual"));

	json_decref(r);
	return out;
}

static void works(struct tb *t)
{
	struct gseg seg = {page, 1024};

	gv_reset(&v);
	start(t);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(gvq_add(&q[i], &seg, 1, 0, NULL) >= 0);
		gvq_kick(&q[i]);
		assert_int_equal(gvq_wait(&q[i], NULL), 0);
	}
	leave(t, 10, 5000);
	expect_stat(t, "stat-total-memory", 5005);
}

static void present(void **state)
{
	struct tb *t = *state;

	balloon(t, "");
	assert_int_equal(gpci_cfg(&v.pci, 8, 4), 0x00ff0001);
	assert_int_equal(gv_common(&v, GV_NUM_QUEUES, 2), 3);
	assert_int_equal(v.offered & 0xffffff, F_STATS | F_POISON);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(q[i].size, 128);
	for (unsigned off = 0; off < 16; off += 4)
		assert_int_equal(gv_config(&v, off, 4), 0);
	tb_stop(t);
}

/* The buffer that the driver leaves is read at once, and used when new numbers are wanted. */
static void statistics(void **state)
{
	struct tb *t = *state;
	int64_t first;

	tb_skip_qemu("it writes 2^64 - 1 for what it does not know, and looks only when polling");
	balloon(t, "");
	assert_int_equal(stat_of(t, "last-update"), 0);
	assert_int_equal(stat_of(t, "stat-free-memory"), -1);
	leave(t, 10, 1000);
	assert_int_equal(gvq_used_idx(&q[2]), 0);
	expect_stat(t, "stat-swap-in", 1000);
	expect_stat(t, "stat-available-memory", 1006);
	expect_stat(t, "stat-htlb-pgfail", 1009);
	assert_int_equal(stat_of(t, "stat-oom-kills"), -1);
	first = stat_of(t, "last-update");
	assert_true(first > 1700000000);
	/* Polling begins at once. */
	assert_true(set_interval(t, "3600"));
	assert_int_equal(gvq_wait(&q[2], NULL), 0);
	leave(t, 16, 2000);
	expect_stat(t, "stat-swap-in", 2000);
	expect_stat(t, "stat-direct-reclaims", 2015);
	/* More bells bring nothing new. */
	put_le64(guest_ptr(&t->g, page + 2, 8), 9);
	for (unsigned i = 0; i < 10; i++)
		gvq_ring(&q[2]);
	guest_sync(&t->g);
	expect_stat(t, "stat-swap-in", 2000);
	works(t);
	tb_stop(t);
}

static void polling(void **state)
{
	struct tb *t = *state;
	json_t *r;

	balloon(t, ",guest-stats-polling-interval=1");
	for (unsigned i = 0; i < 2; i++) {
		leave(t, 10, 100 * i);
		assert_int_equal(gvq_wait(&q[2], NULL), 0);
	}
	r = get(t, "guest-stats-polling-interval");
	assert_int_equal(json_integer_value(r), 1);
	json_decref(r);
	assert_true(set_interval(t, "0"));
	assert_false(set_interval(t, "-1"));
	assert_false(set_interval(t, "4294967296"));
	assert_false(set_interval(t, "\"soon\""));
	r = get(t, "guest-stats-polling-interval");
	assert_int_equal(json_integer_value(r), 0);
	json_decref(r);
	works(t);
	tb_stop(t);
}

/* The driver's balloon is its own affair: pages are taken, nothing is asked for, and no number of
 * the driver makes memory out of nothing. */
static void pages(void **state)
{
	struct tb *t = *state;
	uint8_t *p;
	struct gseg seg;

	tb_skip_qemu("it takes the pages");
	balloon(t, ",deflate-on-oom=on");
	assert_true(v.features & F_OOM);
	assert_int_equal(actual(t), 64 * MiB);
	p = guest_ptr(&t->g, page, 4096);
	seg = (struct gseg){page, 4096};
	for (unsigned i = 0; i < 1024; i++)
		put_le32(p + 4 * i, i % 3 ? 0xffffffffU : 16);
	for (unsigned i = 0; i < 200; i++) {
		assert_true(gvq_add(&q[i & 1], &seg, 1, 0, NULL) >= 0);
		gvq_kick(&q[i & 1]);
		assert_int_equal(gvq_wait(&q[i & 1], NULL), 0);
	}
	assert_int_equal(gv_config(&v, 0, 4), 0);
	guest_store(&t->g, v.config + 4, 4, 256);
	assert_int_equal(actual(t), 63 * MiB);
	guest_store(&t->g, v.config + 4, 4, UINT32_MAX);
	assert_int_equal(actual(t), 0);
	guest_store(&t->g, v.config, 4, UINT32_MAX); /* num_pages is ours */
	assert_int_equal(gv_config(&v, 0, 4), 0);
	works(t);
	assert_int_equal(actual(t), 64 * MiB);
	tb_stop(t);
}

/* Buffers of statistics that are none. */
static void odd_statistics(void **state)
{
	struct tb *t = *state;
	const struct gseg odd[] = {{0, 0}, {0, 9}, {0, 11}, {0, 4096}, {0, 1 << 20}};
	uint64_t at;

	tb_skip_qemu("it looks at the buffer only when it is polling");
	balloon(t, "");
	at = guest_alloc(&t->g, 1 << 20, 4096);
	memset(guest_ptr(&t->g, at, 1 << 20), 0xff, 1 << 20);
	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++)
		for (unsigned in = 0; in < 2; in++) {
			struct gseg seg[2] = {{at, odd[i].len}, {at, odd[i].len}};

			assert_true(gvq_add(&q[2], seg, 1, in, NULL) >= 0);
			gvq_kick(&q[2]);
			guest_sync(&t->g);
			assert_int_equal(stat_of(t, "stat-swap-in"), -1);
			gv_reset(&v);
			start(t);
		}
	/* A ring full of them, and polling in a hurry: one at a time. */
	for (unsigned i = 0; i < 100; i++)
		leave(t, 1, i);
	for (unsigned i = 0; i < 10; i++) {
		assert_true(set_interval(t, "0"));
		assert_true(set_interval(t, "3600"));
		assert_true(guest_wait(&t->g, gvq_used_idx(&q[2]) == i + 1));
	}
	works(t);
	tb_stop(t);
}

/* A reset, or a stop, while the device has a buffer before it. */
static void reset_and_stop(void **state)
{
	struct tb *t = *state;

	balloon(t, ",guest-stats-polling-interval=3600");
	leave(t, 10, 1);
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	tb_qmp_ok(t, "{\"execute\": \"cont\"}");
	gv_common_set(&v, GV_QSELECT, 2, 2);
	if (v.features & GV_F_RING_RESET) {
		gv_common_set(&v, GV_QRESET, 2, 1);
		assert_true(guest_wait(&t->g, !gv_common(&v, GV_QRESET, 2)));
		gvq_setup(&v, &q[2], 2, 0);
	}
	tb_skip_qemu("it looks at the buffer only when it is polling");
	leave(t, 10, 70);
	expect_stat(t, "stat-swap-in", 70);
	gv_reset(&v);
	assert_int_equal(stat_of(t, "stat-swap-in"), -1);
	works(t);
	tb_stop(t);
}

/* What the monitor says to what it does not do. */
static void refused(void **state)
{
	static const char *const lines[] = {
		"{\"execute\": \"balloon\", \"arguments\": {\"value\": 33554432}}",
		"{\"execute\": \"qom-get\", \"arguments\": {\"path\": \"/machine/peripheral/x\", "
		"\"property\": \"guest-stats\"}}",
		"{\"execute\": \"qom-get\", \"arguments\": {\"path\": \"/machine/peripheral/b\", "
		"\"property\": \"type\"}}",
		"{\"execute\": \"qom-get\", \"arguments\": {\"path\": \"/machine/peripheral/bb\", "
		"\"property\": \"guest-stats\"}}",
		"{\"execute\": \"qom-set\", \"arguments\": {\"path\": \"/machine/peripheral/b\", "
		"\"property\": \"guest-stats\", \"value\": 1}}",
		"{\"execute\": \"qom-get\", \"arguments\": {\"path\": \"/machine/peripheral/r\", "
		"\"property\": \"guest-stats\"}}",
	};
	struct tb *t = *state;
	json_t *r;

	tb_skip_qemu("it does some of that");
	/* A path is looked for among devices that are not on PCI, too. */
	tb_device(t, "virtio-serial-pci");
	tb_device(t, "virtserialport");
	tb_device(t, "virtio-rng-pci,id=r");
	balloon(t, "");
	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++)
		assert_null(tb_qmp(t, lines[i]));
	/* Both paths to it. */
	r = tb_qmp(t, "{\"execute\": \"qom-get\", \"arguments\": {\"path\": "
		      "\"/machine/peripheral/b/virtio-backend\", \"property\": "
		      "\"guest-stats-polling-interval\"}}");
	assert_true(json_is_integer(r));
	json_decref(r);
	r = tb_qmp(t, "{\"execute\": \"human-monitor-command\", \"arguments\": "
		      "{\"command-line\": \"info balloon\"}}");
	assert_string_equal(json_string_value(r), "balloon: actual=64\r\n");
	json_decref(r);
	works(t);
	tb_stop(t);
}

static void no_device(void **state)
{
	struct tb *t = *state;

	tb_start(t);
	assert_null(tb_qmp(t, "{\"execute\": \"query-balloon\"}"));
	assert_null(tb_qmp(t, "{\"execute\": \"balloon\", \"arguments\": {\"value\": 1048576}}"));
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(present), tb_test(statistics),	   tb_test(polling),
		tb_test(pages),	  tb_test(odd_statistics), tb_test(reset_and_stop),
		tb_test(refused), tb_test(no_device),
	};

	return tb_run("balloon", tests);
}
