// SPDX-License-Identifier: LGPL-2.1-or-later
/* The logical device as a new file: everything raw, or what the store holds as a qcow2 overlay. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "export.h"

#define BATCH_MOVES 8192u
#define BATCH_BYTES (256ull << 20)	/* long enough to be fast, short enough for the progress */
#define FROM_ORIGIN 0u
#define FROM_STORE 1u

int dmfmt_export_begin(struct dmfmt_export *x, uint64_t total)
{
	const struct dmfmt_copier_opts c = {
		.src = { x->v->f->origin, x->v->f->dev }, .dst = x->to, .fresh = true,
		.rate = x->o.rate, .what = "exporting", .total = total,
		.memory = dmfmt_copier_memory(x->v->f->ctx, BATCH_MOVES * sizeof(*x->moves)),
	};

	x->moves = malloc(BATCH_MOVES * sizeof(*x->moves));
	if (!x->moves)
		return dmfmt_fail(x->v->f->ctx, -ENOMEM, "%s: no memory for an export", x->to->path);
	return dmfmt_copier_open(x->v->f->ctx, &c, &x->copier);
}

/* what is gathered: copied, and with DMFMT_EXPORT_VERIFY durable and compared */
static int flush_moves(struct dmfmt_export *x)
{
	int ret = dmfmt_copier_run(x->copier, x->moves, x->nr);

	if (!ret && x->o.flags & DMFMT_EXPORT_VERIFY) {
		ret = dmfmt_dev_flush(x->to);
		if (!ret)
			ret = dmfmt_copier_verify(x->copier, x->moves, x->nr);
	}
	x->nr = 0;
	x->batched = 0;
	return ret;
}

int dmfmt_export_add(struct dmfmt_export *x, uint64_t to, uint64_t from, uint64_t len, bool in_store)
{
	struct dmfmt_move *last = x->nr ? &x->moves[x->nr - 1] : NULL;
	uint32_t src = in_store ? FROM_STORE : FROM_ORIGIN;

	*(in_store ? &x->store_bytes : &x->origin_bytes) += len;
	x->batched += len;
	if (last && last->src == src && last->to + last->len == to && from != DMFMT_NONE &&
	    last->from != DMFMT_NONE && last->from + last->len == from)
		last->len += len;
	else
		x->moves[x->nr++] = (struct dmfmt_move){ from, to, len, src };
	return x->nr == BATCH_MOVES || x->batched >= BATCH_BYTES ? flush_moves(x) : 0;
}

int dmfmt_export_end(struct dmfmt_export *x)
{
	return x->nr ? flush_moves(x) : 0;
}

static int export_raw(struct dmfmt_export *x)
{
	uint64_t off = 0;
	int ret = dmfmt_dev_truncate(x->to, x->v->size);

	if (!ret)
		ret = dmfmt_export_begin(x, x->v->size);
	while (!ret && off < x->v->size) {
		struct dmfmt_extent e;
		bool in_store;

		ret = dmfmt_view_extent(x->v, off, &e, &in_store);
		if (ret)
			break;
		/* an origin without exceptions for a long way still goes in batches */
		if (e.length > BATCH_BYTES)
			e.length = BATCH_BYTES;
		ret = dmfmt_export_add(x, off, e.from, e.length, in_store);
		off += e.length;
	}
	return ret ? ret : dmfmt_export_end(x);
}

static int tell(const struct dmfmt_export *x, dmfmt_field_fn fn, void *arg)
{
	struct dmfmt_copier_stats st = { 0 };
	struct {
		const char *name;
		uint64_t u;
	} all[] = {
		{ "image_bytes", 0 }, { "store_bytes", x->store_bytes },
		{ "origin_bytes", x->origin_bytes }, { "written_bytes", 0 }, { "zero_bytes", 0 },
	};
	size_t i;
	int ret = 0;

	if (x->copier)
		dmfmt_copier_stats(x->copier, &st);
	all[0].u = x->to->size;
	all[3].u = st.bytes_written + x->table_bytes;
	all[4].u = st.bytes_zero + x->zero_bytes;
	for (i = 0; !ret && i < sizeof(all) / sizeof(all[0]); i++) {
		const struct dmfmt_field f = { .name = all[i].name, .kind = DMFMT_U64, .u = all[i].u,
					       .unit = DMFMT_UNIT_BYTES, .unit_bytes = 1 };

		ret = fn(arg, &f);
	}
	return ret;
}

static int check_args(const struct dmfmt_view *v, const struct dmfmt_dev *to,
		      const struct dmfmt_export_opts *o)
{
	struct dmfmt_ctx *ctx = v->f->ctx;

	if (!to || !o || o->size < sizeof(*o))
		return dmfmt_fail(ctx, -EINVAL, "export: no file or no options were given");
	if (!(to->flags & DMFMT_OPEN_CREATE) || to->size)
		return dmfmt_fail(ctx, -EINVAL, "%s: export needs a new, empty file", to->path);
	if (o->format != DMFMT_EXPORT_RAW && o->format != DMFMT_EXPORT_QCOW2)
		return dmfmt_fail(ctx, -EINVAL, "%s: export format %d is not known", to->path,
				  (int)o->format);
	return 0;
}

int dmfmt_export(struct dmfmt_view *v, struct dmfmt_dev *to, const struct dmfmt_export_opts *o,
		 dmfmt_field_fn fn, void *arg)
{
	struct dmfmt_export x = { .v = v, .to = to };
	int ret;

	if (!v)
		return -EINVAL;
	v->f->ctx->error[0] = '\0';
	ret = check_args(v, to, o);
	if (ret)
		return ret;
	x.o = *o;
	ret = o->format == DMFMT_EXPORT_QCOW2 ? dmfmt_qcow2_write(&x) : export_raw(&x);
	if (!ret)
		ret = dmfmt_dev_sync(to);
	if (!ret && fn)
		ret = tell(&x, fn, arg);
	dmfmt_copier_close(x.copier);
	free(x.moves);
	return ret;
}
