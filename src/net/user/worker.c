/* SPDX-License-Identifier: MIT */
/* worker.c - the worker of -netdev user: libslirp in a process of its own
 *
 * libslirp is not made for threads, and need not be: the worker is one thread with one loop.
 * frames.c moves the frames, sockets.c keeps libslirp's sockets and clocks on the loop, alarm.c
 * ends calls of it that sleep.
 *
 * Memory. Each TCP socket has two buffers of 128 KiB, and each packet that is kept (fragments,
 * segments behind a gap, answers that wait for ARP) one of USER_MTU bytes, of which few are
 * touched. So two limits. A hard one on what is allocated (RLIMIT_DATA), that ends a worker in
 * malloc(): SOCKETS_MAX x 264 KiB = 528 MiB for sockets, and about 240 MiB for some 3700 packets.
 * And a lower one on what is resident, that a worker looks at itself, and ends in a clean way:
 * RESIDENT_MAX. Between two looks it takes RSS_FRAMES frames, which can keep 12 KiB more than their
 * bytes.
 *
 * After its end the next one begins as the keeper left it: with the forwards bound, without
 * connections.
 */
#include "net/user/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SOCKETS_MAX 2048
#define FILES_MAX   (SOCKETS_MAX + 64)
#define MEMORY_MAX  (768 * MiB)
#ifdef __SANITIZE_ADDRESS__
#define RESIDENT_MAX (1024 * MiB) /* with the shadow, and what is freed but not used again */
#else
#define RESIDENT_MAX (256 * MiB)
#endif
#define RSS_FRAMES 512
#define RSS_NS	   100000000ULL

/* --- memory --- */

/* KiB that have been resident at most, which a worker can ask for without /proc. Looked at often,
 * that is what is resident by now. */
static long resident_most(void)
{
	struct rusage r = {0};

	getrusage(RUSAGE_SELF, &r);
	return r.ru_maxrss;
}

static void resident_check(struct worker *w)
{
	long used;

	if (w->rss_frames < RSS_FRAMES && loop_now(w->loop) - w->rss_checked < RSS_NS)
		return;
	w->rss_frames = 0;
	w->rss_checked = loop_now(w->loop);
	used = resident_most() - w->rss_born;
	if (used <= w->rss_max)
		return;
	log_warn("libslirp has used %ld MiB for this guest, the network starts anew", used / 1024);
	loop_stop(w->loop);
}

/* --- life --- */

static void on_event(struct loop_fd *fd, uint32_t events)
{
	struct worker *w = container_of(fd, struct worker, event);
	char wakes[64];

	if (read(fd->fd, wakes, sizeof(wakes)) < 0) {}
	frames_take(w);
	sockets_soon(w); /* the guest may have made room, or mode may have changed */
}

static void turn_end(struct loop_hook *h)
{
	struct worker *w = container_of(h, struct worker, turn_end);
	bool wake = netring_wakes_taker(&w->to_guest);

	if (netring_wakes_putter(&w->from_guest, true))
		wake = true;
	if (wake && eventfd_write(w->user->own_event, 1) < 0) {} /* full: it is awake */
	alarm_turn_end(w);
	resident_check(w);
}

/* The keeper's, with rights. */
static int worker_prepare(void *arg, struct err *e)
{
	struct user *u = arg;
	struct worker *w = calloc(1, sizeof(*w));
	struct rlimit files;
	int rc;

	if (!w)
		return err_nomem(e);
	u->worker = w;
	w->user = u;
	w->event.fd = -1;
	frames_init(&w->callbacks);
	sockets_init(w, &w->callbacks);
	w->open_max = SOCKETS_MAX;
	if (!getrlimit(RLIMIT_NOFILE, &files) && files.rlim_max < FILES_MAX)
		w->open_max = (unsigned)(files.rlim_max / 2);
	w->mss[NET_IPV4] = NET_MSS4_DEFAULT;
	w->mss[NET_IPV6] = NET_MSS6_DEFAULT;
	netring_attach(&w->from_guest, &u->shm->to_net);
	netring_attach(&w->to_guest, &u->shm->to_guest);
	rc = slirp_lib_load(&w->lib, e);
	if (rc < 0)
		return rc;
	w->slirp = w->lib.new(&u->cfg, &w->callbacks, w);
	if (!w->slirp)
		return err_set(e, -EINVAL, "libslirp does not take these options");
	return user_forwards(w, e);
}

static int worker_run(void *arg)
{
	struct worker *w = ((struct user *)arg)->worker;

	w->loop = loop_new("slirp");
	if (!w->loop || alarm_init() < 0 ||
	    loop_fd_add(w->loop, &w->event, w->user->worker_event, EPOLLIN, on_event) < 0) {
		log_err("could not begin: %s", strerror(errno));
		return 1;
	}
	w->rss_born = resident_most();
	w->rss_max = RESIDENT_MAX / KiB;
	w->turn_end.fn = turn_end;
	loop_hook_add(w->loop, &w->turn_end);
	sockets_start(w);
	loop_run(w->loop);
	return 0;
}

/* --- role --- */

#define READ_ONLY(at)                                                                 \
	{                                                                             \
		.arg = (at), .mask = O_ACCMODE | O_CREAT | O_TRUNC, .value = O_RDONLY \
	}

/* Connecting to unix sockets comes last: only the second role has it. */
static const struct filter_call worker_calls[] = {
	/* the loop, and the clock */
	{SYS_epoll_create1},
	{SYS_epoll_ctl},
	{SYS_epoll_wait},
	{SYS_epoll_pwait},
	{SYS_epoll_pwait2},
	{SYS_eventfd2},
	{SYS_setitimer},
	{SYS_getrusage},
	{SYS_prctl, {FILTER_IS(0, PR_SET_NAME)}},
	/* files of tftp=, /etc/resolv.conf */
	{SYS_open, {READ_ONLY(1)}},
	{SYS_openat, {READ_ONLY(2)}},
	{SYS_stat},
	{SYS_newfstatat},
	{SYS_access},
	/* sockets */
	{SYS_socket, {FILTER_IS(0, AF_INET)}},
	{SYS_socket, {FILTER_IS(0, AF_INET6)}},
	{SYS_bind},
	{SYS_listen},
	{SYS_connect},
	{SYS_accept},
	{SYS_accept4},
	{SYS_sendto},
	{SYS_recvfrom},
	{SYS_sendmsg},
	{SYS_recvmsg},
	{SYS_shutdown},
	{SYS_getsockname},
	{SYS_getpeername},
	{SYS_getsockopt},
	{SYS_setsockopt},
	{SYS_fcntl, {FILTER_IS(1, F_GETFD)}},
	{SYS_fcntl, {FILTER_IS(1, F_SETFD)}},
	{SYS_fcntl, {FILTER_IS(1, F_GETFL)}},
	{SYS_fcntl, {FILTER_IS(1, F_SETFL)}},
	{SYS_ioctl, {FILTER_IS(1, FIONREAD)}},
	{SYS_ioctl, {FILTER_IS(1, FIONBIO)}},
	{SYS_ioctl, {FILTER_IS(1, SIOCGIFINDEX)}},
	{SYS_ioctl, {FILTER_IS(1, TCGETS)}}, /* isatty(), of GLib's messages */
	{SYS_socket, {FILTER_IS(0, AF_UNIX)}},
};

#define ROLE(n)                                                                         \
	{                                                                               \
		.name = "slirp", .prepare = worker_prepare, .run = worker_run,          \
		.calls = {worker_calls, (n)}, .memory = MEMORY_MAX, .files = FILES_MAX, \
	}
const struct helper_role user_role = ROLE(ARRAY_SIZE(worker_calls) - 1);
const struct helper_role user_role_unix = ROLE(ARRAY_SIZE(worker_calls));
