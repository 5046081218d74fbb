/* SPDX-License-Identifier: MIT */
/* conn.c - the qtest socket, which carries lines of text in both directions
 *
 * Every line that has arrived is run, and its answer sent, before the watcher returns to the loop:
 * like a vCPU, the peer goes on before deferred work (a queue that it notified) begins. A peer that
 * does not read its answers is not read any further, so both buffers have a fixed size. A line that
 * is too long is refused and skipped.
 *
 * Everything runs on the exit loop, except that any thread may change an interrupt line: so the
 * output buffer has a lock. If a line changes several times while the buffer is full, only its last
 * level is reported when there is room again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "qtest/internal.h"

/* Is there room for one more reply in the output buffer? */
static bool out_has_room(const struct conn *c)
{
	return c->out_len <= QTEST_OUT_SIZE - QTEST_REPLY_MAX;
}

static void log_line(struct conn *c, char who, const char *text, size_t len)
{
	char stamp[48];
	uint64_t us = (now_ns() - c->start) / 1000;

	if (c->log < 0)
		return;
	snprintf(stamp, sizeof(stamp), "[%c +%llu.%06llu] ", who, (unsigned long long)us / 1000000,
		 (unsigned long long)us % 1000000);
	/* A log that cannot be written does not stop the test. */
	if (write(c->log, stamp, strlen(stamp)) < 0 || write(c->log, text, len) < 0 ||
	    write(c->log, "\n", 1) < 0)
		return;
}

/* Report the interrupt lines that have changed to the peer. Called with the lock held. */
static void irqs_report(struct conn *c)
{
	for (unsigned i = 0; i < QTEST_LINES && c->irqs_wanted; i++) {
		if (c->level[i] == c->reported[i] || QTEST_OUT_SIZE - c->out_len < 32)
			continue;
		c->out_len += (size_t)sprintf(c->out + c->out_len, "IRQ %s %u\n",
					      c->level[i] ? "raise" : "lower", i);
		c->reported[i] = c->level[i];
	}
}

void conn_reply(struct conn *c, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = (size_t)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = MIN(n, sizeof(text) - 1);
	log_line(c, 'S', text, n);
	pthread_mutex_lock(&c->lock);
	memcpy(c->out + c->out_len, text, n);
	c->out[c->out_len + n] = '\n';
	c->out_len += n + 1;
	pthread_mutex_unlock(&c->lock);
}

void conn_reply_text(struct conn *c, const char *text, size_t len)
{
	log_line(c, 'S', text, len);
	pthread_mutex_lock(&c->lock);
	memcpy(c->out + c->out_len, "OK ", 3);
	memcpy(c->out + c->out_len + 3, text, len);
	c->out[c->out_len + 3 + len] = '\n';
	c->out_len += len + 4;
	pthread_mutex_unlock(&c->lock);
}

/* Send as much output as the socket takes. False when the peer has gone. */
static bool out_flush(struct conn *c)
{
	bool alive = true;

	pthread_mutex_lock(&c->lock);
	c->blocked = false;
	while (c->out_len) {
		ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			c->blocked = errno == EAGAIN;
			alive = c->blocked;
			break;
		}
		c->out_len -= (size_t)n;
		memmove(c->out, c->out + n, c->out_len);
		irqs_report(c);
	}
	pthread_mutex_unlock(&c->lock);
	return alive;
}

/* Run the complete lines in the input buffer while there is room for their answers. */
static void lines_run(struct conn *c)
{
	char *line = c->in, *end = c->in + c->in_len, *nl;

	while (out_has_room(c) && (nl = memchr(line, '\n', (size_t)(end - line)))) {
		*nl = '\0';
		if (c->skipping)
			c->skipping = false;
		else {
			log_line(c, 'R', line, (size_t)(nl - line));
			proto_command(container_of(c, struct qtest, conn), line);
		}
		line = nl + 1;
	}
	c->in_len = (size_t)(end - line);
	memmove(c->in, line, c->in_len);
	if (c->in_len == QTEST_LINE_MAX && !memchr(c->in, '\n', c->in_len)) {
		if (!c->skipping)
			conn_reply(c, "FAIL line longer than %d bytes", QTEST_LINE_MAX);
		c->skipping = true;
		c->in_len = 0;
	}
}

static void in_read(struct conn *c)
{
	ssize_t n;

	if (c->in_len == QTEST_LINE_MAX)
		return;
	do
		n = recv(c->fd, c->in + c->in_len, QTEST_LINE_MAX - c->in_len, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		c->in_len += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		c->eof = true;
}

static void peer_close(struct conn *c)
{
	loop_fd_del(c->exits, &c->watch);
	pthread_mutex_lock(&c->lock);
	close(c->fd);
	c->fd = -1;
	c->irqs_wanted = false;
	pthread_mutex_unlock(&c->lock);
	c->gone(c->ctx);
}

/* Run and answer the lines that there is room to answer; then wait for more lines, or for room to
 * send the answers. */
static void peer_serve(struct conn *c)
{
	bool alive;

	do {
		lines_run(c);
		alive = out_flush(c);
	} while (alive && !c->blocked && memchr(c->in, '\n', c->in_len));
	if (!alive || (c->eof && !c->blocked))
		peer_close(c);
	else if (c->blocked != c->watches_out) {
		c->watches_out = c->blocked;
		loop_fd_mod(c->exits, &c->watch, c->blocked ? EPOLLOUT : EPOLLIN);
	}
}

static void peer_ready(struct loop_fd *w, uint32_t events)
{
	struct conn *c = container_of(w, struct conn, watch);

	if (!c->blocked)
		in_read(c);
	peer_serve(c);
}

static void flush_run(struct loop_task *t)
{
	struct conn *c = container_of(t, struct conn, flush);

	if (c->fd >= 0)
		peer_serve(c);
}

static void peer_accept(struct loop_fd *w, uint32_t events)
{
	struct conn *c = container_of(w, struct conn, watch);
	int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	loop_fd_del(c->exits, w);
	close(c->listener);
	c->listener = -1;
	c->fd = fd;
	if (loop_fd_add(c->exits, w, fd, EPOLLIN, peer_ready))
		c->gone(c->ctx);
}

void conn_irq(struct conn *c, unsigned n, bool level)
{
	bool changed;

	pthread_mutex_lock(&c->lock);
	c->level[n] = level;
	changed = c->irqs_wanted && level != c->reported[n];
	irqs_report(c);
	pthread_mutex_unlock(&c->lock);
	if (changed)
		loop_post(c->exits, &c->flush);
}

void conn_want_irqs(struct conn *c)
{
	pthread_mutex_lock(&c->lock);
	c->irqs_wanted = true;
	pthread_mutex_unlock(&c->lock);
}

/* Fill `sa` from "unix:PATH[,server=on|off][,wait=on|off]". */
static int peer_parse(const char *peer, struct sockaddr_un *sa, bool *server, struct err *e)
{
	char buf[sizeof(sa->sun_path) + 64], *opt, *save = NULL;

	if (strncmp(peer, "unix:", 5) ||
	    (size_t)snprintf(buf, sizeof(buf), "%s", peer + 5) >= sizeof(buf))
		goto bad;
	opt = strtok_r(buf, ",", &save);
	if (!opt || strlen(opt) >= sizeof(sa->sun_path))
		goto bad;
	sa->sun_family = AF_UNIX;
	strcpy(sa->sun_path, opt);
	while ((opt = strtok_r(NULL, ",", &save))) {
		if (!strcmp(opt, "server=on") || !strcmp(opt, "server"))
			*server = true;
		else if (strcmp(opt, "server=off") && strcmp(opt, "wait=off") &&
			 strcmp(opt, "wait=on") && strcmp(opt, "nowait"))
			goto bad;
	}
	return 0;
bad:
	return err_set(e, -EINVAL, "-qtest %s: expects unix:PATH[,server=on|off][,wait=on|off]",
		       peer);
}

static int peer_open(struct conn *c, const char *peer, struct err *e)
{
	struct sockaddr_un sa = {0};
	bool server = false;
	int fd, r;

	r = peer_parse(peer, &sa, &server, e);
	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, -errno, "-qtest %s: %s", peer, strerror(errno));
	if (server) {
		/* As in QEMU, a socket that an earlier run left behind is replaced. */
		unlink(sa.sun_path);
		c->listener = fd;
		if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 1))
			return err_set(e, -errno, "-qtest %s: could not listen: %s", peer,
				       strerror(errno));
	} else {
		c->fd = fd;
		if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
			return err_set(e, -errno, "-qtest %s: could not connect: %s", peer,
				       strerror(errno));
	}
	return 0;
}

int conn_open(struct conn *c, const char *peer, const char *log, struct err *e)
{
	c->fd = c->listener = c->log = -1;
	c->watch.fd = -1;
	c->flush.fn = flush_run;
	c->start = now_ns();
	pthread_mutex_init(&c->lock, NULL);
	if (log && strcmp(log, "none")) {
		c->log = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (c->log < 0)
			return err_set(e, -errno, "-qtest-log %s: %s", log, strerror(errno));
	}
	if (!peer)
		return 0;
	c->in = malloc(QTEST_LINE_MAX);
	c->out = malloc(QTEST_OUT_SIZE);
	c->data = malloc(QTEST_DATA_MAX);
	c->text = malloc(QTEST_REPLY_MAX);
	if (!c->in || !c->out || !c->data || !c->text)
		return err_nomem(e);
	return peer_open(c, peer, e);
}

int conn_serve(struct conn *c, struct loop *exits, void (*gone)(void *ctx), void *ctx)
{
	c->exits = exits;
	c->gone = gone;
	c->ctx = ctx;
	if (c->listener >= 0)
		return loop_fd_add(exits, &c->watch, c->listener, EPOLLIN, peer_accept);
	if (c->fd >= 0)
		return loop_fd_add(exits, &c->watch, c->fd, EPOLLIN, peer_ready);
	return 0;
}

void conn_close(struct conn *c)
{
	if (c->watch.fd >= 0)
		loop_fd_del(c->exits, &c->watch);
	if (c->fd >= 0)
		close(c->fd);
	if (c->listener >= 0)
		close(c->listener);
	if (c->log >= 0)
		close(c->log);
	free(c->in);
	free(c->out);
	free(c->data);
	free(c->text);
	pthread_mutex_destroy(&c->lock);
}
