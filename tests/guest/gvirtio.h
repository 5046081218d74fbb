/* SPDX-License-Identifier: MIT */
/* gvirtio.h - the guest's virtio: the modern PCI transport, the split and the packed ring
 *
 * Made to keep the rules quickly and to break each of them: registers can be written one by one,
 * and a ring's memory is open to the test (desc, avail, used), with raw functions beside the
 * well-behaved ones.
 *
 * Virtio 1.3 §4.1 (PCI), §2.7 (split virtqueues), §2.8 (packed virtqueues).
 */
#ifndef GUEST_GVIRTIO_H
#define GUEST_GVIRTIO_H

#include "gpci.h"

#define VIRTIO_VENDOR	 0x1af4
#define VIRTIO_ID(n)	 (0x1040 + (n))
#define GV_NET		 1
#define GV_BLK		 2
#define GV_SERIAL	 3
#define GV_RNG		 4
#define GV_BALLOON	 5
#define GV_VSOCK	 19
#define GV_NO_VECTOR	 0xffff
#define GV_F_INDIRECT	 (1ULL << 28)
#define GV_F_EVENT_IDX	 (1ULL << 29)
#define GV_F_VERSION_1	 (1ULL << 32)
#define GV_F_PACKED	 (1ULL << 34)
#define GV_F_IN_ORDER	 (1ULL << 35)
#define GV_F_RING_RESET	 (1ULL << 40)
#define GV_F_RING	 (GV_F_INDIRECT | GV_F_EVENT_IDX | GV_F_VERSION_1 | GV_F_RING_RESET)
#define GV_ACKNOWLEDGE	 1
#define GV_DRIVER	 2
#define GV_DRIVER_OK	 4
#define GV_FEATURES_OK	 8
#define GV_NEEDS_RESET	 0x40
#define GV_FAILED	 0x80
#define GV_DESC_NEXT	 1
#define GV_DESC_WRITE	 2
#define GV_DESC_INDIRECT 4
#define GV_DESC_AVAIL	 0x0080 /* the packed ring's two */
#define GV_DESC_USED	 0x8000
#define GV_QUEUES_MAX	 64

/* Offsets in the common configuration structure (§4.1.4.3). */
enum {
	GV_DFSELECT = 0,
	GV_DF = 4,
	GV_GFSELECT = 8,
	GV_GF = 12,
	GV_MSIX_CONFIG = 16,
	GV_NUM_QUEUES = 18,
	GV_STATUS = 20,
	GV_GENERATION = 21,
	GV_QSELECT = 22,
	GV_QSIZE = 24,
	GV_QVECTOR = 26,
	GV_QENABLE = 28,
	GV_QNOTIFY_OFF = 30,
	GV_QDESC = 32,
	GV_QAVAIL = 40,
	GV_QUSED = 48,
	GV_QNOTIFY_DATA = 56,
	GV_QRESET = 58,
};

struct gvirtio {
	struct gpci pci;
	struct guest *g;
	/* absolute addresses and lengths of the structures */
	uint64_t common, isr, notify, config;
	uint32_t common_len, isr_len, notify_len, config_len, notify_mult;
	unsigned cfg_cap; /* offset of the configuration access capability; 0: none */
	uint64_t offered, features;
};

/* Find the `nth` device of type `id` (GV_*), set up its PCI side, parse its capabilities. Panics
 * when it is not there. */
void gv_open(struct guest *g, struct gvirtio *v, unsigned id, unsigned nth);
/* The same for a function already set up; false when a capability is missing. */
bool gv_parse(struct gvirtio *v);

uint32_t gv_common(struct gvirtio *v, unsigned off, unsigned size);
void gv_common_set(struct gvirtio *v, unsigned off, unsigned size, uint64_t value);
uint8_t gv_status(struct gvirtio *v);
void gv_set_status(struct gvirtio *v, uint8_t status);
uint64_t gv_offered(struct gvirtio *v);
void gv_write_features(struct gvirtio *v, uint64_t features);
uint64_t gv_config(struct gvirtio *v, unsigned off, unsigned size);

/* Status 0, and wait until it reads so. */
void gv_reset(struct gvirtio *v);
/* Reset, ACKNOWLEDGE, DRIVER, the features of `want` that are offered, FEATURES_OK. Panics when the
 * device refuses. */
void gv_negotiate(struct gvirtio *v, uint64_t want);
/* MSI-X on, vector 0 for changes of the configuration, DRIVER_OK. */
void gv_start(struct gvirtio *v);
bool gv_needs_reset(struct gvirtio *v);

/* --- rings of both layouts --- */

struct gv_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct gv_packed {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

struct gv_used {
	uint32_t id, len;
};

struct gseg {
	uint64_t addr;
	uint32_t len;
};

#define GVQ_MAX	     1024
#define GVQ_INDIRECT 32 /* entries of the indirect table that belongs to each head */

struct gvq {
	struct gvirtio *v;
	unsigned index, size, vector;
	uint64_t desc_at, avail_at, used_at, table_at, doorbell;
	/* the ring's memory, volatile because the device and the test both change it */
	volatile struct gv_desc *desc;
	volatile struct gv_packed *packed; /* NULL: a split ring */
	volatile uint16_t
		*avail; /* flags, idx, ring[size], used_event; packed: the driver's event */
	volatile uint16_t *used; /* flags, idx, then entries; packed: the device's event */
	bool indirect, event_idx, in_order;
	bool no_interrupts; /* ask for none: the caller polls */
	uint16_t free_head, free_count;
	uint16_t avail_idx, kicked_idx, used_idx; /* chains; as in the ring when it is split */
	/* packed: the next place to fill and to look at, places filled since the last kick, and
	 * what the first of them waits for */
	uint16_t next, last, added, held_at, held_flags;
	bool next_wrap, last_wrap;
	uint16_t next_id[GVQ_MAX]; /* free ids */
	/* in order: chains as they became available, and the end of the batch that is being taken
	 */
	uint16_t order[GVQ_MAX], order_at, batch_end;
	bool in_batch;
	uint32_t batch_len;
	uint16_t chain_len[GVQ_MAX];
	void *cookie[GVQ_MAX];
	uint64_t kicks; /* doorbells really rung */
};

/* Allocate the ring's areas for `size` entries (0: what the device offers) and fill the struct;
 * writes no register. */
void gvq_init(struct gvirtio *v, struct gvq *q, unsigned index, unsigned size);
/* The areas were moved: find their memory anew. */
void gvq_locate(struct gvq *q);
/* Write size, vector and addresses of `q`, but not queue_enable. */
void gvq_program(struct gvq *q);
/* All of it: init, vector `index + 1` (clamped to what is there; GV_NO_VECTOR without MSI-X),
 * program, enable. */
void gvq_setup(struct gvirtio *v, struct gvq *q, unsigned index, unsigned size);

/* Put a chain on the ring; returns its id (the head of a split ring's chain), or -1 when there is
 * no room. Nothing is visible before gvq_kick(). */
int gvq_add(struct gvq *q, const struct gseg *seg, unsigned n_out, unsigned n_in, void *cookie);
/* Publish what was added; ring the doorbell if the device wants it. Does not wait for the bell's
 * answer. */
void gvq_kick(struct gvq *q);
/* Take one chain that the device has used. With in-order use, chains come back in order, or the
 * program ends; one that the device passed over in a batch has length 0. */
bool gvq_get(struct gvq *q, uint32_t *len, void **cookie);
/* The same, waiting; panics when it takes too long. Returns the length. */
uint32_t gvq_wait(struct gvq *q, void **cookie);
/* Ask for an interrupt for what comes next; true when something has come meanwhile. A driver sets
 * no_interrupts, takes all that is done, and calls this. */
bool gvq_interrupts_on(struct gvq *q);

/* How many chains the device has used since the ring was set up, modulo 2^16. */
uint16_t gvq_used_idx(const struct gvq *q);
/* Ask for an interrupt when what is `ahead` entries (packed: places) after those taken so far is
 * used. */
void gvq_ask(struct gvq *q, unsigned ahead);
/* Ring the bell. */
void gvq_ring(struct gvq *q);

/* Raw, split: set a descriptor; put any value into the next slot of the avail ring; publish any
 * index. */
void gvq_desc(struct gvq *q, unsigned i, uint64_t addr, uint32_t len, unsigned flags,
	      unsigned next);
void gvq_push_head(struct gvq *q, unsigned head);
void gvq_publish(struct gvq *q, uint16_t idx);
volatile struct gv_used *gvq_used(struct gvq *q, uint16_t idx);
/* Where used_event and avail_event live. */
volatile uint16_t *gvq_used_event(struct gvq *q);
volatile uint16_t *gvq_avail_event(struct gvq *q);

/* Raw, packed: write the next place, available when the second of these says so, and go on to the
 * following one. */
void gvq_place(struct gvq *q, uint64_t addr, uint32_t len, unsigned flags, unsigned id);
/* The flags that make a descriptor with `flags` at the next place available. */
unsigned gvq_available(const struct gvq *q, unsigned flags);
/* Has the place where the next used descriptor is expected been used? */
bool gvq_is_used(const struct gvq *q);
/* Go on by `places` from there. */
void gvq_passed(struct gvq *q, unsigned places);

/* Wait until the device says DEVICE_NEEDS_RESET. */
bool gv_wait_broken(struct gvirtio *v);

#endif
