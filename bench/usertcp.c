/* SPDX-License-Identifier: MIT */
/* usertcp.c - a TCP stream through -netdev user, between the guest and a socket of ours on the host
 *
 * From the guest as Linux does it: with the device's offer of it (HOST_TSO4) segments are as large
 * as an IP packet and their checksum is left to the device, else they are as large as the MTU and
 * complete. The data are zeroes, so a checksum costs the driver nothing. As much as the window
 * allows is on its way. To the guest, which takes large segments (GUEST_TSO4) in mergeable buffers:
 * the socket is kept full, and what a look at the ring finds is acknowledged together. An operation
 * is 1460 bytes, whatever they travelled in.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IP	 14
#define TCP	 34
#define HEAD	 54
#define MSS	 1460
#define LARGE	 (44 * MSS)
#define SLOT	 128 /* header of a segment: that of virtio and its own */
#define OWN_PORT 4000
#define F_TSO	 (GNET_F_CSUM | GNET_F_HOST_TSO4)
#define F_LARGE	 (GNET_F_MRG_RXBUF | GNET_F_GUEST_CSUM | GNET_F_GUEST_TSO4)

struct stream {
	struct bench *b;
	struct meter m;
	struct gnet net;
	int listener, host;
	uint8_t head[HEAD];
	uint64_t slots, data; /* guest memory */
	unsigned next;	      /* slot */
	bool tso;
	uint32_t seq, acked, window, peer; /* `peer`: its next sequence number */
};

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, v >> 16);
	put_be16(p + 2, v & 0xffff);
}

/* What the pseudo header adds to the checksum, as a sum. */
static unsigned pseudo_sum(const uint8_t *ip, unsigned len)
{
	uint8_t p[12] = {0};

	memcpy(p, ip + 12, 8);
	p[9] = IPPROTO_TCP;
	put_be16(p + 10, len);
	return ~ip_checksum(p, sizeof(p)) & 0xffff;
}

/* A segment with `len` bytes of zeroes. False when the ring is full. */
static bool send_segment(struct stream *s, unsigned flags, unsigned len)
{
	struct gvq *q = &s->net.tx[0];
	uint64_t at = s->slots + s->next % q->size * SLOT;
	static const uint8_t mss[] = {2, 4, MSS >> 8, MSS & 0xff};
	unsigned options = flags & TH_SYN ? sizeof(mss) : 0;
	struct gseg seg[] = {{at, GNET_HDR + HEAD + options}, {s->data, len}};
	uint8_t *p = guest_ptr(&s->b->g, at, SLOT), *ip = p + GNET_HDR + IP,
		*tcp = p + GNET_HDR + TCP;
	struct gnet_hdr h = {0};

	if (q->free_count < 2)
		return false;
	memcpy(p + GNET_HDR, s->head, HEAD);
	memcpy(p + GNET_HDR + HEAD, mss, options);
	put_be16(ip + 2, 40 + options + len);
	put_be16(ip + 10, ip_checksum(ip, 20));
	put_be32(tcp + 4, s->seq);
	put_be32(tcp + 8, s->peer);
	tcp[12] = (uint8_t)((5 + options / 4) << 4);
	tcp[13] = (uint8_t)flags;
	put_be16(tcp + 16, pseudo_sum(ip, 20 + options + len));
	if (s->tso) {
		h = (struct gnet_hdr){
			.flags = 1, .hdr_len = HEAD, .csum_start = TCP, .csum_offset = 16};
		h.gso_type = len > MSS;
		h.gso_size = len > MSS ? MSS : 0;
	} else {
		put_be16(tcp + 16, ip_checksum(tcp, 20 + options));
	}
	memcpy(p, &h, GNET_HDR);
	if (gvq_add(q, seg, len ? 2 : 1, 0, NULL) < 0)
		return false;
	s->next++;
	s->seq += len + (flags & TH_SYN ? 1 : 0);
	return true;
}

/* Take what came: true when a segment was among it. */
static bool take_acks(struct stream *s, unsigned ms)
{
	uint8_t f[2048];
	struct gnet_hdr h;
	bool any = false;

	while (gnet_recv(&s->net, 0, &h, f, sizeof(f), any ? 0 : ms) >= HEAD) {
		const uint8_t *tcp = f + TCP;

		if (f[12] != 8 || f[13] || f[IP + 9] != IPPROTO_TCP)
			continue;
		if (tcp[13] & TH_RST)
			guest_panic("usertcp: the connection was reset");
		s->acked = get_be32(tcp + 8);
		s->window = (unsigned)tcp[14] << 8 | tcp[15];
		if (tcp[13] & TH_SYN)
			s->peer = get_be32(tcp + 4) + 1;
		any = true;
	}
	return any;
}

static void open_host(struct stream *s)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);

	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&sa, sizeof(sa)) ||
	    listen(s->listener, 1) || getsockname(s->listener, (struct sockaddr *)&sa, &len))
		guest_panic("TCP socket: %s", strerror(errno));
	memcpy(s->head + TCP + 2, &sa.sin_port, 2);
}

static void open_stream(struct stream *s, struct bench *b)
{
	uint8_t *tcp = s->head + TCP;

	s->b = b;
	guest_start(&b->g, &b->config);
	gnet_open(&b->g, &s->net, 0, 1, 2048, b->features | GNET_F_MAC | F_TSO | F_LARGE);
	s->tso = (s->net.v.features & F_TSO) == F_TSO;
	s->slots = guest_alloc(&b->g, (uint64_t)s->net.tx[0].size * SLOT, 64);
	s->data = guest_alloc(&b->g, LARGE, 64);
	user_headers(&s->net, s->head, IPPROTO_TCP);
	open_host(s);
	put_be16(tcp, OWN_PORT);
	put_be16(tcp + 14, 65535);
	send_segment(s, TH_SYN, 0);
	gvq_kick(&s->net.tx[0]);
	if (!take_acks(s, GUEST_WAIT_MS) || s->acked != s->seq)
		guest_panic("usertcp: no connection");
	s->host = accept(s->listener, NULL, NULL);
}

/* As much as the window and the ring have room for. */
static void send_data(struct stream *s)
{
	bool more = false;

	while (gvq_get(&s->net.tx[0], NULL, NULL)) {}
	for (;;) {
		uint32_t room = s->window - MIN(s->window, s->seq - s->acked);
		unsigned len = MIN(room / MSS * MSS, s->tso ? LARGE : MSS);

		if (!len || !send_segment(s, TH_ACK, len))
			break;
		more = true;
	}
	if (more)
		gvq_kick(&s->net.tx[0]);
}

static void done(struct stream *s, uint64_t kicks)
{
	meter_end(&s->m);
	s->m.kicks = kicks;
	meter_print(&s->m);
	close(s->host);
	close(s->listener);
	guest_stop(&s->b->g);
}

/* Take what came of the stream: how many bytes. */
static uint64_t take_data(struct stream *s)
{
	static uint8_t f[65536];
	struct gnet_hdr h;
	uint64_t sum = 0;
	int n;

	while ((n = gnet_recv(&s->net, 0, &h, f, sizeof(f), 0)) >= HEAD) {
		const uint8_t *ip = f + IP, *tcp = f + TCP;
		unsigned size = (unsigned)ip[2] << 8 | ip[3], head = 20 + (tcp[12] >> 4) * 4u;

		if (f[12] != 8 || f[13] || ip[9] != IPPROTO_TCP)
			continue;
		if (tcp[13] & TH_RST || size < head || size > (unsigned)n - IP)
			guest_panic("usertcp: the connection was reset");
		if (get_be32(tcp + 4) != s->peer)
			guest_panic("usertcp: a segment is missing");
		s->peer += size - head;
		sum += size - head;
	}
	return sum;
}

void bench_user_tcp_rx(struct bench *b)
{
	static const uint8_t zeroes[65536];
	static struct stream s;
	struct gvq *q = &s.net.tx[0];
	uint64_t kicks, came = 0;

	open_stream(&s, b);
	q->no_interrupts = true;
	send_segment(&s, TH_ACK, 0);
	gvq_kick(q);
	meter_begin(&s.m, b);
	kicks = q->kicks;
	while (meter_running(&s.m)) {
		struct guest_timer t = {0};
		uint64_t n;

		if (!s.m.ops)
			kicks = q->kicks;
		while (send(s.host, zeroes, sizeof(zeroes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {}
		n = take_data(&s);
		while (gvq_get(q, NULL, NULL)) {}
		if (n && send_segment(&s, TH_ACK, 0))
			gvq_kick(q);
		came += n;
		s.m.bytes += n;
		s.m.ops += came / MSS;
		came %= MSS;
		s.m.irqs += gpci_msix_take(&s.net.v.pci, s.net.rx[0].vector);
		guest_tick(&b->g, &t, 1000);
	}
	done(&s, q->kicks - kicks);
}

void bench_user_tcp(struct bench *b)
{
	static struct stream s;
	struct gvq *q = &s.net.tx[0];
	uint64_t kicks, came = 0;

	open_stream(&s, b);
	q->no_interrupts = true;
	meter_begin(&s.m, b);
	kicks = q->kicks;
	while (meter_running(&s.m)) {
		struct guest_timer t = {0};
		static uint8_t drop[1 << 20];
		ssize_t n;

		if (!s.m.ops)
			kicks = q->kicks;
		send_data(&s);
		while ((n = recv(s.host, drop, sizeof(drop), MSG_DONTWAIT | MSG_TRUNC)) > 0)
			came += (uint64_t)n;
		s.m.bytes += came;
		s.m.ops += came / MSS;
		came %= MSS;
		take_acks(&s, 0);
		s.m.irqs += gpci_msix_take(&s.net.v.pci, s.net.rx[0].vector);
		guest_tick(&b->g, &t, 1000);
	}
	done(&s, q->kicks - kicks);
}
