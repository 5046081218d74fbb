/* SPDX-License-Identifier: MIT */
/* dev_blk.c - virtio-blk as a driver sees it, and what it must refuse */
#include "tb.h"

static void read_write(void **state)
{
	struct tb *t = *state;

	tb_blk(t, "", 1, GV_F_RING);
	assert_int_equal(t->blk.sectors, 8 * MiB / 512);
	tb_blk_works(t);
	tb_blk_again(t);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(read_write),
	};

	return tb_run("blk", tests);
}
