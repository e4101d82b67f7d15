/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Just enough of the kernel's interface to run the data structures of our modules in a process.  The
 * headers under linux/ all lead here.
 *
 * Memory can be made to fail (shim_alloc_fail), is counted (shim_live), and what RCU frees is poisoned
 * and goes through free(), so that the address sanitizer sees a reader that comes too late.
 */
#ifndef SHIM_KERNEL_H
#define SHIM_KERNEL_H

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;
typedef unsigned int gfp_t;

#define GFP_KERNEL 1u
#define GFP_NOWAIT 2u
#define __GFP_NOWARN 4u

#define U32_MAX UINT32_MAX
#define U64_MAX UINT64_MAX

#undef __always_inline
#define __always_inline inline __attribute__((__always_inline__))
#define noinline __attribute__((__noinline__))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define BUILD_BUG_ON(x) _Static_assert(!(x), #x)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))

#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define smp_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

#define min(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a < _b ? _a : _b; })
#define max(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a > _b ? _a : _b; })
#define min_t(t, a, b) min((t)(a), (t)(b))
#define max_t(t, a, b) max((t)(a), (t)(b))
#define min3(a, b, c) min(min(a, b), c)
#define OPTIMIZER_HIDE_VAR(v) __asm__("" : "+r"(v))
#define swap(a, b) do { __typeof__(a) _t = (a); (a) = (b); (b) = _t; } while (0)

static inline int fls64(u64 x)
{
	return x ? 64 - __builtin_clzll(x) : 0;
}

static inline void cond_resched(void)
{
}

static inline void preempt_disable(void)
{
}

static inline void preempt_enable(void)
{
}

/* ---- lists ---- */

struct list_head {
	struct list_head *next, *prev;
};

#define LIST_HEAD(name) struct list_head name = { &(name), &(name) }
#define list_entry(p, type, member) container_of(p, type, member)
#define list_first_entry(h, type, member) list_entry((h)->next, type, member)
#define list_for_each_entry_safe(pos, n, h, member)					\
	for (pos = list_first_entry(h, __typeof__(*pos), member),			\
	     n = list_entry(pos->member.next, __typeof__(*pos), member);		\
	     &pos->member != (h);							\
	     pos = n, n = list_entry(n->member.next, __typeof__(*n), member))

static inline void INIT_LIST_HEAD(struct list_head *h)
{
	h->next = h->prev = h;
}

static inline bool list_empty(const struct list_head *h)
{
	return h->next == h;
}

static inline void list_add(struct list_head *e, struct list_head *h)
{
	e->next = h->next;
	e->prev = h;
	h->next->prev = e;
	h->next = e;
}

static inline void list_del(struct list_head *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	e->next = e->prev = NULL;
}

static inline void list_splice_init(struct list_head *from, struct list_head *to)
{
	if (list_empty(from))
		return;
	from->next->prev = to;
	from->prev->next = to->next;
	to->next->prev = from->prev;
	to->next = from->next;
	INIT_LIST_HEAD(from);
}

/* ---- sequence counts ---- */

typedef struct {
	unsigned int sequence;
} seqcount_t;

static inline void seqcount_init(seqcount_t *s)
{
	s->sequence = 0;
}

static inline unsigned int read_seqcount_begin(const seqcount_t *s)
{
	unsigned int seq;

	while ((seq = __atomic_load_n(&s->sequence, __ATOMIC_ACQUIRE)) & 1)
		sched_yield();
	return seq;
}

static inline bool read_seqcount_retry(const seqcount_t *s, unsigned int seq)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&s->sequence, __ATOMIC_RELAXED) != seq;
}

static inline void write_seqcount_begin(seqcount_t *s)
{
	__atomic_store_n(&s->sequence, s->sequence + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void write_seqcount_end(seqcount_t *s)
{
	__atomic_store_n(&s->sequence, s->sequence + 1, __ATOMIC_RELEASE);
}

/* ---- memory ---- */

extern long shim_live;		/* objects and blocks that are allocated, those waiting for RCU included */
extern long shim_alloc_fail;	/* the allocation that fails, 0: the next one; below 0: none */
extern bool shim_alloc_dead;	/* all after it fail as well */

struct kmem_cache {
	size_t size, align;
};

struct kmem_cache *kmem_cache_create(const char *name, unsigned int size, unsigned int align,
				     unsigned int flags, void (*ctor)(void *));
void kmem_cache_destroy(struct kmem_cache *c);
void *kmem_cache_alloc(struct kmem_cache *c, gfp_t gfp);
void kmem_cache_free(struct kmem_cache *c, void *p);
void *kvmalloc(size_t size, gfp_t gfp);
void kvfree(const void *p);
#define kmalloc kvmalloc
#define kfree kvfree

/* ---- RCU ---- */

struct rcu_head {
	struct rcu_head *next;
	void (*func)(struct rcu_head *rcu);
};

#define SHIM_READERS 16
extern _Thread_local unsigned int shim_reader;		/* each thread that reads has its number */
extern struct shim_slot {
	unsigned long since;
} __attribute__((__aligned__(64))) shim_slots[SHIM_READERS];
extern unsigned long shim_epoch;

/* sections do not nest here */
static inline void rcu_read_lock(void)
{
	unsigned long e = __atomic_load_n(&shim_epoch, __ATOMIC_RELAXED);

	__atomic_exchange_n(&shim_slots[shim_reader].since, e, __ATOMIC_SEQ_CST);
}

static inline void rcu_read_unlock(void)
{
	__atomic_store_n(&shim_slots[shim_reader].since, 0, __ATOMIC_RELEASE);
}

void call_rcu(struct rcu_head *rcu, void (*func)(struct rcu_head *rcu));
void rcu_barrier(void);		/* one thread at a time, not within a write section */

#endif
