/* SPDX-License-Identifier: MIT */
/* startwatch.c - how long a device model takes from exec to `state=running`, and how large it is
 * then
 *
 *	startwatch XENSTORE-NODE PROGRAM [ARG]...
 *
 * Watches the node, spawns the program, and takes the time when the node reads "running": no shell
 * and no other process between the two clock readings. Prints microseconds and the program's PSS in
 * KiB, ends it by SIGTERM, and waits for it. Status 0; 1 with a line on stderr when the program
 * ends before, or is not running after 30 s.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <xenstore.h>

#define LIMIT_MS 30000

extern char **environ;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static bool is_running(struct xs_handle *xs, const char *node)
{
	char *v = xs_read(xs, XBT_NULL, node, NULL);
	bool yes = v && !strcmp(v, "running");

	free(v);
	return yes;
}

static unsigned pss_kib(pid_t pid)
{
	char path[64], line[128];
	unsigned kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Pss: %u", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

static void eat_event(struct xs_handle *xs)
{
	unsigned n;

	free(xs_read_watch(xs, &n));
}

int main(int argc, char **argv)
{
	struct xs_handle *xs = argc > 2 ? xs_open(0) : NULL;
	struct pollfd p = {.events = POLLIN};
	bool running = false;
	uint64_t begin, end;
	pid_t pid;
	int status;

	if (!xs || !xs_watch(xs, argv[1], "state")) {
		fprintf(stderr, "usage: startwatch NODE PROGRAM [ARG]... (xenstore: %s)\n",
			strerror(errno));
		return 1;
	}
	p.fd = xs_fileno(xs);
	eat_event(xs); /* the one that every new watch fires */

	begin = now_us();
	if (posix_spawn(&pid, argv[2], NULL, NULL, argv + 2, environ) != 0) {
		fprintf(stderr, "startwatch: %s: %s\n", argv[2], strerror(errno));
		return 1;
	}
	while (!running && now_us() - begin < LIMIT_MS * 1000ULL &&
	       waitpid(pid, &status, WNOHANG) == 0) {
		if (poll(&p, 1, 200) < 1)
			continue;
		eat_event(xs);
		running = is_running(xs, argv[1]);
	}
	end = now_us();
	if (!running) {
		fprintf(stderr, "startwatch: %s is not running\n", argv[2]);
		kill(pid, SIGKILL);
		return 1;
	}
	printf("%llu %u\n", (unsigned long long)(end - begin), pss_kib(pid));
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	return 0;
}
