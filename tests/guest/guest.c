/* SPDX-License-Identifier: MIT */
/* guest.c - see guest.h */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"

#define ARGS_MAX 256

/* --- the child --- */

struct argv {
	char *v[ARGS_MAX];
	unsigned n;
};

static void arg(struct argv *a, const char *fmt, ...)
{
	va_list ap;

	if (a->n == ARGS_MAX - 1)
		guest_panic("too many arguments");
	va_start(ap, fmt);
	if (vasprintf(&a->v[a->n++], fmt, ap) < 0)
		guest_panic("out of memory");
	va_end(ap);
}

/* What is the same for both: RAM, the socket, no surprises. */
static void common_args(struct argv *a, const struct guest *g, unsigned vcpus)
{
	arg(a, "-object");
	arg(a, "memory-backend-file,id=ram,mem-path=/proc/%d/fd/%d,size=%llu,share=on",
	    (int)getpid(), g->ram_fd, (unsigned long long)g->ram);
	arg(a, "-m");
	arg(a, "%lluM", (unsigned long long)(g->ram / MiB));
	arg(a, "-smp");
	arg(a, "%u", vcpus);
	arg(a, "-qtest");
	arg(a, "unix:%s/qtest", g->dir);
	arg(a, "-qtest-log");
	arg(a, "none");
	arg(a, "-nodefaults");
	arg(a, "-no-user-config");
	arg(a, "-display");
	arg(a, "none");
}

/* A vCPU that halts with interrupts off: the guest is us. */
static int halting_bios(void)
{
	static uint8_t rom[64 * KiB];
	int fd = memfd_create("bios", 0);

	memset(rom, 0xf4, sizeof(rom));
	if (fd < 0 || write(fd, rom, sizeof(rom)) != (ssize_t)sizeof(rom))
		guest_panic("could not make the BIOS: %s", strerror(errno));
	return fd;
}

static void build_args(struct argv *a, const struct guest *g, const struct guest_config *c,
		       const char *binary, int bios)
{
	arg(a, "%s", binary);
	arg(a, "-machine");
	if (g->qemu) {
		arg(a, "microvm,pcie=on,memory-backend=ram");
		arg(a, "-accel");
		arg(a, "tcg");
		arg(a, "-bios");
		arg(a, "/proc/%d/fd/%d", (int)getpid(), bios);
	} else {
		arg(a, "xenpvh,memory-backend=ram");
		arg(a, "-accel");
		arg(a, "qtest");
	}
	common_args(a, g, c->vcpus ? c->vcpus : 1);
	for (unsigned i = 0; c->args && c->args[i]; i++)
		arg(a, "%s", c->args[i]);
}

static bool kept(const struct guest_config *c, int fd)
{
	for (unsigned i = 0; i < ARRAY_SIZE(c->keep_fds) && c->keep_fds[i]; i++)
		if (c->keep_fds[i] == fd)
			return true;
	return false;
}

static void run_child(struct guest *g, const struct guest_config *c, char **argv, pid_t parent)
{
	/* No machine outlives its test. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	if (!c->noisy)
		dup2(g->log_fd, STDERR_FILENO);
	for (int fd = 3; fd < 1024; fd++)
		if (!kept(c, fd))
			close(fd);
	execvp(argv[0], argv);
	dprintf(STDERR_FILENO, "exec %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int listen_in(struct guest *g)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(g->dir, "/tmp/guest-XXXXXX");
	if (fd < 0 || !mkdtemp(g->dir))
		guest_panic("could not make the socket: %s", strerror(errno));
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/qtest", g->dir);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 1))
		guest_panic("could not listen: %s", strerror(errno));
	return fd;
}

/* Accept the child's connection, unless the child ends first. */
static void accept_child(struct guest *g, int listener)
{
	int pidfd = (int)syscall(SYS_pidfd_open, g->pid, 0);
	struct pollfd p[2] = {{.fd = listener, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};

	if (poll(p, 2, GUEST_WAIT_MS) > 0 && p[0].revents & POLLIN)
		g->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(pidfd);
	if (g->fd < 0) {
		char *text = guest_log(g);

		guest_kill(g);
		guest_panic("the device model did not connect; it said: %s", text);
	}
}

static void remove_dir(struct guest *g)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/qtest", g->dir);
	unlink(path);
	rmdir(g->dir);
}

static void make_ram(struct guest *g, uint64_t size)
{
	g->ram = size;
	g->ram_low = MIN(size, GUEST_LOW_MAX);
	g->ram_fd = memfd_create("ram", 0);
	if (g->ram_fd < 0 || ftruncate(g->ram_fd, (off_t)size))
		guest_panic("could not make RAM: %s", strerror(errno));
	g->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, g->ram_fd, 0);
	if (g->map == MAP_FAILED)
		guest_panic("could not map RAM: %s", strerror(errno));
	/* Below 1 MiB a PC has other things. */
	g->next_low = 1 * MiB;
	g->next_high = GUEST_HIGH_BASE;
	g->next_bar = GUEST_MMIO_BASE;
}

void guest_start(struct guest *g, const struct guest_config *c)
{
	const char *binary = c->binary ? c->binary : getenv("GUEST_DM"), *name;
	struct argv a = {0};
	int listener, bios = -1;
	pid_t parent = getpid();

	memset(g, 0, sizeof(*g));
	g->features = c->features;
	g->fd = g->ram_fd = g->log_fd = -1;
	if (!binary)
		binary = GUEST_DM_DEFAULT;
	name = strrchr(binary, '/');
	g->qemu = !strncmp(name ? name + 1 : binary, "qemu", 4);
	make_ram(g, c->ram ? c->ram : GUEST_RAM_DEFAULT);
	g->log_fd = memfd_create("log", MFD_CLOEXEC);
	if (g->qemu)
		bios = halting_bios();
	listener = listen_in(g);
	build_args(&a, g, c, binary, bios);
	g->pid = fork();
	if (g->pid < 0)
		guest_panic("fork: %s", strerror(errno));
	if (!g->pid)
		run_child(g, c, a.v, parent);
	for (unsigned i = 0; i < a.n; i++)
		free(a.v[i]);
	accept_child(g, listener);
	close(listener);
	remove_dir(g);
	if (strcmp(guest_ask(g, "endianness"), "OK little"))
		guest_panic("the device model does not speak qtest");
	if (bios >= 0)
		close(bios);
}

char *guest_log(struct guest *g)
{
	struct stat st;
	char *text;

	if (g->log_fd < 0 || fstat(g->log_fd, &st))
		return strdup("");
	text = calloc(1, (size_t)st.st_size + 1);
	if (text && pread(g->log_fd, text, (size_t)st.st_size, 0) < 0)
		text[0] = '\0';
	return text;
}

static void free_all(struct guest *g)
{
	if (g->fd >= 0)
		close(g->fd);
	if (g->log_fd >= 0)
		close(g->log_fd);
	if (g->map)
		munmap(g->map, g->ram);
	if (g->ram_fd >= 0)
		close(g->ram_fd);
	g->fd = g->log_fd = g->ram_fd = -1;
	g->map = NULL;
	g->ram = 0;
}

int guest_reap(struct guest *g)
{
	struct pollfd p = {.fd = (int)syscall(SYS_pidfd_open, g->pid, 0), .events = POLLIN};
	int status = -1, n = poll(&p, 1, GUEST_WAIT_MS);

	close(p.fd);
	if (n != 1) {
		char *text = guest_log(g);

		guest_kill(g);
		guest_panic("the device model does not end; it said: %s", text);
	}
	waitpid(g->pid, &status, 0);
	g->pid = 0;
	return status;
}

void guest_stop(struct guest *g)
{
	int status = 0;
	char *text;

	if (g->pid) {
		kill(g->pid, SIGTERM);
		status = guest_reap(g);
	}
	text = guest_log(g);
	free_all(g);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		guest_panic("the device model ended with status 0x%x; it said: %s",
			    (unsigned)status, text);
	free(text);
}

void guest_kill(struct guest *g)
{
	if (g->pid > 0) {
		kill(g->pid, SIGKILL);
		waitpid(g->pid, NULL, 0);
		g->pid = 0;
	}
	if (g->ram) {
		remove_dir(g);
		free_all(g);
	}
}

/* --- the protocol --- */

static void lost(struct guest *g, const char *what)
{
	char *text = guest_log(g);

	guest_panic("the device model %s; it said: %s", what, text);
}

static void send_all(struct guest *g, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = send(g->fd, buf, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			lost(g, "has gone");
		buf += n;
		len -= (size_t)n;
	}
}

static void fill(struct guest *g)
{
	struct pollfd p = {.fd = g->fd, .events = POLLIN};
	ssize_t n;

	memmove(g->in, g->in + g->in_pos, g->in_len - g->in_pos);
	g->in_len -= g->in_pos;
	g->in_pos = 0;
	if (g->in_len == sizeof(g->in))
		lost(g, "sends an endless line");
	n = recv(g->fd, g->in + g->in_len, sizeof(g->in) - g->in_len, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN) {
		if (poll(&p, 1, GUEST_WAIT_MS) == 0)
			lost(g, "does not answer");
		n = recv(g->fd, g->in + g->in_len, sizeof(g->in) - g->in_len, 0);
	}
	if (n <= 0)
		lost(g, "has gone");
	g->in_len += (size_t)n;
}

/* The next line, without its newline. */
static char *next_line(struct guest *g)
{
	char *nl, *line;

	while (!(nl = memchr(g->in + g->in_pos, '\n', g->in_len - g->in_pos)))
		fill(g);
	*nl = '\0';
	line = g->in + g->in_pos;
	g->in_pos = (size_t)(nl + 1 - g->in);
	return line;
}

/* The next answer; interrupt lines that come before it are noted. */
static char *next_answer(struct guest *g)
{
	char *line;
	unsigned n;

	for (;;) {
		line = next_line(g);
		if (sscanf(line, "IRQ raise %u", &n) == 1 && n < ARRAY_SIZE(g->irq))
			g->irq[n] = true;
		else if (sscanf(line, "IRQ lower %u", &n) == 1 && n < ARRAY_SIZE(g->irq))
			g->irq[n] = false;
		else
			return line;
	}
}

static void expect_ok(struct guest *g)
{
	char *line = next_answer(g);

	if (strncmp(line, "OK", 2))
		guest_panic("the device model answered '%s'", line);
}

void guest_sync(struct guest *g)
{
	for (; g->unanswered; g->unanswered--)
		expect_ok(g);
}

static char size_letter(unsigned size)
{
	switch (size) {
	case 1:
		return 'b';
	case 2:
		return 'w';
	case 4:
		return 'l';
	case 8:
		return 'q';
	}
	guest_panic("an access of %u bytes", size);
}

uint64_t guest_load(struct guest *g, uint64_t addr, unsigned size)
{
	char buf[64], *line;
	int n = snprintf(buf, sizeof(buf), "read%c 0x%llx\n", size_letter(size),
			 (unsigned long long)addr);

	send_all(g, buf, (size_t)n);
	guest_sync(g);
	line = next_answer(g);
	if (strncmp(line, "OK 0x", 5))
		guest_panic("the device model answered '%s' to '%s'", line, buf);
	return strtoull(line + 3, NULL, 16);
}

void guest_store_async(struct guest *g, uint64_t addr, unsigned size, uint64_t value)
{
	char buf[64];
	int n = snprintf(buf, sizeof(buf), "write%c 0x%llx 0x%llx\n", size_letter(size),
			 (unsigned long long)addr, (unsigned long long)value);

	/* Each small answer takes a buffer of the kernel's: some 270 fill the socket, and then the
	 * other side waits for us. */
	if (g->unanswered >= 64)
		guest_sync(g);
	send_all(g, buf, (size_t)n);
	g->unanswered++;
}

void guest_store(struct guest *g, uint64_t addr, unsigned size, uint64_t value)
{
	guest_store_async(g, addr, size, value);
	guest_sync(g);
}

const char *guest_ask(struct guest *g, const char *fmt, ...)
{
	char buf[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof(buf) - 1, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(buf) - 1)
		guest_panic("a line too long");
	buf[n++] = '\n';
	guest_sync(g);
	send_all(g, buf, (size_t)n);
	return next_answer(g);
}

void guest_send_lines(struct guest *g, const char *lines, size_t len, unsigned n)
{
	guest_sync(g);
	send_all(g, lines, len);
	while (n--)
		expect_ok(g);
}

/* --- RAM --- */

void *guest_ptr(struct guest *g, uint64_t gpa, uint64_t len)
{
	if (range_ok(gpa, len, g->ram_low))
		return g->map + gpa;
	if (gpa >= GUEST_HIGH_BASE && range_ok(gpa - GUEST_HIGH_BASE, len, g->ram - g->ram_low))
		return g->map + g->ram_low + (gpa - GUEST_HIGH_BASE);
	guest_panic("0x%llx+0x%llx is not RAM", (unsigned long long)gpa, (unsigned long long)len);
}

static uint64_t take(struct guest *g, uint64_t *next, uint64_t size, uint64_t align)
{
	uint64_t at = ALIGN_UP(*next, align);

	memset(guest_ptr(g, at, size), 0, size);
	*next = at + size;
	return at;
}

uint64_t guest_alloc(struct guest *g, uint64_t size, uint64_t align)
{
	return take(g, &g->next_low, size, align);
}

uint64_t guest_alloc_high(struct guest *g, uint64_t size, uint64_t align)
{
	return take(g, &g->next_high, size, align);
}

uint64_t guest_low_end(const struct guest *g)
{
	return g->ram_low;
}

/* --- waiting --- */

bool guest_tick(struct guest *g, struct guest_timer *t, unsigned ms)
{
	uint64_t now = now_ns();
	char byte;

	if (!t->deadline)
		t->deadline = now + ms * 1000000ULL;
	if (++t->spins % 256 == 0 && recv(g->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		lost(g, "has gone");
	sched_yield();
	return now < t->deadline;
}
