/* SPDX-License-Identifier: MIT */
/* gserial.c - the driver of virtio-serial, see gdrivers.h */
#include <string.h>

#include "base/util.h"
#include "gdrivers.h"

#define CTRL_SLOTS 32

struct message {
	uint32_t id;
	uint16_t event, value;
};

static void post_control(struct gserial *s, uintptr_t slot)
{
	struct gseg seg = {s->ctrl_in_at + slot * GSERIAL_CTRL, GSERIAL_CTRL};

	if (gvq_add(&s->ctrl_in, &seg, 0, 1, (void *)slot) < 0)
		guest_panic("serial: no room for a control buffer");
}

static void begin(struct gserial *s, uint64_t want)
{
	struct gvirtio *v = &s->v;

	gv_negotiate(v, want | GV_F_RING);
	for (unsigned i = 0; i < s->ports; i++) {
		struct gserial_port *p = &s->port[i];
		uint64_t in_at = p->in_at, out_at = p->out_at;

		memset(p, 0, sizeof(*p));
		gvq_setup(v, &p->in, i ? 2 * i + 2 : 0, 0);
		gvq_setup(v, &p->out, i ? 2 * i + 3 : 1, 0);
		p->in_at = in_at ? in_at : guest_alloc(v->g, GSERIAL_SLOTS * GSERIAL_CHUNK, 4096);
		p->out_at =
			out_at ? out_at : guest_alloc(v->g, GSERIAL_SLOTS * GSERIAL_CHUNK, 4096);
	}
	s->messages = 0;
	if (!(v->features & GSERIAL_F_MULTIPORT)) {
		gv_start(v);
		return;
	}
	gvq_setup(v, &s->ctrl_in, 2, 0);
	gvq_setup(v, &s->ctrl_out, 3, 0);
	gv_start(v);
	for (unsigned i = 0; i < CTRL_SLOTS; i++)
		post_control(s, i);
	gvq_kick(&s->ctrl_in);
	gserial_control(s, 0xffffffff, GSERIAL_DEVICE_READY, 1);
}

void gserial_open(struct guest *g, struct gserial *s, unsigned nth, unsigned ports, uint64_t want)
{
	memset(s, 0, sizeof(*s));
	gv_open(g, &s->v, GV_SERIAL, nth);
	s->ports = ports;
	s->ctrl_in_at = guest_alloc(g, CTRL_SLOTS * GSERIAL_CTRL, 4096);
	s->ctrl_out_at = guest_alloc(g, 4096, 4096);
	begin(s, want);
}

void gserial_restart(struct gserial *s, uint64_t want)
{
	begin(s, want);
}

void gserial_send_control(struct gserial *s, const void *msg, uint32_t len)
{
	struct gseg seg = {s->ctrl_out_at, len};

	memcpy(guest_ptr(s->v.g, s->ctrl_out_at, len), msg, len);
	if (gvq_add(&s->ctrl_out, &seg, 1, 0, NULL) < 0)
		guest_panic("serial: the control queue is full");
	gvq_kick(&s->ctrl_out);
	gvq_wait(&s->ctrl_out, NULL);
}

void gserial_control(struct gserial *s, uint32_t id, uint16_t event, uint16_t value)
{
	struct message m = {id, event, value};

	gserial_send_control(s, &m, sizeof(m));
}

static void take_message(struct gserial *s, const char *buf, uint32_t len)
{
	struct gserial_port *p;
	struct message m;

	if (len < sizeof(m))
		guest_panic("serial: a control message of %u bytes", len);
	memcpy(&m, buf, sizeof(m));
	if (m.id >= GSERIAL_PORTS)
		guest_panic("serial: control message %u for port %u", m.event, m.id);
	p = &s->port[m.id];
	switch (m.event) {
	case GSERIAL_PORT_ADD:
		p->there = true;
		p->added++;
		gserial_control(s, m.id, GSERIAL_PORT_READY, 1);
		break;
	case GSERIAL_PORT_REMOVE:
		p->there = p->host_open = p->console = false;
		p->removed++;
		break;
	case GSERIAL_CONSOLE_PORT:
		p->console = true;
		break;
	case GSERIAL_PORT_OPEN:
		p->host_open = m.value;
		break;
	case GSERIAL_PORT_NAME:
		len -= (uint32_t)sizeof(m);
		/* QEMU sends the end of the string, too. */
		if (len >= sizeof(p->name))
			guest_panic("serial: a name of %u bytes", len);
		memset(p->name, 0, sizeof(p->name));
		memcpy(p->name, buf + sizeof(m), len);
		break;
	default:
		guest_panic("serial: control message %u", m.event);
	}
}

bool gserial_poll(struct gserial *s)
{
	uint32_t len;
	void *cookie;

	while (gvq_get(&s->ctrl_in, &len, &cookie)) {
		uintptr_t slot = (uintptr_t)cookie;
		char buf[GSERIAL_CTRL];

		if (len > sizeof(buf))
			guest_panic("serial: %u bytes in a control buffer", len);
		memcpy(buf, guest_ptr(s->v.g, s->ctrl_in_at + slot * GSERIAL_CTRL, len), len);
		post_control(s, slot);
		gvq_kick(&s->ctrl_in);
		s->messages++;
		take_message(s, buf, len);
	}
	return true;
}

static void post(struct gserial *s, unsigned nr, uintptr_t slot)
{
	struct gserial_port *p = &s->port[nr];
	struct gseg seg = {p->in_at + slot * GSERIAL_CHUNK, p->buffer};

	if (gvq_add(&p->in, &seg, 0, 1, (void *)slot) < 0)
		guest_panic("serial: no room for an input buffer");
}

void gserial_post(struct gserial *s, unsigned nr, unsigned n, uint32_t size)
{
	s->port[nr].buffer = size;
	for (unsigned i = 0; i < n; i++)
		post(s, nr, i);
	gvq_kick(&s->port[nr].in);
}

bool gserial_read(struct gserial *s, unsigned nr, void *buf, size_t len, unsigned ms)
{
	struct gserial_port *p = &s->port[nr];
	char *to = buf;

	while (len) {
		size_t n = MIN(len, (size_t)p->early_len);
		void *cookie;

		memcpy(to, p->early, n);
		p->early_len -= (uint32_t)n;
		memmove(p->early, p->early + n, p->early_len);
		to += n;
		len -= n;
		if (!len)
			break;
		if (!guest_wait_ms(s->v.g, ms, gvq_get(&p->in, &p->early_len, &cookie)))
			return false;
		if (p->early_len > p->buffer)
			guest_panic("serial: %u bytes in a buffer of %u", p->early_len, p->buffer);
		memcpy(p->early,
		       guest_ptr(s->v.g, p->in_at + (uintptr_t)cookie * GSERIAL_CHUNK,
				 p->early_len),
		       p->early_len);
		post(s, nr, (uintptr_t)cookie);
		gvq_kick(&p->in);
	}
	return true;
}

size_t gserial_queue(struct gserial *s, unsigned nr, const void *buf, size_t len, uint32_t size)
{
	struct gserial_port *p = &s->port[nr];
	size_t done = 0;

	while (gvq_get(&p->out, NULL, NULL))
		;
	while (done < len) {
		/* Buffers are used in turn; the queue has no more entries than there are. */
		struct gseg seg = {p->out_at + p->sent % GSERIAL_SLOTS * GSERIAL_CHUNK,
				   (uint32_t)MIN(len - done, size)};

		if (gvq_add(&p->out, &seg, 1, 0, NULL) < 0)
			break;
		memcpy(guest_ptr(s->v.g, seg.addr, seg.len), (const char *)buf + done, seg.len);
		done += seg.len;
		p->sent++;
	}
	gvq_kick(&p->out);
	return done;
}

bool gserial_write(struct gserial *s, unsigned nr, const void *buf, size_t len, unsigned ms)
{
	struct gserial_port *p = &s->port[nr];
	const char *from = buf;

	while (len) {
		size_t n = gserial_queue(s, nr, from, len, GSERIAL_CHUNK);

		from += n;
		len -= n;
		if (!n && !guest_wait_ms(s->v.g, ms, gvq_used_idx(&p->out) != p->out.used_idx))
			return false;
	}
	while (p->out.free_count < p->out.size) {
		if (!guest_wait_ms(s->v.g, ms, gvq_get(&p->out, NULL, NULL)))
			return false;
	}
	return true;
}
