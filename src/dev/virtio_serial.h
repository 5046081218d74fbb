/* SPDX-License-Identifier: MIT */
/* virtio_serial.h - what the files of virtio-serial share
 *
 * virtio_serial.c is the device on the PCI bus: control queues, configuration, life.
 * virtio_serial_port.c is a port: a chardev at one end, two queues at the other.
 *
 * Everything runs on the exit loop, which is also the loop of all queues and of the ports'
 * chardevs; a port that comes or goes at run time is handed over by loop_call().
 */
#ifndef DEV_VIRTIO_SERIAL_H
#define DEV_VIRTIO_SERIAL_H

#include "chardev/chardev.h"
#include "dev/dev.h"

#define SERIAL_F_MULTIPORT   (1ULL << 1)
#define SERIAL_F_EMERG_WRITE (1ULL << 2)

#define SERIAL_BUS	"virtio-serial-bus"
#define SERIAL_NAME_MAX 255 /* bytes of a port's name */

struct serial_port;

/* A port number and its queues, whether there is a port or not. */
struct serial_slot {
	struct serial_port *port; /* NULL: none */
	struct vqueue *in, *out;  /* to and from the guest */
	unsigned tell;		  /* control messages that wait for a buffer (SERIAL_TELL_*) */
	bool ready;		  /* the driver has set the port up (PORT_READY) */
	bool told_open;		  /* the last PORT_OPEN that the driver was sent */
};

struct virtio_serial {
	struct vdev v;
	struct dev_env *env;
	struct vqueue *ctrl_in, *ctrl_out; /* to and from the guest */
	struct serial_slot *slot;	   /* `ports` of them */
	bool ready;			   /* DEVICE_READY has come */
	uint64_t emerg_end;		   /* emergency writes: end of the period, ns */
	unsigned emerg_left;		   /* bytes that it still allows */

	/* options */
	uint64_t ports;
	bool emergency;
};

/* In the order in which the driver is to hear them. */
#define SERIAL_TELL_REMOVE  1u
#define SERIAL_TELL_ADD	    2u
#define SERIAL_TELL_CONSOLE 4u
#define SERIAL_TELL_NAME    8u
#define SERIAL_TELL_OPEN    16u

struct serial_port {
	struct dev_sub sub; /* first */
	struct dev_env *env;
	struct virtio_serial *dev;
	struct serial_slot *slot; /* NULL: not there for the guest (yet, or any more) */
	bool console;
	struct chardev *chardev; /* NULL: none, or not attached */
	struct chardev_user user;

	bool host_open;	 /* somebody is at the other end of the chardev */
	bool guest_open; /* somebody in the guest has the port open */
	bool blocked;	 /* the chardev takes nothing: wait for writable() */
	/* Of the chain at the head of the out queue, the bytes that the chardev has taken;
	 * UINT64_MAX: its rest is not wanted. */
	uint64_t out_done;
	char held[CHARDEV_READ_MAX]; /* input for which the guest had no buffer */
	size_t held_len;

	/* VSERPORT_CHANGE: one a second; what changes meanwhile is said at the end. */
	struct loop_timer quiet_end;
	bool quiet, change_waits;

	/* options */
	char *chardev_id, *name;
	uint64_t nr;
};

static inline struct virtio_serial *serial_of(struct vdev *v)
{
	return (struct virtio_serial *)v;
}

/* --- virtio_serial.c --- */

/* A number for `p`, as QEMU chooses it. 0 or -errno with `e`. */
int serial_choose_nr(struct virtio_serial *s, struct serial_port *p, struct err *e);
/* Exit loop: the port appears to the guest, or vanishes from it. */
void serial_plug(struct virtio_serial *s, struct serial_port *p);
void serial_unplug(struct serial_port *p);
/* Exit loop: the driver is to hear `what` (SERIAL_TELL_*) about the slot, as soon as it has a
 * buffer for it. */
void serial_tell(struct virtio_serial *s, struct serial_slot *slot, unsigned what);
/* Does the guest open and close ports? Else all of them (that is, number 0) are open. */
bool serial_multiport(const struct virtio_serial *s);

/* --- virtio_serial_port.c --- (exit loop) */

/* The guest has opened or closed the port. */
void serial_port_set_open(struct serial_port *p, bool open);
/* There may be buffers for input, or output, or the right to read. */
void serial_port_in(struct serial_port *p);
void serial_port_out(struct serial_port *p);
/* The driver is gone, and what it had set up. */
void serial_port_reset(struct serial_port *p);
/* One byte to the chardev, now or never. */
void serial_port_emergency(struct serial_port *p, char byte);
/* Take whatever the guest sends to a slot without anybody at the other end. */
void serial_discard(struct vqueue *vq);

#endif
