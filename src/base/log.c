/* SPDX-License-Identifier: MIT */
/* log.c - see log.h */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

static struct {
	int fd;
	enum log_level level;
	bool stamps;
	char program[32];
} sink = {.fd = STDERR_FILENO, .level = LOG_WARN, .program = "xenpvh"};

void log_init(const char *program)
{
	const char *slash = strrchr(program, '/');

	snprintf(sink.program, sizeof(sink.program), "%s", slash ? slash + 1 : program);
}

void log_set_level(enum log_level level)
{
	sink.level = level;
}

void log_set_timestamps(bool on)
{
	sink.stamps = on;
}

int log_open(const char *path, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);

	if (fd < 0)
		return err_set(e, -errno, "could not open log file '%s': %s", path,
			       strerror(errno));
	if (sink.fd != STDERR_FILENO)
		close(sink.fd);
	sink.fd = fd;
	return 0;
}

void log_in_child(void)
{
	sink.fd = STDERR_FILENO;
	sink.stamps = false;
	sink.program[0] = 0;
}

static size_t put_stamp(char *buf, size_t size)
{
	struct timespec ts;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + (size_t)snprintf(buf + n, size - n, ".%06ldZ ", ts.tv_nsec / 1000);
}

static void vlog(enum log_level level, const char *who, const char *fmt, va_list ap)
{
	static const char *const tag[] = {"", "warning: ", "info: ", "debug: ", "trace: "};
	char line[1024];
	size_t n = 0, room = sizeof(line) - 1; /* room for the newline */
	int saved = errno;

	if (sink.stamps)
		n = put_stamp(line, room);
	n += (size_t)snprintf(line + n, room - n, "%s%s%s%s%s", sink.program,
			      *sink.program ? ": " : "", tag[level], who ? who : "",
			      who ? ": " : "");
	n = MIN(n, room - 1);
	n += (size_t)vsnprintf(line + n, room - n, fmt, ap);
	n = MIN(n, room - 1);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < 0x20)
			line[i] = '?';
	line[n++] = '\n';
	/* A log that cannot be written must not stop the guest. */
	if (write(sink.fd, line, n) < 0) {}
	errno = saved;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > sink.level)
		return;
	va_start(ap, fmt);
	vlog(level, NULL, fmt, ap);
	va_end(ap);
}

void log_trace(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(LOG_TRACE, NULL, fmt, ap);
	va_end(ap);
}

void log_last_err(const char *fmt, ...)
{
	/* A pipe that is ready has room for a page. */
	struct pollfd p = {.fd = sink.fd, .events = POLLOUT};
	va_list ap;

	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
		return;
	va_start(ap, fmt);
	vlog(LOG_ERROR, NULL, fmt, ap);
	va_end(ap);
}

void log_guest(struct log_rate *rate, const char *who, const char *fmt, ...)
{
	uint64_t now = now_ns();
	va_list ap;

	if (!rate->window || now - rate->window > LOG_GUEST_WINDOW_S * 1000000000ULL) {
		if (rate->dropped)
			log_warn("%s: %u more messages of this guest dropped", who, rate->dropped);
		*rate = (struct log_rate){.window = now};
	}
	if (rate->lines >= LOG_GUEST_BURST) {
		rate->dropped++;
		return;
	}
	rate->lines++;
	va_start(ap, fmt);
	vlog(LOG_WARN, who, fmt, ap);
	va_end(ap);
}
