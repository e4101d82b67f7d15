/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads a persistent store from its device and judges it.  Written for the tests alone, so that neither
 * of the targets nor the library is asked about itself.
 */
#ifndef TARGET_STORE_H
#define TARGET_STORE_H

#include <stdbool.h>
#include <stdint.h>

struct store {
	bool blank;			/* no magic */
	bool valid;
	uint32_t chunk;			/* sectors */
	uint64_t nr;
	uint64_t *old_chunk, *new_chunk;
};

/*
 * @cow_sectors is the size of the device at @fd, @dense whether holes are an error.
 * Return: NULL, or what is wrong (in a static buffer).  The caller calls store_free() in either case.
 */
const char *store_read(struct store *st, int fd, uint64_t cow_sectors, bool dense);
void store_free(struct store *st);

/* exceptions that fit; @refuse_edge: an area that would have no successor is not filled up */
uint64_t store_capacity(uint64_t cow_sectors, uint32_t chunk, bool refuse_edge);

#endif
