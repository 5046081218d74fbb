/* SPDX-License-Identifier: MIT */
/* dev_quiet.c - a device that takes nothing does not look all the time whether there is something
 *
 * Whatever the outside sends while a queue is stopped, reset or not there yet: the loops turn a few
 * times and sleep. Turns are counted (count_turns.c) while the monitor answers some commands, which
 * themselves cost a few turns each; a descriptor that is reported for ever costs thousands.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cable.h"
#include "ports.h"
#include "vsocks.h"

#define COMMANDS 200
#define SLACK	 100 /* turns for what has really happened */

static uint64_t *turns;

/* Before the device model starts. */
static void count_turns(struct tb *t)
{
#ifndef COUNT_TURNS
	print_message("a sanitizer does not let itself be preloaded\n");
	skip();
#else
	int fd = memfd_create("turns", MFD_CLOEXEC);
	char path[64];

	tb_skip_qemu("it has loops of another kind");
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	turns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(turns, MAP_FAILED);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	setenv("COUNT_TURNS", path, 1);
	setenv("LD_PRELOAD", COUNT_TURNS, 1);
#endif
}

static void stop(struct tb *t)
{
	unsetenv("LD_PRELOAD"); /* who starts now is not counted */
	tb_qmp_ok(t, "{\"execute\": \"stop\"}");
}

static void cont(struct tb *t)
{
	tb_qmp_ok(t, "{\"execute\": \"cont\"}");
}

/* The turns of all loops while the monitor answers. */
static uint64_t cost(struct tb *t)
{
	uint64_t before = __atomic_load_n(turns, __ATOMIC_RELAXED), n;

	for (unsigned i = 0; i < COMMANDS; i++)
		tb_qmp_ok(t, "{\"execute\": \"query-status\"}");
	n = __atomic_load_n(turns, __ATOMIC_RELAXED) - before;
	assert_true(n); /* it counts */
	return n;
}

/* With nothing to do but to answer, a command costs two or three turns. */
static void is_quiet(struct tb *t)
{
	uint64_t n = cost(t);

	if (n > 4 * COMMANDS + SLACK)
		fail_msg("%u commands took %lu turns", COMMANDS, (unsigned long)n);
}

/* --- virtio-net --- */

/* What was sent to a stopped machine arrives when it goes on. */
static void net_is_quiet(struct tb *t, int type)
{
	uint8_t out[4 + 100] = {0, 0, 0, 100}, in[2048];
	unsigned skip = type == SOCK_STREAM ? 0 : 4;
	struct gnet_hdr h;
	int fd;

	count_turns(t);
	fd = cable(t, type, "");
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	for (unsigned i = 0; i < 2; i++) {
		stop(t);
		is_quiet(t);
		cable_frame(out + 4, 100, cable_mac, i);
		assert_int_equal(send(fd, out + skip, sizeof(out) - skip, 0), sizeof(out) - skip);
		is_quiet(t);
		cont(t);
		assert_int_equal(gnet_recv(&t->net, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 100);
		assert_memory_equal(in, out + 4, 100);
	}
	/* The peer goes, with a frame unread. */
	stop(t);
	assert_int_equal(send(fd, out + skip, sizeof(out) - skip, 0), sizeof(out) - skip);
	close(fd);
	is_quiet(t);
	cont(t);
	assert_int_equal(gnet_recv(&t->net, 0, &h, in, sizeof(in), GUEST_WAIT_MS), 100);
	is_quiet(t);
	tb_stop(t);
}

static void net_dgram(void **state)
{
	net_is_quiet(*state, SOCK_DGRAM);
}

static void net_stream(void **state)
{
	net_is_quiet(*state, SOCK_STREAM);
}

/* Without a driver, after a reset, without buffers, with the link down. */
static void net_without_takers(void **state)
{
	struct tb *t = *state;
	uint8_t out[100];
	int fd;

	count_turns(t);
	fd = cable(t, SOCK_DGRAM, "");
	unsetenv("LD_PRELOAD");
	cable_frame(out, sizeof(out), cable_mac, 1);
	assert_int_equal(send(fd, out, sizeof(out), 0), sizeof(out));
	is_quiet(t);
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	gv_reset(&t->net.v);
	assert_int_equal(send(fd, out, sizeof(out), 0), sizeof(out));
	is_quiet(t);
	gnet_restart(&t->net, 1, BASIC);
	for (unsigned i = 0; i < 2000; i++)
		send(fd, out, sizeof(out), MSG_DONTWAIT);
	is_quiet(t);
	tb_qmp_ok(t, "{\"execute\": \"set_link\", \"arguments\": {\"name\": \"nic0\", \"up\": "
		     "false}}");
	assert_true(send(fd, out, sizeof(out), MSG_DONTWAIT) != 0);
	is_quiet(t);
	stop(t);
	assert_true(send(fd, out, sizeof(out), MSG_DONTWAIT) != 0);
	is_quiet(t);
	close(fd);
	tb_stop(t);
}

/* The guest sends to a peer that takes nothing; that is not looked at all the time either. */
static void net_peer_sleeps(void **state)
{
	struct tb *t = *state;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	uint8_t out[1000] = {0}, in[1000];
	struct gseg s = {.len = GNET_HDR + sizeof(out)};
	struct gvq *q;
	unsigned got = 0;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	count_turns(t);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/peer", t->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	tb_arg(t, "-netdev");
	tb_arg(t, "dgram,id=n0,local.type=unix,local.path=%s/l,remote.type=unix,remote.path=%s",
	       t->dir, un.sun_path);
	tb_device(t, "virtio-net-pci,netdev=n0,id=nic0");
	tb_start(t);
	unsetenv("LD_PRELOAD");
	gnet_open(&t->g, &t->net, 0, 1, 2048, BASIC);
	q = &t->net.tx[0];
	s.addr = guest_alloc(&t->g, s.len, 64);
	for (unsigned i = 0; i < q->size; i++)
		assert_true(gvq_add(q, &s, 1, 0, NULL) >= 0);
	gvq_kick(q);
	guest_sync(&t->g);
	is_quiet(t);
	is_quiet(t);
	/* All of them come. */
	for (unsigned i = 0; i < q->size; i++)
		got += recv(fd, in, sizeof(in), 0) == sizeof(in);
	assert_int_equal(got, q->size);
	is_quiet(t);
	close(fd);
	tb_stop(t);
}

/* A hub keeps what the stopped card does not take until it is full. */
static void net_hub(void **state)
{
	struct tb *t = *state;
	static uint8_t out[20000], in[20000];
	struct gnet_hdr h;
	unsigned sent = 0;
	int sv[2], idle = 0;

	count_turns(t);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	fcntl(sv[1], F_SETFD, FD_CLOEXEC);
	t->config.keep_fds[0] = sv[0];
	tb_arg(t, "-netdev");
	tb_arg(t, "dgram,id=s0,local.type=fd,local.str=%d", sv[0]);
	tb_arg(t, "-netdev");
	tb_arg(t, "hubport,id=p0,hubid=0,netdev=s0");
	tb_arg(t, "-netdev");
	tb_arg(t, "hubport,id=n0,hubid=0");
	tb_device(t, "virtio-net-pci,netdev=n0,id=nic0,mac=52:54:00:12:34:56");
	tb_start(t);
	close(sv[0]);
	gnet_open(&t->g, &t->net, 0, 1, 4096, BASIC);
	stop(t);
	while (idle < 3) {
		cable_frame(out, sizeof(out), cable_mac, sent);
		if (send(sv[1], out, sizeof(out), MSG_DONTWAIT) > 0) {
			sent++;
			idle = 0;
		} else {
			idle++;
			cost(t);
		}
	}
	is_quiet(t);
	cont(t);
	for (unsigned i = 0; i < sent; i++) {
		assert_int_equal(gnet_recv(&t->net, 0, &h, in, sizeof(in), GUEST_WAIT_MS),
				 sizeof(in));
		cable_frame(out, sizeof(out), cable_mac, i);
		assert_memory_equal(in, out, sizeof(in));
	}
	close(sv[1]);
	tb_stop(t);
}

/* --- virtio-serial --- */

static void serial_socket(void **state)
{
	struct tb *t = *state;
	char out[3000], in[3000];
	int fd;

	count_turns(t);
	machine(t, 2, true);
	driver(t, 2);
	fd = client_seen(t, 1);
	talk(1, fd);
	stop(t);
	is_quiet(t);
	tb_pattern(out, sizeof(out), 7);
	assert_int_equal(send_some(fd, out, sizeof(out)), sizeof(out));
	is_quiet(t);
	close(fd);
	is_quiet(t);
	/* A client comes and another one waits behind it; one at the console. */
	fd = client(t, 2);
	close(client(t, 2));
	close(client(t, 0));
	is_quiet(t);
	cont(t);
	assert_true(gserial_read(&serial, 1, in, sizeof(in), GUEST_WAIT_MS));
	assert_memory_equal(in, out, sizeof(in));
	close(fd);
	tb_stop(t);
}

/* A pty, a pipe and a datagram socket behind ports that are stopped, or not open in the guest. */
static void serial_others(void **state)
{
	struct tb *t = *state;
	char path[80];
	int pipe_in, pipe_out;

	count_turns(t);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/pipe.%s", t->dir, i ? "out" : "in");
		assert_int_equal(mkfifo(path, 0600), 0);
	}
	tb_device(t, "virtio-serial-pci,id=vser0");
	tb_arg(t, "-chardev");
	tb_arg(t, "pipe,id=c1,path=%s/pipe", t->dir);
	tb_arg(t, "-chardev");
	tb_arg(t, "udp,id=c2,host=127.0.0.1,port=9,localaddr=127.0.0.1");
	tb_arg(t, "-chardev");
	tb_arg(t, "pty,id=c3,path=%s/pty", t->dir);
	for (unsigned n = 1; n <= 3; n++) {
		tb_arg(t, "-device");
		tb_arg(t, "virtserialport,chardev=c%u,nr=%u", n, n);
	}
	tb_start(t);
	unsetenv("LD_PRELOAD");
	snprintf(path, sizeof(path), "%s/pipe.in", t->dir);
	pipe_in = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	snprintf(path, sizeof(path), "%s/pipe.out", t->dir);
	pipe_out = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	assert_true(pipe_in >= 0 && pipe_out >= 0);
	snprintf(path, sizeof(path), "%s/pty", t->dir);
	for (unsigned round = 0; round < 2; round++) {
		int pty = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);

		assert_true(pty >= 0);
		assert_int_equal(write(pty, "1234\n", 5), 5);
		assert_int_equal(write(pipe_in, "1234", 4), 4);
		is_quiet(t);
		close(pty);
		is_quiet(t);
		if (round)
			break;
		driver(t, 3);
		stop(t);
	}
	/* What a datagram of ours met is an error of the socket. */
	cont(t);
	assert_true(gserial_write(&serial, 2, "x", 1, GUEST_WAIT_MS));
	stop(t);
	close(pipe_in);
	close(pipe_out);
	is_quiet(t);
	tb_stop(t);
}

/* --- virtio-vsock --- */

static void vsock(void **state)
{
	static const unsigned types[] = {GVSOCK_STREAM, GVSOCK_SEQPACKET};
	struct tb *t = *state;
	struct gvconn c[2];
	int up[2], late[2];

	count_turns(t);
	vs_start(t);
	for (unsigned i = 0; i < 2; i++)
		up[i] = vs_from_host(&c[i], types[i], 70 + i);
	stop(t);
	is_quiet(t);
	for (unsigned i = 0; i < 2; i++) {
		late[i] = vs_client(types[i]);
		vs_host_send(late[i], "CONNECT 80\n", 11);
		vs_host_send(late[i], "more", 4);
		vs_host_send(up[i], "data", 4);
		close(vs_client(types[i]));
	}
	is_quiet(t);
	for (unsigned i = 0; i < 2; i++) {
		shutdown(up[i], SHUT_WR);
		close(late[i]);
	}
	is_quiet(t);
	for (unsigned i = 0; i < 2; i++)
		close(up[i]);
	is_quiet(t);
	cont(t);
	is_quiet(t);
	tb_stop(t);
}

/* --- virtio-rng --- */

/* A source that has something when the guest's request cannot be served. */
static void rng(void **state)
{
	struct tb *t = *state;
	struct gseg s;
	uint8_t buf[8];
	char path[64];
	int fd;

	count_turns(t);
	snprintf(path, sizeof(path), "%s/source", t->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	tb_arg(t, "-object");
	tb_arg(t, "rng-random,id=r0,filename=%s", path);
	tb_device(t, "virtio-rng-pci,rng=r0");
	tb_start(t);
	grng_open(&t->g, &t->rng, 0);
	s = (struct gseg){t->rng.at, sizeof(buf)};
	assert_true(gvq_add(&t->rng.q, &s, 0, 1, NULL) >= 0);
	gvq_kick(&t->rng.q);
	guest_sync(&t->g);
	stop(t);
	is_quiet(t);
	assert_int_equal(write(fd, "entropy.", sizeof(buf)), sizeof(buf));
	is_quiet(t);
	cont(t);
	assert_int_equal(gvq_wait(&t->rng.q, NULL), sizeof(buf));
	/* More than anybody has asked for. */
	assert_int_equal(write(fd, "entropy.", sizeof(buf)), sizeof(buf));
	is_quiet(t);
	close(fd);
	tb_stop(t);
}

/* --- the monitor --- */

/* A client that asks and reads no answer, one that waits for its turn, one that has gone. */
static void monitor(void **state)
{
	static const char ask[] = "{\"execute\": \"query-commands\"}\n";
	struct tb *t = *state;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd[2];

	count_turns(t);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/second", t->dir);
	tb_arg(t, "-qmp");
	tb_arg(t, "unix:%s,server=on,wait=off", un.sun_path);
	tb_device(t, "virtio-rng-pci");
	tb_start(t);
	unsetenv("LD_PRELOAD");
	for (unsigned i = 0; i < 2; i++) {
		fd[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fd[i], (struct sockaddr *)&un, sizeof(un)), 0);
	}
	assert_true(send_some(fd[0], "{\"execute\": \"qmp_capabilities\"}\n", 32));
	for (unsigned i = 0; i < 1000; i++)
		send_some(fd[0], ask, sizeof(ask) - 1);
	cost(t);
	is_quiet(t);
	shutdown(fd[0], SHUT_WR);
	is_quiet(t);
	close(fd[0]);
	close(fd[1]);
	is_quiet(t);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(net_dgram),	  tb_test(net_stream), tb_test(net_without_takers),
		tb_test(net_peer_sleeps), tb_test(net_hub),    tb_test(serial_socket),
		tb_test(serial_others),	  tb_test(vsock),      tb_test(rng),
		tb_test(monitor),
	};

	return tb_run("quiet", tests);
}
