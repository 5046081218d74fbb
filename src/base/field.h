/* SPDX-License-Identifier: MIT */
/* field.h - which members of a struct are state: what a saved device will hold
 *
 * A device file lists, in one table, the members that the guest's driver has brought about and that
 * cannot be had from the options again; each with its type and the range that a loaded value must
 * be in. Rings, status and configuration registers are the core's, and not repeated. What is not
 * flat (open files, connections, waiting frames) is no field: the device says in its comment what
 * becomes of it.
 *
 * The names are part of a format that outlives the program: never renamed, never reused.
 */
#ifndef BASE_FIELD_H
#define BASE_FIELD_H

#include <stddef.h>
#include <stdint.h>

enum field_type {
	FIELD_BOOL,  /* bool or atomic_bool */
	FIELD_UINT,  /* an unsigned integer of `size` bytes, min..max */
	FIELD_BYTES, /* `size` bytes as they are */
};

struct field {
	const char *name; /* NULL ends a table */
	enum field_type type;
	size_t at, size; /* in the struct */
	uint64_t min, max;
};

#define FIELD_(type_, struct_, member, min_, max_)                                    \
	{                                                                             \
		.name = #member, .type = type_, .at = offsetof(struct_, member),      \
		.size = sizeof(((struct_ *)0)->member), .min = (min_), .max = (max_), \
	}
#define FIELD_BOOL(struct_, member)		FIELD_(FIELD_BOOL, struct_, member, 0, 1)
#define FIELD_UINT(struct_, member, min_, max_) FIELD_(FIELD_UINT, struct_, member, min_, max_)
#define FIELD_BYTES(struct_, member)		FIELD_(FIELD_BYTES, struct_, member, 0, 0)
#define FIELD_END            \
	{                    \
		.name = NULL \
	}

#endif
