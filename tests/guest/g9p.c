/* SPDX-License-Identifier: MIT */
/* g9p.c - see g9p.h */
#include "g9p.h"

#include <string.h>

#include "base/util.h"

static void begin(struct g9p *p)
{
	gv_negotiate(&p->v, GV_F_RING | 1);
	gvq_setup(&p->v, &p->q, 0, 0);
	for (unsigned i = 0; i < G9P_REQUESTS; i++)
		p->req[i].busy = false;
	gv_start(&p->v);
}

void g9p_open(struct guest *g, struct g9p *p, unsigned nth)
{
	memset(p, 0, sizeof(*p));
	gv_open(g, &p->v, GV_9P, nth);
	for (unsigned i = 0; i < G9P_REQUESTS; i++) {
		struct g9p_req *r = &p->req[i];

		r->p = p;
		r->at = guest_alloc(g, 2 * G9P_MESSAGE, 4096);
		r->out = guest_ptr(g, r->at, 2 * G9P_MESSAGE);
		r->in = r->out + G9P_MESSAGE;
		r->tag = (uint16_t)i;
	}
	p->data_at = guest_alloc(g, G9P_DATA, 4096);
	p->data = guest_ptr(g, p->data_at, G9P_DATA);
	begin(p);
}

void g9p_restart(struct g9p *p)
{
	begin(p);
}

static struct g9p_req *prepare(struct g9p *p, unsigned type, const char *format, va_list ap)
{
	struct g9p_req *r = p->req, *end = r + G9P_REQUESTS;
	uint8_t *at;

	while (r < end && r->busy)
		r++;
	if (r == end)
		guest_panic("9p: no request is free");
	r->busy = true;
	r->done = false;
	r->written = 0;
	r->room = G9P_MESSAGE;
	memset(r->in, 0xee, 64);
	at = r->out + 7;
	for (; *format; format++) {
		uint64_t v;
		const char *s;
		size_t len;

		switch (*format) {
		case 's':
			s = va_arg(ap, const char *);
			len = strlen(s);
			put_le16(at, (uint16_t)len);
			if (at + 2 + len > r->in)
				guest_panic("9p: the message is too long");
			memcpy(at + 2, s, len);
			at += 2 + len;
			break;
		case 'q':
			put_le64(at, va_arg(ap, uint64_t));
			at += 8;
			break;
		default:
			v = va_arg(ap, unsigned);
			put_le32(at, (uint32_t)v);
			at += *format == 'b' ? 1 : *format == 'w' ? 2 : 4;
		}
	}
	r->len = (uint32_t)(at - r->out);
	put_le32(r->out, r->len);
	r->out[4] = (uint8_t)type;
	put_le16(r->out + 5, type == G9P_VERSION ? 0xffff : r->tag);
	return r;
}

struct g9p_req *g9p_prepare(struct g9p *p, unsigned type, const char *format, ...)
{
	struct g9p_req *r;
	va_list ap;

	va_start(ap, format);
	r = prepare(p, type, format, ap);
	va_end(ap);
	return r;
}

void g9p_queue(struct g9p_req *r, const struct gseg *more, unsigned n_out, unsigned n_in)
{
	struct gseg s[GVQ_INDIRECT];
	unsigned outs = 0, ins = 0;

	if (n_out + n_in + 2 > GVQ_INDIRECT)
		guest_panic("9p: too many segments");
	if (r->len)
		s[outs++] = (struct gseg){r->at, r->len};
	for (unsigned i = 0; i < n_out; i++)
		s[outs++] = more[i];
	if (r->room)
		s[outs + ins++] = (struct gseg){r->at + G9P_MESSAGE, n_in ? G9P_DATA_AT : r->room};
	for (unsigned i = 0; i < n_in; i++)
		s[outs + ins++] = more[n_out + i];
	if (gvq_add(&r->p->q, s, outs, ins, r) < 0)
		guest_panic("9p: the queue is full");
}

void g9p_kick(struct g9p *p)
{
	gvq_kick(&p->q);
}

void g9p_poll(struct g9p *p)
{
	uint32_t len;
	void *cookie;

	while (gvq_get(&p->q, &len, &cookie)) {
		struct g9p_req *r = cookie;

		r->done = true;
		r->written = len;
		r->order = p->returned++;
	}
}

int g9p_wait(struct g9p_req *r)
{
	struct g9p *p = r->p;

	if (!guest_wait(p->v.g, (g9p_poll(p), r->done)))
		guest_panic("9p: no answer to message %u (status 0x%x)", r->out[4],
			    gv_status(&p->v));
	r->busy = false;
	if (r->written < 7 || get_le32(r->in) != r->written ||
	    get_le16(r->in + 5) != get_le16(r->out + 5))
		return -1;
	if (r->in[4] == G9P_LERROR)
		return r->written == 11 ? (int)get_le32(r->in + 7) : -1;
	return r->in[4] == r->out[4] + 1 ? 0 : -1;
}

static int finish(struct g9p *p, struct g9p_req *r)
{
	int rc;

	g9p_queue(r, NULL, 0, 0);
	g9p_kick(p);
	rc = g9p_wait(r);
	p->answer = r->in + 7;
	p->answer_len = MAX(r->written, 7) - 7;
	p->answer_at = 0;
	return rc;
}

int g9p_do(struct g9p *p, unsigned type, const char *format, ...)
{
	struct g9p_req *r;
	va_list ap;

	va_start(ap, format);
	r = prepare(p, type, format, ap);
	va_end(ap);
	return finish(p, r);
}

uint64_t g9p_get(struct g9p *p, unsigned size)
{
	uint64_t v = 0;

	if (p->answer_at + size > p->answer_len)
		guest_panic("9p: the answer is too short");
	memcpy(&v, p->answer + p->answer_at, size);
	p->answer_at += size;
	return le64toh(v);
}

void g9p_get_string(struct g9p *p, char buf[4096])
{
	uint32_t len = (uint32_t)g9p_get(p, 2);

	if (len > 4095 || p->answer_at + len > p->answer_len)
		guest_panic("9p: a string is too long");
	memcpy(buf, p->answer + p->answer_at, len);
	buf[len] = '\0';
	p->answer_at += len;
}

/* --- the usual ones --- */

int g9p_version(struct g9p *p, uint32_t msize)
{
	int rc = g9p_do(p, G9P_VERSION, "ds", msize, "9P2000.L");

	if (!rc)
		p->msize = (uint32_t)g9p_get(p, 4);
	return rc;
}

void g9p_mount(struct g9p *p, uint32_t fid)
{
	int rc = g9p_version(p, G9P_DATA);

	if (!rc)
		rc = g9p_do(p, G9P_ATTACH, "ddssd", fid, ~0u, "", "", 0);
	if (rc)
		guest_panic("9p: mount: %s", strerror(rc));
}

int g9p_walk(struct g9p *p, uint32_t fid, uint32_t to, const char *path)
{
	struct g9p_req *r = g9p_prepare(p, G9P_WALK, "ddw", fid, to, 0);
	uint8_t *at = r->out + r->len;
	unsigned n = 0;
	int rc;

	while (*path) {
		size_t len = strcspn(path, "/");

		put_le16(at, (uint16_t)len);
		memcpy(at + 2, path, len);
		at += 2 + len;
		path += len + (path[len] == '/');
		n++;
	}
	put_le16(r->out + 15, (uint16_t)n);
	r->len = (uint32_t)(at - r->out);
	put_le32(r->out, r->len);
	rc = finish(p, r);
	return !rc && g9p_get(p, 2) != n ? -1 : rc;
}

int g9p_lopen(struct g9p *p, uint32_t fid, uint32_t flags)
{
	return g9p_do(p, G9P_LOPEN, "dd", fid, flags);
}

int g9p_lcreate(struct g9p *p, uint32_t fid, const char *name, uint32_t flags, uint32_t mode)
{
	return g9p_do(p, G9P_LCREATE, "dsddd", fid, name, flags, mode, 0);
}

int g9p_read(struct g9p *p, uint32_t fid, uint64_t off, uint32_t *count)
{
	struct g9p_req *r = g9p_prepare(p, G9P_READ, "dqd", fid, off, *count);
	struct gseg s = {p->data_at, MAX(*count, 1)};
	int rc;

	g9p_queue(r, &s, 0, 1);
	g9p_kick(p);
	rc = g9p_wait(r);
	*count = rc ? 0 : get_le32(r->in + 7);
	return rc;
}

int g9p_write(struct g9p *p, uint32_t fid, uint64_t off, uint32_t *count)
{
	struct g9p_req *r = g9p_prepare(p, G9P_WRITE, "dqd", fid, off, *count);
	struct gseg s = {p->data_at, *count};
	int rc;

	put_le32(r->out, r->len + *count);
	g9p_queue(r, &s, *count ? 1 : 0, 0);
	g9p_kick(p);
	rc = g9p_wait(r);
	*count = rc ? 0 : get_le32(r->in + 7);
	return rc;
}

int g9p_clunk(struct g9p *p, uint32_t fid)
{
	return g9p_do(p, G9P_CLUNK, "d", fid);
}

int g9p_getattr(struct g9p *p, uint32_t fid, struct g9p_attr *a)
{
	int rc = g9p_do(p, G9P_GETATTR, "dq", fid, (uint64_t)0x7ff);

	if (rc)
		return rc;
	g9p_get(p, 8);
	a->qid_type = (uint8_t)g9p_get(p, 1);
	g9p_get(p, 4);
	a->ino = g9p_get(p, 8);
	a->mode = (uint32_t)g9p_get(p, 4);
	a->uid = (uint32_t)g9p_get(p, 4);
	a->gid = (uint32_t)g9p_get(p, 4);
	a->nlink = g9p_get(p, 8);
	a->rdev = g9p_get(p, 8);
	a->size = g9p_get(p, 8);
	g9p_get(p, 8);
	a->blocks = g9p_get(p, 8);
	a->atime = g9p_get(p, 8);
	g9p_get(p, 8);
	a->mtime = g9p_get(p, 8);
	return 0;
}
