/* SPDX-License-Identifier: MIT */
/* qtest.h - the machine without a hypervisor: RAM comes from a memory backend, and a test program
 * is the only vCPU
 *
 * `-accel qtest` runs the whole machine without Xen. A peer (device test, fuzzer, benchmark)
 * connects with QEMU's qtest protocol and does what a vCPU would do: loads and stores at
 * guest-physical addresses. RAM may be shared with the peer through a file, so that rings and
 * buffers need no protocol at all.
 *
 * The address map is that of QEMU's microvm machine unless the command line says otherwise, so that
 * one guest driver fits both.
 */
#ifndef QTEST_QTEST_H
#define QTEST_QTEST_H

#include <stdint.h>

#include "base/err.h"
#include "hv/hv.h"

/* RAM is split here: this much at address 0, the rest from 4 GiB on. */
#define QTEST_RAM_LOW_MAX    0xc0000000ULL
#define QTEST_RAM_HIGH_BASE  0x100000000ULL
#define QTEST_MMIO_BASE	     0xc0000000ULL
#define QTEST_MMIO_SIZE	     0x20000000ULL
#define QTEST_ECAM_BASE	     0xe0000000ULL
#define QTEST_ECAM_SIZE	     0x10000000ULL
#define QTEST_MMIO_HIGH_BASE 0x8000000000ULL
#define QTEST_MMIO_HIGH_SIZE 0x1000000000ULL
#define QTEST_PADDR_BITS     46

struct qtest_config {
	/* -qtest: "unix:PATH" connects, "unix:PATH,server=on[,wait=off]" listens. NULL: nobody
	 * drives the machine. */
	const char *peer;
	/* -qtest-log: a file; "none" or NULL: no log. */
	const char *log;
	/* memory-backend-file's mem-path: a file, created and extended when needed, or a directory;
	 * NULL: anonymous memory. It is always mapped shared. */
	const char *mem_path;
	uint64_t mem_size; /* of the backend, page aligned; at least the sum of `ram` */
	/* Where RAM lies, in the order of the file; ram_ranges 0: the map above. */
	struct hv_range ram[HV_RAM_RANGES];
	unsigned ram_ranges;
	unsigned vcpus;
};

/* Make the RAM and connect or listen. NULL with `e` on failure. The config may be freed afterwards.
 */
struct hv *hv_qtest_open(const struct qtest_config *c, struct err *e);

#endif
