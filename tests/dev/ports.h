/* SPDX-License-Identifier: MIT */
/* ports.h - a machine with serial ports, and what is at both ends of them
 *
 * Port N's chardev is the unix socket cN. What a socket takes before it is full is the kernel's
 * affair; BULK is more than that.
 */
#ifndef DEV_PORTS_H
#define DEV_PORTS_H

#include <sys/socket.h>

#include "tb.h"

#define ALL  (GSERIAL_F_MULTIPORT | GSERIAL_F_EMERG_WRITE)
#define BULK (2 * MiB)
/* While something is to be seen not to happen. */
#define MOMENT_MS 100

/* The device of the present test. */
extern struct gserial serial;
static inline struct gserial_port *gport(unsigned n)
{
	return &serial.port[n];
}

/* --- the machine --- */

/* The chardev of port `n`, for those that come later. */
void chardev(struct tb *t, unsigned n);
/* Ports 1 to `ports`, p1 and so on, with a console p0 at 0 if `with_console`, on vser0; started. */
void machine(struct tb *t, unsigned ports, bool with_console);
/* Open the driver; ports 1 to `ports` are there and opened by the guest, with 32 input buffers. */
void driver(struct tb *t, unsigned ports);
void driver_again(unsigned ports);

/* --- the other end --- */

int client(struct tb *t, unsigned n);
/* The same, and the guest knows. */
int client_seen(struct tb *t, unsigned n);
bool readable(int fd, int ms);
void recv_all(int fd, void *buf, size_t len);
/* As much as the socket takes; bytes. */
size_t send_some(int fd, const void *buf, size_t len);
/* A message each way. */
void talk(unsigned n, int fd);
/* Reset and an ordinary conversation, whatever was before. */
void works_again(struct tb *t, unsigned ports, unsigned n);

#endif
