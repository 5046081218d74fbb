/* SPDX-License-Identifier: MIT */
/* dmbench.c - one measurement of one device model; bench/run calls it, interleaved, and makes the
 * tables
 *
 *     dmbench --dm BINARY --test NAME [--depth N] ... -- arguments of the device model
 */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP_NS 100000000ULL

static struct bench bench;

void guest_panic(const char *fmt, ...)
{
	va_list ap;

	fputs("dmbench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	guest_kill(&bench.g);
	exit(1);
}

/* --- histogram: 5 bits of mantissa behind the leading one --- */

void hist_add(struct hist *h, uint64_t ns)
{
	unsigned at = (unsigned)ns;

	if (ns >= 32) {
		unsigned shift = 58 - (unsigned)__builtin_clzll(ns);

		at = 32 * shift + (unsigned)(ns >> shift);
	}
	h->bucket[MIN(at, HIST_BUCKETS - 1)]++;
	h->n++;
}

double hist_us(const struct hist *h, double quantile)
{
	uint64_t want = (uint64_t)(quantile * (double)h->n), seen = 0;

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen > want)
			return (i < 64 ? i : (double)((32ULL + i % 32) << (i / 32 - 1))) / 1000;
	}
	return 0;
}

/* --- the device model as a process --- */

/* CPU time of children that have ended and been waited for, in seconds. */
static double reaped_cpu(int pid)
{
	unsigned long user = 0, system = 0;
	char path[64], line[1024];
	const char *p = NULL;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f))
		p = strrchr(line, ')'); /* the name may have blanks */
	/* Fields 16 and 17, the 14th and 15th behind the name (proc(5)). */
	if (p)
		sscanf(p + 1, "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu", &user,
		       &system);
	if (f)
		fclose(f);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

#define TREE_MAX 32

/* A process and all that it started and that are still there, behind the `n` that are in `pids`. */
static unsigned tree_find(int pid, int pids[TREE_MAX], unsigned n)
{
	char path[64];
	int child;
	FILE *f;

	if (n == TREE_MAX)
		return n;
	pids[n++] = pid;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	f = fopen(path, "r");
	while (f && fscanf(f, "%d", &child) == 1)
		n = tree_find(child, pids, n);
	if (f)
		fclose(f);
	return n;
}

double dm_cpu(const struct bench *b)
{
	int pids[TREE_MAX];
	unsigned n = tree_find((int)b->g.pid, pids, 0);
	struct timespec ts;
	clockid_t clock;
	double sum = 0;

	for (unsigned i = 0; i < n; i++) {
		if (clock_getcpuclockid(pids[i], &clock) || clock_gettime(clock, &ts)) {
			if (!i)
				guest_panic("no CPU clock of process %d", pids[i]);
			continue; /* it has just ended */
		}
		sum += (double)ts.tv_sec + (double)ts.tv_nsec / 1e9 + reaped_cpu(pids[i]);
	}
	return sum;
}

unsigned long dm_pss(const struct bench *b, unsigned long *anon)
{
	char path[64], line[512];
	unsigned long sum = 0, n;
	bool ram = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)b->g.pid);
	f = fopen(path, "r");
	if (!f)
		guest_panic("%s: %s", path, strerror(errno));
	*anon = 0;
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			ram = strstr(line, "memfd:ram");
		else if (!ram && sscanf(line, "Pss: %lu kB", &n) == 1)
			sum += n;
		else if (!ram && sscanf(line, "Anonymous: %lu kB", &n) == 1)
			*anon += n;
	}
	fclose(f);
	return sum;
}

/* Call `each` for the status file of every thread; the count. */
static unsigned for_threads(const struct bench *b, bool (*each)(const char *path), bool *all)
{
	char path[64], status[sizeof(path) + NAME_MAX + 16];
	struct dirent *de;
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)b->g.pid);
	d = opendir(path);
	while (d && (de = readdir(d))) {
		if (de->d_name[0] == '.')
			continue;
		n++;
		snprintf(status, sizeof(status), "%s/%s/status", path, de->d_name);
		if (each && !each(status))
			*all = false;
	}
	if (d)
		closedir(d);
	return n;
}

unsigned dm_threads(const struct bench *b)
{
	return for_threads(b, NULL, NULL);
}

/* --- sockets --- */

static int unix_socket(const char *path, struct sockaddr_un *sa)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (fd < 0 || !path || strlen(path) >= sizeof(sa->sun_path))
		guest_panic("no socket for '%s'", path ? path : "(no --path)");
	strcpy(sa->sun_path, path);
	return fd;
}

int bench_connect(const char *path)
{
	struct sockaddr_un sa;
	int fd = unix_socket(path, &sa);

	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		guest_panic("connect %s: %s", path, strerror(errno));
	return fd;
}

int bench_listen(const char *path)
{
	struct sockaddr_un sa;
	int fd = unix_socket(path, &sa);

	unlink(path);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 16))
		guest_panic("listen %s: %s", path, strerror(errno));
	return fd;
}

/* --- system calls: strace attached for the measured time --- */

static bool is_traced(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[256];
	int pid = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "TracerPid: %d", &pid) == 1)
			break;
	if (f)
		fclose(f);
	return !f || pid; /* a thread that has ended needs no tracer */
}

static bool all_traced(const struct bench *b)
{
	bool all = true;

	for_threads(b, is_traced, &all);
	return all;
}

/* Its table goes to our stderr. */
static pid_t trace(const struct bench *b)
{
	char target[TREE_MAX * 12];
	int pids[TREE_MAX];
	unsigned n = tree_find((int)b->g.pid, pids, 0), len = 0;
	pid_t pid = fork();

	for (unsigned i = 0; i < n; i++)
		len += (unsigned)snprintf(target + len, sizeof(target) - len, "%s%d", i ? "," : "",
					  pids[i]);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGINT);
		execlp("strace", "strace", "-q", "-f", "-c", "-p", target, NULL);
		_exit(127);
	}
	if (pid < 0 || !guest_wait((struct guest *)&b->g, all_traced(b)))
		guest_panic("strace does not attach");
	return pid;
}

/* --- the measured time --- */

static void start_clock(struct meter *m, uint64_t ns)
{
	m->begin = now_ns();
	m->deadline = m->begin + ns;
	m->cpu_begin = dm_cpu(m->b);
}

void meter_begin(struct meter *m, struct bench *b)
{
	*m = (struct meter){.b = b};
	if (b->trace)
		m->tracer = trace(b);
	start_clock(m, b->trace ? (uint64_t)(b->seconds * 1e9) : WARM_UP_NS);
}

bool meter_running(struct meter *m)
{
	uint64_t now = now_ns();

	if (now < m->deadline)
		return true;
	if (m->wall || m->tracer)
		return false;
	/* The warm-up is over: forget it. */
	*m = (struct meter){.b = m->b, .wall = 1};
	start_clock(m, (uint64_t)(m->b->seconds * 1e9));
	return true;
}

void meter_end(struct meter *m)
{
	m->cpu = dm_cpu(m->b) - m->cpu_begin;
	m->wall = now_ns() - m->begin;
	if (m->tracer) {
		kill(m->tracer, SIGINT);
		waitpid(m->tracer, NULL, 0);
	}
}

void meter_print(const struct meter *m)
{
	unsigned long anon, pss = dm_pss(m->b, &anon);

	printf("{\"ops\": %llu, \"bytes\": %llu, \"wall\": %.6f, \"cpu\": %.6f, \"p50\": %.3f, "
	       "\"p99\": %.3f, \"kicks\": %llu, \"irqs\": %llu, \"pss\": %lu, \"anon\": %lu, "
	       "\"threads\": %u, \"least\": %.3f, \"idle\": %lu}\n",
	       (unsigned long long)m->ops, (unsigned long long)m->bytes, (double)m->wall / 1e9,
	       m->cpu, hist_us(&m->latency, 0.5), hist_us(&m->latency, 0.99),
	       (unsigned long long)m->kicks, (unsigned long long)m->irqs, pss, anon,
	       dm_threads(m->b), m->least, m->b->idle);
}

/* --- options --- */

static const struct {
	const char *name;
	void (*run)(struct bench *b);
} tests[] = {
	{"disk", bench_disk},
	{"exit", bench_exit},
	{"fair", bench_fair},
	{"floor", bench_floor},
	{"net-rx", bench_net_rx},
	{"net-tx", bench_net_tx},
	{"p9-create", bench_p9_create},
	{"p9-read", bench_p9_read},
	{"p9-readdir", bench_p9_readdir},
	{"p9-stat", bench_p9_stat},
	{"p9-write", bench_p9_write},
	{"rng", bench_rng},
	{"serial-rx", bench_serial_rx},
	{"serial-tx", bench_serial_tx},
	{"start", bench_start},
	{"user-rx", bench_user_rx},
	{"user-tcp", bench_user_tcp},
	{"user-tcp-rx", bench_user_tcp_rx},
	{"user-tx", bench_user_tx},
	{"vsock-connect", bench_vsock_connect},
	{"vsock-rx", bench_vsock_rx},
	{"vsock-tx", bench_vsock_tx},
};

enum {
	DM,
	TEST,
	DEPTH,
	QUEUES,
	LEN,
	DEVICES,
	SECONDS,
	RATE,
	PACKED,
	WRITE,
	TAP,
	SOCKET,
	RAM,
	VCPUS,
	TRACE
};

static const struct option longs[] = {
	{"dm", required_argument, NULL, DM},	       {"test", required_argument, NULL, TEST},
	{"depth", required_argument, NULL, DEPTH},     {"queues", required_argument, NULL, QUEUES},
	{"devices", required_argument, NULL, DEVICES}, {"len", required_argument, NULL, LEN},
	{"seconds", required_argument, NULL, SECONDS}, {"rate", required_argument, NULL, RATE},
	{"packed", no_argument, NULL, PACKED},	       {"write", no_argument, NULL, WRITE},
	{"tap", required_argument, NULL, TAP},	       {"path", required_argument, NULL, SOCKET},
	{"ram", required_argument, NULL, RAM},	       {"vcpus", required_argument, NULL, VCPUS},
	{"trace", no_argument, NULL, TRACE},	       {0},
};

static void parse(struct bench *b, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case DM:
			b->config.binary = optarg;
			break;
		case TEST:
			b->test = optarg;
			break;
		case DEPTH:
			b->depth = (unsigned)atoi(optarg);
			break;
		case QUEUES:
			b->queues = (unsigned)atoi(optarg);
			break;
		case DEVICES:
			b->devices = (unsigned)atoi(optarg);
			break;
		case LEN:
			b->len = (unsigned)atoi(optarg);
			break;
		case SECONDS:
			b->seconds = atof(optarg);
			break;
		case RATE:
			b->rate = atof(optarg);
			break;
		case PACKED:
			b->features |= GV_F_PACKED;
			break;
		case WRITE:
			b->write = true;
			break;
		case TAP:
			b->tap = optarg;
			break;
		case SOCKET:
			b->path = optarg;
			break;
		case RAM:
			b->config.ram = strtoull(optarg, NULL, 0) * MiB;
			break;
		case VCPUS:
			b->config.vcpus = (unsigned)atoi(optarg);
			break;
		case TRACE:
			b->trace = true;
			break;
		default:
			exit(2);
		}
	}
	b->config.args = (const char *const *)argv + optind;
}

int main(int argc, char **argv)
{
	struct bench *b = &bench;

	b->depth = b->queues = b->devices = 1;
	b->len = 4096;
	b->seconds = 0.5;
	b->features = GV_F_RING;
	b->test = "";
	parse(b, argc, argv);
	/* A tap lives in a namespace of our own. */
	if (b->tap && unshare(CLONE_NEWNET))
		guest_panic("no network namespace: %s", strerror(errno));
	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
		if (strcmp(b->test, tests[i].name))
			continue;
		tests[i].run(b);
		return 0;
	}
	guest_panic("no test '%s'", b->test);
}
