/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The undo file, version 1.  Little endian; everything begins at a multiple of 512 bytes, so that a
 * block that is durable is never written again.
 *
 *   +--------+---------------------------------+---------------------------------+------+
 *   | header | head, table | old bytes         | head, table | old bytes         | done |
 *   +--------+---------------------------------+---------------------------------+------+
 *             `- record 0 ---------------------' `- record 1 --------------------'
 *
 * A batch is the records between two syncs of the file; the device is written only after the sync.
 * The last record of a batch says so.  `done` marks that the command came to its end; it is a batch
 * of its own, and more may follow it.
 *
 * If a record is damaged and no later batch exists, the power was cut before its sync: nothing of
 * that batch has reached the device, and it is left out.  If a later batch exists, the file is
 * damaged.
 *
 *   header                               record head
 *    0 magic "dmfmtUDO"                   0 magic "writ" or "done"
 *    8 u32 version                        4 u32 bytes of head and table, a multiple of 512
 *   12 u32 bytes, a multiple of 512       8 u64 id, that of the header
 *   16 u64 id, random                    16 u64 number of the record, from 0
 *   24 u64 bytes of the device           24 u64 number of the batch, from 0
 *   32 u64 time, seconds                 32 u64 offset on the device
 *   40 u32 length of the device's path   40 u64 length, a multiple of 512, at most 1 MiB; done: 0
 *   44 u32 length of the command         48 u32 CRC32C of the old bytes
 *   48 u32 length of dmfmt's version     52 u32 CRC32C of the new bytes
 *   52 u32 CRC32C of the header with     56 u32 flags: 1 last of its batch, 2 the old bytes could not
 *                                               be read (zeros stand here): undo leaves them alone
 *          this field 0                  60 u32 CRC32C of head and table with this field 0
 *   56 the three strings                 64 per block of 512 bytes: u32 CRC32C old, u32 CRC32C new
 */
#ifndef DMFMT_IO_UNDO_FORMAT_H
#define DMFMT_IO_UNDO_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define UNDO_BLOCK 512u
#define UNDO_LENGTH_MAX (1u << 20)
#define UNDO_VERSION 1u

#define UNDO_MAGIC "dmfmtUDO"
#define UNDO_H_VERSION 8
#define UNDO_H_BYTES 12
#define UNDO_H_ID 16
#define UNDO_H_DEVICE_BYTES 24
#define UNDO_H_TIME 32
#define UNDO_H_LENGTHS 40	/* of three strings */
#define UNDO_H_CRC 52
#define UNDO_H_STRINGS 56
#define UNDO_HEADER_MAX (64u << 10)

#define UNDO_WRIT "writ"
#define UNDO_DONE "done"
#define UNDO_R_BYTES 4
#define UNDO_R_ID 8
#define UNDO_R_NR 16
#define UNDO_R_BATCH 24
#define UNDO_R_OFFSET 32
#define UNDO_R_LENGTH 40
#define UNDO_R_OLD_CRC 48
#define UNDO_R_NEW_CRC 52
#define UNDO_R_FLAGS 56
#define UNDO_R_CRC 60
#define UNDO_R_TABLE 64
#define UNDO_LAST 1u
#define UNDO_UNREADABLE 2u
#define UNDO_HEAD_MAX 16896u	/* of a record of UNDO_LENGTH_MAX */

static inline void undo_put32(void *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void undo_put64(void *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static inline uint32_t undo_get32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t undo_get64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* bytes of head and table of a record of @length */
static inline uint32_t undo_head_bytes(uint64_t length)
{
	uint32_t n = UNDO_R_TABLE + length / UNDO_BLOCK * 8;

	return (n + UNDO_BLOCK - 1) & ~(UNDO_BLOCK - 1);
}

_Static_assert(UNDO_R_TABLE + UNDO_LENGTH_MAX / UNDO_BLOCK * 8 <= UNDO_HEAD_MAX,
	       "head of a record");

#endif
