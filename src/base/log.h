/* SPDX-License-Identifier: MIT */
/* log.h - the log: stderr or the file of `-D`, one line per message
 *
 * The sink (file descriptor, level, stamp) is the one process-wide state outside main(): it is set
 * before the first thread starts and only read afterwards. Each message is one write(2), so lines
 * of several threads do not mix. A quiet good run prints nothing: errors and warnings are on by
 * default, info and debug are not.
 *
 * Text that a guest can cause goes through log_guest() only: it is limited per device, so that a
 * guest cannot fill the host's disk, and says how many lines it swallowed.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* Set-up, main thread, before other threads exist. `program` is the prefix of each line. */
void log_init(const char *program);
void log_set_level(enum log_level level);
void log_set_timestamps(bool on);
/* Append to `path` from now on (`-D`). 0 or a negative errno with `e` filled. */
int log_open(const char *path, struct err *e);
/* In a child whose stderr another process logs: text goes there from now on, without a prefix. */
void log_in_child(void);

/* An error as the last thing before _exit(): not where it would have to wait for whoever reads the
 * log, which may be what everybody waits for. Any thread. */
void log_last_err(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_err(...)  log_msg(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_dbg(...)  log_msg(LOG_DEBUG, __VA_ARGS__)

/* A line of base/trace.h, written whatever the level is. */
void log_trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* At most LOG_GUEST_BURST lines in LOG_GUEST_WINDOW_S seconds per `struct log_rate`;
 * zero-initialise it. */
#define LOG_GUEST_BURST	   8
#define LOG_GUEST_WINDOW_S 10
struct log_rate {
	uint64_t window; /* start, ns */
	uint32_t lines;
	uint32_t dropped;
};
/* A warning that the guest behind `who` (a device's id) caused. Owner's thread of `rate` only. */
void log_guest(struct log_rate *rate, const char *who, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
