/* SPDX-License-Identifier: MIT */
/* probe.h - places on the data path where bpftrace, perf and SystemTap can look in (USDT)
 *
 * A probe is one no-operation instruction and a note in the program file; a tracer replaces the
 * instruction while it watches. The arguments are where the code has them anyway, so write only
 * what costs nothing to have: numbers and pointers, no calls.
 *
 *	virtqueue_pop       id of the device (char *, may be NULL), queue, head of the chain
 *	virtqueue_push      the same, bytes written
 *	block_start         request, operation (enum block_op), offset, length in bytes
 *	block_done          request, operation, 0 or negative errno
 *
 * A request of a disk begins with block_start and ends with the block_done of the same pointer:
 *
 *	bpftrace -e 'usdt:/usr/local/libexec/xenpvh:xenpvh:block_start { @t[arg0] = nsecs; }
 *		usdt:/usr/local/libexec/xenpvh:xenpvh:block_done /@t[arg0]/ {
 *			@us = hist((nsecs - @t[arg0]) / 1000); delete(@t[arg0]); }'
 *
 * Without systemtap-sdt-dev at the time of building there are no probes.
 */
#ifndef BASE_PROBE_H
#define BASE_PROBE_H

#ifdef HAVE_SDT
#include <sys/sdt.h>

#define probe3(name, a, b, c)	 DTRACE_PROBE3(xenpvh, name, a, b, c)
#define probe4(name, a, b, c, d) DTRACE_PROBE4(xenpvh, name, a, b, c, d)
#else
#define probe3(name, a, b, c) \
	do {                  \
	} while (0)
#define probe4(name, a, b, c, d) \
	do {                     \
	} while (0)
#endif

#endif
