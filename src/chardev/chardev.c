/* SPDX-License-Identifier: MIT */
/* chardev.c - see chardev.h
 *
 * This file has the table of kinds, the parts that are common to all (options, the log of the
 * output, the name for query-chardev), and the functions by which a front end's call reaches its
 * kind. Each kind is in a file of its own; backend.h is the interface to them.
 *
 * A log file gets all data that chardev_write() accepted, whether or not there was a client. It is
 * written on the front end's loop. When that fails, the log is incomplete; the stream is not
 * affected.
 */
#include "chardev/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "chardev/backend.h"

struct chardevs {
	struct list all;
};

static const struct chardev_class *const classes[] = {
	&chardev_socket, &chardev_pty,	&chardev_stdio,	  &chardev_file,   &chardev_pipe,
	&chardev_udp,	 &chardev_null, &chardev_ringbuf, &chardev_memory,
};

#define AT(member) offsetof(struct chardev, member)

const struct opt chardev_options[] = {
	{.name = "backend", .type = OPT_IGNORED},
	{.name = "id",
	 .type = OPT_STRING,
	 .at = AT(id),
	 .required = true,
	 .help = "name for front ends"},
	{.name = "logfile",
	 .type = OPT_STRING,
	 .at = AT(logfile),
	 .help = "file that gets a copy of the output"},
	{.name = "logappend",
	 .type = OPT_BOOL,
	 .at = AT(logappend),
	 .def = "off",
	 .help = "keep what is in logfile"},
	{.name = "mux",
	 .type = OPT_BOOL,
	 .at = AT(mux),
	 .def = "off",
	 .help = "only off: a chardev has one front end"},
	OPT_END,
};

/* --- what a kind reports to its front end --- */

void chardev_is_open(struct chardev *cd)
{
	if (cd->user)
		cd->user->opened(cd->user);
}

void chardev_is_writable(struct chardev *cd)
{
	cd->was_short = false;
	if (cd->user)
		cd->user->writable(cd->user);
}

void chardev_is_closed(struct chardev *cd)
{
	if (cd->user)
		cd->user->closed(cd->user);
	/* The rest of a short write has no receiver any more: the front end may write and so
	 * discard it. */
	if (cd->was_short)
		chardev_is_writable(cd);
}

size_t chardev_deliver(struct chardev *cd, const char *buf, size_t len)
{
	size_t done = 0;

	while (done < len && cd->user && !cd->paused) {
		size_t n = MIN(len - done, (size_t)CHARDEV_READ_MAX);

		cd->user->received(cd->user, buf + done, n);
		done += n;
	}
	return done;
}

void chardev_set_name(struct chardev *cd, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&cd->name_lock);
	va_start(ap, fmt);
	vsnprintf(cd->name, sizeof(cd->name), fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&cd->name_lock);
}

void chardev_write_failed(struct chardev *cd)
{
	int saved = errno;

	if (!cd->write_failed)
		log_warn("chardev %s: output is lost: %s", cd->id, strerror(saved));
	cd->write_failed = true;
	errno = saved;
}

int wait_ready(int fd, short events, int timeout_ms)
{
	struct pollfd p[2] = {{.fd = fd, .events = events}, {.events = POLLIN}};
	sigset_t ends;
	int n, rc;

	/* While the program starts these signals are blocked, and no other signalfd reads them. */
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	p[1].fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	do {
		n = poll(p, 2, timeout_ms);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		rc = -errno;
	else if (n > 0 && (p[1].revents & POLLIN))
		rc = -EINTR;
	else
		rc = n > 0 ? 0 : -ETIMEDOUT;
	if (p[1].fd >= 0)
		close(p[1].fd);
	return rc;
}

/* --- for front ends --- */

int chardev_attach(struct chardev *cd, struct chardev_user *u, struct loop *loop, struct err *e)
{
	int rc;

	if (cd->user)
		return err_set(e, -EBUSY, "chardev '%s' is in use", cd->id);
	cd->user = u;
	cd->loop = loop;
	cd->paused = cd->was_short = false;
	atomic_store(&cd->front_open, true);
	rc = cd->kind->start(cd, e);
	if (rc < 0)
		chardev_detach(cd);
	return rc;
}

void chardev_detach(struct chardev *cd)
{
	if (!cd->user)
		return;
	cd->user = NULL;
	atomic_store(&cd->front_open, false);
	if (cd->kind->stop)
		cd->kind->stop(cd);
}

static void chardev_log_output(struct chardev *cd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(cd->log_fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (!cd->log_failed)
				log_warn("chardev %s: logfile '%s': %s", cd->id, cd->logfile,
					 strerror(errno));
			cd->log_failed = true;
			return;
		}
		buf += n;
		len -= (size_t)n;
	}
}

size_t chardev_write(struct chardev *cd, const char *buf, size_t len)
{
	size_t done = cd->kind->write(cd, buf, len);

	if (done < len)
		cd->was_short = true;
	if (cd->log_fd >= 0)
		chardev_log_output(cd, buf, done);
	return done;
}

bool chardev_has_messages(const struct chardev *cd)
{
	return cd->kind->messages;
}

void chardev_pause(struct chardev *cd, bool pause)
{
	if (cd->paused == pause)
		return;
	cd->paused = pause;
	if (cd->kind->pause)
		cd->kind->pause(cd);
}

void chardev_drop_client(struct chardev *cd)
{
	if (cd->kind->drop)
		cd->kind->drop(cd);
}

void chardev_set_open(struct chardev *cd, bool open)
{
	atomic_store(&cd->front_open, open);
}

/* --- the set --- */

struct chardev *chardev_next(struct chardevs *cs, const struct chardev *cd)
{
	struct list *next = cd ? cd->link.next : cs->all.next;

	return next == &cs->all ? NULL : list_entry(next, struct chardev, link);
}

struct chardev *chardev_find(struct chardevs *cs, const char *id)
{
	for (struct chardev *cd = NULL; (cd = chardev_next(cs, cd));)
		if (!strcmp(cd->id, id))
			return cd;
	return NULL;
}

const char *chardev_id(const struct chardev *cd)
{
	return cd->id;
}

bool chardev_frontend_open(struct chardev *cd)
{
	return atomic_load(&cd->front_open);
}

const char *chardev_filename(struct chardev *cd, char *buf, size_t size)
{
	pthread_mutex_lock(&cd->name_lock);
	snprintf(buf, size, "%s", cd->name);
	pthread_mutex_unlock(&cd->name_lock);
	return buf;
}

const char *chardev_kind(unsigned i, const char **help, const struct opt **options)
{
	if (i >= ARRAY_SIZE(classes))
		return NULL;
	*help = classes[i]->help;
	*options = classes[i]->options;
	return classes[i]->name;
}

/* --- opening --- */

static const struct chardev_class *class_find(const char *name, struct err *e)
{
	char all[128] = "";

	for (unsigned i = 0; i < ARRAY_SIZE(classes); i++) {
		const struct chardev_class *c = classes[i];
		size_t len = strlen(all);

		if (!strcmp(c->name, name) || (c->alias && !strcmp(c->alias, name)))
			return c;
		snprintf(all + len, sizeof(all) - len, "%s%s", i ? ", " : "", c->name);
	}
	err_set(e, -EINVAL, "'%s' is not a valid char driver name (accepted: %s)", name, all);
	return NULL;
}

static int chardev_open_log(struct chardev *cd, struct err *e)
{
	int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

	if (!cd->logfile)
		return 0;
	cd->log_fd = open(cd->logfile, flags | (cd->logappend ? O_APPEND : O_TRUNC), 0666);
	if (cd->log_fd < 0)
		return err_set(e, -errno, "Could not create '%s': %s", cd->logfile,
			       strerror(errno));
	return 0;
}

static void chardev_free(struct chardev *cd, bool remove)
{
	chardev_detach(cd);
	if (cd->kind->close)
		cd->kind->close(cd, remove);
	if (cd->log_fd >= 0)
		close(cd->log_fd);
	pthread_mutex_destroy(&cd->name_lock);
	opts_release(cd->tables, cd);
	free(cd);
}

static int chardev_open(struct chardevs *cs, struct chardev *cd, struct kvs *k, struct err *e)
{
	int rc = opts_apply(cd->tables, k, cd, e);

	if (rc < 0)
		return rc;
	if (kvs_unused(k))
		return err_set(e, -EINVAL, "Invalid parameter '%s'", kvs_unused(k));
	if (chardev_find(cs, cd->id))
		return id_taken(cd->id, "chardev", e);
	if (cd->mux)
		return err_set(e, -ENOTSUP,
			       "mux=on is not supported: the front ends of a chardev may be served "
			       "by different threads; give each of them a chardev");
	if (cd->kind == &chardev_stdio)
		for (struct chardev *o = NULL; (o = chardev_next(cs, o));)
			if (o->kind == &chardev_stdio)
				return err_set(e, -EBUSY, "stdio is used by chardev '%s'", o->id);
	rc = chardev_open_log(cd, e);
	if (rc == 0 && cd->kind->open)
		rc = cd->kind->open(cd, e);
	return rc;
}

int chardev_add(struct chardevs *cs, const struct kvs *conf, struct err *e)
{
	struct kvs k = *conf; /* shares the strings; only the `used` marks differ */
	const char *name = kvs_get(&k, "backend");
	const struct chardev_class *kind;
	struct chardev *cd;
	int rc;

	if (!name)
		return err_set(e, -EINVAL, "Parameter 'backend' is missing");
	kind = class_find(name, e);
	if (!kind)
		return -EINVAL;
	cd = calloc(1, kind->size);
	if (!cd)
		return err_nomem(e);
	cd->kind = kind;
	cd->tables[0] = chardev_options;
	cd->tables[1] = kind->options;
	cd->log_fd = -1;
	pthread_mutex_init(&cd->name_lock, NULL);
	chardev_set_name(cd, "%s", name);
	if (kind->init)
		kind->init(cd);
	rc = chardev_open(cs, cd, &k, e);
	if (rc < 0) {
		chardev_free(cd, true);
		return rc;
	}
	list_add_tail(&cs->all, &cd->link);
	return 0;
}

struct chardevs *chardevs_new(void)
{
	struct chardevs *cs = malloc(sizeof(*cs));

	if (cs)
		list_init(&cs->all);
	return cs;
}

void chardevs_free(struct chardevs *cs, bool remove)
{
	if (!cs)
		return;
	list_for_each (it, &cs->all)
		chardev_free(list_entry(it, struct chardev, link), remove);
	free(cs);
}
