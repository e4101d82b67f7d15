/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The exception table: old_chunk -> new_chunk, in memory.
 *
 * A B+tree whose leaves hold runs: @len chunks from old_chunk on lie at @len chunks from new_chunk on.
 * One run takes 12 bytes, so that random chunks cost about 15 bytes each after random insertion (leaves
 * 85 % full) and 12.6 after a bulk build; sequential ones cost next to nothing.
 *
 *	leaf (512 bytes):   u56 base, u8 nr | { u32 old - base, u48 new, u16 len - 1 } [42]
 *	inner (512 bytes):  u64 key[31] | nr | child[32]
 *
 * Lookups take no lock: they run under RCU and are repeated if a writer was at work meanwhile (seqcount).
 * Writers are serialised by the caller.  An insertion or removal never allocates: the caller reserves
 * nodes where it may sleep, before it takes its lock.  Nodes that become empty are freed after a grace
 * period.  The lock has to keep off an interrupt that looks up on the same processor, if there is one.
 */
#ifndef DM_SNAP_TREE_H
#define DM_SNAP_TREE_H

#include <linux/types.h>
#include <linux/seqlock.h>
#include <linux/list.h>

#define SNAP_TREE_NEW_BITS 48		/* new_chunk and old_chunk + len stay below 2^48 and 2^56 */
#define SNAP_TREE_OLD_BITS 56
#define SNAP_TREE_RUN_MAX 65536u
#define SNAP_TREE_DEPTH_MAX 12

struct snap_tree_node;

struct snap_tree {
	struct snap_tree_node *root;	/* NULL: empty */
	seqcount_t seq;
	unsigned int depth;		/* 1: the root is a leaf */
	u64 nr_runs, nr_chunks, nr_nodes;
	struct list_head reserve;	/* nodes that are not in use, */
	unsigned int nr_reserve;	/* their number; both under the caller's lock */
};

/* module load and unload: the cache of nodes */
int snap_tree_module_init(void);
void snap_tree_module_exit(void);

void snap_tree_init(struct snap_tree *t);
/* frees all nodes; no lookup may be running or come; may sleep */
void snap_tree_destroy(struct snap_tree *t);
/* exchange the contents of two trees; no lookup may be running in either */
void snap_tree_swap(struct snap_tree *a, struct snap_tree *b);

/*
 * Nodes for the next insertion or removal, whatever it splits.  snap_tree_needs() tells, under the
 * caller's lock, how many are missing for @ops further operations; snap_tree_node_alloc() may sleep as
 * @gfp says; snap_tree_give() puts one in, under the lock.
 */
unsigned int snap_tree_needs(const struct snap_tree *t, unsigned int ops);
struct snap_tree_node *snap_tree_node_alloc(gfp_t gfp);
void snap_tree_node_free(struct snap_tree_node *n);
void snap_tree_give(struct snap_tree *t, struct snap_tree_node *n);

/**
 * snap_tree_lookup() - where is @old
 * @new: its new_chunk
 * @nr: if not NULL: how many chunks from @old on follow each other on both sides (at least 1)
 * Any context, no lock.  Return: true if there is an exception.
 */
bool snap_tree_lookup(struct snap_tree *t, u64 old, u64 *new, u32 *nr);

/**
 * snap_tree_insert() - @old -> @new; joins runs where it can
 * Under the caller's lock.  Return: 0, -EEXIST if @old is there already, -ENOMEM if the reserve is
 * empty, -ERANGE if a number is too large; nothing has changed then.
 */
int snap_tree_insert(struct snap_tree *t, u64 old, u64 new);

/** snap_tree_remove() - forget @old. Return: 0, -ENOENT, -ENOMEM (a run had to be split) */
int snap_tree_remove(struct snap_tree *t, u64 old);

/** snap_tree_bytes() - memory that the tree holds, its reserve included */
u64 snap_tree_bytes(const struct snap_tree *t);

/* One exception as the loader collects them; sorted in place. */
struct snap_pair {
	u64 old, new;
};

/**
 * snap_pairs_sort_old(), snap_pairs_sort_new() - in place, by one of the two numbers; not stable
 * May sleep.  Never fails: without memory for its counters (about 112 KiB) it sorts more slowly.
 */
void snap_pairs_sort_old(struct snap_pair *p, u64 nr);
void snap_pairs_sort_new(struct snap_pair *p, u64 nr);

/**
 * snap_pairs_check() - duplicates among sorted pairs
 * @p: sorted by old (@by_new false) or by new
 * @twins: number of pairs that are exactly equal to the one before them
 * @bad: an index at which the same old_chunk (new_chunk) as in the pair before has another partner
 * Return: 0, or -EEXIST if there is such a pair.
 */
int snap_pairs_check(const struct snap_pair *p, u64 nr, bool by_new, u64 *twins, u64 *bad);

/**
 * snap_tree_build() - fill an empty tree from pairs sorted by old, exact twins taken once
 * May sleep (GFP_KERNEL allocations: only where a table is loaded).  Leaves are full.
 * Return: 0, or -ENOMEM, -EEXIST (an old_chunk has two partners), -ERANGE; the tree is empty then.
 * -EINVAL if it was not empty, or the pairs are not sorted.
 */
int snap_tree_build(struct snap_tree *t, const struct snap_pair *p, u64 nr);

#endif
