/* SPDX-License-Identifier: MIT */
/* aml.c - see aml.h */
#include "acpi/aml.h"

#include <stdbool.h>
#include <string.h>

#include "base/util.h"

enum {
	ZERO_OP = 0x00,
	ONE_OP = 0x01,
	NAME_OP = 0x08,
	BYTE_PREFIX = 0x0a,
	WORD_PREFIX = 0x0b,
	DWORD_PREFIX = 0x0c,
	QWORD_PREFIX = 0x0e,
	SCOPE_OP = 0x10,
	BUFFER_OP = 0x11,
	PACKAGE_OP = 0x12,
	METHOD_OP = 0x14,
	EXT_PREFIX = 0x5b,
	EXT_DEVICE_OP = 0x82,
	LOCAL0_OP = 0x60,
	ARG0_OP = 0x68,
	IF_OP = 0xa0,
	WHILE_OP = 0xa2,
};

#define PKG_LENGTH_BYTES  2
#define METHOD_SERIALIZED 0x08

/* Address space descriptors: large items (6.4.3.5). */
enum {
	ITEM_DWORD_SPACE = 0x87,
	ITEM_WORD_SPACE = 0x88,
	ITEM_QWORD_SPACE = 0x8a,
	ITEM_END_TAG = 0x79,

	SPACE_MEMORY = 0,
	SPACE_BUS = 2,

	SPACE_CONSUMER = 1 << 0,
	SPACE_MIN_FIXED = 1 << 2,
	SPACE_MAX_FIXED = 1 << 3,

	MEMORY_READ_WRITE = 1 << 0,
	MEMORY_CACHEABLE = 1 << 1,
};

static void aml_byte(struct aml *a, uint8_t v)
{
	if (a->len < a->size)
		a->buf[a->len] = v;
	a->len++;
}

static void aml_bytes(struct aml *a, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		aml_byte(a, ((const uint8_t *)p)[i]);
}

/* Append the `n` low bytes of `v`, little-endian. */
static void aml_number(struct aml *a, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		aml_byte(a, (uint8_t)(v >> (8 * i)));
}

static void aml_patch(struct aml *a, size_t at, uint8_t v)
{
	if (at < a->size)
		a->buf[at] = v;
}

static size_t aml_begin(struct aml *a)
{
	size_t mark = a->len;

	aml_number(a, 0, PKG_LENGTH_BYTES);
	return mark;
}

void aml_end(struct aml *a, size_t mark)
{
	size_t len = a->len - mark;

	/* PkgLength (20.2.4): the lead byte says that one byte follows and has the low four bits of
	 * the length; the second byte has the next eight. */
	aml_patch(a, mark, (uint8_t)(1 << 6 | (len & 0xf)));
	aml_patch(a, mark + 1, (uint8_t)(len >> 4));
}

void aml_name(struct aml *a, const char *name)
{
	size_t n;

	if (*name == '\\')
		aml_byte(a, (uint8_t)*name++);
	n = strlen(name);
	aml_bytes(a, name, MIN(n, 4));
	for (; n < 4; n++)
		aml_byte(a, '_');
}

void aml_int(struct aml *a, uint64_t v)
{
	if (v <= 1) {
		aml_byte(a, v ? ONE_OP : ZERO_OP);
	} else if (v <= UINT8_MAX) {
		aml_byte(a, BYTE_PREFIX);
		aml_number(a, v, 1);
	} else if (v <= UINT16_MAX) {
		aml_byte(a, WORD_PREFIX);
		aml_number(a, v, 2);
	} else if (v <= UINT32_MAX) {
		aml_byte(a, DWORD_PREFIX);
		aml_number(a, v, 4);
	} else {
		aml_byte(a, QWORD_PREFIX);
		aml_number(a, v, 8);
	}
}

static unsigned hex_digit_value(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

/* Append an identifier like "PNP0A08" as a compressed EISA ID. */
static void aml_eisaid(struct aml *a, const char *id)
{
	/* Three letters of five bits, then four hex digits; big-endian in a DWord. */
	uint32_t v = (uint32_t)((id[0] & 0x1f) << 26 | (id[1] & 0x1f) << 21 | (id[2] & 0x1f) << 16);

	for (unsigned i = 0; i < 4; i++)
		v |= hex_digit_value(id[3 + i]) << (12 - 4 * i);
	aml_byte(a, DWORD_PREFIX);
	aml_number(a, __builtin_bswap32(v), 4);
}

static size_t aml_open_named(struct aml *a, uint8_t op, const char *name)
{
	size_t mark;

	aml_byte(a, op);
	mark = aml_begin(a);
	aml_name(a, name);
	return mark;
}

size_t aml_scope(struct aml *a, const char *name)
{
	return aml_open_named(a, SCOPE_OP, name);
}

size_t aml_device(struct aml *a, const char *name)
{
	aml_byte(a, EXT_PREFIX);
	return aml_open_named(a, EXT_DEVICE_OP, name);
}

size_t aml_method(struct aml *a, const char *name, unsigned args)
{
	size_t mark = aml_open_named(a, METHOD_OP, name);

	aml_byte(a, (uint8_t)(METHOD_SERIALIZED | args));
	return mark;
}

void aml_name_int(struct aml *a, const char *name, uint64_t v)
{
	aml_byte(a, NAME_OP);
	aml_name(a, name);
	aml_int(a, v);
}

void aml_name_eisaid(struct aml *a, const char *name, const char *id)
{
	aml_byte(a, NAME_OP);
	aml_name(a, name);
	aml_eisaid(a, id);
}

void aml_op(struct aml *a, enum aml_op op)
{
	aml_byte(a, (uint8_t)op);
}

void aml_local(struct aml *a, unsigned n)
{
	aml_byte(a, (uint8_t)(LOCAL0_OP + n));
}

void aml_arg(struct aml *a, unsigned n)
{
	aml_byte(a, (uint8_t)(ARG0_OP + n));
}

void aml_no_target(struct aml *a)
{
	aml_byte(a, 0);
}

static size_t aml_open(struct aml *a, uint8_t op)
{
	aml_byte(a, op);
	return aml_begin(a);
}

size_t aml_if(struct aml *a)
{
	return aml_open(a, IF_OP);
}

size_t aml_while(struct aml *a)
{
	return aml_open(a, WHILE_OP);
}

size_t aml_package(struct aml *a, unsigned elements)
{
	size_t mark = aml_open(a, PACKAGE_OP);

	aml_byte(a, (uint8_t)elements);
	return mark;
}

void aml_uuid(struct aml *a, const char *uuid)
{
	/* Positions of the 16 bytes in the text: the first three groups are little-endian. */
	static const uint8_t at[16] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};
	size_t mark = aml_open(a, BUFFER_OP);

	aml_int(a, sizeof(at));
	for (unsigned i = 0; i < sizeof(at); i++)
		aml_byte(a, (uint8_t)(hex_digit_value(uuid[at[i]]) << 4 |
				      hex_digit_value(uuid[at[i] + 1])));
	aml_end(a, mark);
}

struct aml_template aml_template_begin(struct aml *a, const char *name)
{
	struct aml_template t;

	aml_byte(a, NAME_OP);
	aml_name(a, name);
	t.package = aml_open(a, BUFFER_OP);
	/* The size of the buffer is filled in by aml_template_end(). */
	aml_byte(a, WORD_PREFIX);
	t.size_at = a->len;
	aml_number(a, 0, 2);
	t.start = a->len;
	return t;
}

void aml_template_end(struct aml *a, struct aml_template t)
{
	size_t size;

	/* An end tag with checksum 0, which is always taken as correct (6.4.2.9). */
	aml_byte(a, ITEM_END_TAG);
	aml_byte(a, 0);
	size = a->len - t.start;
	aml_patch(a, t.size_at, (uint8_t)size);
	aml_patch(a, t.size_at + 1, (uint8_t)(size >> 8));
	aml_end(a, t.package);
}

/* Append an address space descriptor for `size` addresses from `first` on. Its granularity,
 * minimum, maximum, translation and length have `width` bytes each. */
static void aml_address_space(struct aml *a, uint8_t item, unsigned width, uint8_t type,
			      uint8_t flags, uint8_t type_flags, uint64_t first, uint64_t size)
{
	aml_byte(a, item);
	aml_number(a, 3 + 5 * width, 2);
	aml_byte(a, type);
	aml_byte(a, flags | SPACE_MIN_FIXED | SPACE_MAX_FIXED);
	aml_byte(a, type_flags);
	aml_number(a, 0, width);
	aml_number(a, first, width);
	aml_number(a, first + size - 1, width);
	aml_number(a, 0, width);
	aml_number(a, size, width);
}

void aml_bus_window(struct aml *a, uint16_t first, uint16_t last)
{
	aml_address_space(a, ITEM_WORD_SPACE, 2, SPACE_BUS, 0, 0, first,
			  (uint64_t)last - first + 1);
}

void aml_memory32_window(struct aml *a, uint32_t base, uint32_t size)
{
	aml_address_space(a, ITEM_DWORD_SPACE, 4, SPACE_MEMORY, 0, MEMORY_READ_WRITE, base, size);
}

void aml_memory64_window(struct aml *a, uint64_t base, uint64_t size)
{
	aml_address_space(a, ITEM_QWORD_SPACE, 8, SPACE_MEMORY, 0,
			  MEMORY_READ_WRITE | MEMORY_CACHEABLE, base, size);
}

void aml_memory64_consumer(struct aml *a, uint64_t base, uint64_t size)
{
	aml_address_space(a, ITEM_QWORD_SPACE, 8, SPACE_MEMORY, SPACE_CONSUMER, MEMORY_READ_WRITE,
			  base, size);
}
