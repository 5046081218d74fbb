/* SPDX-License-Identifier: MIT */
/* tb.h - test bench of the device tests: a machine with disks, sockets and a monitor around it
 *
 * Each test gets a fresh machine: it says what it wants (tb_disk(), tb_device(), tb_arg()), starts
 * it, acts as its guest, and ends with tb_stop(), which demands a clean exit. What a failed test
 * leaves behind is removed by the tear-down. With GUEST_DM=qemu-system-x86_64 the same tests check
 * the expectations against QEMU; tests that QEMU is known to fail say so with tb_skip_qemu() and
 * the reason. With TB_RING=,packed=on they use packed rings (those that make their rings themselves
 * fail then). With TB_IOTHREADS=4 the queues of disks are on four loops (not with QEMU, which takes
 * the mapping as JSON only).
 */
#ifndef DEV_TB_H
#define DEV_TB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/util.h"
#include "gdrivers.h"

#define TB_DISKS 24

/* A sanitizer keeps freed memory on purpose. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TB_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TB_SANITIZED 1
#endif
#endif
#ifndef TB_SANITIZED
#define TB_SANITIZED 0
#endif

struct tb {
	struct guest g;
	struct guest_config config;
	bool qemu;
	const char *ring;   /* $TB_RING: ",packed=on", ",in_order=on" or both, for every device */
	unsigned iothreads; /* $TB_IOTHREADS: the queues of every disk go round these */
	char dir[40];	    /* in /tmp, or in $TB_DIR */
	char *args[256];
	unsigned n_args;
	struct {
		char path[64];
		int fd;
		uint64_t size;
	} disk[TB_DISKS];
	unsigned disks;
	int qmp;
	char qmp_in[65536];
	size_t qmp_len;
	/* devices, for whoever has one of each */
	struct gblk blk;
	struct gnet net;
	struct grng rng;
};

/* cmocka's set-up and tear-down; *state is a struct tb. */
int tb_setup(void **state);
int tb_teardown(void **state);
#define tb_test(f) cmocka_unit_test_setup_teardown(f, tb_setup, tb_teardown)
/* Run them; $TB_FILTER (with * and ?) names those that are wanted. */
#define tb_run(name, tests) (tb_filter(), cmocka_run_group_tests_name(name, tests, NULL, NULL))
void tb_filter(void);

void tb_arg(struct tb *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* -device; modern-only on QEMU too, so that ids agree. */
void tb_device(struct tb *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A sparse raw image of `size` bytes behind drive "dN"; `extra` options begin with a comma. Returns
 * N. */
unsigned tb_disk(struct tb *t, uint64_t size, const char *extra);
void tb_start(struct tb *t);
void tb_stop(struct tb *t);
/* Anonymous memory of the device model, KiB. */
unsigned tb_anonymous_kb(struct tb *t);
bool tb_is_qemu(void);
/* Skip this test there. */
void tb_skip_qemu(const char *why);

/* The usual disk machine: drive d0 of 8 MiB, one virtio-blk-pci with `props`, started, driver open
 * on `queues`. */
void tb_blk(struct tb *t, const char *props, unsigned queues, uint64_t features);
/* Ordinary I/O on t->blk: write, read back, compare with the file. After tb_blk_again() also after
 * anything hostile. */
void tb_blk_works(struct tb *t);
/* Reset the device and see that it does ordinary I/O. */
void tb_blk_again(struct tb *t);

/* Deterministic bytes. */
void tb_pattern(void *buf, size_t len, uint32_t seed);

/* --- QMP --- */

/* Run a command (a JSON object); its "return" (owned by the caller) or NULL for an error. Events on
 * the way are dropped. */
json_t *tb_qmp(struct tb *t, const char *command);
/* The same, must succeed, result dropped. */
void tb_qmp_ok(struct tb *t, const char *command);
/* Run a command that must succeed and sends event `name`, before or after its answer. */
void tb_qmp_ok_event(struct tb *t, const char *command, const char *name);
/* Wait for an event of this name; its data, owned by the caller. */
json_t *tb_qmp_event_data(struct tb *t, const char *name);
/* Wait for an event of this name; how many others came before. */
unsigned tb_qmp_event(struct tb *t, const char *name);

#endif
