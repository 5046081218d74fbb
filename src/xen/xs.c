/* SPDX-License-Identifier: MIT */
/* xs.c - see xs.h
 *
 * Why not libxenstore: it starts a thread for the first watch, which makes a device model of one
 * more thread and stack, and a quarter of the time of its start. What is left of the protocol
 * without transactions and threads is a header of four words and strings, and Xen keeps it stable.
 *
 * xenstored is trusted as the rest of the control domain is; a reply is checked all the same for
 * the size that the protocol allows.
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
	/* A control domain whose xenstored runs elsewhere talks to it through the kernel. */
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

static bool read_all(struct xs *xs, void *buf, size_t len)
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

/* One message; its payload (with a NUL behind) is the caller's. NULL: the connection is lost. */
static char *receive(struct xs *xs, struct xsd_sockmsg *head)
{
	char *payload = NULL;

	if (read_all(xs, head, sizeof(*head)) && head->len <= XENSTORE_PAYLOAD_MAX &&
	    (payload = malloc(head->len + 1)) && read_all(xs, payload, head->len)) {
		payload[head->len] = '\0';
		return payload;
	}
	free(payload);
	xs_disconnect(xs);
	return NULL;
}

static bool transmit(struct xs *xs, uint32_t type, const struct iovec *parts, unsigned n)
{
	struct xsd_sockmsg head = {.type = type};
	struct iovec iov[4] = {{&head, sizeof(head)}};
	size_t sum = sizeof(head);

	for (unsigned i = 0; i < n; i++) {
		iov[i + 1] = parts[i];
		head.len += (uint32_t)parts[i].iov_len;
		sum += parts[i].iov_len;
	}
	if (head.len > XENSTORE_PAYLOAD_MAX) {
		errno = E2BIG;
		return false;
	}
	/* Far less than any socket's buffer: it goes as a whole. */
	return writev(xs->fd, iov, (int)n + 1) == (ssize_t)sum;
}

static int error_number(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(xsd_errors); i++)
		if (!strcmp(name, xsd_errors[i].errstring))
			return xsd_errors[i].errnum;
	return EIO;
}

/* The payload of the reply, owned by the caller; NULL with errno. */
static char *request(struct xs *xs, uint32_t type, const struct iovec *parts, unsigned n,
		     unsigned *len)
{
	struct xsd_sockmsg head;
	char *payload;

	if (xs->fd < 0 || !transmit(xs, type, parts, n)) {
		if (xs->fd < 0)
			errno = EPIPE;
		return NULL;
	}
	for (;;) {
		payload = receive(xs, &head);
		if (!payload)
			return NULL;
		if (head.type != XS_WATCH_EVENT)
			break;
		xs->fired = true;
		free(payload);
	}
	if (head.type != type) {
		errno = head.type == XS_ERROR ? error_number(payload) : EPROTO;
		free(payload);
		return NULL;
	}
	if (len)
		*len = head.len;
	return payload;
}

static struct iovec text(const char *s, bool nul)
{
	return (struct iovec){(void *)s, strlen(s) + nul};
}

char *xs_get(struct xs *xs, const char *path)
{
	struct iovec parts[] = {text(path, true)};

	return request(xs, XS_READ, parts, 1, NULL);
}

char *xs_list(struct xs *xs, const char *path, unsigned *len)
{
	struct iovec parts[] = {text(path, true)};

	return request(xs, XS_DIRECTORY, parts, 1, len);
}

static int order(struct xs *xs, uint32_t type, const struct iovec *parts, unsigned n)
{
	char *payload = request(xs, type, parts, n, NULL);

	if (!payload)
		return -errno;
	free(payload);
	return 0;
}

int xs_put(struct xs *xs, const char *path, const char *value)
{
	struct iovec parts[] = {text(path, true), text(value, false)};

	return order(xs, XS_WRITE, parts, 2);
}

int xs_remove(struct xs *xs, const char *path)
{
	struct iovec parts[] = {text(path, true)};

	return order(xs, XS_RM, parts, 1);
}

int xs_watch_node(struct xs *xs, const char *path, const char *token)
{
	struct iovec parts[] = {text(path, true), text(token, true)};

	return order(xs, XS_WATCH, parts, 2);
}

bool xs_introduced(struct xs *xs, unsigned domid)
{
	char number[16], *payload;
	struct iovec parts[1];
	bool yes;

	snprintf(number, sizeof(number), "%u", domid);
	parts[0] = text(number, true);
	payload = request(xs, XS_IS_DOMAIN_INTRODUCED, parts, 1, NULL);
	yes = payload && !strcmp(payload, "T");
	free(payload);
	return yes;
}

bool xs_take_events(struct xs *xs)
{
	struct pollfd p = {.fd = xs->fd, .events = POLLIN};
	struct xsd_sockmsg head;
	bool fired;

	while (xs->fd >= 0 && poll(&p, 1, 0) > 0) {
		free(receive(xs, &head));
		xs->fired = true;
	}
	fired = xs->fired;
	xs->fired = false;
	return fired && xs->fd >= 0;
}
