/* SPDX-License-Identifier: MIT */
/* unit_field.c - the tables of saved members: each row lies in its struct, and no two are one */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "dev/dev.h"

/* The part of a device's struct that belongs to the core and is no row's business. */
static size_t core_of(const struct dev_class *c)
{
	return c->sub	   ? sizeof(struct dev_sub)
	       : c->virtio ? sizeof(struct vdev)
			   : sizeof(struct pci_fn);
}

#define for_each_field(c, f)                                                                \
	for (const struct dev_class *const *c##_ = dev_classes, *c = *c##_; c; c = *++c##_) \
		for (const struct field *f = c->saved; f && f->name; f++)

static void inside(void **state)
{
	for_each_field (c, f) {
		if (!f->size || f->size > c->size || f->at > c->size - f->size)
			fail_msg("%s: %s lies outside of the struct", c->name, f->name);
		if (f->at < core_of(c))
			fail_msg("%s: %s belongs to the core", c->name, f->name);
	}
}

/* Other members share no byte with it: a row that names the wrong one is found this way, too. */
static void distinct(void **state)
{
	for_each_field (c, f)
		for (const struct field *o = f + 1; o->name; o++) {
			if (!strcmp(f->name, o->name))
				fail_msg("%s: two rows %s", c->name, f->name);
			if (f->at < o->at + o->size && o->at < f->at + f->size)
				fail_msg("%s: %s and %s overlap", c->name, f->name, o->name);
		}
}

static void ranges(void **state)
{
	for_each_field (c, f) {
		switch (f->type) {
		case FIELD_BOOL:
			if (f->size != sizeof(bool) || f->min != 0 || f->max != 1)
				fail_msg("%s: %s is no truth value", c->name, f->name);
			break;
		case FIELD_UINT:
			if (f->size != 1 && f->size != 2 && f->size != 4 && f->size != 8)
				fail_msg("%s: %s has %zu bytes", c->name, f->name, f->size);
			if (f->min > f->max ||
			    (f->size < 8 && f->max >= 1ULL << (8 * f->size % 64)))
				fail_msg("%s: range of %s", c->name, f->name);
			break;
		case FIELD_BYTES:
			if (f->min || f->max)
				fail_msg("%s: %s has a range", c->name, f->name);
			break;
		default:
			fail_msg("%s: type of %s", c->name, f->name);
		}
	}
}

/* Names are what a format refers to. */
static void names(void **state)
{
	for_each_field (c, f) {
		size_t n = strspn(f->name, "abcdefghijklmnopqrstuvwxyz0123456789_.[]");

		if (!n || f->name[n] || n > 63)
			fail_msg("%s: name '%s'", c->name, f->name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inside),
		cmocka_unit_test(distinct),
		cmocka_unit_test(ranges),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests_name("field", tests, NULL, NULL);
}
