// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The device handle: bounds, and an error of a write or a flush that stays.
 *
 * A failed flush leaves the kernel free to drop the dirty data and to report success the next time.
 * Whoever goes on after it would claim as durable what is lost, hence the latch in `failed`.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "dev.h"

#define ZERO_PIECE (1u << 20)
#define BUFFER_ALIGN 4096

static int check_range(struct dmfmt_dev *dev, uint64_t off, uint64_t len, const char *what)
{
	if (off <= dev->size && len <= dev->size - off)
		return 0;
	return dmfmt_fail(dev->ctx, -ERANGE,
			  "%s: offset %llu: %s of %llu bytes, the device ends at %llu", dev->path,
			  (unsigned long long)off, what, (unsigned long long)len,
			  (unsigned long long)dev->size);
}

/* The line of a layer that knew better (an undo file that is full) is left alone. */
static int io_failed(struct dmfmt_dev *dev, unsigned nr_errors, int err, const char *what,
		     uint64_t off, size_t len)
{
	if (err > 0 || dev->ctx->nr_errors != nr_errors)
		return err;
	errno = -err;
	return dmfmt_fail(dev->ctx, err, "%s: offset %llu: %s of %zu bytes failed: %m", dev->path,
			  (unsigned long long)off, what, len);
}

static int check_latch(struct dmfmt_dev *dev, const char *what)
{
	if (!dev->failed)
		return 0;
	return dmfmt_fail(dev->ctx, dev->failed < 0 ? dev->failed : -EIO,
			  "%s: %s refused: an earlier write or flush failed", dev->path, what);
}

int dmfmt_dev_read(struct dmfmt_dev *dev, uint64_t off, void *buf, size_t len)
{
	unsigned nr_errors = dev->ctx->nr_errors;
	int err;

	err = check_range(dev, off, len, "read");
	if (err || !len)
		return err;
	err = dev->top->ops->read(dev->top, off, buf, len);
	if (err)
		return io_failed(dev, nr_errors, err, "read", off, len);
	dev->bytes_read += len;
	dev->ctx->progress_bytes += len;
	return 0;
}

static int check_writable(struct dmfmt_dev *dev, const char *what)
{
	if (dev->dry_run || (dev->flags & DMFMT_OPEN_WRITE))
		return 0;
	return dmfmt_fail(dev->ctx, -EROFS, "%s: %s refused: opened for reading only", dev->path,
			  what);
}

int dmfmt_dev_write_try(struct dmfmt_dev *dev, uint64_t off, const void *buf, size_t len)
{
	unsigned nr_errors = dev->ctx->nr_errors;
	int err;

	err = check_writable(dev, "write");
	if (!err)
		err = check_latch(dev, "write");
	if (!err)
		err = check_range(dev, off, len, "write");
	if (err || !len)
		return err;
	/* also when it fails: a part may have been written */
	dev->bytes_written += len;
	err = dev->top->ops->write(dev->top, off, buf, len);
	if (err)
		return io_failed(dev, nr_errors, err, "write", off, len);
	dev->ctx->progress_bytes += len;
	return 0;
}

int dmfmt_dev_write(struct dmfmt_dev *dev, uint64_t off, const void *buf, size_t len)
{
	uint64_t before = dev->bytes_written;
	int err = dmfmt_dev_write_try(dev, off, buf, len);

	/* not for what was refused before anything was tried */
	if (err && dev->bytes_written != before)
		dev->failed = err;
	return err;
}

int dmfmt_dev_flush(struct dmfmt_dev *dev)
{
	unsigned nr_errors = dev->ctx->nr_errors;
	int err;

	err = check_latch(dev, "flush");
	if (err)
		return err;
	err = dev->top->ops->flush(dev->top);
	if (!err)
		return 0;
	dev->failed = err;
	if (err > 0 || dev->ctx->nr_errors != nr_errors)
		return err;
	errno = -err;
	return dmfmt_fail(dev->ctx, err,
			  "%s: flush failed, nothing since the last one is durable: %m", dev->path);
}

int dmfmt_dev_zero(struct dmfmt_dev *dev, uint64_t off, uint64_t len)
{
	size_t piece = len < ZERO_PIECE ? len : ZERO_PIECE;
	void *zeros;
	int err;

	err = check_range(dev, off, len, "write");
	if (err || !len)
		return err;
	if (posix_memalign(&zeros, BUFFER_ALIGN, piece))
		return dmfmt_fail(dev->ctx, -ENOMEM, "%s: no memory for %zu bytes", dev->path,
				  piece);
	memset(zeros, 0, piece);
	while (len && !err) {
		size_t n = len < piece ? len : piece;

		err = dmfmt_dev_write(dev, off, zeros, n);
		off += n;
		len -= n;
	}
	free(zeros);
	return err;
}

static bool is_plan(const struct dmfmt_layer *l)
{
	return l && !strcmp(l->ops->name, "plan");
}

void dmfmt_dev_push(struct dmfmt_dev *dev, struct dmfmt_layer *l)
{
	struct dmfmt_layer **at = &dev->top;

	while (is_plan(*at) && !is_plan(l))
		at = &(*at)->lower;
	l->lower = *at;
	*at = l;
	if (!l->ops->passes)
		dev->plain = false;
}

struct dmfmt_layer *dmfmt_dev_layer(const struct dmfmt_dev *dev, const char *name)
{
	struct dmfmt_layer *l;

	for (l = dev->top; l; l = l->lower)
		if (!strcmp(l->ops->name, name))
			return l;
	return NULL;
}

bool dmfmt_dev_passes(const struct dmfmt_dev *dev)
{
	struct dmfmt_layer *l;

	if (!dev->plain)
		return false;
	for (l = dev->top; l->lower; l = l->lower)
		if (!l->ops->passes(l))
			return false;
	return true;
}

void dmfmt_layer_close(struct dmfmt_layer *l)
{
	if (l)
		l->ops->close(l);
}

int dmfmt_dev_from_layer(struct dmfmt_ctx *ctx, struct dmfmt_layer *bottom, uint64_t size,
			 uint32_t block, const char *path, struct dmfmt_dev **out)
{
	struct dmfmt_dev *dev = calloc(1, sizeof(*dev));

	if (dev)
		dev->path = strdup(path);
	if (!dev || !dev->path) {
		free(dev);
		return dmfmt_fail(ctx, -ENOMEM, "%s: no memory for a device", path);
	}
	dev->ctx = ctx;
	dev->top = bottom;
	dev->size = size;
	dev->block = block;
	dev->whole = block < 4096 ? block : 4096;
	dev->flags = DMFMT_OPEN_WRITE;
	dev->fd = dmfmt_file_layer_fd(bottom, &dev->direct);
	dev->plain = dev->fd >= 0;
	/* an O_DIRECT write of the last block must not make a file longer */
	if (dev->direct)
		dev->size -= dev->size % block;
	*out = dev;
	return 0;
}
