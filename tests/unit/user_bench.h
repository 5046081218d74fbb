/* SPDX-License-Identifier: MIT */
/* user_bench.h - the guest of -netdev user, for the tests of it
 *
 * The guest is the test with a few frames: ARP, DHCP, ping, UDP and the first segments of TCP. The
 * loop is turned by hand. Addresses on the host's side are those of the loopback interface.
 */
#ifndef UNIT_USER_BENCH_H
#define UNIT_USER_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "net/net.h"

#define TURN_MS	  2000
#define GATEWAY	  0x0a000202 /* 10.0.2.2 */
#define GUEST	  0x0a00020f
#define ETH	  14
#define IP	  20
#define TCP_SYN	  2
#define TCP_ACK	  16
#define FRAME_MAX 1514

struct bench {
	struct loop *loop;
	struct netdevs *nds;
	struct net_client client;
	struct netdev *nd;
	struct netq *q;
	unsigned readable;
	char dir[32];
	bool has_hdr;
	uint8_t hdr[NET_HDR_LEN]; /* before the frames that are sent */
	uint8_t in_hdr[NET_HDR_LEN], in[NET_FRAME_MAX];
	ssize_t in_len;
};

extern const uint8_t guest_mac[6];
extern uint8_t gateway_mac[6];

int setup(void **state);
int teardown(void **state);
/* Without libslirp there is nothing to test; the reason says so. */
int have_library(void **state);
int add(struct bench *b, struct err *e, const char *fmt, ...);
void attach(struct bench *b);
void open_user(struct bench *b, const char *options);
void put16(uint8_t *p, unsigned v);
void put32(uint8_t *p, uint32_t v);
unsigned get16(const uint8_t *p);
uint32_t get32(const uint8_t *p);
unsigned checksum(const uint8_t *p, size_t len, uint32_t sum);
/* netq_send(), once there is room. */
int send_iov(struct bench *b, const struct iovec *iov, unsigned n);
/* In pieces, as a guest does. */
void transmit(struct bench *b, uint8_t *f, size_t len);
/* An IPv4 frame whose payload of `len` bytes is in place; from 0.0.0.0 to everybody for `to` ~0.
 * Its length. */
size_t put_ip(uint8_t *f, unsigned proto, uint32_t to, size_t len);
size_t put_udp(uint8_t *f, unsigned from, uint32_t to, unsigned port, const void *data, size_t len);
void send_ip(struct bench *b, uint8_t *f, unsigned proto, uint32_t to, size_t len);
void send_udp(struct bench *b, unsigned from, uint32_t to, unsigned port, const void *data,
	      size_t len);
void send_tcp(struct bench *b, unsigned from, uint32_t to, unsigned port, uint32_t seq,
	      uint32_t ack, unsigned flags, const char *data);
/* Next frame in b->in; false when none comes within TURN_MS. */
bool receive(struct bench *b, int ms);
/* Next IPv4 frame of protocol `proto`: its payload. ARP questions for the guest are answered. */
const uint8_t *receive_ip(struct bench *b, unsigned proto);
/* Ask for the gateway's address on the wire, and so make the guest known. */
void greet(struct bench *b, uint32_t address);
int host_socket(int type, unsigned *port);
/* A port that is free at this moment. */
unsigned free_port(int type);
void connect_to(int fd, unsigned port);
/* Turn the loop until `fd` has something to read. */
ssize_t host_recv(struct bench *b, int fd, void *buf, size_t size);

#endif
