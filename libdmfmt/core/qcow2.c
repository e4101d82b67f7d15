// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A qcow2 overlay (version 3) over the origin, holding what the store holds.  Written front to back,
 * the tables behind what they point to, the header last:
 *
 *	cluster 0        header, backing file format and name
 *	cluster 1 ..     L1 table (its size is known from the start)
 *	...              data clusters, and behind each 2^n of them that are used the L2 table for them
 *	...              refcount blocks, every count 1; the refcount table
 *
 * Source of the layout: the qcow2 specification (QEMU, docs/interop/qcow2.txt).
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "export.h"

#define MAGIC 0x514649fbu
#define VERSION 3u
#define HEADER_BYTES 104u
#define EXT_BACKING_FORMAT 0xe2792acau
#define BITS_MIN 9u
#define BITS_MAX 21u
#define REFCOUNT_ORDER 4u		/* 16 bits */
#define L1_BYTES_MAX (32u << 20)	/* more is refused by everyone who reads qcow2 */
#define BACKING_MAX 1023u
#define COPIED (1ull << 63)		/* the refcount is exactly 1 */
#define ZERO 1ull			/* the cluster reads as zeros */
#define SCAN_BYTES (1u << 20)
#define GROW_BYTES (64u << 20)

struct header_disk {
	uint32_t magic, version;
	uint64_t backing_offset;
	uint32_t backing_len, cluster_bits;
	uint64_t size;
	uint32_t crypt_method, l1_size;
	uint64_t l1_offset, refcount_offset;
	uint32_t refcount_clusters, nr_snapshots;
	uint64_t snapshots_offset;
	uint64_t incompatible, compatible, autoclear;
	uint32_t refcount_order, header_len;
};
_Static_assert(sizeof(struct header_disk) == HEADER_BYTES, "qcow2 header");

struct qcow2 {
	struct dmfmt_export *x;
	struct dmfmt_ctx *ctx;
	unsigned bits;
	uint64_t cluster;	/* bytes */
	uint64_t l2_entries;	/* in one table */
	uint64_t l1_size;	/* entries */
	uint64_t next;		/* the next free cluster of the file */
	uint64_t *l1, *l2;	/* big-endian; the L2 table being filled */
	uint64_t l2_index;	/* which one that is, DMFMT_NONE: none */
	uint8_t *scan;		/* SCAN_BYTES, or a cluster if that is more */
};

static int write_at(struct qcow2 *q, uint64_t cluster, const void *buf, uint64_t len)
{
	q->x->table_bytes += len;
	return dmfmt_dev_write(q->x->to, cluster << q->bits, buf, (size_t)len);
}

/* the file has to be long enough before anything is written to it; its end is cut off at the end */
static int grow(struct qcow2 *q)
{
	uint64_t bytes = q->next << q->bits;

	if (bytes <= q->x->to->size)
		return 0;
	return dmfmt_dev_truncate(q->x->to, (bytes + GROW_BYTES - 1) / GROW_BYTES * GROW_BYTES);
}

/* ---- L2 tables -------------------------------------------------------------------------------- */

static int end_l2(struct qcow2 *q)
{
	uint64_t at = q->next;
	int ret;

	if (q->l2_index == DMFMT_NONE)
		return 0;
	q->next++;
	ret = grow(q);
	if (!ret)
		ret = write_at(q, at, q->l2, q->cluster);
	q->l1[q->l2_index] = htobe64(at << q->bits | COPIED);
	memset(q->l2, 0, (size_t)q->cluster);
	q->l2_index = DMFMT_NONE;
	return ret;
}

/* the entry of a guest cluster; they come in ascending order */
static int set_entry(struct qcow2 *q, uint64_t guest, uint64_t entry)
{
	uint64_t index = guest / q->l2_entries;
	int ret = 0;

	if (index != q->l2_index)
		ret = end_l2(q);
	q->l2_index = index;
	q->l2[guest % q->l2_entries] = htobe64(entry);
	return ret;
}

/* ---- data ------------------------------------------------------------------------------------- */

static bool is_zero(const uint8_t *p, size_t len)
{
	return !*p && !memcmp(p, p + 1, len - 1);
}

/* one guest cluster: @len bytes of the store at @from (less than a cluster at the device's end) */
static int add_cluster(struct qcow2 *q, uint64_t guest, uint64_t from, uint64_t len,
		       const uint8_t *bytes)
{
	uint64_t at = q->next;
	int ret;

	if (is_zero(bytes, (size_t)len)) {
		q->x->zero_bytes += len;
		return set_entry(q, guest, ZERO);
	}
	ret = set_entry(q, guest, 0);	/* may write the table before this one */
	if (ret)
		return ret;
	at = q->next++;
	ret = grow(q);
	if (!ret)
		ret = set_entry(q, guest, at << q->bits | COPIED);
	return ret ? ret : dmfmt_export_add(q->x, at << q->bits, from, len, true);
}

/*
 * An extent of the store.  A cluster is at most a chunk, so clusters never are partly the store's,
 * but at the end of the origin.
 */
static int add_extent(struct qcow2 *q, const struct dmfmt_extent *e)
{
	uint64_t piece = SCAN_BYTES > q->cluster ? SCAN_BYTES : q->cluster, in, i;
	int ret = 0;

	for (in = 0; !ret && in < e->length; in += piece) {
		uint64_t len = e->length - in < piece ? e->length - in : piece;

		ret = dmfmt_dev_read(q->x->v->f->dev, e->from + in, q->scan, (size_t)len);
		for (i = 0; !ret && i < len; i += q->cluster)
			ret = add_cluster(q, (e->to + in + i) >> q->bits, e->from + in + i,
					  len - i < q->cluster ? len - i : q->cluster, q->scan + i);
	}
	return ret;
}

static int add_all(struct qcow2 *q)
{
	struct dmfmt_extent e;
	uint64_t off = 0;
	int ret;

	for (;;) {
		ret = dmfmt_map_next(q->x->v->map, off, &e);
		if (ret <= 0)
			return ret;
		if (e.to >= q->x->v->size)
			return 0;
		if (e.length > q->x->v->size - e.to)
			e.length = q->x->v->size - e.to;
		ret = add_extent(q, &e);
		if (ret)
			return ret;
		off = e.to + e.length;
	}
}

/* ---- refcounts -------------------------------------------------------------------------------- */

/* blocks and table count themselves, too */
static int write_refcounts(struct qcow2 *q, uint64_t *table_at, uint32_t *table_clusters)
{
	uint64_t per_block = q->cluster / 2, data = q->next, blocks = 0, table = 0, want, nr, i;
	uint64_t *entries;
	uint16_t *counts;
	int ret = 0;

	do {
		want = blocks + table;
		nr = data + want;
		blocks = (nr + per_block - 1) / per_block;
		table = (blocks * 8 + q->cluster - 1) / q->cluster;
	} while (blocks + table != want);
	entries = calloc((size_t)table, (size_t)q->cluster);
	counts = malloc((size_t)q->cluster);
	if (!entries || !counts)
		ret = dmfmt_fail(q->ctx, -ENOMEM, "%s: no memory for refcounts", q->x->to->path);
	q->next = nr;
	if (!ret)
		ret = grow(q);
	for (i = 0; !ret && i < blocks; i++) {
		uint64_t j, left = nr - i * per_block;

		for (j = 0; j < per_block; j++)
			counts[j] = htobe16(j < left);
		ret = write_at(q, data + i, counts, q->cluster);
		entries[i] = htobe64((data + i) << q->bits);
	}
	if (!ret)
		ret = write_at(q, data + blocks, entries, table * q->cluster);
	if (!ret)
		ret = dmfmt_dev_truncate(q->x->to, nr << q->bits);
	*table_at = (data + blocks) << q->bits;
	*table_clusters = (uint32_t)table;
	free(entries);
	free(counts);
	return ret;
}

/* ---- the header ------------------------------------------------------------------------------- */

/* header, the extension that names the backing format, the end of extensions, the backing's name */
static int write_header(struct qcow2 *q, uint64_t refcount_at, uint32_t refcount_clusters)
{
	const char *backing = q->x->o.backing;
	uint8_t buf[4096] = { 0 };
	const uint32_t ext[2] = { htobe32(EXT_BACKING_FORMAT), htobe32(3) };
	size_t name_at = HEADER_BYTES + 8 + 8 + 8;
	const struct header_disk h = {
		.magic = htobe32(MAGIC), .version = htobe32(VERSION),
		.backing_offset = htobe64(name_at), .backing_len = htobe32((uint32_t)strlen(backing)),
		.cluster_bits = htobe32(q->bits), .size = htobe64(q->x->v->size),
		.l1_size = htobe32((uint32_t)q->l1_size), .l1_offset = htobe64(q->cluster),
		.refcount_offset = htobe64(refcount_at),
		.refcount_clusters = htobe32(refcount_clusters),
		.refcount_order = htobe32(REFCOUNT_ORDER), .header_len = htobe32(HEADER_BYTES),
	};
	int ret = dmfmt_dev_flush(q->x->to);	/* all that it points to comes first */

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + HEADER_BYTES, ext, sizeof(ext));
	memcpy(buf + HEADER_BYTES + 8, "raw", 3);
	memcpy(buf + name_at, backing, strlen(backing));
	q->x->table_bytes += name_at + strlen(backing);
	return ret ? ret : dmfmt_dev_write(q->x->to, 0, buf, name_at + strlen(backing));
}

static int set_geometry(struct qcow2 *q)
{
	struct dmfmt_view *v = q->x->v;
	uint64_t unit = v->f->format->data_unit(v->f), clusters;

	q->bits = BITS_MIN;
	while (q->bits < BITS_MAX && 2ull << q->bits <= unit)
		q->bits++;
	q->cluster = 1ull << q->bits;
	q->l2_entries = q->cluster / 8;
	clusters = (v->size + q->cluster - 1) >> q->bits;
	q->l1_size = (clusters + q->l2_entries - 1) / q->l2_entries;
	if (q->l1_size * 8 > L1_BYTES_MAX)
		return dmfmt_fail(q->ctx, -EOPNOTSUPP,
				  "%s: qcow2 with clusters of %" PRIu64 " bytes holds at most %" PRIu64
				  " bytes, expected %" PRIu64 "; a raw export or a larger chunk size can do it",
				  q->x->to->path, q->cluster,
				  (L1_BYTES_MAX / 8 * q->l2_entries) << q->bits, v->size);
	if (!q->x->o.backing || !*q->x->o.backing || strlen(q->x->o.backing) > BACKING_MAX ||
	    strlen(q->x->o.backing) + HEADER_BYTES + 24 > q->cluster)
		return dmfmt_fail(q->ctx, -EINVAL,
				  "%s: name of the backing file: expected 1 to %" PRIu64 " bytes", q->x->to->path,
				  q->cluster - HEADER_BYTES - 24 < BACKING_MAX ?
				  q->cluster - HEADER_BYTES - 24 : BACKING_MAX);
	return 0;
}

static int set_up(struct qcow2 *q)
{
	uint64_t l1_clusters = (q->l1_size * 8 + q->cluster - 1) >> q->bits;
	uint64_t scan = SCAN_BYTES > q->cluster ? SCAN_BYTES : q->cluster;
	void *p = NULL;

	q->l1 = calloc((size_t)(l1_clusters ? l1_clusters : 1), (size_t)q->cluster);
	q->l2 = calloc(1, (size_t)q->cluster);
	if (!q->l1 || !q->l2 || posix_memalign(&p, 4096, (size_t)scan))
		return dmfmt_fail(q->ctx, -ENOMEM, "%s: no memory for qcow2 tables", q->x->to->path);
	q->scan = p;
	q->l2_index = DMFMT_NONE;
	q->next = 1 + l1_clusters;
	return grow(q);
}

static int write_all(struct qcow2 *q)
{
	uint64_t l1_clusters = (q->l1_size * 8 + q->cluster - 1) >> q->bits, refcount_at = 0;
	uint32_t refcount_clusters = 0;
	int ret = dmfmt_export_begin(q->x, 0);

	if (!ret)
		ret = add_all(q);
	if (!ret)
		ret = end_l2(q);
	if (!ret)
		ret = dmfmt_export_end(q->x);
	if (!ret && l1_clusters)
		ret = write_at(q, 1, q->l1, l1_clusters << q->bits);
	if (!ret)
		ret = write_refcounts(q, &refcount_at, &refcount_clusters);
	return ret ? ret : write_header(q, refcount_at, refcount_clusters);
}

int dmfmt_qcow2_write(struct dmfmt_export *x)
{
	struct qcow2 q = { .x = x, .ctx = x->v->f->ctx };
	int ret = set_geometry(&q);

	if (!ret)
		ret = set_up(&q);
	if (!ret)
		ret = write_all(&q);
	free(q.l1);
	free(q.l2);
	free(q.scan);
	return ret;
}
