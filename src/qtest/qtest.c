/* SPDX-License-Identifier: MIT */
/* qtest.c - RAM and address map of the machine that a test drives
 *
 * Implements struct hv_ops for one process. RAM is a file (memory-backend-file, shared with the
 * test) or an anonymous one, mapped at once and populated by the kernel on first touch. Loads and
 * stores of the peer go to RAM, or to the claimed range that contains them; elsewhere a load reads
 * all ones and a store is lost. An MSI is a store of four bytes, as on a PCI bus; one that does not
 * hit RAM is lost, as there is no interrupt controller.
 *
 * Owns the struct qtest and everything in it. The peer is trusted like a vCPU: it can make the
 * machine do what guests do, not more. When it leaves, the client gets HV_GONE on the control loop.
 */
#include "qtest/qtest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "mem/gmem.h"
#include "qtest/internal.h"

static const struct hv_range *claim_find(const struct qtest *q, uint64_t addr, unsigned size)
{
	for (unsigned i = 0; i < q->claims; i++)
		if (addr >= q->claim[i].base &&
		    range_ok(addr - q->claim[i].base, size, q->claim[i].size))
			return &q->claim[i];
	return NULL;
}

uint64_t qtest_load(struct qtest *q, uint64_t addr, unsigned size)
{
	uint64_t v = 0;

	if (claim_find(q, addr, size))
		return q->client->read(q->client->ctx, addr, size);
	if (!gmem_read(q->hv.mem, addr, &v, size))
		return le64toh(v);
	if (size == 1)
		return 0xff;
	for (unsigned i = 0; i < size; i++)
		v |= qtest_load(q, addr + i, 1) << (8 * i);
	return v;
}

void qtest_store(struct qtest *q, uint64_t addr, uint64_t value, unsigned size)
{
	uint64_t v = htole64(value);

	if (claim_find(q, addr, size))
		q->client->write(q->client->ctx, addr, value, size);
	else if (gmem_write(q->hv.mem, addr, &v, size) && size > 1)
		for (unsigned i = 0; i < size; i++)
			qtest_store(q, addr + i, value >> (8 * i) & 0xff, 1);
}

/* Size of the next access of a transfer that does not go to RAM as a whole: the largest one of 1, 2
 * or 4 bytes that is aligned and does not exceed `len`. */
static unsigned piece_size(uint64_t addr, uint64_t len)
{
	unsigned n = 4;

	while (n > len || addr & (n - 1))
		n >>= 1;
	return n;
}

void qtest_load_bytes(struct qtest *q, uint64_t addr, uint8_t *buf, uint64_t len)
{
	if (!gmem_read(q->hv.mem, addr, buf, len))
		return;
	for (unsigned n; len; addr += n, buf += n, len -= n) {
		n = piece_size(addr, len);
		uint64_t v = htole64(qtest_load(q, addr, n));
		memcpy(buf, &v, n);
	}
}

void qtest_store_bytes(struct qtest *q, uint64_t addr, const uint8_t *buf, uint64_t len)
{
	if (!gmem_write(q->hv.mem, addr, buf, len))
		return;
	for (unsigned n; len; addr += n, buf += n, len -= n) {
		uint64_t v = 0;

		n = piece_size(addr, len);
		memcpy(&v, buf, n);
		qtest_store(q, addr, le64toh(v), n);
	}
}

/* --- struct hv_ops --- */

static struct qtest *qtest_of(struct hv *hv)
{
	return container_of(hv, struct qtest, hv);
}

static int qtest_claim(struct hv *hv, uint64_t base, uint64_t size, struct err *e)
{
	struct qtest *q = qtest_of(hv);
	uint64_t end;

	if (!size || !add_ok(base, size - 1, &end))
		return err_set(e, -EINVAL, "range 0x%llx+0x%llx does not fit the address space",
			       (unsigned long long)base, (unsigned long long)size);
	if (q->claims == QTEST_CLAIMS)
		return err_set(e, -ENOSPC, "more than %d address ranges", QTEST_CLAIMS);
	for (unsigned i = 0; i < hv->ram_ranges; i++)
		if (base < hv->ram[i].base + hv->ram[i].size && hv->ram[i].base <= end)
			return err_set(e, -EEXIST, "range 0x%llx+0x%llx overlaps RAM",
				       (unsigned long long)base, (unsigned long long)size);
	q->claim[q->claims++] = (struct hv_range){base, size};
	return 0;
}

static void gone_report(struct loop_task *t)
{
	struct qtest *q = container_of(t, struct qtest, gone);

	q->client->event(q->client->ctx, HV_GONE);
}

static void peer_gone(void *ctx)
{
	struct qtest *q = ctx;

	loop_post(q->control, &q->gone);
}

static int qtest_serve(struct hv *hv, struct loop *exits, struct loop *control,
		       const struct hv_client *client, struct err *e)
{
	struct qtest *q = qtest_of(hv);
	int r;

	q->client = client;
	q->control = control;
	q->gone.fn = gone_report;
	r = conn_serve(&q->conn, exits, peer_gone, q);
	return r ? err_set(e, r, "-qtest: could not watch the socket: %s", strerror(-r)) : 0;
}

static int qtest_msi(struct hv *hv, uint64_t addr, uint32_t data)
{
	struct iovec iov;

	/* The message is one store. memcpy() may store it in two parts, and a test that reads and
	 * clears it in between would see two messages. */
	if (addr % sizeof(data) || gmem_pin(hv->mem, addr, sizeof(data), &iov, 1) != 1)
		return 0;
	__atomic_store_n((uint32_t *)iov.iov_base, htole32(data), __ATOMIC_RELEASE);
	gmem_unpin(hv->mem, &iov, 1);
	return 0;
}

static int qtest_intx(struct hv *hv, unsigned line, bool level)
{
	if (line >= QTEST_LINES)
		return -EINVAL;
	conn_irq(&qtest_of(hv)->conn, line, level);
	return 0;
}

/* There are no rights to give up (restrict_self) and no toolstack to notify (announce). */
static int qtest_ignore(struct hv *hv, struct err *e)
{
	return 0;
}

static void qtest_close(struct hv *hv)
{
	struct qtest *q = qtest_of(hv);

	conn_close(&q->conn);
	if (hv->mem)
		gmem_free(hv->mem);
	free(q);
}

static const struct hv_ops qtest_ops = {
	.claim = qtest_claim,
	.serve = qtest_serve,
	.msi = qtest_msi,
	.intx = qtest_intx,
	.restrict_self = qtest_ignore,
	.announce = qtest_ignore,
	.close = qtest_close,
};

/* --- RAM --- */

static int ram_place(struct hv *hv, const struct qtest_config *c, struct err *e)
{
	uint64_t sum = 0;

	if (c->ram_ranges) {
		memcpy(hv->ram, c->ram, sizeof(hv->ram));
		hv->ram_ranges = c->ram_ranges;
	} else {
		uint64_t low = MIN(c->mem_size, QTEST_RAM_LOW_MAX);

		hv->ram[0] = (struct hv_range){0, low};
		hv->ram[1] = (struct hv_range){QTEST_RAM_HIGH_BASE, c->mem_size - low};
		hv->ram_ranges = c->mem_size > low ? 2 : 1;
	}
	for (unsigned i = 0; i < hv->ram_ranges; i++)
		if (!add_ok(sum, hv->ram[i].size, &sum))
			sum = UINT64_MAX;
	if (sum > c->mem_size)
		return err_set(e, -EINVAL,
			       "the memory map needs %llu bytes, the memory backend has %llu",
			       (unsigned long long)sum, (unsigned long long)c->mem_size);
	return 0;
}

/* Open the backend's file and make it at least `size` bytes long. Returns the descriptor, or a
 * negative errno with `e`. */
static int backend_open(const char *path, uint64_t size, struct err *e)
{
	struct stat st;
	int fd, r;

	if (!path) {
		fd = memfd_create("ram", MFD_CLOEXEC);
	} else {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 && errno == EISDIR)
			fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	}
	if (fd < 0)
		return err_set(e, -errno, "could not open the memory backend '%s': %s",
			       path ? path : "memfd", strerror(errno));
	if (fstat(fd, &st) || ((uint64_t)st.st_size < size && ftruncate(fd, (off_t)size))) {
		r = err_set(e, -errno, "could not size the memory backend to %llu bytes: %s",
			    (unsigned long long)size, strerror(errno));
		close(fd);
		return r;
	}
	return fd;
}

struct hv *hv_qtest_open(const struct qtest_config *c, struct err *e)
{
	struct qtest *q = calloc(1, sizeof(*q));
	int fd;

	if (!q) {
		err_nomem(e);
		return NULL;
	}
	q->hv.ops = &qtest_ops;
	q->hv.vcpus = c->vcpus;
	q->hv.paddr_bits = QTEST_PADDR_BITS;
	q->hv.has_intx = true;
	if (conn_open(&q->conn, c->peer, c->log, e) || ram_place(&q->hv, c, e))
		goto fail;
	fd = backend_open(c->mem_path, c->mem_size, e);
	if (fd < 0)
		goto fail;
	q->hv.mem = gmem_new_file(q->hv.ram, q->hv.ram_ranges, fd, e);
	close(fd);
	if (q->hv.mem)
		return &q->hv;
fail:
	qtest_close(&q->hv);
	return NULL;
}
