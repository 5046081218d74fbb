/* SPDX-License-Identifier: MIT */
/* dev_serial_hostile.c - virtio-serial: ports that come and go, resets in flight, and a driver that
 * breaks the rules
 */
#include "ports.h"

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

/* The tree of devices shows what sits on which bus. */
static void tree(void **state)
{
	struct tb *t = *state;
	const char *text;
	json_t *r;

	machine(t, 1, true);
	r = tb_qmp(t, "{\"execute\": \"human-monitor-command\", \"arguments\": {"
		      "\"command-line\": \"info qtree\"}}");
	text = strstr(json_string_value(r), "bus: vser0.0");
	assert_non_null(text);
	assert_non_null(strstr(text, "dev: virtconsole, id \"p0\""));
	assert_non_null(strstr(text, "dev: virtserialport, id \"p1\""));
	json_decref(r);
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

/* Chains of pieces of one byte each. */
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

/* The emergency register as fast as a guest can: it gets its share, the rest of the machine goes
 * on. */
static void hostile_emergency(void **state)
{
	struct tb *t = *state;
	uint64_t begin, periods, got = 0;
	char buf[4096];
	int fd, other;
	ssize_t n;

	machine(t, 1, true);
	driver(t, 1);
	fd = client(t, 0);
	other = client_seen(t, 1);
	begin = now_ns();
	/* A socket takes few hundred messages of one byte. */
	for (unsigned i = 0; i < 400; i++) {
		for (unsigned k = 0; k < 100; k++)
			guest_store_async(&t->g, serial.v.config + 8, 4, 'x');
		guest_sync(&t->g);
		while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
			got += (uint64_t)n;
	}
	/* A period may have begun before the first and another after the last. */
	periods = (now_ns() - begin) / 100000000 + 2;
	assert_true(got > 0);
	assert_true(t->qemu || got <= periods * 4096);
	talk(1, other);
	close(fd);
	close(other);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(reset_in_flight),
		tb_test(hot),
		tb_test(tree),
		tb_test(hot_unheard),
		tb_test(hostile_control),
		tb_test(hostile_control_buffers),
		tb_test(hostile_flood),
		tb_test(hostile_chains),
		tb_test(small_pieces),
		tb_test(hostile_rings),
		tb_test(hostile_emergency),
	};

	return tb_run("serial, hostile", tests);
}
