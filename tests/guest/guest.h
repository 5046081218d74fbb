/* SPDX-License-Identifier: MIT */
/* guest.h - a machine under test: the device model as a child process, its RAM mapped here, a qtest
 * socket between
 *
 * The program that links this library is the guest: it enumerates PCI, drives virtio devices and
 * breaks their rules. It works with xenpvh (`-accel qtest`) and with qemu-system-x86_64 (microvm),
 * which has the same address map; GUEST_DM in the environment names the binary. RAM is a memory
 * backend file shared with the child, so that only register accesses travel through the socket.
 *
 * One thread. Nothing here returns an error: a machine that does not answer, dies, or a bug of the
 * caller ends in guest_panic(), which the program provides (a failed test, the end of a benchmark)
 * and which does not return. Waiting is bounded everywhere and watches a condition, never a clock
 * alone.
 */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define GUEST_RAM_DEFAULT (64ULL << 20)
#define GUEST_LOW_MAX	  0xc0000000ULL
#define GUEST_HIGH_BASE	  0x100000000ULL
#define GUEST_MMIO_BASE	  0xc0000000ULL
#define GUEST_MMIO_SIZE	  0x20000000ULL
#define GUEST_ECAM_BASE	  0xe0000000ULL
#define GUEST_ECAM_SIZE	  0x10000000ULL
#define GUEST_WAIT_MS	  10000 /* how long anything may take */

struct guest_config {
	const char *binary; /* NULL: $GUEST_DM, or the default that the build compiled in */
	uint64_t ram;	    /* bytes; 0: GUEST_RAM_DEFAULT. Beyond 3 GiB the rest begins at 4 GiB */
	unsigned vcpus;	    /* 0: 1 */
	const char *const *args; /* NULL-terminated, appended to the command line */
	uint64_t features;	 /* what gv_negotiate() accepts besides what its caller wants */
	bool noisy;		 /* the child's messages go to our stderr instead of guest_log() */
	int keep_fds[32];	 /* descriptors that the child inherits; ends with 0 */
};

struct guest {
	pid_t pid;
	bool qemu; /* some expectations differ */
	int fd;	   /* the qtest socket */
	char in[1 << 18];
	size_t in_len, in_pos;
	uint64_t features;   /* what gv_negotiate() accepts besides what its caller wants */
	unsigned unanswered; /* answers of guest_store_async() still to come */
	bool irq[24];	     /* levels of the lines, as told by "IRQ raise/lower" */

	int ram_fd, log_fd;
	uint64_t ram, ram_low;
	uint8_t *map;		      /* the whole backend */
	uint64_t next_low, next_high; /* allocator: next free address */
	uint64_t next_bar;	      /* allocator of BARs */
	char dir[32];
};

/* The program's own: does not return. */
void guest_panic(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Start the device model and wait until it answers. */
void guest_start(struct guest *g, const struct guest_config *c);
/* SIGTERM, wait for the end, free all. Panics unless the exit status is 0. */
void guest_stop(struct guest *g);
/* Wait for the child to end by itself; returns the wait status. guest_stop() may still be called.
 */
int guest_reap(struct guest *g);
/* For tear-down after a failure: no question asked. Harmless on a zeroed or stopped struct. */
void guest_kill(struct guest *g);
/* What the child has printed so far; to be freed. */
char *guest_log(struct guest *g);

/* --- the vCPU: loads and stores at guest-physical addresses, little endian; size 1, 2, 4, 8 --- */

uint64_t guest_load(struct guest *g, uint64_t addr, unsigned size);
void guest_store(struct guest *g, uint64_t addr, unsigned size, uint64_t value);
/* The same without waiting for the answer; guest_sync() or any load waits for it. */
void guest_store_async(struct guest *g, uint64_t addr, unsigned size, uint64_t value);
void guest_sync(struct guest *g);
/* Send one raw line of the protocol (no newline) and return its answer, valid until the next call.
 */
const char *guest_ask(struct guest *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Send `n` whole lines of the protocol in one go and wait for as many answers, each of which must
 * be OK. */
void guest_send_lines(struct guest *g, const char *lines, size_t len, unsigned n);

/* --- RAM --- */

/* Our address of guest RAM; panics when the range is not RAM. */
void *guest_ptr(struct guest *g, uint64_t gpa, uint64_t len);
/* Take RAM that nobody else uses, zeroed; `align` a power of two. Below 4 GiB, or above (panics
 * when there is none). */
uint64_t guest_alloc(struct guest *g, uint64_t size, uint64_t align);
uint64_t guest_alloc_high(struct guest *g, uint64_t size, uint64_t align);
/* Last byte of RAM below 4 GiB plus one. */
uint64_t guest_low_end(const struct guest *g);

/* --- waiting --- */

struct guest_timer {
	uint64_t deadline, spins;
};
/* Let others run; false when the time is over. Panics if the child has died. */
bool guest_tick(struct guest *g, struct guest_timer *t, unsigned ms);

/* Wait until `cond` holds, at most `ms`; says whether it does. */
#define guest_wait_ms(g, ms, cond)                                \
	({                                                        \
		struct guest_timer t_ = {0};                      \
		bool ok_;                                         \
		while (!(ok_ = (cond)) && guest_tick(g, &t_, ms)) \
			;                                         \
		ok_;                                              \
	})
#define guest_wait(g, cond) guest_wait_ms(g, GUEST_WAIT_MS, cond)

#endif
