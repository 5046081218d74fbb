/* SPDX-License-Identifier: MIT */
/* virtio_serial_port.c - a port of virtio-serial: virtconsole and virtserialport
 *
 * A port connects a chardev with the two queues of its number. It never holds a chain: data that
 * the chardev or the guest cannot accept now stays in the ring or in the chardev, so a pause or a
 * reset waits for nothing.
 *
 * From the guest. Chains are written to the chardev, several small ones with one call. When the
 * chardev is full, the remaining chains are returned to the ring and `out_done` records how many
 * bytes of the first one were written; the port continues when the chardev is writable again. Other
 * ports are not affected. In one turn of the loop a port writes at most TURN_MAX bytes, where each
 * call and each chain counts for at least COST_MIN. What the guest sends while no client is
 * connected is dropped; when a client disconnects, the rest of the chain that was being written is
 * dropped, too. A console differs, as in QEMU: it always counts as connected, and what the chardev
 * does not accept at once is dropped, because drivers send console output with a lock held and wait
 * until the device has used it.
 *
 * To the guest. The chardev is read only while the guest has the port open. Input that exceeds the
 * guest's buffers is held (at most CHARDEV_READ_MAX bytes), and the chardev is paused until the
 * guest has taken it. So the sender is slowed down by its socket, and no input is lost, not even in
 * a reset.
 *
 * VSERPORT_CHANGE is sent when the guest opens or closes a port, at most once a second per port.
 */
#include "dev/virtio_serial.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "dev/env.h"

#define TURN_MAX  (64 * KiB)
#define PIECE	  (16 * KiB) /* bytes written with one system call */
#define BATCH	  32	     /* chains written with one system call */
#define COST_MIN  512	     /* bytes of TURN_MAX that a call or a chain uses at least */
#define PERIOD_NS 1000000000ULL

#define AT(member) offsetof(struct serial_port, member)

static const struct opt port_options[] = {
	{.name = "chardev",
	 .type = OPT_STRING,
	 .at = AT(chardev_id),
	 .help = "id of the -chardev at the other end (default: nobody is there)"},
	{.name = "nr",
	 .type = OPT_UINT,
	 .at = AT(nr),
	 .def = "0xffffffff",
	 .max = UINT32_MAX,
	 .help = "number of the port; 0 is for a console, the default is the first free one"},
	{.name = "name",
	 .type = OPT_STRING,
	 .at = AT(name),
	 .help = "what the guest knows the port by, as in /dev/virtio-ports/NAME"},
	OPT_END,
};

/* --- VSERPORT_CHANGE --- */

static void port_report(struct serial_port *p)
{
	if (!p->sub.id)
		return;
	if (p->quiet) {
		p->change_waits = true;
		return;
	}
	events_post(p->env->events, "VSERPORT_CHANGE",
		    json_pack("{s:s, s:b}", "id", p->sub.id, "open", p->guest_open));
	p->quiet = true;
	loop_timer_set(p->env->io, &p->quiet_end, PERIOD_NS);
}

static void quiet_over(struct loop_timer *t)
{
	struct serial_port *p = container_of(t, struct serial_port, quiet_end);

	p->quiet = false;
	if (p->change_waits) {
		p->change_waits = false;
		port_report(p);
	}
}

/* --- from the guest --- */

void serial_discard(struct vqueue *vq)
{
	struct vchain *c;

	while ((c = vq_pop(vq)))
		vq_push(vq, c, 0);
}

/* Chains that are written to the chardev with one call. */
struct batch {
	struct vchain *c[BATCH];
	unsigned n;
	uint64_t begin; /* bytes of the first chain that were written before */
	size_t len;
	char buf[PIECE];
};

static void batch_gather(struct serial_port *p, struct batch *b)
{
	unsigned max = chardev_has_messages(p->chardev) ? 1 : BATCH;
	struct vchain *c;

	b->n = 0;
	b->len = 0;
	while (b->n < max && b->len < PIECE && (c = vq_pop(p->slot->out))) {
		size_t n;

		if (!b->n)
			c->pulled = b->begin = MIN(p->out_done, c->out_len);
		n = MIN(PIECE - b->len, c->out_len - c->pulled);
		vchain_pull(c, b->buf + b->len, n);
		b->len += n;
		b->c[b->n++] = c;
	}
}

/* The chardev has accepted `took` bytes of the batch: complete the chains that are written, and
 * return the others to the ring. `all`: complete all of them, dropping the rest. */
static void batch_settle(struct serial_port *p, struct batch *b, size_t took, bool all)
{
	struct vqueue *vq = p->slot->out;
	uint64_t begin = b->begin;

	for (unsigned i = 0; i < b->n; i++) {
		struct vchain *c = b->c[i];
		uint64_t n = c->pulled - begin;

		if (!all && (took < n || c->pulled < c->out_len)) {
			p->out_done = begin + MIN(took, n);
			while (b->n > i)
				vq_unpop(vq, b->c[--b->n]);
			return;
		}
		took -= all ? 0 : n;
		begin = 0;
		vq_push(vq, c, 0);
	}
	p->out_done = 0;
}

void serial_port_out(struct serial_port *p)
{
	struct vqueue *vq = p->slot->out;
	struct batch b;
	size_t spent = 0;

	if (!p->host_open) {
		p->out_done = 0;
		serial_discard(vq);
		return;
	}
	while (!p->blocked && spent < TURN_MAX) {
		size_t took;

		batch_gather(p, &b);
		if (!b.n)
			return;
		spent += MAX(b.len, b.n * (size_t)COST_MIN);
		took = b.len ? chardev_write(p->chardev, b.buf, b.len) : 0;
		p->blocked = took < b.len && !p->console;
		batch_settle(p, &b, took, took < b.len && p->console);
	}
	if (!p->blocked)
		vq_kick(vq);
}

void serial_port_emergency(struct serial_port *p, char byte)
{
	chardev_write(p->chardev, &byte, 1);
}

/* --- to the guest --- */

/* May input be delivered to the guest? */
static bool is_reading(const struct serial_port *p)
{
	return p->slot && vdev_running(&p->dev->v) && (p->guest_open || !serial_multiport(p->dev));
}

/* Copy input to the guest's buffers. Returns the number of bytes for which there was room. */
static size_t port_give(struct serial_port *p, const char *buf, size_t len)
{
	struct vqueue *vq = p->slot->in;
	size_t done = 0;

	while (done < len) {
		struct vchain *c = vq_pop(vq);
		size_t n;

		if (!c)
			break;
		n = MIN(len - done, c->in_len);
		vchain_put(c, buf + done, n);
		vq_push(vq, c, (uint32_t)n);
		done += n;
	}
	return done;
}

static void pause_or_read(struct serial_port *p)
{
	if (p->chardev)
		chardev_pause(p->chardev, p->held_len || !is_reading(p));
}

void serial_port_in(struct serial_port *p)
{
	if (p->held_len && is_reading(p)) {
		size_t n = port_give(p, p->held, p->held_len);

		p->held_len -= n;
		memmove(p->held, p->held + n, p->held_len);
	}
	pause_or_read(p);
}

/* --- the chardev --- */

static void port_received(struct chardev_user *u, const char *buf, size_t len)
{
	struct serial_port *p = container_of(u, struct serial_port, user);
	/* p->held is empty: the chardev is paused while it is not. */
	size_t n = is_reading(p) ? port_give(p, buf, len) : 0;

	p->held_len = len - n;
	memcpy(p->held, buf + n, p->held_len);
	pause_or_read(p);
}

static void port_writable(struct chardev_user *u)
{
	struct serial_port *p = container_of(u, struct serial_port, user);

	p->blocked = false;
	if (p->slot)
		vq_kick(p->slot->out);
}

static void host_changed(struct serial_port *p, bool open)
{
	if (p->console || p->host_open == open)
		return;
	p->host_open = open;
	if (!p->slot)
		return;
	if (p->slot->ready)
		serial_tell(p->dev, p->slot, SERIAL_TELL_OPEN);
	vq_kick(p->slot->out);
}

static void port_opened(struct chardev_user *u)
{
	host_changed(container_of(u, struct serial_port, user), true);
}

static void port_closed(struct chardev_user *u)
{
	struct serial_port *p = container_of(u, struct serial_port, user);

	p->blocked = false;
	/* The next client must not get the rest of a chain whose begin this client got. */
	if (p->out_done)
		p->out_done = UINT64_MAX;
	host_changed(p, false);
}

/* --- opened and closed by the guest --- */

void serial_port_set_open(struct serial_port *p, bool open)
{
	if (p->guest_open == open)
		return;
	p->guest_open = open;
	if (p->chardev && !p->console)
		chardev_set_open(p->chardev, open);
	port_report(p);
	serial_port_in(p);
}

void serial_port_reset(struct serial_port *p)
{
	p->out_done = 0;
	serial_port_set_open(p, false);
	pause_or_read(p);
}

/* --- life --- */

struct plug {
	struct serial_port *p;
	struct chardev *chardev;
	struct err *e;
	int rc;
};

/* Attach the chardev and plug the port. Exit loop. */
static void port_plug(void *arg)
{
	struct plug *a = arg;
	struct serial_port *p = a->p;

	if (a->chardev) {
		p->host_open = p->console;
		a->rc = chardev_attach(a->chardev, &p->user, p->env->io, a->e);
		if (a->rc < 0)
			return;
		p->chardev = a->chardev;
		chardev_set_open(p->chardev, p->console);
	}
	serial_plug(p->dev, p);
	pause_or_read(p);
}

static void port_unplug(void *arg)
{
	struct serial_port *p = arg;

	if (p->slot)
		serial_unplug(p);
	if (p->chardev)
		chardev_detach(p->chardev);
	p->chardev = NULL;
	loop_timer_del(&p->quiet_end);
}

static int check_name(struct dev_env *env, const struct serial_port *p, struct err *e)
{
	if (!p->name)
		return 0;
	if (!*p->name || strlen(p->name) > SERIAL_NAME_MAX)
		return err_set(e, -EINVAL, "Parameter 'name' expects 1 to %d bytes",
			       SERIAL_NAME_MAX);
	list_for_each (it, &env->devices) {
		const struct dev *d = list_entry(it, struct dev, link);
		const struct serial_port *o;

		if (!d->class->on_bus || strcmp(d->class->on_bus, SERIAL_BUS) != 0)
			continue;
		o = container_of(d->sub, struct serial_port, sub);
		if (o->name && !strcmp(o->name, p->name))
			return err_set(e, -EEXIST,
				       "virtio-serial-bus: A port already exists by name %s",
				       p->name);
	}
	return 0;
}

static int port_realize(struct dev_sub *sub, struct dev_env *env, bool console, struct err *e)
{
	struct serial_port *p = container_of(sub, struct serial_port, sub);
	struct plug a = {.p = p, .e = e};
	int rc;

	p->env = env;
	p->dev = serial_of(container_of(sub->parent, struct vdev, fn));
	p->console = console;
	p->quiet_end.fn = quiet_over;
	p->user = (struct chardev_user){port_opened, port_closed, port_received, port_writable};
	rc = check_name(env, p, e);
	if (rc == 0)
		rc = serial_choose_nr(p->dev, p, e);
	if (rc < 0)
		return rc;
	if (p->chardev_id && !(a.chardev = chardev_find(env->chardevs, p->chardev_id)))
		return err_set(e, -ENOENT, "Property '%s.chardev' can't find value '%s'", sub->kind,
			       p->chardev_id);
	loop_call(env->io, port_plug, &a);
	if (a.rc == -EBUSY)
		err_set(e, a.rc, "Property '%s.chardev' can't take value '%s', it's in use",
			sub->kind, p->chardev_id);
	return a.rc;
}

static int console_realize(struct dev_sub *sub, struct dev_env *env, struct err *e)
{
	return port_realize(sub, env, true, e);
}

static int serialport_realize(struct dev_sub *sub, struct dev_env *env, struct err *e)
{
	return port_realize(sub, env, false, e);
}

static void port_unrealize(struct dev_sub *sub)
{
	struct serial_port *p = container_of(sub, struct serial_port, sub);

	if (p->env)
		loop_call(p->env->io, port_unplug, p);
}

static const struct dev_sub_ops console_ops = {
	.realize = console_realize,
	.unrealize = port_unrealize,
	.hotplug = true,
};

static const struct dev_sub_ops serialport_ops = {
	.realize = serialport_realize,
	.unrealize = port_unrealize,
	.hotplug = true,
};

/* `host_open` and `blocked` are not saved: the chardev of the restoring process determines them. */
static const struct field port_saved[] = {
	FIELD_BOOL(struct serial_port, guest_open),
	FIELD_UINT(struct serial_port, out_done, 0, UINT64_MAX),
	FIELD_UINT(struct serial_port, held_len, 0, CHARDEV_READ_MAX),
	FIELD_BYTES(struct serial_port, held),
	FIELD_END,
};

const struct dev_class dev_virtconsole = {
	.name = "virtconsole",
	.desc = "a console on virtio-serial: the next free hvcN",
	.size = sizeof(struct serial_port),
	.options = port_options,
	.saved = port_saved,
	.on_bus = SERIAL_BUS,
	.sub = &console_ops,
};

const struct dev_class dev_virtserialport = {
	.name = "virtserialport",
	.desc = "a named stream on virtio-serial",
	.size = sizeof(struct serial_port),
	.options = port_options,
	.saved = port_saved,
	.on_bus = SERIAL_BUS,
	.sub = &serialport_ops,
};
