/* SPDX-License-Identifier: MIT */
/* dev_serial.c - virtio-serial as a driver and as the other end of its chardevs see it
 *
 * Port N's chardev is the unix socket cN. What a socket takes before it is full is the kernel's
 * affair; BULK is more than that.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tb.h"

#define ALL  (GSERIAL_F_MULTIPORT | GSERIAL_F_EMERG_WRITE)
#define BULK (2 * MiB)
/* While something is to be seen not to happen. */
#define MOMENT_MS 100

static struct gserial serial;

/* --- the machine --- */

static void chardev(struct tb *t, unsigned n)
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
static void machine(struct tb *t, unsigned ports, bool with_console)
{
	tb_device(t, "virtio-serial-pci,id=vser0");
	if (with_console)
		console(t);
	for (unsigned n = 1; n <= ports; n++)
		port(t, n);
	tb_start(t);
}

static struct gserial_port *gport(unsigned n)
{
	return &serial.port[n];
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

static void driver(struct tb *t, unsigned ports)
{
	gserial_open(&t->g, &serial, 0, ports + 1, ALL);
	open_ports(ports);
}

static void driver_again(unsigned ports)
{
	gserial_restart(&serial, ALL);
	open_ports(ports);
}

/* --- the other end --- */

static int client(struct tb *t, unsigned n)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/c%u", t->dir, n);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* The same, and the guest knows. */
static int client_seen(struct tb *t, unsigned n)
{
	int fd = client(t, n);

	assert_true(gserial_wait(&serial, gport(n)->host_open));
	return fd;
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

static void recv_all(int fd, void *buf, size_t len)
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
static size_t send_some(int fd, const void *buf, size_t len)
{
	ssize_t n = send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	return n < 0 ? 0 : (size_t)n;
}

/* A message each way. */
static void talk(unsigned n, int fd)
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
static void works_again(struct tb *t, unsigned ports, unsigned n)
{
	int fd;

	driver_again(ports);
	fd = client_seen(t, n);
	talk(n, fd);
	close(fd);
	assert_true(gserial_wait(&serial, !gport(n)->host_open));
}

/* --- the normal path --- */

static void identity(void **state)
{
	struct tb *t = *state;
	struct gvirtio *v = &serial.v;

	machine(t, 0, false);
	gv_open(&t->g, v, GV_SERIAL, 0);
	assert_int_equal(gpci_cfg(&v->pci, 0x02, 2), 0x1043);
	assert_int_equal(gpci_cfg(&v->pci, 0x08, 4) >> 8, 0x078000);
	assert_int_equal(gv_offered(v) & 0xffff, 0x0006);
	assert_int_equal(gv_config(v, 0, 4), 0);
	assert_int_equal(gv_config(v, 4, 4), 31);
	assert_int_equal(gv_config(v, 8, 4), 0);
	assert_int_equal(gv_common(v, GV_NUM_QUEUES, 2), 64);
	assert_int_equal(v->pci.vectors, 2);
	if (!t->qemu)
		for (unsigned i = 0; i < 64; i++) {
			gv_common_set(v, GV_QSELECT, 2, i);
			assert_int_equal(gv_common(v, GV_QSIZE, 2), i == 2 || i == 3 ? 32 : 128);
		}
	tb_stop(t);
}

static void one_port(void **state)
{
	struct tb *t = *state;
	int fd;

	machine(t, 1, false);
	driver(t, 1);
	assert_true(gserial_wait(&serial, gport(1)->name[0]));
	assert_string_equal(gport(1)->name, "port.1");
	assert_false(gport(1)->console);
	assert_false(gport(1)->host_open);
	fd = client_seen(t, 1);
	talk(1, fd);
	close(fd);
	assert_true(gserial_wait(&serial, !gport(1)->host_open));
	fd = client_seen(t, 1);
	talk(1, fd);
	close(fd);
	tb_stop(t);
}

static void many_ports(void **state)
{
	struct tb *t = *state;
	const unsigned ports = GSERIAL_PORTS - 1;
	int fd[GSERIAL_PORTS];

	machine(t, ports, false);
	driver(t, ports);
	for (unsigned n = 1; n <= ports; n++)
		fd[n] = client_seen(t, n);
	for (unsigned n = ports; n >= 1; n--)
		talk(n, fd[n]);
	for (unsigned n = 1; n <= ports; n++) {
		talk(n, fd[n]);
		close(fd[n]);
	}
	tb_stop(t);
}

/* A console is there for the guest whether somebody looks or not, and never makes it wait. */
static void console_port(void **state)
{
	struct tb *t = *state;
	char *big = malloc(BULK);
	int fd;

	machine(t, 1, true);
	driver(t, 1);
	assert_true(gserial_wait(&serial, gport(0)->console && gport(0)->host_open));
	gserial_control(&serial, 0, GSERIAL_PORT_OPEN, 1);
	gserial_post(&serial, 0, 32, 1000);
	tb_pattern(big, BULK, 1);
	assert_true(gserial_write(&serial, 0, big, BULK, GUEST_WAIT_MS));
	fd = client(t, 0);
	assert_int_equal(send_some(fd, "x", 1), 1);
	assert_true(gserial_read(&serial, 0, big, 1, GUEST_WAIT_MS));
	assert_int_equal(big[0], 'x');
	talk(0, fd);
	/* The socket fills up, and the console goes on. */
	assert_true(gserial_write(&serial, 0, big, BULK, GUEST_WAIT_MS));
	close(fd);
	free(big);
	tb_stop(t);
}

/* A driver that knows no control queue has port 0. */
static void without_multiport(void **state)
{
	struct tb *t = *state;
	int fd;

	machine(t, 1, true);
	gserial_open(&t->g, &serial, 0, 1, 0);
	gserial_post(&serial, 0, 32, 1000);
	/* A console is taken, looked at or not: its client must be there before the talk. */
	fd = client(t, 0);
	assert_int_equal(send_some(fd, "x", 1), 1);
	assert_true(gserial_read(&serial, 0, &(char){0}, 1, GUEST_WAIT_MS));
	talk(0, fd);
	close(fd);
	tb_stop(t);
}

static void emergency(void **state)
{
	struct tb *t = *state;
	char text[6] = "";
	int fd;

	machine(t, 1, true);
	fd = client(t, 0);
	gv_open(&t->g, &serial.v, GV_SERIAL, 0);
	/* No driver, and the console's client is accepted meanwhile: by the time when QMP answers,
	 * all that was before it has been served. */
	tb_qmp_ok(t, "{\"execute\": \"query-chardev\"}");
	assert_true(guest_wait(&t->g,
			       (guest_store(&t->g, serial.v.config + 8, 4, '.'), readable(fd, 1))));
	for (unsigned i = 0; i < 6; i++)
		guest_store(&t->g, serial.v.config + 8, 4, (uint64_t) "Panic!"[i]);
	assert_int_equal(gv_config(&serial.v, 8, 4), 0);
	do
		recv_all(fd, text, 1);
	while (text[0] == '.');
	recv_all(fd, text + 1, 5);
	assert_memory_equal(text, "Panic!", 6);
	close(fd);
	tb_stop(t);
}

/* --- what QMP says --- */

/* The "open" of the next VSERPORT_CHANGE, which must be `id`'s. */
static bool next_change(struct tb *t, const char *id)
{
	json_t *data = tb_qmp_event_data(t, "VSERPORT_CHANGE");
	bool open = json_is_true(json_object_get(data, "open"));

	assert_string_equal(json_string_value(json_object_get(data, "id")), id);
	json_decref(data);
	return open;
}

static bool frontend_open(struct tb *t, const char *label)
{
	json_t *all = tb_qmp(t, "{\"execute\": \"query-chardev\"}"), *one;
	bool open = false;
	size_t i;

	json_array_foreach(
		all, i, one) if (!strcmp(json_string_value(json_object_get(one, "label")), label))
		open = json_is_true(json_object_get(one, "frontend-open"));
	json_decref(all);
	return open;
}

static void events(void **state)
{
	struct tb *t = *state;
	uint64_t begin;

	machine(t, 2, false);
	assert_false(frontend_open(t, "c1"));
	begin = now_ns();
	driver(t, 2);
	assert_true(next_change(t, "p1"));
	assert_true(next_change(t, "p2"));
	assert_true(frontend_open(t, "c1"));
	/* Within a second only the last one is told, and after it. */
	for (unsigned i = 0; i < 10; i++)
		gserial_control(&serial, 1, GSERIAL_PORT_OPEN, i % 2);
	gserial_control(&serial, 1, GSERIAL_PORT_OPEN, 0);
	assert_false(next_change(t, "p1"));
	assert_true(now_ns() - begin >= 1000000000);
	gserial_control(&serial, 2, GSERIAL_PORT_OPEN, 0);
	assert_false(next_change(t, "p2"));
	assert_false(frontend_open(t, "c1"));
	tb_stop(t);
}

/* --- flow control --- */

/* From the guest: a client that reads nothing stops its port, and no other one; then everything
 * arrives, once. */
static void slow_reader(void **state)
{
	struct tb *t = *state;
	char *out = malloc(BULK), *in = malloc(BULK);
	size_t sent = 0, got = 0, n;
	int fd, other;

	machine(t, 2, false);
	driver(t, 2);
	fd = client_seen(t, 1);
	other = client_seen(t, 2);
	tb_pattern(out, BULK, 7);
	while (guest_wait_ms(&t->g, MOMENT_MS,
			     (n = gserial_queue(&serial, 1, out + sent, BULK - sent, 1777))))
		sent += n;
	assert_true(sent < BULK);
	talk(2, other);
	/* Nobody waits for the client to stop and to go on. */
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	tb_qmp_ok(t, "{\"execute\": \"cont\"}");
	talk(2, other);
	while (got < BULK) {
		sent += gserial_queue(&serial, 1, out + sent, BULK - sent, 1777);
		if (!readable(fd, GUEST_WAIT_MS))
			fail_msg("%zu of %zu bytes came", got, sent);
		got += (size_t)recv(fd, in + got, MIN(BULK - got, (size_t)50000), 0);
	}
	assert_memory_equal(in, out, BULK);
	talk(1, fd);
	close(fd);
	close(other);
	free(out);
	free(in);
	tb_stop(t);
}

/* A chain of BULK bytes from the upper half of RAM, where the driver has nothing. */
static void *long_chain(struct tb *t, unsigned n)
{
	uint64_t at = guest_low_end(&t->g) / 2;
	struct gseg s[32];

	for (unsigned i = 0; i < ARRAY_SIZE(s); i++)
		s[i] = (struct gseg){at + i * (BULK / ARRAY_SIZE(s)), BULK / ARRAY_SIZE(s)};
	assert_true(gvq_add(&gport(n)->out, s, ARRAY_SIZE(s), 0, NULL) >= 0);
	gvq_kick(&gport(n)->out);
	return guest_ptr(&t->g, at, BULK);
}

/* Chains that the chardev takes in many parts, with pauses in between. */
static void long_chains(void **state)
{
	struct tb *t = *state;
	char *in = malloc(3 * BULK), *out;
	int fd, other;

	machine(t, 2, false);
	driver(t, 2);
	fd = client_seen(t, 1);
	other = client_seen(t, 2);
	tb_pattern(guest_ptr(&t->g, guest_low_end(&t->g) / 2, BULK), BULK, 11);
	for (unsigned i = 0; i < 3; i++)
		out = long_chain(t, 1);
	talk(2, other);
	for (unsigned i = 0; i < 3; i++) {
		recv_all(fd, in + (size_t)i * BULK, BULK / 2);
		tb_qmp_ok(t, "{\"execute\": \"stop\"}");
		tb_qmp_ok(t, "{\"execute\": \"cont\"}");
		recv_all(fd, in + (size_t)i * BULK + BULK / 2, BULK / 2);
		assert_memory_equal(in + (size_t)i * BULK, out, BULK);
	}
	for (unsigned i = 0; i < 3; i++)
		gvq_wait(&gport(1)->out, NULL);
	talk(1, fd);
	close(fd);
	close(other);
	free(in);
	tb_stop(t);
}

static bool connected(struct tb *t, const char *label)
{
	json_t *all = tb_qmp(t, "{\"execute\": \"query-chardev\"}"), *one;
	bool yes = false;
	size_t i;

	json_array_foreach(all, i, one)
	{
		const char *name = json_string_value(json_object_get(one, "filename"));

		if (!strcmp(json_string_value(json_object_get(one, "label")), label))
			yes = strncmp(name, "disconnected:", 13) != 0;
	}
	json_decref(all);
	return yes;
}

/* A client that leaves in the middle of a chain, and another that comes while everything stands
 * still: it gets nothing of that chain. */
static void next_client(void **state)
{
	struct tb *t = *state;
	char buf[5];
	int fd;

	tb_skip_qemu("it never returns the chain that was under way");
	machine(t, 1, false);
	driver(t, 1);
	fd = client_seen(t, 1);
	long_chain(t, 1);
	recv_all(fd, buf, sizeof(buf));
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	close(fd);
	assert_true(guest_wait(&t->g, !connected(t, "c1")));
	fd = client(t, 1);
	assert_true(guest_wait(&t->g, connected(t, "c1")));
	tb_qmp_ok(t, "{\"execute\": \"cont\"}");
	assert_true(gserial_write(&serial, 1, "fresh", 5, GUEST_WAIT_MS));
	recv_all(fd, buf, sizeof(buf));
	assert_memory_equal(buf, "fresh", sizeof(buf));
	talk(1, fd);
	close(fd);
	tb_stop(t);
}

/* To the guest: one that posts no buffers, or has not opened its port, stops the sender. */
static void slow_guest(void **state)
{
	struct tb *t = *state;
	char *out = malloc(BULK), *in = malloc(BULK);
	size_t sent = 0, n;
	int fd, other;

	machine(t, 2, false);
	gserial_open(&t->g, &serial, 0, 3, ALL);
	assert_true(gserial_wait(&serial, gport(1)->there && gport(2)->there));
	gserial_control(&serial, 2, GSERIAL_PORT_OPEN, 1);
	gserial_post(&serial, 2, 32, 1000);
	fd = client_seen(t, 1);
	other = client_seen(t, 2);
	tb_pattern(out, BULK, 8);
	while (guest_wait_ms(&t->g, MOMENT_MS, (n = send_some(fd, out + sent, BULK - sent))))
		sent += n;
	assert_true(sent < BULK);
	talk(2, other);
	gserial_control(&serial, 1, GSERIAL_PORT_OPEN, 1);
	while (guest_wait_ms(&t->g, MOMENT_MS, (n = send_some(fd, out + sent, BULK - sent))))
		sent += n;
	assert_true(sent < BULK);
	talk(2, other);
	gserial_post(&serial, 1, 100, 333);
	assert_true(gserial_read(&serial, 1, in, sent / 2, GUEST_WAIT_MS));
	n = sent / 2;
	tb_skip_qemu("it does not read again when a port is opened again");
	/* Closed in between: what is under way waits. */
	gserial_control(&serial, 1, GSERIAL_PORT_OPEN, 0);
	gserial_control(&serial, 1, GSERIAL_PORT_OPEN, 1);
	while (n < BULK) {
		size_t part = MIN(BULK - n, (size_t)10000);

		sent += send_some(fd, out + sent, BULK - sent);
		part = MIN(part, sent - n);
		assert_true(gserial_read(&serial, 1, in + n, part, GUEST_WAIT_MS));
		n += part;
	}
	assert_memory_equal(in, out, BULK);
	talk(1, fd);
	close(fd);
	close(other);
	free(out);
	free(in);
	tb_stop(t);
}

/* While a port is flooded from either side, another one is served. */
static void fairness(void **state)
{
	struct tb *t = *state;
	char *out = malloc(BULK), *drain = malloc(BULK);
	uint64_t flooded = 0;
	int fd, other;

	machine(t, 2, false);
	driver(t, 2);
	fd = client_seen(t, 1);
	other = client_seen(t, 2);
	tb_pattern(out, BULK, 9);
	for (unsigned i = 0; i < 50; i++) {
		/* As much as fits waits in the ring, and a client takes it. */
		flooded += gserial_queue(&serial, 1, out, BULK, GSERIAL_CHUNK);
		send_some(fd, out, 100000);
		talk(2, other);
		while (recv(fd, drain, BULK, MSG_DONTWAIT) > 0)
			;
	}
	assert_true(flooded > BULK);
	close(fd);
	close(other);
	free(out);
	free(drain);
	tb_stop(t);
}

/* --- nobody there, and others --- */

/* Without a client, output is dropped; one that comes in the middle of a chain's life gets none of
 * its rest. */
static void no_client(void **state)
{
	struct tb *t = *state;
	char *out = malloc(BULK);
	size_t sent = 0, n;
	int fd;

	machine(t, 1, false);
	driver(t, 1);
	tb_pattern(out, BULK, 3);
	assert_true(gserial_write(&serial, 1, out, BULK, GUEST_WAIT_MS));
	fd = client_seen(t, 1);
	talk(1, fd);
	while (guest_wait_ms(&t->g, MOMENT_MS,
			     (n = gserial_queue(&serial, 1, out + sent, BULK - sent, 4001))))
		sent += n;
	assert_true(sent < BULK);
	close(fd);
	assert_true(gserial_wait(&serial, !gport(1)->host_open));
	tb_skip_qemu("it never returns the chain that was under way");
	assert_true(gserial_write(&serial, 1, "", 0, GUEST_WAIT_MS));
	fd = client_seen(t, 1);
	talk(1, fd);
	close(fd);
	free(out);
	tb_stop(t);
}

/* A reset while both directions are stuck is over at once; the sender's bytes wait for the next
 * driver. */
static void reset_in_flight(void **state)
{
	struct tb *t = *state;
	char *out = malloc(BULK), *in = malloc(BULK);
	size_t queued = 0, sent = 0, n;
	int fd;

	machine(t, 1, false);
	gserial_open(&t->g, &serial, 0, 2, ALL);
	assert_true(gserial_wait(&serial, gport(1)->there));
	gserial_control(&serial, 1, GSERIAL_PORT_OPEN, 1);
	fd = client_seen(t, 1);
	tb_pattern(out, BULK, 4);
	while (guest_wait_ms(&t->g, MOMENT_MS,
			     (n = gserial_queue(&serial, 1, out + queued, BULK - queued, 4001))))
		queued += n;
	while (guest_wait_ms(&t->g, MOMENT_MS, (n = send_some(fd, out + sent, BULK - sent))))
		sent += n;
	gv_set_status(&serial.v, 0);
	assert_int_equal(gv_status(&serial.v), 0);
	tb_skip_qemu("it has read ahead");
	driver_again(1);
	assert_true(gserial_wait(&serial, gport(1)->host_open));
	assert_true(gserial_read(&serial, 1, in, sent, GUEST_WAIT_MS));
	assert_memory_equal(in, out, sent);
	while (readable(fd, 0) && recv(fd, in, BULK, MSG_DONTWAIT) > 0)
		;
	close(fd);
	assert_true(gserial_wait(&serial, !gport(1)->host_open));
	works_again(t, 1, 1);
	free(out);
	free(in);
	tb_stop(t);
}

/* --- ports that come and go --- */

static void hot(void **state)
{
	struct tb *t = *state;
	int fd, first;

	chardev(t, 3);
	machine(t, 1, false);
	gserial_open(&t->g, &serial, 0, 4, ALL);
	assert_true(gserial_wait(&serial, gport(1)->there));
	gserial_control(&serial, 1, GSERIAL_PORT_OPEN, 1);
	gserial_post(&serial, 1, 32, 1000);
	first = client_seen(t, 1);
	for (unsigned i = 0; i < 3; i++) {
		tb_qmp_ok(t, "{\"execute\": \"device_add\", \"arguments\": {"
			     "\"driver\": \"virtserialport\", \"id\": \"hot\", \"nr\": 3, "
			     "\"bus\": \"vser0.0\", \"chardev\": \"c3\", \"name\": \"org.hot\"}}");
		assert_true(gserial_wait(&serial, gport(3)->added == i + 1 && gport(3)->name[0]));
		assert_string_equal(gport(3)->name, "org.hot");
		gserial_control(&serial, 3, GSERIAL_PORT_OPEN, 1);
		if (!i)
			gserial_post(&serial, 3, 32, 1000);
		fd = client_seen(t, 3);
		talk(3, fd);
		talk(1, first);
		tb_qmp_ok_event(t,
				"{\"execute\": \"device_del\", \"arguments\": {\"id\": \"hot\"}}",
				"DEVICE_DELETED");
		assert_true(gserial_wait(&serial, gport(3)->removed == i + 1));
		/* Its client has been let go (QEMU keeps it), and what the guest still sends is
		 * dropped. */
		assert_true(t->qemu || readable(fd, GUEST_WAIT_MS));
		assert_true(t->qemu || recv(fd, &(char){0}, 1, 0) == 0);
		assert_true(gserial_write(&serial, 3, "late", 4, GUEST_WAIT_MS));
		close(fd);
	}
	assert_null(tb_qmp(t, "{\"execute\": \"device_del\", \"arguments\": {\"id\": \"hot\"}}"));
	assert_null(tb_qmp(t, "{\"execute\": \"device_del\", \"arguments\": {\"id\": \"vser0\"}}"));
	assert_null(tb_qmp(t, "{\"execute\": \"device_add\", \"arguments\": {"
			      "\"driver\": \"virtio-rng-pci\", \"id\": \"r\"}}"));
	assert_null(tb_qmp(t, "{\"execute\": \"device_add\", \"arguments\": {"
			      "\"driver\": \"virtserialport\", \"nr\": 1}}"));
	assert_null(tb_qmp(t, "{\"execute\": \"device_add\", \"arguments\": {"
			      "\"driver\": \"virtserialport\", \"chardev\": \"c1\"}}"));
	assert_null(tb_qmp(t, "{\"execute\": \"device_add\", \"arguments\": {"
			      "\"driver\": \"virtserialport\", \"colour\": \"red\"}}"));
	talk(1, first);
	close(first);
	tb_stop(t);
}

/* Changes that the driver has no buffers for: it hears the last state, in order, when it has. */
static void hot_unheard(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &serial.ctrl_in;
	int fd;

	tb_skip_qemu("it forgets what it has no buffer for");
	chardev(t, 2);
	machine(t, 1, false);
	driver(t, 1);
	fd = client_seen(t, 1);
	/* A control queue without buffers from here on: they are all on their way to be used. */
	gv_common_set(&serial.v, GV_QSELECT, 2, 2);
	gv_common_set(&serial.v, GV_QRESET, 2, 1);
	assert_true(guest_wait(&t->g, !gv_common(&serial.v, GV_QRESET, 2)));
	gvq_setup(&serial.v, q, 2, 0);
	for (unsigned i = 0; i < 2; i++) {
		tb_qmp_ok(t, "{\"execute\": \"device_add\", \"arguments\": {"
			     "\"driver\": \"virtserialport\", \"id\": \"hot\", \"nr\": 2}}");
		tb_qmp_ok(t, "{\"execute\": \"device_del\", \"arguments\": {\"id\": \"hot\"}}");
	}
	tb_qmp_ok(t, "{\"execute\": \"device_del\", \"arguments\": {\"id\": \"p1\"}}");
	tb_qmp_ok(t, "{\"execute\": \"device_add\", \"arguments\": {"
		     "\"driver\": \"virtserialport\", \"id\": \"again\", \"nr\": 1, "
		     "\"chardev\": \"c1\", \"name\": \"new\"}}");
	close(fd);
	fd = client(t, 1);
	gport(1)->name[0] = 0;
	for (unsigned i = 0; i < 32; i++) {
		struct gseg s = {serial.ctrl_in_at + i * GSERIAL_CTRL, GSERIAL_CTRL};

		gvq_add(q, &s, 0, 1, (void *)(uintptr_t)i);
	}
	gvq_kick(q);
	assert_true(gserial_wait(&serial, gport(1)->removed == 1 && gport(1)->added == 2 &&
						  gport(1)->there && gport(1)->host_open));
	assert_string_equal(gport(1)->name, "new");
	assert_int_equal(gport(2)->added, 0);
	assert_int_equal(gport(2)->removed, 0);
	gserial_control(&serial, 1, GSERIAL_PORT_OPEN, 1);
	talk(1, fd);
	close(fd);
	tb_stop(t);
}

/* --- a hostile driver --- */

static void hostile_control(void **state)
{
	static const struct {
		uint32_t id;
		uint16_t event, value;
	} odd[] = {
		{0xffffffff, GSERIAL_PORT_OPEN, 1}, {0xffffffff, GSERIAL_PORT_READY, 1},
		{31, GSERIAL_PORT_OPEN, 1},	    {30, GSERIAL_PORT_READY, 1},
		{0, GSERIAL_PORT_READY, 1},	    {0x80000001, GSERIAL_PORT_OPEN, 0},
		{1, GSERIAL_PORT_ADD, 1},	    {1, GSERIAL_PORT_REMOVE, 1},
		{1, GSERIAL_PORT_NAME, 1},	    {1, 0xffff, 0xffff},
		{1, GSERIAL_PORT_READY, 0},	    {0, GSERIAL_DEVICE_READY, 0},
		{1, GSERIAL_PORT_OPEN, 0x8000},
	};
	struct tb *t = *state;
	struct gseg s;
	int fd;

	machine(t, 1, false);
	driver(t, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++)
		gserial_send_control(&serial, &odd[i], 8);
	for (uint32_t len = 1; len < 8; len++)
		gserial_send_control(&serial, &odd[0], len);
	/* A message in the middle of a long chain; only its head counts. */
	s = (struct gseg){serial.ctrl_out_at, 4096};
	assert_true(gvq_add(&serial.ctrl_out, &s, 1, 0, NULL) >= 0);
	gvq_kick(&serial.ctrl_out);
	assert_int_equal(gvq_wait(&serial.ctrl_out, NULL), 0);
	/* Writable where readable is meant. */
	assert_true(gvq_add(&serial.ctrl_out, &s, 0, 1, NULL) >= 0);
	gvq_kick(&serial.ctrl_out);
	assert_int_equal(gvq_wait(&serial.ctrl_out, NULL), 0);
	fd = client_seen(t, 1);
	talk(1, fd);
	close(fd);
	works_again(t, 1, 1);
	tb_stop(t);
}

/* Control buffers that are too short, and readable ones, are used up; the messages survive. */
static void hostile_control_buffers(void **state)
{
	struct tb *t = *state;
	struct gvq *q = &serial.ctrl_in;
	int fd;

	tb_skip_qemu("it truncates, and forgets");
	machine(t, 1, false);
	driver(t, 1);
	gv_common_set(&serial.v, GV_QSELECT, 2, 2);
	gv_common_set(&serial.v, GV_QRESET, 2, 1);
	assert_true(guest_wait(&t->g, !gv_common(&serial.v, GV_QRESET, 2)));
	gvq_setup(&serial.v, q, 2, 0);
	for (unsigned i = 0; i < 30; i++) {
		struct gseg s = {serial.ctrl_in_at + i * GSERIAL_CTRL, 1 + i % 7};

		gvq_add(q, &s, i % 5 == 0, i % 5 != 0, (void *)(uintptr_t)i);
	}
	gvq_kick(q);
	fd = client(t, 1);
	for (unsigned i = 0; i < 30; i++)
		assert_int_equal(gvq_wait(q, NULL), 0);
	assert_false(gport(1)->host_open);
	for (unsigned i = 0; i < 32; i++) {
		struct gseg s = {serial.ctrl_in_at + i * GSERIAL_CTRL, GSERIAL_CTRL};

		gvq_add(q, &s, 0, 1, (void *)(uintptr_t)i);
	}
	gvq_kick(q);
	assert_true(gserial_wait(&serial, gport(1)->host_open));
	talk(1, fd);
	close(fd);
	works_again(t, 1, 1);
	tb_stop(t);
}

/* The same messages again and again cost as much as one. */
static void hostile_flood(void **state)
{
	struct tb *t = *state;
	int fd;

	machine(t, 2, false);
	driver(t, 2);
	for (unsigned i = 0; i < 2000; i++) {
		gserial_control(&serial, 0, GSERIAL_DEVICE_READY, 1);
		gserial_control(&serial, 1, GSERIAL_PORT_READY, 1);
		gserial_control(&serial, 1, GSERIAL_PORT_OPEN, i & 1);
	}
	assert_true(gserial_wait(&serial, gport(1)->added > 1));
	fd = client_seen(t, 2);
	talk(2, fd);
	close(fd);
	works_again(t, 2, 1);
	tb_stop(t);
}

/* Chains that no driver makes: nothing in them, all of memory in them, the wrong direction. */
static void hostile_chains(void **state)
{
	struct tb *t = *state;
	struct gserial_port *p = gport(1);
	struct gseg s[16];
	char *in = malloc(BULK);
	uint64_t size = guest_low_end(&t->g), total = 0;
	int fd, other;

	machine(t, 2, false);
	driver(t, 2);
	fd = client_seen(t, 1);
	other = client_seen(t, 2);
	size = guest_low_end(&t->g) / 2;
	for (unsigned i = 0; i < ARRAY_SIZE(s); i++)
		s[i] = (struct gseg){size, (uint32_t)size};
	tb_pattern(guest_ptr(&t->g, size, 4096), 4096, 5);
	/* 512 MiB from the upper half of RAM: it arrives in pieces, and others are served. */
	assert_true(gvq_add(&p->out, s, ARRAY_SIZE(s), 0, NULL) >= 0);
	gvq_kick(&p->out);
	recv_all(fd, in, 4096);
	assert_memory_equal(in, guest_ptr(&t->g, size, 4096), 4096);
	for (total = 4096; total < 32 * MiB;) {
		ssize_t n = recv(fd, in, BULK, 0);

		assert_true(n > 0);
		total += (uint64_t)n;
	}
	talk(2, other);
	close(fd);
	assert_true(gserial_wait(&serial, !p->host_open));
	tb_skip_qemu("it never returns the chain that was under way");
	gvq_wait(&p->out, NULL);
	/* Written where read is meant, and the other way round. */
	s[0] = (struct gseg){p->out_at, 64};
	assert_true(gvq_add(&p->out, s, 0, 1, NULL) >= 0);
	gvq_kick(&p->out);
	fd = client_seen(t, 1);
	assert_int_equal(gvq_wait(&p->out, NULL), 0);
	talk(1, fd);
	assert_true(gvq_add(&p->in, s, 1, 0, (void *)(uintptr_t)33) >= 0);
	gvq_kick(&p->in);
	talk(1, fd);
	close(fd);
	assert_true(gserial_wait(&serial, !p->host_open));
	works_again(t, 2, 1);
	close(other);
	free(in);
	tb_stop(t);
}

/* 1024 descriptors of one byte: a chain costs what its bytes do. */
static void small_pieces(void **state)
{
	struct tb *t = *state;
	struct gserial_port *p = gport(1);
	struct gseg s[GVQ_INDIRECT];
	char in[64 * GVQ_INDIRECT], out[64 * GVQ_INDIRECT];
	int fd;

	machine(t, 1, false);
	driver(t, 1);
	fd = client_seen(t, 1);
	tb_pattern(out, sizeof(out), 6);
	memcpy(guest_ptr(&t->g, p->out_at, sizeof(out)), out, sizeof(out));
	for (unsigned i = 0; i < 64; i++) {
		for (unsigned k = 0; k < GVQ_INDIRECT; k++)
			s[k] = (struct gseg){p->out_at + i * GVQ_INDIRECT + k, 1};
		assert_true(gvq_add(&p->out, s, GVQ_INDIRECT, 0, NULL) >= 0);
	}
	gvq_kick(&p->out);
	recv_all(fd, in, sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	close(fd);
	tb_stop(t);
}

/* Break queue `q`; the device says so, and a reset repairs it. */
static void broken_by(struct tb *t, struct gvq *q)
{
	if (q->packed) {
		/* A table within a table makes no sense. */
		uint64_t table = guest_alloc(&t->g, 4096, 4096);
		struct gv_packed *d = guest_ptr(&t->g, table, 32);

		*d = (struct gv_packed){table, 16, 0, GV_DESC_INDIRECT};
		gvq_place(q, table, 16, gvq_available(q, GV_DESC_INDIRECT), 0);
	} else {
		gvq_push_head(q, q->size + 1000);
		gvq_publish(q, q->avail_idx);
	}
	gvq_ring(q);
	assert_true(gv_wait_broken(&serial.v));
	works_again(t, 1, 1);
}

static void hostile_rings(void **state)
{
	struct tb *t = *state;

	tb_skip_qemu("it ends, or goes on");
	machine(t, 1, false);
	driver(t, 1);
	broken_by(t, &gport(1)->out);
	broken_by(t, &serial.ctrl_out);
	tb_stop(t);
}

/* The emergency register as fast as a guest can: the rest of the machine goes on. */
static void hostile_emergency(void **state)
{
	struct tb *t = *state;
	int fd, other;
	char c;

	machine(t, 1, true);
	driver(t, 1);
	fd = client(t, 0);
	other = client_seen(t, 1);
	for (unsigned i = 0; i < 20000; i++)
		guest_store_async(&t->g, serial.v.config + 8, 4, 'x');
	guest_sync(&t->g);
	recv_all(fd, &c, 1);
	assert_int_equal(c, 'x');
	talk(1, other);
	close(fd);
	close(other);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(identity),
		tb_test(one_port),
		tb_test(many_ports),
		tb_test(console_port),
		tb_test(emergency),
		tb_test(events),
		tb_test(without_multiport),
		tb_test(slow_reader),
		tb_test(long_chains),
		tb_test(next_client),
		tb_test(slow_guest),
		tb_test(fairness),
		tb_test(no_client),
		tb_test(reset_in_flight),
		tb_test(hot),
		tb_test(hot_unheard),
		tb_test(hostile_control),
		tb_test(hostile_control_buffers),
		tb_test(hostile_flood),
		tb_test(hostile_chains),
		tb_test(small_pieces),
		tb_test(hostile_rings),
		tb_test(hostile_emergency),
	};

	return tb_run("serial", tests);
}
