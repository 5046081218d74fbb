/* SPDX-License-Identifier: MIT */
/* internal.h - what vsock.c (the table of connections), conn.c (one connection) and host.c (the
 * files of the host) share */
#ifndef VSOCK_INTERNAL_H
#define VSOCK_INTERNAL_H

#include <sys/un.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "vsock/ring.h"
#include "vsock/vsock.h"

#define HELLO_MAX 32 /* "CONNECT 4294967295\n" and some space */

enum conn_state {
	CONN_HELLO,	  /* a client of the host has not sent its CONNECT line yet: no ports */
	CONN_REQUESTED,	  /* a REQUEST was queued for, or sent to, the guest */
	CONN_ESTABLISHED, /* a RESPONSE was queued for, sent to, or received from the guest */
	CONN_CLOSED,	  /* RST was received, or is queued or sent; data that the guest sent before
			     may still have to be written to the socket */
};

/* The events that a connection waits for with a time limit: the CONNECT line of a client, the
 * guest's answer to REQUEST, the guest's RST after a SHUTDOWN with both flags. */
enum wait { WAIT_HELLO, WAIT_RESPONSE, WAIT_CLOSE, WAITS };

struct conn {
	struct vsock *s;
	/* Links in vsock::all, ::ready and ::waits; a link that is in no list is empty. */
	struct list all, ready, waiting;
	struct hash_entry entry; /* in vsock::table, by ports */
	uint64_t deadline;	 /* of the wait, in the time of loop_now() */
	enum conn_state state;
	uint16_t type;
	uint32_t host_port, guest_port;
	uint32_t pending_ops; /* 1 << op for each packet without payload to send to the guest */

	/* the socket */
	int fd; /* -1: closed */
	struct loop_fd w;
	bool watched;
	uint32_t events;
	bool readable;	   /* EPOLLIN was reported, and the socket was not found empty since */
	bool in_masked;	   /* EPOLLIN was reported again before the socket could be read (the guest
			      gives no credit or no buffer): do not watch for it until it is read */
	bool host_no_send; /* the host's program sends no more: VSOCK_NO_SEND is due */
	bool host_no_recv; /* the host's program receives no more: VSOCK_NO_RECV is due */
	bool hung_up;	   /* the host's program has closed its socket; data that it sent before may
			      still be unread */
	char hello[HELLO_MAX];
	unsigned hello_len;

	/* from the host to the guest: the bytes sent, and the guest's last fwd_cnt and buf_alloc */
	uint32_t tx_cnt, peer_fwd_cnt, peer_buf_alloc;
	bool credit_requested;	/* CREDIT_REQUEST was queued since the credit ran out */
	uint32_t message_sent;	/* bytes of the current message that were sent in earlier packets */
	uint32_t shutdown_sent; /* flags of the last SHUTDOWN that was sent */

	/* from the guest to the host */
	struct ring ring;	 /* data that the socket has not accepted yet */
	uint32_t fwd_cnt;	 /* bytes that were written to the socket or discarded */
	uint32_t last_fwd_cnt;	 /* fwd_cnt in the last packet that was sent */
	uint32_t guest_shutdown; /* flags of all SHUTDOWN packets that the guest sent */
};

struct listener {
	struct vsock *s;
	uint16_t type;
	int fd; /* -1: none */
	bool watched;
	struct loop_fd w;
	struct sockaddr_un sa;
};

struct vsock {
	struct vsock_config cfg;
	struct loop *loop;
	struct listener listener[2];
	struct loop_timer accept_again; /* accept4() failed for lack of descriptors or memory */
	struct list all, ready;		/* ready: connections that have a packet for the guest */
	struct hash_key key;		/* secret: the guest chooses the ports that are hashed */
	struct hash_table table;
	unsigned conns, rings;	  /* rings: connections whose ring has memory */
	uint32_t next_port;	  /* where the search for a free port begins, less FIRST_PORT */
	struct list waits[WAITS]; /* each with ascending deadlines */
	struct loop_timer timer;
	uint64_t timer_at; /* when `timer` expires; 0: it is not set */
	/* A ring of RST packets that answer packets of unknown connections. */
	struct vsock_hdr reply[VSOCK_REPLIES];
	unsigned reply_at, replies;
	struct log_rate rate;
};

/* --- vsock.c --- */

/* Create a connection that owns the socket `fd`. Closes `fd` and returns NULL when there are
 * vsock_config::max connections already, or no memory. */
struct conn *conn_new(struct vsock *s, int fd, uint16_t type);
void conn_free(struct conn *c);
struct conn *conn_find(struct vsock *s, uint32_t host_port, uint32_t guest_port);
/* Add `c`, whose ports are set, to the table that conn_find() searches. */
void conn_insert(struct conn *c);
/* Start the time limit of `what`, in place of the one that ran for `c`. When it expires, the
 * connection is killed. */
void conn_wait(struct conn *c, enum wait what);
/* Stop the time limit of `c`, if one runs. */
void conn_wait_end(struct conn *c);
/* Have vsock_next() ask `c` for a packet. */
void conn_ready(struct conn *c);

/* --- conn.c --- */

/* Discard the guest's data that the socket has not accepted, and free its memory. */
void conn_ring_free(struct conn *c);

/* Process a packet of the guest that belongs to `c`. May free `c`. */
void conn_packet(struct conn *c, const struct vsock_hdr *h, const struct iovec *iov, unsigned n);
/* As vsock_next(), for this connection. May free `c`. */
bool conn_next(struct conn *c, struct vsock_hdr *h, struct iovec *iov, unsigned n);
/* Accept the guest's REQUEST `h`; `c` has its socket and ports. May free `c`. */
void conn_accept(struct conn *c, const struct vsock_hdr *h);
/* Send a REQUEST to the guest for a client of the host; `c` has its socket and ports. */
void conn_request(struct conn *c);
/* Close the socket and reset the connection. Frees `c`, at once or when the guest has taken the
 * RST. */
void conn_kill(struct conn *c);
/* The guest's driver was reset and knows `c` no more. Frees `c`, at once or when the rest of the
 * guest's data was written to the socket. */
void conn_reset(struct conn *c);

/* --- host.c --- */

/* Create and remove the listening socket files. host_open() returns 0, or -errno with `e`. */
int host_open(struct vsock *s, struct err *e);
void host_close(struct vsock *s);
/* Watch the listening sockets while fewer than vsock_config::max connections exist. Returns 0 or
 * -errno. */
int host_listen(struct vsock *s);
/* Connect to the socket file that serves `port` of the host. Returns the socket or -errno. */
int host_connect(struct vsock *s, uint32_t port, uint16_t type);

#endif
