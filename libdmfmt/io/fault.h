/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device that fails on cue, for tests.
 *
 * Several fault devices share one world, so that a power cut hits all of them at the same moment.
 * The model of a cut: all writes that completed before the last successful flush of their device
 * are there; of the later ones any subset of *logical blocks* is (a write of several blocks may
 * tear).
 */
#ifndef DMFMT_IO_FAULT_H
#define DMFMT_IO_FAULT_H

#include "dev.h"

struct dmfmt_world;	/* one global order of writes and flushes over some devices */

struct dmfmt_world *dmfmt_world_new(void);
void dmfmt_world_free(struct dmfmt_world *w);
/* a device of @size bytes in memory, beginning with @content (may be NULL: zeros); can grow by
 * truncate if @size is 0 or growable is set. *id: its number in the world */
int dmfmt_world_add(struct dmfmt_world *w, struct dmfmt_ctx *ctx, const void *content,
		    uint64_t size, uint32_t block, bool growable, const char *name, unsigned *id,
		    struct dmfmt_dev **out);

/* Cues.  nr counts from 0 over all devices of the world. */
enum dmfmt_fault {
	DMFMT_FAULT_READ_EIO,		/* the nr-th read fails with EIO */
	DMFMT_FAULT_READ_SHORT,		/* half of it is in the buffer, then EIO */
	DMFMT_FAULT_WRITE_EIO,
	DMFMT_FAULT_WRITE_ENOSPC,
	DMFMT_FAULT_WRITE_SHORT,	/* half of its blocks reach the device, then EIO */
	DMFMT_FAULT_FLUSH_LOST,		/* the nr-th flush fails once, all writes since the flush
					   before are lost, later flushes succeed */
	DMFMT_FAULT_CUT,		/* after the nr-th write nothing works any more (-ENODEV) */
};
void dmfmt_world_cue(struct dmfmt_world *w, enum dmfmt_fault what, uint64_t nr);

/* counters so far: reads, writes, flushes over all devices */
void dmfmt_world_counts(const struct dmfmt_world *w, uint64_t *reads, uint64_t *writes,
			uint64_t *flushes);

/*
 * After a run (complete or cut): how many logical blocks were written but not yet durable when
 * the first @nr_writes writes had been done, and the content for a subset of them.
 * The log holds every write and flush, so one complete run serves all cuts.
 */
uint64_t dmfmt_world_pending(const struct dmfmt_world *w, uint64_t nr_writes);
/* content of device @id after a cut behind write nr_writes-1 where exactly the pending block
 * versions with bit set in @subset persist (bit i of byte i/8, in write order, one bit per block of
 * a write); *buf is malloc'ed */
int dmfmt_world_state(const struct dmfmt_world *w, uint64_t nr_writes, const uint8_t *subset,
		      unsigned id, void **buf, uint64_t *size);

/*
 * Call @fn for every state worth trying: for each cut, all subsets if at most 2^@exhaustive_bits,
 * else @sampled ones from @seed, always including none, all, each block alone, and all but one.
 * @fn gets the devices' contents in the order they were added.  Returns the number of states or the
 * first non-zero return of @fn (negative).
 */
int64_t dmfmt_world_each_state(const struct dmfmt_world *w, unsigned exhaustive_bits,
			       unsigned sampled, uint64_t seed,
			       int (*fn)(void *arg, uint64_t nr_writes, void **bufs,
					 const uint64_t *sizes, unsigned nr_devs),
			       void *arg);
#endif
