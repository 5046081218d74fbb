/* SPDX-License-Identifier: MIT */
/* pty.c - -chardev pty: a pseudo terminal
 *
 * This program holds the master. query-chardev shows the name of the slave, where libxl finds the
 * consoles of channels. A program that has the slave open is the client. The kernel does not report
 * when the slave is opened; but while no program has it open, poll() reports a hang-up of the
 * master. So a timer checks this every POLL_NS, and so does each output. Until a client is found,
 * output is discarded, as on a serial line without a cable.
 *
 * When the client closes the slave, that is noticed at once. Data that one side wrote and the other
 * did not read stays in the terminal for the next client. A client cannot be disconnected:
 * chardev_drop_client() discards the data in the terminal, and the next check finds the same client
 * again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "chardev/fd_stream.h"

#define POLL_NS 1000000000ULL

struct pty {
	struct fd_stream w;
	int master;
	char *name; /* "/dev/pts/3" */
	char *path;
	bool linked; /* the symbolic link at `path` was created */
	struct loop_timer timer;
};

static struct pty *pty_from_chardev(struct chardev *cd)
{
	return container_of(cd, struct pty, w.cd);
}

static bool pty_has_client(const struct pty *p)
{
	struct pollfd fd = {.fd = p->master, .events = POLLIN};

	return poll(&fd, 1, 0) >= 0 && !(fd.revents & POLLHUP);
}

/* Begin a session if a client has opened the slave; otherwise have the timer check again. */
static void pty_await_client(struct pty *p)
{
	if (p->w.in >= 0 || !p->w.cd.user)
		return;
	loop_timer_del(&p->timer);
	if (!pty_has_client(p) || fd_stream_begin(&p->w, p->master, p->master) < 0)
		loop_timer_set(p->w.cd.loop, &p->timer, POLL_NS);
}

static void pty_timer_expired(struct loop_timer *t)
{
	pty_await_client(container_of(t, struct pty, timer));
}

static void pty_lost(struct fd_stream *w)
{
	struct pty *p = container_of(w, struct pty, w);

	fd_stream_end(w);
	loop_timer_set(w->cd.loop, &p->timer, POLL_NS);
	chardev_is_closed(&w->cd);
}

static void pty_init(struct chardev *cd)
{
	struct pty *p = pty_from_chardev(cd);

	fd_stream_init(&p->w);
	p->w.lost = pty_lost;
	p->w.input_stays = true;
	p->master = -1;
	p->timer.fn = pty_timer_expired;
}

/* Make the slave pass bytes unchanged; its user may change that. */
static void terminal_make_raw(const char *name)
{
	int fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios t;

	if (fd < 0)
		return;
	if (tcgetattr(fd, &t) == 0) {
		cfmakeraw(&t);
		tcsetattr(fd, TCSANOW, &t);
	}
	close(fd);
}

static int pty_open(struct chardev *cd, struct err *e)
{
	struct pty *p = pty_from_chardev(cd);
	char name[64];

	p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (p->master < 0 || grantpt(p->master) < 0 || unlockpt(p->master) < 0)
		return err_set(e, -errno, "Failed to create PTY: %s", strerror(errno));
	if (ptsname_r(p->master, name, sizeof(name)))
		return err_set(e, -errno, "Failed to create PTY: %s", strerror(errno));
	/* The kernel reports a hang-up of the master only after the slave was opened and closed
	 * once, which this does. */
	terminal_make_raw(name);
	p->name = strdup(name);
	if (!p->name)
		return err_nomem(e);
	if (p->path) {
		if (symlink(name, p->path) < 0)
			return err_set(e, -errno, "Failed to create PTY symlink '%s': %s", p->path,
				       strerror(errno));
		p->linked = true;
	}
	chardev_set_name(cd, "pty:%s", name);
	log_info("chardev %s: %s", cd->id, name);
	return 0;
}

static int pty_start(struct chardev *cd, struct err *e)
{
	pty_await_client(pty_from_chardev(cd));
	return 0;
}

static void pty_stop(struct chardev *cd)
{
	loop_timer_del(&pty_from_chardev(cd)->timer);
	fd_stream_stop(cd);
}

static size_t pty_write(struct chardev *cd, const char *buf, size_t len)
{
	struct pty *p = pty_from_chardev(cd);

	if (p->w.in < 0)
		pty_await_client(p);
	return fd_stream_write(cd, buf, len);
}

static void pty_drop(struct chardev *cd)
{
	struct pty *p = pty_from_chardev(cd);

	if (p->w.in < 0)
		return;
	tcflush(p->master, TCIOFLUSH);
	pty_lost(&p->w);
}

static void pty_close(struct chardev *cd, bool remove)
{
	struct pty *p = pty_from_chardev(cd);
	char target[64];
	ssize_t n = p->linked && remove ? readlink(p->path, target, sizeof(target) - 1) : -1;

	/* Another program may have replaced the link meanwhile: then leave it. */
	if (n >= 0) {
		target[n] = '\0';
		if (!strcmp(target, p->name))
			unlink(p->path);
	}
	if (p->master >= 0)
		close(p->master);
	free(p->name);
}

static const struct opt pty_options[] = {
	{.name = "path",
	 .type = OPT_STRING,
	 .at = offsetof(struct pty, path),
	 .help = "symbolic link to make to the terminal"},
	OPT_END,
};

const struct chardev_class chardev_pty = {
	.name = "pty",
	.help = "a pseudo terminal (query-chardev tells its name)",
	.size = sizeof(struct pty),
	.options = pty_options,
	.init = pty_init,
	.open = pty_open,
	.start = pty_start,
	.stop = pty_stop,
	.write = pty_write,
	.pause = fd_stream_pause,
	.drop = pty_drop,
	.close = pty_close,
};
