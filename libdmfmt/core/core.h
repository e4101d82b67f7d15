/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the library's folders share behind dmfmt.h: the context and small helpers. */
#ifndef DMFMT_CORE_H
#define DMFMT_CORE_H

#include <stdarg.h>
#include "../dmfmt.h"

struct dmfmt_ctx {
	void (*log_fn)(void *arg, enum dmfmt_log_level level, const char *msg);
	void *log_arg;
	int (*progress_fn)(void *arg, const struct dmfmt_progress *p);
	void *progress_arg;
	uint64_t memory;
	uint64_t progress_bytes;
	size_t window;		/* tests: records of one window of a write-back at most; 0: many */
	unsigned nr_errors;	/* how often dmfmt_fail() was called: did a lower layer say why? */
	char error[1024];
};

/* record the error line and return @err (negative), so that `return dmfmt_fail(ctx, -EIO, ...)` reads
 * well; control characters from paths are replaced by '?' */
int dmfmt_fail(struct dmfmt_ctx *ctx, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void dmfmt_log(struct dmfmt_ctx *ctx, enum dmfmt_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* between two safe steps: 0, or -ECANCELED with the error line set */
int dmfmt_progress_step(struct dmfmt_ctx *ctx, const char *what, unsigned pass, unsigned nr_passes,
			uint64_t done, uint64_t total);

#endif
