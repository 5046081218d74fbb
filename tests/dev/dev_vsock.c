/* SPDX-License-Identifier: MIT */
/* dev_vsock.c - virtio-vsock as a driver sees it, and as programs of the host see it: the normal
 * path */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "vsocks.h"

/* --- connections --- */

static void identity(void **state)
{
	struct tb *t = *state;
	struct stat st;
	char path[80];

	vs_start(t);
	assert_int_equal(gpci_cfg(&vs.s.v.pci, 0x08, 4) >> 8, 0x078000);
	assert_int_equal(gv_common(&vs.s.v, GV_NUM_QUEUES, 2), 3);
	assert_int_equal(vs.s.cid, VS_CID);
	assert_true(vs.s.v.features & GVSOCK_F_SEQPACKET);
	assert_int_equal(vs.s.rx.size, 128);
	assert_int_equal(vs.s.tx.size, 128);
	assert_int_equal(vs.s.event.size, 128);
	snprintf(path, sizeof(path), "%s.seqpacket", vs.path);
	assert_int_equal(stat(vs.path, &st), 0);
	assert_int_equal(stat(path, &st), 0);
	vs_works();
	tb_stop(t);
	assert_int_equal(stat(vs.path, &st), -1);
	assert_int_equal(stat(path, &st), -1);
}

static void guest_connects(struct tb *t, unsigned type)
{
	struct gvconn c;
	int listener, fd;

	vs_start(t);
	listener = vs_serve(type, 80);
	fd = vs_to_host(&c, type, listener, 80);
	assert_int_equal(c.peer_alloc, VS_BUFFER);
	vs_exchange(&c, fd, VS_BULK);
	vs_guest_close(&c, fd);
	fd = vs_to_host(&c, type, listener, 80);
	vs_exchange(&c, fd, VS_BULK / 8);
	vs_host_close(&c, fd);
	close(listener);
	vs_silence();
	tb_stop(t);
}

static void host_connects(struct tb *t, unsigned type)
{
	struct gvconn c;
	int fd;

	vs_start(t);
	fd = vs_from_host(&c, type, 1234);
	assert_int_equal(c.peer_alloc, VS_BUFFER);
	vs_exchange(&c, fd, VS_BULK);
	vs_guest_close(&c, fd);
	fd = vs_from_host(&c, type, 1234);
	vs_exchange(&c, fd, VS_BULK / 8);
	vs_host_close(&c, fd);
	vs_silence();
	tb_stop(t);
}

static void stream_to_host(void **state)
{
	guest_connects(*state, GVSOCK_STREAM);
}

static void stream_from_host(void **state)
{
	host_connects(*state, GVSOCK_STREAM);
}

static void seqpacket_to_host(void **state)
{
	guest_connects(*state, GVSOCK_SEQPACKET);
}

static void seqpacket_from_host(void **state)
{
	host_connects(*state, GVSOCK_SEQPACKET);
}

/* On a thread of its own; with resets while data is on its way. */
static void on_iothread(void **state)
{
	struct tb *t = *state;
	struct gvconn c;
	int fd;

	tb_arg(t, "-object");
	tb_arg(t, "iothread,id=io0");
	vs_start_with(t, ",iothread=io0", VS_RX_LEN, 0);
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
	vs_exchange(&c, fd, VS_BULK);
	vs_host_close(&c, fd);
	for (unsigned i = 0; i < 20; i++) {
		uint8_t data[5000] = {0};

		fd = vs_from_host(&c, GVSOCK_STREAM, 5);
		vs_host_send(fd, data, sizeof(data));
		gvsock_say(&c, GVSOCK_RW, 0, data, sizeof(data));
		gvsock_restart(&vs.s, GV_F_RING, 0);
		vs_host_wants(fd, data, sizeof(data));
		assert_true(recv(fd, data, 1, 0) <= 0);
		close(fd);
	}
	vs_works_again();
	tb_stop(t);
}

/* What a client sends behind its line, at once or in pieces, is the guest's. */
static void hello_in_pieces(void **state)
{
	static const char text[] = "cONNECT 77\nearly bird";
	struct tb *t = *state;
	struct gvconn c;
	char buf[32];
	int fd;

	vs_start(t);
	for (unsigned step = 1; step < 30; step += 7) {
		fd = vs_client(GVSOCK_STREAM);
		for (unsigned at = 0; at < sizeof(text) - 1; at += step) {
			vs_host_send(fd, text + at, MIN(step, sizeof(text) - 1 - at));
			guest_load(&t->g, vs.s.v.common, 4);
		}
		gvsock_accept(&vs.s, &c, GVSOCK_STREAM, 77);
		assert_int_equal(gvsock_read(&c, buf, 10), 10);
		assert_memory_equal(buf, "early bird", 10);
		vs_host_close(&c, fd);
	}
	vs_silence();
	tb_stop(t);
}

static void hello_wrong(void **state)
{
	static const char *const bad[] = {
		"GET / HTTP/1.1\r\n",
		"CONNECT\n",
		"CONNECT x\n",
		"CONNECT -1\n",
		"CONNECT 4294967295\n",
		"CONNECT 99999999999\n",
		"\n",
		"CONNECT 1 2\n",
		"CONNECT 0000000000000000000000000000000000000001\n",
	};
	struct tb *t = *state;
	int fd;

	vs_start(t);
	for (unsigned type = GVSOCK_STREAM; type <= GVSOCK_SEQPACKET; type++) {
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
			struct pollfd p;
			char byte;

			fd = vs_client(type);
			vs_host_send(fd, bad[i], strlen(bad[i]));
			p = (struct pollfd){.fd = fd, .events = POLLIN};
			assert_int_equal(poll(&p, 1, GUEST_WAIT_MS), 1);
			assert_true(recv(fd, &byte, 1, 0) <= 0);
			close(fd);
		}
	}
	fd = vs_client(GVSOCK_STREAM);
	vs_host_send(fd, "CONN", 4);
	close(fd);
	vs_silence();
	vs_works();
	tb_stop(t);
}

static void refused(void **state)
{
	struct tb *t = *state;
	struct sockaddr_un sa;
	struct gvsock_hdr h;
	struct gvconn c;
	int fd;

	vs_start(t);
	assert_false(gvsock_connect(&vs.s, &c, GVSOCK_STREAM, 1, 80));
	vs_address(&sa, "_81");
	fd = open(sa.sun_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_false(gvsock_connect(&vs.s, &c, GVSOCK_STREAM, 1, 81));
	close(fd);
	/* A stream socket for a seqpacket one, and the other way round. */
	fd = vs_serve(GVSOCK_STREAM, 82);
	assert_false(gvsock_connect(&vs.s, &c, GVSOCK_SEQPACKET, 1, 82));
	close(fd);
	assert_false(gvsock_connect(&vs.s, &c, GVSOCK_STREAM, 1, UINT32_MAX));
	/* By the guest: the client's end of file, without an OK. */
	fd = vs_client(GVSOCK_STREAM);
	vs_host_send(fd, "CONNECT 9\n", 10);
	assert_int_equal(gvsock_get(&vs.s, &h, NULL, 0, GUEST_WAIT_MS), 0);
	assert_int_equal(h.op, GVSOCK_REQUEST);
	c = (struct gvconn){.s = &vs.s, .type = h.type, .port = 9, .host_port = h.src_port};
	gvsock_say(&c, GVSOCK_RST, 0, NULL, 0);
	vs_host_wants_end(fd);
	close(fd);
	vs_works();
	tb_stop(t);
}

/* A guest that does not answer: the client is told after two seconds, and so is the guest. Where
 * there is no driver, only the client. */
static void no_answer(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	uint64_t begin;
	int fd;

	vs_start(t);
	fd = vs_client(GVSOCK_STREAM);
	begin = now_ns();
	vs_host_send(fd, "CONNECT 9\n", 10);
	assert_int_equal(gvsock_get(&vs.s, &h, NULL, 0, GUEST_WAIT_MS), 0);
	assert_int_equal(h.op, GVSOCK_REQUEST);
	vs_host_wants_end(fd);
	assert_in_range((now_ns() - begin) / 1000000, 1900, 8000);
	close(fd);
	assert_int_equal(gvsock_get(&vs.s, &h, NULL, 0, GUEST_WAIT_MS), 0);
	assert_int_equal(h.op, GVSOCK_RST);
	gv_reset(&vs.s.v);
	fd = vs_client(GVSOCK_STREAM);
	vs_host_send(fd, "CONNECT 9\n", 10);
	vs_host_wants_end(fd);
	close(fd);
	vs_works_again();
	tb_stop(t);
}

/* --- shutdown --- */

static void guest_shuts_down(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gvconn c;
	char buf[8];
	int fd;

	vs_start(t);
	/* It will send no more: end of file for the host, which still sends. */
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
	gvsock_say(&c, GVSOCK_RW, 0, "last", 4);
	gvsock_say(&c, GVSOCK_SHUTDOWN, GVSOCK_NO_SEND, NULL, 0);
	vs_host_wants(fd, "last", 4);
	vs_host_wants_end(fd);
	vs_host_send(fd, "answer", 6);
	assert_int_equal(gvsock_read(&c, buf, 6), 6);
	close(fd);
	assert_true(gvsock_hear(&c, &h, NULL, 0, GUEST_WAIT_MS) == 0);
	assert_int_equal(h.op, GVSOCK_SHUTDOWN);
	gvsock_say(&c, GVSOCK_SHUTDOWN, GVSOCK_NO_RECV | GVSOCK_NO_SEND, NULL, 0);
	do {
		assert_true(gvsock_hear(&c, &h, NULL, 0, GUEST_WAIT_MS) == 0);
	} while (h.op == GVSOCK_SHUTDOWN);
	assert_int_equal(h.op, GVSOCK_RST);
	/* It will receive no more: the host cannot send, but still gets. */
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
	gvsock_say(&c, GVSOCK_SHUTDOWN, GVSOCK_NO_RECV, NULL, 0);
	assert_true(guest_wait(&t->g, send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0));
	gvsock_say(&c, GVSOCK_RW, 0, "still", 5);
	vs_host_wants(fd, "still", 5);
	vs_guest_close(&c, fd);
	vs_works();
	tb_stop(t);
}

static void host_shuts_down(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gvconn c;
	char buf[8];
	int fd;

	vs_start(t);
	for (unsigned type = GVSOCK_STREAM; type <= GVSOCK_SEQPACKET; type++) {
		fd = vs_from_host(&c, type, 5);
		vs_host_send(fd, "last", 4);
		shutdown(fd, SHUT_WR);
		assert_int_equal(gvsock_read(&c, buf, 4), 4);
		gvsock_expect(&c, GVSOCK_SHUTDOWN, &h);
		assert_int_equal(h.flags, GVSOCK_NO_SEND);
		gvsock_say(&c, GVSOCK_RW, GVSOCK_EOM, "answer", 6);
		vs_host_wants(fd, "answer", 6);
		vs_guest_close(&c, fd);
	}
	vs_works();
	tb_stop(t);
}

/* The guest has closed, and its last data is not lost on a slow reader. */
static void tail_of_data(void **state)
{
	struct tb *t = *state;
	uint8_t *data = malloc(VS_BUFFER);
	struct gvsock_hdr h;
	struct gvconn c;
	size_t sent = 0;
	int fd;

	vs_start(t);
	tb_pattern(data, VS_BUFFER, 7);
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
	while (gvsock_credit(&c) || gvsock_hear(&c, &h, NULL, 0, VS_SETTLE_MS) >= 0) {
		uint32_t part = MIN(gvsock_credit(&c), 4096);

		if (part)
			gvsock_say(&c, GVSOCK_RW, 0, data + sent % VS_BUFFER, part);
		sent += part;
		assert_int_equal(sent % 4096, 0);
	}
	gvsock_say(&c, GVSOCK_SHUTDOWN, GVSOCK_NO_RECV | GVSOCK_NO_SEND, NULL, 0);
	gvsock_expect(&c, GVSOCK_RST, NULL);
	/* Its ports are free again, the old connection does not mix with a new one. */
	gvsock_say(&c, GVSOCK_RW, 0, "x", 1);
	gvsock_expect(&c, GVSOCK_RST, NULL);
	gvsock_restart(&vs.s, GV_F_RING, 0);
	for (size_t got = 0; got < sent; got += 4096)
		vs_host_wants(fd, data + got % VS_BUFFER, MIN(4096, sent - got));
	vs_host_wants_end(fd);
	close(fd);
	free(data);
	vs_works();
	tb_stop(t);
}

/* The guest has closed without reading all that the host sent: the host gets the guest's last data
 * and the end, no error. So with what the socket took at once, and with what waits for it. */
static void guest_closes_unread(void **state)
{
	struct tb *t = *state;
	uint8_t data[32768];
	struct gvsock_hdr h;
	struct gvconn c;

	vs_start(t);
	tb_pattern(data, sizeof(data), 9);
	for (unsigned type = GVSOCK_STREAM; type <= GVSOCK_SEQPACKET; type++) {
		for (unsigned n = 1; n <= 10; n += 9) {
			int fd = vs_from_host(&c, type, 5);

			c.alloc = 0;
			gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
			vs_host_send(fd, data, sizeof(data));
			gvsock_expect(&c, GVSOCK_CREDIT_REQUEST, NULL);
			vs_host_send(fd, "", 0);
			vs_host_send(fd, "unread", 6);
			for (unsigned i = 0; i < n; i++)
				gvsock_say(&c, GVSOCK_RW, GVSOCK_EOM, data, sizeof(data));
			gvsock_say(&c, GVSOCK_SHUTDOWN, GVSOCK_NO_RECV | GVSOCK_NO_SEND, NULL, 0);
			do {
				assert_true(gvsock_hear(&c, &h, NULL, 0, GUEST_WAIT_MS) >= 0);
			} while (h.op == GVSOCK_CREDIT_UPDATE);
			assert_int_equal(h.op, GVSOCK_RST);
			for (unsigned i = 0; i < n; i++)
				vs_host_wants(fd, data, sizeof(data));
			vs_host_wants_end(fd);
			close(fd);
		}
	}
	vs_works();
	tb_stop(t);
}

/* The host has closed without reading all that the guest sent. What it sent itself before is not
 * lost on a guest that had no room for it, or for a part of a message. */
static void tail_of_messages(void **state)
{
	struct tb *t = *state;
	uint8_t data[9000], buf[9000];
	struct gvsock_hdr h;
	struct gvconn c;
	uint32_t got;
	int fd;

	vs_start(t);
	tb_pattern(data, sizeof(data), 8);
	for (uint32_t room = 0; room <= 7000; room += 7000) {
		fd = vs_from_host(&c, GVSOCK_SEQPACKET, 5);
		gvsock_say(&c, GVSOCK_RW, GVSOCK_EOM, "unread", 6);
		c.alloc = room;
		gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
		vs_host_send(fd, data, 3000);
		vs_host_send(fd, data + 3000, 6000);
		vs_host_send(fd, data, 0);
		vs_host_send(fd, "end", 3);
		got = room ? gvsock_read(&c, buf, 3000) : 0;
		if (room)
			got += (uint32_t)gvsock_hear(&c, &h, buf + got, 4000, GUEST_WAIT_MS);
		assert_int_equal(got, room);
		gvsock_expect(&c, GVSOCK_CREDIT_REQUEST, NULL);
		close(fd);
		c.alloc = GVSOCK_ALLOC;
		c.fwd = got;
		gvsock_say(&c, GVSOCK_CREDIT_UPDATE, 0, NULL, 0);
		if (!room)
			got = gvsock_read(&c, buf, 3000);
		assert_int_equal(gvsock_read(&c, buf + got, 6000), sizeof(data) - got);
		assert_memory_equal(buf, data, sizeof(data));
		assert_int_equal(gvsock_read(&c, buf, 4), 3);
		do {
			gvsock_expect(&c, GVSOCK_SHUTDOWN, &h);
		} while (h.flags != (GVSOCK_NO_RECV | GVSOCK_NO_SEND));
		gvsock_say(&c, GVSOCK_RST, 0, NULL, 0);
	}
	vs_works();
	tb_stop(t);
}

/* The host has closed, and the guest does not react: it is over after eight seconds. */
static void no_reaction(void **state)
{
	struct tb *t = *state;
	struct gvsock_hdr h;
	struct gvconn c;
	uint64_t begin;
	int fd;

	vs_start(t);
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
	close(fd);
	begin = now_ns();
	do {
		gvsock_expect(&c, GVSOCK_SHUTDOWN, &h);
	} while (h.flags != (GVSOCK_NO_RECV | GVSOCK_NO_SEND));
	assert_true(guest_wait_ms(&t->g, 12000, vs_used(&vs.s.rx)));
	gvsock_expect(&c, GVSOCK_RST, NULL);
	assert_in_range((now_ns() - begin) / 1000000, 7900, 12000);
	vs_works();
	tb_stop(t);
}

/* --- reset, pause --- */

static void reset_in_flight(void **state)
{
	struct tb *t = *state;
	static uint8_t data[MiB];
	struct gvconn c;
	int fd, waiting;

	vs_start(t);
	for (unsigned i = 0; i < 10; i++) {
		fd = vs_from_host(&c, GVSOCK_STREAM, 5);
		waiting = vs_client(GVSOCK_STREAM);
		vs_host_send(waiting, "CONNECT 6\n", 10);
		fcntl(fd, F_SETFL, O_NONBLOCK);
		assert_true(send(fd, data, sizeof(data), MSG_NOSIGNAL) > 0);
		for (unsigned k = 0; k < 4; k++)
			gvsock_say(&c, GVSOCK_RW, 0, data, 20000);
		gvsock_restart(&vs.s, GV_F_RING, 0);
		while (recv(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
			;
		assert_true(
			guest_wait(&t->g, send(fd, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE));
		close(fd);
		vs_host_wants_end(waiting);
		close(waiting);
		/* Nothing of it is known any more. */
		gvsock_say(&c, GVSOCK_RW, 0, data, 1);
		gvsock_expect(&c, GVSOCK_RST, NULL);
	}
	vs_works_again();
	tb_stop(t);
}

/* While QMP says stop, data waits. */
static void paused(void **state)
{
	struct tb *t = *state;
	struct gvconn c;
	char buf[8];
	int fd;

	vs_start(t);
	fd = vs_from_host(&c, GVSOCK_STREAM, 5);
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
	vs_host_send(fd, "waits", 5);
	vs_silence();
	tb_qmp_ok(t, "{\"execute\": \"cont\"}");
	assert_int_equal(gvsock_read(&c, buf, 5), 5);
	vs_guest_close(&c, fd);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(identity),	    tb_test(stream_to_host),	  tb_test(stream_from_host),
		tb_test(seqpacket_to_host), tb_test(seqpacket_from_host), tb_test(on_iothread),
		tb_test(hello_in_pieces),   tb_test(hello_wrong),	  tb_test(refused),
		tb_test(no_answer),	    tb_test(guest_shuts_down),	  tb_test(host_shuts_down),
		tb_test(tail_of_data),	    tb_test(guest_closes_unread), tb_test(tail_of_messages),
		tb_test(no_reaction),	    tb_test(reset_in_flight),	  tb_test(paused),
	};

	return tb_run("vsock", tests);
}
