/* SPDX-License-Identifier: MIT */
/* dev_vhost_vsock.c - sockets that the kernel serves
 *
 * Where there is no /dev/vhost-vsock, that is said; the refusals of its options are in tests/cli.
 */
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <sys/socket.h>

#include "tb.h"

#define CID  0x7a31u
#define PORT 4711u

static const char *missing;

static void begin(struct tb *t, struct gvsock *s)
{
	if (missing) {
		print_message("%s\n", missing);
		skip();
	}
	tb_device(t, "vhost-vsock-pci,guest-cid=%u", CID);
	tb_start(t);
	gvsock_open(&t->g, s, 0, 4096, 0, 0);
	assert_int_equal(s->cid, CID);
}

/* A program of the host that listens on PORT. */
static int host_listen(void)
{
	struct sockaddr_vm a = {
		.svm_family = AF_VSOCK, .svm_port = PORT, .svm_cid = VMADDR_CID_HOST};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void exchange(struct gvsock *s, int listener)
{
	static const char question[] = "anybody there?", answer[] = "yes";
	struct gvconn c;
	char buf[64];
	int fd;

	assert_true(gvsock_connect(s, &c, GVSOCK_STREAM, 1000, PORT));
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	gvsock_write(&c, question, sizeof(question), 4096, 0);
	assert_int_equal(recv(fd, buf, sizeof(question), MSG_WAITALL), sizeof(question));
	assert_string_equal(buf, question);
	assert_int_equal(send(fd, answer, sizeof(answer), 0), sizeof(answer));
	assert_int_equal(gvsock_read(&c, buf, sizeof(answer)), sizeof(answer));
	assert_string_equal(buf, answer);
	close(fd);
	/* The host waits for the guest's answer to this, also beyond a reset. */
	gvsock_expect(&c, GVSOCK_SHUTDOWN, NULL);
	gvsock_say(&c, GVSOCK_RST, 0, NULL, 0);
}

static void data_both_ways(void **state)
{
	struct tb *t = *state;
	struct gvsock s;
	int listener;

	begin(t, &s);
	listener = host_listen();
	exchange(&s, listener);
	close(listener);
	tb_stop(t);
}

static void again_after_a_reset(void **state)
{
	struct tb *t = *state;
	struct gvsock s;
	int listener;

	begin(t, &s);
	listener = host_listen();
	exchange(&s, listener);
	gvsock_restart(&s, 0, 0);
	exchange(&s, listener);
	close(listener);
	tb_stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tb_test(data_both_ways),
		tb_test(again_after_a_reset),
	};
	int fd = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		missing = "no /dev/vhost-vsock here";
	else
		close(fd);
	return tb_run("vhost_vsock", tests);
}
