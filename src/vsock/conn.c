/* SPDX-License-Identifier: MIT */
/* conn.c - one connection: credit, data both ways, shutdown (Virtio 1.3 §5.10.6)
 *
 * A connection has two sides: a socket of the host, and a pair of ports that the guest knows. It is
 * freed when the socket is closed and no packet is left that the guest has to get.
 *
 * Host to guest. The socket is read only when the guest has given credit and provided a buffer.
 * Until then a socket that was reported readable is not watched, as epoll would report it again and
 * again. A message that is larger than the guest's buffer is peeked in parts (SO_PEEK_OFF), each
 * directly into guest memory, and removed from the socket with its last part. So messages need no
 * memory here, whatever the sizes of the guest's buffers are.
 *
 * Guest to host. Data that the socket does not accept waits in the ring, which is as large as the
 * credit that the guest is given. Every packet to the guest reports the current credit. A
 * CREDIT_UPDATE is sent when the guest, by the last report, must assume that less than half of the
 * buffer is free.
 *
 * End. When the host's program shuts down its sending side, the guest gets a SHUTDOWN with
 * VSOCK_NO_SEND; when the program closes its socket, one with both flags, which the guest answers
 * with RST. A SHUTDOWN of the guest with both flags is answered with RST at once; the rest of the
 * guest's data is still written to the socket. That has no time limit: the host's program decides
 * how long it takes.
 *
 * #syscalls: sendmsg recvmsg sendto recvfrom shutdown setsockopt poll ioctl close
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/iov.h"
#include "vsock/internal.h"

/* While at most so many rings have memory, an empty one keeps its memory: so a socket that is full
 * now and then causes no allocation each time, and many that were full once occupy none. */
#define RINGS_KEPT 16

/* Limit for the calls that discard unread data: enough for all that the kernel lets a socket
 * hold. */
#define DISCARD_CALLS 1024

static bool conn_is_seqpacket(const struct conn *c)
{
	return c->type == VSOCK_SEQPACKET;
}

static void conn_queue_op(struct conn *c, enum vsock_op op)
{
	c->pending_ops |= 1u << op;
}

static bool conn_has_op(const struct conn *c, enum vsock_op op)
{
	return c->pending_ops & 1u << op;
}

/* Returns the bytes that may be sent to the guest now. The guest may have reduced its buffer below
 * what is in flight, which counts as no credit. */
static uint32_t conn_credit(const struct conn *c)
{
	uint32_t out = c->tx_cnt - c->peer_fwd_cnt;

	return c->peer_buf_alloc > out ? c->peer_buf_alloc - out : 0;
}

/* Tells whether data of the host's program is still to be sent to the guest. */
static bool conn_wants_input(const struct conn *c)
{
	return c->state == CONN_ESTABLISHED && !c->host_no_send &&
	       !(c->guest_shutdown & VSOCK_NO_RECV);
}

static bool conn_can_send(const struct conn *c)
{
	return conn_wants_input(c) && c->readable && conn_credit(c);
}

/* --- watching the socket --- */

static void conn_event(struct loop_fd *w, uint32_t events);

/* Have epoll report the events that can be handled now. When there are none the socket is removed
 * from epoll, which would otherwise still report a hang-up. */
static void conn_watch(struct conn *c)
{
	bool in = conn_wants_input(c) && !c->in_masked,
	     out = c->ring.len && (!conn_is_seqpacket(c) || c->ring.whole);
	bool hangup = c->state == CONN_ESTABLISHED && !conn_wants_input(c) && !c->host_no_recv;
	uint32_t events = (in ? EPOLLIN | EPOLLRDHUP : 0) | (out ? EPOLLOUT : 0);
	bool want = c->fd >= 0 && (in || out || hangup);

	if (want == c->watched && events == c->events)
		return;
	if (!want)
		loop_fd_del(c->s->loop, &c->w);
	else if (c->watched)
		loop_fd_mod(c->s->loop, &c->w, events);
	else
		want = !loop_fd_add(c->s->loop, &c->w, c->fd, events, conn_event);
	c->watched = want;
	c->events = want ? events : 0;
}

void conn_ring_free(struct conn *c)
{
	c->s->rings -= !!c->ring.data;
	ring_free(&c->ring);
}

static void socket_close(struct conn *c)
{
	if (c->fd < 0)
		return;
	loop_fd_del(c->s->loop, &c->w);
	c->watched = false;
	close(c->fd);
	c->fd = -1;
	conn_ring_free(c);
}

/* Close the socket after a shutdown by the guest; all data of the guest has been written to it.
 * When a unix socket is closed with data unread, the program at the other end gets ECONNRESET
 * before the data that it has not read yet. So the unread data is discarded first. The shutdown()
 * keeps new data from coming in. The number of calls is limited because FIONREAD also counts
 * out-of-band data, which recv() does not return. */
static void socket_close_gracefully(struct conn *c)
{
	char scratch[4096];
	ssize_t got = 0;
	int left = 0;

	if (c->fd < 0)
		return;
	shutdown(c->fd, SHUT_RDWR);
	ioctl(c->fd, FIONREAD, &left);
	for (unsigned i = 0; i < DISCARD_CALLS && left > 0 && got >= 0; i++) {
		got = recv(c->fd, scratch, sizeof(scratch), MSG_TRUNC | MSG_DONTWAIT);
		left -= (int)got;
	}
	socket_close(c);
}

/* Called after every change of state: queue the packets that are due and update what epoll watches,
 * or free `c` if it is finished. The caller must not use `c` afterwards. */
static void conn_update(struct conn *c)
{
	uint32_t done =
		(c->host_no_send ? VSOCK_NO_SEND : 0) | (c->host_no_recv ? VSOCK_NO_RECV : 0);

	if (c->fd < 0 && !c->pending_ops) {
		conn_free(c);
		return;
	}
	if (c->state == CONN_ESTABLISHED) {
		uint32_t seen = c->fwd_cnt + c->ring.len -
				c->last_fwd_cnt; /* bytes in use by the last report */

		if (done & ~c->shutdown_sent)
			conn_queue_op(c, VSOCK_OP_SHUTDOWN);
		if (c->fwd_cnt != c->last_fwd_cnt && seen > VSOCK_BUFFER / 2)
			conn_queue_op(c, VSOCK_OP_CREDIT_UPDATE);
		if (conn_wants_input(c) && c->readable && !conn_credit(c) && !c->credit_requested) {
			conn_queue_op(c, VSOCK_OP_CREDIT_REQUEST);
			c->credit_requested = true;
		}
	}
	if (c->pending_ops || conn_can_send(c))
		conn_ready(c);
	conn_watch(c);
}

/* Drop queued packets: the guest has reset the connection, or never learned of it. */
static void conn_forget(struct conn *c)
{
	c->pending_ops = 0;
	hash_table_del(&c->s->table, &c->entry);
	list_del(&c->ready);
}

/* End the connection for the guest, by an RST. Data in the ring can still be written to the
 * socket. */
static void conn_queue_rst(struct conn *c)
{
	c->state = CONN_CLOSED;
	c->pending_ops = 1u << VSOCK_OP_RST;
	conn_wait_end(c);
}

void conn_kill(struct conn *c)
{
	bool unknown = c->state == CONN_HELLO || conn_has_op(c, VSOCK_OP_REQUEST);

	conn_queue_rst(c);
	if (unknown)
		conn_forget(c);
	socket_close(c);
	conn_update(c);
}

static void conn_break(struct conn *c, const char *why)
{
	log_guest(&c->s->rate, c->s->cfg.name,
		  "connection of port %" PRIu32 " with the guest's %" PRIu32 ": %s", c->host_port,
		  c->guest_port, why);
	conn_kill(c);
}

/* --- from the guest to the socket --- */

/* Tells whether the ring has nothing left to write. An incomplete message, whose rest the guest
 * did not send, does not count: it is never written. */
static bool conn_is_drained(const struct conn *c)
{
	return conn_is_seqpacket(c) ? !c->ring.whole : !c->ring.len;
}

/* The host's program receives no more: discard the data that waits for it. */
static void socket_set_no_recv(struct conn *c)
{
	c->host_no_recv = true;
	c->fwd_cnt += c->ring.len;
	conn_ring_free(c);
}

/* Write iov[0 .. n) to the socket. Returns the number of bytes that it accepted, 0 if it accepts
 * none now, or -errno if it will accept no more. */
static ssize_t socket_send(struct conn *c, struct iovec *iov, unsigned n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
	ssize_t sent = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent >= 0)
		return sent;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	return -errno;
}

/* Pass the guest's SHUTDOWN on to the socket, once all data that precedes it has been written. */
static void conn_finish_shutdown(struct conn *c)
{
	if (!conn_is_drained(c))
		return;
	if (c->state == CONN_CLOSED)
		socket_close_gracefully(c);
	else if (c->guest_shutdown & VSOCK_NO_SEND && !c->host_no_recv)
		shutdown(c->fd, SHUT_WR);
}

static void conn_flush_ring(struct conn *c)
{
	struct iovec iov[2];
	unsigned n;

	while ((n = ring_peek(&c->ring, conn_is_seqpacket(c), iov))) {
		ssize_t sent = socket_send(c, iov, n);

		if (sent < 0)
			socket_set_no_recv(c);
		if (sent <= 0)
			break;
		ring_drop(&c->ring, conn_is_seqpacket(c), (uint32_t)sent);
		c->fwd_cnt += (uint32_t)sent;
	}
	if (!c->ring.len && c->s->rings > RINGS_KEPT)
		conn_ring_free(c);
	conn_finish_shutdown(c);
}

/* Process the payload of an RW packet. Returns false if the guest violated the protocol: the
 * connection was reset, and `c` may be freed. */
static bool conn_receive_data(struct conn *c, const struct vsock_hdr *h, const struct iovec *iov,
			      unsigned n)
{
	bool end = conn_is_seqpacket(c) && h->flags & VSOCK_SEQ_EOM, had = c->ring.data;
	ssize_t sent = 0;
	int rc;

	if (h->len > VSOCK_BUFFER - c->ring.len) {
		conn_break(c, "more data than it had credit for");
		return false;
	}
	if (c->guest_shutdown & VSOCK_NO_SEND) {
		conn_break(c, "data after the end of data");
		return false;
	}
	if (!h->len && !c->ring.len)
		return true; /* An empty message would be an end of file for the host's program. */
	if (!c->host_no_recv && !c->ring.len && (!conn_is_seqpacket(c) || end)) {
		sent = socket_send(c, (struct iovec *)iov, n);
		if (sent < 0)
			socket_set_no_recv(c);
	}
	if (c->host_no_recv) {
		c->fwd_cnt += h->len;
		return true;
	}
	c->fwd_cnt += (uint32_t)sent;
	if ((uint32_t)sent == h->len && h->len)
		return true;
	rc = ring_put(&c->ring, iov, n, (uint32_t)sent, conn_is_seqpacket(c), end);
	c->s->rings += c->ring.data && !had;
	if (rc < 0) {
		conn_break(c, "no memory for its data");
		return false;
	}
	if (conn_is_seqpacket(c) && !c->ring.whole && c->ring.len == VSOCK_BUFFER) {
		conn_break(c, "a message larger than the buffer");
		return false;
	}
	if (end && c->ring.whole == 1)
		conn_flush_ring(c); /* It is the only complete message: no earlier one waits for
				       EPOLLOUT. */
	return true;
}

/* --- from the socket to the guest --- */

/* Truncate iov[0 .. *n) to `limit` bytes. Returns its size afterwards. */
static size_t iov_limit(struct iovec *iov, unsigned *n, size_t limit)
{
	size_t sum = 0;

	for (unsigned i = 0; i < *n; i++) {
		if (iov[i].iov_len >= limit - sum) {
			iov[i].iov_len = limit - sum;
			*n = i + 1;
			return limit;
		}
		sum += iov[i].iov_len;
	}
	return sum;
}

/* recvmsg() for a seqpacket socket. When the host's program has closed its socket with messages
 * unread, the kernel reports ECONNRESET once, before the messages that the program had sent: those
 * are returned by the next call. */
static ssize_t socket_recvmsg(struct conn *c, struct msghdr *m, int flags)
{
	ssize_t got = recvmsg(c->fd, m, flags | MSG_DONTWAIT);

	if (got < 0 && errno == ECONNRESET) {
		c->hung_up = true;
		got = recvmsg(c->fd, m, flags | MSG_DONTWAIT);
	}
	return got;
}

/* Remove a message, or what is left of it, from the socket. */
static ssize_t socket_drop_message(struct conn *c)
{
	struct msghdr none = {0};

	return socket_recvmsg(c, &none, 0);
}

/* Called when recvmsg() on a seqpacket socket returned 0. Returns true if that was the end of the
 * data. Otherwise it was an empty message, which is removed. */
static bool socket_at_end(struct conn *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
	int waiting = 0;

	if (poll(&p, 1, 0) == 1 && !(ioctl(c->fd, FIONREAD, &waiting) == 0 && waiting))
		return true;
	return socket_drop_message(c) < 0 && errno != EAGAIN;
}

/* Read a message, or its next part, into iov[0 .. n). Returns the number of bytes or -errno. Sets
 * VSOCK_SEQ_EOM in h->flags if the message is complete. */
static ssize_t socket_read_message(struct conn *c, struct vsock_hdr *h, struct iovec *iov,
				   unsigned n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
	ssize_t left = socket_recvmsg(c, &m, MSG_PEEK | MSG_TRUNC);

	if (left <= 0)
		return left < 0 ? -errno : 0;
	/* The message is larger than the guest's whole buffer. The guest would wait for the rest of
	 * it, and the rest for space in the buffer, for ever. */
	if ((uint64_t)c->message_sent + (uint64_t)left > c->peer_buf_alloc)
		return -EMSGSIZE;
	if (m.msg_flags & MSG_TRUNC) {
		left = (ssize_t)iov_len(iov, n);
		c->message_sent += (uint32_t)left;
		return left;
	}
	if (socket_drop_message(c) < 0)
		return -errno;
	h->flags = VSOCK_SEQ_EOM;
	c->message_sent = 0;
	return left;
}

static ssize_t socket_read_bytes(struct conn *c, struct iovec *iov, unsigned n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
	ssize_t got = recvmsg(c->fd, &m, MSG_DONTWAIT);

	return got < 0 ? -errno : got;
}

/* The host's program sends no more; if it has closed its socket, it receives no more either. */
static void socket_set_no_send(struct conn *c)
{
	c->host_no_send = true;
	if (c->hung_up)
		socket_set_no_recv(c);
}

/* Fill `h` and iov[0 .. n) with an RW packet for the guest. Returns false if there is no data now,
 * or if the connection was reset. */
static bool conn_next_data(struct conn *c, struct vsock_hdr *h, struct iovec *iov, unsigned n)
{
	size_t room = iov_limit(iov, &n, conn_credit(c));
	ssize_t got = conn_is_seqpacket(c) ? socket_read_message(c, h, iov, n)
					   : socket_read_bytes(c, iov, n);

	if (got == -EAGAIN || got == -EINTR) {
		c->readable = c->in_masked = false;
	} else if (got == -EMSGSIZE) {
		conn_break(c, "the host's message is larger than the guest's buffer");
	} else if (got < 0) {
		c->hung_up = true;
		socket_set_no_send(c);
	} else if (!got) {
		if (!conn_is_seqpacket(c) || socket_at_end(c))
			socket_set_no_send(c);
	} else {
		/* A stream socket that returned less than was asked for is empty. */
		if (!conn_is_seqpacket(c) && (size_t)got < room)
			c->readable = c->in_masked = false;
		c->tx_cnt += (uint32_t)got;
		h->len = (uint32_t)got;
		h->op = VSOCK_OP_RW;
		return true;
	}
	return false;
}

static void conn_event(struct loop_fd *w, uint32_t events)
{
	struct conn *c = container_of(w, struct conn, w);

	c->hung_up |= events & EPOLLHUP;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR) && c->ring.len)
		conn_flush_ring(c);
	if (c->fd >= 0 && conn_wants_input(c)) {
		if (events & ~(uint32_t)EPOLLOUT) {
			c->in_masked = c->readable;
			c->readable = true;
		}
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		socket_set_no_recv(c);
	}
	conn_update(c);
}

/* --- packets --- */

/* Take the first packet without payload that is due, in the sequence of order[0 .. n). Returns
 * false if none is. */
static bool conn_next_op(struct conn *c, struct vsock_hdr *h, const uint16_t *order, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!conn_has_op(c, order[i]))
			continue;
		c->pending_ops &= ~(1u << order[i]);
		h->op = order[i];
		return true;
	}
	return false;
}

bool conn_next(struct conn *c, struct vsock_hdr *h, struct iovec *iov, unsigned n)
{
	static const uint16_t first_ops[] = {VSOCK_OP_RST, VSOCK_OP_REQUEST, VSOCK_OP_RESPONSE};
	static const uint16_t last_ops[] = {VSOCK_OP_RST, VSOCK_OP_SHUTDOWN, VSOCK_OP_CREDIT_UPDATE,
					    VSOCK_OP_CREDIT_REQUEST};
	bool found;

	*h = (struct vsock_hdr){
		.src_port = c->host_port,
		.dst_port = c->guest_port,
		.type = c->type,
		.buf_alloc = VSOCK_BUFFER,
		.fwd_cnt = c->fwd_cnt,
	};
	found = conn_next_op(c, h, first_ops, ARRAY_SIZE(first_ops)) ||
		(conn_can_send(c) && conn_next_data(c, h, iov, n)) ||
		conn_next_op(c, h, last_ops, ARRAY_SIZE(last_ops));
	if (found) {
		c->last_fwd_cnt = c->fwd_cnt;
		c->pending_ops &= ~(1u << VSOCK_OP_CREDIT_UPDATE);
	}
	if (found && h->op == VSOCK_OP_SHUTDOWN) {
		h->flags = (c->host_no_send ? VSOCK_NO_SEND : 0) |
			   (c->host_no_recv ? VSOCK_NO_RECV : 0);
		c->shutdown_sent = h->flags;
		if (c->shutdown_sent == VSOCK_NO_MORE)
			conn_wait(c, WAIT_CLOSE);
	}
	if (found && h->op == VSOCK_OP_RST)
		hash_table_del(&c->s->table, &c->entry);
	conn_update(c);
	return found;
}

static void conn_establish(struct conn *c)
{
	int from = 0;

	c->state = CONN_ESTABLISHED;
	if (conn_is_seqpacket(c) &&
	    setsockopt(c->fd, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)) < 0) {
		conn_break(c, "the host cannot look at messages in parts");
		return;
	}
	conn_update(c);
}

void conn_accept(struct conn *c, const struct vsock_hdr *h)
{
	c->peer_buf_alloc = h->buf_alloc;
	conn_queue_op(c, VSOCK_OP_RESPONSE);
	conn_establish(c);
}

void conn_request(struct conn *c)
{
	c->state = CONN_REQUESTED;
	conn_queue_op(c, VSOCK_OP_REQUEST);
	conn_wait(c, WAIT_RESPONSE);
	conn_update(c);
}

/* The guest has accepted our REQUEST: send "OK" to the client of the host. Nothing was written to
 * its socket before, so the line fits unless the client has closed. */
static void conn_handle_response(struct conn *c)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "OK %" PRIu32 "\n", c->host_port);

	conn_wait_end(c);
	if (send(c->fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) != len)
		conn_kill(c);
	else
		conn_establish(c);
}

static void conn_handle_shutdown(struct conn *c, uint32_t flags)
{
	c->guest_shutdown |= flags & VSOCK_NO_MORE;
	if (c->guest_shutdown == VSOCK_NO_MORE) {
		conn_queue_rst(c);
	} else if (c->guest_shutdown & VSOCK_NO_RECV) {
		shutdown(c->fd, SHUT_RD);
	}
	conn_finish_shutdown(c);
	conn_update(c);
}

/* Store the guest's buf_alloc and fwd_cnt. Returns false if fwd_cnt went backwards, or exceeds the
 * bytes that were sent to the guest. */
static bool conn_update_credit(struct conn *c, const struct vsock_hdr *h)
{
	if (c->tx_cnt - h->fwd_cnt > c->tx_cnt - c->peer_fwd_cnt)
		return false;
	c->peer_fwd_cnt = h->fwd_cnt;
	c->peer_buf_alloc = h->buf_alloc;
	if (conn_credit(c))
		c->credit_requested = false;
	return true;
}

void conn_packet(struct conn *c, const struct vsock_hdr *h, const struct iovec *iov, unsigned n)
{
	if (h->op == VSOCK_OP_RST) {
		/* An RST that follows the guest's own SHUTDOWN does not discard data that the guest
		 * sent before it. */
		if (c->state != CONN_CLOSED) {
			conn_queue_rst(c);
			socket_close(c);
		}
		conn_forget(c);
		conn_update(c);
		return;
	}
	if (c->state == CONN_CLOSED)
		return; /* An RST is queued for the guest. */
	if (h->type != c->type) {
		conn_break(c, "a packet of another type");
		return;
	}
	if (!conn_update_credit(c, h)) {
		conn_break(c, "credit that was never given");
		return;
	}
	if (c->state == CONN_REQUESTED && h->op == VSOCK_OP_RESPONSE &&
	    !conn_has_op(c, VSOCK_OP_REQUEST)) {
		conn_handle_response(c);
		return;
	}
	if (c->state != CONN_ESTABLISHED || h->op < VSOCK_OP_SHUTDOWN ||
	    h->op > VSOCK_OP_CREDIT_REQUEST) {
		conn_break(c, "a packet that does not belong there");
		return;
	}
	if (h->op == VSOCK_OP_SHUTDOWN) {
		conn_handle_shutdown(c, h->flags);
		return;
	}
	if (h->op == VSOCK_OP_RW && !conn_receive_data(c, h, iov, n))
		return;
	if (h->op == VSOCK_OP_CREDIT_REQUEST)
		conn_queue_op(c, VSOCK_OP_CREDIT_UPDATE);
	conn_update(c);
}

void conn_reset(struct conn *c)
{
	if (c->state != CONN_CLOSED) {
		conn_free(c);
		return;
	}
	conn_forget(c);
	conn_update(c);
}
