/* SPDX-License-Identifier: MIT */
/* net_bench.h - a netdev "n0" with a client that counts, and a loop that is turned by hand */
#ifndef UNIT_NET_BENCH_H
#define UNIT_NET_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/events.h"
#include "base/util.h"
#include "net/net.h"

#define TURN_MS 2000 /* only a failing test waits so long */

struct bench {
	struct loop *loop;
	struct netdevs *nds;
	struct net_client client;
	struct netdev *nd;
	struct netq *q;
	unsigned readable, writable;
	bool link;
	struct events *events;
	const char *told; /* netdev whose events are counted; NULL: any */
	unsigned connected, disconnected;
	char peer[128]; /* path, or host:port, of the last one */
	char dir[32];
};

static void on_readable(struct net_client *c, struct netq *q)
{
	container_of(c, struct bench, client)->readable++;
}

static void on_writable(struct net_client *c, struct netq *q)
{
	container_of(c, struct bench, client)->writable++;
}

static void on_link(struct net_client *c, bool up)
{
	container_of(c, struct bench, client)->link = up;
}

static void on_event(void *arg, json_t *event)
{
	json_t *data = json_object_get(event, "data"), *addr = json_object_get(data, "addr");
	const char *name = json_string_value(json_object_get(event, "event"));
	const char *id = json_string_value(json_object_get(data, "netdev-id"));
	struct bench *b = arg;

	if (b->told)
		assert_string_equal(id, b->told);
	if (addr) {
		const char *path = json_string_value(json_object_get(addr, "path"));
		const char *host = json_string_value(json_object_get(addr, "host"));
		const char *port = json_string_value(json_object_get(addr, "port"));

		snprintf(b->peer, sizeof(b->peer), "%s%s%s", path ? path : host, path ? "" : ":",
			 path ? "" : port);
	}
	b->connected += !strcmp(name, "NETDEV_STREAM_CONNECTED");
	b->disconnected += !strcmp(name, "NETDEV_STREAM_DISCONNECTED");
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	b->loop = loop_new("test");
	b->nds = netdevs_new(b->loop);
	b->client = (struct net_client){"nic0", on_readable, on_writable, on_link};
	b->link = true;
	strcpy(b->dir, "/tmp/xenpvh-net-XXXXXX");
	b->events = events_new(b->loop);
	b->told = "n0";
	events_subscribe(b->events, on_event, b);
	netdevs_report_to(b->nds, b->events);
	*state = b;
	return b->loop && b->nds && mkdtemp(b->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	netdev_detach(b->nd);
	netdevs_free(b->nds);
	events_free(b->events);
	loop_free(b->loop);
	if (rmdir(b->dir) < 0)
		return -1; /* a file was left behind */
	free(b);
	return 0;
}

/* Add what the text says: a netdev, or with `object` the options of a filter. */
static int add_text(struct bench *b, bool object, struct err *e, const char *fmt, va_list ap)
{
	char text[1024];
	struct kvs k;
	int rc;

	vsnprintf(text, sizeof(text), fmt, ap);
	rc = kvs_parse(&k, object ? "-object" : "-netdev", text, object ? "qom-type" : "type", e);
	if (!rc)
		rc = object ? net_filter_add(b->nds, &k, e) : netdev_add(b->nds, &k, e);
	kvs_free(&k);
	return rc;
}

__attribute__((format(printf, 3, 4))) static inline int try_netdev(struct bench *b, struct err *e,
								   const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = add_text(b, false, e, fmt, ap);
	va_end(ap);
	return rc;
}

__attribute__((format(printf, 3, 4))) static inline int try_object(struct bench *b, struct err *e,
								   const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = add_text(b, true, e, fmt, ap);
	va_end(ap);
	return rc;
}

#define add_netdev(b, ...)                                  \
	do {                                                \
		struct err add_e = {0};                     \
		if (try_netdev(b, &add_e, __VA_ARGS__) < 0) \
			fail_msg("%s", add_e.text);         \
	} while (0)

/* Attach netdev n0 and begin. */
static void attach(struct bench *b)
{
	struct err e = {0};

	b->nd = netdev_attach(b->nds, "n0", &b->client, &e);
	assert_non_null(b->nd);
	b->q = netdev_queue(b->nd, 0);
	assert_int_equal(netq_start(b->q, b->loop, b), 0);
}

static inline ssize_t recv_frame(struct bench *b, void *buf, size_t size)
{
	static uint8_t rest[NET_FRAME_MAX + NET_HDR_LEN];
	struct iovec iov[] = {{buf, size}, {rest, sizeof(rest)}};

	return netq_recv(b->q, iov, 2);
}

/* In two pieces, as a guest does. */
static inline int send_frame(struct bench *b, const void *buf, size_t len)
{
	struct iovec iov[] = {{(void *)buf, len / 2}, {(char *)buf + len / 2, len - len / 2}};

	return netq_send(b->q, iov, 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
