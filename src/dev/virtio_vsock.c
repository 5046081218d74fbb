/* SPDX-License-Identifier: MIT */
/* virtio_vsock.c - virtio-vsock-pci: sockets between guest and host (Virtio 1.3 §5.10)
 *
 * Three queues: rx (packets for the guest), tx (packets of the guest), and event. This device sends
 * no events, so the buffers of the event queue stay in the ring. The connections are in src/vsock;
 * this file turns chains into packets and packets into chains.
 *
 * Transmit. The header is copied and decoded; the payload is passed on in place, in guest memory.
 * When too many replies wait for the receive queue, the chain is returned to the ring, and
 * transmission continues after the next reply was delivered.
 *
 * Receive. While a connection has a packet, a buffer is popped and filled with header and payload.
 * No buffer is held: if there are none, the guest's notification starts reception again; if there
 * are no packets, a connection does, by vsock_wake().
 *
 * All queues run on one loop, the exit loop or that of an iothread; so do the connections.
 *
 * A reset by the driver closes all connections. They are not part of a saved state.
 */
#include <errno.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/dev.h"
#include "dev/env.h"
#include "dev/virtio_vsock.h"
#include "iothread/iothread.h"
#include "vsock/vsock.h"

/* Connections may use 1/FILES_SHARE of the file descriptors that the process may have. */
#define FILES_SHARE 8

struct virtio_vsock {
	struct vdev v;
	struct vsock *s;
	struct loop *loop;
	struct vqueue *vq[VSOCK_QUEUES];
	bool in_rx;    /* vsock_rx() is running: it sees new packets without a kick */
	bool tx_waits; /* transmission has stopped until a reply is delivered */
	struct loop_task forget;

	/* options */
	char *path, *iothread;
	uint64_t guest_cid, max;
	bool seqpacket;
};

static const struct opt vsock_options[] = {
	{.name = "guest-cid",
	 .type = OPT_UINT,
	 .at = offsetof(struct virtio_vsock, guest_cid),
	 .help = "address of the guest, 3 to 4294967294"},
	{.name = "uds-path",
	 .type = OPT_STRING,
	 .at = offsetof(struct virtio_vsock, path),
	 .help = "socket file for clients of the guest; the guest's own connections go to "
		 "files named after it"},
	{.name = "seqpacket",
	 .type = OPT_BOOL,
	 .at = offsetof(struct virtio_vsock, seqpacket),
	 .def = "on",
	 .help = "offer sockets that keep the boundaries of messages"},
	{.name = "max-connections",
	 .type = OPT_UINT,
	 .at = offsetof(struct virtio_vsock, max),
	 .def = "1024",
	 .min = 1,
	 .max = VSOCK_MAX_LIMIT,
	 .help = "connections at a time"},
	{.name = "iothread",
	 .type = OPT_STRING,
	 .at = offsetof(struct virtio_vsock, iothread),
	 .help = "id of the -object iothread that serves the queues"},
	OPT_END,
};

static struct virtio_vsock *vsock_of(struct vdev *v)
{
	return (struct virtio_vsock *)v;
}

/* --- transmit --- */

static void vsock_tx(struct virtio_vsock *d)
{
	struct vqueue *vq = d->vq[VSOCK_TX];
	struct iovec iov[VSOCK_IOV];
	struct vchain *c;

	while ((c = vq_pop(vq))) {
		uint8_t bytes[VSOCK_HDR_LEN];
		struct vsock_hdr h;
		int n = -1;

		if (vchain_pull(c, bytes, sizeof(bytes))) {
			vsock_hdr_get(&h, bytes);
			if (h.len <= c->out_len - sizeof(bytes))
				n = vchain_out(c, 0, h.len, iov, VSOCK_IOV);
		}
		/* A chain that is shorter than its header says, or has more segments than a socket
		 * takes, is dropped. */
		if (n >= 0 &&
		    !vsock_packet(d->s, &h, iov, (unsigned)n, vdev_has(&d->v, VSOCK_F_SEQPACKET))) {
			d->tx_waits = true;
			vq_unpop(vq, c);
			return;
		}
		vq_push(vq, c, 0);
	}
}

/* --- receive --- */

/* Put the next packet into a buffer of the guest and complete it. Returns false, with the buffer
 * untouched, when there is no packet. */
static bool vsock_fill_chain(struct virtio_vsock *d, struct vchain *c)
{
	uint8_t bytes[VSOCK_HDR_LEN];
	struct iovec iov[VSOCK_IOV];
	struct vsock_hdr h;
	int n;

	n = vchain_in(c, sizeof(bytes), UINT32_MAX, iov, VSOCK_IOV);
	/* A buffer with more than VSOCK_IOV segments is used for one byte of payload only. */
	if (n < 0)
		n = vchain_in(c, sizeof(bytes), 1, iov, VSOCK_IOV);
	if (!vsock_next(d->s, &h, iov, (unsigned)n))
		return false;
	vsock_hdr_put(&h, bytes);
	vchain_put_at(c, 0, bytes, sizeof(bytes));
	vq_push(c->vq, c, (uint32_t)sizeof(bytes) + h.len);
	return true;
}

static void vsock_rx(struct virtio_vsock *d)
{
	struct vqueue *vq = d->vq[VSOCK_RX];
	struct vchain *c;

	d->in_rx = true;
	while (vsock_pending(d->s) && (c = vq_pop(vq))) {
		/* A buffer without room for data cannot hold most packets: return it unused. */
		if (c->in_len <= VSOCK_HDR_LEN) {
			vq_push(vq, c, 0);
		} else if (!vsock_fill_chain(d, c)) {
			vq_unpop(vq, c);
			break;
		}
	}
	d->in_rx = false;
	if (d->tx_waits) {
		d->tx_waits = false;
		vq_kick(d->vq[VSOCK_TX]);
	}
}

static void vsock_kick(struct vqueue *vq)
{
	struct virtio_vsock *d = vsock_of(vq_dev(vq));

	if (vq_index(vq) == VSOCK_RX)
		vsock_rx(d);
	else if (vq_index(vq) == VSOCK_TX)
		vsock_tx(d);
}

static void vsock_wake(void *arg)
{
	struct virtio_vsock *d = arg;

	if (!d->in_rx)
		vq_kick(d->vq[VSOCK_RX]);
}

/* --- life --- */

static void vsock_run_forget(struct loop_task *t)
{
	struct virtio_vsock *d = container_of(t, struct virtio_vsock, forget);

	vsock_reset(d->s);
	d->tx_waits = false;
}

/* If the queues run on another loop, the task is posted to it before their next start is. So the
 * connections are closed before the new driver's first packet is read. */
static void virtio_vsock_reset(struct vdev *v)
{
	struct virtio_vsock *d = vsock_of(v);

	if (loop_is_mine(d->loop))
		vsock_run_forget(&d->forget);
	else
		loop_post(d->loop, &d->forget);
}

int vsock_check_cid(uint64_t cid, struct err *e)
{
	if (cid <= VSOCK_CID_HOST)
		return err_set(e, -EINVAL, "guest-cid property must be greater than 2");
	if (cid >= UINT32_MAX)
		return err_set(e, -EINVAL, "guest-cid property must be less than 4294967295");
	return 0;
}

/* The highest number of connections. The guest opens them, and must not take so many file
 * descriptors that other devices and back ends of the process have none. */
static unsigned max_connections(struct virtio_vsock *d)
{
	struct rlimit files;
	uint64_t share;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || d->max <= files.rlim_cur / FILES_SHARE)
		return (unsigned)d->max;
	share = MAX(files.rlim_cur / FILES_SHARE, 1);
	log_warn("%s: %u connections at a time, not %u: the process may have %u descriptors",
		 vdev_name(&d->v), (unsigned)share, (unsigned)d->max, (unsigned)files.rlim_cur);
	return (unsigned)share;
}

static int virtio_vsock_realize(struct vdev *v, struct dev_env *env, struct err *e)
{
	struct virtio_vsock *d = vsock_of(v);
	struct vsock_config cfg = {
		.name = vdev_name(v),
		.path = d->path,
		.guest_cid = (uint32_t)d->guest_cid,
		.max = max_connections(d),
		.seqpacket = d->seqpacket,
		.wake = vsock_wake,
		.arg = d,
	};
	int rc = vsock_check_cid(d->guest_cid, e);

	d->forget.fn = vsock_run_forget;
	if (rc == 0 && !d->path)
		rc = err_set(e, -EINVAL, "Parameter 'uds-path' is missing");
	d->loop = d->v.exits;
	if (rc == 0 && d->iothread) {
		d->loop = iothread_loop_by_id(env->iothreads, d->iothread, e);
		rc = d->loop ? 0 : -ENOENT;
	}
	if (rc == 0)
		rc = vdev_config_init(v, VSOCK_CFG_LEN, e);
	for (unsigned i = 0; i < VSOCK_QUEUES && rc == 0; i++) {
		d->vq[i] = vdev_queue_add(v, VSOCK_QUEUE_SIZE, d->loop);
		if (!d->vq[i])
			rc = err_nomem(e);
	}
	if (rc < 0)
		return rc;
	put_le64(v->config + VSOCK_CFG_CID, d->guest_cid);
	if (d->seqpacket)
		v->offered |= VSOCK_F_SEQPACKET;
	d->s = vsock_open(&cfg, e);
	if (!d->s)
		return -EINVAL;
	rc = vsock_start(d->s, d->loop);
	return rc < 0 ? err_set(e, rc, "could not listen on %s: %s", d->path, strerror(-rc)) : 0;
}

static void virtio_vsock_unrealize(struct vdev *v)
{
	struct virtio_vsock *d = vsock_of(v);

	vsock_free(d->s);
	d->s = NULL;
}

static const struct vdev_ops vsock_ops = {
	.virtio_id = VSOCK_VIRTIO_ID,
	.pci_class = VSOCK_PCI_CLASS,
	.realize = virtio_vsock_realize,
	.unrealize = virtio_vsock_unrealize,
	.reset = virtio_vsock_reset,
	.kick = vsock_kick,
};

const struct dev_class dev_virtio_vsock = {
	.name = "virtio-vsock-pci",
	.alias = "virtio-vsock",
	.desc = "sockets between guest and host",
	.size = sizeof(struct virtio_vsock),
	.options = vsock_options,
	.virtio = &vsock_ops,
};
