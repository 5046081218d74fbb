/* SPDX-License-Identifier: MIT */
/* kernel.c - see kernel.h
 *
 * #syscalls: ioctl
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include <linux/vhost.h>
/* virtio/queue.h, included by kernel.h, defines these itself. */
#undef VIRTIO_F_VERSION_1
#undef VIRTIO_F_ACCESS_PLATFORM
#undef VIRTIO_F_RING_PACKED
#undef VIRTIO_F_IN_ORDER
#undef VIRTIO_F_RING_RESET

#include "vhost/kernel.h"

static int vhost_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

int kvhost_own(int fd)
{
	return vhost_ioctl(fd, VHOST_SET_OWNER, NULL);
}

int kvhost_get_features(int fd, uint64_t *features)
{
	return vhost_ioctl(fd, VHOST_GET_FEATURES, features);
}

int kvhost_set_features(int fd, uint64_t features)
{
	return vhost_ioctl(fd, VHOST_SET_FEATURES, &features);
}

int kvhost_set_memory(int fd, const struct gmem_region *r, unsigned n)
{
	struct vhost_memory *m = calloc(1, sizeof(*m) + n * sizeof(m->regions[0]));
	int rc;

	if (!m)
		return -ENOMEM;
	m->nregions = n;
	for (unsigned i = 0; i < n; i++) {
		m->regions[i].guest_phys_addr = r[i].gpa;
		m->regions[i].memory_size = r[i].size;
		m->regions[i].userspace_addr = (uintptr_t)r[i].host;
	}
	rc = vhost_ioctl(fd, VHOST_SET_MEM_TABLE, m);
	free(m);
	return rc;
}

int kvhost_set_ring(int fd, unsigned index, const struct vq_where *w)
{
	struct vhost_vring_state num = {.index = index, .num = w->num};
	struct vhost_vring_state base = {.index = index, .num = w->next};
	struct vhost_vring_addr addr = {
		.index = index,
		.desc_user_addr = (uintptr_t)w->desc,
		.avail_user_addr = (uintptr_t)w->avail,
		.used_user_addr = (uintptr_t)w->used,
	};
	int rc = vhost_ioctl(fd, VHOST_SET_VRING_NUM, &num);

	if (!rc)
		rc = vhost_ioctl(fd, VHOST_SET_VRING_BASE, &base);
	return rc ? rc : vhost_ioctl(fd, VHOST_SET_VRING_ADDR, &addr);
}

int kvhost_get_base(int fd, unsigned index, uint16_t *next)
{
	struct vhost_vring_state base = {.index = index};
	int rc = vhost_ioctl(fd, VHOST_GET_VRING_BASE, &base);

	*next = (uint16_t)base.num;
	return rc;
}

int kvhost_set_fds(int fd, unsigned index, int kick, int call, int err)
{
	const struct {
		unsigned long request;
		int fd;
	} each[] = {
		{VHOST_SET_VRING_KICK, kick},
		{VHOST_SET_VRING_CALL, call},
		{VHOST_SET_VRING_ERR, err},
	};
	int rc = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(each) && !rc; i++) {
		struct vhost_vring_file file = {.index = index, .fd = each[i].fd};

		rc = vhost_ioctl(fd, each[i].request, &file);
	}
	return rc;
}

int kvhost_net_backend(int fd, unsigned index, int tap)
{
	struct vhost_vring_file file = {.index = index, .fd = tap};

	return vhost_ioctl(fd, VHOST_NET_SET_BACKEND, &file);
}

int kvhost_vsock_cid(int fd, uint64_t cid)
{
	return vhost_ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid);
}

int kvhost_vsock_run(int fd, bool on)
{
	int running = on;

	return vhost_ioctl(fd, VHOST_VSOCK_SET_RUNNING, &running);
}
