/* SPDX-License-Identifier: MIT */
/* usernet.c - datagrams through -netdev user, between the guest (10.0.2.15) and a socket of ours on
 * the host, which the guest knows as 10.0.2.2
 *
 * Sending: the ring is kept full; what counts is what arrives at the socket. Receiving: the socket
 * answers where the guest's first datagram came from, with no more than HOST_AHEAD on their way;
 * the driver works by interrupts. --len is the size of the frame.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD	   42 /* Ethernet, IPv4, UDP */
#define RX_BUFFER  2048
#define HOST_AHEAD 64
#define HOST_BATCH 32
#define STALLED_NS 5000000 /* datagrams on their way for so long were dropped */

static const uint8_t guest_mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static const uint8_t addresses[8] = {10, 0, 2, 15, 10, 0, 2, 2};

struct user {
	struct bench *b;
	struct meter m;
	struct gnet net;
	struct sockaddr_in guest; /* where the host sees the guest */
	int host;
	uint8_t frame[2048];
	uint64_t ahead, progress;
};

static void open_host(struct user *u)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int size = 4 * MiB;

	u->host = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (u->host < 0 || bind(u->host, (struct sockaddr *)&sa, sizeof(sa)) ||
	    getsockname(u->host, (struct sockaddr *)&sa, &len))
		guest_panic("UDP socket: %s", strerror(errno));
	/* As much as one may have; the ring bounds what can wait here. */
	if (setsockopt(u->host, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(u->host, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	memcpy(u->frame + 36, &sa.sin_port, 2);
}

/* Ask for the gateway's address, which makes ours known to it. */
static void resolve(struct gnet *net, uint8_t mac[6])
{
	uint8_t f[1600] = {0};
	struct gnet_hdr h;

	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	memcpy(f + 12, "\x08\x06\0\1\x08\0\6\4\0\1", 10);
	memcpy(f + 22, guest_mac, 6);
	memcpy(f + 28, addresses, 4);
	memcpy(f + 38, addresses + 4, 4);
	gnet_send(net, 0, NULL, f, 60);
	do {
		if (gnet_recv(net, 0, &h, f, sizeof(f), GUEST_WAIT_MS) < 0)
			guest_panic("usernet: no answer to ARP");
	} while (f[12] != 8 || f[13] != 6 || f[21] != 2);
	memcpy(mac, f + 22, 6);
}

void user_headers(struct gnet *net, uint8_t *f, unsigned proto)
{
	uint8_t *ip = f + 14;

	resolve(net, f);
	memcpy(f + 6, guest_mac, 6);
	put_be16(f + 12, ETH_P_IP);
	ip[0] = 0x45;
	ip[8] = 64;
	ip[9] = (uint8_t)proto;
	memcpy(ip + 12, addresses, 8);
}

static void open_card(struct user *u, struct bench *b)
{
	uint8_t *ip = u->frame + 14;

	if (b->len < 60 || b->len > sizeof(u->frame))
		guest_panic("usernet: frames of 60 to %zu bytes", sizeof(u->frame));
	u->b = b;
	guest_start(&b->g, &b->config);
	gnet_open(&b->g, &u->net, 0, 1, RX_BUFFER, b->features | GNET_F_MAC);
	open_host(u);
	user_headers(&u->net, u->frame, IPPROTO_UDP);
	put_be16(ip + 2, b->len - 14);
	put_be16(ip + 10, ip_checksum(ip, 20));
	put_be16(ip + 20, 5000);
	put_be16(ip + 24, b->len - 34);
}

static void done(struct user *u, struct gvq *q, uint64_t kicks)
{
	meter_end(&u->m);
	u->m.kicks = q->kicks - kicks;
	meter_print(&u->m);
	close(u->host);
	guest_stop(&u->b->g);
}

/* How many datagrams have come to the host. */
static unsigned host_take(struct user *u)
{
	static uint8_t drop[65536];
	struct iovec iov = {drop, sizeof(drop)};
	struct mmsghdr msg[HOST_BATCH] = {0};
	unsigned all = 0;
	int n;

	for (unsigned i = 0; i < HOST_BATCH; i++)
		msg[i].msg_hdr = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
	while ((n = recvmmsg(u->host, msg, HOST_BATCH, MSG_DONTWAIT, NULL)) > 0)
		all += (unsigned)n;
	return all;
}

void bench_user_tx(struct bench *b)
{
	static struct user u;
	struct gvq *q = &u.net.tx[0];
	struct gseg s;
	uint64_t kicks;

	open_card(&u, b);
	s = (struct gseg){guest_alloc(&b->g, GNET_HDR + b->len, 64), GNET_HDR + b->len};
	memcpy(guest_ptr(&b->g, s.addr + GNET_HDR, b->len), u.frame, b->len);
	q->no_interrupts = true;
	meter_begin(&u.m, b);
	kicks = q->kicks;
	while (meter_running(&u.m)) {
		struct guest_timer t = {0};
		unsigned came;
		bool more = false;

		if (!u.m.ops)
			kicks = q->kicks;
		while (gvq_get(q, NULL, NULL))
			;
		while (q->size - q->free_count < b->depth && gvq_add(q, &s, 1, 0, NULL) >= 0)
			more = true;
		if (more)
			gvq_kick(q);
		came = host_take(&u);
		u.m.ops += came;
		u.m.bytes += (uint64_t)came * (b->len - HEAD);
		u.m.irqs += gpci_msix_take(&u.net.v.pci, q->vector);
		guest_tick(&b->g, &t, 1000);
	}
	done(&u, q, kicks);
}

/* Let the guest send one, and remember where it comes from. */
static void learn_guest(struct user *u)
{
	socklen_t len = sizeof(u->guest);
	uint8_t byte;

	gnet_send(&u->net, 0, NULL, u->frame, u->b->len);
	if (!guest_wait(&u->b->g, recvfrom(u->host, &byte, 1, MSG_DONTWAIT,
					   (struct sockaddr *)&u->guest, &len) >= 0))
		guest_panic("usernet: the guest's datagram does not come");
}

static void host_send(struct user *u)
{
	struct iovec iov = {u->frame + HEAD, u->b->len - HEAD};
	struct mmsghdr msg[HOST_BATCH] = {0};
	unsigned want = (unsigned)MIN(HOST_AHEAD - MIN(u->ahead, HOST_AHEAD), HOST_BATCH);
	int sent;

	for (unsigned i = 0; i < want; i++)
		msg[i].msg_hdr = (struct msghdr){.msg_name = &u->guest,
						 .msg_namelen = sizeof(u->guest),
						 .msg_iov = &iov,
						 .msg_iovlen = 1};
	sent = want ? sendmmsg(u->host, msg, want, MSG_DONTWAIT) : 0;
	if (sent > 0)
		u->ahead += (unsigned)sent;
	else if (u->ahead && now_ns() - u->progress > STALLED_NS)
		u->ahead = 0;
}

static void take_frames(struct user *u, struct gvq *q)
{
	uint32_t len;
	void *cookie;

	while (gvq_get(q, &len, &cookie)) {
		struct gseg s = {u->net.rx_at[0] + (uintptr_t)cookie * RX_BUFFER, RX_BUFFER};

		if (len == GNET_HDR + u->b->len) {
			u->m.ops++;
			u->m.bytes += u->b->len - HEAD;
			u->ahead -= u->ahead > 0;
			u->progress = now_ns();
		}
		if (gvq_add(q, &s, 0, 1, cookie) < 0)
			guest_panic("usernet: no room for an rx buffer");
	}
}

void bench_user_rx(struct bench *b)
{
	static struct user u;
	struct gvq *q = &u.net.rx[0];
	uint64_t kicks;

	open_card(&u, b);
	learn_guest(&u);
	u.progress = now_ns();
	meter_begin(&u.m, b);
	kicks = q->kicks;
	while (meter_running(&u.m)) {
		struct guest_timer t = {0};

		if (!u.m.ops)
			kicks = q->kicks;
		host_send(&u);
		if (gpci_msix_take(&u.net.v.pci, q->vector)) {
			u.m.irqs++;
			q->no_interrupts = true;
			do {
				take_frames(&u, q);
				gvq_kick(q);
			} while (gvq_interrupts_on(q));
		}
		guest_tick(&b->g, &t, 1000);
	}
	done(&u, q, kicks);
}
