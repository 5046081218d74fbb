/* SPDX-License-Identifier: MIT */
/* gring.h - what gring.c asks of the two layouts (gring_split.c, gring_packed.c) */
#ifndef GUEST_GRING_H
#define GUEST_GRING_H

#include "gvirtio.h"

struct gring_ops {
	uint64_t (*driver_bytes)(unsigned size);
	uint64_t (*device_bytes)(unsigned size);
	void (*start)(struct gvq *q);
	/* Write the descriptors of chain `id`, which takes `n` of them. */
	void (*fill)(struct gvq *q, unsigned id, const struct gseg *seg, unsigned n_out,
		     unsigned n);
	/* Show the device all that was added. True when it asks for the bell. */
	bool (*publish)(struct gvq *q);
	/* Is there a used entry? */
	bool (*peek)(const struct gvq *q, uint32_t *id, uint32_t *len);
	/* Chain `id` is done: go on, and take back what it had. */
	void (*pass)(struct gvq *q, unsigned id);
	/* After an entry was taken: ask for the next interrupt, or for none. */
	void (*ask)(struct gvq *q);
};

extern const struct gring_ops gring_split, gring_packed;

static inline unsigned gring_flags(bool write, bool more)
{
	return (write ? GV_DESC_WRITE : 0) | (more ? GV_DESC_NEXT : 0);
}

#endif
