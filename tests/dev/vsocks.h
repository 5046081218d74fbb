/* SPDX-License-Identifier: MIT */
/* vsocks.h - a machine with virtio-vsock, its driver, and the programs of the host at the other end
 *
 * One machine at a time. What the driver hears it hears in order, so a test has one connection
 * that speaks, or looks at packets itself.
 */
#ifndef DEV_VSOCKS_H
#define DEV_VSOCKS_H

#include <sys/un.h>

#include "tb.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VS_SANITIZED 1
#else
#define VS_SANITIZED 0
#endif

#define VS_CID	     7
#define VS_BUFFER    (128 * KiB) /* the device's, of a connection */
#define VS_RX_LEN    4096
#define VS_BULK	     (1 * MiB)
#define VS_SETTLE_MS 50 /* for "nothing comes": a wrong packet has long come by then */

struct vs {
	struct gvsock s;
	char path[64];
};
extern struct vs vs;

/* Start the machine, the device with `props`, the driver with `buffers` (0: a ring full of) receive
 * buffers of `rx_len` bytes. The usual one. */
void vs_start_with(struct tb *t, const char *props, uint32_t rx_len, unsigned buffers);
void vs_start(struct tb *t);

/* --- the host's side; `type` is the guest's, GVSOCK_STREAM or GVSOCK_SEQPACKET --- */

/* The name of a socket file. */
void vs_address(struct sockaddr_un *sa, const char *suffix);
/* Listen where the guest's connections to `port` go. */
int vs_serve(unsigned type, unsigned port);
/* Connect to the device. */
int vs_client(unsigned type);
void vs_host_send(int fd, const void *data, size_t len);
/* Exactly `len` bytes come, or one message of that length; the end of file comes. */
void vs_host_wants(int fd, const void *data, size_t len);
void vs_host_wants_end(int fd);

/* --- both sides --- */

/* The guest connects to a listening socket of the host, the host to a port of the guest; the host's
 * end of the connection. */
int vs_to_host(struct gvconn *c, unsigned type, int listener, unsigned port);
int vs_from_host(struct gvconn *c, unsigned type, unsigned port);
/* One of them closes in good order. */
void vs_guest_close(struct gvconn *c, int fd);
void vs_host_close(struct gvconn *c, int fd);
/* `total` bytes each way at the same time, whatever comes first; on seqpacket connections as
 * messages, whose boundaries are checked. */
void vs_exchange(struct gvconn *c, int fd, size_t total);

/* Has the device used more than was taken? */
bool vs_used(const struct gvq *q);
/* No packet comes. */
void vs_silence(void);
/* Ordinary connections both ways; the same after a reset. */
void vs_works(void);
void vs_works_again(void);

#endif
