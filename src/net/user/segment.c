/* SPDX-License-Identifier: MIT */
/* segment.c - see segment.h */
#include "net/user/segment.h"

#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/util.h"
#include "net/user/offload.h"

#define IP4_MIN	   20u
#define IP6_HEAD   40u
#define TCP_MIN	   20u
#define TCP_FLAGS  13
#define TCP_SUM	   16
#define IP_DONT	   0x4000
#define IP_MORE	   0x2000
#define IP_OFFSET  0x1fff
#define MSS_MIN	   64
#define NEEDS_CSUM 1
#define GSO_TCP4   1
#define GSO_TCP6   4

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* --- finding one's way --- */

struct packet {
	enum net_ip ip;
	unsigned proto;
	unsigned at;   /* what is behind the IP header */
	unsigned data; /* of TCP: behind its header */
	unsigned end;
};

/* The first fragment, or a whole packet, without IPv6 extension headers. */
static bool find_ip(const uint8_t *f, size_t len, struct packet *p)
{
	if (len < ETHER_HDR_LEN + IP4_MIN)
		return false;
	if (get16(f + 12) == ETHERTYPE_IP && f[ETHER_HDR_LEN] >> 4 == 4) {
		p->ip = NET_IPV4;
		p->proto = f[ETHER_HDR_LEN + 9];
		p->at = ETHER_HDR_LEN + (f[ETHER_HDR_LEN] & 15) * 4u;
		p->end = ETHER_HDR_LEN + get16(f + ETHER_HDR_LEN + 2);
		return p->at >= ETHER_HDR_LEN + IP4_MIN && p->at <= p->end && p->end <= len &&
		       !(get16(f + ETHER_HDR_LEN + 6) & IP_OFFSET);
	}
	if (get16(f + 12) == ETHERTYPE_IPV6 && f[ETHER_HDR_LEN] >> 4 == 6 &&
	    len >= ETHER_HDR_LEN + IP6_HEAD) {
		p->ip = NET_IPV6;
		p->proto = f[ETHER_HDR_LEN + 6];
		p->at = ETHER_HDR_LEN + IP6_HEAD;
		p->end = p->at + get16(f + ETHER_HDR_LEN + 4);
		return p->end <= len;
	}
	return false;
}

static bool find_tcp(const uint8_t *f, size_t len, struct packet *p)
{
	if (!find_ip(f, len, p) || p->proto != IPPROTO_TCP || p->at + TCP_MIN > p->end)
		return false;
	p->data = p->at + (f[p->at + 12] >> 4) * 4u;
	return p->data >= p->at + TCP_MIN && p->data <= p->end;
}

/* Where the option is, 0 when there is none (that could be understood). */
static unsigned find_mss(const uint8_t *f, const struct packet *p)
{
	for (unsigned at = p->at + TCP_MIN; at < p->data;) {
		unsigned len = at + 1 < p->data ? f[at + 1] : 0;

		if (f[at] == TCPOPT_EOL)
			return 0;
		if (f[at] == TCPOPT_NOP) {
			at++;
			continue;
		}
		if (len < 2 || len > p->data - at)
			return 0;
		if (f[at] == TCPOPT_MAXSEG && len == TCPOLEN_MAXSEG)
			return at;
		at += len;
	}
	return 0;
}

/* --- the guest's SYN --- */

/* RFC 1624: of the checksum at `at`, a word of what it covers was `old` and is `now`. */
static void adjust_sum(uint8_t *at, unsigned old, unsigned now)
{
	unsigned sum = (~get16(at) & 0xffff) + (~old & 0xffff) + now;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(at, ~sum & 0xffff);
}

static unsigned swap16(unsigned v)
{
	return (v & 0xff) << 8 | v >> 8;
}

static void change_mss(uint8_t *f, const struct packet *p, unsigned option, unsigned mss)
{
	unsigned old = get16(f + option + 2), at = option + 2 - p->at;

	put16(f + option + 2, mss);
	/* Options need not begin at an even place, checksums do. */
	if (at % 2)
		adjust_sum(f + p->at + TCP_SUM, swap16(old), swap16(mss));
	else
		adjust_sum(f + p->at + TCP_SUM, old, mss);
}

void net_note_mss(uint8_t *frame, size_t len, const unsigned raise[NET_IPS], unsigned own[NET_IPS])
{
	struct packet p;
	unsigned option, now;

	if (!find_tcp(frame, len, &p) || !(frame[p.at + TCP_FLAGS] & TH_SYN))
		return;
	option = find_mss(frame, &p);
	now = option ? get16(frame + option + 2) : 0;
	if (option && now < raise[p.ip])
		change_mss(frame, &p, option, raise[p.ip]);
	if (now < MSS_MIN)
		now = p.ip == NET_IPV4 ? NET_MSS4_DEFAULT : NET_MSS6_DEFAULT;
	own[p.ip] = MIN(now, NET_LINK_MTU - TCP_MIN - (p.ip == NET_IPV4 ? IP4_MIN : IP6_HEAD));
}

/* --- to the guest --- */

/* The sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1), for a checksum to begin with: of
 * a segment from p->at to p->end. */
static uint16_t pseudo_sum(const uint8_t *f, const struct packet *p)
{
	unsigned from = p->ip == NET_IPV4 ? 12 : 8, len = p->ip == NET_IPV4 ? 8 : 32;
	uint8_t buf[36];

	memcpy(buf, f + ETHER_HDR_LEN + from, len);
	put16(buf + len, IPPROTO_TCP);
	put16(buf + len + 2, p->end - p->at);
	return net_sum(buf, len + 4);
}

size_t net_gso_head(const uint8_t *frame, size_t len, const unsigned own[NET_IPS],
		    uint8_t hdr[NET_HDR_LEN], uint8_t head[NET_HEADERS_MAX], enum net_ip *ip)
{
	struct packet p;
	uint16_t sum;

	if (!find_tcp(frame, len, &p))
		return 0;
	*ip = p.ip;
	memset(hdr, 0, NET_HDR_LEN);
	hdr[0] = NEEDS_CSUM;
	hdr[1] = p.ip == NET_IPV4 ? GSO_TCP4 : GSO_TCP6;
	put_le16(hdr + 2, (uint16_t)p.data);
	put_le16(hdr + 4, (uint16_t)own[p.ip]);
	put_le16(hdr + 6, (uint16_t)p.at);
	put_le16(hdr + 8, TCP_SUM);
	memcpy(head, frame, p.data);
	sum = pseudo_sum(frame, &p);
	memcpy(head + p.at + TCP_SUM, &sum, sizeof(sum));
	return p.data;
}

/* The length and checksum of an IP header, for what is from p->at to p->end. */
static void finish_ip(uint8_t *head, const struct packet *p)
{
	uint8_t *ip = head + ETHER_HDR_LEN;
	uint16_t sum;

	if (p->ip == NET_IPV6) {
		put16(ip + 4, p->end - p->at);
		return;
	}
	put16(ip + 2, p->end - ETHER_HDR_LEN);
	put16(ip + 10, 0);
	sum = (uint16_t)~net_sum(ip, p->at - ETHER_HDR_LEN);
	memcpy(ip + 10, &sum, sizeof(sum));
}

bool net_cut(const uint8_t *frame, size_t len, const unsigned own[NET_IPS], net_put *put, void *arg)
{
	uint8_t head[NET_HEADERS_MAX], *tcp;
	unsigned step, flags, all;
	struct packet p;
	uint32_t seq;

	if (!find_tcp(frame, len, &p))
		return false;
	memcpy(head, frame, p.data);
	tcp = head + p.at;
	seq = (uint32_t)get16(tcp + 4) << 16 | get16(tcp + 6);
	flags = tcp[TCP_FLAGS];
	step = MAX(own[p.ip], MSS_MIN);
	all = p.end;
	for (unsigned at = p.data; at < all; at += step, seq += step) {
		unsigned n = MIN(step, all - at);
		struct iovec iov[2] = {{head, p.data}, {(void *)(frame + at), n}};
		uint32_t sum;

		p.end = p.data + n;
		put16(tcp + 4, seq >> 16);
		put16(tcp + 6, seq & 0xffff);
		tcp[TCP_FLAGS] = (uint8_t)(at + n < all ? flags & ~(TH_FIN | TH_PUSH) : flags);
		put16(tcp + TCP_SUM, 0);
		/* Headers have an even length, so the sums add up. */
		sum = pseudo_sum(head, &p) + net_sum(tcp, p.data - p.at) + net_sum(frame + at, n);
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		memcpy(tcp + TCP_SUM, &(uint16_t){(uint16_t)~sum}, 2);
		finish_ip(head, &p);
		put(arg, iov);
	}
	return true;
}

bool net_fragment(const uint8_t *frame, size_t len, size_t mtu, net_put *put, void *arg)
{
	uint8_t head[ETHER_HDR_LEN + 60], *ip = head + ETHER_HDR_LEN;
	unsigned more, step, all;
	struct packet p;

	if (!find_ip(frame, len, &p) || p.ip != NET_IPV4)
		return false;
	memcpy(head, frame, p.at);
	more = get16(ip + 6);
	step = (unsigned)(mtu - (p.at - ETHER_HDR_LEN)) & ~7u;
	all = p.end;
	if (more & IP_DONT)
		return false;
	for (unsigned at = p.at; at < all; at += step) {
		unsigned n = MIN(step, all - at);
		struct iovec iov[2] = {{head, p.at}, {(void *)(frame + at), n}};

		p.end = p.at + n;
		put16(ip + 6, (at - p.at) / 8 | (more & IP_MORE) | (at + n < all ? IP_MORE : 0));
		finish_ip(head, &p);
		put(arg, iov);
	}
	return true;
}
