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
	CONN_HELLO,  /* the host's client has not said where it wants to; no ports yet */
	CONN_ASKED,  /* REQUEST is with the guest, or about to be */
	CONN_UP,     /* RESPONSE is with the guest, or about to be, or came from it */
	CONN_CLOSED, /* for the guest it is over, or will be once it has the RST that is due; the
			last of its data may still go to the socket */
};

/* What a connection waits for at most so long. */
enum wait { WAIT_HELLO, WAIT_ANSWER, WAIT_CLOSE, WAITS };

struct conn {
	struct vsock *s;
	struct list all, ready, waiting; /* each an empty list when it is not in one */
	struct hash_entry entry;	 /* in the table, by ports */
	uint64_t deadline;
	enum conn_state state;
	uint16_t type;
	uint32_t host_port, guest_port;
	uint32_t say; /* 1 << op of the packets that the guest is to get */

	/* the socket */
	int fd; /* -1: closed */
	struct loop_fd w;
	bool watched;
	uint32_t events;
	bool readable; /* may have something (more) to read */
	bool ignored;  /* that was reported in vain: do not watch for it until it is read */
	bool eof;      /* the host sends no more */
	bool gone;     /* the host takes no more */
	bool hung_up;  /* the peer was seen to have closed, what it sent may still be there */
	char hello[HELLO_MAX];
	unsigned hello_len;

	/* to the guest */
	uint32_t sent, peer_fwd, peer_alloc;
	bool asked;	  /* CREDIT_REQUEST was said since there was no credit */
	uint32_t message; /* bytes of a message that went to the guest before the next ones */
	uint32_t told;	  /* flags of SHUTDOWN */

	/* from the guest */
	struct ring ring;
	uint32_t fwd, told_fwd;
	uint32_t guest_done; /* flags of its SHUTDOWN */
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
	struct loop_timer accept_again; /* out of descriptors */
	struct list all, ready;
	struct hash_key key; /* the guest picks the ports */
	struct hash_table table;
	unsigned conns, rings; /* rings: connections whose ring has memory */
	uint32_t next_port;
	struct list waits[WAITS]; /* each with ascending deadlines */
	struct loop_timer timer;
	uint64_t timer_at; /* 0: not set */
	/* RST for what belongs to no connection */
	struct vsock_hdr reply[VSOCK_REPLIES];
	unsigned reply_at, replies;
	struct log_rate rate;
};

/* --- vsock.c --- */

/* A connection on `fd`, which it takes over. NULL (and `fd` closed): too many, or no memory. */
struct conn *conn_new(struct vsock *s, int fd, uint16_t type);
void conn_free(struct conn *c);
struct conn *conn_find(struct vsock *s, uint32_t host_port, uint32_t guest_port);
/* Its ports are set: have conn_find() find it. */
void conn_insert(struct conn *c);
/* Wait from now on for `what`, in place of what it waited for; or for nothing. */
void conn_wait(struct conn *c, enum wait what);
void conn_wait_end(struct conn *c);
/* It has something for the guest. */
void conn_ready(struct conn *c);

/* --- conn.c --- */

/* Lose what the socket has not taken, and give the memory back. */
void conn_ring_free(struct conn *c);

/* The packet of the guest that belongs to `c`. `c` may be gone afterwards. */
void conn_packet(struct conn *c, const struct vsock_hdr *h, const struct iovec *iov, unsigned n);
/* As vsock_next(); `c` may be gone afterwards. */
bool conn_next(struct conn *c, struct vsock_hdr *h, struct iovec *iov, unsigned n);
/* The guest asked for it, and `c` has socket and ports. */
void conn_accept(struct conn *c, const struct vsock_hdr *h);
/* The host asked for it, and `c` has socket and ports. */
void conn_request(struct conn *c);
/* End it on both sides; frees it, at once or when the guest has its RST. */
void conn_kill(struct conn *c);
/* The guest has forgotten it. */
void conn_reset(struct conn *c);

/* --- host.c --- */

int host_open(struct vsock *s, struct err *e);
void host_close(struct vsock *s);
/* Listen, or not, as there is room for connections. 0 or -errno. */
int host_listen(struct vsock *s);
/* A socket connected to who serves `port`, or -errno. */
int host_connect(struct vsock *s, uint32_t port, uint16_t type);

#endif
