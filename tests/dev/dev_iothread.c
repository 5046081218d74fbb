/* SPDX-License-Identifier: MIT */
/* dev_iothread.c - a disk whose four queues are on four loops: who serves what, and stops of every
 * kind in flight */
#include <dirent.h>
#include <signal.h>

#include "tb.h"

#define QUEUES 4
#define DEPTH  32
#define BUF    (16 * KiB)
#define JOBS   (QUEUES * DEPTH)

#define EACH                                                                             \
	"[{\"iothread\": \"io0\", \"vqs\": [0]}, {\"iothread\": \"io1\", \"vqs\": [1]}," \
	" {\"iothread\": \"io2\", \"vqs\": [2]}, {\"iothread\": \"io3\", \"vqs\": [3]}]"

static void start(struct tb *t, const char *props)
{
	t->config.vcpus = QUEUES;
	tb_disk(t, JOBS * BUF, ",cache=none");
	for (unsigned i = 0; i < QUEUES; i++) {
		tb_arg(t, "-object");
		tb_arg(t, "iothread,id=io%u", i);
	}
	tb_arg(t, "-device");
	tb_arg(t,
	       "{\"driver\": \"virtio-blk-pci\", \"disable-legacy\": \"on\", \"drive\": \"d0\", "
	       "\"num-queues\": %d, %s}",
	       QUEUES, props);
	tb_start(t);
	gblk_open(&t->g, &t->blk, 0, QUEUES, 0, GV_F_RING | GBLK_F_MQ | GBLK_F_FLUSH);
	assert_int_equal(t->blk.queues, QUEUES);
}

static uint64_t begin(struct tb *t)
{
	start(t, "\"iothread-vq-mapping\": " EACH);
	return guest_alloc(&t->g, JOBS * BUF, 4096);
}

/* Fill every queue; job i has its place on the disk and in memory. */
static void send(struct tb *t, uint64_t at, uint32_t type)
{
	for (unsigned i = 0; i < JOBS; i++) {
		struct gseg seg = {at + i * BUF, BUF};

		assert_non_null(gblk_add(&t->blk, i / DEPTH, type, i * (BUF / 512), &seg, 1));
	}
	for (unsigned q = 0; q < QUEUES; q++)
		gvq_kick(&t->blk.q[q]);
}

static unsigned reap(struct tb *t, unsigned q)
{
	struct gblk_req *r;
	unsigned n = 0;

	for (; (r = gblk_done(&t->blk, q, NULL)); n++)
		assert_int_equal(r->mem[16], GBLK_OK);
	return n;
}

static unsigned reap_all(struct tb *t)
{
	unsigned n = 0;

	for (unsigned q = 0; q < QUEUES; q++)
		n += reap(t, q);
	return n;
}

/* --- who serves what --- */

static int thread_id(struct tb *t, unsigned i)
{
	json_t *all = tb_qmp(t, "{\"execute\": \"query-iothreads\"}"),
	       *one = json_array_get(all, i);
	char id[8];
	int tid;

	assert_int_equal(json_array_size(all), QUEUES);
	snprintf(id, sizeof(id), "io%u", i);
	assert_string_equal(json_string_value(json_object_get(one, "id")), id);
	assert_int_equal(json_integer_value(json_object_get(one, "poll-max-ns")), 32768);
	assert_int_equal(json_integer_value(json_object_get(one, "poll-grow")), 0);
	assert_int_equal(json_integer_value(json_object_get(one, "poll-shrink")), 0);
	assert_int_equal(json_integer_value(json_object_get(one, "aio-max-batch")), 0);
	tid = (int)json_integer_value(json_object_get(one, "thread-id"));
	json_decref(all);
	return tid;
}

/* How often the thread has gone to sleep: one that is given nothing does not wake. */
static unsigned long sleeps(struct tb *t, int tid)
{
	char path[64], line[256];
	unsigned long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)t->g.pid, tid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "voluntary_ctxt_switches: %lu", &n);
	fclose(f);
	return n;
}

/* Queue q is served by thread of[q] and no other. */
static void expect_served_by(struct tb *t, const unsigned of[QUEUES])
{
	uint64_t at = guest_alloc(&t->g, 512, 512);
	unsigned long before[QUEUES];
	int tid[QUEUES];

	tb_skip_qemu("its threads wake for other things, too");
	for (unsigned i = 0; i < QUEUES; i++)
		tid[i] = thread_id(t, i);
	for (unsigned q = 0; q < QUEUES; q++) {
		/* Until those that have just done something sleep. */
		for (unsigned i = 0; i < QUEUES; i++) {
			unsigned same = 0;

			before[i] = sleeps(t, tid[i]);
			while (same++ < 50) {
				gv_status(&t->blk.v);
				if (sleeps(t, tid[i]) != before[i]) {
					before[i] = sleeps(t, tid[i]);
					same = 0;
				}
			}
		}
		for (unsigned n = 0; n < 20; n++)
			assert_int_equal(gblk_do(&t->blk, q, GBLK_IN, 0, at, 512), GBLK_OK);
		assert_true(guest_wait(&t->g, sleeps(t, tid[of[q]]) != before[of[q]]));
		for (unsigned i = 0; i < QUEUES; i++)
			if (i != of[q])
				assert_int_equal(sleeps(t, tid[i]), before[i]);
	}
}

static void one_each(void **state)
{
	struct tb *t = *state;

	begin(t);
	expect_served_by(t, (const unsigned[]){0, 1, 2, 3});
	tb_blk_works(t);
	tb_stop(t);
}

static void mapped(void **state)
{
	struct tb *t = *state;

	start(t, "\"iothread-vq-mapping\": [{\"iothread\": \"io3\", \"vqs\": [2, 0]}, "
		 "{\"iothread\": \"io1\", \"vqs\": [3, 1]}]");
	expect_served_by(t, (const unsigned[]){3, 1, 3, 1});
	tb_blk_works(t);
	tb_stop(t);
}

static void round_robin(void **state)
{
	struct tb *t = *state;

	start(t, "\"iothread-vq-mapping\": [{\"iothread\": \"io2\"}, {\"iothread\": \"io0\"}, "
		 "{\"iothread\": \"io1\"}]");
	expect_served_by(t, (const unsigned[]){2, 0, 1, 2});
	tb_blk_works(t);
	tb_stop(t);
}

static void one_for_all(void **state)
{
	struct tb *t = *state;

	start(t, "\"iothread\": \"io1\"");
	expect_served_by(t, (const unsigned[]){1, 1, 1, 1});
	tb_blk_works(t);
	tb_stop(t);
}

/* --- signals --- */

/* Does the thread block one of the signals that its own instructions raise? Those of the kernel,
 * for io_uring, run no code of ours. */
static bool blocks_faults(struct tb *t, const char *tid)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
	unsigned long long blocked = 0;
	char path[300], line[256];
	bool ours = true;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)t->g.pid, tid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "SigBlk: %llx", &blocked);
		if (!strncmp(line, "Name:\tiou-", 10))
			ours = false;
	}
	fclose(f);
	for (unsigned i = 0; ours && i < ARRAY_SIZE(faults); i++)
		if (blocked >> (faults[i] - 1) & 1)
			return true;
	return false;
}

/* A fault on any thread reaches the sanitizer's handler. */
static void faults_are_seen(void **state)
{
	struct tb *t = *state;
	unsigned threads = 0;
	struct dirent *d;
	char path[64];
	DIR *dir;

#ifdef __SANITIZE_THREAD__
	skip(); /* its runtime has a thread of its own, which blocks everything */
#endif
	tb_skip_qemu("what its threads block is its own");
	begin(t);
	tb_blk_works(t);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)t->g.pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		threads++;
		assert_false(blocks_faults(t, d->d_name));
	}
	closedir(dir);
	assert_true(threads >= 2 + QUEUES);
	tb_stop(t);
}

/* --- stops of every kind --- */

/* A device that was set up and is reset before it starts, or while its queues start. */
static void resets_at_every_step(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &t->blk.v;

	begin(t);
	for (unsigned round = 0; round < 100; round++) {
		gv_set_status(v, 0);
		gv_set_status(v, 0);
		gv_negotiate(v, GV_F_RING | GBLK_F_MQ);
		if (round % 3 == 0)
			continue;
		for (unsigned q = 0; q < QUEUES; q++)
			gvq_setup(v, &t->blk.q[q], q, 16);
		if (round % 3 == 1)
			continue;
		gv_start(v);
		for (unsigned q = 0; q < QUEUES; q++)
			gvq_ring(&t->blk.q[q]);
	}
	tb_blk_again(t);
	tb_stop(t);
}

static void device_resets(void **state)
{
	struct tb *t = *state;
	uint64_t at = begin(t), low = t->g.next_low;
	uint8_t *mem = guest_ptr(&t->g, at, JOBS * BUF);

	for (unsigned round = 0; round < 30; round++) {
		send(t, at, GBLK_IN);
		for (unsigned i = 0; i < round % 6; i++)
			gv_status(&t->blk.v);
		gv_reset(&t->blk.v);
		memset(mem, 0x5a, JOBS * BUF);
		t->g.next_low = low;
		tb_blk_again(t);
		for (uint64_t i = 0; i < JOBS * BUF; i += 512)
			assert_int_equal(mem[i], 0x5a);
	}
	tb_stop(t);
}

/* One queue after the other is reset and set up again, while the others go on. */
static void queue_resets(void **state)
{
	struct tb *t = *state;
	uint64_t at = begin(t), low = t->g.next_low;
	uint8_t *mem = guest_ptr(&t->g, at, JOBS * BUF);
	struct gvirtio *v = &t->blk.v;

	for (unsigned round = 0; round < 40; round++) {
		unsigned k = round % QUEUES, done = 0;

		send(t, at, GBLK_IN);
		gv_common_set(v, GV_QSELECT, 2, k);
		gv_common_set(v, GV_QRESET, 2, 1);
		assert_true(guest_wait(&t->g, !gv_common(v, GV_QRESET, 2)));
		memset(mem + k * DEPTH * BUF, 0x5a, DEPTH * BUF);
		assert_true(guest_wait(&t->g, ({
			for (unsigned q = 0; q < QUEUES; q++)
				done += q == k ? 0 : reap(t, q);
			done == JOBS - DEPTH;
		})));
		for (uint64_t i = 0; i < DEPTH * BUF; i += 512)
			assert_int_equal(mem[k * DEPTH * BUF + i], 0x5a);
		for (unsigned i = 0; i < GBLK_SLOTS; i++)
			t->blk.slot[k * GBLK_SLOTS + i].busy = false;
		t->g.next_low = low + k * MiB;
		gvq_setup(v, &t->blk.q[k], k, 0);
		tb_blk_works(t);
	}
	tb_stop(t);
}

/* The ring of one queue breaks the device while all are busy. */
static void breaks(void **state)
{
	struct tb *t = *state;
	uint64_t at = begin(t), low = t->g.next_low;

	for (unsigned round = 0; round < 30; round++) {
		struct gvq *q = &t->blk.q[round % QUEUES];

		send(t, at, GBLK_IN);
		gvq_publish(q, (uint16_t)(q->avail_idx + 20000));
		gvq_ring(q);
		assert_true(gv_wait_broken(&t->blk.v));
		t->g.next_low = low;
		tb_blk_again(t);
	}
	/* Two at once. */
	for (unsigned round = 0; round < 30; round++) {
		for (unsigned i = 0; i < QUEUES; i++) {
			gvq_publish(&t->blk.q[i], (uint16_t)(t->blk.q[i].avail_idx + 20000));
			gvq_ring(&t->blk.q[i]);
		}
		assert_true(gv_wait_broken(&t->blk.v));
		t->g.next_low = low;
		tb_blk_again(t);
	}
	tb_stop(t);
}

static void stop_and_cont(void **state)
{
	struct tb *t = *state;
	uint64_t at = begin(t);
	uint8_t *mem = guest_ptr(&t->g, at, JOBS * BUF);

	for (unsigned round = 0; round < 30; round++) {
		unsigned done;

		send(t, at, GBLK_IN);
		tb_qmp_ok(t, "{\"execute\": \"stop\"}");
		done = reap_all(t);
		memset(mem, 0x5a, JOBS * BUF);
		for (unsigned q = 0; q < QUEUES; q++)
			gvq_ring(&t->blk.q[q]);
		for (unsigned i = 0; i < 20; i++)
			gv_status(&t->blk.v);
		assert_int_equal(reap_all(t), 0);
		for (uint64_t i = 0; i < JOBS * BUF; i += 512)
			assert_int_equal(mem[i], 0x5a);
		/* A reset meanwhile, every other time. */
		if (round & 1)
			gv_reset(&t->blk.v);
		tb_qmp_ok(t, "{\"execute\": \"cont\"}");
		if (round & 1)
			tb_blk_again(t);
		else
			assert_true(guest_wait(&t->g, (done += reap_all(t)) == JOBS));
	}
	tb_stop(t);
}

/* What the guest was told is written is in the file when the program has ended. */
static void quit_with_writes(void **state)
{
	struct tb *t = *state;
	uint64_t at = begin(t);
	uint8_t *mem = guest_ptr(&t->g, at, JOBS * BUF), got[BUF];
	struct gblk_req *r;
	unsigned told = 0;

	tb_pattern(mem, JOBS * BUF, 7);
	json_decref(tb_qmp(t, "{\"execute\": \"query-status\"}"));
	send(t, at, GBLK_OUT);
	tb_qmp_ok(t, "{\"execute\": \"quit\"}");
	assert_int_equal(guest_reap(&t->g), 0);
	for (unsigned q = 0; q < QUEUES; q++)
		while ((r = gblk_done(&t->blk, q, NULL))) {
			uint64_t where = get_le64(r->mem + 8) * 512;

			assert_int_equal(r->mem[16], GBLK_OK);
			assert_int_equal(pread(t->disk[0].fd, got, BUF, (off_t)where), BUF);
			assert_memory_equal(got, mem + where, BUF);
			told++;
		}
	print_message("%u of %u were done\n", told, JOBS);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(one_each),	tb_test(mapped),	   tb_test(round_robin),
		tb_test(one_for_all),	tb_test(faults_are_seen),  tb_test(resets_at_every_step),
		tb_test(device_resets), tb_test(queue_resets),	   tb_test(breaks),
		tb_test(stop_and_cont), tb_test(quit_with_writes),
	};

	return tb_run("iothread", tests);
}
