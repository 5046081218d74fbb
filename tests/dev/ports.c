/* SPDX-License-Identifier: MIT */
/* ports.c - see ports.h */
#include "ports.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

struct gserial serial;

/* --- the machine --- */

void chardev(struct tb *t, unsigned n)
{
	tb_arg(t, "-chardev");
	tb_arg(t, "socket,id=c%u,path=%s/c%u,server=on,wait=off", n, t->dir, n);
}

static void port(struct tb *t, unsigned n)
{
	chardev(t, n);
	tb_arg(t, "-device");
	tb_arg(t, "virtserialport,id=p%u,chardev=c%u,nr=%u,name=port.%u", n, n, n, n);
}

static void console(struct tb *t)
{
	chardev(t, 0);
	tb_arg(t, "-device");
	tb_arg(t, "virtconsole,id=p0,chardev=c0");
}

/* Ports 1 to `ports`, with a console at 0 if `with_console`, started. */
void machine(struct tb *t, unsigned ports, bool with_console)
{
	tb_device(t, "virtio-serial-pci,id=vser0");
	if (with_console)
		console(t);
	for (unsigned n = 1; n <= ports; n++)
		port(t, n);
	tb_start(t);
}

/* Open the driver; every port is there and opened by the guest, with 32 input buffers. */
static void open_ports(unsigned ports)
{
	for (unsigned n = 1; n <= ports; n++) {
		assert_true(gserial_wait(&serial, gport(n)->there));
		gserial_control(&serial, n, GSERIAL_PORT_OPEN, 1);
		gserial_post(&serial, n, 32, 1000);
	}
}

void driver(struct tb *t, unsigned ports)
{
	gserial_open(&t->g, &serial, 0, ports + 1, ALL);
	open_ports(ports);
}

void driver_again(unsigned ports)
{
	gserial_restart(&serial, ALL);
	open_ports(ports);
}

/* --- the other end --- */

int client(struct tb *t, unsigned n)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/c%u", t->dir, n);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* The same, and the guest knows. */
int client_seen(struct tb *t, unsigned n)
{
	int fd = client(t, n);

	assert_true(gserial_wait(&serial, gport(n)->host_open));
	return fd;
}

bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

void recv_all(int fd, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n;

		assert_true(readable(fd, GUEST_WAIT_MS));
		n = recv(fd, (char *)buf + done, len - done, 0);
		assert_true(n > 0);
		done += (size_t)n;
	}
}

/* As much as the socket takes; bytes. */
size_t send_some(int fd, const void *buf, size_t len)
{
	ssize_t n = send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	return n < 0 ? 0 : (size_t)n;
}

/* A message each way. */
void talk(unsigned n, int fd)
{
	char out[3000], in[3000];

	tb_pattern(out, sizeof(out), n * 2 + (uint32_t)serial.messages);
	assert_true(gserial_write(&serial, n, out, sizeof(out), GUEST_WAIT_MS));
	recv_all(fd, in, sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	tb_pattern(out, sizeof(out), n * 2 + 1);
	assert_int_equal(send_some(fd, out, sizeof(out)), sizeof(out));
	assert_true(gserial_read(&serial, n, in, sizeof(in), GUEST_WAIT_MS));
	assert_memory_equal(in, out, sizeof(in));
}

/* Reset and an ordinary conversation, whatever was before. */
void works_again(struct tb *t, unsigned ports, unsigned n)
{
	int fd;

	driver_again(ports);
	fd = client_seen(t, n);
	talk(n, fd);
	close(fd);
	assert_true(gserial_wait(&serial, !gport(n)->host_open));
}
