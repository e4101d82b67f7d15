/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Appending exceptions to an existing store, as the kernel's target would while it is active.
 *
 *	struct snap_append *a;
 *
 *	snap_append_open(f, source, memory, &a)
 *	snap_append_add(a, old_chunk, from, len, &new_chunk)	for each
 *	snap_append_commit(a)
 *	snap_append_close(a)
 */
#ifndef DMFMT_OPS_SNAPSHOT_APPEND_H
#define DMFMT_OPS_SNAPSHOT_APPEND_H

#include "snapshot.h"

struct snap_append;

/**
 * snap_append_open() - look for the end of the chain
 * @f: must have passed dmfmt_need_sound(), with its device open for writing
 * @source: what the new chunks hold comes from here
 * @memory: for tables and buffers together
 *
 * Writes nothing yet.
 */
int snap_append_open(struct dmfmt *f, struct dmfmt_dev *source, size_t memory,
		     struct snap_append **out);

/** snap_append_room() - exceptions that can still be added and committed, as the kernel would count */
uint64_t snap_append_room(const struct snap_append *a);

/**
 * snap_append_add() - one exception more
 * @old_chunk: must not be in the store yet
 * @from: its data: @len bytes at @from on the source; a multiple of 512, at most a chunk
 * @new_chunk: where they will be; may be NULL
 *
 * Every so often it commits what was added before.
 * Return: 0; -ENOSPC no room, nothing was changed by this call; errors of the devices.
 */
int snap_append_add(struct snap_append *a, uint64_t old_chunk, uint64_t from, uint64_t len,
		    uint64_t *new_chunk);

/**
 * snap_append_commit() - what was added is in the store, durably
 *
 * At any moment the store is a valid one with some of the exceptions, in the order in which they
 * were added, and all data that they lead to.
 */
int snap_append_commit(struct snap_append *a);

/** snap_append_committed() - exceptions that were added and are durable, also after an error */
uint64_t snap_append_committed(const struct snap_append *a);

/** snap_append_close() - what was not committed is given up; NULL is allowed */
void snap_append_close(struct snap_append *a);

/* the family's protect() */
int snap_protect(struct dmfmt *f, struct dmfmt *other, uint64_t *copied);

#endif
