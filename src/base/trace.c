/* SPDX-License-Identifier: MIT */
/* trace.c - see trace.h */
#include "base/trace.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "base/log.h"

static const struct {
	const char *name, *help;
} events[] = {
#define TRACE_ROW(name, help) {#name, help},
	TRACE_EVENTS(TRACE_ROW)
#undef TRACE_ROW
};

_Static_assert(TRACE_EVENT_COUNT <= 32, "trace_mask has 32 bits");

atomic_uint trace_mask;

void trace_write(enum trace_event event, const char *who, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_trace("%s: %s%s%s", events[event].name, who ? who : "", who ? ": " : "", text);
}

unsigned trace_set(const char *pattern, bool on)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < TRACE_EVENT_COUNT; i++)
		if (fnmatch(pattern, events[i].name, 0) == 0)
			mask |= 1U << i;
	if (on)
		atomic_fetch_or(&trace_mask, mask);
	else
		atomic_fetch_and(&trace_mask, ~mask);
	return (unsigned)__builtin_popcount(mask);
}

const char *trace_name(unsigned i, const char **help)
{
	if (i >= TRACE_EVENT_COUNT)
		return NULL;
	*help = events[i].help;
	return events[i].name;
}
