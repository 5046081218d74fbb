/* SPDX-License-Identifier: MIT */
/* unit_net_segment.c - TCP segments larger than a link: what a SYN says, headers, fragments
 *
 * Packets are built here with their checksums, and judged by a checksum of our own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "net/user/offload.h"
#include "net/user/segment.h"

#define ETH 14
#define SYN 2
#define ACK 16

static const unsigned large[NET_IPS] = {32768, 32768}, as_it_is[NET_IPS] = {0};
static const unsigned link_mss[NET_IPS] = {1460, 1440};

struct frame {
	uint8_t b[70000];
	size_t len;
	unsigned tcp;
	bool v6;
};

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t sum_of(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t pseudo(const struct frame *f)
{
	uint32_t sum = 6 + (uint32_t)(f->len - f->tcp);

	return f->v6 ? sum_of(f->b + ETH + 8, 32, sum) : sum_of(f->b + ETH + 12, 8, sum);
}

static bool checksums_good(const struct frame *f)
{
	if (!f->v6 && sum_of(f->b + ETH, f->tcp - ETH, 0) != 0xffff)
		return false;
	return sum_of(f->b + f->tcp, f->len - f->tcp, pseudo(f)) == 0xffff;
}

/* A TCP segment with these options, in words of four bytes, and `data` bytes. */
static void build(struct frame *f, bool v6, unsigned flags, const void *options, unsigned words,
		  size_t data)
{
	uint8_t *ip = f->b + ETH, *tcp;

	memset(f->b, 0x5a, sizeof(f->b));
	f->v6 = v6;
	f->tcp = ETH + (v6 ? 40 : 20);
	f->len = f->tcp + 20 + words * 4 + data;
	tcp = f->b + f->tcp;
	put16(f->b + 12, v6 ? 0x86dd : 0x0800);
	ip[0] = v6 ? 0x60 : 0x45;
	if (v6) {
		put16(ip + 4, f->len - f->tcp);
		ip[6] = 6;
	} else {
		put16(ip + 2, f->len - ETH);
		put16(ip + 6, 0);
		ip[9] = 6;
		put16(ip + 10, 0);
		put16(ip + 10, ~sum_of(ip, 20, 0) & 0xffff);
	}
	tcp[12] = (uint8_t)((5 + words) << 4);
	tcp[13] = (uint8_t)flags;
	put16(tcp + 16, 0);
	if (words)
		memcpy(tcp + 20, options, words * 4);
	for (size_t i = 0; i < data; i++)
		tcp[20 + words * 4 + i] = (uint8_t)(i * 7 + i / 251);
	put16(tcp + 16, ~sum_of(tcp, f->len - f->tcp, pseudo(f)) & 0xffff);
	assert_true(checksums_good(f));
}

static struct frame f;

static void stated(void **state)
{
	/* 1460; and at an odd place, behind a NOP */
	static const uint8_t even[] = {2, 4, 0x05, 0xb4}, odd[] = {1, 2, 4, 0x05, 0xb4, 0, 0, 0};

	for (unsigned v6 = 0; v6 < 2; v6++)
		for (unsigned i = 0; i < 4; i++) {
			unsigned own[NET_IPS] = {0};
			bool at_odd = i & 2;

			build(&f, v6, i ? SYN : SYN | ACK, at_odd ? odd : even, at_odd ? 2 : 1, 0);
			net_note_mss(f.b, f.len, i & 1 ? large : as_it_is, own);
			assert_int_equal(own[v6], link_mss[v6]);
			assert_int_equal(own[!v6], 0);
			assert_int_equal(get16(f.b + f.tcp + 22 + at_odd), i & 1 ? 32768 : 1460);
			assert_true(checksums_good(&f));
		}
}

/* A guest with other ideas of its link; one that says nonsense; one that says nothing. */
static void odd_ones(void **state)
{
	/* 8950, 50; NOP NOP SACK-permitted; options whose length leads out of the header, or
	 * nowhere */
	static const struct {
		uint8_t options[4];
		unsigned own4, own6;
	} rows[] = {
		{{2, 4, 0x22, 0xf6}, 1460, 1440}, {{2, 4, 0, 50}, 536, 1220},
		{{1, 1, 4, 2}, 536, 1220},	  {{8, 40, 2, 4}, 536, 1220},
		{{8, 0, 2, 4}, 536, 1220},	  {{0, 2, 4, 1}, 536, 1220},
		{{1, 1, 1, 2}, 536, 1220},	  {{2, 3, 1, 1}, 536, 1220},
	};
	static struct frame before;

	for (unsigned v6 = 0; v6 < 2; v6++)
		for (unsigned i = 0; i <= ARRAY_SIZE(rows); i++) {
			unsigned own[NET_IPS] = {0}, none = i == ARRAY_SIZE(rows);

			build(&f, v6, SYN, none ? NULL : rows[i].options, !none, 33);
			before = f;
			net_note_mss(f.b, f.len, as_it_is, own);
			assert_int_equal(own[v6], v6	 ? (none ? 1220 : rows[i].own6)
						  : none ? 536
							 : rows[i].own4);
			assert_memory_equal(&f, &before, sizeof(f));
		}
}

/* What is no SYN, or not whole, stays as it is. */
static void left_alone(void **state)
{
	static const uint8_t mss[] = {2, 4, 0x05, 0xb4};
	static struct frame before;
	unsigned own[NET_IPS] = {0};

	for (unsigned v6 = 0; v6 < 2; v6++) {
		build(&f, v6, ACK, mss, 1, 100);
		before = f;
		net_note_mss(f.b, f.len, large, own);
		assert_memory_equal(&f, &before, sizeof(f));
		build(&f, v6, SYN, mss, 1, 0);
		before = f;
		for (size_t len = 0; len < before.len; len++) {
			net_note_mss(f.b, len, large, own);
			assert_memory_equal(f.b, before.b, before.len);
		}
	}
	/* A header that is longer than the packet, a later fragment, another protocol. */
	for (unsigned i = 0; i < 3; i++) {
		build(&f, false, SYN, mss, 1, 0);
		f.b[i == 0 ? f.tcp + 12 : i == 1 ? ETH + 7 : ETH + 9] = i == 0 ? 0xf0 : 1;
		before = f;
		net_note_mss(f.b, f.len, large, own);
		assert_memory_equal(&f, &before, sizeof(f));
	}
	assert_int_equal(own[0] + own[1], 0);
}

/* The header and the begun checksum; finished, it is that of the segment. */
static void gso(void **state)
{
	static const unsigned own[NET_IPS] = {1460, 1440};
	uint8_t hdr[NET_HDR_LEN], head[NET_HEADERS_MAX];
	static struct frame before;
	enum net_ip ip;

	for (unsigned v6 = 0; v6 < 2; v6++) {
		build(&f, v6, ACK, "\1\1\1", 1, 32768);
		before = f;
		memset(hdr, 0xff, sizeof(hdr));
		assert_int_equal(net_gso_head(f.b, f.len, own, hdr, head, &ip), f.tcp + 24);
		assert_int_equal(ip, v6 ? NET_IPV6 : NET_IPV4);
		assert_memory_equal(&f, &before, sizeof(f));
		assert_int_equal(hdr[0], 1);	      /* NEEDS_CSUM */
		assert_int_equal(hdr[1], v6 ? 4 : 1); /* GSO_TCPV6, GSO_TCPV4 */
		assert_int_equal(get_le16(hdr + 2), f.tcp + 24);
		assert_int_equal(get_le16(hdr + 4), own[v6]);
		assert_int_equal(get_le16(hdr + 6), f.tcp);
		assert_int_equal(get_le16(hdr + 8), 16);
		assert_int_equal(get_le16(hdr + 10), 0);
		memcpy(f.b, head, f.tcp + 24);
		assert_int_equal(get16(f.b + f.tcp + 16), pseudo(&f));
		net_finish_checksum(hdr, f.b, f.len);
		assert_true(checksums_good(&f));
		assert_memory_equal(f.b, before.b, f.len);
	}
	f.b[ETH + 6] = 17;
	assert_int_equal(net_gso_head(f.b, f.len, own, hdr, head, &ip), 0);
}

struct pieces {
	uint8_t data[70000];
	size_t len, count;
	bool last;
	unsigned mss, flags;
};

static struct pieces p;

static void put_segment(void *arg, const struct iovec iov[2])
{
	static struct frame part;
	unsigned at = f.tcp;

	assert_ptr_equal(arg, &p);
	part.v6 = f.v6;
	part.tcp = f.tcp;
	part.len = iov[0].iov_len + iov[1].iov_len;
	assert_int_equal(iov[0].iov_len, at + 24);
	assert_in_range(iov[1].iov_len, 1, p.mss);
	memcpy(part.b, iov[0].iov_base, iov[0].iov_len);
	memcpy(part.b + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
	assert_int_equal(get16(part.b + ETH + (f.v6 ? 4 : 2)), part.len - (f.v6 ? at : ETH));
	assert_true(checksums_good(&part));
	/* Its place, over the wrap of the numbers; all else is that of the whole. */
	assert_int_equal((uint32_t)(get16(part.b + at + 4) << 16 | get16(part.b + at + 6)),
			 (uint32_t)(0xfffff000 + p.len));
	assert_memory_equal(part.b + at, f.b + at, 4);
	assert_memory_equal(part.b + at + 8, f.b + at + 8, 5);
	assert_memory_equal(part.b + at + 18, f.b + at + 18, 6);
	assert_false(p.last);
	memcpy(p.data + p.len, iov[1].iov_base, iov[1].iov_len);
	p.len += iov[1].iov_len;
	p.last = p.len == f.len - at - 24;
	assert_int_equal(part.b[at + 13], p.last ? p.flags : ACK);
	p.count++;
}

static void cut(void **state)
{
	static const unsigned sizes[] = {1, 1459, 1460, 1461, 2920, 5001, 32767, 32768, 65000};

	for (unsigned v6 = 0; v6 < 2; v6++)
		for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
			unsigned mss[NET_IPS] = {i & 1 ? 1460 : 537, i & 1 ? 1440 : 1221};

			memset(&p, 0, sizeof(p));
			p.mss = mss[v6];
			p.flags = ACK | 8 | (i & 1); /* PSH, FIN */
			build(&f, v6, p.flags, "\1\1\1", 1, sizes[i]);
			put16(f.b + f.tcp + 4, 0xffff);
			put16(f.b + f.tcp + 6, 0xf000);
			assert_true(net_cut(f.b, f.len, mss, put_segment, &p));
			assert_true(p.last);
			assert_int_equal(p.count, (sizes[i] + p.mss - 1) / p.mss);
			assert_memory_equal(p.data, f.b + f.tcp + 24, sizes[i]);
		}
	f.b[ETH + 6] = 17;
	assert_false(net_cut(f.b, f.len, link_mss, put_segment, &p));
}

static void put_fragment(void *arg, const struct iovec iov[2])
{
	const uint8_t *head = iov[0].iov_base, *ip = head + ETH;

	assert_ptr_equal(arg, &p);
	assert_int_equal(iov[0].iov_len, ETH + 20);
	assert_memory_equal(head, f.b, ETH + 2);
	assert_int_equal(get16(ip + 2), 20 + iov[1].iov_len);
	assert_in_range(get16(ip + 2), 21, 1500);
	assert_int_equal(sum_of(ip, 20, 0), 0xffff);
	assert_int_equal((get16(ip + 6) & 0x1fff) * 8, p.len);
	assert_false(p.last);
	p.last = !(get16(ip + 6) & 0x2000);
	assert_true(p.last || iov[1].iov_len % 8 == 0);
	memcpy(p.data + p.len, iov[1].iov_base, iov[1].iov_len);
	p.len += iov[1].iov_len;
	p.count++;
}

static void fragments(void **state)
{
	for (size_t len = 1400; len < 7900; len += 61) {
		memset(&p, 0, sizeof(p));
		build(&f, false, 0, NULL, 0, len);
		f.b[ETH + 9] = 17;
		assert_true(net_fragment(f.b, f.len, 1500, put_fragment, &p));
		assert_true(p.last);
		assert_int_equal(p.len, len + 20);
		assert_int_equal(p.count, (len + 20 + 1479) / 1480);
		assert_memory_equal(p.data, f.b + ETH + 20, p.len);
	}
	/* Not to be fragmented; not IPv4. */
	f.b[ETH + 6] = 0x40;
	assert_false(net_fragment(f.b, f.len, 1500, put_fragment, &p));
	build(&f, true, 0, NULL, 0, 3000);
	assert_false(net_fragment(f.b, f.len, 1500, put_fragment, &p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stated), cmocka_unit_test(odd_ones), cmocka_unit_test(left_alone),
		cmocka_unit_test(gso),	  cmocka_unit_test(cut),      cmocka_unit_test(fragments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
