/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a device of up to 32 MiB fits into a few bytes of fuzzer input, so that mutations hit metadata
 * and not the empty room between areas.
 *
 *   u16  sectors of the device, less one
 *   u16  sectors of the origin, in 64s; 0: not known
 *   u8   DMFMT_REPAIR_* flags
 *   u8   bit 0: also read data, bit 1: opened for its header only, bit 2: also save an image
 *   then as often as there is input: u16 sector, 512 bytes of it
 */
#ifndef FUZZ_PACKED_H
#define FUZZ_PACKED_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define PACKED_HEAD 6
#define PACKED_SECTOR 514

struct packed {
	uint8_t *device;
	size_t bytes;
	uint64_t origin_sectors;	/* 0: not known */
	unsigned repair_flags;
	int data, header_only, image;
};

static inline uint16_t packed_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint8_t *packed_room(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* 0, or -1 if there is nothing to make a device of */
static inline int packed_open(struct packed *d, const uint8_t *in, size_t len)
{
	size_t at;

	if (len < PACKED_HEAD)
		return -1;
	d->bytes = (packed_u16(in) + 1u) * 512u;
	d->origin_sectors = packed_u16(in + 2) * 64u;
	d->repair_flags = in[4];
	d->data = in[5] & 1;
	d->header_only = in[5] >> 1 & 1;
	d->image = in[5] >> 2 & 1;
	d->device = packed_room(d->bytes);
	if (!d->device)
		return -1;
	for (at = PACKED_HEAD; len - at >= PACKED_SECTOR; at += PACKED_SECTOR) {
		size_t sector = packed_u16(in + at);

		if (sector < d->bytes / 512)
			memcpy(d->device + sector * 512, in + at + 2, 512);
	}
	return mprotect(d->device, d->bytes, PROT_READ);
}

static inline void packed_close(struct packed *d)
{
	munmap(d->device, d->bytes);
}

#endif
