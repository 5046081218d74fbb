/* SPDX-License-Identifier: MIT */
/* vsock.h - a guest's vsock connections, each joined to a unix socket of the host
 *
 * The host's side is files. A client of the host connects to the socket at `path`, says
 * "CONNECT 1234\n", and is joined to whoever listens on port 1234 in the guest: it reads
 * "OK 1073741824\n" (the host's port of the connection), then the guest's data. When the guest
 * connects to port 80 of the host (CID 2), it is joined to whoever listens at `path`_80. Stream
 * sockets of the guest are stream sockets here. Seqpacket ones are seqpacket ones, and their files
 * end in ".seqpacket": `path`.seqpacket, `path`_80.seqpacket.
 *
 * This folder knows packets, not queues. The device hands in each packet of the guest, with its
 * payload where it lies in guest memory, and asks for the next one to hand out, with the memory for
 * the payload: data goes between guest memory and socket in one copy, the kernel's. What a socket
 * does not take at once waits in the connection's buffer of VSOCK_BUFFER bytes, which is what the
 * guest is told that it may send (its credit); what the guest has no credit for stays in the
 * socket.
 *
 * Everything a guest says is checked, and what it can make grow is bounded: connections by `max`,
 * their buffers by VSOCK_BUFFER, answers to packets that belong to nothing by VSOCK_REPLIES. A
 * guest that breaks the rules of a connection loses this connection.
 *
 * Owner: all functions belong to the loop given to vsock_start(); vsock_open(), vsock_start() and
 * vsock_free() to the control thread while that loop does not run.
 */
#ifndef VSOCK_VSOCK_H
#define VSOCK_VSOCK_H

#include <stdbool.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/loop.h"
#include "vsock/packet.h"

#define VSOCK_BUFFER	(128 * KiB) /* of a connection, guest to host */
#define VSOCK_REPLIES	128
#define VSOCK_MAX_LIMIT 4096 /* connections */
#define VSOCK_IOV	1024 /* pieces that a payload may be in */

struct vsock;

struct vsock_config {
	const char *name; /* of the device, for messages; kept */
	const char *path; /* kept */
	uint32_t guest_cid;
	unsigned max;	/* connections, 1 .. VSOCK_MAX_LIMIT */
	bool seqpacket; /* listen for seqpacket clients, too */
	/* Loop: there may be something for vsock_next(), or room for vsock_packet(). */
	void (*wake)(void *arg);
	void *arg;
};

/* Make the socket files of `c` and listen. NULL with `e`. */
struct vsock *vsock_open(const struct vsock_config *c, struct err *e);
/* Serve them on `loop`. 0 or -errno. */
int vsock_start(struct vsock *s, struct loop *loop);
/* Close everything and remove the socket files. Harmless on NULL. */
void vsock_free(struct vsock *s);

/* A packet of the guest with `h->len` bytes of payload in iov[0 .. n). `seqpacket`: the guest may
 * use this type. False: not taken, the answers to earlier ones wait for vsock_next(). */
bool vsock_packet(struct vsock *s, const struct vsock_hdr *h, const struct iovec *iov, unsigned n,
		  bool seqpacket);
/* May vsock_next() have a packet? */
bool vsock_pending(const struct vsock *s);
/* The next packet for the guest, its payload put into iov[0 .. n), at least one byte. False: there
 * is none after all. Changes `iov`. */
bool vsock_next(struct vsock *s, struct vsock_hdr *h, struct iovec *iov, unsigned n);
/* The guest's driver has gone, and its sockets with it: close all connections without a word to
 * it. Data of those that it had closed still goes to the host. */
void vsock_reset(struct vsock *s);

#endif
