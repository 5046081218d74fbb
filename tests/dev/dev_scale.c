/* SPDX-License-Identifier: MIT */
/* dev_scale.c - a full bus: 31 devices, all kicked without pause, one card whose guest
 * never takes what it gets, one disk that is broken again and again
 *
 * The bounds are wide on purpose (the machine of the test is shared and may be slow): they tell a
 * device that is starved or a memory that grows from one that is not, and measure nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "tb.h"

#define BLKS	   12
#define NETS	   9
#define RNGS	   10
#define QUEUES	   4
#define ROUNDS	   40
#define LATENCY_MS 3000
#define MEMORY_KIB (16 * 1024)

struct full {
	struct gblk blk[BLKS];
	struct gnet net[NETS];
	struct grng rng[RNGS];
	int wire[NETS];
	uint64_t buf;
	unsigned reads[BLKS], entropy[RNGS], frames[NETS];
};

static void start_full(struct tb *t, struct full *f)
{
	int ours[NETS], sv[2];

	t->config.ram = 512 * MiB;
	for (unsigned i = 0; i < BLKS; i++) {
		tb_disk(t, 8 * MiB, "");
		tb_device(t, "virtio-blk-pci,drive=d%u,num-queues=%d,id=blk%u", i, QUEUES, i);
	}
	for (unsigned i = 0; i < NETS; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, sv), 0);
		fcntl(sv[1], F_SETFD, FD_CLOEXEC);
		ours[i] = t->config.keep_fds[i] = sv[0];
		f->wire[i] = sv[1];
		tb_arg(t, "-netdev");
		tb_arg(t, "dgram,id=n%u,local.type=fd,local.str=%d", i, sv[0]);
		tb_device(t, "virtio-net-pci,netdev=n%u", i);
	}
	for (unsigned i = 0; i < RNGS; i++)
		tb_device(t, "virtio-rng-pci");
	tb_start(t);
	for (unsigned i = 0; i < NETS; i++)
		close(ours[i]);
	for (unsigned i = 0; i < BLKS; i++)
		gblk_open(&t->g, &f->blk[i], i, QUEUES, 64, GV_F_RING | GBLK_F_MQ | GBLK_F_FLUSH);
	for (unsigned i = 0; i < NETS; i++)
		gnet_open(&t->g, &f->net[i], i, 1, 2048, GV_F_RING | GNET_F_MRG_RXBUF);
	for (unsigned i = 0; i < RNGS; i++)
		grng_open(&t->g, &f->rng[i], i);
	f->buf = guest_alloc(&t->g, 1 * MiB, 4096);
}

/* Fill every queue of every device and ring all bells, needed or not. */
static void load(struct tb *t, struct full *f)
{
	static uint8_t frame[1500] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct gseg seg = {f->buf, 4096}, out[2] = {{f->buf, GNET_HDR}, {f->buf, 64}};

	/* The last disk is the probe: nothing but its own request. */
	for (unsigned i = 0; i < BLKS - 1; i++)
		for (unsigned q = 0; q < QUEUES; q++) {
			while (gblk_add(&f->blk[i], q, GBLK_IN, 8 * q, &seg, 1))
				;
			gvq_kick(&f->blk[i].q[q]);
			gvq_ring(&f->blk[i].q[q]);
		}
	for (unsigned i = 0; i < RNGS; i++) {
		while (gvq_add(&f->rng[i].q, &seg, 0, 1, NULL) >= 0)
			;
		gvq_kick(&f->rng[i].q);
		gvq_ring(&f->rng[i].q);
	}
	for (unsigned i = 0; i < NETS; i++) {
		while (gvq_add(&f->net[i].tx[0], out, 2, 0, NULL) >= 0)
			;
		gvq_kick(&f->net[i].tx[0]);
		gvq_ring(&f->net[i].tx[0]);
		gvq_ring(&f->net[i].rx[0]);
		while (send(f->wire[i], frame, sizeof(frame), 0) > 0)
			;
	}
}

static void unload(struct tb *t, struct full *f)
{
	static uint8_t frame[65536];
	struct gnet_hdr h;

	for (unsigned i = 0; i < BLKS - 1; i++)
		for (unsigned q = 0; q < QUEUES; q++)
			for (struct gblk_req *r; (r = gblk_done(&f->blk[i], q, NULL));) {
				assert_int_equal(r->mem[16], GBLK_OK);
				f->reads[i]++;
			}
	for (unsigned i = 0; i < RNGS; i++)
		while (gvq_get(&f->rng[i].q, NULL, NULL))
			f->entropy[i]++;
	for (unsigned i = 0; i < NETS; i++) {
		while (gvq_get(&f->net[i].tx[0], NULL, NULL))
			;
		while (recv(f->wire[i], frame, sizeof(frame), 0) > 0)
			;
		/* The first card's guest never takes a frame. */
		while (i && gnet_recv(&f->net[i], 0, &h, frame, sizeof(frame), 0) >= 0)
			f->frames[i]++;
	}
}

static unsigned anonymous_kb(struct tb *t)
{
	char path[64], line[128];
	unsigned kb = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)t->g.pid);
	file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "Anonymous: %u", &kb);
	fclose(file);
	return kb;
}

static void full_bus(void **state)
{
	static struct full f;
	struct tb *t = *state;
	struct gblk *probe = &f.blk[BLKS - 1];
	uint64_t worst = 0;
	unsigned kb;

	memset(&f, 0, sizeof(f));
	start_full(t, &f);
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t start, took;

		load(t, &f);
		start = now_ns();
		assert_int_equal(gblk_do(probe, round % QUEUES, GBLK_IN, 0, f.buf + 8192, 4096),
				 GBLK_OK);
		took = now_ns() - start;
		worst = MAX(worst, took);
		unload(t, &f);
		/* The first disk is broken by its guest, over and over. */
		gvq_publish(&f.blk[0].q[0], (uint16_t)(f.blk[0].q[0].avail_idx + 1000));
		gvq_ring(&f.blk[0].q[0]);
		assert_true(gv_wait_broken(&f.blk[0].v));
		gblk_restart(&f.blk[0], GV_F_RING | GBLK_F_MQ | GBLK_F_FLUSH);
	}
	kb = anonymous_kb(t);
	print_message("worst answer of the idle disk %llu us, anonymous memory %u KiB\n",
		      (unsigned long long)(worst / 1000), kb);
	assert_true(worst < LATENCY_MS * 1000000ULL);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	if (!t->qemu)
		assert_in_range(kb, 1, MEMORY_KIB);
#endif
	for (unsigned i = 1; i < BLKS - 1; i++)
		assert_in_range(f.reads[i], ROUNDS, UINT32_MAX);
	for (unsigned i = 0; i < RNGS; i++)
		assert_in_range(f.entropy[i], ROUNDS, UINT32_MAX);
	for (unsigned i = 1; i < NETS; i++)
		assert_in_range(f.frames[i], ROUNDS, UINT32_MAX);
	for (unsigned i = 0; i < BLKS; i++)
		gblk_close(&f.blk[i]);
	for (unsigned i = 0; i < NETS; i++)
		close(f.wire[i]);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(full_bus),
	};

	return tb_run("scale", tests);
}
