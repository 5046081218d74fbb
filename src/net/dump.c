/* SPDX-License-Identifier: MIT */
/* dump.c - see dump.h */
#include "net/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "net/backend.h"

#define MAXLEN	 (NET_HDR_LEN + NET_FRAME_MAX)
#define BUF_SIZE (128 * 1024)
#define FLUSH_NS 100000000

/* The format of files of libpcap, version 2.4, in the byte order of whoever writes. */
struct pcap_file {
	uint32_t magic;
	uint16_t major, minor;
	int32_t zone;
	uint32_t accuracy, snaplen, link_type;
};

struct pcap_record {
	uint32_t seconds, microseconds, kept, length;
};

_Static_assert(BUF_SIZE >= sizeof(struct pcap_record) + MAXLEN, "the longest record must fit");

#define PCAP_MAGIC    0xa1b2c3d4
#define LINK_ETHERNET 1

/* What one queue has collected. */
struct bundle {
	struct dump *dump;
	struct loop_timer due;
	uint8_t *data; /* BUF_SIZE, allocated with the first frame */
	size_t used;
};

struct dump {
	struct list link; /* netdev.dumps */
	struct netdev *nd;
	int fd;
	atomic_bool failed;
	struct bundle *bundle; /* one per queue */

	/* options */
	char *id, *netdev, *file;
	uint64_t maxlen;
	unsigned queue, status;
};

static const char *const queue_names[] = {"all", "rx", "tx", NULL};
static const char *const status_names[] = {"on", "off", NULL};

const struct opt net_filter_options[] = {
	{.name = "netdev",
	 .type = OPT_STRING,
	 .at = offsetof(struct dump, netdev),
	 .help = "id of the -netdev whose frames are copied"},
	{.name = "file",
	 .type = OPT_STRING,
	 .at = offsetof(struct dump, file),
	 .help = "file to write, emptied first"},
	{.name = "maxlen",
	 .type = OPT_UINT,
	 .at = offsetof(struct dump, maxlen),
	 .min = 1,
	 .max = UINT32_MAX,
	 .def = "65536",
	 .help = "bytes of each frame to keep"},
	{.name = "queue",
	 .type = OPT_ENUM,
	 .at = offsetof(struct dump, queue),
	 .values = queue_names,
	 .def = "all",
	 .help = "rx: what the guest sends, tx: what it receives"},
	{.name = "status",
	 .type = OPT_ENUM,
	 .at = offsetof(struct dump, status),
	 .values = status_names,
	 .def = "on",
	 .help = "off: write no frame"},
	{.name = "position", .type = OPT_IGNORED},
	{.name = "insert", .type = OPT_IGNORED},
	OPT_END,
};
static const struct opt *const tables[] = {net_filter_options, NULL};

/* --- writing --- */

static void write_out(struct bundle *b)
{
	struct dump *d = b->dump;

	loop_timer_del(&b->due);
	for (size_t at = 0; at < b->used && !atomic_load(&d->failed);) {
		ssize_t n = write(d->fd, b->data + at, b->used - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0) {
			at += (size_t)n;
			continue;
		}
		if (!atomic_exchange(&d->failed, true))
			log_err("filter-dump %s: '%s' cannot be written, no more frames go there: "
				"%s",
				d->id, d->file, strerror(errno));
	}
	b->used = 0;
}

static void write_due(struct loop_timer *t)
{
	write_out(container_of(t, struct bundle, due));
}

static void add_record(struct dump *d, struct netq *q, const struct iovec *iov, unsigned n,
		       size_t len)
{
	struct bundle *b = &d->bundle[q->index];
	size_t hdr = q->nd->caps & NET_VNET_HDR ? NET_HDR_LEN : 0;
	struct pcap_record r;
	struct timespec now;

	if (len <= hdr || atomic_load(&d->failed) || (!b->data && !(b->data = malloc(BUF_SIZE))))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	r.seconds = (uint32_t)now.tv_sec;
	r.microseconds = (uint32_t)(now.tv_nsec / 1000);
	r.length = (uint32_t)(len - hdr);
	r.kept = (uint32_t)MIN(r.length, d->maxlen);
	if (b->used + sizeof(r) + r.kept > BUF_SIZE)
		write_out(b);
	if (!b->used)
		loop_timer_set(q->loop, &b->due, FLUSH_NS);
	memcpy(b->data + b->used, &r, sizeof(r));
	iov_to_buf(iov, n, hdr, b->data + b->used + sizeof(r), r.kept);
	b->used += sizeof(r) + r.kept;
}

void dumps_frame(struct list *dumps, struct netq *q, enum dump_way way, const struct iovec *iov,
		 unsigned n, size_t len)
{
	list_for_each (it, dumps) {
		struct dump *d = list_entry(it, struct dump, link);

		if (!d->queue || d->queue == way)
			add_record(d, q, iov, n, len);
	}
}

void dumps_flush(struct list *dumps, unsigned index)
{
	list_for_each (it, dumps)
		write_out(&list_entry(it, struct dump, link)->bundle[index]);
}

/* --- the object --- */

static void dump_free(struct dump *d)
{
	for (unsigned i = 0; d->bundle && i < d->nd->pairs; i++)
		free(d->bundle[i].data);
	free(d->bundle);
	if (d->fd >= 0)
		close(d->fd);
	opts_release(tables, d);
	free(d->id);
	free(d);
}

void dumps_free(struct list *dumps)
{
	struct list *it;

	while ((it = list_pop(dumps)))
		dump_free(list_entry(it, struct dump, link));
}

/* Only a regular file never makes the loop wait for a reader. */
static int open_file(struct dump *d, struct err *e)
{
	struct pcap_file head = {
		.magic = PCAP_MAGIC,
		.major = 2,
		.minor = 4,
		.snaplen = (uint32_t)d->maxlen,
		.link_type = LINK_ETHERNET,
	};
	struct stat st;

	d->fd = open(d->file, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		     0644);
	if (d->fd < 0)
		return err_set(e, -errno, "net dump: can't open %s: %s", d->file, strerror(errno));
	if (fstat(d->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "net dump: %s is not a regular file", d->file);
	if (ftruncate(d->fd, 0) < 0 || write(d->fd, &head, sizeof(head)) != sizeof(head))
		return err_set(e, -EIO, "net dump write error: %s", strerror(errno));
	return 0;
}

static int dump_init(struct dump *d, struct netdevs *nds, struct kvs *k, struct err *e)
{
	const char *odd;
	int rc = opts_apply(tables, k, d, e);

	if (rc < 0)
		return rc;
	odd = kvs_unused(k);
	if (odd)
		return err_set(e, -EINVAL, "Property 'filter-dump.%s' not found", odd);
	if (!d->netdev)
		return err_set(e, -EINVAL, "Parameter 'netdev' is missing");
	if (!d->file)
		return err_set(e, -EINVAL, "dump filter needs 'file' property set!");
	d->nd = netdevs_find(nds, d->netdev);
	if (!d->nd)
		return err_set(e, -ENODEV,
			       "Parameter 'netdev' expects a network backend id, not '%s'",
			       d->netdev);
	if (d->nd->has_vhost)
		return err_set(e, -EINVAL,
			       "Vhost is not supported: the kernel moves the frames of netdev '%s'",
			       d->netdev);
	d->bundle = calloc(d->nd->pairs, sizeof(*d->bundle));
	if (!d->bundle)
		return err_nomem(e);
	for (unsigned i = 0; i < d->nd->pairs; i++) {
		d->bundle[i].dump = d;
		d->bundle[i].due.fn = write_due;
	}
	return open_file(d, e);
}

int net_filter_add(struct netdevs *nds, struct kvs *k, struct err *e)
{
	const char *id = kvs_get(k, "id");
	struct dump *d;
	int rc;

	kvs_get(k, "qom-type");
	rc = id_check("id", id, e);
	if (rc < 0)
		return rc;
	d = calloc(1, sizeof(*d));
	if (!d || !(d->id = strdup(id))) {
		free(d);
		return err_nomem(e);
	}
	d->fd = -1;
	list_init(&d->link);
	rc = dump_init(d, nds, k, e);
	if (rc < 0) {
		dump_free(d);
		return rc;
	}
	atomic_store(&d->failed, d->status != 0);
	list_add_tail(&d->nd->dumps, &d->link);
	return 0;
}
