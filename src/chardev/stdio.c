/* SPDX-License-Identifier: MIT */
/* stdio.c - -chardev stdio: the program's own input and output
 *
 * Standard input and output are shared with the program that started this one, and O_NONBLOCK is a
 * flag of the open file that all of them share. To leave the flags of the others' terminal or pipe
 * alone, the file is opened again through /proc. Where that is not possible (a terminal of another
 * user), the flag is set, and restored at the end. A regular file does not need it, and a socket is
 * written with MSG_DONTWAIT.
 *
 * While there is a front end a terminal is in raw mode: what is typed reaches the guest at once and
 * unchanged. With signal=on, Ctrl-C and Ctrl-\ still end the program. The mode is restored at the
 * end.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "chardev/fd_stream.h"

struct stdio {
	struct fd_stream w;
	bool signal;
	int fd[2];
	bool opened[2]; /* opened again through /proc: to be closed */
	int flags[2];	/* to be restored at the end; -1: they were not changed */
	bool raw;	/* the terminal is in raw mode, `was` is its mode before */
	struct termios was;
};

static struct stdio *stdio_from_chardev(struct chardev *cd)
{
	return container_of(cd, struct stdio, w.cd);
}

static void stdio_lost(struct fd_stream *w)
{
	fd_stream_end_input(w);
	chardev_is_closed(&w->cd);
}

static void stdio_init(struct chardev *cd)
{
	struct stdio *s = stdio_from_chardev(cd);

	fd_stream_init(&s->w);
	s->w.lost = stdio_lost;
	for (unsigned i = 0; i < 2; i++)
		s->fd[i] = s->flags[i] = -1;
}

static int stdio_prepare_fd(struct stdio *s, int fd, int access, struct err *e)
{
	char path[64];
	struct stat st;

	s->fd[fd] = fd;
	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "%s: %s", fd ? "stdout" : "stdin", strerror(errno));
	if (S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	s->fd[fd] = open(path, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (s->fd[fd] >= 0) {
		s->opened[fd] = true;
		return 0;
	}
	s->fd[fd] = fd;
	s->flags[fd] = fcntl(fd, F_GETFL);
	if (s->flags[fd] >= 0)
		fcntl(fd, F_SETFL, s->flags[fd] | O_NONBLOCK);
	return 0;
}

static int stdio_open(struct chardev *cd, struct err *e)
{
	struct stdio *s = stdio_from_chardev(cd);
	int type, rc = stdio_prepare_fd(s, STDIN_FILENO, O_RDONLY, e);
	socklen_t len = sizeof(type);

	if (rc == 0)
		rc = stdio_prepare_fd(s, STDOUT_FILENO, O_WRONLY, e);
	s->w.socket = rc == 0 && !getsockopt(s->fd[1], SOL_SOCKET, SO_TYPE, &type, &len);
	return rc;
}

static void stdio_make_raw(struct stdio *s)
{
	struct termios t;

	if (tcgetattr(STDIN_FILENO, &t) < 0)
		return;
	s->was = t;
	t.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	t.c_oflag |= OPOST;
	t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN | (s->signal ? 0 : ISIG));
	t.c_cflag = (t.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	s->raw = tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

static void stdio_stop(struct chardev *cd)
{
	struct stdio *s = stdio_from_chardev(cd);

	fd_stream_stop(cd);
	if (s->raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &s->was);
	s->raw = false;
}

static int stdio_start(struct chardev *cd, struct err *e)
{
	struct stdio *s = stdio_from_chardev(cd);
	int rc;

	stdio_make_raw(s);
	rc = fd_stream_begin(&s->w, s->fd[0], s->fd[1]);
	return rc < 0 ? err_set(e, rc, "stdio: cannot watch: %s", strerror(-rc)) : 0;
}

static void stdio_close(struct chardev *cd, bool remove)
{
	struct stdio *s = stdio_from_chardev(cd);

	for (int i = 0; i < 2; i++) {
		if (s->opened[i])
			close(s->fd[i]);
		if (s->flags[i] >= 0)
			fcntl(i, F_SETFL, s->flags[i]);
	}
}

static const struct opt stdio_options[] = {
	{.name = "signal",
	 .type = OPT_BOOL,
	 .at = offsetof(struct stdio, signal),
	 .def = "on",
	 .help = "Ctrl-C at a terminal ends the program"},
	OPT_END,
};

const struct chardev_class chardev_stdio = {
	.name = "stdio",
	.help = "the program's own input and output",
	.size = sizeof(struct stdio),
	.options = stdio_options,
	.init = stdio_init,
	.open = stdio_open,
	.start = stdio_start,
	.stop = stdio_stop,
	.write = fd_stream_write,
	.pause = fd_stream_pause,
	.drop = fd_stream_drop,
	.close = stdio_close,
};
