/* SPDX-License-Identifier: MIT */
/* vhost_vsock.c - vhost-vsock-pci: sockets between guest and host, served by the kernel
 *
 * Programs of the host use AF_VSOCK sockets and the guest's address. The kernel's /dev/vhost-vsock
 * (src/vhost) serves the receive and transmit queues while the driver runs. This file provides the
 * configuration space and the event queue, which the kernel does not serve and on which this device
 * sends nothing.
 *
 * The queues cannot be served in user space instead. While guest memory is re-mapped they are not
 * served at all; if the kernel refuses a ring or cannot continue with it, the device is broken and
 * needs a reset.
 *
 * realize() runs on the control thread, everything else on the exit loop.
 */
#include <errno.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/dev.h"
#include "dev/virtio_vsock.h"
#include "vhost/kernel.h"
#include "vhost/vhost.h"

#define VHOST_VSOCK "/dev/vhost-vsock"
#define SERVED	    2 /* queues that the kernel serves: rx, tx */

/* The features that change the format of a ring or a packet, so that the kernel must know them. */
#define FOR_KERNEL \
	(VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VSOCK_F_SEQPACKET)

struct vhost_vsock {
	struct vdev v;
	struct vhost *vhost;

	/* options */
	char *vhostfd;
	uint64_t guest_cid;
	uint8_t seqpacket;
};

static const struct opt vhost_vsock_options[] = {
	{.name = "guest-cid",
	 .type = OPT_UINT,
	 .at = offsetof(struct vhost_vsock, guest_cid),
	 .help = "address of the guest, 3 to 4294967294, of no other guest of the host"},
	{.name = "vhostfd",
	 .type = OPT_STRING,
	 .at = offsetof(struct vhost_vsock, vhostfd),
	 .help = "number of an open descriptor of " VHOST_VSOCK},
	{.name = "seqpacket",
	 .type = OPT_ONOFFAUTO,
	 .at = offsetof(struct vhost_vsock, seqpacket),
	 .def = "auto",
	 .help = "offer sockets that keep the boundaries of messages; auto: if the kernel does"},
	OPT_END,
};

static struct vhost_vsock *vhost_vsock_of(struct vdev *v)
{
	return (struct vhost_vsock *)v;
}

static int vhost_set_running(struct vhost *vh, bool on)
{
	return kvhost_vsock_run(vhost_fd(vh), on);
}

static void vhost_report_failed(struct vhost *vh, unsigned index)
{
	vdev_break(vhost_ctx(vh), "queue %u: vhost has given up", index);
}

static const struct vhost_ops vhost_vsock_ops = {.all = vhost_set_running,
						 .failed = vhost_report_failed};

static void vhost_vsock_start(struct vdev *v)
{
	struct err e;

	if (vhost_start(vhost_vsock_of(v)->vhost, v->features & FOR_KERNEL, &e) < 0)
		vdev_break(v, "%s", e.text);
}

static void vhost_vsock_reset(struct vdev *v)
{
	vhost_stop(vhost_vsock_of(v)->vhost);
}

/* The kernel serves the queues; chains in a queue that it does not serve now wait for it. */
static void vhost_vsock_kick(struct vqueue *vq)
{
}

static int choose_features(struct vhost_vsock *d, struct err *e)
{
	uint64_t offers = vhost_features(d->vhost);

	if (!(offers & VIRTIO_F_VERSION_1))
		return err_set(e, -ENOTSUP, "the kernel's vhost does not know virtio 1.0");
	if (d->seqpacket == OPT_ON && !(offers & VSOCK_F_SEQPACKET))
		return err_set(e, -ENOTSUP, "vhost-vsock backend doesn't support seqpacket");
	if (d->seqpacket != OPT_OFF)
		d->v.offered |= VSOCK_F_SEQPACKET;
	/* Ring formats that the kernel does not know cannot be served. */
	d->v.offered &= ~(VIRTIO_F_RING_PACKED | VIRTIO_F_IN_ORDER);
	d->v.offered &= offers | ~FOR_KERNEL;
	return 0;
}

static int open_vhost(struct vhost_vsock *d, struct err *e)
{
	int fd, rc = vhost_memory_ok(d->v.hv, e);

	if (rc < 0)
		return rc;
	fd = vhost_open(VHOST_VSOCK, d->vhostfd, e);
	if (fd < 0)
		return fd;
	d->vhost = vhost_new(fd, &d->v, SERVED, &vhost_vsock_ops, d, e);
	if (!d->vhost)
		return -EIO;
	for (unsigned i = 0; i < SERVED; i++)
		vhost_bind(d->vhost, i, d->v.vq[i]);
	rc = kvhost_vsock_cid(fd, d->guest_cid);
	return rc < 0 ? err_set(e, rc, "unable to set guest cid %llu: %s",
				(unsigned long long)d->guest_cid, strerror(-rc))
		      : 0;
}

static int vhost_vsock_realize(struct vdev *v, struct dev_env *env, struct err *e)
{
	struct vhost_vsock *d = vhost_vsock_of(v);
	int rc = vsock_check_cid(d->guest_cid, e);

	if (rc == 0)
		rc = vdev_config_init(v, VSOCK_CFG_LEN, e);
	for (unsigned i = 0; i < VSOCK_QUEUES && rc == 0; i++)
		if (!vdev_queue_add(v, VSOCK_QUEUE_SIZE, NULL))
			rc = err_nomem(e);
	if (rc == 0)
		rc = open_vhost(d, e);
	if (rc < 0)
		return rc;
	put_le64(v->config + VSOCK_CFG_CID, d->guest_cid);
	return choose_features(d, e);
}

static void vhost_vsock_unrealize(struct vdev *v)
{
	struct vhost_vsock *d = vhost_vsock_of(v);

	vhost_free(d->vhost);
	d->vhost = NULL;
}

static const struct vdev_ops ops = {
	.virtio_id = VSOCK_VIRTIO_ID,
	.pci_class = VSOCK_PCI_CLASS,
	.realize = vhost_vsock_realize,
	.unrealize = vhost_vsock_unrealize,
	.start = vhost_vsock_start,
	.reset = vhost_vsock_reset,
	.kick = vhost_vsock_kick,
};

const struct dev_class dev_vhost_vsock = {
	.name = "vhost-vsock-pci",
	.desc = "sockets between guest and host, served by the kernel",
	.size = sizeof(struct vhost_vsock),
	.options = vhost_vsock_options,
	.virtio = &ops,
};
