// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Expanding metadata images, on any bytes.  With the first byte even the input is the file as it is;
 * with it odd the input is the stream, whose CRCs are made right and which is packed by zstd first.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>
#include "../../libdmfmt/dmfmt.h"
#include "../../libdmfmt/format/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len);

static void put32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

static void write_all(int fd, const void *buf, size_t len)
{
	if (write(fd, buf, len) != (ssize_t)len)
		abort();
	lseek(fd, 0, SEEK_SET);
}

static void packed(int fd, const uint8_t *in, size_t len)
{
	size_t room = ZSTD_compressBound(len);
	uint8_t *stream = malloc(len + 1), *out = malloc(room);

	memcpy(stream, in, len);
	if (len >= 64)
		put32(stream + 60, dmfmt_crc32c(0, stream, 60));
	if (len >= 72)
		put32(stream + len - 8, dmfmt_crc32c(0, stream, len - 8));
	write_all(fd, out, ZSTD_compress(out, room, stream, len, 1));
	free(stream);
	free(out);
}

/* an unlinked name for each run: expanding wants a new file */
static struct dmfmt_dev *new_file(struct dmfmt_ctx *ctx)
{
	static char name[64];
	struct dmfmt_dev *dev;

	if (!name[0])
		snprintf(name, sizeof(name), "%s/dmfmt-fuzz.%d",
			 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm", (int)getpid());
	unlink(name);
	if (dmfmt_dev_open(ctx, name, DMFMT_OPEN_WRITE | DMFMT_OPEN_CREATE, &dev)) {
		fprintf(stderr, "%s\n", dmfmt_ctx_error(ctx));
		abort();
	}
	unlink(name);
	return dev;
}

static int on_field(void *arg, const struct dmfmt_field *f)
{
	if (!f->name || (f->kind == DMFMT_STRING && !f->s))
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len)
{
	struct dmfmt_ctx *ctx;
	struct dmfmt_dev *dev;
	int fd;

	if (!len)
		return 0;
	fd = memfd_create("image", MFD_CLOEXEC);
	if (in[0] & 1)
		packed(fd, in + 1, len - 1);
	else
		write_all(fd, in + 1, len - 1);
	ctx = dmfmt_ctx_new();
	dev = new_file(ctx);
	dmfmt_image_expand(ctx, fd, dev, on_field, NULL);
	dmfmt_dev_close(dev);
	dmfmt_ctx_free(ctx);
	close(fd);
	return 0;
}
