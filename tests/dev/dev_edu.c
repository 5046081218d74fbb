/* SPDX-License-Identifier: MIT */
/* dev_edu.c - edu as a driver that reads its specification sees it */
#include "tb.h"

#define BUF 0x40000

static struct gpci p;
static uint64_t ram; /* two pages of the guest below 256 MiB */

static void edu(struct tb *t, const char *props)
{
	tb_device(t, "edu%s", props);
	tb_start(t);
	assert_true(gpci_find(&t->g, &p, 0x1234, 0x11e8, 0));
	gpci_setup(&p);
	ram = guest_alloc(&t->g, 8192, 4096);
}

static uint64_t reg(unsigned off, unsigned size)
{
	return guest_load(p.g, p.bar[0].addr + off, size);
}

static void set(unsigned off, unsigned size, uint64_t value)
{
	guest_store(p.g, p.bar[0].addr + off, size, value);
}

/* Start a transfer, and wait for its end. */
static void dma(struct tb *t, uint64_t src, uint64_t dst, uint64_t count, unsigned flags)
{
	set(0x80, 8, src);
	set(0x88, 8, dst);
	set(0x90, 8, count);
	set(0x98, 8, flags | 1);
	assert_true(guest_wait(&t->g, !(reg(0x98, 8) & 1)));
}

/* The normal path, also after anything hostile. */
static void works(struct tb *t)
{
	uint8_t *mem = guest_ptr(&t->g, ram, 8192), want[4096];

	assert_int_equal(reg(0, 4), 0x010000ed);
	set(4, 4, 0x12345678);
	assert_int_equal(reg(4, 4), 0xedcba987);
	set(8, 4, 10);
	assert_true(guest_wait(&t->g, !(reg(0x20, 4) & 1)));
	assert_int_equal(reg(8, 4), 3628800);
	if (t->qemu)
		return; /* its clock stands still under qtest, and so do its transfers */
	tb_pattern(want, sizeof(want), 1);
	memcpy(mem, want, sizeof(want));
	memset(mem + 4096, 0, 4096);
	dma(t, ram, BUF, 4096, 0);
	dma(t, BUF, ram + 4096, 4096, 2);
	assert_memory_equal(mem + 4096, want, sizeof(want));
	dma(t, BUF + 100, ram, 10, 2);
	assert_memory_equal(mem, want + 100, 10);
	assert_memory_equal(mem + 10, want + 10, 100);
}

static void present(void **state)
{
	struct tb *t = *state;

	edu(t, "");
	assert_int_equal(gpci_cfg(&p, 8, 4), 0x00ff0010);
	assert_int_equal(p.bar[0].size, MiB);
	assert_false(p.bar[0].is64 || p.bar[0].prefetch);
	for (unsigned n = 1; n < 6; n++)
		assert_int_equal(p.bar[n].size, 0);
	works(t);
	tb_stop(t);
}

/* Also of numbers whose factorial nobody wants to wait for. */
static void factorial(void **state)
{
	static const struct {
		uint32_t n, f;
	} known[] = {
		{0, 1},		  {1, 1},	    {2, 2},  {12, 479001600}, {13, 1932053504},
		{20, 2192834560}, {33, 0x80000000}, {34, 0}, {1000, 0},
	};
	struct tb *t = *state;

	edu(t, "");
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
		set(8, 4, known[i].n);
		assert_true(guest_wait(&t->g, reg(8, 4) == known[i].f));
	}
	if (!t->qemu) { /* which counts down from there */
		uint64_t begin = now_ns();

		for (unsigned i = 0; i < 100; i++)
			set(8, 4, UINT32_MAX - i);
		assert_int_equal(reg(8, 4), 0);
		assert_true(now_ns() - begin < 5000000000);
	}
	works(t);
	tb_stop(t);
}

static void msi(void **state)
{
	struct tb *t = *state;
	unsigned cap;
	uint32_t *word;

	edu(t, "");
	cap = gpci_cap(&p, 5, 0);
	assert_true(cap);
	assert_int_equal(gpci_cfg(&p, cap + 2, 2), 0x80);
	if (t->qemu) { /* whose messages need an interrupt controller */
		tb_stop(t);
		return;
	}
	word = guest_ptr(&t->g, ram, 4);
	gpci_cfg_set(&p, cap + 4, 4, (uint32_t)ram);
	gpci_cfg_set(&p, cap + 8, 4, (uint32_t)(ram >> 32));
	gpci_cfg_set(&p, cap + 12, 2, 0x55);
	set(0x60, 4, 1); /* raised before: not for MSI */
	set(0x64, 4, 1);
	assert_int_equal(*word, 0);
	gpci_cfg_set(&p, cap + 2, 2, 1);
	set(0x60, 4, 0x30);
	assert_true(guest_wait(&t->g, __atomic_load_n(word, __ATOMIC_ACQUIRE) == 0x55));
	assert_int_equal(reg(0x24, 4), 0x30);
	set(0x64, 4, 0x10);
	assert_int_equal(reg(0x24, 4), 0x20);
	set(0x64, 4, 0x20);
	/* When a factorial is done, and a transfer. */
	*word = 0;
	set(0x20, 4, 0x80);
	assert_int_equal(reg(0x20, 4), 0x80);
	set(8, 4, 3);
	assert_true(guest_wait(&t->g, __atomic_load_n(word, __ATOMIC_ACQUIRE) == 0x55));
	assert_int_equal(reg(0x24, 4), 1);
	*word = 0;
	dma(t, ram + 64, BUF, 64, 4);
	assert_true(guest_wait(&t->g, __atomic_load_n(word, __ATOMIC_ACQUIRE) == 0x55));
	assert_int_equal(reg(0x24, 4), 0x101);
	*word = 0;
	dma(t, ram + 64, BUF, 64, 0);
	assert_int_equal(*word, 0);
	works(t);
	tb_stop(t);
}

static void intx(void **state)
{
	struct tb *t = *state;

	tb_skip_qemu("its lines end in an IOAPIC of microvm's own numbering");
	edu(t, "");
	assert_int_equal(gpci_cfg(&p, 0x3d, 1), 1);
	assert_string_equal(guest_ask(&t->g, "irq_intercept_in ioapic"), "OK");
	set(0x60, 4, 3);
	assert_true(guest_wait(&t->g, (reg(0, 4), t->g.irq[1])));
	set(0x64, 4, 1);
	reg(0, 4);
	assert_true(t->g.irq[1]);
	set(0x64, 4, 2);
	assert_true(guest_wait(&t->g, (reg(0, 4), !t->g.irq[1])));
	works(t);
	tb_stop(t);
}

/* Transfers that fit nothing copy nothing. */
static void bad_dma(void **state)
{
	struct tb *t = *state;
	uint8_t *mem, zero[4096] = {0};

	tb_skip_qemu("it ends");
	edu(t, ",dma_mask=0xffffffffffffffff");
	const struct {
		uint64_t src, dst, count;
		unsigned flags;
	} bad[] = {
		{ram, BUF, 4097, 0},
		{ram, BUF + 4096, 1, 0},
		{ram, BUF - 1, 1, 0},
		{ram, BUF + 1, UINT64_MAX, 0},
		{ram, UINT64_MAX, 2, 0},
		{ram, 0, 16, 0},
		{guest_low_end(&t->g) - 8, BUF, 16, 0},
		{BUF, ram, 4097, 2},
		{BUF + 1, ram, 4096, 2},
		{BUF, GUEST_ECAM_BASE, 16, 2},
		{BUF, p.bar[0].addr, 16, 2},
		{BUF, UINT64_MAX - 7, 16, 2},
	};

	mem = guest_ptr(&t->g, ram, 4096);
	memset(mem, 0xaa, 4096);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		dma(t, bad[i].src, bad[i].dst, bad[i].count, bad[i].flags);
		for (unsigned k = 0; k < 4096; k++)
			assert_int_equal(mem[k], 0xaa);
	}
	/* The buffer has none of it. */
	dma(t, BUF, ram, 4096, 2);
	assert_memory_equal(mem, zero, 4096);
	works(t);
	tb_stop(t);
}

/* The default mask leaves 28 bits. */
static void mask(void **state)
{
	struct tb *t = *state;
	uint8_t *mem;

	tb_skip_qemu("its clock stands still under qtest");
	edu(t, "");
	mem = guest_ptr(&t->g, ram, 16);
	memset(mem, 0x77, 16);
	dma(t, ram | 1ULL << 28, BUF, 16, 0);
	memset(mem, 0, 16);
	dma(t, BUF, ram | 0xabcULL << 40, 16, 2);
	assert_int_equal(mem[15], 0x77);
	works(t);
	tb_stop(t);
}

static void without_mastering(void **state)
{
	struct tb *t = *state;
	uint8_t *mem;

	tb_skip_qemu("its clock stands still under qtest");
	edu(t, "");
	mem = guest_ptr(&t->g, ram, 16);
	memset(mem, 0x77, 16);
	gpci_cfg_set(&p, GPCI_COMMAND, 2, GPCI_COMMAND_MEM);
	dma(t, BUF, ram, 16, 2);
	assert_int_equal(mem[0], 0x77);
	gpci_cfg_set(&p, GPCI_COMMAND, 2, GPCI_COMMAND_MEM | GPCI_COMMAND_MASTER);
	works(t);
	tb_stop(t);
}

/* Any width anywhere; then a function-level reset clears it all. */
static void widths_and_reset(void **state)
{
	struct tb *t = *state;
	unsigned express;

	tb_skip_qemu("its answers to odd widths are its own");
	edu(t, "");
	assert_int_equal(reg(0, 1), 0xff);
	assert_int_equal(reg(0, 8), UINT64_MAX);
	assert_int_equal(reg(2, 4), UINT32_MAX);
	assert_int_equal(reg(0x100, 4), UINT32_MAX);
	assert_int_equal(reg(BUF, 4), UINT32_MAX);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < 0x110; off++)
			set(off, size, 0x5a5a5a5a5a5a5a5a);
	for (unsigned off = MiB - 16; off < MiB; off++)
		set(off, 8, UINT64_MAX);
	express = gpci_cap(&p, GPCI_CAP_EXPRESS, 0);
	gpci_cfg_set(&p, express + 8, 2, 0x8000);
	gpci_move_bar(&p, 0, p.bar[0].addr);
	gpci_cfg_set(&p, GPCI_COMMAND, 2, GPCI_COMMAND_MEM | GPCI_COMMAND_MASTER);
	for (unsigned off = 4; off <= 0x24; off += 4)
		if (off <= 8 || off >= 0x20)
			assert_int_equal(reg(off, 4), 0);
	for (unsigned off = 0x80; off <= 0x98; off += 8)
		assert_int_equal(reg(off, 8), 0);
	works(t);
	tb_stop(t);
}

/* Does the reply to a query of types name this one? */
static bool named(json_t *list, const char *name)
{
	json_t *entry;
	bool found = false;
	size_t i;

	json_array_foreach (list, i, entry) {
		const char *s = json_string_value(json_object_get(entry, "name"));

		found |= s && !strcmp(s, name);
	}
	json_decref(list);
	return found;
}

/* What is there for virtio devices is there for this one. */
static void monitor(void **state)
{
	struct tb *t = *state;
	json_t *reply, *fn, *bar;

	tb_skip_qemu("its lists are much longer");
	edu(t, ",id=e,addr=5");
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	works(t);
	tb_qmp_ok(t, "{\"execute\": \"cont\"}");
	reply = tb_qmp(t, "{\"execute\": \"query-pci\"}");
	fn = json_array_get(json_object_get(json_array_get(reply, 0), "devices"), 1);
	assert_string_equal(json_string_value(json_object_get(fn, "qdev_id")), "e");
	assert_int_equal(json_integer_value(json_object_get(fn, "slot")), 5);
	bar = json_array_get(json_object_get(fn, "regions"), 0);
	assert_int_equal(json_integer_value(json_object_get(bar, "size")), MiB);
	json_decref(reply);
	assert_true(named(tb_qmp(t, "{\"execute\": \"device-list-properties\", \"arguments\": "
				    "{\"typename\": \"edu\"}}"),
			  "dma_mask"));
	assert_true(named(tb_qmp(t, "{\"execute\": \"qom-list-types\", \"arguments\": "
				    "{\"implements\": \"pci-device\"}}"),
			  "edu"));
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(present),
		tb_test(factorial),
		tb_test(msi),
		tb_test(intx),
		tb_test(bad_dma),
		tb_test(mask),
		tb_test(without_mastering),
		tb_test(widths_and_reset),
		tb_test(monitor),
	};

	return tb_run("edu", tests);
}
