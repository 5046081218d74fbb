/* SPDX-License-Identifier: MIT */
/* bench.h - what the measurements share: options, the clock and the CPU time of the device model, a
 * histogram
 *
 * One run of dmbench is one device model, one case, one line of JSON. The guest is this program,
 * single-threaded: it polls the word that an interrupt writes instead of sleeping, so that what is
 * counted is the device model's work.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "base/util.h"
#include "gdrivers.h"

struct bench {
	struct guest g;
	struct guest_config config;
	/* options */
	const char *test, *tap, *path; /* path: of a socket */
	unsigned depth, queues, len, devices;
	bool write, trace;
	double seconds, rate; /* rate: requests per second, 0 for as fast as it goes */
	uint64_t features;
	unsigned long idle; /* PSS before the driver came, KiB; 0: not measured */
};

/* Buckets of about 3 %, nanoseconds. */
#define HIST_BUCKETS 1024
struct hist {
	uint64_t n, bucket[HIST_BUCKETS];
};
void hist_add(struct hist *h, uint64_t ns);
double hist_us(const struct hist *h, double quantile);

/* From meter_begin() to meter_end(), after a warm-up. */
struct meter {
	struct bench *b;
	uint64_t ops, bytes, kicks, irqs;
	double least; /* of the devices: its operations, as a part of a fair share; 0: not measured
		       */
	struct hist latency;
	uint64_t begin, deadline, wall;
	double cpu_begin, cpu;
	pid_t tracer;
};
void meter_begin(struct meter *m, struct bench *b);
/* Is there time left? Panics when the device model has died. */
bool meter_running(struct meter *m);
void meter_end(struct meter *m);
/* The line of JSON. */
void meter_print(const struct meter *m);
/* Seconds of CPU that the device model has used so far. */
double dm_cpu(const struct bench *b);
/* Proportional set size of the device model without the guest's RAM, KiB; `anon`: of it, anonymous.
 */
unsigned long dm_pss(const struct bench *b, unsigned long *anon);
unsigned dm_threads(const struct bench *b);

/* A stream socket at `path`: connected, or waiting for connections. */
int bench_connect(const char *path);
int bench_listen(const char *path);
uint16_t ip_checksum(const uint8_t *p, unsigned len);
static inline void put_be16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}
/* On -netdev user: the Ethernet and IPv4 headers of frames from the guest to the host (10.0.2.2),
 * but for length and checksum. */
void user_headers(struct gnet *net, uint8_t *f, unsigned proto);

void bench_disk(struct bench *b);
void bench_fair(struct bench *b);
void bench_floor(struct bench *b);
void bench_net_tx(struct bench *b);
void bench_net_rx(struct bench *b);
void bench_p9_create(struct bench *b);
void bench_p9_read(struct bench *b);
void bench_p9_readdir(struct bench *b);
void bench_p9_stat(struct bench *b);
void bench_p9_write(struct bench *b);
void bench_serial_rx(struct bench *b);
void bench_serial_tx(struct bench *b);
void bench_user_rx(struct bench *b);
void bench_user_tcp(struct bench *b);
void bench_user_tcp_rx(struct bench *b);
void bench_user_tx(struct bench *b);
void bench_vsock_connect(struct bench *b);
void bench_vsock_rx(struct bench *b);
void bench_vsock_tx(struct bench *b);
void bench_rng(struct bench *b);
void bench_exit(struct bench *b);
void bench_start(struct bench *b);

#endif
