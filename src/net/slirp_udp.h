/* SPDX-License-Identifier: MIT */
/* slirp_udp.h - datagrams that libslirp sends one by one, handed to the kernel as runs
 *
 * For each datagram of the guest libslirp makes two system calls: it sets the socket's hop limit,
 * and sends. They are nearly all of what such a frame costs. The guest's queue gives frames in
 * batches, and those of one flow are mostly of one size, which is what the kernel's UDP_SEGMENT
 * takes in one call (Linux 4.18, udp(7)).
 *
 * libslirp has no callback at this place, but it is a shared library: it calls the setsockopt() and
 * sendto() that this program exports, which are in slirp_udp.c. Except between
 * slirp_udp_gather() and slirp_udp_gather(NULL) they are the system calls and nothing else. There
 *
 *   - a hop limit that the socket has already is not set again;
 *   - the first datagram to a destination goes at once, so its error is libslirp's to report to the
 *     guest; those of the same socket to the same destination wait for the next of another kind,
 *     for as many as the kernel takes in one call, or for slirp_udp_end().
 *
 * What happens to a datagram in libslirp (forwarding, restrict=on, the expiry of its sockets) is
 * not touched. Where the library is not dynamically linked, or the kernel cannot do it, every
 * datagram goes by itself.
 */
#ifndef NET_SLIRP_UDP_H
#define NET_SLIRP_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define SLIRP_UDP_RUN	64    /* datagrams in a call, as old kernels have it */
#define SLIRP_UDP_BYTES 65000 /* of them, below what UDP's length field can say */

struct slirp_udp {
	int fd; /* of the run, -1 for none; it goes to: */
	struct sockaddr_storage to;
	socklen_t to_len;
	unsigned n;	  /* datagrams that wait */
	size_t each, len; /* bytes of each but the last, of all */
	bool ended;	  /* the last is shorter */
	bool plain;	  /* this kernel has no UDP_SEGMENT */

	int hops_fd; /* whose hop limit is known, -1 for none; which one it is: */
	int hops_level;
	uint32_t hops;

	uint8_t data[SLIRP_UDP_BYTES];
};

/* All on the network's loop. */

/* `u` is zeroed memory. */
void slirp_udp_init(struct slirp_udp *u);
/* From now on what this thread sends by sendto() may wait in `u`; NULL: not any more, what waits in
 * one goes on waiting. Only around calls of libslirp that get a UDP frame of the guest's: of other
 * sockets' datagrams the kernel would make one. */
void slirp_udp_gather(struct slirp_udp *u);
/* What waits goes, and `u` forgets the sockets, whose numbers may be given to others. */
void slirp_udp_end(struct slirp_udp *u);

#endif
