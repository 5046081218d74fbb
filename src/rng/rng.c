/* SPDX-License-Identifier: MIT */
/* rng.c - see rng.h */
#include "rng/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/list.h"

struct rng {
	struct list link;
	char *id;
	char *filename; /* rng-random */
	int fd;		/* -1: rng-builtin */
};

struct rngs {
	struct list all;
};

const struct opt rng_random_options[] = {
	{.name = "filename",
	 .type = OPT_STRING,
	 .at = offsetof(struct rng, filename),
	 .def = "/dev/urandom",
	 .help = "file or device to read"},
	OPT_END,
};
const struct opt rng_builtin_options[] = {OPT_END};

static const struct {
	const char *type;
	const struct opt *options[2];
} types[] = {
	{"rng-random", {rng_random_options}},
	{"rng-builtin", {rng_builtin_options}},
};

struct rngs *rngs_new(void)
{
	struct rngs *rngs = calloc(1, sizeof(*rngs));

	if (rngs)
		list_init(&rngs->all);
	return rngs;
}

static void rng_free(struct rng *r)
{
	if (r->fd >= 0)
		close(r->fd);
	free(r->filename);
	free(r->id);
	free(r);
}

void rngs_free(struct rngs *rngs)
{
	if (!rngs)
		return;
	list_for_each (it, &rngs->all)
		rng_free(list_entry(it, struct rng, link));
	free(rngs);
}

static const struct opt *const *rng_type_options(const char *qom_type)
{
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(types[i].type, qom_type))
			return types[i].options;
	return NULL;
}

static struct rng *rng_find(struct rngs *rngs, const char *id)
{
	list_for_each (it, &rngs->all) {
		struct rng *r = list_entry(it, struct rng, link);

		if (!strcmp(r->id, id))
			return r;
	}
	return NULL;
}

/* Set up a new object. On failure the caller frees it. */
static int rng_init(struct rng *r, const char *type, struct kvs *k, struct err *e)
{
	const char *odd;
	int rc = opts_apply(rng_type_options(type), k, r, e);

	if (rc < 0)
		return rc;
	odd = kvs_unused(k);
	if (odd)
		return err_set(e, -EINVAL, "Property '%s.%s' not found", type, odd);
	if (!r->filename)
		return 0;
	r->fd = open(r->filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	return r->fd < 0
		       ? err_set(e, -errno, "Could not open '%s': %s", r->filename, strerror(errno))
		       : 0;
}

int rng_add(struct rngs *rngs, struct kvs *k, struct err *e)
{
	const char *type = kvs_get(k, "qom-type"), *id = kvs_get(k, "id");
	struct rng *r;
	int rc;

	if (!type || !rng_type_options(type))
		return err_set(e, -EINVAL, "Parameter 'qom-type' does not accept value '%s'",
			       type ? type : "");
	rc = id_check("id", id, e);
	if (rc < 0)
		return rc;
	if (rng_find(rngs, id))
		return id_taken(id, "object", e);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_nomem(e);
	r->fd = -1;
	r->id = strdup(id);
	rc = r->id ? rng_init(r, type, k, e) : err_nomem(e);
	if (rc < 0) {
		rng_free(r);
		return rc;
	}
	list_add_tail(&rngs->all, &r->link);
	return 0;
}

int rng_src_open(struct rng_src *s, struct rngs *rngs, const char *id, struct err *e)
{
	struct rng *r = id ? rng_find(rngs, id) : NULL;

	s->fd = -1;
	if (id && !r)
		return err_set(e, -ENODEV, "Property 'rng' can't find value '%s'", id);
	if (!r || r->fd < 0)
		return 0;
	s->fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 3);
	return s->fd < 0 ? err_set(e, -errno, "rng '%s': %s", id, strerror(errno)) : 0;
}

void rng_src_close(struct rng_src *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* Fill `iov` by one getrandom() for each element. A short result (a signal, or the kernel's
 * generator is not ready early in the host's boot) ends the read. */
static ssize_t rng_read_builtin(const struct iovec *iov, unsigned n)
{
	ssize_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		ssize_t got = getrandom(iov[i].iov_base, iov[i].iov_len, GRND_NONBLOCK);

		if (got < 0)
			return sum ? sum : errno == EINTR ? -EAGAIN : -errno;
		sum += got;
		if ((size_t)got < iov[i].iov_len)
			break;
	}
	return sum;
}

ssize_t rng_src_read(struct rng_src *s, const struct iovec *iov, unsigned n)
{
	ssize_t got;

	if (s->fd < 0)
		return rng_read_builtin(iov, n);
	got = readv(s->fd, iov, (int)n);
	return got < 0 ? (errno == EINTR ? -EAGAIN : -errno) : got;
}
