/* SPDX-License-Identifier: MIT */
/* ringbuf.c - -chardev ringbuf (also called memory): the last bytes of the output, for QMP
 *
 * Output goes into a ring; when that is full, the oldest bytes are lost. QMP's ringbuf-read removes
 * bytes from the ring. ringbuf-write appends to the ring, too, and not to the front end's input, as
 * with QEMU. This is the one kind that two threads use at the same time: the front end's loop
 * writes, the control thread reads. A lock is held while bytes are copied.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "chardev/backend.h"

#define SIZE_MAX_BYTES (64 * MiB)

struct ringbuf {
	struct chardev cd;
	uint64_t size; /* a power of two */
	pthread_mutex_t lock;
	uint8_t *ring;
	uint64_t put, got; /* free-running; put - got <= size */
};

static struct ringbuf *ringbuf_from_chardev(struct chardev *cd)
{
	return container_of(cd, struct ringbuf, cd);
}

static void ringbuf_init(struct chardev *cd)
{
	pthread_mutex_init(&ringbuf_from_chardev(cd)->lock, NULL);
}

static int ringbuf_open(struct chardev *cd, struct err *e)
{
	struct ringbuf *r = ringbuf_from_chardev(cd);

	if (!is_pow2(r->size))
		return err_set(e, -EINVAL, "size of ringbuf chardev must be power of two, not %llu",
			       (unsigned long long)r->size);
	r->ring = malloc(r->size);
	return r->ring ? 0 : err_nomem(e);
}

static int ringbuf_start(struct chardev *cd, struct err *e)
{
	chardev_is_open(cd);
	return 0;
}

/* Copy at most r->size bytes into the ring; the caller holds the lock. */
static void ringbuf_put(struct ringbuf *r, const uint8_t *buf, size_t len)
{
	size_t at = r->put & (r->size - 1), first = MIN(len, r->size - at);

	memcpy(r->ring + at, buf, first);
	memcpy(r->ring, buf + first, len - first);
	r->put += len;
}

static size_t ringbuf_add(struct ringbuf *r, const uint8_t *buf, size_t len)
{
	size_t skip = len > r->size ? len - r->size : 0;

	pthread_mutex_lock(&r->lock);
	ringbuf_put(r, buf + skip, len - skip);
	if (r->put - r->got > r->size)
		r->got = r->put - r->size;
	pthread_mutex_unlock(&r->lock);
	return len;
}

static size_t ringbuf_write(struct chardev *cd, const char *buf, size_t len)
{
	return ringbuf_add(ringbuf_from_chardev(cd), (const uint8_t *)buf, len);
}

static void ringbuf_close(struct chardev *cd, bool remove)
{
	struct ringbuf *r = ringbuf_from_chardev(cd);

	free(r->ring);
	pthread_mutex_destroy(&r->lock);
}

static const struct opt ringbuf_options[] = {
	{.name = "size",
	 .type = OPT_SIZE,
	 .at = offsetof(struct ringbuf, size),
	 .min = 1,
	 .max = SIZE_MAX_BYTES,
	 .def = "64k",
	 .help = "a power of two"},
	OPT_END,
};

#define RINGBUF(name_, help_)                                                           \
	{                                                                               \
		.name = name_, .help = help_, .size = sizeof(struct ringbuf),           \
		.options = ringbuf_options, .init = ringbuf_init, .open = ringbuf_open, \
		.start = ringbuf_start, .write = ringbuf_write, .close = ringbuf_close, \
	}

const struct chardev_class chardev_ringbuf =
	RINGBUF("ringbuf", "the last output, for QMP's ringbuf-read");
const struct chardev_class chardev_memory = RINGBUF("memory", "the same by its older name");

/* --- the other end --- */

static struct ringbuf *ringbuf_cast(struct chardev *cd)
{
	return cd->kind == &chardev_ringbuf || cd->kind == &chardev_memory
		       ? ringbuf_from_chardev(cd)
		       : NULL;
}

int chardev_ringbuf_write(struct chardev *cd, const uint8_t *buf, size_t len)
{
	struct ringbuf *r = ringbuf_cast(cd);

	if (!r)
		return -EINVAL;
	ringbuf_add(r, buf, len);
	return 0;
}

ssize_t chardev_ringbuf_count(struct chardev *cd)
{
	struct ringbuf *r = ringbuf_cast(cd);
	size_t n;

	if (!r)
		return -EINVAL;
	pthread_mutex_lock(&r->lock);
	n = r->put - r->got;
	pthread_mutex_unlock(&r->lock);
	return (ssize_t)n;
}

ssize_t chardev_ringbuf_read(struct chardev *cd, uint8_t *buf, size_t size)
{
	struct ringbuf *r = ringbuf_cast(cd);
	size_t n, at, first;

	if (!r)
		return -EINVAL;
	pthread_mutex_lock(&r->lock);
	n = MIN(size, r->put - r->got);
	at = r->got & (r->size - 1);
	first = MIN(n, r->size - at);
	memcpy(buf, r->ring + at, first);
	memcpy(buf + first, r->ring, n - first);
	r->got += n;
	pthread_mutex_unlock(&r->lock);
	return (ssize_t)n;
}
