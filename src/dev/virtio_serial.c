/* SPDX-License-Identifier: MIT */
/* virtio_serial.c - virtio-serial-pci: consoles and serial ports (Virtio 1.3 §5.3)
 *
 * The device is a bus of up to `max_ports` ports (virtio_serial_port.c). Every port number has a
 * pair of queues from the start, so that ports can be plugged and unplugged; on a pair of control
 * queues the device tells the driver which ports exist.
 *
 * To the driver. A pending control message is one bit in the slot of its port number; the message
 * is composed when there is a buffer for it. So no message is lost, and a driver that supplies no
 * buffers cannot make the device store more than those bits; once it supplies them, it gets the
 * latest state of each port. A buffer that is too short for the message is completed empty.
 *
 * From the driver. A message has 8 bytes. Further bytes of a chain are ignored; shorter messages,
 * and those for a port that does not exist, are dropped, as in QEMU.
 *
 * A driver without MULTIPORT sees only port 0, which is then always open.
 *
 * The emergency write register passes one byte to the first console without using a queue. More
 * than EMERG_MAX bytes in EMERG_PERIOD_NS are dropped.
 *
 * A saved state holds `ready` and, per port number, `tell`, `ready` and `told_open` of its slot;
 * the members of the ports are in their class's table. The limits on emergency writes and on events
 * are not saved.
 */
#include "dev/virtio_serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/env.h"

#define DATA_QUEUE	128 /* entries */
#define CTRL_QUEUE	32
#define PORTS_MAX	511 /* with the control queues, as many as there are doorbells */
#define VECTORS		2   /* default: one for the configuration, one for all queues */
#define EMERG_MAX	4096
#define EMERG_PERIOD_NS (100 * 1000000ULL)

/* Device configuration. */
enum { CFG_PORTS = 4, CFG_EMERG = 8, CFG_LEN = 12 };

/* §5.3.6.2 */
enum {
	DEVICE_READY = 0,
	PORT_ADD = 1,
	PORT_REMOVE = 2,
	PORT_READY = 3,
	CONSOLE_PORT = 4,
	PORT_OPEN = 6,
	PORT_NAME = 7,
};

struct control {
	uint32_t id;
	uint16_t event, value;
};

static const struct opt serial_options[] = {
	{.name = "max_ports",
	 .type = OPT_UINT,
	 .at = offsetof(struct virtio_serial, ports),
	 .def = "31",
	 .min = 1,
	 .max = PORTS_MAX,
	 .help = "port numbers; each has two queues"},
	{.name = "emergency-write",
	 .type = OPT_BOOL,
	 .at = offsetof(struct virtio_serial, emergency),
	 .def = "on",
	 .help = "offer the register through which a dying guest says its last"},
	OPT_END,
};

bool serial_multiport(const struct virtio_serial *s)
{
	return vdev_has(&s->v, SERIAL_F_MULTIPORT);
}

static unsigned slot_nr(const struct virtio_serial *s, const struct serial_slot *slot)
{
	return (unsigned)(slot - s->slot);
}

/* --- to the driver --- */

/* Compose the message for bit `what` of a slot in `buf`. Returns its length, or 0 when it is no
 * longer needed. */
static size_t make_message(struct virtio_serial *s, struct serial_slot *slot, unsigned what,
			   char *buf)
{
	const struct serial_port *p = slot->port;
	struct control c = {.id = slot_nr(s, slot), .value = 1};
	size_t name = 0;

	switch (what) {
	case SERIAL_TELL_REMOVE:
		c.event = PORT_REMOVE;
		break;
	case SERIAL_TELL_ADD:
		c.event = PORT_ADD;
		break;
	case SERIAL_TELL_CONSOLE:
		c.event = CONSOLE_PORT;
		break;
	case SERIAL_TELL_NAME:
		c.event = PORT_NAME;
		name = strlen(p->name); /* without the NUL: §5.3.6.2 */
		memcpy(buf + sizeof(c), p->name, name);
		break;
	default:
		if (p->host_open == slot->told_open)
			return 0;
		c.event = PORT_OPEN;
		c.value = p->host_open;
		break;
	}
	memcpy(buf, &c, sizeof(c));
	return sizeof(c) + name;
}

/* Send the pending messages of all slots, as far as the driver has supplied buffers. */
static void tell_all(struct virtio_serial *s)
{
	char buf[sizeof(struct control) + SERIAL_NAME_MAX];

	for (unsigned nr = 0; nr < s->ports; nr++) {
		struct serial_slot *slot = &s->slot[nr];

		while (slot->tell) {
			unsigned what = slot->tell & -slot->tell;
			size_t len = make_message(s, slot, what, buf);
			struct vchain *c = len ? vq_pop(s->ctrl_in) : NULL;

			if (len && !c)
				return; /* the driver notifies when it adds a buffer */
			if (len && !vchain_put(c, buf, len)) {
				vq_push(s->ctrl_in, c, 0);
				continue;
			}
			if (len)
				vq_push(s->ctrl_in, c, (uint32_t)len);
			slot->tell &= ~what;
			if (len && what == SERIAL_TELL_OPEN)
				slot->told_open = slot->port->host_open;
		}
	}
}

void serial_tell(struct virtio_serial *s, struct serial_slot *slot, unsigned what)
{
	if (!serial_multiport(s) || !s->ready)
		return;
	slot->tell |= what;
	tell_all(s);
}

/* --- from the driver --- */

static void port_ready(struct virtio_serial *s, struct serial_slot *slot)
{
	const struct serial_port *p = slot->port;

	slot->ready = true;
	slot->told_open = false;
	serial_tell(s, slot,
		    (p->console ? SERIAL_TELL_CONSOLE : 0) | (p->name ? SERIAL_TELL_NAME : 0) |
			    SERIAL_TELL_OPEN);
}

static void device_ready(struct virtio_serial *s)
{
	s->ready = true;
	for (unsigned nr = 0; nr < s->ports; nr++)
		if (s->slot[nr].port)
			s->slot[nr].tell |= SERIAL_TELL_ADD;
	tell_all(s);
}

static void take_message(struct virtio_serial *s, const struct control *c)
{
	struct serial_slot *slot = c->id < s->ports ? &s->slot[c->id] : NULL;
	struct log_rate *rate = &s->v.fn.rate;
	const char *who = vdev_name(&s->v);

	if (c->event == DEVICE_READY && c->value) {
		device_ready(s);
	} else if (c->event == DEVICE_READY) {
		log_guest(rate, who, "the guest's driver could not set up the device");
	} else if (!slot || !slot->port) {
		log_guest(rate, who, "control message %u for port %u, which is not there", c->event,
			  c->id);
	} else if (c->event == PORT_READY && c->value) {
		port_ready(s, slot);
	} else if (c->event == PORT_READY) {
		log_guest(rate, who, "the guest's driver could not set up port %u", c->id);
	} else if (c->event == PORT_OPEN) {
		serial_port_set_open(slot->port, c->value);
	} else {
		log_guest(rate, who, "unknown control message %u", c->event);
	}
}

static void take_messages(struct virtio_serial *s)
{
	struct vchain *chain;

	while ((chain = vq_pop(s->ctrl_out))) {
		struct control c;
		bool whole = vchain_pull(chain, &c, sizeof(c));

		vq_push(s->ctrl_out, chain, 0);
		if (whole && serial_multiport(s))
			take_message(s, &c);
	}
}

static void serial_kick(struct vqueue *vq)
{
	struct virtio_serial *s = serial_of(vq_dev(vq));
	struct serial_slot *slot = vq_priv(vq);

	if (vq == s->ctrl_in)
		tell_all(s);
	else if (vq == s->ctrl_out)
		take_messages(s);
	else if (vq == slot->in && slot->port)
		serial_port_in(slot->port);
	else if (vq == slot->out && slot->port)
		serial_port_out(slot->port);
	else if (vq == slot->out)
		serial_discard(vq);
}

/* The chain to which `out_done` refers is lost with the ring. */
static void serial_quiesce(struct vqueue *vq)
{
	struct serial_slot *slot = vq_priv(vq);

	if (slot && slot->port && vq == slot->out)
		slot->port->out_done = 0;
}

/* --- the configuration space --- */

static struct serial_port *first_console(struct virtio_serial *s)
{
	for (unsigned nr = 0; nr < s->ports; nr++) {
		struct serial_port *p = s->slot[nr].port;

		if (p && p->console && p->host_open)
			return p;
	}
	return NULL;
}

static void serial_config_written(struct vdev *v, unsigned off, unsigned len)
{
	static const char none[CFG_LEN - CFG_EMERG];
	struct virtio_serial *s = serial_of(v);
	uint64_t now = loop_now(v->exits);
	char byte = (char)v->config[CFG_EMERG];
	struct serial_port *p;

	if (!s->emergency || !memcmp(v->config + CFG_EMERG, none, sizeof(none)))
		return;
	memset(v->config + CFG_EMERG, 0, CFG_LEN - CFG_EMERG);
	if (now >= s->emerg_end) {
		s->emerg_end = now + EMERG_PERIOD_NS;
		s->emerg_left = EMERG_MAX;
	}
	p = first_console(s);
	if (!p || !s->emerg_left)
		return;
	s->emerg_left--;
	serial_port_emergency(p, byte);
}

/* --- ports --- */

int serial_choose_nr(struct virtio_serial *s, struct serial_port *p, struct err *e)
{
	if (p->nr == UINT32_MAX) {
		/* Number 0 is kept for a console. */
		p->nr = p->console ? 0 : 1;
		while (p->nr < s->ports && s->slot[p->nr].port)
			p->nr++;
		if (p->nr == s->ports)
			return err_set(e, -ENOSPC,
				       "virtio-serial-bus: Maximum port limit for this device "
				       "reached");
	}
	if (p->nr >= s->ports)
		return err_set(e, -EINVAL,
			       "virtio-serial-bus: Out-of-range port id specified, max. allowed: "
			       "%llu",
			       (unsigned long long)s->ports - 1);
	if (s->slot[p->nr].port)
		return err_set(e, -EEXIST, "virtio-serial-bus: A port already exists at id %llu",
			       (unsigned long long)p->nr);
	if (!p->nr && !p->console)
		return err_set(e, -EINVAL,
			       "Port number 0 on virtio-serial devices reserved for virtconsole "
			       "devices for backward compatibility.");
	return 0;
}

void serial_plug(struct virtio_serial *s, struct serial_port *p)
{
	struct serial_slot *slot = &s->slot[p->nr];

	slot->port = p;
	p->slot = slot;
	serial_tell(s, slot, SERIAL_TELL_ADD);
}

void serial_unplug(struct serial_port *p)
{
	struct virtio_serial *s = p->dev;
	struct serial_slot *slot = p->slot;
	/* A port that the driver was not told of yet need not be removed. */
	bool untold = slot->tell & SERIAL_TELL_ADD;

	slot->port = NULL;
	p->slot = NULL;
	slot->ready = slot->told_open = false;
	slot->tell &= SERIAL_TELL_REMOVE;
	if (!untold)
		serial_tell(s, slot, SERIAL_TELL_REMOVE);
	/* Have serial_kick() discard what the guest has sent to the port. */
	vq_kick(slot->out);
}

/* --- life --- */

static void serial_start(struct vdev *v)
{
	struct virtio_serial *s = serial_of(v);

	/* A driver without MULTIPORT sends no PORT_OPEN: its port may be read from now on. */
	for (unsigned nr = 0; nr < s->ports; nr++)
		if (s->slot[nr].port)
			serial_port_in(s->slot[nr].port);
}

static void serial_reset(struct vdev *v)
{
	struct virtio_serial *s = serial_of(v);

	s->ready = false;
	for (unsigned nr = 0; nr < s->ports; nr++) {
		struct serial_slot *slot = &s->slot[nr];

		slot->tell = 0;
		slot->ready = slot->told_open = false;
		if (slot->port)
			serial_port_reset(slot->port);
	}
}

static struct vqueue *add_queue(struct virtio_serial *s, unsigned size, struct serial_slot *slot)
{
	struct vqueue *vq = vdev_queue_add(&s->v, size, NULL);

	if (vq)
		vq_set_priv(vq, slot);
	return vq;
}

/* §5.3.2: the numbers of the control queues follow those of port 0. */
static int add_queues(struct virtio_serial *s)
{
	for (unsigned nr = 0; nr < s->ports; nr++) {
		struct serial_slot *slot = &s->slot[nr];

		slot->in = add_queue(s, DATA_QUEUE, slot);
		slot->out = add_queue(s, DATA_QUEUE, slot);
		if (!slot->in || !slot->out)
			return -ENOMEM;
		if (nr)
			continue;
		s->ctrl_in = add_queue(s, CTRL_QUEUE, NULL);
		s->ctrl_out = add_queue(s, CTRL_QUEUE, NULL);
		if (!s->ctrl_in || !s->ctrl_out)
			return -ENOMEM;
	}
	return 0;
}

static int serial_realize(struct vdev *v, struct dev_env *env, struct err *e)
{
	struct virtio_serial *s = serial_of(v);
	uint32_t ports = (uint32_t)s->ports;
	int rc = vdev_config_init(v, s->emergency ? CFG_LEN : CFG_EMERG, e);

	if (rc < 0)
		return rc;
	s->env = env;
	s->slot = calloc(s->ports, sizeof(*s->slot));
	if (!s->slot || add_queues(s) < 0)
		return err_nomem(e);
	memcpy(v->config + CFG_PORTS, &ports, sizeof(ports));
	v->offered |= SERIAL_F_MULTIPORT;
	if (s->emergency) {
		v->offered |= SERIAL_F_EMERG_WRITE;
		memset(v->config_wmask + CFG_EMERG, 0xff, CFG_LEN - CFG_EMERG);
	}
	if (v->opt_vectors == UINT32_MAX)
		v->opt_vectors = VECTORS;
	return 0;
}

static void serial_unrealize(struct vdev *v)
{
	free(serial_of(v)->slot);
}

static const struct vdev_ops serial_ops = {
	.virtio_id = 3,
	.pci_class = 0x078000,
	.realize = serial_realize,
	.unrealize = serial_unrealize,
	.start = serial_start,
	.reset = serial_reset,
	.config_written = serial_config_written,
	.kick = serial_kick,
	.quiesce = serial_quiesce,
};

static const struct field serial_saved[] = {
	FIELD_BOOL(struct virtio_serial, ready),
	FIELD_END,
};

const struct dev_class dev_virtio_serial = {
	.name = "virtio-serial-pci",
	.alias = "virtio-serial",
	.desc = "a bus of consoles and serial ports",
	.size = sizeof(struct virtio_serial),
	.options = serial_options,
	.saved = serial_saved,
	.virtio = &serial_ops,
	.bus = SERIAL_BUS,
};
