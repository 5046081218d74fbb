/* SPDX-License-Identifier: MIT */
/* conn.c - one connection: credit, data both ways, shutdown (Virtio 1.3 §5.10.6)
 *
 * It is as long as both its sides: a socket of the host, and a pair of ports that the guest knows.
 * It is freed when the socket is closed and the guest has been told all that it is due.
 *
 * To the guest. The socket is read only when the guest has credit and there is a buffer of its to
 * read into. Until then what was reported readable is not watched any more, as it would be reported
 * for ever. A message that is larger than the buffer is looked at in parts (SO_PEEK_OFF), each
 * straight into the guest's memory, and taken from the socket with its last one; so messages need
 * no memory here, however the guest's buffers are cut.
 *
 * From the guest. What the socket does not take waits in the ring, which is never longer than the
 * credit that the guest was given. The guest hears of new credit with any packet; of its own, when
 * it may believe that less than half of the buffer is free.
 *
 * End. The host's end of file becomes SHUTDOWN, its close() one with both flags, which the guest
 * answers with RST. The guest's SHUTDOWN with both flags is answered with RST at once; the rest of
 * its data goes on to the socket, however long that takes: the host's program decides.
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

/* Reads of what is left in a socket: more than the kernel lets it hold. */
/* Empty rings are kept for the next time, up to so many in all: a socket that is full every now and
 * then costs no allocation, and a thousand that once were cost no memory. */
#define RINGS_KEPT 16

#define DISCARD_CALLS 1024

static bool messages(const struct conn *c)
{
	return c->type == VSOCK_SEQPACKET;
}

static void say(struct conn *c, enum vsock_op op)
{
	c->say |= 1u << op;
}

static bool says(const struct conn *c, enum vsock_op op)
{
	return c->say & 1u << op;
}

/* Bytes that the guest has room for. */
static uint32_t credit(const struct conn *c)
{
	uint32_t out = c->sent - c->peer_fwd;

	return c->peer_alloc > out ? c->peer_alloc - out : 0;
}

/* Does anybody want what the host sends? */
static bool reads(const struct conn *c)
{
	return c->state == CONN_UP && !c->eof && !(c->guest_done & VSOCK_NO_RECV);
}

static bool can_send(const struct conn *c)
{
	return reads(c) && c->readable && credit(c);
}

/* --- watching the socket --- */

static void conn_event(struct loop_fd *w, uint32_t events);

/* Watch for what is of use now. With nothing of use the socket is not watched at all, as a hang-up
 * is always reported. */
static void watch(struct conn *c)
{
	bool in = reads(c) && !c->ignored, out = c->ring.len && (!messages(c) || c->ring.whole);
	bool hangup = c->state == CONN_UP && !reads(c) && !c->gone;
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

static void close_socket(struct conn *c)
{
	if (c->fd < 0)
		return;
	loop_fd_del(c->s->loop, &c->w);
	c->watched = false;
	close(c->fd);
	c->fd = -1;
	conn_ring_free(c);
}

/* The guest has closed in good order and what it sent is with the socket. A socket that is closed
 * with data unread is an error for the program at the other end, ahead of what that has not read
 * yet; so read it. Nothing new comes after the shutdown. What a program has urgent is counted and
 * never read, hence the limit. */
static void close_in_order(struct conn *c)
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
	close_socket(c);
}

/* After anything has happened: say what has to be said, watch what has to be watched, or free it
 * (then `c` is gone). */
static void settle(struct conn *c)
{
	uint32_t done = (c->eof ? VSOCK_NO_SEND : 0) | (c->gone ? VSOCK_NO_RECV : 0);

	if (c->fd < 0 && !c->say) {
		conn_free(c);
		return;
	}
	if (c->state == CONN_UP) {
		uint32_t seen = c->fwd + c->ring.len - c->told_fwd; /* used, as the guest sees it */

		if (done & ~c->told)
			say(c, VSOCK_OP_SHUTDOWN);
		if (c->fwd != c->told_fwd && seen > VSOCK_BUFFER / 2)
			say(c, VSOCK_OP_CREDIT_UPDATE);
		if (reads(c) && c->readable && !credit(c) && !c->asked) {
			say(c, VSOCK_OP_CREDIT_REQUEST);
			c->asked = true;
		}
	}
	if (c->say || can_send(c))
		conn_ready(c);
	watch(c);
}

/* The guest knows that it is over, or never knew that it was. */
static void forget(struct conn *c)
{
	c->say = 0;
	hash_table_del(&c->s->table, &c->entry);
	list_del(&c->ready);
}

/* For the guest it is over, which it hears by RST. The ring may still be drained. */
static void finish(struct conn *c)
{
	c->state = CONN_CLOSED;
	c->say = 1u << VSOCK_OP_RST;
	conn_wait_end(c);
}

void conn_kill(struct conn *c)
{
	bool unknown = c->state == CONN_HELLO || says(c, VSOCK_OP_REQUEST);

	finish(c);
	if (unknown)
		forget(c);
	close_socket(c);
	settle(c);
}

static void broken(struct conn *c, const char *why)
{
	log_guest(&c->s->rate, c->s->cfg.name,
		  "connection of port %" PRIu32 " with the guest's %" PRIu32 ": %s", c->host_port,
		  c->guest_port, why);
	conn_kill(c);
}

/* --- from the guest to the socket --- */

/* Has all gone that can go? What is left of a message that will not be completed cannot. */
static bool drained(const struct conn *c)
{
	return messages(c) ? !c->ring.whole : !c->ring.len;
}

/* The socket takes no more: what waits for it is lost. */
static void socket_gone(struct conn *c)
{
	c->gone = true;
	c->fwd += c->ring.len;
	conn_ring_free(c);
}

/* Send some of `len` bytes. How many went; 0: not now; -errno: the socket takes none any more. */
static ssize_t send_some(struct conn *c, struct iovec *iov, unsigned n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
	ssize_t sent = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent >= 0)
		return sent;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	return -errno;
}

/* What the guest's SHUTDOWN asks for and data does not hold up any more. */
static void after_drain(struct conn *c)
{
	if (!drained(c))
		return;
	if (c->state == CONN_CLOSED)
		close_in_order(c);
	else if (c->guest_done & VSOCK_NO_SEND && !c->gone)
		shutdown(c->fd, SHUT_WR);
}

static void flush(struct conn *c)
{
	struct iovec iov[2];
	unsigned n;

	while ((n = ring_peek(&c->ring, messages(c), iov))) {
		ssize_t sent = send_some(c, iov, n);

		if (sent < 0)
			socket_gone(c);
		if (sent <= 0)
			break;
		ring_drop(&c->ring, messages(c), (uint32_t)sent);
		c->fwd += (uint32_t)sent;
	}
	if (!c->ring.len && c->s->rings > RINGS_KEPT)
		conn_ring_free(c);
	after_drain(c);
}

/* False: the connection was broken (and is gone). */
static bool take_data(struct conn *c, const struct vsock_hdr *h, const struct iovec *iov,
		      unsigned n)
{
	bool end = messages(c) && h->flags & VSOCK_SEQ_EOM, had = c->ring.data;
	ssize_t sent = 0;
	int rc;

	if (h->len > VSOCK_BUFFER - c->ring.len) {
		broken(c, "more data than it had credit for");
		return false;
	}
	if (c->guest_done & VSOCK_NO_SEND) {
		broken(c, "data after the end of data");
		return false;
	}
	if (!h->len && !c->ring.len)
		return true; /* an empty message: there is none on the other side */
	if (!c->gone && !c->ring.len && (!messages(c) || end)) {
		sent = send_some(c, (struct iovec *)iov, n);
		if (sent < 0)
			socket_gone(c);
	}
	if (c->gone) {
		c->fwd += h->len;
		return true;
	}
	c->fwd += (uint32_t)sent;
	if ((uint32_t)sent == h->len && h->len)
		return true;
	rc = ring_put(&c->ring, iov, n, (uint32_t)sent, messages(c), end);
	c->s->rings += c->ring.data && !had;
	if (rc < 0) {
		broken(c, "no memory for its data");
		return false;
	}
	if (messages(c) && !c->ring.whole && c->ring.len == VSOCK_BUFFER) {
		broken(c, "a message larger than the buffer");
		return false;
	}
	if (end && c->ring.whole == 1)
		flush(c); /* nothing older waits: it has been put together just now */
	return true;
}

/* --- from the socket to the guest --- */

/* Reduce iov[0 .. n) to `limit` bytes; returns its size. */
static size_t cut(struct iovec *iov, unsigned *n, size_t limit)
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

/* recvmsg() of a message. A peer that has closed with messages of the guest unread shows as an
 * error, once and ahead of what it had sent: that is still there for the next call. */
static ssize_t recv_message(struct conn *c, struct msghdr *m, int flags)
{
	ssize_t got = recvmsg(c->fd, m, flags | MSG_DONTWAIT);

	if (got < 0 && errno == ECONNRESET) {
		c->hung_up = true;
		got = recvmsg(c->fd, m, flags | MSG_DONTWAIT);
	}
	return got;
}

/* Take a message, or what is left of it, from the socket. */
static ssize_t drop_message(struct conn *c)
{
	struct msghdr none = {0};

	return recv_message(c, &none, 0);
}

/* recv() of a message has said 0: is that an empty one (taken now), or the end? */
static bool at_end(struct conn *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
	int waiting = 0;

	if (poll(&p, 1, 0) == 1 && !(ioctl(c->fd, FIONREAD, &waiting) == 0 && waiting))
		return true;
	return drop_message(c) < 0 && errno != EAGAIN;
}

/* Bytes of a message that went into iov; whether it is complete is in h->flags. */
static ssize_t receive_message(struct conn *c, struct vsock_hdr *h, struct iovec *iov, unsigned n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
	ssize_t left = recv_message(c, &m, MSG_PEEK | MSG_TRUNC);

	if (left <= 0)
		return left < 0 ? -errno : 0;
	/* More than the guest could ever hold: it would wait for the rest, and we for its room. */
	if ((uint64_t)c->message + (uint64_t)left > c->peer_alloc)
		return -EMSGSIZE;
	if (m.msg_flags & MSG_TRUNC) {
		left = (ssize_t)iov_len(iov, n);
		c->message += (uint32_t)left;
		return left;
	}
	if (drop_message(c) < 0)
		return -errno;
	h->flags = VSOCK_SEQ_EOM;
	c->message = 0;
	return left;
}

static ssize_t receive_bytes(struct conn *c, struct iovec *iov, unsigned n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
	ssize_t got = recvmsg(c->fd, &m, MSG_DONTWAIT);

	return got < 0 ? -errno : got;
}

/* The host sends no more; after a hang-up it takes no more either. */
static void end_of_file(struct conn *c)
{
	c->eof = true;
	if (c->hung_up)
		socket_gone(c);
}

/* Data for the guest. False: there is none now, or the connection is broken (and says RST). */
static bool give_data(struct conn *c, struct vsock_hdr *h, struct iovec *iov, unsigned n)
{
	size_t room = cut(iov, &n, credit(c));
	ssize_t got = messages(c) ? receive_message(c, h, iov, n) : receive_bytes(c, iov, n);

	if (got == -EAGAIN || got == -EINTR) {
		c->readable = c->ignored = false;
	} else if (got == -EMSGSIZE) {
		broken(c, "the host's message is larger than the guest's buffer");
	} else if (got < 0) {
		c->hung_up = true;
		end_of_file(c);
	} else if (!got) {
		if (!messages(c) || at_end(c))
			end_of_file(c);
	} else {
		/* A stream that gave less than there was room for is empty. */
		if (!messages(c) && (size_t)got < room)
			c->readable = c->ignored = false;
		c->sent += (uint32_t)got;
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
		flush(c);
	if (c->fd >= 0 && reads(c)) {
		if (events & ~(uint32_t)EPOLLOUT) {
			c->ignored = c->readable;
			c->readable = true;
		}
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		socket_gone(c);
	}
	settle(c);
}

/* --- packets --- */

/* What the guest gets first, of all that is to be said. */
static bool give_word(struct conn *c, struct vsock_hdr *h, const uint16_t *order, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!says(c, order[i]))
			continue;
		c->say &= ~(1u << order[i]);
		h->op = order[i];
		return true;
	}
	return false;
}

bool conn_next(struct conn *c, struct vsock_hdr *h, struct iovec *iov, unsigned n)
{
	static const uint16_t before[] = {VSOCK_OP_RST, VSOCK_OP_REQUEST, VSOCK_OP_RESPONSE};
	static const uint16_t behind[] = {VSOCK_OP_RST, VSOCK_OP_SHUTDOWN, VSOCK_OP_CREDIT_UPDATE,
					  VSOCK_OP_CREDIT_REQUEST};
	bool found;

	*h = (struct vsock_hdr){
		.src_port = c->host_port,
		.dst_port = c->guest_port,
		.type = c->type,
		.buf_alloc = VSOCK_BUFFER,
		.fwd_cnt = c->fwd,
	};
	found = give_word(c, h, before, ARRAY_SIZE(before)) ||
		(can_send(c) && give_data(c, h, iov, n)) ||
		give_word(c, h, behind, ARRAY_SIZE(behind));
	if (found) {
		c->told_fwd = c->fwd;
		c->say &= ~(1u << VSOCK_OP_CREDIT_UPDATE);
	}
	if (found && h->op == VSOCK_OP_SHUTDOWN) {
		h->flags = (c->eof ? VSOCK_NO_SEND : 0) | (c->gone ? VSOCK_NO_RECV : 0);
		c->told = h->flags;
		if (c->told == VSOCK_NO_MORE)
			conn_wait(c, WAIT_CLOSE);
	}
	if (found && h->op == VSOCK_OP_RST)
		hash_table_del(&c->s->table, &c->entry);
	settle(c);
	return found;
}

static void go_up(struct conn *c)
{
	int from = 0;

	c->state = CONN_UP;
	if (messages(c) && setsockopt(c->fd, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)) < 0) {
		broken(c, "the host cannot look at messages in parts");
		return;
	}
	settle(c);
}

void conn_accept(struct conn *c, const struct vsock_hdr *h)
{
	c->peer_alloc = h->buf_alloc;
	say(c, VSOCK_OP_RESPONSE);
	go_up(c);
}

void conn_request(struct conn *c)
{
	c->state = CONN_ASKED;
	say(c, VSOCK_OP_REQUEST);
	conn_wait(c, WAIT_ANSWER);
	settle(c);
}

/* The guest has accepted. */
static void answered(struct conn *c)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "OK %" PRIu32 "\n", c->host_port);

	conn_wait_end(c);
	if (send(c->fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) != len)
		conn_kill(c);
	else
		go_up(c);
}

static void shut_down(struct conn *c, uint32_t flags)
{
	c->guest_done |= flags & VSOCK_NO_MORE;
	if (c->guest_done == VSOCK_NO_MORE) {
		finish(c);
	} else if (c->guest_done & VSOCK_NO_RECV) {
		shutdown(c->fd, SHUT_RD);
	}
	after_drain(c);
	settle(c);
}

/* Take over what the guest says of its buffer. It cannot take back that it has forwarded bytes, nor
 * have forwarded any that it was not sent. */
static bool take_credit(struct conn *c, const struct vsock_hdr *h)
{
	if (c->sent - h->fwd_cnt > c->sent - c->peer_fwd)
		return false;
	c->peer_fwd = h->fwd_cnt;
	c->peer_alloc = h->buf_alloc;
	if (credit(c))
		c->asked = false;
	return true;
}

void conn_packet(struct conn *c, const struct vsock_hdr *h, const struct iovec *iov, unsigned n)
{
	if (h->op == VSOCK_OP_RST) {
		/* After its own SHUTDOWN this takes nothing back of what it sent. */
		if (c->state != CONN_CLOSED) {
			finish(c);
			close_socket(c);
		}
		forget(c);
		settle(c);
		return;
	}
	if (c->state == CONN_CLOSED)
		return; /* its RST is under way */
	if (h->type != c->type) {
		broken(c, "a packet of another type");
		return;
	}
	if (!take_credit(c, h)) {
		broken(c, "credit that was never given");
		return;
	}
	if (c->state == CONN_ASKED && h->op == VSOCK_OP_RESPONSE && !says(c, VSOCK_OP_REQUEST)) {
		answered(c);
		return;
	}
	if (c->state != CONN_UP || h->op < VSOCK_OP_SHUTDOWN || h->op > VSOCK_OP_CREDIT_REQUEST) {
		broken(c, "a packet that does not belong there");
		return;
	}
	if (h->op == VSOCK_OP_SHUTDOWN) {
		shut_down(c, h->flags);
		return;
	}
	if (h->op == VSOCK_OP_RW && !take_data(c, h, iov, n))
		return;
	if (h->op == VSOCK_OP_CREDIT_REQUEST)
		say(c, VSOCK_OP_CREDIT_UPDATE);
	settle(c);
}

void conn_reset(struct conn *c)
{
	if (c->state != CONN_CLOSED) {
		conn_free(c);
		return;
	}
	forget(c);
	settle(c);
}
