/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream of dmfmt_send(), dmfmt-stream(5): a header, then records.  All numbers little endian.
 *
 *	header
 *	RANGES ...	what will change: per range its place, the hash of what is there, and of what
 *			will be; one record is one batch, at most 256 ranges and 1 MiB of data
 *	SAMPLES ...	places that do not change, and their hashes
 *	END_RANGES	counts
 *	DATA ...	one per batch, in the same order: its ranges again, and their new bytes
 *	END		counts
 */
#ifndef DMFMT_CORE_SEND_FORMAT_H
#define DMFMT_CORE_SEND_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include "hash.h"

#define STREAM_MAGIC "DMFMTSTR"
#define STREAM_VERSION 1u
#define STREAM_FORWARD 1u
#define STREAM_BACKWARD 2u

struct stream_header_disk {
	uint8_t magic[8];
	uint32_t version, header_bytes;
	uint32_t direction, reserved0;
	uint64_t device_bytes;
	uint8_t reserved[28];	/* zeros */
	uint32_t crc32c;	/* over what stands before it */
};
_Static_assert(sizeof(struct stream_header_disk) == 64, "stream header");

enum stream_type { STREAM_RANGES = 1, STREAM_SAMPLES, STREAM_END_RANGES, STREAM_DATA, STREAM_END };

/*
 * @raw_len: of the payload; @len: as it is stored, a zstd frame if it is shorter than @raw_len
 * @seq: 0, 1, 2 ... over all records
 * @payload_crc32c: over the stored payload; @crc32c: over what stands before it here
 */
struct stream_record_disk {
	uint32_t type, raw_len, len, payload_crc32c;
	uint64_t seq;
	uint32_t reserved, crc32c;
};
_Static_assert(sizeof(struct stream_record_disk) == 32, "stream record");

struct stream_range_disk {	/* RANGES */
	uint64_t offset;
	uint32_t len, reserved;
	uint8_t old_sha256[DMFMT_SHA256_BYTES], new_sha256[DMFMT_SHA256_BYTES];
};
_Static_assert(sizeof(struct stream_range_disk) == 80, "stream range");

struct stream_piece_disk {	/* SAMPLES; and DATA: that many, then the bytes of all of them */
	uint64_t offset;
	uint32_t len;
	uint32_t nr;		/* DATA, in the first one: how many; else 0 */
	uint8_t sha256[DMFMT_SHA256_BYTES];
};
_Static_assert(sizeof(struct stream_piece_disk) == 48, "stream piece");

struct stream_counts_disk {	/* END_RANGES and END */
	uint64_t batches, ranges, bytes, samples;
	/* over the pieces of all DATA records, each batch's SHA-256 one after the other */
	uint8_t sha256[DMFMT_SHA256_BYTES];
};
_Static_assert(sizeof(struct stream_counts_disk) == 64, "stream counts");

#define STREAM_RANGE_BYTES (256u << 10)	/* of one range at most */
#define STREAM_BATCH_RANGES 256u
#define STREAM_BATCH_BYTES (1u << 20)
#define STREAM_SAMPLE_BYTES 4096u
#define STREAM_SAMPLES_MAX 65536u
#define STREAM_SAMPLES_BATCH 256u
#define STREAM_RAW_MAX (STREAM_BATCH_BYTES + STREAM_BATCH_RANGES * 80u)

#endif
