/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one file of format/ that knows whether this is kernel or user space: integer types, byte order,
 * memcpy, errno and 64-bit division.  Sparse keeps __le32 and __le64 apart from numbers in both worlds.
 */
#ifndef DMFMT_FORMAT_ENV_H
#define DMFMT_FORMAT_ENV_H

#ifdef __KERNEL__

#include <linux/types.h>
#include <linux/string.h>
#include <linux/errno.h>
#include <linux/math64.h>
#include <linux/build_bug.h>
#include <asm/byteorder.h>

#define dmfmt_le32_get(p) le32_to_cpu(p)
#define dmfmt_le64_get(p) le64_to_cpu(p)
#define dmfmt_le32_make(v) cpu_to_le32(v)
#define dmfmt_le64_make(v) cpu_to_le64(v)
#define DMFMT_SIZE_IS(type, bytes) static_assert(sizeof(type) == (bytes))

static inline uint64_t dmfmt_div64(uint64_t a, uint64_t b)
{
	return div64_u64(a, b);
}

static inline uint64_t dmfmt_mod64(uint64_t a, uint64_t b)
{
	return a - div64_u64(a, b) * b;
}

#else

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <linux/types.h>

/* freestanding: the compiler brings these four, the C library or the kernel links them */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#ifdef __CHECKER__
#define DMFMT_FORCE __attribute__((force))
#else
#define DMFMT_FORCE
#endif

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define DMFMT_SWAP32(v) __builtin_bswap32(v)
#define DMFMT_SWAP64(v) __builtin_bswap64(v)
#else
#define DMFMT_SWAP32(v) (v)
#define DMFMT_SWAP64(v) (v)
#endif

static inline uint32_t dmfmt_le32_get(__le32 v)
{
	return DMFMT_SWAP32((DMFMT_FORCE uint32_t)v);
}

static inline uint64_t dmfmt_le64_get(__le64 v)
{
	return DMFMT_SWAP64((DMFMT_FORCE uint64_t)v);
}

static inline __le32 dmfmt_le32_make(uint32_t v)
{
	return (DMFMT_FORCE __le32)DMFMT_SWAP32(v);
}

static inline __le64 dmfmt_le64_make(uint64_t v)
{
	return (DMFMT_FORCE __le64)DMFMT_SWAP64(v);
}

#define DMFMT_SIZE_IS(type, bytes) \
	_Static_assert(sizeof(type) == (bytes), "size of " #type " on disk")

static inline uint64_t dmfmt_div64(uint64_t a, uint64_t b)
{
	return a / b;
}

static inline uint64_t dmfmt_mod64(uint64_t a, uint64_t b)
{
	return a % b;
}

#endif
#endif
