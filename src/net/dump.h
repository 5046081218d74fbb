/* SPDX-License-Identifier: MIT */
/* dump.h - -object filter-dump: frames of a netdev into a file in pcap's format
 *
 * Hooked into netq_send() and netq_recv(), so it sees every frame that this process moves, whatever
 * the type of the netdev; the vnet header is not written. Each queue collects into a buffer of its
 * own, on its loop, and writes it out when it is full, 100 ms after its first frame at the latest:
 * whole records with one write() at the end of the file, so queues on different loops do not mix.
 * A file that cannot be written any more (a full disk) ends the dump, not the net.
 */
#ifndef NET_DUMP_H
#define NET_DUMP_H

#include <sys/uio.h>

#include "base/list.h"

struct netq;

/* As QEMU names the queues of a netdev: what is sent to it, what it sends. */
enum dump_way { DUMP_RX = 1, DUMP_TX = 2 };

/* For netdev.c. `dumps` is netdev.dumps. */
/* Queue's loop: a frame of `len` bytes, vnet header included, passed. */
void dumps_frame(struct list *dumps, struct netq *q, enum dump_way way, const struct iovec *iov,
		 unsigned n, size_t len);
/* Queue's loop, or when it is stopped: write out what queue `index` collected. */
void dumps_flush(struct list *dumps, unsigned index);
/* All queues are stopped. */
void dumps_free(struct list *dumps);

#endif
