// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Making a cache: an empty one, or the metadata of a dump.
 *
 * Order of durability: what stands there is made no cache; entries, and zeros in the gap behind
 * them; the first sector, with the superblock.  A cut in between leaves what the kernel neither loads
 * nor formats, never a mixture.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "writecache.h"
#include "../format/crc32c.h"

#define PART_BYTES (1u << 20)
#define SECTOR_ENTRIES DMFMT_WC_ENTRIES_SECTOR0
#define PAGE_SECTORS 8u		/* the smallest page of any Linux */
#define PADDING offsetof(struct wc_superblock_disk, padding)

/* ---- a whole new table --------------------------------------------------------------------------- */

/* durably no cache.  What an old superblock says is kept beside the missing magic: if nothing else
 * happens the magic alone brings it back.  Where there was none, the new one's numbers stand. */
static int destroy(struct wc_table *t)
{
	struct wc_superblock_disk d;
	struct wc_superblock sb;
	int ret;

	if (!t->dev || (t->dev->flags & DMFMT_OPEN_CREATE))
		return 0;
	ret = dmfmt_dev_read(t->dev, t->g->start, t->sector, sizeof(t->sector));
	if (ret)
		return ret;
	memcpy(&d, t->sector, sizeof(d));
	dmfmt_wc_superblock_decode(&d, &sb);
	if (sb.magic || sb.version != DMFMT_WC_VERSION) {
		if (sb.magic != DMFMT_WC_MAGIC)
			d = t->sb;
		d.magic = dmfmt_le32_make(0);
		d.version = dmfmt_le32_make(DMFMT_WC_VERSION);
		memcpy(t->sector, &d, sizeof(d));
		ret = dmfmt_dev_write(t->dev, t->g->start, t->sector, sizeof(t->sector));
	}
	/* also where it is so already: the write may have been the last one before a cut */
	return ret ? ret : dmfmt_dev_flush(t->dev);
}

int wc_table_begin(struct wc_table *t)
{
	int ret;

	t->next = t->fill = 0;
	t->room = (PART_BYTES - sizeof(t->sector)) / WC_ENTRY;
	t->part = malloc(PART_BYTES);
	if (!t->part)
		return dmfmt_fail(t->ctx, -ENOMEM, "out of memory");
	ret = destroy(t);
	memset(t->sector, 0, sizeof(t->sector));
	memcpy(t->sector, &t->sb, sizeof(t->sb));
	return ret;
}

/* where the next entries go; *nr becomes how many of them fit there */
static struct wc_entry_disk *space(struct wc_table *t, uint64_t *nr)
{
	uint64_t left = t->next < SECTOR_ENTRIES ? SECTOR_ENTRIES - t->next : t->room - t->fill;

	if (*nr > left)
		*nr = left;
	if (t->next >= SECTOR_ENTRIES)
		return t->part + t->fill;
	return (struct wc_entry_disk *)(void *)(t->sector + WC_SUPERBLOCK) + t->next;
}

/* parts end at multiples of their size from the superblock on */
static int put_part(struct wc_table *t)
{
	int ret = 0;

	if (t->dev)
		ret = dmfmt_dev_write(t->dev, dmfmt_wc_entry_offset(t->g, t->next - t->fill), t->part,
				      t->fill * WC_ENTRY);
	t->fill = 0;
	t->room = PART_BYTES / WC_ENTRY;
	return ret ? ret : dmfmt_progress_step(t->ctx, t->what, 1, 1, t->next, t->g->n_blocks);
}

/* @nr entries stand where space() said */
static int added(struct wc_table *t, uint64_t nr)
{
	if (t->next >= SECTOR_ENTRIES)
		t->fill += (size_t)nr;
	t->next += nr;
	return t->fill == t->room || (t->fill && t->next == t->g->n_blocks) ? put_part(t) : 0;
}

int wc_table_put(struct wc_table *t, const uint64_t *v, uint64_t nr)
{
	int ret = 0;

	while (!ret && nr) {
		uint64_t i, take = nr;
		struct wc_entry_disk *e = space(t, &take);

		for (i = 0; i < take; i++, v += 2)
			dmfmt_wc_entry_encode(v[0], v[1], &e[i]);
		if (t->sum)
			t->crc = dmfmt_crc32c(t->crc, e, (size_t)take * WC_ENTRY);
		nr -= take;
		ret = added(t, take);
	}
	return ret;
}

int wc_table_put_run(struct wc_table *t, uint64_t sector, uint64_t seq, uint64_t nr)
{
	uint32_t step = t->g->block_size >> 9;
	int ret = 0;

	while (!ret && nr) {
		uint64_t i, take = nr;
		struct wc_entry_disk *e = space(t, &take);

		for (i = 0; i < take; i++, sector += step)
			dmfmt_wc_entry_encode(sector, seq, &e[i]);
		nr -= take;
		ret = added(t, take);
	}
	return ret;
}

int wc_table_put_free(struct wc_table *t)
{
	uint64_t end = WC_SUPERBLOCK + t->g->n_blocks * WC_ENTRY;
	int ret = 0;

	while (!ret && t->next < t->g->n_blocks) {
		uint64_t take = t->g->n_blocks - t->next;
		struct wc_entry_disk *e = space(t, &take);

		/* both numbers, as the kernel formats it */
		memset(e, 0xff, (size_t)take * WC_ENTRY);
		ret = added(t, take);
	}
	if (end < sizeof(t->sector))
		end = sizeof(t->sector);
	/* a new file has zeros there */
	if (ret || !t->dev || (t->dev->flags & DMFMT_OPEN_CREATE) || end >= t->g->metadata)
		return ret;
	return dmfmt_dev_zero(t->dev, t->g->start + end, t->g->metadata - end);
}

int wc_table_commit(struct wc_table *t)
{
	int ret;

	if (!t->dev)
		return 0;
	ret = dmfmt_dev_flush(t->dev);
	if (!ret)
		ret = dmfmt_dev_write(t->dev, t->g->start, t->sector, sizeof(t->sector));
	return ret ? ret : dmfmt_dev_flush(t->dev);
}

void wc_table_free(struct wc_table *t)
{
	free(t->part);
	t->part = NULL;
}

/* ---- create -------------------------------------------------------------------------------------- */

int wc_format(struct dmfmt_dev *cache, const struct wc_geometry *g, uint64_t seq)
{
	const struct wc_superblock sb = { DMFMT_WC_MAGIC, DMFMT_WC_VERSION, g->block_size, 0,
					  g->n_blocks, seq };
	struct wc_table t = { .ctx = cache->ctx, .dev = cache, .g = g, .what = "formatting" };
	int ret;

	dmfmt_wc_superblock_encode(&sb, &t.sb);
	ret = wc_table_begin(&t);
	if (!ret)
		ret = wc_table_put_free(&t);
	if (!ret)
		ret = wc_table_commit(&t);
	wc_table_free(&t);
	return ret;
}

static int holds(struct dmfmt_ctx *ctx, const struct dmfmt_dev *cache, const char *a,
		 const char *what)
{
	return dmfmt_fail(ctx, -EEXIST,
			  "%s: the device holds %s%s, expected nothing of that kind (--force overwrites it)",
			  cache->path, a, what);
}

/* a cache whose superblock is gone, or one that begins elsewhere */
static int check_lost(struct dmfmt *f)
{
	struct wc_guess g[WC_GUESSES];
	uint64_t other, alive;
	char sizes[80];
	unsigned nr;
	int best, ret = wc_infer_alive(f, g, &nr, &best, &alive);

	if (ret)
		return ret;
	wc_list_alive(g, nr, sizes, sizeof(sizes));
	if (alive)
		return dmfmt_fail(f->ctx, -EEXIST,
				  "%s: superblock: is gone, but %" PRIu64
				  " entries of blocks of %s bytes are alive behind it, expected none (dmtool writecache-repair --rebuild-superblock brings it back, --force overwrites them)",
				  f->dev->path, alive, sizes);
	other = wc_other_start(f, 0);
	if (other == DMFMT_NONE)
		return 0;
	return dmfmt_fail(f->ctx, -EEXIST,
			  "%s: sector %" PRIu64
			  ": found the superblock of a writecache cache, expected none (--force overwrites it; --start-sector=%" PRIu64
			  " is where it is)", f->dev->path, other, other);
}

int wc_check_blank(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache)
{
	const struct dmfmt_format *other;
	const struct wc *w;
	char what[160];
	struct dmfmt *f;
	int ret = dmfmt_open(ctx, cache, "writecache", 0, &f);

	if (ret)
		return ret;
	w = f->priv;
	if (w->sb.magic == DMFMT_WC_MAGIC)
		ret = holds(ctx, cache, "a ", f->format->what);
	if (!ret)
		ret = dmfmt_foreign_signature(ctx, cache, what, sizeof(what));
	if (!ret && what[0])
		ret = holds(ctx, cache, "", what);
	if (!ret)
		ret = dmfmt_other_format(cache, f->format, &other);
	if (!ret && other)
		ret = holds(ctx, cache, "a ", other->what);
	if (!ret)
		ret = check_lost(f);
	dmfmt_close(f);
	return ret;
}

/* what the file system on the origin works with; a device of 4 KiB logical blocks can have no less */
static int default_block_size(struct dmfmt_dev *origin, uint32_t logical, uint64_t *bytes)
{
	uint64_t fs = 0;
	char type[32];
	int ret = origin ? dmfmt_fs_block(origin, type, sizeof(type), &fs) : 0;

	*bytes = fs && fs < DMFMT_WC_BLOCK_USUAL ? DMFMT_WC_BLOCK_MIN : DMFMT_WC_BLOCK_USUAL;
	if (*bytes < logical)
		*bytes = logical;
	return ret;
}

int wc_new_block_size(struct dmfmt_ctx *ctx, const char *name, uint64_t bytes, uint32_t logical)
{
	if (!dmfmt_wc_block_size_ok(bytes))
		return dmfmt_fail(ctx, -EINVAL,
				  "%s: block_size is %" PRIu64
				  " bytes, expected a power of two from %u to %u", name, bytes,
				  DMFMT_WC_BLOCK_MIN, DMFMT_WC_BLOCK_MAX);
	if (bytes < logical)
		return dmfmt_fail(ctx, -EINVAL,
				  "%s: block_size is %" PRIu64
				  " bytes, expected at least the logical block size of cache and origin (%u bytes)",
				  name, bytes, logical);
	return 0;
}

static int no_room(struct dmfmt_ctx *ctx, const struct dmfmt_dev *cache, int err, uint64_t bytes)
{
	if (err == -EFBIG)
		return dmfmt_fail(ctx, err,
				  "%s: more blocks of %" PRIu64
				  " bytes than the kernel can count, expected at most %llu of them",
				  cache->path, bytes, DMFMT_WC_BLOCKS_MAX);
	return dmfmt_fail(ctx, err,
			  "%s: the device has %" PRIu64
			  " sectors behind start_sector, expected at least %" PRIu64
			  " (metadata and one block)", cache->path, wc_usable(cache) >> 9, bytes >> 8);
}

int wc_new_geometry(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache, struct dmfmt_dev *origin,
		    uint64_t bytes, struct wc_geometry *g)
{
	uint32_t logical = origin && origin->block > cache->block ? origin->block : cache->block;
	uint64_t n = 0;
	int ret = bytes ? 0 : default_block_size(origin, logical, &bytes);

	if (!ret)
		ret = wc_new_block_size(ctx, cache->path, bytes, logical);
	if (ret)
		return ret;
	if (cache->start % cache->block)
		return dmfmt_fail(ctx, -EINVAL,
				  "%s: start_sector is %" PRIu64
				  ", expected a multiple of the logical block size (%u bytes)",
				  cache->path, cache->start >> 9, cache->block);
	ret = dmfmt_wc_blocks(wc_usable(cache), bytes, &n);
	if (ret)
		return no_room(ctx, cache, ret, bytes);
	return dmfmt_wc_geometry_init(g, cache->start, wc_usable(cache), bytes, n);
}

int wc_new_warnings(struct dmfmt_ctx *ctx, const struct dmfmt_dev *cache, struct dmfmt_dev *origin,
		    const struct wc_geometry *g)
{
	uint64_t fs = 0;
	char type[32];
	int ret = origin ? dmfmt_fs_block(origin, type, sizeof(type), &fs) : 0;

	if (!ret && fs && fs < g->block_size)
		dmfmt_log(ctx, DMFMT_LOG_WARNING,
			  "%s: holds %s with sectors of %" PRIu64
			  " bytes, expected at least the cache's block_size of %u: it cannot be mounted through this cache",
			  origin->path, type, fs, g->block_size);
	if (origin && origin->size % g->block_size)
		dmfmt_log(ctx, DMFMT_LOG_WARNING,
			  "%s: has %" PRIu64
			  " sectors, expected a multiple of the block size (%u bytes): the kernel refuses a table of that length",
			  origin->path, origin->size >> 9, g->block_size);
	if (g->block_size > DMFMT_WC_BLOCK_USUAL)
		dmfmt_log(ctx, DMFMT_LOG_WARNING,
			  "%s: block_size is %u bytes, expected at most %u: only a kernel with pages of that size loads it",
			  cache->path, g->block_size, DMFMT_WC_BLOCK_USUAL);
	if (g->start % g->block_size || (g->start >> 9) % PAGE_SECTORS)
		dmfmt_log(ctx, DMFMT_LOG_WARNING,
			  "%s: start_sector is %" PRIu64
			  ", expected a multiple of the block size and of a page: persistent memory may refuse it",
			  cache->path, g->start >> 9);
	return ret;
}

/* superblocks at other places of the new cache would load with a wrong start_sector in the table */
static int destroy_others(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache)
{
	const uint8_t none[8] = { 0, 0, 0, 0, DMFMT_WC_VERSION };
	uint64_t other = cache->start >> 9;
	bool wrote = false;
	struct dmfmt *f;
	int ret = dmfmt_open(ctx, cache, "writecache", DMFMT_OPEN_HEADER_ONLY, &f);

	if (ret)
		return ret;
	while (!ret && (other = wc_other_start(f, other + 1)) != DMFMT_NONE) {
		ret = dmfmt_dev_write(cache, other * 512, none, sizeof(none));
		wrote = true;
	}
	dmfmt_close(f);
	return ret || !wrote ? ret : dmfmt_dev_flush(cache);
}

int wc_take_over(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache, const struct wc_geometry *g,
		 unsigned flags)
{
	int ret = 0;

	if (!(cache->flags & DMFMT_OPEN_CREATE))
		ret = flags & DMFMT_CREATE_FORCE ? destroy_others(ctx, cache) :
						   wc_check_blank(ctx, cache);
	if (!ret)
		dmfmt_dev_written_once(cache, g->start + 512);
	return ret;
}

static int create_args(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache,
		       const struct dmfmt_writecache_params *p, struct wc_geometry *g)
{
	ctx->error[0] = '\0';
	if (!cache || !p || p->size < sizeof(*p) || (p->flags & ~DMFMT_CREATE_FORCE))
		return dmfmt_fail(ctx, -EINVAL,
				  "create: no device, no parameters, or flags that are not known");
	return wc_new_geometry(ctx, cache, p->origin, p->block_bytes, g);
}

struct preview {
	dmfmt_field_fn fn;
	void *arg;
	uint64_t block_bytes;
	int ret;
};

static void preview(struct preview *e, const char *name, enum dmfmt_unit unit, uint64_t u)
{
	struct dmfmt_field f = { .group = "geometry", .name = name, .unit = unit, .u = u };

	f.unit_bytes = unit == DMFMT_UNIT_SECTORS ? 512 : unit == DMFMT_UNIT_BLOCKS ? e->block_bytes :
		       unit == DMFMT_UNIT_BYTES;
	if (!e->ret)
		e->ret = e->fn(e->arg, &f);
}

int dmfmt_writecache_geometry(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache,
			      const struct dmfmt_writecache_params *p, dmfmt_field_fn fn, void *arg)
{
	struct preview e = { .fn = fn, .arg = arg };
	struct wc_geometry g;
	int ret;

	if (!ctx || !fn)
		return -EINVAL;
	ret = create_args(ctx, cache, p, &g);
	if (ret)
		return ret;
	e.block_bytes = g.block_size;
	preview(&e, "block_size", DMFMT_UNIT_BYTES, g.block_size);
	preview(&e, "n_blocks", DMFMT_UNIT_BLOCKS, g.n_blocks);
	preview(&e, "device_sectors", DMFMT_UNIT_SECTORS, cache->size >> 9);
	preview(&e, "start_sector", DMFMT_UNIT_SECTORS, g.start >> 9);
	preview(&e, "metadata_bytes", DMFMT_UNIT_BYTES, g.metadata);
	preview(&e, "data_offset", DMFMT_UNIT_BYTES, g.start + g.metadata);
	preview(&e, "data_bytes", DMFMT_UNIT_BYTES, g.n_blocks * g.block_size);
	preview(&e, "unused_bytes", DMFMT_UNIT_BYTES,
		g.usable - g.metadata - g.n_blocks * g.block_size);
	preview(&e, "kernel_memory_ssd_bytes", DMFMT_UNIT_BYTES, g.n_blocks * DMFMT_WC_MEMORY_SSD);
	preview(&e, "kernel_memory_pmem_bytes", DMFMT_UNIT_BYTES,
		g.n_blocks * DMFMT_WC_MEMORY_PMEM);
	return e.ret;
}

int dmfmt_writecache_create(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache,
			    const struct dmfmt_writecache_params *p)
{
	struct wc_geometry g;
	int ret;

	if (!ctx)
		return -EINVAL;
	ret = create_args(ctx, cache, p, &g);
	if (!ret)
		ret = wc_take_over(ctx, cache, &g, p->flags);
	if (!ret)
		ret = wc_new_warnings(ctx, cache, p->origin, &g);
	return ret ? ret : wc_format(cache, &g, 0);
}

/* ---- restore ------------------------------------------------------------------------------------- */

/*
 * struct build - one restore
 * @dump_start: where the dumped cache began, bytes
 * @has_raw: the padding was not zero; @begun: the old superblock is out of the way
 * @cut: not all data blocks fit on the destination, as on the device that was dumped
 */
struct build {
	struct wc_superblock sb;
	struct wc_geometry g;
	struct wc_table table;
	uint64_t dump_start;
	bool has_raw, begun, cut;
};

static int read_head(struct dmfmt_builder *b, struct build *m, const struct dmfmt_field *head,
		     size_t nr)
{
	uint64_t v[6] = { 0 }, start = 0;
	static const struct {
		const char *name;
		uint64_t max;
	} names[6] = {
		{ "magic", UINT32_MAX }, { "version", UINT32_MAX }, { "block_size", UINT32_MAX },
		{ "pad", UINT32_MAX }, { "n_blocks", UINT64_MAX }, { "seq_count", UINT64_MAX },
	};
	int i, ret = dmfmt_restore_number(b, head, nr, "start_sector", UINT64_MAX / 512, &start);

	for (i = 0; !ret && i < 6; i++)
		ret = dmfmt_restore_number(b, head, nr, names[i].name, names[i].max, &v[i]);
	if (ret)
		return ret;
	m->sb = (struct wc_superblock){ (uint32_t)v[0], (uint32_t)v[1], (uint32_t)v[2],
					(uint32_t)v[3], v[4], v[5] };
	m->dump_start = start * 512;
	if (m->sb.magic != DMFMT_WC_MAGIC)
		return dmfmt_fail(b->ctx, -EINVAL, "dump: magic is 0x%08x, expected 0x%08x",
				  m->sb.magic, DMFMT_WC_MAGIC);
	if (m->sb.version != DMFMT_WC_VERSION)
		return dmfmt_fail(b->ctx, -EOPNOTSUPP, "dump: version is %u, expected %u",
				  m->sb.version, DMFMT_WC_VERSION);
	return 0;
}

static int set_geometry(struct dmfmt_builder *b, struct build *m)
{
	uint64_t size = b->dev ? b->dev->size : b->dev_sectors * 512, usable;
	uint64_t start = b->dev ? b->dev->start : m->dump_start;
	int ret;

	if (!b->dev && (b->dev_sectors > UINT64_MAX / 512 || start > size))
		return dmfmt_fail(b->ctx, -ERANGE,
				  "destination: %" PRIu64 " sectors, expected more than the start_sector %" PRIu64,
				  b->dev_sectors, start >> 9);
	usable = b->dev ? wc_usable(b->dev) : size - start;
	ret = dmfmt_wc_geometry_init(&m->g, start, usable, m->sb.block_size, m->sb.n_blocks);
	if (ret == -EINVAL)
		return dmfmt_fail(b->ctx, ret,
				  "dump: block_size is %u and n_blocks %" PRIu64
				  ", expected a power of two from %u to %u and at least one block",
				  m->sb.block_size, m->sb.n_blocks, DMFMT_WC_BLOCK_MIN,
				  DMFMT_WC_BLOCK_MAX);
	if (ret == -EOVERFLOW || (ret == -ERANGE && m->g.metadata > usable))
		return dmfmt_fail(b->ctx, -ERANGE,
				  "destination: %" PRIu64
				  " sectors behind start_sector, expected room for %" PRIu64 " entries",
				  usable >> 9, m->sb.n_blocks);
	if (b->dev && m->g.block_size < b->dev->block)
		return dmfmt_fail(b->ctx, -EINVAL,
				  "%s: block_size is %u bytes, expected at least the logical block size (%u bytes)",
				  b->dev->path, m->g.block_size, b->dev->block);
	m->cut = ret == -ERANGE;
	return 0;
}

/* a cache with such blocks; one whose restore was cut is without its magic, but not one whose format
 * was: that had no blocks yet */
static bool same_cache(const struct wc_superblock *there, const struct wc_superblock *sb)
{
	bool cut = !there->magic && (there->seq_count || !sb->seq_count);

	return (there->magic == DMFMT_WC_MAGIC || cut) && there->version == DMFMT_WC_VERSION &&
	       there->block_size == sb->block_size && there->n_blocks == sb->n_blocks;
}

/* metadata alone make sense only over the data they name */
static int check_destination(struct dmfmt_builder *b, const struct build *m)
{
	struct wc_superblock_disk d;
	struct wc_superblock sb;
	int ret;

	if (!b->dev || (b->dev->flags & DMFMT_OPEN_CREATE) ||
	    (b->flags & DMFMT_RESTORE_METADATA_ONLY))
		return 0;
	ret = dmfmt_dev_read(b->dev, b->dev->start, &d, sizeof(d));
	if (ret)
		return ret;
	dmfmt_wc_superblock_decode(&d, &sb);
	if (same_cache(&sb, &m->sb))
		return 0;
	return dmfmt_fail(b->ctx, -EEXIST,
			  "%s: sector %" PRIu64 ": no writecache cache with %" PRIu64
			  " blocks of %u bytes there, so the data are not there either (--metadata-only restores all the same)",
			  b->dev->path, b->dev->start >> 9, m->sb.n_blocks, m->sb.block_size);
}

int wc_restore_begin(struct dmfmt_builder *b, const struct dmfmt_field *head, size_t nr)
{
	struct build *m = calloc(1, sizeof(*m));
	int ret;

	b->priv = m;
	if (!m)
		return dmfmt_fail(b->ctx, -ENOMEM, "out of memory");
	ret = read_head(b, m, head, nr);
	if (!ret)
		ret = set_geometry(b, m);
	if (!ret)
		ret = check_destination(b, m);
	if (ret)
		return ret;
	m->table = (struct wc_table){
		.ctx = b->ctx, .dev = b->dev, .g = &m->g, .sum = true,
		.what = b->dev ? "restoring" : "validating",
	};
	dmfmt_wc_superblock_encode(&m->sb, &m->table.sb);
	if (b->dev)
		dmfmt_dev_written_once(b->dev, m->g.start + sizeof(m->table.sector));
	return 0;
}

int wc_restore_raw(struct dmfmt_builder *b, uint64_t offset, const void *bytes, size_t len)
{
	struct build *m = b->priv;
	uint64_t at = offset - m->dump_start;

	if (m->has_raw || m->begun || offset < m->dump_start || at < PADDING || at > WC_SUPERBLOCK ||
	    len > WC_SUPERBLOCK - at)
		return dmfmt_fail(b->ctx, -EINVAL,
				  "dump: raw bytes at %" PRIu64
				  ", expected once, before the entries, inside the superblock's padding",
				  offset);
	m->has_raw = true;
	memcpy((uint8_t *)&m->table.sb + at, bytes, len);
	return 0;
}

/* nothing is touched before the first entry has come */
static int begin_writing(struct build *m)
{
	if (m->begun)
		return 0;
	m->begun = true;
	m->table.crc = dmfmt_crc32c(0, &m->table.sb, sizeof(m->table.sb));
	return wc_table_begin(&m->table);
}

int wc_restore_records(struct dmfmt_builder *b, const uint64_t *values, size_t nr)
{
	struct build *m = b->priv;

	if (nr > m->g.n_blocks - m->table.next)
		return dmfmt_fail(b->ctx, -EINVAL,
				  "dump: more than %" PRIu64 " entries, expected n_blocks of them",
				  m->g.n_blocks);
	return begin_writing(m) ?: wc_table_put(&m->table, values, nr);
}

int wc_restore_stale(struct dmfmt_builder *b, uint64_t area, uint64_t slot, const uint64_t *values)
{
	return dmfmt_fail(b->ctx, -EINVAL, "dump: stale entries, expected none in a writecache cache");
}

int wc_restore_commit(struct dmfmt_builder *b, const struct dmfmt_field *tail, size_t nr)
{
	struct build *m = b->priv;
	uint64_t entries = 0, crc = 0;
	int ret = dmfmt_restore_number(b, tail, nr, "nr_entries", UINT64_MAX, &entries);

	if (!ret)
		ret = dmfmt_restore_number(b, tail, nr, "metadata_crc32c", UINT32_MAX, &crc);
	if (!ret && (entries != m->table.next || entries != m->g.n_blocks))
		ret = dmfmt_fail(b->ctx, -EINVAL,
				 "dump: %" PRIu64 " entries, expected n_blocks of them (%" PRIu64
				 "), as its end says (%" PRIu64 ")", m->table.next, m->g.n_blocks,
				 entries);
	if (!ret && crc != m->table.crc)
		ret = dmfmt_fail(b->ctx, -EINVAL,
				 "dump: metadata_crc32c is 0x%08x, expected 0x%08" PRIx64 " as its end says",
				 m->table.crc, crc);
	if (ret || !b->dev)
		return ret;
	if (m->cut)
		dmfmt_log(b->ctx, DMFMT_LOG_WARNING,
			  "%s: %" PRIu64 " sectors behind start_sector, expected %" PRIu64
			  " for all data blocks: the kernel refuses to load it", b->dev->path,
			  m->g.usable >> 9, (m->g.metadata + m->g.n_blocks * m->g.block_size) >> 9);
	return wc_table_commit(&m->table);
}

void wc_restore_free(struct dmfmt_builder *b)
{
	struct build *m = b->priv;

	if (m)
		wc_table_free(&m->table);
	free(m);
	b->priv = NULL;
}
