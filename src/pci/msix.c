/* SPDX-License-Identifier: MIT */
/* msix.c - the MSI-X table and pending bits of one function
 *
 * Owns:    the table (written by the guest through the BAR, on the exit loop), the pending bits,
 *          the two control bits.
 * Threads: msix_raise() is called by any loop and takes no lock. A raise on a masked vector sets
 *          the pending bit and then looks at the mask again; an unmask clears the mask and then
 *          looks at the pending bit. Whoever takes the bit (exchange) sends, so a message is
 *          neither lost nor doubled.
 * Limits:  an entry that the guest rewrites while it is unmasked may send a mixed message: the
 *          specification leaves that undefined (§7.7.2.2), and the message reaches nobody but the
 *          guest itself.
 * Fails:   a vector beyond the table is ignored, an address that is no interrupt is the
 *          hypervisor's to refuse.
 */
#include "pci/internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

#define ENTRY_SIZE   16
#define ENTRY_MASKED 1u

enum { ADDR_LO, ADDR_HI, DATA, CTRL, ENTRY_WORDS };

struct msix {
	struct pci_fn *fn;
	unsigned vectors;
	uint8_t cap;
	uint64_t pba;	     /* offset in the BAR */
	atomic_uint control; /* MSIX_CTRL_* as last written */
	_Atomic uint64_t *pending;
	atomic_uint (*table)[ENTRY_WORDS];
};

unsigned msix_vectors(const struct pci_fn *fn)
{
	return fn->msix ? fn->msix->vectors : 0;
}

bool msix_enabled(const struct pci_fn *fn)
{
	return fn->msix && atomic_load(&fn->msix->control) & MSIX_CTRL_ENABLE;
}

static bool vector_is_masked(struct msix *m, unsigned v)
{
	return atomic_load(&m->control) & MSIX_CTRL_MASKALL ||
	       atomic_load(&m->table[v][CTRL]) & ENTRY_MASKED;
}

static bool pending_claim(struct msix *m, unsigned v)
{
	uint64_t bit = 1ULL << (v % 64);

	return atomic_fetch_and(&m->pending[v / 64], ~bit) & bit;
}

static void vector_send(struct msix *m, unsigned v)
{
	uint64_t addr = atomic_load(&m->table[v][ADDR_LO]) |
			(uint64_t)atomic_load(&m->table[v][ADDR_HI]) << 32;

	/* A message is a write of the function to memory, which needs bus mastering. */
	if (atomic_load(&m->fn->master))
		hv_msi(pci_bus_hv(m->fn->bus), addr, atomic_load(&m->table[v][DATA]));
}

void msix_raise(struct pci_fn *fn, unsigned v)
{
	struct msix *m = fn->msix;

	if (!m || v >= m->vectors || !(atomic_load(&m->control) & MSIX_CTRL_ENABLE))
		return;
	if (vector_is_masked(m, v)) {
		atomic_fetch_or(&m->pending[v / 64], 1ULL << (v % 64));
		if (vector_is_masked(m, v) || !pending_claim(m, v))
			return;
	}
	vector_send(m, v);
}

static void vector_send_if_pending(struct msix *m, unsigned v)
{
	if (atomic_load(&m->pending[v / 64]) && !vector_is_masked(m, v) && pending_claim(m, v))
		vector_send(m, v);
}

void msix_cfg_written(struct pci_fn *fn, unsigned off, unsigned len)
{
	struct msix *m = fn->msix;
	unsigned at = m->cap + MSIX_CONTROL;
	uint16_t control;

	if (off >= at + 2 || off + len <= at)
		return;
	control = get_le16(&fn->cfg[at]) & (MSIX_CTRL_ENABLE | MSIX_CTRL_MASKALL);
	atomic_store(&m->control, control);
	if (control == MSIX_CTRL_ENABLE)
		for (unsigned v = 0; v < m->vectors; v++)
			vector_send_if_pending(m, v);
}

/* Read the four bytes at `off`, a multiple of 4: of the table or the pending bits; the rest of the
 * BAR is zero. */
static uint32_t word_read(struct msix *m, uint64_t off)
{
	if (off < m->vectors * ENTRY_SIZE)
		return atomic_load(&m->table[off / ENTRY_SIZE][off % ENTRY_SIZE / 4]);
	if (off >= m->pba && off - m->pba < ALIGN_UP(m->vectors, 64) / 8)
		return (uint32_t)(atomic_load(&m->pending[(off - m->pba) / 8]) >>
				  (8 * ((off - m->pba) & 4)));
	return 0;
}

static uint64_t msix_read(struct pci_fn *fn, uint64_t off, unsigned size)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++) {
		uint32_t word = word_read(fn->msix, (off + i) & ~3ULL);

		v |= (uint64_t)(uint8_t)(word >> (8 * ((off + i) & 3))) << (8 * i);
	}
	return v;
}

static void msix_write(struct pci_fn *fn, uint64_t off, uint64_t data, unsigned size)
{
	struct msix *m = fn->msix;
	uint64_t last = off + size - 1;

	/* Write one 4-byte word after the other: 8 bytes are two words, and fewer than 4 bytes are
	 * merged into the words that they lie in. */
	for (uint64_t at = off & ~3ULL; at <= last; at += 4) {
		unsigned v = (unsigned)(at / ENTRY_SIZE), which = at % ENTRY_SIZE / 4;
		uint32_t word;

		if (at >= m->vectors * ENTRY_SIZE)
			return; /* the pending bits cannot be written */
		word = atomic_load(&m->table[v][which]);
		for (uint64_t b = MAX(at, off); b < at + 4 && b <= last; b++) {
			unsigned shift = 8 * (unsigned)(b - at);

			word = (word & ~(0xffu << shift)) |
			       (uint32_t)(uint8_t)(data >> (8 * (b - off))) << shift;
		}
		if (which == CTRL)
			word &= ENTRY_MASKED;
		else if (which == ADDR_LO)
			word &= ~3u;
		atomic_store(&m->table[v][which], word);
		if (which == CTRL && atomic_load(&m->control) & MSIX_CTRL_ENABLE)
			vector_send_if_pending(m, v);
	}
}

static const struct pci_bar_ops msix_bar = {msix_read, msix_write};

int msix_init(struct pci_fn *fn, unsigned bar, unsigned vectors)
{
	struct msix *m = calloc(1, sizeof(*m));
	uint64_t size = 4096;

	if (!m)
		return -ENOMEM;
	m->fn = fn;
	m->vectors = vectors;
	m->table = calloc(vectors, sizeof(*m->table));
	m->pending = calloc((vectors + 63) / 64, sizeof(*m->pending));
	fn->msix = m;
	if (!m->table || !m->pending) {
		msix_free(fn);
		return -ENOMEM;
	}
	while (size / 2 < vectors * ENTRY_SIZE)
		size *= 2;
	m->pba = size / 2;
	m->cap = pci_cap_add(fn, PCI_CAP_ID_MSIX, MSIX_CAP_LEN);
	put_le16(&fn->cfg[m->cap + MSIX_CONTROL], (uint16_t)(vectors - 1));
	put_le16(&fn->wmask[m->cap + MSIX_CONTROL], MSIX_CTRL_ENABLE | MSIX_CTRL_MASKALL);
	put_le32(&fn->cfg[m->cap + 4], bar);
	put_le32(&fn->cfg[m->cap + 8], (uint32_t)m->pba | bar);
	pci_bar_add(fn, bar, size, true, true, &msix_bar);
	msix_reset(fn);
	return 0;
}

void msix_free(struct pci_fn *fn)
{
	if (!fn->msix)
		return;
	free(fn->msix->table);
	free(fn->msix->pending);
	free(fn->msix);
	fn->msix = NULL;
}

void msix_reset(struct pci_fn *fn)
{
	struct msix *m = fn->msix;

	if (!m)
		return;
	atomic_store(&m->control, 0);
	for (unsigned v = 0; v < m->vectors; v++) {
		for (unsigned w = 0; w < CTRL; w++)
			atomic_store(&m->table[v][w], 0);
		atomic_store(&m->table[v][CTRL], ENTRY_MASKED);
	}
	for (unsigned i = 0; i < (m->vectors + 63) / 64; i++)
		atomic_store(&m->pending[i], 0);
}
