/* SPDX-License-Identifier: MIT */
/* unit_ioreq.c - requests of vCPUs, sound and absurd, on a fake device and plain memory */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <unistd.h>

#include "xen/domain.h"

#include <xen/hvm/ioreq.h>

#define RAM_SIZE 0x10000
#define WINDOW	 0xfd000000ULL
#define ONES	 UINT64_MAX

/* The device: remembers the accesses, reads as the number of the access. */
struct log_entry {
	uint64_t addr, data;
	unsigned size;
	bool write;
};

struct scene {
	struct xen x;
	int fd;
	struct hv_client client;
	struct log_entry log[8192];
	unsigned n;
};

static void note(struct scene *s, uint64_t addr, uint64_t data, unsigned size, bool write)
{
	assert_true(s->n < sizeof(s->log) / sizeof(s->log[0]));
	s->log[s->n++] = (struct log_entry){addr, data, size, write};
}

static uint64_t device_read(void *ctx, uint64_t addr, unsigned size)
{
	struct scene *s = ctx;

	note(s, addr, 0, size, false);
	return 0x100 + s->n;
}

static void device_write(void *ctx, uint64_t addr, uint64_t data, unsigned size)
{
	note(ctx, addr, data, size, true);
}

static int scene_open(void **state)
{
	const struct hv_range ram = {0, RAM_SIZE};
	struct scene *s = test_calloc(1, sizeof(*s));
	struct err e;

	s->fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(s->fd, RAM_SIZE), 0);
	s->x.hv.mem = gmem_new_file(&ram, 1, s->fd, &e);
	assert_non_null(s->x.hv.mem);
	s->x.claimed[0] = (struct hv_range){WINDOW, 0x10000};
	s->x.claims = 1;
	s->client = (struct hv_client){device_read, device_write, NULL, s};
	s->x.client = &s->client;
	*state = s;
	return 0;
}

static int scene_close(void **state)
{
	struct scene *s = *state;

	gmem_free(s->x.hv.mem);
	close(s->fd);
	test_free(s);
	return 0;
}

static struct ioreq request(unsigned dir, uint64_t addr, uint64_t data, unsigned size)
{
	struct ioreq r = {.type = IOREQ_TYPE_COPY,
			  .dir = (uint8_t)dir,
			  .addr = addr,
			  .data = data,
			  .size = size,
			  .count = 1};

	return r;
}

static void assert_access(const struct scene *s, unsigned i, uint64_t addr, uint64_t data,
			  unsigned size, bool write)
{
	assert_true(i < s->n);
	assert_int_equal(s->log[i].addr, addr);
	assert_int_equal(s->log[i].size, size);
	assert_int_equal(s->log[i].write, write);
	if (write)
		assert_int_equal(s->log[i].data, data);
}

static void plain_accesses(void **state)
{
	struct scene *s = *state;
	struct ioreq r = request(IOREQ_READ, WINDOW + 0xffff, 0, 1);

	assert_int_equal(ioreq_handle(&s->x, &r), 0x101);
	assert_access(s, 0, WINDOW + 0xffff, 0, 1, false);
	/* Only as many bytes as the access has. */
	r = request(IOREQ_WRITE, WINDOW + 1, 0x1122334455667788, 2);
	ioreq_handle(&s->x, &r);
	assert_access(s, 1, WINDOW + 1, 0x7788, 2, true);
	r = request(IOREQ_WRITE, WINDOW + 8, 0x1122334455667788, 8);
	ioreq_handle(&s->x, &r);
	assert_access(s, 2, WINDOW + 8, 0x1122334455667788, 8, true);
}

static void outside_of_the_windows(void **state)
{
	static const struct {
		uint64_t addr;
		unsigned size;
	} outside[] = {{WINDOW - 1, 1},	     {WINDOW - 1, 2},	   {WINDOW + 0x10000, 1},
		       {WINDOW + 0xffff, 2}, {WINDOW + 0xfff9, 8}, {0, 4},
		       {UINT64_MAX, 8},	     {UINT64_MAX - 3, 8}};
	struct scene *s = *state;

	for (unsigned i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		struct ioreq r = request(IOREQ_READ, outside[i].addr, 0, outside[i].size);

		assert_true(ioreq_handle(&s->x, &r) == ONES);
		r = request(IOREQ_WRITE, outside[i].addr, 0, outside[i].size);
		ioreq_handle(&s->x, &r);
	}
	assert_int_equal(s->n, 0);
}

static void absurd_requests_are_answered(void **state)
{
	static const unsigned sizes[] = {0, 3, 5, 16, 4096, UINT32_MAX};
	static const unsigned types[] = {IOREQ_TYPE_PIO, IOREQ_TYPE_PCI_CONFIG,
					 IOREQ_TYPE_TIMEOFFSET, 3, 255};
	struct scene *s = *state;
	struct ioreq r;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		r = request(IOREQ_READ, WINDOW, 0, sizes[i]);
		assert_true(ioreq_handle(&s->x, &r) == ONES);
	}
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		r = request(IOREQ_READ, WINDOW, 0, 4);
		r.type = (uint8_t)types[i];
		assert_true(ioreq_handle(&s->x, &r) == ONES);
	}
	r = request(IOREQ_READ, WINDOW, 0, 4);
	r.count = 0;
	assert_true(ioreq_handle(&s->x, &r) == ONES);
	r.count = 1025; /* more than a page */
	assert_true(ioreq_handle(&s->x, &r) == ONES);
	r.count = UINT32_MAX;
	assert_true(ioreq_handle(&s->x, &r) == ONES);
	assert_int_equal(s->n, 0);
}

static void the_same_datum_over_and_over(void **state)
{
	struct scene *s = *state;
	struct ioreq r = request(IOREQ_WRITE, WINDOW + 0x100, 0xabcd, 2);

	r.count = 4;
	ioreq_handle(&s->x, &r);
	assert_int_equal(s->n, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_access(s, i, WINDOW + 0x100 + 2 * i, 0xabcd, 2, true);
	s->n = 0;
	r.df = 1;
	ioreq_handle(&s->x, &r);
	for (unsigned i = 0; i < 4; i++)
		assert_access(s, i, WINDOW + 0x100 - 2 * i, 0xabcd, 2, true);
}

static void data_in_guest_memory(void **state)
{
	static const uint32_t words[] = {0x11111111, 0x22222222, 0x33333333};
	struct scene *s = *state;
	struct ioreq r = request(IOREQ_WRITE, WINDOW, 0x2000, 4);
	uint32_t back[3];

	assert_int_equal(gmem_write(s->x.hv.mem, 0x2000, words, sizeof(words)), 0);
	r.data_is_ptr = 1;
	r.count = 3;
	ioreq_handle(&s->x, &r);
	assert_int_equal(s->n, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_access(s, i, WINDOW + 4 * i, words[i], 4, true);

	r = request(IOREQ_READ, WINDOW + 0x20, 0x3008, 4);
	r.data_is_ptr = 1;
	r.df = 1;
	r.count = 3;
	ioreq_handle(&s->x, &r);
	assert_int_equal(gmem_read(s->x.hv.mem, 0x3000, back, sizeof(back)), 0);
	/* Downwards: the first access, number 4, went to the highest address. */
	assert_int_equal(back[2], 0x104);
	assert_int_equal(back[1], 0x105);
	assert_int_equal(back[0], 0x106);
}

static void pointers_out_of_memory(void **state)
{
	static const uint64_t bad[] = {RAM_SIZE, RAM_SIZE - 1, WINDOW, UINT64_MAX, 1ULL << 63};
	struct scene *s = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (unsigned dir = 0; dir < 2; dir++)
			for (unsigned df = 0; df < 2; df++) {
				struct ioreq r = request(dir, WINDOW, bad[i], 4);

				r.data_is_ptr = 1;
				r.df = df & 1;
				r.count = 1024;
				ioreq_handle(&s->x, &r);
			}
	/* Nothing was written to the device from memory that is not there. */
	for (unsigned i = 0; i < s->n; i++)
		assert_false(s->log[i].write);
}

static void invalidation(void **state)
{
	struct scene *s = *state;
	uint32_t before = gmem_generation(s->x.hv.mem);
	struct ioreq r = {
		.type = IOREQ_TYPE_INVALIDATE, .dir = IOREQ_WRITE, .size = 4, .data = ONES};

	ioreq_handle(&s->x, &r);
	assert_int_not_equal(gmem_generation(s->x.hv.mem), before);
	assert_int_equal(s->n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(plain_accesses, scene_open, scene_close),
		cmocka_unit_test_setup_teardown(outside_of_the_windows, scene_open, scene_close),
		cmocka_unit_test_setup_teardown(absurd_requests_are_answered, scene_open,
						scene_close),
		cmocka_unit_test_setup_teardown(the_same_datum_over_and_over, scene_open,
						scene_close),
		cmocka_unit_test_setup_teardown(data_in_guest_memory, scene_open, scene_close),
		cmocka_unit_test_setup_teardown(pointers_out_of_memory, scene_open, scene_close),
		cmocka_unit_test_setup_teardown(invalidation, scene_open, scene_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
