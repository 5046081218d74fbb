/* SPDX-License-Identifier: MIT */
/* file.c - -chardev file and -chardev pipe
 *
 * -chardev file writes its output to one file, and may read its input from another. A regular file
 * is written on the front end's loop, so a slow disk delays that loop. Other files are opened with
 * O_NONBLOCK, so that neither the open nor a write waits.
 *
 * -chardev pipe uses one or two FIFOs that the operator created: PATH.in to read and PATH.out to
 * write, or PATH for both. Like QEMU, it opens each for reading and writing: so the open never
 * waits, and programs at the other ends may come and go. Output stays in the FIFO until it is read;
 * when the FIFO is full, the front end waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chardev/fd_stream.h"

struct file {
	struct fd_stream w;
	int in, out;
	bool append;
	char *path, *input_path;
};

static struct file *file_from_chardev(struct chardev *cd)
{
	return container_of(cd, struct file, w.cd);
}

/* The input has ended; the output still works. */
static void file_lost(struct fd_stream *w)
{
	fd_stream_end_input(w);
	chardev_is_closed(&w->cd);
}

static void file_init(struct chardev *cd)
{
	struct file *f = file_from_chardev(cd);

	fd_stream_init(&f->w);
	f->w.lost = file_lost;
	f->in = f->out = -1;
}

static int file_start(struct chardev *cd, struct err *e)
{
	struct file *f = file_from_chardev(cd);
	int rc = fd_stream_begin(&f->w, f->in, f->out);

	return rc < 0 ? err_set(e, rc, "chardev '%s': cannot watch: %s", cd->id, strerror(-rc)) : 0;
}

static void file_close(struct chardev *cd, bool remove)
{
	struct file *f = file_from_chardev(cd);

	if (f->in >= 0)
		close(f->in);
	if (f->out >= 0 && f->out != f->in)
		close(f->out);
}

static int file_open_path(const char *path, int flags, int *fd, struct err *e)
{
	*fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
	if (*fd >= 0)
		return 0;
	return err_set(e, -errno, "Could not open '%s': %s", path,
		       errno == ENXIO && (flags & O_ACCMODE) == O_WRONLY
			       ? "nobody reads it (-chardev pipe needs no reader)"
			       : strerror(errno));
}

static const struct opt file_options[] = {
	{.name = "path",
	 .type = OPT_STRING,
	 .at = offsetof(struct file, path),
	 .help = "file for the output"},
	{.name = "append",
	 .type = OPT_BOOL,
	 .at = offsetof(struct file, append),
	 .def = "off",
	 .help = "keep what is in it"},
	{.name = "input-path",
	 .type = OPT_STRING,
	 .at = offsetof(struct file, input_path),
	 .help = "file that is the input"},
	OPT_END,
};

static int file_open(struct chardev *cd, struct err *e)
{
	struct file *f = file_from_chardev(cd);
	int rc;

	if (!f->path)
		return err_set(e, -EINVAL, "chardev: file: no filename given: 'path' is missing");
	if (f->input_path) {
		rc = file_open_path(f->input_path, O_RDONLY, &f->in, e);
		if (rc < 0)
			return rc;
	}
	return file_open_path(f->path, O_WRONLY | O_CREAT | (f->append ? O_APPEND : O_TRUNC),
			      &f->out, e);
}

const struct chardev_class chardev_file = {
	.name = "file",
	.help = "output to a file",
	.size = sizeof(struct file),
	.options = file_options,
	.init = file_init,
	.open = file_open,
	.start = file_start,
	.stop = fd_stream_stop,
	.write = fd_stream_write,
	.pause = fd_stream_pause,
	.drop = fd_stream_drop,
	.close = file_close,
};

/* --- pipe --- */

static const struct opt pipe_options[] = {
	{.name = "path",
	 .type = OPT_STRING,
	 .at = offsetof(struct file, path),
	 .help = "FIFOs PATH.in and PATH.out, or one at PATH"},
	OPT_END,
};

static int pipe_open(struct chardev *cd, struct err *e)
{
	struct file *f = file_from_chardev(cd);
	char *name;

	if (!f->path)
		return err_set(e, -EINVAL,
			       "chardev: pipe: no device path given: 'path' is missing");
	if (asprintf(&name, "%s.out", f->path) < 0)
		return err_nomem(e);
	f->out = open(name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	strcpy(name + strlen(f->path), ".in");
	f->in = open(name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	free(name);
	if (f->in >= 0 && f->out >= 0)
		return 0;
	file_close(cd, false);
	f->in = -1;
	f->out = -1;
	if (file_open_path(f->path, O_RDWR, &f->in, e) < 0)
		return -EINVAL;
	f->out = f->in;
	return 0;
}

const struct chardev_class chardev_pipe = {
	.name = "pipe",
	.help = "FIFOs that somebody made",
	.size = sizeof(struct file),
	.options = pipe_options,
	.init = file_init,
	.open = pipe_open,
	.start = file_start,
	.stop = fd_stream_stop,
	.write = fd_stream_write,
	.pause = fd_stream_pause,
	.drop = fd_stream_drop,
	.close = file_close,
};
