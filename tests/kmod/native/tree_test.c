// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The exception table against a plain model, in a process: TAP on standard output.
 *
 *	tree_test [SCALE]	more or fewer operations, in percent (default 100)
 *	tree_test --figure X NR	only the work whose instructions are to be counted; see the script `run`
 *
 * The source is included, so that the nodes themselves can be looked at.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "dm-snap-tree.c"

static unsigned int test_nr, test_failed, scale = 100;
static bool good;			/* of the current test */

static void complain(int line, const char *fmt, ...)
{
	va_list ap;

	if (good) {
		printf("# line %d: ", line);
		va_start(ap, fmt);
		vprintf(fmt, ap);
		va_end(ap);
		printf("\n");
	}
	good = false;
}

#define CHECK(cond, ...) do { if (!(cond)) complain(__LINE__, #cond ": " __VA_ARGS__); } while (0)

static void begin(void)
{
	good = true;
}

static void end(const char *fmt, ...)
{
	va_list ap;

	printf("%sok %u - ", good ? "" : "not ", ++test_nr);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	test_failed += !good;
}

static u64 rnd_state = 1;

static u64 mix(u64 z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static u64 rnd(void)
{
	return mix(rnd_state += 0x9e3779b97f4a7c15ULL);
}

static u64 below(u64 n)
{
	return rnd() % n;
}

static void *need_mem(void *p)
{
	if (!p) {
		printf("Bail out! out of memory\n");
		exit(1);
	}
	return p;
}

static struct snap_pair *pairs_alloc(u64 nr)
{
	return need_mem(malloc((nr ? nr : 1) * sizeof(struct snap_pair)));
}

/* ---- the model: a sorted array ---- */

struct model {
	struct snap_pair *p;
	size_t nr, room;
};

/* the first entry that is not below @old */
static size_t model_at(const struct model *m, u64 old)
{
	size_t lo = 0, hi = m->nr;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (m->p[mid].old < old)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool model_has(const struct model *m, u64 old, u64 *new)
{
	size_t i = model_at(m, old);

	if (i == m->nr || m->p[i].old != old)
		return false;
	*new = m->p[i].new;
	return true;
}

static int model_insert(struct model *m, u64 old, u64 new)
{
	size_t i = model_at(m, old);

	if (i < m->nr && m->p[i].old == old)
		return -EEXIST;
	if (m->nr == m->room) {
		m->room = m->room ? 2 * m->room : 64;
		m->p = need_mem(realloc(m->p, m->room * sizeof(*m->p)));
	}
	memmove(m->p + i + 1, m->p + i, (m->nr - i) * sizeof(*m->p));
	m->p[i] = (struct snap_pair){ .old = old, .new = new };
	m->nr++;
	return 0;
}

static int model_remove(struct model *m, u64 old)
{
	size_t i = model_at(m, old);

	if (i == m->nr || m->p[i].old != old)
		return -ENOENT;
	m->nr--;
	memmove(m->p + i, m->p + i + 1, (m->nr - i) * sizeof(*m->p));
	return 0;
}

/* ---- what must be true of every tree ---- */

struct census {
	u64 runs, chunks, nodes;
	u64 next;	/* chunks below are done */
	unsigned int depth;
};

static void check_leaf(const struct snap_leaf *l, u64 lo, u64 hi, struct census *c)
{
	unsigned int i, nr = leaf_nr(l);
	struct run r;

	CHECK(nr >= 1 && nr <= LEAF_RUNS, "%u", nr);
	for (i = 0; i < nr; i++) {
		leaf_get(l, i, &r);
		CHECK(r.old >= c->next && r.old >= lo && r.old + r.len <= hi, "run at %llu",
		      (unsigned long long)r.old);
		CHECK(l->old[i] != NO_DELTA, "slot %u", i);
		c->next = r.old + r.len;
		c->runs++;
		c->chunks += r.len;
	}
	for (; i < LEAF_RUNS; i++)
		CHECK(l->old[i] == NO_DELTA, "slot %u of %u", i, nr);
}

static void check_node(struct snap_tree_node *n, unsigned int lvl, u64 lo, u64 hi, struct census *c)
{
	unsigned int i;

	c->nodes++;
	if (is_leaf(n)) {
		CHECK(lvl == c->depth, "leaf at level %u of %u", lvl, c->depth);
		check_leaf(to_leaf(n), lo, hi, c);
		return;
	}
	CHECK(lvl < c->depth, "inner node at level %u of %u", lvl, c->depth);
	CHECK(n->inner.nr >= 1 && n->inner.nr <= INNER_KIDS, "%lu", n->inner.nr);
	for (i = 0; i < n->inner.nr; i++) {
		u64 to = i + 1 < n->inner.nr ? n->inner.key[i] : hi;

		CHECK(lo < to, "key %u", i);
		check_node(n->inner.child[i], lvl + 1, lo, to, c);
		lo = to;
	}
	for (; i < INNER_KIDS; i++)
		CHECK(!n->inner.child[i] && n->inner.key[i - 1] == NO_KEY, "slot %u", i);
}

static void check_tree(const struct snap_tree *t)
{
	struct census c = { .depth = t->depth };
	struct list_head *l;
	unsigned int nr = 0;

	if (t->root)
		check_node(t->root, 1, 0, NO_KEY, &c);
	else
		CHECK(!t->depth, "%u", t->depth);
	CHECK(c.runs == t->nr_runs, "%llu", (unsigned long long)c.runs);
	CHECK(c.chunks == t->nr_chunks, "%llu", (unsigned long long)c.chunks);
	CHECK(c.nodes == t->nr_nodes, "%llu", (unsigned long long)c.nodes);
	CHECK(!(t->seq.sequence & 1), "%u", t->seq.sequence);
	for (l = t->reserve.next; l != &t->reserve; l = l->next)
		nr++;
	CHECK(nr == t->nr_reserve, "%u", nr);
	CHECK(snap_tree_bytes(t) == (c.nodes + nr) * 512, "%llu", (unsigned long long)c.nodes);
}

/* one chunk: the same in tree and model, and what is told of those that follow is true */
static void check_chunk(struct snap_tree *t, const struct model *m, u64 old)
{
	u64 want = 0, new = 0;
	bool has = model_has(m, old, &want), found;
	u32 nr = 0;

	found = snap_tree_lookup(t, old, &new, &nr);
	CHECK(found == has, "chunk %llu", (unsigned long long)old);
	if (!found || !has)
		return;
	CHECK(new == want, "chunk %llu", (unsigned long long)old);
	CHECK(nr >= 1 && nr <= SNAP_TREE_RUN_MAX, "%u", nr);
	if (nr > 1) {
		size_t i = model_at(m, old);

		CHECK(i + nr <= m->nr && m->p[i + nr - 1].old == old + nr - 1 &&
		      m->p[i + nr - 1].new == new + nr - 1 && m->p[i + nr / 2].old == old + nr / 2 &&
		      m->p[i + nr / 2].new == new + nr / 2, "chunk %llu, %u follow",
		      (unsigned long long)old, nr);
	}
}

static void check_all(struct snap_tree *t, const struct model *m)
{
	size_t i;

	check_tree(t);
	CHECK(t->nr_chunks == m->nr, "%llu", (unsigned long long)t->nr_chunks);
	for (i = 0; i < m->nr; i++) {
		check_chunk(t, m, m->p[i].old);
		check_chunk(t, m, m->p[i].old + 1);
		if (m->p[i].old)
			check_chunk(t, m, m->p[i].old - 1);
	}
}

/* ---- changing both ---- */

static void reserve(struct snap_tree *t, unsigned int ops)
{
	unsigned int need = snap_tree_needs(t, ops);

	while (need--)
		snap_tree_give(t, need_mem(snap_tree_node_alloc(GFP_KERNEL)));
}

static int both_insert(struct snap_tree *t, struct model *m, u64 old, u64 new)
{
	int want = model_insert(m, old, new), err;

	reserve(t, 1);
	err = snap_tree_insert(t, old, new);
	CHECK(err == want, "%d, chunk %llu", err, (unsigned long long)old);
	return want;
}

static int both_remove(struct snap_tree *t, struct model *m, u64 old)
{
	int want = model_remove(m, old), err;

	reserve(t, 1);
	err = snap_tree_remove(t, old);
	CHECK(err == want, "%d, chunk %llu", err, (unsigned long long)old);
	return want;
}

/* ---- random operations ---- */

#define UNIVERSE 6000

/* chunk number @i of each universe: increasing */
static u64 key_dense(u64 i) { return i; }
static u64 key_strided(u64 i) { return i * 7; }
static u64 key_random(u64 i) { return (i << 20) + mix(i) % (1 << 20); }
static u64 key_clustered(u64 i) { return (i / 60) * 1000000 + i % 60; }
static u64 key_high(u64 i) { return (1ULL << 55) - UNIVERSE / 2 + i; }
static u64 key_top(u64 i) { return (1ULL << 56) - UNIVERSE + i; }
static u64 key_far(u64 i) { return i * 0xabcdef012ULL; }
static u64 key_brink(u64 i) { return (i / 8) * 0x40000000ULL + (i % 8 - 4) * (i > 8); }
static u64 key_edge(u64 i) { return (i / 100) * 0xffffffffULL + i % 100; }

/* its partner; runs arise where partners follow each other as well */
static u64 new_follow(u64 old) { return (old + 5) & 0xffffffffffULL; }
static u64 new_pieces(u64 old) { return ((old / 9) * 1000 + old % 9) & 0xffffffffffffULL; }
static u64 new_random(u64 old) { return mix(old) >> 16; }

static const struct universe {
	const char *name;
	u64 (*key)(u64 i);
	u64 (*new)(u64 old);
} universes[] = {
	{ "dense, one run", key_dense, new_follow },
	{ "dense, short runs", key_dense, new_pieces },
	{ "dense, no runs", key_dense, new_random },
	{ "strided", key_strided, new_follow },
	{ "random", key_random, new_random },
	{ "clusters, runs", key_clustered, new_follow },
	{ "clusters, no runs", key_clustered, new_random },
	{ "around 2^55", key_high, new_pieces },
	{ "up to 2^56", key_top, new_random },
	{ "more than 2^32 apart", key_far, new_random },
	{ "2^30 apart", key_brink, new_follow },
	{ "groups at the reach of a leaf", key_edge, new_random },
};

/* mostly growing, then mostly shrinking, over and over; at times in order, upwards or downwards */
static void random_ops(const struct universe *u, u64 ops)
{
	struct snap_tree t;
	struct model m = { 0 };
	u64 i, at = 0, phase = 0;
	int step = 0;

	snap_tree_init(&t);
	for (i = 0; i < ops && good; i++) {
		bool insert;

		if (!(i % 5000)) {
			phase = below(4);
			step = (int)below(3) - 1;
			at = below(UNIVERSE);
			check_all(&t, &m);
			rcu_barrier();
		}
		at = step ? (at + UNIVERSE + step) % UNIVERSE : below(UNIVERSE);
		insert = phase == 0 || (phase < 3 ? below(10) < 6 - phase : below(10) < 1);
		if (insert)
			both_insert(&t, &m, u->key(at), u->new(u->key(at)));
		else
			both_remove(&t, &m, u->key(at));
		check_chunk(&t, &m, u->key(at));
		check_chunk(&t, &m, u->key(below(UNIVERSE)));
	}
	check_all(&t, &m);
	while (m.nr && good)
		both_remove(&t, &m, m.p[below(m.nr)].old);
	check_all(&t, &m);
	CHECK(!t.root && !t.nr_nodes, "%llu nodes are left", (unsigned long long)t.nr_nodes);
	snap_tree_destroy(&t);
	rcu_barrier();
	free(m.p);
}

static void test_random_ops(void)
{
	u64 ops = 3000ULL * scale;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(universes); i++) {
		long live = shim_live;

		begin();
		random_ops(&universes[i], ops);
		CHECK(shim_live == live, "%ld nodes lost", shim_live - live);
		end("%llu random operations: %s", (unsigned long long)ops, universes[i].name);
	}
}

/* ---- orders of insertion and removal ---- */

static size_t gcd(size_t a, size_t b)
{
	while (b) {
		size_t r = a % b;

		a = b;
		b = r;
	}
	return a;
}

/* the i-th of nr: 0 up, 1 down, 2 every 17th, 3 from both ends, 4 random */
static void make_order(u32 *o, size_t nr, unsigned int kind)
{
	size_t i, step = 17;

	while (gcd(nr, step) != 1)
		step++;
	for (i = 0; i < nr; i++)
		o[i] = kind == 1 ? nr - 1 - i : kind == 2 ? i * step % nr :
		       kind == 3 ? (i & 1 ? nr - 1 - i / 2 : i / 2) : i;
	for (i = nr; kind == 4 && i > 1; i--) {
		size_t j = below(i);

		swap(o[i - 1], o[j]);
	}
}

static const char *const order_names[] = { "up", "down", "strided", "from both ends", "random" };

static void in_order(const struct universe *u, unsigned int in, unsigned int out, size_t nr)
{
	u32 *o = need_mem(malloc(nr * sizeof(*o)));
	struct snap_tree t;
	struct model m = { 0 };
	size_t i;

	snap_tree_init(&t);
	make_order(o, nr, in);
	for (i = 0; i < nr; i++)
		both_insert(&t, &m, u->key(o[i]), u->new(u->key(o[i])));
	check_all(&t, &m);
	make_order(o, nr, out);
	for (i = 0; i < nr; i++) {
		both_remove(&t, &m, u->key(o[i]));
		if (i == nr / 3 || i == nr * 9 / 10 || i + 10 > nr)
			check_all(&t, &m);
	}
	CHECK(!t.root && !t.depth && !t.nr_nodes && !t.nr_chunks && !t.nr_runs, "not empty");
	snap_tree_destroy(&t);
	rcu_barrier();
	free(m.p);
	free(o);
}

static void test_orders(void)
{
	unsigned int in, out;
	size_t i;

	for (in = 0; in < 5; in++) {
		for (out = 0; out < 5; out++) {
			begin();
			for (i = 0; i < ARRAY_SIZE(universes); i++)
				in_order(&universes[i], in, out, 2500);
			end("inserted %s, removed %s", order_names[in], order_names[out]);
		}
	}
}

static void test_joins(void)
{
	struct snap_tree t;
	u64 i, new;
	u32 nr;

	begin();
	snap_tree_init(&t);
	for (i = 0; i < 3 * SNAP_TREE_RUN_MAX + 5; i++) {
		reserve(&t, 1);
		CHECK(!snap_tree_insert(&t, 1000 + i, 2000 + i), "%llu", (unsigned long long)i);
	}
	CHECK(t.nr_runs == 4, "%llu", (unsigned long long)t.nr_runs);
	CHECK(snap_tree_lookup(&t, 1000, &new, &nr) && new == 2000 && nr == SNAP_TREE_RUN_MAX, "%u",
	      nr);
	CHECK(snap_tree_lookup(&t, 1000 + SNAP_TREE_RUN_MAX - 1, &new, &nr) && nr == 1, "%u", nr);
	end("runs upwards, of 65536 chunks");
	snap_tree_destroy(&t);

	begin();
	snap_tree_init(&t);
	for (i = 3 * SNAP_TREE_RUN_MAX; i--; ) {
		reserve(&t, 1);
		CHECK(!snap_tree_insert(&t, i, 2000 + i), "%llu", (unsigned long long)i);
	}
	CHECK(t.nr_runs == 3, "%llu", (unsigned long long)t.nr_runs);
	reserve(&t, 1);
	CHECK(!snap_tree_remove(&t, 70000), "no");
	CHECK(t.nr_runs == 4 && !snap_tree_lookup(&t, 70000, &new, NULL), "not split");
	CHECK(snap_tree_lookup(&t, 69999, &new, &nr) && new == 71999 && nr == 1, "%u", nr);
	CHECK(snap_tree_lookup(&t, 70001, &new, &nr) && new == 72001, "%u", nr);
	CHECK(!snap_tree_insert(&t, 70000, 72000) && t.nr_runs == 3, "not joined again");
	end("runs downwards; split and joined");
	snap_tree_destroy(&t);

	/* two whole runs that a chunk between them would make too long */
	begin();
	snap_tree_init(&t);
	for (i = 0; i < 2 * SNAP_TREE_RUN_MAX; i++) {
		reserve(&t, 1);
		if (i != 40000)
			CHECK(!snap_tree_insert(&t, i, i), "%llu", (unsigned long long)i);
	}
	CHECK(!snap_tree_insert(&t, 40000, 40000), "no");
	for (i = 0; i < 2 * SNAP_TREE_RUN_MAX; i++)
		CHECK(snap_tree_lookup(&t, i, &new, NULL) && new == i, "%llu",
		      (unsigned long long)i);
	check_tree(&t);
	end("a chunk between two long runs");
	snap_tree_destroy(&t);
}

/* a run that creeps upwards, away from the first of its leaf, until its start is out of reach */
static void test_creeping(void)
{
	u64 i, at = 0xffffffffULL - 300, new;
	struct snap_tree t;
	int err;

	begin();
	snap_tree_init(&t);
	reserve(&t, 1);
	CHECK(!snap_tree_insert(&t, 0, 5), "no");
	for (i = 0; i < 10; i++) {
		reserve(&t, 1);
		CHECK(!snap_tree_insert(&t, at + i, 1000 + i), "no");
	}
	for (i = 0; i < 1000; i++) {
		reserve(&t, 1);
		CHECK(!snap_tree_insert(&t, at + 10 + i, 1010 + i), "no");
		/* without nodes: done, or nothing has changed */
		while (t.nr_reserve)
			snap_tree_node_free(take_node(&t)), t.nr_nodes--;
		err = snap_tree_remove(&t, at + i);
		CHECK(!err || err == -ENOMEM, "%d", err);
		CHECK(snap_tree_lookup(&t, at + i, &new, NULL) == !!err, "%d", err);
		check_tree(&t);
		if (err) {
			reserve(&t, 1);
			CHECK(!snap_tree_remove(&t, at + i), "no");
		}
		CHECK(snap_tree_lookup(&t, at + i + 1, &new, NULL) && new == 1001 + i, "lost");
		check_tree(&t);
	}
	CHECK(t.nr_chunks == 11 && t.nr_nodes == 3, "%llu nodes", (unsigned long long)t.nr_nodes);
	end("a run that leaves the reach of its leaf");
	snap_tree_destroy(&t);
	rcu_barrier();
}

static void test_limits(void)
{
	struct snap_tree t, s;
	u64 new = 7;

	begin();
	snap_tree_init(&t);
	CHECK(!snap_tree_lookup(&t, 0, &new, NULL) && new == 7, "empty tree");
	CHECK(snap_tree_remove(&t, 0) == -ENOENT, "empty tree");
	CHECK(snap_tree_insert(&t, 0, 1) == -ENOMEM && !t.root, "no node");
	reserve(&t, 1);
	CHECK(snap_tree_insert(&t, 1ULL << 56, 1) == -ERANGE, "old");
	CHECK(snap_tree_insert(&t, 1, 1ULL << 48) == -ERANGE, "new");
	CHECK(snap_tree_insert(&t, U64_MAX, 1) == -ERANGE, "old");
	CHECK(!t.root && !t.nr_chunks, "changed");
	CHECK(!snap_tree_insert(&t, (1ULL << 56) - 1, (1ULL << 48) - 1), "greatest");
	CHECK(snap_tree_lookup(&t, (1ULL << 56) - 1, &new, NULL) && new == (1ULL << 48) - 1, "greatest");
	CHECK(!snap_tree_lookup(&t, U64_MAX, &new, NULL), "beyond");
	CHECK(!snap_tree_lookup(&t, 1ULL << 56, &new, NULL), "beyond");
	CHECK(snap_tree_remove(&t, U64_MAX) == -ENOENT, "beyond");
	CHECK(snap_tree_insert(&t, (1ULL << 56) - 1, 3) == -EEXIST, "twice");
	end("numbers at the limits");

	begin();
	snap_tree_init(&s);
	reserve(&s, 1);
	CHECK(!snap_tree_insert(&s, 5, 6), "no");
	reserve(&s, 9);
	reserve(&t, 3);
	snap_tree_swap(&s, &t);
	CHECK(snap_tree_lookup(&t, 5, &new, NULL) && new == 6, "not swapped");
	CHECK(snap_tree_lookup(&s, (1ULL << 56) - 1, &new, NULL), "not swapped");
	check_tree(&s);
	check_tree(&t);
	snap_tree_destroy(&s);
	snap_tree_swap(&s, &t);
	check_tree(&s);
	check_tree(&t);
	CHECK(!t.root && t.nr_reserve == 0 && s.nr_chunks == 1, "not swapped");
	end("two trees swapped");
	snap_tree_destroy(&s);
	snap_tree_destroy(&t);
}

/* ---- memory that is not there ---- */

static void empty_reserve(struct snap_tree *t)
{
	while (t->nr_reserve) {
		snap_tree_node_free(take_node(t));
		t->nr_nodes--;
	}
}

/* each operation with 0, 1, 2... nodes, until it is done; before that, nothing may have changed */
static void starved_ops(const struct universe *u, u64 ops)
{
	struct snap_tree t;
	struct model m = { 0 };
	u64 i, refused = 0;

	snap_tree_init(&t);
	for (i = 0; i < ops && good; i++) {
		u64 old = u->key(below(UNIVERSE)), new;
		bool has = model_has(&m, old, &new);
		unsigned int most, n;
		int err;

		if (has && below(2) && m.nr < UNIVERSE / 2)
			continue;
		empty_reserve(&t);
		most = snap_tree_needs(&t, 1);
		for (n = 0; ; n++) {
			err = has ? snap_tree_remove(&t, old) : snap_tree_insert(&t, old, u->new(old));
			if (err != -ENOMEM)
				break;
			check_chunk(&t, &m, old);
			check_chunk(&t, &m, old + 1);
			if (!(refused++ % 64))
				check_all(&t, &m);
			CHECK(n < most, "%u nodes do not suffice", n);
			if (!good)
				break;
			snap_tree_give(&t, need_mem(snap_tree_node_alloc(GFP_KERNEL)));
		}
		CHECK(!err, "%d", err);
		if (has)
			model_remove(&m, old);
		else
			model_insert(&m, old, u->new(old));
		if (!(i % 1024)) {
			check_all(&t, &m);
			rcu_barrier();
		}
	}
	check_all(&t, &m);
	CHECK(refused, "never without a node");
	snap_tree_destroy(&t);
	rcu_barrier();
	free(m.p);
}

static void test_starved(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(universes); i++) {
		begin();
		starved_ops(&universes[i], 300ULL * scale);
		end("without nodes: %s", universes[i].name);
	}
}

/* one reserve for many operations, whatever they are */
static void test_needs(void)
{
	static const unsigned int ops[] = { 1, 2, 7, 64, 256, 2000 };
	struct snap_tree t;
	size_t i, u;
	u64 n, k;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		begin();
		for (u = 0; u < ARRAY_SIZE(universes); u++) {
			snap_tree_init(&t);
			for (n = 0; n < 30000; n += ops[i]) {
				u64 at = rnd();

				reserve(&t, ops[i]);
				for (k = 0; k < ops[i]; k++) {
					u64 j = n % 3 ? rnd() % 20000 : (at + (n & 1 ? k : -k)) % 20000;
					int err = snap_tree_insert(&t, universes[u].key(j), mix(j) >> 16);

					CHECK(!err || err == -EEXIST || err == -ERANGE, "%d", err);
				}
			}
			check_tree(&t);
			snap_tree_destroy(&t);
		}
		CHECK(!snap_tree_needs(&t, 0), "nothing to do");
		end("a reserve for %u operations suffices", ops[i]);
	}
}

static void test_alloc(void)
{
	struct snap_pair *p = pairs_alloc(50000);
	long live = shim_live, fail;
	struct snap_tree t;
	u64 i, new;
	int err;

	begin();
	for (i = 0; i < 50000; i++)
		p[i] = (struct snap_pair){ .old = i * 3, .new = mix(i) >> 16 };
	snap_tree_init(&t);
	for (fail = 0; ; fail++) {
		shim_alloc_fail = fail;
		err = snap_tree_build(&t, p, 50000);
		if (!err)
			break;
		CHECK(err == -ENOMEM, "%d", err);
		CHECK(!t.root && !t.nr_nodes && !t.nr_chunks && !t.nr_runs && !t.depth, "not empty");
		CHECK(shim_live == live, "%ld nodes lost", shim_live - live);
	}
	shim_alloc_fail = -1;
	CHECK(fail == (long)t.nr_nodes, "%ld failures", fail);
	check_tree(&t);
	for (i = 0; i < 50000; i++)
		CHECK(snap_tree_lookup(&t, p[i].old, &new, NULL) && new == p[i].new, "lost");
	snap_tree_destroy(&t);
	CHECK(shim_live == live, "%ld nodes lost", shim_live - live);
	end("build fails at each of %ld allocations", fail);
	free(p);

	begin();
	shim_alloc_fail = 0;
	CHECK(!snap_tree_node_alloc(GFP_KERNEL), "a node");
	snap_tree_node_free(NULL);
	snap_tree_module_exit();
	shim_alloc_fail = 0;
	CHECK(snap_tree_module_init() == -ENOMEM, "a cache");
	CHECK(!snap_tree_module_init(), "no cache");
	end("no memory for a node, for the cache");
}

/* ---- bulk build ---- */

static void build_and_check(const struct snap_pair *p, size_t nr, bool change)
{
	struct model m = { 0 };
	struct snap_tree t;
	size_t i;

	for (i = 0; i < nr; i++)
		model_insert(&m, p[i].old, p[i].new);
	snap_tree_init(&t);
	CHECK(!snap_tree_build(&t, p, nr), "%zu pairs", nr);
	check_all(&t, &m);
	CHECK((nr && snap_tree_build(&t, p, nr) == -EINVAL) || !nr, "into a full tree");
	for (i = 0; change && i < 200; i++) {
		u64 old = below(4) || !nr ? below(nr * 10 + 10) : p[below(nr)].old;

		if (below(2))
			both_insert(&t, &m, old, mix(old) >> 16);
		else
			both_remove(&t, &m, old);
	}
	check_all(&t, &m);
	snap_tree_destroy(&t);
	rcu_barrier();
	free(m.p);
}

static void test_build(void)
{
	struct snap_pair *p = pairs_alloc(2100);
	size_t nr, i;
	unsigned int kind;

	for (kind = 0; kind < 3; kind++) {
		begin();
		for (nr = 0; nr <= 2000; nr++) {
			u64 old = 0;

			for (i = 0; i < nr; i++) {
				old += kind == 0 ? 1 + below(10) : kind == 1 ? 1 + !below(4) :
				       1 + below(1ULL << 40) * !below(20);
				p[i].old = old;
				p[i].new = kind ? new_follow(old) : mix(old) >> 16;
				if (i && !below(10))
					p[i] = p[i - 1];	/* a twin */
				old = p[i].old;
			}
			build_and_check(p, nr, kind < 2 && nr % 7 == 0);
		}
		end("build of 0..2000 pairs: %s",
		    kind == 0 ? "random" : kind == 1 ? "runs" : "wide");
	}
	free(p);
}

static void test_build_refuses(void)
{
	struct snap_tree t;
	struct snap_pair p[4] = { { 1, 10 }, { 2, 11 }, { 3, 12 }, { 9, 5 } };

	begin();
	snap_tree_init(&t);
	p[2] = (struct snap_pair){ 2, 13 };
	CHECK(snap_tree_build(&t, p, 4) == -EEXIST && !t.root, "two partners");
	p[2] = (struct snap_pair){ 1, 10 };
	CHECK(snap_tree_build(&t, p, 4) == -EINVAL && !t.root, "not sorted");
	p[2] = (struct snap_pair){ 0, 9 };
	CHECK(snap_tree_build(&t, p, 4) == -EINVAL && !t.root, "not sorted");
	p[2] = (struct snap_pair){ 3, 12 };
	p[3].old = 1ULL << 56;
	CHECK(snap_tree_build(&t, p, 4) == -ERANGE && !t.root, "old_chunk");
	p[3] = (struct snap_pair){ 9, 1ULL << 48 };
	CHECK(snap_tree_build(&t, p, 4) == -ERANGE && !t.root, "new_chunk");
	p[3] = (struct snap_pair){ (1ULL << 56) - 1, (1ULL << 48) - 1 };
	CHECK(!snap_tree_build(&t, p, 4) && t.nr_chunks == 4 && t.nr_runs == 2, "good pairs");
	check_tree(&t);
	snap_tree_destroy(&t);
	end("what a build refuses");
}

/* ---- sorting ---- */

static u64 sort_key(unsigned int kind, u64 i, u64 nr)
{
	switch (kind) {
	case 0: return rnd();
	case 1: return 42;
	case 2: return i;
	case 3: return nr - i;
	case 4: return (u64)(i * 7919 % nr == 5) << 33;
	case 5: return rnd() & 1 ? 1ULL << 63 : 0;
	case 6: return below(nr / 8 + 1);
	case 7: return rnd() & 0xff000000ff0000ffULL;
	case 8: return i == nr / 2 ? 0 : i + (1ULL << 50);
	case 9: return (1ULL << below(64)) - (rnd() & 1);
	case 10: return (mix(i) % 97) << 40 | below(3);
	default: return i ^ (nr > 3 ? 3 : 0);
	}
}

static const char *const sort_names[] = {
	"random", "all equal", "in order", "reversed", "one differs", "one bit", "many equal",
	"sparse bits", "one out of place", "powers of two", "few buckets", "nearly in order",
};

static void sort_one(struct snap_pair *p, u64 nr, unsigned int kind, bool by_new)
{
	u64 i, sum = 0, xor = 0;

	for (i = 0; i < nr; i++) {
		u64 key = sort_key(kind, i, nr), other = below(1000);

		p[i] = by_new ? (struct snap_pair){ other, key } : (struct snap_pair){ key, other };
		sum += mix(p[i].old * 3 + mix(p[i].new));
		xor ^= mix(p[i].old * 5 + mix(p[i].new));
	}
	if (by_new)
		snap_pairs_sort_new(p, nr);
	else
		snap_pairs_sort_old(p, nr);
	for (i = 0; i < nr; i++) {
		sum -= mix(p[i].old * 3 + mix(p[i].new));
		xor ^= mix(p[i].old * 5 + mix(p[i].new));
		if (i)
			CHECK(by_new ? p[i - 1].new <= p[i].new : p[i - 1].old <= p[i].old,
			      "%llu of %llu", (unsigned long long)i, (unsigned long long)nr);
	}
	CHECK(!sum && !xor, "not the same pairs");
}

static void test_sort(void)
{
	static const u64 big[] = { 1000, 4096, 65537, 300000 };
	struct snap_pair *p = pairs_alloc(300000);
	unsigned int kind, i;
	u64 nr;

	for (kind = 0; kind < ARRAY_SIZE(sort_names); kind++) {
		begin();
		for (nr = 0; nr < 300; nr++) {
			sort_one(p, nr, kind, nr & 1);
			shim_alloc_fail = 0;	/* heap sort, if it needs memory at all */
			sort_one(p, nr, kind, nr & 1);
			shim_alloc_fail = -1;
		}
		for (i = 0; i < ARRAY_SIZE(big); i++) {
			sort_one(p, big[i], kind, i & 1);
			shim_alloc_fail = 0;
			sort_one(p, big[i], kind, i & 1);
			shim_alloc_fail = -1;
		}
		end("sort, with and without memory: %s", sort_names[kind]);
	}
	free(p);
}

static void test_check(void)
{
	struct snap_pair *p = pairs_alloc(1000);
	u64 twins = 9, bad = 9, i;

	begin();
	CHECK(!snap_pairs_check(p, 0, false, &twins, &bad) && !twins, "none");
	CHECK(!snap_pairs_check(p, 1, true, &twins, &bad) && !twins, "one");
	for (i = 0; i < 1000; i++)
		p[i] = (struct snap_pair){ i * 2, i + 50 };
	CHECK(!snap_pairs_check(p, 1000, false, &twins, &bad) && !twins && bad == 9, "different");
	p[500] = p[501] = p[502];
	p[998] = p[999];
	CHECK(!snap_pairs_check(p, 1000, false, &twins, &bad) && twins == 3 && bad == 9, "twins");
	CHECK(!snap_pairs_check(p, 1000, true, &twins, &bad) && twins == 3 && bad == 9, "twins");
	p[700].old = p[701].old;
	CHECK(snap_pairs_check(p, 1000, false, &twins, &bad) == -EEXIST && bad == 701, "same old");
	CHECK(!snap_pairs_check(p, 1000, true, &twins, &bad) && twins == 3, "same old, by new");
	p[700].old--;
	p[601].new = p[600].new;
	CHECK(snap_pairs_check(p, 1000, true, &twins, &bad) == -EEXIST && bad == 601, "same new");
	CHECK(!snap_pairs_check(p, 1000, false, &twins, &bad) && twins == 3, "same new, by old");
	/* twins that another pair with the same number parts */
	p[10] = p[12] = (struct snap_pair){ 22, 60 };
	p[11] = (struct snap_pair){ 22, 61 };
	CHECK(snap_pairs_check(p, 1000, false, &twins, &bad) == -EEXIST && bad == 11, "between twins");
	end("duplicates");
	free(p);
}

/* ---- size ---- */

/* Feistel rounds over 2^bits numbers: each comes once, in random order */
static u64 permuted(u64 i, unsigned int bits)
{
	unsigned int half = bits / 2, round;
	u64 mask = (1ULL << half) - 1, l = i >> half, r = i & mask;

	for (round = 0; round < 4; round++) {
		u64 next = l ^ (mix(r + ((u64)round << 40)) & mask);

		l = r;
		r = next;
	}
	return l << half | r;
}

#define SIZE_NR (1u << 20)

static double per_chunk(const struct snap_tree *t)
{
	return (double)t->nr_nodes * 512 / t->nr_chunks;
}

static void test_size(void)
{
	struct snap_pair *p = pairs_alloc(SIZE_NR);
	struct snap_tree t;
	u64 i, new, most;

	begin();
	snap_tree_init(&t);
	for (i = 0; i < SIZE_NR; i++) {
		p[i] = (struct snap_pair){ permuted(i, 32), i + 2 };
		reserve(&t, 1);
		CHECK(!snap_tree_insert(&t, p[i].old, p[i].new), "no");
	}
	check_tree(&t);
	for (i = 0; i < SIZE_NR; i++)
		CHECK(snap_tree_lookup(&t, p[i].old, &new, NULL) && new == p[i].new, "lost");
	CHECK(per_chunk(&t) <= 17.9, "%.2f", per_chunk(&t));
	end("%u random chunks: %.2f bytes each, depth %u", SIZE_NR, per_chunk(&t), t.depth);

	begin();
	most = t.nr_nodes;
	for (i = 0; i < SIZE_NR; i++) {
		reserve(&t, 1);
		CHECK(!snap_tree_remove(&t, p[permuted(i, 20)].old), "no");
		if (i == SIZE_NR - SIZE_NR / 16)
			CHECK(t.nr_nodes < most / 3, "%llu nodes", (unsigned long long)t.nr_nodes);
		if (!(i & 0xffff))
			rcu_barrier();
	}
	CHECK(!t.root && !t.nr_nodes, "%llu nodes", (unsigned long long)t.nr_nodes);
	end("removed in another order");
	snap_tree_destroy(&t);
	rcu_barrier();

	begin();
	snap_pairs_sort_old(p, SIZE_NR);
	snap_tree_init(&t);
	CHECK(!snap_tree_build(&t, p, SIZE_NR), "no");
	check_tree(&t);
	for (i = 0; i < SIZE_NR; i++)
		CHECK(snap_tree_lookup(&t, p[i].old, &new, NULL) && new == p[i].new, "lost");
	CHECK(per_chunk(&t) <= 12.65, "%.2f", per_chunk(&t));
	end("%u random chunks built: %.2f bytes each, depth %u", SIZE_NR, per_chunk(&t), t.depth);

	/* into full leaves */
	begin();
	for (i = 0; i < SIZE_NR / 4; i++) {
		u64 old = permuted(SIZE_NR + i, 32);

		reserve(&t, 1);
		CHECK(!snap_tree_insert(&t, old, 3), "no");
	}
	check_tree(&t);
	CHECK(per_chunk(&t) <= 20.5, "%.2f", per_chunk(&t));
	end("a quarter more inserted: %.2f bytes each", per_chunk(&t));
	snap_tree_destroy(&t);
	free(p);
}

static void test_size_ordered(void)
{
	static const char *const names[] = { "upwards", "downwards", "from both sides" };
	struct snap_tree t;
	unsigned int kind;
	u64 i;

	for (kind = 0; kind < 3; kind++) {
		begin();
		snap_tree_init(&t);
		for (i = 0; i < SIZE_NR / 4; i++) {
			u64 at = kind == 1 ? SIZE_NR - i : kind == 0 || i & 1 ? SIZE_NR + i : SIZE_NR - i;

			reserve(&t, 1);
			CHECK(!snap_tree_insert(&t, at * 10, i), "no");
		}
		check_tree(&t);
		CHECK(per_chunk(&t) <= 13.5, "%.2f", per_chunk(&t));
		end("every tenth chunk, %s: %.2f bytes each", names[kind], per_chunk(&t));
		snap_tree_destroy(&t);
	}
}

/* ---- readers ---- */

/*
 * Chunk i, one of three kinds: always there, never there, coming and going.  Each time it comes it has the
 * next version, which is part of new_chunk.  What a reader finds must have been true at some moment:
 *
 *	writer:  coming = v | insert | come = v  ...  going = v | remove | gone = v
 *	reader:  c = come, g = gone | lookup | going, coming
 *	found v: g < v <= coming;  found none: not (c > going)
 */
#define READ_CHUNKS 20000u
#define READ_THREADS 3u

static struct {
	u32 coming, come, going, gone;
} versions[READ_CHUNKS];

static bool stop_readers, reader_failed, readers_ask_all = true;
static u64 reader_lookups;
static struct snap_tree shared;

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define STORE(x, v) __atomic_store_n(&(x), v, __ATOMIC_SEQ_CST)

static u64 read_old(u32 i)
{
	return i % 1000 < 500 ? i : (u64)i * 0x3000001ULL;
}

/* neighbours of the same version follow each other: runs join and split under the readers */
static u64 read_new(u32 i, u32 version)
{
	return ((u64)version << 20) + i;
}

static bool read_one(u32 i)
{
	u32 come = LOAD(versions[i].come), gone = LOAD(versions[i].gone), nr = 0;
	u64 new = 0;
	bool found = snap_tree_lookup(&shared, read_old(i), &new, &nr);
	u32 going = LOAD(versions[i].going), coming = LOAD(versions[i].coming);
	u32 version = new >> 20;

	if (i % 8 == 0)
		return found && new == read_new(i, 1) && nr >= 1 && nr <= SNAP_TREE_RUN_MAX;
	if (i % 8 == 1)
		return !found;
	if (!found)
		return come <= going;
	return (new & 0xfffff) == i && version > gone && version <= coming && nr >= 1 &&
	       nr <= SNAP_TREE_RUN_MAX;
}

static void *reader(void *arg)
{
	u64 state = (uintptr_t)arg * 77777, lookups = 0;

	shim_reader = (uintptr_t)arg;
	while (!LOAD(stop_readers)) {
		u32 i = mix(++state) % READ_CHUNKS;

		if (i % 8 == 0 && !readers_ask_all)
			continue;
		if (!read_one(i)) {
			STORE(reader_failed, true);
			break;
		}
		lookups++;
	}
	__atomic_add_fetch(&reader_lookups, lookups, __ATOMIC_SEQ_CST);
	return NULL;
}

static void toggle(u32 i)
{
	u32 v = versions[i].come;

	if (i % 8 < 2)
		return;
	reserve(&shared, 1);
	if (v > versions[i].gone) {
		STORE(versions[i].going, v);
		CHECK(!snap_tree_remove(&shared, read_old(i)), "chunk %u", i);
		STORE(versions[i].gone, v);
	} else {
		STORE(versions[i].coming, v + 1);
		CHECK(!snap_tree_insert(&shared, read_old(i), read_new(i, v + 1)), "chunk %u", i);
		STORE(versions[i].come, v + 1);
	}
}

/* in stretches, in order and at random, so that leaves and inner nodes come and go all the time */
static void write_shared(u64 ops)
{
	u64 n = 0;

	while (n < ops && !LOAD(reader_failed) && good) {
		u32 at = below(READ_CHUNKS), len = 1 + below(3000), j;
		unsigned int kind = below(3);

		for (j = 0; j < len; j++, n++)
			toggle(kind == 0 ? (at + j) % READ_CHUNKS :
			       kind == 1 ? (at + READ_CHUNKS - j) % READ_CHUNKS : below(READ_CHUNKS));
		rcu_barrier();
	}
}

static void test_readers(void)
{
	pthread_t threads[READ_THREADS];
	long live = shim_live;
	uintptr_t i;

	begin();
	snap_tree_init(&shared);
	for (i = 0; i < READ_CHUNKS; i += 8) {
		reserve(&shared, 1);
		CHECK(!snap_tree_insert(&shared, read_old(i), read_new(i, 1)), "no");
	}
	for (i = 0; i < READ_THREADS; i++)
		if (pthread_create(&threads[i], NULL, reader, (void *)(i + 1)))
			need_mem(NULL);
	write_shared(20000ULL * scale);
	STORE(stop_readers, true);
	for (i = 0; i < READ_THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(!reader_failed, "a reader saw what never was");
	CHECK(reader_lookups > 1000, "%llu lookups", (unsigned long long)reader_lookups);
	check_tree(&shared);
	snap_tree_destroy(&shared);
	rcu_barrier();
	CHECK(shim_live == live, "%ld nodes lost", shim_live - live);
	end("%u readers beside a writer", READ_THREADS);
	printf("# %llu lookups\n", (unsigned long long)reader_lookups);
}

/* root and depth change all the time; the chunks of the first kind are not there: nobody asks for them */
static void test_readers_root(void)
{
	pthread_t threads[READ_THREADS];
	unsigned int round;
	uintptr_t i;
	u32 j;

	begin();
	memset(versions, 0, sizeof(versions));
	stop_readers = reader_failed = readers_ask_all = false;
	snap_tree_init(&shared);
	for (i = 0; i < READ_THREADS; i++)
		if (pthread_create(&threads[i], NULL, reader, (void *)(i + 1)))
			need_mem(NULL);
	for (round = 0; round < scale && !LOAD(reader_failed); round++) {
		for (j = 0; j < READ_CHUNKS; j++)
			toggle(j);
		CHECK(shared.root || round & 1, "not grown");
		CHECK(!shared.root || !(round & 1), "not empty");
		rcu_barrier();
	}
	STORE(stop_readers, true);
	for (i = 0; i < READ_THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(!reader_failed, "a reader saw what never was");
	check_tree(&shared);
	snap_tree_destroy(&shared);
	rcu_barrier();
	end("%u readers while the tree grows and shrinks", READ_THREADS);
}

/* ---- figures ---- */

/* each is a function of its own name, which the counting is switched on for */
__attribute__((__noinline__)) static u64 figure_lookup(struct snap_tree *t, u64 nr)
{
	u64 i, new = 0, sum = 0;

	for (i = 0; i < nr; i++) {
		snap_tree_lookup(t, i * 4096 + (i & 4095), &new, NULL);
		sum += new;
	}
	return sum;
}

__attribute__((__noinline__)) static void figure_insert(struct snap_tree *t,
							 const struct snap_pair *p, u64 nr)
{
	u64 i;

	for (i = 0; i < nr; i++)
		if (snap_tree_insert(t, p[i].old, p[i].new))
			exit(1);
}

__attribute__((__noinline__)) static void figure_load(struct snap_tree *t, struct snap_pair *p, u64 nr)
{
	u64 twins, bad;

	snap_pairs_sort_old(p, nr);
	if (snap_pairs_check(p, nr, false, &twins, &bad) || snap_tree_build(t, p, nr))
		exit(1);
}

static int figure(const char *what, u64 nr)
{
	struct snap_pair *p = pairs_alloc(nr);
	struct snap_tree t;
	u64 i;

	snap_tree_init(&t);
	for (i = 0; i < nr; i++)
		p[i] = (struct snap_pair){ permuted(i, 32), i + 2 };
	if (!strcmp(what, "lookup")) {
		for (i = 0; i < nr; i++) {
			p[i].old = i * 4096 + (i & 4095);
			p[i].new = mix(i) >> 16;
		}
		for (i = 0; i < nr; i++) {
			u64 at = permuted(i, fls64(nr - 1));

			reserve(&t, 1);
			if (at < nr && snap_tree_insert(&t, p[at].old, p[at].new))
				return 1;
		}
		if (!figure_lookup(&t, nr))
			return 1;
	} else if (!strcmp(what, "insert")) {
		while (t.nr_reserve < nr / 25 + 100)
			snap_tree_give(&t, need_mem(snap_tree_node_alloc(GFP_KERNEL)));
		figure_insert(&t, p, nr);
	} else if (!strcmp(what, "load")) {
		figure_load(&t, p, nr);
	} else {
		return 16;
	}
	printf("%s: %llu chunks, %llu runs, depth %u, %.2f bytes each\n", what,
	       (unsigned long long)t.nr_chunks, (unsigned long long)t.nr_runs, t.depth, per_chunk(&t));
	snap_tree_destroy(&t);
	free(p);
	return 0;
}

int main(int argc, char **argv)
{
	if (snap_tree_module_init())
		return 1;
	if (argc == 4 && !strcmp(argv[1], "--figure"))
		return figure(argv[2], strtoull(argv[3], NULL, 10));
	if (argc == 2)
		scale = strtoul(argv[1], NULL, 10);
	if (!scale || argc > 2) {
		fprintf(stderr, "usage: tree_test [SCALE]\n");
		return 16;
	}
	test_limits();
	test_joins();
	test_creeping();
	test_orders();
	test_random_ops();
	test_starved();
	test_needs();
	test_alloc();
	test_build();
	test_build_refuses();
	test_sort();
	test_check();
	test_size();
	test_size_ordered();
	test_readers();
	test_readers_root();
	begin();
	snap_tree_module_exit();
	CHECK(!shim_live, "%ld objects", shim_live);
	end("nothing is left");
	printf("1..%u\n", test_nr);
	return test_failed ? 1 : 0;
}
