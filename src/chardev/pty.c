/* SPDX-License-Identifier: MIT */
/* pty.c - -chardev pty: a pseudo terminal that somebody may open
 *
 * We hold the master; query-chardev tells the name of the other side, which is where libxl finds
 * the consoles of channels. There is a client while somebody has that side open. The kernel does
 * not tell when it is opened, only whether it is: while nobody has it, the master reports a
 * hang-up. So a timer asks each POLL_NS, and each output asks too; meanwhile output is dropped, as
 * on a serial line without a cable.
 *
 * A client that closes is noticed at once. What one side wrote and the other did not take stays in
 * the terminal for the next client. A client cannot be thrown out: chardev_drop_client() forgets
 * what is on its way, and finds the client again at the next poll.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "chardev/wire.h"

#define POLL_NS 1000000000ULL

struct pty {
	struct wire w;
	int master;
	char *name; /* "/dev/pts/3" */
	char *path;
	bool linked; /* `path` is ours */
	struct loop_timer timer;
};

static struct pty *pty_of(struct chardev *cd)
{
	return container_of(cd, struct pty, w.cd);
}

static bool somebody_there(const struct pty *p)
{
	struct pollfd fd = {.fd = p->master, .events = POLLIN};

	return poll(&fd, 1, 0) >= 0 && !(fd.revents & POLLHUP);
}

/* Begin a session if somebody is there, else ask again later. */
static void look(struct pty *p)
{
	if (p->w.in >= 0 || !p->w.cd.user)
		return;
	loop_timer_del(&p->timer);
	if (!somebody_there(p) || wire_begin(&p->w, p->master, p->master) < 0)
		loop_timer_set(p->w.cd.loop, &p->timer, POLL_NS);
}

static void timer_rings(struct loop_timer *t)
{
	look(container_of(t, struct pty, timer));
}

static void pty_lost(struct wire *w)
{
	struct pty *p = container_of(w, struct pty, w);

	wire_end(w);
	loop_timer_set(w->cd.loop, &p->timer, POLL_NS);
	chardev_is_closed(&w->cd);
}

static void pty_init(struct chardev *cd)
{
	struct pty *p = pty_of(cd);

	wire_init(&p->w);
	p->w.lost = pty_lost;
	p->w.input_stays = true;
	p->master = -1;
	p->timer.fn = timer_rings;
}

/* The terminal's side passes bytes unchanged until its user says otherwise. */
static void make_raw(const char *name)
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
	struct pty *p = pty_of(cd);
	char name[64];

	p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (p->master < 0 || grantpt(p->master) < 0 || unlockpt(p->master) < 0)
		return err_set(e, -errno, "Failed to create PTY: %s", strerror(errno));
	if (ptsname_r(p->master, name, sizeof(name)))
		return err_set(e, -errno, "Failed to create PTY: %s", strerror(errno));
	/* After this open and close the master reports the hang-up that means that nobody is there.
	 */
	make_raw(name);
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
	look(pty_of(cd));
	return 0;
}

static void pty_stop(struct chardev *cd)
{
	loop_timer_del(&pty_of(cd)->timer);
	wire_stop(cd);
}

static size_t pty_write(struct chardev *cd, const char *buf, size_t len)
{
	struct pty *p = pty_of(cd);

	if (p->w.in < 0)
		look(p);
	return wire_write(cd, buf, len);
}

static void pty_drop(struct chardev *cd)
{
	struct pty *p = pty_of(cd);

	if (p->w.in < 0)
		return;
	tcflush(p->master, TCIOFLUSH);
	pty_lost(&p->w);
}

static void pty_close(struct chardev *cd, bool remove)
{
	struct pty *p = pty_of(cd);
	char target[64];
	ssize_t n = p->linked && remove ? readlink(p->path, target, sizeof(target) - 1) : -1;

	/* Another program may have made it its own meanwhile. */
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
	.pause = wire_pause,
	.drop = pty_drop,
	.close = pty_close,
};
