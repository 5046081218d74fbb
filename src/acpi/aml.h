/* SPDX-License-Identifier: MIT */
/* aml.h - an encoder for the few ACPI Machine Language constructs that our SSDT needs
 *
 * Writes into a buffer of fixed size; what does not fit is counted and dropped, so the caller
 * checks once, at the end, whether `len` is within `size`. Packages (scopes, methods, ...) are
 * opened and closed in pairs; their length takes two bytes. ACPI 6.5 chapter 20 (AML), 6.4
 * (resource descriptors).
 */
#ifndef ACPI_AML_H
#define ACPI_AML_H

#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf;
	size_t size;
	size_t len; /* may exceed `size`: too much was written */
};

/* --- terms --- */
/* Functions that return a mark open a package; aml_end(mark) closes it, the innermost first. */
void aml_end(struct aml *a, size_t mark);
/* Names are written as in ASL: "\\_SB", "PCI0"; at most one segment. */
void aml_name(struct aml *a, const char *name);
/* The shortest encoding of a constant. */
void aml_int(struct aml *a, uint64_t v);
size_t aml_scope(struct aml *a, const char *name);
size_t aml_device(struct aml *a, const char *name);
size_t aml_method(struct aml *a, const char *name, unsigned args); /* serialized */
void aml_name_int(struct aml *a, const char *name, uint64_t v);
void aml_name_eisaid(struct aml *a, const char *name, const char *id);

/* --- expressions: an opcode followed by operands that the caller writes --- */
enum aml_op {
	AML_STORE = 0x70,     /* value, target */
	AML_ADD = 0x72,	      /* a, b, target */
	AML_INCREMENT = 0x75, /* target */
	AML_SHIFT_LEFT = 0x79,
	AML_SHIFT_RIGHT = 0x7a,
	AML_AND = 0x7b,
	AML_OR = 0x7d,
	AML_INDEX = 0x88, /* package, index, target */
	AML_CREATE_DWORD_FIELD = 0x8a,
	AML_LNOT = 0x92,
	AML_LEQUAL = 0x93,
	AML_LLESS = 0x95,
	AML_RETURN = 0xa4,
};
void aml_op(struct aml *a, enum aml_op op);
void aml_local(struct aml *a, unsigned n);
void aml_arg(struct aml *a, unsigned n);
void aml_no_target(struct aml *a); /* the result is not stored: NullName (20.2.2) */
size_t aml_if(struct aml *a);	   /* then the condition, then the terms */
size_t aml_while(struct aml *a);
size_t aml_package(struct aml *a, unsigned elements);
/* A buffer holding a UUID, as ToUUID() gives. */
void aml_uuid(struct aml *a, const char *uuid);

/* --- Name(name, ResourceTemplate() {...}) --- */
struct aml_template {
	size_t package, size_at, start;
};
struct aml_template aml_template_begin(struct aml *a, const char *name);
void aml_template_end(struct aml *a, struct aml_template t);
/* The descriptors of a template: a window that the bridge forwards to its bus, or (consumer) a
 * range that the device itself decodes. Both ends of a range of buses are included. */
void aml_bus_window(struct aml *a, uint16_t first, uint16_t last);
void aml_memory32_window(struct aml *a, uint32_t base, uint32_t size);
void aml_memory64_window(struct aml *a, uint64_t base, uint64_t size);
void aml_memory64_consumer(struct aml *a, uint64_t base, uint64_t size);

#endif
