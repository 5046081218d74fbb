/* SPDX-License-Identifier: MIT */
/* memory.c - see memory.h */
#include "machine/memory.h"

#include <errno.h>
#include <string.h>

#define AT(member) offsetof(struct memory_backend, member)

const struct opt memory_backend_options[] = {
	{.name = "qom-type", .type = OPT_IGNORED},
	{.name = "id",
	 .type = OPT_STRING,
	 .at = AT(id),
	 .required = true,
	 .help = "name for -machine memory-backend="},
	{.name = "mem-path",
	 .type = OPT_STRING,
	 .at = AT(path),
	 .help = "file or folder of memory-backend-file"},
	{.name = "size", .type = OPT_SIZE, .at = AT(size), .required = true, .help = "of the RAM"},
	{.name = "share",
	 .type = OPT_BOOL,
	 .at = AT(share),
	 .def = "on",
	 .help = "only on: the test program and the guest see the same bytes"},
	{.name = "prealloc", .type = OPT_IGNORED},
	{.name = "merge", .type = OPT_IGNORED},
	{.name = "dump", .type = OPT_IGNORED},
	{.name = "seal", .type = OPT_IGNORED},
	{.name = "hugetlb", .type = OPT_IGNORED},
	OPT_END,
};
static const struct opt *const tables[] = {memory_backend_options, NULL};

int memory_backend_read(struct memory_backend *m, struct kvs *k, struct err *e)
{
	const char *type = kvs_get(k, "qom-type"), *odd;
	int rc;

	memset(m, 0, sizeof(*m));
	rc = opts_apply(tables, k, m, e);
	if (rc < 0)
		return rc;
	odd = kvs_unused(k);
	if (odd)
		return err_set(e, -EINVAL, "Invalid parameter '%s'", odd);
	if (type && !strcmp(type, "memory-backend-file") && !m->path)
		return err_set(e, -EINVAL, "Parameter 'mem-path' is missing");
	if (!m->share)
		return err_set(e, -EINVAL, "Parameter 'share' accepts only 'on'");
	return 0;
}

void memory_backend_release(struct memory_backend *m)
{
	opts_release(tables, m);
}

int memory_backend_check(struct kvs *k, struct err *e)
{
	struct memory_backend m;
	int rc = memory_backend_read(&m, k, e);

	memory_backend_release(&m);
	return rc;
}
