/* SPDX-License-Identifier: MIT */
/* internal.h - what the three files of this folder share
 *
 * qtest.c owns RAM and the address map, conn.c the socket and its buffers, proto.c the commands.
 */
#ifndef QTEST_INTERNAL_H
#define QTEST_INTERNAL_H

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "hv/hv.h"

#define QTEST_CLAIMS   8
#define QTEST_LINES    4
#define QTEST_DATA_MAX (64 * 1024) /* bytes that one command may carry */
/* A byte is two digits; 96 bytes hold any command word with its other arguments. */
#define QTEST_LINE_MAX	(2 * QTEST_DATA_MAX + 96)
#define QTEST_REPLY_MAX QTEST_LINE_MAX
#define QTEST_OUT_SIZE	(2 * QTEST_REPLY_MAX)

/* The connection to the peer. It belongs to the exit loop, except for what `lock` guards. */
struct conn {
	int listener, log;
	uint64_t start; /* when the log's clock began, as now_ns() */
	struct loop *exits;
	struct loop_fd watch;
	int fd;
	bool eof, blocked; /* nothing more to read; the peer takes nothing more for now */
	bool watches_out;  /* `watch` waits for room to write, not for input */
	bool skipping;	   /* drop the rest of a line that was too long */
	char *in;
	size_t in_len;
	uint8_t *data; /* scratch for a command: QTEST_DATA_MAX bytes */
	char *text;    /* scratch for its answer: QTEST_REPLY_MAX bytes */
	void (*gone)(void *ctx);
	void *ctx;

	pthread_mutex_t lock; /* guards what follows; any thread may take it */
	char *out;
	size_t out_len;
	bool irqs_wanted;	    /* the peer asked for changes of interrupt lines */
	bool level[QTEST_LINES];    /* of each line now, ... */
	bool reported[QTEST_LINES]; /* ... and as it was last reported to the peer */
	struct loop_task flush;
};

struct qtest {
	struct hv hv;
	struct hv_range claim[QTEST_CLAIMS];
	unsigned claims;
	const struct hv_client *client;
	struct loop *control;
	struct loop_task gone;
	int64_t clock_ns; /* the virtual clock, which only the peer moves; no device uses it */
	struct conn conn;
};

/* --- qtest.c: loads and stores of the vCPU (exit loop) --- */

/* Load or store 1, 2, 4 or 8 bytes at any address: RAM, a claimed range, or neither (then a load
 * reads ones and a store has no effect). */
uint64_t qtest_load(struct qtest *q, uint64_t addr, unsigned size);
void qtest_store(struct qtest *q, uint64_t addr, uint64_t value, unsigned size);
/* The same for any length; outside RAM, in naturally aligned pieces of up to 4 bytes. Addresses
 * wrap at 2^64. */
void qtest_load_bytes(struct qtest *q, uint64_t addr, uint8_t *buf, uint64_t len);
void qtest_store_bytes(struct qtest *q, uint64_t addr, const uint8_t *buf, uint64_t len);

/* --- conn.c --- */

/* `peer` and `log` as in struct qtest_config. 0 or -errno with `e`; undo with conn_close() in both
 * cases. */
int conn_open(struct conn *c, const char *peer, const char *log, struct err *e);
/* Begin to serve the peer; gone(ctx) is called on the exit loop when it has left. */
int conn_serve(struct conn *c, struct loop *exits, void (*gone)(void *ctx), void *ctx);
void conn_close(struct conn *c);
/* Exit loop: append one line to the answer; at most QTEST_REPLY_MAX bytes per command. */
void conn_reply(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Append "OK " and `len` bytes of text as one line. */
void conn_reply_text(struct conn *c, const char *text, size_t len);
/* Any thread: interrupt line `n` has this level now. */
void conn_irq(struct conn *c, unsigned n, bool level);
void conn_want_irqs(struct conn *c);

/* --- proto.c --- */

/* Run one command (without its newline; modified) and reply to it. */
void proto_command(struct qtest *q, char *line);

#endif
