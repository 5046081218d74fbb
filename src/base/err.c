/* SPDX-License-Identifier: MIT */
/* err.c - see err.h */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void one_line(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (e) {
		e->class = ERR_GENERIC;
		va_start(ap, fmt);
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
		va_end(ap);
		one_line(e->text);
	}
	errno = saved;
	return code;
}

int err_nomem(struct err *e)
{
	return err_set(e, -ENOMEM, "%s", strerror(ENOMEM));
}

void err_prefix(struct err *e, const char *fmt, ...)
{
	char text[sizeof(e->text)], rest[sizeof(e->text)];
	va_list ap;

	if (!e)
		return;
	memcpy(rest, e->text, sizeof(rest));
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	one_line(text);
	/* Long foreign text is cut, the reason (which comes last) is kept. */
	snprintf(e->text, sizeof(e->text), "%.200s: %.270s", text, rest);
}
