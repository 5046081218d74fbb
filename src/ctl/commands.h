/* SPDX-License-Identifier: MIT */
/* commands.h - QMP commands: one table row each (private to the monitor's files)
 *
 * The monitor checks the arguments against the row before it calls run(), so a handler only reads
 * them. A handler that has to wait returns QMP_LATER and calls qmp_done() when it knows; meanwhile
 * the monitor takes no further command from its client, as replies come in the order of the
 * commands.
 */
#ifndef CTL_COMMANDS_H
#define CTL_COMMANDS_H

#include <stdbool.h>

#include <jansson.h>

#include "base/err.h"

struct monitor;
struct vm;

/* A command that is being run. */
struct qmp_call {
	struct vm *vm;
	json_t *args;	/* an object with only what the row allows */
	json_t *ret;	/* the handler's answer; NULL stands for {} */
	struct err err; /* the handler's reason when it fails */

	/* Only monitor.c uses what follows. */
	struct monitor *mon; /* NULL: its client has gone, the answer is dropped */
	json_t *id;
	bool inside, finished; /* run() has not returned yet; qmp_done() was called */
	int rc;
};

#define QMP_LATER 1

/* End a call whose handler returned (or is about to return) QMP_LATER. `rc`: 0 with call->ret, or
 * -errno with call->err. Control thread. `call` is gone afterwards. */
void qmp_done(struct qmp_call *call, int rc);

enum qmp_type { QMP_STRING, QMP_INT, QMP_BOOL, QMP_ANY };

struct qmp_arg {
	const char *name;
	enum qmp_type type;
	bool required;
};

struct qmp_command {
	const char *name;
	/* Returns 0, -errno or QMP_LATER. NULL: monitor.c handles the command itself. */
	int (*run)(struct qmp_call *call);
	const struct qmp_arg *args; /* ends with a row whose name is NULL; NULL: none */
	bool open;		    /* other arguments may be given, too: run() checks them */
};

/* Ends with a row whose name is NULL. */
extern const struct qmp_command qmp_commands[];

/* Check `call->args` against the row of `name` and run its handler. Returns what the handler
 * returns, or -errno with call->err. Called by monitor.c only. */
int qmp_run(const char *name, struct qmp_call *call);

/* The argument `name` of a call; NULL or `absent` when it was not given. */
const char *qmp_string(const struct qmp_call *call, const char *name);
bool qmp_bool(const struct qmp_call *call, const char *name, bool absent);

/* {"qemu": {...}, "package": ...}, as in the greeting. */
json_t *qmp_version(void);
/* query.c: the handlers that show the state of the machine. */
int query_block(struct qmp_call *call);
int query_blockstats(struct qmp_call *call);
int query_cpus_fast(struct qmp_call *call);
int query_iothreads(struct qmp_call *call);
int query_name(struct qmp_call *call);
int query_named_block_nodes(struct qmp_call *call);
int query_pci(struct qmp_call *call);
int query_status(struct qmp_call *call);
int query_uuid(struct qmp_call *call);
/* query_chardev.c */
int query_chardev(struct qmp_call *call);
int query_chardev_backends(struct qmp_call *call);
int ringbuf_write(struct qmp_call *call);
int ringbuf_read(struct qmp_call *call);
int chardev_send_break(struct qmp_call *call);
/* query_net.c */
int query_rx_filter(struct qmp_call *call);
int announce_self(struct qmp_call *call);
/* query_balloon.c */
int query_balloon(struct qmp_call *call);
int qmp_balloon(struct qmp_call *call);
int qom_get(struct qmp_call *call);
int qom_set(struct qmp_call *call);
/* hmp.c: human-monitor-command. */
int human_monitor_command(struct qmp_call *call);

#endif
