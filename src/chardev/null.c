/* SPDX-License-Identifier: MIT */
/* null.c - -chardev null: discards all output, has no input, and always has a client */
#include "chardev/backend.h"

static const struct opt null_options[] = {OPT_END};

static int null_start(struct chardev *cd, struct err *e)
{
	chardev_is_open(cd);
	return 0;
}

static size_t null_write(struct chardev *cd, const char *buf, size_t len)
{
	return len;
}

const struct chardev_class chardev_null = {
	.name = "null",
	.help = "takes all output, has no input",
	.size = sizeof(struct chardev),
	.options = null_options,
	.start = null_start,
	.write = null_write,
};
