/* SPDX-License-Identifier: MIT */
/* gdrivers.h - the guest's drivers for disk, net, entropy, serial ports and sockets: thin, on top
 * of gvirtio.h */
#ifndef GUEST_GDRIVERS_H
#define GUEST_GDRIVERS_H

#include "gvirtio.h"

/* --- disk (Virtio 1.3 §5.2) --- */

#define GBLK_F_SIZE_MAX	    (1ULL << 1)
#define GBLK_F_SEG_MAX	    (1ULL << 2)
#define GBLK_F_GEOMETRY	    (1ULL << 4)
#define GBLK_F_RO	    (1ULL << 5)
#define GBLK_F_BLK_SIZE	    (1ULL << 6)
#define GBLK_F_FLUSH	    (1ULL << 9)
#define GBLK_F_TOPOLOGY	    (1ULL << 10)
#define GBLK_F_CONFIG_WCE   (1ULL << 11)
#define GBLK_F_MQ	    (1ULL << 12)
#define GBLK_F_DISCARD	    (1ULL << 13)
#define GBLK_F_WRITE_ZEROES (1ULL << 14)

enum {
	GBLK_IN = 0,
	GBLK_OUT = 1,
	GBLK_FLUSH = 4,
	GBLK_GET_ID = 8,
	GBLK_DISCARD = 11,
	GBLK_WRITE_ZEROES = 13,
};
enum { GBLK_OK = 0, GBLK_IOERR = 1, GBLK_UNSUPP = 2, GBLK_PENDING = 0xff };

#define GBLK_QUEUES 8
#define GBLK_SLOTS  256 /* requests in flight per queue */

/* A request: header, status, and where its data lies. */
struct gblk_req {
	uint64_t at;  /* gpa of 32 bytes: header at 0, status at 16 */
	uint8_t *mem; /* the same */
	struct gvq *q;
	bool busy;
};

struct gblk {
	struct gvirtio v;
	uint64_t sectors;
	unsigned queues;
	struct gvq q[GBLK_QUEUES];
	struct gblk_req *slot; /* GBLK_SLOTS per queue */
};

/* Negotiate ring features and `want`, set up at most `queues` queues of `size` entries (0: all of
 * it), start. */
void gblk_open(struct guest *g, struct gblk *b, unsigned nth, unsigned queues, unsigned size,
	       uint64_t want);
/* Reset and begin anew with the same parameters; the memory of the old rings stays taken. */
void gblk_restart(struct gblk *b, uint64_t want);
void gblk_close(struct gblk *b); /* frees what is ours; does not touch the device */

/* Put a request on queue `qi` (not kicked): NULL when there is no room. `segs` data segments. */
struct gblk_req *gblk_add(struct gblk *b, unsigned qi, uint32_t type, uint64_t sector,
			  const struct gseg *seg, unsigned segs);
/* One finished request of the queue, or NULL; its status is in mem[16], its slot is free again. */
struct gblk_req *gblk_done(struct gblk *b, unsigned qi, uint32_t *len);
/* Add, kick, wait: the status. */
uint8_t gblk_do(struct gblk *b, unsigned qi, uint32_t type, uint64_t sector, uint64_t gpa,
		uint32_t len);
/* Discard or write-zeroes of one range. */
uint8_t gblk_range(struct gblk *b, uint32_t type, uint64_t sector, uint32_t sectors,
		   uint32_t flags);

/* --- net (§5.1) --- */

#define GNET_F_CSUM	      (1ULL << 0)
#define GNET_F_GUEST_CSUM     (1ULL << 1)
#define GNET_F_GUEST_OFFLOADS (1ULL << 2)
#define GNET_F_MTU	      (1ULL << 3)
#define GNET_F_MAC	      (1ULL << 5)
#define GNET_F_GUEST_TSO4     (1ULL << 7)
#define GNET_F_GUEST_TSO6     (1ULL << 8)
#define GNET_F_HOST_TSO4      (1ULL << 11)
#define GNET_F_HOST_TSO6      (1ULL << 12)
#define GNET_F_MRG_RXBUF      (1ULL << 15)
#define GNET_F_STATUS	      (1ULL << 16)
#define GNET_F_CTRL_VQ	      (1ULL << 17)
#define GNET_F_CTRL_RX	      (1ULL << 18)
#define GNET_F_CTRL_VLAN      (1ULL << 19)
#define GNET_F_CTRL_RX_EXTRA  (1ULL << 20)
#define GNET_F_ANNOUNCE	      (1ULL << 21)
#define GNET_F_MQ	      (1ULL << 22)
#define GNET_F_CTRL_MAC	      (1ULL << 23)
#define GNET_HDR	      12
#define GNET_PAIRS	      4

struct gnet_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

struct gnet {
	struct gvirtio v;
	unsigned pairs;
	struct gvq rx[GNET_PAIRS], tx[GNET_PAIRS], ctrl;
	bool has_ctrl;
	uint32_t rx_len;	    /* of one receive buffer */
	uint64_t rx_at[GNET_PAIRS]; /* one buffer per descriptor */
	uint64_t tx_at, ctrl_at;
};

/* Negotiate, set up rx/tx of `pairs` pairs and the control queue, fill the rx rings with buffers of
 * `rx_len` bytes, start. */
void gnet_open(struct guest *g, struct gnet *n, unsigned nth, unsigned pairs, uint32_t rx_len,
	       uint64_t want);
void gnet_restart(struct gnet *n, unsigned pairs, uint64_t want);
/* Send one frame and wait until the device has taken it. */
void gnet_send(struct gnet *n, unsigned pair, const struct gnet_hdr *h, const void *frame,
	       uint32_t len);
/* Wait at most `ms` for a frame; its length, or -1. Puts the buffers back. Joins mergeable buffers.
 */
int gnet_recv(struct gnet *n, unsigned pair, struct gnet_hdr *h, void *buf, uint32_t size,
	      unsigned ms);
/* Control command; the ack byte. */
uint8_t gnet_ctrl(struct gnet *n, uint8_t class, uint8_t cmd, const void *data, uint32_t len);

/* --- entropy (§5.4) --- */

struct grng {
	struct gvirtio v;
	struct gvq q;
	uint64_t at; /* a page */
};

void grng_open(struct guest *g, struct grng *r, unsigned nth);
/* Ask for `len` (up to 4096) bytes; how many came, or -1 when none did in `ms`. */
int grng_read(struct grng *r, void *buf, uint32_t len, unsigned ms);

/* --- serial ports (§5.3) --- */

#define GSERIAL_F_SIZE	      (1ULL << 0)
#define GSERIAL_F_MULTIPORT   (1ULL << 1)
#define GSERIAL_F_EMERG_WRITE (1ULL << 2)
#define GSERIAL_PORTS	      31
#define GSERIAL_CHUNK	      4096 /* bytes of each */
#define GSERIAL_SLOTS	      128  /* input and output buffers of a port */

enum {
	GSERIAL_DEVICE_READY = 0,
	GSERIAL_PORT_ADD = 1,
	GSERIAL_PORT_REMOVE = 2,
	GSERIAL_PORT_READY = 3,
	GSERIAL_CONSOLE_PORT = 4,
	GSERIAL_RESIZE = 5,
	GSERIAL_PORT_OPEN = 6,
	GSERIAL_PORT_NAME = 7,
};

struct gserial_port {
	struct gvq in, out;
	uint64_t in_at, out_at; /* GSERIAL_SLOTS buffers of GSERIAL_CHUNK bytes each; 0: not yet */
	uint32_t buffer;	/* bytes of each posted input buffer */
	char early[GSERIAL_CHUNK]; /* input that came with what was asked for */
	uint32_t early_len;
	uint64_t sent; /* chains */
	/* as the control queue says */
	bool there, console, host_open;
	unsigned added, removed;
	char name[64];
};

struct gserial {
	struct gvirtio v;
	unsigned ports; /* with queues */
	struct gvq ctrl_in, ctrl_out;
	uint64_t ctrl_in_at, ctrl_out_at; /* 32 buffers of GSERIAL_CTRL bytes each */
	uint64_t messages;		  /* that came */
	struct gserial_port port[GSERIAL_PORTS];
};

#define GSERIAL_CTRL 512

/* Negotiate ring features and `want`, set up the queues of ports 0 to `ports` - 1 and, with
 * MULTIPORT, of control, start, and say DEVICE_READY. No input buffer is posted. */
void gserial_open(struct guest *g, struct gserial *s, unsigned nth, unsigned ports, uint64_t want);
/* Reset and begin anew with the same parameters. */
void gserial_restart(struct gserial *s, uint64_t want);
/* Send a control message (the first `len` bytes of it, 8 for a whole one) and wait until it is
 * taken. */
void gserial_send_control(struct gserial *s, const void *msg, uint32_t len);
void gserial_control(struct gserial *s, uint32_t id, uint16_t event, uint16_t value);
/* Take the control messages that are there; new ports are answered with PORT_READY. True, for use
 * in a condition. */
bool gserial_poll(struct gserial *s);
#define gserial_wait(s, cond) guest_wait((s)->v.g, gserial_poll(s) && (cond))
/* Post `n` input buffers of `size` bytes. */
void gserial_post(struct gserial *s, unsigned nr, unsigned n, uint32_t size);
/* Read exactly `len` bytes, with the buffers put back as they come; false when they did not come
 * in `ms`. */
bool gserial_read(struct gserial *s, unsigned nr, void *buf, size_t len, unsigned ms);
/* Put as much of `buf` on the out queue as there is room for, in chains of `size` bytes; bytes. */
size_t gserial_queue(struct gserial *s, unsigned nr, const void *buf, size_t len, uint32_t size);
/* Write all of it; false when the device has not taken it in `ms`. */
bool gserial_write(struct gserial *s, unsigned nr, const void *buf, size_t len, unsigned ms);

/* --- sockets (§5.10) --- */

#define GVSOCK_F_SEQPACKET (1ULL << 1)
#define GVSOCK_STREAM	   1
#define GVSOCK_SEQPACKET   2
#define GVSOCK_ALLOC	   65536 /* a connection's buffer that we claim to have */
#define GVSOCK_NO_RECV	   1
#define GVSOCK_NO_SEND	   2
#define GVSOCK_EOM	   1

enum {
	GVSOCK_REQUEST = 1,
	GVSOCK_RESPONSE,
	GVSOCK_RST,
	GVSOCK_SHUTDOWN,
	GVSOCK_RW,
	GVSOCK_CREDIT_UPDATE,
	GVSOCK_CREDIT_REQUEST,
};

struct gvsock_hdr {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

struct gvsock {
	struct gvirtio v;
	struct gvq rx, tx, event;
	uint64_t cid;
	uint32_t rx_len;
	uint64_t rx_at, tx_at;
	uintptr_t next_rx;
	bool keep; /* do not put received buffers back */
};

/* Negotiate, set up the queues, give `buffers` (0: a ring full of) receive buffers of `rx_len`
 * bytes, start. */
void gvsock_open(struct guest *g, struct gvsock *s, unsigned nth, uint32_t rx_len, uint64_t want,
		 unsigned buffers);
void gvsock_restart(struct gvsock *s, uint64_t want, unsigned buffers);
/* Give `n` receive buffers. */
void gvsock_post(struct gvsock *s, unsigned n);
/* Send any header with any data, and wait until the device has taken it. */
void gvsock_put(struct gvsock *s, const struct gvsock_hdr *h, const void *data, uint32_t len);
/* Wait at most `ms` for a packet; the length of its data, or -1. Puts the buffer back. */
int gvsock_get(struct gvsock *s, struct gvsock_hdr *h, void *buf, uint32_t size, unsigned ms);

/* One connection, for a driver that has one at a time to listen to. */
struct gvconn {
	struct gvsock *s;
	uint16_t type;
	uint32_t port, host_port;
	uint32_t peer_alloc, peer_fwd, sent; /* to the host */
	uint32_t alloc, fwd, told, got;	     /* from it */
};

/* Send a packet on the connection. */
void gvsock_say(struct gvconn *c, unsigned op, uint32_t flags, const void *data, uint32_t len);
/* Wait for a packet, which must belong to it and keep to its credit. As gvsock_get(). */
int gvsock_hear(struct gvconn *c, struct gvsock_hdr *h, void *buf, uint32_t size, unsigned ms);
/* The next packet must be `op`, without data. `h` may be NULL. */
void gvsock_expect(struct gvconn *c, unsigned op, struct gvsock_hdr *h);
/* Connect to a port of the host: false when it is refused. Wait for a connection from there. */
bool gvsock_connect(struct gvsock *s, struct gvconn *c, unsigned type, uint32_t port,
		    uint32_t host_port);
void gvsock_accept(struct gvsock *s, struct gvconn *c, unsigned type, uint32_t port);
/* What may be sent. */
uint32_t gvsock_credit(const struct gvconn *c);
/* Send data in packets of at most `packet` bytes, as credit comes; the last has flags `last`. */
void gvsock_write(struct gvconn *c, const void *data, uint32_t len, uint32_t packet, uint32_t last);
/* Receive `len` bytes, or up to the end of a message, giving credit; how many came. */
uint32_t gvsock_read(struct gvconn *c, void *data, uint32_t len);

#endif
