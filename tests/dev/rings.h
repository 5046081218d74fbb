/* SPDX-License-Identifier: MIT */
/* rings.h - hand-made chains on a ring of either layout, for the tests that break the rules
 *
 * A program runs its tests once for each `struct layout`: a disk whose only queue has such a ring.
 * A hostile ring has two outcomes. Broken: DEVICE_NEEDS_RESET, a configuration interrupt, and
 * silence until the reset. Refused: the chain comes back with nothing written, or the device
 * breaks; where the chain alone is wrong either will do. Every test ends with a reset and ordinary
 * I/O on the same device.
 */
#ifndef DEV_RINGS_H
#define DEV_RINGS_H

#include "tb.h"

struct layout {
	const char *name;
	const char *props;
	uint64_t features;
	unsigned size;
};

/* The one that the present test is for. */
extern const struct layout *layout;
/* Run the tests for each of `n` layouts (QEMU 7.2 does not know in_order=on); the number of failed
 * groups. */
#define rings_run(layouts, n, tests)                                                              \
	({                                                                                        \
		int failed_ = 0;                                                                  \
		tb_filter();                                                                      \
		for (layout = (layouts); layout < (layouts) + (n); layout++)                      \
			if (!tb_is_qemu() || !(layout->features & GV_F_IN_ORDER))                 \
				failed_ += cmocka_run_group_tests_name(layout->name, tests, NULL, \
								       NULL);                     \
		failed_;                                                                          \
	})

bool ring_packed(void);
/* A machine with a disk whose only queue has such a ring, and `features`. */
void ring_begin(struct tb *t, uint64_t features);
/* Reset, the same ring anew. */
void ring_again(struct tb *t, uint64_t features);
/* Ordinary I/O after a reset, and the end. */
void ring_end(struct tb *t);

/* Memory for a hand-made read request: header at 0, status at 16, data at 512; and the descriptors
 * of a chain. */
struct raw {
	uint64_t hdr, status, data;
	uint8_t *mem;
	struct gv_desc d[64];
	unsigned n;
};

/* The request without a chain. */
struct raw raw_request(struct tb *t);
/* The well-formed chain 0, 1, 2 that reads sector 0. */
struct raw raw_chain(struct tb *t);
/* The same with `n` pieces of data, 512 bytes each, all in one place. */
struct raw raw_long(struct tb *t, unsigned n);
/* Move the chain into a table at `table` (0: somewhere) that its only descriptor points to. */
void raw_indirect(struct tb *t, struct raw *r, uint64_t table);
/* Write the chain to the ring (split: from descriptor 0 on), with or without the bell. */
void raw_add(struct tb *t, const struct raw *r);
void raw_post(struct tb *t, const struct raw *r);
/* The same on a queue of any device. */
void raw_add_to(struct gvq *q, const struct raw *r);
void raw_post_to(struct gvq *q, const struct raw *r);

/* Is there a used entry; take it: its id and length. `places` of the ring belong to it. */
bool used_grew(struct gvq *q);
uint32_t used_take(struct gvq *q, unsigned places, uint32_t *id);

void expect_broken(struct tb *t);
void expect_refused(struct tb *t, const struct raw *r);
/* Sector 0 was read. */
void expect_ok(struct tb *t, const struct raw *r);

#endif
