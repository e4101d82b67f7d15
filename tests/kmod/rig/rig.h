/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the crash rig agree on: the record of a workload, the content of numbered blocks,
 * and the file of states that a guest activates.
 *
 *	rigio (guest) --writes--> target --writes--> recorder (nbdkit plugin) --> record
 *	      \------ marks ------------------------------^                          |
 *	                                                  states <-- replay <--------+
 *	rigact (guest) <------------------------------------/
 */
#ifndef RIG_H
#define RIG_H

#include <stdint.h>
#include <string.h>

#define RIG_SECTOR 512

/* ---- the record: events in the one order in which the recorder saw them ---------------------- */

enum rig_kind {
	RIG_WRITE = 1,	/* reached the device; @length bytes follow */
	RIG_FLUSH,	/* reached the device */
	RIG_DONE,	/* the write or flush @id was acknowledged */
	RIG_MARK,	/* the workload said something; @length bytes of text follow */
};

#define RIG_FUA 1u

/* devices, also the names of their exports */
static const char *const rig_exports[] = { "o512", "c512", "o4096", "c4096", "mark" };
#define RIG_DEVICES 5
#define RIG_MARKS 4
#define RIG_DEVICE_BYTES (8u << 20)

struct rig_event {
	uint32_t kind, dev, flags, unused;
	uint64_t id, offset, length;
};

/* ---- numbered blocks: each 512 bytes say which write they belong to -------------------------- */

struct rig_block {
	uint64_t op, sector;
	uint64_t words[62];
};

static inline uint64_t rig_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 33;
}

static inline void rig_block_fill(struct rig_block *b, uint64_t op, uint64_t sector)
{
	uint64_t x = rig_mix(op << 32 ^ sector);
	unsigned i;

	b->op = op;
	b->sector = sector;
	for (i = 0; i < 62; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		b->words[i] = x;
	}
}

/* a number that no write of a workload has: content from before the store was made */
#define RIG_STALE_OP 0xdead0000u

/* ---- states: what a guest is to activate ----------------------------------------------------- */

#define RIG_STATES_MAGIC 0x3174737469646d64ull

enum rig_class { RIG_BLANK, RIG_VALID, RIG_INVALID };

#define RIG_SPARE_MAX 64
#define RIG_SLOTS 4

/*
 * One state of one store: @nr_changes changes follow, each a struct rig_change and 512 bytes, against
 * the state before it in the same slot, or against zeros if @fresh.
 */
struct rig_state {
	uint64_t magic;
	uint32_t class, slot, fresh, unused;
	uint32_t chunk_sectors, overflow;	/* overflow: the type is PO */
	uint64_t origin_sectors, cow_sectors;
	uint64_t hash;		/* of what the snapshot shows (not if RIG_INVALID) */
	/* chunks of the origin without an exception; as many as make live what lies behind the end */
	uint64_t nr_spare, spare[RIG_SPARE_MAX];
	uint64_t entries;	/* that the store holds */
	uint32_t merge;		/* to be merged to its end as well */
	uint32_t stale;		/* something lies behind the end of the store */
	uint64_t number, nr_changes;
};

struct rig_change {
	uint32_t cow;		/* 0: of the origin */
	uint32_t sector;
};

static inline uint64_t rig_hash(uint64_t h, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint64_t w;

	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&w, p, 8);
		h = (h ^ w) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
	}
	return h;
}

#endif
