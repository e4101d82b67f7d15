/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the modules for tests share: a full-cycle order that looks random, and the marks that
 * bench/icount.c looks for.
 */
#ifndef DMFMT_TEST_H
#define DMFMT_TEST_H

#include <linux/types.h>

/*
 * A permutation of 0 .. 2^bits - 1: multiplying by an odd number and folding the upper half into the
 * lower one can both be undone.  Stateless, so that any place of the order can be computed.
 */
static inline u64 dmfmt_mix(u64 x, unsigned int bits, u64 seed)
{
	u64 mask = bits < 64 ? (1ULL << bits) - 1 : ~0ULL;
	unsigned int half = (bits + 1) / 2;

	x = (x + seed) & mask;
	x = (x * 0x9e3779b97f4a7c15ULL) & mask;
	x ^= x >> half;
	x = (x * 0xd1342543de82ef95ULL) & mask;
	return x ^ (x >> half);
}

/* the same for 0 .. nr - 1, where nr fits @bits bits and not fewer */
static inline u64 dmfmt_shuffle(u64 x, u64 nr, unsigned int bits, u64 seed)
{
	do
		x = dmfmt_mix(x, bits, seed);
	while (x >= nr);
	return x;
}

/* No-ops that compilers do not emit: bench/icount.c switches its counters on and off there. */
#ifdef CONFIG_X86
#define dmfmt_mark_start() asm volatile(".byte 0x66, 0x87, 0xdb" ::: "memory") /* xchg %bx,%bx */
#define dmfmt_mark_stop() asm volatile(".byte 0x66, 0x87, 0xc9" ::: "memory")  /* xchg %cx,%cx */
#else
#define dmfmt_mark_start() barrier()
#define dmfmt_mark_stop() barrier()
#endif

#endif
