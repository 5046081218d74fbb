/* SPDX-License-Identifier: MIT */
/* edu.c - edu: the PCI device for people who learn to write drivers (QEMU's docs/specs/edu)
 *
 * Registers in BAR0: a number that comes back inverted, one whose factorial is computed, an
 * interrupt that the driver raises itself, and DMA between guest memory and a buffer of 4 KiB.
 * Interrupts are MSI or INTA.
 *
 * Everything runs on the exit loop. A computation or transfer is finished within the write that
 * starts it, so nothing is ever in flight: the factorial of a number above 33 is 0 modulo 2^32, and
 * a transfer copies at most 4 KiB. A transfer outside the buffer or outside RAM copies nothing and
 * is then reported as done.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/dev.h"
#include "dev/env.h"
#include "mem/gmem.h"
#include "pci/ids.h"
#include "pci/regs.h"

#define BAR_SIZE   MiB
#define ID	   0x010000ed
#define BUF_OFFSET 0x40000 /* address of the buffer as REG_SRC and REG_DST name it */
#define BUF_SIZE   4096

enum {
	REG_ID = 0x00,
	REG_LIVENESS = 0x04,
	REG_FACTORIAL = 0x08,
	REG_STATUS = 0x20,
	REG_IRQ = 0x24,
	REG_RAISE = 0x60,
	REG_ACK = 0x64,
	REG_DMA = 0x80, /* from here on also 8 bytes wide */
	REG_SRC = 0x80,
	REG_DST = 0x88,
	REG_COUNT = 0x90,
	REG_CMD = 0x98,
};

#define STATUS_IRQ 0x80 /* interrupt when a factorial is done */
#define IRQ_FACT   0x001
#define IRQ_DMA	   0x100
#define CMD_RUN	   1
#define CMD_TO_RAM 2
#define CMD_IRQ	   4
#define CMD_BITS   7

struct edu {
	struct pci_fn fn;
	struct dev_env *env;
	uint32_t liveness, factorial, status, irq;
	uint64_t src, dst, count, cmd;
	uint8_t buf[BUF_SIZE];

	/* options */
	uint64_t dma_mask;
};

static const struct opt edu_options[] = {
	{.name = "dma_mask",
	 .type = OPT_UINT,
	 .at = offsetof(struct edu, dma_mask),
	 .def = "0x0fffffff",
	 .help = "bits of an address that the device drives"},
	OPT_END,
};

static const struct field edu_fields[] = {
	FIELD_UINT(struct edu, liveness, 0, UINT32_MAX),
	FIELD_UINT(struct edu, factorial, 0, UINT32_MAX),
	FIELD_UINT(struct edu, status, 0, STATUS_IRQ),
	FIELD_UINT(struct edu, irq, 0, UINT32_MAX),
	FIELD_UINT(struct edu, src, 0, UINT64_MAX),
	FIELD_UINT(struct edu, dst, 0, UINT64_MAX),
	FIELD_UINT(struct edu, count, 0, UINT64_MAX),
	FIELD_UINT(struct edu, cmd, 0, CMD_BITS),
	FIELD_BYTES(struct edu, buf),
	FIELD_END,
};

static struct edu *edu_of(struct pci_fn *fn)
{
	return container_of(fn, struct edu, fn);
}

static void raise_irq(struct edu *d, uint32_t bits)
{
	d->irq |= bits;
	if (!d->irq)
		return;
	if (msi_enabled(&d->fn))
		msi_raise(&d->fn);
	else
		pci_intx_set(&d->fn, true);
}

static void ack_irq(struct edu *d, uint32_t bits)
{
	d->irq &= ~bits;
	if (!d->irq)
		pci_intx_set(&d->fn, false);
}

static void edu_compute(struct edu *d, uint32_t n)
{
	d->factorial = n < 34; /* 34! has the factor 2^32 */
	for (; d->factorial && n > 1; n--)
		d->factorial *= n;
	if (d->status & STATUS_IRQ)
		raise_irq(d, IRQ_FACT);
}

static void edu_transfer(struct edu *d)
{
	bool to_ram = d->cmd & CMD_TO_RAM;
	uint64_t ram = (to_ram ? d->dst : d->src) & d->dma_mask;
	uint64_t at = (to_ram ? d->src : d->dst) - BUF_OFFSET;
	struct gmem *mem = d->env->hv->mem;
	int rc = -1;

	if (atomic_load(&d->fn.master) && range_ok(at, d->count, BUF_SIZE))
		rc = to_ram ? gmem_write(mem, ram, d->buf + at, d->count)
			    : gmem_read(mem, ram, d->buf + at, d->count);
	if (rc < 0)
		log_guest(&d->fn.rate, d->fn.id ? d->fn.id : d->fn.kind,
			  "no DMA of %llu bytes from 0x%llx to 0x%llx",
			  (unsigned long long)d->count, (unsigned long long)d->src,
			  (unsigned long long)d->dst);
	d->cmd &= ~(uint64_t)CMD_RUN;
	if (d->cmd & CMD_IRQ)
		raise_irq(d, IRQ_DMA);
}

static uint64_t edu_read(struct pci_fn *fn, uint64_t off, unsigned size)
{
	struct edu *d = edu_of(fn);

	if (size != 4 && (size != 8 || off < REG_DMA))
		return UINT64_MAX;
	switch (off) {
	case REG_ID:
		return ID;
	case REG_LIVENESS:
		return d->liveness;
	case REG_FACTORIAL:
		return d->factorial;
	case REG_STATUS:
		return d->status;
	case REG_IRQ:
		return d->irq;
	case REG_SRC:
		return d->src;
	case REG_DST:
		return d->dst;
	case REG_COUNT:
		return d->count;
	case REG_CMD:
		return d->cmd;
	default:
		return UINT64_MAX;
	}
}

static void edu_write(struct pci_fn *fn, uint64_t off, uint64_t data, unsigned size)
{
	struct edu *d = edu_of(fn);

	if (size != 4 && (size != 8 || off < REG_DMA))
		return;
	if (size == 4)
		data = (uint32_t)data;
	switch (off) {
	case REG_LIVENESS:
		d->liveness = ~(uint32_t)data;
		break;
	case REG_FACTORIAL:
		edu_compute(d, (uint32_t)data);
		break;
	case REG_STATUS:
		d->status = data & STATUS_IRQ;
		break;
	case REG_RAISE:
		raise_irq(d, (uint32_t)data);
		break;
	case REG_ACK:
		ack_irq(d, (uint32_t)data);
		break;
	case REG_SRC:
		d->src = data;
		break;
	case REG_DST:
		d->dst = data;
		break;
	case REG_COUNT:
		d->count = data;
		break;
	case REG_CMD:
		d->cmd = data & CMD_BITS;
		if (d->cmd & CMD_RUN)
			edu_transfer(d);
		break;
	}
}

static const struct pci_bar_ops edu_bar = {edu_read, edu_write};

static void edu_reset(struct pci_fn *fn)
{
	struct edu *d = edu_of(fn);

	d->liveness = d->factorial = d->status = d->irq = 0;
	d->src = d->dst = d->count = d->cmd = 0;
	memset(d->buf, 0, sizeof(d->buf));
}

static int edu_realize(struct pci_fn *fn, struct dev_env *env, struct err *e)
{
	static const struct pci_ident ident = {
		.vendor = 0x1234,
		.device = 0x11e8,
		.subvendor = PCI_SUBVENDOR_ID_REDHAT_QUMRANET,
		.subdevice = PCI_SUBDEVICE_ID_QEMU,
		.class = 0x00ff00,
		.revision = 0x10,
	};

	edu_of(fn)->env = env;
	pci_fn_init(fn, "edu", &ident);
	msi_init(fn);
	pci_cap_express(fn); /* for the function-level reset; QEMU's edu lacks it */
	pci_bar_add(fn, 0, BAR_SIZE, false, false, &edu_bar);
	fn->cfg[PCI_INT_PIN] = env->hv->has_intx ? 1 : 0;
	fn->reset = edu_reset;
	return 0;
}

const struct dev_class dev_edu = {
	.name = "edu",
	.desc = "a device to learn on",
	.size = sizeof(struct edu),
	.options = edu_options,
	.saved = edu_fields,
	.realize = edu_realize,
};
