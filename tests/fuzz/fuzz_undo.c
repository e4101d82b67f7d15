// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The reader of undo files, on any bytes.  The CRCs of header and records are made right first if the
 * first byte asks for it; otherwise hardly any input would come past them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "../../libdmfmt/format/crc32c.h"
#include "../../libdmfmt/io/dev.h"
#include "../../libdmfmt/io/undo_format.h"

#define MAX_BYTES (256u << 10)
#define DEVICE_BYTES (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len);

static void mend_header(uint8_t *b, size_t len)
{
	uint32_t bytes = undo_get32(b + UNDO_H_BYTES);

	if (bytes < UNDO_H_STRINGS || bytes > len)
		return;
	undo_put32(b + UNDO_H_CRC, 0);
	undo_put32(b + UNDO_H_CRC, dmfmt_crc32c(0, b, bytes));
}

static void mend_record(uint8_t *b, size_t len)
{
	uint32_t bytes = undo_get32(b + UNDO_R_BYTES);
	uint64_t old = undo_get64(b + UNDO_R_LENGTH);

	if (bytes < UNDO_R_TABLE || bytes > len)
		return;
	if (old <= len - bytes)
		undo_put32(b + UNDO_R_OLD_CRC, dmfmt_crc32c(0, b + bytes, (size_t)old));
	undo_put32(b + UNDO_R_CRC, 0);
	undo_put32(b + UNDO_R_CRC, dmfmt_crc32c(0, b, bytes));
}

static void mend(uint8_t *b, size_t len)
{
	size_t at;

	if (len >= UNDO_BLOCK && !memcmp(b, UNDO_MAGIC, 8))
		mend_header(b, len);
	for (at = UNDO_BLOCK; at + UNDO_BLOCK <= len; at += UNDO_BLOCK)
		if (!memcmp(b + at, UNDO_WRIT, 4) || !memcmp(b + at, UNDO_DONE, 4))
			mend_record(b + at, len - at);
}

static int on_write(void *arg, const struct dmfmt_write *w)
{
	++*(uint64_t *)arg;
	return 0;
}

static void use(struct dmfmt_ctx *ctx, struct dmfmt_undo *u)
{
	struct dmfmt_undo_info info = { .size = sizeof(info) };
	uint8_t *device = calloc(1, DEVICE_BYTES);
	struct dmfmt_dev *dev;
	uint64_t nr = 0;

	dmfmt_undo_get_info(u, &info);
	if (!info.device || !info.command || !info.dmfmt_version)
		abort();
	if (!dmfmt_undo_list(u, on_write, &nr) && nr != info.nr_writes)
		abort();
	if (!dmfmt_dev_open_buffer(ctx, device, DEVICE_BYTES, &dev)) {
		dmfmt_undo_apply(u, dev);
		dmfmt_dev_close(dev);
	}
	free(device);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len)
{
	struct dmfmt_ctx *ctx;
	struct dmfmt_undo *u;
	struct dmfmt_dev *file;
	size_t bytes;
	uint8_t *b;

	if (!len || len > MAX_BYTES)
		return 0;
	bytes = (len - 1 + 511) / 512 * 512;
	b = calloc(1, bytes + 1);
	memcpy(b, in + 1, len - 1);
	if (in[0] & 1)
		mend(b, bytes);
	ctx = dmfmt_ctx_new();
	if (!dmfmt_dev_open_buffer(ctx, b, bytes, &file)) {
		if (!dmfmt_undo_open_dev(ctx, file, &u)) {
			use(ctx, u);
			dmfmt_undo_close(u);
		}
		dmfmt_dev_close(file);
	}
	dmfmt_ctx_free(ctx);
	free(b);
	return 0;
}
