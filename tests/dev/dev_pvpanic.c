/* SPDX-License-Identifier: MIT */
/* dev_pvpanic.c - what a panicking kernel reports, and one that cries wolf */
#include "tb.h"

static struct gpci p;

static void pvpanic(struct tb *t, const char *props)
{
	tb_device(t, "pvpanic-pci,id=panic%s", props);
	tb_start(t);
	assert_true(gpci_find(&t->g, &p, 0x1b36, 0x0011, 0));
	gpci_setup(&p);
	tb_qmp_ok(t, "{\"execute\": \"query-status\"}"); /* connects */
}

static void say(uint64_t bits)
{
	guest_store(p.g, p.bar[0].addr, 1, bits);
}

static void present(void **state)
{
	struct tb *t = *state;

	tb_skip_qemu("7.2 reports two events, from two bytes");
	pvpanic(t, "");
	assert_int_equal(gpci_cfg(&p, 8, 4), 0x08800001);
	assert_int_equal(p.bar[0].size, 16);
	assert_int_equal(guest_load(&t->g, p.bar[0].addr, 1), 7);
	for (unsigned off = 1; off < 16; off++)
		assert_int_equal(guest_load(&t->g, p.bar[0].addr + off, 1), 0);
	tb_stop(t);
}

static void events(void **state)
{
	struct tb *t = *state;

	tb_skip_qemu("it stops the machine");
	pvpanic(t, "");
	say(1);
	assert_int_equal(tb_qmp_event(t, "GUEST_PANICKED"), 0);
	say(2);
	assert_int_equal(tb_qmp_event(t, "GUEST_CRASHLOADED"), 0);
	say(4);
	assert_int_equal(tb_qmp_event(t, "GUEST_PVSHUTDOWN"), 0);
	/* It is a report. */
	assert_int_equal(guest_load(&t->g, p.bar[0].addr, 1), 7);
	tb_stop(t);
}

/* What may not be reported is not; what is not the register reports nothing. */
static void masked(void **state)
{
	struct tb *t = *state;

	tb_skip_qemu("it stops the machine");
	pvpanic(t, ",events=4");
	assert_int_equal(guest_load(&t->g, p.bar[0].addr, 1), 4);
	say(0xfb);
	for (unsigned off = 1; off < 16; off++)
		guest_store(&t->g, p.bar[0].addr + off, 1, 0xff);
	guest_store(&t->g, p.bar[0].addr + 15, 8, UINT64_MAX);
	say(0xff);
	assert_int_equal(tb_qmp_event(t, "GUEST_PVSHUTDOWN"), 0);
	tb_stop(t);
}

/* Thousands of cries are heard once. */
static void wolf(void **state)
{
	struct tb *t = *state;
	uint64_t begin = now_ns();
	unsigned heard;

	tb_skip_qemu("it stops the machine");
	pvpanic(t, "");
	for (unsigned i = 0; i < 5000; i++)
		guest_store_async(&t->g, p.bar[0].addr, 1 + 3 * (i & 1), 3);
	say(4);
	heard = tb_qmp_event(t, "GUEST_PVSHUTDOWN");
	/* Two kinds, at the begin and then once a second. */
	assert_in_range(heard, 2, 2 + 2 * ((now_ns() - begin) / 1000000000));
	tb_qmp_ok(t, "{\"execute\": \"query-status\"}");
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(present),
		tb_test(events),
		tb_test(masked),
		tb_test(wolf),
	};

	return tb_run("pvpanic", tests);
}
