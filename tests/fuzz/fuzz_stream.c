// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Receiving streams, on any bytes, over a device of zeros.  With the first byte odd the checksums of
 * the header and of each record are made right first, so that what is behind them is reached.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "../../libdmfmt/dmfmt.h"
#include "../../libdmfmt/format/crc32c.h"

#define DEVICE_BYTES 65536u

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len);

static void put32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

static uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void make_right(uint8_t *p, size_t len)
{
	uint32_t seq = 0;
	size_t at = 64;

	if (len < at)
		return;
	memcpy(p, "DMFMTSTR", 8);
	put32(p + 8, 1);
	put32(p + 12, 64);
	put32(p + 24, DEVICE_BYTES);
	put32(p + 28, 0);
	put32(p + 60, dmfmt_crc32c(0, p, 60));
	while (len - at >= 32) {
		uint32_t n = get32(p + at + 8);

		if (n > len - at - 32)
			return;
		put32(p + at + 12, dmfmt_crc32c(0, p + at + 32, n));
		put32(p + at + 16, seq++);
		put32(p + at + 20, 0);
		put32(p + at + 28, dmfmt_crc32c(0, p + at, 28));
		at += 32 + n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len)
{
	static uint8_t device[DEVICE_BYTES];
	struct dmfmt_ctx *ctx;
	struct dmfmt_dev *dev;
	uint8_t *copy;
	int fd;

	if (!len)
		return 0;
	copy = malloc(len);
	memcpy(copy, in + 1, len - 1);
	if (in[0] & 1)
		make_right(copy, len - 1);
	fd = memfd_create("stream", MFD_CLOEXEC);
	if (write(fd, copy, len - 1) != (ssize_t)(len - 1))
		abort();
	lseek(fd, 0, SEEK_SET);
	memset(device, 0, sizeof(device));
	ctx = dmfmt_ctx_new();
	if (dmfmt_dev_open_buffer(ctx, device, sizeof(device), &dev))
		abort();
	dmfmt_receive(ctx, fd, dev, 0, NULL, NULL);
	dmfmt_dev_close(dev);
	dmfmt_ctx_free(ctx);
	close(fd);
	free(copy);
	return 0;
}
