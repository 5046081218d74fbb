/* SPDX-License-Identifier: MIT */
/* ioreq.c - the ioreq server: the guest's accesses to claimed memory arrive here
 *
 * Primer. When a guest reads or writes an address that no RAM is behind, its CPU leaves the guest
 * (an exit) and Xen has the access emulated. A program in a control domain can tell Xen that it
 * emulates a range of addresses: it creates an ioreq server and claims the range. Xen then
 * describes each access to the range in a struct ioreq: address, size, direction, data, and how
 * often it repeats.
 *
 * The ioreq page is shared by Xen and the server. It has one such struct, a slot, for each vCPU,
 * because a vCPU waits for its access to end and so has one at a time. The field `state` of a slot
 * says who may write it:
 *
 *     STATE_IOREQ_NONE       no request; Xen fills the slot
 *     STATE_IOREQ_READY      the request is there; the server takes it
 *     STATE_IOREQ_INPROCESS  the server works on it
 *     STATE_IORESP_READY     the answer is in `data`; Xen takes it and sets NONE
 *
 * Each slot has an event channel (`vp_eport`), an interrupt line between domains: Xen notifies the
 * server after READY, the server notifies Xen after RESP_READY, and the vCPU goes on.
 *
 * Here, one wake-up answers every slot that is ready and then returns to the loop. A doorbell only
 * marks its queue; the loop serves the queue after the vCPU was released.
 *
 * Owns:    the server (it dies with the domain at the latest), the page, the event channels.
 * Trusts:  Xen for the page itself; the numbers in a request are the guest's doing, so each slot is
 *          copied once, checked, and the copy is used. A request that makes no sense is answered
 *          with all ones, never refused: a vCPU would hang.
 * Threads: claims, start and end on the control thread; everything after the start on the exit
 *          loop.
 *
 * xen/include/public/hvm/ioreq.h, xen/include/public/hvm/dm_op.h
 *
 * #syscalls: read write ioctl
 */
#include "xen/domain.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xen/hvm/hvm_op.h>
#include <xen/hvm/ioreq.h>
#include <xen/memory.h>

#include "base/log.h"
#include "base/util.h"

#define SLOT_SIZE  sizeof(struct ioreq)
#define ALL_ONES   UINT64_MAX
#define STATE_MASK 0x0f
#define REP_BYTES  4096 /* Xen splits a repeated access at the end of a page */

/* The byte of a slot that holds `state` and three flags; bit fields cannot be accessed atomically.
 */
#define STATE_BYTE (offsetof(struct ioreq, _pad0) + 2)
_Static_assert(sizeof(struct ioreq) == 32, "layout of struct ioreq");
_Static_assert(offsetof(struct ioreq, type) == STATE_BYTE + 1, "place of the state");
_Static_assert(XEN_VCPUS_MAX * sizeof(struct ioreq) == 4096, "one page of slots");

static int server_create(struct xen *x, struct err *e)
{
	if (xendevicemodel_create_ioreq_server(x->dmod, (domid_t)x->domid,
					       HVM_IOREQSRV_BUFIOREQ_OFF, &x->server) < 0) {
		const char *why = errno == EPERM    ? "only a control domain may"
				  : errno == ENOSPC ? "the domain has eight already"
						    : strerror(errno);

		return err_set(e, -errno, "could not create an ioreq server for domain %u: %s",
			       x->domid, why);
	}
	x->has_server = true;
	return 0;
}

int ioreq_claim(struct hv *hv, uint64_t base, uint64_t size, struct err *e)
{
	struct xen *x = to_xen(hv);
	int rc;

	if (x->claims == XEN_RANGES)
		return err_set(e, -ENOSPC, "too many address ranges");
	if (!x->has_server) {
		rc = server_create(x, e);
		if (rc)
			return rc;
	}
	if (xendevicemodel_map_io_range_to_ioreq_server(x->dmod, (domid_t)x->domid, x->server, 1,
							base, base + size - 1) < 0) {
		const char *why = errno == EEXIST ? "it is claimed already" : strerror(errno);

		return err_set(e, -errno, "could not claim 0x%" PRIx64 "-0x%" PRIx64 ": %s", base,
			       base + size - 1, why);
	}
	x->claimed[x->claims++] = (struct hv_range){base, size};
	return 0;
}

/* --- one request --- */

static bool range_is_claimed(const struct xen *x, uint64_t addr, unsigned size)
{
	for (unsigned i = 0; i < x->claims; i++) {
		const struct hv_range *r = &x->claimed[i];

		if (addr >= r->base && range_ok(addr - r->base, size, r->size))
			return true;
	}
	return false;
}

static uint64_t access_read(struct xen *x, uint64_t addr, unsigned size)
{
	return range_is_claimed(x, addr, size) ? x->client->read(x->client->ctx, addr, size)
					       : ALL_ONES;
}

static void access_write(struct xen *x, uint64_t addr, uint64_t data, unsigned size)
{
	if (size < 8)
		data &= (1ULL << (8 * size)) - 1;
	if (range_is_claimed(x, addr, size))
		x->client->write(x->client->ctx, addr, data, size);
}

/* Carry out a repeated access: between the device and RAM (`rep movs`, data_is_ptr), or of the same
 * datum (`rep stos`). Returns the data of the last read. */
static uint64_t access_repeat(struct xen *x, const struct ioreq *r)
{
	uint64_t step = r->df ? -(uint64_t)r->size : r->size, data = r->data;

	for (uint32_t i = 0; i < r->count; i++) {
		uint64_t addr = r->addr + i * step, ram = r->data + i * step, v = 0;

		if (!r->data_is_ptr) {
			if (r->dir == IOREQ_READ)
				data = access_read(x, addr, r->size);
			else
				access_write(x, addr, r->data, r->size);
		} else if (r->dir == IOREQ_READ) {
			v = htole64(access_read(x, addr, r->size));
			if (gmem_write(x->hv.mem, ram, &v, r->size) < 0)
				break;
		} else {
			if (gmem_read(x->hv.mem, ram, &v, r->size) < 0)
				break;
			access_write(x, addr, le64toh(v), r->size);
		}
	}
	return data;
}

uint64_t ioreq_handle(struct xen *x, const struct ioreq *r)
{
	if (r->type == IOREQ_TYPE_INVALIDATE) {
		gmem_invalidate(x->hv.mem);
		return r->data;
	}
	if (r->type != IOREQ_TYPE_COPY || r->size > 8 || !is_pow2(r->size) || !r->count ||
	    r->count > REP_BYTES / r->size) {
		log_guest(&x->rate, "xen", "ioreq of type %u, size %u, count %u is not served",
			  r->type, r->size, r->count);
		return ALL_ONES;
	}
	if (likely(r->count == 1 && !r->data_is_ptr)) {
		if (r->dir == IOREQ_READ)
			return access_read(x, r->addr, r->size);
		access_write(x, r->addr, r->data, r->size);
		return r->data;
	}
	return access_repeat(x, r);
}

/* Answer the request in the slot of `vcpu`. Returns false when there is none. */
static bool slot_serve(struct xen *x, unsigned vcpu)
{
	uint8_t *slot = x->page + vcpu * SLOT_SIZE;
	_Atomic(uint8_t) *state = (_Atomic(uint8_t) *)(slot + STATE_BYTE);
	/* Pairs with Xen's barrier between the request and STATE_IOREQ_READY. */
	uint8_t flags = atomic_load_explicit(state, memory_order_acquire);
	struct ioreq r;
	uint64_t data;

	if ((flags & STATE_MASK) != STATE_IOREQ_READY)
		return false;
	memcpy(&r, slot, sizeof(r));
	flags &= (uint8_t)~STATE_MASK;
	atomic_store_explicit(state, flags | STATE_IOREQ_INPROCESS, memory_order_relaxed);
	data = ioreq_handle(x, &r);
	memcpy(slot + offsetof(struct ioreq, data), &data, sizeof(data));
	/* Pairs with Xen's barrier between STATE_IORESP_READY and the data. */
	atomic_store_explicit(state, flags | STATE_IORESP_READY, memory_order_release);
	xenevtchn_notify(x->evtchn, x->ports[vcpu]);
	return true;
}

static bool slots_serve(struct xen *x)
{
	bool any = false;

	for (unsigned i = 0; i < x->hv.vcpus; i++)
		any |= slot_serve(x, i);
	return any;
}

/* With -machine exit-poll-ns the loop polls the page, and finds a request before its event arrives.
 * The event then finds no slot that is ready. */
static enum loop_look slots_poll(struct loop_poller *p)
{
	return slots_serve(container_of(p, struct xen, poller)) ? LOOP_WORK : LOOP_NOTHING;
}

/* --- events --- */

static void events_ready(struct loop_fd *w, uint32_t events)
{
	struct xen *x = container_of(w, struct xen, events);
	evtchn_port_t ports[XEN_VCPUS_MAX];
	ssize_t n = read(w->fd, ports, sizeof(ports));

	/* A port that was read is masked until it is written back. Unmask it before reading
	 * the slots: then a request that comes after they were read raises a new event. */
	if (n > 0 && write(w->fd, ports, (size_t)n) != n)
		log_err("could not unmask the event channels of the domain: %s", strerror(errno));
	slots_serve(x);
}

static void events_start(void *arg)
{
	struct xen *x = arg;
	int rc = loop_fd_add(x->exits, &x->events, xenevtchn_fd(x->evtchn), EPOLLIN, events_ready);

	if (rc < 0) {
		log_err("could not watch the event channels: %s", strerror(-rc));
		return;
	}
	x->poller.look = slots_poll;
	loop_poller_add(x->exits, &x->poller);
	/* A request may have come before its event channel was bound. */
	slots_serve(x);
}

int ioreq_serve(struct xen *x, struct loop *exits, const struct hv_client *client, struct err *e)
{
	domid_t dom = (domid_t)x->domid;
	void *page = NULL;
	int fd, flags;

	x->client = client;
	x->exits = exits;
	gmem_give_back(x->hv.mem, exits);
	x->page_res = xenforeignmemory_map_resource(
		x->fmem, dom, XENMEM_resource_ioreq_server, x->server,
		XENMEM_resource_ioreq_server_frame_ioreq(0), 1, &page, PROT_READ | PROT_WRITE, 0);
	if (!x->page_res)
		return err_set(e, -errno, "could not map the ioreq page of domain %u: %s", x->domid,
			       strerror(errno));
	x->page = page;
	if (xendevicemodel_set_ioreq_server_state(x->dmod, dom, x->server, 1) < 0)
		return err_set(e, -errno, "could not enable the ioreq server of domain %u: %s",
			       x->domid, strerror(errno));
	for (unsigned i = 0; i < x->hv.vcpus; i++) {
		evtchn_port_t remote;
		int port;

		memcpy(&remote, x->page + i * SLOT_SIZE + offsetof(struct ioreq, vp_eport),
		       sizeof(remote));
		port = xenevtchn_bind_interdomain(x->evtchn, x->domid, remote);
		if (port < 0)
			return err_set(e, -errno,
				       "could not bind the event channel of vCPU %u of domain "
				       "%u: %s",
				       i, x->domid, strerror(errno));
		x->ports[i] = (evtchn_port_t)port;
	}
	fd = xenevtchn_fd(x->evtchn);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set(e, -errno, "fcntl on the event channel device: %s", strerror(errno));
	loop_call(exits, events_start, x);
	return 0;
}

void ioreq_close(struct xen *x)
{
	/* Errors are ignored: if the domain is gone, Xen has released the server. Closing the
	 * event channel handle unbinds the channels. */
	loop_poller_del(&x->poller);
	if (x->exits)
		loop_fd_del(x->exits, &x->events);
	if (x->has_server) {
		xendevicemodel_set_ioreq_server_state(x->dmod, (domid_t)x->domid, x->server, 0);
		xendevicemodel_destroy_ioreq_server(x->dmod, (domid_t)x->domid, x->server);
	}
	if (x->page_res)
		xenforeignmemory_unmap_resource(x->fmem, x->page_res);
}
