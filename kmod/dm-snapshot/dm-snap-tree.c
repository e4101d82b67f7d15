// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The exception table in memory; see dm-snap-tree.h for the contract.
 *
 *	root --> inner: keys k0 k1 ...   child i holds the chunks from key i-1 up to key i (exclusive)
 *	          |  |  |
 *	         leaf leaf leaf          runs, sorted; every chunk of a run belongs to the range of its leaf
 *
 * Why a reader that takes no lock is safe, whatever a writer does at the same time:
 *
 *  - The lowest bit of a pointer to a node says "leaf".  A node never becomes one of the other kind, nor
 *    one of another level, before a grace period has passed, so a descent ends after a few steps.
 *  - Both searches go through a fixed number of steps over arrays whose unused slots hold the greatest
 *    number.  Whatever they find there while a writer moves things, the result is an index within the node.
 *  - A slot for a child holds NULL or a node that is in the tree, or was in it when the reader came: slots
 *    are written as one word each, and cleared before the node that they named is handed to RCU.
 *  - The head that RCU (or the list of the reserve) needs lies over keys, never over pointers.
 *  - What was found in the meantime is thrown away if the sequence number has changed.
 */
#include <linux/bitops.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "dm-snap-tree.h"

#define LEAF_RUNS 42u
#define INNER_KIDS 32u
#define NODE_BYTES 512u

#define NO_DELTA U32_MAX	/* an unused slot of a leaf */
#define NO_KEY U64_MAX		/* an unused slot of an inner node */

#define LEND_MAX (LEAF_RUNS - 4)	/* a neighbour with more runs is not worth the moving */
#define MERGE_LOW 10u			/* a leaf with so few runs moves in with a sibling, */
#define MERGE_FILL 32u			/* if no more than so many are together then */

#define BASE_MASK ((1ULL << SNAP_TREE_OLD_BITS) - 1)

/* Lengths and the upper halves of new_chunk share words: 16 bits each. */
struct snap_leaf {
	u64 head;			/* base, and the number of runs in the top byte */
	u32 old[LEAF_RUNS];		/* first old_chunk, counted from base */
	u32 new_lo[LEAF_RUNS];
	u32 new_hi_len[LEAF_RUNS];	/* len - 1 in the upper half */
};

struct snap_inner {
	u64 key[INNER_KIDS - 1];
	unsigned long nr;		/* children */
	struct snap_tree_node *child[INNER_KIDS];
};

struct snap_tree_node {
	union {
		struct snap_leaf leaf;
		struct snap_inner inner;
		struct rcu_head rcu;
		struct list_head list;
	};
};

struct run {
	u64 old, new;
	u32 len;
};

struct path {
	struct snap_tree_node *node[SNAP_TREE_DEPTH_MAX];	/* inner nodes, from the root on */
	u8 idx[SNAP_TREE_DEPTH_MAX];				/* the child taken in each */
	struct snap_leaf *leaf;
	unsigned int pos;					/* runs in it that start at or before */
};

/* the leaf beside another one, and the key that parts the two */
struct beside {
	struct snap_leaf *leaf;
	u64 *key;
};

static struct kmem_cache *node_cache;

int snap_tree_module_init(void)
{
	BUILD_BUG_ON(sizeof(struct snap_tree_node) != NODE_BYTES);
	BUILD_BUG_ON(offsetof(struct snap_inner, child) < sizeof(struct rcu_head));
	BUILD_BUG_ON(SNAP_TREE_RUN_MAX != 1u << 16 || SNAP_TREE_NEW_BITS != 48);

	node_cache = kmem_cache_create("dm_snap_tree_node", NODE_BYTES, 64, 0, NULL);
	return node_cache ? 0 : -ENOMEM;
}

void snap_tree_module_exit(void)
{
	rcu_barrier();		/* nodes on their way back to the cache */
	kmem_cache_destroy(node_cache);
	node_cache = NULL;
}

/* ---- nodes ---- */

static inline bool is_leaf(const struct snap_tree_node *n)
{
	return (unsigned long)n & 1;
}

static inline struct snap_tree_node *tag_leaf(struct snap_leaf *l)
{
	return (struct snap_tree_node *)((unsigned long)l | 1);
}

static inline struct snap_leaf *to_leaf(struct snap_tree_node *n)
{
	return (struct snap_leaf *)((unsigned long)n - 1);
}

static inline struct snap_tree_node *leaf_node(struct snap_leaf *l)
{
	return container_of(l, struct snap_tree_node, leaf);
}

struct snap_tree_node *snap_tree_node_alloc(gfp_t gfp)
{
	return kmem_cache_alloc(node_cache, gfp);
}

void snap_tree_node_free(struct snap_tree_node *n)
{
	if (n)
		kmem_cache_free(node_cache, n);
}

void snap_tree_give(struct snap_tree *t, struct snap_tree_node *n)
{
	list_add(&n->list, &t->reserve);
	t->nr_reserve++;
}

/* the caller knows that there is one */
static struct snap_tree_node *take_node(struct snap_tree *t)
{
	struct snap_tree_node *n = list_first_entry(&t->reserve, struct snap_tree_node, list);

	list_del(&n->list);
	t->nr_reserve--;
	t->nr_nodes++;
	return n;
}

static void free_node_rcu(struct rcu_head *rcu)
{
	kmem_cache_free(node_cache, container_of(rcu, struct snap_tree_node, rcu));
}

static void retire_node(struct snap_tree *t, struct snap_tree_node *n)
{
	t->nr_nodes--;
	call_rcu(&n->rcu, free_node_rcu);
}

static struct snap_leaf *init_leaf(struct snap_tree_node *n)
{
	n->leaf.head = 0;
	memset(n->leaf.old, 0xff, sizeof(n->leaf.old));
	return &n->leaf;
}

static struct snap_inner *init_inner(struct snap_tree_node *n)
{
	unsigned int i;

	memset(n->inner.key, 0xff, sizeof(n->inner.key));
	n->inner.nr = 0;
	for (i = 0; i < INNER_KIDS; i++)
		n->inner.child[i] = NULL;
	return &n->inner;
}

/* The release makes the contents of a new node visible before the pointer that leads to it. */
static inline void set_child(struct snap_inner *in, unsigned int i, struct snap_tree_node *n)
{
	smp_store_release(&in->child[i], n);
}

static inline void set_root(struct snap_tree *t, struct snap_tree_node *n)
{
	smp_store_release(&t->root, n);
}

/* A reader spins while a write section is open: it must not be preempted, on no kind of kernel. */
static inline void write_begin(struct snap_tree *t)
{
	preempt_disable();
	write_seqcount_begin(&t->seq);
}

static inline void write_end(struct snap_tree *t)
{
	write_seqcount_end(&t->seq);
	preempt_enable();
}

/* ---- searching ---- */

/*
 * One step: go on @step slots later if slot @step - 1 is not above @x.  Hiding the target makes it a
 * conditional move: random lookups would mispredict every other branch, and arithmetic takes twice the
 * instructions.
 */
#define SEARCH_STEP(k, step, x) do {						\
	__typeof__(k) _far = (k) + (step);					\
										\
	OPTIMIZER_HIDE_VAR(_far);						\
	(k) = (k)[(step) - 1] <= (x) ? _far : (k);				\
} while (0)

/* how many keys are not above @old: 31 slots in five steps, the last result is in 0..31 */
static __always_inline size_t inner_search(const struct snap_inner *in, u64 old)
{
	const u64 *k = in->key;

	BUILD_BUG_ON(ARRAY_SIZE(in->key) != 31);
	SEARCH_STEP(k, 16, old);
	SEARCH_STEP(k, 8, old);
	SEARCH_STEP(k, 4, old);
	SEARCH_STEP(k, 2, old);
	SEARCH_STEP(k, 1, old);
	return k - in->key;
}

/* how many runs start at or before base + @delta: one step leaves 31 of the 42 slots */
static __always_inline size_t leaf_search(const struct snap_leaf *l, u32 delta)
{
	const u32 *k = l->old;

	BUILD_BUG_ON(ARRAY_SIZE(l->old) != 31 + 11);
	SEARCH_STEP(k, 11, delta);
	SEARCH_STEP(k, 16, delta);
	SEARCH_STEP(k, 8, delta);
	SEARCH_STEP(k, 4, delta);
	SEARCH_STEP(k, 2, delta);
	SEARCH_STEP(k, 1, delta);
	return k - l->old;
}

static inline u64 leaf_base(const struct snap_leaf *l)
{
	return l->head & BASE_MASK;
}

static inline unsigned int leaf_nr(const struct snap_leaf *l)
{
	return l->head >> SNAP_TREE_OLD_BITS;
}

static inline void leaf_set_head(struct snap_leaf *l, u64 base, unsigned int nr)
{
	WRITE_ONCE(l->head, base | (u64)nr << SNAP_TREE_OLD_BITS);
}

/* what a reader sees at one moment; only to be trusted if no writer was at work */
static __always_inline bool lookup_once(struct snap_tree *t, u64 old, u64 *new, u32 *nr)
{
	struct snap_tree_node *n = READ_ONCE(t->root);
	const struct snap_leaf *l;
	size_t pos;
	u32 hi_len;
	u64 delta;

	while (!is_leaf(n)) {
		if (unlikely(!n))
			return false;
		n = READ_ONCE(n->inner.child[inner_search(&n->inner, old)]);
	}
	l = to_leaf(n);
	delta = old - (READ_ONCE(l->head) & BASE_MASK);
	if ((s64)delta < 0)
		return false;
	pos = leaf_search(l, delta < NO_DELTA ? (u32)delta : NO_DELTA - 1);
	if (!pos--)
		return false;
	delta -= READ_ONCE(l->old[pos]);
	hi_len = READ_ONCE(l->new_hi_len[pos]);
	if (delta > hi_len >> 16)
		return false;
	*new = ((u64)(hi_len & 0xffff) << 32 | READ_ONCE(l->new_lo[pos])) + delta;
	*nr = (hi_len >> 16) + 1 - (u32)delta;
	return true;
}

bool snap_tree_lookup(struct snap_tree *t, u64 old, u64 *new, u32 *nr)
{
	unsigned int seq;
	u64 found_new = 0;
	u32 found_nr = 0;
	bool found;

	if (unlikely(old >> SNAP_TREE_OLD_BITS))
		return false;
	rcu_read_lock();
	do {
		seq = read_seqcount_begin(&t->seq);
		found = lookup_once(t, old, &found_new, &found_nr);
	} while (read_seqcount_retry(&t->seq, seq));
	rcu_read_unlock();

	if (!found)
		return false;
	*new = found_new;
	if (nr)
		*nr = found_nr;
	return true;
}

/* the same for a writer, who remembers the way; the tree is not empty */
static void find(struct snap_tree *t, u64 old, struct path *p)
{
	struct snap_tree_node *n = t->root;
	unsigned int lvl = 0;
	u64 base;

	while (!is_leaf(n)) {
		p->node[lvl] = n;
		p->idx[lvl] = inner_search(&n->inner, old);
		n = n->inner.child[p->idx[lvl++]];
	}
	p->leaf = to_leaf(n);
	base = leaf_base(p->leaf);
	if (old < base)
		p->pos = 0;
	else
		p->pos = leaf_search(p->leaf, min_t(u64, old - base, NO_DELTA - 1));
}

/* ---- runs of one leaf ---- */

static inline u64 leaf_at(const struct snap_leaf *l, unsigned int i)
{
	return leaf_base(l) + l->old[i];
}

static inline u64 leaf_last(const struct snap_leaf *l)
{
	return leaf_at(l, leaf_nr(l) - 1);
}

static void leaf_get(const struct snap_leaf *l, unsigned int i, struct run *r)
{
	r->old = leaf_at(l, i);
	r->new = (u64)(l->new_hi_len[i] & 0xffff) << 32 | l->new_lo[i];
	r->len = (l->new_hi_len[i] >> 16) + 1;
}

/* @r->old is within reach of the base */
static void leaf_put(struct snap_leaf *l, unsigned int i, const struct run *r)
{
	l->old[i] = r->old - leaf_base(l);
	l->new_lo[i] = r->new;
	l->new_hi_len[i] = (r->len - 1) << 16 | (u32)(r->new >> 32);
}

static void leaf_set_len(struct snap_leaf *l, unsigned int i, u32 len)
{
	l->new_hi_len[i] = (len - 1) << 16 | (l->new_hi_len[i] & 0xffff);
}

/* Could a run that begins at @old be told from the same base as all others? */
static bool leaf_fits(const struct snap_leaf *l, u64 old)
{
	if (!leaf_nr(l))
		return true;
	return max(old, leaf_last(l)) - min(old, leaf_at(l, 0)) < NO_DELTA;
}

static void leaf_rebase(struct snap_leaf *l, u64 base)
{
	unsigned int i, nr = leaf_nr(l);
	u32 add = leaf_base(l) - base;

	for (i = 0; i < nr; i++)
		l->old[i] += add;
	leaf_set_head(l, base, nr);
}

/* choose a base from which @old can be told; it fits */
static void leaf_reach(struct snap_leaf *l, u64 old)
{
	u64 base = leaf_base(l);

	if (!leaf_nr(l))
		leaf_set_head(l, old, 0);
	else if (old < base || old - base >= NO_DELTA)
		leaf_rebase(l, min(old, leaf_at(l, 0)));
}

static void leaf_open(struct snap_leaf *l, unsigned int pos, unsigned int n)
{
	unsigned int tail = leaf_nr(l) - pos;

	memmove(l->old + pos + n, l->old + pos, tail * sizeof(u32));
	memmove(l->new_lo + pos + n, l->new_lo + pos, tail * sizeof(u32));
	memmove(l->new_hi_len + pos + n, l->new_hi_len + pos, tail * sizeof(u32));
	leaf_set_head(l, leaf_base(l), leaf_nr(l) + n);
}

static void leaf_close(struct snap_leaf *l, unsigned int pos, unsigned int n)
{
	unsigned int nr = leaf_nr(l), tail = nr - pos - n, i;

	memmove(l->old + pos, l->old + pos + n, tail * sizeof(u32));
	memmove(l->new_lo + pos, l->new_lo + pos + n, tail * sizeof(u32));
	memmove(l->new_hi_len + pos, l->new_hi_len + pos + n, tail * sizeof(u32));
	for (i = nr - n; i < nr; i++)
		l->old[i] = NO_DELTA;
	leaf_set_head(l, leaf_base(l), nr - n);
}

/* there is room, and it fits */
static void leaf_insert(struct snap_leaf *l, unsigned int pos, const struct run *r)
{
	leaf_reach(l, r->old);
	leaf_open(l, pos, 1);
	leaf_put(l, pos, r);
}

/* @n runs from @src at @spos go to @dst, in front of its run @dpos; there is room, and they fit */
static void leaf_move(struct snap_leaf *dst, unsigned int dpos, struct snap_leaf *src,
		      unsigned int spos, unsigned int n)
{
	unsigned int i;
	u32 add;

	if (!n)
		return;
	leaf_reach(dst, leaf_at(src, spos + n - 1));
	leaf_reach(dst, leaf_at(src, spos));	/* last: the base of an empty leaf */
	add = leaf_base(src) - leaf_base(dst);
	leaf_open(dst, dpos, n);
	for (i = 0; i < n; i++) {
		dst->old[dpos + i] = src->old[spos + i] + add;
		dst->new_lo[dpos + i] = src->new_lo[spos + i];
		dst->new_hi_len[dpos + i] = src->new_hi_len[spos + i];
	}
	leaf_close(src, spos, n);
}

/* ---- children of one inner node ---- */

/* @n becomes child @i (not 0), from @key on; there is room */
static void inner_insert(struct snap_inner *in, unsigned int i, u64 key, struct snap_tree_node *n)
{
	unsigned int j;

	for (j = in->nr; j > i; j--) {
		set_child(in, j, in->child[j - 1]);
		in->key[j - 1] = in->key[j - 2];
	}
	in->key[i - 1] = key;
	set_child(in, i, n);
	in->nr++;
}

/* the child before (or, if there is none, after) takes over the range */
static void inner_remove(struct snap_inner *in, unsigned int i)
{
	unsigned int j, last = in->nr - 1;

	for (j = i; j < last; j++)
		set_child(in, j, in->child[j + 1]);
	set_child(in, last, NULL);
	for (j = i ? i - 1 : 0; j + 1 < last; j++)
		in->key[j] = in->key[j + 1];
	if (last)
		in->key[last - 1] = NO_KEY;
	in->nr = last;
}

/* the upper half of a full node goes to @to; Return: the key that parts them */
static u64 inner_halve(struct snap_inner *in, struct snap_inner *to)
{
	const unsigned int half = INNER_KIDS / 2;
	u64 key = in->key[half - 1];
	unsigned int i;

	for (i = half; i < INNER_KIDS; i++) {
		set_child(to, i - half, in->child[i]);
		set_child(in, i, NULL);
	}
	for (i = half; i < INNER_KIDS - 1; i++) {
		to->key[i - half] = in->key[i];
		in->key[i] = NO_KEY;
	}
	in->key[half - 1] = NO_KEY;
	in->nr = to->nr = half;
	return key;
}

/* ---- growing ---- */

/* how many nodes the split of the leaf at the end of this path takes */
static unsigned int split_needs(const struct snap_tree *t, const struct path *p)
{
	unsigned int need = 1, lvl = t->depth - 1;

	while (lvl--) {
		if (p->node[lvl]->inner.nr < INNER_KIDS)
			return need;
		need++;
	}
	return t->depth < SNAP_TREE_DEPTH_MAX ? need + 1 : UINT_MAX;
}

static bool is_rightmost(const struct path *p, unsigned int lvl)
{
	while (lvl--)
		if (p->idx[lvl] + 1u != p->node[lvl]->inner.nr)
			return false;
	return true;
}

static void grow_root(struct snap_tree *t, u64 key, struct snap_tree_node *right)
{
	struct snap_tree_node *n = take_node(t);
	struct snap_inner *in = init_inner(n);

	in->nr = 1;
	set_child(in, 0, t->root);
	inner_insert(in, 1, key, right);
	set_root(t, n);
	t->depth++;
}

/*
 * Put @right, whose chunks begin at @key, beside the leaf at the end of the path.  A full node is halved;
 * but at the right edge of the tree it stays full, since chunks that come in order go on there.
 */
static void add_child(struct snap_tree *t, const struct path *p, u64 key, struct snap_tree_node *right)
{
	unsigned int lvl = t->depth - 1;

	while (lvl--) {
		struct snap_inner *in = &p->node[lvl]->inner, *to;
		unsigned int i = p->idx[lvl] + 1;
		struct snap_tree_node *n;
		u64 up;

		if (in->nr < INNER_KIDS) {
			inner_insert(in, i, key, right);
			return;
		}
		n = take_node(t);
		to = init_inner(n);
		if (i == INNER_KIDS && is_rightmost(p, lvl)) {
			set_child(to, 0, right);
			to->nr = 1;
			up = key;
		} else {
			up = inner_halve(in, to);
			if (i <= INNER_KIDS / 2)
				inner_insert(in, i, key, right);
			else
				inner_insert(to, i - INNER_KIDS / 2, key, right);
		}
		key = up;
		right = n;
	}
	grow_root(t, key, right);
}

/* the leaf before or after, under whatever node it may hang */
static bool leaf_beside(const struct snap_tree *t, const struct path *p, bool after,
			struct beside *b)
{
	unsigned int lvl = t->depth - 1;

	while (lvl--) {
		struct snap_inner *in = &p->node[lvl]->inner;
		unsigned int i = p->idx[lvl];
		struct snap_tree_node *n;

		if (after ? i + 1 == in->nr : !i)
			continue;
		b->key = &in->key[after ? i : i - 1];
		n = in->child[after ? i + 1 : i - 1];
		while (!is_leaf(n))
			n = n->inner.child[after ? 0 : n->inner.nr - 1];
		b->leaf = to_leaf(n);
		return true;
	}
	return false;
}

/* A run at the edge of a leaf may as well lie in the next one. */
static bool put_beside(struct snap_tree *t, struct path *p, const struct run *r)
{
	struct snap_leaf *l = p->leaf;
	struct beside b;

	if (p->pos == leaf_nr(l) && leaf_beside(t, p, true, &b) && leaf_nr(b.leaf) < LEAF_RUNS &&
	    leaf_fits(b.leaf, r->old)) {
		WRITE_ONCE(*b.key, r->old);
		leaf_insert(b.leaf, 0, r);
		return true;
	}
	if (!p->pos && leaf_beside(t, p, false, &b) && leaf_nr(b.leaf) < LEAF_RUNS &&
	    leaf_fits(b.leaf, r->old)) {
		WRITE_ONCE(*b.key, leaf_at(l, 0));
		leaf_insert(b.leaf, leaf_nr(b.leaf), r);
		return true;
	}
	return false;
}

/* A full leaf shares with a neighbour that is not: this keeps random insertion well above 70 %. */
static bool lend_beside(struct snap_tree *t, struct path *p)
{
	struct snap_leaf *l = p->leaf;
	unsigned int nr = leaf_nr(l), n;
	struct beside b;

	if (leaf_beside(t, p, false, &b) && leaf_nr(b.leaf) <= LEND_MAX) {
		n = (nr - leaf_nr(b.leaf)) / 2;
		if (leaf_at(l, n - 1) - leaf_at(b.leaf, 0) < NO_DELTA) {
			leaf_move(b.leaf, leaf_nr(b.leaf), l, 0, n);
			WRITE_ONCE(*b.key, leaf_at(l, 0));
			return true;
		}
	}
	if (leaf_beside(t, p, true, &b) && leaf_nr(b.leaf) <= LEND_MAX) {
		n = (nr - leaf_nr(b.leaf)) / 2;
		if (leaf_last(b.leaf) - leaf_at(l, nr - n) < NO_DELTA) {
			leaf_move(b.leaf, 0, l, nr - n, n);
			WRITE_ONCE(*b.key, leaf_at(b.leaf, 0));
			return true;
		}
	}
	return false;
}

/* at either end the new run gets a leaf of its own, so that runs that come in order leave full leaves */
static int split_leaf(struct snap_tree *t, struct path *p, const struct run *r)
{
	struct snap_leaf *l = p->leaf, *right;
	unsigned int nr = leaf_nr(l), cut;

	if (t->nr_reserve < split_needs(t, p))
		return -ENOMEM;
	cut = !p->pos || p->pos == nr ? p->pos : nr / 2;
	right = init_leaf(take_node(t));
	leaf_move(right, 0, l, cut, nr - cut);
	if (cut < nr && p->pos <= cut)
		leaf_insert(l, p->pos, r);
	else
		leaf_insert(right, p->pos - cut, r);
	add_child(t, p, leaf_at(right, 0), tag_leaf(right));
	return 0;
}

/*
 * A new run at the end of the path; within a write section.  After lending, both leaves have room, so the
 * loop is gone through twice at most.
 */
static int add_run(struct snap_tree *t, struct path *p, const struct run *r)
{
	int err = 0;

	for (;;) {
		bool full = leaf_nr(p->leaf) == LEAF_RUNS;

		if (!full && leaf_fits(p->leaf, r->old)) {
			leaf_insert(p->leaf, p->pos, r);
			break;
		}
		if (put_beside(t, p, r))
			break;
		if (!full || !lend_beside(t, p)) {
			err = split_leaf(t, p, r);
			break;
		}
		find(t, r->old, p);
	}
	if (!err)
		t->nr_runs++;
	return err;
}

static int insert_first(struct snap_tree *t, const struct run *r)
{
	struct snap_leaf *l;

	if (!t->nr_reserve)
		return -ENOMEM;
	l = init_leaf(take_node(t));
	leaf_insert(l, 0, r);
	set_root(t, tag_leaf(l));
	t->depth = 1;
	t->nr_runs = 1;
	return 0;
}

/* @r is one chunk; it directly precedes run @i */
static bool join_next(struct snap_leaf *l, unsigned int i, struct run *next)
{
	if (!leaf_fits(l, next->old - 1))
		return false;
	next->old--;
	next->new--;
	next->len++;
	leaf_reach(l, next->old);
	leaf_put(l, i, next);
	return true;
}

/* Does the chunk join the runs on either side?  They cannot overlap, only touch. */
static bool join(struct snap_tree *t, struct path *p, const struct run *r, struct run *prev)
{
	struct snap_leaf *l = p->leaf;
	struct run next = { .len = SNAP_TREE_RUN_MAX };
	bool before, after;

	before = prev->old + prev->len == r->old && prev->new + prev->len == r->new &&
		 prev->len < SNAP_TREE_RUN_MAX;
	if (p->pos < leaf_nr(l))
		leaf_get(l, p->pos, &next);
	after = next.len < SNAP_TREE_RUN_MAX && next.old == r->old + 1 && next.new == r->new + 1;

	if (before && after && prev->len + next.len < SNAP_TREE_RUN_MAX) {
		leaf_set_len(l, p->pos - 1, prev->len + 1 + next.len);
		leaf_close(l, p->pos, 1);
		t->nr_runs--;
		return true;
	}
	if (before) {
		leaf_set_len(l, p->pos - 1, prev->len + 1);
		return true;
	}
	return after && join_next(l, p->pos, &next);
}

int snap_tree_insert(struct snap_tree *t, u64 old, u64 new)
{
	struct run r = { .old = old, .new = new, .len = 1 };
	struct run prev = { .len = SNAP_TREE_RUN_MAX };		/* joins nothing */
	struct path p;
	int err = 0;

	if (old >> SNAP_TREE_OLD_BITS || new >> SNAP_TREE_NEW_BITS)
		return -ERANGE;
	if (!t->root) {
		write_begin(t);
		err = insert_first(t, &r);
		write_end(t);
		t->nr_chunks += !err;
		return err;
	}
	find(t, old, &p);
	if (p.pos) {
		leaf_get(p.leaf, p.pos - 1, &prev);
		if (old - prev.old < prev.len)
			return -EEXIST;
	}
	write_begin(t);
	if (!join(t, &p, &r, &prev))
		err = add_run(t, &p, &r);
	write_end(t);
	t->nr_chunks += !err;
	return err;
}

/* ---- shrinking ---- */

/* The leaf at the end of the path is empty: it goes, and so does every node above that has no other. */
static void drop_leaf(struct snap_tree *t, struct path *p)
{
	unsigned int lvl = t->depth - 1;
	struct snap_tree_node *n = leaf_node(p->leaf);

	while (lvl--) {
		inner_remove(&p->node[lvl]->inner, p->idx[lvl]);
		retire_node(t, n);
		n = p->node[lvl];
		if (n->inner.nr)
			break;
		if (!lvl) {
			set_root(t, NULL);
			t->depth = 0;
			retire_node(t, n);
			return;
		}
	}
	if (t->depth == 1) {
		set_root(t, NULL);
		t->depth = 0;
		retire_node(t, n);
		return;
	}
	while (t->depth > 1 && t->root->inner.nr == 1) {
		n = t->root;
		set_root(t, n->inner.child[0]);
		t->depth--;
		retire_node(t, n);
	}
}

/* Few runs are left: they move to a sibling, which takes over the range. */
static void merge_leaf(struct snap_tree *t, struct path *p)
{
	struct snap_leaf *l = p->leaf, *to;
	unsigned int nr = leaf_nr(l), i;
	struct snap_inner *in;

	if (t->depth == 1)
		return;
	in = &p->node[t->depth - 2]->inner;
	i = p->idx[t->depth - 2];
	if (in->nr == 1)
		return;
	to = to_leaf(in->child[i ? i - 1 : 1]);
	if (nr + leaf_nr(to) > MERGE_FILL)
		return;
	if (max(leaf_last(l), leaf_last(to)) - min(leaf_at(l, 0), leaf_at(to, 0)) >= NO_DELTA)
		return;
	leaf_move(to, i ? leaf_nr(to) : 0, l, 0, nr);
	drop_leaf(t, p);
}

static void remove_run(struct snap_tree *t, struct path *p, unsigned int i)
{
	leaf_close(p->leaf, i, 1);
	t->nr_runs--;
	if (!leaf_nr(p->leaf))
		drop_leaf(t, p);
	else if (leaf_nr(p->leaf) <= MERGE_LOW)
		merge_leaf(t, p);
}

/*
 * The first chunk of run @i goes.  Its new start may be out of reach of the leaf's base: then it is a run
 * to be added.
 */
static int trim_front(struct snap_tree *t, struct path *p, unsigned int i, const struct run *r)
{
	struct run rest = { .old = r->old + 1, .new = r->new + 1, .len = r->len - 1 };
	int err;

	if (p->leaf->old[i] < NO_DELTA - 1) {
		leaf_put(p->leaf, i, &rest);
		return 0;
	}
	leaf_close(p->leaf, i, 1);
	t->nr_runs--;
	p->pos = i;
	err = add_run(t, p, &rest);
	if (err) {
		leaf_insert(p->leaf, i, r);
		t->nr_runs++;
	}
	return err;
}

/* A chunk within run @i goes: what follows it becomes a run of its own. */
static int split_run(struct snap_tree *t, struct path *p, unsigned int i, const struct run *r, u32 off)
{
	struct run rest = { .old = r->old + off + 1, .new = r->new + off + 1, .len = r->len - off - 1 };
	int err;

	leaf_set_len(p->leaf, i, off);
	err = add_run(t, p, &rest);
	if (err) {
		find(t, r->old, p);
		leaf_set_len(p->leaf, p->pos - 1, r->len);
	}
	return err;
}

int snap_tree_remove(struct snap_tree *t, u64 old)
{
	struct path p;
	struct run r;
	int err = 0;

	if (!t->root || old >> SNAP_TREE_OLD_BITS)
		return -ENOENT;
	find(t, old, &p);
	if (!p.pos)
		return -ENOENT;
	leaf_get(p.leaf, p.pos - 1, &r);
	if (old - r.old >= r.len)
		return -ENOENT;

	write_begin(t);
	if (r.len == 1)
		remove_run(t, &p, p.pos - 1);
	else if (old == r.old)
		err = trim_front(t, &p, p.pos - 1, &r);
	else if (old == r.old + r.len - 1)
		leaf_set_len(p.leaf, p.pos - 1, r.len - 1);
	else
		err = split_run(t, &p, p.pos - 1, &r, old - r.old);
	write_end(t);
	t->nr_chunks -= !err;
	return err;
}

/* ---- the whole tree ---- */

void snap_tree_init(struct snap_tree *t)
{
	memset(t, 0, sizeof(*t));
	seqcount_init(&t->seq);
	INIT_LIST_HEAD(&t->reserve);
}

static void free_nodes(struct snap_tree_node *root)
{
	struct snap_tree_node *up[SNAP_TREE_DEPTH_MAX], *n = root;
	unsigned int lvl = 0;

	while (n) {
		if (!is_leaf(n) && n->inner.nr) {
			up[lvl++] = n;
			n = n->inner.child[--n->inner.nr];
			continue;
		}
		if (is_leaf(n))
			n = leaf_node(to_leaf(n));
		else
			cond_resched();
		kmem_cache_free(node_cache, n);
		n = lvl ? up[--lvl] : NULL;
	}
}

static void forget(struct snap_tree *t)
{
	t->root = NULL;
	t->depth = 0;
	t->nr_runs = t->nr_chunks = t->nr_nodes = 0;
}

void snap_tree_destroy(struct snap_tree *t)
{
	struct snap_tree_node *n, *next;

	free_nodes(t->root);
	forget(t);
	list_for_each_entry_safe(n, next, &t->reserve, list)
		kmem_cache_free(node_cache, n);
	INIT_LIST_HEAD(&t->reserve);
	t->nr_reserve = 0;
}

void snap_tree_swap(struct snap_tree *a, struct snap_tree *b)
{
	LIST_HEAD(reserve);

	swap(a->root, b->root);
	swap(a->depth, b->depth);
	swap(a->nr_runs, b->nr_runs);
	swap(a->nr_chunks, b->nr_chunks);
	swap(a->nr_nodes, b->nr_nodes);
	swap(a->nr_reserve, b->nr_reserve);
	list_splice_init(&a->reserve, &reserve);
	list_splice_init(&b->reserve, &a->reserve);
	list_splice_init(&reserve, &b->reserve);
}

/*
 * An operation splits one node of each level at most, and may grow a new root.  Near the root there are
 * only few nodes to split, and a node that was split is not full again soon: an inner node takes 15 more
 * children first, or its left half, if that stayed full at the edge, once more at once.
 */
unsigned int snap_tree_needs(const struct snap_tree *t, unsigned int ops)
{
	u64 want = 1 + ops / 4, nodes = 2;
	unsigned int lvl;

	if (!ops)
		return 0;
	for (lvl = 0; lvl + 1 < t->depth; lvl++) {
		want += min_t(u64, ops, nodes + ops / 4);
		nodes = min_t(u64, nodes * INNER_KIDS, UINT_MAX);
	}
	want += ops;
	return want > t->nr_reserve ? min_t(u64, want - t->nr_reserve, UINT_MAX) : 0;
}

u64 snap_tree_bytes(const struct snap_tree *t)
{
	return (t->nr_nodes + t->nr_reserve) * NODE_BYTES;
}

/* ---- bulk build ---- */

/* the last node of each level, from the leaf up */
struct spine {
	struct snap_tree_node *node[SNAP_TREE_DEPTH_MAX];
	unsigned int nr;	/* runs in the leaf, which is written out with its head at the end */
};

static struct snap_tree_node *build_node(struct snap_tree *t)
{
	struct snap_tree_node *n = kmem_cache_alloc(node_cache, GFP_KERNEL);

	if (n)
		t->nr_nodes++;
	return n;
}

/* a node of level @lvl that holds the children @a and, if not NULL, @b */
static struct snap_tree_node *build_inner(struct snap_tree *t, struct snap_tree_node *a, u64 key,
					  struct snap_tree_node *b)
{
	struct snap_tree_node *n = build_node(t);

	if (n) {
		struct snap_inner *in = init_inner(n);

		set_child(in, 0, a);
		in->nr = 1;
		if (b)
			inner_insert(in, 1, key, b);
	}
	return n;
}

/*
 * Append @child, whose chunks begin at @key, on the level above the leaves.  If an allocation fails, what
 * was made so far and does not hang in the tree yet is freed.
 */
static int build_append(struct snap_tree *t, struct spine *s, u64 key, struct snap_tree_node *child)
{
	unsigned int lvl;

	for (lvl = 1; lvl < t->depth; lvl++) {
		struct snap_inner *in = &s->node[lvl]->inner;
		struct snap_tree_node *n;

		if (in->nr < INNER_KIDS) {
			inner_insert(in, in->nr, key, child);
			return 0;
		}
		n = build_inner(t, child, 0, NULL);
		if (!n)
			goto fail;
		s->node[lvl] = child = n;
	}
	if (lvl < SNAP_TREE_DEPTH_MAX) {
		s->node[lvl] = build_inner(t, t->root, key, child);
		if (s->node[lvl]) {
			t->root = s->node[lvl];
			t->depth++;
			return 0;
		}
	}
fail:
	free_nodes(child);
	return -ENOMEM;
}

static noinline int build_leaf(struct snap_tree *t, struct spine *s, u64 old)
{
	struct snap_tree_node *n = build_node(t);
	struct snap_leaf *l;

	if (!n)
		return -ENOMEM;
	l = init_leaf(n);
	leaf_set_head(l, old, 0);
	s->node[0] = n;
	s->nr = 0;
	if (t->root)
		return build_append(t, s, old, tag_leaf(l));
	t->root = tag_leaf(l);
	t->depth = 1;
	return 0;
}

static __always_inline int build_run(struct snap_tree *t, struct spine *s, const struct run *r)
{
	struct snap_leaf *l;
	int err;

	if (!t->root || s->nr == LEAF_RUNS || r->old - leaf_base(&s->node[0]->leaf) >= NO_DELTA) {
		err = build_leaf(t, s, r->old);
		if (err)
			return err;
	}
	l = &s->node[0]->leaf;
	leaf_put(l, s->nr++, r);
	leaf_set_head(l, leaf_base(l), s->nr);
	t->nr_runs++;
	t->nr_chunks += r->len;
	return 0;
}

static int build_runs(struct snap_tree *t, const struct snap_pair *p, u64 nr)
{
	struct spine s = { .nr = 0 };
	struct run r = { .len = 0 };
	size_t i;
	int err;

	for (i = 0; i < nr; i++) {
		u64 off = p[i].old - r.old;

		if (off == r.len && p[i].new - r.new == off && off - 1 < SNAP_TREE_RUN_MAX - 1) {
			r.len++;
			continue;
		}
		if (r.len) {
			if (off + 1 == r.len) {		/* the same old_chunk as before */
				if (p[i].new - r.new == off)
					continue;
				return -EEXIST;
			}
			if (off < r.len || (s64)off < 0)
				return -EINVAL;		/* not sorted */
			err = build_run(t, &s, &r);
			if (err)
				return err;
		}
		if (!(i & 0xffff))
			cond_resched();
		r.old = p[i].old;
		r.new = p[i].new;
		r.len = 1;
	}
	return r.len ? build_run(t, &s, &r) : 0;
}

static bool pairs_in_range(const struct snap_pair *p, u64 nr)
{
	u64 all_old = 0, all_new = 0;
	size_t i;

	for (i = 0; i < nr; i++) {
		all_old |= p[i].old;
		all_new |= p[i].new;
	}
	return !(all_old >> SNAP_TREE_OLD_BITS) && !(all_new >> SNAP_TREE_NEW_BITS);
}

int snap_tree_build(struct snap_tree *t, const struct snap_pair *p, u64 nr)
{
	struct snap_tree b;
	int err;

	if (t->root)
		return -EINVAL;
	if (!pairs_in_range(p, nr))
		return -ERANGE;
	snap_tree_init(&b);
	err = build_runs(&b, p, nr);
	if (err) {
		free_nodes(b.root);
		return err;
	}
	t->depth = b.depth;
	t->nr_runs = b.nr_runs;
	t->nr_chunks = b.nr_chunks;
	t->nr_nodes = b.nr_nodes;
	set_root(t, b.root);
	return 0;
}

/* ---- sorting ---- */

/*
 * American flag sort: count one digit, then carry each pair to its place, in place; then each bucket by
 * the next digit.  The buckets still to be done are remembered per level, so there is no recursion.  The
 * digit is chosen so that about eight pairs fall into a bucket; small ranges are sorted by insertion.
 */
#define DIGIT_MIN 3
#define DIGIT_MAX 11
#define SMALL_RANGE 24u
#define SORT_LEVELS (64 / DIGIT_MIN + 1)
#define SORT_ENDS ((64 / DIGIT_MAX + 1) << DIGIT_MAX)	/* whatever the digits of the levels are */

struct sort_level {
	unsigned int shift, nr, next;		/* of its digit; buckets; the next one to do */
	size_t start;				/* of that bucket */
	size_t *end;				/* of each */
};

struct sort_work {
	struct sort_level level[SORT_LEVELS];
	size_t head[1 << DIGIT_MAX];
	size_t end[SORT_ENDS];
};

static __always_inline u64 key_of(const struct snap_pair *p, bool by_new)
{
	return by_new ? p->new : p->old;
}

static __always_inline void insertion_sort(struct snap_pair *p, size_t nr, bool by_new)
{
	size_t i, j;

	for (i = 1; i < nr; i++) {
		struct snap_pair v = p[i];

		for (j = i; j && key_of(&p[j - 1], by_new) > key_of(&v, by_new); j--)
			p[j] = p[j - 1];
		p[j] = v;
	}
}

static __always_inline void sift_down(struct snap_pair *p, size_t i, size_t nr, bool by_new)
{
	struct snap_pair v = p[i];
	size_t kid;

	while ((kid = 2 * i + 1) < nr) {
		if (kid + 1 < nr && key_of(&p[kid + 1], by_new) > key_of(&p[kid], by_new))
			kid++;
		if (key_of(&p[kid], by_new) <= key_of(&v, by_new))
			break;
		p[i] = p[kid];
		i = kid;
	}
	p[i] = v;
}

/* where there is no memory for the counters */
static __always_inline void heap_sort(struct snap_pair *p, size_t nr, bool by_new)
{
	size_t i;

	for (i = nr / 2; i--; )
		sift_down(p, i, nr, by_new);
	for (i = nr; --i; ) {
		swap(p[0], p[i]);
		sift_down(p, 0, i, by_new);
		if (!(i & 0xffff))
			cond_resched();
	}
}

/* Return: the bits in which the keys differ; 0 if they are in order already */
static __always_inline u64 survey(const struct snap_pair *p, size_t nr, bool by_new)
{
	u64 first = key_of(p, by_new), prev = first, diff = 0;
	bool sorted = true;
	size_t i;

	for (i = 1; i < nr; i++) {
		u64 k = key_of(&p[i], by_new);

		diff |= k ^ first;
		sorted &= k >= prev;
		prev = k;
	}
	return sorted ? 0 : diff;
}

/* where each bucket begins and ends; Return: false if all keys have the same digit */
static __always_inline bool count_digits(struct sort_work *w, struct sort_level *lv,
					 const struct snap_pair *p, size_t nr, bool by_new)
{
	unsigned int mask = lv->nr - 1, d;
	size_t at = lv->start, i;

	memset(w->head, 0, lv->nr * sizeof(w->head[0]));
	for (i = 0; i < nr; i++)
		w->head[(key_of(&p[i], by_new) >> lv->shift) & mask]++;
	if (w->head[(key_of(p, by_new) >> lv->shift) & mask] == nr)
		return false;
	for (d = 0; d < lv->nr; d++) {
		size_t n = w->head[d];

		w->head[d] = at;
		at += n;
		lv->end[d] = at;
	}
	return true;
}

/* each cycle: pick one up, put it where it belongs, go on with the one that lay there */
static __always_inline void permute(struct sort_work *w, const struct sort_level *lv,
				    struct snap_pair *p, bool by_new)
{
	unsigned int shift = lv->shift, mask = lv->nr - 1, b, d;

	for (b = 0; b < lv->nr; b++) {
		size_t i, end = lv->end[b];

		for (i = w->head[b]; i < end; i++) {
			struct snap_pair v = p[i];

			while ((d = (key_of(&v, by_new) >> shift) & mask) != b) {
				struct snap_pair *q = &p[w->head[d]++];

				swap(*q, v);
			}
			p[i] = v;
		}
	}
}

/* Part a range by its next digit, all bits from @bits on being equal.  Return: false if it is sorted */
static __always_inline bool part_range(struct sort_work *w, struct sort_level *lv, struct snap_pair *p,
				       size_t start, size_t nr, unsigned int bits, bool by_new)
{
	lv->start = start;
	lv->next = 0;
	lv->shift = bits;
	while (lv->shift) {
		unsigned int digit = max(fls64(nr + nr / 2) - 4, DIGIT_MIN);

		digit = min3(digit, lv->shift, (unsigned int)DIGIT_MAX);
		lv->shift -= digit;
		lv->nr = 1u << digit;
		if (nr >> 12)
			cond_resched();
		if (count_digits(w, lv, p + start, nr, by_new)) {
			permute(w, lv, p, by_new);
			return lv->shift;
		}
	}
	return false;
}

static __always_inline void flag_sort(struct sort_work *w, struct snap_pair *p, size_t nr,
				      unsigned int bits, bool by_new)
{
	unsigned int depth = 0;
	size_t start = 0;

	w->level[0].end = w->end;
	for (;;) {
		struct sort_level *lv;

		if (nr <= SMALL_RANGE)
			insertion_sort(p + start, nr, by_new);
		else if (part_range(w, &w->level[depth], p, start, nr, bits, by_new)) {
			lv = &w->level[depth++];
			lv[1].end = lv->end + lv->nr;
		}
		do {
			if (!depth)
				return;
			lv = &w->level[depth - 1];
			if (lv->next == lv->nr) {
				nr = 0;
				depth--;
				continue;
			}
			start = lv->start;
			lv->start = lv->end[lv->next++];
			nr = lv->start - start;
			bits = lv->shift;
		} while (nr < 2);
	}
}

static __always_inline void sort_pairs(struct snap_pair *p, u64 nr, bool by_new)
{
	struct sort_work *w;
	u64 diff = nr ? survey(p, nr, by_new) : 0;

	if (!diff)
		return;
	w = kvmalloc(sizeof(*w), GFP_KERNEL | __GFP_NOWARN);
	if (w)
		flag_sort(w, p, nr, fls64(diff), by_new);
	else
		heap_sort(p, nr, by_new);
	kvfree(w);
}

void snap_pairs_sort_old(struct snap_pair *p, u64 nr)
{
	sort_pairs(p, nr, false);
}

void snap_pairs_sort_new(struct snap_pair *p, u64 nr)
{
	sort_pairs(p, nr, true);
}

int snap_pairs_check(const struct snap_pair *p, u64 nr, bool by_new, u64 *twins, u64 *bad)
{
	size_t i;

	*twins = 0;
	for (i = 1; i < nr; i++) {
		bool same_old = p[i].old == p[i - 1].old, same_new = p[i].new == p[i - 1].new;

		if (likely(!(by_new ? same_new : same_old)))
			continue;
		if (!same_old || !same_new) {
			*bad = i;
			return -EEXIST;
		}
		++*twins;
	}
	return 0;
}
