// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory and RCU for kernel code in a process; see kernel.h. */
#include <stdio.h>

#include "kernel.h"

long shim_live;
long shim_alloc_fail = -1;
bool shim_alloc_dead;

_Thread_local unsigned int shim_reader;
struct shim_slot shim_slots[SHIM_READERS];
unsigned long shim_epoch = 1;

static struct rcu_head *waiting;

static bool alloc_fails(void)
{
	if (shim_alloc_fail < 0)
		return false;
	if (shim_alloc_fail) {
		shim_alloc_fail--;
		return false;
	}
	if (!shim_alloc_dead)
		shim_alloc_fail = -1;
	return true;
}

static void *checked(void *p)
{
	if (!p) {
		fprintf(stderr, "shim: out of memory\n");
		abort();
	}
	return p;
}

struct kmem_cache *kmem_cache_create(const char *name, unsigned int size, unsigned int align,
				     unsigned int flags, void (*ctor)(void *))
{
	struct kmem_cache *c;

	(void)name;
	(void)flags;
	(void)ctor;
	if (alloc_fails())
		return NULL;
	c = checked(malloc(sizeof(*c)));
	c->size = size;
	c->align = align;
	__atomic_add_fetch(&shim_live, 1, __ATOMIC_RELAXED);
	return c;
}

void kmem_cache_destroy(struct kmem_cache *c)
{
	if (c)
		__atomic_sub_fetch(&shim_live, 1, __ATOMIC_RELAXED);
	free(c);
}

/* new memory holds rubbish on purpose: odd bytes look like pointers to leaves */
void *kmem_cache_alloc(struct kmem_cache *c, gfp_t gfp)
{
	void *p;

	(void)gfp;
	if (alloc_fails())
		return NULL;
	p = checked(aligned_alloc(c->align, c->size));
	memset(p, 0xa5, c->size);
	__atomic_add_fetch(&shim_live, 1, __ATOMIC_RELAXED);
	return p;
}

void kmem_cache_free(struct kmem_cache *c, void *p)
{
	memset(p, 0x6b, c->size);
	__atomic_sub_fetch(&shim_live, 1, __ATOMIC_RELAXED);
	free(p);
}

void *kvmalloc(size_t size, gfp_t gfp)
{
	(void)gfp;
	if (alloc_fails())
		return NULL;
	__atomic_add_fetch(&shim_live, 1, __ATOMIC_RELAXED);
	return checked(malloc(size));
}

void kvfree(const void *p)
{
	if (p)
		__atomic_sub_fetch(&shim_live, 1, __ATOMIC_RELAXED);
	free((void *)p);
}

void call_rcu(struct rcu_head *rcu, void (*func)(struct rcu_head *rcu))
{
	rcu->func = func;
	rcu->next = waiting;
	waiting = rcu;
}

/* a grace period: every section that began before this moment has to end */
void rcu_barrier(void)
{
	struct rcu_head *rcu = waiting, *next;
	unsigned long now = __atomic_add_fetch(&shim_epoch, 1, __ATOMIC_SEQ_CST);
	unsigned int i;

	waiting = NULL;
	for (i = 0; i < SHIM_READERS; i++) {
		unsigned long since;

		while ((since = __atomic_load_n(&shim_slots[i].since, __ATOMIC_SEQ_CST)) &&
		       since < now)
			sched_yield();
	}
	for (; rcu; rcu = next) {
		next = rcu->next;
		rcu->func(rcu);
	}
}
