/* SPDX-License-Identifier: MIT */
/* wire.h - 9P2000.L as bytes: message numbers, and readers and writers that cannot go wrong
 *
 * A reader goes over a copy of the message. When something is missing or too long, it remembers an
 * error, and everything read afterwards is zero or empty: so a handler reads all fields and asks
 * once, at the end, whether the message made sense. A writer whose buffer is full writes no more,
 * but goes on counting.
 *
 * All numbers are little endian; a string is a 16-bit length and its bytes.
 */
#ifndef P9_WIRE_H
#define P9_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "p9/fs/qid.h"

enum {
	P9_RLERROR = 7,
	P9_TSTATFS = 8,
	P9_TLOPEN = 12,
	P9_TLCREATE = 14,
	P9_TSYMLINK = 16,
	P9_TMKNOD = 18,
	P9_TRENAME = 20,
	P9_TREADLINK = 22,
	P9_TGETATTR = 24,
	P9_TSETATTR = 26,
	P9_TXATTRWALK = 30,
	P9_TXATTRCREATE = 32,
	P9_TREADDIR = 40,
	P9_TFSYNC = 50,
	P9_TLOCK = 52,
	P9_TGETLOCK = 54,
	P9_TLINK = 70,
	P9_TMKDIR = 72,
	P9_TRENAMEAT = 74,
	P9_TUNLINKAT = 76,
	P9_TVERSION = 100,
	P9_TAUTH = 102,
	P9_TATTACH = 104,
	P9_TFLUSH = 108,
	P9_TWALK = 110,
	P9_TREAD = 116,
	P9_TWRITE = 118,
	P9_TCLUNK = 120,
	P9_TREMOVE = 122,
};

#define P9_HEADER     7	 /* size[4] type[1] tag[2] */
#define P9_ERROR_LEN  11 /* an Rlerror, for which every request must have room */
#define P9_DATA_AT    11 /* where the data of an Rread and of an Rreaddir begin */
#define P9_WRITE_AT   23 /* where the data of a Twrite begin */
#define P9_MSIZE_MIN  4096
#define P9_MSIZE_MAX  (1u << 20)
#define P9_WALK_MAX   16
#define P9_NAME_MAX   255
#define P9_TARGET_MAX 4095
#define P9_NO_FID     UINT32_MAX
#define P9_NO_TAG     UINT16_MAX

struct p9_reader {
	const uint8_t *at;
	size_t left;
	size_t beyond; /* bytes of the message that were not copied */
	int err;       /* 0 or -errno */
};

uint8_t p9_get8(struct p9_reader *r);
uint16_t p9_get16(struct p9_reader *r);
uint32_t p9_get32(struct p9_reader *r);
uint64_t p9_get64(struct p9_reader *r);
/* A string of at most `max` bytes without NUL inside; `buf` has room for `max` + 1. */
void p9_get_string(struct p9_reader *r, char *buf, size_t max);
#define p9_get_name(r, buf) p9_get_string(r, buf, P9_NAME_MAX)

struct p9_writer {
	uint8_t *at;
	size_t len, room; /* with len > room, what was written did not fit */
};

void p9_put8(struct p9_writer *w, uint8_t v);
void p9_put16(struct p9_writer *w, uint16_t v);
void p9_put32(struct p9_writer *w, uint32_t v);
void p9_put64(struct p9_writer *w, uint64_t v);
void p9_put_string(struct p9_writer *w, const char *s, size_t len);
void p9_put_qid(struct p9_writer *w, const struct p9_qid *q);

#endif
