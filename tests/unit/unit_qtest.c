/* SPDX-License-Identifier: MIT */
/* unit_qtest.c - the qtest hypervisor: protocol, routing, back pressure, the peer's end */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "mem/gmem.h"
#include "qtest/qtest.h"

#define BAR 0xc0001000ULL

/* The machine's side: remembers the last access, and what ran when. */
struct fixture {
	struct hv *hv;
	struct loop *loop;
	struct hv_client client;
	int peer;
	char dir[32], path[64];
	uint64_t addr, data;
	unsigned size, accesses;
	bool gone, deferred, answered;
	struct loop_task task;
};

static uint64_t client_read(void *ctx, uint64_t addr, unsigned size)
{
	struct fixture *f = ctx;

	f->addr = addr;
	f->size = size;
	f->accesses++;
	return 0x8877665544332211ULL & (size == 8 ? UINT64_MAX : (1ULL << (8 * size)) - 1);
}

/* Has the peer been answered when deferred work begins? */
static void deferred(struct loop_task *t)
{
	struct fixture *f = container_of(t, struct fixture, task);
	char buf[8];

	f->deferred = true;
	f->answered = recv(f->peer, buf, sizeof(buf), MSG_DONTWAIT | MSG_PEEK) == 3;
}

static void client_write(void *ctx, uint64_t addr, uint64_t data, unsigned size)
{
	struct fixture *f = ctx;

	f->addr = addr;
	f->data = data;
	f->size = size;
	f->accesses++;
	loop_defer(f->loop, &f->task);
}

static void client_event(void *ctx, enum hv_event event)
{
	struct fixture *f = ctx;

	f->gone = event == HV_GONE;
}

static int listen_at(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct qtest_config c = {.mem_size = 4 * GiB, .vcpus = 2};
	struct err e = {0};
	char spec[80];
	int listener;

	strcpy(f->dir, "/tmp/qtest-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	snprintf(spec, sizeof(spec), "unix:%s", f->path);
	listener = listen_at(f->path);
	c.peer = spec;
	f->hv = hv_qtest_open(&c, &e);
	assert_non_null(f->hv);
	f->peer = accept(listener, NULL, NULL);
	close(listener);
	f->loop = loop_new("exits");
	f->task.fn = deferred;
	f->client = (struct hv_client){client_read, client_write, client_event, f};
	assert_int_equal(hv_claim(f->hv, QTEST_MMIO_BASE, QTEST_MMIO_SIZE, &e), 0);
	assert_int_equal(hv_serve(f->hv, f->loop, f->loop, &f->client, &e), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	hv_close(f->hv);
	loop_free(f->loop);
	if (f->peer >= 0)
		close(f->peer);
	unlink(f->path);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void tell(struct fixture *f, const char *text)
{
	assert_int_equal(send(f->peer, text, strlen(text), 0), (ssize_t)strlen(text));
}

/* One turn of the loop, then what has arrived. */
static const char *hear(struct fixture *f)
{
	static char buf[4096];
	ssize_t n;

	loop_turn(f->loop, 0);
	n = recv(f->peer, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static void expect(struct fixture *f, const char *command, const char *answer)
{
	tell(f, command);
	assert_string_equal(hear(f), answer);
}

static void ram(void **state)
{
	struct fixture *f = *state;
	uint32_t v = 0;

	assert_int_equal(f->hv->ram_ranges, 2);
	assert_int_equal(f->hv->ram[0].size, 3 * GiB);
	assert_int_equal(f->hv->ram[1].base, 4 * GiB);
	assert_int_equal(f->hv->ram[1].size, 1 * GiB);
	expect(f, "writeq 0x1000 0x1122334455667788\n", "OK\n");
	expect(f, "readb 4096\n", "OK 0x0000000000000088\n");
	expect(f, "readw 0x1001\n", "OK 0x0000000000006677\n");
	expect(f, "readl 0x1004\n", "OK 0x0000000011223344\n");
	expect(f, "readq 0x1000\n", "OK 0x1122334455667788\n");
	expect(f, "read 0x1000 3\n", "OK 0x887766\n");
	expect(f, "b64read 0x1000 4\n", "OK iHdmVQ==\n");
	expect(f, "write 0x13fffffff 1 0x5A\n", "OK\n");
	expect(f, "readb 0x13fffffff\n", "OK 0x000000000000005a\n");
	expect(f, "write 0x2000 8 0x0102\n", "OK\n");
	expect(f, "readq 0x2000\n", "OK 0x0000000000000201\n");
	expect(f, "b64write 0x2000 4 iHdmVQ==\n", "OK\n");
	expect(f, "readl 0x2000\n", "OK 0x0000000055667788\n");
	expect(f, "memset 0x2000 3 0xee\n", "OK\n");
	expect(f, "readl 0x2000\n", "OK 0x0000000055eeeeee\n");
	assert_int_equal(gmem_read(f->hv->mem, 0x2000, &v, 4), 0);
	assert_int_equal(v, 0x55eeeeee);
	assert_int_equal(f->accesses, 0);
}

static void routing(void **state)
{
	struct fixture *f = *state;

	expect(f, "writew 0xc0001002 0xbeef\n", "OK\n");
	assert_int_equal(f->addr, BAR + 2);
	assert_int_equal(f->size, 2);
	assert_int_equal(f->data, 0xbeef);
	expect(f, "readq 0xc0001000\n", "OK 0x8877665544332211\n");
	assert_int_equal(f->size, 8);
	/* Nobody is there. */
	expect(f, "readl 0xe0000000\n", "OK 0x00000000ffffffff\n");
	expect(f, "writel 0xe0000000 1\n", "OK\n");
	/* The address space is a ring; at 0 there is RAM. */
	expect(f, "readq 0xfffffffffffffffc\n", "OK 0x00000000ffffffff\n");
	/* The last byte of RAM and the first of the range behind it: one access each. */
	f->accesses = 0;
	expect(f, "writew 0xbfffffff 0x2211\n", "OK\n");
	assert_int_equal(f->accesses, 1);
	assert_int_equal(f->data, 0x22);
	expect(f, "readb 0xbfffffff\n", "OK 0x0000000000000011\n");
	/* A bulk access comes in natural pieces. */
	f->accesses = 0;
	expect(f, "read 0xc0001001 7\n", "OK 0x11112211223344\n");
	assert_int_equal(f->accesses, 3);
}

static void answered_first(void **state)
{
	struct fixture *f = *state;

	expect(f, "writel 0xc0001000 1\n", "OK\n");
	assert_true(f->deferred);
	assert_true(f->answered);
}

static void bad_commands(void **state)
{
	static const char *const bad[] = {
		"readl\n",
		"readl x\n",
		"readl 0x\n",
		"writel 0x1000\n",
		"writel 0x1000 z\n",
		"readl -1\n",
		"read 0x1000\n",
		"read 0x1000 0\n",
		"read 0 65537\n",
		"write 0 1\n",
		"write 0 1 0x\n",
		"write 0 1 1122\n",
		"write 0 1 0x1g\n",
		"write 0 1 0x1\n",
		"b64write 0 3 !!!\n",
		"b64write 0 3 AA\n",
		"inb 65536\n",
		"outb 1\n",
		"memset 0 1\n",
		"clock_set x\n",
		"clock_step\n",
		"nonsense\n",
		"\n",
		"readx 0\n",
		"read  0 1\n",
		"readb 0 0 0 0 0 0 0 0 0 0\nreadb\n",
		"memset 0 0x100000000000 0\n",
		"readl 0x10000000000000000\n",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *answer;

		tell(f, bad[i]);
		answer = hear(f);
		if (strstr(answer, "OK 0x"))
			answer = strchr(answer, '\n') + 1;
		if (strncmp(answer, "FAIL ", 5) && strncmp(answer, "ERR ", 4))
			fail_msg("'%s' answered by '%s'", bad[i], answer);
	}
	expect(f, "endianness\n", "OK little\n");
	expect(f, "clock_step 5\n", "OK 5\n");
	expect(f, "clock_step 6\n", "OK 11\n");
	expect(f, "inw 0xcf8\n", "OK 0xffff\n");
}

/* A line that comes in pieces, two in one, one that never ends. */
static void lines(void **state)
{
	struct fixture *f = *state;
	static char junk[8192];
	char answer[128] = "";

	expect(f, "endian", "");
	expect(f, "ness\nendianness\nendia", "OK little\nOK little\n");
	expect(f, "nness\n", "OK little\n");
	memset(junk, 'x', sizeof(junk) - 1);
	for (unsigned i = 0; i < 40; i++) {
		tell(f, junk);
		snprintf(answer + strlen(answer), sizeof(answer) - strlen(answer), "%.60s",
			 hear(f));
	}
	assert_string_equal(answer, "FAIL line longer than 131168 bytes\n");
	expect(f, "y\nendianness\n", "OK little\n");
}

/* A peer that asks much and takes nothing loses no answer, and is not read without bound. */
static void back_pressure(void **state)
{
	struct fixture *f = *state;
	const char ask[] = "read 0x0 65536\n";
	unsigned asked = 0;
	size_t heard = 0, each = 3 + 2 + 2 * 65536 + 1;
	static char buf[65536];

	while (send(f->peer, ask, strlen(ask), MSG_DONTWAIT) > 0 && asked < 100000) {
		asked++;
		loop_turn(f->loop, 0);
	}
	assert_in_range(asked, 2, 99999);
	while (heard < asked * each) {
		ssize_t n = recv(f->peer, buf, sizeof(buf), MSG_DONTWAIT);

		if (n > 0)
			heard += (size_t)n;
		else
			loop_turn(f->loop, 1000);
	}
	assert_int_equal(heard, asked * each);
	expect(f, "endianness\n", "OK little\n");
}

static void interrupts(void **state)
{
	struct fixture *f = *state;
	uint32_t v = 0;

	hv_intx(f->hv, 1, true);
	assert_string_equal(hear(f), "");
	/* Who begins to listen hears first what stands high. */
	expect(f, "irq_intercept_in ioapic\n", "OK\nIRQ raise 1\n");
	hv_intx(f->hv, 2, true);
	assert_string_equal(hear(f), "IRQ raise 2\n");
	hv_intx(f->hv, 2, true);
	assert_string_equal(hear(f), "");
	hv_intx(f->hv, 2, false);
	assert_string_equal(hear(f), "IRQ lower 2\n");
	assert_int_equal(hv_intx(f->hv, 4, true), -EINVAL);

	assert_int_equal(hv_msi(f->hv, 0x3000, 0xabcd1234), 0);
	assert_int_equal(gmem_read(f->hv->mem, 0x3000, &v, 4), 0);
	assert_int_equal(v, 0xabcd1234);
	/* Not RAM: lost, and no harm. */
	hv_msi(f->hv, 0xfee00000, 1);
	hv_msi(f->hv, UINT64_MAX - 1, 1);
	assert_int_equal(f->accesses, 0);
}

static void peer_leaves(void **state)
{
	struct fixture *f = *state;

	expect(f, "irq_intercept_in x\n", "OK\n");
	close(f->peer);
	f->peer = -1;
	loop_turn(f->loop, 1000);
	loop_turn(f->loop, 0);
	assert_true(f->gone);
	hv_intx(f->hv, 0, true);
	loop_turn(f->loop, 0);
}

static void claims(void **state)
{
	struct fixture *f = *state;
	struct err e;

	assert_int_equal(hv_claim(f->hv, 0x1000, 0x1000, &e), -EEXIST);
	assert_int_equal(hv_claim(f->hv, 0, 0, &e), -EINVAL);
	assert_int_equal(hv_claim(f->hv, UINT64_MAX, 2, &e), -EINVAL);
	for (uint64_t i = 1; i < 8; i++)
		assert_int_equal(hv_claim(f->hv, i << 40, 0x1000, &e), 0);
	assert_int_equal(hv_claim(f->hv, 9ULL << 40, 0x1000, &e), -ENOSPC);
}

/* Each of these is one line of explanation and no machine. */
static void bad_config(void **state)
{
	static const struct qtest_config bad[] = {
		{.peer = "tcp:1", .mem_size = MiB},
		{.peer = "unix:", .mem_size = MiB},
		{.peer = "unix:/nowhere/at/all", .mem_size = MiB},
		{.peer = "unix:/nowhere/at/all,server=on", .mem_size = MiB},
		{.peer = "unix:/tmp/x,sevrer=on", .mem_size = MiB},
		{.mem_path = "/nowhere/at/all", .mem_size = MiB},
		{.log = "/nowhere/at/all", .mem_size = MiB},
		{.mem_size = MiB, .ram = {{0, 2 * MiB}}, .ram_ranges = 1},
		{.mem_size = MiB, .ram = {{0, MiB}, {MiB, UINT64_MAX - MiB}}, .ram_ranges = 2},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = {0};

		assert_null(hv_qtest_open(&bad[i], &e));
		assert_true(strlen(e.text) > 10);
	}
}

/* server=on: the peer comes later. RAM is shared through the file. */
static void listening(void **state)
{
	char dir[] = "/tmp/qtest-XXXXXX", path[64], mem[64], spec[96];
	struct fixture f = {.peer = -1};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct qtest_config c = {.mem_size = MiB, .peer = spec, .mem_path = mem};
	struct err e;
	int fd;
	uint8_t byte;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(mem, sizeof(mem), "%s/m", dir);
	snprintf(spec, sizeof(spec), "unix:%s,server=on,wait=off", path);
	f.hv = hv_qtest_open(&c, &e);
	assert_non_null(f.hv);
	f.loop = loop_new("exits");
	f.client = (struct hv_client){client_read, client_write, client_event, &f};
	assert_int_equal(hv_serve(f.hv, f.loop, f.loop, &f.client, &e), 0);
	loop_turn(f.loop, 0);
	strcpy(sa.sun_path, path);
	f.peer = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(f.peer, (struct sockaddr *)&sa, sizeof(sa)), 0);
	loop_turn(f.loop, 1000);
	expect(&f, "writeb 0xfffff 0x77\n", "OK\n");
	fd = open(mem, O_RDONLY);
	assert_int_equal(pread(fd, &byte, 1, 0xfffff), 1);
	assert_int_equal(byte, 0x77);
	close(fd);
	hv_close(f.hv);
	loop_free(f.loop);
	close(f.peer);
	unlink(path);
	unlink(mem);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ram, setup, teardown),
		cmocka_unit_test_setup_teardown(routing, setup, teardown),
		cmocka_unit_test_setup_teardown(answered_first, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(lines, setup, teardown),
		cmocka_unit_test_setup_teardown(back_pressure, setup, teardown),
		cmocka_unit_test_setup_teardown(interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(peer_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(claims, setup, teardown),
		cmocka_unit_test(bad_config),
		cmocka_unit_test(listening),
	};

	return cmocka_run_group_tests_name("qtest", tests, NULL, NULL);
}
