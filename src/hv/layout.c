/* SPDX-License-Identifier: MIT */
/* layout.c - the guest's physical address space: RAM as stated, windows as stated or chosen
 *
 * The automatic layout fits every size of guest and every host that Xen knows: below 4 GiB the area
 * 0xfc100000-0xfec00000 is free whatever the guest's size, so a small ECAM (16 buses) lies there,
 * where Linux takes the MCFG at once, and a small 32-bit window after it. The 64-bit window lies at
 * 2^38, so that it is the same on hosts with 39 address bits and more, and a guest may move between
 * them.
 */
#include "hv/layout.h"

#include <errno.h>
#include <inttypes.h>

#include "base/util.h"

#define AUTO_ECAM_BASE	   0xfd000000ULL
#define AUTO_ECAM_SIZE	   (16 * MiB)
#define AUTO_MMIO_BASE	   0xfe000000ULL
#define AUTO_MMIO_SIZE	   (8 * MiB)
#define AUTO_HIGH_BITS	   38
#define AUTO_HIGH_SIZE	   (64 * GiB)
#define AUTO_HIGH_SIZE_MIN (1 * GiB)

#define ECAM_MAX (256 * MiB)
#define MAX_ADDR (1ULL << 52)

/* Ranges below 4 GiB that the platform itself uses. */
static const struct {
	struct hv_range range;
	const char *what;
} platform[] = {
	{{LAYOUT_ACPI_BASE, LAYOUT_ACPI_SIZE}, "the ACPI tables"},
	{{0xfec00000, 0x1000}, "the IOAPIC"},
	{{0xfee00000, 0x100000}, "the local APIC"},
	{{0xfeff8000, 0x8000}, "Xen's special pages"},
};

static uint64_t range_end(struct hv_range r)
{
	return r.base + r.size;
}

static bool ranges_overlap(struct hv_range a, struct hv_range b)
{
	return a.size && b.size && a.base < range_end(b) && b.base < range_end(a);
}

/* Check the ends of all ranges, so that no sum in the functions below can overflow. */
static int conf_check_ends(const struct layout_conf *c, struct err *e)
{
	const struct hv_range *all[] = {&c->ram_low, &c->ram_high, &c->ecam, &c->mmio,
					&c->mmio_high};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i]->base > MAX_ADDR || all[i]->size > MAX_ADDR - all[i]->base)
			return err_set(e, -EINVAL,
				       "the range at 0x%" PRIx64 " of size 0x%" PRIx64
				       " ends above the largest address",
				       all[i]->base, all[i]->size);
	if (c->mem > MAX_ADDR)
		return err_set(e, -EINVAL, "-m is larger than the largest address");
	return 0;
}

static bool range_overlaps_any(struct hv_range r, const struct hv_range *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (ranges_overlap(r, list[i]))
			return true;
	return false;
}

int layout_stated_ram(const struct layout_conf *conf, struct hv_range ram[2], struct err *e)
{
	struct hv_range low = conf->ram_low, high = conf->ram_high;
	uint64_t mem = conf->mem;
	unsigned n = 0;
	int rc = conf_check_ends(conf, e);

	if (rc)
		return rc;
	if (!low.size && !high.size) {
		if (!mem)
			return 0;
		low.size = LAYOUT_LOW_RAM_END;
		high = (struct hv_range){LAYOUT_HIGH_RAM, MAX_ADDR - LAYOUT_HIGH_RAM};
	} else if (!mem) {
		mem = low.size + high.size;
	}
	if (mem % PAGE || low.base % PAGE || low.size % PAGE || high.base % PAGE)
		return err_set(e, -EINVAL,
			       "ram-low-base, ram-low-size, ram-high-base and the memory "
			       "size must be multiples of 4096");
	low.size = MIN(low.size, mem);
	if (mem - low.size > high.size)
		return err_set(e, -EINVAL,
			       "-m %" PRIu64 "M does not fit into ram-low-size and ram-high-size",
			       (uint64_t)(mem / MiB));
	high.size = mem - low.size;
	if (ranges_overlap(low, high) || (low.size && high.size && high.base < low.base))
		return err_set(e, -EINVAL, "ram-high must lie above ram-low");
	if (low.size)
		ram[n++] = low;
	if (high.size)
		ram[n++] = high;
	return (int)n;
}

unsigned layout_domain_ram(uint64_t mem, uint64_t top, struct hv_range ram[2])
{
	uint64_t low = MIN(mem, LAYOUT_LOW_RAM_END), high = mem - low;
	uint64_t end = MIN(top, MAX_ADDR / PAGE) * PAGE + PAGE;

	/* High RAM ends with the highest page, unless the guest has given that page away: then low
	 * RAM would be larger than the space below 4 GiB, so libxl's split is used. */
	if (end > LAYOUT_HIGH_RAM + high && end - LAYOUT_HIGH_RAM < mem) {
		high = end - LAYOUT_HIGH_RAM;
		low = mem - high;
	}
	ram[0] = (struct hv_range){0, ALIGN_DOWN(low, PAGE)};
	ram[1] = (struct hv_range){LAYOUT_HIGH_RAM, ALIGN_DOWN(high, PAGE)};
	return high ? 2 : 1;
}

/* The first part of `r` that no range of `in` (ascending) covers; size 0 when all of it is covered.
 */
static struct hv_range range_find_uncovered(struct hv_range r, const struct hv_range *in,
					    unsigned n)
{
	uint64_t at = r.base, end = range_end(r);

	for (unsigned i = 0; i < n && at < end; i++) {
		if (in[i].base > at)
			return (struct hv_range){at, MIN(in[i].base, end) - at};
		at = MAX(at, range_end(in[i]));
	}
	return (struct hv_range){at, at < end ? end - at : 0};
}

int layout_check_ram(const struct layout_conf *conf, const struct hv_range *ram, unsigned ranges,
		     struct err *e)
{
	struct hv_range stated[2] = {0}, gap;
	int n;

	if (!conf->ram_low.size && !conf->ram_high.size)
		return 0;
	n = layout_stated_ram(conf, stated, e);
	if (n < 0)
		return n;
	for (unsigned i = 0; i < ranges; i++) {
		gap = range_find_uncovered(ram[i], stated, (unsigned)n);
		if (gap.size)
			return err_set(
				e, -EINVAL,
				"ram-low-*/ram-high-* and -m miss RAM that the domain has at "
				"0x%" PRIx64 "-0x%" PRIx64
				" (leave them out, and the domain's own map is used)",
				gap.base, range_end(gap) - 1);
	}
	for (int i = 0; i < n; i++) {
		gap = range_find_uncovered(stated[i], ram, ranges);
		if (gap.size)
			return err_set(e, -EINVAL,
				       "ram-low-*/ram-high-* and -m state RAM at 0x%" PRIx64
				       "-0x%" PRIx64 " where the domain has none (leave them out, "
				       "and the domain's own map is used)",
				       gap.base, range_end(gap) - 1);
	}
	return 0;
}

/* Check one window against RAM, the platform and the width of an address. 0 or -EINVAL with `e`. */
static int window_check(const char *name, struct hv_range w, const struct hv_range *ram,
			unsigned ranges, unsigned paddr_bits, struct err *e)
{
	if (!w.size)
		return 0;
	if (w.base % PAGE || w.size % PAGE)
		return err_set(e, -EINVAL, "%s-base and %s-size must be multiples of 4096", name,
			       name);
	if (range_end(w) > 1ULL << paddr_bits)
		return err_set(e, -EINVAL,
			       "%s 0x%" PRIx64 "-0x%" PRIx64
			       " ends above the %u address bits of a guest on this host",
			       name, w.base, range_end(w) - 1, paddr_bits);
	for (unsigned i = 0; i < ranges; i++)
		if (ranges_overlap(w, ram[i]))
			return err_set(e, -EINVAL,
				       "%s 0x%" PRIx64 "-0x%" PRIx64
				       " overlaps the domain's RAM at 0x%" PRIx64 "-0x%" PRIx64,
				       name, w.base, range_end(w) - 1, ram[i].base,
				       range_end(ram[i]) - 1);
	for (unsigned i = 0; i < ARRAY_SIZE(platform); i++)
		if (ranges_overlap(w, platform[i].range))
			return err_set(e, -EINVAL,
				       "%s 0x%" PRIx64 "-0x%" PRIx64 " overlaps %s at 0x%" PRIx64,
				       name, w.base, range_end(w) - 1, platform[i].what,
				       platform[i].range.base);
	return 0;
}

static int layout_check(const struct layout *l, const struct hv_range *ram, unsigned ranges,
			unsigned paddr_bits, struct err *e)
{
	const struct {
		const char *name;
		struct hv_range r;
	} w[] = {{"pci-ecam", l->ecam}, {"pci-mmio", l->mmio}, {"pci-mmio-high", l->mmio_high}};

	if (l->ecam.base % LAYOUT_ECAM_BUS || l->ecam.size % LAYOUT_ECAM_BUS ||
	    l->ecam.size < LAYOUT_ECAM_BUS || l->ecam.size > ECAM_MAX)
		return err_set(e, -EINVAL,
			       "pci-ecam-base and pci-ecam-size must be multiples of 1M "
			       "(one bus), and the size at most 256M");
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		int rc = window_check(w[i].name, w[i].r, ram, ranges, paddr_bits, e);

		if (rc)
			return rc;
		for (unsigned j = 0; j < i; j++)
			if (ranges_overlap(w[i].r, w[j].r))
				return err_set(e, -EINVAL, "%s and %s overlap", w[j].name,
					       w[i].name);
	}
	if (l->mmio.size && range_end(l->mmio) > LAYOUT_HIGH_RAM)
		return err_set(e, -EINVAL, "pci-mmio must end below 4 GiB");
	return 0;
}

/* Choose a 64-bit window that overlaps nothing in `used`; size 0 when there is no room. */
static struct hv_range high_window_choose(const struct hv_range *used, unsigned n,
					  unsigned paddr_bits)
{
	unsigned bits = MIN(AUTO_HIGH_BITS, paddr_bits - 1);

	for (uint64_t size = MIN(AUTO_HIGH_SIZE, 1ULL << (bits - 1)); size >= AUTO_HIGH_SIZE_MIN;
	     size /= 2)
		for (uint64_t base = 1ULL << bits; base + size <= 1ULL << paddr_bits; base *= 2) {
			struct hv_range r = {base, size};

			if (!range_overlaps_any(r, used, n))
				return r;
			/* RAM ends above `base`: try the top of the address space. */
			r.base = (1ULL << paddr_bits) - size;
			if (!range_overlaps_any(r, used, n))
				return r;
		}
	return (struct hv_range){0, 0};
}

int layout_resolve(const struct layout_conf *conf, const struct hv_range *ram, unsigned ranges,
		   unsigned paddr_bits, struct layout *out, struct err *e)
{
	struct hv_range used[HV_RAM_RANGES + 3];
	unsigned n = 0;
	int rc = conf_check_ends(conf, e);

	if (rc)
		return rc;
	for (; n < ranges && n < HV_RAM_RANGES; n++)
		used[n] = ram[n];
	used[n++] = conf->ecam;
	used[n++] = conf->mmio;
	used[n++] = conf->mmio_high;

	out->ecam = conf->ecam;
	out->mmio = conf->mmio;
	out->mmio_high = conf->mmio_high;
	if (!out->ecam.size) {
		out->ecam = (struct hv_range){AUTO_ECAM_BASE, AUTO_ECAM_SIZE};
		if (range_overlaps_any(out->ecam, used, n))
			return err_set(e, -EINVAL,
				       "no room for the ECAM at 0x%llx: pci-ecam-base= and "
				       "pci-ecam-size= must say where",
				       AUTO_ECAM_BASE);
	}
	if (!out->mmio.size) {
		struct hv_range r = {AUTO_MMIO_BASE, AUTO_MMIO_SIZE};

		if (!range_overlaps_any(r, used, n) && !ranges_overlap(r, out->ecam))
			out->mmio = r;
	}
	if (!out->mmio_high.size)
		out->mmio_high = high_window_choose(used, n, paddr_bits);
	if (!out->mmio.size && !out->mmio_high.size)
		return err_set(e, -EINVAL,
			       "no room for an MMIO window: pci-mmio-base= and "
			       "pci-mmio-size= must say where");
	return layout_check(out, ram, ranges, paddr_bits, e);
}
