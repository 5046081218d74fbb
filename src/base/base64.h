/* SPDX-License-Identifier: MIT */
/* base64.h - bytes as text (RFC 4648, the alphabet with + and /) */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Returns the length of the text, which has no end mark; `out` has room for 4 characters per 3
 * bytes begun. */
size_t base64_encode(const uint8_t *in, size_t len, char *out);
/* Returns how many bytes `s` stands for, -1 when it is not base64; the first `size` of them are in
 * `buf`. What follows a '=' is not looked at. */
ssize_t base64_decode(const char *s, uint8_t *buf, size_t size);

#endif
