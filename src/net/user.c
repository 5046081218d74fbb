/* SPDX-License-Identifier: MIT */
/* user.c - -netdev user: a network of the guest's own, behind sockets of this process
 *
 * libslirp is the other end of the cable: a gateway with DHCP, DNS and TFTP servers whose TCP, UDP
 * and ping traffic becomes ordinary sockets, without rights on the host. It is not made for
 * threads, so all of one network lives on the loop of its one queue (the exit loop unless the
 * device is given another one).
 *
 * Frames. The guest's are copied into one piece of our own before libslirp parses them, so that a
 * guest cannot change one under it. They carry the vnet header: TCP segments may be as large as an
 * IP packet, which libslirp takes as they are, so one system call and one acknowledgement do for
 * many; their checksums are finished here. For the other way libslirp is told of a link with an MTU
 * as large. What it then sends goes to the guest as it is where the guest takes that, and is cut
 * here where not; see segment.h. libslirp pushes frames when it likes; they wait in a ring until
 * the guest has buffers. With the ring half full libslirp is not asked any more what it wants to
 * watch: its peers on the host are held up by their own flow control. What overflows the ring
 * (answers to the guest's own frames while it takes none) is dropped and counted. The datagrams of a
 * batch of frames leave in runs; see slirp_udp.h.
 *
 * Sockets. libslirp's interface is that of poll(): ask what to watch, wait, tell what is ready.
 * Here its sockets stay registered with the loop, and one pass (serve()) after anything happened -
 * a socket is ready, the guest sent, a clock is due - tells, asks, and changes the registrations
 * that differ. So a turn of the loop costs one pass at most, and nothing when nothing of ours
 * happened. A guest that opens connections without end is stopped at a limit well below that of
 * descriptors.
 */
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/offload.h"
#include "net/user_int.h"

#define HDR_DATA_VALID 2     /* VIRTIO_NET_HDR_F_DATA_VALID */
#define SEGMENT	       32768 /* TCP_MAXSEG_MAX of libslirp */
#define RING_SIZE      (1024 * 1024)
#define RING_HIGH      (RING_SIZE / 2) /* do not read from the host any more */
#define RING_LOW       (RING_SIZE / 8) /* do again */
#define SOCKETS_MAX    4096
#define PASSES	       16   /* of one turn at most */
#define IDLE_MS	       1000 /* libslirp asks to be called so often without a reason */

/* A socket of libslirp's. */
struct sock {
	struct loop_fd w;
	struct user *u;
	struct list link;   /* user.watched */
	uint32_t want, got; /* EPOLL*: registered for; seen since the last pass */
	uint32_t had;	    /* what was told in that one */
	unsigned round;
	bool open;
};

struct user_timer {
	struct list link; /* user.timers */
	struct loop_timer t;
	struct user *u;
	SlirpTimerCb fn;
	void *opaque;
	int64_t at_ms; /* 0: not armed */
};

static struct netq *queue(struct user *u)
{
	return &u->nd.queue[0];
}

static void soon(struct user *u)
{
	if (u->soon || !queue(u)->loop)
		return;
	u->soon = true;
	loop_timer_set(queue(u)->loop, &u->due, 0);
}

/* --- sockets on the loop --- */

static struct sock *sock_of(struct user *u, int fd)
{
	int n = MAX(64, u->socks);
	struct sock **table;

	if (fd < u->socks)
		return u->sock[fd];
	while (n <= fd)
		n *= 2;
	table = realloc(u->sock, (size_t)n * sizeof(struct sock *));
	if (!table)
		return NULL;
	memset(table + u->socks, 0, (size_t)(n - u->socks) * sizeof(struct sock *));
	u->sock = table;
	u->socks = n;
	return NULL;
}

static void sock_unwatch(struct sock *s)
{
	if (queue(s->u)->loop)
		loop_fd_del(queue(s->u)->loop, &s->w);
	s->w.fd = -1;
	s->want = s->got = s->had = 0;
	list_del(&s->link);
}

static void sock_event(struct loop_fd *w, uint32_t events)
{
	struct sock *s = container_of(w, struct sock, w);

	s->got |= events;
	soon(s->u);
}

static void sock_watch(struct sock *s, int fd, uint32_t want)
{
	struct loop *loop = queue(s->u)->loop;
	int rc = 0;

	if (s->w.fd >= 0 && want == s->want)
		return;
	if (s->w.fd >= 0)
		rc = loop_fd_mod(loop, &s->w, want);
	else
		rc = loop_fd_add(loop, &s->w, fd, want, sock_event);
	if (rc < 0) {
		sock_unwatch(s);
		log_guest(&s->u->log, s->u->nd.id, "a socket cannot be watched: %s", strerror(-rc));
		return;
	}
	s->want = want;
	list_del(&s->link);
	list_add_tail(&s->u->watched, &s->link);
}

static struct sock *sock_new(struct user *u, int fd)
{
	struct sock *s = sock_of(u, fd);

	if (s || fd >= u->socks)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->u = u;
	s->w.fd = -1;
	list_init(&s->link);
	return u->sock[fd] = s;
}

static void sock_opened(struct user *u, int fd, bool open)
{
	struct sock *s = fd >= 0 ? sock_new(u, fd) : NULL;

	if (!s || s->open == open)
		return;
	s->open = open;
	u->open += open ? 1 : -1;
}

/* libslirp's callbacks: a descriptor begins or ends. Whatever was registered under its number is
 * not that any more. */
static void register_fd(int fd, void *opaque)
{
	struct user *u = opaque;
	struct sock *s = fd >= 0 ? sock_of(u, fd) : NULL;

	if (s)
		sock_unwatch(s);
	sock_opened(u, fd, true);
}

static void unregister_fd(int fd, void *opaque)
{
	struct user *u = opaque;
	struct sock *s = fd >= 0 ? sock_of(u, fd) : NULL;

	slirp_udp_end(&u->udp);
	if (s)
		sock_unwatch(s);
	sock_opened(u, fd, false);
}

static int add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;
	struct sock *s = sock_new(u, fd);

	if (!s)
		return -1;
	sock_opened(u, fd, true);
	s->round = u->round;
	sock_watch(s, fd,
		   (events & SLIRP_POLL_IN ? EPOLLIN : 0) |
			   (events & SLIRP_POLL_OUT ? EPOLLOUT : 0) |
			   (events & SLIRP_POLL_PRI ? EPOLLPRI : 0));
	return fd;
}

static int get_revents(int fd, void *opaque)
{
	struct sock *s = sock_of(opaque, fd);
	uint32_t got = s ? s->got : 0;

	return (got & EPOLLIN ? SLIRP_POLL_IN : 0) | (got & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (got & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (got & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (got & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

/* One pass: tell what happened, run the clocks, ask what to watch. How long to wait then, in ms. */
static uint32_t pass(struct user *u)
{
	uint32_t timeout = UINT32_MAX;

	u->soon = false;
	if (!u->choked)
		u->lib.pollfds_poll(u->slirp, 0, get_revents, u);
	list_for_each (it, &u->watched) {
		struct sock *s = list_entry(it, struct sock, link);

		s->had = s->got;
		s->got = 0;
	}
	u->choked = u->in.used > (u->choked ? RING_LOW : RING_HIGH);
	u->round++;
	if (!u->choked)
		u->lib.pollfds_fill(u->slirp, &timeout, add_poll, u);
	list_for_each (it, &u->watched) {
		struct sock *s = list_entry(it, struct sock, link);

		if (s->round != u->round)
			sock_unwatch(s);
	}
	return timeout;
}

/* libslirp takes one datagram of a socket in a pass. Is there another? Asked here that costs less
 * than in a turn of the loop. */
static bool more_came(struct user *u)
{
	bool more = false;

	list_for_each (it, &u->watched) {
		struct sock *s = list_entry(it, struct sock, link);
		int n = 0;

		if (s->had & s->want & EPOLLIN && ioctl(s->w.fd, FIONREAD, &n) == 0 && n > 0) {
			s->got |= EPOLLIN;
			more = true;
		}
	}
	return more;
}

static void serve(struct user *u)
{
	uint32_t timeout = pass(u);

	for (unsigned n = 1; n < PASSES && !u->choked && more_came(u); n++)
		timeout = pass(u);
	if (u->soon)
		return; /* something happened meanwhile: `due` is set */
	if (u->choked || (timeout >= IDLE_MS && list_empty(&u->watched)))
		loop_timer_del(&u->due);
	else
		loop_timer_set(queue(u)->loop, &u->due, (uint64_t)timeout * 1000000);
}

static void serve_due(struct loop_timer *t)
{
	serve(container_of(t, struct user, due));
}

/* --- libslirp's other callbacks --- */

/* The header and up to two pieces of the frame. */
static void push(struct user *u, const struct iovec iov[3])
{
	bool first = fifo_ring_empty(&u->in);

	if (!fifo_ring_put(&u->in, iov, 3)) {
		if (!u->frames_lost++)
			log_guest(&u->log, u->nd.id, "the guest takes no frames, some are lost");
	} else if (first) {
		netq_ready(queue(u));
	}
}

static void push_piece(void *arg, const struct iovec iov[2])
{
	uint8_t hdr[NET_HDR_LEN] = {0};

	push(arg, (struct iovec[]){{hdr, sizeof(hdr)}, iov[0], iov[1]});
}

/* More than the guest's link would carry. */
static void send_large(struct user *u, const uint8_t *frame, size_t len)
{
	static const unsigned takes[NET_IPS] = {NET_RX_TSO4, NET_RX_TSO6};
	uint8_t hdr[NET_HDR_LEN] = {0}, head[NET_HEADERS_MAX];
	enum net_ip ip;
	size_t n = net_gso_head(frame, len, u->mss, hdr, head, &ip);
	struct iovec iov[] = {{hdr, sizeof(hdr)}, {head, n}, {(void *)(frame + n), len - n}};

	if (n && atomic_load(&u->rx) & takes[ip])
		push(u, iov);
	else if (!net_cut(frame, len, u->mss, push_piece, u) &&
		 !net_fragment(frame, len, NET_LINK_MTU, push_piece, u))
		push(u, iov);
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct user *u = opaque;
	uint8_t hdr[NET_HDR_LEN] = {atomic_load(&u->rx) & NET_RX_CSUM ? HDR_DATA_VALID : 0};

	if (len > ETHER_HDR_LEN + NET_LINK_MTU)
		send_large(u, buf, len);
	else
		push(u, (struct iovec[]){{hdr, sizeof(hdr)}, {(void *)buf, len}, {NULL, 0}});
	return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
	struct user *u = opaque;

	log_guest(&u->log, u->nd.id, "%s", msg);
}

static int64_t clock_ns(void *opaque)
{
	return (int64_t)now_ns();
}

static void timer_due(struct loop_timer *lt)
{
	struct user_timer *t = container_of(lt, struct user_timer, t);

	t->at_ms = 0;
	t->fn(t->opaque);
	soon(t->u);
}

static void timer_arm(struct user_timer *t)
{
	int64_t wait = t->at_ms * 1000000 - (int64_t)now_ns();

	if (queue(t->u)->loop && t->at_ms)
		loop_timer_set(queue(t->u)->loop, &t->t, (uint64_t)MAX(wait, 0));
}

static void *timer_new(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
	struct user *u = opaque;
	struct user_timer *t = calloc(1, sizeof(*t));

	if (!t)
		abort(); /* libslirp takes it for granted, as all its own memory */
	*t = (struct user_timer){.u = u, .fn = fn, .opaque = fn_opaque, .t.fn = timer_due};
	list_add_tail(&u->timers, &t->link);
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct user_timer *t = timer;

	if (!t)
		return;
	loop_timer_del(&t->t);
	list_del(&t->link);
	free(t);
}

static void timer_mod(void *timer, int64_t at_ms, void *opaque)
{
	struct user_timer *t = timer;

	t->at_ms = MAX(at_ms, 1);
	timer_arm(t);
}

static void notify(void *opaque)
{
	soon(opaque);
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = register_fd,
	.unregister_poll_fd = unregister_fd,
	.notify = notify,
};

/* --- frames --- */

static ssize_t user_recv(struct netq *q, const struct iovec *iov, unsigned n)
{
	struct user *u = (struct user *)q->nd;
	ssize_t len = fifo_ring_get(&u->in, iov, n);

	if (fifo_ring_empty(&u->in))
		u->frames_lost = 0;
	if (u->choked && u->in.used <= RING_LOW)
		soon(u);
	return len;
}

static bool user_pending(struct netq *q)
{
	return !fifo_ring_empty(&((struct user *)q->nd)->in);
}

/* The protocol of the IP packet in a frame, and where that begins; -1 for no IP. */
static int proto_of(const uint8_t *f, size_t len, size_t *at)
{
	unsigned type = len >= ETHER_HDR_LEN ? f[12] << 8 | f[13] : 0;

	if (type == ETHERTYPE_IP && len >= ETHER_HDR_LEN + 20) {
		*at = ETHER_HDR_LEN + (f[ETHER_HDR_LEN] & 15) * 4U;
		return f[ETHER_HDR_LEN + 9];
	}
	if (type == ETHERTYPE_IPV6 && len >= ETHER_HDR_LEN + 40) {
		*at = ETHER_HDR_LEN + 40;
		return f[ETHER_HDR_LEN + 6];
	}
	return -1;
}

/* With too many sockets open, only what cannot open one is let through: ARP, neighbour discovery,
 * and TCP segments of connections that exist. */
static bool is_harmless(const uint8_t *f, size_t len)
{
	size_t at;

	switch (proto_of(f, len, &at)) {
	case IPPROTO_TCP:
		return len >= at + 14 && !(f[at + 13] & 2); /* not SYN */
	case IPPROTO_ICMPV6:
		return len > at && f[at] >= 133 && f[at] <= 137;
	default:
		return len >= ETHER_HDR_LEN && (f[12] << 8 | f[13]) == ETHERTYPE_ARP;
	}
}

/* One frame of the guest's; `udp`: where its datagram may wait, NULL for nowhere. */
static int input(struct user *u, const struct iovec *iov, unsigned n, struct slirp_udp *udp)
{
	uint8_t *at = u->out, *frame = at + NET_HDR_LEN;
	size_t len = iov_len(iov, n), l4;
	unsigned raise[NET_IPS];

	if (len < NET_HDR_LEN || len > NET_HDR_LEN + NET_FRAME_MAX)
		return -EMSGSIZE;
	for (unsigned i = 0; i < n; at += iov[i++].iov_len)
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
	len -= NET_HDR_LEN;
	net_finish_checksum(u->out, frame, len);
	raise[NET_IPV4] = atomic_load(&u->rx) & NET_RX_TSO4 ? SEGMENT : 0;
	raise[NET_IPV6] = atomic_load(&u->rx) & NET_RX_TSO6 ? SEGMENT : 0;
	net_note_mss(frame, len, raise, u->mss);
	if (u->open >= u->open_max && !is_harmless(frame, len)) {
		log_guest(&u->log, u->nd.id, "the guest has %u sockets open, no more are opened",
			  u->open);
		return 0;
	}
	if (udp && proto_of(frame, len, &l4) == IPPROTO_UDP)
		slirp_udp_gather(udp);
	u->lib.input(u->slirp, frame, (int)len);
	slirp_udp_gather(NULL);
	soon(u);
	return 0;
}

static int user_send(struct netq *q, const struct iovec *iov, unsigned n)
{
	return input((struct user *)q->nd, iov, n, NULL);
}

static bool user_send_batch(struct netq *q, const struct net_frame *f, unsigned n)
{
	struct user *u = (struct user *)q->nd;

	for (unsigned i = 0; i < n; i++)
		if (f[i].n)
			input(u, f[i].iov, f[i].n, &u->udp);
	slirp_udp_end(&u->udp);
	return true;
}

static int user_set_offloads(struct netdev *nd, unsigned rx)
{
	atomic_store(&((struct user *)nd)->rx, rx);
	return 0;
}

/* --- life --- */

static int user_open(struct netdev *nd, struct kvs *k, struct err *e)
{
	struct user *u = (struct user *)nd;
	SlirpConfig cfg = {0};
	struct rlimit files;
	int rc;

	list_init(&u->watched);
	list_init(&u->timers);
	slirp_udp_init(&u->udp);
	u->due.fn = serve_due;
	u->open_max = SOCKETS_MAX;
	u->mss[NET_IPV4] = NET_MSS4_DEFAULT;
	u->mss[NET_IPV6] = NET_MSS6_DEFAULT;
	if (!getrlimit(RLIMIT_NOFILE, &files) && files.rlim_cur / 2 < SOCKETS_MAX)
		u->open_max = (unsigned)(files.rlim_cur / 2);
	rc = netdev_alloc_queues(nd, 1, e);
	nd->caps = NET_VNET_HDR;
	u->out = malloc(NET_HDR_LEN + NET_FRAME_MAX);
	if (!rc && (!u->out || fifo_ring_init(&u->in, RING_SIZE) < 0))
		rc = err_set(e, -ENOMEM, "%s", strerror(ENOMEM));
	if (!rc)
		rc = user_config(u, k, &cfg, e);
	if (!rc)
		rc = slirp_lib_load(&u->lib, e);
	if (!rc) {
		u->slirp = u->lib.new(&cfg, &callbacks, u);
		if (!u->slirp)
			rc = err_set(e, -EINVAL, "libslirp does not take these options");
	}
	free(cfg.vdnssearch);
	return rc < 0 ? rc : user_forwards(u, k, e);
}

static void user_close(struct netdev *nd)
{
	struct user *u = (struct user *)nd;

	if (u->slirp)
		u->lib.cleanup(u->slirp);
	for (int i = 0; i < u->socks; i++)
		free(u->sock[i]);
	free(u->sock);
	fifo_ring_free(&u->in);
	free(u->out);
}

static int user_start(struct netq *q)
{
	struct user *u = (struct user *)q->nd;

	list_for_each (it, &u->timers)
		timer_arm(list_entry(it, struct user_timer, link));
	soon(u);
	return 0;
}

static void user_stop(struct netq *q)
{
	struct user *u = (struct user *)q->nd;

	list_for_each (it, &u->watched)
		sock_unwatch(list_entry(it, struct sock, link));
	list_for_each (it, &u->timers)
		loop_timer_del(&list_entry(it, struct user_timer, link)->t);
	loop_timer_del(&u->due);
	u->soon = false;
}

const struct net_class net_user = {
	.type = "user",
	.help = "a network of its own behind sockets of this process (libslirp)",
	.options = user_options,
	.size = sizeof(struct user),
	.lists = true,
	.open = user_open,
	.close = user_close,
	.start = user_start,
	.stop = user_stop,
	.recv = user_recv,
	.send = user_send,
	.send_batch = user_send_batch,
	.pending = user_pending,
	.set_offloads = user_set_offloads,
};
