// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How large a COW device has to be, before it is made.
 *
 * The same number of changed sectors takes very different numbers of chunks: in one piece as few as
 * cover it, and as scattered writes of 4 KiB (a page, a file system's block) one chunk each.  What
 * is needed lies in between, and never above the whole origin.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "snapshot.h"

#define WRITE_SECTORS 8u	/* a scattered write: 4 KiB */
#define EXCEPTION_BYTES 32u	/* in the kernel's memory: struct dm_exception, 64-bit */
#define BUCKET_BYTES 16u	/* of its hash table: the larger of the two that kernels have */
#define BUCKETS_MIN 64u
#define BUCKETS_BYTES_MAX (2u << 20)

static uint64_t div_up(uint64_t a, uint64_t b)
{
	return a / b + !!(a % b);
}

/* dm-snap.c, init_hash_tables() and calc_max_buckets(): a power of two, as many as the device has
 * chunks */
static uint64_t hash_bytes(uint64_t chunks)
{
	uint64_t buckets = BUCKETS_BYTES_MAX / BUCKET_BYTES;

	while (buckets > chunks && buckets > BUCKETS_MIN)
		buckets >>= 1;
	return buckets * BUCKET_BYTES;
}

/* no run is longer than one chunk: writes in any order */
static uint64_t memory_bytes(const struct snap_geometry *g, uint64_t exceptions, uint64_t chunks)
{
	return exceptions * EXCEPTION_BYTES + 4 * g->chunk_bytes + hash_bytes(chunks);
}

/* the next device size from @chunks on that ends with the last data chunk of an area */
static uint64_t next_edge(const struct snap_geometry *g, uint64_t chunks)
{
	return div_up(chunks > 1 ? chunks - 1 : 1, g->stride) * g->stride + 1;
}

struct tell {
	dmfmt_field_fn fn;
	void *arg;
	const struct snap_geometry *g;
	int ret;
};

static void put(struct tell *t, const char *name, enum dmfmt_unit unit, uint64_t u)
{
	struct dmfmt_field f = { .name = name, .unit = unit, .u = u };

	f.unit_bytes = unit == DMFMT_UNIT_SECTORS ? 512 : unit == DMFMT_UNIT_BYTES;
	if (!t->ret)
		t->ret = t->fn(t->arg, &f);
}

/* one assumption: how many exceptions, what device holds them, what the kernel keeps in memory */
static void put_case(struct tell *t, const char *which, uint64_t exceptions)
{
	/* without any there is room for one */
	uint64_t chunks = dmfmt_snap_chunks_needed(t->g, exceptions ? exceptions : 1);
	char name[64];

	snprintf(name, sizeof(name), "%s_exceptions", which);
	put(t, name, DMFMT_UNIT_NONE, exceptions);
	snprintf(name, sizeof(name), "%s_sectors", which);
	put(t, name, DMFMT_UNIT_SECTORS, chunks << t->g->shift);
	snprintf(name, sizeof(name), "%s_edge_sectors", which);
	put(t, name, DMFMT_UNIT_SECTORS, next_edge(t->g, chunks) << t->g->shift);
	snprintf(name, sizeof(name), "%s_memory_bytes", which);
	put(t, name, DMFMT_UNIT_BYTES, memory_bytes(t->g, exceptions, chunks));
}

static int check_args(struct dmfmt_ctx *ctx, uint64_t origin_sectors, uint64_t changed_sectors,
		      uint64_t chunk_sectors)
{
	if (!origin_sectors || origin_sectors > INT64_MAX / 512)
		return dmfmt_fail(ctx, -EINVAL,
				  "size: the origin has %" PRIu64 " sectors, expected 1 to %" PRIu64,
				  origin_sectors, (uint64_t)INT64_MAX / 512);
	if (changed_sectors > origin_sectors)
		return dmfmt_fail(ctx, -EINVAL,
				  "size: %" PRIu64 " changed sectors, expected at most the origin's %" PRIu64,
				  changed_sectors, origin_sectors);
	if (!dmfmt_snap_chunk_size_ok(chunk_sectors))
		return dmfmt_fail(ctx, -EINVAL,
				  "size: chunk size is %" PRIu64
				  " sectors, expected a power of two from 1 to %u", chunk_sectors,
				  DMFMT_SNAP_CHUNK_SECTORS_MAX);
	return 0;
}

int dmfmt_snapshot_size(struct dmfmt_ctx *ctx, uint64_t origin_sectors, uint64_t changed_sectors,
			uint64_t chunk_sectors, dmfmt_field_fn fn, void *arg)
{
	struct snap_geometry g = { 0 };
	struct tell t = { .fn = fn, .arg = arg, .g = &g };
	uint64_t all, scattered;
	int ret;

	if (!ctx || !fn)
		return -EINVAL;
	ctx->error[0] = '\0';
	ret = check_args(ctx, origin_sectors, changed_sectors, chunk_sectors);
	if (!ret)
		ret = dmfmt_snap_geometry_init(&g, chunk_sectors, 0);
	if (ret)
		return ret;
	all = div_up(origin_sectors, chunk_sectors);
	scattered = div_up(changed_sectors, WRITE_SECTORS) *
		    (chunk_sectors < WRITE_SECTORS ? WRITE_SECTORS / chunk_sectors : 1);
	put(&t, "chunk_size", DMFMT_UNIT_SECTORS, chunk_sectors);
	put(&t, "exceptions_per_area", DMFMT_UNIT_NONE, g.entries);
	put(&t, "origin_chunks", DMFMT_UNIT_NONE, all);
	put_case(&t, "contiguous", div_up(changed_sectors, chunk_sectors));
	put_case(&t, "scattered", scattered < all ? scattered : all);
	put_case(&t, "full", all);
	return t.ret;
}
