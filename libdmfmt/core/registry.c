// SPDX-License-Identifier: LGPL-2.1-or-later
/* The list of families: one line each.  Nothing else in core/ knows their names. */
#include <string.h>
#include "format.h"

extern const struct dmfmt_format dmfmt_snapshot_format;
extern const struct dmfmt_format dmfmt_writecache_format;

const struct dmfmt_format *const dmfmt_formats[] = {
	&dmfmt_snapshot_format,
	&dmfmt_writecache_format,
	NULL
};

const struct dmfmt_format *dmfmt_format_by_name(const char *name)
{
	const struct dmfmt_format *const *f;

	for (f = dmfmt_formats; name && *f; f++)
		if (!strcmp((*f)->name, name))
			return *f;
	return NULL;
}
