/* SPDX-License-Identifier: MIT */
/* vsockpeer.c - either end of a connection between guest and host, for tests/sys/vsock.sh
 *
 *	vsockpeer echo TYPE ADDRESS [COUNT]	serve COUNT connections, or for ever
 *	vsockpeer check TYPE ADDRESS BYTES	send BYTES, and compare what comes back
 *	vsockpeer storm TYPE ADDRESS COUNT	so many connections, AT_ONCE at a time, each with
 *						one byte there and back
 *	vsockpeer refused TYPE ADDRESS		nobody must be there
 *
 * TYPE is stream or seqpacket, ADDRESS is vsock:CID:PORT, unix:PATH (a socket file), or
 * unix:PATH:PORT (the device's, which is told the port). The same program runs in the guest and in
 * the control domain; it is linked statically, as the guest has no libraries to speak of.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define CHUNK	65536
#define AT_ONCE 8

struct address {
	union {
		struct sockaddr sa;
		struct sockaddr_un un;
		struct sockaddr_vm vm;
	} u;
	socklen_t len;
	int type;
	const char *port; /* to ask the device for */
};

static void die(const char *what)
{
	fprintf(stderr, "vsockpeer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void parse(struct address *a, const char *type, char *text)
{
	char *rest = strchr(text, ':'), *port = rest ? strchr(rest + 1, ':') : NULL;

	memset(a, 0, sizeof(*a));
	a->type = !strcmp(type, "seqpacket") ? SOCK_SEQPACKET : SOCK_STREAM;
	if (port)
		*port++ = '\0';
	if (rest && port && !strncmp(text, "vsock:", 6)) {
		a->u.vm.svm_family = AF_VSOCK;
		a->u.vm.svm_cid = (unsigned)strtoul(rest + 1, NULL, 10);
		a->u.vm.svm_port = (unsigned)strtoul(port, NULL, 10);
		a->len = sizeof(a->u.vm);
	} else if (rest && !strncmp(text, "unix:", 5)) {
		a->u.un.sun_family = AF_UNIX;
		snprintf(a->u.un.sun_path, sizeof(a->u.un.sun_path), "%s", rest + 1);
		a->len = sizeof(a->u.un);
		a->port = port;
	} else {
		errno = EINVAL;
		die(text);
	}
}

static int connect_to(const struct address *a)
{
	int fd = socket(a->u.sa.sa_family, a->type, 0);
	char line[64], answer[64] = "";

	if (fd < 0)
		die("socket");
	if (connect(fd, &a->u.sa, a->len) < 0) {
		close(fd);
		return -1;
	}
	if (!a->port)
		return fd;
	snprintf(line, sizeof(line), "CONNECT %s\n", a->port);
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
		die("send");
	for (size_t at = 0; at + 1 < sizeof(answer) && !strchr(answer, '\n'); at++) {
		size_t room = a->type == SOCK_STREAM ? 1 : sizeof(answer) - 1;

		if (recv(fd, answer + at, room, 0) <= 0) {
			close(fd);
			errno = ECONNREFUSED;
			return -1;
		}
	}
	return fd;
}

/* All of it; a message is sent at once. */
static int send_all(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static void echo(const struct address *a, unsigned long count)
{
	int one = 1, listener = socket(a->u.sa.sa_family, a->type, 0);
	static uint8_t buf[CHUNK];

	if (a->u.sa.sa_family == AF_UNIX)
		unlink(a->u.un.sun_path);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, &a->u.sa, a->len) < 0 || listen(listener, 64) < 0)
		die("listen");
	/* Who serves for ever serves as many as a storm brings at a time. */
	for (unsigned i = 1; !count && i < AT_ONCE; i++)
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			break;
		}
	for (unsigned long i = 0; !count || i < count; i++) {
		int fd = accept(listener, NULL, NULL);
		ssize_t n;

		if (fd < 0)
			die("accept");
		while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
			if (send_all(fd, buf, (size_t)n) < 0)
				break;
		close(fd);
	}
}

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 2654435761U >> 13 ^ at >> 7);
}

static size_t piece(const struct address *a, unsigned i, uint64_t left)
{
	static const size_t len[] = {1, 4096, 65536, 77, 30000, 2, 16384};
	size_t n = a->type == SOCK_SEQPACKET ? len[i % 7] : 50000;

	return n < left ? n : (size_t)left;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void check(const struct address *a, uint64_t total)
{
	static uint8_t buf[CHUNK + 1];
	int fd = connect_to(a), status;
	double begin = seconds();
	uint64_t at = 0;
	pid_t child;

	if (fd < 0)
		die("connect");
	child = fork();
	if (!child) {
		for (unsigned i = 0; at < total; i++) {
			size_t n = piece(a, i, total - at);

			for (size_t k = 0; k < n; k++)
				buf[k] = pattern(at + k);
			if (send_all(fd, buf, n) < 0)
				_exit(1);
			at += n;
		}
		shutdown(fd, SHUT_WR);
		_exit(0);
	}
	for (unsigned i = 0; at < total; i++) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n <= 0)
			die("recv");
		if (a->type == SOCK_SEQPACKET && (size_t)n != piece(a, i, total - at)) {
			printf("message %u has %zd bytes, not %zu\n", i, n,
			       piece(a, i, total - at));
			exit(1);
		}
		for (ssize_t k = 0; k < n; k++)
			if (buf[k] != pattern(at + (uint64_t)k)) {
				printf("byte %llu is wrong\n", (unsigned long long)at);
				exit(1);
			}
		at += (uint64_t)n;
	}
	if (recv(fd, buf, sizeof(buf), 0) != 0) {
		printf("no end of file after the last byte\n");
		exit(1);
	}
	waitpid(child, &status, 0);
	if (status)
		exit(1);
	printf("%llu bytes there and back in %.2f s\n", (unsigned long long)total,
	       seconds() - begin);
}

static void some_of_the_storm(const struct address *a, unsigned long count)
{
	for (unsigned long i = 0; i < count; i++) {
		int fd = connect_to(a);
		uint8_t byte = (uint8_t)i, back = 0;

		if (fd < 0 || send_all(fd, &byte, 1) < 0 || recv(fd, &back, 1, 0) != 1 ||
		    back != byte) {
			fprintf(stderr, "connection %lu: ", i);
			die("failed");
		}
		close(fd);
	}
}

static void storm(const struct address *a, unsigned long count)
{
	double begin = seconds();
	int status, failed = 0;

	for (unsigned long i = 0; i < AT_ONCE; i++)
		if (!fork()) {
			some_of_the_storm(a, (count + i) / AT_ONCE);
			_exit(0);
		}
	while (wait(&status) > 0)
		failed |= status;
	if (failed)
		exit(1);
	printf("%lu connections, %.0f us each\n", count, (seconds() - begin) * 1e6 / (double)count);
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
	struct address a;

	if (argc < 4)
		return 2;
	parse(&a, argv[2], argv[3]);
	if (!strcmp(argv[1], "echo"))
		echo(&a, n);
	else if (!strcmp(argv[1], "check"))
		check(&a, n);
	else if (!strcmp(argv[1], "storm"))
		storm(&a, n);
	else if (!strcmp(argv[1], "refused"))
		return connect_to(&a) >= 0;
	else
		return 2;
	return 0;
}
