/* SPDX-License-Identifier: MIT */
/* battery.h - every device of the table under the same hostile driver
 *
 * dev_battery.c (rings) and dev_battery_state.c (registers, status, resets) run their tests for
 * each device with virtqueues and for both layouts of a ring. What a device needs on the command
 * line is in one table, in battery.c; a device that is missing there fails the programs. Nothing
 * here knows what a device is for: where a chain is well formed, an answer of any kind will do.
 *
 * The machine also has a second device, which is asked for entropy after each misuse: what one
 * device's driver does must not reach another. Every test ends with a reset, a normal
 * initialisation and running queues.
 */
#ifndef DEV_BATTERY_H
#define DEV_BATTERY_H

#include "rings.h"

#define BAT_SIZE   8 /* entries of a ring: every queue has them */
#define BAT_QUEUES 16

struct subject {
	const char *needs; /* a device node without which it cannot be had; NULL: none */
	const char *name;  /* device type */
	const char *args;  /* what it needs before it, split at blanks; @ is the test's folder */
	const char *props; /* begins with a comma */
	unsigned id;	   /* virtio's */
	/* Queues (a bit each) from which the device takes any chain at once. From others it may
	 * take one when something happens outside: there a bad chain may lie unseen. */
	unsigned eager;
};

/* The device under test. */
struct bat {
	const struct subject *s;
	struct gvirtio v;
	struct gvq q[BAT_QUEUES];
	unsigned queues;
	struct grng other; /* the other device */
	uint64_t low;	   /* of the allocator, with nothing but the machine set up */
};

extern struct bat bat;

/* Run `tests` for each subject, with these layouts; the number of failed groups. */
enum { BAT_SPLIT = 1, BAT_PACKED = 2, BAT_BOTH = 3 };
#define bat_run(what, layouts, tests)                                                     \
	({                                                                                \
		int failed_ = 0;                                                          \
		tb_filter();                                                              \
		for (unsigned i_ = 0; bat_choose(i_, layouts); i_++) {                    \
			char name_[80];                                                   \
			snprintf(name_, sizeof(name_), "%s, %s, %s", what, bat.s->name,   \
				 layout->name);                                           \
			failed_ += cmocka_run_group_tests_name(name_, tests, NULL, NULL); \
		}                                                                         \
		failed_;                                                                  \
	})
/* Is every virtio device of the program in the table, and no other? A group of its own. */
int bat_complete(void);
/* Choose combination `i` of subject and layout; false when there are no more. */
bool bat_choose(unsigned i, unsigned layouts);

void bat_begin(struct tb *t);
/* Reset, negotiate `features` (of those that are offered), all queues, DRIVER_OK. */
void bat_set_up(struct tb *t, uint64_t features);
/* The other device serves, and so does the program. */
void bat_alive(struct tb *t);
/* Reset and a normal initialisation: all queues are enabled and stay so. */
void bat_again(struct tb *t);
/* That, and the end. */
void bat_end(struct tb *t);

/* All that the device offers. */
#define BAT_ALL UINT64_MAX

#endif
