/* SPDX-License-Identifier: MIT */
/* dev_serial.c - virtio-serial as a driver and as the other end of its chardevs see it
 *
 * Ports that come and go and a hostile driver are in dev_serial_hostile.c.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "ports.h"

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

	json_array_foreach (all, i, one)
		if (!strcmp(json_string_value(json_object_get(one, "label")), label))
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

/* --- small pieces --- */

#define PIECES	  64
#define PIECE_LEN 60

/* One port on that chardev, and PIECES buffers given at once. */
static void send_pieces(struct tb *t, const char *backend, char out[PIECES * PIECE_LEN])
{
	tb_device(t, "virtio-serial-pci,id=vser0");
	tb_arg(t, "-chardev");
	tb_arg(t, "%s,id=c1", backend);
	tb_device(t, "virtserialport,chardev=c1,nr=1,name=org.test.1");
	tb_start(t);
	driver(t, 1);
	assert_true(gserial_wait(&serial, gport(1)->host_open));
	tb_pattern(out, PIECES * PIECE_LEN, 5);
}

/* How often the device model has called write() so far. */
static unsigned long writes(struct tb *t)
{
	char path[64], line[64];
	unsigned long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/io", t->g.pid);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) && sscanf(line, "syscw: %lu", &n) != 1) {}
	fclose(f);
	return n;
}

/* They are written together, whole and in order. */
static void pieces_together(void **state)
{
	static char out[PIECES * PIECE_LEN], in[sizeof(out) + 1];
	struct tb *t = *state;
	char path[64], backend[128];
	unsigned long before;
	struct stat st = {0};
	int fd;

	tb_skip_qemu("it writes each by itself");
	snprintf(path, sizeof(path), "%s/out", t->dir);
	snprintf(backend, sizeof(backend), "file,path=%s", path);
	send_pieces(t, backend, out);
	before = writes(t);
	assert_int_equal(gserial_queue(&serial, 1, out, sizeof(out), PIECE_LEN), sizeof(out));
	assert_true(guest_wait(&t->g, stat(path, &st) == 0 && st.st_size == sizeof(out)));
	assert_in_range(writes(t) - before, 2, 16);
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, in, sizeof(in)), sizeof(out));
	assert_memory_equal(in, out, sizeof(out));
	close(fd);
	unlink(path);
	tb_stop(t);
}

/* But each is a datagram where the other end sees that. */
static void pieces_apart(void **state)
{
	static char out[PIECES * PIECE_LEN], in[sizeof(out)];
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	struct tb *t = *state;
	char backend[64];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	snprintf(backend, sizeof(backend), "udp,host=127.0.0.1,port=%u", ntohs(sa.sin_port));
	send_pieces(t, backend, out);
	assert_int_equal(gserial_queue(&serial, 1, out, sizeof(out), PIECE_LEN), sizeof(out));
	for (unsigned i = 0; i < PIECES; i++) {
		assert_true(readable(fd, GUEST_WAIT_MS));
		assert_int_equal(recv(fd, in, sizeof(in), 0), PIECE_LEN);
		assert_memory_equal(in, out + i * PIECE_LEN, PIECE_LEN);
	}
	close(fd);
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

	json_array_foreach (all, i, one) {
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

/* A sender that leaves before the guest looks: the guest gets all of it, then hears that nobody is
 * there. */
static void sender_leaves(void **state)
{
	struct tb *t = *state;
	char out[10000], in[10000];
	int fd;

	tb_skip_qemu("it drops what the guest has not read when the client leaves");
	machine(t, 1, false);
	gserial_open(&t->g, &serial, 0, 2, ALL);
	assert_true(gserial_wait(&serial, gport(1)->there));
	fd = client_seen(t, 1);
	tb_pattern(out, sizeof(out), 12);
	assert_int_equal(send_some(fd, out, sizeof(out)), sizeof(out));
	close(fd);
	gserial_control(&serial, 1, GSERIAL_PORT_OPEN, 1);
	gserial_post(&serial, 1, 1, 100);
	assert_true(gserial_read(&serial, 1, in, sizeof(in), GUEST_WAIT_MS));
	assert_memory_equal(in, out, sizeof(in));
	assert_true(gserial_wait(&serial, !gport(1)->host_open));
	fd = client_seen(t, 1);
	talk(1, fd);
	close(fd);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(identity),     tb_test(one_port),	   tb_test(many_ports),
		tb_test(console_port), tb_test(without_multiport), tb_test(emergency),
		tb_test(events),       tb_test(slow_reader),	   tb_test(long_chains),
		tb_test(next_client),  tb_test(slow_guest),	   tb_test(sender_leaves),
		tb_test(fairness),     tb_test(no_client),	   tb_test(pieces_together),
		tb_test(pieces_apart),
	};

	return tb_run("serial", tests);
}
