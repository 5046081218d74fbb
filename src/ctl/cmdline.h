/* SPDX-License-Identifier: MIT */
/* cmdline.h - the command line as plain data
 *
 * cmdline_parse() reads QEMU's syntax and has no side effect but the text of `-help` on stdout:
 * nothing is opened, looked up or resolved but the directory against which relative paths are read.
 * What each option is called, takes and means is in one table (options.c), from which help, QMP's
 * query-command-line-options and the manual page are made too.
 *
 * The lists keep the order of the command line. Their entries are not interpreted here beyond ids,
 * duplicates and paths: the owner of each kind applies its own option tables when it opens them.
 */
#ifndef CTL_CMDLINE_H
#define CTL_CMDLINE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "acpi/acpi.h"
#include "base/err.h"
#include "base/log.h"
#include "conf/kvs.h"
#include "hv/layout.h"

enum cmdline_machine {
	MACHINE_XENPVH, /* also spelled xenpv */
	MACHINE_NONE,	/* libxl's probe: monitors only, no hypervisor */
};

enum cmdline_accel { ACCEL_XEN, ACCEL_QTEST };

struct kvs_list {
	struct kvs *v;
	unsigned n;
};

/* Strings are NULL when the option was not given. All paths are absolute. */
struct cmdline {
	enum cmdline_machine machine;
	enum cmdline_accel accel; /* -accel, -machine accel= */
	struct layout_conf map;	  /* -machine ram-*, pci-*; -m */
	enum acpi_mode acpi;	  /* -machine acpi= */
	uint64_t intx_irq_base;	  /* -machine pci-intx-irq-base=: always 16 */
	uint64_t exit_poll_ns;	  /* -machine exit-poll-ns= */
	char *memory_backend;	  /* -machine memory-backend=: id of an -object */
	uint64_t max_mem;	  /* -m maxmem=, bytes; 0: not given */
	uint64_t cpus, max_cpus;  /* -smp; 0: not given */
	int domid;		  /* -xen-domid; -1: not given */
	bool domid_restrict;	  /* -xen-domid-restrict */
	bool paused;		  /* -S: report "prelaunch"; the guest is served all the same */
	char *name;		  /* -name */
	char *uuid;		  /* -uuid, lower case with dashes */
	char *chroot, *user;	  /* -run-with, -chroot, -runas */
	char *log_file;		  /* -D */
	enum log_level log_level; /* -d */
	bool log_stamp;		  /* -msg timestamp=on */
	char *pidfile;
	char *qtest;	 /* -qtest, as struct qtest_config wants it */
	char *qtest_log; /* -qtest-log */
	struct kvs_list devices, drives, blockdevs, netdevs, fsdevs, objects, chardevs, mons;
};

/* Fill `c`. Returns 0; 1 when a help text was printed and the program should exit with 0; or -errno
 * with `e` complete, the option included ("-m 12X: ..."). Free with cmdline_free() in all cases. */
int cmdline_parse(struct cmdline *c, int argc, char **argv, struct err *e);
void cmdline_free(struct cmdline *c);

/* The entries of a list option, by its name without the dash ("netdev"). */
const struct kvs_list *cmdline_list(const struct cmdline *c, const char *option);

/* What QMP's query-command-line-options shows: the groups in table order, NULL at the end (`i`
 * counts from 0). `name` is QEMU's name of the group. */
const struct opt *cmdline_group(unsigned i, const char **name);

#endif
