/* SPDX-License-Identifier: MIT */
/* unit_pci.c - what a guest cannot reach through one device alone: slots, tables of 2048 vectors,
 * overlaps, races on a mask
 *
 * Registers as a guest sees them are tested in tests/dev/dev_pci.c. The hypervisor here counts
 * messages.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "pci/pci.h"

#define ECAM 0xe0000000ULL
#define AT   0xc0000000ULL

static struct {
	struct hv hv;
	struct pci_bus *bus;
	struct pci_fn fn[40];
	unsigned plugged;
	atomic_uint messages;
	_Atomic uint64_t addr; /* of the last one */
	_Atomic uint32_t data;
	int line[4];
	uint64_t value; /* what the test BAR holds */
} t;

static int count_msi(struct hv *hv, uint64_t addr, uint32_t data)
{
	t.addr = addr;
	t.data = data;
	atomic_fetch_add(&t.messages, 1);
	return 0;
}

static int set_line(struct hv *hv, unsigned line, bool level)
{
	t.line[line] += level ? 1 : -1;
	assert_in_range(t.line[line], 0, 1);
	return 0;
}

static const struct hv_ops hv_ops = {.msi = count_msi, .intx = set_line};

static uint64_t bar_read(struct pci_fn *fn, uint64_t off, unsigned size)
{
	assert_true(off + size <= 4096);
	return (uint64_t)(fn - t.fn) << 8 | off;
}

static void bar_write(struct pci_fn *fn, uint64_t off, uint64_t data, unsigned size)
{
	assert_true(off + size <= 4096);
	t.value = data;
}

static const struct pci_bar_ops bar_ops = {bar_read, bar_write};
static const struct pci_ident ident = {0x1af4, 0x1044, 0x1af4, 0x1100, 0x00ff00, 1};

static int setup(void **state)
{
	struct err e;

	memset(&t, 0, sizeof(t));
	t.hv.ops = &hv_ops;
	t.hv.has_intx = true;
	t.bus = pci_bus_new(&t.hv, ECAM, 256 * MiB);
	return pci_host_bridge_add(t.bus, &e);
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < t.plugged; i++) {
		pci_bus_unplug(&t.fn[i]);
		pci_fn_free(&t.fn[i]);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(t.line[i], 0);
	pci_bus_free(t.bus);
	return 0;
}

static int plug(int devfn, bool multi, struct err *e)
{
	struct pci_fn *fn = &t.fn[t.plugged];
	int rc;

	pci_fn_init(fn, "test", &ident);
	fn->devfn = devfn;
	fn->multifunction = multi;
	pci_bar_add(fn, 0, 4096, true, false, &bar_ops);
	rc = pci_bus_plug(t.bus, fn, e);
	t.plugged += rc == 0;
	if (rc)
		pci_fn_free(fn);
	return rc;
}

static void slots(void **state)
{
	struct err e = {0};

	assert_int_equal(plug(PCI_DEVFN(2, 0), true, &e), 0);
	assert_int_equal(plug(PCI_DEVFN(2, 0), false, &e), -EBUSY);
	assert_non_null(strstr(e.text, "slot 2 function 0"));
	assert_int_equal(plug(0, false, &e), -EBUSY); /* the bridge */
	assert_int_equal(plug(PCI_DEVFN(2, 3), false, &e), 0);
	assert_int_equal(plug(-1, false, &e), 0);
	assert_int_equal(t.fn[2].devfn, PCI_DEVFN(1, 0));
	assert_true(plug(PCI_DEVFN(1, 1), false, &e) < 0); /* function 0 is alone */
	/* Up to the last slot, and then no more. */
	for (unsigned slot = 3; slot < 32; slot++) {
		assert_int_equal(plug(-1, false, &e), 0);
		assert_int_equal(t.fn[t.plugged - 1].devfn, PCI_DEVFN(slot, 0));
	}
	assert_int_equal(plug(-1, false, &e), -ENOSPC);
	/* A slot that becomes free is used again. */
	t.plugged--;
	pci_bus_unplug(&t.fn[t.plugged]);
	pci_fn_free(&t.fn[t.plugged]);
	memset(&t.fn[t.plugged], 0, sizeof(t.fn[0]));
	assert_int_equal(plug(-1, false, &e), 0);
	assert_int_equal(t.fn[t.plugged - 1].devfn, PCI_DEVFN(31, 0));
}

static void place(unsigned i, uint64_t addr)
{
	pci_cfg_write(&t.fn[i], 0x10, (uint32_t)addr, 4);
	pci_cfg_write(&t.fn[i], 0x14, addr >> 32, 4);
	pci_cfg_write(&t.fn[i], 0x04, 2, 2);
}

/* Thirty BARs side by side, in scrambled order: each address leads to its own; then one over
 * another. */
static void address_map(void **state)
{
	struct err e;

	for (unsigned i = 0; i < 30; i++) {
		assert_int_equal(plug(-1, false, &e), 0);
		place(i, AT + i * 7 % 30 * 4096);
	}
	for (unsigned i = 0; i < 30; i++) {
		uint64_t at = AT + i * 7 % 30 * 4096;

		assert_int_equal(pci_bus_read(t.bus, at, 4), i << 8);
		assert_int_equal(pci_bus_read(t.bus, at + 0xff, 1), 0xff);
		assert_int_equal(pci_bus_read(t.bus, at + 4088, 8), (i << 8 | 4088));
	}
	assert_int_equal(pci_bus_read(t.bus, AT - 1, 1), 0xff);
	assert_int_equal(pci_bus_read(t.bus, AT + 30 * 4096, 8), UINT64_MAX);
	/* Across two BARs: every byte from its own. */
	assert_int_equal(pci_bus_read(t.bus, AT + 4095, 2) & 0xff, 0xff);
	assert_int_equal(pci_bus_read(t.bus, AT + 4095, 2) >> 8, 0);
	/* The one in the lower slot keeps the place. */
	place(5, AT + 3 * 7 % 30 * 4096);
	assert_int_equal(pci_bus_read(t.bus, AT + 3 * 7 % 30 * 4096, 4), 3 << 8);
	assert_int_equal(pci_bus_read(t.bus, AT + 5 * 7 % 30 * 4096, 4), 0xffffffff);
	pci_cfg_write(&t.fn[3], 0x04, 0, 2);
	assert_int_equal(pci_bus_read(t.bus, AT + 3 * 7 % 30 * 4096, 4), 5 << 8);
	/* The extremes of an address. */
	place(5, 0xfffffffffffff000ULL);
	place(5, 0x7ffffffffffff000ULL);
	assert_int_equal(pci_bus_read(t.bus, 0x7ffffffffffff000ULL, 4), 5 << 8);
	place(5, 0);
	assert_int_equal(pci_bus_read(t.bus, 0, 4), 0xffffffff);
}

/* Two functions share line 1; it falls when the last one lets go. */
static void shared_line(void **state)
{
	struct err e;

	assert_int_equal(plug(PCI_DEVFN(1, 0), false, &e), 0);
	assert_int_equal(plug(PCI_DEVFN(5, 0), false, &e), 0);
	pci_intx_set(&t.fn[0], true);
	pci_intx_set(&t.fn[1], true);
	pci_intx_set(&t.fn[1], true);
	assert_int_equal(t.line[1], 1);
	assert_int_equal(pci_cfg_read(&t.fn[0], 6, 2) & 8, 8);
	pci_intx_set(&t.fn[0], false);
	assert_int_equal(t.line[1], 1);
	/* INTX_DISABLE takes its part away and gives it back; the status bit stays. */
	pci_cfg_write(&t.fn[1], 4, 0x400, 2);
	assert_int_equal(t.line[1], 0);
	assert_int_equal(pci_cfg_read(&t.fn[1], 6, 2) & 8, 8);
	pci_cfg_write(&t.fn[1], 4, 0, 2);
	assert_int_equal(t.line[1], 1);
	/* Whoever is unplugged lets go. */
	pci_bus_unplug(&t.fn[1]);
	assert_int_equal(t.line[1], 0);
	assert_int_equal(pci_bus_plug(t.bus, &t.fn[1], &e), 0);
}

#define TABLE (AT + 0x1000000)

static void start_msix(unsigned vectors)
{
	struct err e;

	pci_fn_init(&t.fn[0], "test", &ident);
	t.fn[0].devfn = -1;
	assert_int_equal(msix_init(&t.fn[0], 2, vectors), 0);
	assert_int_equal(pci_bus_plug(t.bus, &t.fn[0], &e), 0);
	t.plugged = 1;
	pci_cfg_write(&t.fn[0], 0x18, TABLE & 0xffffffff, 4);
	pci_cfg_write(&t.fn[0], 0x04, 6, 2);
	assert_int_equal(msix_vectors(&t.fn[0]), vectors);
}

static unsigned cap(void)
{
	return t.fn[0].cfg[0x34];
}

static void control(uint16_t bits)
{
	pci_cfg_write(&t.fn[0], cap() + 2, bits, 2);
}

static uint64_t pba(void)
{
	return TABLE + (pci_cfg_read(&t.fn[0], cap() + 8, 4) & ~7ULL);
}

static void largest_table(void **state)
{
	start_msix(2048);
	assert_int_equal(pci_cfg_read(&t.fn[0], cap() + 2, 2) & 0x7ff, 2047);
	assert_true(pba() >= TABLE + 2048 * 16);
	msix_raise(&t.fn[0], 0); /* not enabled: lost */
	control(0x8000);
	assert_int_equal(t.messages, 0);
	for (unsigned v = 0; v < 2048; v += 89) {
		pci_bus_write(t.bus, TABLE + 16 * v, 0xfee00000 + 4 * v, 8);
		pci_bus_write(t.bus, TABLE + 16 * v + 8, v, 4);
		msix_raise(&t.fn[0], v);
		msix_raise(&t.fn[0], v);
	}
	assert_int_equal(t.messages, 0);
	for (unsigned v = 0; v < 2048; v++)
		assert_int_equal(pci_bus_read(t.bus, pba() + v / 8, 1) >> (v % 8) & 1, v % 89 == 0);
	for (unsigned v = 0, n = 1; v < 2048; v += 89, n++) {
		pci_bus_write(t.bus, TABLE + 16 * v + 12, 0, 4);
		assert_int_equal(t.messages, n);
		assert_int_equal(t.addr, 0xfee00000 + 4 * v);
		assert_int_equal(t.data, v);
	}
	/* Out of range. */
	msix_raise(&t.fn[0], 2048);
	msix_raise(&t.fn[0], UINT32_MAX);
	assert_int_equal(t.messages, 24);
}

/* --- raising and masking at the same time: no message is lost, none is sent that was not raised
 * --- */

#define RAISES 200000

static atomic_bool raising;

static void *raiser(void *arg)
{
	for (unsigned i = 0; i < RAISES; i++)
		msix_raise(&t.fn[0], 1);
	atomic_store(&raising, false);
	return NULL;
}

static void mask_race(void **state)
{
	pthread_t thread;
	unsigned before;

	start_msix(3);
	control(0x8000);
	atomic_store(&raising, true);
	pthread_create(&thread, NULL, raiser, NULL);
	while (atomic_load(&raising)) {
		pci_bus_write(t.bus, TABLE + 16 + 12, 1, 4);
		pci_bus_write(t.bus, TABLE + 16 + 12, 0, 4);
		control(0xc000);
		control(0x8000);
	}
	pthread_join(thread, NULL);
	pci_bus_write(t.bus, TABLE + 16 + 12, 0, 4);
	assert_in_range(t.messages, 1, RAISES);
	assert_int_equal(pci_bus_read(t.bus, pba(), 1), 0);
	/* Nothing was left over. */
	before = t.messages;
	control(0xc000);
	control(0x8000);
	assert_int_equal(t.messages, before);
	msix_raise(&t.fn[0], 1);
	assert_int_equal(t.messages, before + 1);
}

/* One raise against one unmask, many times, at every small distance in time: it must come through
 * exactly once. Both threads spin, because the moment of interest is a few instructions long. */
#ifdef __SANITIZE_THREAD__
#define DUELS 20000 /* each one is dear, and the sanitizer sees a race without meeting it */
#else
#define DUELS 300000
#endif

static atomic_uint round_open, round_done;

static void pause_for(unsigned n)
{
	for (volatile unsigned i = 0; i < n; i++)
		;
}

static void wait_for(atomic_uint *at, unsigned n)
{
	for (unsigned spins = 1; atomic_load(at) != n; spins++)
		if (spins % 4096 == 0)
			sched_yield();
}

static void *raise_once(void *arg)
{
	for (unsigned i = 1; i <= DUELS; i++) {
		wait_for(&round_open, i);
		pause_for(i % 257);
		msix_raise(&t.fn[0], 1);
		atomic_store(&round_done, i);
	}
	return NULL;
}

static void none_lost(void **state)
{
	pthread_t thread;

	start_msix(3);
	control(0x8000);
	atomic_store(&round_open, 0);
	atomic_store(&round_done, 0);
	pthread_create(&thread, NULL, raise_once, NULL);
	for (unsigned i = 1; i <= DUELS; i++) {
		pci_bus_write(t.bus, TABLE + 16 + 12, 1, 4);
		atomic_store(&round_open, i);
		pause_for(i % 7);
		pci_bus_write(t.bus, TABLE + 16 + 12, 0, 4);
		wait_for(&round_done, i);
		if (t.messages != i)
			fail_msg("round %u: %u messages", i, t.messages);
	}
	pthread_join(thread, NULL);
}

/* --- MSI --- */

static uint64_t cfg(unsigned off)
{
	return ECAM + ((uint64_t)t.fn[0].devfn << 12) + off;
}

/* A function with MSI; the offset of the capability. */
static unsigned start_msi(void)
{
	struct pci_fn *fn = &t.fn[0];
	struct err e;

	pci_fn_init(fn, "test", &ident);
	fn->devfn = -1;
	msi_init(fn);
	pci_cap_express(fn);
	assert_int_equal(pci_bus_plug(t.bus, fn, &e), 0);
	t.plugged = 1;
	/* The list begins with the younger one. */
	return fn->cfg[fn->cfg[0x34] + 1];
}

static void msi(void **state)
{
	unsigned at = start_msi();

	assert_int_equal(pci_bus_read(t.bus, cfg(at), 1), 5);
	/* One message, 64 bit, off; only these bits can be written. */
	assert_int_equal(pci_bus_read(t.bus, cfg(at + 2), 2), 0x80);
	for (unsigned off = 2; off < 16; off += 2)
		pci_bus_write(t.bus, cfg(at + off), 0xffff, 2);
	assert_int_equal(pci_bus_read(t.bus, cfg(at + 2), 2), 0x81);
	assert_int_equal(pci_bus_read(t.bus, cfg(at + 4), 8), UINT64_MAX - 3);
	assert_int_equal(pci_bus_read(t.bus, cfg(at + 12), 4), 0xffff);

	pci_bus_write(t.bus, cfg(at + 2), 0, 2);
	pci_bus_write(t.bus, cfg(at + 4), 0x1234567fee01000, 8);
	pci_bus_write(t.bus, cfg(at + 12), 0x41, 2);
	msi_raise(&t.fn[0]);
	assert_int_equal(t.messages, 0); /* neither on nor a master */
	pci_bus_write(t.bus, cfg(at + 2), 1, 1);
	assert_true(msi_enabled(&t.fn[0]));
	msi_raise(&t.fn[0]);
	assert_int_equal(t.messages, 0);
	pci_bus_write(t.bus, cfg(4), 4, 2);
	msi_raise(&t.fn[0]);
	assert_int_equal(t.messages, 1);
	assert_int_equal(t.addr, 0x1234567fee01000);
	assert_int_equal(t.data, 0x41);
	/* Half of the message, and by bytes. */
	pci_bus_write(t.bus, cfg(at + 8), 0, 4);
	pci_bus_write(t.bus, cfg(at + 12), 0x42, 1);
	msi_raise(&t.fn[0]);
	assert_int_equal(t.messages, 2);
	assert_int_equal(t.addr, 0x7fee01000 & UINT32_MAX);
	assert_int_equal(t.data, 0x42);
}

static void msi_after_reset(void **state)
{
	unsigned at = start_msi(), express = t.fn[0].cfg[0x34];

	pci_bus_write(t.bus, cfg(at + 4), 0xfee01000, 8);
	pci_bus_write(t.bus, cfg(at + 2), 1, 2);
	pci_bus_write(t.bus, cfg(4), 4, 2);
	pci_bus_write(t.bus, cfg(express + 8), 0x8000, 2);
	assert_false(msi_enabled(&t.fn[0]));
	pci_bus_write(t.bus, cfg(4), 4, 2);
	msi_raise(&t.fn[0]);
	assert_int_equal(t.messages, 0);
	assert_int_equal(pci_bus_read(t.bus, cfg(at + 4), 8), 0);
	assert_int_equal(pci_bus_read(t.bus, cfg(at + 2), 2), 0x80);
}

static void msi_absent(void **state)
{
	struct err e;

	assert_int_equal(plug(-1, false, &e), 0);
	pci_bus_write(t.bus, cfg(4), 4, 2);
	pci_bus_write(t.bus, cfg(2), 0xffff, 2);
	assert_false(msi_enabled(&t.fn[0]));
	msi_raise(&t.fn[0]);
	assert_int_equal(t.messages, 0);
}

int main(void)
{
#define PCI_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		PCI_TEST(slots),	 PCI_TEST(address_map),	    PCI_TEST(shared_line),
		PCI_TEST(largest_table), PCI_TEST(mask_race),	    PCI_TEST(none_lost),
		PCI_TEST(msi),		 PCI_TEST(msi_after_reset), PCI_TEST(msi_absent),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
