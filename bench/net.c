/* SPDX-License-Identifier: MIT */
/* net.c - frames to and from a network card: through a tap, one end of a socket pair, or a datagram
 * socket with a name (--path), whose queue is as short as the kernel makes it
 *
 * Sending: the ring is kept full, the driver reclaims by polling and wants no interrupts.
 * Receiving: the host's side sends frames as long as no more than HOST_AHEAD are on their way; the
 * driver works by interrupts. Frames longer than an Ethernet frame are TCP segments to be cut later
 * (GSO), which pass through whole.
 *
 * The tap leads nowhere: the kernel drops what the guest sends.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MTU_FRAME  1514
#define HOST_BATCH 32
#define HOST_AHEAD 128
#define STALLED_NS 5000000 /* frames on their way for so long were dropped */
#define RX_BUFFER  2048
#define TCP_HEAD   54 /* Ethernet, IPv4, TCP */

#define TX_FEATURES (GNET_F_CSUM | GNET_F_HOST_TSO4)
#define RX_FEATURES (GNET_F_GUEST_CSUM | GNET_F_GUEST_TSO4 | GNET_F_MRG_RXBUF)

static const uint8_t guest_mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

struct net {
	struct bench *b;
	struct meter m;
	struct gnet net;
	int host; /* the other end */
	bool is_tap;
	uint8_t frame[65536];
	struct gnet_hdr hdr;
	uint64_t ahead, progress; /* frames on their way to the guest; when one last arrived */
};

uint16_t ip_checksum(const uint8_t *p, unsigned len)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Plain data of an unassigned type, or a long TCP segment. */
static void make_frame(struct net *n, bool to_guest)
{
	uint8_t *f = n->frame, *ip = f + 14, *tcp = f + 34;
	unsigned len = n->b->len;

	memcpy(f, to_guest ? guest_mac : (const uint8_t *)"\x02\0\0\0\0\1", 6);
	memcpy(f + 6, to_guest ? (const uint8_t *)"\x02\0\0\0\0\1" : guest_mac, 6);
	put_be16(f + 12, 0x88b5);
	if (len <= MTU_FRAME)
		return;
	put_be16(f + 12, ETH_P_IP);
	ip[0] = 0x45;
	put_be16(ip + 2, len - 14);
	ip[8] = 64;
	ip[9] = IPPROTO_TCP;
	memcpy(ip + 12, "\x0a\0\0\1\x0a\0\0\2", 8);
	put_be16(ip + 10, ip_checksum(ip, 20));
	tcp[12] = 0x50;
	tcp[13] = 0x10;
	n->hdr = (struct gnet_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = TCP_HEAD,
		.gso_size = MTU_FRAME - TCP_HEAD,
		.csum_start = 34,
		.csum_offset = 16,
	};
}

/* --- the host's end --- */

/* Where a device model sends that is not connected to us. */
static int bind_named(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	unlink(un.sun_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)))
		guest_panic("%s: %s", path, strerror(errno));
	return fd;
}

/* Before the device model starts; a tap it makes itself. */
static void make_cable(struct net *n)
{
	int sv[2], size = 1 << 20;

	n->is_tap = n->b->tap;
	if (n->is_tap)
		return;
	if (n->b->path) {
		n->host = bind_named(n->b->path);
		return;
	}
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, sv))
		guest_panic("no socket pair: %s", strerror(errno));
	/* The arguments say descriptor 100. */
	if (dup2(sv[0], 100) < 0)
		guest_panic("dup2: %s", strerror(errno));
	close(sv[0]);
	n->b->config.keep_fds[0] = 100;
	n->host = sv[1];
	fcntl(n->host, F_SETFD, FD_CLOEXEC);
	setsockopt(n->host, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static void tap_up(struct net *n, bool receive)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;
	struct ifreq ifr = {0};

	strncpy(ifr.ifr_name, n->b->tap, IFNAMSIZ - 1);
	if (s < 0 || ioctl(s, SIOCGIFFLAGS, &ifr))
		guest_panic("tap %s: %s", n->b->tap, strerror(errno));
	/* No ARP, no IPv6: nothing but our frames. */
	ifr.ifr_flags |= IFF_UP | IFF_NOARP;
	if (ioctl(s, SIOCSIFFLAGS, &ifr))
		guest_panic("tap %s: %s", n->b->tap, strerror(errno));
	close(s);
	if (!receive)
		return;
	n->host = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	to.sll_ifindex = (int)if_nametoindex(n->b->tap);
	if (n->host < 0 || bind(n->host, (struct sockaddr *)&to, sizeof(to)) ||
	    setsockopt(n->host, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) ||
	    setsockopt(n->host, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)))
		guest_panic("packet socket: %s", strerror(errno));
}

/* As many as may be on their way. */
static void host_send(struct net *n)
{
	struct virtio_net_hdr h;
	struct iovec iov[2] = {{&h, sizeof(h)}, {n->frame, n->b->len}};
	struct mmsghdr msg[HOST_BATCH];
	unsigned want = (unsigned)MIN(HOST_AHEAD - MIN(n->ahead, HOST_AHEAD), HOST_BATCH);
	int sent;

	memcpy(&h, &n->hdr, sizeof(h));
	memset(msg, 0, sizeof(msg));
	for (unsigned i = 0; i < want; i++) {
		msg[i].msg_hdr.msg_iov = n->is_tap ? iov : iov + 1;
		msg[i].msg_hdr.msg_iovlen = n->is_tap ? 2 : 1;
	}
	sent = want ? sendmmsg(n->host, msg, want, MSG_DONTWAIT) : 0;
	if (sent > 0)
		n->ahead += (unsigned)sent;
	else if (n->ahead && now_ns() - n->progress > STALLED_NS)
		n->ahead = 0;
}

static void host_drop(struct net *n)
{
	static uint8_t drop[65536];

	while (!n->is_tap && recv(n->host, drop, sizeof(drop), MSG_DONTWAIT) > 0)
		;
}

/* --- the guest's end --- */

static void open_card(struct net *n, uint64_t features, bool receive)
{
	make_cable(n);
	guest_start(&n->b->g, &n->b->config);
	if (n->is_tap)
		tap_up(n, receive);
	gnet_open(&n->b->g, &n->net, 0, 1, RX_BUFFER,
		  n->b->features | GNET_F_MAC | GNET_F_STATUS | features);
	make_frame(n, receive);
}

void bench_net_tx(struct bench *b)
{
	static struct net n;
	uint64_t at, kicks;
	struct gvq *q = &n.net.tx[0];
	uint32_t len;
	void *cookie;

	n.b = b;
	open_card(&n, TX_FEATURES, false);
	at = guest_alloc(&b->g, GNET_HDR + b->len, 64);
	memcpy(guest_ptr(&b->g, at, GNET_HDR), &n.hdr, GNET_HDR);
	memcpy(guest_ptr(&b->g, at + GNET_HDR, b->len), n.frame, b->len);
	q->no_interrupts = true;
	meter_begin(&n.m, b);
	kicks = q->kicks;
	while (meter_running(&n.m)) {
		struct gseg s = {at, GNET_HDR + b->len};
		struct guest_timer t = {0};
		bool more = false;

		if (!n.m.ops)
			kicks = q->kicks;
		while (gvq_get(q, &len, &cookie)) {
			n.m.ops++;
			n.m.bytes += b->len;
		}
		while (q->size - q->free_count < b->depth) {
			if (gvq_add(q, &s, 1, 0, NULL) < 0)
				break;
			more = true;
		}
		if (more)
			gvq_kick(q);
		host_drop(&n);
		n.m.irqs += gpci_msix_take(&n.net.v.pci, q->vector);
		guest_tick(&b->g, &t, 1000);
	}
	meter_end(&n.m);
	n.m.kicks = q->kicks - kicks;
	meter_print(&n.m);
	guest_stop(&b->g);
}

/* Count a frame by its first buffer, put every buffer back. */
static void take_buffers(struct net *n, struct gvq *q)
{
	uint32_t len;
	void *cookie;

	while (gvq_get(q, &len, &cookie)) {
		uint64_t at = n->net.rx_at[0] + (uintptr_t)cookie * RX_BUFFER;
		struct gseg s = {at, RX_BUFFER};
		static unsigned rest;

		if (!rest) {
			struct gnet_hdr *h = guest_ptr(&n->b->g, at, GNET_HDR);

			rest = n->net.v.features & GNET_F_MRG_RXBUF ? h->num_buffers : 1;
			n->m.ops++;
			n->m.bytes += n->b->len;
			n->ahead -= n->ahead > 0;
			n->progress = now_ns();
		}
		rest--;
		if (gvq_add(q, &s, 0, 1, cookie) < 0)
			guest_panic("net: no room for an rx buffer");
	}
}

void bench_net_rx(struct bench *b)
{
	static struct net n;
	struct gvq *q = &n.net.rx[0];
	uint64_t kicks;

	n.b = b;
	open_card(&n, RX_FEATURES, true);
	/* What the interface says of itself in the beginning is not ours. */
	while (guest_wait_ms(&b->g, 50, gpci_msix_take(&n.net.v.pci, q->vector)))
		take_buffers(&n, q);
	n.progress = now_ns();
	meter_begin(&n.m, b);
	kicks = q->kicks;
	while (meter_running(&n.m)) {
		struct guest_timer t = {0};

		if (!n.m.ops)
			kicks = q->kicks;
		host_send(&n);
		if (gpci_msix_take(&n.net.v.pci, q->vector)) {
			n.m.irqs++;
			q->no_interrupts = true;
			do {
				take_buffers(&n, q);
				gvq_kick(q);
			} while (gvq_interrupts_on(q));
		}
		guest_tick(&b->g, &t, 1000);
	}
	meter_end(&n.m);
	n.m.kicks = q->kicks - kicks;
	meter_print(&n.m);
	guest_stop(&b->g);
}
