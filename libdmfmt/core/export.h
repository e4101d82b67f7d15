/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the two kinds of export share: moves gathered and copied to a file that this run made. */
#ifndef DMFMT_CORE_EXPORT_H
#define DMFMT_CORE_EXPORT_H

#include "view.h"

struct dmfmt_export {
	struct dmfmt_view *v;
	struct dmfmt_dev *to;
	struct dmfmt_export_opts o;
	struct dmfmt_copier *copier;
	struct dmfmt_move *moves;
	size_t nr;
	uint64_t batched;
	uint64_t store_bytes, origin_bytes;
	/* of the format's own tables; and zeros that it only notes */
	uint64_t table_bytes, zero_bytes;
};

int dmfmt_export_begin(struct dmfmt_export *x, uint64_t total);
/* [@from, @from + @len) of the store or the origin goes to @to of the file, now or at the end */
int dmfmt_export_add(struct dmfmt_export *x, uint64_t to, uint64_t from, uint64_t len, bool in_store);
int dmfmt_export_end(struct dmfmt_export *x);

/* qcow2.c: all of it, but for the last sync */
int dmfmt_qcow2_write(struct dmfmt_export *x);

#endif
