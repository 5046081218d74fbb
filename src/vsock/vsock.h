/* SPDX-License-Identifier: MIT */
/* vsock.h - a guest's vsock connections, each joined to a unix socket of the host
 *
 * The protocol (Virtio 1.3 §5.10). Vsock gives a guest and its host sockets without a network. An
 * address is a CID (context id: the host is 2, each guest has one of its own) and a port of 32
 * bits. Guest and device exchange packets, each a header of 44 bytes and a payload, over two
 * virtqueues. A connection is identified by the addresses of its two ends; its type, stream or
 * seqpacket, is in each header.
 *
 * - Connection establishment: the side that connects sends REQUEST. The peer accepts with RESPONSE
 *   or refuses with RST.
 * - Data: an RW packet carries bytes of a stream, or a part of a seqpacket message, whose last part
 *   has the flag SEQ_EOM.
 * - Credit: each header carries buf_alloc, the size of the sender's receive buffer for this
 *   connection, and fwd_cnt, the bytes that have left this buffer so far (modulo 2^32). A peer
 *   that has sent tx_cnt bytes may send buf_alloc - (tx_cnt - fwd_cnt) more. CREDIT_UPDATE reports
 *   a new fwd_cnt when there is no data to carry it; CREDIT_REQUEST asks for such a report.
 * - Shutdown: SHUTDOWN says that its sender will receive no more, send no more, or both. When it
 *   says both, the peer answers with RST, and the connection has ended. An RST at any other time
 *   aborts the connection. A packet for an unknown connection is answered with RST.
 *
 * How a connection reaches the host. Each is joined to a unix socket. When the guest connects to
 * port 80 of the host, this program connects to the socket file `path`_80: whoever listens there
 * is the server, and if nobody does, the guest gets RST. In the other direction a client of the
 * host connects to the socket file `path` and sends the line "CONNECT 1234\n"; this program sends
 * a REQUEST to port 1234 of the guest and, when the guest accepts, answers the client with
 * "OK 1073741824\n" (the port of the host's end). Bytes after these lines are the connection's.
 * Stream connections use stream sockets. Seqpacket connections use seqpacket sockets, whose files
 * have a suffix: `path`.seqpacket, `path`_80.seqpacket.
 *
 * This folder handles packets and does not know virtqueues. The device passes in each packet of the
 * guest, with its payload still in guest memory, and fetches the packets for the guest, providing
 * guest memory for the payload. So the kernel copies data directly between guest memory and the
 * socket. Data that a socket does not accept at once is kept in a buffer of the connection, whose
 * size, VSOCK_BUFFER, is the buf_alloc that the guest sees. Data for which the guest has given no
 * credit is left in the socket.
 *
 * All fields of a guest's packet are checked, and what a guest can make this program allocate is
 * bounded: the number of connections by `max`, the buffer of each by VSOCK_BUFFER, the RSTs that
 * answer packets of unknown connections by VSOCK_REPLIES. When a guest violates the protocol on a
 * connection, that connection is reset; others continue.
 *
 * Threads: vsock_open(), vsock_start() and vsock_free() are called by the control thread while the
 * loop given to vsock_start() does not run; all other functions are called on that loop.
 */
#ifndef VSOCK_VSOCK_H
#define VSOCK_VSOCK_H

#include <stdbool.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/loop.h"
#include "vsock/packet.h"

#define VSOCK_BUFFER	(128 * KiB) /* buffer of one connection, guest to host, in bytes */
#define VSOCK_REPLIES	128	    /* RSTs that may wait for the guest to take them */
#define VSOCK_MAX_LIMIT 4096	    /* highest value of vsock_config::max */
#define VSOCK_IOV	1024	    /* most elements of an iovec that holds a payload */

struct vsock;

struct vsock_config {
	const char *name; /* of the device, for messages; must stay valid until vsock_free() */
	const char *path; /* prefix of the socket files; must stay valid until vsock_free() */
	uint32_t guest_cid;
	unsigned max;	/* most connections at a time, 1 .. VSOCK_MAX_LIMIT */
	bool seqpacket; /* listen for seqpacket clients, too */
	/* Called on the loop when vsock_next() may have a packet again. */
	void (*wake)(void *arg);
	void *arg;
};

/* Create the listening socket files of `c`. Returns NULL and sets `e` when that fails. */
struct vsock *vsock_open(const struct vsock_config *c, struct err *e);
/* Begin to accept clients, on `loop`. Returns 0 or -errno. */
int vsock_start(struct vsock *s, struct loop *loop);
/* Close all connections and remove the socket files. `s` may be NULL. */
void vsock_free(struct vsock *s);

/* Process a packet of the guest whose payload, `h->len` bytes, is in iov[0 .. n). `seqpacket` tells
 * whether the guest's driver negotiated that type. Returns false if the packet was not processed
 * because VSOCK_REPLIES answers wait for vsock_next(): pass it in again after the guest has taken
 * one. */
bool vsock_packet(struct vsock *s, const struct vsock_hdr *h, const struct iovec *iov, unsigned n,
		  bool seqpacket);
/* Tells whether vsock_next() may have a packet. */
bool vsock_pending(const struct vsock *s);
/* Store the next packet for the guest in `h`, and its payload in iov[0 .. n), which has room for at
 * least one byte. Changes `iov`. Returns false if there is no packet, which can happen even after
 * vsock_pending() returned true. */
bool vsock_next(struct vsock *s, struct vsock_hdr *h, struct iovec *iov, unsigned n);
/* The guest's driver has reset the device and forgotten its sockets: close all connections without
 * sending it anything. Data of connections that the guest had already shut down is still delivered
 * to the host. */
void vsock_reset(struct vsock *s);

#endif
