/* SPDX-License-Identifier: MIT */
/* xs.c - the xenstore protocol (xs.h)
 *
 * libxenstore is not used because it starts a thread for the first watch, which costs a stack and a
 * quarter of the time of a start. Without transactions and threads the protocol is a header of four
 * words and strings, and Xen keeps it stable.
 *
 * xenstored is trusted, as is the rest of the control domain. The length of a reply is checked
 * against the protocol's limit all the same.
 *
 * #syscalls: read writev poll
 */
#include "xen/xs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <xen/io/xs_wire.h>

#include "base/util.h"

int xs_connect(struct xs *xs)
{
	static const char *const devices[] = {"/dev/xen/xenbus", "/proc/xen/xenbus"};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *path = getenv("XENSTORED_PATH");
	int rc;

	*xs = (struct xs){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path ? path : "/run/xenstored/socket");
	if (xs->fd >= 0 && connect(xs->fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return 0;
	rc = -errno;
	xs_disconnect(xs);
	/* If xenstored runs in another domain, the kernel's device leads to it. */
	for (unsigned i = 0; i < ARRAY_SIZE(devices) && xs->fd < 0; i++)
		xs->fd = open(devices[i], O_RDWR | O_CLOEXEC);
	return xs->fd >= 0 ? 0 : rc;
}

void xs_disconnect(struct xs *xs)
{
	if (xs->fd >= 0)
		close(xs->fd);
	xs->fd = -1;
}

static bool xs_read_all(struct xs *xs, void *buf, size_t len)
{
	while (len) {
		ssize_t n = read(xs->fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (!n)
				errno = EPIPE;
			return false;
		}
		buf = (char *)buf + n;
		len -= (size_t)n;
	}
	return true;
}

/* Read one message. Returns its payload with a NUL appended, which the caller frees; NULL: the
 * connection is lost. */
static char *xs_receive(struct xs *xs, struct xsd_sockmsg *head)
{
	char *payload = NULL;

	if (xs_read_all(xs, head, sizeof(*head)) && head->len <= XENSTORE_PAYLOAD_MAX &&
	    (payload = malloc(head->len + 1)) && xs_read_all(xs, payload, head->len)) {
		payload[head->len] = '\0';
		return payload;
	}
	free(payload);
	xs_disconnect(xs);
	return NULL;
}

/* Send a request. 0; -E2BIG: it exceeds the protocol's limit; -EPIPE: the connection is lost. */
static int xs_transmit(struct xs *xs, const struct xs_req *r)
{
	/* The value of a node has no NUL, a token has. */
	size_t value = r->value ? strlen(r->value) + (r->type == XS_WATCH) : 0;
	struct xsd_sockmsg head = {.type = r->type};
	struct iovec iov[] = {
		{&head, sizeof(head)},
		{(void *)r->path, strlen(r->path) + 1},
		{(void *)r->value, value},
	};
	size_t sum = iov[1].iov_len + value;

	if (xs->fd < 0)
		return -EPIPE;
	if (sum > XENSTORE_PAYLOAD_MAX)
		return -E2BIG;
	head.len = (uint32_t)sum;
	/* A message is far smaller than a socket's buffer, so a partial write means that the
	 * connection is lost. */
	if (writev(xs->fd, iov, ARRAY_SIZE(iov)) == (ssize_t)(sizeof(head) + sum))
		return 0;
	xs_disconnect(xs);
	return -EPIPE;
}

static int xs_error_number(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(xsd_errors); i++)
		if (!strcmp(name, xsd_errors[i].errstring))
			return xsd_errors[i].errnum;
	return EIO;
}

/* Wait for the reply to `r` and store it in r->reply. 0, or xenstored's error as -errno, or -EPIPE:
 * the connection is lost. Watch events that arrive meanwhile are noted in xs->fired. */
static int xs_read_reply(struct xs *xs, struct xs_req *r)
{
	struct xsd_sockmsg head;
	char *payload = NULL;
	int rc;

	while (xs->fd >= 0 && (payload = xs_receive(xs, &head)) && head.type == XS_WATCH_EVENT) {
		xs->fired = true;
		free(payload);
	}
	if (xs->fd < 0)
		return -EPIPE;
	if (head.type == r->type) {
		r->reply = payload;
		r->len = head.len;
		return 0;
	}
	rc = head.type == XS_ERROR ? -xs_error_number(payload) : -EPROTO;
	free(payload);
	return rc;
}

void xs_ask(struct xs *xs, struct xs_req *reqs, unsigned n)
{
	/* Each message is written on its own: the kernel's device accepts only one per write. */
	for (unsigned i = 0; i < n; i++) {
		reqs[i].reply = NULL;
		reqs[i].len = 0;
		reqs[i].rc = xs_transmit(xs, &reqs[i]);
	}
	for (unsigned i = 0; i < n; i++)
		if (!reqs[i].rc)
			reqs[i].rc = xs_read_reply(xs, &reqs[i]);
}

static char *xs_ask_text(struct xs *xs, enum xsd_sockmsg_type type, const char *path, unsigned *len)
{
	struct xs_req r = {type, path};

	xs_ask(xs, &r, 1);
	if (len)
		*len = r.len;
	errno = -r.rc;
	return r.reply;
}

char *xs_get(struct xs *xs, const char *path)
{
	return xs_ask_text(xs, XS_READ, path, NULL);
}

char *xs_list(struct xs *xs, const char *path, unsigned *len)
{
	return xs_ask_text(xs, XS_DIRECTORY, path, len);
}

static int xs_run_order(struct xs *xs, enum xsd_sockmsg_type type, const char *path,
			const char *value)
{
	struct xs_req r = {type, path, value};

	xs_ask(xs, &r, 1);
	free(r.reply);
	return r.rc;
}

int xs_put(struct xs *xs, const char *path, const char *value)
{
	return xs_run_order(xs, XS_WRITE, path, value);
}

int xs_remove(struct xs *xs, const char *path)
{
	return xs_run_order(xs, XS_RM, path, NULL);
}

bool xs_introduced(struct xs *xs, unsigned domid)
{
	char number[XS_NUMBER], *answer;
	bool yes;

	snprintf(number, sizeof(number), "%u", domid);
	answer = xs_ask_text(xs, XS_IS_DOMAIN_INTRODUCED, number, NULL);
	yes = answer && !strcmp(answer, "T");
	free(answer);
	return yes;
}

bool xs_take_events(struct xs *xs)
{
	struct pollfd p = {.fd = xs->fd, .events = POLLIN};
	struct xsd_sockmsg head;
	bool fired;

	while (xs->fd >= 0 && poll(&p, 1, 0) > 0) {
		free(xs_receive(xs, &head));
		xs->fired = true;
	}
	fired = xs->fired;
	xs->fired = false;
	return fired && xs->fd >= 0;
}
