/* SPDX-License-Identifier: MIT */
/* monitor.c - the conversation with the clients of the monitors; see qmp.h
 *
 * Each monitor serves the one client of its chardev: greeting, negotiation, then commands one after
 * the other. Monitors know nothing of each other but that events go to all that have negotiated.
 *
 * Back pressure. Output that the socket does not take is kept. While more than OUT_SOFT bytes wait,
 * or while a command runs, the monitor does not read, so a client that does not read its replies
 * cannot cause more of them. Events are sent without a request: a client with more than OUT_HARD
 * bytes waiting is disconnected.
 *
 * Events come from base/events.h, on the control thread.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "base/trace.h"
#include "chardev/chardev.h"
#include "ctl/cmdline.h"
#include "ctl/commands.h"
#include "ctl/qmp.h"
#include "ctl/qmp_input.h"
#include "machine/vm.h"

#define OUT_SOFT (64 * 1024)
#define OUT_HARD (1024 * 1024)

struct monitors {
	struct list all;
};

struct monitor {
	struct list link;
	struct vm *vm;
	struct chardev *chardev;
	struct chardev_user user;

	/* options */
	char *chardev_id, *id;
	unsigned mode;
	bool pretty;

	/* the client's session */
	bool negotiated;
	bool parsing; /* run_input() is active further up the stack */
	struct qmp_input input;
	struct qmp_call *call;	     /* the command that runs, or NULL */
	char held[CHARDEV_READ_MAX]; /* input that was read and not parsed yet */
	size_t held_len;
	char *out;
	size_t out_len, out_size;
};

#define AT(member) offsetof(struct monitor, member)

static const char *const modes[] = {"control", NULL};

const struct opt monitor_options[] = {
	{"chardev", OPT_STRING, AT(chardev_id), .required = true, .help = "id of the -chardev"},
	{"id", OPT_STRING, AT(id), .help = "name of the monitor"},
	{"mode", OPT_ENUM, AT(mode), .values = modes, .def = "control",
	 .help = "only QMP exists here"},
	{"pretty", OPT_BOOL, AT(pretty), .def = "off", .help = "indent the replies"},
	OPT_END,
};
static const struct opt *const mon_tables[] = {monitor_options, NULL};

/* --- output --- */

/* Append to the waiting output. Disconnects the client when that exceeds OUT_HARD. */
static void out_keep(struct monitor *m, const char *text, size_t len)
{
	if (m->out_len + len > m->out_size) {
		size_t size = m->out_len + len + 4096;
		char *out = size > OUT_HARD ? NULL : realloc(m->out, size);

		if (!out) {
			log_warn("monitor %s: its client does not read: disconnected",
				 chardev_id(m->chardev));
			chardev_drop_client(m->chardev);
			return;
		}
		m->out = out;
		m->out_size = size;
	}
	memcpy(m->out + m->out_len, text, len);
	m->out_len += len;
}

static void out_text(struct monitor *m, const char *text, size_t len)
{
	size_t done = m->out_len ? 0 : chardev_write(m->chardev, text, len);

	if (done < len)
		out_keep(m, text + done, len - done);
}

/* Send one message; takes over the reference. */
static void out_message(struct monitor *m, json_t *message)
{
	size_t flags = JSON_ENSURE_ASCII | (m->pretty ? JSON_INDENT(4) : 0);
	char *text = message ? json_dumps(message, flags) : NULL;
	size_t len = text ? strlen(text) : 0;
	char *line = text ? realloc(text, len + 2) : NULL;

	json_decref(message);
	if (!line) {
		free(text);
		log_err("monitor %s: out of memory", chardev_id(m->chardev));
		return;
	}
	trace(qmp_out, chardev_id(m->chardev), "%.*s", (int)len, line);
	line[len] = '\r';
	line[len + 1] = '\n';
	out_text(m, line, len + 2);
	free(line);
}

static void out_error(struct monitor *m, json_t *id, const struct err *err)
{
	static const char *const classes[] = {
		[ERR_GENERIC] = "GenericError",
		[ERR_COMMAND_NOT_FOUND] = "CommandNotFound",
		[ERR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
		[ERR_DEVICE_NOT_FOUND] = "DeviceNotFound",
	};
	json_t *message = json_object();

	if (id)
		json_object_set(message, "id", id);
	json_object_set_new(
		message, "error",
		json_pack("{s:s, s:s}", "class", classes[err->class], "desc", err->text));
	out_message(m, message);
}

static void out_return(struct monitor *m, json_t *id, json_t *ret)
{
	json_t *message = json_object();

	json_object_set_new(message, "return", ret ? ret : json_object());
	if (id)
		json_object_set(message, "id", id);
	out_message(m, message);
}

/* --- commands --- */

static void input_run(struct monitor *m);

static void call_free(struct qmp_call *call)
{
	json_decref(call->args);
	json_decref(call->id);
	free(call);
}

/* The command has ended: send its answer if the client is still there, and go on reading. */
static void call_end(struct qmp_call *call)
{
	struct monitor *m = call->mon;

	if (m) {
		m->call = NULL;
		if (call->rc < 0)
			out_error(m, call->id, &call->err);
		else
			out_return(m, call->id, json_incref(call->ret));
	}
	json_decref(call->ret);
	call_free(call);
	if (m)
		input_run(m);
}

void qmp_done(struct qmp_call *call, int rc)
{
	call->rc = rc;
	call->finished = true;
	if (!call->inside)
		call_end(call);
}

/* The command qmp_capabilities: no capability is offered, so none can be enabled. */
static int capabilities_negotiate(struct monitor *m, json_t *args, struct err *e)
{
	const char *key;
	json_t *value;

	json_object_foreach (args, key, value)
		if (strcmp(key, "enable"))
			return err_set(e, -EINVAL, "Parameter '%s' is unexpected", key);
	value = json_object_get(args, "enable");
	if (value && !json_is_array(value))
		return err_set(e, -EINVAL, "Invalid parameter type for 'enable', expected: array");
	if (json_array_size(value)) {
		const char *name = json_string_value(json_array_get(value, 0));

		return err_set(e, -EINVAL, "Capability '%s' is not available", name ? name : "?");
	}
	m->negotiated = true;
	return 0;
}

/* Check that the request has the members of a QMP command and no others. */
static int request_check(json_t *request, struct err *e)
{
	json_t *execute = json_object_get(request, "execute");
	json_t *args = json_object_get(request, "arguments");
	const char *key;
	json_t *value;

	json_object_foreach (request, key, value)
		if (strcmp(key, "execute") && strcmp(key, "arguments") && strcmp(key, "id"))
			return err_set(e, -EINVAL, "QMP input member '%s' is unexpected", key);
	if (!execute)
		return err_set(e, -EINVAL, "QMP input lacks member 'execute'");
	if (!json_is_string(execute))
		return err_set(e, -EINVAL, "QMP input member 'execute' must be a string");
	if (args && !json_is_object(args))
		return err_set(e, -EINVAL, "QMP input member 'arguments' must be an object");
	return 0;
}

static int request_execute(struct monitor *m, const char *name, struct qmp_call *call)
{
	bool negotiating = !strcmp(name, "qmp_capabilities");

	if (negotiating != !m->negotiated) {
		err_set(&call->err, 0, "%s",
			negotiating
				? "Capabilities negotiation is already complete, command ignored"
				: "Expecting capabilities negotiation with 'qmp_capabilities'");
		call->err.class = ERR_COMMAND_NOT_FOUND;
		return -EPERM;
	}
	return negotiating ? capabilities_negotiate(m, call->args, &call->err)
			   : qmp_run(name, call);
}

static void request_trace(struct monitor *m, json_t *request)
{
	char *text = trace_on(TRACE_qmp_in) ? json_dumps(request, JSON_ENCODE_ANY) : NULL;

	if (text)
		trace_write(TRACE_qmp_in, chardev_id(m->chardev), "%s", text);
	free(text);
}

/* Run the request of the client; takes over the reference. */
static void request_dispatch(struct monitor *m, json_t *request)
{
	struct qmp_call *call = calloc(1, sizeof(*call));
	int rc;

	if (!call) {
		json_decref(request);
		return;
	}
	request_trace(m, request);
	m->call = call;
	call->vm = m->vm;
	call->mon = m;
	call->inside = true;
	if (!json_is_object(request)) {
		rc = err_set(&call->err, -EINVAL, "QMP input must be a JSON object");
	} else {
		call->id = json_incref(json_object_get(request, "id"));
		rc = request_check(request, &call->err);
	}
	if (!rc) {
		call->args = json_incref(json_object_get(request, "arguments"));
		if (!call->args)
			call->args = json_object();
		rc = request_execute(m, json_string_value(json_object_get(request, "execute")),
				     call);
	}
	json_decref(request);
	call->inside = false;
	if (rc != QMP_LATER)
		qmp_done(call, rc);
	else if (call->finished)
		call_end(call);
}

/* --- input --- */

/* Parse and run what was read, until it is used up, a command has to wait, or more than OUT_SOFT
 * bytes of output wait. */
static void input_run(struct monitor *m)
{
	size_t at = 0;

	if (m->parsing)
		return; /* called from a request: the loop below, further up the stack, goes on */
	m->parsing = true;
	while (at < m->held_len && !m->call && m->out_len <= OUT_SOFT) {
		struct err e;
		json_t *value;

		at += qmp_input_feed(&m->input, m->held + at, m->held_len - at, &value, &e);
		if (value)
			request_dispatch(m, value);
		else if (e.text[0])
			out_error(m, NULL, &e);
	}
	m->parsing = false;
	if (at < m->held_len)
		memmove(m->held, m->held + at, m->held_len - at);
	m->held_len = at < m->held_len ? m->held_len - at : 0;
	chardev_pause(m->chardev, m->held_len || m->call || m->out_len > OUT_SOFT);
}

static void monitor_received(struct chardev_user *u, const char *buf, size_t len)
{
	struct monitor *m = container_of(u, struct monitor, user);

	/* `held` is empty: while it is not, the chardev is paused. */
	memcpy(m->held, buf, len);
	m->held_len = len;
	input_run(m);
}

static void monitor_writable(struct chardev_user *u)
{
	struct monitor *m = container_of(u, struct monitor, user);
	size_t done;

	if (!m->out_len)
		return; /* the output was dropped with its client */
	done = chardev_write(m->chardev, m->out, m->out_len);
	m->out_len -= done;
	memmove(m->out, m->out + done, m->out_len);
	if (m->out_len)
		return;
	free(m->out);
	m->out = NULL;
	m->out_size = 0;
	input_run(m);
}

/* --- the session --- */

static void monitor_opened(struct chardev_user *u)
{
	struct monitor *m = container_of(u, struct monitor, user);

	out_message(m,
		    json_pack("{s:{s:o, s:[]}}", "QMP", "version", qmp_version(), "capabilities"));
}

static void session_reset(struct monitor *m)
{
	if (m->call)
		m->call->mon = NULL;
	m->call = NULL;
	m->negotiated = false;
	m->held_len = 0;
	qmp_input_reset(&m->input);
	free(m->out);
	m->out = NULL;
	m->out_len = m->out_size = 0;
}

static void monitor_closed(struct chardev_user *u)
{
	struct monitor *m = container_of(u, struct monitor, user);

	session_reset(m);
	chardev_pause(m->chardev, false);
	vm_client_gone(m->vm);
}

static void monitor_free(struct monitor *m)
{
	if (m->user.opened) {
		chardev_detach(m->chardev);
		session_reset(m);
	}
	opts_release(mon_tables, m);
	free(m);
}

static int monitor_add(struct monitors *ms, struct vm *vm, const struct kvs *conf, struct err *e)
{
	struct kvs k = *conf; /* shares the strings; kvs_get() only marks them as used */
	struct monitor *m = calloc(1, sizeof(*m));
	const char *mode;
	int rc;

	if (!m)
		return err_nomem(e);
	m->vm = vm;
	mode = kvs_get(&k, "mode");
	if (mode && !strcmp(mode, "readline"))
		rc = err_set(e, -EINVAL,
			     "there is no human monitor, only mode=control; QMP's "
			     "human-monitor-command answers the common ones");
	else
		rc = opts_apply(mon_tables, &k, m, e);
	if (!rc && kvs_unused(&k))
		rc = err_set(e, -EINVAL, "Invalid parameter '%s'", kvs_unused(&k));
	if (!rc && !(m->chardev = chardev_find(vm->env.chardevs, m->chardev_id)))
		rc = err_set(e, -ENODEV, "chardev \"%s\" not found", m->chardev_id);
	if (!rc) {
		m->user = (struct chardev_user){monitor_opened, monitor_closed, monitor_received,
						monitor_writable};
		rc = chardev_attach(m->chardev, &m->user, vm->control, e);
		if (rc < 0)
			m->user.opened = NULL;
	}
	if (rc < 0) {
		err_prefix(e, "%s", conf->origin);
		monitor_free(m);
		return rc;
	}
	list_add_tail(&ms->all, &m->link);
	return 0;
}

/* Send an event to all clients that have negotiated. */
static void monitors_send_event(void *arg, json_t *event)
{
	struct monitors *ms = arg;

	list_for_each (it, &ms->all) {
		struct monitor *m = list_entry(it, struct monitor, link);

		if (m->negotiated)
			out_message(m, json_incref(event));
	}
}

struct monitors *monitors_open(struct vm *vm, struct err *e)
{
	struct monitors *ms = calloc(1, sizeof(*ms));

	if (!ms) {
		err_nomem(e);
		return NULL;
	}
	list_init(&ms->all);
	for (unsigned i = 0; i < vm->cmd->mons.n; i++)
		if (monitor_add(ms, vm, &vm->cmd->mons.v[i], e) < 0) {
			monitors_free(ms, vm->env.events);
			return NULL;
		}
	events_subscribe(vm->env.events, monitors_send_event, ms);
	return ms;
}

void monitors_free(struct monitors *ms, struct events *events)
{
	if (!ms)
		return;
	events_subscribe(events, NULL, NULL);
	list_for_each (it, &ms->all) {
		struct monitor *m = list_entry(it, struct monitor, link);

		if (m->out_len)
			chardev_write(m->chardev, m->out, m->out_len);
		monitor_free(m);
	}
	free(ms);
}
