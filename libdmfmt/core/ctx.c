// SPDX-License-Identifier: LGPL-2.1-or-later
/* The context: callbacks, limits, and the line that says what went wrong last. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "core.h"

#define MEMORY_DEFAULT (UINT64_C(64) << 20)
#define MEMORY_MIN (UINT64_C(16) << 20)

const char *dmfmt_version(void)
{
	return DMFMT_VERSION;
}

struct dmfmt_ctx *dmfmt_ctx_new(void)
{
	struct dmfmt_ctx *ctx = calloc(1, sizeof(*ctx));

	if (ctx)
		ctx->memory = MEMORY_DEFAULT;
	return ctx;
}

void dmfmt_ctx_free(struct dmfmt_ctx *ctx)
{
	free(ctx);
}

void dmfmt_ctx_set_log(struct dmfmt_ctx *ctx,
		       void (*fn)(void *arg, enum dmfmt_log_level level, const char *msg),
		       void *arg)
{
	ctx->log_fn = fn;
	ctx->log_arg = arg;
}

void dmfmt_ctx_set_progress(struct dmfmt_ctx *ctx,
			    int (*fn)(void *arg, const struct dmfmt_progress *p), void *arg)
{
	ctx->progress_fn = fn;
	ctx->progress_arg = arg;
}

void dmfmt_ctx_set_memory(struct dmfmt_ctx *ctx, uint64_t bytes)
{
	ctx->memory = bytes < MEMORY_MIN ? MEMORY_MIN : bytes;
}

const char *dmfmt_ctx_error(const struct dmfmt_ctx *ctx)
{
	return ctx->error;
}

/* One line, whatever a path or a string from a disk brings along. */
static void make_printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

int dmfmt_fail(struct dmfmt_ctx *ctx, int err, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (!ctx)
		return err;
	va_start(ap, fmt);
	vsnprintf(ctx->error, sizeof(ctx->error), fmt, ap);
	va_end(ap);
	make_printable(ctx->error);
	ctx->nr_errors++;
	errno = saved;
	return err;
}

void dmfmt_log(struct dmfmt_ctx *ctx, enum dmfmt_log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (!ctx || !ctx->log_fn)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	make_printable(line);
	ctx->log_fn(ctx->log_arg, level, line);
}

int dmfmt_progress_step(struct dmfmt_ctx *ctx, const char *what, unsigned pass, unsigned nr_passes,
			uint64_t done, uint64_t total)
{
	struct dmfmt_progress p = {
		.size = sizeof(p),
		.what = what,
		.pass = pass,
		.nr_passes = nr_passes,
		.done = done,
		.total = total,
	};

	if (!ctx || !ctx->progress_fn)
		return 0;
	p.bytes = ctx->progress_bytes;
	if (ctx->progress_fn(ctx->progress_arg, &p))
		return dmfmt_fail(ctx, -ECANCELED, "%s: cancelled", what);
	return 0;
}
