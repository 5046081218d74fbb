/* SPDX-License-Identifier: MIT */
/* qmp_input.h - cut a stream of bytes into JSON values
 *
 * QMP needs no line ends and no blanks: values may follow each other directly, and one may come in
 * any number of pieces. After an error the rest is skipped up to the next line or the next '{', so
 * that a client can go on. Strings may have single quotes, as QEMU allows.
 */
#ifndef CTL_QMP_INPUT_H
#define CTL_QMP_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/err.h"

#define QMP_DEPTH_MAX 64
#define QMP_VALUE_MAX (256 * 1024) /* bytes of one value */
#define QMP_TOKEN_MAX 16384	   /* of one value */

/* A struct of zeroes is ready for use. */
struct qmp_input {
	char *buf; /* the value so far, with double quotes only */
	size_t len, size;
	unsigned depth, tokens;
	char close[QMP_DEPTH_MAX]; /* what ends each open object and array */
	char quote;		   /* inside a string: its quote */
	bool escape;		   /* the byte before was a backslash */
	bool word;		   /* at top level: inside a bare word */
	bool skip;		   /* after an error: drop input up to the next line or '{' */
};

/* Consume bytes up to the end of the first value or the first error, and return their number.
 * `*value` is the value (the caller owns the reference), or NULL when none is complete: then
 * `e->text` is empty unless there was an error. */
size_t qmp_input_feed(struct qmp_input *in, const char *buf, size_t len, json_t **value,
		      struct err *e);
/* Drop an incomplete value and free the buffer. */
void qmp_input_reset(struct qmp_input *in);

#endif
