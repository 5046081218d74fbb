/* SPDX-License-Identifier: MIT */
/* wire.c - see wire.h */
#include "p9/wire.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

/* Step over the next `len` bytes; returns them, or NULL when the message has fewer. */
static const uint8_t *take_bytes(struct p9_reader *r, size_t len)
{
	const uint8_t *p = r->at;

	if (r->err)
		return NULL;
	if (len > r->left) {
		/* Only a name too long by far makes a message go on behind what was copied. */
		r->err = len - r->left <= r->beyond ? -ENAMETOOLONG : -EPROTO;
		return NULL;
	}
	r->at += len;
	r->left -= len;
	return p;
}

uint8_t p9_get8(struct p9_reader *r)
{
	const uint8_t *p = take_bytes(r, 1);

	return p ? *p : 0;
}

uint16_t p9_get16(struct p9_reader *r)
{
	const uint8_t *p = take_bytes(r, 2);

	return p ? get_le16(p) : 0;
}

uint32_t p9_get32(struct p9_reader *r)
{
	const uint8_t *p = take_bytes(r, 4);

	return p ? get_le32(p) : 0;
}

uint64_t p9_get64(struct p9_reader *r)
{
	const uint8_t *p = take_bytes(r, 8);

	return p ? get_le64(p) : 0;
}

void p9_get_string(struct p9_reader *r, char *buf, size_t max)
{
	size_t len = p9_get16(r);
	const uint8_t *p = take_bytes(r, len);

	*buf = '\0';
	if (!p)
		return;
	if (len > max) {
		r->err = -ENAMETOOLONG;
	} else if (memchr(p, '\0', len)) {
		r->err = -EINVAL;
	} else {
		memcpy(buf, p, len);
		buf[len] = '\0';
	}
}

static void put_bytes(struct p9_writer *w, const void *p, size_t len)
{
	if (w->len <= w->room && len <= w->room - w->len)
		memcpy(w->at + w->len, p, len);
	w->len += len;
}

void p9_put8(struct p9_writer *w, uint8_t v)
{
	put_bytes(w, &v, 1);
}

void p9_put16(struct p9_writer *w, uint16_t v)
{
	v = htole16(v);
	put_bytes(w, &v, sizeof(v));
}

void p9_put32(struct p9_writer *w, uint32_t v)
{
	v = htole32(v);
	put_bytes(w, &v, sizeof(v));
}

void p9_put64(struct p9_writer *w, uint64_t v)
{
	v = htole64(v);
	put_bytes(w, &v, sizeof(v));
}

void p9_put_string(struct p9_writer *w, const char *s, size_t len)
{
	p9_put16(w, (uint16_t)len);
	put_bytes(w, s, len);
}

void p9_put_qid(struct p9_writer *w, const struct p9_qid *q)
{
	p9_put8(w, q->type);
	p9_put32(w, q->version);
	p9_put64(w, q->path);
}
