// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reading the entries: one long range, so reading runs ahead of decoding. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "writecache.h"

#define PIECE (1u << 20)
#define ALIGN 4096u		/* pieces begin at multiples of it from the superblock on */

struct reading {
	struct wc_walk *w;
	const struct wc_geometry *g;
	uint64_t first, end;		/* entries */
	uint64_t ask, stop;		/* read-ahead: bytes behind g->start */
	uint64_t *swapped;		/* big-endian hosts only */
	uint8_t *retry;
};

static int next_piece(void *arg, uint64_t *off, uint64_t *len)
{
	struct reading *r = arg;

	if (r->ask >= r->stop)
		return 0;
	*off = r->g->start + r->ask;
	*len = r->stop - r->ask < PIECE ? r->stop - r->ask : PIECE;
	r->ask += *len;
	return 1;
}

static const uint64_t *host_order(struct reading *r, const struct wc_entry_disk *e, size_t nr)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	size_t i;

	for (i = 0; i < nr; i++) {
		r->swapped[2 * i] = dmfmt_wc_sector(&e[i]);
		r->swapped[2 * i + 1] = dmfmt_wc_seq(&e[i]);
	}
	return r->swapped;
#else
	(void)r;
	(void)nr;
	return (const uint64_t *)(const void *)e;
#endif
}

/* bytes [off, off + len) of the device, or nothing if @buf is NULL: the entries that are asked for */
static int hand_out(struct reading *r, const uint8_t *buf, uint64_t off, size_t len)
{
	uint64_t from = off - r->g->start, to = from + len;
	struct wc_part p;

	if (from < WC_SUPERBLOCK)
		from = WC_SUPERBLOCK;
	if (from < WC_SUPERBLOCK + r->first * WC_ENTRY)
		from = WC_SUPERBLOCK + r->first * WC_ENTRY;
	if (to > WC_SUPERBLOCK + r->end * WC_ENTRY)
		to = WC_SUPERBLOCK + r->end * WC_ENTRY;
	if (from >= to)
		return 0;
	p.first = (from - WC_SUPERBLOCK) / WC_ENTRY;
	p.nr = (size_t)((to - from) / WC_ENTRY);
	p.offset = r->g->start + from;
	p.e = NULL;
	p.v = NULL;
	if (buf) {
		p.e = (const struct wc_entry_disk *)(const void *)(buf + (p.offset - off));
		p.v = host_order(r, p.e, p.nr);
	} else {
		r->w->lost += p.nr;
	}
	return r->w->fn(r->w->arg, &p);
}

/* a piece that failed, again in units of a logical block: what can be read and what cannot, in order */
static int try_again(struct reading *r, uint64_t off, size_t len)
{
	struct dmfmt_dev *dev = r->w->f->dev;
	size_t unit = dev->block > 512 ? dev->block : 512, at, n, from = 0;
	bool bad = false;
	int err, ret = 0;

	if (!r->retry)
		r->retry = malloc(PIECE);
	if (!r->retry)
		return dmfmt_fail(r->w->f->ctx, -ENOMEM, "out of memory");
	for (at = 0; !ret && at < len; at += n) {
		n = unit - (size_t)((off + at) % unit);
		if (n > len - at)
			n = len - at;
		err = dmfmt_dev_read(dev, off + at, r->retry + at, n);
		if (err == -ECANCELED || err == -ENOMEM)
			return err;
		if (at > from && bad != !!err) {
			ret = hand_out(r, bad ? NULL : r->retry + from, off + from, at - from);
			from = at;
		}
		bad = err;
	}
	return ret ? ret : hand_out(r, bad ? NULL : r->retry + from, off + from, len - from);
}

static int walk(struct reading *r, struct dmfmt_stream *stream)
{
	struct wc_walk *w = r->w;
	const void *buf;
	uint64_t off;
	size_t len;
	int ret, got;

	while ((got = dmfmt_stream_next(stream, &buf, &off, &len)) != 0) {
		if (got > 0)
			ret = hand_out(r, buf, off, len);
		else if (w->tolerant && got != -ECANCELED && got != -ENOMEM)
			ret = try_again(r, off, len);
		else
			ret = got;
		if (!ret)
			ret = dmfmt_progress_step(w->f->ctx, w->what, w->pass, w->nr_passes,
						  (off + len - r->g->start) / WC_ENTRY, r->end);
		if (ret)
			return ret;
	}
	return 0;
}

/* ---- one data block ------------------------------------------------------------------------------- */

static bool known_bad(const struct dmfmt_dev *dev, uint64_t off, uint64_t len)
{
	size_t i;

	for (i = 0; i < dev->nr_bad; i++)
		if (off < dev->bad[i].off + dev->bad[i].len && dev->bad[i].off < off + len)
			return true;
	return false;
}

int wc_block_reads(struct dmfmt *f, uint64_t entry, bool *reads)
{
	const struct wc_geometry *g = &((const struct wc *)f->priv)->g;
	uint64_t off = dmfmt_wc_block_offset(g, entry);
	uint8_t *buf;
	int ret;

	*reads = false;
	if (!dmfmt_wc_block_there(g, entry) || known_bad(f->dev, off, g->block_size))
		return 0;
	buf = malloc(g->block_size);
	if (!buf)
		return dmfmt_fail(f->ctx, -ENOMEM, "out of memory");
	ret = dmfmt_dev_read(f->dev, off, buf, g->block_size);
	/* what fails once may be no bad block */
	if (ret && ret != -ENOMEM && ret != -ECANCELED)
		ret = dmfmt_dev_read(f->dev, off, buf, g->block_size);
	free(buf);
	*reads = !ret;
	return ret == -ENOMEM || ret == -ECANCELED ? ret : 0;
}

/* ---- all entries, or some -------------------------------------------------------------------------- */

int wc_walk_run(struct wc_walk *w)
{
	const struct wc *wc = w->f->priv;
	struct reading r = { .w = w, .g = w->g ? w->g : &wc->g, .first = w->first };
	struct dmfmt_stream_opts o = { .next = next_piece, .arg = &r, .memory = 2 << 20 };
	uint64_t all = dmfmt_wc_readable_entries(r.g);
	struct dmfmt_stream *stream;
	int ret;

	w->lost = 0;
	r.end = w->end && w->end < all ? w->end : all;
	if (r.first >= r.end)
		return 0;
	r.ask = (WC_SUPERBLOCK + r.first * WC_ENTRY) / ALIGN * ALIGN;
	r.stop = (WC_SUPERBLOCK + r.end * WC_ENTRY + 511) / 512 * 512;
	if (r.stop > r.g->usable)
		r.stop = r.g->usable;
	if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) {
		r.swapped = malloc(PIECE);
		if (!r.swapped)
			return dmfmt_fail(w->f->ctx, -ENOMEM, "out of memory");
	}
	ret = dmfmt_stream_open(w->f->dev, &o, &stream);
	if (!ret) {
		ret = walk(&r, stream);
		dmfmt_stream_close(stream);
	}
	free(r.retry);
	free(r.swapped);
	return ret;
}
