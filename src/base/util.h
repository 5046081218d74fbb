/* SPDX-License-Identifier: MIT */
/* util.h - small things that every folder needs: container_of, checked sums, byte order, clock */
#ifndef BASE_UTIL_H
#define BASE_UTIL_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define ARRAY_SIZE(a)	 (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)	 ((a) < (b) ? (a) : (b))
#define MAX(a, b)	 ((a) > (b) ? (a) : (b))
#define ALIGN_UP(x, a)	 (((x) + ((a)-1)) & ~((__typeof__(x))(a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1))
#define KiB		 (1ULL << 10)
#define MiB		 (1ULL << 20)
#define GiB		 (1ULL << 30)
#define likely(x)	 __builtin_expect(!!(x), 1)
#define unlikely(x)	 __builtin_expect(!!(x), 0)

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Sums and products of numbers that come from outside: false when the result does not fit. */
#define add_ok(a, b, sum)  (!__builtin_add_overflow(a, b, sum))
#define mul_ok(a, b, prod) (!__builtin_mul_overflow(a, b, prod))

/* True when [off, off + len) lies inside [0, size). */
static inline bool range_ok(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static inline bool is_pow2(uint64_t x)
{
	return x && !(x & (x - 1));
}

/* Little-endian loads and stores at any alignment. */
static inline uint16_t get_le16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t get_le32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t get_le64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline void put_le16(void *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_le32(void *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_le64(void *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

/* Give the whole pages of private memory [p, p + n) back to the kernel: what was in them is lost,
 * and is zeroes from now on. */
static inline void mem_forget(void *p, size_t n)
{
	uintptr_t page = 4096, from = ALIGN_UP((uintptr_t)p, page);
	uintptr_t to = ALIGN_DOWN((uintptr_t)p + n, page);

	if (to > from)
		madvise((void *)from, to - from, MADV_DONTNEED);
}

/* Monotonic time in nanoseconds. */
static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

#endif
