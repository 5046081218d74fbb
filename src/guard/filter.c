/* SPDX-License-Identifier: MIT */
/* filter.c - see filter.h
 *
 * The filter is a small BPF program that the kernel runs at each system call on what it calls
 * struct seccomp_data: architecture, number, six arguments of 64 bits, of which it can load 32 at a
 * time. It is one block per entry of the lists, in their order:
 *
 *	number != entry's: to the next block
 *	for each test, low half then high half: load, mask, compare; not so: to the next block
 *	allow
 *
 * and SIGSYS at the end. For calls without tests the kernel finds out once, when the filter is
 * installed, that they are always allowed, and does not run it for them; so the length of a list
 * costs nothing where it matters.
 *
 * SECCOMP_RET_TRAP rather than KILL_PROCESS: a signal handler learns the number, so the log can say
 * which call was missing. The handler then repeats a refused call with the signal's default action
 * back in place, which ends the process and leaves SIGSYS as the reason. Code that was taken over
 * cannot make it return: the default lists refuse a change of this signal's action, and a blocked
 * SIGSYS is delivered by force.
 */
#include "guard/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

#ifndef __x86_64__
#error "the lists are those of x86-64"
#endif

#define X32_BIT	     0x40000000u
#define CODE_MAX     2048 /* the kernel takes 4096 */
#define BLOCK_MAX    (2 + FILTER_TESTS * 6)
#define NO_SUCH_CALL 0x3fffffff /* on no list */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static const struct filter_call basic_calls[] = {
	/* descriptors that are there */
	{SYS_read},
	{SYS_write},
	{SYS_readv},
	{SYS_writev},
	{SYS_close},
	{SYS_fstat},
	/* fstat() of newer C libraries; a path could only name what is in our own root */
	{SYS_newfstatat, {FILTER_IS(3, AT_EMPTY_PATH)}},
	{SYS_lseek},
	{SYS_poll},
	{SYS_ppoll},
	/* memory: private, so that the limits count it; nothing executable */
	{SYS_brk},
	{SYS_mmap,
	 {FILTER_WITHOUT(2, PROT_EXEC), {.arg = 3, .mask = MAP_TYPE, .value = MAP_PRIVATE}}},
	{SYS_mprotect, {FILTER_WITHOUT(2, PROT_EXEC)}},
	{SYS_mremap},
	{SYS_munmap},
	{SYS_madvise},
	{SYS_futex},
	/* time: no system calls, unless the clock of the machine is one that only the kernel reads,
	 * as Xen's */
	{SYS_clock_gettime},
	{SYS_clock_getres},
	{SYS_gettimeofday},
	{SYS_time},
	{SYS_nanosleep},
	{SYS_clock_nanosleep},
	{SYS_restart_syscall},
	{SYS_sched_yield},
	{SYS_getrandom},
	/* abort() and its relatives */
	{SYS_rt_sigaction, {FILTER_IS_NOT(0, SIGSYS)}},
	{SYS_rt_sigaction, {FILTER_IS(0, SIGSYS), {.arg = 1, .mask = UINT64_MAX}}},
	{SYS_rt_sigprocmask},
	{SYS_rt_sigreturn},
	{SYS_sigaltstack},
	{SYS_getpid},
	{SYS_gettid},
	{SYS_exit},
	{SYS_exit_group},
};

#if SANITIZED
/* What the sanitizers' run time does, above all on its way to a report. */
static const struct filter_call sanitizer_calls[] = {
	{SYS_mmap, {FILTER_WITHOUT(2, PROT_EXEC)}},
	{SYS_open},
	{SYS_openat},
	{SYS_readlink},
	{SYS_readlinkat},
	{SYS_stat},
	{SYS_newfstatat},
	{SYS_access},
	{SYS_getcwd},
	{SYS_ioctl},
	{SYS_pipe},
	{SYS_pipe2},
	{SYS_prctl, {FILTER_IS(0, PR_GET_NAME)}},
	{SYS_prctl, {FILTER_IS(0, PR_GET_DUMPABLE)}},
	{SYS_getrlimit},
	{SYS_prlimit64, {{.arg = 2, .mask = UINT64_MAX}}},
	{SYS_sched_getaffinity},
	{SYS_getppid},
	{SYS_getuid},
};
static const struct filter_list sanitizer_list = FILTER_LIST(sanitizer_calls);
#endif

const struct filter_list filter_basic = FILTER_LIST(basic_calls);

struct code {
	struct sock_filter at[CODE_MAX];
	unsigned n;
};

static void code_put(struct code *c, uint16_t op, uint32_t k)
{
	c->at[c->n++] = (struct sock_filter)BPF_STMT(op, k);
}

/* Compare with `k` and go on; the branch to the next block is filled in by block_end(), which finds
 * it by its 0xff. */
static void code_need(struct code *c, uint32_t k, bool unlike)
{
	c->at[c->n++] =
		unlike ? (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 0xff, 0)
		       : (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 0, 0xff);
}

/* Half of an argument: 0 the low 32 bits, 1 the high ones. */
static void code_load(struct code *c, const struct filter_test *t, unsigned half)
{
	code_put(c, BPF_LD | BPF_W | BPF_ABS,
		 (uint32_t)(offsetof(struct seccomp_data, args) + 8 * t->arg + 4 * half));
	code_put(c, BPF_ALU | BPF_AND | BPF_K, (uint32_t)(t->mask >> 32 * half));
}

/* Only one half of a mask may be given to a test `unlike`: else it would be an "or". */
static void code_test(struct code *c, const struct filter_test *t)
{
	for (unsigned half = 0; half < 2; half++) {
		if (!(uint32_t)(t->mask >> 32 * half))
			continue;
		code_load(c, t, half);
		code_need(c, (uint32_t)(t->value >> 32 * half), t->unlike);
	}
}

static void code_call(struct code *c, const struct filter_call *call)
{
	unsigned begin = c->n;

	code_need(c, (uint32_t)call->nr, false);
	for (unsigned i = 0; i < FILTER_TESTS; i++)
		code_test(c, &call->test[i]);
	code_put(c, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	for (unsigned i = begin; i < c->n; i++) {
		uint8_t over = (uint8_t)(c->n - i - 1);

		if (BPF_CLASS(c->at[i].code) != BPF_JMP)
			continue;
		if (c->at[i].jt == 0xff)
			c->at[i].jt = over;
		else
			c->at[i].jf = over;
	}
	/* The tests have loaded something else. */
	if (c->n - begin > 2)
		code_put(c, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
}

static bool code_list(struct code *c, const struct filter_list *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		if (c->n + BLOCK_MAX + 2 > CODE_MAX)
			return false;
		code_call(c, &l->calls[i]);
	}
	return true;
}

int filter_install(const struct filter_list *const lists[], unsigned n, struct err *e)
{
	struct code c = {.n = 0};
	struct sock_fprog prog;
	bool fits = true;

	code_put(&c, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	c.at[c.n++] =
		(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	code_put(&c, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	code_put(&c, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	c.at[c.n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
	code_put(&c, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	for (unsigned i = 0; i < n; i++)
		fits = fits && code_list(&c, lists[i]);
#if SANITIZED
	fits = fits && code_list(&c, &sanitizer_list);
#endif
	if (!fits)
		return err_set(e, -E2BIG, "the lists of system calls are too long");
	code_put(&c, BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	prog = (struct sock_fprog){.len = (unsigned short)c.n, .filter = c.at};
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
		return err_set(e, -errno, "could not install the filter of system calls: %s",
			       strerror(errno));
	return 0;
}

static volatile uint32_t *report_at;

/* Once: SA_RESETHAND. The second refusal finds the default action. */
static void on_refused(int sig, siginfo_t *info, void *context)
{
	*report_at = (uint32_t)info->si_syscall + 1;
	for (;;)
		syscall(NO_SUCH_CALL);
}

void filter_report(volatile uint32_t *where)
{
	struct sigaction sa = {.sa_sigaction = on_refused,
			       .sa_flags = (int)(SA_SIGINFO | SA_RESETHAND | SA_NODEFER)};

	report_at = where;
	sigaction(SIGSYS, &sa, NULL);
}
