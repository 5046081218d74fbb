/* SPDX-License-Identifier: MIT */
/* unit_net_frames.c - the ring in which frames wait, and checksums that are finished here */
#include <errno.h>

#include "net/fifo.h"
#include "net/user/offload.h"
#include "user_bench.h"

/* The sum of RFC 1071, and a checksum that is left to us. */
static void sums(void **state)
{
	static const uint8_t rfc[] = {0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7};
	uint8_t buf[100], hdr[NET_HDR_LEN] = {1}, before[100];
	uint16_t sum = net_sum(rfc, sizeof(rfc));
	uint32_t seed = 7, pseudo;

	assert_int_equal(get16((uint8_t *)&sum), 0xddf2);
	for (unsigned len = 0; len <= sizeof(buf) - 1; len++) {
		for (unsigned i = 0; i < sizeof(buf); i++)
			buf[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
		sum = net_sum(buf + (len & 1), len);
		assert_int_equal(get16((uint8_t *)&sum),
				 ~checksum(buf + (len & 1), len, 0) & 0xffff);
	}
	hdr[6] = 10;
	hdr[8] = 4;
	pseudo = get16(buf + 14);
	net_finish_checksum(hdr, buf, 33);
	assert_int_equal(checksum(buf + 10, 23, pseudo), 0);
	/* One that comes out as zero is written as its other form. */
	memset(buf, 0, sizeof(buf));
	buf[14] = buf[15] = 0xff;
	net_finish_checksum(hdr, buf, 33);
	assert_int_equal(get16(buf + 14), 0xffff);
	/* A field that is not, or not wholly, in the frame. */
	memcpy(before, buf, sizeof(buf));
	net_finish_checksum(hdr, buf, 15);
	net_finish_checksum(hdr, buf, 0);
	put_le16(hdr + 6, 65535);
	put_le16(hdr + 8, 65535);
	net_finish_checksum(hdr, buf, sizeof(buf));
	hdr[0] = 2;
	hdr[6] = hdr[7] = hdr[8] = hdr[9] = 0;
	net_finish_checksum(hdr, buf, sizeof(buf));
	assert_memory_equal(buf, before, sizeof(buf));
}

static void ring_of_frames(void **state)
{
	struct fifo_ring f;
	uint8_t out[300], in[300];
	unsigned put = 0, got = 0;

	assert_int_equal(fifo_ring_init(&f, 1000), 0);
	assert_true(fifo_ring_empty(&f));
	/* Frames of all lengths, the ring as full as it goes, round and round. */
	while (got < 2000) {
		struct iovec iov[] = {{in, 3}, {in + 3, sizeof(in) - 3}};
		size_t want = put * 7 % 251 + 1;
		bool fits = fifo_ring_room(&f) >= want;

		memset(out, (int)(put & 0xff), sizeof(out));
		if (fifo_ring_put(&f, (struct iovec[]){{out, want / 2}, {out, want - want / 2}},
				  2)) {
			put++;
			continue;
		}
		assert_false(fits); /* what it promised */
		for (unsigned i = 0; i < 1 + got % 3 && !fifo_ring_empty(&f); i++) {
			ssize_t len = fifo_ring_get(&f, iov, 2);

			assert_int_equal(len, got * 7 % 251 + 1);
			for (ssize_t j = 0; j < len; j++)
				assert_int_equal(in[j], got & 0xff);
			got++;
		}
	}
	while (got < put) {
		struct iovec iov = {in, sizeof(in)};

		assert_int_equal(fifo_ring_get(&f, &iov, 1), got * 7 % 251 + 1);
		got++;
	}
	assert_int_equal(f.used, 0);
	assert_int_equal(f.head, 0);
	assert_int_equal(fifo_ring_get(&f, &(struct iovec){in, sizeof(in)}, 1), -EAGAIN);
	assert_false(fifo_ring_put(&f, &(struct iovec){out, 1000}, 1));
	fifo_ring_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_of_frames),
		cmocka_unit_test(sums),
	};

	return cmocka_run_group_tests_name("net_frames", tests, NULL, NULL);
}
