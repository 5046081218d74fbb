/* SPDX-License-Identifier: MIT */
/* virtio_serial.h - what the files of virtio-serial share
 *
 * virtio_serial.c is the device on the PCI bus: control queues, configuration, set-up and reset.
 * virtio_serial_port.c is a port, which connects a chardev with two queues.
 *
 * Everything runs on the exit loop, which is also the loop of all queues and of the ports'
 * chardevs. The control thread plugs and unplugs a port there by loop_call().
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
	unsigned tell;		  /* pending control messages (SERIAL_TELL_*) */
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

/* Pending control messages; the lowest bit is sent first. */
#define SERIAL_TELL_REMOVE  1u
#define SERIAL_TELL_ADD	    2u
#define SERIAL_TELL_CONSOLE 4u
#define SERIAL_TELL_NAME    8u
#define SERIAL_TELL_OPEN    16u

struct serial_port {
	struct dev_sub sub; /* first */
	struct dev_env *env;
	struct virtio_serial *dev;
	struct serial_slot *slot; /* NULL: not plugged */
	bool console;
	struct chardev *chardev; /* NULL: none, or not attached */
	struct chardev_user user;

	bool host_open;	 /* somebody is at the other end of the chardev */
	bool guest_open; /* somebody in the guest has the port open */
	bool blocked;	 /* the chardev is full: wait for port_writable() */
	/* Bytes of the next chain of the out queue that the chardev has accepted already;
	 * UINT64_MAX: the rest of that chain is to be dropped. */
	uint64_t out_done;
	char held[CHARDEV_READ_MAX]; /* input for which the guest had no buffer */
	size_t held_len;

	/* VSERPORT_CHANGE is sent at most once a second. A change within `quiet` is reported at
	 * its end. */
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

/* Check p->nr, or choose a number as QEMU does if it is UINT32_MAX. 0 or -errno with `e`. */
int serial_choose_nr(struct virtio_serial *s, struct serial_port *p, struct err *e);
/* Exit loop: add the port to its slot, or remove it, and tell the driver. */
void serial_plug(struct virtio_serial *s, struct serial_port *p);
void serial_unplug(struct serial_port *p);
/* Exit loop: send the control messages `what` (SERIAL_TELL_*) for the slot, as soon as the driver
 * has supplied buffers. */
void serial_tell(struct virtio_serial *s, struct serial_slot *slot, unsigned what);
/* Has the driver accepted MULTIPORT? If not, there is only port 0, which is always open. */
bool serial_multiport(const struct virtio_serial *s);

/* --- virtio_serial_port.c --- (exit loop) */

/* The guest has opened or closed the port. */
void serial_port_set_open(struct serial_port *p, bool open);
/* To the guest: deliver held input, if there are buffers, and read the chardev if the guest may be
 * given its input. */
void serial_port_in(struct serial_port *p);
/* From the guest: write the chains of the out queue to the chardev. */
void serial_port_out(struct serial_port *p);
/* The device was reset: close the port. */
void serial_port_reset(struct serial_port *p);
/* Write one byte to the chardev; it is dropped if the chardev is full. */
void serial_port_emergency(struct serial_port *p, char byte);
/* Complete all chains of an out queue without reading them. */
void serial_discard(struct vqueue *vq);

#endif
