/* SPDX-License-Identifier: MIT */
/* virtio_net_vhost.c - virtio-net with the kernel's vhost-net, which moves frames between the tap
 * and the guest without this process
 *
 * Each queue pair has one descriptor of /dev/vhost-net; its queue 0 receives and its queue 1
 * transmits, both on the pair's tap. The rest of the device is as without vhost: the features are
 * the same, the control queue is served in this process, and virtio_net_data.c serves a pair
 * whenever the kernel does not (vhost.h says when). The kernel serves a pair while the driver runs
 * and uses the pair, and the link is up.
 *
 * The kernel delivers every frame that the tap has: the receive filter has no effect (as with
 * QEMU).
 *
 * If vhost is not available, frames are moved in user space and one warning is logged; with
 * vhostforce=on it is an error at the start.
 *
 * Initialization runs on the control thread, everything else on the exit loop.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/virtio_net_int.h"
#include "vhost/kernel.h"

#define VHOST_NET "/dev/vhost-net"
#define RX	  0
#define TX	  1

/* The features that change the format of a ring or of a frame's header, so that the kernel must
 * know them. */
#define FOR_KERNEL                                                                            \
	(VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | NET_F_MRG_RXBUF | \
	 VIRTIO_F_RING_PACKED | VIRTIO_F_IN_ORDER)

static int set_queue(struct vhost *vh, unsigned index, bool on)
{
	struct net_pair *p = vhost_ctx(vh);

	return kvhost_net_backend(vhost_fd(vh), index, on ? netq_fd(p->q) : -1);
}

static const struct vhost_ops ops = {.queue = set_queue};

/* Copy the element for pair `index` of a list a:b:... Returns false when there is none, or when it
 * does not fit. */
static bool list_word(const char *list, unsigned index, char *out, size_t room)
{
	size_t len;

	while (index--) {
		list = strchr(list, ':');
		if (!list++)
			return false;
	}
	len = strcspn(list, ":");
	if (len >= room)
		return false;
	memcpy(out, list, len);
	out[len] = '\0';
	return true;
}

static int open_pair(struct net_pair *p, const struct net_vhost *how, struct err *e)
{
	char fd_name[24];
	int fd;

	if (how->fds && !list_word(how->fds, p->index, fd_name, sizeof(fd_name)))
		return err_set(e, -EINVAL, "'%s' names no descriptor for queue pair %u", how->fds,
			       p->index);
	fd = vhost_open(VHOST_NET, how->fds ? fd_name : NULL, e);
	if (fd < 0)
		return fd;
	p->vhost = vhost_new(fd, &p->n->v, 2, &ops, p, e);
	if (!p->vhost)
		return -EIO;
	if (!(vhost_features(p->vhost) & VIRTIO_F_VERSION_1))
		return err_set(e, -ENOTSUP, "the kernel's vhost does not know virtio 1.0");
	vhost_bind(p->vhost, RX, p->rx);
	vhost_bind(p->vhost, TX, p->tx);
	return 0;
}

/* Open vhost for all pairs; if one fails, none has it. */
static int open_all(struct virtio_net *n, const struct net_vhost *how, struct err *e)
{
	int rc = vhost_memory_ok(n->v.hv, e);

	for (unsigned i = 0; i < n->pairs && !rc; i++)
		rc = open_pair(&n->pair[i], how, e);
	if (rc < 0)
		net_vhost_fini(n);
	return rc;
}

int net_vhost_init(struct virtio_net *n, struct err *e)
{
	const struct net_vhost *how = n->nd ? netdev_vhost(n->nd) : NULL;
	struct err why;
	int rc;

	if (!how)
		return 0;
	rc = open_all(n, how, &why);
	if (rc < 0 && how->force)
		return err_set(e, rc,
			       "netdev '%s': vhost-net requested but could not be "
			       "initialized: %s",
			       n->netdev, why.text);
	if (rc < 0)
		log_warn("%s: netdev '%s' without vhost, frames are moved in user space: %s",
			 vdev_name(&n->v), n->netdev, why.text);
	return 0;
}

void net_vhost_fini(struct virtio_net *n)
{
	for (unsigned i = 0; i < n->pairs && n->pair; i++) {
		vhost_free(n->pair[i].vhost);
		n->pair[i].vhost = NULL;
	}
}

static void vhost_begin(struct net_pair *p)
{
	struct virtio_net *n = p->n;
	uint64_t features = n->v.features & FOR_KERNEL;
	struct err e;

	if (!n->has_hdr)
		features |= VHOST_NET_HDR; /* the kernel adds the header: the tap has none */
	if (vhost_start(p->vhost, features, &e) < 0) {
		log_guest(&n->v.fn.rate, vdev_name(&n->v),
			  "queue pair %u is served in user space: %s", p->index, e.text);
		return;
	}
	p->vhosted = true;
}

void net_vhost_update(struct virtio_net *n, unsigned pairs)
{
	for (unsigned i = 0; i < n->pairs; i++) {
		struct net_pair *p = &n->pair[i];
		bool want = p->vhost && i < pairs && n->link_up;

		if (want && !p->vhosted) {
			vhost_begin(p);
		} else if (!want && p->vhosted) {
			vhost_stop(p->vhost);
			p->vhosted = false;
		}
	}
}
