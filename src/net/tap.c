/* SPDX-License-Identifier: MIT */
/* tap.c - -netdev tap: an interface of the host
 *
 * This file owns one descriptor of /dev/net/tun per queue pair. It opens the interface by name
 * (ifname=, created when it does not exist), or gets the descriptors from the caller (fd=, fds=) or
 * from QEMU's bridge helper (helper=). With IFF_VNET_HDR each frame carries the 12-byte virtio-net
 * header, so that checksums and segmentation can be left to the guest, the kernel or the hardware.
 * The kernel checks the header again, so a guest may write anything into it.
 *
 * A pair that is not in use is detached (TUNSETQUEUE), or the kernel would steer flows to it.
 * Offloads are a property of the interface, set through the first queue, which is never detached.
 *
 * tapif.c adds the interface to a bridge or runs the scripts, once at the start and once at the
 * end.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/heir.h"
#include "base/log.h"
#include "net/backend.h"
#include "net/helper.h"
#include "net/tapif.h"
#include "net/tapring.h"

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define TUN_DEVICE "/dev/net/tun"
#define BATCH_MIN  4 /* from this number of frames on an io_uring is faster */

struct tap {
	struct netdev nd;
	struct tapif itf;
	short flags;	  /* IFF_*, as the interface was opened */
	bool no_batch;	  /* the kernel does not write a batch within the call */
	struct heir heir; /* the child process that runs tap_undo() at the end */

	/* options */
	char *ifname, *fd, *fds, *br, *helper, *script, *downscript;
	char *vhostfd, *vhostfds;
	uint64_t queues, sndbuf;
	bool vnet_hdr, vhost, vhostforce;
};

#define ROW(n, t, ...)                                                                  \
	{                                                                               \
		.name = #n, .type = OPT_##t, .at = offsetof(struct tap, n), __VA_ARGS__ \
	}
static const struct opt tap_options[] = {
	ROW(ifname, STRING, .help = "interface to use, created when it does not exist"),
	ROW(fd, STRING, .help = "descriptor of an open tap, instead of ifname"),
	ROW(fds, STRING, .help = "descriptors a:b:... of an open tap, one per queue pair"),
	ROW(queues, UINT, .min = 1, .max = NET_PAIRS_MAX, .def = "1",
	    .help = "queue pairs to open on ifname"),
	ROW(vnet_hdr, BOOL, .def = "on", .help = "checksum and segmentation offloads"),
	ROW(sndbuf, SIZE, .max = INT_MAX, .help = "limit of the send buffer, 0 for none"),
	ROW(script, STRING, .def = "/etc/qemu-ifup",
	    .help = "run with the interface at the begin, or no"),
	ROW(downscript, STRING, .def = "/etc/qemu-ifdown",
	    .help = "run with the interface at the end, or no"),
	ROW(br, STRING, .help = "bridge to join when script=no"),
	ROW(vhost, BOOL,
	    .help = "frames are moved by the kernel (vhost-net), without receive filter"),
	ROW(vhostforce, BOOL, .help = "an error when vhost-net cannot be had"),
	ROW(vhostfd, STRING, .help = "descriptor of vhost-net"),
	ROW(vhostfds, STRING, .help = "descriptors of vhost-net, one per queue pair"),
	ROW(helper, STRING, .help = "program that opens the tap on br, as -netdev bridge"),
	{.name = "poll-us", .type = OPT_IGNORED},
	OPT_END,
};
#undef ROW

static bool script_is_no(const char *script)
{
	return !*script || !strcmp(script, "no");
}

/* Refuse options whose values a descriptor from the caller has already. */
static int tap_reject_with_fd(struct kvs *k, struct err *e)
{
	static const char *const fixed[] = {"ifname",	"script", "downscript",
					    "vnet_hdr", "queues", "br"};

	for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++)
		if (kvs_get(k, fixed[i]))
			return err_set(e, -EINVAL,
				       "Parameter '%s' cannot be used together with fd= or fds=",
				       fixed[i]);
	return 0;
}

/* Set the sizes of the header and of the send buffer, and find out which offloads exist. */
static int tap_setup(struct tap *t, int fd, struct err *e)
{
	int hdr = NET_HDR_LEN, sndbuf = t->sndbuf ? (int)t->sndbuf : INT_MAX;

	if (ioctl(fd, TUNSETSNDBUF, &sndbuf) < 0 && t->sndbuf)
		return err_set(e, -errno, "could not set sndbuf: %s", strerror(errno));
	if (!(t->flags & IFF_VNET_HDR))
		return 0;
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr) < 0)
		return err_set(e, -errno, "%s: could not set the size of the packet header: %s",
			       t->itf.name, strerror(errno));
	t->nd.caps = NET_VNET_HDR;
	if (!ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_UFO))
		t->nd.caps |= NET_UFO;
	if (!ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6))
		t->nd.caps |= NET_USO;
	ioctl(fd, TUNSETOFFLOAD, 0);
	return 0;
}

/* --- descriptors from the caller --- */

static int tap_adopt_fd(struct tap *t, struct netq *q, int fd, struct err *e)
{
	struct ifreq ifr = {0};
	int fl = fcntl(fd, F_GETFL);

	if (fl < 0)
		return err_set(e, -errno, "Can't use file descriptor %d: %s", fd, strerror(errno));
	if (ioctl(fd, TUNGETIFF, &ifr) < 0 || !(ifr.ifr_flags & IFF_TAP))
		return err_set(e, -EINVAL, "file descriptor %d is not an open tap", fd);
	if (!(ifr.ifr_flags & IFF_NO_PI))
		return err_set(e, -EINVAL, "file descriptor %d: the tap lacks IFF_NO_PI", fd);
	if (q->index && (ifr.ifr_flags ^ t->flags) & IFF_VNET_HDR)
		return err_set(e, -EINVAL,
			       "file descriptor %d differs from the first one in IFF_VNET_HDR", fd);
	if (fcntl(fd, F_SETFL, fl | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_set(e, -errno, "file descriptor %d: %s", fd, strerror(errno));
	q->fd = fd;
	if (!q->index) {
		memcpy(t->itf.name, ifr.ifr_name, IFNAMSIZ);
		t->flags = ifr.ifr_flags;
	}
	return tap_setup(t, fd, e);
}

static int tap_adopt(struct tap *t, const char *list, struct err *e)
{
	unsigned n = 1, i = 0;
	char *copy, *save, *word;
	int rc;

	for (const char *p = list; *p; p++)
		n += *p == ':';
	if (n > NET_PAIRS_MAX)
		return err_set(e, -EINVAL, "Parameter 'fds' has more than %d descriptors",
			       NET_PAIRS_MAX);
	rc = netdev_alloc_queues(&t->nd, n, e);
	copy = strdup(list);
	if (!copy && !rc)
		rc = err_nomem(e);
	for (word = rc ? NULL : strtok_r(copy, ":", &save); word && !rc;
	     word = strtok_r(NULL, ":", &save), i++) {
		uint64_t fd;

		if (parse_uint(word, &fd) < 0 || fd > INT_MAX)
			rc = err_set(e, -EINVAL, "'%s' is not the number of a file descriptor",
				     word);
		else
			rc = tap_adopt_fd(t, &t->nd.queue[i], (int)fd, e);
	}
	free(copy);
	if (!rc && i != n)
		rc = err_set(e, -EINVAL,
			     "Parameter 'fds' expects numbers separated by ':', not '%s'", list);
	return rc;
}

/* --- an interface by name --- */

/* Open one more queue of the interface t->itf.name, which may be a pattern ("tap%d") for the first
 * queue. */
static int tap_open_queue(struct tap *t, struct netq *q, struct err *e)
{
	struct ifreq ifr = {.ifr_flags = t->flags};
	int rc;

	q->fd = open(TUN_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (q->fd < 0)
		return err_set(e, -errno, "could not open " TUN_DEVICE ": %s", strerror(errno));
	memcpy(ifr.ifr_name, t->itf.name, IFNAMSIZ);
	rc = ioctl(q->fd, TUNSETIFF, &ifr);
	if (rc < 0 && errno == EINVAL && !q->index && !(t->flags & IFF_MULTI_QUEUE)) {
		/* The interface exists and was created for several queues. */
		ifr.ifr_flags = t->flags |= IFF_MULTI_QUEUE;
		rc = ioctl(q->fd, TUNSETIFF, &ifr);
	}
	if (rc < 0)
		return err_set(e, -errno, "could not configure " TUN_DEVICE " (%s): %s",
			       t->itf.name, strerror(errno));
	memcpy(t->itf.name, ifr.ifr_name, IFNAMSIZ);
	return tap_setup(t, q->fd, e);
}

/* Run by the child process at the end: undo what was done to the interface. */
static void tap_undo(void *arg)
{
	struct tap *t = arg;
	struct err e;

	if (script_is_no(t->script))
		tapif_leave(&t->itf);
	else if (tapif_script(&t->itf, t->downscript, &e) < 0)
		log_warn("netdev %s: %s", t->nd.id, e.text);
}

static int tap_create(struct tap *t, struct err *e)
{
	const char *name = t->ifname ? t->ifname : "tap%d";
	bool existed = t->ifname && if_nametoindex(t->ifname), undo = false;
	int rc;

	if (!*name || strlen(name) >= IFNAMSIZ)
		return err_set(e, -EINVAL,
			       "Parameter 'ifname' expects 1 to %d characters, not '%s'",
			       IFNAMSIZ - 1, name);
	memcpy(t->itf.name, name, strlen(name) + 1);
	t->flags = IFF_TAP | IFF_NO_PI | (t->vnet_hdr ? IFF_VNET_HDR : 0) |
		   (t->queues > 1 ? IFF_MULTI_QUEUE : 0);
	rc = netdev_alloc_queues(&t->nd, t->queues, e);
	for (unsigned i = 0; i < t->queues && !rc; i++)
		rc = tap_open_queue(t, &t->nd.queue[i], e);
	if (!rc && !script_is_no(t->script)) {
		rc = tapif_script(&t->itf, t->script, e);
		undo = !script_is_no(t->downscript);
	} else if (!rc && t->br) {
		rc = tapif_join(&t->itf, t->br, e);
		/* An interface that was created here vanishes with its queues. */
		undo = existed && *t->itf.bridge;
	}
	return !rc && undo ? heir_start(&t->heir, CAP_NET_ADMIN, tap_undo, t, e) : rc;
}

/* QEMU's helper creates the interface, with IFF_VNET_HDR, and adds it to the bridge. */
static int tap_by_helper(struct tap *t, struct kvs *k, struct err *e)
{
	static const char *const excluded[] = {"ifname",     "fd",	 "fds",	   "script",
					       "downscript", "vnet_hdr", "queues", "vhostfds"};
	char number[16];
	int fd;

	for (unsigned i = 0; i < ARRAY_SIZE(excluded); i++)
		if (kvs_get(k, excluded[i]))
			return err_set(e, -EINVAL, "%s= is invalid with helper=", excluded[i]);
	fd = helper_bridge(t->helper, t->br ? t->br : "br0", e);
	if (fd < 0)
		return fd;
	snprintf(number, sizeof(number), "%d", fd);
	return tap_adopt(t, number, e);
}

/* --- vhost: the options only, the device opens it --- */

static unsigned list_count_words(const char *list)
{
	unsigned n = 1;

	while ((list = strchr(list, ':'))) {
		list++;
		n++;
	}
	return n;
}

static int tap_vhost(struct tap *t, struct kvs *k, struct err *e)
{
	const char *fds = t->vhostfd ? t->vhostfd : t->vhostfds;

	/* Each of these options turns vhost on, unless vhost= is given. */
	t->nd.has_vhost = kvs_get(k, "vhost") ? t->vhost : fds || t->vhostforce;
	t->nd.vhost = (struct net_vhost){.fds = fds, .force = t->vhostforce};
	if (!fds)
		return 0;
	if (t->vhostfd && t->vhostfds)
		return err_set(e, -EINVAL,
			       "Parameters 'vhostfd' and 'vhostfds' exclude each other");
	if (!t->nd.has_vhost)
		return err_set(e, -EINVAL, "vhostfd(s)= is not valid without vhost");
	if (list_count_words(fds) != t->nd.pairs)
		return err_set(e, -EINVAL,
			       "The number of vhostfds passed (%u) does not match the number of "
			       "queue pairs (%u)",
			       list_count_words(fds), t->nd.pairs);
	return 0;
}

/* --- the back end --- */

static int tap_open(struct netdev *nd, struct kvs *k, struct err *e)
{
	struct tap *t = (struct tap *)nd;
	int rc;

	if (t->helper) {
		rc = tap_by_helper(t, k, e);
		return rc ? rc : tap_vhost(t, k, e);
	}
	if (t->fd && t->fds)
		return err_set(e, -EINVAL, "Parameters 'fd' and 'fds' exclude each other");
	if (t->fd && strchr(t->fd, ':'))
		return err_set(e, -EINVAL, "Parameter 'fd' expects one number, not '%s' (see fds=)",
			       t->fd);
	if (t->fd || t->fds) {
		rc = tap_reject_with_fd(k, e);
		if (!rc)
			rc = tap_adopt(t, t->fd ? t->fd : t->fds, e);
	} else {
		rc = tap_create(t, e);
	}
	return rc ? rc : tap_vhost(t, k, e);
}

static void tap_close(struct netdev *nd)
{
	struct tap *t = (struct tap *)nd;

	/* The script needs the interface, which may vanish with its queues. */
	heir_end(&t->heir);
	for (unsigned i = 0; i < nd->pairs; i++)
		if (nd->queue[i].fd >= 0)
			close(nd->queue[i].fd);
}

static ssize_t tap_recv(struct netq *q, const struct iovec *iov, unsigned n)
{
	ssize_t rc = readv(q->fd, iov, n);

	/* EINVAL: the kernel has dropped a frame whose offload the header cannot describe. */
	if (rc < 0)
		return errno == EINVAL ? 0 : -errno;
	return rc;
}

static int tap_send(struct netq *q, const struct iovec *iov, unsigned n)
{
	return writev(q->fd, iov, n) < 0 ? -errno : 0;
}

/* Only without a limit of the send buffer: then there is always room, so no frame has to be
 * returned to the caller. */
static int tap_send_batch(struct netq *q, const struct net_frame *f, unsigned n)
{
	struct tap *t = (struct tap *)q->nd;

	if (n < BATCH_MIN || t->sndbuf || t->no_batch)
		return -1;
	if (!q->batch)
		q->batch = tapring_new(q->fd);
	if (q->batch && tapring_send(q->batch, f, n))
		return (int)n;
	/* tapring_send() has sent what it could. Later frames go without the ring. */
	t->no_batch = true;
	return q->batch ? (int)n : -1;
}

static void tap_stop(struct netq *q)
{
	tapring_free(q->batch);
	q->batch = NULL;
}

static int tap_set_offloads(struct netdev *nd, unsigned rx)
{
	static const struct {
		unsigned rx, tun;
	} map[] = {
		{NET_RX_TSO4, TUN_F_TSO4},
		{NET_RX_TSO6, TUN_F_TSO6},
		{NET_RX_UFO, TUN_F_UFO},
		{NET_RX_USO4 | NET_RX_USO6,
		 TUN_F_USO4 | TUN_F_USO6}, /* the kernel takes both or none */
	};
	unsigned long tun = 0;

	if (!(nd->caps & NET_VNET_HDR))
		return 0;
	if (rx & NET_RX_CSUM) {
		tun = TUN_F_CSUM;
		for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
			if ((rx & map[i].rx) == map[i].rx)
				tun |= map[i].tun;
		if (rx & NET_RX_ECN && tun & (TUN_F_TSO4 | TUN_F_TSO6))
			tun |= TUN_F_TSO_ECN;
	}
	return ioctl(nd->queue[0].fd, TUNSETOFFLOAD, tun) < 0 ? -errno : 0;
}

static int tap_set_pairs(struct netdev *nd, unsigned n)
{
	struct tap *t = (struct tap *)nd;
	int rc = 0;

	for (unsigned i = 1; i < nd->pairs; i++) {
		struct ifreq ifr = {.ifr_flags = i < n ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

		/* EINVAL: the queue is in that state already. */
		if (t->flags & IFF_MULTI_QUEUE && ioctl(nd->queue[i].fd, TUNSETQUEUE, &ifr) < 0 &&
		    errno != EINVAL)
			rc = -errno;
	}
	return rc;
}

const struct net_class net_tap = {
	.type = "tap",
	.help = "an interface of the host",
	.options = tap_options,
	.size = sizeof(struct tap),
	.open = tap_open,
	.close = tap_close,
	.recv = tap_recv,
	.stop = tap_stop,
	.send = tap_send,
	.send_batch = tap_send_batch,
	.set_offloads = tap_set_offloads,
	.set_pairs = tap_set_pairs,
};
