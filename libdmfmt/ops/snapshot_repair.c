// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Mending an exception store in place.
 *
 * The chain has no journal, so each step is chosen such that a power cut anywhere, torn writes
 * included, leaves a store that is no worse and that a second run mends:
 *
 *  - an entry is never moved before its copy is durable: the state in between holds an exact
 *    duplicate, harmless to readers and to a merge, which check recognises and repair removes;
 *  - entries are cleared from the end of the chain towards its start, one logical block at a time,
 *    each durable before the next: a shorter valid chain at any time;
 *  - the header comes last.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

struct fix {
	struct dmfmt *f;
	struct dmfmt_ctx *ctx;
	struct dmfmt_dev *dev;
	struct snap *s;
	const struct snap_geometry *g;
	const struct dmfmt_repair_opts *o;
	struct dmfmt_report *r;
	bool lossy;		/* loss was accepted */
	uint64_t written;	/* dev->bytes_written when the check had ended */
};

static bool has(const struct fix *x, enum dmfmt_code code)
{
	return dmfmt_report_count(x->r, code) != 0;
}

static void mended(struct fix *x, enum dmfmt_code code)
{
	dmfmt_report_mended(x->r, code, DMFMT_NONE);
}

static int write_flush(struct fix *x, uint64_t off, const void *buf, size_t len)
{
	return dmfmt_dev_write(x->dev, off, buf, len) ?: dmfmt_dev_flush(x->dev);
}

static int write_header(struct fix *x, const struct snap_header *h)
{
	struct snap_header_disk d;

	dmfmt_snap_header_encode(h, &d);
	return write_flush(x, 0, &d, sizeof(d));
}

static int nothing(void *arg, const struct snap_part *p)
{
	(void)arg;
	(void)p;
	return 0;
}

static int count_records(struct fix *x, uint64_t *records)
{
	struct snap_chain chain = { .f = x->f, .what = "counting", .pass = 1, .nr_passes = 1,
				    .fn = nothing };
	struct dmfmt_summary s = { .size = sizeof(s) };
	int ret;

	if (x->dev->bytes_written == x->written) {	/* what the check has seen still holds */
		dmfmt_report_summary(x->r, &s);
		*records = s.records;
		return 0;
	}
	ret = snap_chain_run(&chain);
	*records = chain.end.records;
	return ret;
}

/* ---- removing entries -------------------------------------------------------------------------- */

int snap_clear_records(struct dmfmt *f, uint64_t from, uint64_t to, uint64_t *left)
{
	static const uint8_t zeros[4096];
	const struct snap *s = f->priv;
	/* an area smaller than this block lies inside one */
	uint64_t per_block = f->dev->whole / SNAP_ENTRY;
	int ret = 0;

	while (!ret && to > from) {
		uint64_t in_area = (to - 1) % s->g.entries;
		uint64_t first = to - 1 - in_area % per_block;

		if (first < from)
			first = from;
		ret = dmfmt_dev_write(f->dev, snap_record_offset(&s->g, first), zeros,
				      (size_t)(to - first) * SNAP_ENTRY);
		if (!ret)
			ret = dmfmt_dev_flush(f->dev);
		if (ret)
			break;
		to = first;
		ret = dmfmt_progress_step(f->ctx, "clearing entries", 1, 1, 0, to - from);
	}
	if (left)
		*left = to;
	return ret;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static size_t sort_unique(uint64_t *v, size_t nr)
{
	size_t i, n = 0;

	qsort(v, nr, sizeof(*v), by_number);
	for (i = 0; i < nr; i++)
		if (!n || v[n - 1] != v[i])
			v[n++] = v[i];
	return n;
}

/*
 * Remove the records in @v (sorted, unique) from the @n live ones: those that survive at the end
 * move into the gaps, durably, then the end is cleared.
 */
static int remove_records(struct fix *x, const uint64_t *v, size_t nr, uint64_t n)
{
	uint64_t keep = n - nr, src = n;
	size_t gap = 0, back = nr;
	int ret = 0;

	while (gap < nr && v[gap] < keep) {
		struct snap_exception_disk e;

		/* the last survivor: skip those that go */
		src--;
		while (back && v[back - 1] == src) {
			back--;
			src--;
		}
		ret = dmfmt_dev_read(x->dev, snap_record_offset(x->g, src), &e, sizeof(e));
		if (!ret)
			ret = dmfmt_dev_write(x->dev, snap_record_offset(x->g, v[gap]), &e, sizeof(e));
		if (ret)
			return ret;
		gap++;
	}
	if (gap)
		ret = dmfmt_dev_flush(x->dev);
	return ret ? ret : snap_clear_records(x->f, keep, n, NULL);
}

static const enum dmfmt_code dropped[] = {
	DMFMT_F_SNAP_NEW_RANGE, DMFMT_F_SNAP_NEW_METADATA, DMFMT_F_SNAP_NEW_TOP_BYTE,
	DMFMT_F_SNAP_NEW_WRAPS, DMFMT_F_SNAP_OLD_RANGE, DMFMT_F_SNAP_OLD_WRAPS,
	DMFMT_F_SNAP_OLD_DUPLICATE, DMFMT_F_SNAP_NEW_DUPLICATE,
	/* these two lose nothing */
	DMFMT_F_SNAP_EXACT_DUPLICATE, DMFMT_F_SNAP_OLD_DUPLICATE_SAME,
};

static void drops_mended(struct fix *x)
{
	size_t i, nr = sizeof(dropped) / sizeof(dropped[0]);

	for (i = x->lossy ? 0 : nr - 2; i < nr; i++)
		mended(x, dropped[i]);
	if (x->lossy) {
		mended(x, DMFMT_F_SNAP_TRUNCATED);
		mended(x, DMFMT_F_SNAP_TOO_MANY);
	}
}

/* those with a twin may always go, the others if their loss was accepted */
static int fix_entries(struct fix *x)
{
	const struct snap_records *same = &x->s->twins, *lossy = &x->s->lossy;
	size_t nr = same->nr + (x->lossy ? lossy->nr : 0);
	uint64_t n, *v;
	int ret;

	if (!nr)
		return 0;
	/* moving entries would change which one of a pair is the first, or the one in order: with a
	 * pair that a person has to decide, all stay where they are */
	if (!x->lossy && (has(x, DMFMT_F_SNAP_OLD_DUPLICATE) || has(x, DMFMT_F_SNAP_NEW_DUPLICATE)))
		return 0;
	ret = count_records(x, &n);
	if (ret)
		return ret;
	v = malloc(nr * sizeof(*v));
	if (!v)
		return dmfmt_fail(x->ctx, -ENOMEM, "out of memory");
	if (same->nr)
		memcpy(v, same->v, same->nr * sizeof(*v));
	if (x->lossy && lossy->nr)
		memcpy(v + same->nr, lossy->v, lossy->nr * sizeof(*v));
	nr = sort_unique(v, nr);
	/* what went with a stale area is gone already */
	while (nr && v[nr - 1] >= n && x->lossy && has(x, DMFMT_F_SNAP_STALE_AREA))
		nr--;
	if (!nr)
		;
	else if (v[nr - 1] >= n)
		ret = dmfmt_fail(x->ctx, -EUCLEAN,
				 "%s: record %" PRIu64 " is to be removed, but there are %" PRIu64,
				 x->dev->path, v[nr - 1], n);
	else
		ret = remove_records(x, v, nr, n);
	free(v);
	if (!ret)
		drops_mended(x);
	return ret;
}

/* ---- areas and tails ---------------------------------------------------------------------------- */

/* the block with the first slot goes first and ends the store; the rest is a stale tail then */
static int zero_area(struct fix *x, uint64_t area)
{
	static const uint8_t zeros[4096];
	uint64_t off = snap_area_offset(x->g, area), len = x->g->chunk_bytes;
	uint32_t block = x->dev->block < sizeof(zeros) ? x->dev->block : (uint32_t)sizeof(zeros);
	int ret;

	if (block > len)
		block = (uint32_t)len;
	ret = write_flush(x, off, zeros, block);
	if (!ret && len > block)
		ret = dmfmt_dev_zero(x->dev, off + block, len - block);
	return ret ? ret : dmfmt_dev_flush(x->dev);
}

static int fix_areas(struct fix *x)
{
	size_t i;
	int ret = 0;

	if (!x->lossy)
		return 0;
	if (has(x, DMFMT_F_SNAP_AREA0_GARBAGE) && !has(x, DMFMT_F_SNAP_CHUNK_DOUBT) &&
	    (x->o->flags & DMFMT_REPAIR_INTERRUPTED_CREATE)) {
		ret = zero_area(x, 0);
		if (!ret) {
			for (i = 0; i < DMFMT_F_NR; i++)
				if (i != DMFMT_F_SNAP_INVALID && i != DMFMT_F_SNAP_EDGE)
					mended(x, (enum dmfmt_code)i);
			x->s->lossy.nr = x->s->twins.nr = 0;
		}
		return ret;
	}
	for (i = 0; i < dmfmt_report_nr(x->r); i++) {
		const struct dmfmt_finding *d = dmfmt_report_get(x->r, i);

		if (dmfmt_report_code(x->r, i) != DMFMT_F_SNAP_STALE_AREA)
			continue;
		ret = zero_area(x, d->record / x->g->entries);
		if (!ret)
			mended(x, DMFMT_F_SNAP_STALE_AREA);
		break;
	}
	return ret;
}

/* zero everything from slot @slot of @area to its end, only where it is not zero yet */
static int zero_slots(struct fix *x, uint64_t area, uint64_t slot)
{
	uint64_t off = snap_area_offset(x->g, area) + slot * SNAP_ENTRY;
	uint64_t end = snap_area_offset(x->g, area) + x->g->chunk_bytes;
	uint8_t buf[4096];
	int ret = 0;

	while (!ret && off < end) {
		size_t i, len = sizeof(buf) - off % sizeof(buf);

		if (len > end - off)
			len = (size_t)(end - off);
		ret = dmfmt_dev_read(x->dev, off, buf, len);
		for (i = 0; !ret && i < len && !buf[i]; i++)
			;
		if (!ret && i < len) {
			memset(buf, 0, len);
			ret = dmfmt_dev_write(x->dev, off, buf, len);
		}
		off += len;
	}
	return ret ? ret : dmfmt_dev_flush(x->dev);
}

#define KEEP_MAX (1u << 20)	/* slots of one area that are looked at for a torn one */

/* the slots from @slot on; entries that would be damage once they are live make this impossible */
static int read_tail(struct fix *x, uint64_t area, uint64_t slot, struct snap_exception_disk **out,
		     size_t *nr)
{
	struct snap_exception_disk *e;
	size_t i;
	int ret;

	*nr = (size_t)(x->g->entries - slot);
	if (*nr > KEEP_MAX)
		return dmfmt_fail(x->ctx, -EUCLEAN,
				  "%s: area %" PRIu64 ": %zu slots behind the gap, expected at most %u",
				  x->dev->path, area, *nr, KEEP_MAX);
	e = malloc(*nr * SNAP_ENTRY);
	if (!e)
		return dmfmt_fail(x->ctx, -ENOMEM, "out of memory");
	ret = dmfmt_dev_read(x->dev, snap_area_offset(x->g, area) + slot * SNAP_ENTRY, e,
			     *nr * SNAP_ENTRY);
	for (i = 0; !ret && i < *nr; i++)
		if (e[i].new_chunk != 0 && (!dmfmt_snap_new_chunk_ok(x->g, dmfmt_snap_new(&e[i])) ||
					    dmfmt_snap_old_chunk_wraps(x->g, dmfmt_snap_old(&e[i]))))
			ret = dmfmt_fail(x->ctx, -EUCLEAN,
					 "%s: slot %" PRIu64 " of area %" PRIu64
					 ": cannot be kept: old_chunk %" PRIu64 ", new_chunk %" PRIu64,
					 x->dev->path, slot + i, area, dmfmt_snap_old(&e[i]),
					 dmfmt_snap_new(&e[i]));
	if (ret)
		free(e);
	else
		*out = e;
	return ret;
}

/*
 * Entries behind a gap of whole sectors become live: the last ones are copied into the gap, its last
 * sector first and its first sector last.  Until that one is durable the store still ends there and
 * looks torn as before; then all are live at once, the copied ones twice: exact duplicates, cleared
 * from the end.
 */
static int keep_tail(struct fix *x, uint64_t area, uint64_t slot)
{
	const size_t per = DMFMT_SNAP_ENTRIES_PER_SECTOR;
	uint64_t first = area * x->g->entries + slot;
	struct snap_exception_disk *e = NULL;
	size_t i, nr, live = 0, from, to;
	int ret = read_tail(x, area, slot, &e, &nr);

	if (ret)
		return ret;
	for (i = 0; i < nr; i++)
		live += e[i].new_chunk != 0;
	for (i = 0, from = to = nr; i < live; i++) {
		if (e[i].new_chunk != 0)
			continue;
		while (e[from - 1].new_chunk == 0)
			from--;
		e[i] = e[--from];
	}
	for (i = (live + per - 1) / per; !ret && i-- > 0;) {
		size_t len = live - i * per < per ? live - i * per : per;

		ret = write_flush(x, snap_record_offset(x->g, first + i * per), &e[i * per],
				  len * SNAP_ENTRY);
	}
	while (to > live && e[to - 1].new_chunk == 0)
		to--;
	if (!ret)
		ret = snap_clear_records(x->f, first + live, first + to, NULL);
	free(e);
	return ret;
}

static int fix_tail(struct fix *x)
{
	bool torn = has(x, DMFMT_F_SNAP_TORN_AREA);
	bool keep = torn && (x->o->flags & DMFMT_REPAIR_KEEP_TAIL);
	uint64_t n, area, slot;
	int ret;

	if (!has(x, DMFMT_F_SNAP_STALE_TAIL) && !has(x, DMFMT_F_SNAP_TERMINATOR) &&
	    !(torn && (keep || x->lossy)))
		return 0;
	ret = count_records(x, &n);
	if (ret)
		return ret;
	area = n / x->g->entries;
	slot = n % x->g->entries;
	ret = keep ? keep_tail(x, area, slot) : zero_slots(x, area, slot);
	if (ret)
		return ret;
	mended(x, DMFMT_F_SNAP_STALE_TAIL);
	mended(x, DMFMT_F_SNAP_TERMINATOR);
	mended(x, DMFMT_F_SNAP_TORN_AREA);
	return 0;
}

/* ---- header -------------------------------------------------------------------------------------- */

static int say(struct fix *x, const char *group, const char *name, enum dmfmt_kind kind, uint64_t u,
	       const char *s)
{
	struct dmfmt_field f = { .group = group, .name = name, .kind = kind, .u = u, .s = s };

	if (!strcmp(name, "chunk_size")) {
		f.unit = DMFMT_UNIT_SECTORS;
		f.unit_bytes = 512;
	}
	return x->o->evidence ? x->o->evidence(x->o->arg, &f) : 0;
}

static int say_guess(struct fix *x, const struct snap_guess *g, bool chosen)
{
	char group[32];
	int ret;

	snprintf(group, sizeof(group), "chunk_size_%u", g->chunk_sectors);
	ret = say(x, group, "chunk_size", DMFMT_U64, g->chunk_sectors, NULL);
	if (!ret)
		ret = say(x, group, "consistent", DMFMT_BOOL, g->consistent, NULL);
	if (!ret)
		ret = say(x, group, "nr_exceptions", DMFMT_U64, g->entries, NULL);
	if (!ret)
		ret = say(x, group, "in_order", DMFMT_U64, g->dense, NULL);
	if (!ret)
		ret = say(x, group, "nr_areas", DMFMT_U64, g->areas, NULL);
	return ret ? ret : say(x, group, "chosen", DMFMT_BOOL, chosen, NULL);
}

/* the caller named a size: it must at least hold exceptions that break no rule */
static int named_guess(const struct fix *x, const struct snap_guess *g, unsigned nr)
{
	unsigned i;

	for (i = 0; i < nr; i++)
		if (g[i].chunk_sectors == x->o->chunk_sectors && g[i].consistent && g[i].entries)
			return (int)i;
	return -1;
}

static int rebuild_header(struct fix *x)
{
	struct snap_guess guesses[22];
	struct snap_header h = { DMFMT_SNAP_MAGIC, 1, DMFMT_SNAP_VERSION, 0 };
	unsigned i, nr;
	int best, ret = snap_infer(x->ctx, x->dev, guesses, &nr, &best);

	if (ret)
		return ret;
	if (x->o->chunk_sectors)
		best = named_guess(x, guesses, nr);
	for (i = 0; !ret && i < nr; i++)
		ret = say_guess(x, &guesses[i], (int)i == best);
	if (ret)
		return ret;
	if (best < 0)
		return dmfmt_fail(x->ctx, -EUCLEAN,
				  "%s: header: no chunk size is proven by area 0, expected exactly one with exceptions in order",
				  x->dev->path);
	h.chunk_size = guesses[best].chunk_sectors;
	/* a header that agrees otherwise is believed about its valid flag: an invalid store stays so */
	if (x->s->hdr.version == h.version &&
	    (x->s->hdr.magic == h.magic || x->s->hdr.chunk_size == h.chunk_size))
		h.valid = x->s->hdr.valid;
	ret = write_header(x, &h);
	if (ret)
		return ret;
	/* what the wrong header made of the device is no finding any more; the next round looks anew */
	for (i = 0; i < DMFMT_F_NR; i++)
		if (i != DMFMT_F_SNAP_INVALID)
			mended(x, (enum dmfmt_code)i);
	return 0;
}

/* ---- byte order ----------------------------------------------------------------------------------- */

static uint64_t swap64(uint64_t v)
{
	return __builtin_bswap64(v);
}

static bool fits(const struct snap_geometry *g, uint64_t old_chunk, uint64_t new_chunk)
{
	return dmfmt_snap_new_chunk_ok(g, new_chunk) && !dmfmt_snap_old_chunk_wraps(g, old_chunk);
}

/*
 * One area of a byte-swapped store.  Which order an entry is in shows from its new_chunk: it is a data
 * chunk in exactly one of them (else nothing is done at all), so a conversion that was cut is
 * simply gone on with.  @last: the store ends here.
 */
static int swap_area(struct fix *x, const struct snap_geometry *g, uint64_t area, bool write, bool *last)
{
	uint64_t off = snap_area_offset(g, area), end = off + g->chunk_bytes;
	struct snap_exception_disk e[256];
	int ret = 0;

	for (; !ret && !*last && off < end; off += sizeof(e)) {
		size_t i, len = end - off < sizeof(e) ? (size_t)(end - off) : sizeof(e);

		ret = dmfmt_dev_read(x->dev, off, e, len);
		for (i = 0; !ret && i < len / SNAP_ENTRY; i++) {
			uint64_t o = dmfmt_snap_old(&e[i]), n = dmfmt_snap_new(&e[i]);
			bool little = fits(g, o, n), big = fits(g, swap64(o), swap64(n));

			if (!n) {
				*last = true;
				break;
			}
			if (little == big)
				return dmfmt_fail(x->ctx, -EUCLEAN,
						  "%s: area %" PRIu64 ": new_chunk 0x%016" PRIx64
						  " is %s, expected a data chunk in one byte order",
						  x->dev->path, area, n,
						  big ? "sound in both byte orders" : "sound in none");
			if (big)
				dmfmt_snap_exception_encode(swap64(o), swap64(n), &e[i]);
		}
		if (!ret && write)
			ret = dmfmt_dev_write(x->dev, off, e, len);
	}
	return ret;
}

static int swap_store(struct fix *x)
{
	const struct snap_header *h = &x->s->hdr;
	struct snap_header to = {
		DMFMT_SNAP_MAGIC, __builtin_bswap32(h->valid), __builtin_bswap32(h->version),
		__builtin_bswap32(h->chunk_size),
	};
	struct snap_geometry g;
	bool write, last;
	uint64_t area, nr;
	int ret = 0, pass;

	if (to.version != DMFMT_SNAP_VERSION ||
	    dmfmt_snap_geometry_init(&g, to.chunk_size, x->dev->size >> 9) || g.chunks < 2)
		return dmfmt_fail(x->ctx, -EUCLEAN,
				  "%s: header: version %u, chunk_size %u in big-endian, expected a sound header",
				  x->dev->path, to.version, to.chunk_size);
	nr = dmfmt_snap_nr_areas(&g);
	for (pass = 0; !ret && pass < 2; pass++) {
		write = pass == 1;
		last = false;
		for (area = 0; !ret && !last && area < nr; area++)
			ret = swap_area(x, &g, area, write, &last);
	}
	if (!ret)
		ret = dmfmt_dev_flush(x->dev);
	if (!ret)
		ret = write_header(x, &to);
	if (!ret)
		mended(x, DMFMT_F_SNAP_SWAPPED);
	return ret;
}

/* ---- the valid flag -------------------------------------------------------------------------------- */

static bool other_fatal(const struct fix *x)
{
	size_t i;

	for (i = 0; i < dmfmt_report_nr(x->r); i++) {
		const struct dmfmt_finding *d = dmfmt_report_get(x->r, i);

		if (d->severity == DMFMT_SEV_FATAL && !d->mended &&
		    dmfmt_report_code(x->r, i) != DMFMT_F_SNAP_INVALID)
			return true;
	}
	return false;
}

static int fix_valid(struct fix *x)
{
	const unsigned both = DMFMT_REPAIR_REVALIDATE | DMFMT_REPAIR_ORIGIN_UNMODIFIED;
	struct snap_header h = x->s->hdr;
	enum dmfmt_code code = DMFMT_F_SNAP_VALID_ODD;
	int ret;

	if (has(x, DMFMT_F_SNAP_INVALID)) {
		if ((x->o->flags & both) != both)
			return 0;
		/* only what a check has seen as it is now: the next round comes */
		if (x->dev->bytes_written != x->written)
			return 0;
		if (other_fatal(x))
			return dmfmt_fail(x->ctx, -EUCLEAN,
					  "%s: header: not made valid again while other damage is left",
					  x->dev->path);
		code = DMFMT_F_SNAP_INVALID;
	} else if (!has(x, DMFMT_F_SNAP_VALID_ODD)) {
		return 0;
	}
	h.valid = 1;
	ret = write_header(x, &h);
	if (!ret)
		mended(x, code);
	return ret;
}

/* ---- the whole --------------------------------------------------------------------------------------- */

static int accept_loss(struct fix *x)
{
	struct dmfmt_summary sum = { .size = sizeof(sum) };

	dmfmt_report_summary(x->r, &sum);
	if (x->o->accept_loss == DMFMT_NONE)
		return 0;
	if (x->o->accept_loss != sum.loss)
		return dmfmt_fail(x->ctx, -EUCLEAN,
				  "%s: loss of %" PRIu64 " exceptions was accepted, but the repair loses %" PRIu64,
				  x->dev->path, x->o->accept_loss, sum.loss);
	x->lossy = sum.loss != 0;
	return 0;
}

/* more entries have to go than one round remembers: look again until none is left */
static int fix_entries_all(struct fix *x)
{
	struct dmfmt_report *first = x->r;
	int ret = fix_entries(x);

	while (!ret && ((x->lossy && x->s->lossy.nr >= SNAP_ROUND) || x->s->twins.nr >= SNAP_ROUND)) {
		struct dmfmt_report *r = dmfmt_report_new(x->ctx, 1);

		if (!r)
			return -ENOMEM;
		ret = snap_check(x->f, 0, r);
		x->r = r;
		if (!ret)
			ret = fix_entries(x);
		x->r = first;
		dmfmt_report_free(r);
	}
	return ret;
}

static int fix_chain(struct fix *x)
{
	int ret;

	if (has(x, DMFMT_F_SNAP_AREA_UNREADABLE))
		return dmfmt_fail(x->ctx, -EUCLEAN,
				  "%s: an area cannot be read: copy the device first and repair the copy",
				  x->dev->path);
	/* with a chunk size in doubt everything else may be somebody's data */
	if ((x->o->flags & DMFMT_REPAIR_REBUILD_HEADER) &&
	    (has(x, DMFMT_F_SNAP_CHUNK_DOUBT) || has(x, DMFMT_F_SNAP_CHUNK_OTHER)))
		return rebuild_header(x);
	if (has(x, DMFMT_F_SNAP_CHUNK_DOUBT))
		return 0;
	ret = fix_areas(x);
	if (!ret && has(x, DMFMT_F_SNAP_AREA0_GARBAGE))
		return ret;	/* nothing behind garbage can be mended */
	if (!ret)
		ret = fix_tail(x);
	if (!ret)
		ret = fix_entries_all(x);
	return ret ? ret : fix_valid(x);
}

int snap_repair(struct dmfmt *f, const struct dmfmt_repair_opts *o, struct dmfmt_report *found)
{
	struct snap *s = f->priv;
	struct fix x = { .f = f, .ctx = f->ctx, .dev = f->dev, .s = s, .g = &s->g, .o = o,
			 .r = found, .written = f->dev->bytes_written };
	int ret = accept_loss(&x);

	if (ret)
		return ret;
	switch (s->state) {
	case SNAP_MAGIC_ZERO:
	case SNAP_MAGIC_BAD:
	case SNAP_CHUNK_BAD:
		return o->flags & DMFMT_REPAIR_REBUILD_HEADER ? rebuild_header(&x) : 0;
	case SNAP_SWAPPED:
		return o->flags & DMFMT_REPAIR_YES ? swap_store(&x) : 0;
	case SNAP_TOO_SMALL:
	case SNAP_VERSION_BAD:
		return 0;
	case SNAP_INVALID:
	case SNAP_SOUND:
		break;
	}
	return fix_chain(&x);
}
