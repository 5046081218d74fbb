/* SPDX-License-Identifier: MIT */
/* pci_testdev.c - pci-testdev: counts writes, for tests of exits (QEMU's docs/specs/pci-testdev)
 *
 * A test in the guest writes the number of one of the tests to BAR0 and reads from the header there
 * which value to write, at which offset and how wide. It then writes, and compares the number of
 * writes that the device has counted with its own.
 *
 *	0	test	number of the chosen test, writable
 *	1	width	of the writes, bytes
 *	4	offset	where to write (32 bit, little endian, as are the other fields)
 *	8	data	value to write
 *	12	count	number of writes so far
 *	16	name	name of the test
 *
 * In QEMU the tests differ in whether the write reaches an eventfd in the kernel or the program.
 * Here all writes reach the program and are counted; the tests differ in which values and widths
 * count. `membar` adds a BAR without registers, to test how firmware and kernels handle its size.
 *
 * Everything runs on the exit loop.
 */
#include <errno.h>

#include "base/util.h"
#include "dev/dev.h"
#include "dev/env.h"
#include "pci/ids.h"

#define BAR_SIZE     4096
#define MEMBAR	     2
#define HEADER_COUNT 12
#define HEADER_NAME  16
#define HEADER_LEN   40
#define OFFSET	     0x800 /* of the first test's writes */
#define NONE	     UINT32_MAX

static const struct {
	const char *name;
	uint8_t data;
	bool any_data, any_width;
} tests[] = {
	{"mmio-no-eventfd", 0xfa, .any_width = true},
	{"mmio-wildcard-eventfd", 0xce, .any_data = true, .any_width = true},
	{"mmio-datamatch-eventfd", 0xfa},
};

struct testdev {
	struct pci_fn fn;
	uint32_t test; /* NONE: none is chosen */
	uint32_t count;

	/* options */
	uint64_t membar;
};

static const struct opt testdev_options[] = {
	{.name = "membar",
	 .type = OPT_SIZE,
	 .at = offsetof(struct testdev, membar),
	 .def = "0",
	 .help = "size of a further memory BAR, a power of 2 from 4K on; 0: none"},
	OPT_END,
};

static const struct field testdev_fields[] = {
	FIELD_UINT(struct testdev, test, 0, NONE),
	FIELD_UINT(struct testdev, count, 0, UINT32_MAX),
	FIELD_END,
};

static struct testdev *testdev_of(struct pci_fn *fn)
{
	return container_of(fn, struct testdev, fn);
}

static uint64_t header_read(struct pci_fn *fn, uint64_t off, unsigned size)
{
	struct testdev *d = testdev_of(fn);
	uint8_t header[HEADER_LEN + 8] = {0};
	uint8_t out[8] = {0};

	if (d->test >= ARRAY_SIZE(tests) || off >= HEADER_LEN)
		return 0;
	header[0] = (uint8_t)d->test;
	header[1] = 1;
	put_le32(header + 4, OFFSET + d->test);
	put_le32(header + 8, tests[d->test].data);
	put_le32(header + HEADER_COUNT, d->count);
	strcpy((char *)header + HEADER_NAME, tests[d->test].name);
	memcpy(out, header + off, size);
	return get_le64(out);
}

static void header_write(struct pci_fn *fn, uint64_t off, uint64_t data, unsigned size)
{
	struct testdev *d = testdev_of(fn);

	if (size < 8)
		data &= (1ULL << (8 * size)) - 1;
	if (!off) {
		d->test = data < ARRAY_SIZE(tests) ? (uint32_t)data : NONE;
		d->count = 0;
		return;
	}
	if (d->test >= ARRAY_SIZE(tests) || off != OFFSET + d->test)
		return;
	if ((tests[d->test].any_data || data == tests[d->test].data) &&
	    (tests[d->test].any_width || size == 1))
		d->count++;
}

static const struct pci_bar_ops header_bar = {header_read, header_write};

static uint64_t empty_read(struct pci_fn *fn, uint64_t off, unsigned size)
{
	return UINT64_MAX;
}

static void empty_write(struct pci_fn *fn, uint64_t off, uint64_t data, unsigned size)
{
}

static const struct pci_bar_ops empty_bar = {empty_read, empty_write};

static int testdev_realize(struct pci_fn *fn, struct dev_env *env, struct err *e)
{
	static const struct pci_ident ident = {
		.vendor = PCI_VENDOR_ID_REDHAT,
		.device = 0x0005,
		.subvendor = PCI_SUBVENDOR_ID_REDHAT_QUMRANET,
		.subdevice = PCI_SUBDEVICE_ID_QEMU,
		.class = 0x00ff00,
	};
	struct testdev *d = testdev_of(fn);

	if (d->membar && (d->membar < BAR_SIZE || !is_pow2(d->membar)))
		return err_set(e, -EINVAL,
			       "Parameter 'membar' expects a power of 2 from 4K on, or 0");
	d->test = NONE;
	pci_fn_init(fn, "pci-testdev", &ident);
	pci_bar_add(fn, 0, BAR_SIZE, false, false, &header_bar);
	if (d->membar)
		pci_bar_add(fn, MEMBAR, d->membar, true, true, &empty_bar);
	return 0;
}

const struct dev_class dev_pci_testdev = {
	.name = "pci-testdev",
	.desc = "counts writes, for tests",
	.size = sizeof(struct testdev),
	.options = testdev_options,
	.saved = testdev_fields,
	.realize = testdev_realize,
};
