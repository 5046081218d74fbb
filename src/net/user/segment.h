/* SPDX-License-Identifier: MIT */
/* segment.h - packets larger than the guest's link carries (private to this folder)
 *
 * A back end that makes TCP segments itself (libslirp) makes large ones where it believes the link
 * to take them. A guest with VIRTIO_NET_F_GUEST_TSO4/6 does, whatever the MSS of its SYN says,
 * which is about its link; so its SYN is changed on its way, and what comes back gets the header
 * that says how the link would have cut it. For any other guest it is cut here, as are packets that
 * are no TCP. All positions are checked: these may be the guest's bytes, but in memory of ours. No
 * state, any thread.
 */
#ifndef NET_USER_SEGMENT_H
#define NET_USER_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "net/net.h"

#define NET_HEADERS_MAX (14 + 60 + 60) /* Ethernet, IP, TCP */
#define NET_LINK_MTU	1500

enum net_ip { NET_IPV4, NET_IPV6, NET_IPS };

/* own[] below before there was a SYN: what the standards let a host assume. */
#define NET_MSS4_DEFAULT 536
#define NET_MSS6_DEFAULT 1220

/* Where `frame`, from the guest, is a TCP SYN: own[IPv4 or IPv6] becomes how much a segment may
 * carry by its maximum segment size (RFC 9293 §3.7.1), and by the link's; the standard's default if
 * it states none or an impossible one. What it states becomes raise[...] if that is more. */
void net_note_mss(uint8_t *frame, size_t len, const unsigned raise[NET_IPS], unsigned own[NET_IPS]);

/* For a TCP segment: the header (Virtio 1.3 §5.1.6) with which it is one of several of own[...]
 * bytes, and a copy of its headers in `head` whose checksum is begun only. Returns their length and
 * which IP it is; 0: it is something else. */
size_t net_gso_head(const uint8_t *frame, size_t len, const unsigned own[NET_IPS],
		    uint8_t hdr[NET_HDR_LEN], uint8_t head[NET_HEADERS_MAX], enum net_ip *ip);

/* Where pieces go: headers and data. */
typedef void net_put(void *arg, const struct iovec iov[2]);

/* Hand a TCP segment to put(arg, ...) in segments of at most own[...] bytes with their checksums.
 * False: it is none; nothing was done. */
bool net_cut(const uint8_t *frame, size_t len, const unsigned own[NET_IPS], net_put *put,
	     void *arg);
/* Hand an IPv4 packet to put(arg, ...) in fragments (RFC 791) of at most `mtu` bytes. False: it is
 * none, or must not be fragmented; nothing was done. */
bool net_fragment(const uint8_t *frame, size_t len, size_t mtu, net_put *put, void *arg);

#endif
