/* SPDX-License-Identifier: MIT */
/* unit_order.c - chains that end in another order than they began: in-order use, vq_unpop(), and
 * the packed ring's places
 *
 * The device of vq_bench.h holds its chains, newest first, so that each test says what ends when.
 */
#include "vq_bench.h"

#define SMALL 8 /* entries of the packed ring */

static uint16_t place;
static bool wrap;

static void start_packed(uint64_t more)
{
	start_sized(FEATURES | VIRTIO_F_RING_PACKED | more, SMALL);
	place = 0;
	wrap = true;
}

/* One chain of echo(): two places. `id` is where its data lies, too. */
static void add_packed(unsigned id, uint32_t len)
{
	uint64_t at[] = {(uint64_t)(out_of(id) - b.ram), (uint64_t)(in_of(id) - b.ram)};

	memset(out_of(id), (int)id, len);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *d = b.ram + b.desc + 16 * place;

		put_le64(d, at[i]);
		put_le32(d + 8, len);
		put_le16(d + 12, (uint16_t)id);
		put_le16(d + 14, (uint16_t)((i ? 2 : 1) | (wrap ? 0x80 : 0x8000)));
		if (++place == SMALL) {
			place = 0;
			wrap = !wrap;
		}
	}
}

static void bell(void)
{
	reg(0x3000, 2, 0);
	turn();
}

/* Is place `at` used in round `round`, by chain `id`? */
static bool used_by(unsigned at, bool round, unsigned id)
{
	const uint8_t *d = b.ram + b.desc + 16 * at;

	return (get_le16(d + 14) & 0x8080) == (round ? 0x8080 : 0) && get_le16(d + 12) == id;
}

static uint32_t used_id(uint16_t at)
{
	return get_le32(b.ram + b.used + 4 + 8 * (at % SIZE));
}

/* The youngest of the held chains ends. */
static void end_youngest(void)
{
	struct vchain *c = b.held;

	b.held = c->next;
	b.n_held--;
	answer(b.v.vq[0], c);
	turn();
}

/* --- in order --- */

static void waits_for_elders(void **state)
{
	start(FEATURES | VIRTIO_F_IN_ORDER);
	b.hold = true;
	for (unsigned i = 0; i < 4; i++) {
		echo(2 * i, 64 + i, (uint8_t)i);
		post(2 * i);
	}
	turn();
	assert_int_equal(b.n_held, 4);
	for (unsigned i = 0; i < 3; i++) {
		end_youngest();
		assert_int_equal(used_idx(), 0);
	}
	end_youngest();
	assert_int_equal(used_idx(), 4);
	for (uint16_t i = 0; i < 4; i++) {
		assert_int_equal(used_id(i), 2 * i);
		assert_int_equal(used_len(i), 64 + i);
		expect_echo(2 * i, 64 + i, (uint8_t)i);
	}
}

/* A chain that is refused waits, too. */
static void refused_waits(void **state)
{
	start(FEATURES | VIRTIO_F_IN_ORDER);
	b.hold = true;
	echo(0, 64, 0);
	echo(2, 64, 1);
	put_desc(3, RAM_PAGES * PAGE, 64, 2, 0);
	post(0);
	post(2);
	turn();
	assert_int_equal(b.n_held, 1);
	assert_int_equal(used_idx(), 0);
	end_youngest();
	assert_int_equal(used_idx(), 2);
	assert_int_equal(used_id(1), 2);
	assert_int_equal(used_len(1), 0);
}

static void waits_for_elders_packed(void **state)
{
	start_packed(VIRTIO_F_IN_ORDER);
	b.hold = true;
	for (unsigned i = 0; i < 3; i++)
		add_packed(30 + i, 64);
	bell();
	assert_int_equal(b.n_held, 3);
	end_youngest();
	end_youngest();
	for (unsigned i = 0; i < 3; i++)
		assert_false(used_by(2 * i, true, 30 + i));
	end_youngest();
	for (unsigned i = 0; i < 3; i++)
		assert_true(used_by(2 * i, true, 30 + i));
}

/* A reset waits for the elders of what has ended, and writes nothing of either. */
static void reset_while_held(uint64_t features, bool whole)
{
	start(FEATURES | VIRTIO_F_IN_ORDER | features);
	b.hold = true;
	for (unsigned i = 0; i < 4; i++) {
		echo(2 * i, 64, (uint8_t)i);
		post(2 * i);
	}
	turn();
	end_youngest();
	end_youngest();
	if (whole)
		reg(0x14, 1, 0);
	else
		reg(0x3a, 2, 1);
	turn();
	assert_int_equal(whole ? status() : pci_bus_read(b.bus, BAR + 0x3a, 2), whole ? 15 : 1);
	release();
	turn();
	assert_int_equal(whole ? status() : pci_bus_read(b.bus, BAR + 0x3a, 2), 0);
	assert_int_equal(used_idx(), 0);
	b.hold = false;
	start(FEATURES | VIRTIO_F_IN_ORDER | features);
	echo(0, 64, 3);
	post(0);
	turn();
	assert_int_equal(used_idx(), 1);
}

static void reset_in_order(void **state)
{
	reset_while_held(0, true);
	reset_while_held(0, false);
}

/* --- vq_unpop() --- */

/* A chain that was refused between two that go back: each is used once, none is lost. */
static void unpop_over_a_refused_one(void **state)
{
	struct vchain *first, *third;
	struct vqueue *vq;

	start(FEATURES);
	vq = b.v.vq[0];
	b.hold = true;
	for (unsigned i = 0; i < 3; i++)
		echo(2 * i, 64, (uint8_t)i);
	put_desc(3, RAM_PAGES * PAGE, 64, 2, 0);
	for (unsigned i = 0; i < 3; i++)
		post(2 * i);
	first = vq_pop(vq);
	third = vq_pop(vq);
	assert_non_null(third);
	vq_unpop(vq, third);
	vq_unpop(vq, first);
	b.hold = false;
	turn();
	assert_int_equal(used_idx(), 3);
	assert_int_equal(used_id(0), 2);
	assert_int_equal(used_id(1), 0);
	assert_int_equal(used_len(1), 0);
	assert_int_equal(used_id(2), 4);
	assert_int_equal(used_len(2), 64);
	expect_echo(4, 64, 2);
}

/* Round the end of a packed ring and back, from every place. */
static void unpop_packed(void **state)
{
	start_packed(0);
	for (unsigned round = 0; round < 4 * SMALL; round++) {
		struct vqueue *vq = b.v.vq[0];
		unsigned at = place;
		struct vchain *c[3];
		bool now = wrap;

		for (unsigned i = 0; i < 3; i++)
			add_packed(i, 64);
		for (unsigned turns = 0; turns < 3; turns++) {
			for (unsigned i = 0; i < 3; i++) {
				c[i] = vq_pop(vq);
				assert_non_null(c[i]);
				assert_int_equal(c[i]->head, i);
			}
			assert_null(vq_pop(vq));
			for (unsigned i = 3; turns < 2 && i--;)
				vq_unpop(vq, c[i]);
		}
		for (unsigned i = 0; i < 3; i++)
			answer(vq, c[i]);
		turn();
		for (unsigned i = 0; i < 3; i++) {
			assert_true(used_by(at, now, i));
			at += 2;
			if (at >= SMALL) {
				at -= SMALL;
				now = !now;
			}
			expect_echo(i, 64, (uint8_t)i);
		}
	}
	assert_int_equal(status(), 15);
}

/* --- the packed ring's places --- */

/* A ring that is made available twice while the first chains are in flight has more chains than
 * places. */
static void more_than_the_ring(void **state)
{
	start_packed(0);
	b.hold = true;
	for (unsigned i = 0; i < SMALL / 2; i++)
		add_packed(i, 64);
	bell();
	assert_int_equal(b.n_held, SMALL / 2);
	assert_int_equal(status(), 15);
	add_packed(0, 64);
	bell();
	assert_int_equal(status(), 15 | 0x40);
	b.hold = false;
	release();
	start_packed(0);
	add_packed(0, 64);
	bell();
	assert_true(used_by(0, true, 0));
}

/* Used out of order: the entries follow each other in the order in which the chains ended. */
static void out_of_order(void **state)
{
	start_packed(0);
	for (unsigned round = 0; round < 20; round++) {
		unsigned at = place;
		bool now = wrap;

		b.hold = true;
		for (unsigned i = 0; i < 3; i++)
			add_packed(i, 64);
		bell();
		assert_int_equal(b.n_held, 3);
		for (unsigned i = 3; i--;) {
			end_youngest();
			assert_true(used_by(at, now, i));
			at += 2;
			if (at >= SMALL) {
				at -= SMALL;
				now = !now;
			}
		}
	}
}

int main(void)
{
#define ORDER_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		ORDER_TEST(waits_for_elders),	      ORDER_TEST(refused_waits),
		ORDER_TEST(waits_for_elders_packed),  ORDER_TEST(reset_in_order),
		ORDER_TEST(unpop_over_a_refused_one), ORDER_TEST(unpop_packed),
		ORDER_TEST(more_than_the_ring),	      ORDER_TEST(out_of_order),
	};

	return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
